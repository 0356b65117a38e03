"""Explorer of the chapter on replay and forward KL: the share decides."""

from __future__ import annotations

import dataclasses
import functools
import math

import ipywidgets
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, number
from forgetlib.data_mixing import weight_divergence
from forgetlib.ensemble import simulate
from forgetlib.flow import forgetting_time, log_forgetting_time
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ForwardKL
from forgetlib.widgets._explorer import Frame, Parameter, explorer, value_text
from forgetlib.widgets._parts import WIDE, Runs, bell, parts

__all__ = ["replay_forward_kl", "replay_forward_kl_frame"]

FloatArray = NDArray[np.float64]

_SEPARATION = 3.0
_RIGHT = 0.5  # old weight of the right mixture, against which the loss is counted
_START = 0.9
_RATE = 0.5
_LAST = 1000.0


@functools.lru_cache(maxsize=1)
def _loss_table() -> tuple[FloatArray, FloatArray]:
    """Log-odds of a model, and what it loses against the right mixture."""
    odds = np.linspace(-12.0, 8.0, 241)
    loss = [weight_divergence(_SEPARATION, _RIGHT, w) for w in expit(odds).tolist()]
    return odds, np.array(loss)


def _loss(old_weight: FloatArray) -> FloatArray:
    return np.asarray(np.interp(logit(old_weight), *_loss_table()))


@dataclasses.dataclass(frozen=True)
class _Paths:
    """What a frame shows of all times."""

    t: FloatArray
    old_weight: FloatArray
    weights: Runs
    losses: Runs

    def weight_at(self, time: float) -> float:
        return float(np.interp(math.log(time), np.log(self.t), self.old_weight))


def _way(replay: float) -> tuple[FloatArray, FloatArray]:
    """Times and old weights on the way from the start, by the exact times to each weight."""
    if replay == 0.0:
        odds = logit(_START) - np.concatenate(
            [np.geomspace(1e-2, 1.0, 30), np.arange(1.1, 12, 0.1)]
        )
        first = float(logit(_START))
        return np.exp(log_forgetting_time(_SEPARATION, first, odds)), np.asarray(expit(odds))
    left = np.concatenate([1.0 - np.geomspace(2e-3, 0.5, 30), np.geomspace(0.49, 1e-5, 60)])
    weights = replay + (_START - replay) * left
    times = [forgetting_time(_SEPARATION, _START, w, replay) for w in weights.tolist()]
    return np.array(times), weights


@functools.lru_cache(maxsize=16)
def _paths(replay: float) -> _Paths:
    start = TwoModeMixture.separated(_SEPARATION, old_weight=_START)
    objective = ForwardKL(start, replay=replay)
    t = np.geomspace(0.3, 1.2 * _LAST, 140)
    time, weight = _way(replay)
    end = logit(replay) if replay else logit(weight[-1])
    old_weight = expit(np.interp(np.log(t), np.log(time), logit(weight), right=end))
    run = simulate(
        objective,
        start,
        steps=round(_LAST / _RATE),
        batch_size=4,
        learning_rate=_RATE,
        replicates=64,
        record_every=2,
        train="weight",
    )
    clock = _RATE * run.step
    weights, losses = (Runs.of(clock, x) for x in (run.old_weight, _loss(run.old_weight)))
    return _Paths(t, old_weight, weights, losses)


def replay_forward_kl_frame(replay: float, time: float) -> Frame:
    r"""One frame of the explorer of replay under forward KL.

    The modes are 3 standard deviations apart, the right old weight is 1/2, training starts
    from old weight 0.9 and moves the weight only: exactly, and in 64 runs of stochastic
    gradient descent (learning rate 0.5, batches of 4).

    Parameters
    ----------
    replay : float
        Share of old data, in [0, 1).
    time : float
        Training time of the logit flow (learning rate times steps), in [0.3, 1200].

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Labels ``thm-data-mixing``, ``prp-wrong-fraction`` and ``thm-replay-noise``.
    """
    replay = _arguments.share("replay", replay)
    time = _arguments.number("time", time, "lie in [0.3, 1200]", lambda x: 0.3 <= x <= 1200.0)
    paths = _paths(float(replay))
    weight = paths.weight_at(time)
    loss = float(_loss(np.array(weight)))
    model = TwoModeMixture.separated(_SEPARATION, old_weight=weight)

    canvas = Canvas(360, 452)
    y = np.linspace(-3.2, 6.2, 111)
    density = canvas.panel(
        Axis(-3.2, 6.2, "sample y", ticks=(-2, 0, 2, 4, 6)),
        Axis(0.0, 0.49, ticks=()),
        top=22,
        height=86,
        **WIDE,
    )
    density.frame("Density of model and data")
    parts(density, y, model)
    data = replay * bell(y, 0.0) + (1.0 - replay) * bell(y, _SEPARATION)
    density.line(y, data, "data")
    density.label(_SEPARATION + 0.9, 0.34 * (1.0 - replay) + 0.02, "data", "data", dx=4)
    old = "old part" if weight > 0.03 else "old part: not visible"
    density.label(
        -0.6, 0.4 * weight, old, "old", "end" if weight > 0.03 else "middle", dx=-8, dy=-5
    )

    clock = Axis(0.3, 1.2 * _LAST, "", True, [10.0**k for k in range(4)])
    panel = canvas.panel(clock, Axis(0.0, 1.0, ticks=(0, 0.5, 1)), top=182, height=88, **WIDE)
    panel.frame("Old weight b: exact (line), 64 SGD runs (dots)")
    ends = np.array([clock.low, clock.high])
    panel.line(ends, np.full(2, _RIGHT), "muted")
    panel.label(clock.high, _RIGHT, "right old weight", "muted", "end", dy=16)
    panel.line(ends, np.full(2, replay), "data")
    if abs(replay - _RIGHT) > 0.01:
        panel.label(0.34, replay, "replay share", "data", dy=-5 if replay < _RIGHT else 14)
    panel.line(paths.t, paths.old_weight, "model")
    paths.weights.draw(panel, "old")
    panel.point(time, weight, "old")

    clock = dataclasses.replace(clock, label="training time t")
    panel = canvas.panel(clock, Axis(0.0, 1.5, ticks=(0, 0.5, 1, 1.5)), top=318, height=88, **WIDE)
    panel.frame("Loss against the right mixture, in nats")
    panel.line(paths.t, _loss(paths.old_weight), "model")
    paths.losses.draw(panel, "new")
    panel.point(time, loss, "new")

    brake = 1.0 - replay / weight
    if replay == 0.0:
        push = "There is no replay."
    elif abs(brake) < 5e-4:
        push = "Training has come to rest at the share."
    elif brake > 0.0:
        push = f"Replay takes {number(100.0 * replay / weight, 2)}% off the forgetting gradient."
    else:
        push = (
            f"Replay pushes the weight up, {number(-brake, 2)} times as hard as "
            "forgetting pulls it down."
        )
    readout = f"Old weight {number(weight, 2)}, loss {number(loss, 2)} nats. {push}"
    alt = (
        f"Above, the model at training time {value_text(time)} with old weight "
        f"{number(weight, 2)}, and data with a share {value_text(replay)} of old samples. In the "
        f"middle, the old weight against time: it starts at {_START} and "
        + (
            "falls toward zero"
            if replay == 0.0
            else f"moves to the share {value_text(replay)} and stays there"
        )
        + "; runs of stochastic gradient descent scatter around the exact curve. Below, the loss "
        f"against the right mixture, now {number(loss, 2)} nats."
    )
    return Frame(canvas.render(alt), alt, readout)


def replay_forward_kl() -> ipywidgets.VBox:
    """Explorer of the chapter on replay and forward KL.

    Returns
    -------
    ipywidgets.VBox
        Moves the share of replay and the training time of :func:`replay_forward_kl_frame`.
    """
    return explorer(
        replay_forward_kl_frame,
        Parameter("replay", r"replay share $\lambda$", (0.0, 0.05, 0.2, 0.5, 0.8), start=2),
        Parameter(
            "time",
            "training time $t$",
            (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
            start=2,
            log=True,
            play=True,
        ),
    )
