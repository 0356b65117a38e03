r"""Replay under reverse KL: importance weights, starvation, and design rules.

A share :math:`\lambda` of each batch is replayed: drawn from the old mode :math:`f_o`,
not from the model :math:`q = b f_o + (1-b) f_n`. A weight makes up for it:

.. math:: \nu = (1-\lambda)\, q + \lambda f_o, \qquad w = \frac{q}{\nu}.

Everything here follows from one identity (label ``lem-replay-weights``): the behavior
:math:`\nu` is the same mixture with the old weight
:math:`b_\lambda = \lambda + (1-\lambda) b`, so that

.. math:: \frac{1}{w} = 1 - \lambda + \frac{\lambda r}{b}, \qquad
          \frac{b}{b_\lambda} \le w \le \frac{1}{1-\lambda},

with ``r`` the responsibility of the old mode. A batch without an old sample is called
*starved*.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forgetlib import _arguments
from forgetlib.logistic_normal import log_sigmoid_mean
from forgetlib.mixture import TwoModeMixture, check_mixture
from forgetlib.overlap import log_weight_slope

__all__ = [
    "ReplayPrice",
    "StarvationDesign",
    "batch_for_starvation",
    "best_replay",
    "effective_old_samples",
    "effective_sample_size",
    "importance_weight_bound",
    "importance_weights",
    "logit_gradient_moments",
    "replay_for_starvation",
    "run_starvation",
    "starvation_probability",
    "variance_price",
]

FloatArray = NDArray[np.float64]

_LARGEST_SHARE = 1.0 - 2.0**-53  # the last float below 1
_LARGEST_BATCH = 2**53  # beyond it floats skip integers
_FAR = 100.0  # a separation whose overlap, exp(-1250), is below the smallest float


# ---- weights -----------------------------------------------------------------------------


def importance_weight_bound(replay: float) -> float:
    r"""Largest importance weight under replay, :math:`1 / (1 - \lambda)`.

    Parameters
    ----------
    replay : float
        Share of old samples in a batch, in [0, 1).

    Returns
    -------
    float
        At least 1. It bounds every weight, whatever the model and the replayed density.

    Raises
    ------
    ValueError
        If ``replay`` is outside [0, 1).

    Notes
    -----
    Label ``thm-bounded-weights``; the setting is that of arXiv:2603.12163.

    Examples
    --------
    >>> import forgetlib as fl
    >>> fl.importance_weight_bound(0.2)
    1.25
    """
    return 1.0 / (1.0 - _arguments.share("replay", replay))


def importance_weights(
    model: TwoModeMixture,
    y: ArrayLike,
    replay: float,
    replayed: TwoModeMixture | None = None,
) -> FloatArray:
    r"""Weights that turn samples of the behavior into samples of the model.

    .. math:: w(y) = \frac{q(y)}{(1-\lambda)\, q(y) + \lambda f_o(y)}

    Parameters
    ----------
    model : TwoModeMixture
        Model ``q``.
    y : array_like, shape (..., d); for d = 1 also (...,)
        Samples.
    replay : float
        Share :math:`\lambda` of replayed samples, in [0, 1).
    replayed : TwoModeMixture or None
        Mixture whose old component :math:`f_o` is replayed, with the model's dimension and
        covariance; None is the model itself.

    Returns
    -------
    ndarray, shape (...)
        In (0, 1 / (1 - replay)]; at least ``b / (replay + (1 - replay) b)`` if the model's
        own old component is replayed.

    Raises
    ------
    ValueError
        If ``replay`` is outside [0, 1), or the mixtures do not match.

    Notes
    -----
    Label ``lem-replay-weights``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> model = fl.TwoModeMixture.separated(8.0, old_weight=0.05)
    >>> fl.importance_weights(model, [0.0, 8.0], replay=0.2).round(6).tolist()
    [0.208333, 1.25]
    """
    check_mixture("model", model)
    replay = _arguments.share("replay", replay)
    log_odds = model.log_odds(y)
    # log(f_o / q) for the model's own old component: log(r / b)
    log_ratio = -np.logaddexp(0.0, -log_odds) - math.log(model.old_weight)
    if replayed is not None:
        check_mixture("replayed", replayed)
        same = (
            model.covariance is None
            if replayed.covariance is None
            else model.covariance is not None
            and np.array_equal(replayed.covariance, model.covariance)
        )
        if replayed.dim != model.dim or not same:
            raise ValueError("replayed must have the dimension and the covariance of model")
        shift = replayed.old_mean - model.old_mean
        middle = 0.5 * (replayed.old_mean + model.old_mean)
        samples = np.asarray(y, dtype=np.float64).reshape(*log_odds.shape, model.dim)
        log_ratio = log_ratio + (samples - middle) @ model.precision_times(shift)
    with np.errstate(over="ignore"):  # a ratio of infinity is a weight of 0
        return np.asarray(1.0 / ((1.0 - replay) + replay * np.exp(log_ratio)))


def effective_sample_size(weights: ArrayLike) -> FloatArray:
    r"""Effective sample size of weighted samples, :math:`(\sum w)^2 / \sum w^2`.

    Parameters
    ----------
    weights : array_like, shape (..., N)
        Importance weights of batches, >= 0 and finite; a batch needs one above 0.

    Returns
    -------
    ndarray, shape (...)
        Between 1 and ``N``.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or a batch has no positive weight.

    Notes
    -----
    Label ``thm-bounded-weights``: under replay it is surely at least
    :math:`(1 - \lambda) \sum w`, which is not :math:`(1-\lambda) N`. What it says about the
    variance of an estimate, and what not: arXiv:1809.04129.

    Examples
    --------
    >>> import forgetlib as fl
    >>> float(fl.effective_sample_size([1.0, 1.0, 0.0, 0.0]))
    2.0
    """
    w = np.asarray(weights)
    if w.dtype.kind not in "fiu" or w.ndim == 0 or not np.isfinite(w).all() or (w < 0).any():
        raise ValueError(f"weights must be finite and >= 0, with samples last, got {weights!r}")
    w = w.astype(np.float64)
    top = w.max(axis=-1, keepdims=True, initial=0.0)
    if (top == 0.0).any():
        raise ValueError(f"weights must hold a positive one in each batch, got {weights!r}")
    w = w / top  # squares must not overflow
    return np.asarray(w.sum(axis=-1) ** 2 / (w**2).sum(axis=-1))


# ---- the price in variance ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ReplayPrice:
    r"""What replay does to the samples of one model, exactly, per sample of the batch.

    Attributes
    ----------
    replay : float
        Share of replayed samples.
    old_weight : float
        Old weight of the model.
    behavior_weight : float
        Old weight :math:`b_\lambda` of what is sampled.
    smallest_weight, largest_weight : float
        Infimum and supremum of the importance weight over all samples.
    chi_square : float
        :math:`\chi^2(q \| \nu) = E_\nu[w^2] - 1`.
    sample_share : float
        Effective share of the batch, :math:`1 / (1 + \chi^2)`, at least ``1 - replay``.
    old_share, new_share : float
        Effective numbers of old and of new samples per sample of the batch,
        :math:`b^2 / E_\nu[(w r)^2]` and :math:`(1-b)^2 / E_\nu[(w (1-r))^2]`. Their sum
        exceeds 1 where the modes overlap, because a sample in between counts for both.
    """

    replay: float
    old_weight: float
    behavior_weight: float
    smallest_weight: float
    largest_weight: float
    chi_square: float
    sample_share: float
    old_share: float
    new_share: float


def variance_price(model: TwoModeMixture, replay: float) -> ReplayPrice:
    r"""Second moments under replay of the model's own old component, exactly.

    .. math:: \chi^2(q \| \nu) = \lambda^2 (1-b)^2 I(b_\lambda)
        = \frac{\lambda^2 (1-b)}{(1-\lambda)\, b_\lambda}
          \Big[1 - \frac{\varepsilon(b_\lambda)}{1-b_\lambda}\Big], \qquad
        \frac{b^2}{E_\nu[(w r)^2]} = \frac{b_\lambda}{1 - \varepsilon(b_\lambda)},

    with the Fisher information :math:`I` of the weight and the misassignment probability
    :math:`\varepsilon`, both at the behavior's weight :math:`b_\lambda`.

    Parameters
    ----------
    model : TwoModeMixture
    replay : float
        Share of replayed samples, in [0, 1).

    Returns
    -------
    ReplayPrice

    Raises
    ------
    ValueError
        If ``replay`` is outside [0, 1).

    Notes
    -----
    Labels ``thm-bounded-weights`` and ``thm-effective-old-samples``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> model = fl.TwoModeMixture.separated(5.0, old_weight=0.05)
    >>> price = fl.variance_price(model, replay=0.2)
    >>> round(price.behavior_weight, 6), round(price.sample_share, 3)
    (0.24, 0.838)
    """
    check_mixture("model", model)
    replay = _arguments.share("replay", replay)
    b, distance = model.old_weight, model.separation
    behavior = _behavior_weight(b, replay)
    logit = math.log(behavior) - math.log1p(-replay) - math.log1p(-b)
    chi_square = 0.0
    if distance > 0.0 and replay > 0.0:
        # log_weight_slope is log(b^2 (1 - b) I(b)): nothing cancels for close modes
        log_slope = float(log_weight_slope(distance, logit))
        chi_square = replay**2 * (1.0 - b) / ((1.0 - replay) * behavior**2) * math.exp(log_slope)
    log_eps = float(log_sigmoid_mean(-(logit + 0.5 * distance**2), distance))
    log_eta = float(log_sigmoid_mean(logit - 0.5 * distance**2, distance))
    return ReplayPrice(
        replay=replay,
        old_weight=b,
        behavior_weight=behavior,
        smallest_weight=b / behavior,
        largest_weight=1.0 / (1.0 - replay),
        chi_square=chi_square,
        sample_share=1.0 / (1.0 + chi_square),
        old_share=behavior / -math.expm1(log_eps),
        new_share=(1.0 - replay) * (1.0 - b) / -math.expm1(log_eta),
    )


def _behavior_weight(old_weight: float, replay: float) -> float:
    return replay + (1.0 - replay) * old_weight


def effective_old_samples(
    old_weight: float, batch_size: int, replay: float = 0.0, shift: float = 0.0
) -> float:
    r"""Effective number of old samples in a batch, guaranteed at any overlap.

    Without a shift :math:`N b_\lambda = N (\lambda + (1-\lambda) b)`, for any two densities.
    If the old mean of a model with Gaussian modes is :math:`|e|` away from that of the
    replayed samples,

    .. math:: \frac{N (1-\lambda)\, b}{E[\sigma(\tfrac12 |e|^2 - c + |e| Z)]}, \qquad
              c = \log\frac{\lambda}{(1-\lambda)\, b}, \qquad Z \sim N(0, 1),

    which falls to :math:`N (1-\lambda) b`. Both are exact where the new mode does not
    overlap; :func:`variance_price` is exact with overlap, without a shift.

    Parameters
    ----------
    old_weight : float
        Old weight of the model, strictly between 0 and 1.
    batch_size : int
        Samples ``N`` per batch, at least 1.
    replay : float
        Share of replayed samples, in [0, 1).
    shift : float
        Mahalanobis distance between the model's old mean and the replayed one, >= 0 and at
        most 1e5.

    Returns
    -------
    float
        A number ``n`` such that the estimate :math:`\frac1N \sum w r g` has a second moment
        per sample of at most that of ``n / N`` samples of the old mode.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-effective-old-samples``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> [round(fl.effective_old_samples(0.05, 32, replay), 3) for replay in (0.0, 0.2)]
    [1.6, 7.68]
    """
    b = _arguments.weight("old_weight", old_weight)
    size = _arguments.integer("batch_size", batch_size, 1)
    replay = _arguments.share("replay", replay)
    shift = _arguments.number(
        "shift",
        shift,
        f"be >= 0 and at most {_arguments.MAX_SEPARATION:g}",
        lambda x: 0.0 <= x <= _arguments.MAX_SEPARATION,
    )
    if shift == 0.0 or replay == 0.0:
        return size * _behavior_weight(b, replay)
    odds = math.log(replay) - math.log1p(-replay) - math.log(b)
    kept = float(log_sigmoid_mean(0.5 * shift**2 - odds, shift))
    return size * (1.0 - replay) * b * math.exp(-kept)


def logit_gradient_moments(
    separation: float, old_weight: float, target_weight: float, replay: float = 0.0
) -> tuple[float, float]:
    r"""Mean and variance of the score-function gradient of the logit, under replay.

    One sample of the behavior contributes :math:`w (r - b) \log\frac{q_b}{p_a}` (correct
    components, no baseline). Without overlap the variance is

    .. math:: b^2 (1-b)^2 \Big[\frac{\alpha^2}{b_\lambda} + \frac{\beta^2}{1 - b_\lambda}
              - (\alpha + \beta)^2\Big], \qquad
              \alpha = \log\frac ba, \quad \beta = \log\frac{1-a}{1-b}.

    Parameters
    ----------
    separation : float
        Distance ``D > 0`` between the modes; infinity means no overlap.
    old_weight : float
        Old weight ``b`` of the model, strictly between 0 and 1.
    target_weight : float
        Old weight ``a`` of the target, strictly between 0 and 1.
    replay : float
        Share of replayed samples, in [0, 1).

    Returns
    -------
    mean, variance : float
        Of one sample: divide the variance by the batch size. Exact up to rounding
        (trapezoid rule in the log-odds, which converges geometrically).

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-best-replay``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> best = fl.best_replay(0.05, 0.75)
    >>> mean, variance = fl.logit_gradient_moments(float("inf"), 0.05, 0.75, best)
    >>> round(mean, 4), variance < 1e-16
    (-0.192, True)
    """
    distance = _arguments.distance("separation", separation)
    b = _arguments.weight("old_weight", old_weight)
    a = _arguments.weight("target_weight", target_weight)
    replay = _arguments.share("replay", replay)
    share = _behavior_weight(b, replay)
    log_old = math.log(b) - math.log(a)  # log(q / p) where only the old mode is
    log_new = math.log1p(-b) - math.log1p(-a)
    if distance > _FAR:
        old, new = (1.0 - b) * b / share * log_old, -b / (1.0 - replay) * log_new
        values, law = np.array([old, new]), np.array([share, (1.0 - replay) * (1.0 - b)])
    else:
        step = min(0.4, 0.6 * distance)  # the poles of the sigmoid are at +-i pi
        half = 0.5 * distance**2
        v = np.arange(-half - 9.3 * distance, half + 9.3 * distance + step, step)
        front = step / (distance * math.sqrt(2.0 * math.pi))
        old_law = np.exp(-0.5 * ((v - half) / distance) ** 2)
        new_law = np.exp(-0.5 * ((v + half) / distance) ** 2)
        law = front * (share * old_law + (1.0 - replay) * (1.0 - b) * new_law)
        odds, goal = math.log(b) - math.log1p(-b), math.log(a) - math.log1p(-a)
        log_ratio = log_new + np.logaddexp(0.0, odds + v) - np.logaddexp(0.0, goal + v)
        # w (r - b) = b (1 - b) (f_o - f_n) / nu, on the side where nothing overflows
        small = np.exp(-np.abs(v))
        density = np.where(v > 0, share + (1.0 - share) * small, share * small + 1.0 - share)
        values = b * (1.0 - b) * np.sign(v) * -np.expm1(-np.abs(v)) / density * log_ratio
    mean = float(law @ values)
    return mean, float(law @ (values - mean) ** 2)


def best_replay(old_weight: float, target_weight: float) -> float:
    r"""Replay share with the least noise in the logit's gradient.

    .. math:: \lambda_* = \max\Big(0, \frac{s_* - b}{1 - b}\Big), \qquad
              s_* = \frac{\log (b/a)}{\operatorname{logit} b - \operatorname{logit} a}.

    The least exactly without overlap (none at all if :math:`s_* \ge b`), and nearly the least
    with it. For any two densities, if :math:`s_* \ge b`, every sample's gradient lies between 0
    and :math:`b (1-b) (\operatorname{logit} b - \operatorname{logit} a)`.

    Parameters
    ----------
    old_weight : float
        Old weight ``b`` of the model, strictly between 0 and 1.
    target_weight : float
        Old weight ``a`` of the target, strictly between 0 and 1.

    Returns
    -------
    float
        In [0, 1). It is 0 if the model should see fewer old samples than it makes itself.

    Raises
    ------
    ValueError
        If a weight lies outside (0, 1).

    Notes
    -----
    Label ``thm-best-replay``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> round(fl.best_replay(0.05, 0.75), 3)
    0.652
    """
    b = _arguments.weight("old_weight", old_weight)
    a = _arguments.weight("target_weight", target_weight)
    gap = math.log1p((b - a) / a) if abs(b - a) < 0.5 * a else math.log(b / a)
    other = math.log1p((b - a) / (1.0 - b)) if b >= a else -math.log1p((a - b) / (1.0 - a))
    share = 1.0 - a if gap == 0.0 or other == 0.0 else gap / (gap + other)
    return max(0.0, min((share - b) / (1.0 - b), _LARGEST_SHARE))


# ---- starvation --------------------------------------------------------------------------


def _log_starved(floor: float, size: int, replay: float) -> float:
    return size * (math.log1p(-replay) + math.log1p(-floor))


def starvation_probability(old_weight: float, batch_size: int, replay: float = 0.0) -> float:
    r"""Probability that a batch holds no sample of the old mode.

    .. math:: P(\text{starved}) = \big((1-\lambda)(1-b)\big)^N = (1 - b_\lambda)^N

    What counts is the label of the component that a sample was drawn from, as in
    ``Ensemble.starved``; a replayed sample is old.

    Parameters
    ----------
    old_weight : float
        Old weight ``b`` of the model, strictly between 0 and 1.
    batch_size : int
        Samples ``N`` per batch, at least 1.
    replay : float
        Share :math:`\lambda` of replayed samples, in [0, 1).

    Returns
    -------
    float
        To full relative accuracy; below 1e-308 it underflows to 0.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-starvation``; the question is that of arXiv:2603.12163.

    Examples
    --------
    >>> import forgetlib as fl
    >>> round(fl.starvation_probability(0.05, 32), 4)
    0.1937
    >>> round(fl.starvation_probability(0.05, 32, replay=0.2), 6)
    0.000153
    """
    b = _arguments.weight("old_weight", old_weight)
    size = _arguments.integer("batch_size", batch_size, 1)
    return math.exp(_log_starved(b, size, _arguments.share("replay", replay)))


def run_starvation(old_weights: ArrayLike, batch_size: int, replay: float = 0.0) -> float:
    r"""Probability that some batch of a run holds no sample of the old mode.

    .. math:: P(\text{some batch starved}) = 1 - \prod_k (1 - s_k), \qquad
              s_k = \big((1-\lambda)(1-b_k)\big)^N

    Parameters
    ----------
    old_weights : array_like, shape (T,)
        Old weight of the model at each batch, strictly between 0 and 1: a path that is not
        random, such as an exact flow, or a floor that a random path keeps (then it is a bound).
    batch_size : int
        Samples per batch, at least 1.
    replay : float
        Share of replayed samples, in [0, 1).

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-starvation``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> fl.run_starvation([0.5, 0.5], 1)
    0.75
    """
    path = np.asarray(old_weights)
    if path.dtype.kind not in "fiu" or path.ndim != 1 or path.size == 0:
        raise ValueError(
            f"old_weights must be a non-empty sequence of numbers, got {old_weights!r}"
        )
    if not ((path > 0) & (path < 1)).all():
        raise ValueError(f"old_weights must lie strictly between 0 and 1, got {old_weights!r}")
    size = _arguments.integer("batch_size", batch_size, 1)
    replay = _arguments.share("replay", replay)
    starved = np.exp(size * (math.log1p(-replay) + np.log1p(-path.astype(np.float64))))
    # rounding takes a batch of one sample at weight 1e-300 to a certainty
    with np.errstate(divide="ignore"):
        return -math.expm1(float(np.log1p(-starved).sum()))


# ---- design rules ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class StarvationDesign:
    """A replay share and a batch size, what they guarantee, and what they cost.

    Attributes
    ----------
    replay, batch_size : float, int
        The design.
    steps : int
        Batches of the run.
    weight_floor : float
        Old weight that the model is assumed never to fall below.
    starvation : float
        Largest probability that a given batch is starved.
    failure : float
        Guaranteed bound on the probability that any batch of the run is starved. Exact if
        the old weight stays at its floor.
    largest_weight : float
        Price: no importance weight exceeds this, and no second moment this multiple of its
        value on-policy.
    sample_share : float
        Price: the effective share of the batch is at least this (population value).
    old_samples, new_samples : float
        Effective numbers of old and new samples per batch at the floor, at least. Where
        the old weight is higher, there are more old and fewer new ones.
    safe_learning_rate : float
        Price: largest step of the logit for which ``thm-sure-retention`` holds
        (score function, no baseline).
    assumptions : tuple of str
        What the guarantee rests on.
    """

    replay: float
    batch_size: int
    steps: int
    weight_floor: float
    starvation: float
    failure: float
    largest_weight: float
    sample_share: float
    old_samples: float
    new_samples: float
    safe_learning_rate: float
    assumptions: tuple[str, ...] = dataclasses.field(repr=False)


_ASSUMPTIONS = (
    "The old weight of the model is at least weight_floor at every step. It is, on every path, "
    "for weight_floor = min(start, target) under the hypotheses of sure retention: "
    "components correct and fixed, and a learning rate of at most safe_learning_rate without "
    "a baseline.",
    "Given the past, the samples of a batch are independent: each is replayed with probability "
    "replay, and drawn from the model otherwise.",
    "A batch is starved if none of its samples has the label of the old component; a replayed "
    "sample has it.",
    "old_samples and new_samples presume that the old component of the model is the one that is "
    "replayed; largest_weight does not.",
)


def _floor(value: object) -> float:
    return _arguments.number("weight_floor", value, "lie in [0, 1)", lambda x: 0.0 <= x < 1.0)


def _failure(value: object) -> float:
    return _arguments.number(
        "failure", value, "lie strictly between 0 and 1", lambda x: 0.0 < x < 1.0
    )


def _log_one_minus_power(log_p: float, power: float) -> float:
    """log(1 - (1 - p)**power) from log p < 0: of many trials, does one happen?"""
    log_rate = log_p if log_p < -37.0 else math.log(-math.log1p(-math.exp(log_p)))
    log_rate += math.log(power)
    return log_rate if log_rate < -37.0 else math.log(-math.expm1(-math.exp(log_rate)))


def _design(replay: float, size: int, steps: int, floor: float) -> StarvationDesign:
    log_starved = _log_starved(floor, size, replay)
    behavior = _behavior_weight(floor, replay)
    # chi-square at any overlap is at most its value without overlap, and falls in b
    chi_square = replay**2 * (1.0 - floor) / ((1.0 - replay) * behavior) if replay else 0.0
    return StarvationDesign(
        replay=replay,
        batch_size=size,
        steps=steps,
        weight_floor=floor,
        starvation=math.exp(log_starved),
        failure=math.exp(_log_one_minus_power(log_starved, steps)),
        largest_weight=1.0 / (1.0 - replay),
        sample_share=1.0 / (1.0 + chi_square),
        old_samples=size * behavior,
        new_samples=size * (1.0 - replay) * (1.0 - floor),
        safe_learning_rate=1.0 - replay,
        assumptions=_ASSUMPTIONS,
    )


def replay_for_starvation(
    weight_floor: float, batch_size: int, steps: int, failure: float = 0.01
) -> StarvationDesign:
    r"""Smallest replay share for which a whole run is unlikely to see a starved batch.

    .. math:: \lambda = \max\Big(0,\; 1 - \frac{s^{1/N}}{1 - b_-}\Big), \qquad
              s = 1 - (1 - \delta)^{1/T}

    It is enough that :math:`N (\lambda + (1-\lambda) b_-) \ge \log (T / \delta)`.

    Parameters
    ----------
    weight_floor : float
        Old weight :math:`b_-` that the model keeps at every step, in [0, 1). Under
        ``thm-sure-retention`` it is ``min(start, target)``; 0 asks for a guarantee whatever
        the weight does.
    batch_size : int
        Samples ``N`` per batch, at least 1.
    steps : int
        Batches ``T`` of the run, at least 1.
    failure : float
        Accepted probability :math:`\delta` of a starved batch anywhere in the run, strictly
        between 0 and 1.

    Returns
    -------
    StarvationDesign
        With a replay of 0 if none is needed. The share is the smallest up to rounding
        (1e-15), and rounded up.

    Raises
    ------
    ValueError
        If an argument is outside its range, or the share would have to exceed 1 - 1e-16.

    Notes
    -----
    Label ``thm-starvation``. For a run that starts at its target the failure probability is
    exact.

    Examples
    --------
    >>> import forgetlib as fl
    >>> design = fl.replay_for_starvation(0.05, batch_size=32, steps=1000)
    >>> round(design.replay, 3), round(design.failure, 6), round(design.largest_weight, 2)
    (0.265, 0.01, 1.36)
    """
    floor, delta = _floor(weight_floor), _failure(failure)
    size = _arguments.integer("batch_size", batch_size, 1)
    steps = _arguments.integer("steps", steps, 1)
    log_allowed = _log_one_minus_power(math.log(delta), 1.0 / steps)
    replay = max(0.0, -math.expm1(log_allowed / size - math.log1p(-floor)))
    replay, bump = min(replay, _LARGEST_SHARE), 2.0**-53
    while _log_one_minus_power(_log_starved(floor, size, replay), steps) > math.log(delta):
        if replay == _LARGEST_SHARE:
            raise ValueError(
                f"batch_size must be larger for a failure probability of {delta:g} in {steps} "
                f"steps: no replay below 1 is enough, got {size}"
            )
        replay, bump = min(replay + bump, _LARGEST_SHARE), 2.0 * bump
    return _design(replay, size, steps, floor)


def batch_for_starvation(
    weight_floor: float, replay: float, steps: int, failure: float = 0.01
) -> StarvationDesign:
    r"""Smallest batch for which a whole run is unlikely to see a starved batch.

    .. math:: N = \Big\lceil \frac{\log s}{\log((1-\lambda)(1-b_-))} \Big\rceil, \qquad
              s = 1 - (1 - \delta)^{1/T}

    Parameters
    ----------
    weight_floor : float
        Old weight :math:`b_-` that the model keeps at every step, in [0, 1).
    replay : float
        Share of replayed samples, in [0, 1). Not both may be 0.
    steps : int
        Batches ``T`` of the run, at least 1.
    failure : float
        Accepted probability of a starved batch anywhere in the run, strictly between 0 and
        1.

    Returns
    -------
    StarvationDesign

    Raises
    ------
    ValueError
        If an argument is outside its range, every batch is starved (floor and replay 0), or
        the batch would need more than 2**53 samples.

    Notes
    -----
    Label ``thm-starvation``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> [fl.batch_for_starvation(0.05, replay, 1000).batch_size for replay in (0.0, 0.1, 0.5)]
    [225, 74, 16]
    """
    floor, delta = _floor(weight_floor), _failure(failure)
    replay = _arguments.share("replay", replay)
    steps = _arguments.integer("steps", steps, 1)
    per_sample = _log_starved(floor, 1, replay)
    if per_sample == 0.0:
        raise ValueError(
            "replay must be positive if weight_floor is 0: every batch may be starved, got "
            f"{replay!r}"
        )
    log_allowed = _log_one_minus_power(math.log(delta), 1.0 / steps)
    wanted = log_allowed / per_sample
    if wanted > _LARGEST_BATCH:
        raise ValueError(
            f"weight_floor must be larger, or replay: a batch of {wanted:.3g} samples would be "
            f"needed, got {floor!r} and {replay!r}"
        )

    def enough(size: int) -> bool:
        return _log_one_minus_power(_log_starved(floor, size, replay), steps) <= math.log(delta)

    size = max(1, math.ceil(wanted))
    while not enough(size):  # rounding, by one or so
        size += 1 + size // 10**15
    while size > 1 and enough(size - 1):
        size -= 1
    return _design(replay, size, steps, floor)
