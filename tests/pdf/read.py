"""The printed book, as Poppler reads it: all that the built pages hold is there, and nothing is cut."""

import html
import re
import subprocess
import unicodedata
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

BOOK = Path(__file__).parents[2] / "book"
PDF = BOOK / "_build" / "latex" / "the-adversarial-game.pdf"
TOC = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


def poppler(*command):
    """What a command of Poppler prints, if it has nothing to object to."""
    done = subprocess.run([*command], check=True, capture_output=True, text=True)
    assert not done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed():
    """The lines of the PDF with their places, and its outline. A link that leads nowhere fails here."""
    return poppler("pdftohtml", "-xml", "-i", "-stdout", PDF)


@pytest.fixture(scope="module")
def text():
    return poppler("pdftotext", PDF, "-")


@pytest.fixture(scope="module")
def pages():
    """The built pages, without their numbers of sections and signs of links."""
    built = []
    for name in CHAPTERS:
        source = (BOOK / "_build" / "html" / f"{name}.html").read_text(encoding="utf-8")
        built.append(BeautifulSoup(source, "html.parser").article)
        for extra in built[-1].select(".headerlink, .section-number"):
            extra.extract()
    return built


def letters(text):
    """A text without what print and page set each in its way: spaces, signs, ligatures, hyphens."""
    return re.sub(r"\W", "", unicodedata.normalize("NFKC", text))


def every(pages, selector):
    """The texts at a selector, but for those with formulas, which are letters here and sources there."""
    found = [element for page in pages for element in page.select(selector)]
    return [letters(element.get_text()) for element in found if not element.select(".math")]


def test_the_bookmarks_are_the_chapters_and_their_sections_in_order(printed, pages):
    there = iter([letters(html.unescape(item)) for item in re.findall(r"<item .*?>(.*?)</item>", printed)])
    lost = [heading for heading in every(pages, "h1, h2") if heading not in there]
    assert not lost


def test_the_title_and_the_authors_are_given():
    told = poppler("pdfinfo", PDF)
    assert re.search(r"Title: +The Adversarial Game\n", told)
    assert re.search(r"Author: +The Adversarial Game contributors\n", told)


def test_no_page_is_empty(printed):
    height = int(re.search(r'height="(\d+)"', printed)[1])
    for number, page in enumerate(printed.split("<page ")[1:], 1):
        lines = map(int, re.findall(r'<text top="(\d+)"', page))
        assert any(0.08 < line / height < 0.92 for line in lines), number  # between head and foot


def test_no_reference_is_open_and_no_source_left(text):
    assert not re.findall(r".{0,30}(?:\?\?|\[\?\]|\$\$|\{[a-z:]+\}`|:label:).{0,30}", text)


def test_every_theorem_exercise_solution_equation_and_caption_is_there_with_its_number(text, pages):
    titles = every(pages, ".admonition-title, figcaption .caption-number")
    numbers = {number.get_text() for page in pages for number in page.select(".eqno")}
    assert len(titles) > 250 and len(numbers) > 10
    book = letters(text)
    assert not [title for title in titles if title not in book]
    assert not [number for number in numbers if number not in text]


def test_every_proof_is_there(text, pages):
    proofs = [box for page in pages for box in page.select("div[class='proof admonition']")]
    assert len(proofs) > 50 and len(re.findall(r"^Proof\.", text, re.MULTILINE)) == len(proofs)


def test_every_source_is_in_the_bibliography(text, pages):
    sources = [source[:50] for source in every(pages[-1:], ".citation > p")]  # the page may turn after that
    assert len(sources) > 30
    book = letters(text)
    assert not [source for source in sources if source not in book]


def test_every_figure_is_there_and_crisp(pages):
    _, _, *lines = poppler("pdfimages", "-list", PDF).splitlines()
    pictures = [line.split() for line in lines if line.split()[2] == "image"]
    on_pages = [image for page in pages for image in page.select("img")]
    assert len(pictures) == len(on_pages) + 1  # and the one of the title
    assert min(int(dots_per_inch) for *_, dots_per_inch, _, _, _ in pictures) >= 150


def test_every_font_is_in_the_file():
    _, _, *fonts = poppler("pdffonts", PDF).splitlines()
    assert len(fonts) >= 5
    assert all(font.split()[-5] == "yes" for font in fonts)


def test_no_letter_is_missing(text):
    assert "Missing character" not in PDF.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    assert not {"‖", "→", "∂", "σ", "≠", "½", "±"} - set(text)


def test_nothing_leaves_the_margins(printed):
    height, width = map(int, re.search(r'height="(\d+)" width="(\d+)"', printed).groups())
    lines = [
        list(map(int, line)) for line in re.findall(r'<text top="(.*?)" left="(.*?)" width="(.*?)"', printed)
    ]
    right = width * (1 - 2.3 / 21) + 5  # of A4; a sign may hang out a little
    assert len(lines) > 10_000
    assert max(left + long for _, left, long in lines) <= right
    assert max(top for top, _, _ in lines) <= 0.96 * height
