"""The book, its figures and the docstrings are spelt as in British dictionaries, or as in `words.txt`.

`words.txt` holds what no dictionary has: names, and words of the field, one a line, as they are written.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import nbformat
import pytest
from hunspell import Hunspell
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

ROOT = Path(__file__).parents[1]
BRITISH = ROOT / "gan_theory/live/browser/node_modules/dictionary-en-gb"
WORDS = (ROOT / "tests/words.txt").read_text(encoding="utf-8").splitlines()
MARKDOWN = create_md_parser(
    MdParserConfig(enable_extensions={"colon_fence", "deflist", "dollarmath", "tasklist"}), RendererHTML
)

# The directives that hold prose, after a title; the others hold code or mathematics, or nothing.
PROSE = re.compile(r"\{(?:prf:\w+|exercise)\}(.*)|\{solution\}")
# What else a docstring or a label has: examples, mathematics, code, arguments' names, addresses.
NO_PROSE = re.compile(
    r">>>.*?(?:\n\s*\n|\Z)"
    r"|\.\. math::.*?(?:\n\s*\n(?=\s*\w)|\Z)|\$.*?\$"
    r"|``.*?``|(?::[\w:]+:)?`.*?`"
    r"|^\s+(?:\w+, )*\w+(?: \(.*?\))?:(?=\s)|\"\w+\""
    r"|https?://\S+",
    re.DOTALL | re.MULTILINE,
)
WORD = re.compile(r"(?<![\w\\.])[A-Za-zÀ-ž]{2,}(?:['’](?!s\b)[A-Za-z]+)*(?![\w(])")  # a genitive's s apart


def of_markdown(source):
    """The prose in a text of MyST."""
    for token in MARKDOWN.parse(source):
        if token.type in {"fence", "colon_fence"} and (directive := PROSE.match(token.info)):
            yield from of_markdown(directive[1] or "")
            yield from of_markdown(re.sub(r"\A(?::\w+:.*\n)+", "", token.content))
        for piece in token.children or []:
            if piece.type in {"text", "image"}:
                yield NO_PROSE.sub(" ", piece.content)
            elif piece.type == "myst_role" and (text := re.match(r"(.+) <", piece.content)):
                yield text[1]


def of_python(source):
    """The docstrings of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield NO_PROSE.sub(" ", ast.get_docstring(node, clean=False) or "")


def of_notebook(source):
    """The text of a notebook, and what is written in, under and about its figures."""
    for cell in nbformat.reads(source, as_version=4).cells:
        if cell.cell_type == "markdown":
            yield from of_markdown(cell.source)
            continue
        figure = cell.metadata.get("mystnb", {})
        yield figure.get("image", {}).get("alt", "")
        yield from of_markdown(figure.get("figure", {}).get("caption", ""))
        for node in ast.walk(ast.parse(re.sub(r"^\s*[%!].*$", "", cell.source, flags=re.MULTILINE))):
            if isinstance(node, ast.keyword) and re.search(r"(alt|label|title)$", node.arg or ""):
                for part in getattr(node.value, "values", [node.value]):  # of an f-string
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield NO_PROSE.sub(" ", part.value)


READERS = {".ipynb": of_notebook, ".md": of_markdown, ".py": of_python}
FILES = [
    *ROOT.glob("*.md"),
    *(ROOT / "book").glob("*.[mi]*"),
    *(ROOT / "book" / "_sphinx").glob("*.py"),
    *(ROOT / "gan_theory").rglob("*.py"),
]


def capital(word):
    return word[0].upper() + word[1:]


@pytest.fixture(scope="module")
def unknown():
    """The words that the dictionary has not, and where they are."""
    dictionary = Hunspell("index", hunspell_data_dir=str(BRITISH))
    places = defaultdict(set)
    for path in FILES:
        if "node_modules" not in path.parts:
            for prose in READERS[path.suffix](path.read_text(encoding="utf-8")):
                for word in WORD.findall(prose):
                    places[word.replace("’", "'")].add(str(path.relative_to(ROOT)))
    return {word: files for word, files in places.items() if not dictionary.spell(word)}


def test_every_word_is_in_the_dictionary_or_among_our_words(unknown):
    strange = sorted(unknown.keys() - {*WORDS, *map(capital, WORDS)})
    assert not strange, "\n" + "\n".join(f"{word}: {', '.join(sorted(unknown[word]))}" for word in strange)


def test_our_words_are_sorted_and_none_is_superfluous(unknown):
    assert sorted(set(WORDS), key=lambda word: (word.lower(), word)) == WORDS
    superfluous = [word for word in WORDS if not {word, capital(word)} & unknown.keys()]
    assert not superfluous, "\n" + "\n".join(superfluous)
