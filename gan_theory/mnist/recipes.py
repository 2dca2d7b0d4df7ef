"""How a GAN on MNIST is made: networks and hyperparameters, under a name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim import SGD, Adam, Optimizer

from gan_theory.checks import check_random, is_integer
from gan_theory.mnist.data import TRAINED_ON, load_mnist
from gan_theory.networks import (
    book_discriminator,
    book_generator,
    cgan_discriminator,
    cgan_generator,
    dcgan_discriminator,
    dcgan_generator,
    mnist_discriminator,
    mnist_generator,
    paper_discriminator,
    paper_generator,
)

__all__ = ["LABELS", "RECIPES", "Recipe"]

LABELS = 10


def adam(network: nn.Module, *, learning_rate: float, betas: tuple[float, float]) -> Adam:
    """Adam with its state in place: it would make it at its first step, but a resumed run loads into it."""
    optimizer = Adam(network.parameters(), lr=learning_rate, betas=betas, fused=True)
    for parameter in network.parameters():
        optimizer.state[parameter] = {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def momentum(network: nn.Module, *, learning_rate: float) -> SGD:
    """Gradient descent with the paper's momentum at its start, and with its state in place."""
    optimizer = SGD(network.parameters(), lr=learning_rate, momentum=0.5, fused=True)
    for parameter in network.parameters():
        optimizer.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
    return optimizer


def normal(n: int, dimensions: int, random: torch.Generator) -> Tensor:
    """Noise of the standard normal distribution."""
    return torch.randn(n, dimensions, generator=random)


def uniform(n: int, dimensions: int, random: torch.Generator) -> Tensor:
    """Noise uniform on (−√3, √3) in each dimension: variance 1, as the authors have it."""
    return 3**0.5 * (2 * torch.rand(n, dimensions, generator=random) - 1)


@dataclass(frozen=True)
class Recipe:
    """All that decides a run, apart from its seed and its length.

    Attributes:
        name: What the recipe is called on the command line and in checkpoints.
        generator: Makes G; takes the `torch.Generator` of its initial parameters as `generator`.
        discriminator: Makes D, likewise.
        generator_optimizer: Makes the optimiser of G, its state in place.
        discriminator_optimizer: Makes the optimiser of D, likewise.
        prior: Draws z: (n, noise_dimensions), from a stream of random numbers.
        batch_size: Images in a minibatch, and noise vectors in a minibatch.
        noise_dimensions: The dimension of z.
        conditional: Whether both players are told the label, as ten more columns of z and of the image.
        simultaneous: Whether D and G move together, as in the authors' code, or in turns, as in Algorithm 1.
        gradient_penalty: γ of the penalty R1 on D.
        penalty_every: How many iterations go from one penalty to the next.
        average: What the running average of G's weights keeps at each step, 0 ≤ average < 1; the samples are
            the average's. With 0 it is G itself.
        schedule: Sets what an optimiser uses at an iteration, by the numbers, from 0, of that
            iteration in the run and of its epoch.
    """

    name: str
    generator: Callable[..., nn.Module]
    discriminator: Callable[..., nn.Module]
    generator_optimizer: Callable[[nn.Module], Optimizer]
    discriminator_optimizer: Callable[[nn.Module], Optimizer]
    prior: Callable[[int, int, torch.Generator], Tensor]
    batch_size: int = 128
    noise_dimensions: int = 100
    conditional: bool = False
    simultaneous: bool = True
    gradient_penalty: float = 0.0
    penalty_every: int = 1
    average: float = 0.0
    schedule: Callable[[Optimizer, int, int], None] | None = None

    def sample_noise(self, n: int, random: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """What G draws from: z, and for a conditional recipe the labels (n,) beside it, as ten columns.

        Raises:
            TypeError: If random is neither a `torch.Generator` nor None, which is PyTorch's global one.
            ValueError: If n is not an integer, or negative; or if labels are missing where the recipe wants
                them, given where it wants none, or not n integers from 0 to 9.
        """
        if not is_integer(n, 0):
            raise ValueError(f"n must be an integer and not negative, not {n!r}")
        if random is not None:
            check_random(random, "generator")
        z = self.prior(n, self.noise_dimensions, random)
        if not self.conditional:
            if labels is not None:
                raise ValueError(f"labels must not be given: {self.name} draws what it likes")
            return z
        return torch.cat([z, self.columns(n, labels)], dim=1)

    def columns(self, n: int, labels: Tensor | None) -> Tensor:
        """Labels (n,) as ten columns, one of them 1 and the others 0."""
        integers = isinstance(labels, Tensor) and not (labels.is_floating_point() or labels.is_complex())
        whole = labels.long() if integers else None  # uint16 and its like cannot be compared
        if not integers or labels.shape != (n,) or not ((whole >= 0) & (whole < LABELS)).all():
            raise ValueError(f"labels must be {n} integers from 0 to {LABELS - 1}, not {labels}")
        return one_hot(whole, LABELS).float()


def _paper_generator(*, generator: torch.Generator | None = None) -> nn.Sequential:
    """The authors' G, whose sigmoids begin at the mean of each pixel."""
    network = paper_generator(generator=generator)
    means = torch.from_numpy(load_mnist().x_train[:TRAINED_ON].mean(axis=0) / 255).float().flatten()
    with torch.no_grad():
        network[-3].bias.copy_(means.logit(eps=1e-7))
    return network


def _paper_schedule(optimizer: Optimizer, iteration: int, epoch: int) -> None:
    """The authors' rates fall by a factor of 1.000004 an iteration; momentum grows to 0.7 in 250 epochs."""
    for group in optimizer.param_groups:
        start = group.setdefault("initial_lr", group["lr"])
        group["lr"] = max(start / 1.000004**iteration, 1e-6)
        group["momentum"] = 0.5 + 0.2 * min(max(epoch - 1, 0) / 249, 1.0)


_slow = partial(adam, learning_rate=3e-4, betas=(0.9, 0.999))
_fast = partial(adam, learning_rate=1e-3, betas=(0.0, 0.99))
_ours: dict[str, Any] = {
    "generator_optimizer": _fast,
    "discriminator_optimizer": _fast,
    "prior": normal,
    "gradient_penalty": 0.2,
    "penalty_every": 16,
}

RECIPES = {
    recipe.name: recipe
    for recipe in [
        Recipe(
            name="seed",
            generator=mnist_generator,
            discriminator=mnist_discriminator,
            generator_optimizer=_slow,
            discriminator_optimizer=_slow,
            prior=normal,
            simultaneous=False,
        ),
        Recipe(
            name="paper",
            generator=_paper_generator,
            discriminator=paper_discriminator,
            generator_optimizer=partial(momentum, learning_rate=0.1),
            # The authors halve D's loss, which for gradient descent is to halve its rate.
            discriminator_optimizer=partial(momentum, learning_rate=0.05),
            prior=uniform,
            batch_size=100,
            schedule=_paper_schedule,
        ),
        Recipe(
            name="book",
            generator=book_generator,
            discriminator=book_discriminator,
            average=0.9995,
            **_ours,
        ),
        Recipe(
            name="cgan",
            generator=cgan_generator,
            discriminator=cgan_discriminator,
            conditional=True,
            average=0.9995,
            **_ours,
        ),
        Recipe(
            name="dcgan",
            generator=dcgan_generator,
            discriminator=dcgan_discriminator,
            batch_size=64,
            average=0.999,
            **_ours,
        ),
    ]
}
