"""Explorer of the chapter on the two-mode abstraction: the published toy and its clock."""

from __future__ import annotations

import functools

import ipywidgets
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from forgetlib import _arguments, toy
from forgetlib._svg import Axis, Canvas, number
from forgetlib.toy import Rule, ToyMixture, overlap_score, separated_toy
from forgetlib.widgets._explorer import Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE

__all__ = ["abstraction", "abstraction_frame"]

FloatArray = NDArray[np.float64]

_MOST = 4000  # steps
_RATES: dict[Rule, float] = {"forward": 0.15, "reverse": 0.01}  # as published


@functools.lru_cache(maxsize=32)
def _run(rule: Rule, slow: float) -> toy.ToyRun:
    return toy.train_toy(
        rule,
        toy.START,
        toy.TARGET,
        learning_rate=_RATES[rule],
        steps=_MOST,
        batch_size=250,
        slow=slow,
    )


_SEEN = np.unique(np.geomspace(10, _MOST, 90).astype(int))


@functools.lru_cache(maxsize=32)
def _scores(rule: Rule, slow: float) -> tuple[FloatArray, FloatArray]:
    """Old score at the steps that the picture shows: simulated, and without overlap."""
    path = separated_toy(rule, toy.START, toy.TARGET, _RATES[rule] * _SEEN, slow=slow)
    simulated = overlap_score(_run(rule, slow).policy[0, _SEEN], toy.TARGET)
    return simulated, overlap_score(path, toy.TARGET)


def abstraction_frame(slow_factor: float, updates: float) -> Frame:
    """One frame of the explorer of the published toy.

    Parameters
    ----------
    slow_factor : float
        Factor on the steps of the weight and of the old component, in [0.001, 1]; 0.005 as
        published.
    updates : float
        Number of updates, from 1 to 4000; rounded to an integer.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Labels ``thm-toy-clocks`` and ``prp-slow-factor``. One run of either rule at its
    published learning rate (forward 0.15, reverse 0.01), with batches of 250.
    """
    slow = _arguments.number(
        "slow_factor", slow_factor, "lie in [0.001, 1]", lambda x: 0.001 <= x <= 1.0
    )
    now = round(
        _arguments.number("updates", updates, f"lie in [1, {_MOST}]", lambda x: 1 <= x <= _MOST)
    )
    y = np.linspace(-7.0, 7.0, 113)
    canvas = Canvas(360, 530)
    aim = np.asarray(toy.TARGET.pdf(y))
    clock = Axis(10.0, _MOST, "updates", True, (10.0, 100.0, 1000.0), tick_text=_plain)
    # room above 1 for what is said of each run
    scores = canvas.panel(clock, Axis(0.0, 1.5, ticks=(0, 0.5, 1)), top=324, height=170, **WIDE)
    scores.frame("Old score: simulated, and without overlap")
    covers, stops = [], []
    panels: tuple[tuple[Rule, int, float], ...] = (("forward", 22, 1.33), ("reverse", 166, 1.12))
    for rule, top, low in panels:
        run = _run(rule, slow)
        policy = run.policy[0, now]
        old = float(overlap_score(policy, toy.TARGET, "old"))
        new = float(overlap_score(policy, toy.TARGET, "new"))
        covers.append(f"{rule} rule covers {old:.2f} of the old mode and {new:.2f} of the new")
        _density(canvas, top, rule, y, aim, policy)

        role = "new" if rule == "forward" else "old"
        simulated, predicted = _scores(rule, slow)
        scores.line(_SEEN, simulated, role)
        scores.line(_SEEN, predicted, "model", 1.2, (2.0, 3.0))
        scores.point(max(now, 10), old, role)
        at = int(run.stopped(0.9)[0])
        if at < 0:
            stops.append(f"{rule} rule does not reach gain 0.9")
            scores.label(11.0, low, f"{rule}: gain 0.9 not reached", role)
            continue
        drop = number(float(run.drop()[0, at]), 2)
        stops.append(f"{rule} rule reaches gain 0.9 after {at} updates, with a drop of {drop}")
        scores.label(11.0, low, f"{rule}: drop {drop} at gain 0.9", role)
        if at > 10:
            height = float(overlap_score(run.policy[0, at], toy.TARGET))
            scores.line([at, at], [0.0, height], role, 1.0)

    words = "; ".join(covers)
    readout = f"The {words}."
    alt = (
        f"Two densities against the target, after {now} updates with slow factor "
        f"{number(slow, 2)}: {words}. Below, the old score against the number of updates for "
        f"both rules, with dotted closed forms: {'; '.join(stops)}."
    )
    return Frame(canvas.render(alt), alt, readout)


def _plain(value: float) -> str:
    return f"{value:g}"


def _density(
    canvas: Canvas, top: int, rule: str, y: FloatArray, aim: FloatArray, policy: ToyMixture
) -> None:
    """Policy in its two parts, and the target."""
    panel = canvas.panel(
        Axis(-7.0, 7.0, "", ticks=(-6, -3, 0, 3, 6)),
        Axis(0.0, 0.6, ticks=()),
        top=top,
        height=96,
        **WIDE,
    )
    panel.frame(f"{rule.capitalize()} rule: density of policy and target")
    b = float(policy.old_weight)
    old = b * norm.pdf(y, policy.old_mean, policy.old_sd)
    new = (1.0 - b) * norm.pdf(y, policy.new_mean, policy.new_sd)
    panel.band(y, 0.0 * y, old, "old")
    panel.band(y, 0.0 * y, new, "new")
    panel.line(y, old + new, "model")
    panel.line(y, aim, "data")
    panel.label(-6.6, 0.5, f"old weight {number(b, 2)}", "old")
    panel.label(-1.6, 0.24, "target", "data")


def abstraction() -> ipywidgets.VBox:
    """Explorer of the abstraction chapter: how slow the old mode is, and how long one trains.

    Returns
    -------
    ipywidgets.VBox
        Moves the slow factor and the number of updates of :func:`abstraction_frame`.
    """
    return explorer(
        abstraction_frame,
        Parameter("slow_factor", "slow factor $s$", (0.005, 0.02, 0.1, 1.0), log=True),
        Parameter(
            "updates",
            "updates",
            (10, 30, 60, 90, 125, 250, 500, 1000, 2000, 4000),
            start=4,
            log=True,
            play=True,
        ),
    )
