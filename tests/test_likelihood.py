"""Likelihoods against SciPy and closed forms."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    Cauchy,
    Distribution,
    Exponential,
    Laplace,
    MixtureSameFamily,
    Normal,
    Pareto,
    Poisson,
    StudentT,
    Uniform,
    constraints,
)

from gan_theory.likelihood import ParzenWindow, _finish, _newton_step, log_likelihood, maximum_likelihood


def t(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.fixture
def observations():
    return torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.5 + 2


def test_log_likelihood(observations):
    expected = scipy.stats.norm(1, 2).logpdf(observations.numpy()).sum()
    assert log_likelihood(Normal(t(1.0), t(2.0)), observations).item() == pytest.approx(expected, rel=1e-12)
    assert log_likelihood(Uniform(t(0.0), t(1.0)), t([0.5, 1.5])) == -math.inf
    assert log_likelihood(Bernoulli(t(0.25)), t([1.0, 1.0, 0.0])).item() == pytest.approx(
        2 * math.log(0.25) + math.log(0.75)
    )


def test_what_one_component_of_a_mixture_allows_is_possible():
    """In PyTorch the support of a mixture is what all of its components share."""
    low = t([0.0, 1.0]).requires_grad_()
    boxes = MixtureSameFamily(Categorical(t([0.25, 0.75])), Uniform(low, t([2.0, 3.0])))
    whole = log_likelihood(boxes, t([0.5, 1.5, 2.5]))
    assert whole.item() == pytest.approx(math.log(0.25 / 2) + math.log(0.5) + math.log(0.75 / 2))
    (slopes,) = torch.autograd.grad(whole, low)  # of the densities' logarithms, by hand
    assert slopes.tolist() == pytest.approx([0.5 + 0.125, 0.375 + 0.5])
    assert log_likelihood(boxes, t([0.5, 3.5])) == -math.inf
    tails = MixtureSameFamily(Categorical(t([0.5, 0.5])), Pareto(t([1.0, 2.0]), t([3.0, 3.0])))
    expected = math.log(sum(scipy.stats.pareto(3, scale=s).pdf(1.5) for s in (1, 2)) / 2)
    assert log_likelihood(tails, t([1.5])).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("p", "counts", "by_hand"),
    [
        (Bernoulli(0.25), [1, 1, 0], 0.25**2 * 0.75),
        (Poisson(2.0), [1, 3], math.exp(-4) * 2 * 8 / 6),
        (Categorical(t([0.2, 0.8])), [0, 1, 1], 0.2 * 0.64),
    ],
)
def test_counts_may_be_whole_numbers(p, counts, by_hand):
    got = log_likelihood(p, torch.tensor(counts))
    assert got.dtype == torch.float64
    assert got.item() == pytest.approx(math.log(by_hand), rel=1e-6)  # the parameters may be float32


@pytest.mark.parametrize(
    ("p", "possible", "impossible"),
    [
        (Bernoulli(t(0.0)), 0, 1),
        (Bernoulli(t(1.0)), 1, 0),
        (Binomial(4, t(0.0)), 0, 1),
        (Binomial(4, t(1.0)), 4, 3),
        (Categorical(t([0.0, 1.0])), 1, 0),
    ],
)
def test_what_has_the_probability_0_is_impossible(p, possible, impossible):
    assert log_likelihood(p, torch.tensor([possible] * 3)).item() == pytest.approx(0, abs=1e-12)
    assert log_likelihood(p, torch.tensor([possible, impossible])) == -math.inf


def test_what_is_only_rounded_to_the_probability_0_is_possible():
    assert log_likelihood(Bernoulli(logits=t(-800.0)), torch.tensor([1])).item() == -800
    assert log_likelihood(Categorical(logits=t([-800.0, 0.0])), torch.tensor([0])).item() == -800


@pytest.mark.parametrize(
    ("p", "possible"), [(Uniform(0.0, 2.0), torch.tensor([1.0])), (Poisson(t(1.0)), torch.tensor([1]))]
)
def test_the_impossible_has_the_type_of_the_possible(p, possible):
    impossible = log_likelihood(p, -possible)
    assert impossible == -math.inf
    assert impossible.dtype == log_likelihood(p, possible).dtype


def test_log_likelihood_in_more_dimensions():
    p = torch.distributions.MultivariateNormal(t([0.0, 1.0]), torch.eye(2, dtype=torch.float64))
    x = t([[0.0, 0.0], [1.0, 2.0]])
    expected = scipy.stats.multivariate_normal([0, 1]).logpdf(x.numpy()).sum()
    assert log_likelihood(p, x).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("p", "x", "error", "message"),
    [
        ("normal", t([0.0]), TypeError, "p must be a torch.distributions.Distribution, got str"),
        (Normal(t([0.0]), t([1.0])), t([0.0]), ValueError, "p must be unbatched"),
        (Normal(t(0.0), t(1.0)), t([[0.0]]), ValueError, r"x must have shape \(n,\)"),
        (Normal(t(0.0), t(1.0)), t(0.0), ValueError, r"x must have shape \(n,\)"),
        (Normal(t(0.0), t(1.0)), t([]), ValueError, "n >= 1"),
        (Normal(t(0.0), t(1.0)), t([math.nan]), ValueError, "x must be observations, got NaN"),
        (Normal(t(0.0), t(1.0)), [0.0], TypeError, "x must be a tensor, got list"),
    ],
)
def test_log_likelihood_misuse(p, x, error, message):
    with pytest.raises(error, match=message):
        log_likelihood(p, x)


def test_maximum_likelihood_of_textbook_families(observations):
    fit = maximum_likelihood(Normal, observations, loc=0.0, scale=1.0)
    assert fit.loc.item() == pytest.approx(observations.mean().item(), rel=1e-7)
    assert fit.scale.item() == pytest.approx(observations.std(correction=0).item(), rel=1e-7)
    assert not fit.loc.requires_grad and not fit.scale.requires_grad
    coin = maximum_likelihood(Bernoulli, t([1.0, 1.0, 0.0, 1.0]), probs=0.5)
    assert coin.probs.item() == pytest.approx(0.75, rel=1e-7)
    location, scale = scipy.stats.laplace.fit(observations.numpy()[:399])
    with pytest.raises(
        ArithmeticError, match="no maximum"
    ):  # the likelihood of a Laplace has a kink at its maximum
        maximum_likelihood(Laplace, observations[:399], loc=location + 0.1, scale=scale)


class Bell(Distribution):
    """It does not say what its parameter may be, and can have a kink on its top."""

    support = constraints.real

    def __init__(self, centre, kink=0.0):
        self.centre, self.kink = centre, kink
        super().__init__(validate_args=False)

    def log_prob(self, x):
        distance = (x - self.centre).abs()
        return -self.kink * distance - distance**2 / 2


def test_a_family_need_not_say_what_its_parameters_may_be(observations):
    fit = maximum_likelihood(Bell, observations, centre=0.0)
    assert fit.centre.item() == pytest.approx(observations.mean().item(), rel=1e-7)


def test_a_top_with_a_kink_is_not_said_to_be_reached():
    with pytest.raises(ArithmeticError, match=r"a Newton step would gain 0\.5 nats each"):  # to and fro, by 1
        maximum_likelihood(lambda centre: Bell(centre, kink=0.5), t([0.0, 0.0]), centre=0.3)


def valley(a, b):
    """At its lowest, 7, where a = 1 and b[0] = 5e5, whatever b[1] is."""
    u, v = a - 1, b[0] * 1e-6 - 0.5
    return (3 * u**2 + 2 * u * v + v**2) / 2 + 7


def test_a_newton_step_ends_in_the_valley_of_a_quadratic():
    at = [t(0.5), t([0.0, 4.0])]
    (by_a, by_b), gain = _newton_step(valley, at)
    assert by_a.item() == pytest.approx(0.5, rel=1e-9)
    assert by_b.tolist() == pytest.approx([5e5, 0.0], rel=1e-9)
    assert gain == pytest.approx(valley(*at).item() - 7, rel=1e-9)
    assert _finish(valley, at) < 1e-14
    assert [at[0].item(), *at[1].tolist()] == pytest.approx([1.0, 5e5, 4.0], rel=1e-9)


@pytest.mark.parametrize("f", [lambda a, b: a**2 - 1e-3 * b**2, lambda a, b: a**2 + 0.5 * b])
def test_where_it_goes_down_for_ever_a_newton_step_gains_everything(f):
    assert _newton_step(f, [t(1.0), t(0.0)])[1] == math.inf


def test_maximum_likelihood_in_any_unit(observations):
    x = 10 + 1e6 * observations
    fit = maximum_likelihood(Normal, x, loc=0.0, scale=1.0)
    assert fit.loc.item() == pytest.approx(x.mean().item(), rel=1e-6)
    assert fit.scale.item() == pytest.approx(x.std(correction=0).item(), rel=1e-6)


def test_maximum_likelihood_without_closed_form(observations):
    fit = maximum_likelihood(StudentT, observations, df=5.0, loc=0.0, scale=1.0)
    df, location, scale = scipy.stats.t.fit(observations.numpy())
    best = scipy.stats.t(df, location, scale).logpdf(observations.numpy()).sum()
    assert log_likelihood(fit, observations).item() >= best - 1e-4


def test_maximum_likelihood_of_a_mixture_has_no_score_left(observations):
    def family(means, log_scales, logits):
        return MixtureSameFamily(Categorical(logits=logits), Normal(means, log_scales.exp()))

    x = torch.cat((observations, observations[:200] * 0.3 - 3))
    fit = maximum_likelihood(family, x, means=t([-2.0, 2.0]), log_scales=t([0.0, 0.0]), logits=t([0.0, 0.0]))
    means = fit.component_distribution.loc.detach().clone().requires_grad_()
    moved = MixtureSameFamily(fit.mixture_distribution, Normal(means, fit.component_distribution.scale))
    (score,) = torch.autograd.grad(log_likelihood(moved, x), means)
    assert score.abs().max() < 1e-2
    assert fit.component_distribution.loc.tolist() == [
        pytest.approx(-2.5, abs=0.2),
        pytest.approx(2.0, abs=0.2),
    ]


def test_a_saddle_is_not_taken_for_a_maximum():
    def family(a, b):
        return MixtureSameFamily(Categorical(torch.ones(2)), Normal(torch.stack([a, b]), 1.0))

    x = t([-8.5, -8.0, -7.5, -0.5, 0.0, 0.5, 6.5, 7.0, 7.5])
    with pytest.raises(ArithmeticError, match="no maximum"):  # the search has no reason to leave a = b
        maximum_likelihood(family, x, a=1.0, b=1.0)
    fits = [maximum_likelihood(family, x, a=a, b=b) for a, b in ((1.0, 2.0), (2.0, 1.0), (-4.0, 7.0))]
    likelihoods = [log_likelihood(fit, x).item() for fit in fits]
    assert likelihoods[0] == pytest.approx(likelihoods[1], rel=1e-12)
    assert all(likelihood > log_likelihood(family(t(-0.33), t(-0.33)), x) for likelihood in likelihoods)


def test_a_start_where_the_observations_are_impossible_is_refused():
    with pytest.raises(ValueError, match="initial must start where the observations are possible"):
        maximum_likelihood(Exponential, torch.tensor([-1.0, 2.0]), rate=1.0)


def test_maximum_likelihood_misuse():
    with pytest.raises(ValueError, match="scale must start within"):
        maximum_likelihood(Normal, t([0.0, 1.0]), loc=0.0, scale=-1.0)
    with pytest.raises(ValueError, match="at least one parameter"):
        maximum_likelihood(Normal, t([0.0, 1.0]))
    with pytest.raises(ArithmeticError, match="no maximum"):  # one observation: the scale falls to 0
        maximum_likelihood(Normal, t([1.0]), loc=0.0, scale=1.0)


@pytest.mark.parametrize("family", [Normal, Laplace, Cauchy])
@pytest.mark.parametrize("at", [0.0, 0.1, 2.0, -7.0, 1e3])
def test_a_scale_that_falls_to_0_has_no_maximum(family, at):
    with pytest.raises(ArithmeticError, match="no maximum of the likelihood was reached"):
        maximum_likelihood(family, t([at] * 5), loc=0.0, scale=1.0)


@pytest.mark.parametrize(
    ("family", "start"),
    [
        (Uniform, {"low": -5.0, "high": 5.0}),  # the most likely one has the observations at its ends
        (Pareto, {"scale": 0.5, "alpha": 1.0}),  # and so has this one
        (lambda probs: Binomial(10, probs), {"probs": 0.9}),  # free to leave (0, 1)
    ],
)
def test_a_search_that_comes_to_the_impossible_has_no_maximum(family, start):
    with pytest.raises(ArithmeticError, match="came to where the family, or x, is impossible"):
        maximum_likelihood(family, t([1.0, 2.0, 3.0]), **start)


@pytest.mark.parametrize("dimension", [1, 3])
def test_parzen_against_scipy(dimension):
    generator = torch.Generator().manual_seed(1)
    samples, x = (torch.randn(n, dimension, generator=generator, dtype=torch.float64) + 100 for n in (50, 20))
    kernels = [
        scipy.stats.multivariate_normal(s, 0.3**2 * np.eye(dimension)).pdf(x.numpy()) for s in samples.numpy()
    ]
    got = ParzenWindow(samples, 0.3).log_prob(x)
    np.testing.assert_allclose(got.numpy(), np.log(np.mean(kernels, axis=0)), rtol=1e-9)


def test_parzen_integrates_to_one_and_keeps_its_tails():
    window = ParzenWindow(t([0.0, 1.0, 5.0]), 0.5)
    grid = torch.linspace(-10, 15, 20_001, dtype=torch.float64)
    assert torch.trapezoid(window.log_prob(grid).exp(), grid).item() == pytest.approx(1, abs=1e-9)
    expected = -((100 - 5) ** 2) / (2 * 0.25) - math.log(3) - math.log(0.5 * math.sqrt(2 * math.pi))
    assert window.log_prob(t([100.0])).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("far", [100.0, 1000.0])
def test_parzen_keeps_small_distances_between_far_points(far):
    got = ParzenWindow(t([0.0, far]), 1e-3).log_prob(t([far - 0.001]))
    expected = scipy.stats.norm(far, 1e-3).logpdf(far - 0.001) - math.log(2)
    assert got.item() == pytest.approx(expected, rel=1e-9)


def test_parzen_keeps_the_samples_that_it_was_given():
    samples, x = t([0.0, 1.0]), t([0.5])
    window = ParzenWindow(samples, 0.5)
    before = window.log_prob(x)
    samples += 3
    assert window.log_prob(x) == before


@pytest.mark.parametrize("far", [1e4, -1e9, 1e300, 1e308])
def test_parzen_keeps_its_digits_beside_a_sample_far_away(far):
    near, x = t([0.1, 0.7, -0.3]), t([0.0, 0.2, 3.0])
    got = ParzenWindow(torch.cat([near, t([far])]), 0.5).log_prob(x)  # the fourth window adds nothing
    expected = scipy.stats.norm(near.numpy(), 0.5).pdf(x.numpy()[:, None]).sum(axis=1) / 4
    np.testing.assert_allclose(got, np.log(expected), rtol=1e-13)


@pytest.mark.parametrize("sigma", [0.5, 1e-4])  # by products of matrices, and by distances
def test_parzen_has_the_slope_of_the_nearest_windows(sigma):
    samples, x = t([0.0, 1.0, 2.5]).requires_grad_(), t([0.0, 0.4, 1.9]).requires_grad_()
    slopes = torch.autograd.grad(ParzenWindow(samples, sigma).log_prob(x).sum(), (x, samples))
    pulls = (samples - x[:, None]).detach() / sigma**2
    shares = (-(pulls**2) * sigma**2 / 2).softmax(dim=1)
    torch.testing.assert_close(slopes[0], (shares * pulls).sum(1))
    torch.testing.assert_close(slopes[1], -(shares * pulls).sum(0))


def test_parzen_does_not_depend_on_chunks_or_order(monkeypatch):
    generator = torch.Generator().manual_seed(2)
    samples, x = (torch.rand(n, 4, 5, generator=generator) for n in (30, 11))
    whole = ParzenWindow(samples, 0.2).log_prob(x)
    monkeypatch.setattr("gan_theory.likelihood._CHUNK", 40)
    torch.testing.assert_close(ParzenWindow(samples, 0.2).log_prob(x), whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(
        ParzenWindow(samples.flip(0), 0.2).log_prob(x.flip(0)).flip(0), whole, rtol=1e-12, atol=0
    )
    assert ParzenWindow(samples, 0.2).log_prob(x[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("samples", "sigma", "error", "message"),
    [
        ([0.0], 1.0, TypeError, "samples must be a tensor, got list"),
        (t([]), 1.0, ValueError, "n >= 1"),
        (t([math.nan]), 1.0, ValueError, "samples must be finite"),
        (t([0.0]), 0.0, ValueError, "sigma must be from 1e-80 to 1e"),
        (t([0.0]), math.inf, ValueError, "sigma must be from 1e-80 to 1e"),
        (t([0.0]), math.nan, ValueError, "sigma must be from 1e-80 to 1e"),
    ],
)
def test_parzen_misuse(samples, sigma, error, message):
    with pytest.raises(error, match=message):
        ParzenWindow(samples, sigma)


def test_a_points_density_does_not_depend_on_what_is_asked_with_it():
    window = ParzenWindow(t([0.0, 1.0]), 1.0)
    (alone,) = window.log_prob(t([0.3]))
    for beside in (math.inf, -math.inf, math.nan):
        found, (last, first) = window.log_prob(t([0.3, beside])), window.log_prob(t([beside, 0.3]))
        assert found.tolist() == pytest.approx([first.item(), last.item()], rel=1e-12, nan_ok=True)
        assert first.item() == pytest.approx(alone.item(), rel=1e-12)
        assert last.isnan() if math.isnan(beside) else last == -math.inf


@pytest.mark.parametrize("far", [1e80, 1e200, -1e300])
def test_parzen_at_the_ends_of_what_is_allowed(far):
    assert ParzenWindow(t([0.0]), 1.0).log_prob(t([far])).item() <= -1e159
    window = ParzenWindow(t([0.0, far]), 1.0)
    assert window.log_prob(t([0.0])).item() == pytest.approx(-math.log(2) - math.log(2 * math.pi) / 2)
    for sigma in (1e-80, 1e80):
        normal = Normal(t(0.0), t(sigma))
        x = t([0.0, 2 * sigma])
        torch.testing.assert_close(ParzenWindow(t([0.0]), sigma).log_prob(x), normal.log_prob(x))


def test_parzen_of_another_shape():
    with pytest.raises(ValueError, match=r"x must have shape \(m,\) \+ \(2,\), got \(3,\)"):
        ParzenWindow(t([[0.0, 1.0]]), 1.0).log_prob(t([0.0, 1.0, 2.0]))
