"""Explorer of the chapter on OAPL."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, number
from forgetlib.ensemble import simulate
from forgetlib.methods.oapl import OAPL
from forgetlib.mixture import TwoModeMixture
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE, Runs, top

__all__ = ["oapl", "oapl_frame"]

FloatArray = NDArray[np.float64]

_SEPARATION = 6.0
_START = TwoModeMixture.separated(_SEPARATION, old_weight=0.8)
_TEMPERATURE = 1.0
_RATE = 0.25
_STEPS = 256
_BATCH = 32
_GROUP = 8
_RUNS = 64
_SURE = 0.99  # probability with which a batch is to hold an old sample
_MOST_TILT = 3.0
_LEAST = 1e-4  # lowest old weight that is drawn


def _method(sync_every: int, tilt: float) -> OAPL:
    return OAPL(_START, tilt * _TEMPERATURE, _TEMPERATURE, sync_every, group_size=_GROUP)


@functools.lru_cache(maxsize=64)
def _training(sync_every: int, tilt: float, rng: int) -> Runs:
    run = simulate(
        _method(sync_every, tilt),
        _START,
        steps=_STEPS,
        batch_size=_BATCH,
        learning_rate=_RATE,
        replicates=_RUNS,
        train="weight",
        rng=rng,
    )
    at = np.arange(0, _STEPS + 1, _STEPS // 16)
    values = run.old_weight[:, at]
    stderr = values.std(axis=0, ddof=1) / math.sqrt(_RUNS)
    return Runs(
        at.astype(np.float64), values.mean(axis=0), stderr, *np.quantile(values, [0.1, 0.9], axis=0)
    )


@functools.lru_cache(maxsize=64)
def _exact(sync_every: int, tilt: float) -> tuple[FloatArray, FloatArray]:
    """Log-odds of the model and of its lagged copy after each step, by exact gradients."""
    method = _method(sync_every, tilt)
    model, lagged = [_START.old_logit], [_START.old_logit]
    for step in range(1, _STEPS + 1):
        model.append(model[-1] - _RATE * method.logit_slope(model[-1], lagged[-1]))
        lagged.append(model[-1] if step % sync_every == 0 else lagged[-1])
    return np.array(model), np.array(lagged)


def oapl_frame(sync_every: float, tilt: float, step: float, rng: int = 0) -> Frame:
    r"""One frame of the explorer of OAPL.

    Parameters
    ----------
    sync_every : float
        Steps between synchronizations, from 1 to 256; rounded to an integer.
    tilt : float
        :math:`G/\tau`, how much a finished round lowers the logit; from 0 to 3.
    step : float
        Step after which the model is shown, from 0 to 256; rounded to an integer.
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
    Labels ``thm-sync-decay``, ``thm-sync-schedule`` and ``prp-coverage-lost``. The modes are 6
    apart, training starts at old weight 0.8 with correct means, and the weight alone is
    trained: 64 runs of 256 steps with learning rate 0.25, :math:`\tau = \tau_V = 1`, and
    batches of 32 in groups of 8. The target of a round is drawn for modes with their own rewards.
    """
    every = round(
        _arguments.number(
            "sync_every", sync_every, f"lie in [1, {_STEPS}]", lambda x: 1 <= x <= _STEPS
        )
    )
    tilt = _arguments.number(
        "tilt", tilt, f"lie in [0, {_MOST_TILT:g}]", lambda x: 0.0 <= x <= _MOST_TILT
    )
    now = round(
        _arguments.number("step", step, f"lie in [0, {_STEPS}]", lambda x: 0 <= x <= _STEPS)
    )
    rng = _arguments.integer("rng", rng, 0)
    tilt = float(tilt)
    runs = _training(every, tilt, rng)
    model, lagged = _exact(every, tilt)
    steps = np.arange(_STEPS + 1.0)
    rounds = _STEPS // every
    finished = expit(_START.old_logit - tilt * (steps // every))
    floor = 1.0 / (
        1.0 / _START.old_weight + 2.0 * _TEMPERATURE**2 * math.expm1(tilt) * _RATE * steps
    )
    weight, behind = float(expit(model[now])), float(expit(lagged[now]))
    aim = float(expit(lagged[now] - tilt))

    canvas = Canvas(360, 520)
    above = top(
        canvas,
        _START.replace(old_weight=weight),
        _START.replace(old_weight=aim),
        low=-3.2,
        high=_SEPARATION + 3.2,
        title="Density: model, lagged, target of the round",
        also=[("lagged", "first", _START.replace(old_weight=behind))],
    )

    clock = Axis(0.0, _STEPS, "", ticks=(0, 64, 128, 192, 256))
    scale = Axis(_LEAST, 3.0, "", True, (1e-4, 1e-3, 1e-2, 0.1, 1.0))
    panel = canvas.panel(clock, scale, top=above.below, height=132, **WIDE)
    panel.frame("Old weight b: exact steps, and 64 runs")
    if 1 < rounds <= 32:
        for at in range(every, _STEPS, every):
            panel.line([at, at], [_LEAST, 1.8 * _LEAST], "muted")
        panel.label(float(_STEPS), 1.8 * _LEAST, "ticks: sync", "muted", "end", dy=-4)
    panel.line(steps, np.maximum(finished, 0.1 * _LEAST), "second")
    panel.label(float(_STEPS), 3.0, "if every round were finished", "second", "end", dy=11)
    panel.line(steps, floor, "bound")
    panel.label(4.0, 3.0 * _LEAST, "proved floor", "bound")
    runs.draw(panel, "old")
    panel.line(steps, expit(model), "model")
    panel.point(float(now), weight, "old")

    needed = math.log(1.0 - _SURE) / np.log1p(-expit(lagged))
    counts = Axis(1.0, 1e5, "", True, (1.0, 1e2, 1e4))
    under = Axis(0.0, _STEPS, "step", ticks=(0, 64, 128, 192, 256))
    panel = canvas.panel(under, counts, top=above.below + 178, height=92, **WIDE)
    panel.frame("Lagged samples needed to see an old one (99%)")
    panel.line(steps, np.full(_STEPS + 1, float(_BATCH)), "muted")
    panel.label(4.0, float(_BATCH), "a batch: 32", "muted", dy=-5)
    panel.line(steps, np.clip(needed, 1.0, 1e5), "model")
    panel.point(float(now), float(min(needed[now], 1e5)), "old")

    end, last = float(expit(model[-1])), float(runs.mean[-1])
    half = "never"
    if tilt > 0.0:
        count = OAPL(_START, tilt, 1.0, every).rounds_until(0.5 * _START.old_weight)
        half = f"after {count} finished round" + ("s" if count > 1 else "")
    error = float(runs.stderr[-1])
    seen = number(last, 3) + (f" ± {number(error, 2)}" if error > 1e-12 else "")
    readout = (
        f"Old weight {number(weight, 3)} now; lagged {number(behind, 3)}, target of the round "
        f"{number(aim, 3)}. At the end {number(end, 3)} (runs {seen}); with every round finished, and "
        f"the exact value, {number(float(finished[-1]), 2)}. Half gone {half}. Floor for any schedule: "
        f"{number(float(floor[-1]), 2)}. To see an old sample: {number(float(needed[now]), 3)} samples."
    )
    alt = (
        f"A synchronization every {every} steps, tilt {number(tilt, 2)} per finished round, step "
        f"{now}. Above, densities: the model has old weight {number(weight, 2)}, its lagged copy "
        f"{number(behind, 2)}, the target of the round {number(aim, 2)}; the boundary of credit is "
        f"between the modes. In the middle, the old weight of 64 runs falls from 0.8 to "
        f"{number(last, 2)} in {_STEPS} steps, along the exact steps, above the proved floor "
        f"{number(float(floor[-1]), 2)}; finished rounds would end at "
        f"{number(float(finished[-1]), 2)}. Below, the lagged samples needed to see an old one with "
        f"probability 99% grow from {number(float(needed[0]), 2)} to {number(float(needed[-1]), 3)}."
    )
    return Frame(canvas.render(alt), alt, readout)


def oapl() -> Explorer:
    """Explorer of the chapter on OAPL: how often to synchronize, and what it costs.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the steps between synchronizations, the tilt and the step of :func:`oapl_frame`.
    """
    return explorer(
        oapl_frame,
        Parameter(
            "sync_every",
            "steps per sync",
            (1, 4, 16, 64, 256),
            start=2,
            log=True,
            text=lambda value: f"{round(value)}",
        ),
        Parameter("tilt", r"tilt $G/\tau$", (0.5, 1.0, 2.0), start=1),
        Parameter(
            "step",
            "step",
            (0, 8, 24, 40, 72, 120, 184, 256),
            start=2,
            play=True,
            text=lambda value: f"{round(value)}",
        ),
    )
