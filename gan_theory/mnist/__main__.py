"""The command line: `python -m gan_theory.mnist train`, `evaluate`, `ship` and `classifier`."""

import argparse
import json
import logging
import os
import platform
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from matplotlib.image import imread, imsave
from torch import Tensor
from tqdm import tqdm

from gan_theory.mnist.checkpoint import (
    CheckpointError,
    folder_for,
    write_atomically,
    write_checkpoint,
    write_together,
)
from gan_theory.mnist.classifier import BATCH, load_classifier, train_classifier
from gan_theory.mnist.classifier import PATH as CLASSIFIER
from gan_theory.mnist.data import MNIST, TRAINED_ON, load_mnist
from gan_theory.mnist.evaluation import Judge, averaged, blurred, centroids, nearest
from gan_theory.mnist.recipes import LABELS, RECIPES
from gan_theory.mnist.run import Run
from gan_theory.mnist.trained import REFERENCES, RUNS, Trained, load_run, shipped
from gan_theory.plotting import LINES, figure

PRECISIONS = "32-true", "bf16-mixed"
JUDGED = 10_000  # samples, as in the paper, unless the command says otherwise


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gan_theory.mnist", description="A GAN on the MNIST digits."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("train", help="train it, or go on training it")
    command.set_defaults(do=_train, command=command)
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
    command.add_argument(
        "--judge-every",
        default=5,
        type=_integer(0, 10**6),
        help="epochs from one judgement on held-out digits to the next (default 5; 0: never)",
    )
    command.add_argument(
        "--devices",
        default=1,
        type=_integer(1, 1024),
        help="processes on each machine, one a GPU where there are any (default 1)",
    )
    command.add_argument("--num-nodes", default=1, type=_integer(1, 1024), help="machines (default 1)")
    command.add_argument(
        "--precision",
        default=best_precision(),
        choices=PRECISIONS,
        help="of the networks' arithmetic (default: bf16-mixed if the machine has it in hardware)",
    )
    command.add_argument(
        "--compile", action="store_true", help="compile training first, by a C++ compiler, to train faster"
    )
    command = commands.add_parser("evaluate", help="judge the samples of a run")
    command.set_defaults(do=_evaluate, command=command)
    command.add_argument("run", metavar="RUN", help="the run's directory, or the name of a shipped one")
    command.add_argument(
        "--out", type=Path, help="where to (default: RUN/evaluation, or runs/RUN/evaluation)"
    )
    command.add_argument(
        "--samples", default=JUDGED, type=_integer(100, 10**5), help=f"that are judged (default {JUDGED:,})"
    )
    command = commands.add_parser("ship", help="judge a run and put it into the package")
    command.set_defaults(do=_ship, command=command)
    command.add_argument("run", metavar="RUN", type=Path, help="the run's directory")
    command.add_argument("--name", required=True, help="what `load_run` will call it")
    command.add_argument(
        "--samples", default=JUDGED, type=_integer(100, 10**5), help=f"that are judged (default {JUDGED:,})"
    )
    command.add_argument("--log-only", action="store_true", help="leave the networks and pictures out")
    command = commands.add_parser(
        "references", help="judge what no GAN has made: real digits, blurs, centroids"
    )
    command.set_defaults(do=_references, command=command)
    command.add_argument("--out", default=REFERENCES, type=Path, help="its file (default: the package's)")
    command.add_argument(
        "--samples", default=JUDGED, type=_integer(100, 25_000), help=f"that are judged (default {JUDGED:,})"
    )
    command = commands.add_parser("classifier", help="train the classifier that judges digits")
    command.set_defaults(do=_classifier, command=command)
    command.add_argument(
        "--epochs", default=6, type=_integer(1, 1000), help="passes over the digits (default 6)"
    )
    command.add_argument("--out", default=CLASSIFIER, type=Path, help="its file (default: the package's)")
    options = parser.parse_args(arguments)
    try:
        return options.do(options)
    except argparse.ArgumentError as error:
        options.command.error(str(error))
    except RuntimeError as error:  # what torch.distributed raises has no class of its own
        if not torch.distributed.is_initialized():
            raise
        message = f"a process of the run cannot be reached any more ({error})"
        print(f"{options.command.prog}: error: {message}", file=sys.stderr)
        return 1
    except (FloatingPointError, OSError, ValueError) as error:
        print(f"{options.command.prog}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _train(options: argparse.Namespace) -> int:
    out, checkpoint = options.out, options.out / "checkpoint.safetensors"
    fabric, digits = _launch(options), load_mnist()
    run = _begin(options, digits, fabric)
    if run.epoch >= options.epochs:
        print(f"{out} has {run.epoch} epochs already; for more, ask for more by --epochs")
        return 0
    judge = Judge(digits, load_classifier(), on_test=False) if options.judge_every else None
    passed = run.epoch * TRAINED_ON + run.batch * run.recipe.batch_size
    bar = tqdm(
        total=options.epochs * TRAINED_ON,
        initial=passed,
        unit=" images",
        unit_scale=True,
        disable=None if fabric.is_global_zero else True,
    )
    with _ctrl_c_asks() as asked_to_stop, bar:
        while run.epoch < options.epochs:
            with _diverging(run, options):
                for step in run.train_epoch():
                    bar.update(len(step.logits_real) * fabric.world_size)
                    if fabric.all_reduce(torch.tensor(len(asked_to_stop), dtype=torch.float32)) > 0:
                        run.save(checkpoint)
                        bar.close()
                        print(
                            f"stopped after batch {run.batch} of epoch {run.epoch + 1}; add --resume to go on"
                        )
                        return 130
            if fabric.is_global_zero:
                trained = run.trained()
                if judge and run.epoch % options.judge_every == 0:
                    samples = trained.sample(JUDGED, generator=torch.Generator().manual_seed(run.seed))
                    run.log[-1]["held_out"] = judge.row(samples)
                # The checkpoint comes last: whatever else is on disk, a resumed run writes it again.
                _write_grid(out / f"epoch-{run.epoch:04}.png", trained.generate(run.fixed_z.cpu()).numpy())
                _write_log(out, run)
                run.save(checkpoint)
                bar.write(_summary(run.log[-1], options.epochs))
            fabric.barrier()
    return 0


@contextmanager
def _diverging(run: Run, options: argparse.Namespace) -> Iterator[None]:
    """Says, if training comes to numbers that are not finite, what there is to go on from, and how."""
    # The checkpoint is of where the epoch is begun or gone on with: no step after it has been saved.
    saved = f"batch {run.batch} of epoch {run.epoch + 1}" if run.batch else f"epoch {run.epoch}"
    try:
        yield
    except FloatingPointError as error:
        exact = " or --precision 32-true" if options.precision != "32-true" else ""
        raise FloatingPointError(
            f"{error}. The last finite checkpoint is still {options.out / 'checkpoint.safetensors'}, after"
            f" {saved}. With --resume training goes on from it, and to the same end if nothing else is"
            f" changed: try a lower learning rate in the recipe{exact}."
        ) from None


def _begin(options: argparse.Namespace, digits: MNIST, fabric: Fabric) -> Run:
    """The run, new or resumed, with what is written before its first epoch."""
    out, checkpoint = options.out, options.out / "checkpoint.safetensors"
    if not options.resume and fabric.is_global_zero:
        _check_new(out)
    images, labels = digits.x_train[:TRAINED_ON], digits.y_train[:TRAINED_ON]
    run = Run(
        RECIPES[options.recipe],
        images,
        options.seed,
        labels=labels,
        fabric=fabric,
        compiled=options.compile,
    )
    try:
        if options.resume:
            run.load(checkpoint)
        elif fabric.is_global_zero:
            with folder_for(out):
                run.save(checkpoint)
        if fabric.is_global_zero:
            if run.epoch == run.batch == 0:
                _write_json(out / "run.json", _description(options))
                _write_grid(out / "epoch-0000.png", run.trained().generate(run.fixed_z.cpu()).numpy())
            elif run.epoch < options.epochs:
                _note_resumed(out / "run.json", _description(options), run)
            _write_log(out, run)
            _write_grid(out / "real.png", images[:64] / 255)
    except CheckpointError as error:
        raise _misuse("--resume", str(error)) from None
    except OSError as error:
        raise _misuse("--out", str(error)) from None
    return run


def _launch(options: argparse.Namespace) -> Fabric:
    """The processes that share the run, this one among them; --devices more of this command if need be."""
    gpus = torch.cuda.is_available()
    shared = options.devices * options.num_nodes > 1 or "WORLD_SIZE" in os.environ
    if shared and not gpus:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision on stderr
    fabric = Fabric(
        accelerator="cuda" if gpus else "cpu",
        # A process that dies is noticed at once by its peers; one that never began, after this time.
        strategy=DDPStrategy(timeout=timedelta(minutes=5)) if shared else "auto",
        devices=options.devices,
        num_nodes=options.num_nodes,
        precision=options.precision,
    )
    fabric.launch()
    return fabric


def best_precision() -> str:
    """bf16-mixed where the hardware multiplies bfloat16 by itself, and so large products are faster."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    able = torch.cpu.get_capabilities()
    return "bf16-mixed" if able.get("avx512_bf16") or able.get("amx_bf16") else "32-true"


def machine() -> dict[str, Any]:
    """Where and with what something is computed."""
    return {
        "processor": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else torch.cpu.get_capabilities()["cpu_name"],
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "gan-theory": version("gan-theory"),
    }


def _description(options: argparse.Namespace) -> dict[str, Any]:
    """How the run can be made again, and where it was made."""
    words = f"--recipe {options.recipe} --seed {options.seed} --epochs {options.epochs}"
    words += f" --judge-every {options.judge_every}"
    words += f" --precision {options.precision}"  # the default is another on another machine
    words += " --compile" * options.compile
    used = {
        "threads": torch.get_num_threads(),
        "processes": options.devices * options.num_nodes,
        "precision": options.precision,
    }
    return {
        "command": f"python -m gan_theory.mnist train {words} --out {options.out}",
        "machine": machine() | used,
    }


def _note_resumed(path: Path, now: dict[str, Any], run: Run) -> None:
    """Adds to a run's description how it goes on and from where, if not by the command it was begun by."""
    description = _read_description(path)
    resumed = description.setdefault("resumed", [])
    if any((resumed or [description])[-1].get(key) != value for key, value in now.items()):
        resumed.append({"epoch": run.epoch, "batch": run.batch} | now)
        _write_json(path, description)


def _evaluate(options: argparse.Namespace) -> int:
    digits = load_mnist()
    trained, folder = _find_run(options.run, digits)
    out = options.out or folder / "evaluation"
    _check_folder(out)
    judge = Judge(digits, load_classifier())
    row, z, samples = _judge(trained, judge, digits, options.samples)
    images = _images(digits.x_train[:TRAINED_ON])
    neighbours = images[nearest(samples[:32], images)]
    pairs = torch.stack([samples[:32], neighbours], dim=1).flatten(end_dim=1)
    ways = torch.lerp(z[:8, None], z[8:16, None], torch.linspace(0, 1, 8)[:, None]).flatten(end_dim=1)
    grids = {"samples": samples[:64], "nearest": pairs, "between": trained.generate(ways)}
    try:
        with folder_for(out):
            write_together(
                {out / f"{name}.png": _grid(shown.numpy()) for name, shown in grids.items()}
                | {out / "classes.png": _classes(row["classes"], judge.shares)}
                | {out / "evaluation.json": _json(row)}
            )
    except OSError as error:
        raise _misuse("--out", str(error)) from None
    for name, value in row.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    return 0


def _judge(trained: Trained, judge: Judge, digits: MNIST, n: int) -> tuple[dict[str, Any], Tensor, Tensor]:
    """The row of a run, and the noise and samples that it was judged by."""
    labels = None
    if trained.recipe.conditional:  # each as often as any other
        labels = torch.arange(n) % LABELS
    z = trained.recipe.sample_noise(n, torch.Generator().manual_seed(trained.seed), labels)
    samples = trained.generate(z)
    row = {
        "recipe": trained.recipe.name,
        "seed": trained.seed,
        "epoch": len(trained.log),
        "samples": n,
        **judge.row(samples),
    }
    mean_d = {"samples": trained.discriminate(samples, labels).mean().item()}
    for name, part in (("training", slice(min(TRAINED_ON, 10_000))), ("held out", slice(TRAINED_ON, None))):
        x, y = _images(digits.x_train[part]), torch.from_numpy(digits.y_train[part])
        mean_d[name] = trained.discriminate(x, y if trained.recipe.conditional else None).mean().item()
    row["mean_d"] = mean_d
    if labels is not None:
        found = judge.classifier.look(samples).logits.argmax(1)
        row["agreement"] = (found == labels).double().mean().item()
    return row, z, samples


def _references(options: argparse.Namespace) -> int:
    _check_file(options.out)
    digits, n = load_mnist(), options.samples
    images = _images(digits.x_train[:TRAINED_ON])
    judge, real = Judge(digits, load_classifier()), images[:n]
    sets = {
        "real": lambda: real,
        "real, others": lambda: images[n : 2 * n],
        "blurred": lambda: blurred(real),
        "averaged with 5 neighbours": lambda: averaged(real),
        f"{n // 10:,} centroids": lambda: centroids(images, n // 10),
        f"{n:,} centroids": lambda: centroids(images, n),
    }
    rows = {name: judge.row(make()) for name, make in tqdm(sets.items(), disable=None)}
    _write_json(options.out, rows)
    for name, row in rows.items():
        print(f"{name}: {row['log_likelihood']:.1f} ± {row['standard_error']:.1f} nats, FID {row['fid']:.1f}")
    return 0


def _find_run(given: str, digits: MNIST) -> tuple[Trained, Path]:
    """The run of a directory, or of that name in the package, and where its evaluation belongs."""
    folder = Path(given)
    if given in shipped():
        run = load_run(given)
        if run.generator is None:
            raise _misuse("RUN", f"{given} is shipped with its log alone: there is nothing to judge")
        return run, Path("runs") / given
    try:
        images, labels = digits.x_train[:TRAINED_ON], digits.y_train[:TRAINED_ON]
        return Run.from_checkpoint(folder / "checkpoint.safetensors", images, labels).trained(), folder
    except CheckpointError as error:
        raise _misuse("RUN", f"{error}; nor is it the name of a shipped run") from None


def _ship(options: argparse.Namespace) -> int:
    digits, folder = load_mnist(), options.run
    if not re.fullmatch(r"\w[\w.-]*", options.name):  # a folder of its own, in that of the runs
        raise _misuse("--name", f"must be letters, digits, '_', '.' and '-', not {options.name!r}")
    if options.name in shipped():
        raise _misuse("--name", f"{options.name} is shipped already; remove {RUNS / options.name} first")
    try:
        images, labels = digits.x_train[:TRAINED_ON], digits.y_train[:TRAINED_ON]
        run = Run.from_checkpoint(folder / "checkpoint.safetensors", images, labels)
        description = _read_description(folder / "run.json")
        pictures = {} if options.log_only else _pictures(folder, run.epoch)
    except (OSError, ValueError) as error:
        raise _misuse("RUN", str(error)) from None
    if not run.log:
        raise _misuse("RUN", f"{folder} holds a run that has not come to the end of an epoch")
    trained, networks = run.trained(), not options.log_only
    trained.report = {**description, "seconds": run.log[-1]["seconds"]}
    trained.pictures = pictures
    if networks:
        for network in (trained.generator, trained.discriminator):
            network.half().float()  # they are judged as they are shipped, in half precision
    trained.report["row"], *_ = _judge(trained, Judge(digits, load_classifier()), digits, options.samples)
    trained.save(RUNS / options.name, networks=networks)
    print(f"{RUNS / options.name} holds it now: load_run({options.name!r})")
    return 0


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not what the run has written ({error})") from None
    if not isinstance(description, dict):
        raise ValueError(f"{path} is not what the run has written, but a {type(description).__name__}")  # noqa: TRY004  (a file, no argument)
    return description


def _read_grid(path: Path) -> np.ndarray:
    """What `_grid` has made of images, a pixel for a pixel: (240, 240), 1 for paper."""
    try:
        grid = imread(path)
    except (SyntaxError, ValueError) as error:  # the former is what Pillow calls a broken file
        raise ValueError(f"{path} is not what the run has written ({error})") from None
    if grid.shape[:2] != (480, 480):
        raise ValueError(f"{path} is not what the run has written, but of shape {grid.shape}")
    return grid[::2, ::2, 0]


def _pictures(folder: Path, epochs: int) -> dict[str, Tensor]:
    """The fixed noise seen by G, from the grids: at the beginning, and then ever less often."""
    # 1.5**39 is more than the epochs of any run.
    chosen = sorted({0, *(min(epochs, round(1.5**i)) for i in range(40))})
    grids = np.stack([_read_grid(folder / f"epoch-{epoch:04}.png") for epoch in chosen])
    tiles = grids.reshape(len(chosen), 8, 30, 8, 30).swapaxes(2, 3)[..., 1:29, 1:29]
    images = np.round(255 * (1 - tiles)).astype(np.uint8).reshape(len(chosen), 64, 28, 28)
    return {"epoch": torch.tensor(chosen), "images": torch.from_numpy(images)}


def _classifier(options: argparse.Namespace) -> int:
    _check_file(options.out)
    digits, random = load_mnist(), torch.Generator().manual_seed(0)
    images, test = _images(digits.x_train[:TRAINED_ON]), _images(digits.x_test)
    labels = torch.from_numpy(digits.y_train[:TRAINED_ON]).long()
    steps = train_classifier(images, labels, epochs=options.epochs, random=random)
    total = options.epochs * -(-len(images) // BATCH)
    *_, (classifier, _loss) = tqdm(steps, total=total, unit=" batches", disable=None)
    right = classifier.look(test).logits.argmax(1) == torch.from_numpy(digits.y_test)
    accuracy = right.double().mean().item()
    tensors = {name: t.half() for name, t in classifier.state_dict().items() if t.is_floating_point()}
    write_checkpoint(options.out, tensors, {"epochs": options.epochs, "test_accuracy": accuracy})
    print(f"{accuracy:.2%} of the test digits are seen as what they are")
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


def _check_folder(out: Path) -> None:
    above = next(path for path in (out, *out.parents) if path.exists())
    if not above.is_dir():
        raise _misuse("--out", f"{out} must be a directory, and {above} is none")


def _check_file(out: Path) -> None:
    if out.is_dir():
        raise _misuse("--out", f"{out} is a directory; it must be a file")
    if not out.parent.is_dir():
        raise _misuse("--out", f"{out} must be a file in a directory, and {out.parent} is none")


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


def _images(digits: np.ndarray) -> Tensor:
    """Digits of MNIST as samples are: in [0, 1]."""
    return torch.from_numpy(digits) / 255


def _write_log(out: Path, run: Run) -> None:
    write_atomically(out / "log.jsonl", "".join(json.dumps(line) + "\n" for line in run.log).encode())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, _json(content))


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _write_grid(path: Path, images: np.ndarray) -> None:
    write_atomically(path, _grid(images))


def _grid(images: np.ndarray) -> bytes:
    """64 images as one, 8 by 8, dark ink on light paper, each pixel drawn 2 by 2."""
    tiles = np.pad(images, ((0, 0), (1, 1), (1, 1))).reshape(8, 8, 30, 30)
    grid = tiles.swapaxes(1, 2).reshape(240, 240).repeat(2, axis=0).repeat(2, axis=1)
    png = BytesIO()
    imsave(png, grid, cmap="gray_r", vmin=0, vmax=1, format="png")
    return png.getvalue()


def _classes(classes: list[int], shares: Tensor) -> bytes:
    """A drawing of how many samples are seen as each digit, beside as many as the data would have."""
    with figure(height=3.0) as (fig, ax):
        ax.bar(range(10), classes, color=LINES["p_g"]["color"], label="samples")
        expected = sum(classes) * shares
        ax.plot(range(10), expected, "_", color="black", markersize=22, label="data")
        ax.set(xlabel="digit", ylabel="how many", xticks=range(10))
        ax.legend()
    png = BytesIO()
    fig.savefig(png)
    return png.getvalue()


def _summary(line: dict[str, Any], epochs: int) -> str:
    judged = line.get("held_out")
    verdict = (
        f"; held out {judged['log_likelihood']:.1f} nats, FID {judged['fid']:.1f},"
        f" class KL {judged['class_divergence']:.4f}"
        if judged
        else ""
    )
    return (
        f"epoch {line['epoch']}/{epochs}: "
        f"loss of D {line['discriminator_loss']:.3f}, of G {line['generator_loss']:.3f}; "
        f"mean D {line['mean_d_real']:.2f} on real, {line['mean_d_fake']:.2f} on fake; "
        f"{line['images_per_second']} images/s{verdict}"
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
