"""The GAN that trains in the page: what is exported is what the book's own `train` does."""

import json
import math
import subprocess
import sys
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from gan_theory.live import OneDimensionalGame
from gan_theory.live.export import evaluate, to_onnx
from gan_theory.live.game import LEARNING_RATES, TARGETS
from gan_theory.live.training import uniform_numbers
from gan_theory.losses import non_saturating_generator_loss, saturating_generator_loss

BROWSER = Path(__file__).parents[1] / "gan_theory" / "live" / "browser"
NODE = Path(sys.executable).with_name("node")

# One process exports what most of these play. What they run of the package is covered by other tests; tracing
# what the exporter runs would take half as long again.
pytestmark = [pytest.mark.xdist_group("the exported game"), pytest.mark.no_cover]


@cache
def tasks():
    """Each function of the game as the page has it, in onnxruntime, with its arguments in order."""
    tasks = {}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for name, (function, inputs) in OneDimensionalGame().functions().items():
        session = onnxruntime.InferenceSession(to_onnx(function, inputs), options)
        outputs = [output.name.removeprefix("out.") for output in session.get_outputs()]

        def task(inputs, session=session, outputs=outputs):
            feeds = {f"in.{name}": np.asarray(value, np.float32) for name, value in inputs.items()}
            return dict(zip(outputs, session.run(None, feeds), strict=True))

        tasks[name] = task, function, {name: tuple(value.shape) for name, value in inputs.items()}
    return tasks


class Trainer:
    """What the page's script does between the exported functions, in the page's order."""

    def __init__(self, numbers):
        self.numbers = numbers
        self.updates = {"discriminator": 0, "generator": 0}
        self.state = {}
        self.state = self.call("initial")

    def call(self, name, **known):
        task, _, shapes = tasks()[name]
        known = {"target": TARGETS["Gaussian"], **self.state, **known}
        draw = lambda shape: np.fromiter(self.numbers, np.float32, shape[0])
        return task({name: known[name] if name in known else draw(shape) for name, shape in shapes.items()})

    def step(self, player, **known):
        self.updates[player] += 1
        outputs = self.call(f"{player}_step", number=self.updates[player], **known)
        self.state[player] = outputs[player]


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31 - 1, -5, 2**32 + 3])
def test_python_and_the_browser_draw_the_same_numbers(seed):
    script = f"""
        import {{ uniforms }} from {json.dumps((BROWSER / "src/uniforms.ts").as_uri())};
        const draw = uniforms({seed});
        console.log(JSON.stringify(Array.from({{ length: 2000 }}, draw)));
    """
    told = subprocess.run(
        [NODE, "--input-type=module", "-e", script], capture_output=True, text=True, check=True
    )
    numbers = list(islice(uniform_numbers(seed), 2000))
    assert json.loads(told.stdout) == numbers
    assert all(0 <= number < 1 and (number * 2**24).is_integer() for number in numbers)
    assert abs(np.mean(numbers) - 0.5) < 0.03 and abs(np.var(numbers) - 1 / 12) < 0.01


def test_every_function_is_the_same_in_onnx(apart):
    trainer = Trainer(uniform_numbers(3))
    rates = {"learning_rate": 0.01}
    for _ in range(60):
        trainer.step("discriminator", **rates)
        trainer.step("generator", saturating=0.0, **rates)
    dice = torch.Generator().manual_seed(0)
    for name, (task, function, shapes) in tasks().items():
        for target in TARGETS.values():
            for saturating in (0.0, 1.0):
                settings = {"number": 61.0, "learning_rate": 0.01, "saturating": saturating, "target": target}
                known = {**trainer.state, **settings}
                inputs = {
                    key: torch.as_tensor(known[key]) if key in known else torch.rand(shape, generator=dice)
                    for key, shape in shapes.items()
                }
                computed = task(inputs)
                for output, value in evaluate(function, inputs).items():
                    assert apart(computed[output], value) < 1e-5, (name, output)


@pytest.mark.parametrize("saturating", [False, True])
def test_what_is_exported_trains_as_algorithm_1_does(algorithm_1, saturating):
    trainer = Trainer(uniform_numbers(5))
    for _ in range(200):
        trainer.step("discriminator", learning_rate=1e-3)
        trainer.step("generator", learning_rate=1e-3, saturating=float(saturating))
    loss = saturating_generator_loss if saturating else non_saturating_generator_loss
    generator, discriminator = algorithm_1(
        TARGETS["Gaussian"],
        seed=5,
        iterations=200,
        learning_rate=1e-3,
        generator_loss=loss,
    )
    np.testing.assert_allclose(trainer.state["generator"][0], generator, rtol=0, atol=1e-4)
    np.testing.assert_allclose(trainer.state["discriminator"][0], discriminator, rtol=0, atol=1e-4)
    start = Trainer(uniform_numbers(5)).state["generator"][0]
    assert np.abs(generator - start).max() > 0.05  # it has gone somewhere


def play(seed, iterations, *, rates=LEARNING_RATES, discriminator_steps=1, saturating=0.0):
    """What the page shows of the Gaussian at the start and after some iterations."""
    trainer = Trainer(iter(np.random.default_rng(seed).random, None))
    start = trainer.call("look")
    for _ in range(iterations):
        for _ in range(discriminator_steps):
            trainer.step("discriminator", learning_rate=rates["discriminator"])
        trainer.step("generator", learning_rate=rates["generator"], saturating=saturating)
    return start, trainer.call("look")


def test_the_front_page_is_right_that_the_game_comes_near_its_end():
    for seed in range(3):
        start, end = play(seed, 500)
        assert end["jsd"] < start["jsd"] / 4
        assert abs(end["value"] + math.log(4)) < 0.15


def test_the_front_page_is_right_that_both_losses_stand_a_strong_opponent():
    for seed in range(2):
        for saturating in (0.0, 1.0):
            start, end = play(seed, 150, discriminator_steps=20, saturating=saturating)
            assert end["jsd"] < start["jsd"] / 4


def test_the_front_page_is_right_about_large_learning_rates():
    rates = {"generator": 0.1, "discriminator": 0.1}
    ends = [play(seed, 500, rates=rates)[1] for seed in range(3)]
    assert all(end["jsd"] > 0.2 for end in ends)  # far from the data,
    assert min(abs(end["value"] + math.log(4)) for end in ends) < 0.01  # and yet V is that of the optimum
