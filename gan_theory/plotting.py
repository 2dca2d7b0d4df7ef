r"""Drawing: one palette and one style for the whole book, and ``draw_*`` primitives that are handed arrays.

Nothing here computes mathematics, shows or saves. An object keeps its colour and its line style wherever it
is drawn, as in Figure 1 of Goodfellow et al. (2014): :math:`p_{data}` black and dotted, :math:`p_g` green and
solid, :math:`D` blue and dashed. The colours are those of Okabe and Ito, which survive colour blindness.
"""

# ruff: noqa: TC002, TC003  (the names in annotations must be there when Sphinx looks them up)
from __future__ import annotations  # so that the reference says ArrayLike, not all that this stands for

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from gan_theory.checks import is_integer

ACCENT = "#D55E00"
LINES: dict[str, dict[str, Any]] = {
    "p_data": {"color": "black", "linestyle": ":", "zorder": 2.5},  # stays visible where p_g covers it
    "p_g": {"color": "#009E73", "linestyle": "-"},
    "D": {"color": "#0072B2", "linestyle": "--"},
    "D_learnt": {"color": ACCENT, "linestyle": "-"},
}
STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 13,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 13,
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "font.size": 12,
    "grid.alpha": 0.25,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
}
WIDTH = 6.5


@contextmanager
def figure(
    rows: int = 1,
    columns: int = 1,
    *,
    height: float = 3.2,
    sharex: bool = False,
    height_ratios: Sequence[float] | None = None,
) -> Iterator[tuple[Figure, Any]]:
    r"""A figure in the book's style, with its Axes; closed when the block ends, so that a cell shows it once.

    Matplotlib's settings are the book's inside the block, and what they were before once it is left.

    Args:
        rows: Rows of Axes.
        columns: Columns of Axes.
        height: Height of the whole figure in inches; its width is ``WIDTH``.
        sharex: Whether all Axes have the same horizontal axis.
        height_ratios: Relative heights of the rows, shape (rows,); all equal if None.

    Returns:
        A context manager that gives the figure and its Axes, which are one or an array of them.

    >>> with figure(columns=2) as (fig, (left, right)):
    ...     draw_densities(left, [0.0, 1.0], p_data=[0.2, 0.3])
    >>> len(fig.axes), plt.fignum_exists(fig.number)
    (2, False)
    """
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(
            rows,
            columns,
            figsize=(WIDTH, height),
            sharex=sharex,
            height_ratios=height_ratios,
            layout="constrained",
        )
        try:
            yield fig, axes
            fig.draw_without_rendering()  # ticks take their style when they are first drawn
        finally:
            plt.close(fig)


def draw_densities(
    ax: Axes,
    x: ArrayLike,
    p_data: ArrayLike | None = None,
    p_g: ArrayLike | None = None,
    labels: tuple[str, str] = (r"$p_{\mathrm{data}}$", "$p_g$"),
) -> None:
    r"""Draw the density of the data, that of the generator, or both.

    Args:
        ax: Where to draw.
        x: Points on the line, shape (n,).
        p_data: Values of :math:`p_{data}` there, shape (n,).
        p_g: Values of :math:`p_g` there, shape (n,).
        labels: How the legend names the two; a chapter on any p and q hands in those names.

    Raises:
        ValueError: If there is nothing to draw, or it has not the shape of ``x``.
    """
    if p_data is None and p_g is None:
        raise ValueError("p_data or p_g must be given, got None for both")
    for density, name, label in zip((p_data, p_g), ("p_data", "p_g"), labels, strict=True):
        if density is not None:
            _check_curve(x, density, name)
            ax.plot(x, density, label=label, **LINES[name])
    ax.set_xlabel("$x$")


def draw_discriminator(
    ax: Axes, x: ArrayLike, D: ArrayLike, label: str = "$D$", *, learnt: bool = False
) -> None:
    r"""Draw a discriminator: its probability that x is real.

    Args:
        ax: Where to draw.
        x: Points on the line, shape (n,).
        D: Values of :math:`D(x)` in [0, 1] there, shape (n,).
        label: How the legend names it.
        learnt: Whether it was fitted to samples, and is drawn apart from the one given by a formula.

    Raises:
        ValueError: If ``D`` has not the shape of ``x``.
    """
    _check_curve(x, D, "D")
    ax.plot(x, D, label=label, **LINES["D_learnt" if learnt else "D"])
    ax.update_datalim([(np.asarray(x)[0], 0.0), (np.asarray(x)[0], 1.0)])  # shows [0, 1], whatever D does
    ax.autoscale_view()
    ax.set_xlabel("$x$")


def _check_curve(x: ArrayLike, y: ArrayLike, name: str) -> None:
    shape, of_x = np.shape(y), np.shape(x)
    if len(of_x) != 1 or not of_x[0] or shape != of_x:
        raise ValueError(f"x and {name} must have one shape (n,), n at least 1, got {of_x} and {shape}")


def draw_area(ax: Axes, x: ArrayLike, integrand: ArrayLike, label: str | None = None) -> None:
    r"""Draw an integrand and shade what it adds to the integral (filled) and what it takes away (hatched).

    Args:
        ax: Where to draw.
        x: Points on the line, shape (n,).
        integrand: Values there, shape (n,).
        label: How the legend names it.

    Raises:
        ValueError: If ``integrand`` has not the shape of ``x``.
    """
    _check_curve(x, integrand, "integrand")
    y = np.asarray(integrand)
    ax.plot(x, y, color=ACCENT, label=label)
    ax.fill_between(x, np.maximum(y, 0.0), facecolor=ACCENT, alpha=0.3, linewidth=0)
    ax.fill_between(x, np.minimum(y, 0.0), facecolor="none", edgecolor=ACCENT, hatch="///", linewidth=0)
    ax.axhline(0.0, color="black", linewidth=0.8)
    ax.set_xlabel("$x$")


def draw_mapping(ax: Axes, z: ArrayLike, x: ArrayLike) -> None:
    r"""Draw the noise on a line, the data on another above it, and an arrow from each z to its x = G(z).

    Args:
        ax: Where to draw; both lines share its horizontal axis.
        z: Points of noise, shape (n,).
        x: Where the generator sends them, shape (n,).
    """
    arrow = {"arrowstyle": "->", "color": LINES["p_g"]["color"], "shrinkA": 0, "shrinkB": 0}
    for start, end in zip(np.asarray(z), np.asarray(x), strict=True):
        ax.annotate("", xy=(end, 1.0), xytext=(start, 0.0), arrowprops=arrow)
    for height, name in ((0.0, "$z$"), (1.0, "$x$")):
        ax.axhline(height, color="black", linewidth=1.0)
        ax.annotate(name, (1.0, height), xycoords=("axes fraction", "data"), xytext=(4, 0), va="center",
                    textcoords="offset points", annotation_clip=False)  # fmt: skip
    ax.set(ylim=(-0.1, 1.1))
    ax.set_axis_off()


def draw_images(ax: Axes, images: ArrayLike, columns: int = 10) -> None:
    r"""Draw images side by side, row after row, as dark ink on light paper.

    Args:
        ax: Where to draw; its axes are switched off.
        images: Ink in [0, 1], shape (n, height, width).
        columns: How many images a row has.

    Raises:
        ValueError: If ``images`` is not as said, or ``columns`` is not a positive integer.
    """
    if not is_integer(columns, 1):
        raise ValueError(f"columns must be a positive integer, got {columns!r}")
    ink = np.asarray(images)
    if ink.ndim != 3 or len(ink) == 0:
        raise ValueError(f"images has shape {ink.shape}; it must be (n, height, width) with n at least 1")
    if not ((ink >= -1e-6) & (ink <= 1 + 1e-6)).all():  # but for rounding
        raise ValueError(f"images must be in [0, 1], got {ink.dtype} from {ink.min():.4g} to {ink.max():.4g}")
    rows = -(-len(ink) // columns)
    gap = ((0, rows * columns - len(ink)), (1, 1), (1, 1))
    cells = np.pad(ink, gap)
    _, height, width = cells.shape
    sheet = cells.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    ax.imshow(sheet, cmap="gray_r", vmin=0.0, vmax=1.0)
    ax.set_axis_off()


@dataclass(frozen=True)
class Stage:
    r"""One panel of Figure 1: its title, the curves :math:`p_g` and :math:`D`, and noise z with x = G(z)."""

    title: str
    p_g: ArrayLike
    D: ArrayLike
    z: ArrayLike
    G_z: ArrayLike


def figure_1(x: ArrayLike, p_data: ArrayLike, stages: Sequence[Stage]) -> Figure:
    r"""Draw stages of the game in the manner of Figure 1 of the paper, two to a row.

    Args:
        x: Points on the line, shape (n,).
        p_data: Values of :math:`p_{data}` there, shape (n,).
        stages: The panels, in reading order; an even number of them.

    Returns:
        The figure, closed.

    Raises:
        ValueError: If there is no stage, or an odd number of them, or a curve has not the shape of ``x``.

    Source: Goodfellow et al. 2014, Figure 1.
    """
    if not len(stages) or len(stages) % 2:
        raise ValueError(f"stages must be an even number of them, at least 2, got {len(stages)}")
    rows = len(stages) // 2
    ratios = [3.0, 1.0] * rows
    with figure(2 * rows, 2, height=3.4 * rows, sharex=True, height_ratios=ratios) as (fig, axes):
        for i, stage in enumerate(stages):
            curves, arrows = axes[2 * (i // 2), i % 2], axes[2 * (i // 2) + 1, i % 2]
            draw_densities(curves, x, p_data, stage.p_g)
            draw_discriminator(curves, x, stage.D)
            draw_mapping(arrows, stage.z, stage.G_z)
            curves.set(title=stage.title, xlim=np.asarray(x)[[0, -1]])
            curves.set(xlabel="", xticks=[], yticks=[0.0, 0.5, 1.0])
        axes[0, 0].legend(loc="upper left", handlelength=1.6)
    return fig
