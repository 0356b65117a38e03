"""Explorer of the chapter on local geometry."""

from __future__ import annotations

import dataclasses
import functools
import math

import ipywidgets
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, estimate, number
from forgetlib.ensemble import simulate
from forgetlib.geometry import condition_number, fisher_eigenvalues, slowest_direction
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.widgets._explorer import Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE, Runs, parts

__all__ = ["local_geometry", "local_geometry_frame"]

FloatArray = NDArray[np.float64]

_SHOWN = 1.0  # how far the picture goes along the slowest direction
_START = 0.03  # how far away the runs start: nearly linear
_RUNS = 64
_STEPS = 400


@dataclasses.dataclass(frozen=True)
class _Geometry:
    """What a frame shows."""

    target: TwoModeMixture
    rates: FloatArray  # along the line, then across
    slow: FloatArray  # logit, old mean, new mean
    cost: float  # KL of the change that is drawn
    runs: Runs
    fitted: tuple[float, float]

    def moved(self, distance: float) -> TwoModeMixture:
        """Model away from the target along the slowest direction."""
        logit, old, new = distance * self.slow
        return TwoModeMixture(
            float(expit(self.target.old_logit + logit)),
            self.target.old_mean + old,
            self.target.new_mean + new,
        )


@functools.lru_cache(maxsize=48)
def _geometry(separation: float, old_weight: float) -> _Geometry:
    target = TwoModeMixture.separated(separation, old_weight)
    direction = slowest_direction(target)
    slow = np.array([direction.logit, direction.old_mean[0], direction.new_mean[0]])
    line = fisher_eigenvalues(target).value
    space = fisher_eigenvalues(TwoModeMixture.separated(separation, old_weight, dim=3))
    across = space.value[space.multiplicity == 2]
    geometry = _Geometry(
        target, np.array([*line, *across]), slow, 0.0, Runs(*[np.zeros(1)] * 5), (0.0, 0.0)
    )
    rate = line[0]
    h = min(0.5, 0.02 / rate)
    ensemble = simulate(
        ReverseKL(target),
        geometry.moved(_START),
        steps=_STEPS,
        batch_size=16,
        learning_rate=h,
        replicates=_RUNS,
        estimator="pathwise",
    )
    left = (
        slow[0] * (ensemble.old_logit - target.old_logit)
        + slow[1] * (ensemble.old_mean[:, :, 0] - target.old_mean[0])
        + slow[2] * (ensemble.new_mean[:, :, 0] - target.new_mean[0])
    ) / _START
    # fit where a third is left, or at the end
    record = min(_STEPS, max(1, round(1.0 / (h * rate))))
    mean, spread = left[:, record].mean(), left[:, record].std(ddof=1) / math.sqrt(_RUNS)
    factor = mean ** (1.0 / record)  # of one step: 1 - h rate
    fitted = ((1.0 - factor) / h, factor * spread / (mean * record * h))
    return dataclasses.replace(
        geometry,
        cost=ReverseKL(target).value(geometry.moved(_SHOWN)),
        runs=Runs.of(h * ensemble.step, left),
        fitted=(float(fitted[0]), float(fitted[1])),
    )


def local_geometry_frame(separation: float, old_weight: float = 0.75) -> Frame:
    r"""One frame of the explorer of local geometry.

    Parameters
    ----------
    separation : float
        Distance ``D`` between the modes, in standard deviations, from 0.5 to 10; the
        picture is made for 1 to 8.
    old_weight : float
        Old weight ``a`` of the optimum, from 0.02 to 0.98.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-fisher-geometry``. The runs train everything by reverse KL in one dimension,
    with the pathwise gradient and batches of 16. Near the optimum their mean error shrinks
    by the same factor as that of the score function, as both gradients are unbiased.
    """
    separation = _arguments.number(
        "separation", separation, "lie in [0.5, 10]", lambda x: 0.5 <= x <= 10.0
    )
    old_weight = _arguments.number(
        "old_weight", old_weight, "lie in [0.02, 0.98]", lambda x: 0.02 <= x <= 0.98
    )
    geometry = _geometry(float(separation), float(old_weight))
    target, rate = geometry.target, float(geometry.rates[0])
    model = geometry.moved(_SHOWN)
    condition = condition_number(TwoModeMixture.separated(separation, old_weight, dim=2))

    canvas = Canvas(360, 462)
    y = np.linspace(-3.4, 11.4, 149)
    density = canvas.panel(
        Axis(-3.4, 11.4, "sample y", ticks=(-2, 0, 2, 4, 6, 8, 10)),
        Axis(0.0, 0.45, ticks=()),
        top=22,
        height=92,
        **WIDE,
    )
    density.frame("Slowest change: moved model and optimum")
    parts(density, y, model)
    density.line(y, target.pdf(y), "data")
    density.label(11.2, 0.4, f"KL {number(geometry.cost, 2)} nats", "model", "end")
    density.label(11.2, 0.32, "optimum dash-dotted", "data", "end")

    axis = Axis(1e-5, 1.0, "rate per unit of training time", True)
    panel = canvas.panel(axis, Axis(0.0, 3.0, ticks=()), top=176, height=78, **WIDE)
    panel.frame("Eigenvalues at the optimum", grid=False)
    largest = max(old_weight, 1.0 - old_weight)
    panel.line([largest, largest], [0.0, 3.0], "bound")
    panel.errors(geometry.rates[:3], np.full(3, 2.1), 0.0, "old")
    panel.errors(geometry.rates[3:], np.full(2, 0.8), 0.0, "new")
    panel.point(rate, 2.1, "old")
    aside = rate < 3e-3  # the words go where the dots are not
    place, anchor = (0.003, "start") if aside else (1.2e-5, "start")
    panel.label(place, 2.1, "on the line" if aside else "on the line, 1 each", "old", anchor, dy=4)
    panel.label(1.2e-5, 0.8, "across the line, d − 1 each", "new", dy=4)

    clock = Axis(0.1, 1e4, "training time t", True)
    panel = canvas.panel(clock, Axis(0.0, 1.05, ticks=(0, 0.5, 1)), top=316, height=104, **WIDE)
    panel.frame("Share of the slowest error left")
    t = np.geomspace(0.1, 1e4, 160)
    panel.line(t, np.exp(-rate * t), "model")
    geometry.runs.draw(panel, "old")
    half_way = math.log(2.0) / rate
    panel.point(half_way, 0.5, "model")

    fitted = estimate(*geometry.fitted)
    times = number(half_way, 2)
    readout = (
        f"Slowest rate: predicted {number(rate)}, fitted to {_RUNS} runs {fitted}. Half of the "
        f"error is left at time {times}. Condition number (d ≥ 2): {number(condition)}; far "
        f"apart it would be {number(1.0 / min(old_weight, 1.0 - old_weight))}. One unit of the "
        f"slowest change: logit {number(float(geometry.slow[0]), 2)}, old mean "
        f"{number(float(geometry.slow[1]), 2)}, new mean {number(float(geometry.slow[2]), 2)}."
    )
    alt = (
        f"Separation {number(separation, 2)}, old weight {number(old_weight, 2)}. Above, the "
        "density of the optimum and of a model moved by one unit along the slowest direction; "
        f"they differ by a divergence of {number(geometry.cost, 2)} nats. In the middle, the "
        f"eigenvalues on a logarithmic axis, from {number(rate, 2)} to "
        f"{number(float(geometry.rates.max()), 2)}. Below, the share of the slowest error left "
        f"against training time: one half at time {times}, and the means of {_RUNS} runs of "
        "stochastic gradient descent lie on the predicted curve."
    )
    return Frame(canvas.render(alt), alt, readout)


def local_geometry() -> ipywidgets.VBox:
    """Explorer of local geometry: which change training finds last, and how fast.

    Returns
    -------
    ipywidgets.VBox
        Moves the separation and the old weight of :func:`local_geometry_frame`.
    """
    return explorer(
        local_geometry_frame,
        Parameter("separation", "separation $D$", (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0), 3),
        Parameter("old_weight", "old weight $a$", (0.25, 0.5, 0.75, 0.9, 0.97), 2),
    )
