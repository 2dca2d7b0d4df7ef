"""A run on the line: z uniform on (−1, 1), two small networks, and snapshots of both along the way."""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Laplace, MixtureSameFamily, Normal, Uniform
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from gan_theory.checks import check_elementwise, check_flag, check_random, is_integer, is_real
from gan_theory.densities import Pushforward
from gan_theory.distributions import as_density
from gan_theory.divergences import js_divergence
from gan_theory.game import Discriminator, optimal_discriminator, regret, value
from gan_theory.losses import discriminator_loss, non_saturating_generator_loss, saturating_generator_loss
from gan_theory.networks import mlp
from gan_theory.training import train

__all__ = ["RUNS", "TARGETS", "Settings", "Snapshot", "as_discriminator", "best_response", "judge", "play"]

RUNS = Path(__file__).with_name("runs.json")  # the log of `python -m gan_theory.one_dimensional`

_TABLE = 100_001  # points of a quantile function that is not known in closed form
_SLOPE_AT_START = 0.3  # D's last weights are made this much smaller: it starts undecided

TARGETS: dict[str, Distribution] = {
    "Normal(1, 0.5)": Normal(torch.tensor(1.0).double(), torch.tensor(0.5).double()),
    "Normal(-2, 0.7)": Normal(torch.tensor(-2.0).double(), torch.tensor(0.7).double()),
    "two bumps": MixtureSameFamily(
        Categorical(torch.ones(2).double()),
        Normal(torch.tensor([-1.5, 1.5]).double(), torch.full((2,), 0.5).double()),
    ),
    "Laplace(0, 1)": Laplace(torch.tensor(0.0).double(), torch.tensor(1.0).double()),
}


@dataclass(frozen=True)
class Settings:
    """All that decides a run, apart from its target and its random numbers.

    Attributes:
        iterations: Of Algorithm 1, each with one update of G.
        discriminator_steps: k, the updates of D in an iteration.
        batch_size: Points of each kind in a minibatch.
        saturating: Whether G descends log(1 − D), as Algorithm 1 writes it, or −log D.
        stratified: Whether a batch has one point in each of `batch_size` equally probable intervals of z, and
            of x; or independent points, as in Algorithm 1.
        generator_learning_rate: Adam's, of G, in the first part of the run.
        discriminator_learning_rate: The same of D.
        betas: How much Adam remembers of the gradient and of its square, for both players.
        constant_share: The share of the run after which both rates fall along a cosine, that of G to 0.
        least_discriminator_rate: The share of its learning rate below which that of D does not fall: D has
            to keep up with G to the end.
        averaging: The weight of the past in the running average of G's weights.
        widths: Of the hidden layers, in both networks.
        generator_stretch: What the initial weights and biases of G's first layer are multiplied by.
        discriminator_stretch: The same for D.
        response_steps: Updates of D alone, by which it answers a G that stands still.
    """

    iterations: int = 2000
    discriminator_steps: int = 3
    batch_size: int = 256
    saturating: bool = False
    stratified: bool = True
    generator_learning_rate: float = 0.002
    discriminator_learning_rate: float = 0.005
    betas: tuple[float, float] = (0.0, 0.99)
    constant_share: float = 0.3
    least_discriminator_rate: float = 0.5
    averaging: float = 0.999
    widths: tuple[int, ...] = (32, 32)
    generator_stretch: float = 1.5
    discriminator_stretch: float = 4.0
    response_steps: int = 1000

    def __post_init__(self) -> None:
        """Refuses what no run can be made with."""
        for name in ("saturating", "stratified"):
            check_flag(getattr(self, name), name)
        for name in ("iterations", "discriminator_steps", "batch_size", "response_steps"):
            given = getattr(self, name)
            if not is_integer(given, 1):
                raise ValueError(f"{name} must be a positive integer, not {given!r}")
        for name in (
            "generator_learning_rate",
            "discriminator_learning_rate",
            "generator_stretch",
            "discriminator_stretch",
        ):
            if not (is_real(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be positive and finite, not {getattr(self, name)!r}")
        for name in ("constant_share", "least_discriminator_rate", "averaging"):
            if not (is_real(getattr(self, name)) and 0 <= getattr(self, name) < 1):
                raise ValueError(f"{name} must be in [0, 1), not {getattr(self, name)!r}")
        pair = isinstance(self.betas, tuple) and len(self.betas) == 2
        if not pair or not all(is_real(beta) and 0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), not {self.betas!r}")
        if not isinstance(self.widths, tuple) or not all(is_integer(width, 1) for width in self.widths):
            raise ValueError(f"widths must be a tuple of positive integers, not {self.widths!r}")


class Snapshot(NamedTuple):
    """Copies of the players after an iteration: G as it plays, the average of its weights, and D."""

    iteration: int
    generator: nn.Module
    average: nn.Module
    discriminator: nn.Module


def play(
    p_data: Distribution,
    settings: Settings | None = None,
    *,
    random: torch.Generator,
    looks: int = 60,
) -> Iterator[Snapshot]:
    r"""Trains G against D by Algorithm 1 on a known density, and hands out copies of both along the way.

    The noise is uniform on :math:`(-1, 1)`. A stratified batch takes the i-th of its m points from the i-th
    of m equally probable intervals, at random within it: each mean over a batch has the expectation that it
    has over independent points, and a far smaller variance.

    Args:
        p_data: one-dimensional, unbatched, continuous distribution of the data, with a `cdf`.
        settings: All else; the defaults if None.
        random: Where the initial parameters and all batches are drawn from.
        looks: How many snapshots, close to each other at first, are taken after the one at the start.

    Yields:
        A `Snapshot` before the first iteration, and after `looks` of them at most, the last one included.

    Raises:
        TypeError: If p_data is not a distribution, settings no `Settings`, or random no `torch.Generator`.
        ValueError: If p_data is not as said, or `looks` is not a positive integer.
        FloatingPointError: If a loss is not finite.

    Source:
        Goodfellow et al. 2014, Algorithm 1.
    """
    if not is_integer(looks, 1):
        raise ValueError(f"looks must be a positive integer, not {looks!r}")
    s = _checked(settings)
    check_random(random, "random")
    _quantile(p_data)  # refuses what it cannot draw from, before anything is drawn
    before = torch.get_default_dtype()
    try:  # the same seed gives the same networks, whatever the default is
        torch.set_default_dtype(torch.float32)
        G, D = (mlp(1, *s.widths, 1, activation=a, generator=random) for a in (nn.Tanh, nn.SiLU))
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        for network, stretch in ((G, s.generator_stretch), (D, s.discriminator_stretch)):
            for parameter in network[0].parameters():
                parameter.mul_(stretch)
        D[-1].weight *= _SLOPE_AT_START
    average = deepcopy(G)
    real, noise = _batches(p_data, s, random)
    optimizers = [
        Adam(network.parameters(), lr=rate, betas=s.betas, fused=True)
        for network, rate in ((G, s.generator_learning_rate), (D, s.discriminator_learning_rate))
    ]
    schedules = [
        LambdaLR(optimizer, lambda i, least=least: max(least, _rate(i / s.iterations, s)))
        for optimizer, least in zip(optimizers, (0.0, s.least_discriminator_rate), strict=True)
    ]
    steps = train(
        G,
        D,
        iter(lambda: real(s.batch_size), None),
        noise,
        generator_optimizer=optimizers[0],
        discriminator_optimizer=optimizers[1],
        generator_loss=saturating_generator_loss if s.saturating else non_saturating_generator_loss,
        discriminator_steps=s.discriminator_steps,
    )
    wanted = {round(s.iterations * (i / looks) ** 2) for i in range(1, looks + 1)}
    yield Snapshot(0, deepcopy(G), deepcopy(average), deepcopy(D))
    for step in islice(steps, s.iterations):
        for schedule in schedules:
            schedule.step()
        past = min(s.averaging, step.number / (step.number + 10))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), G.parameters(), strict=True):
                mean.lerp_(now, 1 - past)
        if step.number in wanted:
            if not (step.discriminator_loss + step.generator_loss).isfinite():
                raise FloatingPointError(f"after iteration {step.number} a loss is not finite")
            yield Snapshot(step.number, deepcopy(G), deepcopy(average), deepcopy(D))


def best_response(
    p_data: Distribution,
    G: nn.Module,
    D: nn.Module,
    settings: Settings | None = None,
    *,
    random: torch.Generator,
) -> nn.Module:
    """Trains a copy of D on, while G stands still: the inner loop of Algorithm 1, taken far.

    Args:
        p_data: as in `play`.
        G: the generator, not changed.
        D: where the discriminator starts, not changed.
        settings: `response_steps`, `batch_size`, `stratified` and D's learning rate; the defaults if None.
        random: Where the batches are drawn from.

    Returns:
        The trained copy, in float32.

    Raises:
        TypeError, ValueError: As `play`; `TypeError` also if G or D is not a module.
    """
    _check_module(G, "G")
    _check_module(D, "D")
    check_random(random, "random")
    s, G, D = _checked(settings), deepcopy(G).float(), deepcopy(D).float()
    real, noise = _batches(p_data, s, random)
    optimizer = Adam(D.parameters(), lr=s.discriminator_learning_rate, fused=True)
    schedule = CosineAnnealingLR(optimizer, s.response_steps)
    for _ in range(s.response_steps):
        with torch.no_grad():
            fakes = G(noise(s.batch_size))
        loss = discriminator_loss(D(real(s.batch_size)), D(fakes))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return D


def judge(p_data: Distribution, G: nn.Module | Pushforward, D: nn.Module) -> dict[str, float]:
    r"""How good both players are, by quadrature on the exact density of G(z).

    Args:
        p_data: one-dimensional, unbatched, continuous distribution of the data, with a `cdf`.
        G: from z, uniform on (−1, 1), (n, 1), to x (n, 1); or the distribution of its samples, if at hand.
        D: from x (n, 1) to logits (n, 1).

    Returns:
        "jsd", "value" and "regret", in nats; and "error", the largest :math:`|D - D^*|` over the central
        95 % of p_data.

    Raises:
        TypeError: If p_data is not a distribution, G neither a module nor a `Pushforward`, or D not a module.
        ValueError: If p_data is not as said, or D does not map (n, 1) to (n, 1), or as `Pushforward`.
    """
    if not isinstance(G, Pushforward):
        _check_module(G, "G")
    noise = Uniform(-torch.ones(()).double(), torch.ones(()).double())
    p_g = G if isinstance(G, Pushforward) else Pushforward(noise, G)
    D = as_discriminator(D)
    u = torch.linspace(0.025, 0.975, 201, dtype=torch.float64)
    x = _quantile(p_data)(u)
    with torch.no_grad():
        return {
            "jsd": js_divergence(p_data, p_g).item(),
            "value": value(D, p_data, p_g).item(),
            "regret": regret(D, p_data, p_g).item(),
            "error": (D(x) - optimal_discriminator(p_data, p_g)(x)).abs().max().item(),
        }


def as_discriminator(D: nn.Module) -> Discriminator:
    """A network (n, 1) → (n, 1) as a `Discriminator` on tensors of any shape, in float64.

    Raises:
        TypeError: If D is not a module.
        ValueError: When called, if D does not give a tensor of that shape.
    """
    _check_module(D, "D")
    double = deepcopy(D).double().requires_grad_(False)

    def logit(x: Tensor) -> Tensor:
        column = x.double().reshape(-1, 1)
        logits = double(column)
        check_elementwise(logits, column, "D")
        return logits.reshape(x.shape)

    return Discriminator(logit)


def _checked(settings: Settings | None) -> Settings:
    if not isinstance(settings, Settings | None):
        raise TypeError(f"settings must be Settings or None, not {type(settings).__name__}")
    return settings or Settings()


def _check_module(network: nn.Module, name: str) -> None:
    if not isinstance(network, nn.Module):
        raise TypeError(f"{name} must be a module, not {type(network).__name__}")


def _rate(done: float, settings: Settings) -> float:
    """The share of the learning rate that is left after a share of the run."""
    falling = max(0.0, done - settings.constant_share) / (1 - settings.constant_share)
    return (1 + math.cos(math.pi * min(1.0, falling))) / 2


def _batches(
    p_data: Distribution, settings: Settings, random: torch.Generator
) -> tuple[Callable[[int], Tensor], Callable[[int], Tensor]]:
    """What draws n points of the data, and n of the noise, (n, 1) in float32 each."""
    quantile = _quantile(p_data)

    def uniform(n: int) -> Tensor:
        u = torch.rand(n, generator=random, dtype=torch.float64)
        return (torch.arange(n) + u) / n if settings.stratified else u

    return (
        lambda n: quantile(uniform(n)).float().unsqueeze(1),
        lambda n: (2 * uniform(n) - 1).float().unsqueeze(1),
    )


def _quantile(p: Distribution) -> Callable[[Tensor], Tensor]:
    """The inverse of the distribution function, by a table where there is no `icdf`."""
    as_density(p, "p_data")
    with suppress(NotImplementedError):
        p.icdf(torch.tensor(0.5, dtype=torch.float64))
        return lambda u: p.icdf(u.clamp(1e-9, 1 - 1e-9))
    try:
        far = 12 * p.stddev.item()
        x = np.linspace(p.mean.item() - far, p.mean.item() + far, _TABLE)
        up_to = p.cdf(torch.from_numpy(x)).detach().numpy()
    except (NotImplementedError, ValueError):  # the latter beyond the end of a support
        raise ValueError(
            f"p_data must have a quantile function, or a cdf on the whole line, got {p!r}"
        ) from None
    if np.diff(up_to).max() > 1e-3:  # the table would show as steps in a batch
        raise ValueError(f"p_data must not have parts so narrow beside its whole width, got {p!r}")
    return lambda u: torch.from_numpy(np.interp(u.numpy(), up_to, x))
