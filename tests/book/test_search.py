"""Search, from disk: the names of statements and of the library lead to where these are."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from built import ROOT, TOC, Visit
from playwright.sync_api import Browser

import forgetlib as fl

sys.path.insert(0, str(ROOT / "_ext"))
import search

CLAIMS = fl.results.ledger()
# Modules are listed among the public names, too; their sections are named after what they hold.
PUBLIC = {
    name: f"{getattr(fl, name).__module__}.{name}"
    for name in fl.__all__
    if hasattr(getattr(fl, name), "__module__")
}

# The first results of many queries: page, title, anchor.
RESULTS = """(queries) => queries.map((query) =>
    Search._performSearch(...Search._parseQuery(query)).reverse().slice(0, 5)
        .map(([page, title, anchor]) => [page, title.replace(/.* > /, ""), anchor]))"""


@pytest.fixture(scope="module")
def visit(browser: Browser, site: Path) -> Iterator[Visit]:
    """The search page, opened from disk with a query, when it shows its results."""
    with Visit(browser, f"file://{site}") as visit:
        visit.page.goto(f"file://{site}/search.html?q=mass+forgetting")
        visit.page.wait_for_selector("#search-results li a")
        yield visit


def results(visit: Visit, queries: list[str]) -> dict[str, list[list[str]]]:
    return dict(zip(queries, visit.page.evaluate(RESULTS, queries), strict=True))


def test_the_page_shows_what_search_finds(visit: Visit) -> None:
    first = visit.page.locator("#search-results li a").first
    assert first.get_attribute("href") == "chapters/forward_kl.html#thm-mass-forgetting"
    first.click()
    visit.page.wait_for_selector("#thm-mass-forgetting")
    assert visit.refused == []
    assert visit.problems == []
    visit.page.go_back()
    visit.page.wait_for_selector("#search-results li a")


def test_every_claim_is_found_first_by_its_name(visit: Visit) -> None:
    found = results(visit, [claim.title for claim in CLAIMS])
    for claim in CLAIMS:
        page, _, anchor = found[claim.title][0]
        assert (page, anchor) == (f"chapters/{claim.chapter}", f"#{claim.label}"), claim.title


def test_every_claim_is_found_by_half_of_its_name(visit: Visit) -> None:
    halves = {claim.title[: (len(claim.title) + 3) // 2].lower(): claim for claim in CLAIMS}
    found = results(visit, list(halves))
    for query, claim in halves.items():
        assert f"#{claim.label}" in [anchor for _, _, anchor in found[query]], query


def test_every_public_name_is_found_first(visit: Visit) -> None:
    """First, after a chapter and beside another name that differ at most in their capitals."""
    names = [re.match(r"[\w-]*", chapter) for chapter in chapter_titles()]
    chapters = {match[0].lower() for match in names if match}
    spelled = [name.lower() for name in PUBLIC]
    found = results(visit, list(PUBLIC))
    for name, anchor in PUBLIC.items():
        others = spelled.count(name.lower()) + 2 * (name.lower() in chapters)
        assert f"#{anchor}" in [place for _, _, place in found[name][:others]], found[name]


def chapter_titles() -> list[str]:
    """The titles of the chapters, as in their sources."""
    files = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
    sources = [(ROOT / f"{file}.md").read_text("utf-8") for file in files]
    return [match[1] for source in sources if (match := re.search(r"^# (.*)$", source, re.M))]


def test_every_chapter_is_found_first_by_the_first_words_of_its_title(visit: Visit) -> None:
    names = [title.split(":")[0] for title in chapter_titles()]
    found = results(visit, names)
    files = [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
    for name, file in zip(names, files, strict=True):
        page, _, anchor = found[name][0]
        assert (page, anchor) == (file, ""), name
        others = [page for page, _, anchor in found[name] if anchor == ""]
        assert others.count(file) == 1


@pytest.mark.parametrize("query", ["Theorem 3.1", "exercise 3.1"])
def test_numbers_are_found(visit: Visit, query: str) -> None:
    page, title, anchor = results(visit, [query])[query][0]
    assert page == "chapters/forward_kl"
    assert title.lower() == query.lower()
    assert anchor.startswith(("#thm-", "#ex-"))


@pytest.mark.parametrize(
    ("title", "label", "name"),
    [
        (" (The toy\N{RIGHT SINGLE QUOTATION MARK}s\nclocks)", "thm-a", "The toy's clocks"),
        ("Overlap: a (false) friend", "section", "Overlap: a (false) friend"),
        ("(Overlap: limits)", "thm-a", "Overlap: limits"),
        (" (Pencil, easy, 10 minutes: Reading the gate)", "ex-a", "Reading the gate"),
        ("(Open: two clocks)", "ex-a", "Open: two clocks"),
    ],
)
def test_titles_are_entered_as_readers_type_them(title: str, label: str, name: str) -> None:
    assert search.plain(title, label) == name
