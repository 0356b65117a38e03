"""Color roles, number formatting, and a small SVG drawing board.

Figures come from matplotlib (:mod:`forgetlib.plot`). The frames of explorers do not: a
frame has to be drawn in a millisecond and weigh a few kilobytes, where matplotlib takes
a fifth of a second and fifty kilobytes. What both share is here: what each color and
each dash means, how numbers are written, and where labels go.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


# ---- roles ---------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Role:
    """How one kind of thing is drawn everywhere: never by color alone."""

    light: str
    dark: str
    dash: tuple[float, ...] = ()
    marker: str = "o"
    width: float = 1.8


ROLES = {
    "old": Role("#0B5FA5", "#6DB3F2", (), "o"),
    "new": Role("#B3470B", "#F0A15E", (6.0, 2.2), "s"),
    "model": Role("#3B3B3B", "#DADADA", (), "D", 2.2),
    "data": Role("#6A3D9A", "#C3A6E8", (6.0, 2.0, 1.2, 2.0), "^"),
    "bound": Role("#2E7D32", "#7CCB80", (1.6, 1.8), "v"),
    # settings that are compared: they say which, and not old, new or model
    "first": Role("#00666B", "#58C4C4", (11.0, 1.8), "p"),
    "second": Role("#A3195B", "#F58DB9", (7.0, 1.8, 1.2, 1.8, 1.2, 1.8), "P"),
    "third": Role("#6B5900", "#D6C04A", (4.0, 1.2, 4.0, 6.0), "d"),
    "fourth": Role("#44508C", "#A9B6F5", (1.4, 1.3, 1.4, 4.0), "*"),
    "muted": Role("#595959", "#B0B0B0", (3.0, 2.0), "x", 1.2),
    "grid": Role("#D0D0D0", "#444444", (), "", 0.8),
    "ink": Role("#1F1F1F", "#E8E8E8"),
}

_ROLE_OF = {role.light.lower(): name for name, role in ROLES.items()} | {
    "#000000": "ink",
    "#000": "ink",
}
# Widths are laid out with a font that most readers do not have; theirs is at most as wide.
FONT = "system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif"


def check_role(role: str) -> Role:
    """Role of a name, or one clear error."""
    if role not in ROLES:
        raise ValueError(f"role must be one of {sorted(ROLES)}, got {role!r}")
    return ROLES[role]


def variable(role: str) -> str:
    """Color of a role as CSS: the page's variable, or the light color without a page."""
    return f"var(--fl-{role},{check_role(role).light})"


def themed(markup: str) -> str:
    """Replace the colors of the roles by variables, so that a page can choose them."""

    def replace(match: re.Match[str]) -> str:
        name = _ROLE_OF.get(match[0].lower())
        return match[0] if name is None else variable(name)

    return re.sub(r"#(?:[0-9a-fA-F]{6}|000)\b", replace, markup)


# ---- numbers -------------------------------------------------------------------------

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MINUS = "\N{MINUS SIGN}"


def power_of_ten(exponent: int) -> str:
    """``10⁻³`` for -3; 0 and 1 are written out."""
    if exponent in (0, 1):
        return str(10**exponent)
    return "10" + str(exponent).translate(_SUPERSCRIPT)


def number(value: float, digits: int = 3) -> str:
    """Write a number for people.

    Parameters
    ----------
    value : float
    digits : int
        Significant digits, at least 1.

    Returns
    -------
    str
        Such as ``0.0193``, ``12,300`` or ``1.93 × 10⁻⁷``: powers of ten below 0.001 and
        from a million on. Integers below a million are written in full.

    Raises
    ------
    ValueError
        If ``digits`` is below 1.

    Examples
    --------
    >>> number(0.019302)
    '0.0193'
    >>> number(1.93e-7)
    '1.93 × 10⁻⁷'
    """
    if digits < 1:
        raise ValueError(f"digits must be >= 1, got {digits!r}")
    x = float(value)
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "∞" if x > 0 else _MINUS + "∞"
    if x == 0.0:
        return "0"
    if isinstance(value, int | np.integer) and abs(x) < 1e6:
        return f"{int(value):,}".replace("-", _MINUS)
    # round first: 0.00099996 is 0.001 to three digits
    mantissa, exponent_text = f"{x:.{digits - 1}e}".split("e")
    exponent = int(exponent_text)
    if -4 < exponent < 6:
        text = f"{round(x, digits - 1 - exponent):,.{max(0, digits - 1 - exponent)}f}"
    else:
        text = f"{mantissa} × {power_of_ten(exponent)}"
    return text.replace("-", _MINUS, 1) if x < 0 else text


def estimate(value: float, stderr: float) -> str:
    """Write an estimate with its standard error.

    Parameters
    ----------
    value : float
    stderr : float
        Standard error, >= 0, in the units of ``value``.

    Returns
    -------
    str
        The error to two digits, the value to the same place, such as
        ``0.01920 ± 0.00021`` or ``(1.183 ± 0.042) × 10⁻³``.

    Raises
    ------
    ValueError
        If the standard error is negative or not finite.

    Examples
    --------
    >>> estimate(0.0192, 0.00021)
    '0.01920 ± 0.00021'
    """
    error = float(stderr)
    if not (math.isfinite(error) and error >= 0.0):
        raise ValueError(f"stderr must be finite and >= 0, got {stderr!r}")
    x = float(value)
    if error == 0.0 or not math.isfinite(x):
        return f"{number(x)} ± {number(error)}"
    place = int(f"{error:.1e}".split("e")[1]) - 1  # last digit shown is 10**place
    top = max(place + 1, int(f"{x:e}".split("e")[1]) if x else place + 1)
    if -4 < top < 6 and place < 1:
        return f"{x:.{-place}f} ± {error:.{-place}f}".replace("-", _MINUS)
    scale = 10.0**top
    decimals = top - place
    pair = f"({x / scale:.{decimals}f} ± {error / scale:.{decimals}f})"
    return f"{pair.replace('-', _MINUS)} × {power_of_ten(top)}"


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart: at least ``gap`` between neighbors, inside ``[low, high]``.

    Keeps the order and moves as little as it can (in least squares): labels that would
    overlap form a block, centered on the mean of the places its members ask for.
    """
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    blocks: list[tuple[float, int]] = []  # (sum of wishes for the first member, size)
    for index in order:
        total, size = positions[index], 1
        while blocks and total / size < blocks[-1][0] / blocks[-1][1] + gap * blocks[-1][1]:
            before, count = blocks.pop()
            total, size = before + total - gap * count * size, count + size
        blocks.append((total, size))
    placed: list[float] = []
    for total, size in blocks:
        placed += [total / size + gap * k for k in range(size)]
    for k in range(len(placed)):  # then into the limits, from either side
        placed[k] = max(placed[k], low + gap * k)
    for k in range(len(placed)):
        placed[-1 - k] = min(placed[-1 - k], high - gap * k)
    answer = [0.0] * len(positions)
    for place, index in zip(placed, order, strict=True):
        answer[index] = place
    return answer


# ---- drawing -------------------------------------------------------------------------


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers in an interval."""
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def decade_ticks(low: float, high: float, count: int = 6) -> list[int]:
    """Exponents of at most about ``count`` powers of ten in an interval."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    stride = max(1, math.ceil((last - first) / count))
    start = math.ceil(first / stride) * stride
    return list(range(start, last + 1, stride))


@dataclasses.dataclass(frozen=True)
class Axis:
    """Range of an axis, what it is called and where its ticks are.

    ``ticks=None`` chooses them; ``()`` draws none.
    """

    low: float
    high: float
    label: str = ""
    log: bool = False
    ticks: Sequence[float] | None = None
    ticks_wanted: int = 5
    tick_text: Callable[[float], str] | None = None

    def fraction(self, values: ArrayLike) -> FloatArray:
        """Position in [0, 1] between the ends, for values inside."""
        x = np.asarray(values, dtype=np.float64)
        if not self.log:
            return np.asarray((x - self.low) / (self.high - self.low))
        tiny = self.low * 1e-6  # what has no logarithm is drawn below the axis
        return np.asarray(np.log(np.maximum(x, tiny) / self.low) / np.log(self.high / self.low))

    def marks(self) -> list[tuple[float, str]]:
        """Ticks and their texts."""
        if self.ticks is not None:
            places = [float(tick) for tick in self.ticks]
        elif self.log:
            exponents = decade_ticks(self.low, self.high, self.ticks_wanted)
            places = [10.0**exponent for exponent in exponents]
        else:
            places = linear_ticks(self.low, self.high, self.ticks_wanted)
        if self.tick_text is not None:
            return [(place, self.tick_text(place)) for place in places]
        if self.log:
            return [(place, power_of_ten(round(math.log10(place)))) for place in places]
        return [(place, f"{place:.10g}".replace("-", _MINUS)) for place in places]


def _points(x: FloatArray, y: FloatArray, tolerance: float = 0.12) -> list[tuple[float, float]]:
    """Polyline without the points that lie on the line through their neighbors.

    Seen from the last point kept, each point skipped allows a range of directions for the
    line that is to pass within the tolerance of it: one pass, however straight the line.
    A line that turns back is kept at its turn.
    """
    points = [(round(px, 1), round(py, 1)) for px, py in zip(x.tolist(), y.tolist(), strict=True)]
    kept = points[:1]
    forward, low, high, far = math.nan, -math.inf, math.inf, 0.0
    for before, point in itertools.pairwise(points):
        for _ in range(2):
            dx, dy = point[0] - kept[-1][0], point[1] - kept[-1][1]
            distance = math.hypot(dx, dy)
            if max(distance, far) <= tolerance:
                break
            direction = math.atan2(dy, dx)
            if math.isnan(forward):
                forward = direction
            turn = math.remainder(direction - forward, math.tau)
            if low <= turn <= high and distance > far - tolerance:
                half = math.asin(min(1.0, tolerance / distance))
                low, high, far = max(low, turn - half), min(high, turn + half), max(far, distance)
                break
            kept.append(before)  # and look at the point again from there
            forward, low, high, far = math.nan, -math.inf, math.inf, 0.0
    if len(points) > 1:
        kept.append(points[-1])
    return kept


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Path data in relative tenths of a pixel: short, and nothing drifts."""
    tenths = [(round(10 * x), round(10 * y)) for x, y in points]
    parts = [f"M{tenths[0][0] / 10:g} {tenths[0][1] / 10:g}l"]
    for (x0, y0), (x1, y1) in itertools.pairwise(tenths):
        parts.append(f"{(x1 - x0) / 10:g} {(y1 - y0) / 10:g} ")
    return "".join(parts).rstrip(" l").replace(" -", "-")


# Outlines of the marks, two pixels and a half around a point.
_MARKS = {
    "o": "m-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0-5 0",
    "s": "m-2.2-2.2h4.4v4.4h-4.4z",
    "D": "m0-3.1l3.1 3.1l-3.1 3.1l-3.1-3.1z",
    "d": "m0-3.6l2 3.6l-2 3.6l-2-3.6z",
    "^": "m0-3l3 5.2h-6z",
    "v": "m0 3l3-5.2h-6z",
    "p": "m0-3l2.9 2.1l-1.1 3.3h-3.6l-1.1-3.3z",
    "P": "m-1-3h2v2h2v2h-2v2h-2v-2h-2v-2h2z",
    "*": "m0-3.4l.8 2.3h2.4l-1.9 1.5l.7 2.3l-2-1.4l-2 1.4l.7-2.3l-1.9-1.5h2.4z",
    "x": "m-2.6-1.6l1-1l1.6 1.6l1.6-1.6l1 1l-1.6 1.6l1.6 1.6l-1 1l-1.6-1.6l-1.6 1.6l-1-1l1.6-1.6z",
}

# A rim in the color of the page (its name in Jupyter), so that text stays legible on curves.
_HALO = ' paint-order="stroke" stroke="var(--jp-layout-color1,transparent)" stroke-width="3"'


class Canvas:
    """An SVG picture in the making; units are pixels of a 360 px wide drawing."""

    def __init__(self, width: float = 360.0, height: float = 300.0) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def add(self, markup: str) -> None:
        """Append markup, on top of what there is."""
        self._parts.append(markup)

    @contextlib.contextmanager
    def group(self, name: str) -> Iterator[None]:
        """What is drawn inside belongs together, under the class ``fl-name``."""
        self.add(f'<g class="fl-{name}">')
        yield
        self.add("</g>")

    def text(
        self,
        x: float,
        y: float,
        content: str,
        role: str = "ink",
        anchor: str = "start",
        bold: bool = False,
        halo: bool = False,
    ) -> None:
        """Write a line of text with its baseline at ``y``."""
        attributes = f' x="{x:.1f}" y="{y:.1f}" fill="{variable(role)}"'
        attributes += "" if anchor == "start" else f' text-anchor="{anchor}"'
        attributes += ' font-weight="600"' if bold else ""
        attributes += _HALO if halo else ""
        self.add(f"<text{attributes}>{escape(content)}</text>")

    def panel(
        self, x: Axis, y: Axis, *, left: float, top: float, width: float, height: float
    ) -> Panel:
        """Rectangle with axes to draw in."""
        return Panel(self, x, y, left, top, width, height)

    def render(self, alt: str) -> str:
        """The picture: no ids, no style sheet, so that many can live in one page."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(alt)}" '
            f'viewBox="0 0 {self.width:g} {self.height:g}" '
            f'font-family="{FONT}" font-size="12" fill="none" stroke-linejoin="round" '
            'style="display:block;width:100%;height:auto">' + "".join(self._parts) + "</svg>"
        )


class Panel:
    """One pair of axes on a canvas. What is drawn is clipped to it."""

    def __init__(
        self,
        canvas: Canvas,
        x: Axis,
        y: Axis,
        left: float,
        top: float,
        width: float,
        height: float,
    ) -> None:
        self.canvas, self.x, self.y = canvas, x, y
        self.left, self.top, self.width, self.height = left, top, width, height

    def place(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Canvas coordinates of data, kept within a margin of the panel."""
        h = np.clip(self.x.fraction(x), -0.05, 1.05) * self.width + self.left
        v = (1.0 - np.clip(self.y.fraction(y), -0.05, 1.05)) * self.height + self.top
        h, v = np.broadcast_arrays(h, v)
        return np.atleast_1d(h), np.atleast_1d(v)

    def _clipped(self, markup: str) -> None:
        # a nested svg clips to its box without needing an id for a clip path
        box = f'x="{self.left:g}" y="{self.top:g}" width="{self.width:g}" height="{self.height:g}"'
        view = f"{self.left:g} {self.top:g} {self.width:g} {self.height:g}"
        self.canvas.add(f'<svg {box} viewBox="{view}" overflow="hidden">{markup}</svg>')

    def frame(self, title: str = "", grid: bool = True) -> None:
        """Axes, ticks and names. The name of the vertical axis is a heading: phones are narrow."""
        bottom, right = self.top + self.height, self.left + self.width
        lines = ""
        for tick, text in self.y.marks():
            v = float(self.place(self.x.low, tick)[1][0])
            if grid:
                lines += f"M{self.left:g} {v:.1f}H{right:g}"
            self.canvas.text(self.left - 5, v + 4, text, "muted", "end")
        if lines:
            self.canvas.add(f'<path d="{lines}" stroke="{variable("grid")}" stroke-width=".7"/>')
        notches = f"M{self.left:g} {bottom:g}H{right:g}"
        for tick, text in self.x.marks():
            h = float(self.place(tick, self.y.low)[0][0])
            notches += f"M{h:.1f} {bottom:g}v4"
            if text:
                self.canvas.text(h, bottom + 16, text, "muted", "middle")
        self.canvas.add(f'<path d="{notches}" stroke="{variable("muted")}"/>')
        if title:
            self.canvas.text(0, self.top - 7, title, bold=True)
        if self.x.label:
            self.canvas.text(right, bottom + 31, self.x.label, "ink", "end")

    def line(
        self,
        x: ArrayLike,
        y: ArrayLike,
        role: str,
        width: float | None = None,
        dash: Sequence[float] | None = None,
        opacity: float = 1.0,
    ) -> None:
        """A curve in the color and dash of its role."""
        style = check_role(role)
        points = _points(*self.place(x, y))
        dashes = style.dash if dash is None else dash
        attributes = f'stroke="{variable(role)}" stroke-width="{width or style.width:g}"'
        if dashes:
            attributes += f' stroke-dasharray="{" ".join(f"{d:g}" for d in dashes)}"'
        if opacity < 1.0:
            attributes += f' stroke-opacity="{opacity:g}"'
        self._clipped(f'<path d="{_path(points)}" {attributes}/>')

    def band(
        self, x: ArrayLike, low: ArrayLike, high: ArrayLike, role: str, opacity: float = 0.22
    ) -> None:
        """Area between two curves."""
        there = _points(*self.place(x, high))
        back = _points(*self.place(x, low))[::-1]
        self._clipped(
            f'<path d="{_path([*there, *back])}z" fill="{variable(role)}" '
            f'fill-opacity="{opacity:g}"/>'
        )

    def span(self, low: float, high: float, role: str, opacity: float = 0.1) -> None:
        """Shade a range of the horizontal axis from bottom to top."""
        self.band([low, high], [self.y.low] * 2, [self.y.high] * 2, role, opacity)

    def rule(self, x: float, role: str = "muted") -> None:
        """A thin vertical line."""
        self.line([x, x], [self.y.low, self.y.high], role, 1.0)

    def errors(self, x: ArrayLike, y: ArrayLike, half: ArrayLike, role: str) -> None:
        """Marks of the role with error bars of the given half length."""
        mark = _MARKS[check_role(role).marker or "o"]
        y, half = np.asarray(y, dtype=np.float64), np.asarray(half, dtype=np.float64)
        h, v = self.place(x, y)
        _, low = self.place(x, y - half)
        _, high = self.place(x, y + half)
        bars = "".join(f"M{a:.1f} {b:.1f}V{c:.1f}" for a, b, c in zip(h, low, high, strict=True))
        dots = "".join(f"M{a:.1f} {b:.1f}{mark}" for a, b in zip(h, v, strict=True))
        self._clipped(
            f'<path d="{bars}" stroke="{variable(role)}" stroke-width="1.3"/>'
            f'<path d="{dots}" fill="{variable(role)}"/>'
        )

    def point(self, x: float, y: float, role: str) -> None:
        """The current point: a ring, visible on any curve."""
        h, v = self.place(x, y)
        self.canvas.add(
            f'<circle cx="{h[0]:.1f}" cy="{v[0]:.1f}" r="5.5" stroke="{variable(role)}" '
            f'stroke-width="2.4"/><circle cx="{h[0]:.1f}" cy="{v[0]:.1f}" r="1.6" '
            f'fill="{variable(role)}"/>'
        )

    def label(
        self,
        x: float,
        y: float,
        content: str,
        role: str,
        anchor: str = "start",
        dx: float = 0.0,
        dy: float = 0.0,
    ) -> None:
        """Text at a point of the panel, kept inside it."""
        h, v = self.place(x, y)
        self.canvas.text(
            float(h[0]) + dx,
            min(max(float(v[0]) + dy, self.top + 11), self.top + self.height - 4),
            content,
            role,
            anchor,
            halo=True,
        )
