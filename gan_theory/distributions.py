r"""What the rest of the package must know of a `torch.distributions.Distribution`.

PyTorch's distributions raise outside their support, compute in the precision of their parameters and do
not say where they have their structure. A `Density` mends the three: log p(x) in float64, -inf outside the
support, with the support's ends, the points between which the density is smooth, and its singular points.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MixtureSameFamily,
    TransformedDistribution,
    Uniform,
    constraints,
)
from torch.distributions.transforms import Transform

from gan_theory.checks import check_tensor

# Where a density has structure, in units of its scale, out to where it underflows (or is a plain power law).
_CORE = np.r_[np.arange(0, 4, 0.5), np.arange(4, 10), 10, 12, 14, 17, 20, 26, 40]
_LIGHT = np.r_[-_CORE[:0:-1], _CORE]
_EXPONENTIAL = np.r_[-800, -400, -200, -100, -64, _LIGHT, 64, 100, 200, 400, 800]
_GEOMETRIC = 40.0 * 3.0 ** np.arange(1, 17)
_HEAVY = np.r_[-_GEOMETRIC[::-1], _LIGHT, _GEOMETRIC]

LEAST = -1e300  # log-density within a support
_LARGEST = 1e80  # scale or location

_FAMILIES: dict[str, tuple[Callable, Callable, np.ndarray]] = {  # name: location, scale, structure
    "Normal": (lambda d: d.loc, lambda d: d.scale, _LIGHT),
    "HalfNormal": (lambda d: 0 * d.scale, lambda d: d.scale, _LIGHT),
    "Laplace": (lambda d: d.loc, lambda d: d.scale, _EXPONENTIAL),
    "Gumbel": (lambda d: d.loc, lambda d: d.scale, _EXPONENTIAL),
    "Exponential": (lambda d: 0 * d.rate, lambda d: 1 / d.rate, _EXPONENTIAL),
    "Cauchy": (lambda d: d.loc, lambda d: d.scale, _HEAVY),
    "HalfCauchy": (lambda d: 0 * d.scale, lambda d: d.scale, _HEAVY),
    "StudentT": (lambda d: d.loc, lambda d: d.scale, _HEAVY),
    "Uniform": (lambda d: (d.low + d.high) / 2, lambda d: d.high - d.low, np.zeros(1)),
}


@dataclass(frozen=True)
class Density:
    """A one-dimensional density as the package computes with it.

    Args:
        log_prob: x, float64 (n,) -> log density (n,), -inf outside the support.
        support: disjoint or touching intervals (low, high) of 0-d float64 tensors; ends may be infinite.
        knots: (m,) points between which the density is smooth on the scale of their spacing.
        singular: points of the closed support where the density or a derivative of it may be infinite.
        jumps: points within the support where the density jumps.
        closest: the distance from a singular point within which the log-density has lost its digits.
        has_tails: whether there is anything left of it beyond its outermost knots.
    """

    log_prob: Callable[[Tensor], Tensor]
    support: Sequence[tuple[Tensor, Tensor]]
    knots: np.ndarray
    singular: Sequence[Tensor]
    has_tails: bool
    jumps: Sequence[Tensor] = ()
    closest: float = 0.0


def log_density(p: Distribution, x: Tensor) -> Tensor:
    r"""The log density :math:`\log p(x)` in float64, -inf outside the support, where PyTorch raises.

    Args:
        p: one-dimensional, unbatched, continuous distribution.
        x: points of any shape.

    Returns:
        log p(x), of the shape of x, in nats (per unit of x); NaN where x is.

    Raises:
        TypeError: if p is not a distribution, or x not a tensor of real numbers.
        ValueError: if p is batched, not one-dimensional, discrete, or of unknown place and scale.

    >>> log_density(torch.distributions.Uniform(0.0, 0.5), torch.tensor([0.25, 2.0])).tolist()
    [0.6931471805599453, -inf]
    """
    density = as_density(p, "p")
    check_tensor(x, "x")
    return density.log_prob(x.double().reshape(-1)).reshape(x.shape)


def as_density(distribution: Distribution | Density, name: str) -> Density:
    """The `Density` of a one-dimensional, unbatched, continuous distribution.

    Args:
        distribution: any such distribution; one that brings its own `density()` is asked for it.
        name: what the caller's argument is called, for the messages.

    Returns:
        Its `Density`, differentiable in the parameters.

    Raises:
        TypeError: if it is not a distribution.
        ValueError: if it is batched, not one-dimensional, discrete, or of unknown place and scale.
    """
    kind = type(distribution).__name__
    if isinstance(distribution, Density):
        return distribution
    if not isinstance(distribution, Distribution):
        raise TypeError(f"{name} must be a torch.distributions.Distribution, got {kind}: {distribution!r}")
    if distribution.batch_shape or distribution.event_shape:
        raise ValueError(
            f"{name} must be a one-dimensional, unbatched distribution, got {kind} with batch_shape "
            f"{tuple(distribution.batch_shape)} and event_shape {tuple(distribution.event_shape)}"
        )
    if hasattr(distribution, "density"):
        return distribution.density()
    d = _in_float64(distribution.base_dist if isinstance(distribution, Independent) else distribution)
    parts = d.component_distribution if isinstance(d, MixtureSameFamily) else d
    structure = None if parts.support.is_discrete else _structure(parts)
    if structure is None:
        raise ValueError(
            f"{name} must be continuous, on an interval, with place and scale that float64 tells apart and "
            f"squares: one of {', '.join(_FAMILIES)}, or with a finite mean and standard deviation; got "
            f"{distribution!r}. Discrete distributions are given as probability vectors, where allowed"
        )
    low, high, knots = structure
    log_prob = _inside(parts, low, high, knots)
    if parts is not d:
        log_weights = _log_weights(d)
        present = torch.isfinite(log_weights)
        low, high, knots = low[present], high[present], knots[present]
        log_prob = _mixed(log_prob, log_weights)
    return Density(
        log_prob,
        support=list(zip(low, high, strict=True)),
        knots=knots.detach().numpy().ravel(),
        singular=[e for e in (*low, *high) if math.isfinite(e.item()) and type(parts) is not Uniform],
        has_tails=_FAMILIES.get(type(parts).__name__, (None, None, _HEAVY))[2] is _HEAVY,
    )


def log_ratio(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The logarithm of p/q: infinite where one of the two vanishes, 0 where both do (or are infinite)."""
    same = (log_p == log_q) & torch.isinf(log_p)
    return log_p.where(~same, 0.0) - log_q.where(~same, 0.0)


def weigh(log_density: Tensor, factor: Tensor | float) -> Tensor:
    """The density times a factor: 0 where the density is 0, whatever the factor."""
    density = log_density.exp()
    return density * torch.as_tensor(factor, dtype=torch.float64).where(density > 0, 0.0)


def _in_float64(value: object) -> object:
    """A copy of a distribution (or of what it is made of) in float64 that does not validate its arguments."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, list):
        return [_in_float64(item) for item in value]
    if type(value).__name__ == "_InverseTransform":
        return _in_float64(value.inv).inv
    if not isinstance(value, Distribution | Transform):
        return value
    clone = copy.copy(value)
    clone.__dict__ = {key: _in_float64(item) for key, item in value.__dict__.items() if key != "_inv"}
    clone.__dict__ |= {"_validate_args": False, "_inv": None}  # a cached inverse would be the original's
    return clone


def _structure(d: Distribution) -> tuple[Tensor, Tensor, Tensor] | None:
    """Ends of the support, (b,) each, and knots, (b, m), of the b components of d; None where unknown."""
    kind = type(d).__name__
    if isinstance(d, TransformedDistribution) and kind not in _FAMILIES:
        base = _structure(d.base_dist)
        if base is None or not all(transform.bijective for transform in d.transforms):
            return None
        low, high, knots = base
        for transform in d.transforms:
            low, high = _image(transform, low), _image(transform, high)
            knots = transform(knots.T).T
        return torch.minimum(low, high), torch.maximum(low, high), knots
    location, scale, grid = _FAMILIES.get(kind, (lambda d: d.mean, lambda d: d.stddev, _HEAVY))
    try:
        location, scale = location(d).reshape(-1), scale(d).reshape(-1)
    except NotImplementedError:
        return None
    told_apart = (scale > 1e-14 * location.abs()) & (scale > 1 / _LARGEST)
    bounded = hasattr(d.support, "lower_bound") or hasattr(d.support, "upper_bound")
    on_the_line = kind != "VonMises" and (bounded or d.support is constraints.real)  # that is on the circle
    if not (on_the_line and (told_apart & (scale < _LARGEST) & (location.abs() < _LARGEST)).all()):
        return None
    low, high = getattr(d.support, "lower_bound", -math.inf), getattr(d.support, "upper_bound", math.inf)
    low, high = (
        torch.as_tensor(end, dtype=torch.float64).reshape(-1).expand_as(location) for end in (low, high)
    )
    return low, high, location.unsqueeze(1) + scale.unsqueeze(1) * torch.from_numpy(grid)


def _image(transform: Transform, end: Tensor) -> Tensor:
    """The image of an end of a support: at infinity the bound of the codomain, where a sigmoid is clipped.

    And the other way round: at the bound of the domain infinity, where a logit is clipped.
    """
    bounds = [getattr(transform.domain, bound, math.nan) for bound in ("lower_bound", "upper_bound")]
    at_bound = (end == bounds[0]) | (end == bounds[1])
    fixed = at_bound | torch.isinf(end)  # where the parameters of the transform change nothing
    image = torch.where(fixed, transform(end).detach(), transform(end.where(~fixed, 1.0)))
    if transform.codomain is constraints.real:
        return torch.where(at_bound, image.sign() * math.inf, image)
    for bound in ("lower_bound", "upper_bound"):
        limit = torch.as_tensor(getattr(transform.codomain, bound, math.inf), dtype=torch.float64)
        image = torch.where(torch.isinf(end) & ((image - limit).abs() < 1e-6), limit, image)
    return image


def _inside(d: Distribution, low: Tensor, high: Tensor, knots: Tensor) -> Callable[[Tensor], Tensor]:
    """The log density, (n,) to (n,) or, for b components, (n, b); -inf without a gradient off [low, high]."""
    low, high = low.reshape(d.batch_shape), high.reshape(d.batch_shape)
    if torch.isinf(low).all() and torch.isinf(high).all():
        middle = knots[:, knots.shape[1] // 2].reshape(d.batch_shape).detach()
        return lambda x: _at_least(d, x.unsqueeze(-1) if d.batch_shape else x, middle)
    floor, ceiling = low.nan_to_num(neginf=-1.0).detach(), high.nan_to_num(posinf=1.0).detach()
    within = torch.where(
        torch.isinf(high), floor + 1, torch.where(torch.isinf(low), ceiling - 1, (floor + ceiling) / 2)
    )
    # At an end that has no density, as a log-normal's 0, PyTorch may come to ∞ − ∞: such an end is left out.
    low, high = (
        torch.where(d.log_prob(end).isnan(), torch.nextafter(end, other), end).detach()
        for end, other in ((low, high), (high, low))
    )

    def log_prob(x: Tensor) -> Tensor:
        x = x.unsqueeze(-1) if d.batch_shape else x
        inside = (x >= low) & (x <= high)
        outside = torch.where(x.isnan(), x, -math.inf)
        return torch.where(inside, _at_least(d, torch.where(inside, x, within), within), outside)

    return log_prob


def _at_least(d: Distribution, x: Tensor, safe: Tensor) -> Tensor:
    """The log density at x, within the support: positive there even where its logarithm overflows."""
    log_p = d.log_prob(x)
    lost = log_p <= LEAST
    if log_p.requires_grad and lost.any():  # what overflows has a derivative of ∞, and 0 times that is none
        log_p = d.log_prob(torch.where(lost, safe, x))
    return torch.where(lost, LEAST, log_p)


def _log_weights(mixture: MixtureSameFamily) -> Tensor:
    """Log weights (b,); exactly -inf for a weight of 0, which `Categorical.logits` lifts to 2e-16."""
    weights = mixture.mixture_distribution
    probs = weights.__dict__.get("probs")
    if probs is None:
        return weights.logits.log_softmax(-1)
    positive = probs > 0
    return torch.where(positive, (probs / probs.sum()).where(positive, 1.0).log(), -math.inf)


def _mixed(log_probs: Callable[[Tensor], Tensor], log_weights: Tensor) -> Callable[[Tensor], Tensor]:
    def log_prob(x: Tensor) -> Tensor:
        terms = log_probs(x) + log_weights
        # logsumexp of nothing but -inf has no gradient
        somewhere = (torch.isfinite(terms) | terms.isnan()).any(-1)
        return torch.where(somewhere, terms.where(somewhere.unsqueeze(-1), 0.0).logsumexp(-1), -math.inf)

    return log_prob
