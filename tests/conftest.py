"""How the tests share processes, and what those of the live figures share: of Python and of the page."""

import ast
import itertools
import random
from pathlib import Path
from typing import NamedTuple

import nbformat
import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from gan_theory.live import LiveFigure, OneDimensionalGame
from gan_theory.live.game import BETAS, X
from gan_theory.live.training import uniform_numbers
from gan_theory.training import train

PAGES = {path.stem for path in (Path(__file__).parents[1] / "book").glob("*.*")}


def pytest_collection_modifyitems(items):
    """With `--dist loadgroup`, what takes a page of the book stays in one process, and so does any file."""
    for item in items:
        given = item.callspec.params.values() if hasattr(item, "callspec") else ()
        pages = [stem for stem in (Path(str(value)).stem for value in given) if stem in PAGES]
        item.add_marker(pytest.mark.xdist_group(pages[0] if pages else str(item.path)))


class Trial(NamedTuple):
    """A live figure, and where on its sliders it is looked at."""

    figure: LiveFigure
    settings: list[dict[str, float]]

    def inputs(self, setting):
        """All that the function is given where the sliders stand so: what is on the pad, too."""
        pad = self.figure.pad
        drawn = {pad.argument: pad.start.float()} if pad else {}
        return drawn | {name: torch.tensor(value, dtype=torch.float32) for name, value in setting.items()}


def settings(sliders):
    """Corners of what the sliders reach, eight at most, and places on their grid: 20 in all."""
    dice = random.Random(0)  # noqa: S311  (nothing here is secret)
    corners = itertools.islice(itertools.product(*((s.low, s.high) for s in sliders.values())), 8)
    chosen = [dict(zip(sliders, corner, strict=True)) for corner in corners]
    steps = {name: s.step or (s.high - s.low) / 100 for name, s in sliders.items()}
    while len(chosen) < 20:
        chosen.append({
            name: s.low + steps[name] * dice.randint(0, int((s.high - s.low) / steps[name] + 1e-9))
            for name, s in sliders.items()
        })  # fmt: skip
    return chosen


def names_in(code):
    """The names that a cell makes, and all that it mentions."""
    made, mentioned = set(), set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name():
                mentioned.add(node.id)
                made |= {node.id} if isinstance(node.ctx, ast.Store) else set()
            case ast.Import() | ast.ImportFrom():
                made |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            case ast.FunctionDef() | ast.ClassDef():
                made.add(node.name)
    return made, mentioned


def needed(cells):
    """Those cells that the live figures among them stand on, by the names that are made and mentioned."""
    names = [names_in(cell.source) for cell in cells]
    makes_figure = [i for i, cell in enumerate(cells) if "LiveFigure(" in cell.source]
    chosen = {0, *makes_figure}  # the first says what all of them compute in
    while True:
        wanted = set().union(*(names[i][1] for i in chosen))
        more = {i for i in range(max(makes_figure)) if names[i][0] & wanted} - chosen
        if not more:
            return [cells[i] for i in sorted(chosen)]
        chosen |= more


@pytest.fixture(scope="session")
def live_figures():
    """From a notebook to the live figures that its code makes, by their descriptions."""

    def figures(notebook: Path) -> dict[str, Trial]:
        cells = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
        made, make, dtype = {}, LiveFigure.__init__, torch.get_default_dtype()

        def remember(figure, *arguments, **keywords):
            make(figure, *arguments, **keywords)
            assert keywords["alt"] not in made, "two figures of a notebook are described by the same words"
            made[keywords["alt"]] = Trial(figure, settings(figure.sliders))

        namespace = {"__name__": "__main__"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LiveFigure, "__init__", remember)
            try:
                for cell in needed(cells):
                    code = compile(cell.source, f"{notebook.name}, {cell.id}", "exec")
                    exec(code, namespace)  # noqa: S102  (the book's own)
            finally:
                torch.set_default_dtype(dtype)
        return made

    return figures


@pytest.fixture(scope="session")
def onnx():
    """What onnxruntime computes with an exported function, given what it is called with."""

    def onnx(model: bytes, inputs):
        session = onnxruntime.InferenceSession(model)
        names = [output.name.removeprefix("out.") for output in session.get_outputs()]
        feeds = {f"in.{name}": np.asarray(value, np.float32) for name, value in inputs.items()}
        return dict(zip(names, session.run(None, feeds), strict=True))

    return onnx


@pytest.fixture(scope="session")
def apart():
    """How far numbers are from those they should be, relative to these where they are large."""

    def apart(numbers, right):
        numbers, right = np.asarray(numbers, float), np.asarray(right, float)
        assert numbers.shape == right.shape
        same = (numbers == right) | (np.isnan(numbers) & np.isnan(right))
        with np.errstate(invalid="ignore"):  # ∞ − ∞, where both are the same
            return np.where(same, 0.0, np.abs(numbers - right) / np.maximum(1.0, np.abs(right))).max()

    return apart


def quantiles(x, density, levels):
    """The points below which a piecewise linear density has these parts of its mass, by bisection."""
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))])
    levels = levels * mass[-1]
    low, high = np.full_like(levels, x[0]), np.full_like(levels, x[-1])
    for _ in range(60):
        middle = (low + high) / 2
        cell = np.clip(np.searchsorted(x, middle, side="right") - 1, 0, len(x) - 2)
        here = np.interp(middle, x, density)
        below = mass[cell] + (density[cell] + here) / 2 * (middle - x[cell]) < levels
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low


@pytest.fixture(scope="session")
def algorithm_1():
    """The parameters of G and D after the book's `train`, in float64, on the numbers that the page draws."""

    def algorithm_1(target, *, seed, iterations, learning_rate, generator_loss):
        game, numbers = OneDimensionalGame(), uniform_numbers(seed)
        draw = lambda n: np.fromiter(numbers, float, n)
        column = lambda values: torch.as_tensor(values, dtype=torch.float64)[:, None]
        generator, discriminator = game.generator.double(), game.discriminator.double()
        with torch.no_grad():
            for layer in (*generator, *discriminator):
                for parameter in layer.parameters():
                    start = torch.from_numpy(2 * draw(parameter.numel()) - 1) / layer.in_features**0.5
                    parameter.copy_(start.view(parameter.shape))
        adam = lambda network: torch.optim.Adam(network.parameters(), lr=learning_rate, betas=BETAS)
        real = (
            column(quantiles(X.double().numpy(), target.double().numpy(), draw(game.batch_size)))
            for _ in range(iterations)
        )
        steps = train(
            generator,
            discriminator,
            real,
            lambda n: column(2 * draw(n) - 1),
            generator_optimizer=adam(generator),
            discriminator_optimizer=adam(discriminator),
            generator_loss=generator_loss,
        )
        assert len(list(steps)) == iterations
        return [parameters_to_vector(net.parameters()).detach().numpy() for net in (generator, discriminator)]

    return algorithm_1
