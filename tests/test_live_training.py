"""The GAN that trains in the page: what is exported is what the book's own `train` does."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from gan_theory.live import OneDimensionalGame
from gan_theory.live.export import evaluate, to_onnx
from gan_theory.live.game import TARGETS
from gan_theory.live.training import uniform_numbers
from gan_theory.losses import non_saturating_generator_loss, saturating_generator_loss

BROWSER = Path(__file__).parents[1] / "gan_theory" / "live" / "browser"
NODE = Path(sys.executable).with_name("node")


@pytest.fixture(scope="module")
def tasks():
    """Each function of the game as the page has it, in onnxruntime, with its arguments in order."""
    tasks = {}
    for name, (function, inputs) in OneDimensionalGame().functions().items():
        session = onnxruntime.InferenceSession(to_onnx(function, inputs))
        outputs = [output.name.removeprefix("out.") for output in session.get_outputs()]

        def task(inputs, session=session, outputs=outputs):
            feeds = {f"in.{name}": np.asarray(value, np.float32) for name, value in inputs.items()}
            return dict(zip(outputs, session.run(None, feeds), strict=True))

        tasks[name] = task, function, {name: tuple(value.shape) for name, value in inputs.items()}
    return tasks


class Trainer:
    """What the page's script does between the exported functions, in the page's order."""

    def __init__(self, tasks, seed):
        self.tasks, self.numbers = tasks, uniform_numbers(seed)
        self.updates = {"discriminator": 0, "generator": 0}
        self.state = {}
        self.state = self.call("initial")

    def call(self, name, **known):
        task, _, shapes = self.tasks[name]
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


def test_every_function_is_the_same_in_onnx(tasks, apart):
    trainer = Trainer(tasks, seed=3)
    rates = {"learning_rate": 0.01}
    for _ in range(60):
        trainer.step("discriminator", **rates)
        trainer.step("generator", saturating=0.0, **rates)
    dice = torch.Generator().manual_seed(0)
    for name, (task, function, shapes) in tasks.items():
        for target in TARGETS.values():
            for saturating in (0.0, 1.0):
                settings = {"number": 61.0, "learning_rate": 0.01, "saturating": saturating, "target": target}
                known = {**trainer.state, **settings}
                inputs = {
                    key: torch.as_tensor(known[key]) if key in known else torch.rand(shape, generator=dice)
                    for key, shape in shapes.items()
                }
                for output, value in evaluate(function, inputs).items():
                    assert apart(task(inputs)[output], value) < 1e-5, (name, output)


@pytest.mark.parametrize("saturating", [False, True])
def test_what_is_exported_trains_as_algorithm_1_does(tasks, algorithm_1, saturating):
    trainer = Trainer(tasks, seed=5)
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
    start = Trainer(tasks, seed=5).state["generator"][0]
    assert np.abs(generator - start).max() > 0.05  # it has gone somewhere
