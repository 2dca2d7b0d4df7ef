"""Measures the live figures of the built book, in Chromium, from localhost: `make bench`."""

import gzip
import shutil
import statistics
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HTML = Path(__file__).parents[2] / "book" / "_build" / "html"
LISTEN = "(host) => host.addEventListener('drawn', ({ detail }) => Object.assign(window, { detail }))"
# From a slider's new value to its picture on the canvas, over the whole range of the first slider.
MOVES = """async (host) => {
    const [slider, times] = [host.querySelector("input"), []];
    const frame = () => new Promise(requestAnimationFrame);
    for (let i = 0; i < 101; i++) {
        await frame();
        const start = performance.now();
        const drawn = new Promise((done) => host.addEventListener("drawn", done, { once: true }));
        slider.value = Number(slider.min) + ((slider.max - slider.min) * i) / 100;
        slider.dispatchEvent(new Event("input"));
        await drawn;
        times.push(performance.now() - start);
    }
    return times;
}"""
FIRST = """async (host) => {
    const start = performance.now();
    const drawn = new Promise((done) => host.addEventListener("drawn", done, { once: true }));
    const slider = host.querySelector("input");
    slider.stepUp();
    slider.dispatchEvent(new Event("input"));
    await drawn;
    return performance.now() - start;
}"""


class Quiet(SimpleHTTPRequestHandler):
    """A server that keeps no log."""

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def weight(page: Page, address: str) -> float:
    """What a page loads before any touch, gzipped, fonts apart, in MB."""
    loaded: list[bytes] = []
    page.on("response", lambda response: ".woff" in response.url or loaded.append(response.body()))
    page.goto(address, wait_until="networkidle")
    return sum(len(gzip.compress(body)) for body in loaded) / 1e6


def main() -> None:
    """Prints a line for each figure of each page."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for file in sorted(HTML.glob("*.html")):
            if '<div class="live">' not in file.read_text(encoding="utf-8"):
                continue
            address = f"http://127.0.0.1:{server.server_port}/{file.name}"
            page = browser.new_page()
            print(f"{file.stem}: {weight(page, address):.2f} MB before any touch, gzipped, fonts apart")
            for i in range(page.locator(".live").count()):
                page = browser.new_page()
                page.goto(address, wait_until="load")
                host = page.locator(".live").nth(i)
                host.scroll_into_view_if_needed()
                if run := host.get_by_role("button", name="Run").all():
                    host.evaluate(LISTEN)
                    run[0].click()
                    page.wait_for_function("window.detail?.updates.generator > 100", timeout=60_000)
                    before = page.evaluate("[performance.now(), detail.updates.generator]")
                    page.wait_for_timeout(10_000)
                    after = page.evaluate("[performance.now(), detail.updates.generator]")
                    rate = 1000 * (after[1] - before[1]) / (after[0] - before[0])
                    print(
                        f"  training: {rate:.0f} steps of both players a second, batch 128, drawing included"
                    )
                    continue
                first = host.evaluate(FIRST)
                times = host.evaluate(MOVES)
                print(
                    f"  figure {i + 1}: first touch to first picture {first / 1000:.2f} s; then a move takes "
                    f"{statistics.median(times):.1f} ms (median), {max(times):.1f} ms (most)"
                )
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main()
