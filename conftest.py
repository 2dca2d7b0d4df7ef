"""What all tests and notebooks share."""

import os

import hypothesis
import pytest
from nbval.plugin import IPyNbCell

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
