"""Divergences against closed forms, mpmath, and their own properties."""

import math

import mpmath as mp
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Cauchy,
    Exponential,
    Gamma,
    Gumbel,
    Laplace,
    LogNormal,
    MixtureSameFamily,
    Normal,
    StudentT,
    TransformedDistribution,
    Uniform,
)
from torch.distributions.transforms import SigmoidTransform

from gan_theory.divergences import f_divergence, js_divergence, kl_divergence, total_variation, wasserstein_1

LOG_2 = math.log(2)
DIVERGENCES = [kl_divergence, js_divergence, total_variation, wasserstein_1]


def t(value):
    return torch.tensor(value, dtype=torch.float64)


def normal(mean, scale):
    return Normal(t(mean), t(scale))


def two_bumps(weights=(0.3, 0.7), means=(-2.0, 1.0), scales=(0.5, 1.0)):
    return MixtureSameFamily(Categorical(t(weights)), Normal(t(means), t(scales)))


def agrees(got, expected):
    return got.dtype == torch.float64 and got.item() == pytest.approx(float(expected), rel=1e-9, abs=1e-12)


# Densities of the oracle, of their own, in mpmath.
def mp_normal(mean, scale):
    return lambda x: mp.npdf(x, mean, scale)


def mp_mixture(weights, means, scales):
    return lambda x: mp.fsum(w * mp.npdf(x, m, s) for w, m, s in zip(weights, means, scales, strict=True))


def mp_student(df, location=0.0, scale=1.0):
    df = mp.mpf(df)
    constant = mp.gamma((df + 1) / 2) / (mp.sqrt(df * mp.pi) * mp.gamma(df / 2) * scale)
    return lambda x: constant * (1 + ((x - location) / scale) ** 2 / df) ** (-(df + 1) / 2)


def mp_js(p, q, points):
    def integrand(x):
        a, b = p(x), q(x)
        m = (a + b) / 2
        return ((a * mp.log(a / m) if a else 0) + (b * mp.log(b / m) if b else 0)) / 2

    return mp.quad(integrand, points)


NORMAL_PAIRS = [
    ((0, 1), (1, 2)),
    ((0, 1e-3), (50, 1e3)),
    ((50, 1e3), (0, 1e-3)),
    ((0, 1e-3), (50, 1e-3)),
    ((-25, 1), (25, 3)),
    ((3, 0.7), (3, 0.7)),
    ((50, 1e-3), (50.0005, 1e-3)),
]


@pytest.mark.parametrize(("p", "q"), NORMAL_PAIRS)
def test_kl_of_normals(p, q):
    (m, s), (n, r) = p, q
    expected = mp.log(mp.mpf(r) / s) + (mp.mpf(s) ** 2 + (mp.mpf(m) - n) ** 2) / (2 * mp.mpf(r) ** 2) - 0.5
    assert agrees(kl_divergence(normal(*p), normal(*q)), expected)


@pytest.mark.parametrize(("p", "q"), [((0, 1), (1, 2)), ((0, 1e-3), (50, 1e3)), ((-3, 10), (2, 0.1))])
def test_kl_of_laplaces(p, q):
    (m, s), (n, r) = p, q
    distance = abs(m - n)
    expected = mp.log(mp.mpf(r) / s) + (s * mp.exp(-mp.mpf(distance) / s) + distance) / r - 1
    assert agrees(kl_divergence(Laplace(t(m), t(s)), Laplace(t(n), t(r))), expected)


def test_kl_of_uniforms():
    assert agrees(kl_divergence(Uniform(t(0.0), t(1.0)), Uniform(t(-1.0), t(2.0))), math.log(3))
    assert agrees(kl_divergence(Uniform(t(0.0), t(1e-3)), Uniform(t(-50.0), t(950.0))), math.log(1e6))
    assert kl_divergence(Uniform(t(0.0), t(1.0)), Uniform(t(0.5), t(2.0))) == math.inf
    assert kl_divergence(Uniform(t(0.0), t(1.0)), Uniform(t(2.0), t(3.0))) == math.inf


def test_kl_of_gammas_and_exponentials():
    p, q = Gamma(t(0.3), t(2.0)), Exponential(t(1.0))
    a, b = mp.mpf("0.3"), mp.mpf(2)
    expected = (a - 1) * mp.digamma(a) - mp.loggamma(a) + a * (1 - b) / b + mp.log(b)
    assert agrees(kl_divergence(p, q), expected)
    assert kl_divergence(normal(0.0, 1.0), q) == math.inf


def test_kl_of_log_normals_is_that_of_the_normals():
    p, q = LogNormal(t(0.3), t(0.5)), LogNormal(t(-1.0), t(2.0))
    assert agrees(kl_divergence(p, q), kl_divergence(normal(0.3, 0.5), normal(-1.0, 2.0)))


@pytest.mark.parametrize("df", [2.001, 2.01, 2.5, 3.0, 30.0])
def test_kl_of_student_t_from_a_normal(df):
    nu = mp.mpf(df)
    entropy = (nu + 1) / 2 * (mp.digamma((nu + 1) / 2) - mp.digamma(nu / 2))
    entropy += mp.log(mp.sqrt(nu) * mp.beta(nu / 2, 0.5))
    expected = -entropy + mp.log(2 * mp.pi) / 2 + nu / (2 * (nu - 2))
    assert agrees(kl_divergence(StudentT(t(df)), normal(0.0, 1.0)), expected)


@pytest.mark.parametrize("df", [0.3, 1.0, 1.9, 2.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_kl_of_heavy_tails_from_a_normal_is_infinite(df, scale):
    assert kl_divergence(StudentT(t(df)), normal(1.0, scale)) == math.inf
    mixture = MixtureSameFamily(Categorical(t([1 - 1e-9, 1e-9])), StudentT(t([30.0, df])))
    assert kl_divergence(mixture, normal(1.0, scale)) == math.inf


def test_kl_of_heavy_tails_elsewhere():
    assert kl_divergence(Cauchy(t(0.0), t(1.0)), Laplace(t(0.0), t(1.0))) == math.inf
    assert agrees(kl_divergence(StudentT(t(1.0)), Cauchy(t(0.0), t(1.0))), 0)
    # Closed form: log((s + r)^2 + (m - n)^2) - log(4 s r) for Cauchys.
    got = kl_divergence(Cauchy(t(0.0), t(1e-3)), Cauchy(t(50.0), t(1e3)))
    assert agrees(got, mp.log((mp.mpf("0.001") + 1000) ** 2 + 2500) - mp.log(4))


def test_support_decides_even_where_the_mass_underflows():
    assert kl_divergence(normal(0.0, 1.0), Uniform(t(-50.0), t(50.0))) == math.inf
    assert kl_divergence(Uniform(t(-50.0), t(50.0)), normal(0.0, 1.0)) < math.inf
    without = MixtureSameFamily(Categorical(t([1.0, 0.0])), Uniform(t([0.0, 2.0]), t([1.0, 3.0])))
    assert kl_divergence(Uniform(t(2.0), t(3.0)), without) == math.inf
    assert agrees(kl_divergence(without, Uniform(t(0.0), t(1.0))), 0)


MP_CASES = {
    "near normals": (normal(0, 1), normal(1, 2), mp_normal(0, 1), mp_normal(1, 2), [-40, -5, 0, 1, 5, 40]),
    "sharp in wide": (
        normal(50, 1e-3),
        normal(0, 1e3),
        mp_normal(50, mp.mpf("0.001")),
        mp_normal(0, 1000),
        [-4e4, -1e3, 0, 49.9, 49.99, 49.995, 50, 50.005, 50.01, 50.1, 1e3, 4e4],
    ),
    "mixtures": (
        two_bumps(),
        two_bumps((0.5, 0.5), (0.0, 3.0), (1.0, 0.2)),
        mp_mixture((0.3, 0.7), (-2, 1), (0.5, 1)),
        mp_mixture((0.5, 0.5), (0, 3), (1, 0.2)),
        [-30, -5, -3, -2, -1, 0, 1, 2, 3, 4, 5, 30],
    ),
    "student and normal": (
        StudentT(t(2.5)),
        normal(1, 2),
        mp_student(2.5),
        mp_normal(1, 2),
        [-mp.inf, -1e4, -100, -20, -5, 0, 1, 5, 20, 100, 1e4, mp.inf],
    ),
    "student and cauchy": (
        StudentT(t(1.5), t(0.0), t(0.01)),
        Cauchy(t(5.0), t(1.0)),
        mp_student(1.5, 0, mp.mpf("0.01")),
        mp_student(1, 5),
        [-mp.inf, -1e4, -50, -1, -0.1, 0, 0.1, 1, 4, 5, 6, 10, 50, 1e4, mp.inf],
    ),
}


@pytest.mark.parametrize("name", MP_CASES)
def test_js_against_mpmath(name):
    p, q, mp_p, mp_q, points = MP_CASES[name]
    with mp.workdps(25):
        assert agrees(js_divergence(p, q), mp_js(mp_p, mp_q, points))


@pytest.mark.parametrize("name", ["near normals", "mixtures", "student and cauchy"])
def test_kl_against_mpmath(name):
    p, q, mp_p, mp_q, points = MP_CASES[name]
    with mp.workdps(25):
        expected = mp.quad(lambda x: mp_p(x) * mp.log(mp_p(x) / mp_q(x)) if mp_p(x) else 0, points)
    assert agrees(kl_divergence(p, q), expected)


def test_js_of_uniforms_with_partly_disjoint_supports():
    # p = 1 on [0, 1], q = 1/2 on [1/2, 5/2]: three pieces on which both densities are constant.
    p, q = Uniform(t(0.0), t(1.0)), Uniform(t(0.5), t(2.5))
    overlap = 0.5 * (math.log(1 / 0.75) + 0.5 * math.log(0.5 / 0.75))
    expected = 0.5 * (0.5 * LOG_2 + overlap + 0.75 * LOG_2)
    assert agrees(js_divergence(p, q), expected)
    assert agrees(js_divergence(p, Uniform(t(3.0), t(4.0))), LOG_2)
    assert agrees(js_divergence(normal(-25.0, 1e-3), normal(25.0, 1e-3)), LOG_2)


def test_total_variation():
    # The densities of two normals of one scale cross half way: TV = 2 Phi(distance / 2) - 1.
    for distance in (1e-6, 1.0, 7.0, 50.0):
        expected = mp.erf(mp.mpf(distance) / (2 * mp.sqrt(2)))
        assert agrees(total_variation(normal(0.0, 1.0), normal(distance, 1.0)), expected)
    assert agrees(total_variation(Uniform(t(0.0), t(1.0)), Uniform(t(0.25), t(1.25))), 0.25)
    assert 1 - 1e-12 <= total_variation(Uniform(t(0.0), t(1.0)), Uniform(t(1.0), t(2.0))) <= 1
    # Normals of scales s and r cross where x^2 = log(r^2/s^2) / (1/s^2 - 1/r^2).
    s, r = mp.mpf("0.001"), mp.mpf(1000)
    x = mp.sqrt(mp.log(r**2 / s**2) / (1 / s**2 - 1 / r**2))
    expected = mp.erf(x / s / mp.sqrt(2)) - mp.erf(x / r / mp.sqrt(2))
    assert agrees(total_variation(normal(0.0, 1e-3), normal(0.0, 1e3)), expected)


def test_wasserstein_1():
    assert agrees(wasserstein_1(normal(-25.0, 1e-3), normal(25.0, 1e-3)), 50)
    assert agrees(wasserstein_1(normal(2.0, 1.0), normal(2.0, 4.0)), 3 * math.sqrt(2 / math.pi))
    assert agrees(wasserstein_1(Uniform(t(0.0), t(1.0)), Uniform(t(0.0), t(3.0))), 1)
    assert agrees(wasserstein_1(Cauchy(t(0.0), t(1.0)), Cauchy(t(1.0), t(1.0))), 1)
    assert agrees(wasserstein_1(Exponential(t(1.0)), Exponential(t(0.25))), 3)
    assert wasserstein_1(Cauchy(t(0.0), t(1.0)), normal(0.0, 1.0)) == math.inf
    assert wasserstein_1(Cauchy(t(0.0), t(1.0)), Cauchy(t(0.0), t(1.0))) == 0
    p, q = two_bumps(), two_bumps((0.5, 0.5), (0.0, 3.0), (1.0, 0.2))
    levels = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    grid = torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    quantiles = [np.interp(levels, d.cdf(grid), grid) for d in (p, q)]
    assert wasserstein_1(p, q).item() == pytest.approx(np.abs(quantiles[0] - quantiles[1]).mean(), rel=1e-6)


VECTOR_P, VECTOR_Q = np.array([0.1, 0.0, 0.6, 0.3]), np.array([0.25, 0.25, 0.3, 0.2])


def test_wasserstein_1_across_gaps():
    a, b, c, d = leaves(0.0, 1.0, 2.0, 4.0)
    distance = wasserstein_1(Uniform(a, b), Uniform(c, d))
    assert agrees(distance, 2.5)
    distance.backward()
    assert [v.grad.item() for v in (a, b, c, d)] == pytest.approx([-0.5, -0.5, 0.5, 0.5])
    two = MixtureSameFamily(Categorical(t([0.5, 0.5])), Uniform(t([0.0, 9.0]), t([1.0, 10.0])))
    assert agrees(wasserstein_1(two, Uniform(t(0.0), t(1.0))), 4.5)
    light = MixtureSameFamily(Categorical(t([1 - 5e-14, 5e-14])), Normal(t([0.0, 1e3]), t([1.0, 1.0])))
    assert wasserstein_1(light, normal(0.0, 1.0)).item() == pytest.approx(5e-11, abs=1e-12)


def gumbel(location, scale):
    return Gumbel(t(location), t(scale))


def test_kl_from_a_gumbel_whose_logarithm_overflows():
    # With u = (x - m) / s, log q = -log s - u - exp(-u), whose expectation under a normal is in closed form.
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    assert agrees(kl_divergence(normal(0.0, 1.0), gumbel(0.0, 1.0)), math.exp(0.5) - entropy)
    expected = -entropy + math.log(2) - 0.5 + math.exp(0.5 + 0.125)
    assert agrees(kl_divergence(normal(0.0, 1.0), gumbel(1.0, 2.0)), expected)
    # Under a Laplace of scale s it is 1 / (1 - s^2), which is infinite at 1, and beyond what quadrature sees.
    assert agrees(kl_divergence(Laplace(t(0.0), t(0.5)), gumbel(0.0, 1.0)), -1 + 1 / (1 - 0.25))
    with pytest.raises(ArithmeticError, match="log q leaves the range"):
        kl_divergence(Laplace(t(0.0), t(1.0)), gumbel(0.0, 1.0))


def test_kl_where_a_transform_is_clipped():
    beta, to_unit = Beta(t(2.0), t(3.0)), SigmoidTransform()
    logistic_normal = TransformedDistribution(normal(0.0, 1.0), [to_unit])
    on_the_line = TransformedDistribution(beta, [to_unit.inv])
    assert agrees(kl_divergence(beta, logistic_normal), kl_divergence(on_the_line, normal(0.0, 1.0)).item())


def test_probability_vectors():
    p, q = t(VECTOR_P), t(VECTOR_Q)
    m = (VECTOR_P + VECTOR_Q) / 2
    js = (scipy.stats.entropy(VECTOR_P, m) + scipy.stats.entropy(VECTOR_Q, m)) / 2
    assert agrees(kl_divergence(p, q), scipy.stats.entropy(VECTOR_P, VECTOR_Q))
    assert kl_divergence(q, p) == math.inf
    assert agrees(js_divergence(p, q), js)
    assert agrees(total_variation(p, q), np.abs(VECTOR_P - VECTOR_Q).sum() / 2)
    outcomes = np.arange(4)
    expected = scipy.stats.wasserstein_distance(outcomes, outcomes, VECTOR_P, VECTOR_Q)
    assert agrees(wasserstein_1(p, q), expected)
    assert agrees(wasserstein_1(t([0.5, 0.0, 0.5]), t([0.0, 1.0, 0.0])), 1)  # mass comes from both sides
    assert agrees(f_divergence(p, q, lambda r: (r - 1) ** 2), ((VECTOR_P - VECTOR_Q) ** 2 / VECTOR_Q).sum())


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_what_is_impossible_under_both_adds_nothing(divergence):
    p, q = t([0.5, 0.5, 0.0]).requires_grad_(), t([0.25, 0.75, 0.0])
    whole = divergence(p, q)
    assert agrees(whole, divergence(p[:2], q[:2]).item())
    whole.backward()
    assert p.grad.isfinite().all()


def test_total_variation_is_a_probability_however_its_terms_are_rounded():
    for k in range(1, 40):
        even = torch.cat((torch.full((k,), 1 / k, dtype=torch.float64), torch.zeros(k, dtype=torch.float64)))
        assert 1 - 1e-12 <= total_variation(even, even.flip(0)) <= 1


def test_vectors_that_sum_to_a_little_more_or_less_are_taken_in_their_proportions():
    p, q = np.array([0.6, 0.4 + 5e-7]), np.array([0.3, 0.7 - 4e-7])
    assert agrees(kl_divergence(t(p), t(q)), scipy.stats.entropy(p, q))  # which divides by the sums
    assert agrees(total_variation(t(p), t(q)), np.abs(p / p.sum() - q / q.sum()).sum() / 2)


def test_kl_of_vectors_that_nearly_agree_keeps_its_digits():
    p, q = [0.25 + 2.0**-20, 0.75 - 2.0**-20], [0.25, 0.75]
    with mp.workdps(50):
        expected = float(
            mp.fsum(mp.mpf(a) * mp.log(mp.mpf(a) / mp.mpf(b)) for a, b in zip(p, q, strict=True))
        )
    assert kl_divergence(t(p), t(q)).item() == pytest.approx(expected, rel=1e-8, abs=0)


def test_gradients_of_vectors():
    p, q = t([0.2, 0.8]).requires_grad_(), t([0.5, 0.5]).requires_grad_()
    kl_divergence(p, q).backward()
    torch.testing.assert_close(p.grad, (p / q).log().detach() + 1, rtol=1e-12, atol=0)
    torch.testing.assert_close(q.grad, (-p / q).detach(), rtol=1e-12, atol=0)


def test_gradients_where_a_probability_is_0():
    def slopes(divergence, p, q):
        p, q = t(p).requires_grad_(), t(q).requires_grad_()
        return [slope.tolist() for slope in torch.autograd.grad(divergence(p, q), (p, q))]

    one_hot = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]
    assert slopes(wasserstein_1, *one_hot) == [[2.0, 1.0, 0.0], [-2.0, -1.0, 0.0]]
    of_p, of_q = slopes(total_variation, [0.5, 0.5, 0.0], [0.25, 0.25, 0.5])
    assert (of_p, of_q) == ([0.5, 0.5, -0.5], [-0.5, -0.5, 0.5])
    of_p, of_q = slopes(kl_divergence, [0.5, 0.5, 0.0], [0.25, 0.75, 0.0])
    assert of_p == pytest.approx([1 + math.log(2), 1 - math.log(1.5), 0.0])
    assert of_q == pytest.approx([-2.0, -2 / 3, 0.0])  # minus p/q, which tends to 0 if p does first


@pytest.mark.parametrize(
    ("p", "q"),
    [
        ((0.113, 0.148), (1.73, 0.253)),
        ((0.16, 0.18), (1.43, 0.24)),
        ((0.14, 0.16), (1.03, 0.21)),
        ((0.1, 0.15), (1.8, 0.24)),
    ],
)
def test_what_rises_up_to_the_last_place_looked_at_is_not_taken_for_infinite(p, q):
    """Near 1, log p/q has just left its zero where float64 ends, and a fiftieth of p lies beyond."""
    with pytest.raises(ArithmeticError, match="cannot be decided: beyond x = 1 it falls like no power law"):
        kl_divergence(Beta(*map(t, p)), Beta(*map(t, q)))


F = {
    "kl": (lambda r: torch.xlogy(r, r), math.inf, kl_divergence),
    "tv": (lambda r: (r - 1).abs() / 2, 0.5, total_variation),
    "js": (
        lambda r: (torch.xlogy(r, r) - (1 + r) * ((1 + r) / 2).log()) / 2,
        LOG_2 / 2,
        js_divergence,
    ),
    "reverse kl": (lambda r: -r.log(), 0.0, lambda p, q: kl_divergence(q, p)),
}


@pytest.mark.parametrize("name", F)
@pytest.mark.parametrize("given_slope", [True, False])
def test_f_divergences(name, given_slope):
    f, slope, direct = F[name]
    slope = {"slope_at_infinity": slope} if given_slope else {}
    pairs = [
        (normal(0.0, 1.0), normal(1.0, 2.0)),
        (two_bumps(), normal(0.0, 2.0)),
        (Uniform(t(0.0), t(1.0)), Uniform(t(0.5), t(2.0))),
        (Uniform(t(0.0), t(1.0)), Uniform(t(2.0), t(3.0))),
        (t(VECTOR_P), t(VECTOR_Q)),
        (t(VECTOR_Q), t(VECTOR_P)),
    ]
    for p, q in pairs:
        assert agrees(f_divergence(p, q, f, **slope), direct(p, q))


def test_how_f_grows_decides_on_what_overflows():
    wide, narrow = normal(0.0, 1.5), normal(1.0, 0.5)  # where wide/narrow overflows, wide is nearly nothing
    assert agrees(f_divergence(wide, narrow, F["kl"][0], math.inf), kl_divergence(wide, narrow).item())
    with pytest.raises(ArithmeticError, match="range of float64"):
        f_divergence(narrow, wide, lambda r: (1 - r) ** 2 / r, 1.0)
    with pytest.raises(ArithmeticError, match="range of float64"):
        f_divergence(normal(0.0, 1.0), normal(0.0, 40.0), *F["reverse kl"][:2])


def test_f_may_be_undefined_at_0():
    p, q = Uniform(t(0.0), t(1.0)), Uniform(t(0.0), t(2.0))
    assert agrees(
        f_divergence(p, q, lambda r: 9 * (r * r.log() - r + 1)), 9 * LOG_2
    )  # f(0) is nan, its limit 9
    assert f_divergence(p, q, lambda r: r * r.log() - r.log()) == math.inf


def test_a_slope_below_the_last_that_was_seen_is_refused():
    with pytest.raises(ValueError, match="slope_at_infinity must be at least"):  # it is 1792 from 794 to 1000
        f_divergence(normal(0.0, 1.0), normal(1.0, 1.0), lambda r: (r - 1) ** 2, 1600.0)


def test_f_may_be_large_and_piecewise_linear():
    p, q = Uniform(t(0.0), t(1.0)), Uniform(t(0.5), t(2.0))
    large = f_divergence(p, q, lambda r: 0.3e6 * (r - 1).abs())
    assert large.item() == pytest.approx(0.6e6 * total_variation(p, q).item(), rel=1e-9)


def test_chi_squared_of_normals():
    # 1 + chi^2 = exp(mean^2 / scale^2) for equal scales.
    got = f_divergence(normal(1.5, 2.0), normal(0.0, 2.0), lambda r: (r - 1) ** 2, slope_at_infinity=math.inf)
    assert agrees(got, math.expm1(1.5**2 / 4))


@pytest.mark.parametrize(
    ("p", "q", "f"),
    [
        (normal(0.0, 1.0), normal(50.0, 1e-3), lambda r: torch.xlogy(r, r)),
        (normal(0.0, math.sqrt(1.99)), normal(0.0, 1.0), lambda r: (r - 1) ** 2),
        (normal(0.0, 2.0), normal(0.0, 1.0), lambda r: (r - 1) ** 2),
        (Exponential(t(1.0)), Exponential(t(3.0)), lambda r: (r - 1) ** 2),
    ],
)
def test_f_divergence_says_what_it_cannot_decide(p, q, f):
    with pytest.raises(ArithmeticError, match="range of float64"):
        f_divergence(p, q, f)


def test_gradients_of_an_f_divergence():
    mean, scale = leaves(0.7, 0.5)
    f_divergence(Normal(mean, scale), normal(0.0, 1.0), lambda r: r * r.log()).backward()
    assert agrees(mean.grad, 0.7)
    assert agrees(scale.grad, -1.5)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda r: r, "f\\(1\\) = 0"),
        (lambda r: -((r - 1) ** 2), "convex"),
        (lambda r: torch.log1p((r - 1) ** 2), "convex"),
        (lambda r: r.sum(), r"f must map .* got \(\) for n = 61"),
    ],
)
def test_f_divergence_refuses_what_is_no_generator(f, message):
    with pytest.raises(ValueError, match=message):
        f_divergence(normal(0.0, 1.0), normal(1.0, 1.0), f)


def test_a_slope_that_comes_too_slowly_to_be_read_can_be_given():
    """The slope of -t / log(t + e^2) tends to 0 like -1 / log t."""
    f = lambda r: 1 / math.log(1 + math.e**2) - r / (r + math.e**2).log()
    p, q = (Uniform(t(0.0), t(end)) for end in (2.0, 1.0))
    assert agrees(f_divergence(p, q, f, 0.0), f(t(0.5)).item())


PARAMETERS = st.tuples(st.floats(-50, 50), st.floats(-3, 3).map(lambda e: 10.0**e))


@given(PARAMETERS, PARAMETERS)
def test_order_of_the_divergences(a, b):
    p, q = normal(*a), normal(*b)
    kl, js, tv = (d(p, q).item() for d in DIVERGENCES[:3])
    slack = 1 + 1e-9
    assert 0 <= js <= LOG_2
    assert 0 <= tv <= 1
    assert tv**2 / 2 <= js * slack + 1e-12  # Pinsker, on both halves
    assert js <= tv * LOG_2 * slack + 1e-12  # Lin 1991, Theorem 3
    assert 2 * tv**2 <= kl * slack + 1e-12  # Pinsker
    assert js == pytest.approx(js_divergence(q, p).item(), rel=1e-9, abs=1e-12)
    assert wasserstein_1(p, q).item() >= abs(a[0] - b[0]) * (1 - 1e-9) - 1e-12


@given(PARAMETERS, PARAMETERS, st.floats(0.1, 10))
def test_moving_and_stretching_both_changes_nothing(a, b, factor):
    for divergence in DIVERGENCES:
        before = divergence(normal(*a), normal(*b)).item()
        moved = [normal(1 - factor * mean, factor * scale) for mean, scale in (a, b)]
        unit = factor if divergence is wasserstein_1 else 1
        assert divergence(*moved).item() == pytest.approx(unit * before, rel=1e-8, abs=1e-11)


def leaves(*values):
    return [t(v).requires_grad_() for v in values]


def test_gradients_of_kl_of_normals():
    m, s, n, r = parameters = leaves(0.3, 0.7, -1.0, 2.0)
    kl_divergence(Normal(m, s), Normal(n, r)).backward()
    expected = [(m - n) / r**2, -1 / s + s / r**2, (n - m) / r**2, 1 / r - (s**2 + (m - n) ** 2) / r**3]
    for parameter, value in zip(parameters, expected, strict=True):
        assert agrees(parameter.grad, value.detach())


def test_gradients_with_moving_supports():
    a, b = leaves(0.2, 1.0)
    kl_divergence(Uniform(a, b), normal(0.0, 1.0)).backward()
    # KL is a constant minus log(b - a), plus a sixth of a^2 + ab + b^2.
    assert agrees(a.grad, 1 / 0.8 + (2 * 0.2 + 1.0) / 6)
    assert agrees(b.grad, -1 / 0.8 + (2 * 1.0 + 0.2) / 6)


@pytest.mark.parametrize("divergence", [js_divergence, total_variation, wasserstein_1])
def test_gradients_against_differences(divergence):
    values = (0.3, 0.7, -1.0, 2.0, 3.0)

    def at(m, s, n, r, k):
        q = MixtureSameFamily(Categorical(t([0.4, 0.6])), Normal(torch.stack([n, k]), torch.stack([r, r])))
        return divergence(Normal(m, s), q)

    parameters = leaves(*values)
    at(*parameters).backward()
    for i, parameter in enumerate(parameters):
        with torch.no_grad():
            up, down = (
                [t(v + (sign * 1e-5 if j == i else 0)) for j, v in enumerate(values)] for sign in (1, -1)
            )
            slope = (at(*up) - at(*down)) / 2e-5
        assert parameter.grad.item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-8)


def test_gradients_in_mixture_weights():
    logits = t([0.3, -0.4]).requires_grad_()
    p = MixtureSameFamily(Categorical(logits=logits), Normal(t([-2.0, 1.0]), t([0.5, 1.0])))
    assert torch.autograd.gradcheck(
        lambda weights: kl_divergence(
            MixtureSameFamily(Categorical(logits=weights), Normal(t([-2.0, 1.0]), t([0.5, 1.0]))),
            normal(0.0, 2.0),
        ),
        (logits,),
    )
    assert kl_divergence(p, p).item() == pytest.approx(0, abs=1e-15)


def test_float32_parameters_are_taken_as_they_are():
    p, q = Normal(0.1, 0.3), Normal(-0.7, 1.1)
    exact = [Normal(d.loc.double(), d.scale.double()) for d in (p, q)]
    assert kl_divergence(p, q) == kl_divergence(*exact)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize(
    ("p", "error", "message"),
    [
        (3.0, TypeError, r"p must be .* got float"),
        (Normal(t([0.0, 1.0]), t(1.0)), ValueError, r"p must be .*batch_shape \(2,\)"),
        (Bernoulli(t(0.5)), ValueError, "p must be continuous"),
        (t([0.5, 0.5]), TypeError, "q must be a probability vector"),
        (Normal(t(1e20), t(1.0)), ValueError, "p must be .* tells apart"),
    ],
)
def test_misuse(divergence, p, error, message):
    with pytest.raises(error, match=message):
        divergence(p, normal(0.0, 1.0))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize(
    ("p", "message"),
    [
        (t([0.5, 0.6]), "p must be non-negative and sum to 1"),
        (t([1.5, -0.5]), "p must be non-negative and sum to 1"),
        (t([math.nan, 1.0]), "p must be non-negative and sum to 1"),
        (t([]), "p must be a 1-D"),
        (torch.tensor([1, 0]), "p must be a 1-D"),
        (t([[0.5, 0.5]]), "p must be a 1-D"),
        (t([0.2, 0.2, 0.6]), "same length"),
    ],
)
def test_misuse_of_vectors(divergence, p, message):
    with pytest.raises(ValueError, match=message):
        divergence(p, t([0.5, 0.5]))
