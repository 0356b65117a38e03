r"""How much two modes overlap, and what the overlap does.

Three numbers measure it. The *Bhattacharyya coefficient* of the modes,
:math:`\mathrm{BC} = e^{-D^2/8}`, depends on the separation ``D`` alone. The
*misassignment probabilities*

.. math:: \varepsilon = E_{\text{old}}[1 - r], \qquad \eta = E_{\text{new}}[r]

with ``r`` the responsibility of the old mode, also know the weights: they are the mass
that each mode hands to the other. The *information of the weight* says how fast samples
reveal the mixing weight,

.. math:: I(b) = \int \frac{(f_o - f_n)^2}{q_b},
          \qquad b (1 - b) I(b) = 1 - \frac{\varepsilon}{1 - b}.

Write ``D`` for the separation and ``c = logit(1 - b)``. Then (label
``lem-misassignment``)

.. math:: \varepsilon
   = \frac{e^{-D^2/8 + c/2}}{D \sqrt{2\pi}}
     \int \frac{e^{-(u - c)^2 / 2 D^2}}{2 \cosh(u/2)}\, du
   \;\le\; \min\!\Big(\tfrac12, \tfrac{1}{D}\sqrt{\tfrac{\pi}{2}}\Big)
           \sqrt{\tfrac{1-b}{b}}\; e^{-D^2/8}.

The *position of the boundary*, :math:`\nu = \frac12 - c/D^2`, says how far along the way
from the old mean to the new one a sample belongs to both modes equally. It gives bounds
that stay sharp for very unequal weights (label ``thm-uniform-misassignment``).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forgetlib import _arguments
from forgetlib.logistic_normal import _log_sum, log_sigmoid_mean
from forgetlib.mixture import TwoModeMixture, check_mixture

__all__ = [
    "bhattacharyya_coefficient",
    "boundary_position",
    "log_misassignment_probability",
    "log_weight_slope",
    "misassignment_bound",
    "misassignment_interval",
    "misassignment_probability",
    "total_variation",
    "weight_information",
]

Side = Literal["old", "new"]
FloatArray = NDArray[np.float64]

#: sqrt(pi / 2): the sharp constant of the misassignment lemma.
SHARP = math.sqrt(0.5 * math.pi)
#: log(1 + t) <= LOG_BY_ROOT * sqrt(t) for every t > 0; the best constant is 0.8047423...
LOG_BY_ROOT = 0.80475


def _side_logit(model: TwoModeMixture, side: Side) -> float:
    """Logit of the weight of the mode that the samples come from."""
    check_mixture("model", model)
    if side == "old":
        return model.old_logit
    if side == "new":
        return -model.old_logit
    raise ValueError(f"side must be 'old' or 'new', got {side!r}")


def bhattacharyya_coefficient(model: TwoModeMixture) -> float:
    r"""Bhattacharyya coefficient of the two modes, :math:`\int \sqrt{f_o f_n}`.

    Parameters
    ----------
    model : TwoModeMixture

    Returns
    -------
    float
        :math:`e^{-D^2/8}`, in (0, 1].
    """
    check_mixture("model", model)
    return float(np.exp(-(model.separation**2) / 8.0))


def total_variation(model: TwoModeMixture) -> float:
    r"""Total variation distance of the two modes, :math:`\frac12\int |f_o - f_n|`.

    Parameters
    ----------
    model : TwoModeMixture

    Returns
    -------
    float
        :math:`2\Phi(D/2) - 1`, in [0, 1).

    Notes
    -----
    Label ``prp-bhattacharyya``: with the Bhattacharyya coefficient,
    :math:`1 - \mathrm{TV} \le \mathrm{BC} \le \sqrt{1 - \mathrm{TV}^2}`.

    Examples
    --------
    >>> import forgetlib as fl
    >>> round(fl.total_variation(fl.TwoModeMixture.separated(2.0)), 4)
    0.6827
    """
    check_mixture("model", model)
    return math.erf(model.separation / math.sqrt(8.0))


def boundary_position(model: TwoModeMixture, side: Side = "old") -> float:
    r"""Where on the way from one mean to the other both modes are equally likely.

    .. math:: \nu = \frac12 + \frac{\operatorname{logit} b}{D^2}

    for ``side="old"``; the new mode sees the same point at :math:`1 - \nu`.

    Parameters
    ----------
    model : TwoModeMixture
        With two distinct means.
    side : {"old", "new"}
        The mode from whose mean the way is counted: 0 is its own mean, 1 the other one.

    Returns
    -------
    float
        Inside (0, 1) unless one weight is so small that the other mode is the likelier
        even at its mean.

    Raises
    ------
    ValueError
        If ``side`` is unknown, or the means coincide.

    Notes
    -----
    Label ``thm-uniform-misassignment``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> fl.boundary_position(fl.TwoModeMixture.separated(4.0, old_weight=0.5))
    0.5
    """
    logit = _side_logit(model, side)
    if model.separation == 0.0:
        raise ValueError("model must have two distinct means, got separation 0")
    return 0.5 + logit / model.separation**2


def log_misassignment_probability(model: TwoModeMixture, side: Side = "old") -> float:
    """Logarithm of :func:`misassignment_probability`, in nats.

    Parameters
    ----------
    model : TwoModeMixture
    side : {"old", "new"}

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If ``side`` is unknown.
    """
    logit = _side_logit(model, side)
    distance = model.separation
    # under the mode itself its log-odds are N(logit + D^2/2, D^2)
    return float(log_sigmoid_mean(-(logit + 0.5 * distance**2), distance))


def misassignment_probability(model: TwoModeMixture, side: Side = "old") -> float:
    r"""Probability mass that a mode hands to the other one.

    For ``side="old"`` it is :math:`\varepsilon = E_{y \sim \text{old}}[1 - P(\text{old}
    \mid y)]`; for ``side="new"`` it is :math:`\eta = E_{y \sim \text{new}}[P(\text{old}
    \mid y)]`.

    Parameters
    ----------
    model : TwoModeMixture
    side : {"old", "new"}
        The mode that the samples come from.

    Returns
    -------
    float
        In (0, 1), to full relative accuracy however small. It underflows to 0 only
        below 1e-308; use :func:`log_misassignment_probability` there.

    Raises
    ------
    ValueError
        If ``side`` is unknown.

    Notes
    -----
    Label ``lem-misassignment``; the quantity is that of arXiv:2603.12163. The two sides
    obey the conservation law :math:`(1-b)\,\eta = b\,\varepsilon`.

    Examples
    --------
    >>> import forgetlib as fl
    >>> model = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    >>> round(fl.misassignment_probability(model), 6)
    0.019298
    """
    return float(np.exp(log_misassignment_probability(model, side)))


def _log_sharp_bound(c: float, distance: float) -> float:
    """Logarithm of the bound that is sharp far apart, at ``c = logit(1 - b)``."""
    return 0.5 * math.log(0.5 * math.pi) - math.log(distance) + 0.5 * c - 0.125 * distance**2


def misassignment_bound(model: TwoModeMixture, side: Side = "old") -> float:
    r"""Upper bound on the misassignment probability, in closed form.

    .. math:: \min\!\Big(\tfrac12, \tfrac{1}{D}\sqrt{\tfrac{\pi}{2}}\Big)
              \sqrt{\tfrac{1-b}{b}}\; e^{-D^2/8}

    Parameters
    ----------
    model : TwoModeMixture
    side : {"old", "new"}

    Returns
    -------
    float
        Positive. Its second branch (``D > 2.507``) is sharp as ``D`` grows at fixed
        weight; the first holds for any two densities.

    Raises
    ------
    ValueError
        If ``side`` is unknown.

    Notes
    -----
    Label ``lem-misassignment``.
    """
    logit = _side_logit(model, side)
    distance = model.separation
    half_or_sharp = min(0.5, float(np.sqrt(np.pi / 2.0)) / max(distance, 1.0))
    return float(half_or_sharp * np.exp(-0.5 * logit - 0.125 * distance**2))


def misassignment_interval(model: TwoModeMixture, side: Side = "old") -> tuple[float, float]:
    r"""Closed-form bounds on the misassignment probability from both sides.

    The larger of two lower bounds and the smallest of four upper bounds. One pair is
    sharp for weights that are fixed while ``D`` grows, the other one for every weight
    whose boundary :math:`\nu` lies between the two means,

    .. math:: \exp\!\Big(\!-\pi^2 \frac{1 + 2\cot^2 \pi\nu}{2D^2}\Big)\, U
              \;\le\; \varepsilon \;\le\;
              U = \sqrt{\frac\pi2}\; \frac{e^{-\nu^2 D^2/2}}{D \sin \pi\nu} .

    Parameters
    ----------
    model : TwoModeMixture
    side : {"old", "new"}

    Returns
    -------
    tuple of float
        Lower and upper bound, in [0, 1]. The lower one is 0 if the means coincide.

    Raises
    ------
    ValueError
        If ``side`` is unknown.

    Notes
    -----
    Labels ``lem-misassignment`` and ``thm-uniform-misassignment``. The weight of the
    other mode is an upper bound for any two densities (label ``prp-label-information``).

    Examples
    --------
    >>> import forgetlib as fl
    >>> low, high = fl.misassignment_interval(fl.TwoModeMixture.separated(12.0, 1e-9))
    >>> round(low / high, 3)
    0.951
    """
    logit = _side_logit(model, side)
    distance = model.separation
    other_weight = float(np.exp(-np.logaddexp(0.0, logit)))
    lower, upper = 0.0, min(other_weight, misassignment_bound(model, side))
    if distance == 0.0:
        return lower, upper
    square = distance**2
    log_sharp = _log_sharp_bound(-logit, distance)
    lost = (math.pi**2 + logit**2) / (2.0 * square)
    lower = float(np.exp(log_sharp - lost))
    position = 0.5 + logit / square
    if 0.0 < position < 1.0:
        sine = math.sin(math.pi * position)
        log_upper = log_sharp - math.log(sine) - logit**2 / (2.0 * square)
        lost = math.pi**2 * (2.0 / sine**2 - 1.0) / (2.0 * square)
        upper = min(upper, float(np.exp(log_upper)))
        lower = max(lower, float(np.exp(log_upper - lost)))
    return lower, upper


def weight_information(model: TwoModeMixture) -> float:
    r"""Fisher information of the old weight in one sample, components known.

    .. math:: I(b) = \int \frac{(f_o - f_n)^2}{q_b}
              = \frac{1}{b (1-b)} \Big(1 - \frac{\varepsilon}{1-b}\Big)

    Parameters
    ----------
    model : TwoModeMixture

    Returns
    -------
    float
        In :math:`[0, 1/(b(1-b))]`: with labels on the samples it would be the upper end.

    Notes
    -----
    Label ``prp-label-information``. Computed from a positive integrand, so that it keeps
    its relative accuracy where the modes nearly coincide.

    Examples
    --------
    >>> import forgetlib as fl
    >>> round(fl.weight_information(fl.TwoModeMixture.separated(6.0, old_weight=0.5)), 3)
    3.983
    """
    check_mixture("model", model)
    if model.separation == 0.0:
        return 0.0
    b, logit = model.old_weight, model.old_logit
    return math.exp(
        float(log_weight_slope(model.separation, logit)) + np.logaddexp(0.0, -logit)
    ) / (b * (1.0 - b))


def log_weight_slope(separation: float, old_logit: ArrayLike) -> FloatArray:
    r"""Logarithm of the forward-KL slope ``dL/dl`` on new data, at correct means.

    .. math:: \frac{dL}{dl} = b - E_{\text{new}}[r]
              = b^2 (1 - b)\, E_{\text{new}}\!\left[\frac{(1 - \Lambda)^2}
                {1 - b + b \Lambda}\right],
              \qquad \Lambda = \frac{f_o}{f_n},

    with ``L = KL(f_n || q_b)`` and ``l = logit b``. The second form has a positive
    integrand, so nothing cancels: the slope keeps its relative accuracy when the weight
    is ``exp(-5000)``.

    Parameters
    ----------
    separation : float
        Distance ``D > 0`` between the modes; infinity means no overlap (slope ``b``).
    old_logit : array_like
        Log-odds ``l`` of the old mode, in nats. Any finite values.

    Returns
    -------
    ndarray
        Of the shape of ``old_logit``, in nats.

    Raises
    ------
    ValueError
        If the separation is not positive, or a logit is not finite.

    Notes
    -----
    Label ``thm-mass-forgetting``. It is ``log(b^2 (1 - b) I(b))``, with ``I(b)`` the
    Fisher information of the weight; ``I(b) = I(1 - b)``.
    """
    distance = _arguments.distance("separation", separation)
    logit = np.asarray(old_logit)
    if logit.dtype.kind not in "fiu" or not np.isfinite(logit).all():
        raise ValueError(f"old_logit must be finite, got {old_logit!r}")
    logit = logit.astype(np.float64)
    log_b = -np.logaddexp(0.0, -logit)
    if np.isinf(distance):
        return np.asarray(log_b)
    # The slope is b S with S = b (1 - b) I(b), and S(l) = S(-l): take the lighter mode.
    lighter = -np.abs(logit)
    log_light, log_heavy = -np.logaddexp(0.0, -lighter), -np.logaddexp(0.0, lighter)
    if distance >= 1.0:
        # S = (E_o[r] - b) / (1 - b), where E_o[r] is well above b
        log_mean = log_sigmoid_mean(lighter + 0.5 * distance**2, distance)
        return np.asarray(log_b + log_mean + np.log(-np.expm1(log_light - log_mean)) - log_heavy)
    # v = log(f_o / f_n) ~ N(-D^2/2, D^2) under the new mode; the integrand grows at most
    # like exp(2 v), so its bulk lies between the center and the twice tilted center
    step = 0.6 * distance
    low = -0.5 * distance**2 - 9.3 * distance
    high = 1.5 * distance**2 + 9.3 * distance
    v = np.arange(low, high + step, step)
    log_gauss = (
        -0.5 * ((v + 0.5 * distance**2) / distance) ** 2
        - np.log(distance * np.sqrt(2.0 * np.pi))
        + np.log(step)
    )
    with np.errstate(divide="ignore"):  # v = 0 contributes nothing, and log 0 says so
        log_square = 2.0 * (np.maximum(v, 0.0) + np.log(-np.expm1(-np.abs(v))))
    log_integral = _log_sum(
        log_gauss + log_square - np.logaddexp(log_heavy[..., None], log_light[..., None] + v)
    )
    return np.asarray(log_b + log_light + log_heavy + log_integral)
