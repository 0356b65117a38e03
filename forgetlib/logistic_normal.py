r"""Logistic-normal integrals: the one special function everything exact rests on.

Two Gaussian modes with a shared covariance have log-odds that are *affine* in the
sample, so under either mode the log-odds are a scalar Gaussian. Every population
value, gradient and Hessian in this package is therefore elementary algebra plus

.. math:: \mathbb{E}\,[g(\mu + s Z)], \qquad Z \sim N(0, 1),

with ``g`` one of a few relatives of the logistic sigmoid.

How the integrals are computed
------------------------------
The trapezoid rule on the whole line converges geometrically for an analytic
integrand. The relatives of the sigmoid have their nearest poles at distance
:math:`\pi` from the real axis in ``x = mu + s z``, so a step of 0.4 in ``x`` (and of
0.6 in ``z``, which is what the Gaussian factor wants) leaves a relative error near
1e-16. Each sum is taken in the log domain around the peak of its own integrand: a
misassignment probability of 1e-300 comes out with all its digits, because the error
of the rule is relative to the peak and not to one.

Where is the peak? On a logarithmic scale each ``g`` here is within a constant of a
piecewise linear function with its kink at zero, for example
``log sigmoid(x) = min(x, 0) + O(1)``. The Gaussian exponent plus that function is
concave with curvature at least one in ``z``, so the kinked peak is a clipped linear
function of ``mu``, and nine standard deviations around it hold everything but a
relative 1e-17. At a kink the fall is steeper, and the sum is shorter: for modes far apart
it has a few hundred nodes, however far.

Every gradient asks for the means of softplus and sigmoid under a few laws at once, which is
what :func:`logistic_means` is for.

The elementary functions are those of NumPy. SciPy's are no more accurate, and importing
them would take longer than everything else that a first simulation waits for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forgetlib._arguments import MAX_SEPARATION

__all__ = [
    "LogisticMeans",
    "gauss_legendre",
    "log_sigmoid_mean",
    "log_sigmoid_square_mean",
    "logistic_means",
    "sigmoid",
    "sigmoid_mean",
    "sigmoid_slope_mean",
    "sigmoid_slope_moments",
    "sigmoid_square_mean",
    "softplus",
    "softplus_mean",
]

FloatArray = NDArray[np.float64]

_STEP_IN_X = 0.4  # bounded by the poles at +-i pi
_STEP_IN_Z = 0.6  # bounded by the Gaussian factor
_FALL = 43.0  # in nats, from the peak to the ends of a sum; exp(-43) = 2e-19
_HALF_WIDTH = math.sqrt(2.0 * _FALL)  # in z, without a kink
_SQRT_TWO_PI = math.sqrt(2.0 * math.pi)
_HALF_LOG_TWO_PI = math.log(_SQRT_TWO_PI)


def sigmoid(x: ArrayLike) -> FloatArray:
    """1 / (1 + exp(-x)) to full relative accuracy, without overflow.

    Parameters
    ----------
    x : array_like
        Log-odds, in nats.

    Returns
    -------
    ndarray
        Probabilities.
    """
    x = np.asarray(x, dtype=np.float64)
    tail = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0.0, tail, 1.0) / (1.0 + tail))


def softplus(x: ArrayLike) -> FloatArray:
    """log(1 + exp(x)) to full relative accuracy, without overflow.

    Parameters
    ----------
    x : array_like
        In nats.

    Returns
    -------
    ndarray
        In nats.
    """
    x = np.asarray(x, dtype=np.float64)
    # NumPy's logaddexp is the same, in three times the time
    return np.asarray(np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))))


@functools.cache
def gauss_legendre(count: int) -> tuple[FloatArray, FloatArray]:
    """Nodes in [-1, 1] and weights of the Gauss-Legendre rule.

    Parameters
    ----------
    count : int
        Number of nodes.

    Returns
    -------
    tuple of ndarray
        Read-only, since every caller has the same.
    """
    nodes, weights = np.polynomial.legendre.leggauss(count)
    nodes.flags.writeable = weights.flags.writeable = False
    return nodes, weights


def _grid(
    mu: FloatArray, s: FloatArray, slope_left: float, slope_right: float
) -> tuple[FloatArray, FloatArray]:
    """Log Gaussian weights (step included) and nodes x = mu + s z, on a last axis.

    The integrand behaves like exp(slope_left * x) left of x = 0 and like
    exp(slope_right * x) right of it, with slope_left >= slope_right.
    """
    low, high = slope_right * s, slope_left * s
    # the maximiser of -z**2 / 2 + slope * (mu + s z), clipped at the kink, where x = 0
    at_kink = (-mu > low * s) & (-mu < high * s)
    peak = np.clip(-mu, low * s, high * s) / np.maximum(s, 1e-300)
    step = np.minimum(_STEP_IN_X / np.maximum(s, _STEP_IN_X / _STEP_IN_Z), _STEP_IN_Z)
    to_left, to_right = (
        math.ceil(np.max(_reach(np.where(at_kink, slope, 0.0)) / step, initial=1.0))
        for slope in (high - peak, peak - low)
    )
    k = np.arange(-to_left, to_right + 1.0)
    z = peak[..., None] + step[..., None] * k
    log_weight = -0.5 * z * z - _HALF_LOG_TWO_PI + np.log(step)[..., None]
    start = np.where(at_kink, 0.0, mu + s * peak)
    return log_weight, start[..., None] + (s * step)[..., None] * k


def _reach(slope: FloatArray) -> FloatArray:
    """How far in z an exponent slope * z + z**2 / 2 takes to grow by _FALL."""
    return np.asarray(2.0 * _FALL / (slope + np.sqrt(slope * slope + 2.0 * _FALL)))


class LogisticMeans(NamedTuple):
    """Means under several Gaussians, one number for each.

    Attributes
    ----------
    softplus, sigmoid : list of float
        As :func:`softplus_mean` and :func:`sigmoid_mean`.
    slope : list of float
        As :func:`sigmoid_slope_mean`, but only for a mean <= 0 to full relative accuracy.
    """

    softplus: list[float]
    sigmoid: list[float]
    slope: list[float]


_LATTICE_REACH = 1024  # nodes on either side of zero


@functools.cache
def _lattice() -> tuple[FloatArray, FloatArray]:
    """Multiples of _STEP_IN_X, and softplus, sigmoid and its slope there."""
    x = _STEP_IN_X * np.arange(-_LATTICE_REACH, _LATTICE_REACH + 1.0)
    return x, _logistic_columns(x)


def _logistic_columns(x: FloatArray) -> FloatArray:
    soft = softplus(x)
    return np.stack([soft, np.exp(x - soft), np.exp(x - 2.0 * soft)], axis=-1)


def logistic_means(odds: Sequence[tuple[float, float]]) -> LogisticMeans:
    r"""Mean softplus, sigmoid and slope of the sigmoid under several Gaussians at once.

    Parameters
    ----------
    odds : sequence of tuple
        Mean and standard deviation (``>= 0``) of the log-odds, in nats, for each Gaussian.

    Returns
    -------
    LogisticMeans

    Raises
    ------
    ValueError
        If a mean is not finite, or a standard deviation is negative or too large.

    Notes
    -----
    The rule of this module without the log domain, of which only numbers below 1e-308 have
    need. It may place its nodes anywhere. For standard deviations above 2/3 they are
    multiples of the step in ``x``, where softplus and sigmoid are known from the last time,
    and one exponential per node is left. It is a fifth of the time, and most of that of a flow.
    """
    low, high, narrowest = math.inf, -math.inf, math.inf
    rows = []
    for mu, s in odds:
        if not (math.isfinite(mu) and 0.0 <= s <= MAX_SEPARATION):
            _checked(mu, s)
        left = right = s * _HALF_WIDTH
        if mu >= 0.0:
            start = mu
        elif -mu >= s * s:
            start = mu + s * s
        else:
            start, peak = 0.0, -mu / s
            fall = s - peak
            left = s * 2.0 * _FALL / (fall + math.sqrt(fall * fall + 2.0 * _FALL))
            right = s * 2.0 * _FALL / (peak + math.sqrt(peak * peak + 2.0 * _FALL))
        low, high, narrowest = min(low, start - left), max(high, start + right), min(narrowest, s)
        rows.append((mu, s))
    reach = _LATTICE_REACH * _STEP_IN_X
    if narrowest * _STEP_IN_Z < _STEP_IN_X or low < -reach or high > reach:
        return _far_logistic_means(rows)
    window = slice(
        _LATTICE_REACH + math.floor(low / _STEP_IN_X),
        _LATTICE_REACH + math.ceil(high / _STEP_IN_X) + 1,
    )
    x, columns = _lattice()
    table = np.array(rows)
    deviations = table[:, 1:]
    weight = x[window] - table[:, :1]
    weight /= deviations
    weight *= weight
    weight *= -0.5
    np.exp(weight, out=weight)
    sums = (weight @ columns[window]) * (_STEP_IN_X / _SQRT_TWO_PI / deviations)
    return LogisticMeans(*sums.T.tolist())


def _far_logistic_means(odds: list[tuple[float, float]]) -> LogisticMeans:
    """The same for any Gaussians, each with nodes of its own."""
    mu, s = np.array(odds).T
    log_weight, x = _grid(mu, s, 1.0, 0.0)
    sums = np.einsum("rn,rnc->cr", np.exp(log_weight), _logistic_columns(x))
    return LogisticMeans(*sums.tolist())


def _log_sum(log_terms: FloatArray) -> FloatArray:
    """log(sum(exp(.))) over the last axis; SciPy's costs more than the sums themselves."""
    top = log_terms.max(axis=-1)
    return np.asarray(top + np.log(np.exp(log_terms - top[..., None]).sum(axis=-1)))


def _checked(mu: ArrayLike, s: ArrayLike) -> tuple[FloatArray, FloatArray]:
    mu_array, s_array = np.broadcast_arrays(
        np.asarray(mu, dtype=np.float64), np.asarray(s, dtype=np.float64)
    )
    if not np.isfinite(mu_array).all():
        raise ValueError(f"mu must be finite, got {mu!r}")
    if not ((s_array >= 0) & (s_array <= MAX_SEPARATION)).all():
        raise ValueError(f"s must be finite and >= 0, at most {MAX_SEPARATION:g}, got {s!r}")
    return mu_array, s_array


def _log_mean(
    log_g: Callable[[FloatArray], FloatArray],
    mu: ArrayLike,
    s: ArrayLike,
    slope_left: float,
    slope_right: float,
) -> FloatArray:
    """log E[g(mu + s Z)] for a positive g that follows the two slopes."""
    mu, s = _checked(mu, s)
    log_weight, x = _grid(mu, s, slope_left, slope_right)
    return _log_sum(log_weight + log_g(x))


def log_sigmoid_mean(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    r"""Logarithm of the mean sigmoid of a Gaussian, ``log E[sigmoid(mu + s Z)]``.

    Parameters
    ----------
    mu : array_like
        Mean of the log-odds (nats). Any shape that broadcasts with ``s``.
    s : array_like
        Standard deviation of the log-odds (nats), ``s >= 0``.

    Returns
    -------
    ndarray
        The logarithm, in nats. Its *absolute* error is about 1e-15 times the size of
        the exponents involved, so the mean itself keeps its relative accuracy however
        small it is.

    Raises
    ------
    ValueError
        If ``mu`` is not finite, or ``s`` is negative or not finite.
    """
    return _log_mean(lambda x: -softplus(-x), mu, s, 1.0, 0.0)


def sigmoid_mean(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    r"""Mean sigmoid of a Gaussian, :math:`E[1 / (1 + e^{-(\mu + s Z)})]`.

    Parameters
    ----------
    mu, s : array_like
        Mean and standard deviation (``s >= 0``) of the log-odds, in nats.

    Returns
    -------
    ndarray
        Values in (0, 1), to full relative accuracy.
    """
    return np.asarray(np.exp(log_sigmoid_mean(mu, s)))


def sigmoid_square_mean(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """Mean squared sigmoid of a Gaussian, ``E[sigmoid(mu + s Z)**2]``.

    Parameters
    ----------
    mu, s : array_like
        Mean and standard deviation (``s >= 0``) of the log-odds, in nats.

    Returns
    -------
    ndarray
        Values in (0, 1), to full relative accuracy.
    """
    return np.asarray(np.exp(log_sigmoid_square_mean(mu, s)))


def log_sigmoid_square_mean(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """Log of the mean squared sigmoid, ``log E[sigmoid(mu + s Z)**2]``, without underflow.

    Parameters
    ----------
    mu, s : array_like
        Mean and standard deviation (``s >= 0``) of the log-odds, in nats.

    Returns
    -------
    ndarray
    """
    return _log_mean(lambda x: -2.0 * softplus(-x), mu, s, 2.0, 0.0)


def sigmoid_slope_mean(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """Mean slope of the sigmoid, ``E[r (1 - r)]`` with ``r = sigmoid(mu + s Z)``.

    Parameters
    ----------
    mu, s : array_like
        Mean and standard deviation (``s >= 0``) of the log-odds, in nats.

    Returns
    -------
    ndarray
        Values in (0, 1/4], to full relative accuracy.
    """
    return np.asarray(np.exp(_log_mean(lambda x: -softplus(-x) - softplus(x), mu, s, 1.0, -1.0)))


def sigmoid_slope_moments(mu: ArrayLike, s: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    r"""Mean first, second and third derivative of the sigmoid at ``mu + s Z``.

    By Stein's identity :math:`E[g(\mu + s Z) Z] = s E[g'(\mu + s Z)]`, these are all
    that a Hessian needs to know about the samples.

    Parameters
    ----------
    mu, s : array_like
        Mean and standard deviation (``s >= 0``) of the log-odds, in nats.

    Returns
    -------
    tuple of ndarray
        ``E[sigmoid']``, ``E[sigmoid'']``, ``E[sigmoid''']``. The last two change sign;
        their error is relative to the first.
    """
    mu, s = _checked(mu, s)
    log_weight, x = _grid(mu, s, 1.0, -1.0)
    weighted_slope = np.exp(log_weight - softplus(-x) - softplus(x))
    half_tanh = np.tanh(0.5 * x)  # = 2 sigmoid - 1; sigmoid' = (1 - tanh**2) / 4
    first = weighted_slope.sum(axis=-1)
    second = -(weighted_slope * half_tanh).sum(axis=-1)
    third = (weighted_slope * (1.5 * half_tanh * half_tanh - 0.5)).sum(axis=-1)
    return np.asarray(first), np.asarray(second), np.asarray(third)


def softplus_mean(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """Mean softplus of a Gaussian, ``E[log(1 + exp(mu + s Z))]``, in nats.

    Parameters
    ----------
    mu, s : array_like
        Mean and standard deviation (``s >= 0``) of the log-odds, in nats.

    Returns
    -------
    ndarray
        Positive values, to full relative accuracy.
    """

    def log_softplus(x: FloatArray) -> FloatArray:
        # softplus(x) = exp(x) (1 - exp(x) / 2 + ...) far left, where log1p would underflow
        return np.where(x < -36.0, x, np.log(softplus(np.maximum(x, -36.0))))

    return np.asarray(np.exp(_log_mean(log_softplus, mu, s, 1.0, 0.0)))
