"""Explorer of the chapter on the two-mode abstraction: the published toy and its clocks."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray

from forgetlib import _arguments, toy
from forgetlib._svg import Axis, Canvas, Panel, number
from forgetlib.toy import Rule, overlap_score, separated_toy
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE, Runs, top

__all__ = ["abstraction", "abstraction_frame"]

FloatArray = NDArray[np.float64]

_RUNS = 8
_BATCH = 200
_RATES: dict[Rule, float] = {"forward": 0.15, "reverse": 0.1}
_SPAN: dict[Rule, float] = {"forward": 99.0, "reverse": 41.0}  # of training time, at most
_ROLES: dict[Rule, str] = {"forward": "first", "reverse": "second"}
_LATEST = 40.0


def _span(rule: Rule, slow: float) -> float:
    """Training time of the runs: until the forward rule has emptied the old mode, and a while."""
    if rule == "reverse":
        return _SPAN[rule]
    empty = (1.0 - (1.0 - float(toy.START.old_weight)) ** 2) / (2.0 * slow)
    return min(_SPAN[rule], max(1.2 * empty, 1.02 * _LATEST))


@functools.lru_cache(maxsize=48)
def _run(rule: Rule, slow: float, beta: float, rng: int) -> toy.ToyRun:
    """Runs of one rule; ``beta`` is 1 for the forward rule, which has none."""
    return toy.train_toy(
        rule,
        toy.START,
        toy.TARGET,
        learning_rate=_RATES[rule],
        steps=round(_span(rule, slow) / _RATES[rule]),
        batch_size=_BATCH,
        slow=slow,
        beta=beta,
        replicates=_RUNS,
        rng=rng,
    )


@dataclasses.dataclass(frozen=True)
class _Rule:
    """What a frame shows of one rule, at all times."""

    t: FloatArray
    closed: FloatArray  # old weight without overlap
    runs: Runs
    stop: float  # training time at which the middle run has gained 0.9, or infinity


@functools.lru_cache(maxsize=48)
def _rule(rule: Rule, slow: float, beta: float, rng: int) -> _Rule:
    run = _run(rule, slow, beta, rng)
    t = np.geomspace(0.1, _SPAN[rule], 70)
    path = separated_toy(rule, toy.START, toy.TARGET, t, slow=slow, beta=beta)
    stops = np.asarray(run.stopped(0.9), dtype=np.float64)
    stop = float(np.median(np.where(stops < 0, np.inf, stops)))
    runs = Runs.of(_RATES[rule] * run.step, np.asarray(run.policy.old_weight))
    return _Rule(t, np.asarray(path.old_weight), runs, _RATES[rule] * stop)


@functools.lru_cache(maxsize=32)
def _bounds(slow: float, beta: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Times, and floor and ceiling of the old weight under the reverse rule without overlap."""
    t = np.geomspace(0.1, 99.0, 90)
    v0 = 1.0 - float(toy.START.old_weight)
    # v dv/dt <= s log(1 / (beta v)): the time that v takes at least, by the trapezoidal rule
    end = min(1.0, 1.0 / beta)
    v = end - (end - v0) * np.geomspace(1.0, 1e-6, 400)
    drive = np.log(1.0 / (beta * v))
    if drive[0] <= 1e-9:
        floor = np.full_like(t, 1.0 - v0)
    else:
        needs = v / np.maximum(drive, 1e-12)
        least = np.r_[0.0, np.cumsum(0.5 * (needs[1:] + needs[:-1]) * np.diff(v))] / slow
        floor = 1.0 - np.interp(t, least, v)
    # v^2 >= v0^2 + 2 s (t log(1 / beta) - the whole integral of Delta), while v <= 1
    if beta >= 1.0:
        return t, floor, np.ones_like(t)
    unlearned = 0.25 * (float(toy.START.new_mean) - float(toy.TARGET.new_mean)) ** 2
    square = v0**2 + 2.0 * slow * (t * math.log(1.0 / beta) - unlearned)
    return t, floor, 1.0 - np.sqrt(np.clip(square, 0.0, 1.0))


def abstraction_frame(slow_factor: float, constant: float, time: float, rng: int = 0) -> Frame:
    r"""One frame of the explorer of the published toy.

    Parameters
    ----------
    slow_factor : float
        Factor ``s`` on the steps of the weight and of the old component, in [0.001, 1];
        0.005 as published.
    constant : float
        The constant ``beta`` in the reward of the reverse rule, in [0.05, 4]; 0.1 as
        published. The rule asks for a new weight of ``1 / beta``.
    time : float
        Training time, learning rate times updates, from 0.15 to 40.
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
    Labels ``thm-new-samples-only`` and ``thm-toy-clocks``. Eight runs of either rule, with
    batches of 200 and learning rates of 0.15 (forward, as published) and 0.1 (reverse).
    The floor and the ceiling are those of the proof of part 4, which hold at every time;
    where they meet 0 are the bounds on the time at which the old mode is empty. The
    densities are those of the first run.
    """
    slow = _arguments.number(
        "slow_factor", slow_factor, "lie in [0.001, 1]", lambda x: 0.001 <= x <= 1.0
    )
    beta = _arguments.number("constant", constant, "lie in [0.05, 4]", lambda x: 0.05 <= x <= 4.0)
    time = _arguments.number(
        "time", time, f"lie in [0.15, {_LATEST:g}]", lambda x: 0.15 <= x <= _LATEST
    )
    rng = _arguments.integer("rng", rng, 0)
    canvas = Canvas(360, 418)
    below, covers, ends = 0.0, [], []
    shown: dict[Rule, _Rule] = {}
    columns: tuple[tuple[Rule, float, float], ...] = (
        ("forward", WIDE["left"], 1.0),
        ("reverse", WIDE["left"] + 176.0, beta),
    )
    for rule, left, own in columns:
        run = _run(rule, slow, own, rng)
        policy = run.policy[0, round(time / _RATES[rule])]
        old = float(overlap_score(policy, toy.TARGET, "old"))
        new = float(overlap_score(policy, toy.TARGET, "new"))
        covers.append(f"{rule} rule covers {old:.2f} of the old mode and {new:.2f} of the new")
        below = top(
            canvas,
            policy,
            toy.TARGET,
            low=-7.0,
            high=7.0,
            peak=0.6,
            title=f"Density, {rule} rule",
            left=left,
            width=136.0,
        ).below
        shown[rule] = _rule(rule, slow, own, rng)
        ends.append(f"{rule} {number(float(shown[rule].closed[-1]), 2)}")

    clock = Axis(0.1, 100.0, "training time t", True, (0.1, 1.0, 10.0, 100.0))
    panel = canvas.panel(clock, Axis(0.0, 1.0, ticks=(0, 0.5, 1)), top=below, height=168, **WIDE)
    panel.frame(f"Old weight b: closed form, {_RUNS} runs")
    t, floor, ceiling = _bounds(slow, beta)
    panel.line(t, floor, "bound")
    if beta < 1.0:
        panel.line(t, ceiling, "bound")
    panel.label(0.11, 0.0, "bounds, reverse rule", "bound", dy=-8)
    heights: tuple[tuple[Rule, float], ...] = (("forward", 12.0), ("reverse", 26.0))
    for rule, at in heights:
        _draw(panel, rule, shown[rule], time, at)

    asked = number(1.0 / beta, 2)
    stops = " and ".join(
        f"{rule} {number(each.stop, 2)}" if math.isfinite(each.stop) else f"{rule} never"
        for rule, each in shown.items()
    )
    words = "; ".join(covers)
    readout = (
        f"The {words}. The reverse rule asks for a new weight of {asked}. Gain 0.9 at time: "
        f"{stops}."
    )
    alt = (
        f"Densities and responsibilities of two policies against the target, at training time "
        f"{number(time, 2)} with slow factor {number(slow, 2)} and constant {number(beta, 2)}: "
        f"{words}. Below, the old weight against training time: {_RUNS} runs of each rule, the "
        f"closed forms, which end at {' and '.join(ends)}, and the floor of the reverse rule"
        f"{' with its ceiling' if beta < 1.0 else ''}."
    )
    return Frame(canvas.render(alt), alt, readout)


def _draw(panel: Panel, rule: Rule, shown: _Rule, time: float, at: float) -> None:
    """One rule in the panel of weights; its name is in a row of its own."""
    role = _ROLES[rule]
    panel.line(shown.t, shown.closed, "model", 1.4, () if rule == "forward" else (5.0, 2.0))
    shown.runs.draw(panel, role)
    panel.point(time, float(np.interp(time, shown.t, shown.closed)), role)
    if math.isfinite(shown.stop):
        stop = max(shown.stop, panel.x.low)
        panel.line([stop, stop], [0.0, np.interp(stop, shown.t, shown.closed)], role, 1.0)
    panel.label(0.11, 1.0, rule, role, dy=at)


def abstraction() -> Explorer:
    """Explorer of the abstraction chapter: what drains the old mode of the published toy.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the slow factor, the constant and the training time of
        :func:`abstraction_frame`.
    """
    return explorer(
        abstraction_frame,
        Parameter("slow_factor", "slow factor $s$", (0.005, 0.02, 0.1, 1.0), log=True),
        Parameter("constant", r"constant $\beta$", (0.1, 1.0, 4.0), log=True),
        Parameter(
            "time",
            "training time $t$",
            (0.3, 1.0, 1.5, 3.0, 6.0, 12.0, 25.0, 40.0),
            start=2,
            log=True,
            play=True,
        ),
    )
