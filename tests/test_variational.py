"""f-divergences from below: functions against SymPy and numeric suprema, the bound against closed forms."""

import math

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from torch.distributions import Bernoulli, Normal, Uniform

from gan_theory.divergences import f_divergence, js_divergence, kl_divergence, total_variation
from gan_theory.game import Discriminator, optimal_discriminator, value
from gan_theory.variational import (
    JENSEN_SHANNON,
    KL,
    PEARSON,
    REVERSE_KL,
    SQUARED_HELLINGER,
    TOTAL_VARIATION,
    Critic,
    optimal_critic,
    variational_bound,
)

SMOOTH = {
    "kl": KL,
    "reverse kl": REVERSE_KL,
    "jensen-shannon": JENSEN_SHANNON,
    "hellinger": SQUARED_HELLINGER,
    "pearson": PEARSON,
}
ALL = {**SMOOTH, "total variation": TOTAL_VARIATION}
U = sp.symbols("u", positive=True)
SYMBOLIC = {
    "kl": U * sp.log(U),
    "reverse kl": -sp.log(U),
    "jensen-shannon": U * sp.log(U) - (1 + U) * sp.log((1 + U) / 2),
    "hellinger": (sp.sqrt(U) - 1) ** 2,
    "pearson": (U - 1) ** 2,
}
every_smooth_one = pytest.mark.parametrize("name", SMOOTH)
every_one = pytest.mark.parametrize("name", ALL)


def t(value):
    return torch.tensor(value, dtype=torch.float64)


def normal(mean, scale):
    return Normal(t(mean), t(scale))


PAIR = normal(1.0, 0.5), normal(0.0, 1.5)


def close(got, expected, rel=1e-9):
    np.testing.assert_allclose(np.asarray(got), np.asarray(expected, dtype=float), rtol=rel, atol=1e-12)


@every_smooth_one
def test_each_function_against_sympy(name):
    divergence, f = SMOOTH[name], SYMBOLIC[name]
    u = np.array([1e-3, 0.2, 1.0, 1.7, 40.0])
    expected = {
        "f": f,
        "critic": sp.diff(f, U),
        "cost": sp.simplify(U * sp.diff(f, U) - f),
        "weight": sp.simplify(U**2 * sp.diff(f, U, 2)),
    }
    for field, formula in expected.items():
        got = getattr(divergence, field)(t(u) if field == "f" else t(u).log())
        close(got, [float(formula.subs(U, value)) for value in u])
    assert sp.simplify(f.subs(U, 1)) == 0
    assert float(sp.limit(f / U, U, sp.oo)) == pytest.approx(divergence.slope_at_infinity, abs=1e-15)
    close(divergence.conjugate(divergence.critic(t(u).log())), divergence.cost(t(u).log()), rel=1e-7)


@every_one
def test_each_conjugate_is_the_largest_of_many_lines(name):
    divergence = ALL[name]
    u = torch.cat([t([0.0]), torch.logspace(-9, 9, 400_001, dtype=torch.float64)])
    f = divergence.f(u)
    end = min(divergence.slope_at_infinity, 3.0)
    for gap in (0.05, 0.3, 1.0, 2.5, 6.0):
        line = end - gap
        close(divergence.conjugate(t(line)), (line * u - f).max(), rel=1e-6)
    if math.isfinite(divergence.slope_at_infinity):
        assert divergence.conjugate(t(end + 1e-9)) == math.inf
        assert (divergence.conjugate(t(end)) == math.inf) == (name != "total variation")
    at_zero = f[0].item()
    assert divergence.conjugate(t(-math.inf)).item() == pytest.approx(-at_zero, abs=1e-15)
    assert divergence.cost(t(-math.inf)).item() == pytest.approx(-at_zero, abs=1e-15)
    assert divergence.critic(t(math.inf)).item() == pytest.approx(divergence.slope_at_infinity)


@every_one
@pytest.mark.parametrize(
    ("p", "q"),
    [
        PAIR,
        (normal(0.0, 1.0), normal(0.7, 1.2)),
        (Uniform(t(0.0), t(1.0)), Uniform(t(0.5), t(2.0))),
        (Uniform(t(0.0), t(1.0)), Uniform(t(2.0), t(3.0))),
    ],
)
def test_the_optimal_critic_reaches_the_divergence(name, p, q):
    divergence = ALL[name]
    bound = variational_bound(optimal_critic(p, q, divergence), p, q, divergence)
    exact = f_divergence(p, q, divergence.f, divergence.slope_at_infinity)
    if name == "reverse kl":
        exact = kl_divergence(q, p)
    assert bound.dtype == torch.float64
    close(bound, exact)


def test_the_divergences_are_what_they_are_called():
    p, q = normal(0.3, 0.8), normal(-0.4, 1.1)
    for divergence, direct in (
        (KL, kl_divergence(p, q)),
        (REVERSE_KL, kl_divergence(q, p)),
        (JENSEN_SHANNON, 2 * js_divergence(p, q)),
        (TOTAL_VARIATION, total_variation(p, q)),
    ):
        close(variational_bound(optimal_critic(p, q, divergence), p, q, divergence), direct)
    shift, scales = 0.7, 0.8**2 + 1.1**2
    hellinger = 2 - 2 * math.sqrt(2 * 0.8 * 1.1 / scales) * math.exp(-(shift**2) / 4 / scales)
    close(variational_bound(optimal_critic(p, q, SQUARED_HELLINGER), p, q, SQUARED_HELLINGER), hellinger)
    wide = normal(0.0, 2.0)
    close(
        variational_bound(optimal_critic(normal(1.5, 2.0), wide, PEARSON), normal(1.5, 2.0), wide, PEARSON),
        math.expm1(1.5**2 / 4),
    )


@every_smooth_one
@settings(max_examples=25)
@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_any_other_critic_stays_below(name, nudge):
    divergence, (p, q) = SMOOTH[name], (normal(0.3, 0.8), normal(-0.4, 1.1))
    best = optimal_critic(p, q, divergence)
    a, b, c = nudge
    moved = Critic(divergence, lambda x: best.log_ratio(x) + a + b * torch.tanh(x) + c * torch.sin(2 * x))
    bound = variational_bound(moved, p, q, divergence).item()
    exact = f_divergence(p, q, divergence.f, divergence.slope_at_infinity).item()
    assert bound <= exact * (1 + 1e-9)
    if max(map(abs, nudge)) > 0.1:
        assert bound < exact


@every_one
def test_the_bound_against_scipy(name):
    divergence, (p, q) = ALL[name], PAIR
    T = Critic(divergence, lambda x: 0.4 * torch.cos(x) - 0.1)

    def integrand(x):
        at = T(t([x]))
        return (
            stats.norm.pdf(x, 1, 0.5) * at.item()
            - stats.norm.pdf(x, 0, 1.5) * divergence.conjugate(at).item()
        )

    jumps = [s * math.acos(0.25) + k * 2 * math.pi for s in (-1, 1) for k in (-1, 0, 1)]
    expected = integrate.quad(integrand, -15, 15, points=jumps, limit=300)[0]
    for critic in (T, T.__call__):
        close(variational_bound(critic, p, q, divergence), expected, rel=1e-7)


def test_the_value_of_the_game_is_a_bound():
    p_data, p_g = PAIR
    for D in (optimal_discriminator(p_data, p_g), Discriminator(lambda x: 2 * torch.sin(x))):
        T = Critic(JENSEN_SHANNON, D.logit)
        bound = variational_bound(T, p_data, p_g, JENSEN_SHANNON)
        close(bound, value(D, p_data, p_g) + math.log(4))
        x = torch.linspace(-3, 3, 7, dtype=torch.float64)
        close(T(x), (2 * D(x)).log())


@every_smooth_one
def test_the_weight_is_the_gradient_of_the_divergence(name):
    # d/dm of D_f(p || N(m, s^2)) is minus the mean of weight(r) times the slope of r over the samples.
    divergence, p, scale = SMOOTH[name], normal(0.0, 0.8), 1.1
    mean = t(0.7).requires_grad_()
    q = Normal(mean, t(scale))
    f_divergence(p, q, divergence.f, divergence.slope_at_infinity).backward()

    def pull(x):
        r = stats.norm.logpdf(x, 0, 0.8) - stats.norm.logpdf(x, 0.7, scale)
        slope = -x / 0.8**2 + (x - 0.7) / scale**2
        return stats.norm.pdf(x, 0.7, scale) * divergence.weight(t(r)).item() * slope

    close(mean.grad, -integrate.quad(pull, -12, 12, points=[0, 0.7])[0], rel=1e-7)


def test_outside_the_domain_the_bound_says_nothing():
    p, q = PAIR
    assert variational_bound(lambda x: 0 * x + 1.01, p, q, SQUARED_HELLINGER) == -math.inf
    assert variational_bound(torch.ones_like, p, q, REVERSE_KL) == -math.inf
    assert variational_bound(lambda x: 2 * torch.ones_like(x), p, q, TOTAL_VARIATION) == -math.inf


def test_it_keeps_its_digits_far_out():
    p, q = normal(0.0, 1.5), normal(1.0, 0.5)  # p/q is exp(1000) within reach
    for divergence in (JENSEN_SHANNON, SQUARED_HELLINGER):
        exact = f_divergence(p, q, divergence.f, divergence.slope_at_infinity)
        close(variational_bound(optimal_critic(p, q, divergence), p, q, divergence), exact)
    p, q = normal(0.0, 1.0), normal(40.0, 1.0)
    close(variational_bound(optimal_critic(p, q, SQUARED_HELLINGER), p, q, SQUARED_HELLINGER), 2)
    with pytest.raises(ArithmeticError, match="range of float64"):
        variational_bound(optimal_critic(p, q, PEARSON), p, q, PEARSON)


def test_what_overflows_is_not_dropped_where_it_matters():
    q, T = normal(0.0, 1.0), Critic(PEARSON, lambda x: torch.where(x > 39.7, 400.0, 0.0))
    assert stats.norm.logsf(39.7) + 2 * 400 > 7  # the mean of f*(T) over q is exp of it
    with pytest.raises(ArithmeticError, match="range of float64"):
        variational_bound(T, q, q, PEARSON)


def test_a_critic_of_another_divergence_is_taken_as_a_function():
    p, q = normal(0.5, 1.0), normal(0.0, 1.0)
    T = optimal_critic(p, q, KL)  # 1 + log p/q = 0.875 + x / 2
    expected = 0.875 + 0.25 - (0.875 + (0.875**2 + 0.25) / 4)  # T is hardly ever below -2
    assert variational_bound(T, p, q, PEARSON).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("T", "p", "divergence", "error", "message"),
    [
        (3.0, PAIR[0], KL, TypeError, "T must be callable, got float"),
        (torch.sin, PAIR[0], lambda u: u, TypeError, "divergence must be an FDivergence, got function"),
        (torch.sin, 3.0, KL, TypeError, "p must be .* got float"),
        (torch.sin, Bernoulli(t(0.5)), KL, ValueError, "p must be continuous"),
        (lambda x: x.sum(), PAIR[0], KL, ValueError, r"T must map .* got \(\) for n"),
        (lambda x: 1.0, PAIR[0], KL, ValueError, "T must map .* got float for n"),  # noqa: ARG005
        (lambda x: x / 0 * 0, PAIR[0], KL, ValueError, "T must be a number everywhere, got nan at x"),
    ],
)
def test_misuse(T, p, divergence, error, message):
    with pytest.raises(error, match=message):
        variational_bound(T, p, PAIR[1], divergence)
