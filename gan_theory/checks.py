"""What arguments of many functions are held to, so that they are refused in the same words everywhere.

All of it looks at types, shapes and single numbers, and costs nothing beside what the functions compute.
"""

import math

import numpy as np
import torch
from torch import Tensor


def is_integer(value: object, least: int) -> bool:
    """Whether it is an integer of Python or of NumPy, at least so large; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


def is_real(value: object) -> bool:
    """Whether it is a real number of Python, NumPy or a tensor without dimensions, which a float can hold."""
    if isinstance(value, Tensor):
        return (
            value.dim() == 0
            and value.dtype != torch.bool
            and not value.is_complex()
            and is_real(value.item())
        )
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:  # such as of 10**400
        return False


def check_flag(value: bool, name: str) -> None:
    """Refuses what is neither True nor False: the string "no" would count as yes.

    Raises:
        TypeError: if it is not.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def describe(value: object) -> str:
    """What was given, for a message: of arrays dtype and shape, for they may be large."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{value.dtype} {type(value).__name__} of shape {tuple(value.shape)}"
    return type(value).__name__


def check_tensor(value: Tensor, name: str) -> None:
    """Refuses what is no tensor of real numbers.

    Raises:
        TypeError: if it is not.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f"{name} must be a tensor of real numbers, got {value.dtype}")


def check_random(value: torch.Generator, name: str) -> None:
    """Refuses what random numbers cannot be drawn from; None too, PyTorch's global generator.

    Raises:
        TypeError: if it is no `torch.Generator`.
    """
    if not isinstance(value, torch.Generator):
        raise TypeError(f"{name} must be a torch.Generator, got {type(value).__name__}")


def check_elementwise(y: Tensor, x: Tensor, name: str) -> None:
    """Refuses y, what the function of that name makes of points x, unless it is real and of their shape.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(y, Tensor) or y.shape != x.shape:
        got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        shape = "(n,)" if x.dim() == 1 else "(n, 1)"
        raise ValueError(
            f"{name} must map a tensor of shape {shape} to one of the same shape, got {got} for n = {len(x)}"
        )
    if y.is_complex():
        raise ValueError(f"{name} must give real numbers, got {y.dtype}")
