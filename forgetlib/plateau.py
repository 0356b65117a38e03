r"""The plateau: both components of the model inside the old mode, and how long it lasts.

Setting: target :math:`p = a f_o + (1-a) f_n` with means at distance ``D``, model
:math:`q = b N(m_o) + (1-b) N(m_n)`, reverse KL, all parameters trained by the (whitened)
gradient flow. Put the old mode at 0 and the new one at ``D`` on a line. Then

.. math:: KL(q \| p) = \log\tfrac1a + KL(q \| f_o) - E_q[\varphi], \qquad
          \varphi(y) = \log\Big(1 + \tfrac{1-a}{a} e^{Dy - D^2/2}\Big),

so all that the old mode knows of the new one are the moments
:math:`\psi_j = E_{f_o}[\varphi^{(j)}]` (:func:`plateau_moments`), which are of the size of
:math:`e^{-D^2/8}`. Three kinds of statement follow.

* Proved bounds: the height of the plateau (:func:`plateau_height`) and a time before which
  no component can have left (:func:`escape_time_floor`).
* Formal asymptotics: :func:`escape_time`, of order :math:`D^{-7/2} e^{5 D^2/16}`, its
  finite-separation form :func:`adiabatic_escape_time`, and :func:`swap_threshold`.
* The exact flow: :func:`flow_escape`.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from forgetlib import _arguments
from forgetlib.flow import gradient_flow
from forgetlib.logistic_normal import sigmoid_mean, sigmoid_slope_moments, softplus_mean
from forgetlib.mixture import TwoModeMixture, check_mixture
from forgetlib.objective import ReverseKL, check_compatible

__all__ = [
    "Escape",
    "adiabatic_escape_time",
    "escape_time",
    "escape_time_floor",
    "flow_escape",
    "plateau_height",
    "plateau_moments",
    "swap_threshold",
]

FloatArray = NDArray[np.float64]

_FARTHEST = 45.0  # beyond it the escape time is no longer a float
_FARTHEST_EXACT = 9.5  # beyond it the force along the slow manifold drowns in rounding
_DEGREE = 20  # of polynomials through points of the slow manifold
_THIRD = 0.5 + 2.0 / math.pi  # in the bound on the third moment


def _separation(value: float) -> float:
    return _arguments.number(
        "separation",
        value,
        f"lie in (0, {_FARTHEST:g}]",
        lambda x: 0.0 < x <= _FARTHEST,
    )


def _pull(separation: float, old_weight: float) -> float:
    """k K(a) exp(-D^2 / 8), the size of the pull of the new mode at the old one."""
    return math.sqrt(0.5 * math.pi) * math.exp(
        -(separation**2) / 8 - 0.5 * float(logit(old_weight))
    )


def plateau_moments(separation: float, old_weight: float) -> FloatArray:
    r"""What the old mode sees of the new one: :math:`\psi_0, \psi_1, \psi_2, \psi_3`.

    .. math:: \psi_j = E_{f_o}[\varphi^{(j)}] = D^j\, E[\operatorname{softplus}^{(j)}(X)],
              \qquad X \sim N(-\tfrac{D^2}{2} - \operatorname{logit} a,\; D^2)

    Parameters
    ----------
    separation : float
        Distance ``D`` of the modes of the target, in (0, 45].
    old_weight : float
        Old weight ``a`` of the target, strictly between 0 and 1.

    Returns
    -------
    ndarray, shape (4,)
        In nats per unit of length to the power ``j``. The first three are positive; for
        large ``D`` each is close to :math:`\sqrt{\pi (1-a) / (2a)}\, (D/2)^{j-1} e^{-D^2/8}`.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``lem-plateau-moments``. In particular :math:`\psi_1 = D\,\varepsilon` with the
    misassignment probability of the target.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    >>> moments = fl.plateau_moments(4.0, 0.75)
    >>> bool(np.isclose(moments[1], 4.0 * fl.misassignment_probability(target)))
    True
    """
    separation = _separation(separation)
    old_weight = _arguments.weight("old_weight", old_weight)
    mean = -0.5 * separation**2 - float(logit(old_weight))
    first, second, _ = sigmoid_slope_moments(mean, separation)
    return np.array(
        [
            float(softplus_mean(mean, separation)),
            separation * float(sigmoid_mean(mean, separation)),
            separation**2 * float(first),
            separation**3 * float(second),
        ]
    )


class _Depth(NamedTuple):
    """How far below its reference the objective can be, with both means within a radius."""

    second: FloatArray  # upper bound on the mean second derivative, psi_2 with a margin
    slack: FloatArray  # S: the objective is at least the reference minus this


def _depth(separation: float, old_weight: float, radius: FloatArray) -> _Depth:
    """Slack of the lower bound on the plateau, for each radius; inf where there is none."""
    _, first, second, _ = plateau_moments(separation, old_weight)
    third = _THIRD * _pull(separation, old_weight) * separation**2 / 4
    extra = radius / 3 * third * np.exp(0.5 * separation * radius)
    total = second + extra
    room = np.where(total < 1.0, 1.0 - total, np.nan)
    slack = 0.5 * first**2 * total / room + 0.25 * (extra * (second + total) + radius**2 * total**2)
    return _Depth(total, np.where(np.isnan(slack), np.inf, slack))


def _reference(separation: float, old_weight: float) -> float:
    """log(1/a) - psi_0 - psi_1^2 / 2 - psi_2^2 / 4: where the plateau lies."""
    zeroth, first, second, _ = plateau_moments(separation, old_weight)
    return -math.log(old_weight) - float(zeroth + 0.5 * first**2 + 0.25 * second**2)


def _allowance(separation: float, old_weight: float, start_logit: float) -> float:
    """By how much a computed height above the reference may be wrong.

    The objective adds numbers as large as the sum below. The largest error seen, against
    many digits, was four units in the last place of that sum; we allow for sixteen.
    """
    size = 1.0 + 0.5 * separation**2 + abs(float(logit(old_weight))) + abs(start_logit)
    return 16.0 * float(np.finfo(np.float64).eps) * size


def plateau_height(
    separation: float, old_weight: float, radius: float = 0.0
) -> tuple[float, float]:
    r"""Lower and upper bound on the lowest reverse KL while both means are near the old mode.

    The models are all mixtures on the line of the modes with both means within ``radius``
    of the old mean of the target, whatever their weight.

    Parameters
    ----------
    separation : float
        Distance ``D`` of the modes of the target, in (0, 45].
    old_weight : float
        Old weight ``a`` of the target, strictly between 0 and 1.
    radius : float
        How far from the old mode the means may be, ``>= 0`` and finite.

    Returns
    -------
    tuple of float
        In nats: the infimum of :math:`KL(q \| p)` over these models lies between them. The
        upper one is the value of the old mode itself, :math:`\log\frac1a - \psi_0`. The
        lower one is minus infinity where the theorem says nothing.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-plateau-height``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> low, high = fl.plateau_height(6.0, 0.75, radius=0.2)
    >>> bool(low < high < -np.log(0.75))
    True
    """
    separation = _separation(separation)
    old_weight = _arguments.weight("old_weight", old_weight)
    radius = _arguments.number(
        "radius", radius, "be a finite number >= 0", lambda x: 0.0 <= x < math.inf
    )
    high = -math.log(old_weight) - float(plateau_moments(separation, old_weight)[0])
    with np.errstate(over="ignore", invalid="ignore"):
        slack = float(_depth(separation, old_weight, np.array(radius)).slack)
    return _reference(separation, old_weight) - slack, high


def escape_time(separation: float, old_weight: float, start_weight: float) -> float:
    r"""Time on the plateau, to leading order in the overlap (formal asymptotics).

    .. math:: T = \frac{24 \arctan(e^{-l_0/2})}{\psi_3\, \psi_2^{3/2}}
                \sim \text{const} \cdot D^{-7/2} e^{5 D^2/16},
              \qquad l_0 = \operatorname{logit} b_0

    Parameters
    ----------
    separation : float
        Distance ``D`` of the modes of the target, in (0, 45].
    old_weight : float
        Old weight ``a`` of the target, strictly between 0 and 1.
    start_weight : float
        Weight of the component that stays, strictly between 0 and 1, when the plateau is
        reached. It is the model's old weight, unless the labels swap.

    Returns
    -------
    float
        Training time. Too long by a factor of 2 at ``D = 8``, and right from 12 on; see
        :func:`adiabatic_escape_time` for separations in between.

    Raises
    ------
    ValueError
        If an argument is outside its range, or the modes are so close that
        :math:`\psi_3 \le 0`: then there is no plateau.

    Notes
    -----
    Label ``cnj-escape-time``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> f"{fl.escape_time(8.0, 0.75, 0.75):.2e}"
    '1.23e+08'
    """
    _, _, second, third = _usable_moments(separation, old_weight)
    start_logit = float(logit(_arguments.weight("start_weight", start_weight)))
    angle = math.atan(math.exp(-0.5 * start_logit))
    return float(24.0 * angle / (third * second**1.5))


def _usable_moments(separation: float, old_weight: float) -> tuple[float, float, float, float]:
    zeroth, first, second, third = (float(x) for x in plateau_moments(separation, old_weight))
    if not third > 0.0:
        raise ValueError(
            "separation must be large enough for a plateau (its third moment positive), "
            f"got {separation!r} with old_weight {old_weight!r}"
        )
    return zeroth, first, second, third


# ---- the slow manifold ------------------------------------------------------------------
#
# On the plateau the means follow the weight. Both manifolds below are curves, with the
# logit as a function of x = log w: w and -v are the positions of the new and of the old
# mean, in units of psi_2 / psi_3, seen from the center of the model. On the way out w and
# the logit grow, up to a fold, where the new mean tears itself away.

_NO_MANIFOLD = (
    "separation must be so large that a slow manifold passes through start_weight: here "
    "the modes overlap too much, or the start lies beyond the fold"
)


class _Point(NamedTuple):
    """Points of a slow manifold: the logit, its slope in x, and its speed."""

    logit: FloatArray
    slope: FloatArray
    speed: FloatArray


def _retreat(w: FloatArray, strength: float) -> FloatArray:
    """The root v of w v (w + v) = g (e^w - e^-v), by Newton's method in log v."""
    v = strength / w
    for _ in range(100):
        difference = np.expm1(w) - np.expm1(-v)
        excess = np.log(v) + np.log(w * (w + v)) - np.log(strength * difference)
        step = excess / (1.0 + v / (w + v) - v * np.exp(-v) / difference)  # divisor in [1, 2]
        v = v * np.exp(-np.clip(step, -3.0, 3.0))
        if np.abs(step).max() < 1e-14:
            break
    return v


def _exponential_points(x: FloatArray, strength: float) -> _Point:
    """Slow manifold under an exponential pull; speed in units of psi_2^3 / psi_3^2."""
    w = np.exp(x)
    v = _retreat(w, strength)
    by_v = w * (w + 2.0 * v) - strength * np.exp(-v)
    by_w = v * (2.0 * w + v) - strength * np.exp(w)
    half = 0.5 * (w + v)
    # half cosh(half) - sinh(half), by its series where it would cancel
    series = half**3 / 3.0 * (1.0 + half**2 / 10.0 * (1.0 + half**2 / 28.0))
    lag = np.where(half < 0.05, series, half * np.cosh(half) - np.sinh(half))
    speed = 2.0 * np.exp(0.5 * (w - v)) * lag * w * v / (w + v) ** 2
    return _Point(np.log(w / v), 1.0 + w * (by_w / by_v) / v, speed)


def _exact_points(x: FloatArray, separation: float, old_weight: float) -> _Point:
    """Slow manifold of the exact objective: both means stationary, by Newton's method."""
    _, first, second, third = _usable_moments(separation, old_weight)
    scale, target_logit = third / second, float(logit(old_weight))
    w = np.exp(x)
    v = _retreat(w, third**2 / second)
    new, old, odds = first + w / scale, first - v / scale, np.log(w / v)

    def seen(mean: FloatArray) -> FloatArray:
        """Mean log-odds of the target's new mode, for samples of a component."""
        return -0.5 * separation**2 - target_logit + separation * mean

    for _ in range(60):
        gap = new - old
        to_new, from_new = -odds - 0.5 * gap**2, odds - 0.5 * gap**2
        eps, eta = sigmoid_mean(to_new, gap), sigmoid_mean(from_new, gap)
        eps_slope, eps_bend, _ = sigmoid_slope_moments(to_new, gap)
        eta_slope, eta_bend, _ = sigmoid_slope_moments(from_new, gap)
        force_old = old + eps * gap - separation * sigmoid_mean(seen(old), separation)
        force_new = new - eta * gap - separation * sigmoid_mean(seen(new), separation)
        # derivatives of gap * eps and gap * eta in the gap, by Stein's identity
        eps_gap = eps + gap**2 * (eps_bend - eps_slope)
        eta_gap = eta + gap**2 * (eta_bend - eta_slope)
        curve_old = separation**2 * sigmoid_slope_moments(seen(old), separation)[0]
        curve_new = separation**2 * sigmoid_slope_moments(seen(new), separation)[0]
        # derivatives of the two forces: in the old mean, the logit and the new mean
        old_old, old_odds, old_new = 1.0 - eps_gap - curve_old, -gap * eps_slope, eps_gap
        new_old, new_odds, new_new = eta_gap, -gap * eta_slope, 1.0 - eta_gap - curve_new
        determinant = old_old * new_odds - old_odds * new_old
        step_old = (force_old * new_odds - force_new * old_odds) / determinant
        step_odds = (old_old * force_new - new_old * force_old) / determinant
        size = np.maximum(np.abs(step_odds), np.abs(step_old) / (0.3 * gap))
        shrink = np.maximum(1.0, size)
        old, odds = old - step_old / shrink, odds - step_odds / shrink
        if not np.isfinite(odds).all():
            raise ValueError(f"{_NO_MANIFOLD}, got {separation!r}")
        if size.max() < 1e-8:  # the next step would be its square
            break
    else:
        raise ValueError(f"{_NO_MANIFOLD}, got {separation!r}")
    slope = (new_old * old_new - old_old * new_new) / determinant * w / scale
    gap = new - old
    log_ratio = (
        odds
        + 0.5 * (old - new) * (old + new)
        + softplus_mean(-odds - 0.5 * gap**2, gap)
        - softplus_mean(odds - 0.5 * gap**2, gap)
        - softplus_mean(seen(old), separation)
        + softplus_mean(seen(new), separation)
    )
    return _Point(odds, slope, -expit(odds) * expit(-odds) * log_ratio)


def adiabatic_escape_time(
    separation: float,
    old_weight: float,
    start_weight: float,
    pull: Literal["exact", "exponential"] = "exact",
) -> float:
    r"""Time along the slow manifold, from a start on it to the fold where it ends.

    On the slow manifold the means are stationary for the current weight, and only the
    weight moves: :math:`T = \int dl / \dot l`. With ``pull="exact"`` that is computed from
    the exact gradients. With ``pull="exponential"`` the pull of the new mode at ``m`` is
    taken to be :math:`\psi_1(m) = (\psi_2^2 / \psi_3)\, e^{m \psi_3/\psi_2}` and the model's own
    spread to be small: exact in the limit, at any separation, and the same as
    :func:`escape_time` times a function of :math:`\psi_3^2/\psi_2` and :math:`b_0` that tends to 1.

    Parameters
    ----------
    separation : float
        Distance ``D`` of the modes of the target, in (0, 45]; at most 9.5 with the exact
        pull, where rounding ends what can be computed.
    old_weight : float
        Old weight ``a`` of the target, strictly between 0 and 1.
    start_weight : float
        Weight of the component that stays, strictly between 0 and 1, at the start.
    pull : {"exact", "exponential"}

    Returns
    -------
    float
        Training time up to the fold. The crossing that follows takes a time of order
        :math:`e^{D^2/4}` more.

    Raises
    ------
    ValueError
        If an argument is outside its range, or there is no slow manifold through the start.

    Notes
    -----
    Label ``cnj-escape-time``. Gauss-Legendre quadrature in the logarithm of the new mean.

    Examples
    --------
    >>> import forgetlib as fl
    >>> ratio = fl.adiabatic_escape_time(20.0, 0.75, 0.6, "exponential") / fl.escape_time(
    ...     20.0, 0.75, 0.6
    ... )
    >>> round(ratio, 6)
    1.0
    """
    separation = _separation(separation)
    _, _, second, third = _usable_moments(separation, old_weight)
    start_logit = float(logit(_arguments.weight("start_weight", start_weight)))
    if pull not in ("exact", "exponential"):
        raise ValueError(f"pull must be 'exact' or 'exponential', got {pull!r}")
    strength = third**2 / second
    unit = 1.0
    if pull == "exponential":
        unit = (third / second) ** 2 / second
    elif separation > _FARTHEST_EXACT:
        raise ValueError(
            f"separation must be at most {_FARTHEST_EXACT:g} with the exact pull, "
            f"got {separation!r}; pull='exponential' has no such limit"
        )

    def points(x: FloatArray) -> _Point:
        if pull == "exponential":
            return _exponential_points(x, strength)
        return _exact_points(x, separation, old_weight)

    def crossing(of: Literal["slope", "logit"], level: float, low: float, high: float) -> float:
        """Where the manifold is at a level: on polynomials through many points at once."""
        for _ in range(2):  # the second one in a small part of the first
            fit = Chebyshev.interpolate(
                lambda x: getattr(points(x), of) - level, _DEGREE, domain=[low, high]
            )
            root, reach = float(brentq(fit, low, high, xtol=1e-10)), 0.02 * (high - low)
            low, high = max(low, root - reach), min(high, root + reach)
        return root

    # where the start would be without overlap is a little too far in; go out to the fold
    begin = 0.5 * (math.log(strength) + start_logit) - 0.3
    here = points(np.array([begin]))
    if here.slope[0] <= 0.0 or here.logit[0] > start_logit:
        raise ValueError(f"{_NO_MANIFOLD}, got {separation!r}")
    outer = begin
    while here.slope[0] > 0.0:
        inner, outer = outer, outer + max(0.2, 0.5 * (math.log(2.0) - outer))
        here = points(np.array([outer]))
    fold = crossing("slope", 0.0, inner, outer)
    if not points(np.array([fold])).logit[0] > start_logit:
        raise ValueError(f"{_NO_MANIFOLD}, got {separation!r}")
    start = crossing("logit", start_logit, begin, fold)
    nodes, weights = np.polynomial.legendre.leggauss(48)
    half = 0.5 * (fold - start)
    _, slope, speed = points(start + half * (1.0 + nodes))
    return float(unit * half * np.sum(weights * slope / speed))


def swap_threshold(separation: float, old_weight: float, start_weight: float) -> float:
    r"""How close to the old mean the new one must start for the labels to swap (formal).

    From a correct old mean the components swap, to leading order in the overlap, if the
    new mean starts below

    .. math:: \Delta_c = \frac{2 b_0 - 1}{b_0}\, \psi_1 = \frac{2 b_0 - 1}{b_0}\, D\,\varepsilon .

    Parameters
    ----------
    separation : float
        Distance ``D`` of the modes of the target, in (0, 45].
    old_weight : float
        Old weight ``a`` of the target, strictly between 0 and 1.
    start_weight : float
        Old weight ``b_0`` of the model at the start, strictly between 0 and 1.

    Returns
    -------
    float
        Length along the line of the modes, in standard deviations; negative if ``b_0``
        is below one half.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``cnj-swap-threshold``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> round(fl.swap_threshold(4.0, 0.75, 0.75), 4)
    0.0515
    """
    first = float(plateau_moments(separation, old_weight)[1])
    b = _arguments.weight("start_weight", start_weight)
    return (2.0 * b - 1.0) / b * first


def _positions(target: TwoModeMixture, start: TwoModeMixture) -> tuple[FloatArray, FloatArray]:
    """Whitened means of a model, seen from the target's old mean."""
    old, new = target.whiten(
        np.stack([start.old_mean - target.old_mean, start.new_mean - target.old_mean])
    )
    return np.asarray(old), np.asarray(new)


def escape_time_floor(target: TwoModeMixture, start: TwoModeMixture) -> float:
    r"""Time before which neither component can be half-way to the new mode (proved).

    The larger of two bounds for the whitened reverse-KL flow of all parameters. The first
    holds from any start, in any dimension, whatever moves the weight. With ``rho`` the root
    of the sum of the squared distances of the two means from the old mode,

    .. math:: T \ge \frac{2}{D \kappa}\big(e^{-D \rho_0/2} - e^{-D^2/4}\big), \qquad
              \kappa = \sqrt{\tfrac{\pi (1-a)}{2a}}\, e^{-D^2/8} .

    The second needs means on the line of the modes, and is large if the objective at the
    start has come down to the plateau: there it is of the order of :func:`escape_time`.
    An allowance for rounding keeps it below its exact value. From separation 11 on that
    makes it much smaller.

    Parameters
    ----------
    target : TwoModeMixture
    start : TwoModeMixture
        Model at time 0, in the target's space and with its covariance.

    Returns
    -------
    float
        Training time, ``>= 0``; 0 if a mean is half-way already, or the bound says nothing.

    Raises
    ------
    ValueError
        If ``start`` does not fit the target, or the modes of the target coincide or are
        more than 45 apart.

    Notes
    -----
    Labels ``thm-plateau-speed`` and ``thm-escape-floor``. The second bound holds for every
    radius of the box it is about; the best of a grid is taken. A start within 1e-12 of the
    line is taken to be on it.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(10.0, old_weight=0.75)
    >>> floor = fl.escape_time_floor(target, target.replace(new_mean=[0.5]))
    >>> f"{floor:.0f}"
    '6088'
    """
    check_mixture("target", target)
    check_compatible(start, target, "start")
    separation = _separation(target.separation)
    weight = target.old_weight
    old, new = _positions(target, start)
    distance = math.hypot(float(np.linalg.norm(old)), float(np.linalg.norm(new)))
    reach = math.exp(-0.5 * separation * distance) - math.exp(-(separation**2) / 4)
    slow = max(0.0, 2.0 / (separation * _pull(separation, weight)) * reach)

    direction = target.whiten(target.new_mean - target.old_mean) / separation
    along = np.array([old @ direction, new @ direction])
    off = np.linalg.norm(old - along[0] * direction) + np.linalg.norm(new - along[1] * direction)
    if off > 1e-12:
        return slow
    nearest = float(np.abs(along).max())
    if nearest >= 0.5 * separation:
        return slow
    nearest = max(nearest, 0.5 * math.sqrt(float(plateau_moments(separation, weight)[2])))
    radius = np.geomspace(nearest, min(0.5 * separation, 300.0 * nearest), 400)
    # on the line, where the size of the coordinates cannot add to the rounding
    goal = TwoModeMixture.separated(separation, old_weight=weight)
    value = ReverseKL(goal).value(TwoModeMixture(start.old_weight, along[:1], along[1:]))
    above = value - _reference(separation, weight)
    above += _allowance(separation, weight, start.old_logit)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        depth = _depth(separation, weight, radius)
        excess = above + depth.slack
        excess = np.where((excess > 0.0) & (depth.second < 1.0), excess, np.nan)
        wide = 1.0 + radius**2
        center = plateau_moments(separation, weight)[1] / (1.0 - depth.second) + np.sqrt(
            2.0 * excess / (1.0 - depth.second)
        )
        spread = wide * depth.second + 2.0 * np.sqrt(wide * excess)
        farthest = 2.0 * np.log((radius - center) / np.sqrt(spread))
        room = np.maximum(farthest - abs(start.old_logit), 0.0)
        bound = np.where(radius > center, room**2 / excess, 0.0)
    return max(slow, float(np.nan_to_num(bound, nan=0.0).max()))


class Escape(NamedTuple):
    """When and how a flow left the plateau.

    Attributes
    ----------
    time : float
        First training time at which a mean is half-way to the new mode; infinity if none
        was within the time allowed.
    swapped : bool
        Whether that mean belongs to the component that is called old.
    """

    time: float
    swapped: bool


def flow_escape(
    target: TwoModeMixture,
    start: TwoModeMixture,
    longest: float | None = None,
    rtol: float = 1e-7,
) -> Escape:
    """Escape of the exact reverse-KL flow: when a component is half-way to the new mode.

    Parameters
    ----------
    target : TwoModeMixture
    start : TwoModeMixture
        Model at time 0, in the target's space and with its covariance.
    longest : float, optional
        Training time after which to give up; by default four times :func:`escape_time`,
        plus 1000.
    rtol : float
        Relative tolerance of the integrator, in [1e-12, 0.01].

    Returns
    -------
    Escape

    Raises
    ------
    ValueError
        If ``start`` does not fit the target, ``longest`` is not positive, or the modes of
        the target coincide.
    RuntimeError
        If the integrator fails.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    >>> escape = fl.flow_escape(target, target.replace(new_mean=[0.5]))
    >>> round(escape.time, 2), escape.swapped
    (34.49, False)
    """
    check_mixture("target", target)
    check_compatible(start, target, "start")
    separation = _separation(target.separation)
    if longest is None:
        try:
            longest = 4.0 * escape_time(separation, target.old_weight, start.old_weight) + 1e3
        except ValueError:
            longest = 1e3
    longest = _arguments.positive("longest", longest)
    direction = target.precision_times(target.new_mean - target.old_mean) / separation
    half_way = 0.5 * separation + float(target.old_mean @ direction)
    objective = ReverseKL(target)
    times = np.r_[0.0, np.geomspace(min(0.1, 0.5 * longest), longest, 160)]
    begun = 0.0
    for _ in range(3):  # each pass looks closer at the interval of the crossing
        path = gradient_flow(objective, start, times, precondition=True, rtol=rtol)
        along = np.stack([path.old_mean @ direction, path.new_mean @ direction])
        there = along.max(axis=0) >= half_way
        if not there.any():
            return Escape(math.inf, False)
        first = int(there.argmax())
        if first == 0:
            return Escape(begun, bool(along[0, 0] >= half_way))
        begun += float(times[first - 1])
        start = path.model(first - 1)
        times = np.linspace(0.0, float(times[first] - times[first - 1]), 33)
    before, after = along.max(axis=0)[first - 1 : first + 1]
    share = (half_way - before) / (after - before)
    step = times[-1]
    return Escape(begun + float(share * step), bool(along[0, first] >= half_way))
