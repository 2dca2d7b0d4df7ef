"""The live figures in JupyterLab, where a kernel computes them: the reader and the notebook set them."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import nbformat
import pytest
from playwright.sync_api import expect

CELLS = {
    "function": """
import torch
from torch.distributions import Normal, kl_divergence
from gan_theory.live import Line, LiveFigure, LiveTraining, Number, OneDimensionalGame, Panel, Slider

def gaussian(mean):
    x = torch.linspace(-6.0, 6.0, 201)
    p, q = Normal(0.0, 1.0), Normal(mean, 0.7)
    return {"x": x, "q": q.log_prob(x).exp(), "kl": kl_divergence(p, q)}
""",
    "figure": """
figure = LiveFigure(
    gaussian,
    {"mean": Slider(-3.0, 3.0, 1.0, step=0.25)},
    [Panel([Line("q", "q")], y_range=(0.0, 1.0))],
    [Number("kl", "KL(p ∥ q)", "nats")],
    alt="A Gaussian density q whose mean is in your hand.",
)
figure
""",
    "read": "figure.mean, figure.outputs['kl'].item()",
    "set": "figure.mean = -2.0",
    "training": "LiveTraining(OneDimensionalGame(), alt='A GAN on the line, to be trained here.')",
}
CELL = list(CELLS).index
TIMEOUT = 60_000  # milliseconds: a kernel that imports PyTorch on a busy machine

# The last that the figure has drawn, and the last of the training.
LISTEN = """
    globalThis.figure = globalThis.training = undefined;
    addEventListener("drawn", ({ detail }) => detail.updates ? (training = detail) : (figure = detail), true);
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab that knows nothing of the user's, and a notebook in it: its address."""
    home = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS.values()]
    )
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, home / "live.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {
        "HOME": "home",
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    environment = {**os.environ, **{name: str(home / folder) for name, folder in folders.items()}}
    environment.pop("GAN_THEORY_LIVE", None)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password="]
    command += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    with (
        (home / "log").open("w") as log,
        subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=subprocess.STDOUT) as server,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            end = time.monotonic() + 60
            while True:
                with suppress(OSError), urllib.request.urlopen(f"{address}/api"):  # noqa: S310  (it is http)
                    break
                assert server.poll() is None and time.monotonic() < end, (home / "log").read_text()
                time.sleep(0.2)
            yield f"{address}/lab/tree/live.ipynb"
        finally:
            server.terminate()  # its kernels end with it
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """The notebook, open in JupyterLab, with its first two cells run."""
    with browser.new_context(viewport={"width": 1200, "height": 1600}) as session:
        session.add_init_script(LISTEN)
        page = session.new_page()
        page.set_default_timeout(TIMEOUT)
        page.goto(lab)
        page.locator(".jp-Cell").nth(len(CELLS) - 1).wait_for()
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        run(page, "function")
        run(page, "figure")
        page.locator(".live canvas").wait_for()
        yield page


def run(page, name):
    """Runs a cell, waits until it is done, and returns what it shows."""
    cell = page.locator(".jp-Cell").nth(CELL(name))
    cell.locator(".cm-content").click()
    before = cell.locator(".jp-InputPrompt").inner_text()
    page.keyboard.press("Control+Enter")
    expect(cell.locator(".jp-InputPrompt")).not_to_have_text(before, timeout=TIMEOUT)
    expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=TIMEOUT)
    return cell


def values(page):
    """What the notebook knows of the figure: where its slider stands, and the number that it shows."""
    return eval(run(page, "read").locator(".jp-OutputArea-output").inner_text())  # noqa: S307  (two numbers)


def readout(page):
    return float(page.locator(".live-numbers output").first.inner_text())


def test_the_keyboard_moves_the_slider_and_the_figure_follows(notebook):
    canvas = notebook.locator(".live canvas").first
    picture = canvas.evaluate("canvas => canvas.toDataURL()")
    slider = notebook.get_by_role("slider", name="mean")
    slider.focus()
    for press in range(4):
        notebook.keyboard.press("ArrowRight")
        expect(slider).to_have_attribute("aria-valuetext", f"{1.25 + press / 4:g}")
    notebook.wait_for_function("figure?.inputs.mean[0] === 2")
    assert canvas.evaluate("canvas => canvas.toDataURL()") != picture
    mean, kl = values(notebook)
    assert mean == 2.0
    assert notebook.evaluate("figure.outputs.kl[0]") == kl
    assert readout(notebook) == pytest.approx(kl, rel=1e-3)
    slider.focus()
    notebook.keyboard.press("Home")
    notebook.wait_for_function("figure.inputs.mean[0] === -3")
    assert values(notebook)[0] == -3.0
    notebook.get_by_role("button", name="Reset").first.focus()
    notebook.keyboard.press("Enter")
    notebook.wait_for_function("figure.inputs.mean[0] === 1")


def test_a_cell_sets_the_slider_and_an_edit_of_the_function_shows_at_once(notebook):
    run(notebook, "set")
    notebook.wait_for_function("figure?.inputs.mean[0] === -2")
    expect(notebook.get_by_role("slider", name="mean")).to_have_value("-2")
    _, kl = values(notebook)
    assert readout(notebook) == pytest.approx(kl, rel=1e-3)
    notebook.locator(".jp-Cell").nth(CELL("function")).locator(".cm-content").click()
    notebook.keyboard.press("Control+End")
    notebook.keyboard.type(' | {"kl": 3 * mean**2}')
    run(notebook, "function")
    notebook.wait_for_function("figure.outputs.kl[0] === 12")
    assert readout(notebook) == 12.0


def test_the_gan_trains(notebook):
    cell = run(notebook, "training")
    cell.get_by_role("button", name="One D step").click()
    notebook.wait_for_function("training?.updates.discriminator === 1")
    data = cell.get_by_role("combobox").first
    data.focus()
    notebook.keyboard.press("ArrowDown")
    expect(data).to_have_value("two bumps")
    cell.get_by_role("button", name="Run").click()
    notebook.wait_for_function("training.updates.generator >= 3")
    cell.get_by_role("button", name="Pause").click()
    expect(cell.get_by_role("button", name="Run")).to_be_visible()
    assert notebook.evaluate("Object.values(training.state).every(state => state.every(Number.isFinite))")
    expect(cell.locator(".live-status")).to_have_text("")
