"""Explorer of the chapter on replay for reverse KL."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, number
from forgetlib.ensemble import simulate
from forgetlib.flow import gradient_flow
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.replay import (
    importance_weight_bound,
    importance_weights,
    replay_for_starvation,
    run_starvation,
    starvation_probability,
    variance_price,
)
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE, Runs, top

__all__ = ["replay_reverse_kl", "replay_reverse_kl_frame"]

FloatArray = NDArray[np.float64]

_TARGET = TwoModeMixture.separated(4.0, old_weight=0.75)
_START = 0.01  # old weight at step 0
_RATE = 0.3  # learning rate: safe up to a replay share of 0.7
_STEPS = 240
_RUNS = 64
_LARGEST_REPLAY, _LARGEST_BATCH = 0.7, 128


@dataclasses.dataclass(frozen=True)
class _Recovery:
    """Runs from a nearly lost old mode."""

    runs: Runs
    half: tuple[float, float, float]  # steps to old weight 1/2: quantiles 0.1, 0.5, 0.9
    starved: float  # share of runs with a starved batch


@functools.lru_cache(maxsize=128)
def _recovery(replay: float, batch_size: int, rng: int = 0) -> _Recovery:
    run = simulate(
        ReverseKL(_TARGET, replay=replay),
        _TARGET.replace(old_weight=_START),
        steps=_STEPS,
        batch_size=batch_size,
        learning_rate=_RATE,
        replicates=_RUNS,
        rng=rng,
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


@functools.lru_cache(maxsize=128)
def _starved(replay: float, batch_size: int) -> tuple[FloatArray, FloatArray]:
    """Probability of a starved batch so far: along the exact flow, and at most."""
    _, weight = _exact()
    each = (1.0 - replay) ** batch_size * (1.0 - weight[:-1]) ** batch_size
    fed = np.log1p(-each)
    flow = -np.expm1(np.r_[0.0, np.cumsum(fed)])
    worst = starvation_probability(_START, batch_size, replay)
    bound = -np.expm1(np.arange(_STEPS + 1) * np.log1p(-worst))
    return np.asarray(flow), np.asarray(bound)


def replay_reverse_kl_frame(
    replay: float, batch_size: float, step: float = 0.0, rng: int = 0
) -> Frame:
    r"""One frame of the explorer of replay under reverse KL.

    Parameters
    ----------
    replay : float
        Share of replayed old samples, from 0 to 0.7.
    batch_size : float
        Samples per batch, from 1 to 128; rounded to an integer.
    step : float
        Training step at which the model is shown, from 0 to 240; rounded to an integer.
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
    Labels ``lem-replay-weights``, ``thm-bounded-weights``, ``thm-starvation``,
    ``thm-effective-old-samples`` and ``thm-sure-retention``. The
    modes are 4 apart, the target has old weight 0.75, and training starts at old weight
    0.01 with correct means. The weight alone is trained, by the score function without a
    baseline, with importance weights and learning rate 0.3: 64 runs of 240 steps. The model
    that is shown is that of the exact flow.
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
    at = round(_arguments.number("step", step, f"lie in [0, {_STEPS}]", lambda x: 0 <= x <= _STEPS))
    rng = _arguments.integer("rng", rng, 0)
    replay = float(replay)
    ours, alone = _recovery(replay, size, rng), _recovery(0.0, size, rng)
    steps, weights = _exact()
    weight = float(weights[at])
    model = _TARGET.replace(old_weight=weight)
    price, plain = variance_price(model, replay), variance_price(model, 0.0)
    behavior = _TARGET.replace(old_weight=price.behavior_weight)

    canvas = Canvas(360, 592)
    above = top(
        canvas,
        model,
        lambda y: behavior.pdf(y[:, None]),
        low=-3.4,
        high=7.4,
        title="Density of model, and of what is sampled",
        name="sampled",
        mistaken=False,
    )
    y = above.y
    panel = canvas.panel(
        dataclasses.replace(above.credit.x, ticks=()),
        Axis(0.0, 3.6, ticks=(0, 1, 2, 3)),
        top=above.below,
        height=64,
        **WIDE,
    )
    panel.frame("Importance weight of a sample y")
    most = importance_weight_bound(replay)
    ends = np.array([above.credit.x.low, above.credit.x.high])
    panel.line(ends, np.full(2, most), "bound")
    panel.label(-3.3, most, "no weight above", "bound", dy=-4)
    panel.line(y, importance_weights(model, y[:, None], replay), "model")

    clock = Axis(0.0, _STEPS, "", ticks=(0, 60, 120, 180, 240))
    panel = canvas.panel(
        clock, Axis(0.0, 1.0, ticks=(0, 0.5, 1)), top=above.below + 98, height=100, **WIDE
    )
    panel.frame("Old weight b: exact (line), 64 runs (dots)")
    panel.line(steps, np.full(_STEPS + 1, _TARGET.old_weight), "data")
    panel.label(2.0, _TARGET.old_weight, "target", "data", dy=-5)
    if replay:
        alone.runs.draw(panel, "muted")
        panel.label(2.0, 0.24, "without replay", "muted")
    ours.runs.draw(panel, "old")
    panel.line(steps, weights, "model")
    panel.label(2.0, 0.42, "with replay" if replay else "no replay", "old")
    panel.point(at, weight, "model")

    flow, bound = _starved(replay, size)
    panel = canvas.panel(
        dataclasses.replace(clock, label="step"),
        Axis(0.0, 1.06, ticks=(0, 0.5, 1)),
        top=above.below + 242,
        height=100,
        **WIDE,
    )
    panel.frame("Chance that a batch had no old sample so far")
    panel.line(steps, bound, "bound")
    panel.line(steps, flow, "model")
    with canvas.group("runs"):
        error = 2.0 * np.sqrt(ours.starved * (1.0 - ours.starved) / _RUNS)
        panel.errors([_STEPS - 2.0], [ours.starved], [error], "old")
    ceiling, path = float(bound[_STEPS // 2]), float(flow[_STEPS // 2])
    between = 0.5 * (ceiling + path) - 0.04
    place = between if ceiling - path > 0.3 else path - 0.25 if path > 0.5 else ceiling + 0.15
    panel.label(_STEPS / 2, place, "proved: at most", "bound", "middle")
    panel.point(at, float(flow[at]), "model")

    each = starvation_probability(weight, size, replay)
    worst = run_starvation(np.full(_STEPS, _START), size, replay)
    design = replay_for_starvation(_START, size, _STEPS, 0.01)
    low, middle, high = (
        f"{value:g}" if np.isfinite(value) else f"over {_STEPS}" for value in ours.half
    )
    spread = "all weights 1"
    if replay:
        spread = f"weights {number(price.smallest_weight, 2)} to {number(price.largest_weight, 3)}"
    readout = (
        f"At b = {number(weight, 2)}: a batch starves with probability {number(each, 2)}; "
        f"{spread}; {number(size * price.old_share, 2)} effective old samples (without replay "
        f"{number(size * plain.old_share, 2)}), {number(size * price.new_share, 2)} new. "
        f"Steps to 0.5: median {middle}, middle 80% {low} to {high}. Some batch starved in "
        f"{number(100.0 * ours.starved, 2)}% of the runs; proved at most "
        f"{number(100.0 * worst, 2)}%. For 1%: replay {number(design.replay, 2)}."
    )
    alt = (
        f"Replay share {number(replay, 2)}, batches of {size}, step {at}. Above, the model, whose "
        f"old part has weight {number(weight, 2)}, and what is sampled, with old weight "
        f"{number(price.behavior_weight, 2)}; below it the importance weight of a sample, from "
        f"{number(price.smallest_weight, 2)} at old samples to {number(price.largest_weight, 3)} at "
        "new ones, its proved bound. Then the old weight against the "
        f"step: 64 runs rise from {_START:g} to the target 0.75 along the exact flow, half of them "
        f"above 0.5 by step {middle}. At the bottom, the chance that some batch had no old sample: "
        f"proved to be at most {number(worst, 2)} in the end, {number(float(flow[-1]), 2)} along "
        f"the exact flow, and {number(100.0 * ours.starved, 2)}% of the runs had one."
    )
    return Frame(canvas.render(alt), alt, readout)


def replay_reverse_kl() -> Explorer:
    """Explorer of the chapter on replay for reverse KL: fewer starved batches, and their price.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the replay share, the batch size and the step of
        :func:`replay_reverse_kl_frame`.
    """
    return explorer(
        replay_reverse_kl_frame,
        Parameter(
            "replay",
            r"replay share $\lambda$",
            (0.0, 0.02, 0.05, 0.1, 0.2, 0.5),
            start=4,
        ),
        Parameter(
            "batch_size",
            "batch size $N$",
            (4, 16, 32, 64),
            start=1,
            log=True,
            text=lambda value: f"{round(value)}",
        ),
        Parameter(
            "step",
            "step",
            (0, 60, 120, 180, 240),
            play=True,
            text=lambda value: f"{round(value)}",
        ),
    )
