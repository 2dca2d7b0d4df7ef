"""Mends what themes and writers leave in the way of those who read with a screen reader or the keyboard."""

import re
from pathlib import Path

from sphinx.application import Sphinx

# `tests/book/test_pages.py` says if one of these is no longer enough.
MENDED = {
    # The corner of a table is no header.
    r'<th class="head[^"]*"><p></p></th>': "<td></td>",
    # ARIA has given up this role, which was one for list items.
    r'role="doc-biblioentry"': 'role="listitem"',
    # What one sees on a button is a part of what it is called.
    r'(<button class="btn search-button-field[^>]*) aria-label="[^"]*"': r"\1",
    r'(<i class="theme-switch [^>]*) title="[^"]*"': r"\1",
    # The first button for a sidebar opens it, so none may be in the theme's header, which nobody sees.
    r'<button class="pst-navbar-icon sidebar-toggle [^>]*>.*?</button>': "",
    # All of a page is in one of its landmarks.
    r'<a class="navbar-brand logo"(.*?)</a>': r'<div role="banner"><a class="navbar-brand logo"\1</a></div>',
}


def setup(app: Sphinx) -> dict[str, bool]:
    """Mends the pages when they are written."""
    app.connect("build-finished", _mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _mend(app: Sphinx, error: Exception | None) -> None:
    if error or app.builder.format != "html":
        return
    for page in Path(app.outdir).glob("*.html"):
        text = page.read_text(encoding="utf-8")
        for found, better in MENDED.items():
            text = re.sub(found, better, text, flags=re.DOTALL)
        page.write_text(text, encoding="utf-8")
