"""The built book in a real browser: offline, light, legible and steady, for every reader."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from built import ALL_PAGES, PAGES, ROOT, THEORY, Visit
from playwright.sync_api import Browser, Page

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
MOST_BYTES = 1_500_000  # compressed, of a page with all that it loads
MOST_SHIFT = 0.02  # a tenth of what browsers call "needs improvement" is 0.025

# Formulas that are no formula: without MathML, or with an error in it.
BROKEN_MATHEMATICS = """() => {
    const empty = [...document.querySelectorAll(".math")].filter((math) => !math.querySelector("math"));
    const wrong = [...document.querySelectorAll("merror, .temml-error, .tex-error, [data-tex]")];
    return [...empty, ...wrong].map((element) => element.outerHTML.slice(0, 200));
}"""

# What a reader meets from top to bottom, where the text puts it after something that is below it.
OUT_OF_ORDER = """() => {
    const style = document.head.appendChild(document.createElement("style"));
    style.textContent = "* { content-visibility: visible !important; }";
    const blocks = "h1, h2, h3, p, figure, table, .math.display, .fl-explorer, pre, summary, dt";
    const shown = [...document.querySelectorAll(`.bd-article :is(${blocks})`)]
        .filter((element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
        .filter((element) => !element.closest(".toggle-hidden"));
    const tops = shown.map((element) => element.getBoundingClientRect().top);
    return shown.filter((element, k) => k && tops[k] < tops[k - 1] - 1 && !element.closest("tr, .fl-explorer"))
        .map((element) => element.outerHTML.slice(0, 150));
}"""

# From top to bottom, screen by screen.
READ_THROUGH = """async () => {
    await new Promise((done) => setTimeout(done, 400)); // a change of the width is looked at then
    for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight) {
        scrollTo({ top: y, behavior: "instant" });
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    }
}"""

# Kinds of things that can have the focus, one of each, and whether it is seen that they have it.
UNSEEN_FOCUS = """() => {
    const kinds = new Map();
    for (const element of document.querySelectorAll("a[href], button, input, summary, select, [tabindex='0']")) {
        if (element.closest("dialog:not([open])") || !element.checkVisibility({ visibilityProperty: true })) continue;
        const parent = element.parentElement;
        const kind = [element.tagName, element.className, parent.tagName, parent.className].join(" ");
        if (!kinds.has(kind)) kinds.set(kind, element);
    }
    const look = (element) => {
        const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
        return { ring: outlineStyle !== "none" && parseFloat(outlineWidth) >= 1, boxShadow };
    };
    return [...kinds.values()].filter((element) => {
        const before = look(element);
        element.focus({ preventScroll: true });
        if (document.activeElement !== element) return false;
        const after = look(element);
        return !after.ring && after.boxShadow === before.boxShadow;
    }).map((element) => element.outerHTML.slice(0, 150));
}"""


# One worker looks at one page.
@pytest.fixture(
    scope="module",
    params=[pytest.param(page, marks=pytest.mark.xdist_group(page)) for page in ALL_PAGES],
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def visit(browser: Browser, server: str, name: str) -> Iterator[Visit]:
    """The page over HTTP, in light mode on a wide screen; tests leave it as they found it."""
    with Visit(browser, server) as visit:
        visit.open(name)
        yield visit


@pytest.fixture(scope="module")
def phone(browser: Browser, server: str, name: str) -> Iterator[Visit]:
    """The page on a phone, in dark mode."""
    with Visit(browser, server, width=390, theme="dark") as visit:
        visit.open(name)
        yield visit


def set_theme(page: Page, theme: str) -> None:
    """What the theme's button does, at once: no color may be on its way when it is looked at."""
    page.add_style_tag(content="* { animation: none !important; transition: none !important; }")
    page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)


def violations(page: Page) -> list[str]:
    """What axe finds, one line each."""
    options = {"runOnly": {"type": "tag", "values": WCAG}, "preload": False}
    found: list[dict[str, Any]] = page.evaluate(
        "async (options) => (await axe.run(options)).violations", options
    )
    return [
        f"{rule['id']}: {node['html'][:150]} ({node['failureSummary'].splitlines()[-1].strip()})"
        for rule in found
        for node in rule["nodes"]
    ]


def check_complete(visit: Visit) -> None:
    """No request to another host, no error, no cookie, and every formula drawn by the browser itself."""
    assert visit.refused == []
    assert visit.problems == []
    assert visit.context.cookies() == []
    assert visit.page.evaluate(BROKEN_MATHEMATICS) == []


def test_page_needs_nothing_but_the_book(visit: Visit) -> None:
    check_complete(visit)


def test_page_works_from_disk(browser: Browser, site: Path, name: str) -> None:
    with Visit(browser, f"file://{site}") as visit:
        visit.open(name)
        check_complete(visit)


def test_page_is_light(visit: Visit, site: Path, server: str) -> None:
    """All that the browser loaded by itself, as a server sends it that compresses."""
    files = {unquote(urlsplit(url).path) for url in visit.loaded if url.startswith(server)}
    sizes = {file: len(gzip.compress((site / file[1:]).read_bytes())) for file in files}
    assert sum(sizes.values()) <= MOST_BYTES, sizes


def test_nothing_moves_by_itself(visit: Visit, phone: Visit) -> None:
    for place in (visit, phone):
        assert place.page.evaluate("window.shift") <= MOST_SHIFT


def test_page_is_accessible(browser: Browser, server: str, name: str) -> None:
    """WCAG 2.2 A and AA: in light and in dark, and on a phone.

    Axe takes seconds for thousands of elements. So mathematics, which takes its color from the text
    around it, is first replaced by text; and the colors of code are looked at on one page.
    """
    with Visit(browser, server) as visit:
        page = visit.open(name)
        page.add_style_tag(content="* { content-visibility: visible !important; }")
        page.evaluate("document.querySelectorAll('math').forEach((math) => math.replaceWith('x'))")
        if name != THEORY[0]:
            page.evaluate(
                "document.querySelectorAll('pre').forEach((code) => (code.textContent = 'x'))"
            )
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        page.evaluate(AXE.read_text("utf-8"))
        assert page.locator("html").get_attribute("data-theme") == "light"
        assert violations(page) == []
        set_theme(page, "dark")
        assert violations(page) == []
        page.set_viewport_size({"width": 390, "height": 844})
        page.evaluate(READ_THROUGH)  # what scrolls sideways can have the focus once it was in sight
        assert violations(page) == []


def test_page_fits_a_phone(phone: Visit) -> None:
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390
    wide = phone.page.evaluate(
        """() => [...document.querySelectorAll("svg, .math:not(.display)")]
            .filter((element) => element.getBoundingClientRect().right > 390)
            .filter((element) => !element.closest("table, pre, .math.display, .fl-table-frame, dialog"))
            .map((element) => element.outerHTML.slice(0, 200))"""
    )
    assert wide == []


def test_a_phone_shows_things_in_the_order_of_the_text(phone: Visit) -> None:
    assert phone.page.evaluate(OUT_OF_ORDER) == []


def test_what_scrolls_can_be_reached_by_keyboard(phone: Visit) -> None:
    """Formulas and code that are wider than a phone, once they are in sight."""
    wide = phone.page.evaluate_handle(
        """() => [...document.querySelectorAll(".math.display, .math .formula, pre")]
            .filter((element) => element.checkVisibility() && element.scrollWidth > element.clientWidth + 1)
            .slice(0, 10)"""
    )
    phone.page.evaluate(
        """async (wide) => {
            for (const element of wide) {
                element.scrollIntoView({ block: "center" });
                await new Promise((done) => setTimeout(done, 100));
            }
        }""",
        wide,
    )
    assert phone.page.evaluate("(wide) => wide.every((one) => one.tabIndex === 0)", wide)
    phone.page.evaluate("scrollTo(0, 0)")


def test_focus_is_seen(visit: Visit) -> None:
    visit.page.keyboard.press("Tab")  # the keyboard was used last
    assert visit.page.evaluate(UNSEEN_FOCUS) == []
    visit.page.evaluate("document.activeElement.blur()")


def test_figures_follow_the_theme(visit: Visit) -> None:
    """Text in computed figures has another color in dark mode."""
    colors = {}
    for theme in ("dark", "light"):
        set_theme(visit.page, theme)
        colors[theme] = visit.page.evaluate(
            "() => [...document.querySelectorAll('svg.fl-figure text')].map((text) => getComputedStyle(text).fill)"
        )
    assert all(light != dark for light, dark in zip(colors["light"], colors["dark"], strict=True))


def test_icons_are_drawn(visit: Visit) -> None:
    """The sheet holds the signs that its classes name: each has a shape of its own, not that of a missing sign."""
    missing = visit.page.evaluate(
        """async () => {
            await document.fonts.ready;
            const icons = [...document.querySelectorAll("i[class*=fa-]")];
            return icons.filter((icon) => {
                const { content, fontFamily, fontWeight } = getComputedStyle(icon, "::before");
                const sign = content.replaceAll('"', "");
                return !sign || sign === "none" || !document.fonts.check(`${fontWeight} 16px ${fontFamily}`, sign)
                    || ![...document.fonts].some((face) => face.status === "loaded" && fontFamily.includes(face.family.replaceAll('"', "")));
            }).map((icon) => icon.outerHTML);
        }"""
    )
    assert missing == []


def test_the_theme_is_kept_by_its_button(browser: Browser, server: str) -> None:
    with Visit(browser, server) as visit:
        page = visit.open(PAGES[0])
        for _ in range(3):
            page.locator(".theme-switch-button").first.click()
            if page.locator("html").get_attribute("data-theme") == "dark":
                break
        assert page.locator("html").get_attribute("data-theme") == "dark"
        assert visit.open(PAGES[1]).locator("html").get_attribute("data-theme") == "dark"


def test_what_wants_to_move_stays_where_motion_is_not_wanted(browser: Browser, server: str) -> None:
    with Visit(browser, server) as visit:
        visit.page.emulate_media(reduced_motion="reduce")
        page = visit.open(THEORY[0])
        page.locator(".theme-switch-button").first.click()
        assert page.evaluate("document.getAnimations().length") == 0
        assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_without_scripts_there_are_text_mathematics_and_colors(
    browser: Browser, server: str
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server}/{THEORY[0]}.html")
    assert page.locator("html").get_attribute("data-theme") == "light"
    assert page.locator("article h1").is_visible()
    assert page.locator(".math.display math").first.bounding_box()["height"] > 10  # type: ignore[index]
    context.close()


def test_search_works_from_disk(browser: Browser, site: Path) -> None:
    with Visit(browser, f"file://{site}") as visit:
        visit.page.goto(f"file://{site}/search.html?q=forgetting")
        visit.page.wait_for_selector("#search-results li")
        assert visit.refused == []
