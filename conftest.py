"""What all tests and notebooks share."""

import os
from pathlib import Path

import hypothesis
import pytest
from nbval.plugin import IPyNbCell

CACHE = Path(__file__).with_name("book") / "_build" / ".jupyter_cache"

# Workers of pytest-xdist share the cores: one thread each, before torch counts them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples every time, however slow the machine is.
hypothesis.settings.register_profile("book", deadline=None, derandomize=True)
hypothesis.settings.load_profile("book")

collect_ignore = ["tests/mutants/run.py"]  # mutmut is at work from its import on


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Has nbval compare the outputs that a notebook keeps, though nbstripout has taken the cell's count."""
    for item in items:
        if isinstance(item, IPyNbCell) and item.cell.outputs:
            item.cell.execution_count = 0


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keeps the outputs of notebooks that passed, if they are those of pages: the book runs none anew."""
    if os.environ.get("GAN_THEORY_LIVE") != "page" or session.testsfailed:
        return
    from jupyter_cache import get_cache  # noqa: PLC0415  (which takes a second, and only notebooks need)
    from jupyter_cache.base import CacheBundleIn  # noqa: PLC0415  (likewise)

    ran = [item for item in session.items if isinstance(item, IPyNbCell) and item.test_outputs is not None]
    for file in {item.parent for item in ran}:
        cells = [item for item in ran if item.parent is file]
        if [item.cell for item in cells] == [cell for cell in file.nb.cells if cell.cell_type == "code"]:
            for count, item in enumerate(cells, 1):
                item.cell.update(outputs=item.test_outputs, execution_count=count)
            bundle = CacheBundleIn(file.nb, str(file.path))
            get_cache(CACHE).cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
