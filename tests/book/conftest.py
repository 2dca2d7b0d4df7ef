"""What the tests of the pages share: Chromium, the built book, and a look at one of its pages."""

import os
import shutil
import threading
import zipfile
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 780}
BOOK = Path(__file__).parents[2] / "book"
HTML = BOOK / "_build" / "html"

# The first has no window, and so opens a page sooner than the others.
CHROMIUM = "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"

expect.set_options(timeout=20_000)  # a long page takes its time to change its colours beside another test


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Brings together, with `--dist loadgroup` in one process, what takes a page, and all the rest.

    A page is set for a desk once, and once for a phone; what comes last takes words out of it.
    """
    pages, groups = {"genindex", "search", *(path.stem for path in BOOK.glob("*.*"))}, {}
    looks = "desk", "phone", "bare"
    look_of = lambda item: next((i for i, look in enumerate(looks) if look in item.fixturenames), -1)
    for item in items:
        given = item.callspec.params.values() if hasattr(item, "callspec") else ()
        groups[item] = next((name for name in map(str, given) if name in pages), "no page")
        item.add_marker(pytest.mark.xdist_group(groups[item]))
    items.sort(key=lambda item: (groups[item], look_of(item), item.path))


def must_have(there, what):
    """Skips without `what`, where somebody is trying things out; in CI nothing may be left out."""
    if not there:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"THE PAGES ARE NOT TESTED: {what}")


@pytest.fixture(scope="session")
def html():
    must_have((HTML / "index.html").is_file(), f"{HTML} does not hold the built book; run `make book`")
    return HTML


@pytest.fixture(scope="session")
def archive(html):
    """All that is built, in one file."""
    file = html.parent / "the-adversarial-game.zip"
    must_have(file.is_file(), f"there is no {file}; run `make zip`")
    with zipfile.ZipFile(file) as archive:
        yield archive


@pytest.fixture(scope="session")
def browser():
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    must_have(
        chromium, f"there is none of {CHROMIUM} on the PATH; Debian has them by the names of the first two"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def served(html):
    """The address of the book on a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=html)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# Setting its formulas is most of what it costs to open a page.
UNSET = """let mathjax;
Object.defineProperty(globalThis, "MathJax", {
    get: () => mathjax,
    set: (given) => {
        mathjax = given;
        const nothing = { enumerable: true, value: { pageReady: () => {} } };
        if (!given.version) Object.defineProperty(given, "startup", nothing);  // its settings, not yet itself
    },
});"""


def visited(
    browser, address, *, asked=None, mathematics=True, viewport=DESK, color_scheme="light", **context
):
    home, wrong = address.rsplit("/", 1)[0], []

    def unless(fine, what):
        if not fine:
            wrong.append(what)

    context |= {"offline": address.startswith("file:"), "viewport": viewport, "color_scheme": color_scheme}
    with browser.new_context(**context) as session:
        page = session.new_page()
        if not mathematics:
            page.add_init_script(UNSET)
        page.on("request", lambda r: unless(r.url.startswith((home, "data:")), f"asks {r.url}"))
        if asked is not None:
            page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda r: unless(False, f"{r.url} failed: {r.failure}"))
        page.on("response", lambda r: unless(r.status < 400, f"{r.url}: {r.status}"))
        page.on("pageerror", lambda error: unless(False, f"error: {error}"))
        page.on("console", lambda m: unless(m.type not in {"error", "warning"}, f"{m.type}: {m.text}"))
        page.goto(address, wait_until="load")
        page.evaluate("window.MathJax?.startup.promise")
        yield page, wrong


@pytest.fixture(scope="session")
def opened(browser):
    """Opens the page at an address, ready, its mathematics set if wanted, and lists all that goes wrong."""
    return contextmanager(partial(visited, browser))


@pytest.fixture(scope="session")
def shared(opened, html):
    """Opens a page from its file, where a browser allows least, or hands on the look that others have had.

    A look is the page, what goes wrong, and what it asks for; each test leaves it as others may go on.
    """
    with ExitStack() as stack:
        looks, last = {}, None

        def shared(name, mathematics):
            nonlocal last
            if name != last:
                stack.close()
                looks.clear()
                last = name
            if mathematics not in looks:
                asked = []
                address = f"{html.as_uri()}/{name}.html"
                look = stack.enter_context(opened(address, asked=asked, mathematics=mathematics))
                looks[mathematics] = *look, asked
            return looks[mathematics]

        yield shared


@pytest.fixture
def look(request, shared):
    """A page, what goes wrong, and what it asks for."""
    return shared(request.param, mathematics=True)


@pytest.fixture
def desk(look):
    """A page at a desk."""
    page, wrong, _ = look
    page.set_viewport_size(DESK)
    return page, wrong


@pytest.fixture
def phone(look):
    """A page on a phone."""
    page, wrong, _ = look
    page.set_viewport_size(PHONE)
    return page, wrong


@pytest.fixture
def bare(request, shared):
    """A page at a desk without its formulas, beside which all takes longer."""
    page, wrong, _ = shared(request.param, mathematics=False)
    page.set_viewport_size(DESK)
    return page, wrong
