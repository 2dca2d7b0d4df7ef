r"""The ring of normal distributions on which mode collapse is seen, and the field's two counts of it."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gan_theory.checks import check_random, check_tensor, is_integer, is_real

__all__ = ["Coverage", "Ring"]


class Coverage(NamedTuple):
    """What samples reach: the number of modes hit, and the share of samples of high quality."""

    modes_hit: int
    high_quality: float


@dataclass(frozen=True)
class Ring:
    r"""Equally many points of a circle, and around each a normal distribution: a mode.

    .. math:: p_\mathrm{data} = \frac1n \sum_{j=0}^{n-1} \mathcal N(c_j, s^2 I), \qquad
              c_j = R\,(\cos 2\pi j/n,\ \sin 2\pi j/n)

    Args:
        modes: n, at least 1.
        radius: R, positive.
        scale: s, positive.

    Raises:
        ValueError: if modes is not a positive integer, or radius or scale not positive and finite.

    Source:
        The toy data of Metz et al. 2017, there with eight modes.

    >>> Ring(modes=4, radius=1.0).centres.round().tolist()
    [[1.0, 0.0], [-0.0, 1.0], [-1.0, -0.0], [0.0, -1.0]]
    """

    modes: int = 8
    radius: float = 2.0
    scale: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what is no ring."""
        if not is_integer(self.modes, 1):
            raise ValueError(f"modes must be a positive integer, got {self.modes!r}")
        for name in ("radius", "scale"):
            if not (is_real(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)!r}")

    @property
    def centres(self) -> Tensor:
        """The points :math:`c_j`, (modes, 2), of PyTorch's default dtype."""
        angle = 2 * math.pi / self.modes * torch.arange(self.modes)
        return self.radius * torch.stack((angle.cos(), angle.sin()), dim=1)

    def sample(self, size: int, generator: torch.Generator) -> Tensor:
        """Draws a batch of points.

        Args:
            size: how many.
            generator: where the numbers come from.

        Returns:
            (size, 2).

        Raises:
            TypeError: if generator is not a `torch.Generator`.
            ValueError: if size is not an integer, or negative.
        """
        if not is_integer(size, 0):
            raise ValueError(f"size must be an integer and not negative, got {size!r}")
        check_random(generator, "generator")
        mode = torch.randint(self.modes, (size,), generator=generator)
        return self.centres[mode] + self.scale * torch.randn(size, 2, generator=generator)

    def coverage(self, samples: Tensor, *, least: int = 20) -> Coverage:
        r"""Counts the modes that samples hit, and the samples that are near a mode.

        A sample is of high quality if it lies within :math:`3 s` of the nearest centre. A mode is hit if at
        least `least` samples of high quality have it as their nearest one.

        Args:
            samples: (n, 2), not empty, finite.
            least: how many samples make a mode count as hit, at least 1.

        Returns:
            The number of modes hit, and the share of high quality in [0, 1]. If the modes lie further apart
            than 6 s, samples of the ring itself have high quality with probability
            :math:`1 - e^{-9/2} = 0.9889`, but for what strays from one mode to another.

        Raises:
            TypeError: if samples is not a tensor of floating-point numbers.
            ValueError: if samples or least is not as above.

        Source:
            Srivastava et al. 2017, who let a single sample hit a mode.

        >>> Ring(scale=0.1).coverage(torch.tensor([[2.0, 0.0], [2.0, 0.2], [0.0, 0.0], [0.0, 2.0]]), least=2)
        Coverage(modes_hit=1, high_quality=0.75)
        """
        check_tensor(samples, "samples")
        if not samples.is_floating_point():
            raise TypeError(f"samples must be a floating-point tensor, got {samples.dtype}")
        if samples.ndim != 2 or samples.shape[1] != 2 or len(samples) == 0:
            raise ValueError(f"samples must have shape (n, 2), n at least 1, got {tuple(samples.shape)}")
        if not samples.isfinite().all():
            raise ValueError("samples must be finite, got NaN or infinity")
        if not is_integer(least, 1):
            raise ValueError(f"least must be a positive integer, got {least!r}")
        samples = samples.double()
        distance, nearest = torch.cdist(samples, self.centres.to(samples)).min(dim=1)
        near = distance <= 3 * self.scale
        counts = torch.bincount(nearest[near], minlength=self.modes)
        return Coverage(int((counts >= least).sum()), near.double().mean().item())
