r"""A GAN on the line as a few pure functions of tensors: what can train in a reader's page.

Randomness comes in as uniform numbers, and a player's state is one tensor (3, n): its parameters in a row,
then Adam's first and second moments. All is float32, and every operation has its counterpart in ONNX.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vjp
from torch.nn.functional import logsigmoid

from gan_theory.losses import discriminator_loss, non_saturating_generator_loss, saturating_generator_loss
from gan_theory.networks import mlp

__all__ = ["BETAS", "LEARNING_RATES", "TARGETS", "OneDimensionalGame", "X"]

BETAS = (0.5, 0.999)  # Adam's
LEARNING_RATES = {"generator": 0.001, "discriminator": 0.005}  # with which the default networks train well
X = torch.linspace(-4, 4, 201, dtype=torch.float32)
TARGETS = {
    "Gaussian": torch.exp(-(((X - 1) / 0.5) ** 2) / 2),
    "two bumps": torch.exp(-(((X.abs() - 1.5) / 0.4) ** 2) / 2),
}

_EPSILON = 1e-8  # Adam's, as in PyTorch
_SPACING = 0.04  # of X
_Z = torch.linspace(-1, 1, 2 * 252 + 1, dtype=torch.float32)  # ends of 252 cells, and midpoints between
_BRANCHES = 6  # of the inverse of G that are looked for at one x
_NEWTON_STEPS = 2
_LEAST_SLOPE = 1e-7  # of G, below which it is taken for this


@dataclass(frozen=True)
class OneDimensionalGame:
    r"""Algorithm 1 for G and D on the line, with z uniform on (−1, 1), as functions of tensors alone.

    The data's density is the piecewise linear function on `X` through the values of a `target`, normalised.
    A player's state is (3, n): its n parameters, and Adam's moments of them. Everything is in float32.

    Args:
        generator: G, on (n, 1) → (n, 1); a network whose only parameters are those of its `nn.Linear` layers.
            Their values are not used.
        discriminator: D, likewise, to logits.
        batch_size: m, the size of each minibatch.

    Raises:
        ValueError: If a network has other parameters, or `batch_size` is not a positive integer.

    Source:
        Goodfellow et al. 2014, Algorithm 1.

    >>> game = OneDimensionalGame(mlp(1, 4, 1), mlp(1, 4, 1))
    >>> start = game.initial(torch.full((26,), 0.5))
    >>> game.look(**start, target=TARGETS["Gaussian"])["value"]  # D is 1/2 everywhere: minus log 4
    tensor(-1.3863)
    """

    generator: nn.Module = field(default_factory=lambda: mlp(1, 16, 16, 1))
    discriminator: nn.Module = field(default_factory=lambda: mlp(1, 32, 32, 1, activation=nn.SiLU))
    batch_size: int = field(default=128, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse what the functions could not compute with."""
        for name, module in (("generator", self.generator), ("discriminator", self.discriminator)):
            count = sum(parameter.numel() for parameter in module.parameters())
            if len(_bounds(module)) != count:
                raise ValueError(
                    f"{name} must have no parameters but those of nn.Linear layers with biases, got {module}"
                )
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ValueError(f"batch_size must be a positive integer, not {self.batch_size!r}")

    def initial(self, uniforms: Tensor) -> dict[str, Tensor]:
        r"""The players at the start: parameters uniform on :math:`\pm 1/\sqrt{\text{fan-in}}`, as in `mlp`.

        Args:
            uniforms: Numbers in [0, 1), one for each parameter of G and then of D, (n_G + n_D,).

        Returns:
            "generator" (3, n_G) and "discriminator" (3, n_D).
        """
        bounds = [_bounds(self.generator), _bounds(self.discriminator)]
        start = ((2 * uniforms - 1) * torch.cat(bounds)).split([len(part) for part in bounds])
        G, D = (torch.stack((part, torch.zeros_like(part), torch.zeros_like(part))) for part in start)
        return {"generator": G, "discriminator": D}

    def discriminator_step(
        self,
        discriminator: Tensor,
        generator: Tensor,
        number: Tensor,
        target: Tensor,
        real: Tensor,
        noise: Tensor,
        learning_rate: Tensor,
    ) -> dict[str, Tensor]:
        r"""One update of D by Adam, down the gradient of `discriminator_loss`.

        Args:
            discriminator: State of D, (3, n_D).
            generator: State of G, (3, n_G).
            number: How many updates of D there are with this one, from 1, ().
            target: The data's density on `X`, not negative, of any positive total, (201,).
            real: Numbers in [0, 1) that choose the data, (batch_size,).
            noise: Numbers in [0, 1) that choose the z of the fakes, (batch_size,).
            learning_rate: Adam's, ().

        Returns:
            "discriminator", the new state (3, n_D), and "loss", the one before the update, (), in nats.
        """
        x = _sample(_normalise(target), real)
        fakes = _apply(self.generator, _unflatten(self.generator, generator), 2 * noise - 1)

        def loss(parameters: dict[str, Tensor]) -> Tensor:
            return discriminator_loss(*_apply(self.discriminator, parameters, torch.cat((x, fakes))).chunk(2))

        gradient, before = grad_and_value(loss)(_unflatten(self.discriminator, discriminator))
        return {"discriminator": _adam(discriminator, gradient, number, learning_rate), "loss": before}

    def generator_step(
        self,
        generator: Tensor,
        discriminator: Tensor,
        number: Tensor,
        noise: Tensor,
        learning_rate: Tensor,
        saturating: Tensor,
    ) -> dict[str, Tensor]:
        r"""One update of G by Adam, down the gradient of one of its two losses.

        Args:
            generator: State of G, (3, n_G).
            discriminator: State of D, (3, n_D).
            number: How many updates of G there are with this one, from 1, ().
            noise: Numbers in [0, 1) that choose z, (batch_size,).
            learning_rate: Adam's, ().
            saturating: 1 for `saturating_generator_loss`, 0 for `non_saturating_generator_loss`, ().

        Returns:
            "generator", the new state (3, n_G), and "loss", the one before the update, (), in nats.
        """
        D = _unflatten(self.discriminator, discriminator)

        def loss(parameters: dict[str, Tensor]) -> Tensor:
            logits = _apply(self.discriminator, D, _apply(self.generator, parameters, 2 * noise - 1))
            losses = saturating_generator_loss(logits), non_saturating_generator_loss(logits)
            return torch.where(saturating > 0.5, *losses)

        gradient, before = grad_and_value(loss)(_unflatten(self.generator, generator))
        return {"generator": _adam(generator, gradient, number, learning_rate), "loss": before}

    def look(self, generator: Tensor, discriminator: Tensor, target: Tensor) -> dict[str, Tensor]:
        r"""Where the game stands: the densities, D, the map G, the divergence and the value.

        With :math:`r = p_\mathrm{data}/p_g` the divergence is taken over z alone, and so sees a p_g of any
        width:

        .. math:: \mathrm{JSD} = \log 2 - \tfrac12\, \mathbb E_z\!\left[\log(1 + r) + r \log(1 + 1/r)\right],
                  \qquad r = r(G(z)).

        Args:
            generator: State of G, (3, n_G).
            discriminator: State of D, (3, n_D).
            target: The data's density on `X`, not negative, of any positive total, (201,).

        Returns:
            "x", "p_data", "p_g" and "D" (probabilities), (201,) each; "z" and "G_z", (15,) each; "jsd", () in
            [0, log 2], and "value", (), both in nats. Of p_g at most six branches are found, and where G is
            flatter than 1e-7 it is bounded by that.
        """
        parameters = _unflatten(self.generator, generator)

        def G(z: Tensor) -> tuple[Tensor, Tensor]:
            value, pull_back = vjp(lambda at: _apply(self.generator, parameters, at), z)
            return value, pull_back(torch.ones_like(z))[0]

        p_data = _normalise(target)
        x, slope = G(_Z)
        fakes = x[1::2]
        points, sizes = torch.cat((X, fakes)), [len(X), len(fakes)]
        p_g, p_g_at_fakes = _pushforward(G, x[::2], points).split(sizes)
        # A cell in which G turns or stands still may have no other branch than the one through its midpoint.
        p_g_at_fakes = torch.maximum(p_g_at_fakes, _density(slope[1::2]))
        ratio = _interpolate(p_data, fakes) / p_g_at_fakes
        bounded = ratio.clamp(1e-20, 1e3)  # beyond, ratio * log(1 + 1 / ratio) is 0 or 1, but not in float32
        lost = (1 + ratio).log() + bounded * (1 + 1 / bounded).log()
        logits = _apply(self.discriminator, _unflatten(self.discriminator, discriminator), points)
        on_x, on_fakes = logits.split(sizes)
        value = torch.trapezoid(p_data * logsigmoid(on_x), dx=_SPACING) + logsigmoid(-on_fakes).mean()
        return {
            "x": X.clone(),
            "p_data": p_data,
            "p_g": p_g,
            "D": on_x.sigmoid(),
            "z": _Z[::36].clone(),
            "G_z": x[::36],
            "jsd": (math.log(2) - lost.mean() / 2).clamp(0.0, math.log(2)),
            "value": value,
        }

    def functions(self) -> dict[str, tuple[Callable[..., dict[str, Tensor]], dict[str, Tensor]]]:
        r"""The four functions by name, each with example arguments: what an exporter needs.

        Returns:
            For each name, the method and its arguments by name, float32.

        >>> look, arguments = OneDimensionalGame().functions()["look"]
        >>> look(**arguments)["p_g"].shape
        torch.Size([201])
        """

        def numbers(n: int) -> Tensor:
            return torch.linspace(0.0, 0.999, n, dtype=torch.float32)

        def number(value: float) -> Tensor:
            return torch.tensor(value, dtype=torch.float32)

        uniforms = numbers(len(_bounds(self.generator)) + len(_bounds(self.discriminator)))
        players, target = self.initial(uniforms), {"target": TARGETS["Gaussian"]}
        update = {"number": number(1.0), "learning_rate": number(0.001)}
        real, noise = {"real": numbers(self.batch_size)}, {"noise": numbers(self.batch_size).flip(0)}
        return {
            "initial": (self.initial, {"uniforms": uniforms}),
            "discriminator_step": (self.discriminator_step, players | update | target | real | noise),
            "generator_step": (
                self.generator_step,
                players | update | noise | {"saturating": number(0.0)},
            ),
            "look": (self.look, players | target),
        }


def _bounds(module: nn.Module) -> Tensor:
    """The bound of each parameter at the start, (n,), in the order of the parameters."""
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    bounds = [
        layer.in_features**-0.5
        for layer in linear
        for _ in range((layer.in_features + 1) * layer.out_features)
    ]
    return torch.tensor(bounds, dtype=torch.float32)


def _unflatten(module: nn.Module, state: Tensor) -> dict[str, Tensor]:
    """A player's parameters by name."""
    own = dict(module.named_parameters())
    parts = state[0].split([parameter.numel() for parameter in own.values()])
    return {name: part.view(own[name].shape) for name, part in zip(own, parts, strict=True)}


def _apply(module: nn.Module, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network on (n,) → (n,)."""
    return functional_call(module, parameters, (x.unsqueeze(1),)).squeeze(1)


def _adam(state: Tensor, gradient: dict[str, Tensor], number: Tensor, learning_rate: Tensor) -> Tensor:
    """The state after an update (Kingma and Ba 2015, Algorithm 1)."""
    parameters, first, second = state
    slope = torch.cat([part.flatten() for part in gradient.values()])
    first = BETAS[0] * first + (1 - BETAS[0]) * slope
    second = BETAS[1] * second + (1 - BETAS[1]) * slope**2
    step = first / (1 - BETAS[0] ** number) / ((second / (1 - BETAS[1] ** number)).sqrt() + _EPSILON)
    return torch.stack((parameters - learning_rate * step, first, second))


def _normalise(target: Tensor) -> Tensor:
    """The target over its integral; one that is 0 everywhere stays so."""
    return target / torch.trapezoid(target, dx=_SPACING).clamp(min=1e-30)


def _interpolate(density: Tensor, x: Tensor) -> Tensor:
    """The piecewise linear density at x, (n,); 0 outside of X."""
    place = (x - X[0]) / _SPACING
    cell = place.floor().clamp(0.0, len(X) - 2.0)
    part, cell = place - cell, cell.long()
    return torch.where((part >= 0) & (part <= 1), density[cell].lerp(density[cell + 1], part), 0.0)


def _sample(density: Tensor, uniforms: Tensor) -> Tensor:
    """The inverse of the piecewise linear density's distribution function, (n,)."""
    up_to = torch.cumsum((density[1:] + density[:-1]) * (_SPACING / 2), 0)
    sought = uniforms.clamp(min=1e-7) * up_to[-1]  # above 0, where cells without mass may lie
    cell = (up_to[:-1] < sought.unsqueeze(1)).sum(1)
    a, b = density[cell], density[cell + 1]
    rest = (sought - up_to[cell]) / _SPACING + (a + b) / 2
    # Of the two ways to write the root of a s + (b - a) s^2 / 2 = rest, the one in which nothing cancels.
    root = (a**2 + 2 * (b - a) * rest).clamp(min=0.0).sqrt()
    return X[cell] + _SPACING * (2 * rest / (a + root).clamp(min=1e-30)).clamp(0.0, 1.0)


def _density(slope: Tensor) -> Tensor:
    """What a branch of G with this slope adds to p_g."""
    return 0.5 / slope.abs().clamp(min=_LEAST_SLOPE)


def _pushforward(G: Callable[[Tensor], tuple[Tensor, Tensor]], ends: Tensor, x: Tensor) -> Tensor:
    """The density of G(z) at x, (n,), from G with its slope and from G at the ends of the cells."""
    x = x.unsqueeze(1)
    above = (ends > x).float()
    crosses, cell = above.diff().abs().topk(_BRANCHES)
    low, high, at_low, at_high = _Z[::2][cell], _Z[::2][cell + 1], ends[cell], ends[cell + 1]
    rise = torch.where(crosses > 0, at_high - at_low, 1.0)
    root = low + (high - low) * ((x - at_low) / rise).clamp(0.0, 1.0)
    for _ in range(_NEWTON_STEPS):
        value, slope = (part.view(root.shape) for part in G(root.flatten()))
        slope = torch.where(slope.abs() < _LEAST_SLOPE, _LEAST_SLOPE, slope)
        root = torch.clamp(root - (value - x) / slope, low, high)
    return (crosses * _density(G(root.flatten())[1].view(root.shape))).sum(1)
