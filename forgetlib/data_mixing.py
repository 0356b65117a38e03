r"""Replay under forward KL: the share of old data is the old weight that training ends at.

Train on :math:`p_\lambda = \lambda f_o + (1 - \lambda) f_n`. With the model's components right,

.. math:: p_\lambda = \frac{\lambda}{b}\, q_b + \Big(1 - \frac{\lambda}{b}\Big) f_n
          \quad\Longrightarrow\quad
          \nabla KL(p_\lambda \| q_b) = \Big(1 - \frac{\lambda}{b}\Big)\, \nabla KL(f_n \| q_b),

so replay is a brake on forgetting that holds exactly at :math:`b = \lambda` (label
``thm-data-mixing``). How long the way to the share takes, :func:`forgetlib.forgetting_time`
says. What this module answers, each with its assumptions:

* what a wrong share costs, :func:`weight_divergence`, which shares are affordable,
  :func:`affordable_replay`, and which one to take when the right one is only known to lie
  in an interval, :func:`minimax_replay`;
* what a finite buffer of old samples does, reused forever: :func:`buffer_law` for its law,
  :func:`buffer_size` for how many to keep, :func:`buffer_weights` and :func:`fit_buffer` for
  the optimum of one given buffer;
* which batch keeps the old weight above a floor while mini-batches make it wander forever,
  :func:`steady_batch`.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize
from scipy.special import chdtri, expit, logit, ndtr, ndtri, xlog1py

from forgetlib import _arguments
from forgetlib.logistic_normal import sigmoid_slope_mean
from forgetlib.mixture import TwoModeMixture, check_mixture
from forgetlib.objective import ForwardKL
from forgetlib.overlap import log_weight_slope

__all__ = [
    "BufferLaw",
    "BufferPlan",
    "MinimaxReplay",
    "SteadyBatch",
    "affordable_replay",
    "buffer_law",
    "buffer_size",
    "buffer_weights",
    "fit_buffer",
    "minimax_replay",
    "steady_batch",
    "weight_divergence",
]

FloatArray = NDArray[np.float64]

_EDGE = 34.0  # logits beyond it are weights that round to 0 or 1
_CLOSEST = 0.05  # closer modes leave too few digits of the inverse Fisher information


def _replay(value: object) -> float:
    """Share of old data, when there must be both kinds."""
    return _arguments.number(
        "replay", value, "lie strictly between 0 and 1", lambda x: 0.0 < x < 1.0
    )


def _closed_share(name: str, value: object) -> float:
    return _arguments.number(name, value, "lie in [0, 1]", lambda x: 0.0 <= x <= 1.0)


def _log_ratio_grid(separation: float, sign: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights for log(f_o / f_n) under the old (+1) or the new mode (-1).

    The trapezoid rule converges geometrically: the integrands have their poles at distance
    pi from the real axis. The range covers the mode and what a tilt by the likelihood
    ratio can move.
    """
    reach = 9.3 + min(separation, 30.0)
    step = min(0.4 / separation, 0.6)
    z = np.arange(-reach, reach + step, step)
    weight = step * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return sign * 0.5 * separation**2 + separation * z, weight


def _relative_gap(log_ratio: FloatArray, old_weight: float) -> FloatArray:
    """(f_o - f_n) / q_b as a function of log(f_o / f_n), without overflow."""
    small = np.exp(-np.abs(log_ratio))
    new = np.where(log_ratio > 0.0, small, 1.0)  # f_n and f_o, over the larger of them
    old = np.where(log_ratio > 0.0, 1.0, small)
    gap = np.sign(log_ratio) * -np.expm1(-np.abs(log_ratio))
    return np.asarray(gap / ((1.0 - old_weight) * new + old_weight * old))


# ---- a share that is wrong ---------------------------------------------------------------


def weight_divergence(separation: float, weight: float, other: float) -> float:
    r"""Divergence between two mixtures of the same modes, :math:`KL(q_w \,\|\, q_{w'})`.

    Parameters
    ----------
    separation : float
        Distance ``D > 0`` between the modes; infinity means no overlap.
    weight : float
        Old weight of the first mixture, in [0, 1].
    other : float
        Old weight of the second mixture, strictly between 0 and 1.

    Returns
    -------
    float
        In nats, >= 0, to full relative accuracy also where the weights nearly agree. At
        most the binary divergence ``kl(weight || other)``, its value without overlap.

    Raises
    ------
    ValueError
        If the separation is not positive or a weight outside its range.

    Notes
    -----
    Label ``prp-wrong-fraction``: with ``weight`` the right old weight and ``other`` the
    replay share this is what forward KL loses; exchange them for reverse KL. It is
    computed as :math:`E[\varphi(q_w / q_{w'})]` under the second mixture, with
    :math:`\varphi(x) = x \log x - x + 1 \ge 0`.

    Examples
    --------
    >>> import forgetlib as fl
    >>> round(fl.weight_divergence(2.0, 0.5, 0.2), 4)
    0.1161
    >>> round(fl.weight_divergence(float("inf"), 0.5, 0.2), 4)
    0.2231
    """
    separation = _arguments.distance("separation", separation)
    weight = _closed_share("weight", weight)
    other = _arguments.weight("other", other)
    total = 0.0
    for share, sign in ((other, 1.0), (1.0 - other, -1.0)):
        if math.isinf(separation):
            gap, mass = np.array([sign / share]), np.ones(1)
        else:
            v, mass = _log_ratio_grid(separation, sign)
            gap = _relative_gap(v, other)
        x = np.maximum((weight - other) * gap, -1.0)  # q_w / q_w' - 1
        series = x * x * (0.5 - x / 6.0 + x * x / 12.0)
        excess = np.where(np.abs(x) < 1e-3, series, xlog1py(1.0 + x, x) - x)
        total += share * float(mass @ excess)
    return total


def affordable_replay(
    old_weight: float, loss: float, separation: float = math.inf
) -> tuple[float, float]:
    r"""Shares of replay that cost at most so many nats of forward KL.

    The interval of all :math:`\lambda` with :math:`KL(p_a \| q_\lambda) \le` ``loss``.

    Parameters
    ----------
    old_weight : float
        The right old weight ``a``, strictly between 0 and 1.
    loss : float
        What may be lost, in nats, > 0.
    separation : float
        Distance ``D > 0`` between the modes. The default, no overlap, is the cautious
        choice: overlap makes the interval wider.

    Returns
    -------
    low, high : float
        Ends of the interval, which holds ``old_weight``. An end is 0 or 1 if the share can
        go all the way (to rounding).

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``prp-wrong-fraction``. For a small loss the ends are ``old_weight`` plus and minus
    ``sqrt(2 loss / I(old_weight))``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> low, high = fl.affordable_replay(0.5, 0.02)
    >>> round(low, 3), round(high, 3)
    (0.401, 0.599)
    """
    old_weight = _arguments.weight("old_weight", old_weight)
    loss = _arguments.positive("loss", loss)
    separation = _arguments.distance("separation", separation)
    center = float(logit(old_weight))

    def excess(odds: float) -> float:
        return weight_divergence(separation, old_weight, float(expit(odds))) - loss

    ends = []
    for edge, limit in ((-_EDGE, 0.0), (_EDGE, 1.0)):
        if excess(edge) <= 0.0:
            ends.append(limit)
        else:
            ends.append(float(expit(brentq(excess, center, edge, xtol=1e-13))))
    return ends[0], ends[1]


@dataclasses.dataclass(frozen=True)
class MinimaxReplay:
    """The share of replay that is safest when the right old weight is only bracketed.

    Attributes
    ----------
    replay : float
        The share whose worst loss is least.
    loss : float
        That worst loss in nats, reached when the right old weight is an end of the bracket.
    assumptions : tuple of str
        What the numbers rest on.
    """

    replay: float
    loss: float
    assumptions: tuple[str, ...] = dataclasses.field(repr=False)


def minimax_replay(low: float, high: float, separation: float = math.inf) -> MinimaxReplay:
    r"""Share of replay with the least worst loss over an interval of right old weights.

    .. math:: \lambda^* = \sigma\Big(\frac{H(a_-) - H(a_+)}{a_+ - a_-}\Big), \qquad
              H(a) = -a \log a - (1 - a) \log (1 - a),

    without overlap; with overlap the root of :math:`KL(p_{a_-} \| q_\lambda) =
    KL(p_{a_+} \| q_\lambda)`.

    Parameters
    ----------
    low, high : float
        Smallest and largest right old weight, in [0, 1]; ``high - low >= 1e-12``.
    separation : float
        Distance ``D > 0`` between the modes; the default is no overlap.

    Returns
    -------
    MinimaxReplay

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-minimax-replay``: redundancy-capacity, known from universal coding.

    Examples
    --------
    >>> import forgetlib as fl
    >>> plan = fl.minimax_replay(0.0, 0.5)
    >>> round(plan.replay, 6), round(plan.loss, 6)
    (0.2, 0.223144)
    """
    low, high = _closed_share("low", low), _closed_share("high", high)
    if not high - low >= 1e-12:
        raise ValueError(f"low must be below high by at least 1e-12, got {low!r} and {high!r}")
    separation = _arguments.distance("separation", separation)

    def difference(odds: float) -> float:
        share = float(expit(odds))
        loss, other = (weight_divergence(separation, a, share) for a in (low, high))
        return loss - other

    first, last = (min(max(float(logit(a)), -_EDGE), _EDGE) for a in (low, high))
    replay = float(expit(brentq(difference, first, last, xtol=1e-13)))
    loss = max(weight_divergence(separation, a, replay) for a in (low, high))
    return MinimaxReplay(
        replay,
        loss,
        (
            "loss: forward KL from the right mixture to the trained model, in nats",
            "components right, unlimited old and new data, training run to its optimum",
            "no overlap" if math.isinf(separation) else f"separation {separation:g}",
        ),
    )


# ---- a finite buffer --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class BufferLaw:
    """What a buffer of old samples, reused forever, does to the optimum: per sample.

    Every number is a limit as the size ``M`` of the buffer grows; divide it by ``M``.
    Means are measured in standard deviations (whitened).

    Attributes
    ----------
    separation : float
    replay : float
        Share of old samples in the data.
    dim : int
    weight_variance : float
        ``M`` times the variance of the old weight, if only the weight is trained.
    weight_bias : float
        ``M`` times the mean error of the old weight, if only the weight is trained.
    joint_weight_variance : float
        ``M`` times the variance of the old weight, if everything is trained.
    drift_along, drift_across : float
        ``M`` times the variance of the old mean in the direction of the modes and in any
        direction at right angles, if everything is trained. Both are at least 1, and 1
        without overlap.
    square_drift : float
        ``M`` times the mean square distance of the old mean from its place:
        ``drift_along + (dim - 1) * drift_across``.
    excess_loss : float
        ``M`` times the mean loss on fresh data, ``KL(p || q)`` in nats, if everything is
        trained; ``replay * dim / 2`` without overlap.
    """

    separation: float
    replay: float
    dim: int
    weight_variance: float
    weight_bias: float
    joint_weight_variance: float
    drift_along: float
    drift_across: float
    square_drift: float
    excess_loss: float


def buffer_law(separation: float, replay: float, dim: int = 1) -> BufferLaw:
    r"""First-order law of the optimum when old data come from a finite buffer.

    With :math:`F` the Fisher information of :math:`p_\lambda` and :math:`s` its score, the
    optimum has the covariance :math:`F^{-1} C F^{-1} / M`, where :math:`C = \lambda^2
    \operatorname{Cov}_{f_o}(s)`: only the buffer's half of the data is random.

    Parameters
    ----------
    separation : float
        Distance ``D >= 0.05`` between the modes; infinity means no overlap.
    replay : float
        Share of old samples, strictly between 0 and 1.
    dim : int
        Dimension of the samples, at least 1.

    Returns
    -------
    BufferLaw

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Labels ``thm-buffer-weight`` and ``thm-buffer-mean``. The closer the modes, the larger a
    buffer must be for its first-order law to hold. The Fisher information is singular in the
    limit: at separation 0.05 six digits are right, and closer modes are refused.

    Examples
    --------
    >>> import forgetlib as fl
    >>> law = fl.buffer_law(4.0, 0.25, dim=10)
    >>> round(law.weight_variance, 4), round(law.square_drift, 2)
    (0.0021, 10.51)
    """
    separation = _arguments.number(
        "separation",
        separation,
        f"be at least {_CLOSEST:g} and at most {_arguments.MAX_SEPARATION:g}, or infinite",
        lambda x: _CLOSEST <= x <= _arguments.MAX_SEPARATION or x == math.inf,
    )
    lam = _replay(replay)
    dim = _arguments.integer("dim", dim, 1)
    if math.isinf(separation):
        return BufferLaw(separation, lam, dim, 0.0, 0.0, 0.0, 1.0, 1.0, float(dim), 0.5 * lam * dim)
    v, mass = _log_ratio_grid(separation, 1.0)
    odds = float(logit(lam)) + v
    r, rest = expit(odds), expit(-odds)

    # the weight alone, from deviations, for the mean of r is nearly 1
    miss = float(mass @ rest)
    deviation = miss - rest  # r less its mean
    spread = lam * (1.0 - lam)
    score = _relative_gap(v, lam)
    new, new_mass = _log_ratio_grid(separation, -1.0)
    third = lam * float(mass @ score**3) + (1.0 - lam) * float(
        new_mass @ _relative_gap(new, lam) ** 3
    )
    rho = 1.0 - miss / (1.0 - lam)
    weight_variance = lam**2 * float(mass @ deviation**2) / rho**2
    covariance = float(mass @ (deviation * score**2)) / spread
    bias = (third * weight_variance - lam**2 * covariance * spread / rho) * spread / rho

    # everything trained: along the line of means, then at right angles to it
    model = TwoModeMixture.separated(separation, old_weight=lam, dim=2)
    fisher = ForwardKL(model, replay=lam).hessian(model)
    z = 0.5 * separation - v / separation  # distance from the old mean toward the new one
    scores = np.stack([deviation, r * z, rest * (z - separation)])
    scores[1:] -= (scores[1:] @ mass)[:, None]
    noises = [(scores * mass) @ scores.T, (np.stack([r, rest]) * mass) @ np.stack([r, rest]).T]
    sandwiches, losses = [], []
    for keep, noise in zip(([0, 1, 3], [2, 4]), noises, strict=True):
        inverse = np.linalg.inv(fisher[np.ix_(keep, keep)])
        sandwiches.append(lam**2 * inverse @ noise @ inverse)
        losses.append(0.5 * lam**2 * float(np.trace(noise @ inverse)))
    along, across = sandwiches
    return BufferLaw(
        separation=separation,
        replay=lam,
        dim=dim,
        weight_variance=weight_variance,
        weight_bias=bias,
        joint_weight_variance=spread**2 * float(along[0, 0]),
        drift_along=float(along[1, 1]),
        drift_across=float(across[0, 0]),
        square_drift=float(along[1, 1] + (dim - 1) * across[0, 0]),
        excess_loss=losses[0] + (dim - 1) * losses[1],
    )


@dataclasses.dataclass(frozen=True)
class BufferPlan:
    """How many old samples to keep, and what they then cost.

    Attributes
    ----------
    size : int
        Number of old samples in the buffer.
    drift : float
        Distance of the old mean from its place, in standard deviations, that is exceeded
        with probability at most ``failure``.
    failure : float
    expected_drift : float
        Root mean square distance at that size.
    excess_loss : float
        Mean loss on fresh data at that size, in nats.
    assumptions : tuple of str
        What the numbers rest on.
    """

    size: int
    drift: float
    failure: float
    expected_drift: float
    excess_loss: float
    assumptions: tuple[str, ...] = dataclasses.field(repr=False)


def buffer_size(
    drift: float,
    dim: int,
    failure: float = 0.05,
    separation: float = math.inf,
    replay: float = 0.5,
) -> BufferPlan:
    r"""Number of old samples to keep so that reusing them forever bends the old mode little.

    The old mean ends at the mean of the buffer, up to overlap. So its distance from the
    right place, squared, is a chi-square over :math:`M`, and

    .. math:: M = \frac{v\, \chi^2_{d,\, 1 - p}}{\text{drift}^2}, \qquad
              v = \max(v_\parallel, v_\perp) ,

    with the two variances of :class:`BufferLaw` (both 1 without overlap).

    Parameters
    ----------
    drift : float
        Largest allowed distance of the old mean from its place, in standard deviations, > 0.
    dim : int
        Dimension of the samples, at least 1.
    failure : float
        Probability with which it may be exceeded, strictly between 0 and 1.
    separation : float
        Distance ``D >= 0.05`` between the modes; the default is no overlap.
    replay : float
        Share of old samples, strictly between 0 and 1. It matters only with overlap.

    Returns
    -------
    BufferPlan

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Label ``thm-buffer-mean``. Without overlap the rule is exact for every size; with
    overlap it is the law for large buffers.

    Examples
    --------
    >>> import forgetlib as fl
    >>> plan = fl.buffer_size(0.1, dim=100)
    >>> plan.size, round(plan.excess_loss, 5)
    (12435, 0.00201)
    """
    drift = _arguments.positive("drift", drift)
    failure = _arguments.weight("failure", failure)
    law = buffer_law(separation, replay, dim)
    worst = max(law.drift_along, law.drift_across)
    size = math.ceil(worst * float(chdtri(law.dim, failure)) / drift**2)
    exact = math.isinf(law.separation)
    return BufferPlan(
        size=size,
        drift=drift,
        failure=failure,
        expected_drift=math.sqrt(law.square_drift / size),
        excess_loss=law.excess_loss / size,
        assumptions=(
            "old samples drawn once, independently, from the old mode, and reused forever",
            "new data always fresh; weight and both means trained to the optimum",
            "covariance known and shared",
            "no overlap: exact for every size"
            if exact
            else f"separation {law.separation:g}: first order in 1 / size",
        ),
    )


def buffer_weights(log_ratios: ArrayLike, separation: float, replay: float) -> FloatArray:
    r"""Optimal old weight for given buffers, if only the weight is trained.

    The minimiser of :math:`-\frac\lambda M \sum_j \log q_b(x_j) - (1-\lambda)\, E_n[\log q_b]`,
    a convex function of ``b``; the new data are fresh (their mean is exact).

    Parameters
    ----------
    log_ratios : array_like, shape (..., M)
        :math:`\log(f_o / f_n)` at the ``M`` old samples of each buffer, in nats.
    separation : float
        Distance ``D > 0`` between the modes.
    replay : float
        Share of old samples, strictly between 0 and 1.

    Returns
    -------
    ndarray, shape (...)
        Old weights, between 1e-13 and 1 - 1e-13: a buffer whose optimum is 0 or 1 ends at
        that edge.

    Raises
    ------
    ValueError
        If an argument is outside its range, or there is no sample.

    Notes
    -----
    Label ``thm-buffer-weight``. Newton's method in the logit inside a shrinking bracket.
    """
    separation = _arguments.distance("separation", separation)
    if math.isinf(separation):
        raise ValueError("separation must be finite: without overlap every buffer gives replay")
    lam = _replay(replay)
    v = np.asarray(log_ratios, dtype=np.float64)
    if v.ndim == 0 or v.shape[-1] == 0 or not np.isfinite(v).all():
        raise ValueError(
            f"log_ratios must be finite, with one or more samples on its last axis, got an "
            f"array of shape {v.shape}"
        )
    low = np.full(v.shape[:-1], -30.0)
    high = np.full(v.shape[:-1], 30.0)
    l = np.full(v.shape[:-1], float(logit(lam)))
    for _ in range(120):
        r = expit(l[..., None] + v)
        b = expit(l)
        slope = lam * (b - r.mean(axis=-1)) + (1.0 - lam) * np.exp(log_weight_slope(separation, l))
        curvature = b * (1.0 - b) - lam * (r * (1.0 - r)).mean(axis=-1)
        curvature -= (1.0 - lam) * sigmoid_slope_mean(l - 0.5 * separation**2, separation)
        low, high = np.where(slope < 0.0, l, low), np.where(slope < 0.0, high, l)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = l - slope / curvature
        inside = (step >= low) & (step <= high) & (curvature > 0.0)
        new = np.where(inside, step, 0.5 * (low + high))
        moved = float(np.max(np.abs(new - l)))
        l = new
        if moved < 1e-9:  # Newton squares it
            break
    return np.asarray(expit(l))


def fit_buffer(buffer: ArrayLike, target: TwoModeMixture, replay: float) -> TwoModeMixture:
    r"""Model at which training on a fixed buffer and fresh new data comes to rest.

    The local minimum that descent from :math:`p_\lambda` reaches, of

    .. math:: -\frac{\lambda}{M} \sum_{j=1}^M \log q(x_j) - (1-\lambda)\, E_{f_n}[\log q]

    over weight and both means. The new half is exact, as if the stream never ended. For a
    small buffer and much overlap the minimum may lie far from :math:`p_\lambda`.

    Parameters
    ----------
    buffer : array_like, shape (M, d)
        Old samples.
    target : TwoModeMixture
        Supplies the new mode, the covariance and, with weight ``replay``, the start.
    replay : float
        Share of old samples, strictly between 0 and 1.

    Returns
    -------
    TwoModeMixture

    Raises
    ------
    ValueError
        If an argument is outside its range, or the buffer has not the target's dimension.
    RuntimeError
        If the descent ends where the gradient is not below 1e-6.

    Notes
    -----
    Label ``thm-buffer-mean``. Trust-region Newton with the exact Hessian (Louis' identity).

    Examples
    --------
    >>> import numpy as np
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(8.0, dim=2)
    >>> buffer = np.array([[0.3, -0.1], [-0.7, 0.5]])
    >>> fl.fit_buffer(buffer, target, 0.25).old_mean.round(3)  # the mean of the buffer
    array([-0.2,  0.2])
    """
    check_mixture("target", target)
    lam = _replay(replay)
    samples = np.asarray(buffer, dtype=np.float64)
    if samples.ndim != 2 or samples.shape[0] == 0 or samples.shape[1] != target.dim:
        raise ValueError(
            f"buffer must have shape (M, {target.dim}) with M >= 1, got {samples.shape}"
        )
    if not np.isfinite(samples).all():
        raise ValueError("buffer must be finite, got a value that is not")
    start = target.replace(old_weight=lam)
    white = start.whiten(samples - start.old_mean)  # the work is done in whitened coordinates
    gap = start.whiten(start.new_mean - start.old_mean)
    dim = start.dim
    origin = TwoModeMixture(lam, np.zeros(dim), gap)
    fresh = ForwardKL(origin)

    def model(theta: FloatArray) -> TwoModeMixture:
        l = float(np.clip(theta[0], -_EDGE, _EDGE))
        return TwoModeMixture(float(expit(l)), theta[1 : 1 + dim], theta[1 + dim :])

    def value(theta: FloatArray) -> float:
        q = model(theta)
        return float(-lam * np.mean(q.logpdf(white))) + (1.0 - lam) * fresh.value(q)

    def gradient(theta: FloatArray) -> FloatArray:
        q = model(theta)
        r = q.responsibility(white)
        g = fresh.gradient(q)
        old = -np.mean(r[:, None] * (white - q.old_mean), axis=0)
        new = -np.mean((1.0 - r)[:, None] * (white - q.new_mean), axis=0)
        mine = np.concatenate([[q.old_weight - np.mean(r)], old, new])
        theirs = np.concatenate([[g.logit], g.old_mean, g.new_mean])
        return np.asarray(lam * mine + (1.0 - lam) * theirs)

    def hessian(theta: FloatArray) -> FloatArray:
        q = model(theta)
        r = q.responsibility(white)
        b = q.old_weight
        w = np.hstack([np.ones((len(white), 1)), white - q.old_mean, q.new_mean - white])
        diagonal = np.concatenate(
            [[b * (1.0 - b)], np.full(dim, np.mean(r)), np.full(dim, np.mean(1.0 - r))]
        )
        mine = np.diag(diagonal) - (w * (r * (1.0 - r))[:, None]).T @ w / len(white)
        return np.asarray(lam * mine + (1.0 - lam) * fresh.hessian(q))

    theta = np.concatenate([[origin.old_logit], origin.old_mean, origin.new_mean])
    solution = minimize(
        value, theta, jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-9}
    )
    slope = float(np.abs(gradient(solution.x)).max())
    if not slope <= 1e-6:
        raise RuntimeError(f"fit of the buffer failed: gradient {slope:.1e}, {solution.message}")
    end = model(solution.x)
    return start.replace(
        old_weight=end.old_weight,
        old_mean=start.old_mean + start.unwhiten(end.old_mean),
        new_mean=start.old_mean + start.unwhiten(end.new_mean),
    )


# ---- mini-batches -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SteadyBatch:
    """A batch, and where the old weight wanders with it when training goes on forever.

    Attributes
    ----------
    batch_size : int
        Samples per step.
    replay : float
        Share of old samples: the middle of the law.
    logit_deviation : float
        Standard deviation of the logit (nats).
    assumptions : tuple of str
        What the numbers rest on.
    """

    batch_size: int
    replay: float
    logit_deviation: float
    assumptions: tuple[str, ...] = dataclasses.field(repr=False)

    def probability_below(self, old_weight: float) -> float:
        """Probability that, at a given step, the old weight is below a level.

        Parameters
        ----------
        old_weight : float
            The level, strictly between 0 and 1.

        Returns
        -------
        float
            By the normal law of the logit.

        Raises
        ------
        ValueError
            If the level is outside its range.
        """
        old_weight = _arguments.weight("old_weight", old_weight)
        gap = float(logit(old_weight)) - float(logit(self.replay))
        return float(ndtr(gap / self.logit_deviation))


def steady_batch(
    floor: float, replay: float, learning_rate: float, failure: float = 0.01
) -> SteadyBatch:
    r"""Smallest batch that keeps the old weight above a floor.

    .. math:: N = \Big\lceil \frac{h}{2 - h \lambda (1 - \lambda)} \Big( \frac{z_{1-p}}
                  {\operatorname{logit} \lambda - \operatorname{logit} c} \Big)^2 \Big\rceil

    for a floor ``c`` that may be missed with probability ``p`` at any given step.

    Parameters
    ----------
    floor : float
        Old weight ``c`` to stay above, in (0, replay).
    replay : float
        Share of old samples, strictly between 0 and 1.
    learning_rate : float
        Step ``h`` of the logit, above 0 and below :math:`2 / (\lambda (1 - \lambda))`.
    failure : float
        Probability, at a given step, of being below the floor; in (0, 1/2).

    Returns
    -------
    SteadyBatch

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Notes
    -----
    Labels ``thm-replay-noise`` for the normal law of variance :math:`h / 2N`, and
    ``thm-stationary-noise`` for the variance :math:`h / (N (2 - h F))` of the linearized
    recursion, with the information :math:`F \le \lambda (1 - \lambda)` of one sample.

    Examples
    --------
    >>> import forgetlib as fl
    >>> plan = fl.steady_batch(0.08, 0.1, learning_rate=1.0)
    >>> plan.batch_size, round(plan.probability_below(0.05), 6)
    (48, 0.0)
    """
    replay = _replay(replay)
    floor = _arguments.number(
        "floor", floor, f"lie strictly between 0 and replay {replay!r}", lambda c: 0.0 < c < replay
    )
    longest = 2.0 / (replay * (1.0 - replay))
    rate = _arguments.number(
        "learning_rate",
        learning_rate,
        f"be > 0 and below {longest:.6g}, where the weight stops to settle",
        lambda h: 0.0 < h < longest,
    )
    failure = _arguments.number(
        "failure", failure, "lie strictly between 0 and 1/2", lambda p: 0.0 < p < 0.5
    )
    one = rate / (2.0 - rate * replay * (1.0 - replay))  # variance with one sample per step
    gap = float(logit(replay)) - float(logit(floor))
    size = max(1, math.ceil(one * (float(ndtri(failure)) / gap) ** 2))
    return SteadyBatch(
        size,
        replay,
        math.sqrt(one / size),
        (
            "only the weight is trained; components right; every sample fresh",
            "the logit is normal around logit(replay): true for small steps",
            "its variance is that of the linearized training without overlap, which is largest",
            "one moment of a stationary run, not its minimum over a run",
        ),
    )
