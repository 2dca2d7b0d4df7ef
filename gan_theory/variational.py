r"""f-divergences from below: the variational bound, and the functions that it is made of.

An f-divergence is the largest value of :math:`\mathbb E_p[T] - \mathbb E_q[f^*(T)]` over all functions T, and
so any T, a network too, bounds it from below by expectations that samples can estimate. The value of a GAN is
the case :math:`T = \log 2D` of the Jensen-Shannon divergence, up to a constant.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from gan_theory.checks import check_elementwise, check_tensor
from gan_theory.distributions import as_density, log_ratio, weigh
from gan_theory.quadrature import integrate

Function = Callable[[Tensor], Tensor]
_LOG_2 = math.log(2)


@dataclass(frozen=True)
class FDivergence:
    r"""A convex f with f(1) = 0, and what belongs to it; all functions elementwise on tensors.

    .. math:: f^*(t) = \sup_{u > 0}\, \big( t u - f(u) \big)

    Attributes:
        f: u >= 0 -> f(u); maybe infinite at 0.
        conjugate: t -> f*(t), infinite outside its domain, and its limit at -inf.
        critic: log u -> f'(u), the best T where p/q = u; at log u = -inf and inf its limits.
        cost: log u -> f*(f'(u)), the same as conjugate(critic(log u)) with all its digits.
        weight: log u -> u^2 f''(u), by which the generator's samples weigh the slope of log p/q.
        slope_at_infinity: the limit of f(u)/u, the upper end of the domain of f*.

    Source:
        Nowozin, Cseke and Tomioka 2016, Tables 1 and 2; their JS is twice this book's JSD, as it is here.

    >>> PEARSON.conjugate(PEARSON.critic(torch.tensor(3.0).log())).item()  # t u - f(u) = 4 * 3 - 4
    8.0
    """

    f: Function
    conjugate: Function
    critic: Function
    cost: Function
    weight: Function
    slope_at_infinity: float


def _or_infinite(values: Tensor, t: Tensor, end: float) -> Tensor:
    """The values up to the end of the domain, where they may be infinite themselves, and infinity beyond."""
    return values.where(t <= end, math.inf)


KL = FDivergence(
    f=lambda u: torch.xlogy(u, u),
    conjugate=lambda t: (t - 1).exp(),
    critic=lambda r: 1 + r,
    cost=lambda r: r.exp(),
    weight=lambda r: r.exp(),
    slope_at_infinity=math.inf,
)
r""":math:`f(u) = u \log u` gives :math:`\mathrm{KL}(p \,\|\, q)`."""

REVERSE_KL = FDivergence(
    f=lambda u: -u.log(),
    conjugate=lambda t: _or_infinite(-1 - (-t.clamp(max=0.0)).log(), t, 0.0),
    critic=lambda r: -(-r).exp(),
    cost=lambda r: r - 1,
    weight=torch.ones_like,
    slope_at_infinity=0.0,
)
r""":math:`f(u) = -\log u` gives :math:`\mathrm{KL}(q \,\|\, p)`."""

JENSEN_SHANNON = FDivergence(
    f=lambda u: torch.xlogy(u, u) - (1 + u) * ((1 + u) / 2).log(),
    conjugate=lambda t: _or_infinite(-(-torch.expm1(t.clamp(max=_LOG_2) - _LOG_2)).log() - _LOG_2, t, _LOG_2),
    critic=lambda r: _LOG_2 + logsigmoid(r),
    cost=lambda r: -_LOG_2 - logsigmoid(-r),
    weight=torch.sigmoid,
    slope_at_infinity=_LOG_2,
)
r""":math:`f(u) = u \log u - (1 + u) \log \tfrac{1 + u}{2}` gives :math:`2\, \mathrm{JSD}(p, q)`."""

SQUARED_HELLINGER = FDivergence(
    f=lambda u: (u.sqrt() - 1) ** 2,
    conjugate=lambda t: _or_infinite(1 / (1 - t.clamp(max=1.0)) - 1, t, 1.0),
    critic=lambda r: -torch.expm1(-r / 2),
    cost=lambda r: torch.expm1(r / 2),
    weight=lambda r: (r / 2).exp() / 2,
    slope_at_infinity=1.0,
)
r""":math:`f(u) = (\sqrt u - 1)^2` gives :math:`\int (\sqrt p - \sqrt q)^2\, dx`."""

PEARSON = FDivergence(
    f=lambda u: (u - 1) ** 2,
    conjugate=lambda t: t.clamp(min=-2.0) + t.clamp(min=-2.0) ** 2 / 4,
    critic=lambda r: 2 * torch.expm1(r),
    cost=lambda r: torch.expm1(2 * r),
    weight=lambda r: 2 * (2 * r).exp(),
    slope_at_infinity=math.inf,
)
r""":math:`f(u) = (u - 1)^2` gives :math:`\chi^2(p \,\|\, q) = \int (p - q)^2 / q\, dx`."""

TOTAL_VARIATION = FDivergence(
    f=lambda u: (u - 1).abs() / 2,
    conjugate=lambda t: _or_infinite(t.clamp(min=-0.5), t, 0.5),
    critic=lambda r: r.sign() / 2,
    cost=lambda r: r.sign() / 2,
    weight=torch.zeros_like,
    slope_at_infinity=0.5,
)
r""":math:`f(u) = \tfrac12 |u - 1|` gives :math:`\mathrm{TV}(p, q)`; its critic jumps where p = q."""


class Critic:
    r"""A critic :math:`T(x) = f'(e^{r(x)})`, given by its opinion r of log p/q.

    It keeps the digits that T(x) itself loses where it comes near the end of the domain of f*.

    Args:
        divergence: the f-divergence that T is to estimate.
        log_ratio: x (n,) -> r(x) (n,), maybe infinite.

    Raises:
        TypeError: if divergence is no `FDivergence`, or log_ratio not callable; when called, if x is not a
            tensor of real numbers.

    >>> Critic(PEARSON, lambda x: x)(torch.tensor([0.0])).item()
    0.0
    """

    def __init__(self, divergence: FDivergence, log_ratio: Function) -> None:
        _check_divergence(divergence)
        if not callable(log_ratio):
            raise TypeError(f"log_ratio must be callable, got {type(log_ratio).__name__}")
        self.divergence = divergence
        self.log_ratio = log_ratio

    def __call__(self, x: Tensor) -> Tensor:
        """T(x), of the shape of x."""
        check_tensor(x, "x")
        return self.divergence.critic(self.log_ratio(x))


def optimal_critic(p: Distribution, q: Distribution, divergence: FDivergence) -> Critic:
    r"""The function at which the variational bound reaches the f-divergence.

    .. math:: T^*(x) = f'\!\left(\frac{p(x)}{q(x)}\right)

    with the limits of f' where p or q vanishes, infinite ones among them.

    Args:
        p: one-dimensional, unbatched, continuous distribution.
        q: the same.
        divergence: the f-divergence.

    Returns:
        T*, called as T(x), float64, of the shape of x; in the unit of f.

    Raises:
        TypeError: if p or q is not a distribution, or divergence not an `FDivergence`.
        ValueError: if one is batched, discrete, or of unknown place and scale.

    Source:
        Nowozin, Cseke and Tomioka 2016, eq. (5).

    >>> from torch.distributions import Normal
    >>> optimal_critic(Normal(1.0, 1.0), Normal(0.0, 1.0), KL)(torch.tensor([0.5, 2.0])).tolist()
    [1.0, 2.5]
    """
    first, second = as_density(p, "p"), as_density(q, "q")

    def ratio(x: Tensor) -> Tensor:
        log_p, log_q = (density.log_prob(x.double().reshape(-1)) for density in (first, second))
        return log_ratio(log_p, log_q).reshape(x.shape)

    return Critic(divergence, ratio)


def variational_bound(T: Function, p: Distribution, q: Distribution, divergence: FDivergence) -> Tensor:
    r"""What a function T says of an f-divergence from below.

    .. math:: \mathbb E_{x \sim p}[T(x)] - \mathbb E_{x \sim q}[f^*(T(x))] \;\le\; D_f(p \,\|\, q)

    with equality for :math:`T = f'(p/q)`. It is minus infinity where T leaves the domain of f*.

    Args:
        T: x (n,) -> T(x) (n,), maybe infinite; a `Critic` of the divergence is taken through its log-ratio.
            Structure finer than the densities' may be missed.
        p: one-dimensional, unbatched, continuous distribution.
        q: the same.
        divergence: the f-divergence.

    Returns:
        0-d float64 tensor in [-inf, D_f(p || q)], in the unit of f.

    Raises:
        TypeError: if T is not callable, p or q not a distribution, or divergence not an `FDivergence`.
        ValueError: if a distribution is batched, discrete, or of unknown place and scale; or T is not a
            number somewhere, or not elementwise.
        ArithmeticError: if quadrature cannot decide the integral, or T leaves the range of float64 where that
            matters.

    Source:
        Nowozin, Cseke and Tomioka 2016, eq. (4).

    >>> from torch.distributions import Normal
    >>> round(variational_bound(lambda x: 0.5 + x, Normal(1.0, 1.0), Normal(0.0, 1.0), KL).item(), 12)
    0.5
    """
    if not callable(T):
        raise TypeError(f"T must be callable, got {type(T).__name__}")
    _check_divergence(divergence)
    first, second = as_density(p, "p"), as_density(q, "q")
    through_ratio = isinstance(T, Critic) and T.divergence is divergence

    def integrand(x: Tensor) -> Tensor:
        log_p, log_q = first.log_prob(x), second.log_prob(x)
        if through_ratio:
            r = _evaluate(T.log_ratio, x)
            return _product(log_p, divergence.critic, r) - _product(log_q, divergence.cost, r)
        t = _evaluate(T, x)
        return weigh(log_p, t) - weigh(log_q, divergence.conjugate(t))

    return integrate(integrand, first, second)


def _check_divergence(divergence: FDivergence) -> None:
    if not isinstance(divergence, FDivergence):
        raise TypeError(f"divergence must be an FDivergence, got {type(divergence).__name__}")


def _evaluate(T: Function, x: Tensor) -> Tensor:
    t = T(x)
    check_elementwise(t, x, "T")
    if bool(t.isnan().any()):
        raise ValueError(f"T must be a number everywhere, got nan at x = {x[t.isnan()][0].item():.6g}")
    return t.double()


def _product(log_density: Tensor, g: Function, r: Tensor) -> Tensor:
    """The density times g(r), and 0 where g overflows, if the product is nothing there.

    Raises:
        ArithmeticError: if it is something.
    """
    values = g(r)
    product = weigh(log_density, values)
    lost = torch.isfinite(r) & torch.isinf(values) & (log_density > -math.inf)
    if bool(lost.any()):  # g grows there like exp(order |r|)
        near, far = (g(size * r.sign()).abs().log() for size in (90.0, 100.0))
        if bool((lost & ~(log_density + (far - near) / 10 * r.abs() < -40)).any()):
            raise ArithmeticError(
                "the bound cannot be decided: T leaves the range of float64 where it matters"
            )
        product = product.where(~lost, 0.0)
    return product
