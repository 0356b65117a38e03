"""Parts of pictures that several explorers share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forgetlib._svg import Axis, Canvas, Panel
from forgetlib.mixture import TwoModeMixture
from forgetlib.toy import ToyMixture

__all__ = ["WIDE", "Runs", "Top", "bell", "credit", "parts", "top"]

FloatArray = NDArray[np.float64]
Model = TwoModeMixture | ToyMixture
Density = Callable[[FloatArray], FloatArray]

WIDE = {"left": 40.0, "width": 306.0}  # of every panel: the picture is 360 wide
_LETTER = 7.2  # width of a letter of 12 px in a wide font


def bell(y: FloatArray, mean: float, deviation: float = 1.0) -> FloatArray:
    """Density of a Gaussian on the line."""
    z = (y - mean) / deviation
    return np.asarray(np.exp(-0.5 * z**2) / (deviation * math.sqrt(2.0 * math.pi)))


def _shares(model: Model, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted densities of the old and the new part."""
    old_sd, new_sd = 1.0, 1.0
    if isinstance(model, ToyMixture):
        old_sd, new_sd = float(model.old_sd), float(model.new_sd)
    elif model.covariance is not None:
        old_sd = new_sd = math.sqrt(float(model.covariance[0, 0]))
    old, new = _means(model)
    weight = float(model.old_weight)
    return weight * bell(y, old, old_sd), (1.0 - weight) * bell(y, new, new_sd)


def _means(model: Model) -> tuple[float, float]:
    """Old and new mean along the first axis."""
    return float(np.ravel(model.old_mean)[0]), float(np.ravel(model.new_mean)[0])


def _credited(model: Model, y: FloatArray) -> FloatArray:
    """Responsibility of the old mode."""
    if isinstance(model, TwoModeMixture):
        return model.responsibility(y)
    old, new = _shares(model, y)
    return np.asarray(old / np.maximum(old + new, np.finfo(np.float64).tiny))


def parts(panel: Panel, y: FloatArray, model: Model) -> None:
    """Weighted old and new part of a one-dimensional model, and their sum."""
    old, new = _shares(model, y)
    panel.band(y, 0.0 * y, old, "old")
    panel.band(y, 0.0 * y, new, "new")
    panel.line(y, old + new, "model")


def credit(panel: Panel, y: FloatArray, model: Model) -> None:
    """Responsibilities: below the curve the old mode's, above it the new mode's."""
    share = _credited(model, y)
    panel.band(y, 0.0 * y, share, "old", 0.13)  # faint: text on it needs a contrast of 4.5
    panel.band(y, share, 0.0 * y + 1.0, "new", 0.13)
    panel.line(y, share, "model", 1.4)
    for role, low, high in (("old", 0.0 * share, share), ("new", share, 0.0 * share + 1.0)):
        _inside(panel, y, low, high, (f"{role} mode", role), role)


def _inside(
    panel: Panel,
    y: FloatArray,
    low: FloatArray,
    high: FloatArray,
    choices: tuple[str, ...],
    role: str,
) -> None:
    """Write the first words that fit between two curves, where there is most room; or none."""
    h, top = panel.place(y, high)
    _, bottom = panel.place(y, low)
    for words in choices:
        half = 0.5 * _LETTER * len(words) + 2.0
        best, room, middle = 0.0, 12.5, 0.0
        for at in np.arange(panel.left + half, panel.left + panel.width - half + 0.1, 4.0):
            over = np.abs(h - at) <= half
            ceiling, floor = float(top[over].max()), float(bottom[over].min())
            if floor - ceiling > room + 0.5:
                best, room, middle = float(at), floor - ceiling, 0.5 * (ceiling + floor)
        if best:
            panel.canvas.text(best, middle + 4.0, words, role, "middle")
            return


@dataclasses.dataclass(frozen=True)
class Top:
    """The upper two panels of an explorer, and where the next panel may begin."""

    density: Panel
    credit: Panel
    y: FloatArray  # samples at which both are drawn
    below: float  # `top` of the next panel


def top(
    canvas: Canvas,
    model: Model,
    target: Model | Density | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    peak: float = 0.47,
    title: str = "Density of model and target",
    name: str = "target",
    also: Sequence[tuple[str, str, Model | Density]] = (),
    mistaken: bool = True,
    at: float = 22.0,
    left: float = WIDE["left"],
    width: float = WIDE["width"],
    heights: tuple[float, float] = (78.0, 40.0),
) -> Top:
    """The two panels every explorer begins with: densities, and where credit goes.

    Above, the model's old and new part shaded, their sum, and the target. Solid in the
    density, the old part that is credited to the new mode. Below, the responsibilities.

    Parameters
    ----------
    canvas : Canvas
    model : TwoModeMixture or ToyMixture
        One-dimensional; of more dimensions the first axis is drawn.
    target : TwoModeMixture, ToyMixture, callable or None
        What training aims at, or a function ``y -> density``.
    low, high : float or None
        Ends of the axis of samples. None leaves 3.4 standard deviations around the means of
        model and target: give numbers where the means move, so that the axis stays.
    peak : float
        Largest density that is drawn.
    title : str
        Heading of the density; it begins with "Density".
    name : str
        What the target is called beside its curve.
    also : sequence of tuple
        Further curves: name, role, and density.
    mistaken : bool
        Whether to fill the old part that is credited to the new mode.
    at, left, width : float
        Place on the canvas.
    heights : tuple of float
        Of the two panels.

    Returns
    -------
    Top
    """
    mixtures = [each for each in (model, target) if isinstance(each, Model)]
    means = [mean for mixture in mixtures for mean in _means(mixture)]
    low = min(means) - 3.4 if low is None else low
    high = max(means) + 3.4 if high is None else high
    y = np.linspace(low, high, 161)
    most = 8 if width > 200 else 4
    step = next(step for step in (1, 2, 4, 5, 10, 20, 50, 100) if (high - low) / step < most)
    axis = Axis(low, high, ticks=[step * k for k in range(-100, 100) if low <= step * k <= high])
    unmarked = dataclasses.replace(axis, ticks=())
    place = {"left": left, "width": width}

    with canvas.group("density"):
        density = canvas.panel(
            unmarked, Axis(0.0, peak, ticks=()), top=at, height=heights[0], **place
        )
        density.frame()
        canvas.text(left - WIDE["left"], at - 7, title, bold=True)
        parts(density, y, model)
        old, new = _shares(model, y)
        if mistaken:
            density.band(y, 0.0 * y, old * (1.0 - _credited(model, y)), "new", 0.9)
        curves = [("old part", "old", old), ("new part", "new", new)]
        others = [] if target is None else [(name, "data", target)]
        for called, role, other in [*others, *also]:
            curve = np.asarray(
                sum(_shares(other, y)) if isinstance(other, Model) else other(y), dtype=np.float64
            )
            density.line(y, curve, role, None if role == "data" else 1.4)
            curves.append((called, role, curve))
        _name_curves(density, y, curves)
    with canvas.group("credit"):
        under = at + heights[0] + 27.0
        shares = canvas.panel(
            axis, Axis(0.0, 1.0, ticks=(0, 1)), top=under, height=heights[1], **place
        )
        shares.frame(grid=False)
        words = "Responsibilities: credit for a sample y"
        canvas.text(
            left - WIDE["left"],
            under - 10,  # above the highest tick
            words if width > 200 else words.partition(":")[0],
            bold=True,
        )
        credit(shares, y, model)
    return Top(density, shares, y, under + heights[1] + 45.0)


def _name_curves(panel: Panel, y: FloatArray, curves: list[tuple[str, str, FloatArray]]) -> None:
    """Write the names of curves beside them, each where it covers least.

    Candidates are above the highest point, inside below it, and along the flanks.
    """
    drawn = [panel.place(y, curve) for _, _, curve in curves]
    drawn.append(panel.place(y, curves[0][2] + curves[1][2]))
    peaks = [int(curve.argmax()) for _, _, curve in curves[:2]]  # of the parts
    between = 0.5 * sum(peaks)
    taken: list[tuple[float, float, float]] = []  # left, right, baseline
    right, floor = panel.left + panel.width, panel.top + panel.height

    def cost(start: float, length: float, base: float) -> int:
        names = sum(
            start < end and begin < start + length and abs(base - other) < 13.0
            for begin, end, other in taken
        )
        inside = sum(
            int(((h > start) & (h < start + length) & (v > base - 10.0) & (v < base + 2.0)).sum())
            for h, v in drawn
        )
        return 100 * names + inside

    for k, ((name, role, curve), (h, v)) in enumerate(zip(curves, drawn, strict=False)):
        if curve.max() < 0.02 * panel.y.high:
            name = f"{name}: not visible"
        length, at = _LETTER * len(name), int(curve.argmax())
        middle = float(h[at]) - 0.5 * length
        wishes = [(middle, float(v[at]) - 5.0)]
        for share in (0.75, 0.5, 0.9, 0.3):
            near = np.flatnonzero(curve >= share * curve[at])
            if k > 1 or at <= between:  # a part is named on its own side
                wishes.append((float(h[near[0]]) - length - 5.0, float(v[near[0]]) + 4.0))
            if k > 1 or at >= between:
                wishes.append((float(h[near[-1]]) + 5.0, float(v[near[-1]]) + 4.0))
        wishes.append((middle, 0.5 * (float(v[at]) + floor) + 5.0))
        if k > 1:  # at either mode
            wishes += [(float(h[peak]) - 0.5 * length, float(v[peak]) - 5.0) for peak in peaks]
            wishes.append((float(h[round(between)]) - 0.5 * length, panel.top + 24.0))
        places = [
            (
                min(max(start, panel.left + 2.0), right - length - 2.0),
                min(max(base, panel.top + 11.0), floor - 4.0),
            )
            for start, base in wishes
        ]
        start, base = min(places, key=lambda place: cost(place[0], length, place[1]))
        taken.append((start, start + length, base))
        panel.canvas.text(start + 0.5 * length, base, name, role, "middle", halo=True)


@dataclasses.dataclass(frozen=True)
class Runs:
    """Mean, standard error and central 80% of an ensemble at a few times, evenly spaced in log."""

    t: FloatArray
    mean: FloatArray
    stderr: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, time: ArrayLike, samples: FloatArray, count: int = 13) -> Runs:
        t = np.asarray(time, dtype=np.float64)
        wanted = np.geomspace(t[1], t[-1], count)
        chosen = np.unique(np.abs(np.log(t[1:, None] / wanted)).argmin(axis=0) + 1)
        values = samples[:, chosen]
        low, high = np.quantile(values, [0.1, 0.9], axis=0)
        stderr = values.std(axis=0, ddof=1) / math.sqrt(values.shape[0])
        return cls(t[chosen], values.mean(axis=0), stderr, low, high)

    def draw(self, panel: Panel, role: str) -> None:
        """Shade the central 80%, and mark the means with bars of two standard errors."""
        with panel.canvas.group("runs"):
            panel.band(self.t, self.low, self.high, role, 0.25)
            panel.errors(self.t, self.mean, 2.0 * self.stderr, role)
