"""What is drawn of a live figure's outputs, and its drawing in Matplotlib, for print and for the PDF."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from gan_theory import plotting
from gan_theory.checks import is_integer, is_real

__all__ = ["Area", "Arrows", "Images", "Line", "Number", "Panel", "Point", "check", "draw"]

Style = Literal["p_data", "p_g", "D", "D_learnt"]
_READINGS = 3  # side by side, as many as the width holds


@dataclass(frozen=True)
class Line:
    """A curve in one of the book's styles: an output of shape (n,) over the panel's x."""

    y: str
    label: str = ""
    style: Style = "p_g"

    def draw(self, ax: Axes, outputs: Mapping[str, Tensor], x: str) -> None:
        """Draws it on Matplotlib's Axes."""
        ax.plot(outputs[x], outputs[self.y], label=_mathtext(self.label), **plotting.LINES[self.style])


@dataclass(frozen=True)
class Area:
    """An integrand: an output of shape (n,) over the panel's x, shaded down or up to zero."""

    y: str
    label: str = ""

    def draw(self, ax: Axes, outputs: Mapping[str, Tensor], x: str) -> None:
        """Draws it on Matplotlib's Axes."""
        plotting.draw_area(ax, outputs[x], outputs[self.y], label=_mathtext(self.label))


@dataclass(frozen=True)
class Point:
    """A dot at two 0-d outputs."""

    x: str
    y: str
    label: str = ""
    style: Style = "D_learnt"

    def draw(self, ax: Axes, outputs: Mapping[str, Tensor], x: str) -> None:  # noqa: ARG002  (it has an x of its own)
        """Draws it on Matplotlib's Axes."""
        color = plotting.LINES[self.style]["color"]
        ax.plot(outputs[self.x], outputs[self.y], "o", color=color, markersize=8, label=_mathtext(self.label))


@dataclass(frozen=True)
class Arrows:
    """Noise on a line, data on another above it, and arrows from z to x: two outputs of shape (n,)."""

    z: str
    x: str

    def draw(self, ax: Axes, outputs: Mapping[str, Tensor], x: str) -> None:  # noqa: ARG002  (it has an x of its own)
        """Draws it on Matplotlib's Axes."""
        plotting.draw_mapping(ax, outputs[self.z], outputs[self.x])


@dataclass(frozen=True)
class Images:
    """Square pictures side by side, dark ink on light paper: an output of shape (n, size, size) in [0, 1]."""

    images: str
    columns: int = 10
    size: int = 28

    def __post_init__(self) -> None:
        """Refuses rows and pictures of nothing."""
        for name in ("columns", "size"):
            if not is_integer(getattr(self, name), 1):
                raise ValueError(f"{name} must be a positive integer, not {getattr(self, name)!r}")

    def draw(self, ax: Axes, outputs: Mapping[str, Tensor], x: str) -> None:  # noqa: ARG002  (it has no x)
        """Draws them on Matplotlib's Axes."""
        plotting.draw_images(ax, outputs[self.images], self.columns)


@dataclass(frozen=True)
class Number:
    """A 0-d output that is shown as a number, with its unit."""

    output: str
    label: str
    unit: str = ""

    def read(self, outputs: Mapping[str, Tensor]) -> str:
        """The number as a sentence would have it."""
        value = round(outputs[self.output].item(), 7)  # float32 has no more digits
        return f"{self.label} = {value:.4g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        marks: What is drawn in it: `Line`, `Area` and `Point`, or `Arrows` or `Images` alone.
        x: The output of shape (n,) over which lines and areas are drawn.
        x_label: The label of the horizontal axis.
        y_label: The label of the vertical axis.
        x_range: The ends of the horizontal axis; those of the data if None.
        y_range: The ends of the vertical axis; if None they follow the data.
        title: A line above it.
    """

    marks: Sequence[Line | Area | Point | Arrows | Images]
    _: KW_ONLY
    x: str = "x"
    x_label: str = "x"
    y_label: str = ""
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    title: str = ""

    def __post_init__(self) -> None:
        """Refuses a panel of nothing."""
        kinds = Line | Area | Point | Arrows | Images
        listed = isinstance(self.marks, Sequence) and self.marks
        if not listed or not all(isinstance(mark, kinds) for mark in self.marks):
            raise TypeError(
                f"marks must be a list of Line, Area, Point, Arrows or Images, not {self.marks!r}"
            )
        for name in ("x_range", "y_range"):
            ends = getattr(self, name)
            if ends is not None and not (
                isinstance(ends, Sequence) and len(ends) == 2 and all(map(is_real, ends))
            ):
                raise ValueError(f"{name} must be two finite numbers or None, not {ends!r}")
        if unknown := {mark.style for mark in self.marks if isinstance(mark, Line | Point)} - set(
            plotting.LINES
        ):
            raise ValueError(f"style must be one of {list(plotting.LINES)}, not {sorted(unknown)}")

    def height(self, outputs: Mapping[str, Tensor]) -> float:
        """How much height it needs, as a multiple of what curves do."""
        if isinstance(first := self.marks[0], Images):
            rows = -(-len(outputs[first.images]) // first.columns)
            return 2.0 * rows / max(first.columns, 4)
        return 0.35 if isinstance(first, Arrows) else 1.0

    def spec(self) -> dict[str, Any]:
        """What the browser is told of it."""
        marks = [{"kind": type(mark).__name__, **asdict(mark)} for mark in self.marks]
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "marks": marks}


def check(panels: Sequence[Panel], numbers: Sequence[Number], outputs: Mapping[str, Tensor]) -> None:
    """Raises a `ValueError` if something to be drawn is not there, or not of the shape it is drawn with."""
    if not panels:
        raise ValueError("panels must not be empty: a figure draws something")
    drawn = [(number.output, ()) for number in numbers]
    for panel in panels:
        for mark in panel.marks:
            names = {Point: ("x", "y"), Arrows: ("z", "x"), Images: ("images",)}.get(type(mark), ("y",))
            shape = (None,)  # of any size
            if isinstance(mark, Point):
                shape = ()
            elif isinstance(mark, Images):
                shape = None, mark.size, mark.size
            drawn += [(getattr(mark, name), shape) for name in names]
            drawn += [(panel.x, shape)] if isinstance(mark, Line | Area) else []
    if missing := sorted({name for name, _ in drawn} - set(outputs)):
        raise ValueError(f"panels and numbers may draw the outputs {list(outputs)}, not {missing}")
    for name, wanted in drawn:
        given = tuple(outputs[name].shape)
        if len(given) != len(wanted) or any(
            size not in (None, n) for size, n in zip(wanted, given, strict=True)
        ):
            shape = str(wanted).replace("None", "n")
            raise ValueError(f"the output {name!r} must have shape {shape}, not {given}")


def draw(panels: Sequence[Panel], outputs: Mapping[str, Tensor], *lines: Sequence[str]) -> Figure:
    """The panels, one above the other, under lines of readings, as a closed Matplotlib figure."""
    ratios = [panel.height(outputs) for panel in panels]
    with plotting.figure(len(panels), height=3.2 * sum(ratios), height_ratios=ratios) as (fig, _):
        for ax, panel in zip(fig.axes, panels, strict=True):
            for mark in panel.marks:
                mark.draw(ax, _within(panel, outputs), panel.x)
            ax.set_title(_mathtext(panel.title))
            if isinstance(panel.marks[0], Images):
                continue
            if panel.x_range:
                ax.set_xlim(panel.x_range)
            if panel.y_range:
                ax.set_ylim(panel.y_range)
            ax.set(xlabel=_mathtext(panel.x_label), ylabel=_mathtext(panel.y_label))
            if any(ax.get_legend_handles_labels()):
                ax.legend(loc="best")
        rows = [line[i : i + _READINGS] for line in lines for i in range(0, len(line), _READINGS)]
        fig.suptitle("\n".join("     ".join(map(_mathtext, row)) for row in rows), fontsize=12)
    return fig


def _within(panel: Panel, outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The outputs without what lies beyond the panel's ends, which would only make the picture heavy."""
    if panel.x_range is None or isinstance(panel.marks[0], Arrows | Images):
        return outputs
    x = outputs[panel.x]
    inside = (panel.x_range[0] <= x) & (x <= panel.x_range[1])
    return {name: value[inside] if value.shape == x.shape else value for name, value in outputs.items()}


def _mathtext(label: str) -> str:
    """A label with `a_b` and `a_{bc}` as subscripts, as Matplotlib sets them."""
    return re.sub(r"_(?:\{(\w+)\}|(\w+))", lambda found: f"$_{{\\mathrm{{{found[1] or found[2]}}}}}$", label)
