"""Explorer of the chapter on finite batches."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, Panel, number, variable
from forgetlib.batch_noise import ScoreDrift, crossover_separation, score_drift
from forgetlib.ensemble import Ensemble, Estimator, simulate
from forgetlib.flow import gradient_flow
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer, value_text
from forgetlib.widgets._parts import WIDE, top

__all__ = ["finite_batch", "finite_batch_frame"]

FloatArray = NDArray[np.float64]

_TARGET, _START = 0.75, 0.3  # old weights
_RATE, _STEPS, _RUNS = 0.05, 400, 64
_ESTIMATORS: tuple[Estimator, ...] = ("score", "pathwise")
_LOWEST, _HIGHEST = 2e-7, 20.0  # drifts that the picture shows; names above 0.5
_PUSH = 2.4  # largest push of a sample that is drawn


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
        """Marks with bars of two standard errors, where the picture reaches."""
        shown = self.value > _LOWEST
        with panel.canvas.group("runs"):
            panel.errors(self.t[shown], self.value[shown], 2.0 * self.stderr[shown], role)


@dataclasses.dataclass(frozen=True)
class _Drifts:
    """What a frame shows of all times."""

    score: _Rms
    pathwise: _Rms


_T = np.r_[0.0, np.geomspace(0.1, _RATE * _STEPS, 60)]


@functools.lru_cache(maxsize=16)
def _overlap(separation: float) -> tuple[FloatArray, FloatArray]:
    """Old weight and drift in the exact flow."""
    target = TwoModeMixture.separated(separation, old_weight=_TARGET)
    start = target.replace(old_weight=_START)
    path = gradient_flow(ReverseKL(target), start, _T, rtol=1e-7)
    return path.old_weight, np.abs(path.old_mean[:, 0])


@functools.lru_cache(maxsize=16)
def _noise(batch_size: int) -> tuple[ScoreDrift, float]:
    """Law of the drift by noise, and the separation from which on it is the larger one."""
    law = score_drift(_TARGET, _START, _T, learning_rate=_RATE, batch_size=batch_size)
    crossover = crossover_separation(_TARGET, _START, learning_rate=_RATE, batch_size=batch_size)
    return law, crossover


@functools.lru_cache(maxsize=64)
def _drifts(separation: float, batch_size: int, rng: int = 0) -> _Drifts:
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
            rng=rng,
            estimator=estimator,
        )
        for estimator in _ESTIMATORS
    )
    return _Drifts(_Rms.of(score), _Rms.of(pathwise))


def _pushes(
    model: TwoModeMixture, target: TwoModeMixture, batch_size: int, rng: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Samples of one batch, and what each does to the old mean under either gradient.

    The old mean moves by the learning rate times the mean of these.
    """
    y = np.sort(model.rvs(batch_size, rng)[0][:, 0])
    r, aim = model.responsibility(y[:, None]), target.responsibility(y[:, None])
    old, new = float(model.old_mean[0]), float(model.new_mean[0])
    loss = model.logpdf(y[:, None]) - target.logpdf(y[:, None])
    score = -r * (y - old) * loss
    # the slope of the loss: minus the pull of the model's modes, plus that of the target's
    slope = r * old + (1.0 - r) * new - (1.0 - aim) * float(target.new_mean[0])
    return y, score, -r * slope


def _stems(panel: Panel, x: FloatArray, y: FloatArray, role: str) -> None:
    """A line from zero to each value, with a mark at its end."""
    h, v = panel.place(x, np.clip(y, panel.y.low, panel.y.high))
    _, zero = panel.place(x, 0.0 * x)
    lines = "".join(f"M{a:.1f} {b:.1f}V{c:.1f}" for a, b, c in zip(h, zero, v, strict=True))
    panel.canvas.add(f'<path d="{lines}" stroke="{variable(role)}" stroke-width="1"/>')
    panel.errors(x, np.clip(y, panel.y.low, panel.y.high), 0.0 * y, role)


def finite_batch_frame(
    separation: float, batch_size: float, time: float = 1.0, rng: int = 0
) -> Frame:
    r"""One frame of the finite-batch explorer.

    Parameters
    ----------
    separation : float
        Distance ``D > 0`` between the modes of the target, in standard deviations; the
        picture is made for 3 to 10.
    batch_size : float
        Samples per step ``N``, in [1, 1e6]; rounded to a whole number.
    time : float
        Training time (learning rate times steps), in [0.1, 20].
    rng : int
        Seed of the runs and of the batch, >= 0.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If the separation is not positive, the batch size or the time out of range, or the
        seed negative.

    Notes
    -----
    Label ``thm-batch-drift``. Everything is trained, from right means and old weight 0.3
    toward 0.75, at learning rate 0.05; 64 runs of 400 steps in one dimension, once by the
    score function without a baseline and once with the pathwise gradient. The batch is one
    from the model of the exact flow at the given time. The bound is that of part 3,
    :math:`|\log\frac{b_0}{a}| \sqrt{h / (2N)}`, in the limit of small steps.
    """
    separation = _arguments.positive("separation", separation)
    size = _arguments.number("batch_size", batch_size, "lie in [1, 1e6]", lambda n: 1 <= n <= 1e6)
    time = _arguments.number("time", time, "lie in [0.1, 20]", lambda x: 0.1 <= x <= 20.0)
    rng = _arguments.integer("rng", rng, 0)
    batch_size = round(size)
    drifts = _drifts(float(separation), batch_size, rng)
    law, crossover = _noise(batch_size)
    (weights, drift), t = _overlap(float(separation)), _T
    weight = float(np.interp(time, t, weights))
    target = TwoModeMixture.separated(separation, old_weight=_TARGET)
    model = target.replace(old_weight=weight)

    canvas = Canvas(360, 560)
    above = top(canvas, model, target, low=-3.4, high=13.4, peak=0.36)
    y, score, pathwise = _pushes(model, target, batch_size, rng)
    panel = canvas.panel(
        dataclasses.replace(above.credit.x, ticks=()),
        Axis(-_PUSH, _PUSH, ticks=(-2, 0, 2)),
        top=above.below,
        height=84,
        **WIDE,
    )
    panel.frame(f"One batch of {batch_size}: pushes on the old mean")
    _stems(panel, y, score, "first")
    _stems(panel, y, pathwise, "second")
    panel.label(13.2, _PUSH, "score function", "first", "end", dy=12)
    panel.label(13.2, -_PUSH, "pathwise gradient", "second", "end", dy=-4)

    panel = canvas.panel(
        Axis(0.1, 20.0, "training time t", True, (0.1, 1.0, 10.0)),
        Axis(_LOWEST, _HIGHEST, "", True, [10.0**k for k in (-1, -2, -3, -4, -5, -6)]),
        top=above.below + 114,
        height=196,
        **WIDE,
    )
    panel.frame("Drift of the old mean (rms of 64 runs)")
    shown = t > 0.0
    bound = abs(math.log(_START / _TARGET)) * math.sqrt(0.5 * _RATE / batch_size)
    panel.line([0.1, 20.0], [bound, bound], "bound")
    panel.label(0.11, bound, "ceiling of the law", "bound", dy=-4)
    panel.line(t[shown], np.maximum(law.rms[shown], _LOWEST), "model")
    panel.line(t[shown], np.maximum(drift[shown], _LOWEST), "third")
    drifts.score.draw(panel, "first")
    drifts.pathwise.draw(panel, "second")
    now = float(np.interp(time, t, law.rms))
    panel.point(time, now, "model")
    panel.label(0.11, 6.0, "score function, and its law", "first")
    panel.label(18.0, 6.0, "pathwise gradient", "second", "end")
    panel.label(18.0, 1.2, "overlap alone", "third", "end")

    overlap = float(drift.max())
    winner = "batch noise" if law.peak > overlap else "overlap"
    mean, other = float(score.mean()), float(pathwise.mean())
    readout = (
        f"Old weight {number(weight, 2)}. This batch pushes the right old mean by "
        f"{number(round(mean, 4), 2)} (score function) or {number(round(other, 4), 2)} (pathwise). "
        f"Largest drift: score function {number(drifts.score.peak, 2)} (law without overlap "
        f"{number(law.peak, 2)}), pathwise {number(drifts.pathwise.peak, 2)}, overlap alone "
        f"{number(overlap, 2)}. Here {winner} weighs more; crossover at D = "
        f"{number(crossover, 2)}."
    )
    alt = (
        f"At separation {number(separation, 2)} with batches of {batch_size} and training time "
        f"{value_text(time)}. Above, model and target: the model's old weight is "
        f"{number(weight, 2)}, the target's {number(_TARGET, 2)}. In the middle, the push of each "
        f"sample of one batch on the old mean, up and down: {number(round(mean, 4), 2)} on average "
        f"with the score function, {number(round(other, 4), 2)} with the pathwise gradient. Below, "
        "the root mean square drift of the old "
        f"mean on logarithmic axes: at most {number(drifts.score.peak, 2)} with the score "
        f"function, where the law says {number(law.peak, 2)} and its ceiling {number(bound, 2)}, "
        f"{number(drifts.pathwise.peak, 2)} with the pathwise gradient, and {number(overlap, 2)} "
        "by overlap alone."
    )
    return Frame(canvas.render(alt), alt, readout)


def finite_batch() -> Explorer:
    """Explorer of the finite-batch chapter: batch noise against overlap.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the separation, the batch size and the training time of
        :func:`finite_batch_frame`.
    """
    return explorer(
        finite_batch_frame,
        Parameter("separation", "separation $D$", (3.0, 4.0, 5.0, 6.0, 8.0, 10.0), start=3),
        Parameter(
            "batch_size",
            "batch size $N$",
            (2.0, 8.0, 32.0, 64.0),
            start=1,
            log=True,
            text=lambda value: f"{round(value)}",
        ),
        Parameter(
            "time",
            "training time $t$",
            (0.2, 1.0, 3.0, 8.0, 20.0),
            start=1,
            log=True,
            play=True,
        ),
    )
