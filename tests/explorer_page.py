"""What the tests of the explorers share: a page as it is shipped, and how it is read."""

from __future__ import annotations

import functools
import gzip
import inspect
import itertools
import json
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

from forgetlib import widgets

# Every explorer has a drawing function of the same name.
EXPLORERS = sorted(name for name in widgets.__all__ if f"{name}_frame" in widgets.__all__)


@dataclass(frozen=True)
class Shipped:
    """One frame as the page's script would show it."""

    svg: str
    readout: str  # HTML
    texts: tuple[str, ...]  # of the sliders

    @property
    def picture(self) -> ET.Element:
        return ET.fromstring(self.svg)

    @property
    def alt(self) -> str:
        return self.picture.get("aria-label") or ""

    @property
    def words(self) -> str:
        """The readout without its markup."""
        return "".join(ET.fromstring(f"<p>{self.readout}</p>").itertext())


@dataclass(frozen=True)
class Page:
    """What an explorer puts on a page."""

    html: str
    start: Shipped  # as written into the page
    frames: list[Shipped]

    @property
    def weight(self) -> int:
        """Bytes, compressed."""
        return len(gzip.compress(self.html.encode()))


def read(html: str) -> Page:
    """Read a page as ``explorer.js`` does."""
    found = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    frames = [
        Shipped("".join(data["pieces"][piece] for piece in pieces), readout, texts)
        for (readout, pieces), texts in zip(
            data["frames"], itertools.product(*data["texts"]), strict=True
        )
    ]
    readout = re.search(r'<span aria-live="polite">(.*?)</span></p>', html, re.DOTALL)
    picture = re.search(r'<div class="fl-picture">(.*?)</div>', html, re.DOTALL)
    assert readout is not None
    assert picture is not None
    texts = tuple(re.findall(r'aria-valuetext="([^"]*)"', html))
    return Page(html, Shipped(picture[1], readout[1], texts), frames)


@functools.cache
def shipped(explorer: Callable[[], Any]) -> Page:
    """Page with an explorer, as the book ships it."""
    with mock.patch.dict(os.environ, FORGETLIB_STATIC="1"):
        return read(explorer().html)


def live(explorer: Callable[[], Any]) -> Any:
    """Explorer as a reader with a kernel has it."""
    with mock.patch.dict(os.environ, FORGETLIB_STATIC="0"):
        return explorer()


def find(box: Any, kind: Any) -> list[Any]:
    """The widgets of one kind in a box, from the outside in."""
    found = [box] if isinstance(box, kind) else []
    for child in getattr(box, "children", ()):
        found += find(child, kind)
    return found


def simulates(name: str) -> bool:
    """Whether the frames of an explorer have a seed."""
    return "rng" in inspect.signature(getattr(widgets, f"{name}_frame")).parameters
