r"""The game of generator and discriminator on two known densities: V(D, G), its maximiser and its maximum."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from gan_theory.checks import check_elementwise, check_tensor, is_real
from gan_theory.distributions import as_density, log_ratio, weigh
from gan_theory.divergences import js_divergence
from gan_theory.quadrature import integrate

# What 0 and 1 are taken for when D gives probabilities, as long as neither costs anything.
_LEAST, _LAST_DIGIT = 1e-300, torch.finfo(torch.float64).eps / 2


class Discriminator:
    r"""A discriminator :math:`D(x) = \sigma(a(x))`, given by its logit a.

    Args:
        logit: x (any shape) -> a(x) = log D(x)/(1 - D(x)), of the same shape; maybe infinite.

    Raises:
        TypeError: if logit is not callable; when called, if x is not a tensor of real numbers.

    >>> D = Discriminator(lambda x: 2 * x)
    >>> D(torch.tensor([0.0])).item()
    0.5
    """

    def __init__(self, logit: Callable[[Tensor], Tensor]) -> None:
        if not callable(logit):
            raise TypeError(f"logit must be callable, got {type(logit).__name__}")
        self.logit = logit

    def __call__(self, x: Tensor) -> Tensor:
        """The probability D(x), of the shape of x."""
        check_tensor(x, "x")
        return torch.sigmoid(self.logit(x))


def optimal_discriminator(p_data: Distribution, p_g: Distribution, prior_real: float = 0.5) -> Discriminator:
    r"""The discriminator that maximises V(D, G): the posterior probability that x is real.

    .. math:: D^*(x) = \frac{\pi\, p_\mathrm{data}(x)}{\pi\, p_\mathrm{data}(x) + (1 - \pi)\, p_g(x)}, \qquad
              \operatorname{logit} D^*(x) = \log \frac{p_\mathrm{data}(x)}{p_g(x)} + \log \frac{\pi}{1 - \pi}

    with :math:`\pi` the share of real samples. The logit is the difference of the log-densities, as exact as
    they are, also where both densities underflow. Where only one of them vanishes D* is 0 or 1, the logit
    infinite. Where both vanish (or both are infinite) any D is optimal: there D* is :math:`\pi`, the belief
    that no evidence has moved.

    Args:
        p_data: one-dimensional, unbatched, continuous distribution of the data.
        p_g: the same of the generator's samples.
        prior_real: the share of real samples, in (0, 1).

    Returns:
        D*, called as D(x) for the probability; `D.logit(x)` for its logit, both float64, of the shape of x,
        and NaN where x is.

    Raises:
        TypeError: if p_data or p_g is not a distribution.
        ValueError: if one is batched, discrete, or of unknown place and scale; or prior_real not in (0, 1).

    Source:
        Goodfellow et al. 2014, Proposition 1.

    >>> from torch.distributions import Normal
    >>> D = optimal_discriminator(Normal(0.0, 1.0), Normal(1.0, 1.0))
    >>> D.logit(torch.tensor([0.5, -99.5])).tolist()
    [0.0, 100.0]
    """
    if not (is_real(prior_real) and 0 < prior_real < 1):
        raise ValueError(f"prior_real must be in (0, 1), got {prior_real!r}")
    data, generated = as_density(p_data, "p_data"), as_density(p_g, "p_g")
    prior_logit = math.log(prior_real) - math.log1p(-prior_real)

    def logit(x: Tensor) -> Tensor:
        check_tensor(x, "x")
        log_data, log_g = (density.log_prob(x.double().reshape(-1)) for density in (data, generated))
        return (log_ratio(log_data, log_g) + prior_logit).reshape(x.shape)

    return Discriminator(logit)


def value(D: Callable[[Tensor], Tensor], p_data: Distribution, p_g: Distribution) -> Tensor:
    r"""The value of the game for a discriminator and a generator's density.

    .. math:: V(D, G) = \mathbb E_{x \sim p_\mathrm{data}}[\log D(x)] + \mathbb E_{x \sim p_g}[\log(1 - D(x))]

    Args:
        D: x (n,) -> D(x) in [0, 1], (n,). Its logarithms are taken through `D.logit` where it has one, since
            D rounds to 1 where it is within 1e-16 of it. Structure finer than the densities' may be missed.
        p_data: one-dimensional, unbatched, continuous distribution of the data.
        p_g: the same of the generator's samples.

    Returns:
        0-d float64 tensor in [-inf, 0], in nats.

    Raises:
        TypeError: if p_data or p_g is not a distribution, or D not callable.
        ValueError: if a distribution is batched, discrete, or of unknown place and scale; or D leaves [0, 1].
        ArithmeticError: if quadrature cannot decide the integral.

    Source:
        Goodfellow et al. 2014, eq. (1).

    >>> from torch.distributions import Normal
    >>> round(value(lambda x: 0.5 + 0 * x, Normal(0.0, 1.0), Normal(1.0, 1.0)).item() + math.log(4), 12)
    0.0
    """
    return _play(
        D,
        p_data,
        p_g,
        lambda log_data, log_g, log_d, log_not_d: weigh(log_data, log_d) + weigh(log_g, log_not_d),
    )


def regret(D: Callable[[Tensor], Tensor], p_data: Distribution, p_g: Distribution) -> Tensor:
    r"""How far a discriminator is from the optimal one, in the unit of the game.

    .. math:: C(G) - V(D, G) = \int (p_\mathrm{data} + p_g)\,
              \mathrm{KL}(\mathrm{Ber}\, D^* \,\|\, \mathrm{Ber}\, D)\, dx \ge 0

    Args:
        D: x (n,) -> D(x) in [0, 1], (n,), through `D.logit` where it has one.
        p_data: one-dimensional, unbatched, continuous distribution of the data.
        p_g: the same of the generator's samples.

    Returns:
        0-d float64 tensor in [0, inf], in nats; 0 exactly where D = D* almost everywhere.

    Raises:
        TypeError, ValueError, ArithmeticError: as `value`.

    Source:
        Follows from Goodfellow et al. 2014, eq. (3); derived in the chapter on the optimal discriminator.

    >>> from torch.distributions import Normal
    >>> p_data, p_g = Normal(0.0, 1.0), Normal(1.0, 1.0)
    >>> regret(optimal_discriminator(p_data, p_g), p_data, p_g).item()
    0.0
    """

    def integrand(log_data: Tensor, log_g: Tensor, log_d: Tensor, log_not_d: Tensor) -> Tensor:
        r = log_ratio(log_data, log_g)
        return weigh(log_data, logsigmoid(r) - log_d) + weigh(log_g, logsigmoid(-r) - log_not_d)

    return _play(D, p_data, p_g, integrand).clamp(min=0.0)


def generator_criterion(p_data: Distribution, p_g: Distribution) -> Tensor:
    r"""What the generator minimises against the best discriminator, :math:`C(G) = \max_D V(D, G)`.

    .. math:: C(G) = -\log 4 + 2\, \mathrm{JSD}(p_\mathrm{data}, p_g)

    Args:
        p_data: one-dimensional, unbatched, continuous distribution of the data.
        p_g: the same of the generator's samples.

    Returns:
        0-d float64 tensor in [-log 4, 0], in nats.

    Raises:
        TypeError, ValueError, ArithmeticError: as `gan_theory.divergences.js_divergence`.

    Source:
        Goodfellow et al. 2014, Theorem 1 and eq. (6).

    >>> from torch.distributions import Normal
    >>> round(generator_criterion(Normal(0.0, 1.0), Normal(0.0, 1.0)).item() + math.log(4), 12)
    0.0
    """
    return -math.log(4) + 2 * js_divergence(p_data, p_g)


def _play(
    D: Callable[[Tensor], Tensor], p_data: Distribution, p_g: Distribution, integrand: Callable
) -> Tensor:
    """The integral of integrand(log p_data, log p_g, log D, log(1 - D))."""
    if not callable(D):
        raise TypeError(f"D must be callable, got {type(D).__name__}")
    data, generated = as_density(p_data, "p_data"), as_density(p_g, "p_g")

    through_logit = hasattr(D, "logit")
    certain = []  # whether D was 0 or 1 anywhere, maybe by rounding

    def at(x: Tensor) -> Tensor:
        y = _evaluate(D.logit if through_logit else D, x)
        if through_logit:
            return integrand(data.log_prob(x), generated.log_prob(x), logsigmoid(y), logsigmoid(-y))
        if not bool(((y >= 0) & (y <= 1)).all()):
            raise ValueError(f"D must be in [0, 1], got {y[~((y >= 0) & (y <= 1))][0].item():.6g}")
        certain.append(bool(((y == 0) | (y == 1)).any()))
        log_d, log_not_d = y.clamp(min=_LEAST).log(), torch.log1p(-y.clamp(max=1 - _LAST_DIGIT))
        return integrand(data.log_prob(x), generated.log_prob(x), log_d, log_not_d)

    def mistaken(x: Tensor) -> Tensor:
        y = D(x).double()
        return weigh(data.log_prob(x), (y == 0).double()) + weigh(generated.log_prob(x), (y == 1).double())

    try:
        result = integrate(at, data, generated)
    except ArithmeticError as error:
        if any(certain):  # probabilities near 1 have no digits left for what is missing to 1
            raise ArithmeticError(
                f"{error}; a D with a logit, as Discriminator makes one, keeps its digits"
            ) from None
        raise
    if any(certain):
        with torch.no_grad():
            if integrate(mistaken, data, generated) > 1e-13:
                zero, never = torch.tensor([0.0, -math.inf], dtype=torch.float64)
                return integrand(zero, zero, never, never)
    return result


def _evaluate(D: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    y = D(x)
    check_elementwise(y, x, "D")
    return y.double()
