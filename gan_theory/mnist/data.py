"""The MNIST digits, from the file that comes with the package."""

import hashlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gan_theory.checks import describe

__all__ = ["MNIST", "TRAINED_ON", "load_mnist", "to_images", "to_pixels"]

PATH = Path(__file__).with_name("data") / "mnist.npz"
TRAINED_ON = 50_000  # the first training digits; the other 10,000 are held out, for choices to be made on
SHA256 = "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64"


class MNIST(NamedTuple):
    """Images (n, 28, 28), uint8, ink 255 on paper 0; labels (n,), uint8, 0 to 9."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load_mnist() -> MNIST:
    r"""The 60,000 training and 10,000 test digits of MNIST, checked by sha256 each time they are read.

    Returns:
        The four arrays `x_train`, `y_train`, `x_test`, `y_test`.

    Raises:
        FileNotFoundError: If the data file is missing.
        ValueError: If the data file is damaged.

    Source:
        LeCun, Bottou, Bengio and Haffner 1998.

    >>> mnist = load_mnist()
    >>> mnist.x_train.shape, mnist.x_test.shape
    ((60000, 28, 28), (10000, 28, 28))
    """
    restore = f"Restore it with `git checkout -- {PATH}`, or by installing gan-theory again."
    try:
        content = PATH.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"The MNIST file {PATH} is missing. {restore}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise ValueError(
            f"The MNIST file {PATH} is damaged: expected sha256 {SHA256}, found {found}. {restore}"
        )
    with np.load(BytesIO(content), allow_pickle=False) as arrays:
        return MNIST(**arrays)


def to_pixels(images: np.ndarray | Tensor) -> Tensor:
    r"""Images as the networks see them: flat, and scaled to the range of G's tanh.

    Args:
        images: (n, 28, 28), uint8.

    Returns:
        (n, 784), float32, −1 for paper and 1 for ink.

    Raises:
        ValueError: If `images` is not as said.

    >>> to_pixels(np.full((1, 28, 28), 255, dtype=np.uint8))[0, :3]
    tensor([1., 1., 1.])
    """
    in_bytes = isinstance(images, np.ndarray | Tensor) and images.dtype in (np.uint8, torch.uint8)
    if not in_bytes or images.shape[1:] != (28, 28):
        raise ValueError(f"images must be uint8 of shape (n, 28, 28), not {describe(images)}")
    plain = images.copy() if isinstance(images, np.ndarray) else images  # may be read-only, or run backwards
    return (torch.as_tensor(plain).flatten(start_dim=1) / 127.5).sub_(1)


def to_images(pixels: Tensor) -> Tensor:
    r"""Images as a figure shows them: the inverse of `to_pixels`, up to the scale.

    Args:
        pixels: (n, 784), in [−1, 1].

    Returns:
        (n, 28, 28), in [0, 1], 0 for paper and 1 for ink.

    Raises:
        ValueError: If `pixels` is not of that shape, or no tensor.

    >>> to_images(-torch.ones(2, 784)).shape
    torch.Size([2, 28, 28])
    """
    if not isinstance(pixels, Tensor) or pixels.dim() != 2 or pixels.shape[1] != 784:
        raise ValueError(f"pixels must be a tensor of shape (n, 784), not {describe(pixels)}")
    return (pixels.unflatten(1, (28, 28)) + 1) / 2
