"""The losses against SciPy, their gradients against the docstrings, and the edges."""

import numpy as np
import pytest
import scipy.special
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan_theory.losses import (
    discriminator_loss,
    non_saturating_generator_loss,
    saturating_generator_loss,
)

logit_lists = st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@given(real=logit_lists, fake=logit_lists)
def test_discriminator_loss_is_minus_the_value_on_minibatches(real, fake):
    expected = -(np.mean(scipy.special.log_expit(real)) + np.mean(scipy.special.log_expit(np.negative(fake))))
    loss = discriminator_loss(tensor(real), tensor(fake))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(fake=logit_lists)
def test_generator_losses(fake):
    saturating = np.mean(scipy.special.log_expit(np.negative(fake)))
    non_saturating = -np.mean(scipy.special.log_expit(fake))
    assert saturating_generator_loss(tensor(fake)).item() == pytest.approx(saturating, rel=1e-12, abs=1e-12)
    assert non_saturating_generator_loss(tensor(fake)).item() == pytest.approx(
        non_saturating, rel=1e-12, abs=1e-12
    )


@pytest.mark.checks("prop-logit-slopes")
@given(fake=logit_lists)
def test_gradients_in_the_logit(fake):
    n = len(fake)
    for loss, gradient in [
        (saturating_generator_loss, -scipy.special.expit(fake) / n),
        (non_saturating_generator_loss, -scipy.special.expit(np.negative(fake)) / n),
        (lambda b: discriminator_loss(torch.zeros(1), b), scipy.special.expit(fake) / n),
        (lambda a: discriminator_loss(a, torch.zeros(1)), -scipy.special.expit(np.negative(fake)) / n),
    ]:
        logits = tensor(fake)
        loss(logits).backward()
        np.testing.assert_allclose(logits.grad.numpy(), gradient, rtol=1e-12, atol=1e-300)


def test_agrees_with_the_textbook_formula_in_probabilities():
    a, b = tensor([-2.0, 0.5, 3.0]), tensor([1.0, -4.0])
    assert discriminator_loss(a, b).item() == pytest.approx(
        -(a.sigmoid().log().mean() + (1 - b.sigmoid()).log().mean()).item(), rel=1e-14
    )
    assert saturating_generator_loss(b).item() == pytest.approx(
        (1 - b.sigmoid()).log().mean().item(), rel=1e-14
    )
    assert non_saturating_generator_loss(b).item() == pytest.approx(
        -b.sigmoid().log().mean().item(), rel=1e-14
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_for_logits_of_ten_thousand(dtype):
    wrong, right = torch.tensor([-1e4], dtype=dtype), torch.tensor([1e4], dtype=dtype)
    assert discriminator_loss(wrong, right).item() == 2e4
    assert discriminator_loss(right, wrong).item() == 0.0
    assert non_saturating_generator_loss(wrong).item() == 1e4
    assert saturating_generator_loss(right).item() == -1e4


def test_the_mean_is_over_every_logit_whatever_the_shape():
    logits = torch.linspace(-3, 3, 12)
    for loss in (saturating_generator_loss, non_saturating_generator_loss):
        assert loss(logits.reshape(12, 1)) == loss(logits)
    assert discriminator_loss(logits.reshape(3, 4), logits[:5]) == discriminator_loss(logits, logits[:5])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: discriminator_loss(torch.zeros(3).long(), torch.zeros(3)), TypeError, "logits_real.*int64"),
        (lambda: discriminator_loss(torch.zeros(3), [0.0]), TypeError, "logits_fake.*list"),
        (
            lambda: discriminator_loss(torch.zeros(3), torch.zeros(0, 1)),
            ValueError,
            r"logits_fake is empty.*\(0, 1\)",
        ),
        (lambda: saturating_generator_loss(torch.zeros(0)), ValueError, "logits_fake is empty"),
        (lambda: non_saturating_generator_loss(1.0), TypeError, "logits_fake.*float"),
    ],
)
def test_misuse_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
