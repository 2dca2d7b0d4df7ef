"""The losses of the two players, on logits.

The discriminator's output is the logit a of D(x) = σ(a), never D(x) itself: log σ(a) and
log(1 − σ(a)) = log σ(−a) are then exact for every finite a, where log(D) and log(1 − D) would round to
−∞ as soon as the size of a exceeds 37 (17 in single precision).
"""

from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["discriminator_loss", "non_saturating_generator_loss", "saturating_generator_loss"]


def discriminator_loss(logits_real: Tensor, logits_fake: Tensor) -> Tensor:
    r"""What the discriminator minimises: minus the value of the game, estimated on two minibatches.

    .. math::
        -\frac1m \sum_i \log \sigma(a_i) - \frac1n \sum_j \log(1 - \sigma(b_j)),

    the sum of two binary cross-entropies, real against 1 and fake against 0. Its gradient is
    :math:`-\sigma(-a_i)/m` in a real logit and :math:`\sigma(b_j)/n` in a fake one. At the equilibrium,
    where every logit is 0, it is log 4 = 1.386 (each half log 2 = 0.693).

    Args:
        logits_real: D's logits a on data, any shape, floating point, not empty.
        logits_fake: D's logits b on samples of G, likewise; the number of them may differ.

    Returns:
        Scalar, nats, at least 0.

    Raises:
        TypeError: If an argument is not a floating-point tensor.
        ValueError: If an argument is empty.

    Source:
        Goodfellow et al. 2014, Equation 1 and Algorithm 1.

    >>> import torch
    >>> discriminator_loss(torch.zeros(3), torch.zeros(5))
    tensor(1.3863)
    """
    _check("logits_real", logits_real)
    _check("logits_fake", logits_fake)
    return -(logsigmoid(logits_real).mean() + logsigmoid(-logits_fake).mean())


def saturating_generator_loss(logits_fake: Tensor) -> Tensor:
    r"""What the generator minimises in the minimax game: its own term of the value of the game.

    .. math::
        \frac1n \sum_j \log(1 - \sigma(b_j)).

    Its gradient in a logit is :math:`-\sigma(b_j)/n`: it vanishes where D(G(z)) is near 0, that is where
    the generator is at its worst, which is why it is called saturating.

    Args:
        logits_fake: D's logits b on samples of G, any shape, floating point, not empty.

    Returns:
        Scalar, nats, at most 0.

    Raises:
        TypeError: If `logits_fake` is not a floating-point tensor.
        ValueError: If `logits_fake` is empty.

    Source:
        Goodfellow et al. 2014, Equation 1 and Algorithm 1.

    >>> import torch
    >>> saturating_generator_loss(torch.zeros(5))
    tensor(-0.6931)
    """
    _check("logits_fake", logits_fake)
    return logsigmoid(-logits_fake).mean()


def non_saturating_generator_loss(logits_fake: Tensor) -> Tensor:
    r"""What the generator minimises in practice, in place of the minimax game's term.

    .. math::
        -\frac1n \sum_j \log \sigma(b_j).

    This is not the value of the game with another sign: both losses fall as D(G(z)) rises, but the gradient
    of this one in a logit is :math:`-\sigma(-b_j)/n`, near :math:`-1/n` where D(G(z)) is near 0. The two
    gradients agree at D(G(z)) = 1/2, and only there.

    Args:
        logits_fake: D's logits b on samples of G, any shape, floating point, not empty.

    Returns:
        Scalar, nats, at least 0.

    Raises:
        TypeError: If `logits_fake` is not a floating-point tensor.
        ValueError: If `logits_fake` is empty.

    Source:
        Goodfellow et al. 2014, Section 3 (maximise :math:`\log D(G(z))`).

    >>> import torch
    >>> non_saturating_generator_loss(torch.zeros(5))
    tensor(0.6931)
    """
    _check("logits_fake", logits_fake)
    return -logsigmoid(logits_fake).mean()


def _check(name: str, logits: Tensor) -> None:
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        given = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"{name} must be a floating-point tensor, not {given}")
    if logits.numel() == 0:
        raise ValueError(f"{name} is empty (shape {tuple(logits.shape)}); a mean needs at least one logit")
