"""Tables of numbers, and the numbers of a figure.

The verbs of :mod:`forgetlib.plot` remember here what they draw. A table made from that
has one column for each curve and one row for each value of ``x`` at which there is an
estimate, or, if there are only curves, for about ten values of ``x`` along the axis.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from weakref import WeakKeyDictionary

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from forgetlib._svg import ROLES, estimate, number

FloatArray = NDArray[np.float64]
Cell = str | float | int | tuple[float, float]

# ---- tables --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, repr=False)
class Table:
    """A small table of numbers that a screen reader can walk through.

    Attributes
    ----------
    caption : str
    columns : tuple of str
    rows : tuple of tuple of str
        The cells as written.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __repr__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.columns))]
        text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([self.caption, *(line.rstrip() for line in text)])

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{_math(column)}</th>' for column in self.columns)
        body = "".join(
            f'<tr><th scope="row">{_math(first)}</th>'
            + "".join(f"<td>{_math(cell)}</td>" for cell in rest)
            + "</tr>"
            for first, *rest in self.rows
        )
        # the frame scrolls on a narrow screen, hence must be reachable by keyboard
        return (
            '<div class="fl-table-frame" style="overflow-x:auto" tabindex="0" role="region" '
            f'aria-label="{escape(self.caption)}">'
            '<table class="fl-table tex2jax_process mathjax_process">'
            f"<caption>{_math(self.caption)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )


def _math(text: str) -> str:
    r"""Escaped text, with $...$ as \(...\), which every MathJax set-up reads."""
    return re.sub(r"\$([^$]+)\$", r"\\(\1\\)", escape(text, quote=False))


def _written(value: Cell, digits: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return estimate(*value)
    return number(value, digits)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    caption: str,
    digits: int = 3,
) -> Table:
    """Table of numbers, as the last line of a cell.

    Parameters
    ----------
    columns : sequence of str
        Headings; mathematics between dollar signs.
    rows : sequence of sequences
        Each as long as ``columns``; the first cell names the row. A cell is text, a number
        (written by :func:`number`) or a pair ``(value, standard error)`` (written by
        :func:`estimate`).
    caption : str
        What the table shows.
    digits : int
        Significant digits of plain numbers.

    Returns
    -------
    Table

    Raises
    ------
    ValueError
        If the caption is empty or a row has the wrong length.
    """
    if not caption.strip():
        raise ValueError(f"caption must say what the table shows, got {caption!r}")
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(
                f"rows must have {len(columns)} cells each, one for each column, "
                f"got {len(row)}: {row!r}"
            )
    return Table(
        caption,
        tuple(columns),
        tuple(tuple(_written(cell, digits) for cell in row) for row in rows),
    )


# ---- the numbers of a figure ---------------------------------------------------------

_ROWS = 12  # more than this nobody reads, and a screen reader reads them all
_NONE = "–"


@dataclasses.dataclass(frozen=True)
class Series:
    """What one call of a verb drew. ``markers`` has values at its own ``x`` only."""

    x: FloatArray
    y: FloatArray
    role: str
    name: str | None
    markers: bool = False
    stderr: FloatArray | None = None


_DRAWN: WeakKeyDictionary[Axes, list[Series]] = WeakKeyDictionary()


def remember(ax: Axes, series: Series) -> None:
    """Note what was drawn, from left to right."""
    if not series.markers and np.all(np.diff(series.x) < 0):
        series = dataclasses.replace(series, x=series.x[::-1], y=series.y[::-1])
    _DRAWN.setdefault(ax, []).append(series)


def evenly(x: FloatArray, count: int, log: bool) -> NDArray[np.intp]:
    """Indices of at most ``count`` records, evenly spaced on the axis."""
    usable = np.flatnonzero(x > 0) if log else np.arange(x.size)
    places = np.log(x[usable]) if log else x[usable]
    wanted = np.linspace(places.min(), places.max(), max(1, count))
    nearest = np.abs(places[None, :] - wanted[:, None]).argmin(axis=1)
    return np.asarray(usable[np.unique(nearest)])


def tabulate(ax: Axes) -> tuple[str, list[str], list[list[Cell]]] | None:
    """Caption, headings and rows of what was drawn on the axes, or nothing.

    Curves that go back or straight up (no functions of ``x``) are left out.
    """
    series = [one for one in _DRAWN.get(ax, []) if one.markers or np.all(np.diff(one.x) > 0)]
    if not series:
        return None
    log = ax.get_xscale() == "log"
    places = _places(series, log)
    if not places.size:
        return None
    across, up = _label(ax, "x"), _label(ax, "y")
    caption = f"{up or 'value'} against {across or 'x'}"
    if title := ax.get_title("left") or ax.get_title():
        caption = f"{title}: {caption}" if up else title
    if any(one.stderr is not None for one in series):
        caption += " (± one standard error)"
    columns, cells = [across or "x"], [_texts(places)]
    for one, name in zip(series, _names(ax, series), strict=True):
        columns.append(name)
        value = _reader(one, one.y, log, ax.get_yscale() == "log")
        error = None if one.stderr is None else _reader(one, one.stderr, log, False)
        cells.append([_cell(value(x), None if error is None else error(x)) for x in places])
    return (
        _one_line(caption),
        [_one_line(c) for c in columns],
        [list(r) for r in zip(*cells, strict=True)],
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _label(ax: Axes, axis: str) -> str:
    """Name of an axis; where panels share it, only one of them carries the name."""
    shared = getattr(ax, f"get_shared_{axis}_axes")().get_siblings(ax)
    names = [getattr(one, f"get_{axis}label")() for one in (ax, *shared)]
    return next((name for name in names if name), "")


def _names(ax: Axes, series: list[Series]) -> list[str]:
    """Heading of each column: none is guessed where two could be meant."""
    names = [one.name for one in series]
    kinds = [(role, markers) for markers in (False, True) for role in sorted(ROLES)]

    def nameless(role: str, markers: bool) -> list[int]:
        return [
            k
            for k, one in enumerate(series)
            if names[k] is None and (one.role, one.markers) == (role, markers)
        ]

    for role, markers in kinds:  # a text belongs to a curve before it belongs to markers
        colored = [t for t in ax.texts if str(t.get_color()).lower() == ROLES[role].light.lower()]
        texts = {text.get_text() for text in colored} - set(names)
        if len(nameless(role, markers)) == len(texts) == 1:
            names[nameless(role, markers)[0]] = texts.pop()
    for k, (before, one) in enumerate(itertools.pairwise(series)):
        if names[k] and not before.markers and names[k + 1] is None and one.stderr is not None:
            names[k + 1] = f"{names[k]}, simulated"
    for role, markers in kinds:
        alike = nameless(role, markers)
        if len(alike) > 1:
            raise ValueError(
                f"numbers=True needs the names of {len(alike)} {'sets of markers' if markers else 'curves'} "
                f"of role {role!r} on the axes {_label(ax, 'y')!r}: give each name= or label="
            )
        for k in alike:
            names[k] = (
                role if not markers else "points" if series[k].stderr is None else "simulated"
            )
    found = [str(name) for name in names]
    if len(set(found)) < len(found):
        twice = next(name for name, count in Counter(found).items() if count > 1)
        raise ValueError(f"numbers=True needs different names, got {twice!r} twice: give name=")
    return found


def _places(series: list[Series], log: bool) -> FloatArray:
    """Values of ``x`` that get a row: those of the markers, thinned if they are many."""
    markers = [one for one in series if one.markers]

    def usable(x: FloatArray) -> FloatArray:
        return x[np.isfinite(x) & ((x > 0) | (not log))]

    grids: list[FloatArray] = []
    for one in markers or series:
        grid = _distinct(usable(one.x))
        if not any(grid.shape == g.shape and np.allclose(grid, g, rtol=1e-9) for g in grids):
            grids.append(grid)
    union = _distinct(np.concatenate(grids))
    if union.size <= _ROWS:
        return union
    if not markers or len(grids) > _ROWS // 2:
        return union[evenly(union, _ROWS if markers else _ROWS - 2, log)]
    share = _ROWS // len(grids)  # each set of markers keeps its own places
    return _distinct(np.concatenate([grid[evenly(grid, share, log)] for grid in grids]))


def _distinct(x: FloatArray) -> FloatArray:
    """Sorted, and what differs by rounding only is one."""
    ordered = np.sort(x)
    return ordered[np.r_[True, ~np.isclose(ordered[1:], ordered[:-1], rtol=1e-9, atol=0.0)]]


def _reader(one: Series, y: FloatArray, log_x: bool, log_y: bool) -> Callable[[float], float]:
    """Value at a place: as computed there, or on the line that is drawn between two points."""

    def read(x: float) -> float:
        there = np.flatnonzero(np.isclose(one.x, x, rtol=1e-9, atol=0.0))
        if there.size:
            return float(y[there[0]])
        if one.markers or not one.x[0] < x < one.x[-1]:
            return float("nan")
        right = int(np.searchsorted(one.x, x))
        (x0, x1), (y0, y1) = one.x[right - 1 : right + 1], y[right - 1 : right + 1]
        share = np.log(x / x0) / np.log(x1 / x0) if log_x and x0 > 0 else (x - x0) / (x1 - x0)
        if log_y and y0 > 0 and y1 > 0:
            return float(y0 * (y1 / y0) ** share)
        return float(y0 + share * (y1 - y0))

    return read


def _cell(value: float, stderr: float | None) -> Cell:
    if not np.isfinite(value):
        return _NONE
    if stderr is None or not np.isfinite(stderr) or stderr <= 1e-12 * abs(value):
        return value  # exact, but for rounding: all runs start at one value
    return value, stderr


def _texts(places: FloatArray) -> list[Cell]:
    """First cells of the rows, each with as many digits as tell it from the others."""
    if np.all(places == np.round(places)) and np.abs(places).max() < 1e6:
        return [number(int(place)) for place in places]
    texts = [number(float(place)) for place in places]
    for digits in range(4, 10):
        count = Counter(texts)
        more = [number(float(place), digits) for place in places]
        texts = [new if count[old] > 1 else old for old, new in zip(texts, more, strict=True)]
    return list(texts)


def details(tables: Sequence[Table]) -> str:
    """The numbers of a figure, folded."""
    return (
        '<details class="fl-numbers"><summary>Numbers of this figure</summary>'
        + "".join(table._repr_html_() for table in tables)
        + "</details>"
    )


def numbers_of(fig: Figure, wanted: bool | Table | Sequence[Table]) -> tuple[Table, ...]:
    """Tables of a figure: made from what is drawn, or the author's own."""
    if isinstance(wanted, Table):
        return (wanted,)
    if not isinstance(wanted, bool):
        tables = tuple(wanted) if isinstance(wanted, Sequence) else (wanted,)
        if not all(isinstance(table, Table) for table in tables):
            raise ValueError(f"numbers must be True, False, or tables, got {wanted!r}")
        return tables
    if not wanted:
        return ()
    contents = [content for ax in fig.axes if (content := tabulate(ax))]
    if not contents:
        raise ValueError(
            "numbers=True needs curves, points or ensembles drawn by forgetlib.plot; "
            "for anything else give numbers=table(...)"
        )
    return tuple(table(columns, rows, caption=caption) for caption, columns, rows in contents)
