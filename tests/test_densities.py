"""The density of G(z) against closed forms, SciPy and the samples; and what has no density."""

import math

import mpmath as mp
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import (
    Beta,
    Categorical,
    Cauchy,
    Chi2,
    Exponential,
    Laplace,
    LogNormal,
    MixtureSameFamily,
    Normal,
    StudentT,
    Uniform,
)

from gan_theory.densities import Pushforward
from gan_theory.distributions import log_density
from gan_theory.divergences import js_divergence, kl_divergence, wasserstein_1
from gan_theory.networks import mlp
from gan_theory.quadrature import integrate


def t(value):
    return torch.tensor(value, dtype=torch.float64)


STANDARD = Normal(t(0.0), t(1.0))
UNIT = Uniform(t(0.0), t(1.0))
CELL = 1 / 4096  # of the grid on it
HALF_TURN = Uniform(t(-math.pi / 2), t(math.pi / 2))


def close(got, expected, tolerance=1e-9):
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=1e-12)


def test_affine_keeps_the_normal_into_its_far_tails():
    p_g = Pushforward(STANDARD, lambda z: 1 - 2 * z)
    x = t([-200.0, -1.0, 1.0, 5.0, 1e6])
    close(p_g.log_prob(x), Normal(t(1.0), t(2.0)).log_prob(x))


def test_square_has_two_branches():
    x = t([1e-300, 1e-12, 0.1, 2.0, 300.0])
    p_g = Pushforward(STANDARD, torch.square)
    close(p_g.log_prob(x), Chi2(t(1.0)).log_prob(x))
    assert p_g.log_prob(t([-1e-9, -5.0])).tolist() == [-math.inf, -math.inf]
    assert p_g.log_prob(t([0.0])) == math.inf
    assert p_g.log_prob(t([math.nan])).isnan()
    hanging = Pushforward(STANDARD, lambda z: -z.square())
    close(hanging.log_prob(-x), p_g.log_prob(x))
    assert hanging.log_prob(t([0.0, 1e-9])).tolist() == [math.inf, -math.inf]


@pytest.mark.parametrize("turns", [1, 3, 11])
def test_sine_of_a_uniform_is_the_arcsine_law_however_often_it_folds(turns):
    p_g = Pushforward(Uniform(t(-math.pi * turns / 2), t(math.pi * turns / 2)), torch.sin)
    x = t([-0.99, -0.3, 0.2, 0.9])
    close(p_g.log_prob(x), -(math.pi * (1 - x**2).sqrt()).log())
    assert p_g.log_prob(t([1.1, -2.0])).tolist() == [-math.inf, -math.inf]


def test_exponential_and_hyperbolic_tangent():
    x = t([1e-6, 0.3, 1.0, 50.0])
    close(Pushforward(STANDARD, torch.exp).log_prob(x), LogNormal(t(0.0), t(1.0)).log_prob(x))
    y = t([-0.999999, -0.2, 0.5, 0.9999])
    close(Pushforward(STANDARD, torch.tanh).log_prob(y), STANDARD.log_prob(y.atanh()) - (1 - y**2).log())


@pytest.mark.parametrize("shift", [0.0, 0.123, 0.004, -0.004])  # on the grid, off it, next to 0
def test_slope_that_vanishes_at_a_point(shift):
    p_g = Pushforward(STANDARD, lambda z: (z - shift) ** 3)
    x = t([-8.0, -1e-9, 1e-6, 0.5, 27.0])
    root = x.sign() * x.abs() ** (1 / 3)
    close(
        p_g.log_prob(x),
        STANDARD.log_prob(root + shift) - (3 * root**2).log(),
        tolerance=1e-7 if shift else 1e-9,
    )
    assert p_g.log_prob(t([0.0])) == math.inf
    assert integrate(lambda x: p_g.log_prob(x).exp(), p_g).item() == pytest.approx(1, abs=1e-7)


def test_kink_and_leap():
    x = t([0.1, 2.0])
    close(Pushforward(STANDARD, torch.abs).log_prob(x), STANDARD.log_prob(x) + math.log(2))
    back = Pushforward(STANDARD, lambda z: z - 5 * (z > 0.05).double())
    both = torch.logaddexp(STANDARD.log_prob(t(-4.0)), STANDARD.log_prob(t(1.0)))
    close(back.log_prob(t([-4.0, -4.97])), torch.stack((both, STANDARD.log_prob(t(-4.97)))))
    for unit in (1e-6, 1.0, 1e6):
        leap = Pushforward(STANDARD, lambda z, unit=unit: unit * (z + 3 * (z > 0.3)))
        close(leap.log_prob(unit * t([-1.0, 4.0])), STANDARD.log_prob(t([-1.0, 1.0])) - math.log(unit))
        assert leap.log_prob(unit * t([1.0, 3.0])).tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize(
    ("G", "density"),
    [
        (lambda z: z - 1000.5 * CELL, 1.0),  # 0 in the middle of a cell
        (lambda z: z - 0.3 + torch.relu(z - 0.3), 0.5),  # 0 at a kink
    ],
)
def test_x_beside_0_is_reached_from_z_that_has_fewer_digits(G, density):
    close(Pushforward(UNIT, G).log_prob(t([1e-12])).exp(), t([density]))


GENERATORS = {
    "square": (STANDARD, torch.square),
    "square around 0.3": (STANDARD, lambda z: (z - 0.3) ** 2),
    "cube": (STANDARD, lambda z: z**3),
    "fold": (STANDARD, lambda z: z**3 - z),
    "sine": (HALF_TURN, torch.sin),
    "sine of a normal": (STANDARD, torch.sin),
    "tanh": (STANDARD, torch.tanh),
    "bent": (Uniform(t(-1.0), t(1.0)), lambda z: z + 0.9 * z**2),
    "network": (
        Uniform(t(-1.0), t(1.0)),
        mlp(1, 16, 16, 1, generator=torch.Generator().manual_seed(0)),
    ),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_integrates_to_one_and_matches_its_samples(name):
    prior, G = GENERATORS[name]
    p_g = Pushforward(prior, G)
    with torch.no_grad():
        assert integrate(lambda x: p_g.log_prob(x).exp(), p_g).item() == pytest.approx(1, abs=1e-9)
        # The probability of an interval, from the density and from quantiles of the prior sent through G.
        u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
        z = prior.icdf(u).unsqueeze(1)
        x = G(z.float() if isinstance(G, nn.Module) else z).squeeze(1).double()
        low, high = (x.quantile(level).item() for level in (0.3, 0.6))
        share = ((x > low) & (x < high)).double().mean().item()
        inside = integrate(lambda x: p_g.log_prob(x).exp() * ((x > low) & (x < high)), p_g).item()
    assert inside == pytest.approx(share, abs=2e-4)


def test_divergences_of_pushforwards():
    close(kl_divergence(Pushforward(STANDARD, lambda z: 2 * z + 1), STANDARD), t(2.0 - math.log(2)))
    expected = kl_divergence(Chi2(t(1.0)), LogNormal(t(0.0), t(2.0)))
    close(kl_divergence(Pushforward(STANDARD, torch.square), LogNormal(t(0.0), t(2.0))), expected)
    arcsine = Pushforward(Uniform(t(0.0), t(math.pi)), lambda z: (1 - torch.cos(z)) / 2)
    assert js_divergence(arcsine, Beta(t(0.5), t(0.5))).item() == pytest.approx(0, abs=1e-9)
    with mp.workdps(25):
        oracle = mp.quad(
            lambda z: mp.sin(z) ** 2 / 2 - mp.log(mp.pi * abs(mp.cos(z))), [-mp.pi / 2, 0, mp.pi / 2]
        )
    sine = Pushforward(HALF_TURN, torch.sin)
    close(kl_divergence(sine, STANDARD), t(float(mp.re(oracle) / mp.pi + mp.log(2 * mp.pi) / 2)))
    assert kl_divergence(STANDARD, sine) == math.inf
    close(wasserstein_1(Pushforward(STANDARD, torch.exp), LogNormal(t(0.0), t(1.0))), t(0.0))


@pytest.mark.parametrize(
    ("p", "prior", "G", "same"),
    [
        (STANDARD, STANDARD, lambda z: z, STANDARD),
        (STANDARD, STANDARD, lambda z: -2 * z, Normal(t(0.0), t(2.0))),
        (Normal(t(0.0), t(0.01)), STANDARD, lambda z: z, STANDARD),
        (StudentT(t(3.0)), STANDARD, lambda z: z, STANDARD),
        (Laplace(t(0.0), t(1.0)), Laplace(t(0.0), t(1.0)), lambda z: 2 * z, Laplace(t(0.0), t(2.0))),
        (Exponential(t(1.0)), STANDARD, torch.exp, LogNormal(t(0.0), t(1.0))),
        (Exponential(t(1.0)), STANDARD, lambda z: (-z).exp(), LogNormal(t(0.0), t(1.0))),
        (Exponential(t(1.0)), STANDARD, torch.square, Chi2(t(1.0))),
    ],
)
def test_divergences_from_a_pushforward(p, prior, G, same):
    """Its support goes on beyond the points at which it is looked at."""
    close(kl_divergence(p, Pushforward(prior, G)), kl_divergence(p, same))


def test_what_a_pushforward_leaves_out_is_infinitely_surprising():
    apart = Pushforward(STANDARD, lambda z: z + torch.where(z > 0, 1.0, -1.0))
    assert log_density(apart, t([0.0])) == -math.inf
    assert (
        kl_divergence(STANDARD, apart)
        == kl_divergence(STANDARD, Pushforward(STANDARD, torch.tanh))
        == math.inf
    )
    half = Pushforward(STANDARD, torch.exp)
    assert log_density(half, t([-1.0])) == -math.inf
    assert -math.inf < log_density(half, t([1e300])) < -1e4


@pytest.mark.parametrize("turns", [1, 3])
def test_js_divergence_of_a_generator_that_turns(turns):
    """The arcsine law from a normal one, by mpmath in the angle."""
    phi = lambda z: mp.npdf(mp.sin(z))
    mean = lambda z: (phi(z) + 1 / (mp.pi * mp.cos(z))) / 2
    from_normal = lambda z: phi(z) * mp.log(phi(z) / mean(z)) * mp.cos(z)
    from_sine = lambda z: -mp.log(mp.pi * mp.cos(z) * mean(z)) / mp.pi
    within = mp.quad(lambda z: from_normal(z) + from_sine(z), [-mp.pi / 2, -1, 0, 1, mp.pi / 2])
    expected = (within + 2 * mp.ncdf(-1) * mp.log(2)) / 2
    sine = Pushforward(Uniform(t(-turns * math.pi), t(turns * math.pi)), torch.sin)
    assert js_divergence(sine, STANDARD).item() == pytest.approx(float(expected), rel=2e-9)


def test_js_divergence_is_decided_where_what_disturbs_a_pole_fades_away():
    """Against means over the quantiles of both distributions."""
    bent = Pushforward(STANDARD, lambda z: z + 2 * torch.cos(z))
    z = STANDARD.icdf((torch.arange(50_000, dtype=torch.float64) + 0.5) / 50_000)
    gains = [
        math.log(2) - torch.nn.functional.softplus(other.log_prob(x) - own.log_prob(x)).mean()
        for own, other, x in ((bent, STANDARD, z + 2 * torch.cos(z)), (STANDARD, bent, z))
    ]
    assert js_divergence(bent, STANDARD).item() == pytest.approx(sum(gains).item() / 2, rel=1e-4)


@pytest.mark.parametrize("G", [torch.abs, torch.square, lambda z: 0.4 + 0.5 * z + 0.1 * torch.sin(z)])
def test_no_gradient_where_nothing_needs_one(G):
    assert not js_divergence(Pushforward(STANDARD, G), STANDARD).requires_grad


@pytest.mark.parametrize("steepness", [1.7, 1.0])
def test_gradients_in_G_and_in_the_prior(steepness):
    slope, shift, scale = (t(v).requires_grad_() for v in (steepness, 0.4, 0.8))
    p_g = Pushforward(Normal(t(0.0), scale), lambda z: slope * z + shift)
    p_g.log_prob(t([1.0])).sum().backward()
    s, residual = steepness * 0.8, 1.0 - 0.4
    by_deviation = residual**2 / s**3 - 1 / s
    assert slope.grad.item() == pytest.approx(by_deviation * 0.8, rel=1e-9)
    assert scale.grad.item() == pytest.approx(by_deviation * steepness, rel=1e-9)
    assert shift.grad.item() == pytest.approx(residual / s**2, rel=1e-9)


def test_gradients_beside_a_critical_value():
    stretch, x = t(2.0).requires_grad_(), t([0.0, 1.0]).requires_grad_()
    p_g = Pushforward(STANDARD, lambda z: stretch * z**2)
    log_prob = p_g.log_prob(x)
    assert log_prob[0] == math.inf
    log_prob[1].backward()  # log p = -log(a x) / 2 - x / (2 a) + a constant
    assert stretch.grad.item() == pytest.approx(-1 / 4 + 1 / 8, rel=1e-9)
    assert x.grad.tolist() == pytest.approx([0.0, -1 / 2 - 1 / 4], rel=1e-9)


@pytest.mark.no_cover  # as its neighbours run each line
@settings(max_examples=10)
@given(a=st.floats(0.2, 1.5), b=st.floats(0.05, 0.9), x=st.floats(-3, 3))
def test_gradient_of_a_bent_generator_against_differences(a, b, x):
    def log_prob(a, b, x):
        return Pushforward(STANDARD, lambda z: a * z + b * torch.tanh(2 * z)).log_prob(x.reshape(1)).sum()

    assert torch.autograd.gradcheck(
        log_prob, tuple(t(v).requires_grad_() for v in (a, b, x)), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("divergence", [js_divergence, kl_divergence, wasserstein_1])
def test_gradient_where_the_density_jumps_at_a_kink_that_moves(divergence):
    def at(kink):
        return divergence(Pushforward(STANDARD, lambda z: z + 2 * torch.relu(z - kink) - kink / 2), STANDARD)

    kink = t(0.3).requires_grad_()
    at(kink).backward()
    slope = (at(t(0.3 + 1e-5)) - at(t(0.3 - 1e-5))) / 2e-5
    assert kink.grad.item() == pytest.approx(slope.item(), rel=1e-6)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.LeakyReLU])
def test_gradient_of_a_divergence_in_a_network(activation):
    network = mlp(1, 8, 1, activation=activation, generator=torch.Generator().manual_seed(3)).double()
    prior, p_data = Uniform(t(-1.0), t(1.0)), Normal(t(0.0), t(0.5))
    js_divergence(Pushforward(prior, network), p_data).backward()
    bias = network[-1].bias
    with torch.no_grad():
        ends = []
        for step in (1e-5, -2e-5):
            bias += step
            ends.append(js_divergence(Pushforward(prior, network), p_data).item())
    assert bias.grad.item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_samples():
    torch.manual_seed(0)
    p_g = Pushforward(STANDARD, torch.square)
    x = p_g.sample((4, 2500))
    assert x.shape == (4, 2500)
    assert scipy.stats.kstest(x.flatten().numpy(), scipy.stats.chi2(1).cdf).pvalue > 1e-3
    assert p_g.sample().shape == ()
    assert p_g.sample((0, 3)).shape == (0, 3)


def test_support():
    assert Pushforward(STANDARD, torch.square).support.lower_bound == 0
    assert Pushforward(STANDARD, torch.square).support.upper_bound == math.inf
    assert Pushforward(STANDARD, lambda z: (z - 0.3) ** 2).support.lower_bound == 0
    bent = Pushforward(Uniform(t(-1.0), t(1.0)), lambda z: z + z**2).support
    assert [bent.lower_bound.item(), bent.upper_bound.item()] == [pytest.approx(-0.25), pytest.approx(2.0)]
    assert Pushforward(Exponential(t(1.0)), lambda z: (z + 1) ** 2).support.lower_bound == 1


@pytest.mark.parametrize("unit", [1.0, 1e6])
@pytest.mark.parametrize(
    ("G", "ends"),
    [
        (lambda z: torch.tanh(z / 5), (-1, 1)),  # whose slope is 0 in float64 from z = 95 on,
        (lambda z: 1 - (1 + z**2) ** -0.025, (0, 1)),  # which is slow to get there,
        (lambda z: torch.asinh(torch.asinh(z)), (-math.inf, math.inf)),  # and slower than a logarithm
    ],
)
def test_support_ends_where_g_tends(G, ends, unit):
    p_g = Pushforward(Normal(t(0.0), t(unit)), lambda z: G(z / unit))
    for image in p_g.density().support:
        assert [end.item() for end in image] == pytest.approx(ends, abs=1e-4)


@pytest.mark.parametrize(
    ("G", "inverse"),
    [
        (lambda z: z / (1 + (z / 100) ** 2), lambda x: 2 * x / (1 + (1 - (x / 50) ** 2).sqrt())),
        (lambda z: torch.tanh(z) - torch.relu(z - 100), torch.atanh),
    ],
)
def test_what_g_does_where_the_prior_has_no_mass_changes_nothing(G, inverse):
    p_g = Pushforward(STANDARD, G)
    x = t([-0.9, -0.1, 0.2, 0.8]).requires_grad_()
    z = inverse(x)
    (slope,) = torch.autograd.grad(z.sum(), x)
    close(p_g.log_prob(x.detach()), (STANDARD.log_prob(z) + slope.log()).detach())
    assert integrate(lambda x: p_g.log_prob(x).exp(), p_g).item() == pytest.approx(1, abs=1e-9)


def test_a_branch_of_next_to_no_mass_is_kept_where_no_other_leads():
    far = lambda z: z.sign() * (50 + 50 * (12 - z.abs()).exp())  # falls from 100 on either side
    p_g = Pushforward(STANDARD, lambda z: torch.where(z.abs() > 12, far(z), z))
    outside = STANDARD.log_prob(t(12 + math.log(2))) - math.log(25)
    close(p_g.log_prob(t([-75.0, 1.0, 75.0])), torch.stack((outside, STANDARD.log_prob(t(1.0)), outside)))


@pytest.mark.parametrize(
    ("G", "message"),
    [
        (torch.relu, "must have a density.* prior mass 0.5"),
        (torch.sign, "must have a density.* prior mass 1"),
        (torch.floor, "must have a density"),
        (lambda z: 0 * z + 3, "must have a density.*= 3"),
        (lambda z: z.clamp(-1, 1), "must have a density.* prior mass 0.31"),
        (lambda z: z.detach() ** 3, "autograd cannot follow"),
        (lambda z: z - z.mean(), "G must be elementwise"),
        (lambda z: 99 + nn.functional.batch_norm(z, None, None, training=True), "G must be elementwise"),
        (lambda z: torch.ones(1, 1, requires_grad=True).expand_as(z), "must have a density.*= 1"),
        (lambda z: 1 / z, "G must be finite on the support of the prior, got inf at z = 0"),
        (lambda z: z.squeeze(1), r"G must map a tensor of shape \(n, 1\)"),
        (torch.log, "G must be finite on the support of the prior, got nan"),
        (lambda z: 1 / (z - 0.1), "G must be finite on the support of the prior, got a pole at z = 0.1"),
        (lambda z: torch.sin(300 * z), "G must turn at most 256 times"),
        (lambda _: 1.0, "G must map .* got float"),
    ],
)
def test_what_has_no_density_is_refused(G, message):
    with pytest.raises(ValueError, match=message):
        Pushforward(STANDARD, G)


def test_dead_network_is_refused():
    dead = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1))
    with torch.no_grad():
        dead[0].bias.fill_(-1e3)
    with pytest.raises(ValueError, match="must have a density"):
        Pushforward(STANDARD, dead)


@pytest.mark.parametrize(
    ("prior", "G", "error", "message"),
    [
        (torch.distributions.Bernoulli(0.5), torch.sin, ValueError, "prior must be continuous"),
        (Normal(t([0.0]), t([1.0])), torch.sin, ValueError, "prior must be .*unbatched"),
        (
            MixtureSameFamily(Categorical(t([0.5, 0.5])), Normal(t([-1.0, 3.0]), t([1.0, 0.1]))),
            torch.sinh,
            ValueError,
            "prior must be supported on one interval",
        ),
        (UNIT, lambda z: 300 * z % 1, ValueError, "G must turn at most 256 times"),
        (UNIT, lambda z: torch.cos(258 * math.pi * z), ValueError, "G must turn at most 256 times"),
        (
            UNIT,
            lambda z: z - torch.relu(z - 0.1) + torch.relu(z - 0.1 - 1.5 * CELL),  # flat from 0.1 on
            ValueError,
            r"slope is 0 on a set of prior mass 0.000244, near z = 0.1001, G\(z\) = 0.1",
        ),
        (1.0, torch.sin, TypeError, "prior must be a torch.distributions.Distribution"),
        (STANDARD, 2.0, TypeError, "G must be callable, got float"),
    ],
)
def test_misuse(prior, G, error, message):
    with pytest.raises(error, match=message):
        Pushforward(prior, G)


def test_a_generator_that_was_trained_on_needs_a_new_distribution():
    network = mlp(1, 4, 1, generator=torch.Generator().manual_seed(0))
    p_g = Pushforward(STANDARD, network)
    with torch.no_grad():
        network[-1].bias += 0.5
    with pytest.raises(RuntimeError, match="G has changed"):
        p_g.log_prob(t([0.0]))
    scale = t(1.0)
    p_g = Pushforward(STANDARD, lambda z: scale * z)
    scale *= 1 + 1e-6
    with pytest.raises(RuntimeError, match="G has changed"):
        p_g.log_prob(t([0.0]))


def test_integers_of_a_module_stay_integers():
    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("slopes", torch.tensor([1.0, 2.0]))
            self.register_buffer("which", torch.tensor(1))

        def forward(self, z):
            return self.slopes[self.which] * z

    close(Pushforward(STANDARD, Chosen()).log_prob(t([1.0])), Normal(t(0.0), t(2.0)).log_prob(t([1.0])))


def test_a_heavy_tail_of_the_prior_is_one_of_x():
    slow = Pushforward(StudentT(t(0.2)), lambda z: z + z**3)
    assert integrate(lambda x: slow.log_prob(x).exp(), slow).item() == pytest.approx(1, rel=1e-9)
    p_g = Pushforward(Cauchy(t(0.0), t(1.0)), lambda z: 2 * z)
    assert integrate(lambda x: p_g.log_prob(x).exp() * (1 + x**2).sqrt(), p_g) == math.inf


def test_a_density_that_is_infinite_at_an_end_of_the_prior_stays_so():
    p_g = Pushforward(Chi2(t(1.0)), lambda z: 3 * z)
    assert p_g.density().closest == 0, "no digits of x are lost beside 0"
    assert integrate(lambda x: p_g.log_prob(x).exp(), p_g).item() == pytest.approx(1, abs=1e-9)


def test_as_many_turns_as_are_allowed():
    p_g = Pushforward(UNIT, lambda z: torch.cos(257 * math.pi * z))
    x = t([-0.9, 0.1, 0.7])
    close(p_g.log_prob(x), -(math.pi * (1 - x**2).sqrt()).log())


def test_log_density_agrees_with_scipy_where_torch_raises():
    x = np.linspace(-1, 4, 23)
    for p, oracle in (
        (Uniform(t(0.0), t(2.0)), scipy.stats.uniform(0, 2)),
        (Chi2(t(3.0)), scipy.stats.chi2(3)),
        (Beta(t(2.0), t(3.0)), scipy.stats.beta(2, 3)),
    ):
        close(log_density(p, t(x)), t(oracle.logpdf(x)))


@pytest.mark.parametrize(
    ("beyond", "back", "ends"),  # G(z) for z > 0.2, its inverse, and between which x the latter lies
    [
        (lambda z: z - 5, lambda x: x + 5, (-4.8, math.inf)),
        (lambda z: 2 * z + 3, lambda x: (x - 3) / 2, (3.4, math.inf)),
        (lambda z: 2 - z, lambda x: 2 - x, (-math.inf, 1.8)),  # G turns where it leaps,
        (lambda z: -3 - 2 * z, lambda x: -(x + 3) / 2, (-math.inf, -3.4)),  # up or down
    ],
)
def test_a_leap_of_g_leaves_two_pieces(beyond, back, ends):
    leaping = Pushforward(STANDARD, lambda z: torch.where(z > 0.2, beyond(z), z))
    x = torch.linspace(-9, 9, 101, dtype=torch.float64)
    left = STANDARD.log_prob(x).exp() * (x <= 0.2)
    stretch = abs(back(1.0) - back(0.0))
    right = STANDARD.log_prob(back(x)).exp() * stretch * ((x > ends[0]) & (x < ends[1]))
    torch.testing.assert_close(leaping.log_prob(x).exp(), left + right, rtol=1e-9, atol=1e-15)
    assert integrate(lambda x: leaping.log_prob(x).exp(), leaping).item() == pytest.approx(1, rel=1e-9)
    found = [tuple(end.item() for end in image) for image in leaping.density().support]
    assert found == [(-math.inf, 0.2), pytest.approx(ends)]


def test_a_pole_at_which_g_turns_is_no_leap():
    tents = lambda z: 1 - (2 * torch.where(z < 0.5, 2 * z, 2 - 2 * z) - 1).abs()  # uniform, as z is
    noise = Uniform(t(1e-3), t(1 - 1e-3))
    cauchy = Pushforward(noise, lambda z: torch.tan(math.pi * (tents(z) - 0.5)))
    x = t([-30.0, -1.0, 0.0, 0.5, 7.0])
    close(cauchy.log_prob(x), t(scipy.stats.cauchy.logpdf(x)) - math.log1p(-2e-3))


def test_inference_mode_is_refused():
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"use torch.no_grad, not torch.inference"):
        Pushforward(STANDARD, torch.square)


# Folds, halts, leaps and kinks: each one is found, also in the first and last cells of the grid, in
# neighbouring cells, where two of them meet, and in any unit of x.

FIRST, LAST = 0.6 * CELL, 1 - 0.4 * CELL
HALT = 1.3 * CELL  # from either end
SHORT = (1000.4 * CELL, 1001.6 * CELL)
# The second of three kinks has one in the next cell and one in the last but one, on either side.
KINKS = [CELL * (cell + 0.4) for cell in (0, 2, 3, 100, 101, 103, 4093, 4095)]


def kinked(z):
    return z + sum(torch.relu(z - kink) for kink in KINKS)


def short_fold(z):
    return z - 2 * torch.relu(z - SHORT[0]) + 2 * torch.relu(z - SHORT[1])


def leaping(z):
    """Back in the first cell; up to a steeper piece; to one where it turns; back in the last cell."""
    pieces = [z, z - 5, 2 * z + 3, 3 - z, 9 - z]
    for place, piece in zip((FIRST, 0.3, 0.7, LAST), pieces[1:], strict=True):
        pieces[0] = torch.where(z > place, piece, pieces[0])
    return pieces[0]


def halting_early(z):
    return (z - HALT) ** 3


def halting_late(z):
    return (z - 1 + HALT) ** 3


INJECTIVE = {  # G and the images of its branches
    kinked: [(0, kinked(t(1.0)).item())],
    leaping: [(0, FIRST), (FIRST - 5, -4.7), (3.6, 4.4), (3 - LAST, 2.3), (8, 9 - LAST)],
    halting_early: [(-(HALT**3), 0), (0, (1 - HALT) ** 3)],
    halting_late: [(-((1 - HALT) ** 3), 0), (0, HALT**3)],
}


@pytest.mark.parametrize("G", [lambda z: z - 5 * (z > 0.5), lambda z: z - 5 * (z >= 0.5)])
def test_a_leap_back_at_a_point_of_the_grid_hides_nothing_of_the_cells_beside_it(G):
    beside = 0.5 + CELL * t([-0.9, -0.5, -0.1, 0.1, 0.5, 0.9])
    close(Pushforward(UNIT, G).log_prob(G(beside)), t([0.0] * 6))


def images_of(p_g, unit=1.0):
    return [tuple(end.item() / unit for end in image) for image in p_g.density().support]


@pytest.mark.parametrize("unit", [1e-6, 1e6])
@pytest.mark.parametrize("G", INJECTIVE)
def test_every_kink_leap_and_halt_is_found_in_any_unit(G, unit):
    p_g = Pushforward(UNIT, lambda z: unit * G(z))
    assert images_of(p_g, unit) == [pytest.approx(image, rel=1e-9, abs=1e-18) for image in INJECTIVE[G]]
    jumps = [jump.item() / unit for jump in p_g.density().jumps]
    assert jumps == pytest.approx(kinked(t(KINKS)).tolist() if G is kinked else [])
    digits_are_lost = p_g.density().closest > 0
    assert digits_are_lost == (G in {halting_early, halting_late}), "only beside a critical value are they"
    z = (CELL * t([0.1, 0.9, 1.2, 3.5, 1000.25, 3000.75, 4092.5, 4094.8, 4095.3, 4095.9])).requires_grad_()
    x = unit * G(z)
    (slope,) = torch.autograd.grad(x.sum(), z)
    close(p_g.log_prob(x.detach()), -slope.abs().log())


@pytest.mark.parametrize("tilt", [-1, 1])
def test_a_kink_at_which_g_turns_is_an_end_and_no_jump(tilt):
    density = Pushforward(STANDARD, lambda z: 2 * (z - 0.3).abs() + tilt * z).density()
    assert len(density.support) == 2 and not density.jumps


def test_a_bend_within_a_cell_is_no_kink():
    assert not Pushforward(STANDARD, lambda z: z + torch.tanh(1e4 * z)).density().jumps


def test_leaps_are_found_to_the_last_digit():
    places = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    G = lambda z: z * 0.5 ** (z > places).sum(1, keepdim=True)  # of which no digit is lost
    beside = torch.stack(
        (places, torch.nextafter(places, t(1.0))), 1
    )  # each place, and the first z beyond it
    ends = G(torch.cat((t([0.0]), beside.flatten(), t([1.0]))).unsqueeze(1)).reshape(-1, 2)
    assert images_of(Pushforward(UNIT, G)) == [tuple(pair) for pair in ends.tolist()]


@pytest.mark.parametrize(
    ("prior", "G", "pieces"),
    [
        (UNIT, lambda z: z**3 / 3 - (FIRST + LAST) * z**2 / 2 + FIRST * LAST * z, 3),
        (UNIT, short_fold, 3),
        (UNIT, lambda z: torch.where(z > 0.3, (z - 0.6) ** 2 - 5, z), 3),
        (UNIT, lambda z: (z - 0.3) ** 3 * (1 + z), 2),
        (STANDARD, torch.square, 2),
        (STANDARD, lambda z: (z - 0.3) ** 2, 2),
        (STANDARD, lambda z: (z - 0.1) ** 2 + torch.relu(z - 0.5), 2),
        (STANDARD, lambda z: -z.abs(), 2),
        (STANDARD, lambda z: z**3, 2),
        (STANDARD, lambda z: z**3 + z / 10, 1),
        (STANDARD, lambda z: 1e-9 * (z**3 + z / 10), 1),
        (STANDARD, lambda z: torch.where(z > -1, z + 1, 1e-12 * (z + 1)), 1),
        (STANDARD, lambda z: torch.where(z < 1, z - 1, 1e-12 * (z - 1)), 1),
        (STANDARD, lambda z: z - (1 - 1e-10) * torch.relu(z - 1) - (1e-10 - 1e-12) * torch.relu(z - 2), 1),
        (STANDARD, torch.sin, 9),  # of half turns, beyond which there is a mass of 1e-44
    ],
)
def test_there_is_one_branch_for_each_monotone_piece(prior, G, pieces):
    assert len(Pushforward(prior, G).density().support) == pieces


# What it costs: how often, and at how many points, G is asked.


def counted(G):
    asked = []

    def counting(z):
        asked.append(len(z))
        return G(z)

    return counting, asked


@pytest.mark.parametrize(("prior", "G"), [(UNIT, torch.exp), (STANDARD, torch.tanh), (STANDARD, torch.sin)])
def test_branches_are_found_by_few_passes_over_the_grid(prior, G):
    counting, asked = counted(G)
    Pushforward(prior, counting)
    assert asked[0] == 4097 or prior is STANDARD
    assert sum(asked) < 5 * 4096


def powers_of_ten(low, high, step):
    return 10.0 ** torch.arange(low, high, step, dtype=torch.float64)


def evenly(low, high):
    return torch.linspace(low, high, 99, dtype=torch.float64)


@pytest.mark.parametrize(
    ("prior", "G", "z", "most"),
    [
        (Exponential(t(1.0)), torch.square, powers_of_ten(-150, 1, 5), 5),
        (Uniform(t(-1.0), t(0.0)), torch.square, -powers_of_ten(-150, 0, 5), 5),
        (Exponential(t(1.0)), lambda z: z**3, powers_of_ten(-90, 1, 5), 5),
        (Exponential(t(1.0)), lambda z: torch.expm1(z) ** 2, powers_of_ten(-150, 1, 5), 50),
        (STANDARD, lambda z: z**3, powers_of_ten(-9, 1, 0.25), 28),
        (STANDARD, torch.sinh, t([-20.0, -3.0, 1e-9, 0.5, 5.0]), 6),
        (STANDARD, torch.exp, evenly(-8, 8), 7),
        (STANDARD, lambda z: z + torch.tanh(1e4 * z), evenly(-0.3, 1.4) ** 5, 45),
        (Uniform(t(1 / 700), t(1.0)), lambda z: torch.exp(-1 / z), 1 / evenly(2, 699), 45),
    ],
)
def test_a_root_takes_few_steps(prior, G, z, most):
    counting, asked = counted(G)
    p_g = Pushforward(prior, counting)
    x = G(z.requires_grad_())
    (slope,) = torch.autograd.grad(x.sum(), z)
    asked.clear()
    close(p_g.log_prob(x.detach()), (prior.log_prob(z) - slope.abs().log()).detach())
    assert len(asked) <= most


def test_a_root_takes_few_steps_where_g_is_rounded():
    counting, asked = counted(lambda z: (z + 1e4) - 1e4)  # a multiple of 2e-12
    p_g = Pushforward(UNIT, counting)
    asked.clear()
    x = evenly(0.01, 0.99)
    close(p_g.log_prob(x), torch.zeros_like(x))
    assert len(asked) <= 64
