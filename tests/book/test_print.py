"""The printed book. The joined document always; the file that ``make pdf`` has made with ``PDF=1``."""

from __future__ import annotations

import copy
import os
import re
import sys
from collections.abc import Iterator
from functools import cache

import pypdfium2
import pytest
import yaml
from built import PAGES, ROOT, SITE
from lxml import html

sys.path.insert(0, str(ROOT / "_ext"))
import print_book

pytestmark = pytest.mark.usefixtures("site")
NUMBERED = "//p[contains(@class, 'admonition-title')]/span[@class='caption-number']"


@cache
def joined() -> html.HtmlElement:
    return html.fromstring(print_book.join(SITE, {"forward_kl": 77}))


@cache
def page(name: str) -> html.HtmlElement:
    (article,) = html.fromstring((SITE / f"{name}.html").read_bytes()).xpath(
        "//article[contains(@class, 'bd-article')]"
    )
    return article


def words(element: html.HtmlElement) -> str:
    return " ".join(element.text_content().split())


def section(name: str) -> html.HtmlElement:
    (found,) = joined().xpath(f"//section[@id='{print_book.anchor(name)}']")
    return found


def test_all_pages_are_joined_in_order() -> None:
    sections = joined().xpath("/html/body/section[contains(@class, 'chapter')]/@id")
    assert sections == [print_book.anchor(name) for name in PAGES]


@pytest.mark.parametrize("name", PAGES)
def test_statements_have_the_numbers_of_the_web(name: str) -> None:
    for kind in (NUMBERED, "//figcaption//span[@class='caption-number']", "//span[@class='eqno']"):
        there = [words(number).rstrip("#") for number in page(name).xpath(f".{kind}")]
        assert there == [words(number) for number in section(name).xpath(f".{kind}")]


@pytest.mark.parametrize("name", PAGES)
def test_no_formula_and_no_figure_is_lost(name: str) -> None:
    on_web = copy.deepcopy(page(name))
    for kind in ("nav", "fl-controls", "sd-summary-state-marker"):
        for element in [*on_web.find_class(kind), *on_web.iter(kind)]:
            element.drop_tree()
    for kind in ("figure", "pre", "table", "li", "math", "svg"):
        assert len(list(section(name).iter(kind))) == len(list(on_web.iter(kind))), kind


def test_nothing_is_folded_and_nothing_can_be_pressed() -> None:
    for kind in ("details", "summary", "script", "button", "input", "nav"):
        assert next(joined().iter(kind), None) is None


def test_explorers_are_still_pictures_with_their_readout() -> None:
    explorers = joined().find_class("fl-explorer")
    assert len(explorers) == sum(len(page(name).find_class("fl-explorer")) for name in PAGES)
    assert len(explorers) >= 10
    for explorer in explorers:
        assert explorer.xpath(".//svg")
        assert words(explorer.find_class("fl-readout")[0])
        assert "On the web page" in words(explorer.find_class("still")[0])


def test_ids_are_unique_and_links_lead_to_them() -> None:
    ids = joined().xpath("//@id")
    assert len(ids) == len(set(ids))
    inside = [link[1:] for link in joined().xpath("//a/@href") if link.startswith("#")]
    assert set(inside) <= set(ids)
    others = {link for link in joined().xpath("//a/@href") if not link.startswith("#")}
    assert all(link.startswith(("http:", "https:", "mailto:")) for link in others)
    named = re.findall(r"url\(#([^)]+)\)", html.tostring(joined(), encoding="unicode"))
    assert set(named) <= set(ids)


def test_contents_list_all_chapters_and_sections_with_their_pages() -> None:
    (contents,) = joined().find_class("contents")
    listed = [link.get("href")[1:] for link in contents.iter("a")]
    wanted = []
    for name in PAGES:
        wanted.append(print_book.anchor(name))
        wanted += [title.getparent().get("id") for title in section(name).iter("h2")]
    assert listed == wanted
    (line,) = contents.xpath(".//a[@href='#forward_kl']")
    assert words(line.find_class("page")[0]) == "77"


def test_statements_that_fit_stay_on_one_page() -> None:
    """Those that are kept whole are short enough for it; and there are such."""
    statements = [box for box in joined().find_class("proof") if "argument" not in box.classes]
    whole = [box for box in statements if "long" not in box.classes]
    assert all(print_book.lines(box) <= print_book.LONG for box in whole)
    assert len(whole) > len(statements) / 3


# The file


@pytest.fixture(scope="module")
def pdf() -> Iterator[pypdfium2.PdfDocument]:
    if not os.environ.get("PDF"):
        pytest.skip("with PDF=1, after make pdf")
    document = pypdfium2.PdfDocument(print_book.PDF)
    yield document
    document.close()


@pytest.fixture(scope="module")
def printed(pdf: pypdfium2.PdfDocument) -> list[str]:
    """Text of each page, words parted by single spaces."""
    return [" ".join(sheet.get_textpage().get_text_range().split()) for sheet in pdf]


def test_book_has_a_sane_number_of_pages(printed: list[str]) -> None:
    assert 300 <= len(printed) <= 900
    assert print_book.PDF.stat().st_size < 40_000_000
    assert all(len(text) > 10 for text in printed)
    for number, text in enumerate(printed[1:], 2):
        assert str(number) in text.split()


def test_bookmarks_hold_all_chapters(pdf: pypdfium2.PdfDocument) -> None:
    marks = {" ".join(mark.get_title().split()) for mark in pdf.get_toc()}
    assert {words(section(name).find(".//h1")) for name in PAGES} <= marks


def test_pages_of_the_contents_are_right(printed: list[str]) -> None:
    """On the page that the table of contents names, the chapter begins."""
    text = " ".join(printed[1:8])
    for name in PAGES:
        title = words(section(name).find(".//h1"))
        found = re.search(rf"{re.escape(title)} (\d+)", text)
        assert found, title
        assert printed[int(found[1]) - 1].count(title) >= 1
        assert title not in printed[int(found[1]) - 2]


def test_every_number_of_the_web_is_printed(printed: list[str]) -> None:
    text = " ".join(printed)
    for name in PAGES:
        for number in page(name).xpath(f".{NUMBERED}"):
            assert words(number) in text


def test_book_is_tagged_in_english(pdf: pypdfium2.PdfDocument) -> None:
    with print_book.pikepdf.open(print_book.PDF) as file:
        assert file.Root.MarkInfo.Marked
        assert "/StructTreeRoot" in file.Root
        assert str(file.Root.Lang).startswith("en")
        with file.open_metadata() as metadata:
            assert (
                metadata["dc:title"]
                == yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["title"]
            )
