"""Explorer of the chapter on TTT-Discover."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ive

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, number
from forgetlib.ensemble import simulate
from forgetlib.flow import gradient_flow
from forgetlib.methods.ttt_discover import TTTDiscover
from forgetlib.mixture import TwoModeMixture
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer, value_text
from forgetlib.widgets._parts import WIDE, Runs, top

__all__ = ["ttt_discover", "ttt_discover_frame"]

FloatArray = NDArray[np.float64]

_START = 0.9  # old weight of the reference
_DISTANT, _NEAR = 40.0, 5.0  # separations: no overlap, and that of the lowest panel
_DRAWN = 8.0  # separation in the upper panels: the overlap is not visible
_REFERENCE = TwoModeMixture.separated(_DISTANT, old_weight=_START)
_OVERLAPPING = TwoModeMixture.separated(_NEAR, old_weight=_START)
_GROUP = 64
_RATE = 0.5  # learning rate
_STEPS = 200
_RUNS = 32
_END = _RATE * _STEPS
_LARGEST_PENALTY, _LARGEST_HEIGHT = 4.0, 6.0
_PENALTIES = np.geomspace(0.03, 4.0, 33)
_RELEASED = 0.1  # KL weight of the released configuration
_TIMES = np.concatenate([[0.0], np.geomspace(1.0, _END, 40)])
_WEIGHTS = np.asarray(expit(np.linspace(-4.0, 5.0, 31)))


def _method(penalty: float, height: float) -> TTTDiscover:
    return TTTDiscover(_REFERENCE, height, 1.0, penalty, "hard", _GROUP)


def _runs_of(method: TTTDiscover, rng: int) -> Runs:
    run = simulate(
        method,
        _REFERENCE,
        steps=_STEPS,
        batch_size=_GROUP,
        learning_rate=_RATE,
        replicates=_RUNS,
        train="weight",
        record_every=1,
        rng=rng,
    )
    return Runs.of(_RATE * run.step, run.old_weight)


@functools.lru_cache(maxsize=64)
def _trained(penalty: float, height: float, rng: int) -> tuple[Runs, FloatArray]:
    """Runs with groups, and the exact flow."""
    method = _method(penalty, height)
    path = gradient_flow(method, _REFERENCE, _TIMES, train="weight", rtol=1e-4)
    return _runs_of(method, rng), path.old_weight


@functools.lru_cache(maxsize=32)
def _adaptive(penalty: float, rng: int) -> Runs:
    """Runs with the adaptive temperature; the reward's gap plays no part."""
    return _runs_of(TTTDiscover(_REFERENCE, 1.0, "adaptive", penalty, "hard", _GROUP), rng)


@functools.lru_cache(maxsize=32)
def _ends(height: float) -> tuple[FloatArray, FloatArray]:
    """Stationary weight and its floor, for every penalty."""
    methods = [_method(float(g), height) for g in _PENALTIES]
    return (
        np.array([method.stationary_old_weight() for method in methods]),
        np.array([method.old_weight_floor() for method in methods]),
    )


@functools.lru_cache(maxsize=1)
def _adaptive_ends() -> FloatArray:
    """Stationary weight under the adaptive rule, for every penalty."""
    methods = [TTTDiscover(_REFERENCE, 1.0, "adaptive", float(g), "hard") for g in _PENALTIES]
    return np.array([method.stationary_old_weight() for method in methods])


@dataclasses.dataclass(frozen=True)
class _Pulls:
    """Pulls on the old mean at right means, in standard deviations, at each weight."""

    method: TTTDiscover
    reward: FloatArray
    penalty: FloatArray
    bound: FloatArray  # on the reward's pull
    path: FloatArray  # old weight at each time, weight trained
    balance: float  # 0 if there is none

    @property
    def net(self) -> FloatArray:
        return self.reward + self.penalty

    def at(self, weight: float) -> float:
        """Net pull at a weight of the model."""
        return _NEAR * self.method.mean_forces(weight).net


@functools.lru_cache(maxsize=64)
def _pulls(penalty: float, height: float) -> _Pulls:
    """Soft gate and overlap: the pulls of :func:`TTTDiscover.mean_forces`, and part 2 of its theorem."""
    method = TTTDiscover(_OVERLAPPING, height, 1.0, penalty)
    forces = [method.mean_forces(float(b)) for b in _WEIGHTS]
    free = TTTDiscover(_OVERLAPPING, height, 1.0, 0.0)  # its objective is minus log Z
    z = np.array([math.exp(-free.value(_OVERLAPPING.replace(old_weight=w))) for w in (0.25, 0.75)])
    normalizer = z[0] + (z[1] - z[0]) * (_WEIGHTS - 0.25) / 0.5  # affine in the weight
    half = 0.5 * height
    bessel = math.exp(height) * (ive(0, half) - ive(1, half))  # with the factor e^(kappa/2)
    sharp = math.sqrt(math.pi / 2.0) * math.sqrt((1.0 - _START) / _START)
    bound = height * bessel / (2.0 * penalty * normalizer) * sharp * math.exp(-(_NEAR**2) / 8.0)
    path = gradient_flow(method, _OVERLAPPING, _TIMES, train="weight", rtol=1e-4).old_weight
    balance = method.balanced_old_weight()
    return _Pulls(
        method,
        _NEAR * np.array([force.reward for force in forces]),
        _NEAR * np.array([force.penalty for force in forces]),
        bound,
        path,
        balance if 1e-6 < balance < 1.0 else 0.0,
    )


def ttt_discover_frame(penalty: float, height: float, time: float, rng: int = 0) -> Frame:
    r"""One frame of the explorer of TTT-Discover.

    Parameters
    ----------
    penalty : float
        KL weight :math:`\gamma`, from 0 to 4.
    height : float
        Inverse temperature times reward gap, :math:`\beta G`, above 0 and at most 6.
    time : float
        Training time at which the model is shown, from 0 to 100.
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
    Labels ``thm-entropic-retention``, ``prp-kl-floor``, ``thm-budget``, ``thm-gate-drift`` and
    ``thm-gate-sign``. Training starts at the reference with old weight 0.9. In all panels but the
    lowest the modes do not overlap (computed 40 apart with a hard gate, drawn 8 apart): that is
    where the floor is proved. Runs: one group of 64 per step, leave-one-out normalizer, learning
    rate 0.5, 200 steps, weight only. In the lowest panel the modes are 5 apart, and the gate is
    soft.
    """
    penalty = _arguments.number(
        "penalty",
        penalty,
        f"lie in [0, {_LARGEST_PENALTY:g}]",
        lambda x: 0.0 <= x <= _LARGEST_PENALTY,
    )
    height = _arguments.number(
        "height",
        height,
        f"be > 0 and at most {_LARGEST_HEIGHT:g}",
        lambda x: 0.0 < x <= _LARGEST_HEIGHT,
    )
    time = _arguments.number("time", time, f"lie in [0, {_END:g}]", lambda x: 0.0 <= x <= _END)
    rng = _arguments.integer("rng", rng, 0)
    penalty, height = float(penalty), float(height)
    method = _method(penalty, height)
    runs, flow = _trained(penalty, height, rng)
    rule = _adaptive(penalty, rng)
    end, floor = method.stationary_old_weight(), method.old_weight_floor()
    weight = float(np.interp(time, _TIMES, flow))
    tilted = weight / (weight + (1.0 - weight) * math.exp(height))

    canvas = Canvas(360, 638)
    above = top(
        canvas,
        TwoModeMixture.separated(_DRAWN, old_weight=weight),
        TwoModeMixture.separated(_DRAWN, old_weight=_START),
        low=-3.2,
        high=_DRAWN + 3.2,
        title="Density: model, reference, tilted by reward",
        name="reference",
        also=[("tilted", "first", TwoModeMixture.separated(_DRAWN, old_weight=tilted))],
    )

    clock = Axis(1.0, _END, "training time t", True, (1, 10, 100), tick_text=lambda x: f"{x:g}")
    share = Axis(0.0, 1.18, ticks=(0, 0.5, 1))
    panel = canvas.panel(clock, share, top=above.below, height=108, **WIDE)
    panel.frame("Old weight b, no overlap: exact flow, 32 runs")
    panel.label(_END, 1.18, "adaptive temperature", "second", "end", dy=11)
    rule.draw(panel, "second")
    runs.draw(panel, "old")
    panel.line(_TIMES[1:], flow[1:], "model")
    panel.line(_TIMES[1:], np.full(_TIMES.size - 1, floor), "bound")
    panel.label(1.05, floor, "proved floor", "bound", dy=-5 if floor < 0.7 else 14)
    panel.point(max(time, 1.0), float(np.interp(max(time, 1.0), _TIMES, flow)), "old")

    weights = Axis(0.03, 4.0, "penalty γ", True, (0.1, 1.0), tick_text=lambda x: f"{x:g}")
    panel = canvas.panel(weights, share, top=above.below + 164, height=80, **WIDE)
    panel.frame("Where it ends (no overlap), by the penalty")
    ends, floors = _ends(height)
    panel.rule(_RELEASED)
    panel.label(_RELEASED, 1.18, "released", "muted", dx=4, dy=11)
    panel.line(_PENALTIES, _adaptive_ends(), "second")
    panel.line(_PENALTIES, floors, "bound")
    panel.line(_PENALTIES, ends, "model")
    if penalty >= 0.03:
        panel.point(penalty, end, "old")

    pulls = _pulls(penalty, height) if penalty > 0.0 else None
    shown = 0.1
    if pulls is not None:
        shown = 1.5 * abs(pulls.at(pulls.balance or _START))
        shown = max(shown, 1.2 * float(pulls.bound.max()))
    decade = 10.0 ** math.floor(math.log10(shown))
    limit = next(step * decade for step in (1.0, 2.0, 5.0, 10.0) if step * decade >= shown)
    panel = canvas.panel(
        Axis(0.0, 1.0, "old weight b of the model", ticks=(0, 0.25, 0.5, 0.75, 1)),
        Axis(
            -limit,
            limit,
            ticks=(-0.4 * limit, 0.0, 0.4 * limit),
            tick_text=lambda x: f"{1e2 * x:g}".replace("-", "−"),
        ),
        top=above.below + 300,
        height=92,
        **WIDE,
    )
    panel.frame("D = 5: pull on the old mean in 10⁻² (> 0: to new)")
    if pulls is None:
        panel.label(0.5, 0.2 * limit, "no penalty, no spring: no bound", "bound", "middle")
        drift = "Without a penalty the old mean has no spring."
        now = 0.0
    else:
        panel.line(_WEIGHTS, pulls.bound, "bound")
        panel.line(_WEIGHTS, pulls.reward, "first")
        panel.line(_WEIGHTS, pulls.penalty, "third")
        panel.line(_WEIGHTS, pulls.net, "model")
        near = float(np.interp(time, _TIMES, pulls.path))
        now = pulls.at(near)
        panel.point(near, now, "old")
        panel.label(0.98, limit, "bound on the reward's pull", "bound", "end", dy=11)
        panel.label(0.02, -limit, "penalty", "third")
        panel.label(0.3, -limit, "reward", "first")
        panel.label(0.98, -limit, "net", "ink", "end")
        drift = f"At D = 5, net pull on the old mean: {number(pulls.at(_START), 2)} at the start"
        drift += f", {number(now, 2)} now"
        drift += (
            f", {number(pulls.at(pulls.balance), 2)} in balance."
            if pulls.balance > 0.0
            else "; overlap leaves no balance."
        )
    half = method.required_kl_weight(0.5)
    readout = (
        f"No overlap: old weight {number(weight, 3)} now, {number(end, 3)} in the end (proved floor "
        f"{number(floor, 3)}). At time {_END:g}: flow {number(float(flow[-1]), 3)}, runs "
        f"{number(float(runs.mean[-1]), 3)}, adaptive temperature "
        f"{number(float(rule.mean[-1]), 3)}. One half needs γ = {number(half, 3)}. {drift}"
    )
    alt = (
        f"Penalty {number(penalty, 3)}, inverse temperature times gap {number(height, 3)}, training "
        f"time {value_text(time)}. Above, the model has old weight {number(weight, 3)}; tilted by "
        f"the reward it would have {number(tilted, 3)}; the boundary of credit is between the modes. "
        f"Next, the old weight falls from 0.9 to {number(float(flow[-1]), 3)} at time 100, runs along "
        f"the exact flow, above the proved floor {number(floor, 3)}; runs with the adaptive "
        f"temperature reach {number(float(rule.mean[-1]), 3)}. Then, the final old weight rises with "
        f"the penalty; here it is {number(end, 3)}. Below, with modes 5 apart, the pulls of reward "
        f"and penalty on the old mean against the old weight. {drift}"
    )
    return Frame(canvas.render(alt), alt, readout)


def ttt_discover() -> Explorer:
    """Explorer of the chapter on TTT-Discover: what the penalty keeps.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the penalty, the height of the reward and the training time of
        :func:`ttt_discover_frame`.
    """
    return explorer(
        ttt_discover_frame,
        Parameter("penalty", r"penalty $\gamma$", (0.0, 0.1, 0.4, 1.6), start=1),
        Parameter(
            "height",
            r"reward $\beta G$",
            (0.5, 1.0, 2.0, 4.0),
            start=1,
            log=True,
            text=lambda value: f"{value:g}",
        ),
        Parameter(
            "time",
            "training time $t$",
            (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0),
            start=2,
            log=True,
            play=True,
        ),
    )
