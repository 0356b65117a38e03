"""Explorer of the chapter on the plateau."""

from __future__ import annotations

import dataclasses
import functools
import math

import ipywidgets
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, number
from forgetlib.flow import Trajectory, gradient_flow
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.plateau import adiabatic_escape_time, escape_time_floor, plateau_height
from forgetlib.widgets._explorer import Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE, bell, parts

__all__ = ["plateau", "plateau_frame"]

FloatArray = NDArray[np.float64]

_LONGEST = 3e6
_DRAWN = 5  # every fifth record is
_PICTURE = 1e-5  # tolerance of the flows: a tenth of a pixel


@dataclasses.dataclass(frozen=True)
class _Plateau:
    """What a frame of the explorer shows of all times."""

    path: Trajectory
    t: FloatArray  # times that are drawn
    loss: FloatArray
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


@functools.lru_cache(maxsize=16)
def _plateau(separation: float, start_mean: float, old_weight: float) -> _Plateau:
    target = TwoModeMixture.separated(separation, old_weight=old_weight)
    objective, start = ReverseKL(target), target.replace(new_mean=[start_mean])
    t = np.r_[0.0, np.geomspace(0.1, _LONGEST, 801)]
    path = gradient_flow(objective, start, t, rtol=_PICTURE)
    shown = np.arange(1, t.size, _DRAWN)
    loss = np.array([objective.value(path.model(int(record))) for record in shown])
    far = np.maximum(path.old_mean[:, 0], path.new_mean[:, 0])
    escape = math.inf
    if far[-1] > 0.5 * separation:
        after = int((far > 0.5 * separation).argmax())
        around = slice(max(after - 1, 0), after + 1)
        escape = float(np.interp(0.5 * separation, far[around], t[around]))
    try:
        predicted = adiabatic_escape_time(separation, old_weight, old_weight)
    except ValueError:
        predicted = math.nan
    return _Plateau(
        path,
        t[shown],
        loss,
        escape_time_floor(target, start),
        plateau_height(separation, old_weight)[1],
        predicted,
        escape,
    )


def plateau_frame(
    separation: float, time: float, start_mean: float = 0.5, old_weight: float = 0.75
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

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If the separation is not in (0, 45], the time outside its range, or the weight
        outside (0, 1).

    Notes
    -----
    Labels ``thm-plateau-speed`` and ``cnj-escape-time``. All parameters are trained, by the
    exact flow of reverse KL to the full target.
    """
    separation = _arguments.positive("separation", separation)
    time = _arguments.number("time", time, "lie in [0.1, 3000000]", lambda x: 0.1 <= x <= _LONGEST)
    paths = _plateau(float(separation), float(start_mean), float(old_weight))
    model = paths.model(time)
    old, new = float(model.old_mean[0]), float(model.new_mean[0])
    t, drawn = paths.t, slice(1, None, _DRAWN)
    loss = float(np.interp(math.log(time), np.log(t), paths.loss))

    canvas = Canvas(360, 470)
    y = np.linspace(-3.2, 10.6, 151)
    density = canvas.panel(
        Axis(-3.2, 10.6, "sample y", ticks=(-2, 0, 2, 4, 6, 8, 10)),
        Axis(0.0, 0.47, ticks=()),
        top=22,
        height=92,
        **WIDE,
    )
    density.frame("Density of model and target")
    parts(density, y, model)
    aim = old_weight * bell(y, 0.0) + (1.0 - old_weight) * bell(y, separation)
    density.line(y, aim, "data")
    density.label(
        separation, 0.4 * (1.0 - old_weight), "target's new mode", "data", "middle", dy=-6
    )

    clock = Axis(0.1, _LONGEST, "", True, [10.0**k for k in range(0, 7, 2)])
    top = 1.25 * max(paths.height, float(paths.loss.max()))
    panel = canvas.panel(
        clock, Axis(0.0, top, ticks=(0, 0.1, 0.2, 0.3)), top=182, height=88, **WIDE
    )
    panel.frame("KL to the target, in nats")
    panel.line([0.1, _LONGEST], [paths.height] * 2, "bound")
    panel.label(0.12, paths.height, "plateau", "bound", dy=-5)
    panel.line(t, paths.loss, "model")
    panel.point(time, loss, "model")

    clock = dataclasses.replace(clock, label="training time t")
    panel = canvas.panel(clock, Axis(-0.08, 1.16, ticks=(0, 0.5, 1)), top=318, height=116, **WIDE)
    panel.frame("Old weight b; means as shares of D")
    if math.isfinite(paths.predicted):
        panel.line([paths.predicted] * 2, [-0.08, 1.0], "muted")
        panel.label(paths.predicted, 0.28, "predicted", "muted", "end", dy=-5)
    panel.line([paths.floor] * 2, [-0.08, 1.0], "bound")
    panel.label(paths.floor, 0.5, "not before", "bound", "start")
    panel.line(t, paths.path.old_weight[drawn], "model")
    panel.label(0.12, float(paths.path.old_weight[1]), "old weight", "model", dy=-6)
    panel.line(t, paths.path.new_mean[drawn, 0] / separation, "new")
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
    alt = (
        f"Above, model and target at separation {number(separation, 2)} and training time "
        f"{number(time, 2)}: the model's components are at {number(round(old, 3), 2)} and "
        f"{number(round(new, 3), 2)}. In the middle, the KL divergence against training time: "
        f"it stays near {number(paths.height, 2)} and falls to zero around time "
        f"{number(paths.escape, 2)}. Below, the old weight and the two means against training "
        f"time, with a proved floor of {number(paths.floor, 2)} on the time of escape. {guess}"
    )
    return Frame(canvas.render(alt), alt, readout)


def plateau() -> ipywidgets.VBox:
    """Explorer of the chapter on the plateau: how long until the new skill is found.

    Returns
    -------
    ipywidgets.VBox
        Moves the separation and the training time of :func:`plateau_frame`.
    """
    return explorer(
        plateau_frame,
        Parameter("separation", "separation $D$", (3.0, 4.0, 5.0, 6.0, 7.0), start=2),
        Parameter(
            "time",
            "training time $t$",
            (1.0, 10.0, 40.0, 200.0, 300.0, 1e4, 1e5, 1e6),
            start=2,
            log=True,
            play=True,
        ),
    )
