"""The picture in the README is the figure of `book/intro.ipynb`, as its cells draw it.

`python tests/test_readme_picture.py` draws it anew after a change to those cells.
"""

import io
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import torch

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "book" / "_static" / "readme.png"


def picture() -> bytes:
    """What the cells of the introduction draw, up to and with its Figure 1, as PNG."""
    cells = nbformat.read(ROOT / "book" / "intro.ipynb", as_version=4).cells
    names: dict = {}
    for cell in cells[: 1 + [cell.id for cell in cells].index("intro-figure-1")]:
        if cell.cell_type == "code":
            exec(cell.source, names)  # noqa: S102 - the book's own cells
    png = io.BytesIO()
    names["fig"].savefig(png, metadata={"Software": None})
    return png.getvalue()


def test_the_picture_in_the_readme_is_the_one_in_the_book():
    default = torch.get_default_dtype()
    try:
        drawn = plt.imread(io.BytesIO(picture()))
    finally:
        torch.set_default_dtype(default)
    kept = plt.imread(PICTURE)
    message = "book/_static/readme.png is out of date; remake it by `python tests/test_readme_picture.py`"
    assert drawn.shape == kept.shape, message
    assert np.abs(drawn - kept).mean() < 1e-3, message


if __name__ == "__main__":
    PICTURE.write_bytes(picture())
