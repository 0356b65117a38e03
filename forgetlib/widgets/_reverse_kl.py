"""Explorer of the chapter on reverse KL."""

from __future__ import annotations

import dataclasses
import functools
import math

import ipywidgets
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, number, power_of_ten
from forgetlib.drift import drift_bound
from forgetlib.ensemble import simulate
from forgetlib.flow import Trajectory, gradient_flow
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.overlap import misassignment_probability
from forgetlib.widgets._explorer import Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE, Runs, bell, parts

__all__ = ["reverse_kl", "reverse_kl_frame"]

FloatArray = NDArray[np.float64]


_PICTURE = 1e-4  # tolerance of the flows: a tenth of a pixel
_SMALLEST = 1e-5  # drift that the picture and its numbers tell from zero


@dataclasses.dataclass(frozen=True)
class _Reverse:
    """What a frame of the reverse-KL explorer shows of all times."""

    fixed: Trajectory  # only the weight is trained
    joint: Trajectory  # everything is trained
    bound: float
    weights: Runs
    drifts: Runs

    def model(self, t: float) -> TwoModeMixture:
        """Model of the joint flow."""
        return TwoModeMixture(
            float(expit(np.interp(t, self.joint.t, self.joint.old_logit))),
            float(np.interp(t, self.joint.t, self.joint.old_mean[:, 0])),
            float(np.interp(t, self.joint.t, self.joint.new_mean[:, 0])),
        )


@functools.lru_cache(maxsize=16)
def _reverse(separation: float, old_weight: float, start_weight: float) -> _Reverse:
    target = TwoModeMixture.separated(separation, old_weight=old_weight)
    objective = ReverseKL(target)
    right = target.replace(old_weight=start_weight)
    beyond = right.replace(new_mean=[separation + 1.0])
    t = np.r_[0.0, np.geomspace(0.1, 100.0, 64)]
    joint = gradient_flow(objective, beyond, t, rtol=_PICTURE)
    at_peak = joint.old_mean[np.abs(joint.old_mean[:, 0]).argmax(), 0]
    weights = simulate(
        objective,
        right,
        steps=200,
        batch_size=16,
        learning_rate=0.5,
        replicates=64,
        baseline="batch_mean",
        train=("weight",),
    )
    drifts = simulate(
        objective,
        beyond,
        steps=500,
        batch_size=32,
        learning_rate=0.2,
        replicates=64,
        estimator="pathwise",
        baseline="leave_one_out",
        record_every=2,
    )
    return _Reverse(
        gradient_flow(objective, right, t, train=("weight",), rtol=_PICTURE),
        joint,
        drift_bound(target, joint),
        Runs.of(0.5 * weights.step, weights.old_weight),
        Runs.of(0.2 * drifts.step, np.sign(at_peak) * drifts.old_mean[:, :, 0]),
    )


def reverse_kl_frame(
    separation: float, time: float, old_weight: float = 0.75, start_weight: float = 0.1
) -> Frame:
    r"""One frame of the reverse-KL explorer.

    Parameters
    ----------
    separation : float
        Distance ``D > 0`` between the modes of the target, in standard deviations; the
        picture is made for 2 to 6.
    time : float
        Training time (learning rate times steps), from 0.1 to 100.
    old_weight : float
        Old weight ``a`` of the target, strictly between 0 and 1.
    start_weight : float
        Old weight of the model at time 0, strictly between 0 and 1. Its old mean is
        right, its new mean one standard deviation too far out.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If the separation is not positive, the time outside [0.1, 100], or a weight outside
        (0, 1).

    Notes
    -----
    Labels ``thm-monotone-retention``, ``thm-sure-retention`` and ``thm-sharp-drift``. In
    the middle only the weight is trained, by score-function SGD, and no run can cross the
    floor. At the top and at the bottom all parameters are trained, by pathwise SGD.
    """
    separation = _arguments.positive("separation", separation)
    time = _arguments.number("time", time, "lie in [0.1, 100]", lambda x: 0.1 <= x <= 100.0)
    start_weight = _arguments.weight("start_weight", start_weight)
    paths = _reverse(float(separation), float(old_weight), float(start_weight))
    model = paths.model(time)
    drift = abs(float(model.old_mean[0]))
    missed = misassignment_probability(model)
    weight = float(expit(np.interp(time, paths.fixed.t, paths.fixed.old_logit)))
    floor = min(start_weight, old_weight)

    off = number(drift, 2) if drift >= _SMALLEST else f"less than {power_of_ten(-5)}"

    canvas = Canvas(360, 470)
    y = np.linspace(-3.2, 9.6, 141)
    density = canvas.panel(
        Axis(-3.2, 9.6, "sample y", ticks=(-2, 0, 2, 4, 6, 8)),
        Axis(0.0, 0.47, ticks=()),
        top=22,
        height=92,
        **WIDE,
    )
    density.frame("Density of model and target")
    parts(density, y, model)
    credited = (
        model.old_weight * bell(y, float(model.old_mean[0])) * (1.0 - model.responsibility(y))
    )
    density.band(y, 0.0 * y, credited, "new", 0.9)
    aim = old_weight * bell(y, 0.0) + (1.0 - old_weight) * bell(y, separation)
    density.line(y, aim, "data")
    density.label(-0.9, 0.36 * old_weight, "target", "data", "end")
    density.label(
        float(model.new_mean[0]), 0.4 * (1.0 - model.old_weight), "new part", "new", "middle", dy=-6
    )

    clock = Axis(0.1, 100.0, "", True, (0.1, 1.0, 10.0, 100.0))
    panel = canvas.panel(clock, Axis(0.0, 1.0, ticks=(0, 0.5, 1)), top=182, height=88, **WIDE)
    panel.frame("Old weight b, means fixed: exact, 64 SGD runs")
    t = paths.fixed.t
    panel.line(t, np.full_like(t, old_weight), "data")
    panel.label(0.12, old_weight, "target", "data", dy=-5)
    panel.line(t, np.full_like(t, floor), "bound")
    panel.label(100.0, floor, "floor of every run", "bound", "end", dy=-5)
    panel.line(t, paths.fixed.old_weight, "model")
    paths.weights.draw(panel, "old")
    panel.point(time, weight, "old")

    clock = dataclasses.replace(clock, label="training time t")
    scale = Axis(_SMALLEST, 30.0, "", True, [10.0**k for k in (0, -2, -4)])
    panel = canvas.panel(clock, scale, top=318, height=116, **WIDE)
    panel.frame("Drift of the old mean, all trained: exact, 64 runs")
    if math.isfinite(paths.bound):
        panel.line(t, np.full_like(t, paths.bound), "bound")
        panel.label(0.12, paths.bound, "bound for the exact flow", "bound", dy=-5)
    else:
        panel.label(0.12, 3.0, "too close: no bound", "bound")
    panel.line(t, np.abs(paths.joint.old_mean[:, 0]), "model")
    paths.drifts.draw(panel, "old")
    panel.point(time, drift, "old")

    readout = (
        f"Means fixed: old weight {number(weight, 2)} (target {number(old_weight, 2)}). "
        f"All trained: old weight {number(model.old_weight, 2)}, old mean off by {off}, and "
        f"{number(missed, 2)} of the old samples credited to the new mode (solid area)."
    )
    bound = (
        f"below its bound {number(paths.bound, 2)}"
        if math.isfinite(paths.bound)
        else "for which the modes are too close to have a bound"
    )
    alt = (
        f"Above, model and target at separation {number(separation, 2)} and training time "
        f"{number(time, 2)}: the old part of the model has weight {number(model.old_weight, 2)}. "
        "In the middle, the old weight against training time with fixed means: it goes "
        f"from {number(start_weight, 2)} to the target's {number(old_weight, 2)}, and the runs of "
        f"stochastic gradient descent never fall below {number(floor, 2)}. Below, the drift of "
        f"the old mean, at most {number(float(np.abs(paths.joint.old_mean).max()), 2)}, {bound}."
    )
    return Frame(canvas.render(alt), alt, readout)


def reverse_kl() -> ipywidgets.VBox:
    """Explorer of the reverse-KL chapter: matching the target regrows the old mode.

    Returns
    -------
    ipywidgets.VBox
        Moves the separation and the training time of :func:`reverse_kl_frame`.
    """
    return explorer(
        reverse_kl_frame,
        Parameter("separation", "separation $D$", (2.0, 3.0, 4.0, 5.0, 6.0), start=2),
        Parameter(
            "time",
            "training time $t$",
            (0.1, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 100.0),
            start=2,
            log=True,
            play=True,
        ),
    )
