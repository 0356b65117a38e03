"""Fonts cut down to the signs that a page can show, as text that a style sheet can hold.

Inside of the style sheet a font is there when the page is drawn, so nothing moves; and it is there when the
book is read from a disk, from which some browsers load no fonts.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Collection
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

logging.getLogger("fontTools").setLevel(logging.WARNING)

# A letter alone in <mi> is drawn as the italic one of the plane of mathematical letters.
ITALICS = [*range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C), 0x210E, 0x1D6A4, 0x1D6A5]
ASCII = range(0x20, 0x7F)
ROOT_SIGN = 0x221A  # drawn by <msqrt>, which does not hold it as text


def has(font: Path, characters: Collection[int]) -> set[int]:
    """The characters among these that a font can draw."""
    with TTFont(font, lazy=True) as opened:
        return set(characters) & set(opened.getBestCmap())


def cut(font: Path, characters: Collection[int], features: list[str]) -> str:
    """A font with these characters, and all that they stretch or change to, as a ``data:`` address."""
    options = subset.Options(flavor="woff", layout_features=features, notdef_outline=True)
    options.name_IDs = [0, 13, 14]  # copyright and licence stay with the font
    with subset.load_font(str(font), options) as opened:
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=characters)
        cutter.subset(opened)
        # The time of the build is no part of the font: the same signs give the same bytes.
        opened["head"].modified = opened["head"].created
        opened.recalcTimestamp = False
        opened.flavor = "woff"
        made = io.BytesIO()
        opened.save(made)
    return f"data:font/woff;base64,{base64.b64encode(made.getvalue()).decode('ascii')}"


def mathematics(font: Path, characters: Collection[int]) -> str:
    """A font for mathematics: its alternates for primes and script letters, and the sizes of its signs."""
    return cut(
        font,
        {*characters, *ITALICS, *ASCII, ROOT_SIGN},
        ["ssty", "ss01", "ss04", "dtls", "flac", "kern"],
    )
