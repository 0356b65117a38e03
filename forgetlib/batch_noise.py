r"""What mini-batch noise does: drift without overlap, and weights lost without a target.

Everything here is about modes so far apart that a sample tells which mode it is from. A
batch of ``N`` then acts on the old weight only through its share of old samples, and on the
old mean through :math:`\xi_i = y_i - m_o` of the old ones, in whitened coordinates:

.. math:: e \leftarrow e - \frac hN \sum_{\text{old}} \xi_i\,(A + e \cdot \xi_i +
          \tfrac12 |e|^2), \qquad A = \log\frac ba .

So the score function moves a *right* old mean by noise of size :math:`|A| \sqrt{h/N}`,
however far apart the modes are (label ``thm-batch-drift``). :func:`score_drift` follows
that law, :func:`crossover_separation` says from which separation on it exceeds the drift by
overlap, and :func:`drift_design` which batch or step keeps it small.
:func:`pathwise_drift_bound` bounds what is left with the pathwise gradient (label
``thm-pathwise-drift``).

:func:`loss_probability` is the probability that noise alone takes the old weight below a
level: with a constant baseline (label ``thm-constant-baseline``), or with no target at all
(label ``thm-imitation``); :func:`imitation_exit_probability` encloses the latter forever.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp
from scipy.sparse import csr_array
from scipy.special import expit, logit
from scipy.stats import binom

from forgetlib import _arguments
from forgetlib.drift import separated_drift
from forgetlib.mixture import TwoModeMixture, check_mixture
from forgetlib.overlap import SHARP
from forgetlib.retention import safe_learning_rate

__all__ = [
    "DriftDesign",
    "PathwiseBound",
    "ScoreDrift",
    "crossover_separation",
    "drift_design",
    "imitation_exit_probability",
    "loss_probability",
    "pathwise_drift_bound",
    "score_drift",
]

FloatArray = NDArray[np.float64]
Baseline = float | Literal["batch_mean", "leave_one_out"] | None
SureBaseline = Literal["leave_one_out"] | None


# ---- drift under the score function ----------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Law:
    """The small-step law of one setting: logit, and ``V = (N / h) E|e|^2``."""

    target_weight: float
    start_weight: float
    batch_size: int
    dim: int
    baseline: Baseline

    @property
    def speed(self) -> float:
        """What the baseline leaves of the mean gradient."""
        return 1.0 - 1.0 / self.batch_size if self.baseline == "batch_mean" else 1.0

    def peak(self) -> float:
        """Supremum of ``V`` over all times; without a baseline of the batch, of any batch."""
        mixed = isinstance(self.baseline, str)
        return _peak(self if mixed else dataclasses.replace(self, batch_size=1))

    def source(self, old_weight: FloatArray | float) -> FloatArray:
        """Noise that a right old mean sees, per old sample and dimension."""
        b = np.asarray(old_weight, dtype=np.float64)
        value = np.log(b / self.target_weight)
        if self.baseline is None or isinstance(self.baseline, float):
            return np.asarray((value - (self.baseline or 0.0)) ** 2)
        gap = value - np.log((1.0 - b) / (1.0 - self.target_weight))
        n = self.batch_size
        # E[phi (1 - phi)^2] / b for the share phi of old samples
        mixed = (1.0 - b) * ((n - 2) * (1.0 - b) + 1.0) / (n - 1)
        return np.asarray(gap**2 * mixed * self.speed**2)

    def path(self, t: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Old weight and ``V`` at increasing times."""
        goal, start = float(logit(self.target_weight)), float(logit(self.start_weight))

        def velocity(_: float, state: FloatArray) -> list[float]:
            b = float(expit(state[0]))
            noise = self.dim * float(self.source(b))
            return [
                -self.speed * b * (1.0 - b) * (state[0] - goal),
                b * (noise - 2.0 * self.speed * state[1]),
            ]

        grid = t if t[0] == 0.0 else np.r_[0.0, t]
        if grid[-1] == 0.0:
            return np.array([self.start_weight]), np.zeros(1)
        solution = solve_ivp(
            velocity, (0.0, grid[-1]), [start, 0.0], "LSODA", grid, rtol=1e-9, atol=1e-13
        )
        if not solution.success:
            raise RuntimeError(f"the law could not be integrated: {solution.message}")
        keep = slice(grid.size - t.size, None)
        return expit(solution.y[0, keep]), np.maximum(solution.y[1, keep], 0.0)


@functools.lru_cache(maxsize=256)
def _peak(law: _Law) -> float:
    """Supremum of ``V`` over all times.

    The distance of the logit from its goal serves as the clock: all relevant times are
    then of order 1, from any start.
    """
    goal, start = float(logit(law.target_weight)), float(logit(law.start_weight))
    rest = 0.5 * law.dim * float(law.source(law.target_weight)) / law.speed
    if start == goal:
        return rest

    def velocity(clock: float, state: FloatArray) -> list[float]:
        odds = goal + (start - goal) * math.exp(-clock)
        noise = law.dim * float(law.source(float(expit(odds)))) / law.speed
        return [(noise - 2.0 * state[0]) / float(expit(-odds))]

    clocks = np.linspace(0.0, 12.0, 4801)
    solution = solve_ivp(velocity, (0.0, 12.0), [0.0], "LSODA", clocks, rtol=1e-8, atol=1e-13)
    if not solution.success:
        raise RuntimeError(f"the law could not be integrated: {solution.message}")
    return max(rest, float(solution.y[0].max()))


def _law(
    target_weight: object, start_weight: object, batch_size: object, dim: object, baseline: object
) -> _Law:
    """The law, with its arguments checked."""
    a = _arguments.weight("target_weight", target_weight)
    b = _arguments.weight("start_weight", start_weight)
    dim = _arguments.integer("dim", dim, 1)
    checked: Baseline = None
    if isinstance(baseline, str) and baseline in ("batch_mean", "leave_one_out"):
        checked = baseline  # type: ignore[assignment]
    elif baseline is not None:
        checked = _arguments.number(
            "baseline",
            baseline,
            "be None, 'batch_mean', 'leave_one_out' or a number",
            math.isfinite,
        )
    least = 2 if isinstance(checked, str) else 1
    return _Law(a, b, _arguments.integer("batch_size", batch_size, least), dim, checked)


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreDrift:
    """Drift of a right old mean by the noise of the score function.

    Attributes
    ----------
    t : ndarray, shape (records,)
        Training time: learning rate times steps.
    old_weight : ndarray, shape (records,)
        Weight of the old mode.
    rms : ndarray, shape (records,)
        Root mean square distance of the old mean from its target, in standard deviations.
    peak : float
        Supremum of the root mean square distance over all times, recorded or not.
    """

    t: FloatArray
    old_weight: FloatArray
    rms: FloatArray
    peak: float


def score_drift(
    target_weight: float,
    start_weight: float,
    t: ArrayLike,
    *,
    learning_rate: float,
    batch_size: int,
    dim: int = 1,
    baseline: Baseline = None,
) -> ScoreDrift:
    r"""Drift of a right old mean under the score function, for modes far apart.

    The root of :math:`\frac hN V(t)`, where, without a baseline or with a constant ``B``,

    .. math:: \dot l = -b(1-b)(l - \operatorname{logit} a), \qquad
              \dot V = -2 b V + d\, b \,\big(\log\tfrac ba - B\big)^2, \qquad V(0) = 0 .

    With the leave-one-out mean as baseline the square becomes
    :math:`(l - \operatorname{logit} a)^2 (1-b)\,[(N-2)(1-b) + 1]/(N-1)`, and with the batch
    mean that times :math:`(1-\frac1N)^2`, both velocities losing the factor
    :math:`1 - \frac1N`.

    Parameters
    ----------
    target_weight, start_weight : float
        Old weight ``a`` of the target and ``b_0`` of the model at time 0, in (0, 1). Both
        means start right.
    t : array_like, shape (records,)
        Increasing times >= 0.
    learning_rate : float
        Step ``h > 0``. The law is the limit of small steps: its relative error is of order
        ``h``.
    batch_size : int
        ``N``, at least 1; at least 2 with a baseline of the batch.
    dim : int
        Dimension ``d``.
    baseline : None, "batch_mean", "leave_one_out" or float
        As in :func:`forgetlib.simulate`.

    Returns
    -------
    ScoreDrift

    Raises
    ------
    ValueError
        If an argument is outside its range.
    RuntimeError
        If the integrator fails.

    Notes
    -----
    Label ``thm-batch-drift``. Without a baseline :math:`V \le \frac d2 \log^2\frac{b_0}{a}`.

    Examples
    --------
    >>> import numpy as np
    >>> import forgetlib as fl
    >>> law = fl.score_drift(
    ...     0.75, 0.3, np.linspace(0.0, 20.0, 81), learning_rate=0.02, batch_size=16)
    >>> round(law.peak, 4), bool(law.rms.max() <= law.peak)
    (0.014, True)
    """
    law = _law(target_weight, start_weight, batch_size, dim, baseline)
    scale = _arguments.positive("learning_rate", learning_rate) / law.batch_size
    times = _arguments.times("t", t)
    weight, square = law.path(times)
    return ScoreDrift(times, weight, np.sqrt(scale * square), math.sqrt(scale * law.peak()))


def crossover_separation(
    target_weight: float,
    start_weight: float,
    *,
    learning_rate: float,
    batch_size: int,
    dim: int = 1,
    baseline: Baseline = None,
) -> float:
    r"""Separation beyond which batch noise moves the old mean more than overlap does.

    .. math:: D_* = \sqrt{8 \log \frac{c}{\sup_t \mathrm{rms}}}, \qquad
              c = \lim_{D \to \infty} e^{D^2/8} \sup_t |m_o - \mu_o| ,

    with ``c`` that of the exact flow from a wrong weight (label ``thm-drift-constant``) and
    the root mean square drift of :func:`score_drift`. As :math:`N/h \to \infty` it is
    :math:`\sqrt{4 \log(N/h)}` to leading order.

    Parameters
    ----------
    target_weight, start_weight : float
        Old weight ``a`` of the target and ``b_0`` of the model at time 0, in (0, 1), not
        equal.
    learning_rate, batch_size, dim, baseline
        As in :func:`score_drift`.

    Returns
    -------
    float
        In standard deviations; 0 if the noise exceeds ``c`` itself.

    Raises
    ------
    ValueError
        If an argument is outside its range, or the weights are equal.

    Notes
    -----
    Label ``thm-batch-drift``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> round(fl.crossover_separation(0.75, 0.3, learning_rate=0.02, batch_size=16), 2)
    5.29
    """
    law = _law(target_weight, start_weight, batch_size, dim, baseline)
    scale = _arguments.positive("learning_rate", learning_rate) / law.batch_size
    if law.start_weight == law.target_weight:
        raise ValueError(f"start_weight must differ from target_weight, got {start_weight!r}")
    slowest = law.start_weight * (1.0 - law.start_weight)
    slowest = min(slowest, law.target_weight * (1.0 - law.target_weight))
    times = np.r_[0.0, np.geomspace(1e-2, 20.0 / slowest, 800)]
    overlap = np.abs(separated_drift(target_weight, start_weight, times).scaled_drift).max()
    return math.sqrt(max(0.0, 8.0 * math.log(overlap / math.sqrt(scale * law.peak()))))


@dataclasses.dataclass(frozen=True)
class DriftDesign:
    """A batch and a step that keep the drift by noise below a level.

    Attributes
    ----------
    batch_size : int
        Samples per step ``N``.
    learning_rate : float
        Step ``h``.
    level : float
        What the root mean square drift may be at most, in standard deviations.
    rms : float
        What the law predicts at its peak; at most ``level``.
    baseline : None or str
        Baseline of the score function.
    dim : int
        Dimension ``d``.
    assumptions : tuple of str
        What the numbers rest on.
    """

    batch_size: int
    learning_rate: float
    level: float
    rms: float
    baseline: SureBaseline
    dim: int
    assumptions: tuple[str, ...]

    def __repr__(self) -> str:
        return (
            f"DriftDesign(batch_size={self.batch_size}, learning_rate={self.learning_rate:.4g}: "
            f"rms drift {self.rms:.3g} <= {self.level:.3g}; assumes "
            + "; ".join(self.assumptions)
            + ")"
        )


def drift_design(
    level: float,
    target_weight: float,
    start_weight: float,
    *,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    dim: int = 1,
    baseline: SureBaseline = None,
) -> DriftDesign:
    r"""Smallest batch, or largest step, that keeps the drift by noise below a level.

    Give one of ``batch_size`` and ``learning_rate``; the other is chosen so that

    .. math:: \sup_t \sqrt{E|m_o - \mu_o|^2} = \sqrt{\frac hN \sup_t V(t)} \le
              \text{level} ,

    with ``V`` of :func:`score_drift`. Only the ratio ``h / N`` matters.

    Parameters
    ----------
    level : float
        Root mean square drift allowed, in standard deviations, > 0.
    target_weight, start_weight : float
        Old weight ``a`` of the target and ``b_0`` of the model at time 0, in (0, 1).
    batch_size : int or None
        Given: the largest step is returned, at most the one of sure retention
        (:func:`forgetlib.safe_learning_rate`).
    learning_rate : float or None
        Given: the smallest batch is returned.
    dim : int
        Dimension ``d``.
    baseline : None or "leave_one_out"
        Of the score function. (The batch mean is leave-one-out with a step shorter by
        ``1 - 1/N``; a constant is no choice, see ``thm-constant-baseline``.)

    Returns
    -------
    DriftDesign

    Raises
    ------
    ValueError
        If not exactly one of the two is given, a value is outside its range, or no batch
        up to 1e15 will do: the learning rate exceeds that of sure retention, or the level
        is too low.

    Notes
    -----
    Label ``thm-batch-drift``. The pathwise gradient needs no such rule.

    Examples
    --------
    >>> import forgetlib as fl
    >>> fl.drift_design(0.01, 0.75, 0.3, learning_rate=0.02).batch_size
    32
    >>> round(fl.drift_design(0.01, 0.75, 0.3, batch_size=64).learning_rate, 4)
    0.0406
    """
    level = _arguments.positive("level", level)
    if (batch_size is None) == (learning_rate is None):
        raise ValueError(
            "batch_size or learning_rate must be given, and not both, got "
            f"{batch_size!r} and {learning_rate!r}"
        )
    if baseline not in (None, "leave_one_out"):
        raise ValueError(f"baseline must be None or 'leave_one_out', got {baseline!r}")
    least = 1 if baseline is None else 2

    def peak(size: int) -> float:
        return _law(target_weight, start_weight, size, dim, baseline).peak()

    if batch_size is not None:
        size = _arguments.integer("batch_size", batch_size, least)
        largest, noise = safe_learning_rate(size, baseline), peak(size)
        rate = min(largest, level**2 * size / noise) if noise > 0.0 else largest
    else:
        rate = _arguments.positive("learning_rate", learning_rate)

        def enough(size: int) -> bool:  # once true, true for every larger batch
            fits = rate * peak(size) <= level**2 * size * (1.0 + 1e-12)
            return fits and rate <= safe_learning_rate(size, baseline)

        high = least
        while not enough(high):
            if high > 2**50:
                raise ValueError(
                    "learning_rate must be below that of sure retention, and level large "
                    f"enough for a batch of at most 1e15, got {learning_rate!r} and {level!r}"
                )
            high *= 2
        size = bisect.bisect_left(range(high), True, lo=least, key=enough)
    return DriftDesign(
        size,
        rate,
        level,
        math.sqrt(rate * peak(size) / size),
        baseline,
        _arguments.integer("dim", dim, 1),
        (
            "score function",
            "right means at the start",
            "modes so far apart that the drift by overlap is below the level",
            f"relative error of order h = {rate:.2g}",
        ),
    )


class PathwiseBound(NamedTuple):
    """Bounds on the drift under the pathwise gradient.

    Attributes
    ----------
    mean : float
        Bound on the mean distance of the old mean from its target, in standard deviations.
    rms : float
        Bound on the root mean square distance.
    """

    mean: float
    rms: float


def pathwise_drift_bound(
    target: TwoModeMixture,
    weights: tuple[float, float],
    *,
    learning_rate: float,
    batch_size: int,
    old_error: float,
    new_error: float = 0.0,
) -> PathwiseBound:
    r"""Bound on the drift of a right old mean under the pathwise gradient, at all steps.

    As long as :math:`b_- \le b \le b_+`, :math:`|m_o - \mu_o| \le \rho` and
    :math:`|m_n - \mu_n| \le R`, the misassignment probabilities are at most

    .. math:: \bar\varepsilon_q = \min(\tfrac12, \tfrac{k}{D_-}) K(b_-)\, e^{-D_-^2/8},
              \qquad
              \bar\varepsilon_p = \min(\tfrac12, \tfrac kD) K(a)\, e^{-D^2/8 + D\rho/2}

    with :math:`D_- = D - R - \rho`. Put :math:`\omega = R \bar\varepsilon_q + D
    (\bar\varepsilon_q + \bar\varepsilon_p)` and :math:`\Omega = (R + D)[\tfrac14 R
    \bar\varepsilon_q + D(\bar\varepsilon_q + \bar\varepsilon_p)]`. Then

    .. math:: E|e| \le M = \frac{b_+}{b_-} \frac{\omega}{1 - \bar\varepsilon_q}, \qquad
              E|e|^2 \le \frac{b_+}{b_-}\,
              \frac{2\omega M + h b_+ \omega^2 + \frac hN \Omega}{1 - \bar\varepsilon_q} .

    Parameters
    ----------
    target : TwoModeMixture
        Target of reverse KL. Training is whitened (``precondition=True``, or identity
        covariance), from the right old mean.
    weights : (float, float)
        Smallest and largest old weight of the model, :math:`b_- \le b_+`, in (0, 1).
    learning_rate : float
        Step ``h``, in (0, 1].
    batch_size : int
        ``N``, at least 1.
    old_error, new_error : float
        Largest errors of the means, :math:`\rho > 0` and :math:`R \ge 0`, in standard
        deviations, ``rho + R < D``.

    Returns
    -------
    PathwiseBound

    Raises
    ------
    ValueError
        If an argument is outside its range, or the modes are too close for a bound.

    Notes
    -----
    Label ``thm-pathwise-drift``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(8.0, old_weight=0.75)
    >>> bound = fl.pathwise_drift_bound(
    ...     target, (0.3, 0.76), learning_rate=0.02, batch_size=16, old_error=0.1)
    >>> bound.mean < 0.005 and bound.rms < 0.008
    True
    """
    check_mixture("target", target)
    if not isinstance(weights, tuple) or len(weights) != 2:
        raise ValueError(f"weights must be a pair (smallest, largest), got {weights!r}")
    low = _arguments.weight("weights[0]", weights[0])
    high = _arguments.number(
        "weights[1]", weights[1], f"lie in [{low:g}, 1)", lambda w: low <= w < 1.0
    )
    h = _arguments.number("learning_rate", learning_rate, "lie in (0, 1]", lambda x: 0 < x <= 1)
    n = _arguments.integer("batch_size", batch_size, 1)
    distance = target.separation
    rho = _arguments.positive("old_error", old_error)
    far = _arguments.number(
        "new_error",
        new_error,
        f"be >= 0 and below separation - old_error = {distance - rho:g}",
        lambda x: 0.0 <= x < distance - rho,
    )
    least = distance - far - rho
    eps_q = _epsilon(float(logit(low)), least, 0.0)
    eps_p = _epsilon(target.old_logit, distance, 0.5 * distance * rho)
    if eps_q >= 1.0:
        raise ValueError(
            f"target must have modes far enough apart for a bound, got separation {distance:g}"
        )
    shared = distance * (eps_q + eps_p)
    force = far * eps_q + shared
    square = (far + distance) * (0.25 * far * eps_q + shared)
    slow = high / (low * (1.0 - eps_q))
    mean = slow * force
    rms = math.sqrt(slow * (2.0 * force * mean + h * high * force**2 + h / n * square))
    return PathwiseBound(mean, rms)


def _epsilon(old_logit: float, separation: float, tilt: float) -> float:
    """Sharp bound of a misassignment probability."""
    front = min(0.5, SHARP / separation)
    return front * math.exp(min(tilt - 0.5 * old_logit - 0.125 * separation**2, 700.0))


# ---- weights lost by noise ---------------------------------------------------------------


def imitation_exit_probability(
    start_weight: float, low: float, high: float, learning_rate: float
) -> tuple[float, float]:
    r"""Probability that imitation takes the old weight below ``low`` before above ``high``.

    A model that is trained on its own samples, :math:`l \leftarrow l + \frac hN \sum_i
    (r_i - b)`, has a logit without drift. So the probability lies between

    .. math:: \frac{l_2 - l_0}{l_2 - l_1 + h\,b_1} \quad\text{and}\quad
              \frac{l_2 - l_0 + h (1 - b_2)}{l_2 - l_1 + h (1 - b_2)} ,

    with the logits :math:`l_1 < l_0 < l_2` of low :math:`b_1`, start and high :math:`b_2`.
    It depends neither on the batch nor on the overlap.

    Parameters
    ----------
    start_weight, low, high : float
        Old weights with ``0 < low < start_weight < high < 1``.
    learning_rate : float
        Step ``h`` of the logit, in (0, 4].

    Returns
    -------
    (float, float)
        Lower and upper bound; they differ by the overshoot of one step.

    Raises
    ------
    ValueError
        If the weights are not in this order, or the step is outside its range.

    Notes
    -----
    Label ``thm-imitation``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> least, most = fl.imitation_exit_probability(0.75, 0.05, 0.95, 0.1)
    >>> round(least, 4), round(most, 4)
    (0.3132, 0.314)
    """
    b0 = _arguments.weight("start_weight", start_weight)
    b1 = _arguments.number("low", low, "lie in (0, start_weight)", lambda w: 0.0 < w < b0)
    b2 = _arguments.number("high", high, "lie in (start_weight, 1)", lambda w: b0 < w < 1.0)
    h = _arguments.number("learning_rate", learning_rate, "lie in (0, 4]", lambda x: 0 < x <= 4)
    l0, l1, l2 = (float(logit(b)) for b in (b0, b1, b2))
    up = h * (1.0 - b2)
    return (l2 - l0) / (l2 - l1 + h * b1), (l2 - l0 + up) / (l2 - l1 + up)


def loss_probability(
    start_weight: float,
    level: float,
    *,
    steps: int | Iterable[int],
    batch_size: int,
    learning_rate: float,
    target_weight: float | None = None,
    baseline: float = 0.0,
    points: int = 3001,
) -> FloatArray:
    r"""Probability that noise has taken the old weight below a level, for modes far apart.

    With the share :math:`\varphi` of old samples in the batch, :math:`N\varphi \sim
    \mathrm{Bin}(N, b)`, one step of the score function is

    .. math:: l \leftarrow l - h\,[\varphi (1-b)(\log\tfrac ba - B) - (1-\varphi)\,b\,
              (\log\tfrac{1-b}{1-a} - B)],

    and without a target (imitation) :math:`l \leftarrow l + h (\varphi - b)`. The
    probability solves the backward equation of this chain, on a grid of logits.

    Parameters
    ----------
    start_weight : float
        Old weight ``b_0`` at step 0, in (0, 1).
    level : float
        Old weight in (0, start_weight) that counts as lost.
    steps : int or iterable of int
        Numbers of steps, at least 1.
    batch_size : int
        ``N``, at least 1.
    learning_rate : float
        Step ``h > 0``.
    target_weight : float or None
        Old weight ``a`` of the target; None is imitation.
    baseline : float
        Constant baseline ``B``; has no meaning, and must be 0, for imitation.
    points : int
        Logits of the grid, at least 100. The error falls like the square of their
        distance, or like the distance where single steps are long; double them to see it.
        (Over 10,000 steps of length 1 with a constant baseline, 801 points are off by 1.5%.)

    Returns
    -------
    ndarray, shape () or (number of steps,)
        In [0, 1], one for each entry of ``steps``.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Labels ``thm-constant-baseline`` and ``thm-imitation``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> fl.loss_probability(0.75, 0.05, steps=[400, 4000], batch_size=16,
    ...                     learning_rate=0.5).round(2)
    array([0. , 0.2])
    """
    b0 = _arguments.weight("start_weight", start_weight)
    floor = _arguments.number("level", level, "lie in (0, start_weight)", lambda w: 0 < w < b0)
    single = isinstance(steps, int | np.integer)
    wanted = np.array(
        [
            _arguments.integer("steps", k, 1)
            for k in ([steps] if isinstance(steps, int | np.integer) else steps)
        ],
        dtype=np.int64,
    )
    if wanted.size == 0:
        raise ValueError(f"steps must name at least one number of steps, got {steps!r}")
    n = _arguments.integer("batch_size", batch_size, 1)
    h = _arguments.positive("learning_rate", learning_rate)
    constant = _arguments.number("baseline", baseline, "be a finite number", math.isfinite)
    points = _arguments.integer("points", points, 100)
    goal = None if target_weight is None else _arguments.weight("target_weight", target_weight)
    if goal is None and constant != 0.0:
        raise ValueError(f"baseline must be 0 without a target, got {baseline!r}")

    bottom = float(logit(floor))
    highest = float(logit(b0))
    # beyond: all steps together would hardly move a logit so high
    room = 8.0 + math.log1p(int(wanted.max()) * h * h / n)
    if goal is not None:
        highest = max(highest, float(logit(goal))) + h * (1.0 + abs(constant))
    grid = np.linspace(bottom, highest + room, points)
    b = expit(grid)
    share = np.arange(n + 1)[:, None] / n
    if goal is None:
        slope = b - share
    else:
        old = np.log(b / goal) - constant
        new = np.log((1.0 - b) / (1.0 - goal)) - constant
        slope = share * (1.0 - b) * old - (1.0 - share) * b * new
    chance = binom.pmf(np.arange(n + 1)[:, None], n, b)
    place = (grid - h * slope - bottom) / (grid[1] - grid[0])
    lost = (chance * (place < 0.0)).sum(axis=0)

    # three points around each destination keep the mean and the variance of a step exact
    inside = (place >= 0.0) & (chance > 1e-15)
    center = np.clip(np.rint(place), 1, points - 2)
    offset = np.clip(place, 0.0, points - 1.0) - center
    rows = np.broadcast_to(np.arange(points), place.shape)[inside]
    weights = [0.5 * offset * (offset - 1.0), 1.0 - offset**2, 0.5 * offset * (offset + 1.0)]
    move = csr_array((points, points))
    for shift, weight in zip((-1, 0, 1), weights, strict=True):
        columns = (center + shift).astype(np.int64)[inside]
        move = move + csr_array(((chance * weight)[inside], (rows, columns)), (points, points))

    here = (float(logit(b0)) - bottom) / (grid[1] - grid[0])
    left = min(int(here), points - 2)
    value, found = np.zeros(points), np.zeros(int(wanted.max()) + 1)
    for step in range(1, found.size):
        value = lost + move @ value
        found[step] = value[left] + (here - left) * (value[left + 1] - value[left])
    result = np.clip(found[wanted], 0.0, 1.0)
    return result.reshape(()) if single else result
