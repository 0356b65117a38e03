"""Explorer of the calculator: what samples of two models tell about their overlap."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forgetlib import _arguments, design
from forgetlib._svg import Axis, Canvas, number
from forgetlib.log_probabilities import Interval, OverlapEstimate, estimate_overlap
from forgetlib.mixture import TwoModeMixture
from forgetlib.overlap import bhattacharyya_coefficient, misassignment_probability
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE, top

__all__ = ["calculator", "calculator_frame"]

FloatArray = NDArray[np.float64]

_WEIGHT = 0.5
_MOST = 5000
_COUNTS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_LEAST, _WIDEST = 0.05, 20.0  # ends of the scale of ratios


class _Told(NamedTuple):
    """What a growing number of samples tells."""

    coefficient: tuple[Interval, ...]  # one for each of _COUNTS
    one_sided: FloatArray  # the average over old samples alone
    unseen: FloatArray  # upper limit that samples without any overlap leave


def _estimate(separation: float, samples: int, rng: int) -> OverlapEstimate:
    """From the first samples of a fixed sequence of each model."""
    random = np.random.default_rng(rng)
    old = random.normal(0.0, 1.0, _MOST)[:samples]
    new = random.normal(separation, 1.0, _MOST)[:samples]
    pairs = (np.stack([-0.5 * y**2, -0.5 * (y - separation) ** 2], axis=1) for y in (old, new))
    return estimate_overlap(*pairs)


@functools.lru_cache(maxsize=16)
def _told(separation: float, rng: int) -> _Told:
    runs = [_estimate(separation, count, rng) for count in _COUNTS]
    return _Told(
        tuple(run.coefficient for run in runs),
        np.array([float(np.exp(-0.5 * run.old_ratios).mean()) for run in runs]),
        math.log(2.0 / 0.05) / (2.0 * np.array(_COUNTS)),
    )


def calculator_frame(separation: float, samples: float, rng: int = 0) -> Frame:
    r"""One frame of the explorer of the calculator.

    Parameters
    ----------
    separation : float
        Distance ``D`` between the two models, in (0, 12] standard deviations.
    samples : float
        Samples of each model, from 10 to 5000; rounded to a whole number.
    rng : int
        Seed of the samples, >= 0.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Labels ``lem-misassignment`` and ``thm-mass-forgetting``. Each model is a Gaussian, and both
    weights are one half; the estimates know only log-probabilities.

    Examples
    --------
    >>> from forgetlib import widgets
    >>> widgets.calculator_frame(4.0, 200).readout.split(":")[0]
    'From 200 samples of each model'
    """
    separation = _arguments.number(
        "separation", separation, "lie in (0, 12]", lambda x: 0.0 < x <= 12.0
    )
    samples = round(
        _arguments.number("samples", samples, f"lie in [10, {_MOST}]", lambda n: 10 <= n <= _MOST)
    )
    rng = _arguments.integer("rng", rng, 0)
    model = TwoModeMixture.separated(separation, old_weight=_WEIGHT)
    exact = bhattacharyya_coefficient(model)
    told, found = _told(separation, rng), _estimate(separation, samples, rng)
    now = found.coefficient

    canvas = Canvas(360, 494)
    above = top(
        canvas, model, low=-3.5, high=separation + 3.5, peak=0.24, title="Density of the two models"
    )
    counts = np.array(_COUNTS, dtype=np.float64)
    across = Axis(8.0, 7000.0, "samples of each model", True, (10.0, 100.0, 1000.0))
    # room above for words
    scale = Axis(1e-7, 1e4, "", True, (1.0, 1e-2, 1e-4, 1e-6))
    panel = canvas.panel(across, scale, top=above.below, height=122, **WIDE)
    panel.frame("Overlap B: exact (line), and from samples")
    with panel.canvas.group("runs"):
        low, high = (np.array([each[side] for each in told.coefficient]) for side in (1, 2))
        panel.band(counts, np.maximum(low, 1e-9), high, "second", 0.25)
        panel.line(counts, [each.value for each in told.coefficient], "second")
    panel.line([8.0, 7000.0], [exact, exact], "model")
    panel.line(counts, np.minimum(told.unseen, 1.0), "bound")
    panel.line(counts, told.one_sided, "first")
    panel.point(float(samples), now.value, "second")
    panel.label(8.0, 700.0, "upper limit if none overlap", "bound", dx=3)
    panel.label(7000.0, 15.0, "old samples alone", "first", "end", dx=-3)
    panel.label(8.0, 15.0, "both, with 95% limits", "second", dx=3)

    half = design.finetuning_half_life(found, _WEIGHT, 0.01)
    exact_half = design.finetuning_half_life(separation, _WEIGHT, 0.01).value
    wrong = found.misassignment(_WEIGHT)
    axis = Axis(_LEAST, _WIDEST, "in units of the exact value", True, (0.1, 1.0, 10.0))
    rows = canvas.panel(axis, Axis(0.0, 3.0, ticks=()), top=390, height=70, left=138, width=208)
    rows.frame(f"What {samples} samples of each model tell")
    rows.rule(1.0, "model")
    for height, name, ratios in (
        (2.5, "overlap", [x / exact for x in now]),
        (1.5, "misassigned share", [x / misassignment_probability(model) for x in wrong]),
        (0.5, "half-life", [x / exact_half for x in (half.value, half.low, half.high)]),
    ):
        middle, *ends = (min(max(x, _LEAST), _WIDEST) for x in ratios)
        rows.line(ends, [height, height], "second", 1.3, ())
        rows.errors([middle], [height], [0.0], "second")
        rows.label(_LEAST, height, name, "ink", "end", dx=-6, dy=4)

    limits = f"{number(now.value, 2)} ({number(now.low, 2)} to {number(now.high, 2)})"
    readout = (
        f"From {samples} samples of each model: overlap {limits}, exact {number(exact, 2)}; "
        f"separation {number(found.separation.value)}, exact {number(separation)}. "
        f"Samples that overlap: {number(found.overlapping_samples, 2)}"
        + (", too few: believe the upper limit only." if found.degenerate else ".")
    )
    alt = (
        f"Two models at separation {number(separation, 2)}: densities, and how much each is "
        f"responsible for a sample. Below, against the number of samples on a log scale, the "
        f"estimated overlap with its limits around the exact {number(exact, 2)}; the average over "
        f"old samples alone, {number(float(told.one_sided[-1]), 2)} at {_MOST}; and the upper limit "
        f"that is left when nothing overlaps. At {samples} samples the estimate is {limits}; the "
        f"misassigned share is {number(wrong.value / misassignment_probability(model), 2)} times, "
        f"the half-life {number(half.value / exact_half, 2)} times its exact value."
    )
    return Frame(canvas.render(alt), alt, readout)


def calculator() -> Explorer:
    """Explorer of the calculator: how many samples the overlap of two models needs.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the separation and the number of samples of :func:`calculator_frame`.

    Examples
    --------
    >>> from forgetlib import widgets
    >>> explorer = widgets.calculator()
    """
    return explorer(
        calculator_frame,
        Parameter("separation", "separation $D$", [float(d) for d in range(1, 11)], start=2),
        Parameter("samples", "samples of each model", [float(n) for n in _COUNTS], start=4),
    )
