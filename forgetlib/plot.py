"""Figures in one house style, legible on a phone, in light and in dark.

Color, dash and marker say what a thing *is*, the same in every figure: the ``old`` and
the ``new`` mode, the ``model`` (or a prediction), the ``data`` (or a target), a
``bound``; and ``first`` to ``fourth`` tell settings apart that are compared. A figure is
drawn in plain matplotlib, and :func:`show` turns it into one SVG whose colors are CSS
variables (``--fl-old`` and so on), so that a page can choose them; opened alone, the SVG
shows the light ones. Curves carry their names at their ends: no legend has to be matched
to a color. ``show(fig, numbers=True)`` adds the numbers that were drawn, as a table.

    >>> import numpy as np
    >>> import forgetlib as fl
    >>> fig, ax = fl.plot.figure()
    >>> fl.plot.curve(ax, np.arange(5), np.arange(5) ** 2, role="model", label="predicted")
    >>> _ = ax.set(xlabel="training time t", ylabel="old weight b")
    >>> picture = fl.plot.show(fig)
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, ScalarFormatter
from numpy.typing import ArrayLike, NDArray

from forgetlib._figure_table import (
    Series,
    Table,
    details,
    evenly,
    numbers_of,
    remember,
    table,
)
from forgetlib._svg import (
    FONT,
    ROLES,
    _path,
    _points,
    check_role,
    decade_ticks,
    estimate,
    number,
    power_of_ten,
    spread,
    themed,
)
from forgetlib.mixture import TwoModeMixture

__all__ = [
    "Picture",
    "Table",
    "color",
    "curve",
    "density",
    "ensemble",
    "estimate",
    "figure",
    "log_axes",
    "number",
    "points",
    "responsibility",
    "show",
    "table",
]

FloatArray = NDArray[np.float64]

_INK = ROLES["ink"].light
_MUTED = ROLES["muted"].light
_STYLE: Any = {  # the type of its keys is a list of 300 names, and differs between versions
    # 11 points in a figure 5 inches wide are 10.4 pixels on a phone, where it is 342 wide
    "font.size": 11.0,
    "axes.labelsize": 11.0,
    "xtick.labelsize": 11.0,
    "ytick.labelsize": 11.0,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same layout everywhere
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": ROLES["grid"].light,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": False,
    "axes.xmargin": 0.01,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "mathtext.fontset": "dejavusans",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "forgetlib",  # and ids stay the same from run to run
}


def color(role: str) -> str:
    """Color of a role, for plain matplotlib calls.

    Parameters
    ----------
    role : {"old", "new", "model", "data", "bound", "first", "second", "third", "fourth", \
"muted", "grid", "ink"}

    Returns
    -------
    str
        Hexadecimal color of the light theme; :func:`show` replaces it by the role's CSS
        variable.

    Raises
    ------
    ValueError
        If the role is unknown.

    Examples
    --------
    >>> color("old")
    '#0B5FA5'
    """
    return check_role(role).light


def figure(
    rows: int = 1,
    columns: int = 1,
    *,
    width: float = 5.0,
    height: float = 3.2,
    **subplots: Any,
) -> tuple[Figure, Any]:
    """New figure in the house style.

    Parameters
    ----------
    rows, columns : int
        Grid of axes. Prefer rows: two columns are hard to read on a phone.
    width, height : float
        Size in inches. Text keeps its size, so wider means smaller on a phone.
    **subplots
        Passed to :meth:`matplotlib.figure.Figure.subplots`, such as ``sharex=True`` or
        ``height_ratios``.

    Returns
    -------
    fig : matplotlib.figure.Figure
        It belongs to no window and no global state: nothing has to be closed.
    ax : matplotlib.axes.Axes or ndarray of them
    """
    with matplotlib.rc_context(_STYLE):
        fig = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(fig)
        axes = fig.subplots(rows, columns, **subplots)
    return fig, axes


def log_axes(ax: Axes, x: bool = True, y: bool = True) -> None:
    """Logarithmic axes with powers of ten as plain text.

    Ticks are chosen by :func:`show`, when the limits are known.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x, y : bool
        Which axes become logarithmic.
    """
    for wanted, name, axis in ((x, "x", ax.xaxis), (y, "y", ax.yaxis)):
        if wanted:
            getattr(ax, f"set_{name}scale")("log")
            axis.set_minor_locator(NullLocator())


def _thin_log_ticks(ax: Axes) -> None:
    for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        if axis.get_scale() != "log" or isinstance(axis.get_major_locator(), FixedLocator):
            continue
        low, high = sorted(limits)
        if math.log10(high / low) < 1.0:  # no two powers of ten: 1, 2 and 5 times them
            first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
            ticks = [m * 10.0**k for k in range(first, last + 1) for m in (1.0, 2.0, 5.0)]
            axis.set_major_locator(FixedLocator([t for t in ticks if low <= t <= high]))
            axis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
        else:
            exponents = decade_ticks(low, high)
            axis.set_major_locator(FixedLocator([10.0**k for k in exponents]))
            axis.set_major_formatter(
                FuncFormatter(lambda value, _: power_of_ten(round(math.log10(value))))
            )
        axis.set_minor_locator(NullLocator())


# ---- verbs ---------------------------------------------------------------------------


def _line(name: str, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if xs.ndim != 1 or xs.shape != ys.shape or xs.size == 0:
        raise ValueError(
            f"x and {name} must be non-empty vectors of one length, "
            f"got shapes {xs.shape} and {ys.shape}"
        )
    return xs, ys


def curve(
    ax: Axes,
    x: ArrayLike,
    y: ArrayLike,
    *,
    role: str = "model",
    label: str | None = None,
    at: float | None = None,
    name: str | None = None,
    **style: Any,
) -> None:
    """Draw a curve with its name beside it.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x, y : array_like, shape (n,)
    role : str
        What it is; sets color, dash and width.
    label : str, optional
        Name, written at the right end of the curve by :func:`show`, which keeps the names
        of all curves of the axes apart.
    at : float, optional
        Write the name at this ``x`` instead, above the curve on its lower side.
    name : str, optional
        What the curve is called in the figure's numbers (see :func:`show`), if not by its
        label.
    **style
        Passed to :meth:`matplotlib.axes.Axes.plot`, on top of the role's style.

    Raises
    ------
    ValueError
        If the role is unknown or the shapes disagree.
    """
    look = check_role(role)
    xs, ys = _line("y", x, y)
    options: dict[str, Any] = {
        "color": look.light,
        "linewidth": look.width,
        "linestyle": (0, look.dash) if look.dash else "-",
    } | style
    ax.plot(xs, ys, **options)
    remember(ax, Series(xs, ys, role, name or label))
    _name(ax, xs, ys, label, at, role)


def _name(
    ax: Axes, x: FloatArray, y: FloatArray, label: str | None, at: float | None, role: str
) -> None:
    """Name a curve: now, if its place is given, or at its end when the figure is shown."""
    if label is None:
        return
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.any():
        raise ValueError(f"y must have finite values to carry the label {label!r}")
    xs, ys = x[finite], y[finite]
    if at is None:
        last = int(np.argmax(xs))
        ax.annotate(
            label,
            (float(xs[last]), float(ys[last])),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=color(role),
            size=_LABEL_SIZE,
            gid=_END_LABEL,
            annotation_clip=False,
        )
    else:
        order = np.argsort(xs)
        xs, ys = xs[order], ys[order]
        reach = 0.01 * (xs[-1] - xs[0])
        slope = float(np.diff(np.interp([at - reach, at + reach], xs, ys))[0])
        # above the curve, on the side that it does not climb to
        ax.annotate(
            label,
            (at, float(np.interp(at, xs, ys))),
            xytext=(0, 5),
            textcoords="offset points",
            ha="right" if slope > 0 else "left" if slope < 0 else "center",
            va="bottom",
            color=color(role),
            size=_LABEL_SIZE,
        )


_LABEL_SIZE = 11.0
_END_LABEL = "forgetlib-end-label"
_LINE_HEIGHT = 14.0  # points from one end label to the next


def _place_end_labels(ax: Axes) -> None:
    """Move the names at the right ends apart, so that none covers another."""
    labels = [text for text in ax.texts if text.get_gid() == _END_LABEL]
    if not labels:
        return
    scale = 72.0 / ax.figure.dpi
    box = ax.get_window_extent()
    heights = [float(ax.transData.transform(text.xy)[1]) * scale for text in labels]  # type: ignore[attr-defined]
    low, high = box.y0 * scale, box.y1 * scale
    inside = [min(max(height, low), high) for height in heights]
    gap = _LINE_HEIGHT * max(1, *(text.get_text().count("\n") + 1 for text in labels))
    for text, height, wanted in zip(
        labels, heights, spread(inside, gap, low + 4, high - 4), strict=True
    ):
        text.xyann = (6, wanted - height)  # type: ignore[attr-defined]


def points(
    ax: Axes,
    x: ArrayLike,
    value: ArrayLike,
    stderr: ArrayLike | None = None,
    *,
    role: str = "model",
    label: str | None = None,
    at: float | None = None,
    name: str | None = None,
    errors: float = 2.0,
) -> None:
    """Draw Monte Carlo estimates: markers with error bars.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x, value : array_like, shape (n,)
    stderr : array_like, shape (n,), optional
        Standard errors.
    role, label, at, name
        As in :func:`curve`.
    errors : float
        Half length of the bars in standard errors; say in the caption what it is.

    Raises
    ------
    ValueError
        If the role is unknown, the shapes disagree, or a standard error is negative.
    """
    look = check_role(role)
    xs, ys = _line("value", x, value)
    deviations = None
    if stderr is not None:
        _, deviations = _line("stderr", xs, stderr)
        if (deviations < 0).any():
            raise ValueError(f"stderr must be >= 0, got {deviations.min():.3g}")
    ax.errorbar(
        xs,
        ys,
        yerr=None if deviations is None else errors * deviations,
        linestyle="none",
        color=look.light,
        marker=look.marker or "o",
        # a star or a thin diamond covers less than a disc of its size
        markersize=5.4 if look.marker in "pPd*" else 4.0,
        elinewidth=1.2,
        capsize=2.5,
        zorder=3,
    )
    remember(ax, Series(xs, ys, role, name or label, markers=True, stderr=deviations))
    _name(ax, xs, ys, label, at, role)


def ensemble(
    ax: Axes,
    x: ArrayLike,
    samples: ArrayLike,
    *,
    role: str = "model",
    label: str | None = None,
    at: float | None = None,
    name: str | None = None,
    records: int = 12,
    band: tuple[float, float] | None = None,
    errors: float = 2.0,
) -> None:
    """Draw an ensemble over a predicted curve: its mean with error bars.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : array_like, shape (n,)
        Training time (or step) of each record.
    samples : array_like, shape (replicates, n)
        One row for each replicate, such as ``run.old_weight``.
    role, label, at, name
        As in :func:`curve`.
    records : int
        At most so many means are drawn, evenly spaced on the axis (linear or
        logarithmic, so set the scale first).
    band : (float, float), optional
        Two quantiles of the replicates to shade, such as ``(0.1, 0.9)``.
    errors : float
        Half length of the bars in standard errors of the mean.

    Raises
    ------
    ValueError
        If the shapes disagree, there are fewer than two replicates, or the quantiles are
        not ordered in [0, 1].
    """
    check_role(role)
    xs = np.asarray(x, dtype=np.float64)
    values = np.asarray(samples, dtype=np.float64)
    if xs.ndim != 1 or values.ndim != 2 or values.shape[1] != xs.size or values.shape[0] < 2:
        raise ValueError(
            "samples must have shape (replicates >= 2, n) for x of shape (n,), "
            f"got {values.shape} and {xs.shape}"
        )
    if band is not None:
        low, high = band
        if not 0.0 <= low < high <= 1.0:
            raise ValueError(f"band must be two increasing quantiles in [0, 1], got {band!r}")
        edges = np.quantile(values, [low, high], axis=0)
        ax.fill_between(xs, edges[0], edges[1], color=color(role), alpha=0.2, linewidth=0)
    chosen = evenly(xs, records, ax.get_xscale() == "log")
    mean = values.mean(axis=0)[chosen]
    stderr = values.std(axis=0, ddof=1)[chosen] / math.sqrt(values.shape[0])
    points(ax, xs[chosen], mean, stderr, role=role, label=label, at=at, name=name, errors=errors)


def _marginal(model: TwoModeMixture, axis: int) -> tuple[float, float, float]:
    """Means of the two modes and their standard deviation along one coordinate."""
    if not 0 <= axis < model.dim:
        raise ValueError(f"axis must lie in [0, {model.dim}), got {axis!r}")
    deviation = 1.0 if model.covariance is None else math.sqrt(model.covariance[axis, axis])
    return float(model.old_mean[axis]), float(model.new_mean[axis]), deviation


def _normal(y: ArrayLike, mean: float, deviation: float) -> FloatArray:
    z = (np.asarray(y, dtype=np.float64) - mean) / deviation
    return np.asarray(np.exp(-0.5 * z**2) / (deviation * math.sqrt(2.0 * math.pi)))


def _grid(y: ArrayLike | None, axis: int, *mixtures: TwoModeMixture | None) -> FloatArray:
    """Where to evaluate: as told, or 3.6 standard deviations around all modes."""
    if y is not None:
        return np.asarray(y, dtype=np.float64)
    marginals = [_marginal(mixture, axis) for mixture in mixtures if mixture is not None]
    low = min(min(old, new) - 3.6 * deviation for old, new, deviation in marginals)
    high = max(max(old, new) + 3.6 * deviation for old, new, deviation in marginals)
    return np.linspace(low, high, 201)


def density(
    ax: Axes,
    model: TwoModeMixture,
    *,
    data: TwoModeMixture | None = None,
    y: ArrayLike | None = None,
    axis: int = 0,
    labels: bool = True,
) -> None:
    r"""Draw a mixture: its weighted old and new part, and their sum.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    model : TwoModeMixture
        Drawn as two filled parts and an outline.
    data : TwoModeMixture, optional
        Second mixture, drawn as an outline in the role ``data`` (a target, or data).
    y : array_like, optional
        Where to evaluate; by default 3.6 standard deviations around both modes.
    axis : int
        Coordinate along which to draw. In more than one dimension it is the marginal
        density of that coordinate.
    labels : bool
        Name the two modes.

    Raises
    ------
    ValueError
        If ``axis`` is not a coordinate of the model.
    """
    grid = _grid(y, axis, model, data)
    total = np.zeros_like(grid)
    old_mean, new_mean, deviation = _marginal(model, axis)
    for role, weight, mean in (
        ("old", model.old_weight, old_mean),
        ("new", 1.0 - model.old_weight, new_mean),
    ):
        part = weight * _normal(grid, mean, deviation)
        total += part
        ax.fill_between(grid, part, color=color(role), alpha=0.25, linewidth=0)
        if labels:
            ax.annotate(
                role,
                (mean, weight * float(_normal(0.0, 0.0, deviation))),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                va="bottom",
                color=color(role),
                size=_LABEL_SIZE,
            )
    curve(ax, grid, total, role="model")
    if data is not None:
        old_mean, new_mean, deviation = _marginal(data, axis)
        target = data.old_weight * _normal(grid, old_mean, deviation) + (
            1.0 - data.old_weight
        ) * _normal(grid, new_mean, deviation)
        curve(ax, grid, target, role="data")
    ax.margins(y=0.12)  # room for the names above the peaks
    ax.set_ylim(bottom=0.0)


def responsibility(
    ax: Axes, model: TwoModeMixture, *, y: ArrayLike | None = None, axis: int = 0
) -> None:
    r"""Draw who explains a sample: the responsibility of the old mode, :math:`P(\text{old}\mid y)`.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Filled from 0 to 1: below the curve belongs to the old mode, above to the new one.
    model : TwoModeMixture
    y : array_like, optional
        As in :func:`density`.
    axis : int
        Coordinate that varies; the others are held half-way between the means.

    Raises
    ------
    ValueError
        If ``axis`` is not a coordinate of the model.
    """
    grid = _grid(y, axis, model)
    samples = np.broadcast_to(
        0.5 * (model.old_mean + model.new_mean), (grid.size, model.dim)
    ).copy()
    samples[:, axis] = grid
    share = model.responsibility(samples)
    # faint: text on it needs a contrast of 4.5
    ax.fill_between(grid, share, color=color("old"), alpha=0.13, linewidth=0)
    ax.fill_between(grid, share, 1.0, color=color("new"), alpha=0.13, linewidth=0)
    curve(ax, grid, share, role="model")
    for role, mean in (("old", model.old_mean[axis]), ("new", model.new_mean[axis])):
        ax.annotate(
            role, (mean, 0.5), ha="center", va="center", color=color(role), size=_LABEL_SIZE
        )
    ax.set_ylim(0.0, 1.0)


# ---- output --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, repr=False)
class Picture:
    """A finished picture; the last line of a notebook cell shows it.

    Attributes
    ----------
    svg : str
        SVG document. Colors of roles are CSS variables with the light ones as fallback.
        Its ``metadata`` holds the numbers, if there are any, for the book to put them
        below the figure.
    numbers : tuple of Table
        What was asked for with ``numbers=``; in a notebook they are shown below the picture.
    """

    svg: str
    numbers: tuple[Table, ...] = ()

    def __repr__(self) -> str:
        return f"Picture({len(self.svg)} bytes of SVG)"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        bundle = {"image/svg+xml": self.svg}
        if self.numbers:
            bundle["text/html"] = _METADATA.sub("", self.svg) + details(self.numbers)
        return bundle

    def save(self, path: str | Path) -> None:
        """Write the SVG to a file.

        Parameters
        ----------
        path : str or pathlib.Path
        """
        Path(path).write_text(self.svg, encoding="utf-8")


_METADATA = re.compile("<metadata>.*?</metadata>", re.DOTALL)


def show(fig: Figure, *, numbers: bool | Table | Sequence[Table] = False) -> Picture:
    """Finish a figure: one SVG, the same bytes in every run. Its layout is final after this.

    Make it the last line of the cell, and put the alternative text into the metadata of
    the cell (``mystnb: image: alt:``).

    Parameters
    ----------
    fig : matplotlib.figure.Figure
        Usually from :func:`figure`.
    numbers : bool or Table or sequence of Table
        Put the numbers below the picture, folded. True makes a table for each axes from
        what :func:`curve`, :func:`points` and :func:`ensemble` drew: at most 12 rows, one
        column for each of them, named by ``name=`` or its label. Without those, what is
        the only one of its role takes the only text in its color, or else the role;
        estimates with errors drawn just after a named curve take that curve's name. At a
        row between two points of a curve its cell is read off the line. Other figures need
        their own :func:`table`.

    Returns
    -------
    Picture

    Raises
    ------
    ValueError
        If ``fig`` is not a figure, ``numbers`` is something else, nothing was drawn that
        could be tabulated, or two columns would have to be called the same.
    """
    if not isinstance(fig, Figure):
        raise ValueError(f"fig must be a matplotlib Figure, got {type(fig).__name__}")
    tables = numbers_of(fig, numbers)
    for ax in fig.axes:
        _thin_log_ticks(ax)
        if title := ax.get_title():
            ax.set_title("")
            ax.set_title(title, loc="left", fontsize=11.5, fontweight="bold", color=_INK)
        for axis in (ax.xaxis, ax.yaxis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, ScalarFormatter):
                formatter.set_useOffset(False)  # an offset in a corner is easily missed
    with matplotlib.rc_context(_STYLE):
        if fig.get_layout_engine() is not None:
            fig.draw_without_rendering()  # the layout decides how high the axes are
            fig.set_layout_engine("none")
        for ax in fig.axes:
            _place_end_labels(ax)
        buffer = io.StringIO()
        fig.savefig(
            buffer,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    svg = _trimmed(buffer.getvalue())
    if tables:
        # as text, because a browser that meets a table in an inline picture ends the picture
        folded = escape(details(tables), quote=False)
        svg = svg.replace("</svg>\n", f"<metadata>{folded}</metadata></svg>\n")
    return Picture(svg, tables)


def _trimmed(svg: str) -> str:
    """Matplotlib's SVG without what a page has no use for, in the colors of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # its only rule, which would otherwise reach the other pictures of the page
    svg = re.sub(
        r"<style type=\"text/css\">\*\{stroke-linejoin: round; stroke-linecap: butt\}</style>",
        "",
        svg,
    )
    svg = re.sub(r"<defs>\s*</defs>", "", svg)
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)
    svg = re.sub(r'<path [^>]*style="fill: none"/>', "", svg)  # cells of a map with nothing to see
    svg = re.sub(r' d="([^"]*)"(?= clip-path)', _short, svg)
    svg = re.sub(r' d="[^"]*"', lambda path: path[0].replace(" \n", ""), svg)
    svg = re.sub(r" font-family: 'DejaVu Sans'[^;\"]*;?", "", svg)  # once, on the root
    svg = re.sub(r' transform="rotate\(-?0(\.0)? [^)]*\)"', "", svg)
    width, height = re.findall(r'(?:width|height)="([\d.]+)pt"', svg)[:2]
    svg = svg.replace(f'width="{width}pt"', f'width="{float(width) * 4 / 3:g}"', 1)
    svg = svg.replace(f'height="{height}pt"', f'height="{float(height) * 4 / 3:g}"', 1)
    svg = svg.replace(
        "<svg ",
        f'<svg font-family="{FONT}" stroke-linejoin="round" style="max-width:100%;height:auto" ',
        1,
    )
    svg = re.sub(r">\s+<", "><", svg)
    svg = re.sub(r'(<g clip-path="[^"]*")>((?:<use [^>]*/>)+)</g>', _cloud, svg)
    return themed(svg).strip() + "\n"


def _short(path: re.Match[str]) -> str:
    """Lines of data in tenths of a point, without what lies on a line between its neighbors."""
    if set(re.findall("[A-Za-z]", path[1])) - set("MLz"):
        return path[0]
    parts = ""
    for start in path[1].split("M")[1:]:
        x, y = np.array(re.findall(r"-?[\d.]+", start), dtype=np.float64).reshape(-1, 2).T
        parts += _path(_points(x, y)) + ("z" if "z" in start else "")
    return f' d="{parts}"'


def _cloud(group: re.Match[str]) -> str:
    """Markers that look alike say so once."""
    styles = set(re.findall(r' style="[^"]*"', group[2]))
    if len(styles) != 1:
        return group[0]
    (style,) = styles
    markers = re.sub(r'"(-?\d+\.\d)\d+"', r'"\1"', group[2].replace(style, ""))
    return f"{group[1]}{style}>{markers}</g>"
