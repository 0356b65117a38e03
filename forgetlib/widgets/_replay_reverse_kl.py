"""Explorer of the chapter on replay for reverse KL."""

from __future__ import annotations

import dataclasses
import functools

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, number
from forgetlib.ensemble import simulate
from forgetlib.flow import gradient_flow
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.replay import (
    replay_for_starvation,
    run_starvation,
    starvation_probability,
    variance_price,
)
from forgetlib.widgets._explorer import Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE, Runs

__all__ = ["replay_reverse_kl", "replay_reverse_kl_frame"]

FloatArray = NDArray[np.float64]

_TARGET = TwoModeMixture.separated(4.0, old_weight=0.75)
_START = 0.01  # old weight at step 0
_RATE = 0.3  # learning rate: safe up to a replay share of 0.7
_STEPS = 240
_RUNS = 64
_LARGEST_REPLAY, _LARGEST_BATCH = 0.7, 128
_WEIGHTS = np.geomspace(1e-3, 0.9, 60)


@dataclasses.dataclass(frozen=True)
class _Recovery:
    """Runs from a nearly lost old mode."""

    runs: Runs
    half: tuple[float, float, float]  # steps to old weight 1/2: quantiles 0.1, 0.5, 0.9
    starved: float  # share of runs with a starved batch


@functools.lru_cache(maxsize=128)
def _recovery(replay: float, batch_size: int) -> _Recovery:
    run = simulate(
        ReverseKL(_TARGET, replay=replay),
        _TARGET.replace(old_weight=_START),
        steps=_STEPS,
        batch_size=batch_size,
        learning_rate=_RATE,
        replicates=_RUNS,
        train="weight",
    )
    above = run.old_weight >= 0.5
    first = np.where(above.any(axis=1), above.argmax(axis=1), np.inf)
    low, middle, high = np.quantile(first, [0.1, 0.5, 0.9], method="inverted_cdf")
    at = np.arange(0, _STEPS + 1, _STEPS // 16)
    values = run.old_weight[:, at]
    stderr = values.std(axis=0, ddof=1) / np.sqrt(_RUNS)
    band = np.quantile(values, [0.1, 0.9], axis=0)
    return _Recovery(
        Runs(at.astype(np.float64), values.mean(axis=0), stderr, *band),
        (float(low), float(middle), float(high)),
        float((run.starved > 0).mean()),
    )


@functools.lru_cache(maxsize=1)
def _exact() -> tuple[FloatArray, FloatArray]:
    """Steps and old weights of the exact flow."""
    step = np.arange(_STEPS + 1.0)
    start = _TARGET.replace(old_weight=_START)
    path = gradient_flow(ReverseKL(_TARGET), start, _RATE * step, train="weight", rtol=1e-6)
    return step, path.old_weight


def replay_reverse_kl_frame(replay: float, batch_size: float) -> Frame:
    r"""One frame of the explorer of replay under reverse KL.

    Parameters
    ----------
    replay : float
        Share of replayed old samples, from 0 to 0.7.
    batch_size : float
        Samples per batch, from 1 to 128; rounded to an integer.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Labels ``thm-starvation``, ``thm-effective-old-samples`` and ``thm-sure-retention``. The
    modes are 4 apart, the target has old weight 0.75, and training starts at old weight
    0.01 with correct means. The weight alone is trained, by the score function without a
    baseline, with importance weights and learning rate 0.3: 64 runs of 240 steps.
    """
    replay = _arguments.number(
        "replay",
        replay,
        f"lie in [0, {_LARGEST_REPLAY:g}]",
        lambda x: 0.0 <= x <= _LARGEST_REPLAY,
    )
    size = round(
        _arguments.number(
            "batch_size",
            batch_size,
            f"lie in [1, {_LARGEST_BATCH}]",
            lambda x: 1 <= x <= _LARGEST_BATCH,
        )
    )
    ours, alone = _recovery(replay, size), _recovery(0.0, size)
    models = [_TARGET.replace(old_weight=b) for b in (*_WEIGHTS, _START)]
    prices = [variance_price(model, replay) for model in models]
    old = size * np.array([price.old_share for price in prices])
    new = size * np.array([price.new_share for price in prices])
    plain = size * np.array([variance_price(model, 0.0).old_share for model in models])

    canvas = Canvas(360, 552)
    clock = Axis(0.0, _STEPS, "step", ticks=(0, 60, 120, 180, 240))
    panel = canvas.panel(clock, Axis(0.0, 1.0, ticks=(0, 0.5, 1)), top=22, height=118, **WIDE)
    panel.frame("Old weight b: exact flow, and 64 runs")
    step, weight = _exact()
    panel.line(step, np.full(_STEPS + 1, _TARGET.old_weight), "data")
    panel.label(2.0, _TARGET.old_weight, "target", "data", dy=-5)
    if replay:
        alone.runs.draw(panel, "muted")
        panel.label(2.0, 0.24, "gray: without", "muted")
    ours.runs.draw(panel, "old")
    panel.line(step, weight, "model")
    panel.label(2.0, 0.42, "blue: with replay" if replay else "blue: no replay", "old")

    weights = Axis(1e-3, 0.9, "", True, (1e-3, 1e-2, 1e-1), tick_text=lambda x: f"{x:g}")
    chance = Axis(1e-6, 3.0, "", True, (1e-6, 1e-4, 1e-2, 1.0))
    panel = canvas.panel(weights, chance, top=208, height=122, **WIDE)
    panel.frame("P(no old sample) in a batch; dotted: in some")
    without = np.array([starvation_probability(float(b), size) for b in _WEIGHTS])
    starved = np.array([starvation_probability(float(b), size, replay) for b in _WEIGHTS])
    some = [run_starvation(np.full(_STEPS, b), size, replay) for b in _WEIGHTS]
    if replay:
        panel.line(_WEIGHTS, without, "muted")
    panel.line(_WEIGHTS, starved, "old")
    panel.line(_WEIGHTS, some, "bound")
    each = starvation_probability(_START, size, replay)
    if each > chance.low:
        panel.point(_START, each, "old")
    if ours.starved > 0.0:
        error = 2.0 * np.sqrt(ours.starved * (1.0 - ours.starved) / _RUNS)
        panel.errors([_START], [ours.starved], [error], "bound")

    counts = Axis(0.003, 200.0, "", True, (0.01, 0.1, 1.0, 10.0, 100.0))
    weights = dataclasses.replace(weights, label="old weight b of the model")
    panel = canvas.panel(weights, counts, top=382, height=132, **WIDE)
    panel.frame("Effective old (blue) and new samples")
    bound = size * np.array([price.behavior_weight for price in prices])
    if replay:
        panel.line(_WEIGHTS, plain[:-1], "muted")
    panel.line(_WEIGHTS, new[:-1], "new")
    panel.line(_WEIGHTS, old[:-1], "old")
    panel.line(_WEIGHTS, bound[:-1], "bound")
    panel.label(1.1e-3, float(new[0]), "new", "new", dy=15 if old[0] > new[0] else -5)
    panel.label(0.05, 0.003, "dotted: proved floor of old", "bound", "middle", dy=-8)
    panel.point(_START, float(old[-1]), "old")

    price = prices[-1]
    worst = run_starvation(np.full(_STEPS, _START), size, replay)
    design = replay_for_starvation(_START, size, _STEPS, 0.01)
    low, middle, high = (
        f"{value:g}" if np.isfinite(value) else f"over {_STEPS}" for value in ours.half
    )
    spread = "all weights 1"
    if replay:
        spread = (
            f"weights from {number(price.smallest_weight, 2)} to {number(price.largest_weight, 3)}"
        )
    readout = (
        f"Steps to old weight 0.5: median {middle}, middle 80% {low} to {high}. "
        f"At b = {_START:g}: a batch starves with probability {number(each, 2)}; "
        f"{spread}; "
        f"{number(float(old[-1]), 2)} effective old samples (without replay "
        f"{number(float(plain[-1]), 2)}), {number(float(new[-1]), 2)} new. Some batch starved in "
        f"{number(100.0 * ours.starved, 2)}% of the runs; proved at most "
        f"{number(100.0 * worst, 2)}%. For 1%: replay {number(design.replay, 2)}."
    )
    alt = (
        f"Replay share {number(replay, 2)}, batches of {size}. Above, the old weight against the "
        f"step: 64 runs rise from {_START:g} to the target 0.75 along the exact flow, half of them "
        f"above 0.5 by step {middle}. In the middle, the probability of a starved batch against "
        f"the old weight, {number(each, 2)} at {_START:g}, and the bound for a whole run, "
        f"{number(worst, 2)}; {number(100.0 * ours.starved, 2)}% of the runs had one. "
        f"Below, the effective old samples per batch, {number(float(old[-1]), 2)} at {_START:g} "
        f"against {number(float(plain[-1]), 2)} without replay, just above the bound, and "
        f"effective new samples, {number(float(new[-1]), 2)}."
    )
    return Frame(canvas.render(alt), alt, readout)


def replay_reverse_kl() -> ipywidgets.VBox:
    """Explorer of the chapter on replay for reverse KL: fewer starved batches, and their price.

    Returns
    -------
    ipywidgets.VBox
        Moves the replay share and the batch size of :func:`replay_reverse_kl_frame`.
    """
    return explorer(
        replay_reverse_kl_frame,
        Parameter(
            "replay",
            r"replay share $\lambda$",
            (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7),
            start=5,
        ),
        Parameter(
            "batch_size",
            "batch size $N$",
            (4, 8, 16, 32, 64),
            start=3,
            log=True,
            text=lambda value: f"{round(value)}",
        ),
    )
