"""The package is built in floors: a file imports only from floors below its own."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gan_theory"
FLOORS = {
    "checks": 0,
    "distributions": 1,
    "losses": 1,
    "networks": 1,
    "plotting": 1,
    "threads": 1,
    "quadrature": 2,
    "densities": 3,
    "divergences": 3,
    "dynamics": 3,
    "likelihood": 3,
    "game": 4,
    "variational": 4,
    "training": 4,
    "live": 5,
    "mnist": 5,
    "one_dimensional": 5,
    "ring": 5,
    "__init__": 6,
}
FILES = sorted(PACKAGE.rglob("*.py"))
CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"


def room(file):
    """The module, or the folder, that a file of the package belongs to."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(file):
    """The modules and folders of the package that a file imports from."""
    package = ["gan_theory", *file.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = package[: len(package) + 1 - node.level] if node.level else []
            origin = origin + (node.module.split(".") if node.module else [])
            names = [[*origin, alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "gan_theory":
                yield name[1] if len(name) > 1 and name[1] in FLOORS else "__init__"


def test_every_file_has_a_floor():
    assert {room(file) for file in FILES} <= set(FLOORS), "give the new file a floor in FLOORS"


def test_contributors_are_told_the_floors():
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", CONTRIBUTING.read_text(encoding="utf-8"), re.MULTILINE)
    told = {name: int(floor) for floor, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert told == FLOORS


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_down(file):
    own = room(file)
    above = {other for other in imported_rooms(file) if other != own and FLOORS[other] >= FLOORS[own]}
    assert not above, f"{own} is on floor {FLOORS[own]} and may not import from {', '.join(sorted(above))}"
