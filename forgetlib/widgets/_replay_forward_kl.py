"""Explorer of the chapter on replay and forward KL: the share decides."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, number
from forgetlib.data_mixing import weight_divergence
from forgetlib.ensemble import simulate
from forgetlib.flow import gradient_flow, log_forgetting_time
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ForwardKL
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer, value_text
from forgetlib.widgets._parts import WIDE, Runs, bell, top

__all__ = ["replay_forward_kl", "replay_forward_kl_frame"]

FloatArray = NDArray[np.float64]

_RIGHT = 0.5  # old weight of the right mixture, against which the loss is counted
_START = 0.9
_RATE, _BATCH = 0.5, 4
_LAST = 1000.0


@functools.lru_cache(maxsize=16)
def _loss_table(separation: float) -> tuple[FloatArray, FloatArray]:
    """Log-odds of a model, and what it loses against the right mixture."""
    odds = np.linspace(-12.0, 8.0, 121)
    loss = [weight_divergence(separation, _RIGHT, w) for w in expit(odds).tolist()]
    return odds, np.array(loss)


def _loss(separation: float, old_weight: FloatArray) -> FloatArray:
    return np.asarray(np.interp(logit(old_weight), *_loss_table(separation)))


def _ceiling(old_weight: FloatArray) -> FloatArray:
    """The same without overlap: with overlap it is at most this."""
    rest = np.log(_RIGHT / old_weight) + np.log((1.0 - _RIGHT) / (1.0 - old_weight))
    return np.asarray(0.5 * rest)  # the right weight is one half


@dataclasses.dataclass(frozen=True)
class _Paths:
    """What a frame shows of all times."""

    t: FloatArray
    old_weight: FloatArray
    weights: Runs
    losses: Runs

    def weight_at(self, time: float) -> float:
        return float(np.interp(math.log(time), np.log(self.t), self.old_weight))


def _way(separation: float, replay: float) -> tuple[FloatArray, FloatArray]:
    """Times and old weights on the way from the start."""
    if replay == 0.0:
        odds = logit(_START) - np.concatenate(
            [np.geomspace(1e-2, 1.0, 30), np.arange(1.1, 12, 0.1)]
        )
        first = float(logit(_START))
        return np.exp(log_forgetting_time(separation, first, odds)), np.asarray(expit(odds))
    start = TwoModeMixture.separated(separation, old_weight=_START)
    t = np.r_[0.0, np.geomspace(0.1, 1.3 * _LAST, 161)]
    path = gradient_flow(ForwardKL(start, replay=replay), start, t, train="weight", rtol=1e-6)
    return t[1:], path.old_weight[1:]


@functools.lru_cache(maxsize=32)
def _exact(separation: float, replay: float) -> tuple[FloatArray, FloatArray]:
    """Times that are drawn, and the old weights of the exact flow."""
    t = np.geomspace(0.3, 1.2 * _LAST, 140)
    time, weight = _way(separation, replay)
    return t, np.asarray(expit(np.interp(np.log(t), np.log(time), logit(weight))))


@functools.lru_cache(maxsize=32)
def _paths(separation: float, replay: float, rng: int = 0) -> _Paths:
    start = TwoModeMixture.separated(separation, old_weight=_START)
    run = simulate(
        ForwardKL(start, replay=replay),
        start,
        steps=round(_LAST / _RATE),
        batch_size=_BATCH,
        learning_rate=_RATE,
        replicates=64,
        rng=rng,
        record_every=2,
        train="weight",
    )
    clock = _RATE * run.step
    weights = Runs.of(clock, run.old_weight)
    losses = Runs.of(clock, _loss(separation, run.old_weight))
    return _Paths(*_exact(separation, replay), weights, losses)


def _bounds(separation: float, replay: float, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Proved bounds on the old weight of the flow: it is slower than without overlap."""
    variation = math.erf(separation / math.sqrt(8.0))  # total variation of the two modes
    if replay == 0.0:
        odds = logit(_START) - np.r_[np.geomspace(1e-3, 1.0, 30), np.arange(1.1, 12.0, 0.1)]
        time = np.exp(log_forgetting_time(math.inf, float(logit(_START)), odds))
        fast = expit(np.interp(np.log(t), np.log(time), odds))
        slow = (_START**-2 + 8.0 * (variation * (1.0 - _START)) ** 2 * t) ** -0.5
        return np.asarray(fast), np.asarray(slow)
    gap = _START - replay
    if gap == 0.0:
        return np.full_like(t, replay), np.full_like(t, replay)
    left = np.r_[1.0 - np.geomspace(1e-4, 0.5, 40), np.geomspace(0.49, 1e-9, 100)]
    b = replay + gap * left
    # the clock runs at most at unit rate, which it does without overlap
    time = (
        -np.log(left) / (replay * (1.0 - replay))
        + np.log(b / _START) / replay
        + np.log((1.0 - b) / (1.0 - _START)) / (1.0 - replay)
    )
    fast = replay + gap * np.interp(t, time, left)
    width = min(_START * (1.0 - _START), replay * (1.0 - replay))
    slow = replay + gap * np.exp(-4.0 * (variation * width) ** 2 * t)
    return np.minimum(fast, slow), np.maximum(fast, slow)


def replay_forward_kl_frame(
    replay: float, time: float, separation: float = 3.0, rng: int = 0
) -> Frame:
    r"""One frame of the explorer of replay under forward KL.

    The right old weight is 1/2, training starts from old weight 0.9 and moves the weight
    only: exactly, and in 64 runs of stochastic gradient descent (learning rate 0.5, batches
    of 4).

    Parameters
    ----------
    replay : float
        Share of old data, in [0, 1).
    time : float
        Training time of the logit flow (learning rate times steps), in [0.3, 1200].
    separation : float
        Distance ``D`` between the modes, in [1, 6].
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
    Labels ``thm-data-mixing``, ``prp-wrong-fraction`` and ``thm-replay-noise``. One bound on
    the old weight is the flow without overlap, by the clock of part 3; the other is that of
    part 5 (without replay, of ``prp-forgetting-bounds``). The ceiling of the loss is its value
    without overlap. Shaded more strongly: the data less what the model makes by itself.
    """
    replay = _arguments.share("replay", replay)
    time = _arguments.number("time", time, "lie in [0.3, 1200]", lambda x: 0.3 <= x <= 1200.0)
    separation = _arguments.number("separation", separation, "lie in [1, 6]", lambda x: 1 <= x <= 6)
    rng = _arguments.integer("rng", rng, 0)
    replay, separation = float(replay), float(separation)
    paths = _paths(separation, replay, rng)
    weight = paths.weight_at(time)
    loss = float(_loss(separation, np.array(weight)))
    model = TwoModeMixture.separated(separation, old_weight=weight)

    canvas = Canvas(360, 476)
    above = top(
        canvas,
        model,
        lambda y: replay * bell(y, 0.0) + (1.0 - replay) * bell(y, separation),
        low=-3.2,
        high=7.6,
        title="Density of model and data",
        name="data",
        mistaken=False,
    )
    y = above.y
    data = replay * bell(y, 0.0) + (1.0 - replay) * bell(y, separation)
    own = min(replay / weight, (1.0 - replay) / (1.0 - weight)) * model.pdf(y[:, None])
    above.density.band(y, own, data, "new" if weight > replay else "old", 0.32)

    clock = Axis(0.3, 1.2 * _LAST, "", True, [10.0**k for k in range(4)])
    panel = canvas.panel(
        clock, Axis(0.0, 1.0, ticks=(0, 0.5, 1)), top=above.below, height=92, **WIDE
    )
    panel.frame("Old weight b: exact (line), 64 SGD runs (dots)")
    ends = np.array([clock.low, clock.high])
    if abs(replay - _RIGHT) < 0.01:
        panel.label(0.34, replay, "replay share: the right one", "data", dy=14)
    else:
        panel.line(ends, np.full(2, _RIGHT), "muted")
        panel.label(clock.high, _RIGHT, "right old weight", "muted", "end", dy=14)
        panel.label(0.34, replay, "replay share", "data", dy=-5 if replay < _RIGHT else 14)
    panel.line(ends, np.full(2, replay), "data")
    low, high = _bounds(separation, replay, paths.t)
    panel.line(paths.t, low, "bound")
    panel.line(paths.t, high, "bound")
    panel.line(paths.t, paths.old_weight, "model")
    paths.weights.draw(panel, "old")
    panel.point(time, weight, "old")
    panel.label(clock.high, 1.0, "proved bounds (dotted)", "bound", "end", dy=11)

    clock = dataclasses.replace(clock, label="training time t")
    panel = canvas.panel(
        clock,
        Axis(0.0, 1.5, ticks=(0, 0.5, 1, 1.5)),
        top=above.below + 138,
        height=88,
        **WIDE,
    )
    panel.frame("Loss against the right mixture, in nats")
    panel.line(paths.t, _ceiling(paths.old_weight), "bound")
    panel.label(0.34, 1.5, "ceiling: loss without overlap", "bound", dy=11)
    panel.line(paths.t, _loss(separation, paths.old_weight), "model")
    paths.losses.draw(panel, "model")
    panel.point(time, loss, "model")

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
    readout = (
        f"Old weight {number(weight, 2)}, loss {number(loss, 2)} nats. {push} "
        f"In the end the weight of a run scatters by {number(_scatter(replay), 2)} "
        "(standard deviation, to first order)."
        if replay
        else f"Old weight {number(weight, 2)}, loss {number(loss, 2)} nats. {push}"
    )
    alt = (
        f"Above, the model at separation {number(separation, 2)} and training time "
        f"{value_text(time)} with old weight "
        f"{number(weight, 2)}, and data with a share {value_text(replay)} of old samples; shaded more strongly, "
        "the part of the data that the model does not make by itself. In the "
        f"middle, the old weight against time: it starts at {_START} and "
        + (
            "falls toward zero"
            if replay == 0.0
            else f"moves to the share {value_text(replay)} and stays there"
        )
        + ", between two proved bounds; runs of stochastic gradient descent scatter around the "
        "exact curve. Below, the loss against the right mixture, "
        f"now {number(loss, 2)} nats, under its ceiling without overlap."
    )
    return Frame(canvas.render(alt), alt, readout)


def _scatter(replay: float) -> float:
    """Standard deviation of the old weight in the long run, to first order."""
    return replay * (1.0 - replay) * math.sqrt(0.5 * _RATE / _BATCH)


def replay_forward_kl() -> Explorer:
    """Explorer of the chapter on replay and forward KL.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the share of replay, the separation and the training time of
        :func:`replay_forward_kl_frame`.
    """
    return explorer(
        replay_forward_kl_frame,
        Parameter("replay", r"replay share $\lambda$", (0.0, 0.05, 0.2, 0.5, 0.8), start=2),
        Parameter("separation", "separation $D$", (2.0, 3.0, 4.0), start=1),
        Parameter(
            "time",
            "training time $t$",
            (1.0, 3.0, 10.0, 30.0, 60.0, 100.0, 300.0, 1000.0),
            start=2,
            log=True,
            play=True,
        ),
    )
