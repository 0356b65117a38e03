"""The built pages as files: complete, linked, described and licensed."""

from __future__ import annotations

import copy
import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from built import PAGES, ROOT, SITE, THEORY
from lxml import html

import forgetlib as fl

STATEMENTS = "//div[contains(@class, 'proof') and not(contains(@class, 'argument')) and @id]"
ARGUMENTS = "//div[contains(@class, 'argument')]"
pytestmark = pytest.mark.usefixtures("site")


@cache
def tree(name: str) -> html.HtmlElement:
    return html.fromstring((SITE / f"{name}.html").read_bytes())


@pytest.mark.parametrize("name", PAGES)
def test_page_is_complete(name: str) -> None:
    page = tree(name)
    text = page.text_content()
    assert page.xpath("//h1")
    assert not page.xpath(
        "//*[contains(@class, 'system-message') or contains(@class, 'problematic')]"
    )
    assert "Traceback (most recent call last)" not in text
    assert not re.search(r"\{(glue|cite|prf|numref|eq)[:}]", text)


def words(element: html.HtmlElement) -> str:
    """Text that is not code, names in brackets, or data."""
    rest = copy.deepcopy(element)
    for other in rest.xpath("//pre | //code | //script | //style | //svg"):
        other.drop_tree()
    return str(rest.text_content())


@pytest.mark.parametrize("name", PAGES)
def test_no_formula_is_left_as_tex(name: str) -> None:
    """Neither in the text nor in titles, in the lists of contents, or in what names a table."""
    page = tree(name)
    text = " ".join([words(page), *page.xpath("//@title | //@alt | //@aria-label")])
    assert re.findall(r"\\[(\[a-zA-Z].{0,30}|\$[^$\n]{1,30}\$", text) == []
    assert page.xpath("//@data-tex") == []
    for frames in page.xpath("//script[@type='application/json']/text()"):
        assert "data-tex" not in frames


@pytest.mark.parametrize("name", PAGES)
def test_page_says_what_it_is_about(name: str) -> None:
    (description,) = tree(name).xpath("//meta[@name='description']/@content")
    assert 20 <= len(description) <= 165
    others = [tree(other).xpath("//meta[@name='description']/@content")[0] for other in PAGES]
    assert others.count(description) == 1


def test_search_knows_words_and_no_tex() -> None:
    text = (SITE / "searchindex.js").read_text("utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").rstrip(");\n"))
    found = set(index["terms"]) | set(index["titleterms"])
    assert {"forget", "theorem"} <= found
    assert not found & {"mathrm", "mathbf", "frac", "operatornam", "lvert", "varepsilon", "qquad"}


@pytest.mark.parametrize("name", THEORY)
def test_chapter_holds_theorems_with_proofs(name: str) -> None:
    page = tree(name)
    claims = page.xpath(f"{STATEMENTS}[contains(@class, 'theorem')]")
    assert claims
    assert len(page.xpath(ARGUMENTS)) >= len(claims)
    assert page.xpath("//div[@class='fl-explorer']//input[@type='range']")
    exercises = page.xpath("//div[contains(@class, 'exercise') and contains(@class, 'admonition')]")
    assert len(exercises) >= 3
    assert len(
        page.xpath("//div[contains(@class, 'solution') and contains(@class, 'admonition')]")
    ) >= len(exercises)


@pytest.mark.parametrize("result", fl.results.ledger(), ids=lambda result: result.label)
def test_every_result_of_the_ledger_is_stated_in_its_chapter(result: fl.results.Result) -> None:
    assert result.label in tree(f"chapters/{result.chapter}").xpath("//@id")


@pytest.mark.parametrize("name", PAGES)
def test_pictures_have_alternative_text(name: str) -> None:
    page = tree(name)
    pictures = page.xpath("//article//img")
    texts = [picture.get("alt") or "" for picture in pictures]
    figures = page.xpath("//svg[contains(@class, 'fl-figure')]")
    assert all(figure.get("role") == "img" for figure in figures)
    texts += [figure.get("aria-label") or "" for figure in figures]
    for text in texts:
        assert len(text) >= 40
        assert "_images/" not in text
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", PAGES)
def test_ids_are_unique(name: str) -> None:
    ids = tree(name).xpath("//@id")
    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize("name", PAGES)
def test_page_loads_nothing_from_elsewhere(name: str) -> None:
    """Nothing that a browser loads by itself has an address with a host. (Links, which readers click, may.)"""
    page = tree(name)
    loaded = page.xpath(
        "//@src | //@srcset | //@poster | //link/@href | //object/@data | //@xlink:href",
        namespaces={"xlink": "http://www.w3.org/1999/xlink"},
    )
    assert [address for address in loaded if urlsplit(address).netloc] == []
    styles = " ".join(page.xpath("//style/text() | //@style"))
    assert not re.search(r"url\(\s*['\"]?(https?:)?//", styles)


def test_style_sheets_load_nothing_from_elsewhere() -> None:
    for path in SITE.rglob("*.css"):
        css = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)
        assert not re.search(r"(@import|url\()\s*['\"]?(url\()?\s*['\"]?(https?:)?//", css), path


@pytest.mark.parametrize("name", PAGES)
def test_links_inside_the_book_lead_somewhere(name: str) -> None:
    page = SITE / f"{name}.html"
    for address in set(tree(name).xpath("//a/@href")):
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        assert target.is_file(), address
        if parts.fragment and target.suffix == ".html":
            ids = tree(target.relative_to(SITE).with_suffix("").as_posix()).xpath("//@id")
            assert unquote(parts.fragment) in ids, address


def test_every_public_name_is_on_the_api_page() -> None:
    ids = set(tree("chapters/api").xpath("//@id"))
    modules = {
        path.stem
        for path in Path(fl.__file__).parent.iterdir()
        if not path.stem.startswith(("_", "py"))
    }
    assert {f"module-forgetlib.{module}" for module in modules} <= ids
    for name in fl.__all__:
        value = getattr(fl, name)
        assert name in modules or f"{value.__module__}.{name}" in ids


@pytest.mark.parametrize("name", THEORY)
def test_code_links_to_the_api_page(name: str) -> None:
    links = tree(name).xpath("//a[contains(@class, 'sphinx-codeautolink-a')]/@href")
    assert any("api.html#forgetlib" in link for link in links)


def test_licences_of_bundled_files_are_in_the_site() -> None:
    for name in ("LICENSE", "LICENSE-CONTENT", "NOTICE"):
        assert (SITE / name).read_text("utf-8") == (ROOT / name).read_text("utf-8")
    bundled = {path.parent.name for path in (SITE / "licences").rglob("*") if path.is_file()}
    assert {
        "stix-two-math",
        "temml",
        "pydata-sphinx-theme",
        "sphinx-book-theme",
        "sphinx",
    } <= bundled
    font = SITE / "licences" / "@fontsource" / "stix-two-math" / "LICENSE"
    assert "SIL OPEN FONT LICENSE" in font.read_text("utf-8").upper()
    for path in (SITE / "licences").rglob("*"):
        assert path.is_dir() or path.stat().st_size > 200
