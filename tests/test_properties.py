"""What holds for all the arguments that a public function takes, not for chosen ones alone."""

import ast
import importlib
import inspect
import math
import re
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch import nn
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Cauchy,
    Exponential,
    Gamma,
    Gumbel,
    HalfNormal,
    Laplace,
    LogNormal,
    MixtureSameFamily,
    Normal,
    Pareto,
    Poisson,
    StudentT,
    TransformedDistribution,
    Uniform,
)
from torch.distributions.kl import kl_divergence as closed_form
from torch.distributions.transforms import AffineTransform

from gan_theory.densities import Pushforward
from gan_theory.distributions import Density, as_density, log_density, log_ratio, weigh
from gan_theory.divergences import f_divergence, js_divergence, kl_divergence, total_variation, wasserstein_1
from gan_theory.dynamics import BilinearGame, DiracGAN, DiracWGAN, eigenvalues, gradient_field, simulate
from gan_theory.game import Discriminator, generator_criterion, optimal_discriminator, regret, value
from gan_theory.likelihood import ParzenWindow, log_likelihood, maximum_likelihood, parzen_sigma
from gan_theory.live import (
    Area,
    Arrows,
    Images,
    Line,
    LiveFigure,
    Number,
    OneDimensionalGame,
    Pad,
    Panel,
    Point,
    Slider,
)
from gan_theory.losses import discriminator_loss, non_saturating_generator_loss, saturating_generator_loss
from gan_theory.mnist import RECIPES, Recipe, Run, Trained
from gan_theory.mnist.classifier import Classifier
from gan_theory.mnist.data import to_images, to_pixels
from gan_theory.mnist.evaluation import (
    averaged,
    blurred,
    centroids,
    class_divergence,
    frechet_distance,
    nearest,
    parzen,
    sharpness,
)
from gan_theory.networks import (
    Conditional,
    Dropout,
    Maxout,
    book_discriminator,
    book_generator,
    cgan_discriminator,
    cgan_generator,
    dcgan_discriminator,
    dcgan_generator,
    mlp,
    mnist_discriminator,
    mnist_generator,
    paper_discriminator,
    paper_generator,
)
from gan_theory.one_dimensional import TARGETS, Settings, as_discriminator, best_response, judge, play
from gan_theory.plotting import (
    Stage,
    draw_area,
    draw_densities,
    draw_discriminator,
    draw_images,
    draw_mapping,
    figure,
    figure_1,
)
from gan_theory.quadrature import Panels, integrate
from gan_theory.ring import Ring
from gan_theory.training import train
from gan_theory.variational import (
    JENSEN_SHANNON,
    KL,
    PEARSON,
    REVERSE_KL,
    SQUARED_HELLINGER,
    TOTAL_VARIATION,
    Critic,
    FDivergence,
    optimal_critic,
    variational_bound,
)

pytestmark = pytest.mark.no_cover  # other tests run each line; tracing so many examples takes long

LOG_2, LOG_4 = math.log(2), math.log(4)


def t(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def near(expected, rel=1e-9, abs=1e-12):  # noqa: A002  (as pytest.approx has it)
    return pytest.approx(expected, rel=rel, abs=abs)


def dice(seed):
    return torch.Generator().manual_seed(seed)


def examples(count):
    return settings(max_examples=count)


seeds = st.integers(0, 2**32 - 1)
places = st.floats(-1e3, 1e3)
scales = st.floats(-3, 3).map(lambda exponent: 10.0**exponent)
shapes = st.floats(0.2, 20)
finite = st.floats(allow_nan=False, allow_infinity=False)
dtypes = st.sampled_from([torch.float32, torch.float64])


def vectors(count):
    """So many probability vectors of one length, with zeros in them."""

    def vector(length):
        weights = st.lists(st.integers(0, 9), min_size=length, max_size=length).filter(any)
        return weights.map(lambda w: t(w) / sum(w))

    return st.integers(1, 6).flatmap(lambda length: st.tuples(*[vector(length)] * count))


def moved(p, place, scale):
    return TransformedDistribution(p, AffineTransform(place, scale))


FAMILIES = {  # of a place and a scale
    "normal": Normal,
    "laplace": Laplace,
    "cauchy": Cauchy,
    "gumbel": Gumbel,
    "student": lambda m, s: StudentT(2.5 + 0 * m, m, s),
    "uniform": lambda m, s: Uniform(m, m + s),
    "exponential": lambda m, s: moved(Exponential(1 + 0 * m), m, -s),
    "beta": lambda m, s: moved(Beta(2 + 0 * m, 3 + 0 * m), m, s),
    "log-normal": lambda m, s: moved(LogNormal(0 * m, 1 + 0 * m), m, s),
    "two bumps": lambda m, s: MixtureSameFamily(
        Categorical(t([0.3, 0.7])), Normal(torch.stack([m - s, m + 3 * s]), torch.stack([s, s / 4]))
    ),
    "a weight of 0": lambda m, s: MixtureSameFamily(
        Categorical(t([1.0, 0.0])), Normal(torch.stack([m, m + s]), torch.stack([s, s]))
    ),
}
laws = st.builds(
    lambda name, place, scale, dtype: FAMILIES[name](t(place, dtype), t(scale, dtype)),
    st.sampled_from(sorted(FAMILIES)),
    places,
    scales,
    dtypes,
)

of_one_piece = laws.filter(lambda p: not isinstance(p, MixtureSameFamily))  # which PyTorch can transform

# Distributions, and what is integrated over them.

IN_SCIPY = {
    "normal": (Normal, scipy.stats.norm),
    "laplace": (Laplace, scipy.stats.laplace),
    "cauchy": (Cauchy, scipy.stats.cauchy),
    "gumbel": (Gumbel, scipy.stats.gumbel_r),
    "student": (lambda m, s: StudentT(t(3.0), m, s), lambda m, s: scipy.stats.t(3, m, s)),
    "uniform": (lambda m, s: moved(Uniform(t(0.0), t(1.0)), m, s), scipy.stats.uniform),
    "exponential": (lambda m, s: moved(Exponential(t(1.0)), m, s), scipy.stats.expon),
    "log-normal": (
        lambda m, s: moved(LogNormal(t(0.0), t(1.0)), m, s),
        lambda m, s: scipy.stats.lognorm(1, m, s),
    ),
}


@pytest.mark.parametrize("name", IN_SCIPY)
@examples(30)
@given(place=places, scale=scales, units=st.lists(st.floats(-20, 20), max_size=5))
def test_log_densities_are_those_of_scipy_in_the_support_outside_and_at_its_ends(name, place, scale, units):
    ours, theirs = IN_SCIPY[name]
    x = place + scale * np.array([0.0, *units])
    exact = near(theirs(place, scale).logpdf(x).tolist(), rel=1e-7, abs=1e-7)
    p = ours(t(place), t(scale))
    assert log_density(p, t(x)).tolist() == exact
    assert as_density(p, "p").log_prob(t(x)).tolist() == exact


@examples(60)
@given(laws)
def test_every_density_integrates_to_one(p):
    assert integrate(lambda x: log_density(p, x).exp(), p).item() == near(1)


@examples(30)
@given(st.floats(-50, 50), st.floats(-3, 3).map(lambda e: 10.0**e), st.integers(2, 6))
def test_a_density_given_by_hand_is_taken_at_its_word(place, scale, power):
    """A ramp x^k on an interval: its mean, and its distance from where it is moved to."""
    low, high = t(place), t(place + scale)

    def ramp(shift):
        log_prob = lambda x: (
            math.log(power / scale) + (power - 1) * ((x - low - shift) / scale).clamp(0, 1).log()
        )
        inside = lambda x: torch.where(x - low - shift <= scale, log_prob(x), -math.inf)
        return Density(inside, [(low + shift, high + shift)], np.array([place]), [], has_tails=False)

    mean = integrate(lambda x: (x - low) * ramp(0.0).log_prob(x).exp(), ramp(0.0)).item()
    assert mean == near(scale * power / (power + 1), rel=1e-8)
    assert wasserstein_1(ramp(0.0), ramp(scale)).item() == near(scale, rel=1e-8)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=True, max_value=700), min_size=2, max_size=2))
def test_log_ratios_are_antisymmetric_and_nothing_outweighs_a_density_of_zero(logs):
    log_p, log_q = map(t, logs)
    assert log_ratio(log_p, log_q) == -log_ratio(log_q, log_p)
    assert log_ratio(log_p, log_p) == 0
    assert weigh(t(-math.inf), log_p) == 0
    assert weigh(log_p, 1.0) == log_p.exp()


@examples(50)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8), places, scales, places, scales)
def test_polynomials_are_integrated_exactly_and_linearly(coefficients, low, width, place, scale):
    """In units of the interval, whose ends may be far away; and over two intervals as over their parts."""
    low, high = t(low), t(low) + width
    inside, elsewhere = Uniform(low, high), Normal(t(place), t(scale))
    unit = lambda x: (x - low) / (high - low)
    polynomial = lambda x: sum(c * unit(x) ** k for k, c in enumerate(coefficients))
    area = (high - low).item()
    exact = area * sum(c / (k + 1) for k, c in enumerate(coefficients))
    size = area * sum(map(abs, coefficients))
    assert integrate(polynomial, inside).item() == near(exact, abs=1e-12 + 1e-9 * size)
    both = lambda x: polynomial(x) * log_density(inside, x).exp() + log_density(elsewhere, x).exp()
    assert integrate(both, inside, elsewhere).item() == near(exact / area + 1, abs=1e-9 * (1 + size / area))


@examples(50)
@given(tail=st.floats(0.05, 8), start=scales, factor=st.floats(0.1, 10))
def test_panels_and_what_lies_beyond_them_hold_a_whole_power_law(tail, start, factor):
    p = as_density(Pareto(t(start), t(tail)), "p")
    g = lambda x: factor * p.log_prob(x).exp()
    panels = Panels(g, p)
    assert (panels.x.reshape(-1).diff() > 0).all() and (panels.weights > 0).all()
    before, after = panels.remainders(g, factor)
    assert (panels.terms(g).sum() + before.sum() + after.sum()).item() == near(factor)
    assert torch.equal(panels.terms(g), panels.resolved)
    assert panels.cut_off(g) == 0


@examples(50)
@given(place=places, scale=scales, shift=st.floats(-5, 5))
def test_the_primitive_of_a_difference_has_the_area_between_two_distribution_functions(place, scale, shift):
    p, q = (as_density(Normal(t(m), t(scale)), "p") for m in (place, place + scale * shift))
    g = lambda x: p.log_prob(x).exp() - q.log_prob(x).exp()
    area = Panels(lambda x: g(x) * (1 + (x - place).abs()), p, q).integrate_primitive(g, place)
    assert area.item() == near(abs(shift) * scale, rel=1e-8, abs=1e-11)


# Divergences.

KINDS = {
    "normal": (Normal, places, scales),
    "laplace": (Laplace, places, scales),
    "cauchy": (Cauchy, places, scales),
    "uniform": (lambda m, s: Uniform(m, m + s), places, scales),
    "exponential": (Exponential, scales),
    "half-normal": (HalfNormal, scales),
    "gamma": (Gamma, shapes, scales),
    "beta": (Beta, st.floats(0.5, 20), st.floats(0.5, 20)),
    "pareto": (Pareto, scales, shapes),
}
CLOSED_FORMS = [(name, name) for name in KINDS] + [
    ("uniform", "normal"),
    ("exponential", "normal"),
    ("exponential", "gamma"),
    ("gamma", "exponential"),
    ("gamma", "normal"),
    ("normal", "laplace"),
    ("laplace", "normal"),
]


def member(kind):
    make, *parameters = KINDS[kind]
    return st.builds(lambda *given: make(*map(t, given)), *parameters)


@pytest.mark.parametrize("kinds", CLOSED_FORMS, ids="-".join)
@examples(20)
@given(data=st.data())
def test_kl_is_the_closed_form_of_pytorch_where_there_is_one(kinds, data):
    p, q = (data.draw(member(kind)) for kind in kinds)
    assert kl_divergence(p, q).item() == near(closed_form(p, q).item(), rel=1e-8, abs=1e-9)


@examples(50)
@given(laws, laws)
def test_divergences_of_any_two_laws_are_ordered_and_vanish_only_together(p, q):
    js, tv = js_divergence(p, q).item(), total_variation(p, q).item()
    assert 0 <= js <= LOG_2 and 0 <= tv <= 1
    assert tv**2 / 2 - 1e-9 <= js <= tv * LOG_2 + 1e-9
    assert js_divergence(q, p).item() == near(js) and total_variation(q, p).item() == near(tv)
    with suppress(ArithmeticError):  # which it raises rather than guess
        assert kl_divergence(p, q).item() >= 2 * tv**2 - 1e-9
    for divergence in (kl_divergence, js_divergence, total_variation):
        assert divergence(p, p).item() == near(0)


@examples(40)
@given(of_one_piece, of_one_piece, places, st.floats(-20, 20), st.sampled_from([-1, 1]))
def test_no_change_of_place_unit_or_direction_changes_a_divergence(p, q, place, exponent, sign):
    unit = sign * 10.0**exponent
    change = t(unit * place), t(unit)
    for divergence in (js_divergence, total_variation):
        there = divergence(*(moved(d, *change) for d in (p, q))).item()
        assert there == near(divergence(p, q).item(), rel=1e-7, abs=1e-9)


F = {
    "kl": lambda r: torch.xlogy(r, r),
    "reverse kl": lambda r: -r.log(),
    "chi squared": lambda r: (r - 1) ** 2,
    "hellinger": lambda r: (r.sqrt() - 1) ** 2,
    "total variation": lambda r: (r - 1).abs() / 2,
}
SLOPES = {
    "kl": math.inf,
    "reverse kl": 0.0,
    "chi squared": math.inf,
    "hellinger": 1.0,
    "total variation": 0.5,
}
ON_VECTORS = {
    "kl divergence": kl_divergence,
    "js divergence": js_divergence,
    **{name: lambda p, q, f=f, s=SLOPES[name]: f_divergence(p, q, f, s) for name, f in F.items()},
}
every_divergence = pytest.mark.parametrize("name", ON_VECTORS)


@every_divergence
@examples(30)
@given(vectors(2), seeds)
def test_a_channel_takes_away_and_never_adds(name, pair, seed):
    """Data processing: whatever is done to an outcome, the two laws are told apart no better."""
    divergence, (p, q) = ON_VECTORS[name], pair
    channel = torch.rand(len(p), 4, generator=dice(seed), dtype=torch.float64)
    channel /= channel.sum(1, keepdim=True)
    assert divergence(p @ channel, q @ channel) <= divergence(p, q) * (1 + 1e-9) + 1e-12


@every_divergence
@examples(30)
@given(vectors(4), st.floats(0, 1))
def test_divergences_are_jointly_convex_and_vanish_only_between_equals(name, four, part):
    divergence, (a, b, c, d) = ON_VECTORS[name], four
    apart = [divergence(*pair).item() for pair in ((a, b), (c, d))]
    bound = sum(weight * size for weight, size in zip((part, 1 - part), apart, strict=True) if weight)
    together = divergence(part * a + (1 - part) * c, part * b + (1 - part) * d).item()
    assert -1e-12 <= together <= bound * (1 + 1e-9) + 1e-9
    assert divergence(a, a).item() == near(0)
    assert (apart[0] < 1e-9) == torch.allclose(a, b)


@examples(50)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(0, 1e-3), seeds)
def test_shares_in_float32_are_as_far_apart_as_their_quotients_however_near(logits, size, seed):
    """Their sums are beside 1, by more than such neighbours differ."""
    other = t(logits) + size * torch.randn(len(logits), generator=dice(seed), dtype=torch.float64)
    p, q = (each.float().softmax(0) for each in (t(logits), other))
    exact = scipy.stats.entropy(p.double(), q.double())  # which divides by the sums
    assert kl_divergence(p, q).item() == near(exact, abs=1e-15)
    assert js_divergence(p, q) <= kl_divergence(p, q) * (1 + 1e-6) + 1e-15


@examples(40)
@given(vectors(3))
def test_three_of_them_are_distances(three):
    outcomes = range(len(three[0]))
    metrics = {
        "total variation": total_variation,
        "root of js": lambda p, q: js_divergence(p, q).sqrt(),
        "wasserstein": wasserstein_1,
    }
    for distance in metrics.values():
        ab, bc, ac = (distance(three[i], three[j]).item() for i, j in ((0, 1), (1, 2), (0, 2)))
        assert ac <= ab + bc + 1e-9
        assert distance(three[1], three[0]).item() == near(ab)
    oracle = scipy.stats.wasserstein_distance(outcomes, outcomes, three[0], three[1])
    assert wasserstein_1(three[0], three[1]).item() == near(oracle)


@examples(30)
@given(of_one_piece, of_one_piece, places, st.floats(-6, 6), st.sampled_from([-1, 1]))
def test_wasserstein_1_is_measured_in_the_unit_of_x(p, q, place, exponent, sign):
    unit = 10.0**exponent
    there = wasserstein_1(*(moved(d, t(unit * place), t(sign * unit)) for d in (p, q))).item()
    assert there == near(unit * wasserstein_1(p, q).item(), rel=1e-7, abs=1e-9 * unit)


# The density of G(z).

MONOTONE = {
    "affine": lambda z: 3 - 2 * z,
    "leaky": lambda z: torch.where(z > 0, z, z / 5),
    "cubic": lambda z: z + z**3,
}
FOLDING = {"square": torch.square}  # where many folds meet, the divergence is refused as undecidable
noises = st.builds(lambda m, s: Normal(t(m), t(s)), st.floats(-2, 2), st.floats(0.2, 2))


@pytest.mark.parametrize("name", [*MONOTONE, *FOLDING])
@examples(3)
@given(noises, noises)
def test_a_generator_tells_two_noises_apart_no_better_and_a_monotone_one_as_well(name, z, w):
    G = (MONOTONE | FOLDING)[name]
    before = js_divergence(z, w).item()
    after = js_divergence(Pushforward(z, G), Pushforward(w, G)).item()
    assert after == near(before, rel=1e-6, abs=1e-9) if name in MONOTONE else after <= before + 1e-9


@examples(6)
@given(noises, st.lists(st.floats(-2, 2), min_size=2, max_size=4), seeds)
def test_the_density_of_any_polynomial_integrates_to_one_where_its_samples_lie(prior, coefficients, seed):
    G = lambda z: z + sum(c * z ** (k + 2) for k, c in enumerate(coefficients))
    p_g = Pushforward(prior, G)
    assert integrate(lambda x: p_g.log_prob(x).exp(), p_g).item() == near(1, rel=1e-7)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        x = p_g.sample((20,))
    assert p_g.support.check(x).all()
    assert (p_g.log_prob(x) > -math.inf).all()
    ends = [end.item() for image in p_g.density().support for end in image]
    assert min(ends) == p_g.support.lower_bound and max(ends) == p_g.support.upper_bound


# The game.

logits = st.floats(-1e30, 1e30)
opinions = st.builds(  # of a discriminator: its logit, as a function of x
    lambda a, b, place, scale: lambda x: a + b * torch.tanh((x - place) / scale),
    st.floats(-5, 5),
    st.floats(-5, 5),
    places,
    scales,
)


@examples(80)
@given(laws, laws, st.floats(1e-9, 1 - 1e-9), st.lists(finite, min_size=1, max_size=5))
def test_the_optimal_discriminator_is_a_probability_and_takes_no_side(p, q, prior, points):
    x = t(points)
    D = optimal_discriminator(p, q)
    assert ((D(x) >= 0) & (D(x) <= 1)).all()
    torch.testing.assert_close(D(x) + optimal_discriminator(q, p)(x), torch.ones_like(x), rtol=0, atol=1e-15)
    odds = math.log(prior) - math.log1p(-prior)
    torch.testing.assert_close(optimal_discriminator(p, q, prior).logit(x), D.logit(x) + odds)
    assert optimal_discriminator(p, p)(x).tolist() == [0.5] * len(x)


@examples(40)
@given(laws, laws, opinions)
def test_no_discriminator_is_worth_more_than_the_criterion_and_regret_is_the_difference(p, q, opinion):
    D = Discriminator(opinion)
    criterion, worth = generator_criterion(p, q).item(), value(D, p, q).item()
    assert -LOG_4 <= criterion <= 0
    assert worth <= criterion + 1e-9
    assert regret(D, p, q).item() == near(criterion - worth, rel=1e-8, abs=1e-9)
    assert value(D.__call__, p, q).item() == near(worth)
    assert value(Discriminator(lambda x: -opinion(x)), q, p).item() == near(worth)
    assert value(optimal_discriminator(p, q), p, q).item() == near(criterion)


# Losses.


@given(st.lists(logits, min_size=1, max_size=9), st.lists(logits, min_size=1, max_size=9), dtypes)
def test_losses_of_any_logits_are_finite_and_have_their_signs_and_symmetries(real, fake, dtype):
    a, b = t(real, dtype).requires_grad_(), t(fake, dtype).requires_grad_()
    size = 1 + max(map(abs, fake))
    of_d, saturating, other = (
        discriminator_loss(a, b),
        saturating_generator_loss(b),
        non_saturating_generator_loss(b),
    )
    for loss in (of_d, saturating, other):
        assert loss.isfinite() and loss.dtype == dtype
    assert of_d >= 0 and saturating <= 0 and other >= 0
    assert of_d == discriminator_loss(-b, -a), "the two kinds of points may change places"
    # log σ(−b) − log σ(b) = −b
    torch.testing.assert_close(saturating + other, -b.mean(), rtol=1e-5, atol=1e-6 * size)
    for gradient in (*torch.autograd.grad(of_d, (a, b)), *torch.autograd.grad(saturating + other, b)):
        assert gradient.isfinite().all() and (gradient.abs() <= 1.001 / len(gradient)).all()


# f-divergences from below.

ALL = {
    "kl": KL,
    "reverse kl": REVERSE_KL,
    "jensen-shannon": JENSEN_SHANNON,
    "hellinger": SQUARED_HELLINGER,
    "pearson": PEARSON,
    "total variation": TOTAL_VARIATION,
}


@pytest.mark.parametrize("name", ALL)
@given(st.floats(1e-9, 1e9), st.floats(-50, 50))
def test_no_line_lies_above_the_conjugate_and_the_critics_touches_it(name, u, slope):
    """Fenchel and Young: f(u) + f*(t) ≥ t u, with equality where t is f'(u)."""
    divergence, r = ALL[name], t(u).log()
    f = divergence.f(t(u))
    size = 1 + abs(slope * u) + f.abs()
    assert f + divergence.conjugate(t(slope)) >= slope * u - 1e-12 * size
    best, cost = divergence.critic(r), divergence.cost(r)
    assert best <= divergence.slope_at_infinity
    assert (f + cost).item() == near((best * u).item(), abs=1e-9 * (1 + abs((best * u).item())))
    assert divergence.weight(r) >= 0


@pytest.mark.parametrize("name", ALL)
@examples(15)
@given(opinions, st.floats(-3, 3), st.floats(0.4, 2.5), st.floats(-1, 1))
def test_no_critic_says_more_than_the_divergence(name, opinion, place, scale, shift):
    """Neither one that is bent, nor any other function; and the best one says all."""
    divergence, p, q = ALL[name], Normal(t(place), t(scale)), Normal(t(place + scale * shift), t(1.2 * scale))
    exact = f_divergence(p, q, divergence.f, divergence.slope_at_infinity).item()
    T = Critic(divergence, lambda x: opinion(x) / 5)
    for function in (T, lambda x: opinion(x) / 5 - 1):
        assert variational_bound(function, p, q, divergence).item() <= exact + 1e-9
    best = optimal_critic(p, q, divergence)
    assert variational_bound(best, p, q, divergence).item() == near(exact, rel=1e-7)
    double = FDivergence(
        lambda u: 2 * divergence.f(u),
        lambda t: 2 * divergence.conjugate(t / 2),
        *(lambda r, g=g: 2 * g(r) for g in (divergence.critic, divergence.cost, divergence.weight)),
        2 * divergence.slope_at_infinity,
    )
    assert variational_bound(optimal_critic(p, q, double), p, q, double).item() == near(2 * exact, rel=1e-7)


# Likelihood.

samples_of = st.lists(st.floats(-50, 50), min_size=1, max_size=12)


@examples(30)
@given(laws, samples_of, samples_of, seeds)
def test_log_likelihoods_add_up_in_any_order(p, first, second, seed):
    assume((log_density(p, t(first + second)) > -math.inf).all())
    whole = log_likelihood(p, t(first + second)).item()
    parts = log_likelihood(p, t(first)).item() + log_likelihood(p, t(second)).item()
    shuffled = t(first + second)[torch.randperm(len(first + second), generator=dice(seed))]
    assert whole == near(parts, rel=1e-6) == near(log_likelihood(p, shuffled).item(), rel=1e-6)


ESTIMATES = {
    "normal": (Normal, {"loc": 0.0, "scale": 1.0}, lambda x: (x.mean(), x.std(correction=0))),
    "exponential": (Exponential, {"rate": 1.0}, lambda x: (1 / x.mean(),)),
    "bernoulli": (Bernoulli, {"probs": 0.5}, lambda x: (x.mean(),)),
    "poisson": (Poisson, {"rate": 1.0}, lambda x: (x.mean(),)),
}


@pytest.mark.parametrize("name", ESTIMATES)
@examples(3)
@given(seeds, st.floats(0.2, 5))
def test_the_most_likely_member_is_the_textbooks_and_no_other_is_more_likely(name, seed, factor):
    family, start, textbook = ESTIMATES[name]
    u = torch.rand(30, generator=dice(seed), dtype=torch.float64)
    x = {"bernoulli": (u < 0.4).double(), "poisson": (7 * u).floor()}.get(name, factor * (u + u**3))
    fit = maximum_likelihood(family, x, **start)
    found = {name: getattr(fit, name) for name in start}
    assert [value.item() for value in found.values()] == near([v.item() for v in textbook(x)], rel=1e-6)
    best = log_likelihood(fit, x)
    for change in (0.95, 1.02):
        other = family(**{name: change * value for name, value in found.items()})
        assert log_likelihood(other, x) <= best + 1e-9


points = st.tuples(st.integers(1, 8), st.integers(1, 6), st.integers(1, 3), seeds).map(
    lambda of: [torch.randn(n, of[2], generator=dice(of[3]), dtype=torch.float64) for n in of[:2]]
)


@given(points, st.floats(-2, 2).map(lambda e: 10.0**e), places, st.floats(-6, 6), seeds)
def test_parzen_windows_move_and_scale_with_their_samples_in_any_order(given, sigma, place, exponent, seed):
    (samples, x), unit = given, 10.0**exponent
    here = ParzenWindow(samples, sigma).log_prob(x)
    order = torch.randperm(len(samples), generator=dice(seed))
    torch.testing.assert_close(ParzenWindow(samples[order], sigma).log_prob(x), here, rtol=1e-9, atol=1e-9)
    there = ParzenWindow(unit * (samples + place), unit * sigma).log_prob(unit * (x + place))
    torch.testing.assert_close(there, here - x.shape[1] * math.log(unit), rtol=1e-6, atol=1e-6)
    one_by_one = torch.stack([ParzenWindow(s[None], sigma).log_prob(x) for s in samples])
    torch.testing.assert_close(here, one_by_one.logsumexp(0) - math.log(len(samples)), rtol=1e-9, atol=1e-9)


@examples(40)
@given(points, st.lists(st.floats(0.01, 100), min_size=3, max_size=8, unique=True).map(sorted))
def test_parzen_sigma_is_the_most_likely_of_the_widths_or_asks_for_others(given, widths):
    samples, held_out = given
    means = [ParzenWindow(samples, sigma).log_prob(held_out).mean().item() for sigma in widths]
    best = int(np.argmax(means))
    if 0 < best < len(widths) - 1:
        assert parzen_sigma(samples, held_out, widths) == widths[best]
    else:
        with pytest.raises(ValueError, match="edge of the grid"):
            parzen_sigma(samples, held_out, widths)


# Two numbers, and Algorithm 1 on them.

numbers = st.floats(-3, 3)
GAMES = st.one_of(
    st.just(BilinearGame()),
    st.builds(DiracGAN, saturating=st.booleans(), penalty=st.floats(0, 3)),
    st.builds(DiracWGAN, penalty=st.floats(0, 3)),
)


@given(GAMES, st.lists(st.tuples(numbers, numbers), max_size=4))
def test_a_field_is_steepest_descent_at_each_point_alone(game, points):
    theta, psi = t(points).reshape(-1, 2).T
    field = gradient_field(game, theta, psi)
    assert field.shape == (len(points), 2)
    for arrow, (x, y) in zip(field, points, strict=True):
        step = 1e-6
        slopes = [
            (game.generator_loss(t(x + step), t(y)) - game.generator_loss(t(x - step), t(y))) / (2 * step),
            (game.discriminator_loss(t(x), t(y + step)) - game.discriminator_loss(t(x), t(y - step)))
            / (2 * step),
        ]
        if abs(y) > step or not isinstance(game, DiracWGAN):  # whose penalty has a kink there
            assert arrow.tolist() == near([-slope.item() for slope in slopes], rel=1e-6, abs=1e-7)


@given(st.booleans(), st.floats(0, 3))
def test_eigenvalues_solve_the_characteristic_equation_of_the_dirac_gan(saturating, penalty):
    for x in eigenvalues(DiracGAN(saturating=saturating, penalty=penalty)).tolist():
        assert abs(x**2 + penalty * x + 1 / 4) < 1e-7


@examples(25)
@given(
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.7]),
    numbers,
    numbers,
    st.floats(0.01, 0.5),
)
def test_algorithm_1_on_the_dirac_gan_is_its_simulation(
    simultaneous, saturating, k, penalty, theta, psi, rate
):
    k = 1 if simultaneous else k
    at, slope = (t([v]).requires_grad_() for v in (theta, psi))
    steps = train(
        lambda z: z + at,
        lambda x: x * slope,
        [torch.zeros(3, 1, dtype=torch.float64)] * 4 * k,
        lambda n: torch.zeros(n, 1, dtype=torch.float64),
        generator_optimizer=torch.optim.SGD([at], lr=rate),
        discriminator_optimizer=torch.optim.SGD([slope], lr=rate),
        generator_loss=saturating_generator_loss if saturating else non_saturating_generator_loss,
        discriminator_steps=k,
        simultaneous=simultaneous,
        gradient_penalty=penalty,
    )
    path = [(theta, psi), *((at.item(), slope.item()) for _ in steps)]
    game = DiracGAN(saturating=saturating, penalty=penalty)
    update = "simultaneous" if simultaneous else "alternating"
    exact = simulate(game, theta, psi, rate, 4, update=update, discriminator_steps=k)
    torch.testing.assert_close(t(path), exact, rtol=1e-12, atol=1e-12)


# The ring.


@given(
    st.builds(Ring, st.integers(1, 12), st.floats(0.5, 10), st.floats(0.01, 1)),
    st.integers(1, 60),
    st.integers(1, 5),
    seeds,
)
def test_what_a_ring_counts_does_not_change_with_the_order_or_a_turn(ring, size, least, seed):
    random = dice(seed)
    samples = ring.sample(size, random).double() + torch.rand(size, 2, generator=random)
    found = ring.coverage(samples, least=least)
    assert 0 <= found.modes_hit <= min(ring.modes, size) and 0 <= found.high_quality <= 1
    assert ring.coverage(samples[torch.randperm(size, generator=random)], least=least) == found
    assert ring.coverage(samples, least=least + 1).modes_hit <= found.modes_hit
    torch.testing.assert_close(ring.centres.norm(dim=1), torch.full((ring.modes,), ring.radius))
    assert ring.coverage(ring.centres, least=1) == (ring.modes, 1.0)


# Networks.

OF_DIGITS = {
    "seed": (mnist_generator, 100, mnist_discriminator),
    "book": (book_generator, 100, book_discriminator),
    "cgan": (cgan_generator, 110, cgan_discriminator),
    "dcgan": (dcgan_generator, 100, dcgan_discriminator),
    "paper": (paper_generator, 100, paper_discriminator),
}


@pytest.mark.parametrize("name", OF_DIGITS)
@examples(4)
@given(size=st.integers(0, 5), exponent=st.floats(-3, 3), seed=seeds)
def test_players_see_each_row_alone_and_draw_within_paper_and_ink(name, size, exponent, seed):
    make_g, width, make_d = OF_DIGITS[name]
    random = dice(seed)
    G, D = make_g(generator=random).eval(), make_d(generator=random).eval()
    z = 10.0**exponent * torch.randn(size, width, generator=random)
    images = G(z)
    assert len(images) == size and (images[:, :784].abs() <= 1).all()
    assert D(images).shape == (size, 1) and D(images).isfinite().all()
    order = torch.randperm(size, generator=random)
    torch.testing.assert_close(G(z[order]), images[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(D(images[order]), D(images)[order], rtol=1e-4, atol=1e-5)


pairs_of_points = st.tuples(st.integers(0, 6), st.integers(1, 5), seeds, st.floats(0, 1))


@given(pairs_of_points, st.lists(st.integers(1, 6), min_size=1, max_size=4), st.booleans())
def test_a_perceptron_with_no_activation_is_affine_whatever_its_widths(given, widths, batch_norm):
    size, inputs, seed, part = given
    network = (
        mlp(inputs, *widths, activation=nn.Identity, batch_norm=batch_norm, generator=dice(seed))
        .eval()
        .double()
    )
    x, y = torch.randn(2, size, inputs, generator=dice(seed), dtype=torch.float64)
    between = part * network(x) + (1 - part) * network(y)
    torch.testing.assert_close(network(part * x + (1 - part) * y), between, rtol=1e-9, atol=1e-9)
    assert between.shape == (size, widths[-1])


@given(pairs_of_points, st.integers(1, 4), st.integers(1, 4), scales)
def test_a_maxout_unit_is_convex(given, units, pieces, scale):
    size, inputs, seed, part = given
    layer = Maxout(inputs, units, pieces, scale=scale, generator=dice(seed)).double()
    x, y = torch.randn(2, size, inputs, generator=dice(seed), dtype=torch.float64)
    chord = part * layer(x) + (1 - part) * layer(y)
    assert (layer(part * x + (1 - part) * y) <= chord + 1e-9 * scale).all()


@given(st.lists(st.floats(-1e6, 1e6, width=32), max_size=20), st.floats(0, 0.99), seeds)
def test_dropout_leaves_nothing_or_a_larger_input(values, probability, seed):
    x = t(values, torch.float32)
    left = Dropout(probability, generator=dice(seed))(x)
    larger = x / (1 - probability)
    assert torch.where(left == 0, larger, left).tolist() == larger.tolist()
    assert torch.equal(Dropout(probability).eval()(x), x)


@given(st.integers(0, 5), st.integers(1, 4), st.integers(1, 4), seeds)
def test_a_conditional_generator_hands_on_what_it_was_told(size, width, labels, seed):
    drawing = mlp(width + labels, 3, generator=dice(seed))
    z = torch.randn(size, width + labels, generator=dice(seed))
    assert torch.equal(Conditional(drawing, labels)(z), torch.cat([drawing(z), z[:, width:]], dim=1))


# Digits.

pictures = st.tuples(st.integers(1, 6), st.integers(2, 5), st.integers(2, 5), seeds).map(
    lambda of: torch.rand(of[:3], generator=dice(of[3]), dtype=torch.float64)
)


@given(st.integers(0, 4), seeds, st.booleans())
def test_pixels_and_images_are_each_others_inverse(size, seed, as_array):
    images = torch.randint(256, (size, 28, 28), generator=dice(seed)).to(torch.uint8)
    pixels = to_pixels(images.numpy() if as_array else images)
    assert (pixels.abs() <= 1).all()
    torch.testing.assert_close(to_images(pixels), images / 255)


@given(pictures, st.floats(0, 1))
def test_a_blur_is_linear_and_never_sharper_than_its_images(images, part):
    other = images.flip(0)
    both = part * blurred(images) + (1 - part) * blurred(other)
    torch.testing.assert_close(blurred(part * images + (1 - part) * other), both)
    assert (blurred(images) >= 0).all() and (
        blurred(images) <= images.amax((1, 2), keepdim=True) + 1e-12
    ).all()


@given(pictures, st.floats(0, 1))
def test_sharpness_is_a_share_that_does_not_change_in_a_mirror_or_the_negative(images, contrast):
    sharp = sharpness(images)
    assert 0 <= sharp <= 1
    assert sharpness(images.flip(2).flip(0)) == near(sharp) == near(sharpness(1 - images))
    assert sharpness(contrast * images) == near(contrast * sharp)


@given(pictures, pictures)
def test_the_nearest_and_the_averages_are_those_of_all_distances(images, data):
    flat, other = images.flatten(1), data.flatten(1)[:, : images[0].numel()]
    assume(other.shape[1] == flat.shape[1])
    data = other.unflatten(1, images.shape[1:])
    distances = cdist(flat, other)
    assert distances[range(len(flat)), nearest(images, data)].tolist() == near(
        distances.min(1).tolist(), abs=1e-6
    )
    for neighbours in range(len(images)):
        chosen = np.argsort(cdist(flat, flat), axis=1, kind="stable")[:, : neighbours + 1]
        torch.testing.assert_close(averaged(images, neighbours), images[torch.from_numpy(chosen)].mean(1))


@examples(10)
@given(pictures, st.data())
def test_as_many_centroids_as_images_are_the_images_and_fewer_lie_among_them(images, data):
    count, seed = data.draw(st.integers(1, len(images))), data.draw(st.integers(0, 2**32 - 1))
    found = centroids(images, count, seed=seed)
    assert found.shape == (count, *images.shape[1:])
    assert (found >= images.amin(0) - 1e-6).all() and (found <= images.amax(0) + 1e-6).all()
    if count == len(images):
        assert cdist(images.flatten(1), found.flatten(1)).min(1).max() < 1e-5
    if count == 1:
        torch.testing.assert_close(found[0], images.mean(0).float())


clouds = st.tuples(st.integers(2, 30), st.integers(1, 4), seeds).map(
    lambda of: [torch.randn(of[0] + i, of[1], generator=dice(of[2] + i), dtype=torch.float64) for i in (0, 3)]
)


@given(clouds, places, st.floats(-3, 3), seeds)
def test_frechet_distance_moves_turns_and_scales_as_a_squared_distance(pair, place, exponent, seed):
    x, y = pair
    unit, here = 10.0**exponent, frechet_distance(x, y)
    turn, _ = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], generator=dice(seed), dtype=torch.float64))
    assert here >= -1e-9
    assert frechet_distance(y, x) == near(here, rel=1e-6, abs=1e-6)
    assert frechet_distance(x, x) == near(0, abs=1e-6)
    assert frechet_distance(unit * (x @ turn + place), unit * (y @ turn + place)) == near(
        unit**2 * here, rel=1e-6, abs=1e-6 * unit**2
    )


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=40), st.lists(st.integers(1, 9), min_size=4, max_size=4)
)
def test_class_divergence_is_the_kl_of_the_shares_found(classes, weights):
    shares = t(weights) / sum(weights)
    found = t([classes.count(i) for i in range(4)]) / len(classes)
    assert class_divergence(torch.tensor(classes), shares) == near(
        kl_divergence(found, shares).item(), abs=1e-9
    )


@examples(3)
@given(seeds)
def test_parzen_chooses_no_width_worse_than_another_and_judges_by_it(seed):
    samples, held_out, test = torch.rand(3, 8, 28, 28, generator=dice(seed))
    found = parzen(samples, held_out, test)
    mean = lambda sigma, x: ParzenWindow(samples, sigma).log_prob(x).mean().item()
    assert found.log_likelihood == near(mean(found.sigma, test))
    assert all(
        mean(found.sigma, held_out) >= mean(sigma, held_out) - 1e-9 for sigma in np.logspace(-1, 0, 10)
    )


@examples(5)
@given(st.integers(1, 7), st.integers(1, 7), seeds)
def test_a_look_at_digits_does_not_depend_on_how_they_are_parted(size, batch_size, seed):
    random = dice(seed)
    classifier, images = Classifier(random), torch.rand(size, 28, 28, generator=random)
    whole, parts = classifier.look(images), classifier.look(images, batch_size)
    torch.testing.assert_close(parts.logits, whole.logits)
    torch.testing.assert_close(classifier(images).features, whole.features)


@examples(20)
@given(size=st.integers(0, 5), dimensions=st.integers(1, 5), conditional=st.booleans(), seed=seeds)
def test_trained_players_draw_digits_from_their_noise_and_judge_them_by_probabilities(
    size, dimensions, conditional, seed
):
    told = 10 * conditional
    recipe = Recipe(**vars(RECIPES["book"]) | {"noise_dimensions": dimensions, "conditional": conditional})
    G = mlp(dimensions + told, 784, generator=dice(seed)).append(nn.Tanh())
    run = Trained(recipe, seed, G, mlp(784 + told, 1, generator=dice(seed)), [])
    labels = torch.randint(10, (size,), generator=dice(seed)) if conditional else None
    z = recipe.sample_noise(size, dice(seed), labels)
    images = run.sample(size, labels=labels, generator=dice(seed))
    assert torch.equal(images, run.generate(z)) and images.shape == (size, 28, 28)
    assert ((images >= 0) & (images <= 1)).all()
    D = run.discriminate(images, labels)
    assert D.shape == (size,) and ((D >= 0) & (D <= 1)).all()
    if conditional:
        assert torch.equal(z[:, dimensions:].argmax(1), labels) and (z[:, dimensions:].sum(1) == 1).all()


@examples(4)
@given(st.integers(1, 7), st.integers(1, 4), st.data(), seeds)
def test_a_run_on_any_images_stopped_anywhere_goes_on_bit_for_bit(
    tmp_path_factory, size, batch_size, data, seed
):
    images = torch.randint(256, (size, 28, 28), generator=dice(seed)).to(torch.uint8).numpy()
    recipe = replace(RECIPES["seed"], batch_size=batch_size)
    whole, first, second = (Run(recipe, images, seed) for _ in range(3))
    list(whole.train_epoch())
    stop = data.draw(st.integers(0, -(-size // batch_size)))
    list(zip(range(stop), first.train_epoch(), strict=False))
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    first.save(path)
    second.load(path)
    list(second.train_epoch())
    for mine, others in zip(whole.generator.parameters(), second.generator.parameters(), strict=True):
        assert torch.equal(mine, others)


# A GAN on the line.

smallest = st.builds(
    Settings,
    iterations=st.integers(1, 6),
    discriminator_steps=st.integers(1, 3),
    batch_size=st.integers(1, 8),
    saturating=st.booleans(),
    stratified=st.booleans(),
    widths=st.sampled_from([(), (3,), (4, 2)]),
    response_steps=st.integers(1, 5),
)


@pytest.mark.parametrize("name", TARGETS)
@examples(5)
@given(settings=smallest, looks=st.integers(1, 8), seed=seeds)
def test_a_run_on_the_line_is_looked_at_from_start_to_end_and_made_by_its_seed(name, settings, looks, seed):
    runs = [list(play(TARGETS[name], settings, random=dice(seed), looks=looks)) for _ in range(2)]
    numbers = [snapshot.iteration for snapshot in runs[0]]
    assert numbers == sorted(set(numbers)) and len(numbers) <= looks + 1
    assert (numbers[0], numbers[-1]) == (0, settings.iterations)
    for G, D in ((one.average, one.discriminator) for one in (runs[0][-1], runs[1][-1])):
        answer = best_response(TARGETS[name], G, D, settings, random=dice(seed))
        assert torch.equal(weights(D), weights(runs[0][-1].discriminator)), "D itself stays as it was"
        assert torch.equal(
            weights(answer), weights(best_response(TARGETS[name], G, D, settings, random=dice(seed)))
        )
    assert torch.equal(*(weights(run[-1].generator) for run in runs))


def weights(network):
    return nn.utils.parameters_to_vector(network.parameters())


positive = [name for name, default in asdict(Settings()).items() if type(default) in {int, float}]


@given(st.sampled_from(positive), st.one_of(st.floats(max_value=-1e-9), st.just(math.nan), st.just(math.inf)))
def test_a_setting_that_is_negative_or_not_finite_is_refused_by_its_name(name, number):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        Settings(**{name: number})


@pytest.mark.parametrize("name", TARGETS)
@examples(2)
@given(st.sampled_from([nn.Tanh, nn.SiLU, nn.LeakyReLU]), st.floats(0.5, 3), seeds)
def test_what_a_judge_says_of_any_two_networks_fits_together(name, activation, stretch, seed):
    random = dice(seed)
    G, D = (mlp(1, 6, 1, activation=activation, generator=random) for _ in range(2))
    with torch.no_grad():
        G[-1].weight.mul_(stretch)
    said = judge(TARGETS[name], G, D)
    assert 0 <= said["jsd"] <= LOG_2 and 0 <= said["error"] <= 1
    assert said["value"] == near(2 * said["jsd"] - LOG_4 - said["regret"], rel=1e-6, abs=1e-8)
    x = torch.randn(2, 3, 4, generator=random)
    torch.testing.assert_close(
        as_discriminator(D)(x), D(x.reshape(-1, 1)).sigmoid().reshape(x.shape).double()
    )


# Figures.

curves = st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(0, 1)), min_size=1, max_size=9).map(
    lambda points: np.array(sorted(points)).T
)


@examples(10)
@given(curves, st.integers(1, 2), st.integers(1, 2))
def test_what_is_drawn_is_what_was_handed_in(curve, rows, columns):
    x, y = curve
    with figure(rows, columns) as (fig, axes):
        assert np.shape(axes) == {(1, 1): (), (1, 2): (2,), (2, 1): (2,)}.get((rows, columns), (2, 2))
        ax = fig.axes[-1]
        draw_densities(ax, x, y, 2 * y)
        draw_discriminator(ax, x, y)
        draw_area(ax, x, -y)
        for line, expected in zip(ax.lines, (y, 2 * y, y, -y), strict=False):
            np.testing.assert_array_equal(line.get_xydata(), np.column_stack([x, expected]))
        draw_mapping(fig.axes[0], x, y)
        arrows = [text for text in fig.axes[0].texts if not text.get_text()]
        assert [(*arrow.get_position(), *arrow.xy) for arrow in arrows] == [(a, 0, b, 1) for a, b in curve.T]


@examples(10)
@given(pictures, st.integers(1, 4))
def test_each_image_lies_whole_in_its_place(images, columns):
    images = images.numpy()
    with figure() as (_, ax):
        draw_images(ax, images, columns)
        sheet = np.asarray(ax.images[0].get_array())
    _, height, width = images.shape
    for i, image in enumerate(images):
        top, left = i // columns * (height + 2) + 1, i % columns * (width + 2) + 1
        np.testing.assert_array_equal(sheet[top : top + height, left : left + width], image)
    assert sheet.sum() == near(images.sum())


@examples(3)
@given(curves, st.integers(1, 3))
def test_figure_1_has_a_panel_for_each_stage_whatever_their_number(curve, rows):
    x, y = curve
    assume(x[0] < x[-1])
    stages = [Stage(str(i), y + i, y, x[:2], y[:2]) for i in range(2 * rows)]
    panels = [ax for ax in figure_1(x, y, stages).axes if ax.get_title()]
    assert [ax.get_title() for ax in panels] == [stage.title for stage in stages]
    for ax, stage in zip(panels, stages, strict=True):
        assert any(np.array_equal(line.get_ydata(), stage.p_g) for line in ax.lines)


# Live figures.

ranges = st.tuples(st.floats(-1e3, 1e3), st.floats(1e-2, 1e6), st.floats(0, 1), st.floats(1e-3, 1)).map(
    lambda of: (of[0], of[0] + of[1], of[0] + of[2] * of[1], of[3] * of[1])
)


@given(ranges, st.randoms())
def test_a_slider_goes_by_steps_between_its_ends(given, chance):
    low, high, start, step = given
    assume(low <= start <= high and step <= high - low)
    slider = Slider(low, high, start, step=step, unit="nats")
    found = slider.anywhere(chance)
    steps = (found - low) / step
    assert low <= found <= high and steps == near(round(steps), abs=1e-6)
    assert float(slider.read("mean").split()[2]) == near(start, rel=1e-3)
    spec = slider.spec("mean")
    assert (spec["low"], spec["high"], spec["start"], spec["label"]) == (low, high, start, "mean")
    for name, wrong in (("start", high + step), ("low", high), ("step", 2 * (high - low))):
        with pytest.raises(ValueError, match=f"^{name} must"):
            replace(slider, **{name: wrong})


@given(st.floats(-1e6, 1e6, width=32), st.sampled_from(["", "nats"]))
def test_a_number_is_read_to_four_digits(value, unit):
    text = Number("kl", "KL", unit).read({"kl": t(value, torch.float32)})
    assert float(text.split()[2]) == near(value, rel=6e-4, abs=1e-7)
    assert text.endswith(unit or text[-1])


@given(st.integers(1, 5), seeds, st.floats(-1, 2))
def test_a_pad_holds_ink_between_0_and_1_and_nothing_else(size, seed, shift):
    ink = torch.rand(size, size, generator=dice(seed)) + shift
    if ink.min() >= 0 and ink.max() <= 1:
        assert torch.equal(Pad("digit", ink, "Draw").start, ink)
    else:
        with pytest.raises(ValueError, match=r"^start must"):
            Pad("digit", ink, "Draw")


MARKS = [
    [Line("y", "a_b"), Area("y"), Point("mean", "mean", "m")],
    [Arrows("x", "y")],
    [Images("images", columns=3, size=4)],
]


@examples(4)
@given(st.floats(-2, 2), st.floats(-2, 2), st.lists(st.sampled_from(MARKS), min_size=1, max_size=2))
def test_a_live_figure_shows_its_function_wherever_its_slider_stands(start, then, marks):
    def line(mean):
        x = torch.linspace(-1, 1, 5)
        return {"x": x, "y": mean * x, "mean": mean, "images": mean.sigmoid().expand(2, 4, 4)}

    figure = LiveFigure(
        line,
        {"mean": Slider(-2.0, 2.0, start)},
        [Panel(each) for each in marks],
        alt="A line through zero, as steep as the mean.",
    )
    for at in (start, then):
        figure.mean = at
        for name, shown in line(t(at, torch.float32)).items():
            assert torch.equal(figure.outputs[name], shown)
    figure.close()


tiny_games = st.builds(
    lambda width, batch_size, seed: OneDimensionalGame(
        mlp(1, width, 1, generator=dice(seed)), mlp(1, width, 1, generator=dice(seed)), batch_size=batch_size
    ),
    st.integers(1, 5),
    st.integers(1, 8),
    seeds,
)


@examples(20)
@given(tiny_games, seeds, st.floats(0, 0.1))
def test_the_first_step_of_adam_moves_no_weight_farther_than_its_rate(game, seed, rate):
    functions = game.functions()
    random = dice(seed)
    drawn = {name: torch.rand(like.shape, generator=random) for name, like in functions["initial"][1].items()}
    start = game.initial(**drawn)
    given = start | {"number": torch.ones(()), "learning_rate": torch.tensor(rate)}
    given |= {name: torch.rand(game.batch_size, generator=random) for name in ("real", "noise")}
    given |= {
        "target": torch.rand(201, generator=random),
        "saturating": torch.randint(2, (), generator=random).float(),
    }
    for player, step in (("discriminator", game.discriminator_step), ("generator", game.generator_step)):
        after = step(**{name: given[name] for name in functions[f"{player}_step"][1]})
        assert ((after[player][0] - start[player][0]).abs() <= rate * (1 + 1e-4) + 1e-7).all()
        assert after["loss"].isfinite() and after[player].shape == start[player].shape
    seen = game.look(**start, target=given["target"])
    assert torch.trapezoid(seen["p_data"], seen["x"]).item() == near(1, rel=1e-4)
    assert 0 <= seen["jsd"] <= LOG_2 + 1e-6 and ((seen["D"] >= 0) & (seen["D"] <= 1)).all()
    assert (seen["p_g"] >= 0).all() and seen["value"] <= 0


# And nothing is left out.

TESTS = Path(__file__).parent
REFERENCE = TESTS.parent / "book" / "api.md"
WITHOUT = {
    "load_mnist": "it takes no argument",
    "load_run": "it takes one of seven names, each of which test_mnist loads",
    "load_classifier": "it takes no argument",
    "train_classifier": "what it comes to is learnt: test_evaluation says how well",
    "Judge": "it is made from all the digits, and puts together what has its properties here",
    "LiveTraining": "it draws one game, whose functions have their properties here",
}


def public(module):
    """The functions and classes that a module hands out, but for records and protocols, which are words."""
    for name in getattr(module, "__all__", vars(module)):
        found = getattr(module, name)
        own = not name.startswith("_") and getattr(found, "__module__", "").startswith(module.__name__)
        nothing = hasattr(found, "_fields") or getattr(found, "_is_protocol", False)
        if own and (inspect.isfunction(found) or inspect.isclass(found)) and not nothing:
            yield name, found


def spoken_of(file):
    """What of the package the `@given` tests of a file name, themselves or in what they use of the file."""
    imported, own, todo, seen = {}, {}, [], set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("gan_theory"):
            module = importlib.import_module(node.module)
            imported |= {alias.asname or alias.name: vars(module).get(alias.name) for alias in node.names}
        if isinstance(node, ast.Assign):
            own |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own[node.name] = node
            todo += [node] * any("given(" in ast.unparse(each) for each in node.decorator_list)
    while todo:
        names = {node.id for node in ast.walk(todo.pop()) if isinstance(node, ast.Name)} - seen
        seen |= names
        todo += [own[name] for name in names & own.keys()]
    return [imported[name] for name in seen & imported.keys()]


def test_every_public_function_and_class_has_a_property():
    names = re.findall(r"automodule:: (\S+)", REFERENCE.read_text(encoding="utf-8"))
    everything = dict(pair for name in names for pair in public(importlib.import_module(name)))
    tested = [found for file in TESTS.glob("test_*.py") for found in spoken_of(file)]
    without = {name for name, found in everything.items() if not any(found is other for other in tested)}
    assert without == WITHOUT.keys(), "what is missing needs a property here"
