r"""The smallest games in which training can be watched: two numbers, two players, and how they take turns."""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gan_theory.checks import check_flag, check_tensor, describe, is_integer, is_real

Update = Literal["simultaneous", "alternating"]


class Game(Protocol):
    """A game of two numbers, each player with a loss of its own to descend."""

    def generator_loss(self, theta: Tensor, psi: Tensor) -> Tensor:
        """What the generator descends in theta."""

    def discriminator_loss(self, theta: Tensor, psi: Tensor) -> Tensor:
        """What the discriminator descends in psi."""


@dataclass(frozen=True)
class BilinearGame:
    r"""The game :math:`V(\theta, \psi) = \theta\psi`: the generator descends V, the discriminator ascends it.

    Source:
        Mescheder et al. 2017, section 2; its only equilibrium is (0, 0).

    >>> BilinearGame().discriminator_loss(torch.tensor(2.0), torch.tensor(3.0)).item()
    -6.0
    """

    def generator_loss(self, theta: Tensor, psi: Tensor) -> Tensor:
        """V."""
        return theta * psi

    def discriminator_loss(self, theta: Tensor, psi: Tensor) -> Tensor:
        """-V."""
        return -theta * psi


@dataclass(frozen=True)
class DiracGAN:
    r"""The Dirac-GAN: all data at 0, all samples at theta, a discriminator of logit :math:`\psi x`.

    .. math:: V(\theta, \psi) = \log \sigma(0) + \log(1 - \sigma(\psi\theta))

    Args:
        saturating: whether the generator descends V, or the non-saturating :math:`-\log \sigma(\psi\theta)`.
        penalty: gamma >= 0 of the R1 penalty :math:`\tfrac\gamma2 \psi^2`, on the squared slope of the logit
            at the data.

    Raises:
        TypeError: if saturating is neither True nor False.
        ValueError: if penalty is negative or not finite.

    Source:
        Mescheder et al. 2018, Definition 2.1 and section 4.1.

    >>> round(DiracGAN().discriminator_loss(torch.tensor(0.0), torch.tensor(1.0)).item(), 6)
    1.386294
    """

    saturating: bool = True
    penalty: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a loss or a penalty that is none."""
        check_flag(self.saturating, "saturating")
        _check_penalty(self.penalty)

    def generator_loss(self, theta: Tensor, psi: Tensor) -> Tensor:
        """log(1 - D), or -log D, at the generator's point."""
        return logsigmoid(-psi * theta) if self.saturating else -logsigmoid(psi * theta)

    def discriminator_loss(self, theta: Tensor, psi: Tensor) -> Tensor:
        """-V and the penalty."""
        return -logsigmoid(psi * 0) - logsigmoid(-psi * theta) + self.penalty / 2 * psi**2


@dataclass(frozen=True)
class DiracWGAN:
    r"""The Dirac-GAN with a Wasserstein critic :math:`\psi x` and the gradient penalty of WGAN-GP.

    .. math:: L_D = \psi\theta + \tfrac\lambda2 (|\psi| - 1)^2, \qquad L_G = -\psi\theta

    Args:
        penalty: lambda >= 0; the critic's slope is :math:`\psi` everywhere, and is wanted at 1 or -1. In
            :math:`\psi = 0`, where the penalty has no slope, autograd takes 0.

    Raises:
        ValueError: if penalty is negative or not finite.

    Source:
        Gulrajani et al. 2017, eq. (3), on the example of Mescheder et al. 2018, section 3.

    >>> DiracWGAN(penalty=2.0).discriminator_loss(torch.tensor(1.0), torch.tensor(-3.0)).item()
    1.0
    """

    penalty: float

    def __post_init__(self) -> None:
        """Refuse a penalty that is none."""
        _check_penalty(self.penalty)

    def generator_loss(self, theta: Tensor, psi: Tensor) -> Tensor:
        """Minus the critic at the generator's point."""
        return -psi * theta

    def discriminator_loss(self, theta: Tensor, psi: Tensor) -> Tensor:
        """The critic at the generator's point, less that at the data (0), and the penalty."""
        return psi * theta + self.penalty / 2 * (psi.abs() - 1) ** 2


def gradient_field(game: Game, theta: Tensor, psi: Tensor) -> Tensor:
    r"""The steepest descent of both players, :math:`(-\partial_\theta L_G, -\partial_\psi L_D)`.

    Args:
        game: the game.
        theta: the generator's number, of any shape.
        psi: the discriminator's number, of the same shape.

    Returns:
        Tensor of that shape + (2,); differentiable if theta or psi requires a gradient.

    Raises:
        TypeError: if game has not both losses, or theta or psi is not a tensor of floating-point numbers.
        ValueError: if theta and psi are not of one shape.

    Source:
        Mescheder et al. 2018, eq. (3).

    >>> gradient_field(BilinearGame(), torch.tensor(2.0), torch.tensor(3.0)).tolist()
    [-3.0, 2.0]
    """
    _check_game(game)
    for name, number in (("theta", theta), ("psi", psi)):
        check_tensor(number, name)
        if not number.is_floating_point():
            raise TypeError(f"{name} must be a floating-point tensor, got {number.dtype}")
    if theta.shape != psi.shape:
        raise ValueError(
            f"theta and psi must be of one shape, got {tuple(theta.shape)} and {tuple(psi.shape)}"
        )
    differentiable = theta.requires_grad or psi.requires_grad
    with torch.enable_grad():
        theta, psi = (v if v.requires_grad else v.detach().requires_grad_() for v in (theta, psi))
        losses = (game.generator_loss(theta, psi), theta), (game.discriminator_loss(theta, psi), psi)
        by_theta, by_psi = (
            torch.autograd.grad(loss.sum(), own, create_graph=differentiable)[0] for loss, own in losses
        )
    return -torch.stack((by_theta, by_psi), dim=-1)


def simulate(
    game: Game,
    theta: float,
    psi: float,
    learning_rate: float,
    steps: int,
    *,
    update: Update = "simultaneous",
    discriminator_steps: int = 1,
) -> Tensor:
    r"""Gradient descent of both players.

    Simultaneous updates move both from the same point. Alternating ones move the discriminator first, k =
    `discriminator_steps` times, and then the generator against the new discriminator, as Algorithm 1 does.

    Args:
        game: the game.
        theta: where the generator starts.
        psi: where the discriminator starts.
        learning_rate: positive, for both.
        steps: number of steps, not negative.
        update: "simultaneous" or "alternating".
        discriminator_steps: k, at least 1; more than 1 needs alternating updates.

    Returns:
        The trajectory of (theta, psi), (steps + 1, 2) float64, its start included.

    Raises:
        TypeError: if game has not both losses.
        ValueError: if learning_rate, steps, update, discriminator_steps or the start is not as above.
        FloatingPointError: if the players run away beyond float64.

    Source:
        Mescheder et al. 2018, section 2 and Lemmas 2.3 and 2.4.

    >>> simulate(BilinearGame(), 1.0, 0.0, learning_rate=0.5, steps=1).tolist()
    [[1.0, 0.0], [1.0, 0.5]]
    >>> simulate(BilinearGame(), 1.0, 0.0, learning_rate=0.5, steps=1, update="alternating").tolist()
    [[1.0, 0.0], [0.75, 0.5]]
    """
    _check_game(game)
    if not (is_real(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate must be positive and finite, got {learning_rate!r}")
    if not is_integer(steps, 0):
        raise ValueError(f"steps must be an integer and not negative, got {steps!r}")
    turns = _turns(update, discriminator_steps)
    if not (is_real(theta) and is_real(psi)):
        raise ValueError(f"theta and psi must start finite, got {theta!r} and {psi!r}")
    point = torch.tensor([theta, psi], dtype=torch.float64)
    trajectory = [point]
    for _ in range(steps):
        for who_moves in turns:
            point = point + who_moves * learning_rate * gradient_field(game, *point).detach()
        if not point.isfinite().all():
            raise FloatingPointError(f"the trajectory leaves the range of float64 at step {len(trajectory)}")
        trajectory.append(point)
    return torch.stack(trajectory)


def eigenvalues(game: Game, theta: float = 0.0, psi: float = 0.0) -> Tensor:
    r"""The eigenvalues of the Jacobian of the gradient field: what a small step does near an equilibrium.

    Args:
        game: the game.
        theta: the generator's number, at which the field is linearised.
        psi: the discriminator's number.

    Returns:
        (2,) complex128, ascending in the imaginary part; a step of learning rate h multiplies by 1 + h times
        them.

    Raises:
        TypeError: if game has not both losses.
        ValueError: if theta or psi is not a finite number.

    Source:
        Mescheder et al. 2018, Lemma 2.3: for the Dirac-GAN they are plus and minus i/2.

    >>> eigenvalues(DiracGAN()).imag.tolist()
    [-0.5, 0.5]
    """
    _check_game(game)
    if not (is_real(theta) and is_real(psi)):
        raise ValueError(f"theta and psi must be finite numbers, got {theta!r} and {psi!r}")
    point = torch.tensor([theta, psi], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: gradient_field(game, v[0], v[1]), point)
    values = torch.linalg.eigvals(jacobian)
    return values[torch.argsort(values.imag)]


def _turns(update: Update, discriminator_steps: int) -> list[Tensor]:
    """The turns of one step, each as what it multiplies theta's and psi's move by: 1 or 0."""
    if update not in ("simultaneous", "alternating"):
        raise ValueError(f"update must be 'simultaneous' or 'alternating', got {update!r}")
    if not is_integer(discriminator_steps, 1):
        raise ValueError(f"discriminator_steps must be a positive integer, got {discriminator_steps!r}")
    psi_moves, theta_moves = torch.eye(2, dtype=torch.float64).flip(0)
    if update == "alternating":
        return [psi_moves] * discriminator_steps + [theta_moves]
    if discriminator_steps > 1:
        raise ValueError(f"discriminator_steps must be 1 in simultaneous updates, got {discriminator_steps}")
    return [psi_moves + theta_moves]


def _check_game(game: Game) -> None:
    losses = (getattr(game, name, None) for name in ("generator_loss", "discriminator_loss"))
    if isinstance(game, type) or not all(callable(loss) for loss in losses):
        given = f"the class {game.__name__}" if isinstance(game, type) else describe(game)
        raise TypeError(
            f"game must have a generator_loss and a discriminator_loss, as DiracGAN() has, got {given}"
        )


def _check_penalty(penalty: float) -> None:
    if not (is_real(penalty) and penalty >= 0):
        raise ValueError(f"penalty must be finite and not negative, got {penalty!r}")
