"""Makes live figures live in the pages, without the package, so that Sphinx need not load PyTorch."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

MODEL = re.compile(r'(?<=": )"([A-Za-z0-9+/=]{200000,})"')  # in base64, inside the page's JSON
BROWSER = Path(__file__).parents[2] / "gan_theory" / "live" / "static"


def setup(app: Sphinx) -> dict[str, bool]:
    """Has the notebooks write their figures for the page, and puts what the browser runs beside it."""
    os.environ["GAN_THEORY_LIVE"] = "page"  # the kernels that execute the notebooks inherit it
    app.connect("config-inited", _serve)
    app.connect("html-page-context", _load_where_needed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _serve(_app: Sphinx, config: Config) -> None:
    config.html_static_path.append(str(BROWSER))


def _beside(folder: Path, model: str) -> str:
    """Puts a large model into a script of its own, which the page loads when its figure is first touched."""
    name = f"live-model-{hashlib.sha256(model.encode()).hexdigest()[:16]}.js"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f'(globalThis.liveModels ??= {{}})["{name}"] = "{model}";\n', encoding="ascii")
    return name


def _load_where_needed(
    app: Sphinx, _page: str, _template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    if doctree and '<div class="live">' in context["body"]:
        folder = Path(app.outdir) / "_static"
        context["body"] = MODEL.sub(lambda found: f'"{_beside(folder, found[1])}"', context["body"])
        app.add_css_file("live.css")
        app.add_js_file("live-page.js", loading_method="defer")
