"""The wheel: a reader who has installed it needs nothing else of the repository but a notebook."""

import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbclient import execute

ROOT = Path(__file__).parents[1]
WHAT_IT_FOUND = """
import gan_theory
from gan_theory.mnist import load_mnist, load_run

print(gan_theory.__file__, len(load_mnist().x_train), len(load_run("book").log))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    zipfile.ZipFile(built).extractall(folder / "unpacked")
    return folder / "unpacked"


def test_it_holds_the_package_with_its_data_and_the_bundled_browser_half(wheel):
    files = lambda folder: {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (folder / "gan_theory").rglob("*")
        if path.is_file() and not {"__pycache__", "browser"} & set(path.parts)
    }
    assert files(wheel) == files(ROOT)


@pytest.mark.usefixtures("untraced")
def test_a_notebook_alone_runs_on_it_and_finds_the_digits(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(wheel))
    notebook = nbformat.read(ROOT / "book" / "intro.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(WHAT_IT_FOUND))
    found = execute(notebook, cwd=str(tmp_path)).cells[-1].outputs[0].text
    assert found.split() == [str(wheel / "gan_theory" / "__init__.py"), "60000", "40"]
