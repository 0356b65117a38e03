"""Explorer of the chapter on forward KL."""

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
from forgetlib.flow import log_forgetting_time
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ForwardKL
from forgetlib.overlap import log_weight_slope, misassignment_probability
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer, value_text
from forgetlib.widgets._parts import WIDE, Runs, bell, top

__all__ = ["forward_kl", "forward_kl_frame"]

FloatArray = NDArray[np.float64]


_FORWARD_RATE = 0.5


@dataclasses.dataclass(frozen=True)
class _Forward:
    """What a frame of the forward-KL explorer shows of all times."""

    log_t: FloatArray  # increasing
    logit: FloatArray
    separated_log_t: FloatArray
    runs: Runs

    def old_weight(self, t: FloatArray) -> FloatArray:
        return np.asarray(expit(np.interp(np.log(t), self.log_t, self.logit)))

    def separated_weight(self, t: FloatArray) -> FloatArray:
        return np.asarray(expit(np.interp(np.log(t), self.separated_log_t, self.logit)))


@functools.lru_cache(maxsize=4)
def _forward_logits(start_logit: float) -> tuple[FloatArray, FloatArray]:
    """Log-odds on the way down, and the log times of the flow without overlap to reach them."""
    down = np.concatenate([np.geomspace(1e-3, 1.0, 30), np.linspace(1.2, 42.0, 160)])
    logit = start_logit - down
    return logit, log_forgetting_time(math.inf, start_logit, logit)


@functools.lru_cache(maxsize=16)
def _forward(separation: float, start_weight: float, rng: int = 0) -> _Forward:
    start = TwoModeMixture.separated(separation, old_weight=start_weight)
    logit, separated_log_t = _forward_logits(start.old_logit)
    run = simulate(
        ForwardKL(start),
        start,
        steps=2000,
        batch_size=16,
        learning_rate=_FORWARD_RATE,
        replicates=64,
        rng=rng,
        record_every=2,
        train=("weight",),
    )
    return _Forward(
        log_forgetting_time(separation, start.old_logit, logit),
        logit,
        separated_log_t,
        Runs.of(_FORWARD_RATE * run.step, run.old_weight),
    )


def _forward_bounds(
    paths: _Forward, separation: float, start_weight: float, t: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Proved floor and ceiling of the old weight at times ``t``."""
    tail = (start_weight**-2 + 2.0 * math.expm1(separation**2) * t) ** -0.5
    variation = math.erf(separation / math.sqrt(8.0))  # total variation of the two modes
    ceiling = (start_weight**-2 + 8.0 * (variation * (1.0 - start_weight)) ** 2 * t) ** -0.5
    return np.maximum(paths.separated_weight(t), tail), ceiling


def forward_kl_frame(
    separation: float, time: float, start_weight: float = 0.9, rng: int = 0
) -> Frame:
    r"""One frame of the forward-KL explorer.

    Parameters
    ----------
    separation : float
        Distance ``D > 0`` between the modes, in standard deviations; the picture is made
        for 2 to 4.
    time : float
        Training time of the logit flow (learning rate times steps), > 0; the picture is
        made for 1 to 1e15.
    start_weight : float
        Old weight at time 0, strictly between 0 and 1.
    rng : int
        Seed of the runs, >= 0.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If the separation or the time is not positive, the weight outside (0, 1), or the
        seed negative.

    Notes
    -----
    Labels ``thm-mass-forgetting``, ``prp-forgetting-bounds``, ``prp-forgetting-tail`` and
    ``thm-forgetting-profile``. The floor is the larger of two lower bounds: the flow
    without overlap, and :math:`[b_0^{-2} + 2 (e^{D^2} - 1)\, t]^{-1/2}`. The ceiling is
    :math:`[b_0^{-2} + 8\, TV^2 (1 - b_0)^2\, t]^{-1/2}`.
    """
    separation = _arguments.positive("separation", separation)
    start_weight = _arguments.weight("start_weight", start_weight)
    time = _arguments.number("time", time, "lie in (0, 1e17]", lambda x: 0.0 < x <= 1e17)
    rng = _arguments.integer("rng", rng, 0)
    paths = _forward(float(separation), float(start_weight), rng)
    weight = float(paths.old_weight(np.array(time)))
    model = TwoModeMixture.separated(separation, old_weight=weight)
    # -d log b / d log t along the flow b' = -b (1 - b) dL/dl
    slope = math.exp(float(log_weight_slope(separation, model.old_logit)))
    exponent = (1.0 - weight) * slope * time

    canvas = Canvas(360, 404)
    above = top(
        canvas,
        model,
        lambda y: bell(y, separation),
        low=-3.2,
        high=7.2,
        title="Density of model and new data",
        name="new data",
        mistaken=False,
    )
    y = above.y
    taken = bell(y, separation) * model.responsibility(y)  # new data credited to the old mode
    above.density.band(y, 0.0 * y, taken, "old", 0.9)

    clock = Axis(0.3, 3e16, "training time t", True, [10.0**k for k in (0, 4, 8, 12, 16)])
    scale = Axis(1e-12, 60.0, "", True, [10.0**k for k in (0, -3, -6, -9, -12)])
    panel = canvas.panel(clock, scale, top=above.below, height=158, **WIDE)
    panel.frame("Old weight b: exact (line), 64 SGD runs (dots)")
    t = np.geomspace(clock.low, clock.high, 140)
    floor, ceiling = _forward_bounds(paths, separation, start_weight, t)
    panel.line(t, floor, "bound")
    panel.line(t, ceiling, "bound")
    panel.label(3e13, float(np.interp(3e13, t, ceiling)), "ceiling", "bound", "middle", dy=-6)
    panel.label(1e8, float(np.interp(1e8, t, floor)), "floor", "bound", "end", dy=14)
    edges = (clock.low, math.exp(0.5 * separation**2), math.exp(2 * separation**2), clock.high)
    for edge in edges[1:-1]:
        panel.rule(edge)
    for low, high, law in zip(edges[:-1], edges[1:], ("1/t", "between", "1/√t"), strict=True):
        panel.label(math.sqrt(low * high), 60.0, law, "muted", "middle", dy=12)
    panel.line(t, paths.old_weight(t), "model")
    paths.runs.draw(panel, "old")
    panel.point(time, weight, "old")

    mistaken = number(misassignment_probability(model, "new"), 2)
    readout = (
        f"Old weight {number(weight, 2)}, falling like t to the power {number(-exponent, 2)}. "
        f"New data credited to the old mode: {mistaken}, which is "
        f"{number(100.0 * slope / weight, 2)}% less than its weight."
    )
    alt = (
        f"Above, the model at separation {number(separation, 2)} and training time "
        f"{value_text(time)}: its old part has weight {number(weight, 2)}, and {mistaken} of the new "
        "data is credited to it. Below, the old weight against training time on logarithmic "
        "axes: runs of stochastic gradient descent follow the exact flow, which lies between a "
        "proved floor and a proved ceiling, and bends from 1 over t to 1 over the root of t "
        f"between times {number(edges[1], 2)} and {number(edges[2], 2)}."
    )
    return Frame(canvas.render(alt), alt, readout)


def forward_kl() -> Explorer:
    """Explorer of the forward-KL chapter: training on new data only forgets the old mode.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the separation and the training time of :func:`forward_kl_frame`.
    """
    return explorer(
        forward_kl_frame,
        Parameter("separation", "separation $D$", (2.0, 2.5, 3.0, 3.5, 4.0), start=2),
        Parameter(
            "time",
            "training time $t$",
            (1.0, 3.0, 10.0, 30.0, 1e2, 3e2, *(10.0**k for k in range(3, 16))),
            start=2,
            log=True,
            play=True,
        ),
    )
