"""Search finds a statement and a public name by what they are called, and first.

Sphinx looks for a query among the titles of pages and sections. So the name and the number of each statement
and exercise, the short name of each chapter, and each public function and class of forgetlib are entered as titles;
``scorer.js`` puts titles before pages that only hold the words. All of it is in the index,
a file of the site: search needs no network and works from disk.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment

import forgetlib as fl

Entry = tuple[str, str | None]
# Quotation marks as on a page, and as on a keyboard.
TYPED = str.maketrans(
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\u201c\u201d", "''\"\""
)


def plain(title: str, label: str | None) -> str:
    """A title as readers type it; of a statement or an exercise the name only."""
    title = " ".join(title.translate(TYPED).split())
    bracketed = re.fullmatch(r"\((.*)\)", title)
    if not bracketed or label is None:
        return title
    name = bracketed[1]
    return (
        re.sub(r"^(Pencil|Computer|Both), [^:]*: ", "", name) if label.startswith("ex-") else name
    )


def numbers(env: BuildEnvironment, page: str) -> list[Entry]:
    """What statements and exercises are called by their numbers."""
    kinds = {label: entry["realtype"] for label, entry in getattr(env, "proof_list", {}).items()}
    return [
        (f"{kinds.get(label, kind).title()} {'.'.join(map(str, number))}", label)
        for kind, labels in env.toc_fignumbers.get(page, {}).items()
        for label, number in labels.items()
        if label in kinds or kind == "exercise"
    ]


def public_names(env: BuildEnvironment, page: str) -> list[Entry]:
    """The public functions and classes of forgetlib that a page describes."""
    objects = env.get_domain("py").objects
    homes = {name: getattr(getattr(fl, name), "__module__", None) for name in fl.__all__}
    entries = {name: objects.get(f"{home}.{name}") for name, home in homes.items()}
    return [
        (name, entry.node_id) for name, entry in entries.items() if entry and entry.docname == page
    ]


def short_name(title: str) -> list[Entry]:
    """What stands before the colon of a chapter's title."""
    short, colon, _ = title.partition(":")
    return [(short.strip(), None)] if colon else []


def enter_names(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Enter the names on a page into the index, which has just been fed the page."""
    if doctree is None or getattr(app.builder, "indexer", None) is None:
        return
    env = app.env
    titles = app.builder.indexer._all_titles  # (there is no public way to add a title)
    titles[page] = [
        *((plain(title, label), label) for title, label in titles[page]),
        *short_name(env.titles[page].astext()),
        *numbers(env, page),
        *public_names(env, page),
    ]


def name_scorer(app: Sphinx, config: Config) -> None:
    config.html_search_scorer = str(Path(__file__).with_name("scorer.js"))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", name_scorer)
    app.connect("html-page-context", enter_names)
    # A worker's entries would be lost: Sphinx then writes the pages one after the other.
    return {"parallel_read_safe": True, "parallel_write_safe": False}
