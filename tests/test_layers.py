"""The package is built in floors: a file imports only from floors below its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gan_theory"
FLOORS = {
    "checks": -1,
    "distributions": 0,
    "losses": 0,
    "networks": 0,
    "plotting": 0,
    "threads": 0,
    "quadrature": 1,
    "densities": 2,
    "divergences": 2,
    "dynamics": 2,
    "likelihood": 2,
    "game": 3,
    "variational": 3,
    "training": 3,
    "live": 4,
    "mnist": 4,
    "one_dimensional": 4,
    "ring": 4,
    "__init__": 5,
}
FILES = sorted(PACKAGE.rglob("*.py"))


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


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_down(file):
    own = room(file)
    above = {other for other in imported_rooms(file) if other != own and FLOORS[other] >= FLOORS[own]}
    assert not above, f"{own} is on floor {FLOORS[own]} and may not import from {', '.join(sorted(above))}"
