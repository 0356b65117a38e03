"""Explorer of the chapter on SDFT."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, number
from forgetlib.ensemble import simulate
from forgetlib.flow import Trajectory, gradient_flow
from forgetlib.methods.sdft import SDFT
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer, value_text
from forgetlib.widgets._parts import WIDE, Runs, top

__all__ = ["sdft", "sdft_frame"]

FloatArray = NDArray[np.float64]

_START = 0.9  # old weight of the student
_SEPARATION, _AHEAD = 5.0, 1.5  # of the demonstrations; how far in the new mean starts
_FOLLOW = 0.1  # EMA rate
_RATE, _STEPS, _RUNS, _BATCH, _BASELINE = 0.8, 1000, 64, 8, 0.5
_END = _RATE * _STEPS
_T = np.r_[0.0, np.geomspace(0.5, _END, 56)]


@dataclasses.dataclass(frozen=True)
class _Paths:
    """What a frame shows: exact flows, runs of the weight, and how noise spreads them."""

    weights: Trajectory
    ceiling: FloatArray  # proved, for the weights of student and teacher
    everything: Trajectory
    runs: Runs
    outside: int  # runs that ever left the interval
    at: FloatArray  # times of the spread
    law: FloatArray  # standard deviation of the log-odds at these times, linearized
    limit: float
    spread: FloatArray  # the same in runs with a constant baseline, and its standard error
    spread_error: FloatArray


@functools.lru_cache(maxsize=64)
def _paths(anchor: float, weight: float, rng: int) -> _Paths:
    goal = TwoModeMixture.separated(_SEPARATION, old_weight=weight)
    method = SDFT(goal, _FOLLOW, anchor)
    start = goal.replace(old_weight=_START)
    weights = gradient_flow(method, start, _T, train="weight", rtol=1e-3)
    everything = gradient_flow(
        method, start.replace(new_mean=goal.new_mean - _AHEAD), _T, rtol=1e-3
    )
    kept = method.retention(start)
    ceiling = np.full(_T.shape, kept.high)
    if kept.rate > 0.0:
        # student and teacher start together: thm-anchored-retention, part 2, is above part 1 early
        distance = kept.factor * abs(start.old_logit - goal.old_logit) * np.exp(-kept.rate * _T)
        ceiling = np.minimum(ceiling, expit(goal.old_logit + distance))

    run_from = functools.partial(
        simulate,
        method,
        batch_size=_BATCH,
        learning_rate=_RATE,
        replicates=_RUNS,
        train="weight",
        record_every=5,
        rng=rng,
    )
    run = run_from(start, steps=_STEPS)
    inside = (run.old_weight >= kept.low - 1e-9) & (run.old_weight <= kept.high + 1e-9)

    noisy = run_from(goal, steps=_STEPS // 2, baseline=_BASELINE)
    curvature = float(ReverseKL(goal).hessian(goal)[0, 0])
    noise = _RATE * _BASELINE**2 * curvature / _BATCH
    records = np.unique(np.geomspace(1, noisy.step.size - 1, 12).astype(int))
    square = (noisy.old_logit[:, records] - goal.old_logit) ** 2
    spread = np.sqrt(square.mean(axis=0))
    limit = method.stationary_variance(curvature, noise, _RATE) if anchor > 0.0 else math.inf
    return _Paths(
        weights,
        ceiling,
        everything,
        Runs.of(_RATE * run.step, run.old_weight),
        int((~inside.all(axis=1)).sum()),
        _RATE * noisy.step[records],
        np.sqrt([method.variance(curvature, noise, float(t)) for t in _T[1:]]),
        math.sqrt(limit),
        spread,
        square.std(axis=0, ddof=1) / (2.0 * np.maximum(spread, 1e-12) * math.sqrt(_RUNS)),
    )


def sdft_frame(anchor: float, demonstration_weight: float, time: float, rng: int = 0) -> Frame:
    r"""One frame of the SDFT explorer.

    Parameters
    ----------
    anchor : float
        Rate :math:`\nu \ge 0` at which the teacher is pulled to the demonstrations, at most 2;
        the picture is made for 0 to 0.1.
    demonstration_weight : float
        Old weight :math:`a_*` of the demonstrations, in (0, 1).
    time : float
        Training time at which the model is shown, from 0 to 800.
    rng : int
        Seed of the runs, >= 0.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Labels ``thm-anchored-retention``, ``thm-teacher-batches`` and ``thm-anchored-variance``. The
    student starts with old weight 0.9, the teacher as its copy; EMA rate 0.1, separation 5,
    reverse KL. The upper panels show the student when everything is trained by the exact flow,
    from a new mean 1.5 too far in. Below only the weight is trained: exact flow, and 64 runs of
    1000 steps with the score function, batches of 8 and learning rate 0.8. In the lowest panel
    64 more runs of 500 steps start as the demonstrations, with a constant baseline of 0.5.
    """
    anchor = _arguments.number("anchor", anchor, "lie in [0, 2]", lambda x: 0.0 <= x <= 2.0)
    weight = _arguments.weight("demonstration_weight", demonstration_weight)
    time = _arguments.number("time", time, f"lie in [0, {_END:g}]", lambda x: 0.0 <= x <= _END)
    rng = _arguments.integer("rng", rng, 0)
    paths = _paths(float(anchor), weight, rng)
    teacher = paths.weights.teacher
    assert teacher is not None

    def now(values: FloatArray) -> float:
        return float(np.interp(time, _T, values))

    goal = TwoModeMixture.separated(_SEPARATION, old_weight=weight)
    everything = paths.everything
    new_mean = now(everything.new_mean[:, 0])
    student = TwoModeMixture(
        now(everything.old_weight), [now(everything.old_mean[:, 0])], [new_mean]
    )

    canvas = Canvas(360, 516)
    above = top(
        canvas,
        student,
        goal,
        low=-3.2,
        high=8.4,
        title="Density of student and demonstrations",
        name="demonstrations",
    )

    ticks = (1.0, 10.0, 100.0)
    clock = Axis(0.5, _END, "", True, ticks)
    panel = canvas.panel(
        clock, Axis(0.0, 1.16, ticks=(0, 0.5, 1)), top=above.below, height=122, **WIDE
    )
    panel.frame("Old weight b (weight trained), 64 runs")
    t = _T[1:]
    panel.line(t, np.full_like(t, weight), "data")
    low = weight < 0.5
    panel.label(0.6, weight, "demonstrations", "data", dy=-5 if low else 14)
    panel.line(t, paths.ceiling[1:], "bound")
    panel.label(_END, 1.16, "proved ceiling", "bound", "end", dy=11)
    paths.runs.draw(panel, "old")
    panel.line(t, teacher.old_weight[1:], "first", 1.2)
    panel.line(t, paths.weights.old_weight[1:], "model")
    panel.label(0.6, 0.5, "teacher", "first", dy=4)
    panel.point(max(time, 0.5), now(paths.weights.old_weight), "old")

    scale = Axis(0.01, 3.0, "", True, (0.01, 0.1, 1.0), tick_text=lambda x: f"{x:g}")
    clock = Axis(0.5, _END, "training time t", True, ticks)
    panel = canvas.panel(clock, scale, top=above.below + 166, height=100, **WIDE)
    panel.frame("Noise: standard deviation of the log-odds")
    if math.isfinite(paths.limit):
        panel.line(t, np.full_like(t, paths.limit), "bound")
        panel.label(0.6, paths.limit, "limit with an anchor", "bound", dy=-5)
    else:
        panel.label(0.6, 1.0, "no anchor, no limit", "bound")
    panel.line(t, paths.law, "model")
    with canvas.group("runs"):
        panel.errors(paths.at, paths.spread, 2.0 * paths.spread_error, "old")
    panel.point(max(time, 0.5), float(np.interp(max(time, 0.5), t, paths.law)), "old")

    drift = float(np.abs(everything.old_mean[:, 0]).max())
    learned = 1.0 - abs(new_mean - _SEPARATION) / _AHEAD
    end = float(paths.weights.old_weight[-1])
    if anchor == 0.0:
        story = "Without an anchor nothing is learned, and noise piles up."
    elif abs(end - weight) > 0.02:
        story = "At time 800 the student is still on its way."
    elif weight < 0.1:
        story = "The student follows the demonstrations, and loses the old mode."
    else:
        story = "The student ends at the weight of the demonstrations."
    limit = number(paths.limit, 2) if math.isfinite(paths.limit) else "none"
    readout = (
        f"Old weight: student {number(now(paths.weights.old_weight), 2)}, teacher "
        f"{number(now(teacher.old_weight), 2)}, proved ceiling {number(now(paths.ceiling), 2)}; "
        f"{paths.outside} of {_RUNS} runs ever outside of the proved interval. All trained: "
        f"{round(100 * learned)}% of the new mean's error is gone; largest drift "
        f"{number(drift, 2)}. Limit of the noise: {limit}. {story}"
    )
    alt = (
        f"Anchor {number(anchor, 2)}, demonstrations of old weight {number(weight, 2)}, training "
        f"time {value_text(time)}. Above, the student's density: old part of weight "
        f"{number(student.old_weight, 2)}, new part centered at {number(new_mean, 2)} (that of the "
        f"demonstrations at {_SEPARATION:g}); the boundary of credit is at "
        f"{number(_boundary(student), 2)}. In the middle, the old weight falls from "
        f"{number(_START, 2)} to {number(end, 2)} at time 800, below a proved ceiling, with runs on "
        f"the exact flow. Below, on logarithmic axes, the spread under noise grows along its law, to "
        f"{number(float(paths.spread[-1]), 2)} in the runs; its limit: {limit}."
    )
    return Frame(canvas.render(alt), alt, readout)


def _boundary(model: TwoModeMixture) -> float:
    """Sample that both modes get the same credit for, on the line."""
    old, new = float(model.old_mean[0]), float(model.new_mean[0])
    return 0.5 * (old + new) + model.old_logit / (new - old)


def sdft() -> Explorer:
    """Explorer of the SDFT chapter: an anchor, what it is anchored to, and training time.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves anchor, old weight of the demonstrations and training time of :func:`sdft_frame`.
    """
    return explorer(
        sdft_frame,
        Parameter("anchor", r"anchor $\nu$", (0.0, 0.01, 0.03, 0.1), start=3),
        Parameter("demonstration_weight", "demonstrations $a_*$", (0.02, 0.3, 0.75), start=2),
        Parameter(
            "time",
            "training time $t$",
            (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 800.0),
            start=2,
            log=True,
            play=True,
        ),
    )
