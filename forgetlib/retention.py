r"""Mini-batch noise cannot make reverse KL lose a mode: how large a step, how fast.

With correct, fixed means the old weight is trained by

.. math:: l \leftarrow l - h\,g, \qquad
          g = \frac1N \sum_i (r_i - b)\,(A_i - \bar A), \qquad
          A = \log\frac{q_b(y)}{p_a(y)}, \quad y_i \sim q_b.

Without a baseline (:math:`\bar A = 0`), and with the mean of the batch as baseline, every batch
whatsoever moves the logit toward ``logit a`` (label ``thm-sure-retention``).
:func:`safe_learning_rate` says up to which step ``h`` it cannot move past it, and
:func:`contraction_rate` how much of the distance a step removes on average.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy.special import expit

from forgetlib import _arguments
from forgetlib.mixture import TwoModeMixture, check_mixture
from forgetlib.objective import ReverseKL
from forgetlib.overlap import misassignment_probability

__all__ = ["contraction_rate", "safe_learning_rate"]

Baseline = Literal["batch_mean", "leave_one_out", "self_normalized"] | None


def safe_learning_rate(batch_size: int, baseline: Baseline = None, replay: float = 0.0) -> float:
    r"""Largest step for which no batch can carry the weight past its target.

    ``1 - replay`` without a baseline, ``4`` with the batch mean, ``4 (N - 1) / N`` with
    the leave-one-out mean, ``(1 + sqrt(1 - replay))**2`` with the self-normalized mean. Up
    to twice this step the distance to the target still cannot grow.

    Parameters
    ----------
    batch_size : int
        Samples per batch ``N``: at least 1, and at least 2 with a baseline.
    baseline : {None, "batch_mean", "leave_one_out", "self_normalized"}
        What is subtracted from ``log(q / p)``. A constant other than 0 has no safe step.
    replay : float
        Share of old samples in a batch, in [0, 1), with importance weights. Under replay the
        batch mean and the leave-one-out mean have no safe step.

    Returns
    -------
    float
        Learning rate of the logit.

    Raises
    ------
    ValueError
        If the batch is too small, the baseline unknown, the replay outside [0, 1), or
        replay is combined with a baseline that has no safe step then.

    Notes
    -----
    Label ``thm-sure-retention``; label ``prp-starved-batch`` for baselines under replay.

    Examples
    --------
    >>> import forgetlib as fl
    >>> fl.safe_learning_rate(8), fl.safe_learning_rate(8, "leave_one_out")
    (1.0, 3.5)
    """
    if isinstance(baseline, int | float) and baseline == 0.0:
        baseline = None  # the same thing
    if baseline not in (None, "batch_mean", "leave_one_out", "self_normalized"):
        raise ValueError(
            "baseline must be None, 'batch_mean', 'leave_one_out' or 'self_normalized', "
            f"got {baseline!r}"
        )
    least = 1 if baseline is None else 2
    batch_size = _arguments.integer("batch_size", batch_size, least)
    replay = _arguments.share("replay", replay)
    if baseline is None:
        return 1.0 - replay
    if baseline == "self_normalized":
        return (1.0 + math.sqrt(1.0 - replay)) ** 2
    if replay > 0.0:
        raise ValueError(f"replay must be 0 with baseline {baseline!r}, got {replay!r}")
    return 4.0 if baseline == "batch_mean" else 4.0 * (batch_size - 1) / batch_size


def contraction_rate(target: TwoModeMixture, start_weight: float, points: int = 257) -> float:
    r"""Share of the distance to the target that one unit of training time removes.

    .. math:: \varrho = \inf_b \frac{b (1-b) |L'(b)|}{|\operatorname{logit} b -
                  \operatorname{logit} a|}, \qquad b \text{ between } b_0 \text{ and } a,

    so that :math:`E|l_j - \operatorname{logit} a| \le (1 - h \varrho)^j |l_0 -
    \operatorname{logit} a|` for every safe step ``h`` (multiply :math:`\varrho` by ``1 -
    1/N`` with the batch-mean baseline).

    Parameters
    ----------
    target : TwoModeMixture
        Target; the model differs from it in the old weight only.
    start_weight : float
        Old weight ``b_0`` at the start, strictly between 0 and 1.
    points : int
        The infimum is estimated by the minimum over this many logits, evenly spaced with
        both ends; at least 2. The estimate is never below the infimum.

    Returns
    -------
    float
        In (0, 1/4], per unit of training time. At ``b_0 = a`` it is the limit
        :math:`a (1 - a - \varepsilon)`, with the misassignment probability of the target.

    Raises
    ------
    ValueError
        If the weight lies outside (0, 1), or the modes coincide.

    Notes
    -----
    Label ``thm-sure-retention``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    >>> round(fl.contraction_rate(target, 0.5), 3)
    0.173
    """
    check_mixture("target", target)
    start = target.replace(old_weight=_arguments.weight("start_weight", start_weight))
    if target.separation == 0.0:
        raise ValueError("target must have two distinct modes, got separation 0")
    points = _arguments.integer("points", points, 2)
    objective = ReverseKL(target)
    goal = target.old_logit
    # Next to the target the ratio is 0 / 0 up to rounding; its limit is known.
    a = target.old_weight
    limit = a * (1.0 - a - misassignment_probability(target))
    rates = []
    for odds in np.linspace(goal, start.old_logit, points):
        if abs(odds - goal) < 1e-4:
            rates.append(limit)
            continue
        slope = objective.gradient(target.replace(old_weight=float(expit(odds)))).logit
        rates.append(slope / (odds - goal))
    return float(min(rates))
