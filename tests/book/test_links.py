"""From code to the library and back, from statements to the ledger, and what a reference shows when it is hovered."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote

import pytest
from built import PAGES, ROOT, SITE, THEORY, Visit
from lxml import html
from playwright.sync_api import Browser, Page

import forgetlib as fl

sys.path.insert(0, str(ROOT / "_ext"))
import api_links
import ledger_lines
import previews

CLAIMS = fl.results.ledger()
pytestmark = pytest.mark.usefixtures("site")


@cache
def tree(name: str) -> html.HtmlElement:
    return html.fromstring((SITE / f"{name}.html").read_bytes())


def text(element: html.HtmlElement) -> str:
    return " ".join(element.text_content().split())


# ---- code and the API page --------------------------------------------------------------


def characters(
    element: html.HtmlElement, target: str | None = None
) -> Iterator[tuple[str, str | None]]:
    """Each character of an element, with the address that a click on it leads to."""
    target = element.get("href") if element.tag == "a" else target
    yield from ((character, target) for character in element.text or "")
    for child in element:
        yield from characters(child, target)
        yield from ((character, target) for character in child.tail or "")


def library_names(code: html.HtmlElement) -> Iterator[tuple[str, set[str | None]]]:
    """Each name of forgetlib in a piece of code, and where its characters lead."""
    letters = [*characters(code)]
    source = "".join(letter for letter, _ in letters)
    for match in re.finditer(r"(?<![\w.\"'])fl(?:\.[A-Za-z_]\w*)+", source):
        yield match[0], {target for _, target in letters[match.start() : match.end()]}


@pytest.mark.parametrize("name", THEORY)
def test_every_name_of_the_library_in_code_leads_to_its_entry(name: str) -> None:
    cells = tree(name).xpath("//div[contains(@class, 'cell_input')]//pre")
    names = [found for cell in cells for found in library_names(cell)]
    assert len(names) >= 10
    for written, targets in names:
        (target,) = targets
        assert target is not None, written
        assert re.search(r"\bapi\.html#(module-)?forgetlib\b", target), written
        assert target.split(".")[-1] == written.split(".")[-1]


def test_code_without_a_link_would_be_noticed() -> None:
    code = html.fromstring(
        '<pre><a href="api.html#x">fl.a</a>(fl.b.<a href="y">c</a>) "fl.d" xfl.e</pre>'
    )
    assert [*library_names(code)] == [("fl.a", {"api.html#x"}), ("fl.b.c", {None, "y"})]


@pytest.mark.parametrize("name", sorted({name for claim in CLAIMS for name in claim.functions}))
def test_every_entry_leads_to_the_claims_that_it_implements(name: str) -> None:
    (entry,) = tree("chapters/api").xpath(f"//dt[@id='{api_links.entry(name)}']")
    links = entry.getnext().xpath(".//a/@href")
    for claim in CLAIMS:
        if name in claim.functions:
            assert links.count(f"{claim.chapter}.html#{claim.label}") >= 1, claim.label


def test_a_docstring_that_links_to_a_claim_is_left_alone() -> None:
    first, second = CLAIMS[:2]
    lines = [
        "Summary.",
        "",
        f"See :prf:ref:`{first.label}`.",
        "",
        ".. math:: x",
        "",
        ":Parameters:",
    ]
    stated = {first.label, second.label}
    assert api_links.implements(lines, [first], stated) == lines
    assert api_links.implements(lines, [second], {first.label}) == lines
    longer = api_links.implements(lines, [first, second], stated)
    added = f"*Implements:* :prf:ref:`{second.label}` ({second.title})."
    assert [line for line in longer if line not in lines] == [added]
    assert longer.index(".. math:: x") < longer.index(added) < longer.index(":Parameters:")


# ---- statements and the ledger ----------------------------------------------------------


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.label)
def test_every_statement_ends_with_its_line_of_the_ledger(claim: fl.results.Result) -> None:
    """The line says what the row of the ledger says, and names a test that there is."""
    (statement,) = tree(f"chapters/{claim.chapter}").xpath(f"//div[@id='{claim.label}']")
    line = statement[-1]
    assert line.get("class") == "ledger-line"
    assert statement.xpath(".//p[@class='ledger-line']") == [line]
    (row,) = tree("chapters/ledger").xpath(f"//tr[.//*[@id='ledger-{claim.label}']]")
    reference, worst, typical, z, _ = (text(cell) for cell in row)
    assert text(statement).startswith(reference)
    said = text(line).replace("\N{MINUS SIGN}", "-")
    assert f"{worst}, typical {typical} of the bound" in said or (
        not typical and f"error at most {worst} of the tolerance" in said
    )
    distance = re.sub(r"[^\d.+-]", "", z.replace("\N{MINUS SIGN}", "-"))
    assert f"z = {distance}." in said or (z == "exact" and "without a violation" in said)
    (cases,) = re.findall(r"Checked in ([\d,]+) cases", said)
    details = tree("chapters/ledger").xpath(f"//dt[.//a[contains(@href, '#{claim.label}')]]")
    assert f"Check of {cases} cases" in text(details[-1].getnext())
    assert line.xpath(".//a/@href")[-1] == f"ledger.html#ledger-{claim.label}"
    (test,) = re.findall(r"Test: (\S+)\. ", said)
    source = (ROOT / test).read_text("utf-8")
    assert claim.label in {
        node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)
    }
    assert "def test_check_passes(" in source


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.label)
def test_the_ledger_calls_each_claim_as_its_chapter_does(claim: fl.results.Result) -> None:
    (statement,) = tree(f"chapters/{claim.chapter}").xpath(f"//div[@id='{claim.label}']")
    title = text(statement[0]).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    assert re.fullmatch(rf"\w+ [\d.]+ \({re.escape(claim.title)}\)", title)


def test_a_line_says_what_the_check_gave() -> None:
    def line(**changes: object) -> str:
        check = {"configurations": 1200, "value": 0.9991, "typical": 0.25, "z": -1.26, **changes}
        return "".join(node.astext() for node in ledger_lines.outcome(check))

    assert "1,200 cases: worst 0.999, typical 0.250 of the bound" in line()
    assert "z\xa0=\xa0\N{MINUS SIGN}1.3" in line()
    assert "error at most 0.999 of the tolerance" in line(typical=None)
    assert "without a violation" in line(z=None)


def test_tests_are_found_by_label(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_results_a.py").write_text('RESULTS = ["thm-a"]  # thm-b\n')
    found = ledger_lines.tests(tmp_path)
    assert found["thm-a"] == "tests/test_results_a.py"
    assert "thm-b" not in found


# ---- previews ---------------------------------------------------------------------------

# What a link must lead to for a preview to be promised.
KINDS = {
    "statement": "self::div[contains(@class, 'proof')]",
    "exercise": "self::div[contains(@class, 'exercise')]",
    "equation": "self::div[contains(@class, 'math')]",
    "source": "self::div[contains(@class, 'citation')]",
    "entry": "self::dt",
    "figure": "self::figure",
}


@cache
def targets(name: str) -> dict[str, html.HtmlElement]:
    """What has an id on a page."""
    return {place.get("id"): place for place in tree(name).xpath("//*[@id]")}


@cache
def shown(page: str) -> dict[str, str]:
    script = (SITE / "_static" / "previews" / f"{page}.js").read_text("utf-8")
    name, data = re.fullmatch(r"flPreviews\[(.*?)\]=(.*);\n", script, re.DOTALL).groups()
    assert json.loads(name) == page
    return json.loads(data)


@pytest.mark.parametrize("name", PAGES)
def test_every_reference_has_a_preview(name: str) -> None:
    for link in tree(name).xpath("//article//a[contains(@href, '#')]"):
        path, _, target = link.get("href").partition("#")
        if ":" in path or "headerlink" in (link.get("class") or ""):
            continue
        page = normpath(join(dirname(name), path)).removesuffix(".html") if path else name
        place = targets(page)[unquote(target)]
        for kind, condition in KINDS.items():
            if place.xpath(condition):
                preview = shown(page)[unquote(target)]
                assert len(html.fromstring(f"<div>{preview}</div>").text_content()) > 5, kind


@pytest.mark.parametrize("name", PAGES)
def test_previews_are_pieces_of_a_page_without_links_or_ids(name: str) -> None:
    for target, preview in shown(name).items():
        piece = html.fromstring(f"<div>{preview}</div>")
        assert not piece.xpath(".//@id | .//a | .//script | .//button | .//iframe"), target
        assert r"\(" not in preview
        assert len(preview) <= previews.LIMIT


def test_previews_are_cut_out_of_a_page() -> None:
    page = """<article>
    <section id="s"><span id="t"></span><h2>Head<a class="headerlink" href="#s">#</a></h2><p>One.</p><p>Two.</p></section>
    <div class="proof theorem" id="thm-a"><p>A <a href="b.html">b</a><br/>c</p><p class="ledger-line">x</p></div>
    <dl><dt class="sig" id="f">f(<i>x</i>)</dt><dd><p>Does.</p><p>More.</p></dd></dl>
    <figure id="g"><svg><g/></svg><figcaption><p>What <i>g</i> shows.</p></figcaption></figure>
    <a href="#s"></a><a href="one.html#t"></a><a href="#thm-a"></a><a href="#f"></a><a href="#g"></a><a href="#gone"></a>
    <a href="https://elsewhere.example/#f"></a></article>"""
    assert previews.previews({"one": page, "two": "<article></article>"}) == {
        "one": {
            "s": '<p class="fl-preview-title">Head</p><p>One.</p>',
            "t": '<p class="fl-preview-title">Head</p><p>One.</p>',
            "thm-a": "<p>A b<br/>c</p>",
            "f": '<p class="fl-preview-title"><code>f(<i>x</i>)</code></p><p>Does.</p>',
            "g": "<p>What <i>g</i> shows.</p>",
        },
        "two": {},
    }


BOX = "#fl-preview"
LINK = "#prp-forgetting-bounds a[href='#thm-mass-forgetting']"


@pytest.fixture(scope="module", params=["http", "file"])
def visit(
    request: pytest.FixtureRequest, browser: Browser, server: str, site: Path
) -> Iterator[Visit]:
    """A chapter, from a server or from disk."""
    base = server if request.param == "http" else f"file://{site}"
    with Visit(browser, base) as visit:
        visit.open("chapters/forward_kl")
        visit.page.wait_for_function("window.flPreviews")
        yield visit


@pytest.fixture
def page(visit: Visit) -> Iterator[Page]:
    """The page with the mouse in a corner and the link in the middle of the window."""
    visit.page.mouse.move(0, 0)
    visit.page.keyboard.press("Escape")
    visit.page.locator(LINK).first.evaluate("(link) => link.scrollIntoView({block: 'center'})")
    visit.page.wait_for_function(f"document.querySelector('{BOX}')?.hidden ?? true")
    before = len(visit.refused), len(visit.problems)
    yield visit.page
    assert (len(visit.refused), len(visit.problems)) == before, visit.problems


def hover(page: Page, selector: str) -> None:
    page.locator(selector).first.hover()
    page.wait_for_selector(BOX)


def test_a_preview_is_shown_beside_its_link_and_moves_nothing(page: Page) -> None:
    layout = """() => [document.documentElement.scrollHeight, scrollY,
        ...[...document.querySelectorAll(".bd-article p")].map((p) => p.getBoundingClientRect().top)]"""
    # what is out of sight is laid out too, or its height would change when it is
    page.add_style_tag(content="* { content-visibility: visible !important; }")
    page.locator(LINK).first.evaluate("(link) => link.scrollIntoView({block: 'center'})")
    before = page.evaluate(layout)
    hover(page, LINK)
    box = page.locator(BOX)
    assert "Mass forgetting" in (box.text_content() or "")
    assert box.get_attribute("role") == "tooltip"
    assert page.locator(LINK).first.get_attribute("aria-describedby") == BOX[1:]
    assert page.evaluate(layout) == before
    place, link = box.bounding_box(), page.locator(LINK).first.bounding_box()
    assert place
    assert link
    assert 0 <= place["x"] <= place["x"] + place["width"] <= 1280
    assert 0 <= place["y"] <= place["y"] + place["height"] <= 900
    assert place["y"] >= link["y"] + link["height"] or place["y"] + place["height"] <= link["y"]


def test_a_preview_stays_under_the_mouse_and_goes_when_it_leaves(page: Page) -> None:
    hover(page, LINK)
    page.locator(BOX).hover()
    page.wait_for_timeout(500)
    assert page.locator(BOX).is_visible()
    page.mouse.move(0, 0)
    page.wait_for_selector(BOX, state="hidden")
    assert page.locator(LINK).first.get_attribute("aria-describedby") is None


def test_escape_dismisses_a_preview_until_the_mouse_comes_again(page: Page) -> None:
    hover(page, LINK)
    page.keyboard.press("Escape")
    page.wait_for_selector(BOX, state="hidden")
    box = page.locator(LINK).first.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2)
    page.wait_for_timeout(400)
    assert not page.locator(BOX).is_visible()
    page.mouse.move(0, 0)
    hover(page, LINK)


def test_a_preview_follows_the_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")  # from now on the focus is shown
    page.locator(LINK).first.focus()
    page.wait_for_selector(BOX)
    page.wait_for_timeout(500)
    assert page.locator(BOX).is_visible()
    page.keyboard.press("Escape")
    page.wait_for_selector(BOX, state="hidden")
    page.locator(LINK).first.blur()
    page.locator(LINK).first.focus()
    page.wait_for_selector(BOX)
    page.locator(LINK).first.blur()
    page.wait_for_selector(BOX, state="hidden")


def test_a_finger_shows_no_preview(page: Page) -> None:
    for kind, expected in (("touch", False), ("mouse", True)):
        page.locator(LINK).first.dispatch_event(
            "pointerover", {"pointerType": kind, "bubbles": True}
        )
        page.wait_for_timeout(500)
        assert page.locator(BOX).is_visible() is expected


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("selector", "content"),
    [
        ("a[href*='#equation-']", "."),
        ("a[href*='bibliography.html#']", r"\b(19|20)\d\d\b"),
        ("a[href^='#ex-']", "Exercise"),
        ("pre a[href*='api.html#forgetlib.']", r"forgetlib\..*\("),
    ],
)
def test_every_kind_of_reference_is_shown_legibly(
    page: Page, selector: str, content: str, theme: str
) -> None:
    page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
    link = page.locator(f".bd-article {selector}").locator("visible=true").first
    link.evaluate("(link) => link.scrollIntoView({block: 'center'})")
    link.hover()
    page.wait_for_selector(BOX)
    box = page.locator(BOX)
    assert re.search(content, " ".join((box.text_content() or "").split()))
    colors = box.evaluate(
        "(box) => [getComputedStyle(box).color, getComputedStyle(box).backgroundColor]"
    )
    luminance = [
        sum(float(value) for value in re.findall(r"[\d.]+", color)[:3]) / 765 for color in colors
    ]
    assert abs(luminance[0] - luminance[1]) > 0.6
    page.evaluate("() => { document.documentElement.dataset.theme = 'light'; }")
