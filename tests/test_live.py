"""The Python half of the live figures, and its bond with the other half: ONNX, the page, the palette."""

import ast
import base64
import gc
import io
import json
import math
import random
import re
from collections import Counter
from contextlib import nullcontext
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from textwrap import indent
from urllib.parse import unquote

import ipywidgets
import nbformat
import numpy as np
import pytest
import torch
from IPython.core.events import EventManager, available_events
from matplotlib.colors import to_hex, to_rgb
from matplotlib.image import imread
from nbclient import NotebookClient
from onnx.checker import check_model
from torch._subclasses.fake_tensor import FakeTensor
from torch.distributions import Distribution, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from traitlets import TraitError

from gan_theory import live, plotting
from gan_theory.live import (
    Area,
    Arrows,
    Images,
    Line,
    LiveFigure,
    LiveTraining,
    Number,
    OneDimensionalGame,
    Pad,
    Panel,
    Point,
    Slider,
)
from gan_theory.live.export import evaluate, to_onnx
from gan_theory.live.game import TARGETS
from gan_theory.live.picture import draw
from gan_theory.live.training import uniform_numbers

ROOT = Path(__file__).parents[1]
ALT = "Two Gaussian densities, and how far one is from the other."
FLOAT = {"a": torch.tensor(2.0, dtype=torch.float32)}


def two_gaussians(mean, scale):
    x = torch.linspace(-6.0, 6.0, 241)
    p, q = Normal(0.0, 1.0), Normal(mean, scale)
    ratio = p.log_prob(x) - q.log_prob(x)
    density_p, density_q = p.log_prob(x).exp(), q.log_prob(x).exp()
    return {
        "x": x,
        "p": density_p,
        "q": density_q,
        "integrand": density_p * ratio,
        "mean": mean,
        "top": q.log_prob(mean).exp(),
        "kl": kl_divergence(p, q),
        "z": torch.linspace(-1.0, 1.0, 3),
        "G_z": mean + scale * torch.linspace(-1.0, 1.0, 3),
    }


SLIDERS = {"mean": Slider(-3.0, 3.0, 1.0, label="mean of q"), "scale": Slider(0.4, 2.5, 0.7, step=0.05)}
LINES = [Line("p", "p", "p_data"), Line("q", "q_{mean}", "p_g"), Point("mean", "top")]
PANELS = [
    Panel(
        [Area("integrand", "p log(p/q)"), *LINES], x_range=(-6.0, 6.0), y_range=(-0.5, 1.5), y_label="density"
    ),
    Panel([Arrows("z", "G_z")], x_range=(-6.0, 6.0), title="G_z"),
]
NUMBERS = [Number("kl", "KL(p ∥ q)", "nats")]


def make(function=two_gaussians, sliders=SLIDERS, panels=PANELS, numbers=NUMBERS, alt=ALT):
    return LiveFigure(function, sliders, panels, numbers, alt=alt)


@pytest.fixture
def figure():
    figure = make()
    yield figure
    figure.close()


@pytest.fixture
def double():
    """The default dtype of the book's notebooks."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def tensors(values):
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in values.items()}


# What is asked of an author.


@pytest.mark.parametrize(
    ("attempt", "error", "words"),
    [
        (lambda: Slider(1.0, 0.0, 0.5), ValueError, ["low", "less than high", "1.0", "0.0"]),
        (lambda: Slider(1.0, 1.0, 1.0), ValueError, ["low", "less than high", "1.0 and 1.0"]),
        (lambda: Slider(0.0, float("nan"), 0.5), ValueError, ["high", "nan"]),
        (lambda: Slider(-math.inf, 1.0, 0.5), ValueError, ["low", "finite", "-inf"]),
        (lambda: Slider(0.0, math.inf, 0.5), ValueError, ["high", "finite", "inf"]),
        (lambda: Slider(0.0, 1.0, 1.5), ValueError, ["start", "[0.0, 1.0]", "1.5"]),
        (lambda: Slider(0.0, 1.0, 0.5, step=0.0), ValueError, ["step", "(0, 1]", "0.0"]),
        (lambda: Slider(-1.0, 1.0, 0.5, step=2.5), ValueError, ["step", "(0, 2]", "2.5"]),
        (lambda: Slider("0", 1.0, 0.5), ValueError, ["low", "finite number", "'0'"]),
        (lambda: Slider(0.0, 1.0, None), ValueError, ["start", "finite number", "None"]),
        (lambda: Slider(0.0, 1.0, 0.5, step="1"), ValueError, ["step", "finite number", "'1'"]),
        (lambda: Slider(-1e308, 1e308, 0.0), ValueError, ["low", "less than high", "-1e+308"]),
        (lambda: Panel(["p"]), TypeError, ["marks", "list of Line", "['p']"]),
        (lambda: Panel([Line("p")], x_range=(1.0,)), ValueError, ["x_range", "two finite", "(1.0,)"]),
        (lambda: Panel([Line("p")], y_range=(1.0, INF)), ValueError, ["y_range", "two finite", "inf"]),
        (lambda: Panel([Line("p")], y_range=3), ValueError, ["y_range", "two finite", "3"]),
        (lambda: Images("images", columns=0), ValueError, ["columns", "positive integer", "0"]),
        (lambda: Images("images", size=2.0), ValueError, ["size", "positive integer", "2.0"]),
        (lambda: make(sliders={**SLIDERS, "mean": 1.0}), TypeError, ["sliders", "a Slider", "1.0"]),
        (lambda: make(panels=[Line("p")]), TypeError, ["panels", "a Panel", "Line(y='p'"]),
        (lambda: make(numbers=["kl"]), TypeError, ["numbers", "a Number", "'kl'"]),
        (lambda: make(alt=None), ValueError, ["alt", "few words", "None"]),
        (lambda: Panel([]), TypeError, ["marks", "list of Line", "[]"]),
        (lambda: Panel(Line("p")), TypeError, ["marks", "list of Line", "Line(y='p'"]),
        (lambda: Panel([Line("p", style="q")]), ValueError, ["style", "'p_data'", "not ['q']"]),
        (lambda: Panel([Line("p"), Point("p", "p", style="q")]), ValueError, ["style", "not ['q']"]),
        (lambda: make(sliders={"mean": SLIDERS["mean"]}), TypeError, ["sliders", "'scale'", "'mean'"]),
        (lambda: make(sliders={**SLIDERS, "x": SLIDERS["mean"]}), TypeError, ["sliders", "'scale'", "'x'"]),
        (
            lambda: make(lambda outputs: {"x": outputs}, {"outputs": Slider(0.0, 1.0, 0.0)}),
            ValueError,
            ["sliders", "'outputs'", "widget's own"],
        ),
        (lambda: make(alt="A small figure"), ValueError, ["alt", "few words", "'A small figure'"]),
        (
            lambda: LiveTraining(OneDimensionalGame(), alt="A game"),
            ValueError,
            ["alt", "few words", "'A game'"],
        ),
        (lambda: make(panels=[Panel([Line("r")])]), ValueError, ["panels", "'kl'", "['r']"]),
        (lambda: make(panels=[Panel([Line("p")], x="t")]), ValueError, ["panels", "'kl'", "['t']"]),
        (lambda: make(panels=[Panel([Point("mean", "r")])]), ValueError, ["panels", "'kl'", "['r']"]),
        (lambda: make(panels=[Panel([Arrows("r", "G_z")])]), ValueError, ["panels", "'kl'", "['r']"]),
        (lambda: make(numbers=[Number("js", "JSD")]), ValueError, ["numbers", "'kl'", "['js']"]),
        (lambda: evaluate(lambda a: a, FLOAT), TypeError, ["dict of named tensors", "tensor(2.)"]),
        (lambda: evaluate(lambda a: {}, FLOAT), TypeError, ["dict of named tensors", "{}"]),  # noqa: ARG005
        (lambda: evaluate(lambda a: {"b": a.double()}, FLOAT), TypeError, ["'b'", "float64", "float32"]),
        (lambda: evaluate(lambda a: {"b": a > 0}, FLOAT), TypeError, ["'b'", "bool", "float32"]),
        (lambda: evaluate(lambda a: {"b": float(a)}, FLOAT), TypeError, ["'b'", "float", "float32"]),
    ],
)
def test_bad_input_is_named_with_what_was_given_and_what_is_allowed(attempt, error, words):
    with pytest.raises(error) as raised:
        attempt()
    assert all(word in str(raised.value) for word in words), raised.value


def test_a_figure_whose_function_raises_cannot_be_made():
    def broken(mean, scale):  # noqa: ARG001  (the sliders are its arguments)
        raise ArithmeticError("not today")

    with pytest.raises(ArithmeticError, match="not today"):
        make(broken)


@pytest.mark.parametrize(
    "branch",
    [
        lambda a: {"b": a if a > 0 else -a},
        lambda a: {"b": torch.full((3,), float(a))},
        lambda a: {"b": a * math.exp(a)},
        lambda a: {"b": torch.ones(int(a))},
        lambda a: {"b": torch.linspace(0.0, float(a.numpy()), 5)},
    ],
)
def test_a_function_that_uses_a_value_as_a_python_number_is_not_frozen_into_the_page(branch):
    assert evaluate(branch, FLOAT)
    with pytest.raises(ValueError, match=r"lambda.* cannot be exported .*tensors only"):
        to_onnx(branch, FLOAT)


def test_an_operator_that_onnx_lacks_is_named():
    with pytest.raises(ValueError, match=r"No ONNX function found for .*\blgamma\b.*operators that ONNX has"):
        to_onnx(lambda a: {"b": torch.lgamma(a)}, FLOAT)


# In what it computes.


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda a: {"y": a * torch.rand(5)}, "draws random numbers"),
        (lambda a: {"y": Normal(a, 1.0).sample((5,))}, "draws random numbers"),
        (lambda a: {"y": torch.erf(a.double()).float()}, "float64"),
    ],
)
def test_what_a_page_would_compute_otherwise_is_not_exported(function, reason):
    with pytest.raises(ValueError, match=reason):
        to_onnx(function, {"a": torch.tensor(0.3, dtype=torch.float32)})


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"numbers": [Number("p", "p")]}, "the output 'p' must have shape ()"),
        ({"panels": [Panel([Line("kl")])]}, "the output 'kl' must have shape"),
        ({"panels": [Panel([Point("p", "q")])]}, "the output 'p' must have shape ()"),
        ({"panels": []}, "panels must not be empty"),
    ],
)
def test_what_cannot_be_drawn_as_it_is_asked_is_refused(parts, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        make(**parts)


@pytest.mark.usefixtures("double")
def test_inside_the_function_all_is_float32_and_outside_it_is_as_before(capsys):
    seen = []

    def function(a):
        seen.append((torch.get_default_dtype(), torch.is_grad_enabled(), torch.linspace(0.0, 1.0, 2).dtype))
        return {"b": a * torch.ones(2)}

    assert Distribution._validate_args  # noqa: SLF001  (it has no getter)
    for run in (evaluate, to_onnx):
        run(function, FLOAT)
        assert torch.get_default_dtype() == torch.float64 and torch.is_grad_enabled()
        assert Distribution._validate_args  # noqa: SLF001
    assert set(seen) == {(torch.float32, False, torch.float32)}
    assert capsys.readouterr() == ("", "")  # or a notebook would keep what the exporter says


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("run", [evaluate, to_onnx])
def test_an_error_in_the_function_leaves_nothing_changed(run):
    def broken(a):
        raise ArithmeticError(a)

    with pytest.raises(ArithmeticError):
        run(broken, FLOAT)
    assert torch.get_default_dtype() == torch.float64 and torch.is_grad_enabled()
    assert Distribution._validate_args  # noqa: SLF001


@pytest.mark.parametrize("collects", [True, False])
def test_the_garbage_collector_rests_while_a_function_is_exported_and_is_as_before_after_it(collects):
    seen = []

    def function(a):
        seen.append(gc.isenabled())
        return {"b": a + 1}

    before = gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        to_onnx(function, FLOAT)
        assert not seen[-1]  # the first time it is asked for the names of what it returns
        assert gc.isenabled() == collects
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: {"same": a, "other": b},
        lambda a, b: {"twice": a, "again": a, "b": b + 0},
        lambda a, b: {"plain": a.item() * b, "mixed": torch.ones(3) * b.item() ** 2},
        lambda a, b: {"ignores": a**2},  # noqa: ARG005
        lambda a, b: {"fixed": torch.arange(4.0), "sum": a + b},
        lambda a, b: {"∞": (a - a) / torch.tensor([1.0, 0.0]), "−∞": -1 / (b - b)},
        lambda a, b: {"in": torch.special.erf(a), "x.y": torch.logaddexp(a, b), "log": torch.log1p(b)},
        lambda a, b: {
            "bce": binary_cross_entropy_with_logits(a + b, (a > b).float()),
            "c": logsigmoid(a - b),
        },
        lambda a, b: {"sorted": torch.stack([a, b]).sort().values, "c": torch.cumsum(torch.ones(5) * a, 0)},
        lambda a, b: {"t": torch.trapezoid(torch.linspace(0, 1, 9) ** 2 * a, dx=0.125) + b},
    ],
)
@pytest.mark.no_cover  # the package's lines are seen below; here the exporter's would be traced
def test_any_function_of_tensors_is_the_same_in_onnx(onnx, apart, function):
    model = to_onnx(function, tensors({"a": 1.0, "b": 1.0}))
    for values in ({"a": 2.0, "b": 3.0}, {"a": -0.5, "b": 0.25}, {"a": -300.0, "b": 100.0}):
        outputs = evaluate(function, tensors(values))
        computed = onnx(model, values)
        assert list(computed) == list(outputs)
        for name, value in outputs.items():
            assert apart(computed[name], value) < 1e-6, (name, values)


# A widget like any other.


def test_a_slider_is_a_trait_with_bounds(figure):
    told = []
    figure.observe(told.append, "mean")
    figure.mean = -2.5
    assert [(change.old, change.new) for change in told] == [(1.0, -2.5)]
    assert figure.outputs["kl"] == pytest.approx(
        kl_divergence(Normal(0.0, 1.0), Normal(-2.5, 0.7)).item(), rel=1e-6
    )
    for name, value in [("mean", 3.1), ("mean", -3.1), ("scale", 0.0), ("scale", "wide")]:
        with pytest.raises(TraitError, match=rf"'{name}'"):
            setattr(figure, name, value)
    assert (figure.mean, figure.scale) == (-2.5, 0.7)
    assert {"mean", "scale"} <= set(figure.traits(sync=True))  # the browser's half has them, too


@pytest.mark.parametrize(
    ("low", "high", "start", "step", "places"),
    [
        (-1.0, 3.0, -1.0, 4.0, [-1.0, 3.0]),
        (-1.0, 3.0, 3.0, 4.0, [-1.0, 3.0]),
        (0.0, 0.3, 0.0, 0.1, [0.0, 0.1, 0.2, 0.3]),  # 0.3 / 0.1 is less than 3
        (0.4, 2.5, 0.7, 0.5, [0.4, 0.9, 1.4, 1.9, 2.4]),
        (-3.0, 3.0, 1.0, None, [hundredth / 100 for hundredth in range(-300, 301, 6)]),
    ],
)
def test_a_slider_is_as_likely_at_one_of_its_places_as_at_another(low, high, start, step, places):
    slider = Slider(low, high, start, step=step)
    dice = random.Random(0)  # noqa: S311  (nothing here is secret)
    times = Counter(round(slider.anywhere(dice), 9) for _ in range(100 * len(places)))
    assert sorted(times) == places
    assert all(50 < time < 150 for time in times.values())


def test_with_a_kernel_a_figure_shows_itself_as_a_widget(figure):
    shown, _ = figure._repr_mimebundle_()
    assert shown["application/vnd.jupyter.widget-view+json"]["model_id"] == figure.model_id


def test_two_figures_do_not_share_their_sliders(figure):
    other = make(sliders={**SLIDERS, "mean": Slider(0.0, 9.0, 8.0)})
    figure.mean = -1.0
    assert (figure.mean, other.mean) == (-1.0, 8.0)
    other.close()


def test_a_trait_can_be_linked_to_another_widget(figure):
    slider = ipywidgets.FloatSlider(min=-3.0, max=3.0)
    link = ipywidgets.link((slider, "value"), (figure, "mean"))
    slider.value = 2.0
    assert figure.outputs["mean"] == 2.0
    figure.mean = -1.0
    assert slider.value == -1.0
    link.unlink()
    slider.close()


def ask(figure, **values):
    """What the kernel answers to the browser, through the widget's own channel."""
    answers = []
    figure.comm.publish_msg = lambda _type, data, buffers, **_: answers.append((data, buffers))
    message = {"task": "draw", "inputs": list(values)}
    content = {"kind": "anywidget-command", "id": "1", "name": "_compute", "msg": message}
    figure.comm.handle_msg({
        "content": {"data": {"method": "custom", "content": content}},
        "buffers": [np.float32(value).tobytes() for value in values.values()],
    })  # fmt: skip
    ((data, buffers),) = answers
    return data["content"]["response"], buffers


def test_the_kernel_answers_the_browser_with_the_outputs(figure):
    answer, buffers = ask(figure, scale=2.0, mean=-1.0)
    right = evaluate(two_gaussians, tensors({"mean": -1.0, "scale": 2.0}))
    assert answer["outputs"] == list(right)
    for buffer, value in zip(buffers, right.values(), strict=True):
        np.testing.assert_array_equal(np.frombuffer(buffer, np.float32), value.flatten())
    assert (figure.mean, figure.scale) == (1.0, 0.7)  # asking sets nothing


def test_the_kernel_answers_the_browser_with_the_error(figure):
    def broken(mean, scale):  # noqa: ARG001  (the sliders are its arguments)
        raise ArithmeticError("not today")

    figure.function = broken
    answer, buffers = ask(figure, mean=0.0, scale=1.0)
    assert answer == {"error": "ArithmeticError: not today"}
    assert not list(buffers)


def run(*cells):
    """What cells print, in a kernel."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [
        "".join(out.text for out in cell.outputs if out.output_type == "stream") for cell in notebook.cells
    ]


def test_a_figure_in_a_kernel_follows_edits_of_its_function():
    _, before, _, after = run(
        "import torch\nfrom gan_theory.live import *\n"
        "def f(a):\n    return {'x': torch.ones(2), 'y': a * torch.ones(2)}",
        "sliders, panels = {'a': Slider(0.0, 4.0, 2.0)}, [Panel([Line('y')])]\n"
        "figure = LiveFigure(f, sliders, panels, alt='A line that is flat.')\n"
        "print(figure.outputs['y'].tolist())",
        "def f(a):\n    return {'x': torch.ones(2), 'y': 10 * a * torch.ones(2)}",
        "print(figure.outputs['y'].tolist())",
    )
    assert before == "[2.0, 2.0]\n"
    assert after == "[20.0, 20.0]\n"


class Notebook:
    """Cells that share their names, and what IPython makes known after each."""

    def __init__(self, name="__main__"):
        self.events = EventManager(None, available_events)
        self.names = {"__name__": name, "torch": torch}

    def run(self, cell):
        exec(cell, self.names)  # noqa: S102  (our own text)
        self.events.trigger("post_run_cell", None)

    def figure(self, monkeypatch, function):
        """One of a function in this notebook, and what it sends to the browser."""
        monkeypatch.setattr("gan_theory.live.figure.get_ipython", lambda: self)
        sliders, panels = {"a": Slider(0.0, 4.0, 2.0)}, [Panel([Line("y")])]
        figure, sent = LiveFigure(function, sliders, panels, alt="A line that is flat."), []
        monkeypatch.setattr(figure, "send", lambda content, buffers=None: sent.append(content))  # noqa: ARG005
        return figure, sent


def flat(factor, name="f", argument="a"):
    return (
        f"def {name}({argument}):\n"
        f"    return {{'x': torch.ones(2), 'y': {factor} * {argument} * torch.ones(2)}}\n"
    )


def test_a_figure_draws_the_newest_definition_of_its_function_until_it_is_closed(monkeypatch):
    notebook = Notebook()
    notebook.run(flat(1))
    figure, sent = notebook.figure(monkeypatch, first := notebook.names["f"])
    for no_edit in (flat(10, name="g"), flat(10, argument="b"), "f = 3", "del f"):
        notebook.run(no_edit)
        assert figure.function is first and not sent
    notebook.run(flat(10))
    notebook.run("unrelated = 1")
    assert figure.outputs["y"].tolist() == [20.0, 20.0]
    assert sent == [{"kind": "edited"}]
    figure.close()
    notebook.run(flat(100))
    assert figure.outputs["y"].tolist() == [20.0, 20.0]
    assert not notebook.events.callbacks["post_run_cell"]


def test_a_figure_keeps_a_function_that_no_cell_can_define_anew(monkeypatch):
    module, notebook = Notebook("library"), Notebook()
    module.run(flat(1))
    notebook.run("def made():\n" + indent(flat(1), "    ") + "    return f")
    for place, function in [(module, module.names["f"]), (notebook, notebook.names["made"]())]:
        figure, sent = place.figure(monkeypatch, function)
        place.run(flat(10))
        assert figure.function is function and not sent
        figure.close()


# In the page.


class Elements(HTMLParser):
    """The elements of a piece of HTML, as a browser takes them apart."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.image = [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.image = dict(attrs)

    def handle_data(self, data):
        if self.tags[-1] == "script":
            self.scripts.append(data)


@pytest.fixture
def bundle(monkeypatch):
    """From a figure's parts to what the built page holds of it."""
    monkeypatch.setenv("GAN_THEORY_LIVE", "page")

    def bundle(**parts):
        figure = make(**parts)
        assert figure.comm is None  # the page would try to reach a kernel
        return figure._repr_mimebundle_()

    return bundle


def test_the_page_holds_the_figure_its_model_and_its_picture(bundle, onnx, apart):
    written = bundle()
    assert set(written) == {"text/html", "image/png", "text/plain"}
    assert written["text/plain"] == ALT
    elements = Elements(written["text/html"])
    assert elements.tags == ["div", "script", "img"]
    assert elements.image["alt"] == ALT
    kind, svg = elements.image["src"].split(",", 1)
    assert kind == "data:image/svg+xml" and unquote(svg).rstrip().endswith("</svg>")
    assert imread(io.BytesIO(base64.b64decode(written["image/png"]))).std() > 0.05
    spec = json.loads("".join(elements.scripts))
    assert (spec["view"], spec["alt"]) == ("figure", ALT)
    assert spec["tasks"] == {"draw": {"mean": [], "scale": []}}
    assert spec["sliders"] == {
        "mean": {"low": -3.0, "high": 3.0, "start": 1.0, "step": None, "label": "mean of q", "unit": ""},
        "scale": {"low": 0.4, "high": 2.5, "start": 0.7, "step": 0.05, "label": "scale", "unit": ""},
    }
    start = evaluate(two_gaussians, tensors({"mean": 1.0, "scale": 0.7}))
    for name, value in start.items():
        told = np.frombuffer(base64.b64decode(spec["start"][name]), "<f4")
        np.testing.assert_array_equal(told, value.flatten())
    values = {"mean": -0.3, "scale": 1.7}
    computed = onnx(base64.b64decode(spec["models"]["draw"]), values)
    for name, value in evaluate(two_gaussians, tensors(values)).items():
        assert apart(computed[name], value) < 1e-5, name


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("right", "found", "refused"),
    [
        (0.0, 1e-5, False),
        (0.0, 2e-5, True),
        (-100.0, -100.0009, False),
        (-100.0, -100.002, True),
        (0.0, INF, True),
        (0.0, NAN, True),
        (INF, INF, False),
        (INF, 1.0, True),
        (INF, -INF, True),
        (NAN, NAN, False),
        (NAN, 0.0, True),
    ],
)
def test_a_model_that_computes_something_else_is_refused(right, found, refused):
    def function(a):
        at_zero = found if isinstance(a, FakeTensor) else right  # as it is exported, and as it is run
        return {"y": torch.where(a == 0.0, at_zero, a) * torch.ones(2)}

    elsewhere, there = tensors({"a": 1.0}), tensors({"a": 0.0})
    told = pytest.raises(
        ValueError, match=r"function must be the same in ONNX, and its 'y' .* where a = tensor"
    )
    with told if refused else nullcontext():
        to_onnx(function, elsewhere, [elsewhere, there])


def test_a_figure_is_held_to_its_function_all_over_its_sliders():
    sliders = {**SLIDERS, "scale": Slider(0.4, 2.5, 0.7, step=0.5)}
    trials = [
        {name: value.item() for name, value in trial.items()}
        for trial in make(sliders=sliders)._tasks["draw"].trials  # noqa: SLF001  (what the page is held to)
    ]
    assert len(trials) == 20
    corners = [{"mean": mean, "scale": scale} for mean in (-3.0, 3.0) for scale in (0.4, 2.5)]
    assert [pytest.approx(corner) for corner in corners] == trials[:4]
    assert len({trial["mean"] for trial in trials}) > 10
    for trial in trials[4:]:
        assert -3 <= trial["mean"] <= 3
        assert trial["scale"] in [pytest.approx(place) for place in (0.4, 0.9, 1.4, 1.9, 2.4)]


def test_of_many_sliders_eight_corners_are_tried():
    sliders = {name: Slider(0.0, 1.0, 0.5) for name in "abcd"}
    product = lambda a, b, c, d: {"x": torch.ones(2), "y": a * b * c * d * torch.ones(2)}
    figure = make(product, sliders, [Panel([Line("y")])], [])
    trials = figure._tasks["draw"].trials  # noqa: SLF001  (as above)
    corners = [trial for trial in trials if {value.item() for value in trial.values()} <= {0.0, 1.0}]
    assert (len(corners), len(trials)) == (8, 20)
    figure.close()


def test_no_label_ends_the_script_and_no_description_ends_its_attribute(bundle):
    label, alt = "</script><b>p</b><!--", 'Two "Gaussians", <p> & q, as they are.'
    written = bundle(panels=[Panel([Line("p", label)])], alt=alt)
    elements = Elements(written["text/html"])
    assert elements.tags == ["div", "script", "img"]
    assert elements.image["alt"] == alt
    spec = json.loads("".join(elements.scripts))
    assert spec["panels"][0]["marks"][0]["label"] == label


@pytest.mark.no_cover  # as above
def test_the_same_figure_is_written_in_the_same_bytes(bundle):
    assert bundle() == bundle()


@pytest.mark.usefixtures("untraced")
def test_a_notebook_that_makes_the_page_writes_no_widget(monkeypatch):
    monkeypatch.setenv("GAN_THEORY_LIVE", "page")
    cell = nbformat.v4.new_code_cell(
        "import torch\nfrom gan_theory.live import *\n"
        "LiveFigure(lambda a: {'x': torch.ones(2), 'y': a * torch.ones(2)}, {'a': Slider(0.0, 4.0, 2.0)},"
        "[Panel([Line('y')])], alt='A line that is flat.')"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert set(output.data) == {"text/html", "image/png", "text/plain"}
    assert "widgets" not in notebook.metadata


# In print.


def test_the_picture_holds_what_the_function_returned():
    outputs = evaluate(two_gaussians, tensors({"mean": -1.0, "scale": 0.5}))
    picture = draw(
        PANELS,
        outputs,
        [SLIDERS["mean"].read("mean"), SLIDERS["scale"].read("scale")],
        [number.read(outputs) for number in NUMBERS],
    )
    curves, arrows = picture.axes
    lines = {line.get_label(): line for line in curves.lines}
    for label, name in [("p log(p/q)", "integrand"), ("p", "p"), ("q$_{\\mathrm{mean}}$", "q")]:
        x_and_y = np.column_stack([outputs["x"], outputs[name]])
        np.testing.assert_array_equal(lines[label].get_xydata(), x_and_y)
    for label, style in [("p", "p_data"), ("q$_{\\mathrm{mean}}$", "p_g")]:
        assert to_hex(lines[label].get_color()) == to_hex(plotting.LINES[style]["color"])
        assert lines[label].get_linestyle() == plotting.LINES[style]["linestyle"]
    (point,) = [line for line in curves.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(point.get_xydata(), [[outputs["mean"], outputs["top"]]])
    assert (curves.get_xlim(), curves.get_ylim()) == ((-6.0, 6.0), (-0.5, 1.5))
    assert (curves.get_xlabel(), curves.get_ylabel()) == ("x", "density")
    assert arrows.get_title() == "G$_{\\mathrm{z}}$"
    ends = [(text.get_position()[0], text.xy[0]) for text in arrows.texts if not text.get_text()]
    np.testing.assert_array_equal(ends, np.column_stack([outputs["z"], outputs["G_z"]]))
    readings = f"mean of q = 1     scale = 0.7\nKL(p ∥ q) = {outputs['kl'].item():.4g} nats"
    assert picture.get_suptitle() == readings
    assert draw(PANELS, outputs, ["a = 1"] * 4).get_suptitle().splitlines()[1] == "a = 1"  # or it is cut off


def test_the_page_wears_the_colours_of_the_pictures():
    css = (ROOT / "gan_theory/live/browser/src/live.css").read_text(encoding="utf-8")
    light = re.search(r"^\.live \{(.*?)\}", css, re.MULTILINE | re.DOTALL)[1]
    colours = dict(re.findall(r"--live-(\w+): (#\w+);", light))
    assert {name: to_hex(colours[name]) for name in plotting.LINES} == {
        name: to_hex(line["color"]) for name, line in plotting.LINES.items()
    }
    assert to_rgb(colours["shade"][:7]) == to_rgb(plotting.ACCENT)


# Pictures, and what the reader draws.


def striped(width, drawing):
    """A picture of stripes, and how much of the drawing lies on them."""
    stripes = (torch.arange(5) < width).float().expand(5, 5)
    return {"images": torch.stack([stripes, drawing]), "on": (stripes * drawing).sum()}


def with_pad(**changes):
    options = {
        "sliders": {"width": Slider(0.0, 5.0, 2.0)},
        "panels": [Panel([Images("images", columns=2, size=5)])],
        "numbers": [Number("on", "ink on stripes")],
        "alt": "Stripes beside what the reader has drawn.",
        "pad": Pad("drawing", torch.eye(5), "Draw a line"),
    }
    return LiveFigure(striped, **options | changes)


def test_what_is_drawn_is_an_argument_like_the_others(onnx):
    made = with_pad()
    assert made.outputs["on"] == 2
    made.width = 5.0
    assert made.outputs["on"] == 5
    drawn = torch.zeros(5, 5)
    drawn[:, 0] = 0.5
    arguments = {"width": torch.tensor(1.0), "drawing": drawn}
    computed = onnx(to_onnx(made.function, arguments), arguments)
    assert computed["on"] == evaluate(made.function, arguments)["on"] == 2.5
    told = made._spec["pad"]  # noqa: SLF001  (what the browser is told)
    assert told["argument"] == "drawing" and told["label"] == "Draw a line"
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(told["start"]), "<f4").reshape(5, 5), np.eye(5)
    )


@pytest.mark.parametrize(("count", "columns", "rows"), [(10, 10, 1), (11, 10, 2), (20, 10, 2), (9, 4, 3)])
def test_pictures_are_nearly_as_high_as_they_are_wide(count, columns, rows):
    panel, outputs = Panel([Images("images", columns=columns)]), {"images": torch.zeros(count, 28, 28)}
    inches = draw([panel], outputs).get_size_inches()
    assert inches[1] / rows == pytest.approx(inches[0] / columns, rel=0.03)


def test_few_pictures_are_no_larger_than_four_in_a_row():
    pictures = {"images": torch.zeros(2, 28, 28)}
    assert Panel([Images("images", columns=2)]).height(pictures) == pytest.approx(0.5)


def test_a_figure_is_as_high_as_its_panels_together():
    outputs = evaluate(two_gaussians, tensors({"mean": 1.0, "scale": 0.7}))
    figure = draw(PANELS, outputs)
    curves, arrows = (ax.get_position().height for ax in figure.axes)
    assert curves / arrows == pytest.approx(1 / 0.35, rel=0.01)
    assert figure.get_size_inches()[1] == pytest.approx(3.2 * 1.35)


def test_what_lies_beyond_the_ends_of_an_axis_is_not_drawn():
    outputs = evaluate(two_gaussians, tensors({"mean": 1.0, "scale": 0.7}))
    (ax,) = draw([Panel([Line("p")], x_range=(-2.0, 3.0))], outputs).axes
    drawn = ax.lines[0].get_xdata()
    inside = outputs["x"][(outputs["x"] >= -2) & (outputs["x"] <= 3)]
    np.testing.assert_array_equal(drawn, inside)
    assert (drawn[0], drawn[-1]) == (-2.0, 3.0)
    (ax,) = draw([Panel([Line("p")])], outputs).axes
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), outputs["x"])


def test_curves_below_pictures_have_their_names():
    outputs = evaluate(two_gaussians, tensors({"mean": 1.0, "scale": 0.7})) | {"images": torch.zeros(1, 5, 5)}
    _, ax = draw([Panel([Images("images")]), Panel([Line("p")], x_label="t_1", y_label="p")], outputs).axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("t$_{\\mathrm{1}}$", "p")


@pytest.mark.parametrize(
    ("value", "read"),
    [(0.1, "x = 0.1 nats"), (1 / 3, "x = 0.3333 nats"), (4e-8, "x = 0 nats"), (2e-7, "x = 2e-07 nats")],
)
def test_a_number_has_four_digits_of_those_that_float32_has(value, read):
    assert Number("v", "x", "nats").read({"v": torch.tensor(value, dtype=torch.float32)}) == read


def test_pictures_are_drawn_as_ink():
    (ax,) = with_pad()._picture.axes  # noqa: SLF001  (what is printed)
    sheet = ax.images[0].get_array()
    assert sheet.shape == (7, 14)
    np.testing.assert_array_equal(sheet[1:6, 1:6], striped(torch.tensor(2.0), torch.eye(5))["images"][0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pad": None}, "sliders must be for the arguments"),
        ({"panels": [Panel([Images("on")])]}, r"'on' must have shape \(n, 28, 28\), not \(\)"),
        ({"panels": [Panel([Images("images")])]}, r"'images' must .*\(n, 28, 28\), not \(2, 5, 5\)"),
        ({"panels": [Panel([Images("missing")])]}, "missing"),
    ],
)
def test_a_pad_or_pictures_that_do_not_fit_are_refused(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        with_pad(**changes)


@pytest.mark.parametrize(
    "start",
    [
        torch.zeros(3, 4),
        torch.zeros(4),
        torch.tensor(0.0),
        torch.zeros(3, 3, 3),
        *(torch.full((3, 3), ink) for ink in (-0.5, 1.5, NAN, INF)),
    ],
)
def test_a_pad_begins_with_a_square_picture(start):
    with pytest.raises(ValueError, match=r"start must be \(size, size\) in \[0, 1\]"):
        Pad("drawing", start, "Draw")


def test_a_picture_may_be_a_single_pixel():
    panel, outputs = Panel([Images("images", columns=1, size=1)]), {"images": torch.ones(1, 1, 1)}
    (ax,) = draw([panel], outputs).axes
    assert ax.images[0].get_array()[1, 1] == 1


def test_a_pad_begins_with_a_tensor():
    with pytest.raises(TypeError, match="start must be a tensor, got ndarray"):
        Pad("drawing", np.zeros((3, 3)), "Draw")


@pytest.mark.parametrize("exact", [True, False])
def test_constants_are_stored_in_half_precision_only_where_nothing_is_lost(onnx, exact):
    few = torch.arange(64.0)[None]
    table = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))  # no fewer numbers are halved
    table = table.half().float() if exact else table
    row = torch.full((1, 64), 0.5)
    function = lambda a: {"y": torch.cat([few, table, a]).sum(dim=1)}
    model = to_onnx(function, {"a": row})
    check_model(model)
    assert (len(model) < 12_000) == exact and (len(model) > 16_000) != exact
    computed = onnx(model, {"a": row})["y"]
    np.testing.assert_allclose(computed, [2016.0, *table.sum(dim=1), 32.0], rtol=1e-4, atol=1e-4)


# The GAN that trains.


def test_a_training_starts_as_the_browser_will_start_it_anew():
    game = OneDimensionalGame()
    training = LiveTraining(game, alt="A GAN that trains")  # a word less would be refused
    spec = training._spec  # noqa: SLF001  (what the browser is told)
    start = {name: np.frombuffer(base64.b64decode(told), "<f4") for name, told in spec["start"].items()}
    uniforms = list(islice(uniform_numbers(spec["seed"]), *spec["tasks"]["initial"]["uniforms"]))
    players = evaluate(game.initial, {"uniforms": torch.tensor(uniforms, dtype=torch.float32)})
    for name, value in evaluate(game.look, {**players, "target": TARGETS["Gaussian"]}).items():
        np.testing.assert_array_equal(start[name], value.flatten())
    history = [start[name].tolist() for name in ("iterations", "jsds", "values")]
    assert history == [start[name].tolist() for name in ("iteration", "jsd", "value")]
    assert start["iteration"].tolist() == [0.0]
    assert [slider["label"] for slider in spec["sliders"].values()] == [
        "learning rate of D",
        "learning rate of G",
    ]
    rates = [10 ** slider["start"] for slider in spec["sliders"].values()]
    assert rates == pytest.approx([0.005, 0.001], rel=0.01)
    training.close()


# In the book.


def test_the_example_for_authors_is_short_and_works():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    *_, last = (tree := ast.parse(example)).body
    tree.body[-1] = ast.Assign([ast.Name("figure", ast.Store())], last.value)
    names = vars(live) | {"torch": torch, "Normal": Normal}
    exec(compile(ast.fix_missing_locations(tree), "CONTRIBUTING.md", "exec"), names)  # noqa: S102  (our own text)
    outputs = names["figure"].outputs
    real, fake = (Normal(centre, 1.0).log_prob(outputs["x"]).exp() for centre in (1.0, -1.0))
    torch.testing.assert_close(outputs["D"], real / (real + fake))
