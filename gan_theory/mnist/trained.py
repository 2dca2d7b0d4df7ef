"""What a run has come to: two players that can be asked, and the runs that come with the package."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gan_theory.checks import check_random, describe, is_integer
from gan_theory.mnist.checkpoint import (
    CheckpointError,
    as_checkpoint,
    folder_for,
    read_checkpoint,
    write_together,
)
from gan_theory.mnist.data import to_images
from gan_theory.mnist.recipes import LABELS, RECIPES, Recipe

__all__ = ["REFERENCES", "RUNS", "SPEEDS", "Trained", "load_run", "shipped"]

RUNS = Path(__file__).with_name("runs")
REFERENCES = RUNS / "references.json"
# What `tests/bench/mnist.py` wrote on three machines: the second has bfloat16, the third also compiled.
SPEEDS = [RUNS / f"speed-{what}.json" for what in ("float32", "bfloat16", "compiled")]
PLAYERS = "generator", "discriminator"


class Trained:
    r"""A generator and a discriminator after training, in use: nothing about them changes any more.

    Args:
        recipe: What they were made by.
        seed: Of their run.
        generator: G, or None if the run is shipped with its log alone.
        discriminator: D, likewise.
        log: A dict an epoch, as of `Run`.

    Attributes:
        report: What is written beside a shipped run: the `command` that remakes it, the `machine` on which it
            took so many `seconds`, the `row` of its evaluation, and, if another command or another machine
            went on with it, which and from where (`resumed`); {} before that.
        pictures: The fixed noise of the run seen by G after some epochs, `epoch` (k,) and `images`
            (k, 64, 28, 28), uint8; {} before that, and for runs shipped without.
    """

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        generator: nn.Module | None,
        discriminator: nn.Module | None,
        log: list[dict[str, Any]],
    ) -> None:
        self.recipe, self.seed, self.log = recipe, seed, log
        self.generator, self.discriminator = (
            network.eval().requires_grad_(requires_grad=False) if network else None
            for network in (generator, discriminator)
        )
        self.report: dict[str, Any] = {}
        self.pictures: dict[str, Tensor] = {}

    def sample(
        self, n: int, *, labels: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Samples of p_g.

        Args:
            n: How many.
            labels: (n,), the digits asked for, of a conditional recipe; by default any, each as likely.
            generator: Where the noise is drawn from; PyTorch's global generator if None.

        Returns:
            (n, 28, 28), in [0, 1], 1 for ink.

        Raises:
            TypeError, ValueError: As `Recipe.sample_noise`, or if the run is shipped with its log alone.
        """
        if self.recipe.conditional and labels is None and is_integer(n, 0):
            if generator is not None:
                check_random(generator, "generator")
            labels = torch.randint(LABELS, (n,), generator=generator)
        return self.generate(self.recipe.sample_noise(n, generator, labels))

    def generate(self, z: Tensor) -> Tensor:
        """G of noise as images: (n, noise_dimensions), and the label's columns if any → (n, 28, 28).

        Raises:
            ValueError: If z is not of that shape, or the run is shipped with its log alone.
        """
        self._check_asked()
        width = self.recipe.noise_dimensions + LABELS * self.recipe.conditional
        if not isinstance(z, Tensor) or z.dim() != 2 or z.shape[1] != width or not z.is_floating_point():
            raise ValueError(f"z must be a floating-point tensor of shape (n, {width}), not {describe(z)}")
        z = z.to(next(self.generator.parameters()).dtype)
        return torch.cat([to_images(self.generator(part)[:, :784]) for part in z.split(1000)])

    def discriminate(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """D of images: (n, 28, 28) in [0, 1] → (n,) in [0, 1], the probability that each is real.

        A conditional recipe's D says whether image and label (n,) are a real pair.

        Raises:
            ValueError: If images are not as said, labels are missing where the recipe wants them or given
                where it wants none, or the run is shipped with its log alone.
        """
        self._check_asked()
        if not isinstance(images, Tensor) or images.shape[1:] != (28, 28) or not images.is_floating_point():
            raise ValueError(f"images must be floating-point, of shape (n, 28, 28), not {describe(images)}")
        if not ((images >= -1e-6) & (images <= 1 + 1e-6)).all():  # but for rounding
            raise ValueError(f"images must be in [0, 1], not from {images.min():.4g} to {images.max():.4g}")
        if labels is not None and not self.recipe.conditional:
            raise ValueError(f"labels must not be given: the D of {self.recipe.name} looks at none")
        x = images.to(next(self.discriminator.parameters()).dtype).flatten(1) * 2 - 1
        if self.recipe.conditional:
            x = torch.cat([x, self.recipe.columns(len(x), labels)], dim=1)
        return torch.cat([self.discriminator(part).squeeze(1) for part in x.split(1000)]).sigmoid()

    def save(self, folder: Path, *, networks: bool) -> None:
        """Writes the run to a folder, from which `load_run` reads it: weights in half precision."""
        files = {}
        for player in PLAYERS if networks else ():
            tensors = getattr(self, player).state_dict().items()
            halves = {name: t.half().contiguous() for name, t in tensors if t.is_floating_point()}
            files[folder / f"{player}.safetensors"] = as_checkpoint(halves, {"recipe": self.recipe.name})
        if self.pictures:
            pictures = as_checkpoint(self.pictures, {"recipe": self.recipe.name})
            files[folder / "pictures.safetensors"] = pictures
        files[folder / "log.jsonl"] = "".join(json.dumps(line) + "\n" for line in self.log).encode()
        report = {"recipe": self.recipe.name, "seed": self.seed, **self.report}
        files[folder / "run.json"] = (json.dumps(report, indent=1) + "\n").encode()
        with folder_for(folder):
            write_together(files)

    def _check_asked(self) -> None:
        if self.generator is None or self.discriminator is None:
            raise ValueError(
                f"a run of {self.recipe.name} that is shipped with its log alone has no networks"
            )


def shipped() -> list[str]:
    """The names of the runs that come with the package."""
    return sorted(file.parent.name for file in RUNS.glob("*/run.json"))


def load_run(name: str) -> Trained:
    r"""A run that comes with the package, trained to its end.

    Args:
        name: One of the folders of `gan_theory/mnist/runs`: `book`, `cgan`, `dcgan` and `seed` have both
            networks; `book-1`, `book-2`, `book-bfloat16` and `paper` have their log and report alone.

    Returns:
        The run; its `report` has the command that remakes it.

    Raises:
        ValueError: If there is no such run.
        CheckpointError: If its files are damaged.

    >>> load_run("book").sample(3).shape
    torch.Size([3, 28, 28])
    """
    if not isinstance(name, str) or name not in shipped():
        raise ValueError(f"name must be one of {', '.join(shipped())}, not {name!r}")
    folder = RUNS / name
    try:
        report = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        log = [json.loads(line) for line in lines]
        recipe, seed = RECIPES[report.pop("recipe")], report.pop("seed")
        if [line["epoch"] for line in log] != list(range(1, len(log) + 1)) or (
            log[-1]["seconds"] != report["seconds"]  # of the whole run: its log has lost no line
        ):
            raise ValueError("log.jsonl is not its whole log")  # noqa: TRY301  (as all else that is wrong here)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder} does not hold a whole run ({error!r})") from error
    networks = [
        _load(getattr(recipe, player)(generator=torch.Generator()), folder / f"{player}.safetensors")
        if (folder / f"{player}.safetensors").is_file()
        else None
        for player in PLAYERS
    ]
    run = Trained(recipe, seed, *networks, log)
    run.report = report
    if (folder / "pictures.safetensors").is_file():
        run.pictures, _ = read_checkpoint(folder / "pictures.safetensors")
    return run


def _load(network: nn.Module, path: Path) -> nn.Module:
    """The network with the weights of a file; in evaluation it needs those with a point only."""
    tensors, _ = read_checkpoint(path)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            if name not in tensors or tensors[name].shape != tensor.shape:
                raise CheckpointError(f"{path} does not fit: {name} is missing or of another shape")
            tensor.copy_(tensors[name])
    return network
