"""Two-number games: eigenvalues, orbits and invariants that can be derived by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan_theory.dynamics import BilinearGame, DiracGAN, DiracWGAN, eigenvalues, gradient_field, simulate
from gan_theory.losses import discriminator_loss, non_saturating_generator_loss, saturating_generator_loss

UPDATES = ["simultaneous", "alternating"]
points = st.floats(-3, 3)


@given(theta=points, psi=points)
def test_dirac_gan_is_the_gan_of_the_losses(theta, psi):
    """One data point at 0, one sample at theta, a discriminator of logit psi x."""
    real, fake = (
        torch.tensor([0.0 * psi], dtype=torch.float64),
        torch.tensor([psi * theta], dtype=torch.float64),
    )
    theta, psi = (torch.tensor(v, dtype=torch.float64) for v in (theta, psi))
    game = DiracGAN()
    assert game.discriminator_loss(theta, psi).item() == pytest.approx(discriminator_loss(real, fake).item())
    assert game.generator_loss(theta, psi).item() == pytest.approx(saturating_generator_loss(fake).item())
    other = DiracGAN(saturating=False)
    assert other.generator_loss(theta, psi).item() == pytest.approx(
        non_saturating_generator_loss(fake).item()
    )


@given(theta=points, psi=points, penalty=st.floats(0, 2))
def test_field_of_the_dirac_gan(theta, psi, penalty):
    sigmoid = lambda a: 1 / (1 + math.exp(-a))
    field = gradient_field(
        DiracGAN(penalty=penalty), *(torch.tensor(v, dtype=torch.float64) for v in (theta, psi))
    )
    expected = [psi * sigmoid(psi * theta), -theta * sigmoid(psi * theta) - penalty * psi]
    assert field.tolist() == pytest.approx(expected, abs=1e-12)


@given(theta=points, psi=points, penalty=st.floats(0, 2))
def test_field_of_the_wasserstein_dirac_gan(theta, psi, penalty):
    field = gradient_field(
        DiracWGAN(penalty=penalty), *(torch.tensor(v, dtype=torch.float64) for v in (theta, psi))
    )
    sign = (psi > 0) - (psi < 0)
    assert field.tolist() == pytest.approx([psi, -theta - penalty * (psi - sign)], abs=1e-12)


@pytest.mark.parametrize("moving", ["theta", "psi"])
def test_the_field_can_be_differentiated_in_either_number(moving):
    point = {"theta": torch.tensor(2.0), "psi": torch.tensor(3.0)}
    point[moving].requires_grad_()
    (slope,) = torch.autograd.grad(gradient_field(BilinearGame(), **point).sum(), point[moving])
    assert slope.item() == {"theta": 1.0, "psi": -1.0}[moving]  # the field is (-psi, theta)


def test_eigenvalues():
    assert eigenvalues(BilinearGame()).tolist() == pytest.approx([-1j, 1j])
    for saturating in (True, False):
        assert eigenvalues(DiracGAN(saturating=saturating)).tolist() == pytest.approx([-0.5j, 0.5j])
    # With R1: x^2 + penalty x + 1/4 = 0.
    assert eigenvalues(DiracGAN(penalty=0.6)).tolist() == pytest.approx([-0.3 - 0.4j, -0.3 + 0.4j])
    assert sorted(eigenvalues(DiracGAN(penalty=1.25)).real.tolist()) == pytest.approx([-1.0, -0.25])


@given(theta=points, psi=points, rate=st.floats(0.01, 1))
def test_bilinear_game_step_by_step(theta, psi, rate):
    """Simultaneous steps are a rotation times sqrt(1 + h^2); alternating ones keep a quadratic form."""
    before = theta**2 + psi**2
    path = simulate(BilinearGame(), theta, psi, rate, steps=20)
    grown = (path**2).sum(1)
    assert grown.tolist() == pytest.approx(
        [before * (1 + rate**2) ** k for k in range(21)], rel=1e-9, abs=1e-12
    )
    theta_k, psi_k = simulate(BilinearGame(), theta, psi, rate, steps=20, update="alternating").T
    kept = theta_k**2 + psi_k**2 + rate * theta_k * psi_k
    assert kept.tolist() == pytest.approx([kept[0].item()] * 21, rel=1e-9, abs=1e-12)


@given(theta=points, psi=points, rate=st.floats(0.01, 1), k=st.integers(1, 5))
def test_several_discriminator_steps_are_one_large_one_in_the_bilinear_game(theta, psi, rate, k):
    """While theta stands, psi moves by rate * theta each time; then theta moves against the last psi."""
    path = simulate(BilinearGame(), theta, psi, rate, steps=2, update="alternating", discriminator_steps=k)
    for before, after in zip(path[:-1].tolist(), path[1:].tolist(), strict=True):
        moved = before[1] + k * rate * before[0]
        assert after == pytest.approx([before[0] - rate * moved, moved], rel=1e-9, abs=1e-12)


def test_several_discriminator_steps_see_the_slope_anew():
    """Under the penalty alone (theta = 0) the critic's distance to slope 1 shrinks by 1 - rate * penalty."""
    path = simulate(
        DiracWGAN(penalty=2.0), 0.0, 0.2, 0.1, steps=1, update="alternating", discriminator_steps=3
    )
    assert path[1].tolist() == pytest.approx([0.1 * (1 - 0.8**4), 1 - 0.8**4])


def test_dirac_gan_spirals_out_cycles_or_converges():
    start = (1.0, 0.0)
    out = simulate(DiracGAN(), *start, learning_rate=0.2, steps=500).norm(dim=1)
    around = simulate(DiracGAN(), *start, learning_rate=0.2, steps=500, update="alternating").norm(dim=1)
    home = simulate(DiracGAN(penalty=0.5), *start, learning_rate=0.2, steps=500).norm(dim=1)
    assert out[-1] > 1.5
    assert around.min() > 0.6
    assert around.max() < 1.5
    assert home[-1] < 1e-6


@pytest.mark.parametrize("update", UPDATES)
def test_trajectory(update):
    path = simulate(DiracGAN(), 0.5, -0.25, learning_rate=0.1, steps=7, update=update)
    assert path.shape == (8, 2)
    assert path.dtype == torch.float64
    assert path[0].tolist() == [0.5, -0.25]
    assert not path.requires_grad
    assert simulate(DiracGAN(), 0.5, -0.25, learning_rate=0.1, steps=0, update=update).tolist() == [
        [0.5, -0.25]
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be positive and finite, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate must be"),
        ({"steps": -1}, "steps must be an integer and not negative, got -1"),
        ({"steps": 2.5}, "steps must be an integer"),
        ({"update": "sideways"}, "update must be 'simultaneous' or 'alternating', got 'sideways'"),
        ({"discriminator_steps": 0}, "discriminator_steps must be a positive integer, got 0"),
        ({"discriminator_steps": 1.5}, "discriminator_steps must be a positive integer, got 1.5"),
        ({"discriminator_steps": 2}, "discriminator_steps must be 1 in simultaneous updates, got 2"),
        ({"theta": math.inf}, "theta and psi must start finite"),
    ],
)
def test_misuse(arguments, message):
    given = {"theta": 1.0, "psi": 0.0, "learning_rate": 0.1, "steps": 3} | arguments
    with pytest.raises(ValueError, match=message):
        simulate(BilinearGame(), **given)


def test_players_that_run_away():
    with pytest.raises(FloatingPointError, match="leaves the range of float64 at step"):
        simulate(BilinearGame(), 1.0, 0.0, learning_rate=1e3, steps=300)


@pytest.mark.parametrize("penalty", [-0.1, math.inf, math.nan])
def test_misuse_of_the_penalty(penalty):
    with pytest.raises(ValueError, match="penalty must be finite and not negative"):
        DiracGAN(penalty=penalty)
    with pytest.raises(ValueError, match="penalty must be finite and not negative"):
        DiracWGAN(penalty=penalty)
