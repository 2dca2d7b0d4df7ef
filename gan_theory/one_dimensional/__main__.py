"""The command line: python -m gan_theory.one_dimensional --out runs.json."""

import argparse
import json
import platform
import sys
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import torch
from tqdm import tqdm

from gan_theory.one_dimensional.run import RUNS, TARGETS, Settings, best_response, judge, play

KINDS = {  # what is changed in the defaults
    "default": {},
    "saturating": {"saturating": True},
    "random batches": {"stratified": False},
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gan_theory.one_dimensional",
        description="GANs on the line: each target, each kind of run on the first, each seed.",
    )
    parser.add_argument("--seeds", type=int, default=10, help="how many, from 0 (default 10)")
    parser.add_argument(
        "--other-seeds", type=int, default=3, help="the same for all but the first kind (default 3)"
    )
    parser.add_argument(
        "--iterations",
        type=int,
        default=Settings.iterations,
        help=f"of each run (default {Settings.iterations})",
    )
    parser.add_argument("--looks", type=int, default=24, help="points of each history (default 24)")
    parser.add_argument("--out", type=Path, default=RUNS, help="where the log goes (default: the package's)")
    options = parser.parse_args(arguments)
    for name in ("seeds", "other_seeds", "iterations", "looks"):
        if getattr(options, name) < 1:
            option, given = name.replace("_", "-"), getattr(options, name)
            parser.error(f"argument --{option}: must be a positive integer, not {given}")
    settings = replace(Settings(), iterations=options.iterations)
    first, *others = TARGETS
    plan = [(first, "default", seed) for seed in range(options.seeds)]
    rest = [*product([first], list(KINDS)[1:]), *product(others, ["default"])]
    plan += [(target, kind, seed) for seed in range(options.other_seeds) for target, kind in rest]
    log: dict[str, Any] = {
        "command": f"python -m gan_theory.one_dimensional --seeds {options.seeds} "
        f"--other-seeds {options.other_seeds} --iterations {options.iterations} --looks {options.looks}",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "settings": asdict(settings),
        "runs": [],
    }
    try:
        if options.out.is_dir() or not options.out.parent.is_dir():  # said before anything is trained
            raise NotADirectoryError(
                f"argument --out: {options.out} must be a file in a directory that is there"
            )
        for target, kind, seed in tqdm(plan, unit=" runs", disable=None):
            log["runs"].append(measure(target, kind, seed, settings, options.looks))
        _write_atomically(options.out, write(log))  # one that is stopped leaves what was there
    except (OSError, FloatingPointError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def measure(target: str, kind: str, seed: int, settings: Settings, looks: int) -> dict[str, Any]:
    """A run, judged along the way (G as it plays) and at its end (its average, D after the inner loop)."""
    p_data, settings = TARGETS[target], replace(settings, **KINDS[kind])
    random = torch.Generator().manual_seed(seed)
    start = process_time()
    snapshots = list(play(p_data, settings, random=random, looks=looks))
    last = snapshots[-1]
    D = best_response(p_data, last.average, last.discriminator, settings, random=random)
    seconds = process_time() - start
    history = [judge(p_data, snapshot.generator, snapshot.discriminator) for snapshot in snapshots]
    return {
        "target": target,
        "kind": kind,
        "seed": seed,
        "processor seconds": round(seconds, 1),
        "final": _short(judge(p_data, last.average, D)),
        "as it plays": _short(history[-1]),
        "history": {
            "iteration": [snapshot.iteration for snapshot in snapshots],
            **{name: [_short(look)[name] for look in history] for name in ("jsd", "value", "regret")},
        },
    }


def _write_atomically(path: Path, content: str) -> None:
    """Writes a file such that at any moment it is as it was, or all of `content`."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(content, encoding="utf-8")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write(log: dict[str, Any]) -> str:
    """The log as JSON, one run a line."""
    head = json.dumps({name: log[name] for name in log if name != "runs"}, indent=1)
    runs = ",\n  ".join(json.dumps(run) for run in log["runs"])
    return f'{head[:-2]},\n "runs": [\n  {runs}\n ]\n}}\n'


def _short(numbers: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{number:.4g}") for name, number in numbers.items()}


if __name__ == "__main__":
    sys.exit(main())
