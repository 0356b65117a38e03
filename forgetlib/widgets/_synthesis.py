"""Explorer of the synthesis: every method from one start, with its knob."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, number
from forgetlib.ensemble import simulate
from forgetlib.flow import gradient_flow
from forgetlib.methods import OAPL, SDFT, TTTDiscover
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ForwardKL, ReverseKL
from forgetlib.verdict import Hold, Outcome, outcome, what_holds
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer, value_text
from forgetlib.widgets._parts import WIDE, Density, Runs, bell, top

__all__ = ["synthesis", "synthesis_frame"]

FloatArray = NDArray[np.float64]
Method = ForwardKL | ReverseKL | SDFT | TTTDiscover | OAPL

_TRUTH = TwoModeMixture.separated(4.0, old_weight=0.75)
_START = TwoModeMixture(0.9, [0.0], [5.0])
_RIGHT = _TRUTH.replace(old_weight=0.9)  # where the weight alone is trained from
_RATE = 0.2  # learning rate
_STEPS = 500
_BATCH = 32
_RUNS = 64
_SYNC = 50  # steps of a round of OAPL
_END = _RATE * _STEPS
_LEAST = 1e-3  # lowest drift that is drawn
_T = np.r_[0.0, np.geomspace(0.1, _END, 60)]

# name of the method, name of its knob, and the knob's values from weak to strong
_CHOICES = (
    ("SFT with replay", "replay share", (0.0, 0.1, 0.3, 0.75)),
    ("reverse KL", "old weight of the target", (0.02, 0.1, 0.3, 0.75)),
    ("SDFT, right demonstrations", "anchor", (0.0, 0.01, 0.1, 1.0)),
    ("SDFT, anchor 0.2", "old weight of the demonstrations", (0.02, 0.1, 0.3, 0.75)),
    ("TTT-Discover", "KL weight", (0.0, 0.1, 0.5, 3.0)),
    ("OAPL", "temperature", (0.25, 0.5, 1.0, 2.0)),
)
_STRENGTHS = 4


def _method(choice: int, knob: float, start: TwoModeMixture) -> Method:
    """The method with its knob at a value."""
    if choice == 0:
        return ForwardKL(_TRUTH, replay=knob)
    if choice == 1:
        return ReverseKL(_TRUTH.replace(old_weight=knob))
    if choice == 2:
        return SDFT(_TRUTH, ema_rate=0.1, anchor=knob)
    if choice == 3:
        return SDFT(_TRUTH.replace(old_weight=knob), ema_rate=0.1, anchor=0.2)
    if choice == 4:
        return TTTDiscover(start, 1.0, 2.0, kl_weight=knob)
    return OAPL(start, 0.8, temperature=knob, sync_every=_SYNC)


def _knob(choice: int, strength: float) -> float:
    """Value of the knob at a strength from 1 to 4; between the whole ones, interpolated."""
    values = _CHOICES[choice][2]
    return float(np.interp(strength, np.arange(1.0, _STRENGTHS + 1), values))


@dataclasses.dataclass(frozen=True)
class _Trained:
    """What is predicted, exact flows, and runs."""

    hold: Hold
    weights: FloatArray  # weight trained: exact flow
    weight_runs: Runs
    limit: FloatArray  # proved, at each time
    end: Outcome  # everything trained
    drift_runs: Runs


@functools.lru_cache(maxsize=128)
def _trained(choice: int, knob: float, rng: int) -> _Trained:
    method, alone = _method(choice, knob, _START), _method(choice, knob, _RIGHT)
    hold = what_holds(method, _START.old_weight, learning_rate=_RATE)
    run_of = functools.partial(
        simulate,
        steps=_STEPS,
        batch_size=_BATCH,
        learning_rate=_RATE,
        replicates=_RUNS,
        record_every=5,
        baseline="batch_mean" if isinstance(method, ReverseKL | SDFT) else None,
        rng=rng,
    )
    flow = gradient_flow(alone, _RIGHT, _T, train="weight", learning_rate=_RATE, rtol=1e-3)
    narrow = run_of(alone, _RIGHT, train="weight")
    end = outcome(method, _START, _TRUTH, _END, learning_rate=_RATE, rtol=1e-3)
    run = run_of(method, _START)
    time = _RATE * run.step
    return _Trained(
        hold,
        flow.old_weight,
        Runs.of(time, narrow.old_weight),
        _limit(alone, hold),
        end,
        Runs.of(time, np.abs(run.old_mean[:, :, 0])),
    )


def _limit(method: Method, hold: Hold) -> FloatArray:
    """What the old weight does not fall below, at each time, if the weight alone is trained.

    The limits with overlap, by thm-overlap-holds: the weight moves to them from one side. Of OAPL,
    which has none, the floor of thm-sync-schedule (without overlap).
    """
    if isinstance(method, OAPL):
        tau = method.temperature
        growth = 2.0 * tau**2 * math.expm1(method.reward_gap / tau)
        return np.asarray(1.0 / (1.0 / _START.old_weight + growth * _T))
    if isinstance(method, TTTDiscover):
        limit = method.balanced_old_weight() if method.kl_weight > 0.0 else 0.0
        return np.full(_T.shape, limit)
    return np.full(_T.shape, hold.old_weight)


def _law(choice: int, knob: float) -> tuple[str, TwoModeMixture | Density | None]:
    """The law that training never moves: its name, and its density."""
    if choice == 0:
        return "data", lambda y: knob * bell(y, 0.0) + (1.0 - knob) * bell(y, 4.0)
    if choice == 5:
        return "nothing", None
    if choice == 4:
        return "reference", _START
    held_to = _TRUTH if choice == 2 else _TRUTH.replace(old_weight=knob)
    return "target" if choice == 1 else "demonstrations", held_to


def synthesis_frame(method: float, strength: float, time: float, rng: int = 0) -> Frame:
    r"""One frame of the explorer of all methods.

    Parameters
    ----------
    method : float
        Number of the method, from 1 to 6: SFT with replay, reverse KL, SDFT with right
        demonstrations, SDFT with others, TTT-Discover, OAPL; rounded to an integer.
    strength : float
        How far the knob of the method is turned up, from 1 to 4.
    time : float
        Training time at which the model is shown, from 0 to 100.
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
    Labels ``thm-what-holds``, ``thm-overlap-holds`` and ``prp-outcome-boundaries``. Training
    starts at old weight 0.9, separation 4; the right old weight is 0.75. In the panel of the old
    weight the means are right and only the weight is trained: the exact flow, 64 runs and the
    limit that is proved. Elsewhere everything is trained, from a new mean one unit too far out.
    Runs of 500 steps in batches of 32 by the score function, learning rate 0.2.
    """
    choice = round(
        _arguments.number(
            "method", method, f"lie in [1, {len(_CHOICES)}]", lambda x: 1 <= x <= len(_CHOICES)
        )
    )
    choice -= 1
    strength = _arguments.number(
        "strength", strength, f"lie in [1, {_STRENGTHS}]", lambda x: 1 <= x <= _STRENGTHS
    )
    time = _arguments.number("time", time, f"lie in [0, {_END:g}]", lambda x: 0.0 <= x <= _END)
    rng = _arguments.integer("rng", rng, 0)
    name, knob_name, _ = _CHOICES[choice]
    knob = _knob(choice, strength)
    trained = _trained(choice, knob, rng)
    hold, end = trained.hold, trained.end
    path = end.path

    def now(values: FloatArray) -> float:
        return float(np.interp(time, path.t, values))

    old_mean, new_mean = now(path.old_mean[:, 0]), now(path.new_mean[:, 0])
    model = TwoModeMixture(now(path.old_weight), [old_mean], [new_mean])

    canvas = Canvas(360, 518)
    law_name, law = _law(choice, knob)
    top_title = f"Density of model and {law_name}" if law else "Density of model (no fixed law)"
    above = top(canvas, model, law, low=-3.2, high=8.4, title=top_title, name=law_name)

    clock = Axis(0.1, _END, "", True, (0.1, 1.0, 10.0, 100.0))
    panel = canvas.panel(
        clock, Axis(0.0, 1.16, ticks=(0, 0.5, 1)), top=above.below, height=118, **WIDE
    )
    panel.frame("Old weight b, weight trained: flow, 64 runs")
    t = _T[1:]
    panel.line(t, np.full_like(t, _TRUTH.old_weight), "muted")
    panel.label(_END, _TRUTH.old_weight, "right", "muted", "end", dy=-4)
    panel.line(t, trained.limit[1:], "bound")
    words = "proved floor" if isinstance(_method(choice, knob, _RIGHT), OAPL) else "proved limit"
    panel.label(0.12, float(trained.limit[-1]), words, "bound", dy=-5)
    trained.weight_runs.draw(panel, "old")
    panel.line(t, trained.weights[1:], "model")
    alone = float(np.interp(max(time, 0.1), _T, trained.weights))
    panel.point(max(time, 0.1), alone, "old")

    clock = Axis(0.1, _END, "training time t", True, (0.1, 1.0, 10.0, 100.0))
    errors = Axis(_LEAST, 10.0, "", True, (1e-3, 1e-2, 0.1, 1.0))
    panel = canvas.panel(clock, errors, top=above.below + 162, height=106, **WIDE)
    panel.frame("All trained: errors of the two means, 64 runs")
    trained.drift_runs.draw(panel, "old")
    panel.label(_END, 2.0 * _LEAST, "old mean", "old", "end")
    panel.label(0.12, 10.0, "new mean", "new", dy=11)
    moved = np.abs(path.old_mean[:, 0])
    seen = moved > _LEAST
    if seen.any():
        panel.line(path.t[seen], moved[seen], "model")
    apart = np.maximum(np.abs(path.new_mean[:, 0] - _TRUTH.separation), _LEAST)
    panel.line(path.t[1:], apart[1:], "new")

    law_held = "nothing" if hold.law is None else f"the {hold.law}"
    if hold.law is None and hold.old_weight > 0.0:
        limit = f"no limit of its own, it stays at {number(hold.old_weight, 2)}"
    elif hold.law is None:
        limit = "limit 0"
    else:
        limit = f"limit {number(float(trained.limit[-1]), 2)}"
    half = number(hold.half_time, 2) if math.isfinite(hold.half_time) else "never"
    readout = (
        f"{knob_name[0].upper() + knob_name[1:]} {number(knob, 2)}. Held by {law_held}; {limit}; "
        f"half gone without overlap: {half}. Weight trained: {number(alone, 2)} now, runs "
        f"{number(trained.weight_runs.mean[-1], 2)} at time {_END:g}. All trained: largest drift "
        f"{number(end.drift, 2)}, error of the new mean {number(end.new_error, 2)} (at the start 1). "
        f"Verdict: {end.verdict}."
    )
    alt = (
        f"{name}, {knob_name} {number(knob, 2)}, training time {value_text(time)}. Above, the model's "
        f"density: old part of weight {number(model.old_weight, 2)} at {number(old_mean, 2)}, new part "
        f"at {number(new_mean, 2)}, and credit for a sample; fixed law: {law_name}. In the middle, "
        f"with the weight trained, the old weight goes from 0.9 to "
        f"{number(float(trained.weights[-1]), 2)} in the exact flow and "
        f"{number(trained.weight_runs.mean[-1], 2)} in the mean of 64 runs; {words} "
        f"{number(float(trained.limit[-1]), 2)}. Below, with everything trained, the distance of the "
        f"old mean from its place is at most {number(end.drift, 2)} in the flow and "
        f"{number(trained.drift_runs.mean[-1], 2)} on average over the runs at the end. "
        f"Verdict: {end.verdict}."
    )
    return Frame(canvas.render(alt), alt, readout)


def synthesis() -> Explorer:
    """Explorer of the synthesis: what holds the old mode, method by method.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the method, the strength and the training time of :func:`synthesis_frame`.
    """
    return explorer(
        synthesis_frame,
        Parameter(
            "method",
            "method",
            tuple(range(1, len(_CHOICES) + 1)),
            start=4,
            text=lambda value: _CHOICES[round(value) - 1][0],
        ),
        Parameter(
            "strength",
            "knob",
            tuple(range(1, _STRENGTHS + 1)),
            start=2,
            text=lambda value: f"{number(value, 2).rstrip('0').rstrip('.')} of {_STRENGTHS}",
        ),
        Parameter(
            "time",
            "training time $t$",
            (1.0, 3.0, 10.0, 30.0, 100.0),
            start=2,
            log=True,
            play=True,
        ),
    )
