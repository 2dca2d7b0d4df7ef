"""A run: a recipe, the digits and a seed, trained epoch by epoch, saved and resumed bit for bit."""

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from gan_theory.mnist.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from gan_theory.mnist.data import to_images, to_pixels
from gan_theory.mnist.recipes import RECIPES, Recipe
from gan_theory.training import Step, train

__all__ = ["Run"]


def _random(*key: int) -> torch.Generator:
    """A stream of random numbers of its own for each key."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))


def _adam(network: nn.Module, recipe: Recipe) -> Adam:
    """Adam with its state in place: it would make it at the first step, but a resumed run loads into it."""
    optimizer = Adam(network.parameters(), lr=recipe.learning_rate, betas=recipe.betas, fused=True)
    for parameter in network.parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(0.0),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


class Run:
    r"""A GAN in training on images, whose whole state a checkpoint holds.

    Everything random comes from the seed: the initial parameters, `fixed_z`, the noise, and each epoch's
    order of the data, which has a stream of its own for each (seed, epoch). Stopped after any step, saved,
    and loaded into a new run of the same recipe, images and seed, it goes on to the same weights, bit for
    bit, on the same machine with the same number of threads.

    Args:
        recipe: The networks and hyperparameters.
        images: (n, 28, 28), uint8.
        seed: From 0 to 2³² − 1.

    Attributes:
        generator: G.
        discriminator: D.
        average: The running average of G's weights, or None if the recipe has none.
        epoch: The number of epochs completed.
        batch: The number of minibatches completed in the current epoch.
        log: A dict an epoch completed: `epoch`, `discriminator_loss`, `generator_loss`, `mean_d_real`,
            `mean_d_fake` (means over the epoch's images, losses in nats) and `images_per_second`.
        fixed_z: 64 points of the noise space, to watch the generator by.
        noise: Where the noise of training is drawn from.

    Raises:
        ValueError: If `images` or `seed` is not as said above.
    """

    def __init__(self, recipe: Recipe, images: np.ndarray, seed: int = 0) -> None:
        if images.dtype != np.uint8 or images.shape[1:] != (28, 28) or len(images) == 0:
            raise ValueError(
                f"images must be uint8 (n, 28, 28) with n ≥ 1, not {images.dtype} {images.shape}"
            )
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed must be an integer from 0 to {2**32 - 1}, not {seed}")
        self.recipe, self.seed = recipe, seed
        self.pixels = to_pixels(images)
        random = _random(seed, 0)
        self.generator = recipe.generator(generator=random)
        self.discriminator = recipe.discriminator(generator=random)
        self.generator_optimizer = _adam(self.generator, recipe)
        self.discriminator_optimizer = _adam(self.discriminator, recipe)
        self.average = None
        if recipe.average:
            self.average = AveragedModel(
                self.generator, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=False
            )
        self.fixed_z = torch.randn(64, recipe.noise_dimensions, generator=random)
        self.epoch, self.batch = 0, 0
        self.log: list[dict[str, Any]] = []
        self.noise = random
        self._sums, self._seconds = torch.zeros(4, dtype=torch.float64), 0.0

    def train_epoch(self) -> Iterator[Step]:
        """Trains to the end of the current epoch, from wherever in it the run stands.

        Yields:
            Each `Step`; the run may be saved, or left, after any of them.

        Raises:
            FloatingPointError: If a loss is not finite, or at the end of the epoch a parameter.
        """
        order = torch.randperm(len(self.pixels), generator=_random(self.seed, self.epoch + 1))
        steps = train(
            self.generator,
            self.discriminator,
            (self.pixels[index] for index in order.split(self.recipe.batch_size)[self.batch :]),
            lambda n: self._sample_noise(n, self.noise),
            generator_optimizer=self.generator_optimizer,
            discriminator_optimizer=self.discriminator_optimizer,
            simultaneous=self.recipe.simultaneous,
        )
        clock = perf_counter()
        for step in steps:
            mean_d = step.logits_real.sigmoid().mean(), step.logits_fake.sigmoid().mean()
            means = torch.stack([step.discriminator_loss, step.generator_loss, *mean_d])
            if self.average:
                self.average.update_parameters(self.generator)
            self.batch += 1
            if not means.isfinite().all():
                raise FloatingPointError(
                    f"at step {self.batch} of epoch {self.epoch + 1} the discriminator's loss is"
                    f" {means[0]:.4g} and the generator's {means[1]:.4g}; training cannot go on"
                )
            self._sums += len(step.logits_real) * means
            self._seconds, clock = self._seconds + perf_counter() - clock, perf_counter()
            yield step
        self._end_epoch()

    def _end_epoch(self) -> None:
        self._check_finite()
        names = "discriminator_loss", "generator_loss", "mean_d_real", "mean_d_fake"
        means = (self._sums / len(self.pixels)).tolist()
        self.epoch, self.batch = self.epoch + 1, 0
        speed = round(len(self.pixels) / self._seconds)
        self.log.append(
            {"epoch": self.epoch, **dict(zip(names, means, strict=True)), "images_per_second": speed}
        )
        self._sums.zero_()
        self._seconds = 0.0

    @torch.no_grad()
    def generate(self, z: Tensor) -> Tensor:
        """Samples as images: (n, noise_dimensions) → (n, 28, 28) in [0, 1], 1 for ink.

        They are those of the average, if there is one. Statistics of batch normalisation are taken anew for
        it, over 20,000 z: those that G has used belong to G's weights.
        """
        network = self.generator
        if self.average:
            network = self.average.module
            random = _random(self.seed)  # the same each time, and none that training uses
            update_bn((self._sample_noise(1000, random) for _ in range(20)), network)
        network.eval()
        images = torch.cat([to_images(network(part)) for part in z.split(1000)])
        network.train()
        return images

    @torch.no_grad()
    def discriminate(self, images: Tensor) -> Tensor:
        """D of images: (n, 28, 28) in [0, 1] → (n,) in [0, 1], the probability that each is real."""
        pixels = images.flatten(1) * 2 - 1
        return torch.cat([self.discriminator(part).squeeze(1) for part in pixels.split(1000)]).sigmoid()

    def _sample_noise(self, n: int, random: torch.Generator) -> Tensor:
        return torch.randn(n, self.recipe.noise_dimensions, generator=random)

    def save(self, path: Path) -> None:
        """Writes the whole state of the run to a checkpoint, atomically.

        Raises:
            FloatingPointError: If a parameter is not finite; the checkpoint that was there stays as it was.
        """
        self._check_finite()
        progress = {"epoch": self.epoch, "batch": self.batch, "seconds": self._seconds, "log": self.log}
        write_checkpoint(path, self.tensors(), {**self._identity(), **progress})

    def load(self, path: Path) -> None:
        """Takes the state of a checkpoint, after which training goes on as if it had never stopped.

        Raises:
            CheckpointError: If the checkpoint is missing, damaged, or of another recipe, seed or data; the
                run is then left as it was.
        """
        loaded, metadata = read_checkpoint(path)
        for name, ours in self._identity().items():
            if metadata.get(name) != ours:
                raise CheckpointError(f"{path} is of a run with {name} {metadata.get(name)!r}, not {ours!r}")
        tensors = self.tensors()
        if missing := (tensors.keys() - loaded.keys()) | (
            {"epoch", "batch", "seconds", "log"} - metadata.keys()
        ):
            raise CheckpointError(f"{path} lacks {', '.join(sorted(missing))}")
        for name, tensor in tensors.items():
            if (found := (loaded[name].dtype, loaded[name].shape)) != (tensor.dtype, tensor.shape):
                raise CheckpointError(f"{name} in {path} is {found}, not {(tensor.dtype, tensor.shape)}")
        for name, tensor in tensors.items():
            tensor.copy_(loaded[name])
        self.noise.set_state(tensors["noise"])
        self.epoch, self.batch, self._seconds, self.log = (
            metadata[name] for name in ("epoch", "batch", "seconds", "log")
        )

    @classmethod
    def from_checkpoint(cls, path: Path, images: np.ndarray) -> "Run":
        """The run that a checkpoint holds, on the images that it was trained on.

        Raises:
            CheckpointError: As `load`, or if the checkpoint is of no recipe that there is.
        """
        _, metadata = read_checkpoint(path)
        recipe, seed = metadata.get("recipe"), metadata.get("seed")
        if recipe not in RECIPES or not isinstance(seed, int):
            raise CheckpointError(f"{path} is of a run with recipe {recipe!r} and seed {seed!r}")
        run = cls(RECIPES[recipe], images, seed)
        run.load(path)
        return run

    def _check_finite(self) -> None:
        for name, tensor in self.tensors().items():
            if not tensor.isfinite().all():
                raise FloatingPointError(
                    f"after step {self.batch} of epoch {self.epoch + 1} {name} is not finite;"
                    " training cannot go on"
                )

    def _identity(self) -> dict[str, Any]:
        return {"recipe": self.recipe.name, "seed": self.seed, "images": len(self.pixels)}

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the run's state by name: not copies, but for that of the noise's generator."""
        tensors = {"sums": self._sums, "noise": self.noise.get_state()}
        for player in ("generator", "discriminator"):
            network: nn.Module = getattr(self, player)
            optimizer: Adam = getattr(self, f"{player}_optimizer")
            tensors |= {f"{player}.{name}": tensor for name, tensor in network.state_dict().items()}
            for name, parameter in network.named_parameters():
                for moment, tensor in optimizer.state[parameter].items():
                    tensors[f"{player}.{name}.{moment}"] = tensor
        if self.average:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        return tensors
