"""The live figures of the built book, in Chromium: the page computes, draws and answers as Python would."""

import base64
import gzip
import itertools
import random
import re
import time
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from playwright.sync_api import expect

from gan_theory.live.game import TARGETS
from gan_theory.losses import non_saturating_generator_loss

BOOK = Path(__file__).parents[2] / "book"


def notebooks(word):
    """The notebooks whose code holds a word."""
    return [path.stem for path in sorted(BOOK.glob("*.ipynb")) if word in path.read_text(encoding="utf-8")]


FIGURES, TRAININGS = notebooks("LiveFigure("), notebooks("LiveTraining(")
LIVE = list(dict.fromkeys(FIGURES + TRAININGS))
RUNTIME = "live-runtime.js"

# Tells what has been drawn: since the page was opened, and last in each component.
LISTEN = """() => {
    globalThis.pictures = [];
    globalThis.last = new Map();
    addEventListener("drawn", ({ target, detail }) => {
        pictures.push({ ...detail, at: performance.now() });
        last.set(target, detail);
    }, true);
}"""
# Moves the sliders of a figure and waits until it follows: where they stand then, and what was drawn, which
# is long, in base64.
SET = """async (host, values) => {
    const sliders = [...host.querySelectorAll("input[type=range]")];
    const names = Object.keys(JSON.parse(host.querySelector("script").textContent).sliders);
    const there = ({ inputs }) => names.every((name, i) => inputs[name][0] === Math.fround(sliders[i].value));
    const followed = new Promise((resolve) => {
        host.addEventListener("drawn", function look({ detail }) {
            if (!there(detail)) return;
            host.removeEventListener("drawn", look);
            resolve(detail);
        });
    });
    sliders.forEach((slider, i) => {
        slider.value = values[names[i]];
        slider.dispatchEvent(new Event("input"));
    });
    const { outputs } = await followed;
    const bytes = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength);
    const text = (array) => Array.from(bytes(array), (byte) => String.fromCharCode(byte)).join("");
    const packed = Object.entries(outputs).map(([name, array]) => [name, btoa(text(array))]);
    const positions = names.map((name, i) => [name, sliders[i].valueAsNumber]);
    return [Object.fromEntries(positions), Object.fromEntries(packed)];
}"""
CANVASES = "host => [...host.querySelectorAll('canvas')].map(canvas => canvas.toDataURL())"
# The least contrast of what a component draws with what is behind it, and how light this is, as in WCAG.
CONTRAST = """host => {
    const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const light = (color) => {
        pixel.fillStyle = color;
        pixel.fillRect(0, 0, 1, 1);
        const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        const [red, green, blue] = [...pixel.getImageData(0, 0, 1, 1).data].map((c) => linear(c / 255));
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    let behind = host;
    while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
    const ground = light(getComputedStyle(behind).backgroundColor);
    const contrasts = ["ink", "p_data", "p_g", "D", "D_learnt"].map((name) => {
        const ink = light(getComputedStyle(host).getPropertyValue(`--live-${name}`));
        return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    });
    return [Math.min(...contrasts), ground];
}"""
# All that a reader sees or takes hold of in a component: what it is, where, and whether it is a control.
PARTS = """host => [
    ...host.querySelectorAll("canvas, label, output, button, select, input, .live-legend span"),
].map((part) => {
    const { left, right, width, height } = part.getBoundingClientRect();
    const what = part.outerHTML.slice(0, 120), control = part.matches("button, select, input");
    return { what, control, left, right, width, height };
})"""
SPEC = "host => JSON.parse(host.querySelector('script').textContent)"


def components(page, view):
    """The live components of one kind in a page, each with what the page was told of it."""
    hosts = [(host, host.evaluate(SPEC)) for host in page.locator(".live").all()]
    return [(host, spec) for host, spec in hosts if spec["view"] == view]


def step_of(slider):
    """What one press of an arrow key adds."""
    return slider["step"] or (slider["high"] - slider["low"]) / 100


def named(pages):
    return pytest.mark.parametrize("name", pages)


def plain(pages):
    """For tests that share a look at a page whose formulas are not set."""
    return pytest.mark.parametrize("bare", pages, indirect=True)


@pytest.fixture
def visit(opened, html):
    """Opens a page of one's own from its file, where a browser allows least."""

    def visit(name, **context):
        return opened(f"{html.as_uri()}/{name}.html", **context)

    return visit


@cache
def packed(file):
    """How many bytes a file is when a server sends it compressed."""
    return len(gzip.compress(file.read_bytes()))


@pytest.mark.parametrize("look", LIVE, indirect=True)
def test_a_page_is_light_until_it_is_touched(look):
    page, _, asked = look
    page.wait_for_load_state("networkidle")
    paths = {Path(unquote(urlsplit(url).path)) for url in asked if not url.startswith("data:")}
    sent = {path.name: packed(path) for path in paths if path.suffix != ".woff2"}
    heaviest = sorted(((size, path) for path, size in sent.items()), reverse=True)[:5]
    assert sum(sent.values()) <= 2.2e6, heaviest
    assert len(sent) > 5 and RUNTIME not in sent


# Figures.


def model_of(html, spec):
    """The function of a figure as the page holds it: in itself, or beside it where it is large."""
    model = spec["models"]["draw"]
    if model.endswith(".js"):
        (model,) = re.findall(r'= "(.*)";', (html / "_static" / model).read_text(encoding="ascii"))
    return base64.b64decode(model)


def settings(sliders):
    """Corners of what the sliders reach, eight at most, and places between: 20 in all."""
    dice = random.Random(1)  # noqa: S311  (nothing here is secret)
    corners = itertools.islice(itertools.product(*((s["low"], s["high"]) for s in sliders.values())), 8)
    chosen = [dict(zip(sliders, corner, strict=True)) for corner in corners]
    while len(chosen) < 20:
        chosen.append({name: dice.uniform(s["low"], s["high"]) for name, s in sliders.items()})
    return chosen


@pytest.fixture
def computes(html, onnx, apart):
    """Holds the figures of a page that nobody has touched to the models that the page holds of PyTorch."""

    def computes(page):
        asked, hosts = [], components(page, "figure")
        home = page.url.rsplit("/", 1)[0]
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(200)
        assert not asked, "before it is touched a figure asks for nothing"
        for host, spec in hosts:
            model, pad = model_of(html, spec), spec["pad"]
            drawn = {}
            if pad:
                ink = np.frombuffer(base64.b64decode(pad["start"]), "<f4")
                drawn[pad["argument"]] = ink.reshape(spec["tasks"]["draw"][pad["argument"]])
            for setting in settings(spec["sliders"]):
                values, outputs = host.evaluate(SET, setting)
                for slider, value in setting.items():
                    told = spec["sliders"][slider]
                    assert abs(values[slider] - value) <= step_of(told) / 2 + 1e-9
                right = onnx(model, drawn | values)
                assert set(outputs) == set(right)
                for output, value in right.items():
                    there = np.frombuffer(base64.b64decode(outputs[output]), "<f4").reshape(value.shape)
                    assert apart(there, value) <= 5e-6, (spec["alt"], output, values)
        asked = [
            url for url in asked if not url.startswith(("data:", "blob:", f"{home}/_static/live-model-"))
        ]
        assert asked == [f"{home}/_static/{RUNTIME}"]

    return computes


@plain(FIGURES)
def test_every_figure_computes_what_its_model_computes(bare, computes):
    page, wrong = bare
    computes(page)
    assert not wrong, "\n" + "\n".join(wrong)


@named(["minimax", "conditional-and-convolutional"])  # the runtime and large models come another way
def test_a_figure_from_a_server_computes_it_too(opened, served, computes, name):
    with opened(f"{served}/{name}.html", mathematics=False) as (page, wrong):
        computes(page)
        assert not wrong, "\n" + "\n".join(wrong)


@plain(FIGURES)
def test_the_keyboard_moves_every_slider_and_reset_puts_it_back(bare):
    page, wrong = bare
    for host, spec in components(page, "figure"):
        start, first = host.evaluate(SET, {slider: s["start"] for slider, s in spec["sliders"].items()})
        sliders = host.get_by_role("slider").all()
        assert len(sliders) == len(spec["sliders"])
        for slider, (key, told) in zip(sliders, spec["sliders"].items(), strict=True):
            page.evaluate(LISTEN)
            slider.focus()
            seen, texts = [host.evaluate(CANVASES)], [slider.get_attribute("aria-valuetext")]
            inwards = "ArrowLeft" if start[key] == told["high"] else "ArrowRight"
            for press in (inwards, "Home", "End"):
                page.keyboard.press(press)
                value = slider.evaluate("slider => slider.valueAsNumber")
                page.wait_for_function(f"pictures.at(-1)?.inputs[{key!r}][0] === Math.fround({value})")
                seen.append(host.evaluate(CANVASES))
                texts.append(slider.get_attribute("aria-valuetext"))
            assert told["high"] - step_of(told) < value <= told["high"]
            assert all(one != other for one, other in itertools.pairwise(seen)), (spec["alt"], key)
            assert all(one != other for one, other in itertools.pairwise(texts))
            if told["unit"]:
                assert all(text.endswith(told["unit"]) for text in texts)
        host.get_by_role("button", name="Reset").focus()
        page.keyboard.press("Enter")
        for slider, value in zip(sliders, start.values(), strict=True):
            expect(slider).to_have_js_property("valueAsNumber", value)
        again, second = host.evaluate(SET, start)
        assert (again, second) == (start, first)
    assert not wrong, "\n" + "\n".join(wrong)


# All components.


@pytest.mark.parametrize("look", LIVE, indirect=True)
def test_all_is_in_sight_on_a_phone(phone):
    page, wrong = phone
    page.locator(".live input[type=range]").first.press("ArrowRight")
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    hosts = page.locator(".live").all()
    for part in itertools.chain.from_iterable(host.evaluate(PARTS) for host in hosts):
        assert part["width"] > 0 and part["height"] > 0, f"{part} is not in sight"
        assert part["left"] >= 0 and part["right"] <= 360, part
        assert part["height"] >= 24 or not part["control"], f"{part} is too small for a finger"
    assert not wrong, "\n" + "\n".join(wrong)


@plain(LIVE)
def test_every_control_has_a_name_and_every_picture_a_description(bare):
    page, _ = bare
    for host in page.locator(".live").all():
        spec = host.evaluate(SPEC)
        snapshot = host.aria_snapshot()
        controls = re.findall(r"^\s*- (?:slider|button|combobox|spinbutton)\b.*", snapshot, re.MULTILINE)
        assert controls and all(re.search(r'- \w+ "\w', control) for control in controls), snapshot
        assert host.get_by_role("img", name=spec["alt"]).count() == 1


@plain(LIVE)
def test_the_colours_follow_the_theme_without_reloading(bare):
    page, wrong = bare
    hosts = page.locator(".live").all()
    seen = {}
    for _ in range(3):
        page.locator(".theme-switch-button").locator("visible=true").first.click()
        theme = page.locator("html").get_attribute("data-theme")
        page.wait_for_timeout(100)
        seen[theme] = [[*host.evaluate(CONTRAST), *host.evaluate(CANVASES)] for host in hosts]
    for light, dark in zip(seen["light"], seen["dark"], strict=True):
        assert min(light[0], dark[0]) >= 3
        assert light[1] > 0.9 and dark[1] < 0.1
        assert all(one != other for one, other in zip(light, dark, strict=True))
    assert not wrong, "\n" + "\n".join(wrong)


@plain(LIVE)
def test_on_paper_a_picture_stands_for_it(bare):
    page, _ = bare
    for host in page.locator(".live").all():
        assert not host.locator(".live-picture").is_visible()
    page.emulate_media(media="print")
    for host in page.locator(".live").all():
        expect(host.locator(".live-picture")).to_be_visible()
        others = host.locator("canvas, button, input, .live-numbers").all()
        assert others and not any(part.is_visible() for part in others)
    page.emulate_media(media="screen")


def touch(host):
    """Does the first thing that a reader would do."""
    slider = host.locator(".live-controls input[type=range]").first
    slider.focus()
    slider.press("ArrowRight")
    if host.get_by_role("button", name="One D step").count():
        host.get_by_role("button", name="One D step").click()


@named(FIGURES[:1] + TRAININGS[-1:])  # all components take the same way
@pytest.mark.parametrize("lack", ["the runtime", "WebAssembly"])
def test_what_cannot_compute_says_so_and_stays_drawn(opened, served, name, lack):
    with opened(f"{served}/{name}.html", mathematics=False) as (page, wrong):
        if lack == "the runtime":  # which can't be held back from a file
            page.route(f"**/{RUNTIME}*", lambda route: route.abort())
        else:
            page.context.add_init_script("delete globalThis.WebAssembly;")
            page.wait_for_load_state("networkidle")  # a font that is still on its way would be given up
            page.reload()
        for host in page.locator(".live").all():
            before = host.evaluate(CANVASES)
            readings = host.locator(".live-numbers").inner_text()
            touch(host)
            expect(host.locator(".live-status")).not_to_have_text("", timeout=20_000)
            expect(host.locator(".live-status")).not_to_contain_text("Loading", timeout=20_000)
            assert len(host.locator(".live-status").inner_text().split()) >= 5
            assert host.evaluate(CANVASES) == before
            assert host.locator(".live-numbers").inner_text() == readings
        page.locator(".theme-switch-button").locator("visible=true").first.click()
        assert page.locator("html").get_attribute("data-theme")
        surprises = [each for each in wrong if RUNTIME not in each and "ERR_FAILED" not in each]
        assert not surprises, "\n" + "\n".join(surprises)


@named(FIGURES[:1] + TRAININGS[:1])  # all components take the same way
def test_without_javascript_a_picture_stands_for_it(browser, html, name):
    with browser.new_context(java_script_enabled=False) as session:
        page = session.new_page()
        page.goto(f"{html.as_uri()}/{name}.html")
        assert page.locator(".live").count()
        for host in page.locator(".live").all():
            picture = host.locator(".live-picture")
            expect(picture).to_be_visible()
            assert picture.bounding_box()["height"] > 100
            assert len(picture.get_attribute("alt").split()) >= 4


# The GAN that trains.

# Presses buttons in turn, this many times each.
PRESS = """(host, [names, times]) => {
    const button = (name) => [...host.querySelectorAll("button")].find((each) => each.textContent === name);
    for (let i = 0; i < times; i++) for (const name of names) button(name).click();
}"""


class Bench:
    """A training in the reader's hands."""

    def __init__(self, page, host):
        self.page, self.host = page, host
        page.evaluate(LISTEN)

    def press(self, name):
        """Presses a button, and waits for the next picture."""
        before = self.page.evaluate("pictures.length")
        self.host.get_by_role("button", name=name).click()
        self.page.wait_for_function(f"pictures.length > {before}")
        return self.seen()

    def seen(self):
        """What was drawn last."""
        return self.page.evaluate(
            """() => {
                const { state, updates, outputs } = pictures.at(-1);
                const plain = (all) => Object.fromEntries(Object.entries(all).map(([n, a]) => [n, [...a]]));
                return { updates, state: plain(state), outputs: plain(outputs) };
            }"""
        )

    def status(self):
        return self.host.locator(".live-status")

    def rate(self, player, power):
        """Sets the learning rate of a player, D or G, to a power of ten."""
        self.host.get_by_role("slider", name=f"learning rate of {player}").evaluate(
            "(slider, power) => { slider.value = power; slider.dispatchEvent(new Event('input')); }", power
        )


@pytest.fixture
def bench(visit):
    with visit(TRAININGS[0], mathematics=False) as (page, wrong):
        ((host, _),) = components(page, "training")
        yield Bench(page, host)
        assert not wrong, "\n" + "\n".join(wrong)


def test_it_runs_until_it_is_paused(bench):
    bench.host.get_by_role("button", name="Run").click()
    bench.page.wait_for_function("pictures.at(-1)?.updates.generator > 20")
    bench.host.get_by_role("button", name="Pause").click()
    expect(bench.host.get_by_role("button", name="Run")).to_be_visible()
    bench.page.wait_for_timeout(300)
    stopped = bench.seen()
    bench.page.wait_for_timeout(500)
    assert bench.seen() == stopped
    assert stopped["updates"]["generator"] == stopped["updates"]["discriminator"]
    assert stopped["outputs"]["iteration"] == [stopped["updates"]["generator"]]


def test_one_step_moves_one_player_and_reset_takes_all_back(bench):
    start = bench.press("Reset")
    assert start["updates"] == {"discriminator": 0, "generator": 0}
    expect(bench.host.locator(".live-status")).to_have_text("")  # it no longer says that it loads
    after_d = bench.press("One D step")
    assert after_d["updates"] == {"discriminator": 1, "generator": 0}
    assert after_d["state"]["generator"] == start["state"]["generator"]
    assert after_d["state"]["discriminator"] != start["state"]["discriminator"]
    after_g = bench.press("One G step")
    assert after_g["updates"] == {"discriminator": 1, "generator": 1}
    assert after_g["state"]["discriminator"] == after_d["state"]["discriminator"]
    assert after_g["state"]["generator"] != after_d["state"]["generator"]
    assert np.isfinite([*after_g["state"]["generator"], *after_g["state"]["discriminator"]]).all()
    assert bench.press("Reset") == start
    assert bench.press("One D step") == after_d  # the same random numbers come again
    bench.host.get_by_role("spinbutton", name="seed").fill("9")
    assert bench.press("Reset")["state"] != start["state"]


def test_k_is_how_often_d_moves_for_one_step_of_g(bench):
    bench.host.get_by_role("combobox", name="k").select_option("3")
    bench.host.get_by_role("button", name="Run").click()
    bench.page.wait_for_function("pictures.at(-1)?.updates.generator > 3")
    updates = bench.press("Pause")["updates"]
    assert updates["discriminator"] == 3 * updates["generator"]


def test_looking_again_does_not_take_the_place_of_history(bench):
    bench.press("One G step")
    bench.press("One D step")
    bench.press("One D step")
    assert bench.press("One G step")["outputs"]["iterations"] == [0, 1, 2]


def test_two_figures_can_be_touched_at_once(visit):
    with visit(FIGURES[0], mathematics=False) as (page, wrong):
        hosts = page.locator(".live").all()
        assert len(hosts) > 1
        for host in hosts:
            host.evaluate("host => host.addEventListener('drawn', () => { host.dataset.drawn = 'yes'; })")
        page.evaluate("""() => {
            for (const slider of document.querySelectorAll(".live input[type=range]")) {
                slider.stepUp();
                slider.dispatchEvent(new Event("input"));
            }
        }""")
        for host in hosts:
            expect(host).to_have_attribute("data-drawn", "yes", timeout=20_000)
            assert not host.locator(".live-status").inner_text()
        assert not wrong, "\n" + "\n".join(wrong)


def test_the_same_presses_give_the_same_numbers(bench, visit):
    presses = ["Reset", "One D step", "One G step", "One D step"]
    first = [bench.press(press) for press in presses]
    with visit(TRAININGS[0], mathematics=False) as (page, _):
        ((host, _),) = components(page, "training")
        again = Bench(page, host)
        assert [again.press(press) for press in presses] == first


def test_it_trains_as_algorithm_1_does(bench, algorithm_1):
    bench.rate("D", -3)
    bench.rate("G", -3)
    bench.press("Reset")
    bench.host.evaluate(PRESS, [["One D step", "One G step"], 200])
    bench.page.wait_for_function("pictures.at(-1).updates.generator === 200", timeout=120_000)
    seen = bench.seen()
    players = algorithm_1(
        TARGETS["Gaussian"],
        seed=0,
        iterations=200,
        learning_rate=1e-3,
        generator_loss=non_saturating_generator_loss,
    )
    for player, right in zip(("generator", "discriminator"), players, strict=True):
        parameters = np.reshape(seen["state"][player], (3, -1))[0]
        np.testing.assert_allclose(parameters, right, rtol=0, atol=1e-4, err_msg=player)


def test_a_training_that_diverges_is_caught(bench):
    drawn = bench.press("One D step")
    picture = bench.host.evaluate(CANVASES)
    for player in "DG":  # beyond what the sliders reach, where float32 overflows
        slider = bench.host.get_by_role("slider", name=f"learning rate of {player}")
        slider.evaluate("slider => { slider.max = 38; }")
        bench.rate(player, 38)
    bench.host.get_by_role("button", name="Run").click()
    expect(bench.status()).to_contain_text("diverged", timeout=20_000)
    expect(bench.host.get_by_role("button", name="Run")).to_be_visible()
    assert all(np.isfinite(values).all() for values in bench.seen()["outputs"].values())
    assert "undefined" not in bench.host.locator(".live-numbers").inner_text()
    assert bench.seen()["updates"] == drawn["updates"] and bench.host.evaluate(CANVASES) == picture
    bench.rate("D", -3)
    assert bench.press("Reset")["updates"] == {"discriminator": 0, "generator": 0}  # and it can go on
    assert bench.press("One D step")["updates"]["discriminator"] == 1
    expect(bench.status()).to_have_text("")


def test_the_largest_learning_rate_neither_breaks_the_picture_nor_passes_unnoticed(bench):
    for player in "DG":
        bench.host.get_by_role("slider", name=f"learning rate of {player}").press("End")
    bench.host.get_by_role("combobox", name="loss").select_option("saturating")
    bench.host.get_by_role("button", name="Run").click()
    bench.page.wait_for_function("pictures.at(-1)?.updates.generator > 100")
    assert all(np.isfinite(values).all() for values in bench.seen()["outputs"].values())


def density(bench):
    outputs = bench.seen()["outputs"]
    p, x = np.array(outputs["p_data"]), np.array(outputs["x"])
    assert np.trapezoid(p, x) == pytest.approx(1.0, abs=1e-5) and p.min() >= 0
    return p, x


def test_the_reader_draws_the_data(bench):
    bench.press("Reset")
    given, x = density(bench)
    bench.host.get_by_role("combobox", name="data").select_option("drawn by you")
    expect(bench.host.locator(".live-status")).to_contain_text("with the pointer, or with the arrow keys")
    panel = bench.host.locator(".u-over").first
    panel.scroll_into_view_if_needed()
    box = panel.bounding_box()
    place = lambda across, down: (box["x"] + across * box["width"], box["y"] + down * box["height"])
    bench.page.mouse.move(*place(0.1, 0.2))
    bench.page.mouse.down()
    bench.page.mouse.move(*place(0.3, 0.2), steps=8)
    bench.page.mouse.up()
    bench.page.wait_for_timeout(300)
    drawn, _ = density(bench)
    stroke = (x > -4 + 0.13 * 8) & (x < -4 + 0.29 * 8)
    assert drawn[stroke].min() > 0.1 > given[stroke].max()
    np.testing.assert_allclose(drawn[stroke], drawn[stroke].mean(), rtol=0.02)  # as level as the pen went
    panel.focus()
    for key in ["ArrowRight"] * 3 + ["ArrowUp"] * 4:
        bench.page.keyboard.press(key)
    bench.page.wait_for_timeout(300)
    raised, _ = density(bench)
    assert (raised > drawn + 0.01).any()
    for key in ["ArrowDown"] * 4:
        bench.page.keyboard.press(key)
    bench.page.wait_for_timeout(300)
    lowered, _ = density(bench)
    np.testing.assert_allclose(lowered, drawn, atol=1e-5)


def test_less_motion_means_fewer_pictures_of_the_same_training(visit):
    gaps = {}
    for motion in ("reduce", "no-preference"):
        with visit(TRAININGS[0], mathematics=False, reduced_motion=motion) as (page, _):
            ((host, _),) = components(page, "training")
            bench = Bench(page, host)
            bench.press("Reset")
            bench.host.get_by_role("button", name="Run").click()
            page.wait_for_function("pictures.length > 2", timeout=30_000)
            times = page.evaluate("pictures.slice(1).map(({ at }) => at)")
            gaps[motion] = np.diff(times)
    assert min(gaps["reduce"]) >= 900
    assert min(gaps["no-preference"]) <= 500


def test_the_page_answers_while_it_trains(bench):
    bench.host.get_by_role("button", name="Run").click()
    bench.page.wait_for_function("pictures.length > 2")
    answers = []
    for _ in range(11):
        asked = time.perf_counter()
        bench.page.evaluate("1")
        answers.append(time.perf_counter() - asked)
        bench.page.wait_for_timeout(37)
    assert np.median(answers) < 0.2
