"""The integrator against integrals that are known, and what it says of those it cannot decide."""

import math

import pytest
import torch
from torch.distributions import Beta, Cauchy, Gamma, InverseGamma, Laplace, Normal, Pareto, StudentT, Uniform

from gan_theory.distributions import as_density, log_density
from gan_theory.quadrature import integrate


def t(value):
    return torch.tensor(value, dtype=torch.float64)


NORMAL = Normal(t(0.0), t(1.0))


@pytest.mark.parametrize(
    "p",
    [
        NORMAL,
        Normal(t(50.0), t(1e-3)),
        Normal(t(-50.0), t(1e3)),
        Normal(t(0.0), t(1e30)),
        Laplace(t(3.0), t(1e-3)),
        Cauchy(t(0.0), t(1e3)),
        StudentT(t(0.05)),
        Uniform(t(-2.0), t(5.0)),
        Gamma(t(0.05), t(3.0)),
        Beta(t(0.5), t(0.5)),
        InverseGamma(t(0.5), t(1.0)),
        Pareto(t(1.0), t(0.7)),
    ],
    ids=str,
)
def test_densities_integrate_to_one(p):
    assert integrate(lambda x: log_density(p, x).exp(), p).item() == pytest.approx(1, abs=1e-9)


def test_moments_of_a_normal():
    p = Normal(t(1.0), t(3.0))
    for power, expected in ((1, 1.0), (2, 10.0), (4, 1 + 6 * 9 + 3 * 81)):
        moment = integrate(lambda x, k=power: x**k * p.log_prob(x).exp(), p)
        assert moment.item() == pytest.approx(expected, rel=1e-12)


def test_jumps_and_kinks_are_closed_in_on():
    for jump in (0.123, 0.5, 0.4997, 0.5003, 0.5 + 1e-7):  # the latter between the last nodes of two panels
        probability = integrate(lambda x, a=jump: (x > a).double() * NORMAL.log_prob(x).exp(), NORMAL)
        assert probability.item() == pytest.approx(0.5 * math.erfc(jump / math.sqrt(2)), rel=1e-9)


def test_divergent_integrals_are_infinite():
    cauchy = Cauchy(t(0.0), t(1.0))
    assert integrate(lambda x: x**2 * cauchy.log_prob(x).exp(), cauchy) == math.inf
    assert integrate(lambda x: -x.abs() * cauchy.log_prob(x).exp(), cauchy) == -math.inf
    uniform = Uniform(t(0.0), t(1.0))
    beta = as_density(Beta(t(1.0), t(1.0)), "p")
    assert integrate(lambda x: 1 / x, beta) == math.inf
    assert integrate(lambda x: torch.full_like(x, math.inf), uniform) == math.inf


@pytest.mark.parametrize(
    ("g", "message"),
    [
        (lambda x: x * math.nan, "not a number at x"),
        (lambda x: torch.where(x > 0, math.inf, -math.inf), "infinite with both signs"),
        (lambda x: torch.sin(1e9 * x), "not resolved near x"),
    ],
)
def test_what_cannot_be_decided_is_an_error(g, message):
    with pytest.raises(ArithmeticError, match=message):
        integrate(g, Uniform(t(-1.0), t(1.0)))


def test_an_integrand_that_outlives_the_density_is_not_cut_off():
    assert integrate(torch.ones_like, NORMAL) == math.inf
    assert integrate(lambda x: -(x**2), NORMAL) == -math.inf
    with pytest.raises(ArithmeticError, match="only the densities fall off"):
        integrate(lambda x: torch.exp(-x.abs() / 10), NORMAL)


def test_a_tail_that_is_no_power_law_is_an_error():
    # 1 / (x log^2 x) has an integral, but falls more slowly than any power that is integrable.
    heavy = Cauchy(t(0.0), t(1.0))
    with pytest.raises(ArithmeticError, match="no power law"):
        integrate(lambda x: 1 / ((x.abs() + 2) * (x.abs() + 2).log() ** 2), heavy)


@pytest.mark.parametrize(("location", "scale"), [(0.0, 1e95), (0.0, 1e-95), (1e95, 1.0), (1e20, 1.0)])
def test_scales_beyond_float64_are_an_error(location, scale):
    with pytest.raises(ValueError, match=r"distribution 1 must be .* tells apart and squares"):
        integrate(lambda x: x, Normal(t(location), t(scale)))


def test_differentiable_in_the_integrand_and_in_the_support():
    low, high, power = (t(v).requires_grad_() for v in (0.5, 2.0, 1.5))
    integrate(lambda x: x**power, Uniform(low, high)).backward()
    assert low.grad.item() == pytest.approx(-(0.5**1.5), rel=1e-12)
    assert high.grad.item() == pytest.approx(2.0**1.5, rel=1e-12)
    primitive = lambda x: x**2.5 * math.log(x) / 2.5 - x**2.5 / 2.5**2
    assert power.grad.item() == pytest.approx(primitive(2.0) - primitive(0.5), rel=1e-12)


def test_log_density_outside_the_support_and_in_the_tails():
    assert log_density(Uniform(0.0, 0.5), torch.tensor([[0.25], [2.0]])).tolist() == [
        [pytest.approx(math.log(2))],
        [-math.inf],
    ]
    assert log_density(Gamma(t(2.0), t(1.0)), t([-1.0])).item() == -math.inf
    assert log_density(NORMAL, t([1e5])).item() == pytest.approx(-5e9 - math.log(2 * math.pi) / 2, rel=1e-15)


def test_a_pole_that_nobody_has_named_is_not_passed_over():
    with pytest.raises(ArithmeticError, match=r"not resolved near x = 0\.3"):
        integrate(lambda x: ((x - 0.3).abs() + 1e-300) ** -0.9 * NORMAL.log_prob(x).exp(), NORMAL)


def test_what_changes_its_sign_for_ever_towards_an_end_is_integrated():
    got = integrate(lambda x: torch.sin(3 * x.log()) / x.sqrt(), Beta(t(0.5), t(0.5)))
    assert got.item() == pytest.approx(-3 / (1 / 4 + 9), rel=1e-6)  # the imaginary part of 1 / (1/2 + 3i)
