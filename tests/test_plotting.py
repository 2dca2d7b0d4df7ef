"""The figures say what they were handed: their artists, not their pixels, are looked at."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb

from gan_theory import plotting

X = np.linspace(-1.0, 1.0, 5)
UP, DOWN = X + 1.0, 1.0 - X


@pytest.fixture
def ax():
    with plotting.figure() as (_, axes):
        yield axes


def line_of(ax, label):
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return line


def test_a_figure_is_closed_and_leaves_the_settings_alone():
    before = dict(mpl.rcParams)
    with plotting.figure(2, 1, height=4.0, sharex=True) as (fig, axes):
        axes[0].plot(X, UP, label="up")
        legend = axes[0].legend()
    assert dict(mpl.rcParams) == before
    assert not plt.get_fignums()
    assert axes.shape == (2,)
    assert fig.get_size_inches() == pytest.approx([plotting.WIDTH, 4.0])
    assert fig.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    written = [*axes[0].get_xticklabels(), *axes[1].get_yticklabels(), *legend.get_texts(), axes[0].title]
    assert min(text.get_fontsize() for text in written) >= 11  # still legible at the width of a telephone


@pytest.mark.parametrize("count", [0, 1, 3])
def test_figure_1_has_two_stages_to_a_row(count):
    stage = plotting.Stage("(a)", UP, DOWN, [0.0], [1.0])
    with pytest.raises(ValueError, match=f"stages must be an even number of them, at least 2, got {count}"):
        plotting.figure_1(X, UP, [stage] * count)


def test_one_pair_of_axes_is_half_as_high_as_wide():
    with plotting.figure() as (fig, ax):
        assert fig.axes == [ax]
    assert fig.get_size_inches() == pytest.approx([6.5, 3.2])


def test_a_figure_is_closed_when_its_block_fails():
    with pytest.raises(RuntimeError, match="inside"), plotting.figure():
        raise RuntimeError("inside")
    assert not plt.get_fignums()


def test_densities_and_discriminators_wear_the_colours_of_the_paper(ax):
    plotting.draw_densities(ax, X, UP, DOWN)
    plotting.draw_discriminator(ax, X, UP / 2)
    plotting.draw_discriminator(ax, X, DOWN / 2, "learnt", learnt=True)
    drawn = {
        r"$p_{\mathrm{data}}$": (UP, "#000000", ":"),
        "$p_g$": (DOWN, "#009e73", "-"),
        "$D$": (UP / 2, "#0072b2", "--"),
        "learnt": (DOWN / 2, "#d55e00", "-"),
    }
    assert len(ax.lines) == len(drawn)
    for label, (y, colour, style) in drawn.items():
        line = line_of(ax, label)
        np.testing.assert_array_equal(line.get_xydata(), np.column_stack([X, y]))
        assert (to_hex(line.get_color()), line.get_linestyle()) == (colour, style)
    # The densities coincide at the end of training: the dotted line is then the one on top.
    assert line_of(ax, r"$p_{\mathrm{data}}$").zorder > line_of(ax, "$p_g$").zorder


def test_colours_differ_in_lightness_or_style():
    looks = [(round(float(np.dot(to_rgb(look["color"]), [0.2126, 0.7152, 0.0722])), 1), look["linestyle"])
             for look in plotting.LINES.values()]  # fmt: skip
    assert len(set(looks)) == len(looks), "two objects look the same without colour"


def test_either_density_can_be_left_out_and_renamed(ax):
    plotting.draw_densities(ax, X, p_g=UP, labels=("$p$", "$q$"))
    assert [line.get_label() for line in ax.lines] == ["$q$"]
    with pytest.raises(ValueError, match="zip"):
        plotting.draw_densities(ax, X, UP, DOWN, labels=("$p$", "$q$", "$r$"))


@pytest.mark.parametrize("height", [0.0, 0.5, 1.0])
def test_the_axes_of_a_discriminator_show_every_probability(ax, height):
    plotting.draw_discriminator(ax, X, np.full(5, height))
    low, high = ax.get_ylim()
    assert -0.1 < low <= 0 and 1 <= high < 1.1


def test_an_area_is_shaded_between_the_integrand_and_zero(ax):
    plotting.draw_area(ax, X, X / 2, label="x")
    np.testing.assert_array_equal(line_of(ax, "x").get_ydata(), X / 2)
    added, taken = (area.get_datalim(ax.transData) for area in ax.collections)
    assert (added.y0, added.y1) == (0.0, 0.5)
    assert (taken.y0, taken.y1) == (-0.5, 0.0)
    assert [area.get_hatch() for area in ax.collections] == [None, "///"]
    assert [line.get_ydata() for line in ax.lines[1:]] == [[0.0, 0.0]]  # from which the areas are seen


def test_an_arrow_leads_from_each_z_up_to_its_x(ax):
    plotting.draw_mapping(ax, [-1.0, 0.0, 2.0], [3.0, 4.0, 6.0])
    arrows = [text for text in ax.texts if not text.get_text()]
    assert [(arrow.get_position(), arrow.xy) for arrow in arrows] == [
        ((-1.0, 0.0), (3.0, 1.0)),
        ((0.0, 0.0), (4.0, 1.0)),
        ((2.0, 0.0), (6.0, 1.0)),
    ]
    names = {text.get_text(): text.xy for text in ax.texts if text.get_text()}
    assert names == {"$z$": (1.0, 0.0), "$x$": (1.0, 1.0)}  # at the right end of each line
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.0, 0.0], [1.0, 1.0]]
    low, high = ax.get_ylim()
    assert -0.2 < low < 0 and 1 < high < 1.2


def test_an_arrow_needs_both_its_ends(ax):
    with pytest.raises(ValueError, match="zip"):
        plotting.draw_mapping(ax, [0.0, 1.0], [0.0])


@pytest.mark.parametrize(
    ("ink", "given"), [(1.1, "float64 from 0 to 1.1"), (-0.1, "from -0.1 to 0"), (np.nan, "nan")]
)
def test_images_of_more_ink_than_there_is_are_refused(ax, ink, given):
    images = np.zeros((2, 3, 3))
    images[1, 0, 0] = ink
    with pytest.raises(ValueError, match=rf"images must be in \[0, 1\], got .*{given}"):
        plotting.draw_images(ax, images)


def test_images_may_be_off_by_rounding(ax):
    plotting.draw_images(ax, np.array([[[-1e-6, 1 + 1e-6]]]))
    assert ax.images[0].get_clim() == (0.0, 1.0)


def test_images_lie_row_after_row_in_dark_ink(ax):
    images = np.stack([np.full((28, 28), shade) for shade in (0.2, 0.4, 0.6, 0.8, 1.0)])
    plotting.draw_images(ax, images, columns=3)
    (sheet,) = ax.images
    ink = np.asarray(sheet.get_array())
    centres = ink[15::30, 15::30]
    np.testing.assert_array_equal(centres, [[0.2, 0.4, 0.6], [0.8, 1.0, 0.0]])
    assert ink.shape == (60, 90)
    assert ink[0].max() == ink[:, 29].max() == 0.0  # paper between the images
    assert sheet.get_clim() == (0.0, 1.0)
    assert sheet.cmap(1.0)[:3] == (0.0, 0.0, 0.0) and sheet.cmap(0.0)[:3] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("given", "shape"), [({}, (8, 60)), ({"columns": 1}, (44, 6))])
def test_ten_images_lie_in_a_row_unless_another_number_is_given(ax, given, shape):
    plotting.draw_images(ax, np.ones((11, 2, 4)), **given)
    (sheet,) = ax.images
    assert np.asarray(sheet.get_array()).shape == shape


@pytest.mark.parametrize("shape", [(28, 28), (0, 28, 28), (2, 1, 28, 28)])
def test_images_of_another_shape_are_refused(ax, shape):
    with pytest.raises(ValueError, match=r"images has shape .*must be \(n, height, width\)"):
        plotting.draw_images(ax, np.zeros(shape))


def test_figure_1_draws_its_stages_in_reading_order():
    x, up, down = (torch.from_numpy(array) for array in (X, UP, DOWN))  # as the chapters hand them in
    stages = [plotting.Stage(f"({c})", up + i, down / 2, [0.0], [i]) for i, c in enumerate("abcd")]
    fig = plotting.figure_1(x, up, stages)
    assert not plt.get_fignums()
    panels = [ax for ax in fig.axes if ax.get_title()]
    assert [ax.get_title() for ax in panels] == ["(a)", "(b)", "(c)", "(d)"]
    corners = [(round(ax.get_position().x0, 1), -round(ax.get_position().y0, 1)) for ax in panels]
    assert corners == sorted(corners, key=lambda corner: (corner[1], corner[0]))
    mappings = [ax for ax in fig.axes if ax.texts]
    assert len(fig.axes) == len(panels) + len(mappings)
    for i, (ax, mapping) in enumerate(zip(panels, mappings, strict=True)):
        np.testing.assert_array_equal(line_of(ax, r"$p_{\mathrm{data}}$").get_ydata(), UP)
        np.testing.assert_array_equal(line_of(ax, "$p_g$").get_ydata(), UP + i)
        np.testing.assert_array_equal(line_of(ax, "$D$").get_ydata(), DOWN / 2)
        assert ax.get_xlim() == mapping.get_xlim() == (-1.0, 1.0)
        assert (list(ax.get_xticks()), list(ax.get_yticks())) == ([], [0.0, 0.5, 1.0])
        (arrow,) = [text for text in mapping.texts if not text.get_text()]
        assert arrow.xy == (i, 1.0)
        above, below = ax.get_position(), mapping.get_position()
        assert below.y1 < above.y0 and below.x0 == pytest.approx(above.x0)
        assert above.height / below.height == pytest.approx(3.0, rel=0.01)
    assert fig.get_size_inches() == pytest.approx([plotting.WIDTH, 6.8])
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == [
        r"$p_{\mathrm{data}}$",
        "$p_g$",
        "$D$",
    ]
