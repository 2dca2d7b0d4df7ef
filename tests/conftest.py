"""What tests share: the live figures, of Python and of the page, and a small MNIST."""

import os
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest


@pytest.fixture(scope="session")
def onnx():
    """What onnxruntime computes with an exported function, given what it is called with."""
    import onnxruntime

    session_of = cache(onnxruntime.InferenceSession)

    def onnx(model: bytes, inputs):
        session = session_of(model)
        names = [output.name.removeprefix("out.") for output in session.get_outputs()]
        feeds = {f"in.{name}": np.asarray(value, np.float32) for name, value in inputs.items()}
        return dict(zip(names, session.run(None, feeds), strict=True))

    return onnx


@pytest.fixture(scope="session")
def apart():
    """How far numbers are from those they should be, relative to these where they are large."""

    def apart(numbers, right):
        numbers, right = np.asarray(numbers, float), np.asarray(right, float)
        assert numbers.shape == right.shape
        same = (numbers == right) | (np.isnan(numbers) & np.isnan(right))
        with np.errstate(invalid="ignore"):  # ∞ − ∞, where both are the same
            return np.where(same, 0.0, np.abs(numbers - right) / np.maximum(1.0, np.abs(right))).max()

    return apart


def quantiles(x, density, levels):
    """The points below which a piecewise linear density has these parts of its mass, by bisection."""
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))])
    levels = levels * mass[-1]
    low, high = np.full_like(levels, x[0]), np.full_like(levels, x[-1])
    for _ in range(60):
        middle = (low + high) / 2
        cell = np.clip(np.searchsorted(x, middle, side="right") - 1, 0, len(x) - 2)
        here = np.interp(middle, x, density)
        below = mass[cell] + (density[cell] + here) / 2 * (middle - x[cell]) < levels
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


@pytest.fixture(scope="session")
def algorithm_1():
    """The parameters of G and D after the book's `train`, in float64, on the numbers that the page draws."""
    import torch
    from torch.nn.utils import parameters_to_vector

    from gan_theory.live import OneDimensionalGame
    from gan_theory.live.game import BETAS, X
    from gan_theory.live.training import uniform_numbers
    from gan_theory.training import train

    def algorithm_1(target, *, seed, iterations, learning_rate, generator_loss):
        game, numbers = OneDimensionalGame(), uniform_numbers(seed)
        draw = lambda n: np.fromiter(numbers, float, n)
        column = lambda values: torch.as_tensor(values, dtype=torch.float64)[:, None]
        generator, discriminator = game.generator.double(), game.discriminator.double()
        with torch.no_grad():
            for layer in (*generator, *discriminator):
                for parameter in layer.parameters():
                    start = torch.from_numpy(2 * draw(parameter.numel()) - 1) / layer.in_features**0.5
                    parameter.copy_(start.view(parameter.shape))
        adam = lambda network: torch.optim.Adam(network.parameters(), lr=learning_rate, betas=BETAS)
        real = (
            column(quantiles(X.double().numpy(), target.double().numpy(), draw(game.batch_size)))
            for _ in range(iterations)
        )
        steps = train(
            generator,
            discriminator,
            real,
            lambda n: column(2 * draw(n) - 1),
            generator_optimizer=adam(generator),
            discriminator_optimizer=adam(discriminator),
            generator_loss=generator_loss,
        )
        assert len(list(steps)) == iterations
        return [parameters_to_vector(net.parameters()).detach().numpy() for net in (generator, discriminator)]

    return algorithm_1


@pytest.fixture(scope="session")
def cut_small():
    """Has the command line see few digits, with others held out and fewer to be judged by."""
    from gan_theory.mnist import load_mnist

    @contextmanager
    def cut_small():
        mnist = load_mnist()
        digits = mnist._replace(
            **{part: getattr(mnist, part)[:1400] for part in ("x_train", "y_train")},
            **{part: getattr(mnist, part)[:400] for part in ("x_test", "y_test")},
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gan_theory.mnist.__main__.load_mnist", lambda: digits)
            for module in ("__main__", "evaluation"):
                patch.setattr(f"gan_theory.mnist.{module}.TRAINED_ON", 300)
            patch.setattr("gan_theory.mnist.__main__.JUDGED", 1000)
            yield digits

    return cut_small


@pytest.fixture
def small(cut_small):
    """The few digits that the command line sees in this test."""
    with cut_small() as digits:
        yield digits


@pytest.fixture
def compiler():
    """A C++ compiler and Python's headers, which compiled training needs; in CI they have to be there."""
    from gan_theory.training import check_compiled

    try:
        check_compiled(compiled=True)
    except FileNotFoundError as missing:
        if "CI" in os.environ:
            raise
        pytest.skip(str(missing))


@pytest.fixture
def untraced(monkeypatch):
    """Has a test start Python without coverage, where other tests run the same lines."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
