"""Makes one printed book of the pages: parts, chapters, proofs and solutions as LaTeX has them."""

import re
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.addnodes import number_reference
from sphinx.application import Sphinx
from sphinx.builders.latex.nodes import thebibliography
from sphinx.config import Config
from sphinx.writers.latex import LaTeXTranslator
from sphinx_exercise.nodes import exercise_latex_number_reference, solution_node
from sphinx_proof.nodes import NODE_TYPES

CITATION = Path(__file__).parents[2] / "CITATION.cff"
ROWS = 12  # of a table that pages do not turn in


class environment(nodes.Admonition, nodes.Element):  # noqa: N801  (as docutils names its nodes)
    """An environment of LaTeX; its title, if it has one, is the argument."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Dates the book, and arranges it when LaTeX is asked for."""
    app.add_node(environment, latex=(_begin, _end))
    app.connect("config-inited", _date)
    app.connect("doctree-resolved", _print)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _begin(self: LaTeXTranslator, node: environment) -> None:
    self.body.append(f"\n\\begin{{{node['name']}}}")


def _end(self: LaTeXTranslator, node: environment) -> None:
    self.body.append(f"\\end{{{node['name']}}}\n")


def _date(_app: Sphinx, config: Config) -> None:
    citation = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    config.release, config.today = citation["version"], f"{citation['date-released']:%d %B %Y}"


def _print(app: Sphinx, book: nodes.document, _page: str) -> None:
    if app.builder.format == "latex":
        _arrange(app, book)
        _mark_up(app, book)


def _arrange(app: Sphinx, book: nodes.document) -> None:
    """The first page, in which Sphinx nests all others, becomes the first chapter; captions become parts."""
    start = book.next_node(nodes.section)
    for section in start.findall(nodes.section):
        section.setdefault("docname", app.config.root_doc)  # where sphinx_proof looks for it
    whole = nodes.section("", nodes.title("", app.config.project), _raw(r"\unnumbered"), start)
    listed = [node for node in start.findall(nodes.compound) if "toctree-wrapper" in node["classes"]]
    for chapters, part in zip(listed, app.config.external_site_map.root.subtrees, strict=True):
        chapters.parent.remove(chapters)
        title = re.sub(r"^Part \w+ · ", "", part.caption)
        whole += [_raw(rf"\{'' if part.numbered else 'un'}numbered\part{{{title}}}"), *chapters.children]
    book[:] = [whole, *book.findall(thebibliography)]


def _mark_up(app: Sphinx, book: nodes.document) -> None:
    """Links lead to where they should, solutions and proofs have no box, and tables may be long."""
    for theorem in list(book.findall(lambda node: isinstance(node, tuple(NODE_TYPES.values())))):
        theorem.parent.insert(theorem.parent.index(theorem), _raw(r"\phantomsection"))
    for reference in list(book.findall(number_reference)):
        label = reference.get("refuri", "").rpartition("#")[2]
        if label in app.env.sphinx_exercise_registry:  # which sphinx_exercise only does within a page
            text = reference.children
            reference.replace_self(exercise_latex_number_reference("", *text, refid=label))
    for solution in list(book.findall(solution_node)):
        solution.replace_self(environment("", *solution.children, name="solution"))
    for proof in list(book.findall(nodes.admonition)):
        if "proof" in proof["classes"]:
            first = proof.next_node(nodes.Text)
            first.parent.replace(first, nodes.Text(first.removeprefix("Proof. ")))
            proof.replace_self(environment("", *proof.children, name="proof"))
    for rubric in list(book.findall(nodes.rubric)):  # LaTeX would make a heading of it
        rubric.replace_self(nodes.paragraph("", "", nodes.strong("", rubric.astext())))
    for table in book.findall(nodes.table):
        rows = [row.children for row in table.findall(nodes.row)]
        table["classes"] += ["colwidths-given", *(["longtable"] if len(rows) > ROWS else [])]
        for column, *cells in zip(table.findall(nodes.colspec), *rows, strict=True):
            column["colwidth"] = max(map(_width, cells))


def _raw(tex: str) -> nodes.raw:
    return nodes.raw("", tex + "\n", format="latex")


def _width(cell: nodes.entry) -> int:
    """Grows more slowly than what the cell holds; each command of TeX is a letter."""
    return round(10 * max(len(re.sub(r"\\\w+", "x", cell.astext())), 6) ** (2 / 3))
