"""The component in which a reader trains a GAN on the line."""

import math
from collections.abc import Iterator
from dataclasses import asdict

import torch

from gan_theory.live.export import evaluate
from gan_theory.live.figure import Slider
from gan_theory.live.game import LEARNING_RATES, TARGETS, OneDimensionalGame
from gan_theory.live.picture import Arrows, Line, Number, Panel, draw
from gan_theory.live.widget import Live, Task, encode

__all__ = ["LiveTraining", "uniform_numbers"]

SEED = 0
SLIDERS = {  # powers of ten
    player: Slider(
        -4.0, -1.0, round(math.log10(rate), 1), step=0.1, label=f"learning rate of {player[0].upper()}"
    )
    for player, rate in reversed(LEARNING_RATES.items())
}
PANELS = [
    Panel(
        [Line("p_g", "p_g", "p_g"), Line("p_data", "p_data", "p_data"), Line("D", "D", "D")],
        x_range=(-4.0, 4.0),
        y_range=(0.0, 1.2),
    ),
    Panel([Arrows("z", "G_z")], x_range=(-4.0, 4.0)),
]
HISTORY = Panel(
    [Line("jsds", "JSD", "D_learnt"), Line("values", "V(D, G)", "D")],
    x="iterations",
    x_label="iteration",
    y_label="nats",
)
NUMBERS = [Number("iteration", "iteration"), Number("jsd", "JSD", "nats"), Number("value", "V(D, G)", "nats")]


class LiveTraining(Live):
    r"""A GAN on the line that trains under the reader's eyes, in JupyterLab as in the built page.

    The noise is uniform on (−1, 1). Every update, with its gradients and Adam's moments, is a function of
    `game`, run by the kernel or, exported to ONNX, by the page; the reader starts and stops it, chooses the
    data, the losses, the learning rates, k, and the seed. What is drawn as :math:`p_g` is the exact density
    of the generator's samples.

    Args:
        game: G, D, and the updates.
        alt: What the component shows, for who can't see it.

    Raises:
        ValueError: If `alt` is too short to describe anything.
    """

    view = "training"

    def __init__(self, game: OneDimensionalGame, *, alt: str) -> None:
        tasks = {name: Task(*task) for name, task in game.functions().items()}
        numbers = uniform_numbers(SEED)
        length = len(tasks["initial"].inputs["uniforms"])
        uniforms = torch.tensor([next(numbers) for _ in range(length)], dtype=torch.float32)
        state = evaluate(game.initial, {"uniforms": uniforms})
        outputs = evaluate(game.look, {**state, "target": next(iter(TARGETS.values()))})
        history = {
            "iterations": torch.zeros(1),
            "jsds": outputs["jsd"][None],
            "values": outputs["value"][None],
        }
        start = {**outputs, **history, "iteration": torch.zeros(())}
        super().__init__(
            tasks=tasks,
            start=start,
            spec={
                "sliders": {name: slider.spec(name) for name, slider in SLIDERS.items()},
                "panels": [panel.spec() for panel in (*PANELS, HISTORY)],
                "numbers": [asdict(number) for number in NUMBERS],
                "targets": encode(TARGETS),
                "seed": SEED,
            },
            picture=draw(PANELS, start, [number.read(start) for number in NUMBERS]),
            alt=alt,
        )


def uniform_numbers(seed: int) -> Iterator[float]:
    r"""The uniform random numbers that the browser draws: mulberry32, 24 bits of each, in [0, 1).

    Args:
        seed: Where it starts, an integer modulo :math:`2^{32}`.

    Yields:
        Multiples of :math:`2^{-24}`, which float32 holds exactly.

    >>> from itertools import islice
    >>> [round(number, 4) for number in islice(uniform_numbers(1), 3)]
    [0.6271, 0.0027, 0.5274]
    """
    state = seed
    while True:
        state = (state + 0x6D2B79F5) % 2**32
        mixed = (state ^ state >> 15) * (1 | state) % 2**32
        mixed ^= (mixed + (mixed ^ mixed >> 7) * (61 | mixed)) % 2**32
        yield ((mixed ^ mixed >> 14) >> 8) / 2**24
