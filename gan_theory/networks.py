"""The book's generators and discriminators, the 1-D ones and MNIST's.

Discriminators end in a logit, not in a sigmoid: the losses want it so. Images are rows of 784 pixels in
[−1, 1], for convolutions too. No discriminator looks at more than one of them at a time: what it says of an
image depends on that image alone, as D(x) does.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from gan_theory.checks import check_flag, check_random, is_integer, is_real

__all__ = [
    "Conditional",
    "Dropout",
    "Maxout",
    "book_discriminator",
    "book_generator",
    "cgan_discriminator",
    "cgan_generator",
    "dcgan_discriminator",
    "dcgan_generator",
    "mlp",
    "mnist_discriminator",
    "mnist_generator",
    "paper_discriminator",
    "paper_generator",
]


def mlp(
    *widths: int,
    activation: Callable[[], nn.Module] = nn.Tanh,
    batch_norm: bool = False,
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    r"""A multilayer perceptron: affine maps, with the activation between them and none after the last.

    With `batch_norm` each hidden unit is normalised over the batch before its activation (Ioffe and Szegedy
    2015): less its mean, over its standard deviation, times a scale that begins at 1, plus a shift that
    begins at 0, both learnt. The affine map before it then has no bias of its own, which would be taken off.

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
        TypeError: If `activation` does not make modules, or `batch_norm` is neither True nor False.
        ValueError: If there are fewer than two widths, or one of them is not a positive integer.

    >>> mlp(1, 32, 32, 1)(torch.zeros(5, 1)).shape
    torch.Size([5, 1])
    """
    if len(widths) < 2 or not all(is_integer(width, 1) for width in widths):
        raise ValueError(f"widths must be two or more positive integers (input … output), not {widths}")
    check_flag(batch_norm, "batch_norm")
    if not callable(activation) or isinstance(activation, nn.Module):
        given = f"a {type(activation).__name__}"
        raise TypeError(f"activation must make a module, as the class nn.Tanh does, not be {given}")
    layers: list[nn.Module] = []
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), start=2):
        hidden = number < len(widths)
        linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out, bias=not (batch_norm and hidden))
        for parameter in linear.parameters():
            nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
        layers.append(linear)
        if hidden:
            layers += [nn.BatchNorm1d(fan_out), activation()] if batch_norm else [activation()]
    return nn.Sequential(*layers)


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
    717584
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


class Conditional(nn.Module):
    r"""A generator that is told what to draw, and hands the label on beside what it has drawn.

    So its samples are pairs (x, y), as the data are, and a conditional GAN is a GAN on pairs.

    Args:
        generator: From noise and label, (n, d + labels), to samples, (n, pixels).
        labels: How many of the last columns are the label, one of them 1 and the others 0.

    Raises:
        TypeError: If `generator` is not a module.
        ValueError: If `labels` is not a positive integer.
    """

    def __init__(self, generator: nn.Module, labels: int) -> None:
        if not isinstance(generator, nn.Module):
            raise TypeError(f"generator must be a module, not {type(generator).__name__}")
        if not is_integer(labels, 1):
            raise ValueError(f"labels must be a positive integer, not {labels!r}")
        super().__init__()
        self.generator, self.labels = generator, labels

    def forward(self, z: Tensor) -> Tensor:
        """(n, d + labels) → (n, pixels + labels)."""
        return torch.cat([self.generator(z), z[:, -self.labels :]], dim=1)


def cgan_generator(*, generator: torch.Generator | None = None) -> Conditional:
    r"""The `cgan` recipe's G: the `book` recipe's, with ten more inputs, which say the digit.

    Args:
        generator: Where the initial parameters are drawn from; PyTorch's global generator if None.

    Returns:
        A module on (n, 110) → (n, 794), the last ten columns handed on; n ≥ 2 while it trains.

    Source:
        Mirza and Osindero 2014.

    >>> sum(parameter.numel() for parameter in cgan_generator().parameters())
    722704
    """
    widths = 110, 512, 512, 784
    drawing = mlp(*widths, activation=nn.ReLU, batch_norm=True, generator=generator).append(nn.Tanh())
    return Conditional(drawing, labels=10)


def cgan_discriminator(*, generator: torch.Generator | None = None) -> nn.Sequential:
    r"""The `cgan` recipe's D: 784 pixels and the ten of the label → one logit.

    Args:
        generator: Where the initial parameters are drawn from; PyTorch's global generator if None.

    Returns:
        A module on (n, 794) → (n, 1).

    Source:
        Mirza and Osindero 2014.

    >>> sum(parameter.numel() for parameter in cgan_discriminator().parameters())
    538625
    """
    return mlp(794, 512, 256, 1, activation=partial(nn.LeakyReLU, 0.2), generator=generator)


def dcgan_generator(*, generator: torch.Generator | None = None) -> nn.Sequential:
    r"""The `dcgan` recipe's G: 128 maps of 4 by 4, 48 of 7 by 7, 24 of 14 by 14, and the image.

    Each layer but the last is normalised over the batch and rectified.

    Args:
        generator: Where the initial parameters are drawn from; PyTorch's global generator if None.

    Returns:
        A module on (n, 100) → (n, 784); n ≥ 2 while it trains.

    Source:
        Radford et al. 2016, for images of 28 by 28.

    >>> sum(parameter.numel() for parameter in dcgan_generator().parameters())
    283153
    """
    return _small_normal(
        nn.Sequential(
            nn.utils.skip_init(
                nn.Linear, 100, 128 * 4 * 4, bias=False
            ),  # what follows has a shift of its own
            nn.BatchNorm1d(128 * 4 * 4),
            nn.ReLU(),
            nn.Unflatten(1, (128, 4, 4)),
            nn.utils.skip_init(nn.ConvTranspose2d, 128, 48, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.utils.skip_init(nn.ConvTranspose2d, 48, 24, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.utils.skip_init(nn.ConvTranspose2d, 24, 1, 4, stride=2, padding=1),
            nn.Tanh(),
            nn.Flatten(),
        ),
        generator,
    )


def dcgan_discriminator(*, generator: torch.Generator | None = None) -> nn.Sequential:
    r"""The `dcgan` recipe's D: 24 maps of 14 by 14, 48 of 7 by 7, 128 of 4 by 4, and one logit.

    It has no batch normalisation, which Radford et al. give their D: with it D would judge batches.

    Args:
        generator: Where the initial parameters are drawn from; PyTorch's global generator if None.

    Returns:
        A module on (n, 784) → (n, 1).

    Source:
        Radford et al. 2016, for images of 28 by 28.

    >>> sum(parameter.numel() for parameter in dcgan_discriminator().parameters())
    76361
    """
    return _small_normal(
        nn.Sequential(
            nn.Unflatten(1, (1, 28, 28)),
            nn.utils.skip_init(nn.Conv2d, 1, 24, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.utils.skip_init(nn.Conv2d, 24, 48, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.utils.skip_init(nn.Conv2d, 48, 128, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.utils.skip_init(nn.Linear, 128 * 4 * 4, 1),
        ),
        generator,
    )


def _small_normal(network: nn.Sequential, generator: torch.Generator | None) -> nn.Sequential:
    """Starts every weight at a draw from N(0, 0.02²), as Radford et al. do, and every bias at 0."""
    for module in network:
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network.to(memory_format=torch.channels_last)  # the faster one on processors


class Maxout(nn.Module):
    r"""A layer of units each of which is the largest of several affine maps of its input.

    Args:
        inputs: The width of the input.
        units: The width of the output.
        pieces: How many maps a unit chooses from.
        scale: Weights start uniform on ± this, biases at 0; positive.
        generator: Where the initial weights are drawn from; PyTorch's global generator if None.

    Raises:
        ValueError: If `inputs`, `units` or `pieces` is not a positive integer, or `scale` not positive and
            finite.

    Source:
        Goodfellow et al. 2013.
    """

    def __init__(
        self, inputs: int, units: int, pieces: int, *, scale: float, generator: torch.Generator | None = None
    ) -> None:
        for name, number in (("inputs", inputs), ("units", units), ("pieces", pieces)):
            if not is_integer(number, 1):
                raise ValueError(f"{name} must be a positive integer, not {number!r}")
        if not (is_real(scale) and scale > 0):
            raise ValueError(f"scale must be positive and finite, not {scale!r}")
        super().__init__()
        self.pieces = pieces
        self.affine = _uniform(inputs, units * pieces, scale, generator)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) → (n, units)."""
        return self.affine(x).unflatten(1, (-1, self.pieces)).amax(dim=2)


class Dropout(nn.Module):
    r"""Sets each input to 0 with some probability while it trains, and makes the others larger to match.

    Unlike PyTorch's, it can draw from a stream of random numbers of its own, so that a run can be repeated.

    Args:
        probability: That an input is dropped, 0 ≤ probability < 1.
        generator: Where the draws come from; PyTorch's global generator if None.

    Raises:
        TypeError: If `generator` is neither a `torch.Generator` nor None.
        ValueError: If `probability` is not as said.

    Source:
        Srivastava et al. 2014.
    """

    def __init__(self, probability: float, *, generator: torch.Generator | None = None) -> None:
        if not (is_real(probability) and 0 <= probability < 1):
            raise ValueError(f"probability must be in [0, 1), not {probability!r}")
        if generator is not None:
            check_random(generator, "generator")
        super().__init__()
        self.keep, self.random = 1 - probability, generator

    def forward(self, x: Tensor) -> Tensor:
        """A tensor of the shape of x."""
        if not self.training:
            return x
        where = self.random.device if self.random else x.device
        kept = torch.empty_like(x, device=where).bernoulli_(self.keep, generator=self.random)
        return x * kept.to(x.device) / self.keep


def paper_generator(*, generator: torch.Generator | None = None) -> nn.Sequential:
    r"""The authors' G for MNIST: 100 noise dimensions, two layers of 1,200 ReLUs, 784 sigmoids.

    Its sigmoid is on (0, 1), like their pixels; ours are on (−1, 1), so it is stretched to that.

    Args:
        generator: Where the initial parameters are drawn from; PyTorch's global generator if None.

    Returns:
        A module on (n, 100) → (n, 784).

    Source:
        The released code of Goodfellow et al. 2014.

    >>> sum(parameter.numel() for parameter in paper_generator().parameters())
    2503984
    """
    widths = 100, 1200, 1200, 784
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [_uniform(fan_in, fan_out, 0.05, generator), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Sigmoid(), Affine(2.0, -1.0))


def paper_discriminator(*, generator: torch.Generator | None = None) -> nn.Sequential:
    r"""The authors' D for MNIST: two layers of 240 maxout units with 5 pieces, and dropout before each layer.

    Args:
        generator: Where the initial parameters are drawn from, and what dropout drops, so that D must be
            used by one thread at a time; PyTorch's global generator if None.

    Returns:
        A module on (n, 784) → (n, 1).

    Source:
        The released code of Goodfellow et al. 2014.

    >>> sum(parameter.numel() for parameter in paper_discriminator().parameters())
    1231441
    """
    return nn.Sequential(
        Affine(0.5, 0.5),
        Dropout(0.2, generator=generator),
        Maxout(784, 240, 5, scale=0.005, generator=generator),
        Dropout(0.5, generator=generator),
        Maxout(240, 240, 5, scale=0.005, generator=generator),
        Dropout(0.5, generator=generator),
        _uniform(240, 1, 0.005, generator),
    )


class Affine(nn.Module):
    """x ↦ scale · x + shift, with nothing to learn: (n, d) → (n, d)."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


def _uniform(fan_in: int, fan_out: int, scale: float, generator: torch.Generator | None) -> nn.Linear:
    linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
    nn.init.uniform_(linear.weight, -scale, scale, generator=generator)
    nn.init.zeros_(linear.bias)
    return linear
