"""Every page of the built book in Chromium, from its file with the network closed."""

import re
from itertools import cycle, pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from playwright.sync_api import expect

BOOK = Path(__file__).parents[2] / "book"
AXE = BOOK.parent / "gan_theory" / "live" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
TOC = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
PAGES = [*CHAPTERS, "genindex", "search"]

# What a reader sees of a page's text, code and signatures apart.
PROSE = """() => {
    const body = (document.querySelector("article") ?? document.body).cloneNode(true);
    body.querySelectorAll("pre, code, script, style, .sig").forEach((e) => e.remove());
    return body.textContent;
}"""
# From 0, black, to 1, white: the text and what is behind it.
LUMINANCES = """() => {
    const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const luminance = (color) => {
        pixel.fillStyle = color;
        pixel.fillRect(0, 0, 1, 1);
        const [red, green, blue] = pixel.getImageData(0, 0, 1, 1).data;
        return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255;
    };
    const text = document.querySelector("article p") ?? document.body;
    return [getComputedStyle(text).color, getComputedStyle(document.body).backgroundColor].map(luminance);
}"""
# What ends beyond the window's edge, or is cut there, and is not inside something that scrolls.
LOST = """() => {
    const scrolls = (e) =>
        e && (["auto", "scroll"].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
    return [...document.querySelectorAll("article *:not(mjx-assistive-mml *)")]
        .filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e))
        .map((e) => e.outerHTML.slice(0, 120));
}"""

# What can be used inside an element, or scrolls and has nothing of that kind in it.
USABLE = """(root) => {
    const USED = "a[href], button, input, select, textarea, summary, [tabindex='0']";
    const visible = (e) => e.checkVisibility({ visibilityProperty: true }) && !e.disabled;
    const scrolls = (e) => {
        const { overflowX, overflowY } = getComputedStyle(e);
        return (/auto|scroll/.test(overflowX) && e.scrollWidth > e.clientWidth)
            || (/auto|scroll/.test(overflowY) && e.scrollHeight > e.clientHeight);
    };
    const alone = (e) => ![...e.querySelectorAll(USED)].some(visible);
    return [...root.querySelectorAll("*")].filter(
        (e) => visible(e) && (e.matches(USED) || (scrolls(e) && alone(e)))
    );
}"""
# What of it the Tab key does not come to or never leaves, or looks with the focus as it does without.
OUT_OF_REACH = (
    """(root) => {
    const look = (e) => {
        const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(e);
        return `${outlineStyle === "none" || outlineWidth} ${boxShadow}`;
    };
    const ring = (e) => getComputedStyle(e).opacity > 0.5 && look(e) + look(e.parentElement);
    const lack = (e) => {
        const before = ring(e);
        e.focus({ preventScroll: true });
        if (document.activeElement !== e || e.matches("[tabindex='-1']")) return "is not come to";
        const tab = new KeyboardEvent("keydown", { key: "Tab", bubbles: true, cancelable: true });
        if (!e.dispatchEvent(tab)) return "is not left";
        return ring(e) === before && "does not show the focus";
    };
    const sudden = new CSSStyleSheet();
    sudden.replaceSync("*, ::before, ::after { transition: none !important }");
    document.adoptedStyleSheets = [sudden];
    document.activeElement.blur();
    const usable = ("""
    + USABLE
    + """)(root);
    return usable.map((e) => [lack(e), e.outerHTML.replace(/\\s+/g, " ").slice(0, 120)])
        .filter(([what]) => what).map(([what, e]) => `${e} ${what}`);
}"""
)

# A moment after a change of size the theme makes what scrolls reachable by Tab.
SETTLED = """() => new Promise((done) => {
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 350)));
})"""
# To ask for the focus again and again, and axe-core for each element, takes long on a long page. So formulas,
# whose glyphs are elements each, are left as text (that they can be read aloud is held by a test of its own),
# and so is each word and piece of code that is not the first of its kind: with its tags, classes and styles
# from the page down to it.
KIND = """
    const kind = (e) => {
        if (e === document.body) return "";
        const even = e.localName === "tr" && e.rowIndex % 2;
        return `${kind(e.parentElement)} ${e.localName} ${e.className} ${e.style.cssText} ${even}`;
    };
    const seen = new Set();
    const first = (e) => !seen.has(kind(e)) && seen.add(kind(e));
"""
THIN = f"""() => {{
    {KIND}
    const words = ":is(span, em, strong, cite, code):not(:has(*), [id], [role], [tabindex], .live *)";
    for (const e of document.querySelectorAll(`article ${{words}}`)) first(e) || e.replaceWith(e.textContent);
}}"""
# By all rules, or by one alone. That on contrast looks at one text of each kind that is in sight.
OBJECTIONS = f"""async (rules) => {{
    {KIND}
    const text = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim();
    const speaks = (e) => e.checkVisibility({{ visibilityProperty: true }}) && [...e.childNodes].some(text);
    for (const e of document.querySelectorAll("body *")) e.toggleAttribute("data-one", speaks(e) && first(e));
    axe.configure({{ rules: [{{ id: "color-contrast", selector: "[data-one]" }}] }});
    const {{ violations }} = await axe.run({{ resultTypes: ["violations"], ...rules }});
    const told = ({{ html, failureSummary }}) => `${{html.slice(0, 200)}} ${{failureSummary}}`;
    return violations.flatMap(({{ id, nodes }}) => nodes.map((node) => `${{id}}: ${{told(node)}}`));
}}"""


def on(pages=PAGES):
    """For tests that share a look at a page, at a `desk` or on a `phone`."""
    return pytest.mark.parametrize("look", pages, indirect=True)


@on()
def test_nothing_goes_wrong(desk):
    """No other host is asked, no request fails and nothing is an error on the console, to the page's end."""
    page, wrong = desk
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_load_state("networkidle")
    assert not wrong, "\n" + "\n".join(wrong)


@on()
def test_mathematics_is_set_and_can_be_read_aloud(desk):
    page, _ = desk
    formulas = page.locator(".math").count()
    assert page.locator(".math:has(mjx-container mjx-assistive-mml)").count() == formulas
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    undefined = page.locator("mjx-mtext[style*='red'], mjx-assistive-mml mtext[mathcolor='red']")
    assert not undefined.all_text_contents(), "commands that MathJax does not know"
    source = re.compile(r".{0,30}(?:\\[a-zA-Z(\[]|\$\$|\{[a-z:]+\}`|:label:).{0,30}")
    assert not source.findall(page.evaluate(PROSE)), "source text is left in the page"


@on()
def test_images_are_loaded_and_described(desk):
    """Each in a sentence of its own that says what its caption does not."""
    page, _ = desk
    alts, words = [], lambda text: set(re.findall(r"\w+", text.lower()))
    for image in page.locator("article img, main img").all():
        alt, source = image.get_attribute("alt") or "", image.get_attribute("src")
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0, source
        caption = image.evaluate("image => image.closest('figure').querySelector('figcaption').textContent")
        assert len(alt.split()) >= 8, f"{source} is described as {alt!r}"
        assert len(words(alt) - words(caption)) >= 2, f"{alt!r} only says what the caption does"
        alts.append(alt)
    assert len(set(alts)) == len(alts)


@on()
def test_the_language_the_title_and_the_description_are_given(desk):
    page, _ = desk
    assert page.locator("html").get_attribute("lang") == "en"
    assert "The Adversarial Game" in page.title()
    if page.url.rsplit("/", 1)[1].removesuffix(".html") in CHAPTERS:
        assert len(page.locator("meta[name=description]").get_attribute("content")) > 50


@on()
def test_nothing_is_lost_on_a_phone(phone):
    page, wrong = phone
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not page.evaluate(LOST), "this leaves the window, and nothing around it scrolls"
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", ["generated-density", "vanishing-gradients"])
def test_formulas_fit_a_phone_and_no_function_is_parted_from_its_arguments(opened, html, name):
    with opened(f"{html.as_uri()}/{name}.html", viewport={"width": 360, "height": 780}) as (page, _):
        shown = page.locator("mjx-container[display=true]")
        wide = "all => all.filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.textContent)"
        assert not shown.evaluate_all(wide)
        lines = shown.locator("mjx-linebox").all_text_contents()
        assert len(lines) > 20
        assert not [line for line in lines if line.startswith(")")]
        assert not [line for line in lines if line.endswith((",", ";")) and line.count("(") > line.count(")")]


# How many formulas are not set yet, and how many of these are in sight, moment after moment.
WATCH = """addEventListener("DOMContentLoaded", () => {
    const inSight = ({ top, bottom }) => bottom > 0 && top < innerHeight;
    globalThis.moments = [];
    const look = () => {
        const waiting = [...document.querySelectorAll(".math:not(:has(mjx-container))")];
        moments.push([waiting.length, waiting.filter((e) => inSight(e.getBoundingClientRect())).length]);
        if (waiting.length) setTimeout(look, 5);
    };
    look();
});"""


def test_formulas_are_set_a_few_at_a_time_and_first_where_the_reader_is(browser, html):
    """Between them the page answers its reader."""
    text = (html / "global-optimum.html").read_text(encoding="utf-8")
    middle = re.findall(r'<section id="([\w-]+)">', text)[4]
    with browser.new_context(viewport={"width": 360, "height": 780}) as session:
        page = session.new_page()
        page.add_init_script(WATCH)
        page.goto(f"{html.as_uri()}/global-optimum.html#{middle}")
        page.evaluate("MathJax.startup.promise")
        assert page.evaluate("scrollY") > 2000
        moments = page.evaluate("moments")
    waiting, in_sight = zip(*moments, strict=True)
    assert in_sight[0] > 3
    seen = next(left for left, here in moments if not here)
    assert waiting[0] - seen <= 50 and seen > 200
    assert max(before - after for before, after in pairwise(waiting)) <= 50


def plain(pages):
    """For tests that share a look at a page whose formulas are not set."""
    return pytest.mark.parametrize("bare", pages, indirect=True)


@plain(PAGES)
def test_either_theme_has_its_colours(bare):
    page, wrong = bare
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("html")).to_have_attribute("data-theme", scheme)
        text, ground = page.evaluate(LUMINANCES)
        assert (text - ground > 0.5) if scheme == "dark" else (ground - text > 0.5)
        filters = page.locator("article img").evaluate_all(
            "all => all.map((e) => getComputedStyle(e).filter)"
        )
        assert all(("invert" in each) == (scheme == "dark") for each in filters), filters
    assert not wrong, "\n" + "\n".join(wrong)


@plain(PAGES)
def test_the_keyboard_alone_is_enough(bare):
    """It unfolds what is folded, opens and closes what a button shows, and always shows where it is."""
    page, wrong = bare
    page.evaluate(THIN)
    for button, key in zip(page.locator(".toggle-button").all(), cycle(["Enter", "Space"])):
        button.press(key)
        expect(button).to_have_attribute("aria-expanded", "true")
    own = page.url.endswith("/search.html")  # a field, to which the button leads
    search = "" if own else ".search-button__button, "
    found, shown = [], page.locator("dialog[open], .dropdown-menu.show")
    # What a closed drawer still holds: the theme takes it out, and gives the focus back, a moment later.
    lent = page.locator("[id$=sidebar-modal] > *")
    for width, drawers in ((1280, ""), (360, ", .sidebar-toggle")):
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate(SETTLED)
        found += page.locator("body").evaluate(OUT_OF_REACH)
        for button in page.locator(f"{search}.dropdown-toggle{drawers}").locator("visible=true").all():
            button.press("Enter")
            expect(shown).to_have_count(1)
            found += shown.evaluate(OUT_OF_REACH)
            page.keyboard.press("Escape")
            expect(shown.or_(lent)).to_have_count(0)
            expect(button).to_be_focused()
    assert not found, "\n" + "\n".join(found)
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_tab_key_goes_round_the_page(opened, html):
    """As the test before takes for granted on every page."""
    with opened(f"{html.as_uri()}/{TOC['root']}.html", mathematics=False) as (page, _):
        page.evaluate(f"globalThis.left = new Set(({USABLE})(document.body))")
        page.evaluate("addEventListener('focusin', ({ target }) => left.delete(target))")
        first = page.evaluate("left.size")
        for _ in range(first + 5):
            page.keyboard.press("Tab")
        assert first > 30
        assert page.evaluate("[...left].map((e) => e.outerHTML)") == []


@plain(PAGES)
def test_axe_objects_to_nothing(bare):
    """At a desk and on a phone; and in either theme by the one of its rules that looks at colours."""
    page, _ = bare
    page.evaluate(THIN)
    # What a button tells of itself, under the pointer or with the focus, stands outside of all landmarks.
    page.mouse.move(0, 0)
    page.evaluate("HTMLElement.prototype.blur.call(document.activeElement)")
    page.evaluate("document.querySelectorAll('.tooltip').forEach((tooltip) => tooltip.remove())")
    page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    page.add_script_tag(path=AXE)
    found = []
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate(SETTLED)
        for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
            page.emulate_media(color_scheme=scheme)
            expect(page.locator("html")).to_have_attribute("data-theme", scheme)
            found += [f"{scheme}, {width} px: {what}" for what in page.evaluate(OBJECTIONS, rules)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_page_can_be_downloaded(html, chapter):
    suffix = ".ipynb" if (BOOK / f"{chapter}.ipynb").exists() else ".md"
    page = (html / f"{chapter}.html").read_text(encoding="utf-8")
    (button,) = re.findall(r"<a\b[^>]*\bbtn-download-source-button\b[^>]*>", page)
    source = html / re.search(r'href="([^"]+)"', button)[1]
    assert source.suffix == suffix
    assert source.read_bytes() == (BOOK / f"{chapter}{suffix}").read_bytes()


@pytest.fixture(params=["file", "server"])
def home(request, html, served):
    """The address of the book, on either way to it."""
    return html.as_uri() if request.param == "file" else served


def test_the_theme_can_be_switched(opened, home):
    with opened(f"{home}/{TOC['root']}.html", color_scheme="light") as (page, wrong):
        seen = set()
        for _ in range(3):
            page.locator(".theme-switch-button").locator("visible=true").first.click()
            seen.add(page.locator("html").get_attribute("data-theme"))
        assert seen == {"light", "dark"}
        assert not wrong, "\n" + "\n".join(wrong)


def test_search_finds_words(opened, home):
    with opened(f"{home}/search.html?q=discriminator") as (page, wrong):
        page.locator("#search-results a[href^='optimal-discriminator.html']").first.wait_for()
        assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_into_the_repository_lead_somewhere(name):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (BOOK.parent / name).read_text(encoding="utf-8"))
    assert not [link for link in links if not (BOOK.parent / link).exists()]


def test_links_inside_the_book_lead_somewhere(html):
    texts = {path: path.read_text(encoding="utf-8") for path in html.glob("*.html")}
    anchors = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in texts.items()}
    dead = []
    for path, text in texts.items():
        for link in re.findall(r'<(?:a|link|img|script)\b[^>]*?\s(?:href|src)="([^"]+)"', text):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            missing = not target.is_file() or (
                parts.fragment and unquote(parts.fragment) not in anchors.get(target, {""})
            )
            if missing and link != "#":
                dead.append(f"{path.name}: {link}")
    assert not dead, "\n" + "\n".join(dead)
