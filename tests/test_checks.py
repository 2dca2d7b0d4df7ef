"""What counts as a number, and what a function of points must return."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from gan_theory.checks import check_elementwise, is_integer, is_real


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), 10**400])
def test_an_integer_is_one_also_in_numpy(value):
    assert is_integer(value, 3) and not is_integer(value, 10**401)


@pytest.mark.parametrize("value", ["3", None, True, np.True_, 3.0, np.float64(3), torch.tensor(3)])
def test_nothing_else_is_an_integer(value):
    assert not is_integer(value, 0)


@pytest.mark.parametrize(
    "value", [3, 0.5, np.float32(0.5), np.float64(1e308), np.int64(3), torch.tensor(0.5), torch.tensor(3)]
)
def test_a_finite_number_is_one_also_in_a_tensor(value):
    assert is_real(value)


@pytest.mark.parametrize(
    "value",
    [
        "1",
        None,
        True,
        1j,
        math.nan,
        10**400,
        Fraction(1, 2),
        Decimal(1),
        np.float32(np.inf),
        *map(torch.tensor, (True, 1j, [0.5], math.inf)),
    ],
)
def test_nothing_else_is_a_number(value):
    assert not is_real(value)


@pytest.mark.parametrize(("x", "shape"), [(torch.zeros(3), r"\(n,\)"), (torch.zeros(3, 1), r"\(n, 1\)")])
def test_the_shape_that_a_function_is_given_is_told(x, shape):
    with pytest.raises(
        ValueError, match=rf"f must map a tensor of shape {shape} to one .* got \(2,\) for n = 3"
    ):
        check_elementwise(torch.zeros(2), x, "f")
