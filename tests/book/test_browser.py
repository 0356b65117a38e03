"""The built book in a real browser: offline, legible, and alive without a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from built import PAGES, ROOT, THEORY, Visit
from playwright.sync_api import Browser, Page

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
SLIDER = "[role=slider]"

# What an explorer shows: its visible text, and the names of its visible pictures.
SHOWN = """(handle) => {
    const explorer = handle.closest(".widget-subarea");
    const pictures = [...explorer.querySelectorAll("[role=img][aria-label], img[alt]")];
    const names = pictures.filter((picture) => picture.checkVisibility() && !picture.closest("button"));
    return {
        pictures: names.map((picture) => picture.getAttribute("aria-label") ?? picture.alt).join("\\n"),
        drawing: names.map((picture) => picture.outerHTML).join("\\n"),
    };
}"""


# One worker looks at one page.
@pytest.fixture(
    scope="module",
    params=[pytest.param(page, marks=pytest.mark.xdist_group(page)) for page in PAGES],
)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def visit(browser: Browser, server: str, name: str) -> Iterator[Visit]:
    """The page over HTTP, in light mode on a wide screen; tests leave it as they found it."""
    with Visit(browser, server) as visit:
        visit.open(name)
        yield visit


def set_theme(page: Page, theme: str) -> None:
    """What the theme's button does, at once: no colour may be on its way when it is looked at."""
    page.add_style_tag(content="* { animation: none !important; transition: none !important; }")
    page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)


def violations(page: Page, rules: dict[str, object]) -> list[str]:
    """What axe finds, one line each."""
    found = page.evaluate("(options) => axe.run(options)", {"runOnly": rules, "preload": False})[
        "violations"
    ]
    return [
        f"{rule['id']}: {node['html'][:150]} ({node['failureSummary'].splitlines()[-1].strip()})"
        for rule in found
        for node in rule["nodes"]
    ]


def check_complete(visit: Visit) -> None:
    """No request to another host, no error, and mathematics drawn."""
    assert visit.refused == []
    assert visit.problems == []
    assert visit.page.locator(".math").count() <= visit.page.locator("mjx-container").count()
    assert visit.page.locator("mjx-merror, [data-mjx-error]").count() == 0


def test_page_needs_nothing_but_the_book(visit: Visit) -> None:
    check_complete(visit)


def test_page_works_from_disk(browser: Browser, site: Path, name: str) -> None:
    with Visit(browser, f"file://{site}") as visit:
        visit.open(name)
        check_complete(visit)


def test_page_is_accessible(browser: Browser, server: str, name: str) -> None:
    """WCAG 2.2 A and AA; of these rules only contrast can depend on the theme.

    Axe takes seconds for thousands of elements. So typeset mathematics, which takes its colour from
    the text around it, is first replaced by text; and the colours of code are looked at on one page.
    """
    with Visit(browser, server) as visit:
        page = visit.open(name)
        page.evaluate(
            "document.querySelectorAll('mjx-container').forEach((math) => math.replaceWith('x'))"
        )
        if name != THEORY[0]:
            page.evaluate(
                "document.querySelectorAll('pre').forEach((code) => (code.textContent = 'x'))"
            )
        page.evaluate(AXE.read_text("utf-8"))
        assert page.locator("html").get_attribute("data-theme") == "light"
        assert violations(page, {"type": "tag", "values": WCAG}) == []
        set_theme(page, "dark")
        assert violations(page, {"type": "rule", "values": ["color-contrast"]}) == []


def test_page_fits_a_phone(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 844})
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    wide = visit.page.evaluate(
        """() => [...document.querySelectorAll("svg.fl-figure, .widget-subarea, .widget-subarea svg")]
            .filter((element) => element.getBoundingClientRect().right > 390)
            .map((element) => element.outerHTML.slice(0, 200))"""
    )
    assert wide == []
    visit.page.set_viewport_size({"width": 1280, "height": 900})


def test_figures_follow_the_theme(visit: Visit) -> None:
    """Text in computed figures has another colour in dark mode."""
    colours = {}
    for theme in ("dark", "light"):
        set_theme(visit.page, theme)
        colours[theme] = visit.page.evaluate(
            "() => [...document.querySelectorAll('svg.fl-figure text')].map((text) => getComputedStyle(text).fill)"
        )
    assert all(light != dark for light, dark in zip(colours["light"], colours["dark"], strict=True))


def test_explorers_answer_to_the_keyboard(visit: Visit) -> None:
    """Each slider has a name, and a key changes the drawing and what a screen reader says of it."""
    for slider in visit.page.locator(f".widget-subarea {SLIDER}").all():
        assert slider.get_attribute("aria-label")
        value, last = (
            float(slider.get_attribute(f"aria-value{end}") or "nan") for end in ("now", "max")
        )
        before = slider.evaluate(SHOWN)
        assert before["pictures"]
        slider.focus()
        visit.page.keyboard.press("ArrowLeft" if value == last else "ArrowRight")
        assert float(slider.get_attribute("aria-valuenow") or "nan") == value + (
            -1 if value == last else 1
        )
        after = slider.evaluate(SHOWN)
        assert before["drawing"] != after["drawing"]
        assert before["pictures"] != after["pictures"]
    assert visit.problems == []


def test_explorers_answer_to_the_mouse(visit: Visit) -> None:
    """The play button of an explorer moves it, and is named after what it does next."""
    for player in visit.page.locator(".widget-play").all():
        button = player.locator("button").first
        for label, icon in (("Play", "play"), ("Pause", "pause"), ("Play", "play")):
            player.locator(f"button[aria-label^={label}] svg[data-icon={icon}]").wait_for()
            button.click()
        player.locator("button[aria-label^=Stop]").click()
    assert visit.problems == []


def test_the_theme_is_kept_by_its_button(browser: Browser, server: str) -> None:
    with Visit(browser, server) as visit:
        page = visit.open(PAGES[0])
        for _ in range(3):
            page.locator(".theme-switch-button").first.click()
            if page.locator("html").get_attribute("data-theme") == "dark":
                break
        assert page.locator("html").get_attribute("data-theme") == "dark"
        assert visit.open(PAGES[1]).locator("html").get_attribute("data-theme") == "dark"


def test_search_works_from_disk(browser: Browser, site: Path) -> None:
    with Visit(browser, f"file://{site}") as visit:
        visit.page.goto(f"file://{site}/search.html?q=forgetting")
        visit.page.wait_for_selector("#search-results li")
        assert visit.refused == []
