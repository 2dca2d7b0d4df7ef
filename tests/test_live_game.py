"""The GAN of the reader's page against the package: the same training, densities, divergence and value."""

import math
from inspect import signature
from itertools import chain

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, Uniform
from torch.optim import Adam

from gan_theory.densities import Pushforward
from gan_theory.divergences import js_divergence
from gan_theory.game import Discriminator, value
from gan_theory.live.game import BETAS, TARGETS, OneDimensionalGame, X, _interpolate
from gan_theory.losses import non_saturating_generator_loss, saturating_generator_loss
from gan_theory.networks import mlp
from gan_theory.training import train

GAUSSIAN = Normal(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64))
PRIOR = Uniform(*torch.tensor([-1.0, 1.0], dtype=torch.float64))


def state(module):
    """A player that has not moved yet."""
    parameters = torch.cat([p.detach().flatten() for p in module.parameters()])
    return torch.stack((parameters, torch.zeros_like(parameters), torch.zeros_like(parameters)))


def game_of(seed, scale=1.0):
    """A game and two networks, their parameters `scale` times what they start from."""
    random = torch.Generator().manual_seed(seed)
    G, D = mlp(1, 16, 16, 1, generator=random), mlp(1, 32, 32, 1, activation=nn.SiLU, generator=random)
    with torch.no_grad():
        for parameter in chain(G.parameters(), D.parameters()):
            parameter.mul_(scale)
    return OneDimensionalGame(G, D), G, D


def affine(weight, bias):
    """A G that is an affine map, with any D, looked at."""
    G = mlp(1, 1)
    with torch.no_grad():
        G[0].weight.fill_(weight)
        G[0].bias.fill_(bias)
    game = OneDimensionalGame(G, mlp(1, 4, 1, generator=torch.Generator().manual_seed(0)))
    return game.look(state(G), state(game.discriminator), TARGETS["Gaussian"]), G


def uniforms(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def samples(target, u):
    """The data that D sees, for given uniform numbers."""
    seen = []

    class Seeing(nn.Linear):
        def forward(self, x):
            seen.append(x.detach().flatten())
            return super().forward(x)

    game = OneDimensionalGame(mlp(1, 1), Seeing(1, 1), batch_size=len(u))
    zero, one = torch.zeros(3, 2), torch.tensor(1.0)
    game.discriminator_step(zero, zero, one, target, u, u, one)
    return seen[0][: len(u)]


@pytest.mark.parametrize("loss", [saturating_generator_loss, non_saturating_generator_loss])
@pytest.mark.parametrize("k", [1, 2])
def test_training_is_that_of_algorithm_1_with_adam(k, loss):
    steps, m, learning_rate = 200, 16, torch.tensor(0.001)
    game, G, D = game_of(0)
    players = {"generator": state(G), "discriminator": state(D)}
    real, noise = uniforms(1, steps * k, m), uniforms(2, steps * (k + 1), m)
    target = TARGETS["two bumps"]
    data = quantile(target, real).float().unsqueeze(2)
    rows = iter(noise)
    reference = train(
        G,
        D,
        data,
        lambda _: (2 * next(rows) - 1).unsqueeze(1),
        generator_optimizer=Adam(G.parameters(), 0.001, BETAS),
        discriminator_optimizer=Adam(D.parameters(), 0.001, BETAS),
        generator_loss=loss,
        discriminator_steps=k,
    )
    saturating = torch.tensor(float(loss is saturating_generator_loss))
    batches, z, updates = iter(real), iter(noise), 0
    for step in reference:
        for _ in range(k):
            updates += 1
            number = torch.tensor(float(updates))
            update = game.discriminator_step(
                **players,
                number=number,
                target=target,
                real=next(batches),
                noise=next(z),
                learning_rate=learning_rate,
            )
            loss_of_d, players["discriminator"] = update["loss"], update["discriminator"]
        number = torch.tensor(float(step.number))
        update = game.generator_step(
            **players, number=number, noise=next(z), learning_rate=learning_rate, saturating=saturating
        )
        players["generator"] = update["generator"]
        torch.testing.assert_close(loss_of_d, step.discriminator_loss, rtol=0, atol=1e-4)
        torch.testing.assert_close(update["loss"], step.generator_loss, rtol=0, atol=1e-4)
    assert step.number == steps
    for name, module in (("generator", G), ("discriminator", D)):
        torch.testing.assert_close(players[name][0], state(module)[0], rtol=0, atol=1e-4)


def quantile(target, u):
    """The inverse distribution function of a piecewise linear density, by bisection in float64."""
    density, x = target.double(), X.double()
    mass = torch.cumsum((density[1:] + density[:-1]) / 2 * x.diff(), 0)
    mass = torch.cat((torch.zeros(1, dtype=torch.float64), mass))
    low, high = x[0].expand(u.shape), x[-1].expand(u.shape)
    for _ in range(60):
        middle = (low + high) / 2
        cell = torch.searchsorted(x, middle, right=True).clamp(1, len(x) - 1) - 1
        part = middle - x[cell]
        slope = (density[cell + 1] - density[cell]) / (x[cell + 1] - x[cell])
        below = (mass[cell] + density[cell] * part + slope * part**2 / 2) / mass[-1] < u
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low


def spike(*places):
    target = torch.zeros(201)
    target[list(places)] = 3.0
    return target


@pytest.mark.parametrize(
    "target",
    [*TARGETS.values(), torch.ones(201), spike(100), spike(0, 200), X + 4, 4 - X, spike(*range(50, 70))],
)
def test_data_are_the_exact_quantiles_of_the_piecewise_linear_density(target):
    u = (torch.arange(2000) + 0.5) / 2000
    # float32 knows the distribution function to 1e-7, and so a quantile less well where the density is small
    torch.testing.assert_close(samples(target, u).double(), quantile(target, u), rtol=0, atol=4e-4)


@pytest.mark.parametrize("u", [0.0, 1 - 2**-24, 1.0])
def test_the_first_and_the_last_quantile_lie_where_there_is_mass(u):
    assert 3.9599 <= abs(samples(spike(0, 200), torch.tensor([u]))) <= 4
    assert abs(samples(spike(100), torch.tensor([u]))) <= 0.0401


def test_the_start_is_uniform_between_the_bounds_of_each_layer():
    game = OneDimensionalGame()
    modules = {"generator": game.generator, "discriminator": game.discriminator}
    n = sum(p.numel() for module in modules.values() for p in module.parameters())
    u = uniforms(3, n)
    for name, module in modules.items():
        low, high, at = (game.initial(v)[name] for v in (torch.zeros(n), torch.ones(n), u))
        bounds = torch.cat(
            [
                torch.full((p.numel(),), layer.in_features**-0.5)
                for layer in module[::2]
                for p in layer.parameters()
            ]
        )
        assert torch.equal(high[0], bounds) and torch.equal(low[0], -bounds)
        part = u[: len(bounds)] if name == "generator" else u[-len(bounds) :]
        torch.testing.assert_close((at[0] / bounds + 1) / 2, part)
        assert not at[1:].any()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0])
def test_p_g_is_the_density_of_the_pushforward(seed, scale):
    game, G, D = game_of(seed, scale)
    got = game.look(state(G), state(D), TARGETS["Gaussian"])["p_g"].double()
    p_g = Pushforward(PRIOR, G)
    expected = p_g.log_prob(X.double()).exp().detach()
    ends = torch.stack([*p_g.density().singular]).detach()  # folds, and ends of the support
    away = (X.double().unsqueeze(1) - ends).abs().amin(1) > 1e-3
    torch.testing.assert_close(got[away], expected[away], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_divergence_and_value_are_those_of_the_package(seed, scale):
    game, G, D = game_of(seed, scale)
    got = game.look(state(G), state(D), TARGETS["Gaussian"])
    p_g = Pushforward(PRIOR, G)
    assert got["jsd"].item() == pytest.approx(js_divergence(GAUSSIAN, p_g).item(), abs=1e-3)
    expected = value(Discriminator(in_double(D)), GAUSSIAN, p_g).item()
    assert got["value"].item() == pytest.approx(expected, abs=1e-5)


def in_double(D):
    parameters = {name: p.detach().double() for name, p in D.named_parameters()}
    return lambda x: torch.func.functional_call(D, parameters, (x.unsqueeze(1),)).squeeze(1)


@pytest.mark.parametrize(("weight", "bias"), [(1.0, 1.0), (0.02, 1.01), (0.001, 0.3), (3.0, 0.0), (0.5, 9.0)])
def test_divergence_sees_a_narrow_and_a_far_p_g(weight, bias):
    got, G = affine(weight, bias)
    expected = js_divergence(GAUSSIAN, Pushforward(PRIOR, G)).item()
    assert got["jsd"].item() == pytest.approx(expected, abs=1e-3)


def test_a_generator_that_does_not_depend_on_z_is_as_far_as_can_be():
    got, _ = affine(0.0, 1.0)
    assert got["jsd"].item() == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.parametrize("scale", [0.0, 10.0, 1e4, 1e8])
@pytest.mark.parametrize("target", [*TARGETS.values(), spike(100), torch.zeros(201)])
def test_nothing_becomes_nan_or_infinite(scale, target):
    game, G, D = game_of(1, scale)
    for name, numbers in game.look(state(G), state(D), target).items():
        assert torch.isfinite(numbers).all(), name
    one, u = torch.tensor(1.0), uniforms(4, 128)
    step = game.discriminator_step(state(D), state(G), one, target, u, u, one)
    assert torch.isfinite(step["discriminator"]).all()


def test_the_value_is_the_integral_over_z_at_the_midpoints_of_many_cells():
    G, D = mlp(1, 1), mlp(1, 1)
    for network, weight in ((G, 1.0), (D, 5.0)):
        nn.init.constant_(network[0].weight, weight)
        nn.init.zeros_(network[0].bias)
    got = OneDimensionalGame(G, D).look(state(G), state(D), TARGETS["Gaussian"])["value"].item()
    expected = value(Discriminator(in_double(D)), GAUSSIAN, Pushforward(PRIOR, G)).item()
    assert got == pytest.approx(expected, abs=2e-4)


def test_a_density_is_interpolated_between_its_points_and_0_beyond_them():
    density = uniforms(5, 201) + 0.5
    x = torch.cat((X, (X[1:] + X[:-1]) / 2, torch.tensor([-4.03, -4.001, 4.001, 4.03])))
    expected = np.interp(x.double(), X.double(), density.double(), left=0.0, right=0.0)
    torch.testing.assert_close(
        _interpolate(density, x).double(), torch.from_numpy(expected), rtol=0, atol=3e-5
    )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_target_counts_by_its_shape_alone(scale):
    game, G, D = game_of(2)
    got, expected = (game.look(state(G), state(D), TARGETS["two bumps"] * s) for s in (scale, 1.0))
    for name, numbers in expected.items():
        torch.testing.assert_close(got[name], numbers, rtol=1e-4, atol=1e-5)


def test_the_functions_come_with_arguments_that_they_take():
    functions = OneDimensionalGame(batch_size=16).functions()
    assert list(functions) == ["initial", "discriminator_step", "generator_step", "look"]
    for function, arguments in functions.values():
        assert set(arguments) == set(signature(function).parameters)
        for name in {"uniforms", "real", "noise"} & set(arguments):
            assert ((arguments[name] >= 0) & (arguments[name] < 1)).all()
            assert len(arguments[name].unique()) == len(arguments[name])
        for name, numbers in function(**arguments).items():
            assert torch.isfinite(numbers).all(), name


def test_what_is_looked_at_lies_where_it_is_said_to():
    game, G, D = game_of(2)
    got = game.look(state(G), state(D), TARGETS["two bumps"])
    with torch.no_grad():
        torch.testing.assert_close(got["G_z"], G(torch.linspace(-1, 1, 15).unsqueeze(1)).squeeze(1))
        torch.testing.assert_close(got["D"], D(X.unsqueeze(1)).squeeze(1).sigmoid())
    torch.testing.assert_close(got["z"], torch.linspace(-1, 1, 15))
    assert torch.equal(got["x"], X)
    torch.testing.assert_close(got["p_data"], TARGETS["two bumps"] / torch.trapezoid(TARGETS["two bumps"], X))


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_a_network_with_other_parameters_is_refused(name):
    with pytest.raises(ValueError, match=rf"(?s){name} must have no parameters but .*PReLU"):
        OneDimensionalGame(**{name: mlp(1, 4, 1, activation=nn.PReLU)})


@pytest.mark.parametrize("batch_size", [0, 2.0])
def test_a_batch_size_that_is_no_positive_integer_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be a positive integer, not {batch_size}"):
        OneDimensionalGame(batch_size=batch_size)
