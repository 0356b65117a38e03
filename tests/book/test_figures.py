"""The figures of the built pages: described, legible on a phone, light, and their numbers beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import pytest
from built import PAGES, ROOT, SITE, THEORY, Visit
from lxml import html
from playwright.sync_api import Browser

pytestmark = pytest.mark.usefixtures("site")

# Figures whose numbers matter: theorem against simulation, phase diagrams, costs and decisions.
NUMBERED = {
    "abstraction": ("fig-abs-run-on", "fig-abs-constant"),
    "overlap": ("fig-ov-draws", "fig-ov-tilt"),
    "forward_kl": (
        "fig-forgetting-runs",
        "fig-forgetting-profile",
        "fig-detection",
        "fig-absorption",
    ),
    "reverse_kl": ("fig-rkl-retention", "fig-rkl-drift", "fig-rkl-constant", "fig-rkl-rate"),
    "local_geometry": ("fig-lg-ensembles", "fig-lg-floor"),
    "plateau": ("fig-plt-times",),
    "finite_batch": ("fig-fb-loss", "fig-fb-imitation", "fig-fb-law", "fig-fb-crossover"),
    "replay_forward_kl": (
        "fig-rfk-paths",
        "fig-rfk-wrong",
        "fig-rfk-buffer-weight",
        "fig-rfk-buffer-mean",
    ),
    "replay_reverse_kl": ("fig-rrk-design", "fig-rrk-recovery", "fig-rrk-best", "fig-rrk-moved"),
    "sdft": ("fig-sdft-weights", "fig-sdft-variance"),
    "ttt_discover": ("fig-ttt-budget", "fig-ttt-drift"),
    "oapl": ("fig-oapl-rounds", "fig-oapl-published"),
    "synthesis": ("fig-syn-weights", "fig-syn-follower", "fig-syn-phases"),
    "calculator": ("fig-calc-coverage",),
    "scaling": ("fig-scale-map", "fig-scale-cost", "fig-scale-peers"),
}
FIGURES = "//svg[contains(@class, 'fl-figure')]"
PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}  # as in tests/test_plot.py


@cache
def tree(name: str) -> html.HtmlElement:
    return html.fromstring((SITE / f"{name}.html").read_bytes())


def one_line(text: str) -> str:
    return " ".join(text.split())


# ---- as files --------------------------------------------------------------------------


def test_every_theory_chapter_gives_numbers() -> None:
    assert {f"chapters/{name}" for name in NUMBERED} >= set(THEORY)


@pytest.mark.parametrize("name", PAGES)
def test_alternative_text_says_what_a_figure_shows(name: str) -> None:
    for figure in tree(name).xpath(FIGURES):
        text = figure.get("aria-label")
        assert len(text) >= 60, text
        assert re.match(r"\S.*[.]$", text), text
        assert len(text.split()) >= 10, text
        captions = figure.xpath("ancestor::figure//figcaption//span[@class='caption-text']")
        for caption in captions:
            shown = one_line(caption.text_content())
            assert text not in shown
            assert shown not in text


@pytest.mark.parametrize("name", PAGES)
def test_figures_are_vectors_and_light(name: str) -> None:
    page = tree(name)
    assert page.xpath("//div[contains(@class, 'cell_output')]//img") == []
    for figure in page.xpath(FIGURES):
        assert figure.xpath(".//image") == []
        assert len(html.tostring(figure)) <= 100_000, figure.get("aria-label")


@pytest.mark.parametrize("name", PAGES)
def test_figures_have_only_the_colors_of_the_house(name: str) -> None:
    for figure in tree(name).xpath(FIGURES):
        source = html.tostring(figure, encoding="unicode")
        paints = re.findall(r"""(?:fill|stroke)(?:: *|=["'])([^;"']+)""", source)
        assert paints
        house = re.compile(
            r"none|transparent|var\(--(fl|jp)-.*\)"
        )  # the second: rims of text in stills
        assert [paint for paint in paints if not house.fullmatch(paint)] == []


def test_curves_carry_their_names() -> None:
    """No legend to match colors with, in any figure."""
    sources = [*ROOT.glob("chapters/*.md"), *ROOT.glob("forgetlib/**/*.py")]
    assert len(sources) > 20
    calls = re.compile(r"\.(fig)?legend\(")
    assert [path.name for path in sources if calls.search(path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("chapter", "figure"), [(chapter, name) for chapter in NUMBERED for name in NUMBERED[chapter]]
)
def test_figure_has_its_numbers(chapter: str, figure: str) -> None:
    if figure == "fig-scale-peers" and not (ROOT / "benchmarks" / "results.json").is_file():
        pytest.skip("it shows what make bench measured: nothing yet")
    page = tree(f"chapters/{chapter}")
    (picture,) = page.xpath(f"//figure[@id='{figure}']")
    below = picture.getnext()
    assert below is not None
    assert below.tag == "details"
    assert below.get("open") is None
    assert [one_line(s.text_content()) for s in below.xpath("summary")] == [
        "Numbers of this figure"
    ]
    tables = below.xpath(".//table")
    assert tables
    for table in tables:
        caption = one_line(table.findtext("caption"))
        assert len(caption) >= 10
        # where an axis has no name, its table does not say what it holds
        assert "value against" not in caption
        assert not caption.endswith("against x")
        heads = table.xpath("thead/tr/th[@scope='col']")
        names = [one_line(head.text_content()) for head in heads]
        assert len(names) >= 2
        assert all(names)
        assert len(set(names)) == len(names)
        rows = table.xpath("tbody/tr")
        assert 1 <= len(rows) <= 30
        for row in rows:
            assert [cell.get("scope") for cell in row.xpath("th")] == ["row"]
            assert len(row) == len(names)
        text = table.text_content()
        assert not re.search(r"NaN|∞|\bnan\b|\binf\b", text)
        frame = table.getparent()
        assert frame.get("tabindex") == "0"
        assert frame.get("aria-label")


@pytest.mark.parametrize("name", PAGES)
def test_numbers_follow_their_figures(name: str) -> None:
    """No table is lost inside a picture, and none stands alone."""
    page = tree(name)
    assert page.xpath("//metadata") == []
    for details in page.xpath("//details[contains(@class, 'fl-numbers')]"):
        before = details.getprevious()
        assert before.tag == "svg" or before.xpath(f".{FIGURES}")


# ---- in a browser ----------------------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=[pytest.param(page, marks=pytest.mark.xdist_group(page)) for page in PAGES],
)
def phone(request: pytest.FixtureRequest, browser: Browser, server: str) -> Iterator[Visit]:
    """A page on a narrow screen, all of it unfolded."""
    with Visit(browser, server, width=390) as visit:
        page = visit.open(str(request.param))
        page.evaluate(
            "() => document.querySelectorAll('details').forEach((one) => { one.open = true; })"
        )
        yield visit


def test_text_of_figures_is_at_least_ten_pixels_on_a_phone(phone: Visit) -> None:
    small = phone.page.evaluate(
        """() => [...document.querySelectorAll("svg.fl-figure text, svg.fl-figure tspan")]
            .filter((text) => text.textContent.trim())
            .map((text) => {
                const to = text.getScreenCTM();
                return [parseFloat(getComputedStyle(text).fontSize) * Math.hypot(to.a, to.b), text.textContent];
            })
            .filter(([size]) => !(size >= 10))"""
    )
    assert small == []


def test_numbers_fit_a_phone(phone: Visit) -> None:
    """A wide table scrolls by itself, and the keyboard reaches it."""
    width, wide = phone.page.evaluate(
        """() => [document.documentElement.scrollWidth,
            [...document.querySelectorAll(".fl-numbers .fl-table-frame")]
                .filter((frame) => frame.getBoundingClientRect().right > innerWidth + 1 || frame.tabIndex !== 0)
                .map((frame) => frame.getAttribute("aria-label"))]"""
    )
    assert width <= 390
    assert wide == []


@pytest.mark.parametrize("theme", PAPER)
def test_page_is_as_bright_as_the_house_style_assumes(
    browser: Browser, server: str, theme: str
) -> None:
    with Visit(browser, server, theme=theme) as visit:
        page = visit.open(THEORY[0])
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == PAPER[theme]
