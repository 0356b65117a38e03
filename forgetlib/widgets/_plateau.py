"""Explorer of the chapter on the plateau."""

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
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.plateau import adiabatic_escape_time, escape_time_floor, plateau_height
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer, value_text
from forgetlib.widgets._parts import WIDE, Runs, top

__all__ = ["plateau", "plateau_frame"]

FloatArray = NDArray[np.float64]

_LONGEST = 3e6
_DRAWN = 5  # every fifth record is
_PICTURE = 1e-3  # tolerance of the flows: below a pixel
_RATE, _STEPS, _BATCH, _RUNS = 0.2, 800, 16, 64


@dataclasses.dataclass(frozen=True)
class _Plateau:
    """What a frame of the explorer shows of all times."""

    path: Trajectory
    t: FloatArray  # times that are drawn
    loss: FloatArray
    least: FloatArray  # proved: what the loss is at least, for means as far out as these
    floor: float  # no escape before (proved)
    height: float  # of the plateau
    predicted: float  # along the slow manifold; not a number where there is none
    escape: float  # of the flow

    def model(self, t: float) -> TwoModeMixture:
        """Model at a training time."""
        clock, now = np.log(self.path.t[1:]), math.log(t)
        return TwoModeMixture(
            float(expit(np.interp(now, clock, self.path.old_logit[1:]))),
            float(np.interp(now, clock, self.path.old_mean[1:, 0])),
            float(np.interp(now, clock, self.path.new_mean[1:, 0])),
        )


@functools.lru_cache(maxsize=32)
def _predicted(separation: float, old_weight: float) -> float:
    """Time along the slow manifold, or not a number where none passes through the start."""
    try:
        return adiabatic_escape_time(separation, old_weight, old_weight)
    except ValueError:
        return math.nan


@functools.lru_cache(maxsize=16)
def _plateau(separation: float, start_mean: float, old_weight: float) -> _Plateau:
    target = TwoModeMixture.separated(separation, old_weight=old_weight)
    objective, start = ReverseKL(target), target.replace(new_mean=[start_mean])
    t = np.r_[0.0, np.geomspace(0.1, _LONGEST, 401)]
    path = gradient_flow(objective, start, t, rtol=_PICTURE)
    shown = np.arange(1, t.size, _DRAWN)
    loss = np.array([objective.value(path.model(int(record))) for record in shown])
    far = np.maximum(path.old_mean[:, 0], path.new_mean[:, 0])
    escape = math.inf
    if far[-1] > 0.5 * separation:
        after = int((far > 0.5 * separation).argmax())
        around = slice(max(after - 1, 0), after + 1)
        escape = float(np.interp(0.5 * separation, far[around], t[around]))
    radius = np.maximum(np.abs(path.old_mean[:, 0]), np.abs(path.new_mean[:, 0]))[shown]
    # at a few radii: between them the bounds are concave, so that a chord is not above
    radii = np.linspace(radius.min(), min(radius.max(), 0.6 * separation), 20)
    least = [plateau_height(separation, old_weight, float(r))[0] for r in radii]
    return _Plateau(
        path,
        t[shown],
        loss,
        np.interp(radius, radii, least),
        escape_time_floor(target, start),
        plateau_height(separation, old_weight)[1],
        _predicted(separation, old_weight),
        escape,
    )


@functools.lru_cache(maxsize=16)
def _runs(separation: float, start_mean: float, old_weight: float, rng: int) -> Runs:
    """New mean of mini-batch runs, as a share of the separation."""
    target = TwoModeMixture.separated(separation, old_weight=old_weight)
    run = simulate(
        ReverseKL(target),
        target.replace(new_mean=[start_mean]),
        steps=_STEPS,
        batch_size=_BATCH,
        learning_rate=_RATE,
        replicates=_RUNS,
        rng=rng,
        record_every=2,
        baseline="leave_one_out",
    )
    return Runs.of(_RATE * run.step, run.new_mean[..., 0] / separation, 9)


def plateau_frame(
    separation: float,
    time: float,
    start_mean: float = 0.5,
    old_weight: float = 0.75,
    rng: int = 0,
) -> Frame:
    r"""One frame of the explorer of the plateau.

    Parameters
    ----------
    separation : float
        Distance ``D > 0`` between the modes of the target, in standard deviations; the
        picture is made for 3 to 7.
    time : float
        Training time (learning rate times steps), from 0.1 to 3,000,000.
    start_mean : float
        New mean of the model at time 0, seen from the old mode. Its old mean and its weight
        are right.
    old_weight : float
        Old weight ``a`` of the target and of the model at time 0, strictly between 0 and 1.
    rng : int
        Seed of the runs, >= 0.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If the separation is not in (0, 45], the time outside its range, the weight
        outside (0, 1), or the seed negative.

    Notes
    -----
    Labels ``thm-plateau-height``, ``thm-plateau-speed`` and ``cnj-escape-time``. All
    parameters are trained by reverse KL to the full target: by the exact flow, and in 64 runs
    of batches of 16 with the score function (leave-one-out baseline, learning rate 0.2), up to
    time 160.
    """
    separation = _arguments.positive("separation", separation)
    time = _arguments.number("time", time, "lie in [0.1, 3000000]", lambda x: 0.1 <= x <= _LONGEST)
    rng = _arguments.integer("rng", rng, 0)
    settings = float(separation), float(start_mean), float(old_weight)
    paths, runs = _plateau(*settings), _runs(*settings, rng)
    model = paths.model(time)
    old, new = float(model.old_mean[0]), float(model.new_mean[0])
    t, drawn = paths.t, slice(1, None, _DRAWN)
    loss = float(np.interp(math.log(time), np.log(t), paths.loss))
    target = TwoModeMixture.separated(separation, old_weight=old_weight)

    canvas = Canvas(360, 512)
    above = top(canvas, model, target, low=-3.2, high=10.6, mistaken=False)
    # all that the model's samples say about the new mode: where the target calls them new
    above.credit.line(above.y, target.responsibility(above.y), "data")
    above.credit.label(10.5, 0.0, "dash-dotted: in the target", "data", "end", dy=-3)

    clock = Axis(0.1, _LONGEST, "", True, [10.0**k for k in range(0, 7, 2)])
    panel = canvas.panel(
        clock, Axis(0.0, 0.36, ticks=(0, 0.1, 0.2, 0.3)), top=above.below, height=84, **WIDE
    )
    panel.frame("KL to the target, in nats")
    panel.line(t, np.clip(paths.least, -0.01, None), "bound")
    panel.label(_LONGEST, 0.33, "proved floor, given the means", "bound", "end")
    panel.line(t, paths.loss, "model")
    panel.point(time, loss, "model")

    clock = dataclasses.replace(clock, label="training time t")
    panel = canvas.panel(
        clock, Axis(-0.08, 1.16, ticks=(0, 0.5, 1)), top=above.below + 128, height=128, **WIDE
    )
    panel.frame("Old weight b; means / D (squares: 64 runs)")
    if math.isfinite(paths.predicted):
        panel.line([paths.predicted] * 2, [-0.08, 1.0], "muted")
        panel.label(paths.predicted, 0.28, "predicted", "muted", "end", dx=-3, dy=-5)
    panel.line([paths.floor] * 2, [-0.08, 1.0], "bound")
    panel.label(paths.floor, 0.5, "not before", "bound", "start", dx=3)
    panel.line(t, paths.path.old_weight[drawn], "model")
    panel.label(0.12, float(paths.path.old_weight[1]), "old weight", "model", dy=-6)
    panel.line(t, paths.path.new_mean[drawn, 0] / separation, "new")
    runs.draw(panel, "new")
    panel.line(t, paths.path.old_mean[drawn, 0] / separation, "old")
    panel.label(_LONGEST, 1.0, "new mean", "new", "end", dy=-5)
    panel.label(_LONGEST, 0.0, "old mean", "old", "end", dy=-5)
    panel.point(time, model.old_weight, "model")
    panel.point(time, new / separation, "new")
    panel.point(time, old / separation, "old")

    escaped = max(old, new) >= 0.5 * separation
    state = "The new skill is found" if escaped else "The new skill is not found yet"
    readout = (
        f"{state}: old weight {number(model.old_weight, 2)}, old mean {number(round(old, 3), 2)}, "
        f"new mean {number(round(new, 3), 2)}, KL {number(round(loss, 4), 2)} (plateau "
        f"{number(paths.height, 2)}). Half-way at time {number(paths.escape, 2)}; "
        f"proved: not before {number(paths.floor, 2)}."
    )
    guess = (
        f"The slow manifold predicts {number(paths.predicted, 2)}."
        if math.isfinite(paths.predicted)
        else "The modes are too close for a slow manifold through the start."
    )
    told = "tell" if abs(new - old) > 2.0 else "hardly tell"
    alt = (
        f"Above, model and target at separation {number(separation, 2)} and training time "
        f"{value_text(time)}: the model's components are at {number(round(old, 3), 2)} and "
        f"{number(round(new, 3), 2)}, so that samples {told} which one they are from. In the "
        "middle, the KL divergence against training time: "
        f"it stays near {number(paths.height, 2)}, above a proved floor, and falls to zero around "
        f"time {number(paths.escape, 2)}. Below, the old weight and the two means against training "
        "time, with mini-batch runs of the new mean on the exact flow, and a proved floor of "
        f"{number(paths.floor, 2)} on the time of escape. {guess}"
    )
    return Frame(canvas.render(alt), alt, readout)


def plateau() -> Explorer:
    """Explorer of the chapter on the plateau: how long until the new skill is found.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the separation and the training time of :func:`plateau_frame`.
    """
    return explorer(
        plateau_frame,
        Parameter("separation", "separation $D$", (3.0, 4.0, 5.0, 6.0, 7.0), start=2),
        Parameter(
            "time",
            "training time $t$",
            [
                *(1.0, 3.0, 10.0, 20.0, 40.0, 80.0, 130.0, 200.0, 260.0, 300.0),
                *(1e3, 3e3, 6e3, 1e4, 1e5, 3e5, 5e5, 6e5, 1e6),
            ],
            start=4,
            log=True,
            play=True,
        ),
    )
