"""Makes live figures live in the pages, without the package, so that Sphinx need not load PyTorch."""

import os
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

BROWSER = Path(__file__).parents[2] / "gan_theory" / "live" / "static"


def setup(app: Sphinx) -> dict[str, bool]:
    """Has the notebooks write their figures for the page, and puts what the browser runs beside it."""
    os.environ["GAN_THEORY_LIVE"] = "page"  # the kernels that execute the notebooks inherit it
    app.connect("config-inited", _serve)
    app.connect("html-page-context", _load_where_needed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _serve(_app: Sphinx, config: Config) -> None:
    config.html_static_path.append(str(BROWSER))


def _load_where_needed(
    app: Sphinx, _page: str, _template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    if doctree and '<div class="live">' in context["body"]:
        app.add_css_file("live.css")
        app.add_js_file("live-page.js", loading_method="defer")
