"""The command line: `python -m gan_theory.mnist train`, `evaluate` and `classifier`."""

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
import torch
from matplotlib.image import imsave
from torch import Tensor
from tqdm import tqdm

from gan_theory.mnist.checkpoint import CheckpointError, write_atomically, write_checkpoint
from gan_theory.mnist.classifier import PATH as CLASSIFIER
from gan_theory.mnist.classifier import load_classifier, train_classifier
from gan_theory.mnist.data import TRAINED_ON, load_mnist
from gan_theory.mnist.evaluation import Judge, nearest
from gan_theory.mnist.recipes import RECIPES
from gan_theory.mnist.run import Run
from gan_theory.plotting import LINES, figure


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
    command = commands.add_parser("evaluate", help="judge the samples of a run")
    command.set_defaults(do=_evaluate, command=command)
    command.add_argument("run", metavar="RUN", type=Path, help="the run's directory")
    command.add_argument(
        "--samples", default=10_000, type=_integer(100, 10**5), help="that are judged (default 10,000)"
    )
    command = commands.add_parser("classifier", help="train the classifier that judges digits")
    command.set_defaults(do=_classifier, command=command)
    command.add_argument("--epochs", default=6, type=_integer(1, 1000), help="passes over the digits (6)")
    command.add_argument("--out", default=CLASSIFIER, type=Path, help="its file (default: the package's)")
    options = parser.parse_args(arguments)
    try:
        return options.do(options)
    except argparse.ArgumentError as error:
        options.command.error(str(error))
    except (FloatingPointError, OSError, ValueError) as error:
        print(f"{options.command.prog}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _train(options: argparse.Namespace) -> int:
    out, checkpoint = options.out, options.out / "checkpoint.safetensors"
    if not options.resume:
        _check_new(out)
    digits = load_mnist().x_train[:TRAINED_ON]
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


def _evaluate(options: argparse.Namespace) -> int:
    checkpoint, digits = options.run / "checkpoint.safetensors", load_mnist()
    try:
        run = Run.from_checkpoint(checkpoint, digits.x_train[:TRAINED_ON])
    except CheckpointError as error:
        raise _misuse("RUN", str(error)) from None
    random = torch.Generator().manual_seed(run.seed)
    z = torch.randn(options.samples, run.recipe.noise_dimensions, generator=random)
    samples = run.generate(z)
    judge = Judge(digits, load_classifier())
    trained_on = torch.from_numpy(digits.x_train[:TRAINED_ON]) / 255
    shown = {"training": trained_on[: options.samples], "held out": judge.held_out, "samples": samples}
    row = {
        "recipe": run.recipe.name,
        "seed": run.seed,
        "epoch": run.epoch,
        "samples": options.samples,
        **judge.row(samples),
        "mean_d": {name: run.discriminate(images).mean().item() for name, images in shown.items()},
    }
    out = options.run / "evaluation"
    out.mkdir(exist_ok=True)
    neighbours = trained_on[nearest(samples[:32], trained_on)]
    pairs = torch.stack([samples[:32], neighbours], dim=1).flatten(end_dim=1)
    ways = torch.lerp(z[:8, None], z[8:16, None], torch.linspace(0, 1, 8)[:, None]).flatten(end_dim=1)
    for name, images in (("samples", samples[:64]), ("nearest", pairs), ("between", run.generate(ways))):
        _write_grid(out / f"{name}.png", images.numpy())
    _write_classes(out / "classes.png", row["classes"], judge.shares)
    write_atomically(out / "evaluation.json", (json.dumps(row, indent=1) + "\n").encode())
    for name, value in row.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    return 0


def _classifier(options: argparse.Namespace) -> int:
    digits, random = load_mnist(), torch.Generator().manual_seed(0)
    images, test = (torch.from_numpy(each) / 255 for each in (digits.x_train[:TRAINED_ON], digits.x_test))
    labels = torch.from_numpy(digits.y_train[:TRAINED_ON]).long()
    steps = train_classifier(images, labels, epochs=options.epochs, random=random)
    total = options.epochs * -(-len(images) // 128)
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


def _write_classes(path: Path, classes: list[int], shares: Tensor) -> None:
    """Draws how many samples are seen as each digit, beside as many as the data would have."""
    with figure(height=3.0) as (fig, ax):
        ax.bar(range(10), classes, color=LINES["p_g"]["color"], label="samples")
        expected = sum(classes) * shares
        ax.plot(range(10), expected, "_", color="black", markersize=22, label="data")
        ax.set(xlabel="digit", ylabel="how many", xticks=range(10))
        ax.legend()
    png = BytesIO()
    fig.savefig(png)
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
