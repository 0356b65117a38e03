"""Explorer of the chapter on finite batches."""

from __future__ import annotations

import dataclasses
import functools
import math

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, Panel, number
from forgetlib.batch_noise import ScoreDrift, crossover_separation, score_drift
from forgetlib.ensemble import Ensemble, Estimator, simulate
from forgetlib.flow import gradient_flow
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.widgets._explorer import Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE, Runs

__all__ = ["finite_batch", "finite_batch_frame"]

FloatArray = NDArray[np.float64]

_TARGET, _START = 0.75, 0.3  # old weights
_RATE, _STEPS, _RUNS = 0.05, 400, 64
_ESTIMATORS: tuple[Estimator, ...] = ("score", "pathwise")
_LOWEST, _HIGHEST = 2e-7, 20.0  # drifts that the picture shows; names above 0.5


@dataclasses.dataclass(frozen=True)
class _Rms:
    """Root mean square drift of the runs at a few times, and its standard error."""

    t: FloatArray
    value: FloatArray
    stderr: FloatArray
    peak: float

    @classmethod
    def of(cls, run: Ensemble) -> _Rms:
        square = run.old_mean[..., 0] ** 2
        chosen = np.unique(np.round(np.geomspace(2, run.step.size - 1, 11)).astype(np.int64))
        some = square[:, chosen]
        value = np.sqrt(some.mean(axis=0))
        stderr = some.std(axis=0, ddof=1) / (2.0 * value * math.sqrt(len(some)))
        peak = math.sqrt(float(square.mean(axis=0).max()))
        return cls(np.asarray(_RATE * run.step[chosen]), value, stderr, peak)

    def draw(self, panel: Panel, role: str) -> None:
        """Markers with bars of two standard errors, where the picture reaches."""
        shown = self.value > _LOWEST
        panel.errors(self.t[shown], self.value[shown], 2.0 * self.stderr[shown], role)


@dataclasses.dataclass(frozen=True)
class _Paths:
    """What a frame shows."""

    weights: Runs
    score: _Rms
    pathwise: _Rms


_T = np.r_[0.0, np.geomspace(0.1, _RATE * _STEPS, 60)]


@functools.lru_cache(maxsize=16)
def _overlap(separation: float) -> FloatArray:
    """Drift in the exact flow."""
    target = TwoModeMixture.separated(separation, old_weight=_TARGET)
    start = target.replace(old_weight=_START)
    return np.abs(gradient_flow(ReverseKL(target), start, _T, rtol=1e-7).old_mean[:, 0])


@functools.lru_cache(maxsize=16)
def _noise(batch_size: int) -> tuple[ScoreDrift, float]:
    """Law of the drift by noise, and the separation from which on it is the larger one."""
    law = score_drift(_TARGET, _START, _T, learning_rate=_RATE, batch_size=batch_size)
    crossover = crossover_separation(_TARGET, _START, learning_rate=_RATE, batch_size=batch_size)
    return law, crossover


@functools.lru_cache(maxsize=64)
def _paths(separation: float, batch_size: int) -> _Paths:
    target = TwoModeMixture.separated(separation, old_weight=_TARGET)
    objective, start = ReverseKL(target), target.replace(old_weight=_START)
    score, pathwise = (
        simulate(
            objective,
            start,
            steps=_STEPS,
            batch_size=batch_size,
            learning_rate=_RATE,
            replicates=_RUNS,
            estimator=estimator,
        )
        for estimator in _ESTIMATORS
    )
    return _Paths(Runs.of(_RATE * score.step, score.old_weight), _Rms.of(score), _Rms.of(pathwise))


def finite_batch_frame(separation: float, batch_size: float) -> Frame:
    r"""One frame of the finite-batch explorer.

    Parameters
    ----------
    separation : float
        Distance ``D > 0`` between the modes of the target, in standard deviations; the
        picture is made for 3 to 10.
    batch_size : float
        Samples per step ``N``, in [1, 1e6]; rounded to a whole number.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If the separation is not positive or the batch size out of range.

    Notes
    -----
    Label ``thm-batch-drift``. Everything is trained, from right means and old weight 0.3
    toward 0.75, at learning rate 0.05; 64 runs of 400 steps in one dimension, once by the
    score function without a baseline and once with the pathwise gradient.
    """
    separation = _arguments.positive("separation", separation)
    size = _arguments.number("batch_size", batch_size, "lie in [1, 1e6]", lambda n: 1 <= n <= 1e6)
    batch_size = round(size)
    paths = _paths(float(separation), batch_size)
    law, crossover = _noise(batch_size)
    drift, t = _overlap(float(separation)), _T

    canvas = Canvas(360, 400)
    times = (0.1, 1.0, 10.0)
    panel = canvas.panel(
        Axis(0.1, 20.0, "", True, times),
        Axis(0.0, 1.0, ticks=(0, 0.5, 1)),
        top=26,
        height=82,
        **WIDE,
    )
    panel.frame("Old weight b: 64 score-function runs")
    panel.line(t, np.full_like(t, _TARGET), "data")
    panel.label(0.12, _TARGET, "target", "data", dy=-5)
    panel.line(t, law.old_weight, "model")
    paths.weights.draw(panel, "new")

    panel = canvas.panel(
        Axis(0.1, 20.0, "training time t", True, times),
        Axis(_LOWEST, _HIGHEST, "", True, [10.0**k for k in (-1, -2, -3, -4, -5, -6)]),
        top=160,
        height=200,
        **WIDE,
    )
    panel.frame("Drift of the old mean (root mean square)")
    shown = t > 0.0
    panel.line(t[shown], np.maximum(law.rms[shown], _LOWEST), "model")
    panel.line(t[shown], np.maximum(drift[shown], _LOWEST), "bound")
    paths.score.draw(panel, "new")
    paths.pathwise.draw(panel, "old")
    panel.label(0.12, 5.0, "score function, and its law", "new")
    panel.label(18.0, 5.0, "pathwise gradient", "old", "end")
    panel.label(18.0, 0.9, "overlap alone", "bound", "end")

    overlap = float(drift.max())
    winner = "batch noise" if law.peak > overlap else "overlap"
    readout = (
        f"Largest drift: score function {number(paths.score.peak, 2)} (law without overlap "
        f"{number(law.peak, 2)}), pathwise {number(paths.pathwise.peak, 2)}, overlap alone "
        f"{number(overlap, 2)}. Here {winner} weighs more; the crossover for this batch is at "
        f"separation {number(crossover, 2)}."
    )
    alt = (
        f"At separation {number(separation, 2)} with batches of {batch_size}. Above, the old "
        f"weight against training time: runs of the score function go from {number(_START, 2)} "
        f"to the target's {number(_TARGET, 2)}. Below, the root mean square drift of the old "
        f"mean on logarithmic axes: at most {number(paths.score.peak, 2)} with the score "
        f"function, where the law says {number(law.peak, 2)}, {number(paths.pathwise.peak, 2)} "
        f"with the pathwise gradient, and {number(overlap, 2)} by overlap alone."
    )
    return Frame(canvas.render(alt), alt, readout)


def finite_batch() -> ipywidgets.VBox:
    """Explorer of the finite-batch chapter: batch noise against overlap.

    Returns
    -------
    ipywidgets.VBox
        Moves the separation and the batch size of :func:`finite_batch_frame`.
    """
    return explorer(
        finite_batch_frame,
        Parameter("separation", "separation $D$", (3.0, 4.0, 5.0, 6.0, 8.0, 10.0), start=3),
        Parameter("batch_size", "batch size $N$", (2.0, 8.0, 32.0, 64.0), start=1, log=True),
    )
