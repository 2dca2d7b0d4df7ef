r"""Divergences between one-dimensional distributions, in nats, exact in the tails.

Each is one formula in :math:`\log p` and :math:`\log q`, integrated for two `torch.distributions`, summed for
two probability vectors, and written so that nothing cancels or overflows. Each can be differentiated once in
the parameters of both arguments. (In an entry of a vector that is 0 the slope of most is infinite; there the
gradient is 0, but that of the total variation and of the Wasserstein distance is right.)
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from gan_theory.checks import check_elementwise, is_real
from gan_theory.distributions import LEAST, as_density, log_ratio, weigh
from gan_theory.quadrature import Panels, integrate

_LOG_2 = math.log(2)
_ROUNDING = 4 * torch.finfo(torch.float64).eps  # of a log-density, relative to its size
_LARGEST_LOG = 690.0  # exp of it is still a float64
_LEAST_LOG = 740.0  # exp of minus that still is, just


def kl_divergence(p: Distribution | Tensor, q: Distribution | Tensor) -> Tensor:
    r"""The Kullback-Leibler divergence of p from q.

    .. math:: \mathrm{KL}(p \,\|\, q) = \int p(x) \log \frac{p(x)}{q(x)} \, dx

    It is infinite where p puts mass, however little, outside the support of q, and where the tails of p are
    too heavy for those of q, as a Student t with at most two degrees of freedom against a normal.

    Args:
        p: one-dimensional, unbatched, continuous distribution, or a probability vector (k,).
        q: the same kind as p.

    Returns:
        0-d float64 tensor in [0, inf], in nats.

    Raises:
        TypeError: if p or q is neither, or they are of two kinds.
        ValueError: if p or q is batched, discrete, of unknown place and scale, or no probability vector.
        ArithmeticError: if quadrature cannot decide the integral.

    Source:
        Kullback and Leibler 1951, eq. (2.4).

    >>> from torch.distributions import Normal
    >>> round(kl_divergence(Normal(1.0, 1.0), Normal(0.0, 1.0)).item(), 12)
    0.5
    """
    total = _total(_kl_integrand, p, q)
    if isinstance(p, Tensor):
        # The integrand's - p + q sums to 0, but has a gradient in those entries of a vector that are not 0.
        excess = p.double().where(p > 0, 0.0).sum() - q.double().where(q > 0, 0.0).sum()
        total = total + (excess - excess.detach())
    return _not_negative(total)


def _kl_integrand(log_p: Tensor, log_q: Tensor) -> Tensor:
    """P log(p/q) - p + q: it integrates to the divergence too, and is nowhere negative."""
    p, q = log_p.exp(), log_q.exp()
    both = torch.isfinite(log_p) & torch.isfinite(log_q)
    r = log_p.where(both, 0.0) - log_q.where(both, 0.0)
    if bool(((log_q <= LEAST) & both & (log_p > -_LEAST_LOG)).any()):
        raise ArithmeticError(
            "the divergence cannot be decided: log q leaves the range of float64 before p does"
        )
    near = p * (r + torch.expm1(-r.clamp(min=-1.0)))  # the same, where p and q nearly cancel
    outside = torch.where(log_q == -math.inf, math.inf, q)  # of q's support, else of p's
    outside = outside.where((log_p > -math.inf) | (log_q > -math.inf), 0.0)
    return torch.where(both, torch.where(r > -1, near, p * r - p + q), outside)


def js_divergence(p: Distribution | Tensor, q: Distribution | Tensor) -> Tensor:
    r"""The Jensen-Shannon divergence of p and q.

    .. math:: \mathrm{JSD}(p, q) = \tfrac12 \mathrm{KL}(p \,\|\, m) + \tfrac12 \mathrm{KL}(q \,\|\, m),
              \qquad m = \tfrac12 (p + q)

    Symmetric; 0 only if p = q, and log 2 only if p and q live on disjoint sets.

    Args:
        p: one-dimensional, unbatched, continuous distribution, or a probability vector (k,).
        q: the same kind as p.

    Returns:
        0-d float64 tensor in [0, log 2], in nats.

    Raises:
        TypeError, ValueError, ArithmeticError: as `kl_divergence`.

    Source:
        Lin 1991, eq. (4.1), with equal weights.

    >>> js_divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])).item() == math.log(2)
    True
    """

    # With r = log p/q: log p/m = log 2 + log sigmoid(r), and log q/m = log 2 + log sigmoid(-r).
    def integrand(log_p: Tensor, log_q: Tensor) -> Tensor:
        r = log_ratio(log_p, log_q)
        p_part = weigh(log_p, _LOG_2 + logsigmoid(r))
        return (p_part + weigh(log_q, _LOG_2 + logsigmoid(-r))) / 2

    return _not_negative(_total(integrand, p, q)).clamp(max=_LOG_2)


def total_variation(p: Distribution | Tensor, q: Distribution | Tensor) -> Tensor:
    r"""The total variation distance of p and q: the most by which their probabilities of one event differ.

    .. math:: \mathrm{TV}(p, q) = \tfrac12 \int |p(x) - q(x)| \, dx

    Args:
        p: one-dimensional, unbatched, continuous distribution, or a probability vector (k,).
        q: the same kind as p.

    Returns:
        0-d float64 tensor in [0, 1], a probability.

    Raises:
        TypeError, ValueError, ArithmeticError: as `kl_divergence`.

    Source:
        Levin and Peres 2017, Proposition 4.2.

    >>> total_variation(torch.tensor([0.5, 0.5]), torch.tensor([0.75, 0.25])).item()
    0.25
    """
    if isinstance(p, Tensor) or isinstance(q, Tensor):
        p_shares, q_shares = _shares(p, q)
        return ((p_shares - q_shares).abs().sum() / 2).clamp(0.0, 1.0)
    return _total(lambda log_p, log_q: (log_p.exp() - log_q.exp()).abs() / 2, p, q).clamp(0.0, 1.0)


def f_divergence(
    p: Distribution | Tensor,
    q: Distribution | Tensor,
    f: Callable[[Tensor], Tensor],
    slope_at_infinity: float | None = None,
) -> Tensor:
    r"""The f-divergence of p from q.

    .. math:: D_f(p \,\|\, q) = \int_{q > 0} q(x) f\!\left(\frac{p(x)}{q(x)}\right) dx + f'(\infty)\, P(q = 0)

    where :math:`f'(\infty) = \lim_{t \to \infty} f(t)/t` weighs the mass that p has where q has none.

    Args:
        p: one-dimensional, unbatched, continuous distribution, or a probability vector (k,).
        q: the same kind as p.
        f: convex, f(1) = 0, elementwise on float64 tensors of t >= 0; may be infinite at 0.
        slope_at_infinity: :math:`f'(\infty)`, maybe `math.inf`; read off f(t)/t at huge t if not given.

    Returns:
        0-d float64 tensor in [0, inf], in the unit that f gives.

    Raises:
        TypeError, ValueError: as `kl_divergence`; `TypeError` also if f is not callable, `ValueError` if f is
            not convex, f(1) is not 0, or slope_at_infinity is not that of f.
        ArithmeticError: if quadrature cannot decide the integral, or p/q leaves the range of float64 where
            that matters.

    Source:
        Csiszár 1967; Polyanskiy and Wu 2024, eq. (7.2).

    >>> p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.75, 0.25])
    >>> round(f_divergence(p, q, lambda t: (t - 1) ** 2, slope_at_infinity=math.inf).item(), 12)
    0.333333333333
    """
    at_zero, slope = _check_convex(f, slope_at_infinity)
    orders = _growth(f)

    def integrand(log_p: Tensor, log_q: Tensor) -> Tensor:
        r = log_ratio(log_p, log_q)
        above, below = r.clamp(0.0, _LARGEST_LOG).exp(), r.clamp(-_LARGEST_LOG, 0.0).exp()
        body = torch.where(r > 0, weigh(log_p, f(above) / above), weigh(log_q, f(below)))
        if math.isinf(slope):
            body = _without_overflow(body, log_p, r, orders[0] - 1)
        if math.isinf(at_zero):
            body = _without_overflow(body, log_q, -r, orders[1])
        only_p, only_q = r == math.inf, r == -math.inf
        body = torch.where(only_p, weigh(log_p.where(only_p, -math.inf), slope), body)
        return torch.where(only_q, weigh(log_q.where(only_q, -math.inf), at_zero), body)

    return _not_negative(_total(integrand, p, q))


def _check_convex(f: Callable[[Tensor], Tensor], slope: float | None) -> tuple[float, float]:
    """The limits f(0) and f'(inf), of an f that is convex on a grid with f(1) = 0."""
    if not callable(f):
        raise TypeError(f"f must be callable, got {type(f).__name__}")
    if not (slope is None or is_real(slope) or (isinstance(slope, float) and math.isinf(slope))):
        raise ValueError(f"slope_at_infinity must be a number, math.inf or None, got {slope!r}")
    t = torch.logspace(-3, 3, 61, dtype=torch.float64)
    values = f(t)
    check_elementwise(values, t, "f")
    at_one = float(f(torch.ones(1, dtype=torch.float64)))
    if not abs(at_one) <= 1e-12:
        raise ValueError(f"f must have f(1) = 0, got {at_one}")
    chords = (values[1:] - values[:-1]) / (t[1:] - t[:-1])
    rounding = 1e-12 * (1 + values.abs().max())
    if not bool((chords[1:] - chords[:-1] >= -rounding / (t[1:-1] - t[:-2])).all()):
        raise ValueError("f must be convex on t > 0, which it is not between 0.001 and 1000")
    at_zero, tiny, smaller = f(torch.tensor([0.0, 1e-150, 1e-300], dtype=torch.float64)).tolist()
    if math.isnan(at_zero):  # t log t
        at_zero = math.inf if smaller - tiny > 1.0 else smaller
    # The slope of a convex f rises to its limit, so that no chord is steeper.
    if slope is not None and slope < chords[-1] - 2 * rounding / (t[-1] - t[-2]):
        raise ValueError(
            f"slope_at_infinity must be at least {chords[-1].item():.6g}, f's slope below 1000, got {slope!r}"
        )
    large = torch.tensor([1e140, 1e150], dtype=torch.float64)
    slopes = (f(large) / large).tolist()
    digits = 1e-9 * (1 + abs(slopes[1]))
    limit = slopes[1] if abs(slopes[1] - slopes[0]) < digits else math.inf
    if slope is not None and (slope < slopes[1] - digits or slope > limit + digits):
        raise ValueError(f"slope_at_infinity must be that of f, {slopes[1]:.6g} below 1e150, got {slope!r}")
    return at_zero, limit if slope is None else slope


def _growth(f: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """The orders of growth of f: a with f ~ t^a for large t, b with f ~ t^-b for small t."""
    sizes = f(torch.tensor([1e140, 1e150, 1e-140, 1e-150], dtype=torch.float64)).abs().log().tolist()
    step = math.log(1e10)
    return (sizes[1] - sizes[0]) / step, (sizes[3] - sizes[2]) / step


def _without_overflow(body: Tensor, log_density: Tensor, r: Tensor, order: float) -> Tensor:
    """0 where exp(r) overflows, if the integrand, density * exp(order * r) or density * r, is nothing there.

    Raises:
        ArithmeticError: if it is something.
    """
    lost = torch.isfinite(r) & ((r > _LARGEST_LOG) | torch.isinf(body))
    size = log_density + (order * r if order > 0.01 else r.clamp(min=1.0).log())
    if bool((lost & ~(size < -40)).any()):
        raise ArithmeticError(
            "the f-divergence cannot be decided: p/q leaves the range of float64 where it matters"
        )
    return body.where(~lost, 0.0)


def wasserstein_1(p: Distribution | Tensor, q: Distribution | Tensor) -> Tensor:
    r"""The Wasserstein-1 distance of p and q: the least mean distance over which mass must be moved.

    .. math:: W_1(p, q) = \int |F_p(x) - F_q(x)| \, dx

    with the distribution functions F. The outcomes of probability vectors are taken to be 0, 1, 2, ....

    Args:
        p: one-dimensional, unbatched, continuous distribution, or a probability vector (k,).
        q: the same kind as p.

    Returns:
        0-d float64 tensor in [0, inf], in the unit of x.

    Raises:
        TypeError, ValueError, ArithmeticError: as `kl_divergence`.

    Source:
        Villani 2003, Theorem 2.18 and eq. (2.48).

    >>> from torch.distributions import Normal
    >>> round(wasserstein_1(Normal(0.0, 1.0), Normal(3.0, 1.0)).item(), 12)
    3.0
    """
    if isinstance(p, Tensor) or isinstance(q, Tensor):
        p_shares, q_shares = _shares(p, q)
        return (p_shares - q_shares).cumsum(0)[:-1].abs().sum()
    densities = as_density(p, "p"), as_density(q, "q")
    centre = float(np.median([np.median(d.knots) for d in densities]))

    def difference(x: Tensor) -> Tensor:
        log_p, log_q = (d.log_prob(x) for d in densities)
        apart = (log_p - log_q).abs() > _ROUNDING * (1 + torch.minimum(log_p.abs(), log_q.abs()))
        return (log_p.exp() - log_q.exp()).where(apart, 0.0)  # else rounding alone tells them apart

    panels = Panels(lambda x: difference(x) * (1 + (x - centre).abs()), *densities)
    return panels.integrate_primitive(difference, centre)


def _total(
    integrand: Callable[[Tensor, Tensor], Tensor], p: Distribution | Tensor, q: Distribution | Tensor
) -> Tensor:
    """The integral, or the sum, of integrand(log p, log q)."""
    if isinstance(p, Tensor) or isinstance(q, Tensor):
        logs = (torch.where(v > 0, v.where(v > 0, 1.0).log(), -math.inf) for v in _shares(p, q))
        return integrand(*logs).sum()
    p_density, q_density = as_density(p, "p"), as_density(q, "q")
    return integrate(lambda x: integrand(p_density.log_prob(x), q_density.log_prob(x)), p_density, q_density)


def _not_negative(total: Tensor) -> Tensor:
    """The total with what rounding has put below 0 taken away; more than that would be an error of ours."""
    if total < -1e-9:  # pragma: no cover  (no such error is known)
        raise ArithmeticError(f"the integral cannot be decided: it came out as {total.item():.3g}, below 0")
    return total.clamp(min=0.0)


def _shares(p: Tensor, q: Tensor) -> list[Tensor]:
    """Two probability vectors, in float64, which sum to 1."""
    shares = []
    for name, vector in (("p", p), ("q", q)):
        if not isinstance(vector, Tensor):
            raise TypeError(
                f"{name} must be a probability vector as the other one is, got {type(vector).__name__}"
            )
        if vector.dim() != 1 or not vector.is_floating_point() or not len(vector):
            shape = tuple(vector.shape)
            raise ValueError(
                f"{name} must be a 1-D floating-point tensor, got {vector.dtype} of shape {shape}"
            )
        total, least = vector.double().sum().item(), vector.min().item()
        if not (least >= 0 and abs(total - 1) <= 1e-6):
            raise ValueError(
                f"{name} must be non-negative and sum to 1, got sum {total:.9g}, least {least:.3g}"
            )
        shares.append(vector.double() / total)  # rounding, of float32 above all, has left the sum beside 1
    if len(p) != len(q):
        raise ValueError(f"p and q must have the same length, got {len(p)} and {len(q)}")
    return shares
