"""The rules that every notebook of the book keeps, and the bond between its claims and their checks."""

import ast
import itertools
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in sorted(BOOK.glob("*.ipynb"))}
TEXTS = {
    **{
        f"{name}.ipynb": "\n\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
        for name, nb in NOTEBOOKS.items()
    },
    **{path.name: path.read_text(encoding="utf-8") for path in sorted(BOOK.glob("*.md"))},
}
# The introduction proves nothing, what is trained on digits is random, and an appendix is no chapter.
THEORY = sorted(NOTEBOOKS.keys() - {"intro", "mnist-gan", "myths", "paper-and-code"})

CHECKED = {"keep_output", "nbval-check-output"}
DISPLAY = {"hide-input", "remove-input", "hide-output", "remove-output"}
CLAIMS = ("eq-", "thm-", "prop-", "lem-", "cor-", "def-")
OTHERS = ("ex-", "sol-", "fig-")
LIVE = {"LiveFigure", "LiveTraining"}
SEEDING = {"manual_seed", "seed", "set_rng_state", "default_rng", "RandomState"}


def tags(cell):
    return set(cell.metadata.get("tags", []))


def code_cells(name):
    return [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"]


def tree(cell):
    return ast.parse(re.sub(r"^\s*[%!].*$", "", cell.source, flags=re.MULTILINE))


def called(node):
    """The last name of what a call calls: `assert_close` for `torch.testing.assert_close(…)`."""
    return getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""


def number_of_significant_digits(number):
    return len(re.sub(r"[eE].*", "", number).replace(".", "").lstrip("0"))


def labels(text):
    return re.findall(r"^\s*:label:\s*(\S+)", text, re.MULTILINE) + re.findall(r"\$\$\s*\(([\w:-]+)\)", text)


def none_of(offences):
    """Fails with a list, if there is anything to list."""
    offences = list(offences)
    assert not offences, "\n" + "\n".join(f"  {offence}" for offence in offences)


every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)
every_theory_chapter = pytest.mark.parametrize("name", THEORY)


@every_notebook
def test_is_a_valid_notebook_for_any_python_3(name):
    notebook = NOTEBOOKS[name]
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    none_of(
        f"{c.id}: in a text editor, give the cell an id of lower-case words, such as `{name[:2]}-proof`"
        for c in notebook.cells
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", c.id)
    )


@every_notebook
def test_a_cell_is_short_and_prose_comes_before_it(name):
    cells = NOTEBOOKS[name].cells
    for before, cell in zip([None, *cells], cells, strict=False):
        if cell.cell_type == "code":
            lines = len(cell.source.splitlines())
            assert lines <= 12, f"{cell.id} has {lines} lines, and 12 are allowed"
            assert before is not None, f"{cell.id}: prose comes before code"
            assert before.cell_type == "markdown", f"{cell.id}: prose comes between {before.id} and it"
            assert before.source.strip(), f"{cell.id}: the prose before it is empty"


@every_notebook
def test_tags_are_known_and_checked_outputs_are_kept(name):
    for cell in NOTEBOOKS[name].cells:
        unknown = {tag for tag in tags(cell) - CHECKED - DISPLAY if not tag.startswith("checks:")}
        assert not unknown, f"{cell.id}: unknown tags {sorted(unknown)}"
        assert tags(cell) & CHECKED in (set(), CHECKED), (
            f"{cell.id}: {' and '.join(sorted(CHECKED))} go together"
        )


@every_notebook
def test_only_checked_outputs_are_kept_and_those_are_short_numbers(name):
    for cell in code_cells(name):
        assert cell.execution_count is None, f"{cell.id}: has an execution count"
        if not tags(cell) & CHECKED:
            assert not cell.outputs, (
                f"{cell.id}: has an output and is not tagged {' and '.join(sorted(CHECKED))}"
            )
            continue
        assert cell.outputs, f"{cell.id}: is tagged as checked and has no output to compare with"
        for output in cell.outputs:
            data = output.get("data", {"text/plain": output.get("text", "")})
            assert output.get("name", "stdout") == "stdout", f"{cell.id}: keeps {output.name}"
            assert set(data) == {"text/plain"}, (
                f"{cell.id}: keeps {sorted(data)}, and only text can be compared"
            )
            numbers = re.findall(r"(?<![\w.])\d*\.\d+(?:[eE][-+]?\d+)?", data["text/plain"])
            long = [number for number in numbers if number_of_significant_digits(number) > 4]
            assert not long, f"{cell.id}: more than 4 significant digits in {', '.join(long)}"


def test_nothing_else_is_left_in_the_files():
    strip, files = ["nbstripout", "--keep-id"], [f"book/{name}.ipynb" for name in NOTEBOOKS]
    command = [sys.executable, "-m", *strip, "--verify", *files]
    verified = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, (
        f"run `{' '.join(strip)} book/*.ipynb`: {verified.stdout}{verified.stderr}"
    )


def live_figures(cell):
    """The calls in a cell that make what is live in the page."""
    return [node for node in ast.walk(tree(cell)) if called(node) in LIVE]


def asserts(cell):
    return any(isinstance(n, ast.Assert) or called(n).startswith("assert") for n in ast.walk(tree(cell)))


@every_notebook
def test_figures_are_described(name):
    for cell in code_cells(name):
        shown = tree(cell).body[-1:] or [None]
        value = getattr(shown[0], "value", None) if isinstance(shown[0], ast.Expr) else None
        draws = re.match(r"fig", getattr(value, "id", called(value))) is not None
        described = cell.metadata.get("mystnb", {})
        if live_figures(cell) or draws or "figure" in described or "image" in described:
            alts = [
                ast.literal_eval(word.value)
                for made in live_figures(cell)
                for word in made.keywords
                if word.arg == "alt"
            ]
            alt = alts[0] if alts else described.get("image", {}).get("alt", "")
            assert len(alt.split()) >= (12 if alts else 5), (
                f"{cell.id}: {'the alt' if alts else 'mystnb.image.alt'} must say what the figure shows, "
                f"in {12 if alts else 5} words or more, not {alt!r}"
            )
            assert described.get("figure", {}).get("caption"), (
                f"{cell.id}: a figure needs mystnb.figure.caption"
            )


@every_notebook
def test_the_cell_after_a_live_figure_moves_every_slider_and_checks_every_number(name):
    cells = code_cells(name)
    arguments = {
        node.name: {argument.arg for argument in node.args.args}
        for cell in cells
        for node in tree(cell).body
        if isinstance(node, ast.FunctionDef)
    }
    for cell, check in zip(cells, [*cells[1:], None], strict=True):
        for figure in live_figures(cell):
            if called(figure) != "LiveFigure":
                continue
            assert check and asserts(check), f"{cell.id}: the next cell of code asserts what its figure shows"
            nodes = list(ast.walk(tree(check)))
            moved = {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
            named = {n.value for n in nodes if isinstance(n, ast.Constant)}
            numbers = {n.args[0].value for n in ast.walk(tree(cell)) if called(n) == "Number"}
            drawn = {n.args[0].value for n in ast.walk(tree(cell)) if called(n) == "Pad"}
            missing = (arguments[figure.args[0].id] - drawn - moved) | (numbers - named)
            assert not missing, f"{cell.id}: {sorted(missing)} are not moved or not compared in {check.id}"


@every_notebook
def test_functions_do_not_seed(name):
    for cell in code_cells(name):
        functions = [n for n in ast.walk(tree(cell)) if isinstance(n, ast.FunctionDef | ast.Lambda)]
        seeds = {called(n) for function in functions for n in ast.walk(function)} & SEEDING
        assert not seeds, f"{cell.id}: {seeds} inside a function gives the same numbers at every call"


def test_the_package_does_not_seed():
    """Except in `mnist`, where a run is made from the seed that its caller gives."""
    none_of(
        f"{path.relative_to(ROOT)}:{node.lineno} calls {called(node)}: randomness is an argument"
        for path in sorted((ROOT / "gan_theory").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if called(node) in SEEDING
    )


def test_no_function_is_defined_in_two_notebooks():
    places = defaultdict(list)
    for name in NOTEBOOKS:
        for cell in code_cells(name):
            for node in ast.walk(tree(cell)):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    places[node.name].append(f"{name}:{cell.id}")
    none_of(f"{what} is defined in {', '.join(where)}" for what, where in places.items() if len(where) > 1)


@every_theory_chapter
def test_a_chapter_of_theory_has_three_checked_outputs(name):
    checked = sum(tags(cell) >= CHECKED for cell in code_cells(name))
    assert checked >= 3, f"{name} has {checked} outputs that are compared, and 3 are asked for: tag {CHECKED}"


@every_theory_chapter
def test_a_chapter_of_theory_has_three_exercises(name):
    exercises = re.findall(
        r"\{exercise(?:-start)?\}[^\n]*\n(?::(?!label)[^\n]*\n)*:label: (\S+)", TEXTS[f"{name}.ipynb"]
    )
    assert len(exercises) >= 3, f"{name} has {len(exercises)} exercises, and 3 are asked for"


@every_theory_chapter
def test_a_chapter_of_theory_has_an_exercise_that_is_solved_in_code(name):
    cells = NOTEBOOKS[name].cells
    assert any(
        re.search(r"\{solution-start\}", before.source) and cell.cell_type == "code"
        for before, cell in itertools.pairwise(cells)
    ), f"{name} has no cell of code in the solution of an exercise"


@every_theory_chapter
def test_a_chapter_of_theory_has_a_live_figure(name):
    assert any(live_figures(cell) for cell in code_cells(name)), f"{name} has no live figure"


def test_every_exercise_has_a_solution():
    for name, text in TEXTS.items():
        exercises = {label for label in labels(text) if label.startswith("ex-")}
        solutions = set(re.findall(r"\{solution(?:-start)?\}\s*(\S+)", text))
        none_of(f"{name}: {label} has no solution" for label in sorted(exercises - solutions))
        none_of(f"{name}: the solution of {label} has no exercise" for label in sorted(solutions - exercises))


def test_the_table_of_contents_and_that_of_the_readme_list_every_page_and_no_other():
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
    readme = re.findall(r"\(book/([\w-]+)\.(?:ipynb|md)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    in_toc = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    pages = Counter(Path(name).stem for name in TEXTS)
    for where, listed in (("book/_toc.yml", Counter(in_toc)), ("README.md", Counter(readme))):
        none_of(f"{where} does not list {page}" for page in pages - listed)
        none_of(f"{where} lists {page}, which is no page or is there already" for page in listed - pages)


def test_labels_are_unique_and_of_a_known_kind():
    places = [(label, name) for name, text in TEXTS.items() for label in labels(text)]
    counts = Counter(label for label, _ in places)
    none_of(f"{name}: {label} is used twice" for label, name in places if counts[label] > 1)
    none_of(
        f"{name}: {label} begins with none of {CLAIMS + OTHERS}"
        for label, name in places
        if not label.startswith(CLAIMS + OTHERS)
    )


def test_every_claim_has_a_label():
    claim = r"\{prf:(?:theorem|proposition|lemma|corollary|definition)\}[^\n]*\n(?!:label:)"
    none_of(
        f"{name}: {found.strip()} has no label"
        for name, text in TEXTS.items()
        for found in re.findall(claim, text)
    )


def test_every_citation_has_a_source_and_every_source_is_cited():
    files = [path.read_text(encoding="utf-8") for path in [*BOOK.glob("*.ipynb"), *BOOK.glob("*.md")]]
    roles = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", "".join(files))
    cited = {key.strip() for keys in roles for key in keys.split(",")}
    sources = (BOOK / "references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{([^,]+),", sources, re.MULTILINE)
    assert len(entries) == len(set(entries))
    assert cited == set(entries)


def checks():
    """Every check: the label it names, and where it is; from the tags of cells and the marks of tests."""
    for name, notebook in NOTEBOOKS.items():
        for cell in notebook.cells:
            for tag in tags(cell):
                if tag.startswith("checks:"):
                    yield tag.removeprefix("checks:"), f"book/{name}.ipynb: {cell.id}"
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if called(node) == "checks" and getattr(getattr(node.func, "value", None), "attr", "") == "mark":
                for label in node.args:
                    yield ast.literal_eval(label), f"tests/{path.relative_to(ROOT / 'tests')}:{node.lineno}"


def test_every_claim_has_a_check_and_every_check_a_claim():
    claims = {
        label: name for name, text in TEXTS.items() for label in labels(text) if label.startswith(CLAIMS)
    }
    checked = dict(checks())
    none_of(
        [f"book/{claims[label]}: {label} has no check" for label in sorted(claims.keys() - checked.keys())]
        + [
            f"{checked[label]} checks {label}, which the book does not have"
            for label in sorted(checked.keys() - claims.keys())
        ]
    )


@every_notebook
def test_a_checking_cell_asserts(name):
    for cell in code_cells(name):
        if any(tag.startswith("checks:") for tag in tags(cell)):
            assert asserts(cell), f"{cell.id}: is tagged as a check and asserts nothing"
