"""Log densities where PyTorch has none: off the support and in mixtures, with their gradients."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import logistic, norm
from torch.distributions import (
    AbsTransform,
    AffineTransform,
    Categorical,
    Distribution,
    Exponential,
    Gumbel,
    Kumaraswamy,
    LogNormal,
    MixtureSameFamily,
    Normal,
    Pareto,
    SigmoidTransform,
    TransformedDistribution,
    Uniform,
    VonMises,
    Weibull,
    constraints,
)

from gan_theory.distributions import as_density, log_density
from gan_theory.divergences import kl_divergence
from gan_theory.quadrature import integrate


def t(value):
    return torch.tensor(value, dtype=torch.float64)


def stretched(p, scale):
    return TransformedDistribution(p, AffineTransform(0.0, scale))


def test_a_mixture_weighs_its_parts():
    p = MixtureSameFamily(Categorical(t([0.25, 0.75, 0.0])), Uniform(t([0.0, 1.0, 5.0]), t([2.0, 3.0, 6.0])))
    densities = log_density(p, t([0.5, 1.5, 2.5, 4.0, 5.5])).exp()
    assert densities.tolist() == pytest.approx([0.125, 0.5, 0.375, 0.0, 0.0])


def test_weights_in_float32_are_made_to_sum_to_one():
    weights = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25, 0.35, 0.45])
    p = MixtureSameFamily(Categorical(weights), Normal(torch.arange(7.0), torch.ones(7)))
    assert p.mixture_distribution.probs.double().sum() != 1  # PyTorch has done so in float32
    assert integrate(lambda x: log_density(p, x).exp(), p).item() == pytest.approx(1, abs=1e-12)


def test_a_part_without_weight_leaves_the_gradient_finite():
    weights = t([0.5, 0.0]).requires_grad_()
    p = MixtureSameFamily(Categorical(weights), Normal(t([0.0, 1.0]), t([1.0, 1.0])))
    (slope,) = torch.autograd.grad(log_density(p, t([0.3])).sum(), weights)
    assert slope.isfinite().all()


@pytest.mark.parametrize(
    ("family", "inside", "outside"),
    [
        (lambda a: LogNormal(a, t(1.0)), 3.0, -1.0),
        (lambda a: TransformedDistribution(LogNormal(a, t(1.0)), AffineTransform(0.0, -1.0)), -3.0, 1.0),
        (lambda a: Kumaraswamy(a, t(2.5)), 0.3, 1.5),
    ],
)
def test_what_lies_off_the_support_has_no_part_in_the_gradient(family, inside, outside):
    parameter = t(2.5).requires_grad_()
    p = family(parameter)
    alone, beside = (
        torch.autograd.grad(log_density(p, t(x)).exp().sum(), parameter, retain_graph=True)[0]
        for x in ([inside], [inside, outside])
    )
    assert alone == beside != 0


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_closed_end_belongs_to_the_support(side):
    p = TransformedDistribution(Exponential(t(1.0)), AffineTransform(0.0, side))
    assert log_density(p, t([0.0])) == 0.0


def test_not_a_number_has_no_density():
    assert log_density(Normal(t(0.0), t(1.0)), t([math.nan])).isnan()


def test_a_squashed_normal_lives_between_0_and_1():
    p = TransformedDistribution(Normal(t(0.0), t(1.0)), SigmoidTransform())
    assert as_density(p, "p").support == [(0.0, 1.0)]


@pytest.mark.parametrize(
    ("family", "at", "q", "slope"),
    [
        (lambda x: Gumbel(x, t(1.0)), 0.5, Gumbel(t(0.0), t(1.0)), 1 - math.exp(-0.5)),
        (lambda x: Gumbel(t([0.0, 9.0]) + x, t([1.0, 2.0])), 0.5, Gumbel(t(0.0), t(1.0)), 1 - math.exp(-0.5)),
        (lambda x: Pareto(x, t(3.0)), 1.2, Pareto(t(1.0), t(3.0)), 3 / 1.2),
        (lambda x: Weibull(x, t(1.5)), 1.2, Weibull(t(1.0), t(1.5)), 1.5 * (1.2**0.5 - 1 / 1.2)),
        (lambda x: stretched(Exponential(t(1.0)), x), 1.3, Exponential(t(1.0)), 1 - 1 / 1.3),
        (
            lambda x: stretched(Exponential(t(1.0)), -x),
            1.3,
            stretched(Exponential(t(1.0)), -1.0),
            1 - 1 / 1.3,
        ),
    ],
)
def test_what_overflows_on_the_way_leaves_the_gradient_a_number(family, at, q, slope):
    x = t(at).requires_grad_()
    p = family(x)
    if p.batch_shape:  # a mixture, of which the other part has no weight
        p = MixtureSameFamily(Categorical(t([1.0, 0.0])), p)
    kl_divergence(p, q).backward()
    assert x.grad.item() == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_a_logistic_law_lives_on_the_whole_line_though_its_logit_is_clipped(scale):
    steps = [SigmoidTransform().inv, AffineTransform(0.0, scale)]
    p = TransformedDistribution(Uniform(t(0.0), t(1.0)), steps)
    assert as_density(p, "p").support == [(-math.inf, math.inf)]
    x = t([-700.0, -37.0, 0.0, 36.1, 40.0])
    torch.testing.assert_close(log_density(p, x), -x.abs() - 2 * torch.log1p(torch.exp(-x.abs())))
    exact, _ = quad(lambda x: norm.pdf(x) * (norm.logpdf(x) - logistic.logpdf(x)), -30, 30)
    assert kl_divergence(Normal(t(0.0), t(1.0)), p).item() == pytest.approx(exact, rel=1e-8)


@pytest.mark.parametrize(
    "p",
    [
        VonMises(t(0.0), t(1.0)),
        TransformedDistribution(VonMises(t(0.0), t(1.0)), AffineTransform(0.0, 2.0)),
        TransformedDistribution(Normal(t(0.0), t(1.0)), AbsTransform()),
    ],
)
def test_circles_and_folds_are_refused(p):
    with pytest.raises(ValueError, match="p must be continuous, on an interval"):
        as_density(p, "p")


class OfNoKnownPlace(Distribution):
    """It has a density, and PyTorch is told neither mean nor deviation."""

    arg_constraints = {}  # noqa: RUF012  (as PyTorch has it)
    support = constraints.real

    def log_prob(self, x):
        return Normal(0.0, 1.0).log_prob(x)


def test_a_distribution_of_no_known_place_is_refused():
    with pytest.raises(
        ValueError, match=r"p must be continuous.*finite mean and standard deviation; got OfNo"
    ):
        as_density(OfNoKnownPlace(), "p")
