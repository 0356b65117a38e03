"""Explorer of the chapter on reverse KL."""

from __future__ import annotations

import dataclasses
import functools
import math

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
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE, Runs, bell, top

__all__ = ["reverse_kl", "reverse_kl_frame"]

FloatArray = NDArray[np.float64]


_PICTURE = 1e-4  # tolerance of the flows: a tenth of a pixel
_SMALLEST = 1e-5  # drift that the picture and its numbers tell from zero
_RUNS = 64


@dataclasses.dataclass(frozen=True)
class _Reverse:
    """What a frame of the reverse-KL explorer shows of all times."""

    fixed: Trajectory  # only the weight is trained
    joint: Trajectory  # everything is trained
    pull: FloatArray  # of the target on the old mean of the joint flow
    push: FloatArray  # of the model
    bound: float
    weights: Runs
    drifts: Runs  # in units of exp(-D^2 / 8), toward the new mode

    def model(self, t: float) -> TwoModeMixture:
        """Model of the joint flow."""
        return TwoModeMixture(
            float(expit(np.interp(t, self.joint.t, self.joint.old_logit))),
            float(np.interp(t, self.joint.t, self.joint.old_mean[:, 0])),
            float(np.interp(t, self.joint.t, self.joint.new_mean[:, 0])),
        )


@functools.lru_cache(maxsize=48)
def _reverse(separation: float, old_weight: float, start_weight: float, rng: int = 0) -> _Reverse:
    target = TwoModeMixture.separated(separation, old_weight=old_weight)
    objective = ReverseKL(target)
    right = target.replace(old_weight=start_weight)
    beyond = right.replace(new_mean=[separation + 1.0])
    t = np.r_[0.0, np.geomspace(0.1, 100.0, 64)]
    joint = gradient_flow(objective, beyond, t, rtol=_PICTURE)
    weights = simulate(
        objective,
        right,
        steps=200,
        batch_size=16,
        learning_rate=0.5,
        replicates=_RUNS,
        baseline="batch_mean",
        train=("weight",),
        rng=rng,
    )
    drifts = simulate(
        objective,
        beyond,
        steps=500,
        batch_size=32,
        learning_rate=0.2,
        replicates=_RUNS,
        estimator="pathwise",
        baseline="leave_one_out",
        record_every=2,
        rng=rng,
    )
    pull, push = _forces(target, joint)
    return _Reverse(
        gradient_flow(objective, right, t, train=("weight",), rtol=_PICTURE),
        joint,
        pull,
        push,
        drift_bound(target, joint),
        Runs.of(0.5 * weights.step, weights.old_weight),
        Runs.of(0.2 * drifts.step, math.exp(0.125 * separation**2) * drifts.old_mean[:, :, 0]),
    )


def _forces(target: TwoModeMixture, path: Trajectory) -> tuple[FloatArray, FloatArray]:
    """Lengths of the pull of the target and of the push of the model along a path."""
    noise = np.linspace(-9.0, 9.0, 361)  # the trapezoidal rule, exact for the picture
    weights = bell(noise, 0.0) * (noise[1] - noise[0])
    pull = np.empty(path.t.size)
    push = np.empty(path.t.size)
    for k in range(path.t.size):
        model = path.model(k)
        y = float(model.old_mean[0]) + noise
        apart = abs(float(model.new_mean[0] - model.old_mean[0]))
        pull[k] = target.separation * (weights @ (1.0 - target.responsibility(y)))
        push[k] = apart * (weights @ (1.0 - model.responsibility(y)))
    return pull, push


def reverse_kl_frame(
    separation: float,
    time: float,
    old_weight: float = 0.75,
    start_weight: float = 0.1,
    rng: int = 0,
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
    rng : int
        Seed of the runs, >= 0.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If the separation is not positive, the time outside [0.1, 100], a weight outside
        (0, 1), or the seed negative.

    Notes
    -----
    Labels ``thm-monotone-retention``, ``thm-sure-retention``, ``thm-drift-force`` and
    ``thm-sharp-drift``. In the third panel only the weight is trained, by score-function
    SGD, and no run can cross the floor. In the others all parameters are trained, the runs
    by pathwise SGD. The pull of the target is ``eps_p D`` toward the new mode, the push of the
    model ``eps_q |m_n - m_o|`` away from it; the drift follows their sum. All three are drawn
    in units of ``exp(-D^2 / 8)``, positive toward the new mode.
    """
    separation = _arguments.positive("separation", separation)
    time = _arguments.number("time", time, "lie in [0.1, 100]", lambda x: 0.1 <= x <= 100.0)
    start_weight = _arguments.weight("start_weight", start_weight)
    rng = _arguments.integer("rng", rng, 0)
    old_weight = _arguments.weight("old_weight", old_weight)
    paths = _reverse(float(separation), float(old_weight), float(start_weight), rng)
    target = TwoModeMixture.separated(separation, old_weight=old_weight)
    model = paths.model(time)
    drift = abs(float(model.old_mean[0]))
    missed = misassignment_probability(model)
    weight = float(expit(np.interp(time, paths.fixed.t, paths.fixed.old_logit)))
    floor = min(start_weight, old_weight)

    off = number(drift, 2) if drift >= _SMALLEST else f"less than {power_of_ten(-5)}"

    canvas = Canvas(360, 480)
    above = top(canvas, model, target, low=-3.2, high=9.6)

    clock = Axis(0.1, 100.0, "", True, (0.1, 1.0, 10.0, 100.0))
    panel = canvas.panel(
        clock, Axis(0.0, 1.0, ticks=(0, 0.5, 1)), top=above.below, height=72, **WIDE
    )
    panel.frame(f"Old weight b, means fixed: exact, {_RUNS} SGD runs")
    t = paths.fixed.t
    panel.line(t, np.full_like(t, old_weight), "data")
    panel.label(0.12, old_weight, "target", "data", dy=-5)
    panel.line(t, np.full_like(t, floor), "bound")
    panel.label(100.0, floor, "floor of every run", "bound", "end", dy=-5)
    panel.line(t, paths.fixed.old_weight, "model")
    paths.weights.draw(panel, "old")
    panel.point(time, weight, "old")

    clock = dataclasses.replace(clock, label="training time t")
    unit = math.exp(-0.125 * separation**2)  # of forces and drift
    scale = Axis(-3.0, 3.0, "", ticks=(-2, 0, 2))
    panel = canvas.panel(clock, scale, top=above.below + 118.0, height=116, **WIDE)
    panel.frame("Forces on the old mean and its drift, scaled")
    panel.line(t, paths.pull / unit, "data")
    panel.line(t, -paths.push / unit, "model", 1.2, (3.0, 2.0))
    panel.label(0.12, paths.pull[1] / unit, "pull of the target", "data", dy=-5)
    panel.label(100.0, -paths.push[-1] / unit, "push of the model", "model", "end", dy=15)
    bound = paths.bound / unit
    if math.isfinite(bound):
        for sign in (1.0, -1.0):
            panel.line(t, np.full_like(t, sign * bound), "bound")
        panel.label(100.0, bound, "bound on the drift", "bound", "end", dy=-5)
    else:
        panel.label(100.0, 3.0, "too close: no bound", "bound", "end", dy=12)
    panel.line(t, paths.joint.old_mean[:, 0] / unit, "model")
    paths.drifts.draw(panel, "old")
    panel.point(time, float(model.old_mean[0]) / unit, "old")

    pull, push = (number(float(np.interp(time, t, force)), 2) for force in (paths.pull, paths.push))
    readout = (
        f"Means fixed: old weight {number(weight, 2)} (target {number(old_weight, 2)}). "
        f"All trained: old weight {number(model.old_weight, 2)}, old mean off by {off}, pulled "
        f"by {pull} and pushed by {push}, and {number(missed, 2)} of the old samples credited to "
        "the new mode (solid area)."
    )
    limit = (
        f"below its bound {number(paths.bound, 2)}"
        if math.isfinite(paths.bound)
        else "for which the modes are too close to have a bound"
    )
    alt = (
        f"Above, model and target with old weight {number(old_weight, 2)} at separation "
        f"{number(separation, 2)} and training time {number(time, 2)}: the old part of the "
        f"model has weight {number(model.old_weight, 2)}; and the responsibilities. "
        "Then the old weight against training time with fixed means: it goes "
        f"from {number(start_weight, 2)} to the target's {number(old_weight, 2)}, and the runs of "
        f"stochastic gradient descent never fall below {number(floor, 2)}. Below, the drift of "
        f"the old mean, at most {number(float(np.abs(paths.joint.old_mean).max()), 2)}, {limit}, "
        f"with the two forces behind it: the target pulls with {pull}, the model pushes with "
        f"{push}."
    )
    return Frame(canvas.render(alt), alt, readout)


def reverse_kl() -> Explorer:
    """Explorer of the reverse-KL chapter: matching the target regrows the old mode.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the separation, the target's old weight and the training time of
        :func:`reverse_kl_frame`.
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
        Parameter("old_weight", "old weight $a$ of the target", (0.5, 0.75, 0.9), start=1),
    )
