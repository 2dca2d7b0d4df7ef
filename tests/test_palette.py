"""Colours stand out from their ground, and no two lines look alike, whichever colours the reader can tell."""

import itertools
import re
from pathlib import Path

import nbformat
import pytest
import sphinx_book_theme
from coloraide import Color
from matplotlib.colors import to_hex

from gan_theory import plotting

ROOT = Path(__file__).parents[1]
LIVE = (ROOT / "gan_theory/live/browser/src/live.css").read_text(encoding="utf-8")
DARK_PICTURE = re.search(
    r'html\[data-theme="dark"\][^{]*img[^{]*\{.*?filter: (.*?);',
    (ROOT / "book/_static/book.css").read_text(encoding="utf-8"),
    re.DOTALL,
)[1]
THEME = Path(sphinx_book_theme.__file__).parent / "theme/sphinx_book_theme/static/styles"
WHITE = Color(plotting.STYLE["figure.facecolor"])
STYLES = (THEME / "sphinx-book-theme.css").read_text(encoding="utf-8")
NIGHT = Color(re.search(r"--pst-color-background:\s*(#\w+)", STYLES)[1])


def live(selector):
    """The colours of the live figures in one theme."""
    rules = re.search(rf"^{re.escape(selector)} \{{(.*?)\}}", LIVE, re.MULTILINE | re.DOTALL)[1]
    return {name: Color(colour) for name, colour in re.findall(r"--live-(\w+): (#\w+);", rules)}


def at_night(colour):
    """What the page makes of a picture's colour in the dark: it filters it, and adds the ground's light."""
    for name, amount in re.findall(r"([\w-]+)\(([\d.]+)(?:deg)?\)", DARK_PICTURE):
        colour = colour.filter(name, float(amount), space="srgb")
    return Color.layer([colour.clip(), NIGHT], blend="screen", space="srgb")


PICTURES = {name: Color(to_hex(line["color"])) for name, line in plotting.LINES.items()}
PALETTES = {
    "pictures": (PICTURES, WHITE),
    "pictures at night": ({name: at_night(colour) for name, colour in PICTURES.items()}, at_night(WHITE)),
    "live": (live(".live"), WHITE),
    "live at night": (live(".live.live-dark"), NIGHT),
}
EYES = {"all colours": None, "no red": "protan", "no green": "deutan", "no blue": "tritan"}

each_palette = pytest.mark.parametrize(("colours", "ground"), PALETTES.values(), ids=PALETTES)


@each_palette
def test_a_line_stands_out_from_its_ground(colours, ground):
    """WCAG 2.2, 1.4.11."""
    contrasts = {name: colours[name].contrast(ground) for name in plotting.LINES}
    assert min(contrasts.values()) >= 3, contrasts


@pytest.mark.parametrize("palette", ["live", "live at night"])
def test_what_is_written_in_a_figure_can_be_read(palette):
    """WCAG 2.2, 1.4.3."""
    colours, ground = PALETTES[palette]
    assert colours["ink"].contrast(ground) >= 4.5


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("lacking", EYES.values(), ids=EYES)
def test_two_lines_differ_in_style_or_plainly_in_colour(palette, lacking):
    """By a CIEDE2000 of 10, where 1 is just noticed; colour blindness as in Machado et al. 2009."""
    colours, _ = PALETTES[palette]
    seen = {
        name: colours[name].filter(lacking, method="machado") if lacking else colours[name]
        for name in plotting.LINES
    }
    for one, other in itertools.combinations(plotting.LINES, 2):
        if plotting.LINES[one]["linestyle"] == plotting.LINES[other]["linestyle"]:
            distance = seen[one].delta_e(seen[other], method="2000")
            assert distance >= 10, f"{one} and {other} differ by {distance:.1f}"


def test_a_colour_that_a_notebook_names_stands_out_too():
    named = {
        (path.name, colour)
        for path in sorted((ROOT / "book").glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
        for colour in re.findall(r'color="([^"]+)"', cell.source)
    }
    assert named
    for name, colour in named:
        drawn = Color(to_hex(colour))
        assert drawn.contrast(WHITE) >= 3, f"{name}: {colour}"
        assert at_night(drawn).contrast(at_night(WHITE)) >= 3, f"{name}: {colour} at night"
