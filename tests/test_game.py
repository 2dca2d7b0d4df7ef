"""V(D, G), its maximiser and its maximum, against mpmath and against the theorems of the paper."""

import math

import mpmath as mp
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Cauchy, Laplace, MixtureSameFamily, Normal, StudentT, Uniform
from torch.nn.functional import logsigmoid

from gan_theory.divergences import js_divergence, kl_divergence
from gan_theory.game import Discriminator, generator_criterion, optimal_discriminator, regret, value
from gan_theory.quadrature import integrate


def t(value):
    return torch.tensor(value, dtype=torch.float64)


def normal(mean, scale):
    return Normal(t(mean), t(scale))


LOG_4 = math.log(4)
PAIRS = [
    (normal(0.0, 1.0), normal(1.0, 2.0)),
    (normal(0.0, 1e-3), normal(50.0, 1e3)),
    (Uniform(t(0.0), t(1.0)), Uniform(t(0.5), t(2.0))),
    (Laplace(t(0.0), t(1.0)), Cauchy(t(1.0), t(0.5))),
]


@given(
    x=st.floats(-1e3, 1e3),
    mean=st.floats(-50, 50),
    scale=st.floats(1e-3, 1e3),
    prior_real=st.floats(1e-6, 1 - 1e-6),
)
def test_optimal_discriminator_is_the_posterior(x, mean, scale, prior_real):
    D = optimal_discriminator(normal(0.0, 1.0), normal(mean, scale), prior_real)
    with mp.workdps(60):
        densities = mp.npdf(x) * mp.mpf(prior_real), mp.npdf(x, mean, scale) * (1 - mp.mpf(prior_real))
        posterior = densities[0] / mp.fsum(densities)
        log_odds = mp.log(densities[0] / densities[1])
    assert D.logit(t([x])).item() == pytest.approx(float(log_odds), rel=1e-9, abs=1e-9)
    assert D(t([x])).item() == pytest.approx(float(posterior), abs=1e-9)


def test_optimal_discriminator_where_densities_vanish():
    D = optimal_discriminator(Uniform(t(0.0), t(2.0)), Uniform(t(1.0), t(3.0)), prior_real=0.25)
    assert D(t([0.5, 1.5, 2.5, 7.0])).tolist() == [1.0, pytest.approx(0.25), 0.0, pytest.approx(0.25)]
    assert D.logit(t([0.5, 2.5])).tolist() == [math.inf, -math.inf]
    far = optimal_discriminator(normal(0.0, 1.0), normal(1.0, 1.0))
    assert far.logit(t([1e8, -1e8])).tolist() == [pytest.approx(-1e8), pytest.approx(1e8)]


@pytest.mark.parametrize("prior_real", [0.0, 1.0, -1.0, math.nan])
def test_prior_real_is_a_share(prior_real):
    with pytest.raises(ValueError, match="prior_real must be in"):
        optimal_discriminator(*PAIRS[0], prior_real=prior_real)


@pytest.mark.parametrize(("p_data", "p_g"), PAIRS)
def test_theorem_1(p_data, p_g):
    """At D* the value is -log 4 + 2 JSD, and C(G) is that value."""
    D = optimal_discriminator(p_data, p_g)
    expected = -LOG_4 + 2 * js_divergence(p_data, p_g).item()
    assert value(D, p_data, p_g).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert generator_criterion(p_data, p_g).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert regret(D, p_data, p_g).item() == pytest.approx(0, abs=1e-12)


def test_criterion_at_its_ends():
    assert generator_criterion(normal(3.0, 2.0), normal(3.0, 2.0)).item() == pytest.approx(-LOG_4, abs=1e-15)
    apart = generator_criterion(Uniform(t(0.0), t(1.0)), Uniform(t(2.0), t(3.0)))
    assert apart.item() == pytest.approx(0, abs=1e-12)


def test_value_against_mpmath():
    D = lambda x: 0.1 + 0.8 * torch.sigmoid(3 * x - 1)
    d = lambda x: mp.mpf("0.1") + mp.mpf("0.8") / (1 + mp.exp(1 - 3 * x))
    points = [-40, -5, -1, 0, 1, 5, 40]
    expected = mp.quad(lambda x: mp.npdf(x) * mp.log(d(x)) + mp.npdf(x, 1, 2) * mp.log(1 - d(x)), points)
    assert value(D, *PAIRS[0]).item() == pytest.approx(float(expected), rel=1e-9)


def test_value_through_logits_keeps_what_probabilities_lose():
    D = Discriminator(lambda x: 1e3 + 0 * x)  # 1 - D rounds to 0, its logarithm is -1000
    assert value(D, *PAIRS[0]).item() == pytest.approx(-1e3, rel=1e-12)
    assert value(D.__call__, *PAIRS[0]) == -math.inf


@pytest.mark.parametrize("function", [value, regret])
def test_probabilities_that_round_to_one(function):
    """The sigmoid of 3 x is 1 from 12 on, where Normal(1, 2) has some mass and Normal(1, 1) hardly any."""
    D = Discriminator(lambda x: 3 * x)
    nothing_lost, something_lost = ((normal(0.0, 1.0), normal(1.0, scale)) for scale in (1.0, 2.0))
    exact = function(D, *nothing_lost).item()
    assert function(D.__call__, *nothing_lost).item() == pytest.approx(exact, rel=1e-9)
    assert function(D.__call__, *something_lost).isinf()


def test_probabilities_without_digits_left():
    with pytest.raises(ArithmeticError, match="a D with a logit"):
        regret(torch.sigmoid, StudentT(t(3.0)), Cauchy(t(0.0), t(1.0)))
    with pytest.raises(ArithmeticError, match=r"not resolved near x = \S+$"):  # where it would not help
        value(lambda x: 0.5 + 0.4 * torch.sin(1e6 * x), *PAIRS[0])


@pytest.mark.parametrize("certainty", [0.0, 1.0])
def test_one_wrong_certainty_costs_everything(certainty):
    assert value(lambda x: torch.where(x > 0, 0.5, certainty), *PAIRS[0]) == -math.inf


def test_value_of_a_discriminator_with_jumps():
    D = lambda x: torch.where(x > 0.3, 0.25, 0.75).double()
    upper = [0.5 * math.erfc((0.3 - m) / s / math.sqrt(2)) for m, s in ((0, 1), (1, 2))]
    expected = math.log(0.25) * (upper[0] + 1 - upper[1]) + math.log(0.75) * (1 - upper[0] + upper[1])
    assert value(D, *PAIRS[0]).item() == pytest.approx(expected, rel=1e-9)


@given(a=st.floats(-3, 3), b=st.floats(-3, 3), c=st.floats(-1, 1))
def test_regret_is_what_is_missing_to_the_criterion(a, b, c):
    D = Discriminator(lambda x: a + b * x + c * x**2)
    p_data, p_g = PAIRS[0]
    missing = generator_criterion(p_data, p_g) - value(D, p_data, p_g)
    assert regret(D, p_data, p_g).item() == pytest.approx(missing.item(), rel=1e-9, abs=1e-11)
    assert regret(D, p_data, p_g) >= 0


def test_regret_is_infinite_for_a_wrong_certainty():
    assert regret(lambda x: (x > 0).double(), *PAIRS[0]) == math.inf


def test_gradient_of_the_criterion_with_D_held_at_its_optimum():
    """The envelope theorem: d C(G) / d theta is the derivative of V at the fixed D*."""
    mean = t(0.7).requires_grad_()
    p_data, p_g = normal(0.0, 1.0), Normal(mean, t(2.0))
    (whole,) = torch.autograd.grad(generator_criterion(p_data, p_g), mean)
    D = optimal_discriminator(p_data, normal(0.7, 2.0))
    (partial,) = torch.autograd.grad(value(D, p_data, p_g), mean)
    assert whole.item() == pytest.approx(partial.item(), rel=1e-9)


FAMILIES = {
    "mean": (lambda theta: Normal(theta, t(2.0)), 0.7),
    "scale": (lambda theta: Normal(t(0.5), theta), 1.8),
    "weight": (
        lambda theta: MixtureSameFamily(
            Categorical(torch.stack([1 - theta, theta])), Normal(t([-1.0, 2.0]), t([0.7, 0.7]))
        ),
        0.2,
    ),
}


@pytest.mark.checks("thm-frozen-gradient")
@pytest.mark.parametrize("p_data", [normal(0.0, 1.0), Laplace(t(0.5), t(1.0))], ids=["normal", "laplace"])
@pytest.mark.parametrize("family", FAMILIES)
def test_generator_losses_against_a_frozen_optimum(family, p_data):
    """Arjovsky and Bottou 2017, Theorem 2.5: the slopes of both losses in G, with D held at D*."""
    make, start = FAMILIES[family]
    theta = t(start).requires_grad_()
    p_g, D = make(theta), optimal_discriminator(p_data, make(t(start)))

    def slope(loss):
        return torch.autograd.grad(loss, theta, retain_graph=True)[0].item()

    def expected(f):
        return integrate(lambda x: f(D.logit(x)) * p_g.log_prob(x).exp(), p_data, p_g)

    non_saturating, saturating = (expected(f) for f in (lambda a: -logsigmoid(a), lambda a: logsigmoid(-a)))
    kl, js = slope(kl_divergence(p_g, p_data)), slope(js_divergence(p_data, p_g))
    assert slope(saturating) == pytest.approx(2 * js, rel=1e-8)
    assert slope(non_saturating) == pytest.approx(kl - 2 * js, rel=1e-8)


@pytest.mark.parametrize("function", [value, regret])
@pytest.mark.parametrize(
    ("D", "error", "message"),
    [
        (0.5, TypeError, "D must be callable, got float"),
        (lambda x: x, ValueError, r"D must be in \[0, 1\], got -"),
        (
            lambda x: torch.where(x < 0, 0.0, torch.where(x < 1, 1.0, 1.5)),
            ValueError,
            r"D must be in \[0, 1\], got 1\.5",
        ),
        (lambda x: x * math.nan, ValueError, r"D must be in \[0, 1\], got nan"),
        (lambda x: x.mean(), ValueError, r"D must map .* got \(\)"),
        (lambda _: 0.5, ValueError, "D must map .* got float"),
    ],
)
def test_misuse_of_D(function, D, error, message):
    with pytest.raises(error, match=message):
        function(D, *PAIRS[0])


def test_misuse_of_the_distributions():
    with pytest.raises(TypeError, match=r"p_g must be a torch\.distributions\.Distribution, got str"):
        value(lambda x: x, normal(0.0, 1.0), "normal")
    with pytest.raises(ValueError, match="p_data must be a one-dimensional, unbatched"):
        optimal_discriminator(Normal(t([0.0]), t([1.0])), normal(0.0, 1.0))
