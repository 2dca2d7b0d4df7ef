"""The live figure: one PyTorch function under the reader's sliders."""

import inspect
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any

import torch
import traitlets
from IPython import get_ipython

from gan_theory.checks import check_tensor, is_real
from gan_theory.live.export import Function, evaluate
from gan_theory.live.picture import Number, Panel, check, draw
from gan_theory.live.widget import Live, Task, encode

__all__ = ["LiveFigure", "Pad", "Slider"]

TRIALS = 20  # settings of the sliders at which the page's twin of a function is held to PyTorch


@dataclass(frozen=True)
class Slider:
    """An argument of a live figure's function, in the reader's hand.

    Attributes:
        low: The smallest value.
        high: The largest value.
        start: The value at which the figure starts.
        label: What the reader calls it; the argument's name if empty. `a_b` is set with b as a subscript.
        unit: The unit of the value, such as "nats", if it has one.
        step: What one press of an arrow key adds; a hundredth of the range if None.
    """

    low: float
    high: float
    start: float
    _: KW_ONLY
    label: str = ""
    unit: str = ""
    step: float | None = None

    def __post_init__(self) -> None:
        """Refuses what nobody could move."""
        for name in ("low", "high", "start", *(["step"] if self.step is not None else [])):
            if not is_real(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, not {getattr(self, name)!r}")
        if not 0 < self.high - self.low < math.inf:
            raise ValueError(f"low must be less than high, not {self.low} and {self.high}")
        if not self.low <= self.start <= self.high:
            raise ValueError(f"start must lie in [{self.low}, {self.high}], not {self.start}")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"step must lie in (0, {self.high - self.low:g}], not {self.step}")

    def read(self, name: str) -> str:
        """Where it starts, as a sentence would have it."""
        return f"{self.label or name} = {self.start:.4g} {self.unit}".rstrip()

    def anywhere(self, dice: random.Random) -> float:
        """A value that a reader can set it to, each as likely as any other."""
        step = self.step or (self.high - self.low) / 100
        return self.low + step * dice.randint(0, int((self.high - self.low) / step + 1e-9))

    def spec(self, name: str) -> dict[str, Any]:
        """What the browser is told of it."""
        return {**asdict(self), "label": self.label or name}


@dataclass(frozen=True)
class Pad:
    """An argument of a live figure's function that the reader draws: a square picture of ink in [0, 1].

    Attributes:
        argument: The argument's name.
        start: The picture to begin with, (size, size).
        label: What the reader is asked to draw.
    """

    argument: str
    start: torch.Tensor
    label: str

    def __post_init__(self) -> None:
        """Refuses what is no square picture."""
        check_tensor(self.start, "start")
        square = self.start.ndim == 2 and self.start.shape[0] == self.start.shape[1]
        if not square or not ((self.start >= 0) & (self.start <= 1)).all():
            raise ValueError(f"start must be (size, size) in [0, 1], not {tuple(self.start.shape)}")


class LiveFigure(Live):
    r"""A figure that follows its sliders, in JupyterLab as in the built page, where no kernel runs.

    With a kernel the function runs in Python, and each slider is a trait of the widget, to be read, set,
    observed or linked: ``figure.mean = 2.0``. While the book is built the function is exported to ONNX, and
    the page runs it in the browser. Either way it computes in float32.

    Args:
        function: From one 0-d float32 tensor a slider, passed by name, to a dict of named tensors: those of a
            line have shape (n,), those of a point or a number are 0-d. In it PyTorch's default dtype is
            float32; it may not use the values as Python numbers (no ``float``, ``if`` or ``.item()``).
        sliders: A `Slider` for each argument of the function.
        panels: What is drawn of the outputs: one `Panel` or several.
        numbers: The outputs that are shown as numbers.
        alt: What the figure shows, for who can't see it.
        pad: Where the reader draws an argument of the function, if anywhere. With a kernel, what is drawn
            stays in the browser: `outputs` are those of the pad's start.

    Raises:
        TypeError: If the function's outputs are not float32 tensors, or the sliders not its arguments.
        ValueError: If something is to be drawn that the function does not return, if a slider's name is taken
            by the widget, or if `alt` is too short to describe anything; and whatever the function raises.

    >>> from gan_theory.live import Line, LiveFigure, Panel, Slider
    >>> figure = LiveFigure(
    ...     lambda scale: {"x": torch.linspace(-3, 3, 7), "y": scale * torch.linspace(-3, 3, 7)},
    ...     sliders={"scale": Slider(0.0, 2.0, start=1.0)},
    ...     panels=[Panel([Line("y")])],
    ...     alt="A straight line through zero, as steep as the scale.",
    ... )
    >>> figure.scale = 0.5
    >>> figure.outputs["y"]
    tensor([-1.5000, -1.0000, -0.5000,  0.0000,  0.5000,  1.0000,  1.5000])
    """

    view = "figure"

    def __init__(
        self,
        function: Function,
        sliders: Mapping[str, Slider],
        panels: Sequence[Panel],
        numbers: Sequence[Number] = (),
        *,
        alt: str,
        pad: Pad | None = None,
    ) -> None:
        self._shell, self.pad = get_ipython(), pad
        arguments = set(inspect.signature(function).parameters)
        given = {*sliders, *([pad.argument] if pad else [])}
        if arguments != given:
            raise TypeError(f"sliders must be for the arguments {sorted(arguments)}, not for {sorted(given)}")
        for name, parts, kind in (
            ("sliders", sliders.values(), Slider),
            ("panels", panels, Panel),
            ("numbers", numbers, Number),
        ):
            if strange := [part for part in parts if not isinstance(part, kind)]:
                raise TypeError(f"{name} must each be a {kind.__name__}, not {strange[0]!r}")
        own = {*dir(LiveFigure), "sliders", "self"}
        if taken := [name for name in sliders if name in own or name.startswith("_")]:
            raise ValueError(f"sliders may not be called {taken}: these are names of the widget's own")
        self.sliders = dict(sliders)
        self.add_traits(
            **{
                name: traitlets.Float(slider.start, min=slider.low, max=slider.high).tag(sync=True)
                for name, slider in sliders.items()
            }
        )
        start = evaluate(function, self._values())
        check(panels, numbers, start)
        super().__init__(
            tasks={"draw": Task(function, self._values(), self._trials())},
            start=start,
            spec={
                "sliders": {name: slider.spec(name) for name, slider in sliders.items()},
                "panels": [panel.spec() for panel in panels],
                "numbers": [asdict(number) for number in numbers],
                "pad": pad and {"argument": pad.argument, "label": pad.label, **encode({"start": pad.start})},
            },
            picture=draw(
                panels,
                start,
                [slider.read(name) for name, slider in sliders.items()],
                [number.read(start) for number in numbers],
            ),
            alt=alt,
        )
        if self._shell:
            self._shell.events.register("post_run_cell", self._follow_edits)

    @property
    def function(self) -> Function:
        """What the figure draws; in a notebook, the newest definition of it."""
        return self._tasks["draw"].function

    @function.setter
    def function(self, edited: Function) -> None:
        self._tasks["draw"] = self._tasks["draw"]._replace(function=edited)
        self.send({"kind": "edited"})

    @property
    def outputs(self) -> dict[str, torch.Tensor]:
        """What the function returns for the present values of the sliders."""
        return evaluate(self.function, self._values())

    def close(self) -> None:
        """Closes the widget for good."""
        if self._shell and self._follow_edits in self._shell.events.callbacks["post_run_cell"]:
            self._shell.events.unregister("post_run_cell", self._follow_edits)
        super().close()

    def _values(self) -> dict[str, torch.Tensor]:
        values = {name: torch.tensor(getattr(self, name), dtype=torch.float32) for name in self.sliders}
        return values | ({self.pad.argument: self.pad.start.float()} if self.pad else {})

    def _trials(self) -> list[dict[str, torch.Tensor]]:
        """Corners of what the sliders reach, eight at most, and places on their grids."""
        sliders, dice = self.sliders.values(), random.Random(0)  # noqa: S311  (nothing here is secret)
        corners = itertools.product(*((slider.low, slider.high) for slider in sliders))
        chosen = list(itertools.islice(corners, 8))
        while len(chosen) < TRIALS:
            chosen.append(tuple(slider.anywhere(dice) for slider in sliders))
        return [
            self._values() | {name: torch.tensor(value, dtype=torch.float32) for name, value in setting}
            for setting in (zip(self.sliders, values, strict=True) for values in chosen)
        ]

    def _follow_edits(self, *_: Any) -> None:  # noqa: ANN401  (IPython hands in the result of the cell)
        """After each cell: if the notebook has defined the function anew, the figure draws the new one."""
        namespace = getattr(self.function, "__globals__", {})
        edited = namespace.get(getattr(self.function, "__qualname__", ""))
        if namespace.get("__name__") != "__main__" or not callable(edited) or edited is self.function:
            return
        if set(inspect.signature(edited).parameters) == set(self._values()):
            self.function = edited
