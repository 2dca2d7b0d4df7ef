"""The integrator against integrals that are known, and what it says of those it cannot decide."""

import math
from functools import partial

import mpmath as mp
import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial
from torch.distributions import (
    Beta,
    Categorical,
    Cauchy,
    Gamma,
    InverseGamma,
    Laplace,
    LogNormal,
    MixtureSameFamily,
    Normal,
    Pareto,
    StudentT,
    TransformedDistribution,
    Uniform,
)
from torch.distributions.transforms import AffineTransform

from gan_theory import quadrature
from gan_theory.distributions import Density, as_density, log_density
from gan_theory.divergences import wasserstein_1
from gan_theory.quadrature import Panels, integrate


def t(value):
    return torch.tensor(value, dtype=torch.float64)


def moved(p, place, scale):
    return TransformedDistribution(p, AffineTransform(t(place), t(scale)))


def lives_on(*support, knots=(), singular=(), **properties):
    """Of a density what says where to look."""
    ends = [(t(low), t(high)) for low, high in support]
    return Density(
        torch.zeros_like,
        ends,
        np.array(knots, float),
        [*map(t, singular)],
        **{"has_tails": True} | properties,
    )


def counted(g):
    """G, and the points at which it has been asked."""
    asked = []

    def counting(x):
        asked.extend(x.tolist())
        return g(x)

    return counting, asked


NORMAL = Normal(t(0.0), t(1.0))
CAUCHY = Cauchy(t(0.0), t(1.0))
UNIT = Uniform(t(0.0), t(1.0))


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
        StudentT(t(0.001)),  # four fifths of it lie beyond 1e100
        StudentT(t(0.05), t(0.0), t(1e-30)),
        Uniform(t(-2.0), t(5.0)),
        Gamma(t(0.05), t(3.0)),
        Beta(t(0.5), t(0.5)),
        InverseGamma(t(0.5), t(1.0)),
        InverseGamma(t(0.05), t(1.0)),
        moved(InverseGamma(t(0.05), t(1.0)), 0.0, -1.0),
        moved(Beta(t(0.4), t(0.4)), 2.0, 1.0),  # singular where float64 has few digits of the distance
        moved(Beta(t(0.4), t(0.4)), 3.0, -1.0),
        moved(Beta(t(0.38), t(0.38)), 20.0, 1.0),
        moved(Beta(t(0.4), t(0.4)), 1.1, 0.3),
        LogNormal(t(10.0), t(1e-3)),
        LogNormal(t(0.0), t(9.0)),  # its outermost knots are beyond float64
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


def test_a_jump_between_panels_is_closed_in_on_behind_a_gap_too():
    jump = 0.5 + 1e-7
    where = NORMAL, Uniform(t(-50.0), t(-49.0))
    probability = integrate(lambda x: (x > jump).double() * NORMAL.log_prob(x).exp(), *where)
    assert probability.item() == pytest.approx(0.5 * math.erfc(jump / math.sqrt(2)), rel=1e-9)


@pytest.mark.parametrize("jumps", [(0.123, 0.4), (0.123, 0.77), (-1.4, 0.123)])
def test_two_jumps_cost_no_more_than_each_of_them_alone(jumps):
    """They lie within one panel, in two that touch, and in two that do not."""

    def asked(*jumps):
        heights = lambda x: 1 + sum((x > jump).double() for jump in jumps)
        counting, points = counted(lambda x: heights(x) * NORMAL.log_prob(x).exp())
        integrate(counting, NORMAL)
        return len(points)

    assert asked(*jumps) - asked() <= sum(asked(jump) - asked() for jump in jumps)


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


@pytest.mark.parametrize("unit", [1e-15, 1e-6, 1e9])
@pytest.mark.parametrize("p", [NORMAL, StudentT(t(0.05))], ids=str)
def test_an_integral_is_promised_to_so_many_digits_in_any_unit(p, unit):
    got = integrate(lambda x: unit * log_density(p, x).exp(), p)
    assert got.item() == pytest.approx(unit, rel=1e-9, abs=1e-12)


def test_only_the_union_of_the_supports_counts():
    gap = Uniform(t(0.0), t(1.0)), Uniform(t(2.0), t(3.0))
    assert integrate(torch.ones_like, *gap).item() == pytest.approx(2, rel=1e-12)
    overlap = Uniform(t(1.0), t(2.0)), Uniform(t(1 + 5e-16), t(3.0))  # rounding alone tells their ends apart
    assert integrate(torch.ones_like, *overlap).item() == pytest.approx(2, rel=1e-12)
    for sign in (1.0, -1.0):  # where one is singular, the other has a knot
        p, q = (moved(d, 0.0, sign) for d in (Gamma(t(0.5), t(1.0)), Gamma(t(1.0), t(1.0))))
        assert integrate(lambda x, p=p: log_density(p, x).exp(), p, q).item() == pytest.approx(1, rel=1e-9)
    near = [moved(Gamma(t(1.5), t(1.0)), place, 1.0) for place in (1.0, 1 + 1e-11)]  # no room for a logarithm
    assert integrate(lambda x: log_density(near[0], x).exp(), *near).item() == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize(
    ("low", "high"),
    [(-math.inf, math.inf), (-math.inf, -3.0), (-math.inf, 4.0), (-2.0, math.inf), (2.0, 3.0), (-9.0, -8.0)],
)
def test_intervals_that_hold_no_knot(low, high):
    counting, asked = counted(lambda x: 1 / (1 + x**2))
    got = integrate(counting, lives_on((low, high)))
    assert got.item() == pytest.approx(math.atan(high) - math.atan(low), rel=1e-12)
    assert low <= min(asked) and max(asked) <= high


def test_two_knots_give_the_scale_of_a_tail():
    scale, rate = 1e-20, 0.05
    where = lives_on((0.0, math.inf), knots=[scale, 2 * scale])
    got = integrate(lambda x: rate / scale * (1 + x / scale) ** (-1 - rate), where)
    assert got.item() == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize(
    "p", [CAUCHY, Gamma(t(0.5), t(1.0)), Beta(t(0.5), t(3.0)), Pareto(t(1.0), t(2.0))], ids=str
)
def test_what_is_mirrored_has_as_many_nodes_in_ascending_order_with_positive_weights(p):
    sizes = []
    for sign in (1.0, -1.0):
        law = as_density(moved(p, 0.0, sign), "p")
        panels = Panels(lambda x, law=law: law.log_prob(x).exp(), law)
        assert (panels.x.reshape(-1).diff() > 0).all() and (panels.weights > 0).all()
        sizes.append(len(panels.x))
    assert sizes[0] == sizes[1]


def test_what_lies_beyond_all_knots_is_integrated_too():
    far = Uniform(t(-2e12), t(-1e12)), Uniform(t(1e12), t(2e12))
    got = integrate(lambda x: CAUCHY.log_prob(x).exp(), CAUCHY, *far)
    assert got.item() == pytest.approx(1, rel=1e-9)


def test_a_knot_next_to_a_singular_point_is_passed_over():
    p = as_density(moved(Beta(t(0.5), t(0.5)), 1.0, 1.0), "p")
    knots = [1 + 1e-12, 1.5, 2 - 1e-12]
    where = lives_on((1.0, 2.0), knots=knots, singular=(1.0, 2.0))
    assert integrate(lambda x: p.log_prob(x).exp(), where).item() == pytest.approx(1, rel=1e-9)


def test_a_smooth_integrand_is_asked_once_at_the_nodes_of_the_panels_that_the_knots_make():
    """And at one node of each whether it needs a gradient."""
    thirds = [Uniform(t(low), t(low + 1)) for low in (0.0, 1.0, 2.0)]
    for g, where, panels in (
        (lambda x: NORMAL.log_prob(x).exp(), [NORMAL], len(as_density(NORMAL, "p").knots) - 1),
        (torch.ceil, thirds, 6),  # jumps where a support ends; a uniform law has a knot in its middle
    ):
        counting, asked = counted(g)
        integrate(counting, *where)
        assert len(asked) == 21 * panels


@pytest.mark.parametrize("rate", [0.005, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_power_of_the_distance_times_its_logarithm_is_closed(rate, sign):
    """Against ∫ log x / x^(1 + r) = 1 / r^2 above 1, most of it beyond the last node, and the same at 0."""
    at_infinity = lives_on((1.0, math.inf) if sign == 1 else (-math.inf, -1.0))
    got = integrate(lambda x: x.abs().log() * x.abs() ** (-1 - rate), at_infinity)
    assert got.item() == pytest.approx(1 / rate**2, rel=1e-9)
    at_zero = lives_on((0.0, 1.0) if sign == 1 else (-1.0, 0.0), singular=[0.0])
    got = integrate(lambda x: x.abs().log() * x.abs() ** (rate - 1), at_zero)
    assert got.item() == pytest.approx(-1 / rate**2, rel=1e-9)


@pytest.mark.parametrize("rate", [0.005, 0.05, 0.3])
def test_what_lies_beyond_the_last_nodes_has_a_gradient(rate):
    """Against ∫ x^(-1 - r) = 1 / r above 1, and ∫ x^(r - 1) = 1 / r below; with the logarithm, 1 / r^2."""
    for where, sign in ((lives_on((1.0, math.inf)), 1), (lives_on((0.0, 1.0), singular=[0.0]), -1)):
        for logarithms in (0, 1):
            r = t(rate).requires_grad_()
            integrate(
                lambda x, r=r, n=logarithms, s=sign: (s * x.log()) ** n * x ** (-1 - s * r), where
            ).backward()
            assert r.grad.item() == pytest.approx(-(1 + logarithms) / rate ** (2 + logarithms), rel=1e-9)


def test_a_tail_is_closed_to_nine_digits_or_it_is_an_error():
    """Against sums of two powers, 1 / x^(1 + a) + c / x^(1 + b) above 1, whose integral is 1 / a + c / b."""
    closed = 0
    cases = [(a, a + d, c) for a in (0.03, 0.05, 0.07) for d in (1e-3, 2e-3, 0.01, 0.1) for c in (-0.5, 1.0)]
    for a, b, c in cases:
        try:
            got = integrate(
                lambda x, a=a, b=b, c=c: x ** (-1 - a) + c * x ** (-1 - b), lives_on((1.0, math.inf))
            )
        except ArithmeticError:
            continue
        closed += 1
        assert got.item() == pytest.approx(1 / a + c / b, rel=1e-9)
    assert closed >= len(cases) / 2


def test_what_rises_again_far_out_is_not_cut_off():
    with pytest.raises(ArithmeticError, match=r"beyond x = -1e\+100 it falls like no power law"):
        integrate(lambda x: 1 / (1 + x**2) + 10**-127.5 / x.abs().sqrt(), CAUCHY)


def test_nothing_is_closed_where_the_integrand_has_fallen_to_nothing():
    where = lives_on((0.0, 1.0), knots=[0.8], singular=[0.0], closest=1e-3)
    got = integrate(lambda x: torch.exp(-7.5e-4 / x**2), where)
    c = mp.sqrt(mp.mpf("7.5e-4"))  # by parts
    assert got.item() == pytest.approx(float(mp.exp(-(c**2)) - c * mp.sqrt(mp.pi) * mp.erfc(c)), rel=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_each_end_at_which_a_density_is_used_up_is_looked_at(sign):
    """The integrand still rises there, is on its way down, or has fallen off."""
    assert integrate(lambda x: torch.exp(sign * x), NORMAL) == math.inf
    assert integrate(lambda x: -torch.exp(sign * x), NORMAL) == -math.inf
    for place, width in ((32, 4), (26.5, 4)):
        with pytest.raises(ArithmeticError, match=rf"beyond x = {sign * 39.994} only the densities fall off"):
            integrate(lambda x, m=place, s=width: torch.exp(-(((sign * x - m) / s) ** 2)), NORMAL)
    near_the_end = Normal(t(sign * 26.5), t(0.3))
    got = integrate(lambda x: near_the_end.log_prob(x).exp(), NORMAL)
    assert got.item() == pytest.approx(1, rel=1e-9)
    for rate in (1.0, 10.0, 19.5):  # of the last, 1e-10 lie in the outermost panel
        got = integrate(lambda x, a=rate: (sign * a * x + NORMAL.log_prob(x)).exp(), NORMAL)
        assert got.item() == pytest.approx(math.exp(rate**2 / 2), rel=1e-9)


def test_a_gradient_in_the_support_alone_and_in_the_integrand_alone():
    low, high = (t(v).requires_grad_() for v in (0.5, 2.0))
    integrate(torch.ones_like, Uniform(low, high)).backward()
    assert (low.grad.item(), high.grad.item()) == pytest.approx((-1, 1), rel=1e-12)
    factor = t(3.0).requires_grad_()
    integrate(lambda x: factor * x**2, UNIT).backward()
    assert factor.grad.item() == pytest.approx(1 / 3, rel=1e-12)


def test_what_is_infinite_has_no_gradient():
    factor = t(3.0).requires_grad_()
    for g in (lambda x: factor * torch.ones_like(x), lambda x: factor / x**2):
        total = integrate(g, as_density(CAUCHY, "p"))
        assert total == math.inf and not total.requires_grad


def mean_of_student(df):
    """Of its absolute value."""
    return 2 * math.sqrt(df / math.pi) * math.gamma((df + 1) / 2) / math.gamma(df / 2) / (df - 1)


def two_students(df, other_df, place, scale):
    """One half each."""
    parts = StudentT(t([df, other_df]), t([place, place]), t([scale, scale]))
    return MixtureSameFamily(Categorical(t([0.5, 0.5])), parts)


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        # One is the other one stretched by 2 about a point: E|x| apart. A thousandth of it is beyond 1e100.
        (StudentT(t(1.03)), StudentT(t(1.03), t(0.0), t(2.0)), mean_of_student(1.03)),
        (StudentT(t(1.03), t(5.0)), StudentT(t(1.03), t(5.0), t(2.0)), mean_of_student(1.03)),
        (
            two_students(1.03, 1.15, 0.0, 1e6),
            two_students(1.03, 1.15, 0.0, 2e6),
            5e5 * (mean_of_student(1.03) + mean_of_student(1.15)),
        ),
        # One lies above the other one: the distance is that of their means. Ends at 2 to 6 are singular.
        (moved(Beta(t(0.5), t(0.5)), 2.0, 1.0), UNIT, 2.0),
        (moved(Beta(t(0.5), t(0.5)), -2.0, -1.0), UNIT, 3.0),
        (moved(Beta(t(0.5), t(0.5)), 2.0, 1.0), moved(Beta(t(0.4), t(0.4)), 5.0, 1.0), 3.0),
        (moved(Beta(t(0.4), t(0.4)), 2.0, 1.0), moved(Beta(t(0.4), t(0.4)), 2.0, 3.0), 1.0),
        (moved(Beta(t(0.4), t(0.4)), 2.0, -1.0), moved(Beta(t(0.4), t(0.4)), 2.0, -3.0), 1.0),
        # Arcsine laws of two widths about one point.
        (moved(Beta(t(0.5), t(0.5)), 2.0, 1.0), moved(Beta(t(0.5), t(0.5)), 1.5, 2.0), 1 / math.pi),
        (Pareto(t(1.0), t(1.5)), moved(Pareto(t(1.0), t(1.5)), 0.0, -1.0), 6.0),
    ],
    ids=lambda argument: type(argument).__name__,
)
def test_wasserstein_1_of_laws_with_heavy_tails_gaps_and_singular_ends(p, q, expected):
    assert wasserstein_1(p, q).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("place", [0.0, 1e7])
def test_wasserstein_1_of_tails_that_cannot_be_told_is_an_error_wherever_they_are(place):
    """A sum of two powers that far out are still alike."""
    with pytest.raises(ArithmeticError, match="falls like no power law"):
        wasserstein_1(two_students(1.03, 1.04, place, 1.0), two_students(1.03, 1.04, place, 2.0))


def test_a_primitive_keeps_its_digits_far_from_where_the_most_is():
    """H is m = 1e-16 over a gap of 1e12; behind it g goes so far up and down that rounding is of order m."""
    m, far = 1e-16, 1e12
    bump = Polynomial.fromroots([0.5, 0.5, 1.0, 1.0])
    back = 8 * m * Polynomial.fromroots([0.5])  # of integral m
    slope = lambda x: torch.from_numpy((bump.deriv() - back)(x.numpy()))
    g = lambda x: torch.where(x < 0, m, slope(x)).where((x < 0) | (x > 0.5), 0.0)
    where = lives_on((-far - 1, -far), (0.0, 1.0), knots=[0.5], has_tails=False)
    area = Panels(g, where).integrate_primitive(g, 0.0)
    assert area.item() == pytest.approx(m * far + bump.integ(lbnd=0.5)(1.0), rel=1e-9)


@pytest.mark.parametrize("unit", [1.0, 1e30])
def test_wasserstein_1_of_normals_whose_distribution_functions_cross(unit):
    """It is E|0.1 + 3 z|, which has a closed form: that of a folded normal distribution."""
    p, q = Normal(t(0.0), t(unit)), Normal(t(0.1 * unit), t(4 * unit))
    z = 0.1 / 3
    folded = 3 * math.sqrt(2 / math.pi) * math.exp(-(z**2) / 2) + 0.1 * math.erf(z / math.sqrt(2))
    assert wasserstein_1(p, q).item() == pytest.approx(unit * folded, rel=1e-9)


@pytest.mark.parametrize("area", [1 / 256, 1.05e-12])
def test_a_primitive_that_is_0_at_both_ends_of_a_panel_and_on_the_average_is_not_passed_over(area):
    """H = u (u - 1/4) (u - 1/2), up to a factor, on both halves of [0, 1]: |H| has four equal pieces."""
    half = Polynomial.fromroots([0, 1 / 4, 1 / 2])
    exact = 4 * half.integ()(1 / 4)
    g = lambda x: area / exact * torch.from_numpy(half.deriv()(x.remainder(0.5).numpy()))
    panels = Panels(g, as_density(UNIT, "p"))
    assert panels.integrate_primitive(g, 0.5).item() == pytest.approx(area, rel=1e-9, abs=1e-12)


def test_a_primitive_is_laid_through_the_nodes_only_where_it_changes_its_sign(monkeypatch):
    laid = []
    rule = quadrature._rule_of_absolute  # noqa: SLF001  (only here is seen what it costs)
    monkeypatch.setattr(quadrature, "_rule_of_absolute", lambda values: laid.append(values) or rule(values))
    assert wasserstein_1(NORMAL, Normal(t(1.0), t(1.0))).item() == pytest.approx(1, rel=1e-9)
    assert not laid
    shifted = Normal(t(0.1), t(4.0))  # their distribution functions cross once
    wasserstein_1(NORMAL, shifted)
    assert len(laid) == 1


@pytest.mark.parametrize(
    "roots",
    [
        [2.0],
        [0.3],
        [-0.9, -0.2],
        [0.55, 0.6, 0.95],
        [0.2, 1.3, 1.7],
        [-1.7, -1.2, -0.4, 0.8],
        [0.1 + 0.2j, 0.1 - 0.2j],
        [0.5, -0.4 + 0.3j, -0.4 - 0.3j, 1.5 + 0.1j, 1.5 - 0.1j],
    ],
)
def test_the_rule_of_an_absolute_value_is_exact_for_polynomials(roots):
    f = Polynomial(Polynomial.fromroots(roots).coef.real) * Polynomial([3.0, 1.0])
    primitive = f.integ()
    ends = [-1.0, *sorted(r for r in roots if np.isreal(r) and abs(r) < 1), 1.0]
    expected = np.abs(np.diff([primitive(end) for end in ends])).sum()
    values = torch.from_numpy(f(quadrature._NODES))  # noqa: SLF001  (its arguments are of this package alone)
    got = quadrature._rule_of_absolute(values) @ values  # noqa: SLF001  (as above)
    assert got.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("power", [0.05, 1.0, 20.0])
def test_the_doubt_about_a_tail_is_what_its_masses_may_have_been_off_by(power):
    """To first order, of m(s) = exp(k s): by rounding, and by a cubic, 0 at the first three, if it lasts.

    What fades away, as c exp(2 k s) does beside exp(k s), does less: a tenth of it is taken.
    """
    of_any_tail = quadrature._power_law  # noqa: SLF001  (what may be off is seen only from within)
    power_law = partial(of_any_tail, fades=False)
    masses = (power * torch.arange(4, dtype=torch.float64)).exp()
    noise = 1e-7
    rest, doubt = power_law(masses, noise)
    assert rest.item() == pytest.approx(1 / power, rel=1e-9)
    signs = [t(s) for s in ([1.0, 0.0, -1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 1.0, 0.0])]
    errors = [abs(power_law(masses * (1 + noise * sign), noise)[0].item() - 1 / power) for sign in signs]
    assert doubt == pytest.approx(max(errors), rel=1e-4)
    for off in (1e-3, -1e-3):  # exp(k s) (1 + off s (s - 1) (s - 2) / 6)
        error = abs(off * (6 / power**4 + 6 / power**3 + 2 / power**2) / 6)
        off_masses = masses * t([1.0, 1.0, 1.0, 1.0 + off])
        assert power_law(off_masses, 1e-15)[1] == pytest.approx(error, rel=1e-6)
        assert power_law(off_masses, 1e-6)[1] > 0.97 * error  # both together
        fading = of_any_tail(off_masses, 1e-15, fades=True)[1]
        assert fading == pytest.approx(abs(off) / 10 / power, rel=1e-6)
    # What falls as much as it rises, as far as one can tell, may go on for ever.
    assert power_law(t([1.0, 1 - noise / 2, 1.0, 1.0]), noise)[1] == math.inf
