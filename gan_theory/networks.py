"""The book's generators and discriminators: multilayer perceptrons, the 1-D ones and MNIST's.

Discriminators end in a logit, not in a sigmoid: the losses want it so.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import nn

__all__ = ["book_discriminator", "book_generator", "mlp", "mnist_discriminator", "mnist_generator"]


def mlp(
    *widths: int,
    activation: Callable[[], nn.Module] = nn.Tanh,
    batch_norm: bool = False,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    r"""A multilayer perceptron: affine maps, with the activation between them and none after the last.

    With `batch_norm` each hidden unit is normalised over the batch before its activation (Ioffe and Szegedy
    2015): less its mean, over its standard deviation, times a scale that begins at 1, plus a shift that
    begins at 0, both learnt.

    Weights and biases start as PyTorch's `nn.Linear` starts them, uniform on
    :math:`\pm 1/\sqrt{\text{fan-in}}`, but drawn from `generator`.

    Args:
        widths: The width of the input, of each hidden layer, and of the output.
        activation: Makes one activation: a module class, or a partial of it.
        batch_norm: Whether hidden units are normalised over the batch.
        generator: Where the initial parameters are drawn from; PyTorch's global generator if None.

    Returns:
        A module on (n, widths[0]) → (n, widths[-1]).

    Raises:
        ValueError: If there are fewer than two widths, or one of them is not a positive integer.

    >>> mlp(1, 32, 32, 1)(torch.zeros(5, 1)).shape
    torch.Size([5, 1])
    """
    if len(widths) < 2 or not all(isinstance(width, int) and width > 0 for width in widths):
        raise ValueError(f"widths must be two or more positive integers (input … output), not {widths}")
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
        for parameter in linear.parameters():
            nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
        layers += [linear, nn.BatchNorm1d(fan_out), activation()] if batch_norm else [linear, activation()]
    return nn.Sequential(*layers[: -2 if batch_norm else -1])


def mnist_generator(*, generator: torch.Generator | None = None) -> nn.Sequential:
    r"""The `seed` recipe's G: 100 noise dimensions → 784 pixels in (−1, 1), by ReLU layers and a tanh.

    Args:
        generator: Where the initial parameters are drawn from; PyTorch's global generator if None.

    Returns:
        A module on (n, 100) → (n, 784).

    >>> sum(parameter.numel() for parameter in mnist_generator().parameters())
    293136
    """
    return mlp(100, 256, 256, 784, activation=nn.ReLU, generator=generator).append(nn.Tanh())


def mnist_discriminator(*, generator: torch.Generator | None = None) -> nn.Sequential:
    r"""The `seed` recipe's D: 784 pixels in [−1, 1] → one logit, by LeakyReLU(0.2) layers.

    Args:
        generator: Where the initial parameters are drawn from; PyTorch's global generator if None.

    Returns:
        A module on (n, 784) → (n, 1).

    >>> sum(parameter.numel() for parameter in mnist_discriminator().parameters())
    267009
    """
    return mlp(784, 256, 256, 1, activation=partial(nn.LeakyReLU, 0.2), generator=generator)


def book_generator(*, generator: torch.Generator | None = None) -> nn.Sequential:
    r"""The `book` recipe's G: 100 noise dimensions → 784 pixels in (−1, 1), with batch normalisation.

    Args:
        generator: Where the initial parameters are drawn from; PyTorch's global generator if None.

    Returns:
        A module on (n, 100) → (n, 784); n ≥ 2 while it trains.

    >>> sum(parameter.numel() for parameter in book_generator().parameters())
    718608
    """
    widths = 100, 512, 512, 784
    return mlp(*widths, activation=nn.ReLU, batch_norm=True, generator=generator).append(nn.Tanh())


def book_discriminator(*, generator: torch.Generator | None = None) -> nn.Sequential:
    r"""The `book` recipe's D: 784 pixels in [−1, 1] → one logit, by LeakyReLU(0.2) layers.

    Args:
        generator: Where the initial parameters are drawn from; PyTorch's global generator if None.

    Returns:
        A module on (n, 784) → (n, 1).

    >>> sum(parameter.numel() for parameter in book_discriminator().parameters())
    533505
    """
    return mlp(784, 512, 256, 1, activation=partial(nn.LeakyReLU, 0.2), generator=generator)
