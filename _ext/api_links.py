"""Each entry of the API page names the theorems that it implements, and links to them.

Which they are is in the ledger: a claim lists the public names that evaluate it. A docstring that links to a claim
by itself is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import forgetlib as fl


def entry(name: str) -> str:
    """Where the API page lists a public name: below the module that defines it."""
    return f"{getattr(fl, name).__module__}.{name}"


@cache
def claims_of_entries() -> dict[str, list[fl.results.Result]]:
    """The claims that each entry of the API page implements, in the order of the book."""
    claims: dict[str, list[fl.results.Result]] = {}
    for result in fl.results.ledger():
        for name in result.functions:
            claims.setdefault(entry(name), []).append(result)
    return claims


@cache
def labels(source: Path) -> frozenset[str]:
    """The labels that the chapters give to something."""
    chapters = source.glob("chapters/*.md")
    return frozenset(
        label
        for chapter in chapters
        for label in re.findall(r"^:label: (\S+)$", chapter.read_text("utf-8"), re.MULTILINE)
    )


def implements(
    lines: list[str], claims: list[fl.results.Result], stated: Collection[str]
) -> list[str]:
    """The docstring with a paragraph on the claims stated in the book to which it does not link yet.

    It stands where the prose of the docstring ends, before the lists of parameters, examples and so on.
    """
    linked = set(re.findall(r":prf:ref:`([^`]+)`", "\n".join(lines)))
    missing = [claim for claim in claims if claim.label not in linked and claim.label in stated]
    if not missing:
        return lines
    links = ", ".join(f":prf:ref:`{claim.label}` ({claim.title})" for claim in missing)
    fields = (
        place
        for place, line in enumerate(lines)
        if re.match(r":[A-Z][\w ]*:|\.\. (rubric|seealso|warning)::", line)
    )
    end = next(fields, len(lines))
    return [*lines[:end], "", f"*Implements:* {links}.", "", *lines[end:]]


def link_to_claims(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    claims = claims_of_entries().get(name, [])
    lines[:] = implements(lines, claims, labels(Path(app.srcdir)))


def setup(app: Sphinx) -> dict[str, Any]:
    # After numpydoc, and after the labels of a docstring were made links.
    app.connect("autodoc-process-docstring", link_to_claims, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
