r"""Likelihood: of observations, at its maximum over a family, estimated from samples by Parzen windows."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    Distribution,
    MixtureSameFamily,
    biject_to,
    constraints,
)
from torch.distributions.transforms import Transform

from gan_theory.checks import check_tensor, is_real
from gan_theory.distributions import log_density

_NEWTON_STEPS = 50
_CHUNK = 2**21  # squared distances held at a time
_LARGEST = 1e80  # width of a window; the smallest is its inverse: their squares are floats


def log_likelihood(p: Distribution, x: Tensor) -> Tensor:
    r"""The log-likelihood of independent observations, :math:`\ell = \sum_i \log p(x_i)`.

    Args:
        p: distribution with batch shape (); discrete or continuous, of any dimension.
        x: observations, (n,) + p.event_shape.

    Returns:
        0-d tensor below inf, in nats, float64 if x is; -inf if an observation is outside the support, or of
        probability 0.

    Raises:
        TypeError: if p is not a distribution, or x not a tensor of real numbers.
        ValueError: if p is batched, or x is not of the shape above, or empty; or if p is a mixture, discrete
            or of several dimensions, and an observation is outside the support of one of its components.

    Source:
        Fisher 1922.

    >>> fair = torch.distributions.Bernoulli(torch.tensor(0.5, dtype=torch.float64))
    >>> x = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    >>> round(log_likelihood(fair, x).item() / math.log(2), 12)
    -3.0
    """
    if not isinstance(p, Distribution):
        raise TypeError(f"p must be a torch.distributions.Distribution, got {type(p).__name__}")
    if p.batch_shape:
        raise ValueError(f"p must be unbatched, got batch_shape {tuple(p.batch_shape)}")
    check_tensor(x, "x")
    if x.isnan().any():
        raise ValueError("x must be observations, got NaN")
    if x.dim() != 1 + len(p.event_shape) or x.shape[1:] != p.event_shape or not len(x):
        raise ValueError(f"x must have shape (n,) + {tuple(p.event_shape)} with n >= 1, got {tuple(x.shape)}")
    x = x if x.is_floating_point() else x.double()  # counts, which PyTorch's Bernoulli wants as floats
    inside = p.support.check(x)
    if not inside.all():
        if isinstance(p, MixtureSameFamily):  # its support is, in PyTorch, what all components share
            if p.event_shape or p.support.is_discrete:
                raise ValueError(f"x must be in the support of each component of {p!r}")
            return log_density(p, x).sum()
        return torch.tensor(-math.inf, dtype=x.dtype)
    if _has_no_probability(p, x).any():
        return torch.tensor(-math.inf, dtype=x.dtype)
    return p.log_prob(x).sum()


def _has_no_probability(p: Distribution, x: Tensor) -> Tensor:
    """Where p gives x the probability 0 in so many words, which PyTorch takes for a little more."""
    probs = p.__dict__.get("probs")  # logits are finite
    if isinstance(p, Categorical) and probs is not None:
        return probs[x.long()] == 0
    if isinstance(p, Bernoulli | Binomial) and probs is not None:
        return ((probs == 0) & (x > 0)) | ((probs == 1) & (x < getattr(p, "total_count", 1)))
    return x.new_zeros((), dtype=torch.bool)


def maximum_likelihood(
    family: Callable[..., Distribution], x: Tensor, **initial: Tensor | float
) -> Distribution:
    r"""The member of a family that makes the observations most likely.

    .. math:: \hat\theta = \arg\max_\theta \sum_i \log p(x_i; \theta)

    found by L-BFGS in unconstrained coordinates, from the starting point given: where the likelihood has
    several maxima, the one that is reached from there.

    Args:
        family: parameters by name -> distribution. Where it is a class, each parameter is kept within
            its `arg_constraints`; otherwise it is free.
        x: observations, (n,) + event shape.
        **initial: the starting value of each parameter that is to be fitted.

    Returns:
        The distribution at the maximum, its parameters detached, float64.

    Raises:
        TypeError: if family is not callable, or x or a starting tensor not one of real numbers.
        ValueError: if no parameter is given, or one does not start with finite numbers within its constraint,
            and not at its edge, or its constraint is none of an interval or a simplex; or as
            `log_likelihood`.
        ArithmeticError: if the search does not end where a Newton step has nothing to gain: the likelihood
            has no maximum, or is not smooth there, or the search has come to a saddle, or to where a
            parameter, or x, is impossible.

    Source:
        Fisher 1922; Liu and Nocedal 1989 for L-BFGS.

    >>> from torch.distributions import Normal
    >>> fit = maximum_likelihood(Normal, torch.tensor([1.0, 2.0, 6.0]), loc=0.0, scale=1.0)
    >>> round(fit.mean.item(), 6), round(fit.variance.item(), 6)
    (3.0, 4.666667)
    """
    if not callable(family):
        raise TypeError(f"family must be callable, got {type(family).__name__}")
    check_tensor(x, "x")
    if not initial:
        raise ValueError("initial must name at least one parameter to fit, got none")
    known = getattr(family, "arg_constraints", {})
    known = known if isinstance(known, dict) else {}
    free, bijections = {}, {}
    for name, given in initial.items():
        bijections[name], free[name] = _start(name, given, known.get(name, constraints.real))
    x = x.double()

    def member(*values: Tensor) -> Distribution:
        return family(**{name: bijections[name](v) for name, v in zip(free, values, strict=True)})

    def loss(*values: Tensor) -> Tensor:
        return -log_likelihood(member(*values), x) / len(x)

    def closure() -> Tensor:
        optimizer.zero_grad()
        mean = loss(*free.values())
        if not mean.requires_grad:
            raise ValueError("initial must start where the observations are possible, got a likelihood of 0")
        mean.backward()
        return mean

    optimizer = torch.optim.LBFGS(
        list(free.values()),
        max_iter=1000,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    with torch.enable_grad():
        closure()  # what is wrong with the family or with x is so at the start
        try:
            optimizer.step(closure)
            gain = _finish(loss, list(free.values()))
        except ValueError as left:
            raise ArithmeticError(
                "no maximum of the likelihood was reached:"
                " the search came to where the family, or x, is impossible"
            ) from left
    if not gain < 1e-12:
        raise ArithmeticError(
            f"no maximum of the likelihood was reached: a Newton step would gain {gain:.3g} nats each"
        )
    return member(*(value.detach() for value in free.values()))


def _start(name: str, given: Tensor | float, constraint: constraints.Constraint) -> tuple[Transform, Tensor]:
    """The map of the real line to what a parameter may be, and where on the line it starts."""
    if isinstance(given, Tensor):
        check_tensor(given, name)
    if not (isinstance(given, Tensor) or is_real(given)) or not torch.as_tensor(given).isfinite().all():
        raise ValueError(f"{name} must start with finite numbers, got {given!r}")
    start = torch.as_tensor(given, dtype=torch.float64).detach()
    if not constraint.check(start).all():
        raise ValueError(f"{name} must start within {constraint}, got {start.tolist()}")
    ends = [getattr(constraint, bound, math.nan) for bound in ("lower_bound", "upper_bound")]
    ends += [0.0] if constraint is constraints.simplex else []
    if any((start == end).any() for end in ends):  # no step leads away from there
        raise ValueError(f"{name} must start within {constraint}, not at its edge, got {start.tolist()}")
    try:
        bijection = biject_to(constraint)
    except NotImplementedError as unknown:
        raise ValueError(
            f"{name} must be free to move on a line, an interval or a simplex, not {constraint}"
        ) from unknown
    return bijection, bijection.inv(start).clone().requires_grad_()


def _finish(f: Callable[..., Tensor], at: list[Tensor]) -> float:
    """Newton steps, which do not mind that each parameter has its own unit; what one more would gain."""
    for _ in range(_NEWTON_STEPS):
        step, gain = _newton_step(f, at)
        if not 1e-14 < gain < math.inf:
            break
        for value, move in zip(at, step, strict=True):
            value.data += move
    return gain


def _newton_step(f: Callable[..., Tensor], at: list[Tensor]) -> tuple[list[Tensor], float]:
    """A Newton step to the minimum of f, and how much it would gain; infinite where f has none nearby."""
    sizes = [v.numel() for v in at]

    def of_vector(v: Tensor) -> Tensor:
        return f(*(part.reshape(a.shape) for part, a in zip(v.split(sizes), at, strict=True)))

    point = torch.cat([v.detach().reshape(-1) for v in at])
    gradient = torch.autograd.functional.jacobian(of_vector, point)
    hessian = torch.autograd.functional.hessian(of_vector, point)
    unit = hessian.diagonal().clamp(min=0.0).sqrt()  # each parameter has its own
    unit = unit.where(unit > 0, 1.0)
    curvatures, directions = torch.linalg.eigh(hessian / unit / unit[:, None])
    slopes = directions.T @ (gradient / unit)
    flat = curvatures < 1e-9
    saddle = bool((curvatures < -1e-6).any())
    if saddle or bool((flat & (slopes.abs() > 1e-6)).any()):
        return [], math.inf
    moves = torch.where(flat, 0.0, -slopes / curvatures.where(~flat, 1.0))
    step = directions @ moves / unit
    gain = -(slopes @ moves).item() / 2
    return [part.reshape(a.shape) for part, a in zip(step.split(sizes), at, strict=True)], gain


class ParzenWindow:
    r"""The Parzen window (kernel density) estimate from samples, with an isotropic Gaussian kernel.

    .. math:: \hat p(x) = \frac1n \sum_{i=1}^n \mathcal N(x;\, s_i,\, \sigma^2 I_d)

    Args:
        samples: (n,), or (n, ...) with all but the first dimension flattened to d.
        sigma: the kernel's standard deviation, in the unit of x, from 1e-80 to 1e80.

    Raises:
        TypeError: if samples is not a tensor of real numbers.
        ValueError: if samples is empty or not finite, or sigma is not from 1e-80 to 1e80.

    Source:
        Parzen 1962; used for Table 1 of Goodfellow et al. 2014.

    >>> window = ParzenWindow(torch.tensor([0.0]), sigma=2.0)
    >>> normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 2.0)
    >>> x = torch.tensor([3.0], dtype=torch.float64)
    >>> torch.allclose(window.log_prob(x), normal.log_prob(x), rtol=1e-14)
    True
    """

    def __init__(self, samples: Tensor, sigma: float) -> None:
        check_tensor(samples, "samples")
        if samples.dim() < 1 or not samples.numel() or not torch.isfinite(samples).all():
            raise ValueError(
                f"samples must be finite, of shape (n, ...) with n >= 1, got shape {tuple(samples.shape)}"
            )
        if not _is_width(sigma):
            raise ValueError(f"sigma must be from {1 / _LARGEST:g} to {_LARGEST:g}, got {sigma!r}")
        self.event_shape = samples.shape[1:]
        self.sigma = float(sigma)
        self._samples = samples.double().reshape(len(samples), -1).clone()  # as they are now

    def log_prob(self, x: Tensor) -> Tensor:
        r"""The log density :math:`\log \hat p(x)`.

        Args:
            x: (m, ...), each of the shape of one sample.

        Returns:
            (m,) float64, in nats; NaN where x is. It can be differentiated in x and the samples.

        Raises:
            TypeError: if x is not a tensor of real numbers.
            ValueError: if x is not of that shape.
        """
        check_tensor(x, "x")
        if x.dim() < 1 or x.shape[1:] != self.event_shape:
            raise ValueError(f"x must have shape (m,) + {tuple(self.event_shape)}, got {tuple(x.shape)}")
        return self._log_probs(x.double().reshape(len(x), self._samples.shape[1]), [self.sigma])[0]

    def _log_probs(self, flat: Tensor, sigmas: Sequence[float]) -> Tensor:
        """The log densities with several kernels at points: (len(sigmas), m)."""
        n, d = self._samples.shape
        # The matrix product is fast; it loses the digits of distances small beside the norms of their points,
        # which are least about the centre.
        centre = self._samples.mean(0)
        samples, points = self._samples - centre, flat - centre
        largest = max(part.abs().max().item() for part in (samples, points) if len(part))
        lost = d * (largest / min(sigmas)) * (largest / min(sigmas)) * torch.finfo(torch.float64).eps
        fast = bool(flat.isfinite().all()) and lost < 1e-10
        norms = samples.square().sum(1)
        parts = []
        for part in (points if fast else flat).split(max(1, _CHUNK // n)):
            if fast:
                lengths = part.square().sum(1, keepdim=True) + norms
                squared = torch.addmm(lengths, part, samples.T, alpha=-2).clamp(min=0)
            else:
                squared = torch.cdist(part, self._samples, compute_mode="donot_use_mm_for_euclid_dist") ** 2
            nearest = squared.amin(1, keepdim=True)  # once for all kernels: no sum of exponentials is then 0
            squared = squared - nearest.where(nearest.isfinite(), 0.0)
            # An exponential below 1e-304 adds nothing to the 1 of the nearest, but denormal numbers are slow.
            sums = [(squared / (-2 * s**2)).clamp(min=-700).exp().sum(1) for s in sigmas]
            parts.append(torch.stack(sums).log() - nearest.T / (2 * flat.new_tensor(sigmas)[:, None] ** 2))
        log_norms = [math.log(n) + d * (math.log(s) + math.log(2 * math.pi) / 2) for s in sigmas]
        return torch.cat([*parts, flat.new_empty(len(sigmas), 0)], 1) - flat.new_tensor(log_norms)[:, None]


def _is_width(sigma: object) -> bool:
    return is_real(sigma) and 1 / _LARGEST <= sigma <= _LARGEST


def parzen_sigma(samples: Tensor, held_out: Tensor, sigmas: Sequence[float]) -> float:
    r"""The width of Parzen windows under which held-out points are most likely.

    Args:
        samples: (n, ...), on which the windows are put.
        held_out: (m, ...), points that are none of the samples, nor among those to be judged.
        sigmas: The widths to choose from, at least three, ascending.

    Returns:
        The one with the largest mean of `ParzenWindow(samples, sigma).log_prob(held_out)`.

    Raises:
        TypeError: if samples or held_out is not a tensor of real numbers.
        ValueError: if samples is not as `ParzenWindow` wants it, held_out is empty, of another shape or not
            finite, sigmas are not ascending, from 1e-80 to 1e80 and at least three, or if the best of them is
            the first or the last, so that a better one may lie beyond.

    Source:
        Breuleux, Bengio and Vincent 2011; the procedure behind Table 1 of Goodfellow et al. 2014.

    >>> x = torch.linspace(-1, 1, 201, dtype=torch.float64)
    >>> parzen_sigma(x[::10], x, [0.01, 0.05, 0.1, 1.0])
    0.05
    """
    grid = isinstance(sigmas, Sequence | np.ndarray) and len(sigmas) >= 3 and all(map(_is_width, sigmas))
    if not grid or any(low >= high for low, high in pairwise(sigmas)):
        widths = f"from {1 / _LARGEST:g} to {_LARGEST:g}"
        raise ValueError(f"sigmas must be three or more ascending numbers {widths}, got {sigmas!r}")
    window = ParzenWindow(samples, sigmas[0])
    check_tensor(held_out, "held_out")
    if not held_out.dim() or held_out.shape[1:] != window.event_shape or not len(held_out):
        expected = f"(m,) + {tuple(window.event_shape)} with m >= 1"
        raise ValueError(f"held_out must have shape {expected}, got {tuple(held_out.shape)}")
    if not held_out.isfinite().all():
        raise ValueError("held_out must be finite, got NaN or infinity")
    flat = held_out.double().reshape(len(held_out), -1)
    best = int(window._log_probs(flat, sigmas).mean(1).argmax())  # noqa: SLF001  (of this module)
    if best in {0, len(sigmas) - 1}:
        raise ValueError(
            f"the best sigma, {sigmas[best]:.4g}, is at the edge of the grid, "
            f"which goes from {sigmas[0]:.4g} to {sigmas[-1]:.4g}; widen it"
        )
    return float(sigmas[best])
