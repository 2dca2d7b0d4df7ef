"""The command line: `python -m gan_theory.mnist train --recipe seed --epochs 100 --out runs/seed`."""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave
from tqdm import tqdm

from gan_theory.mnist.checkpoint import CheckpointError, write_atomically
from gan_theory.mnist.data import load_mnist
from gan_theory.mnist.recipes import RECIPES
from gan_theory.mnist.run import Run


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gan_theory.mnist", description="A GAN on the MNIST digits."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("train", help="train it, or go on training it")
    command.add_argument(
        "--recipe", required=True, choices=RECIPES, help="which networks and hyperparameters"
    )
    command.add_argument(
        "--epochs", required=True, type=_integer(1, 10**6), help="passes over the digits, in all"
    )
    command.add_argument("--out", required=True, type=Path, help="the run's directory, new or empty")
    command.add_argument(
        "--seed", default=0, type=_integer(0, 2**32 - 1), help="of all that is random (default 0)"
    )
    command.add_argument("--resume", action="store_true", help="go on with the run in --out")
    options = parser.parse_args(arguments)
    try:
        return _train(options)
    except argparse.ArgumentError as error:
        command.error(str(error))
    except (FloatingPointError, OSError, ValueError) as error:
        print(f"{command.prog}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _train(options: argparse.Namespace) -> int:
    out, checkpoint = options.out, options.out / "checkpoint.safetensors"
    if not options.resume:
        _check_new(out)
    digits = load_mnist().x_train
    run = Run(RECIPES[options.recipe], digits, options.seed)
    try:
        if options.resume:
            run.load(checkpoint)
        else:
            out.mkdir(parents=True, exist_ok=True)
            run.save(checkpoint)
        _write_log(out, run)
        _write_grid(out / "real.png", digits[:64] / 255)
    except CheckpointError as error:
        raise _misuse("--resume", str(error)) from None
    except OSError as error:
        raise _misuse("--out", str(error)) from None
    if run.epoch >= options.epochs:
        print(f"{out} has {run.epoch} epochs already; for more, ask for more by --epochs")
        return 0

    passed = run.epoch * len(digits) + run.batch * run.recipe.batch_size
    bar = tqdm(
        total=options.epochs * len(digits), initial=passed, unit=" images", unit_scale=True, disable=None
    )
    with _ctrl_c_asks() as asked_to_stop, bar:
        while run.epoch < options.epochs:
            for step in run.train_epoch():
                bar.update(len(step.logits_real))
                if asked_to_stop:
                    run.save(checkpoint)
                    bar.close()
                    print(f"stopped after batch {run.batch} of epoch {run.epoch + 1}; add --resume to go on")
                    return 130
            # The checkpoint comes last: whatever else is on disk, a resumed run writes it again.
            _write_grid(out / f"epoch-{run.epoch:04}.png", run.generate(run.fixed_z).numpy())
            _write_log(out, run)
            run.save(checkpoint)
            bar.write(_summary(run.log[-1], options.epochs))
    return 0


def _check_new(out: Path) -> None:
    try:
        found = (
            sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
            if out.exists()
            else []
        )
    except OSError as error:
        raise _misuse("--out", str(error)) from None
    if "checkpoint.safetensors" in found:
        raise _misuse(
            "--out", f"{out} holds a run; add --resume to go on with it, or choose another directory"
        )
    if found:
        raise _misuse("--out", f"{out} is not empty (it holds {found[0]}); choose another directory")


@contextmanager
def _ctrl_c_asks() -> Iterator[list[bool]]:
    """Turns the first Ctrl-C into a request, a list that is no longer empty; the second stops at once."""
    asked: list[bool] = []

    def ask(*_: object) -> None:
        asked.append(True)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _write_log(out: Path, run: Run) -> None:
    write_atomically(out / "log.jsonl", "".join(json.dumps(line) + "\n" for line in run.log).encode())


def _write_grid(path: Path, images: np.ndarray) -> None:
    """Writes 64 images as one, 8 by 8, dark ink on light paper, each pixel drawn 2 by 2."""
    tiles = np.pad(images, ((0, 0), (1, 1), (1, 1))).reshape(8, 8, 30, 30)
    grid = tiles.swapaxes(1, 2).reshape(240, 240).repeat(2, axis=0).repeat(2, axis=1)
    png = BytesIO()
    imsave(png, grid, cmap="gray_r", vmin=0, vmax=1, format="png")
    write_atomically(path, png.getvalue())


def _summary(line: dict[str, Any], epochs: int) -> str:
    return (
        f"epoch {line['epoch']}/{epochs}: "
        f"loss of D {line['discriminator_loss']:.3f}, of G {line['generator_loss']:.3f}; "
        f"mean D {line['mean_d_real']:.2f} on real, {line['mean_d_fake']:.2f} on fake; "
        f"{line['images_per_second']} images/s"
    )


def _misuse(argument: str, message: str) -> argparse.ArgumentError:
    return argparse.ArgumentError(None, f"argument {argument}: {message}")


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isdecimal() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"must be an integer from {least} to {most}, not {text!r}")
        return int(text)

    return parse


if __name__ == "__main__":
    sys.exit(main())
