"""Explorer of the chapter on local geometry."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, estimate, number
from forgetlib.ensemble import simulate
from forgetlib.geometry import condition_number, fisher_eigenvalues, slowest_rate_bounds
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE, Runs, top

__all__ = ["local_geometry", "local_geometry_frame"]

FloatArray = NDArray[np.float64]

_SHOWN = (1.0, 0.5, 0.5)  # errors that are drawn, from the slowest direction to the fastest
_START = 0.03  # errors of the runs, in units of those drawn: nearly linear
_RUNS = 64
_STEPS = 300
_ROLES = ("first", "second", "third")  # slowest to fastest
_NAMES = ("slowest", "middle", "fastest")


@dataclasses.dataclass(frozen=True)
class _Geometry:
    """What the frames of one optimum share."""

    target: TwoModeMixture
    rates: FloatArray  # on the line, ascending
    across: FloatArray
    directions: FloatArray  # columns: logit, old mean and new mean of each rate's direction
    bounds: tuple[float, float]  # proved, on the slowest rate
    condition: float

    @property
    def step(self) -> float:
        """Learning rate of the runs."""
        return min(0.5, 0.02 / float(self.rates[0]))

    def left(self, rate: float, t: FloatArray | float) -> FloatArray:
        """Share of an error that training leaves on average, in steps of this length."""
        return np.asarray(np.exp(np.asarray(t) / self.step * math.log1p(-self.step * rate)))

    def moved(self, errors: FloatArray) -> TwoModeMixture:
        """Model with given errors along the three directions."""
        logit, old, new = self.directions @ errors
        return TwoModeMixture(
            float(expit(self.target.old_logit + logit)),
            self.target.old_mean + old,
            self.target.new_mean + new,
        )


@functools.lru_cache(maxsize=64)
def _geometry(separation: float, old_weight: float) -> _Geometry:
    target = TwoModeMixture.separated(separation, old_weight)
    directions = np.linalg.eigh(ReverseKL(target).hessian(target)).eigenvectors
    # more to the old side, so that the signs do not depend on the linear algebra
    signs = np.where(directions[np.abs(directions).argmax(axis=0), range(3)] < 0, -1.0, 1.0)
    space = fisher_eigenvalues(TwoModeMixture.separated(separation, old_weight, dim=3))
    return _Geometry(
        target,
        fisher_eigenvalues(target).value,
        space.value[space.multiplicity == 2],
        directions * signs,
        slowest_rate_bounds(target),
        condition_number(TwoModeMixture.separated(separation, old_weight, dim=2)),
    )


@functools.lru_cache(maxsize=64)
def _runs(separation: float, old_weight: float, rng: int) -> tuple[list[Runs], tuple[float, float]]:
    """Share of each error that is left, and the slowest rate fitted to the runs."""
    geometry = _geometry(separation, old_weight)
    target, rate, h = geometry.target, float(geometry.rates[0]), geometry.step
    ensemble = simulate(
        ReverseKL(target),
        geometry.moved(_START * np.array(_SHOWN)),
        steps=_STEPS,
        batch_size=16,
        learning_rate=h,
        replicates=_RUNS,
        estimator="pathwise",
        rng=rng,
    )
    errors = np.stack(
        [
            ensemble.old_logit - target.old_logit,
            ensemble.old_mean[:, :, 0] - target.old_mean[0],
            ensemble.new_mean[:, :, 0] - target.new_mean[0],
        ],
        axis=-1,
    )
    left = errors @ geometry.directions / (_START * np.array(_SHOWN))
    # fit where a third is left, or at the end
    record = min(_STEPS, max(1, round(1.0 / (h * rate))))
    last = left[:, record, 0]
    mean, spread = last.mean(), last.std(ddof=1) / math.sqrt(_RUNS)
    factor = mean ** (1.0 / record)  # of one step: 1 - h rate
    fitted = ((1.0 - factor) / h, factor * spread / (mean * record * h))
    runs = [Runs.of(h * ensemble.step, left[:, :, k]) for k in range(3)]
    return runs, (float(fitted[0]), float(fitted[1]))


def local_geometry_frame(
    separation: float, old_weight: float = 0.75, time: float = 3.0, rng: int = 0
) -> Frame:
    r"""One frame of the explorer of local geometry.

    Parameters
    ----------
    separation : float
        Distance ``D`` between the modes, in standard deviations, from 0.5 to 10; the
        picture is made for 1 to 8.
    old_weight : float
        Old weight ``a`` of the optimum, from 0.02 to 0.98.
    time : float
        Training time (learning rate times steps), from 0.1 to 10000.
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
    Labels ``thm-fisher-geometry``, ``thm-separated-conditioning``, ``thm-small-separation``
    and ``thm-stochastic-rate``. The runs train everything by reverse KL in one dimension,
    with the pathwise gradient and batches of 16, from a small error in each of the three
    eigendirections. Near the optimum their mean error shrinks by the same factor as that of
    the score function, as both gradients are unbiased: :math:`1 - h \lambda` in each step.
    The densities show the linear training from errors 33 times as large. The dotted curves are the proved bounds of
    :func:`forgetlib.slowest_rate_bounds`.
    """
    separation = _arguments.number(
        "separation", separation, "lie in [0.5, 10]", lambda x: 0.5 <= x <= 10.0
    )
    old_weight = _arguments.number(
        "old_weight", old_weight, "lie in [0.02, 0.98]", lambda x: 0.02 <= x <= 0.98
    )
    time = _arguments.number("time", time, "lie in [0.1, 10000]", lambda x: 0.1 <= x <= 1e4)
    rng = _arguments.integer("rng", rng, 0)
    geometry = _geometry(float(separation), float(old_weight))
    runs, fitted = _runs(float(separation), float(old_weight), rng)
    target, rate = geometry.target, float(geometry.rates[0])
    shares = np.array([geometry.left(float(each), time) for each in geometry.rates])
    model = geometry.moved(np.array(_SHOWN) * shares)
    cost = ReverseKL(target).value(model)

    canvas = Canvas(360, 482)
    above = top(
        canvas,
        model,
        target,
        low=-3.4,
        high=11.4,
        title="Density of model and optimum, errors enlarged",
        name="optimum",
        mistaken=False,
    )

    axis = Axis(1e-5, 1.0, "rate per unit of training time", True)
    panel = canvas.panel(axis, Axis(0.0, 3.0, ticks=()), top=above.below, height=58, **WIDE)
    panel.frame("Eigenvalues at the optimum", grid=False)
    largest = max(old_weight, 1.0 - old_weight)
    for bound in (largest, *geometry.bounds):
        panel.line([bound, bound], [0.0, 3.0], "bound")
    for value, role in zip(geometry.rates, _ROLES, strict=True):
        panel.errors([value], [2.1], 0.0, role)
    panel.errors(geometry.across, np.full(2, 0.8), 0.0, "muted")
    aside = rate < 4e-4  # the words go where the dots are not
    panel.label(0.003 if aside else 1.2e-5, 2.1, "on the line", "ink", dy=4)
    panel.label(1.2e-5, 0.8, "across it", "muted", dy=4)

    clock = Axis(0.1, 1e4, "training time t", True)
    panel = canvas.panel(
        clock, Axis(0.0, 1.05, ticks=(0, 0.5, 1)), top=above.below + 116.0, height=120, **WIDE
    )
    panel.frame(f"Share of each error left: predicted, {_RUNS} runs")
    panel.label(0.11, 0.0, "bounds", "bound", dy=-8)
    t = np.geomspace(0.1, 1e4, 110)
    for bound in geometry.bounds:
        panel.line(t, geometry.left(bound, t), "bound")
    for k in (2, 1, 0):
        panel.line(t, geometry.left(float(geometry.rates[k]), t), "model", 2.2 if k == 0 else 1.4)
        runs[k].draw(panel, _ROLES[k])
        panel.point(time, float(shares[k]), _ROLES[k])
        panel.label(1e4, 1.0, _NAMES[k], _ROLES[k], "end", dx=-4, dy=14.0 + 15.0 * k)

    half_way = number(math.log(2.0) / rate, 2)
    left = ", ".join(number(float(share), 2) if share > 1e-4 else "0" for share in shares)
    low, high = (number(bound, 2) for bound in geometry.bounds)
    readout = (
        f"Slowest rate: predicted {number(rate)} (proved: {low} to {high}), fitted to {_RUNS} "
        f"runs {estimate(*fitted)}. Half of that error is left at time {half_way}. Left now of "
        f"the three errors: {left}. As drawn, the old weight is "
        f"{number(float(model.old_weight), 2)} and the divergence {number(cost, 2)} nats. "
        f"Condition number (d ≥ 2): {number(geometry.condition)}."
    )
    alt = (
        f"Separation {number(separation, 2)}, old weight {number(old_weight, 2)}, training time "
        f"{number(time, 2)}. Above, the density and the responsibilities of a model that started "
        "with an error in each of three directions, and the optimum; they still differ by a "
        f"divergence of {number(cost, 2)} nats. In the middle, the eigenvalues on a logarithmic "
        f"axis, from {number(rate, 2)} to {number(float(geometry.rates[-1]), 2)}. Below, the shares "
        f"of the three errors left against training time: the slowest is halved at time "
        f"{half_way}; means of {_RUNS} runs of stochastic gradient descent lie on the predicted "
        "curves."
    )
    return Frame(canvas.render(alt), alt, readout)


def local_geometry() -> Explorer:
    """Explorer of local geometry: which change training finds last, and how fast.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the separation, the old weight and the training time of
        :func:`local_geometry_frame`.
    """
    return explorer(
        local_geometry_frame,
        Parameter("separation", "separation $D$", (1.0, 1.5, 2.0, 3.0, 4.0, 6.0), 3),
        Parameter("old_weight", "old weight $a$", (0.5, 0.75, 0.9), 1),
        Parameter(
            "time",
            "training time $t$",
            (0.1, 2.0, 10.0, 40.0, 200.0, 2000.0),
            start=1,
            log=True,
            play=True,
        ),
    )
