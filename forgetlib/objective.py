r"""Training objectives: forward KL (imitate data) and reverse KL (match a target).

Let the target be :math:`p = a f_o + (1 - a) f_n` and the model
:math:`q = b N(m_o) + (1 - b) N(m_n)`, all with one covariance.

* ``ForwardKL(target, replay)`` is :math:`KL(\text{data} \| q)` with data
  :math:`\lambda f_o + (1 - \lambda) f_n`: supervised fine-tuning on the new task with a
  share :math:`\lambda` of replayed old data.
* ``ReverseKL(target, replay)`` is :math:`KL(q \| p)`: reinforcement learning, in its
  matching form. Replay changes how batches are drawn, never the objective.

Both have the same three verbs, ``value``, ``gradient`` and ``hessian``, in the
parameters ``(logit b, m_o, m_n)``, exact for any dimension and for means in general
position. The trick: a log-odds is affine in the sample, hence a scalar Gaussian under
each mode, and Stein's identity turns every moment of the samples into a derivative of
the sigmoid. What remains is :mod:`forgetlib.logistic_normal`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from forgetlib import _arguments
from forgetlib.logistic_normal import LogisticMeans, logistic_means, sigmoid_slope_moments
from forgetlib.mixture import TwoModeMixture, check_mixture
from forgetlib.overlap import log_weight_slope

__all__ = ["ForwardKL", "Gradient", "Objective", "ReverseKL"]

FloatArray = NDArray[np.float64]


class Gradient(NamedTuple):
    """Gradient in the parameters of the model, in the original coordinates.

    Attributes
    ----------
    logit : float
        Derivative in the log-odds of the old weight.
    old_mean, new_mean : ndarray, shape (d,)
        Gradients in the two means.
    """

    logit: float
    old_mean: FloatArray
    new_mean: FloatArray


@runtime_checkable
class Objective(Protocol):
    """What a flow needs to know of an objective.

    ``mixtures`` names the attributes that hold mixtures, the one it is about first.
    """

    mixtures: ClassVar[tuple[str, ...]]

    def value(self, model: TwoModeMixture) -> float:
        """Value at a model, in nats."""

    def gradient(self, model: TwoModeMixture) -> Gradient:
        """Gradient at a model."""

    def hessian(self, model: TwoModeMixture) -> FloatArray:
        """Hessian at a model, shape (1 + 2d, 1 + 2d)."""


class _LogOdds(NamedTuple):
    """Log-odds of a mixture under one Gaussian: mean and standard deviation."""

    mean: float
    deviation: float


# the differences of means that everything is made of, and how
_MODEL_GAP, _TARGET_GAP, _OLD_ERROR, _NEW_ERROR = range(4)
_DIFFERENCES = np.array(  # of (m_o, m_n, mu_o, mu_n)
    [[-1.0, 1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 1.0], [1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, -1.0]]
)


class _Gram:
    """Differences of means and their inner products in the inverse covariance.

    Every population value depends on the means through these few numbers only, and
    every gradient is a combination of these few vectors.
    """

    def __init__(self, model: TwoModeMixture, target: TwoModeMixture) -> None:
        difference = _DIFFERENCES @ np.array(
            (model.old_mean, model.new_mean, target.old_mean, target.new_mean)
        )
        white = difference
        if target.covariance is not None:
            white = target.precision_times(difference.T).T
        self.vector = [*white]  # Sigma^{-1} times each
        self._inner = (difference @ white.T).tolist()

    def dot(self, first: int, second: int) -> float:
        inner = self._inner
        return 0.5 * (inner[first][second] + inner[second][first])  # type: ignore[no-any-return]

    def norm(self, index: int) -> float:
        return math.sqrt(max(0.0, self._inner[index][index]))


def check_compatible(model: TwoModeMixture, target: TwoModeMixture, name: str = "model") -> None:
    """Raise unless model and target live in one space with one covariance.

    Parameters
    ----------
    model, target : TwoModeMixture
    name : str
        What the model is called in the error.

    Raises
    ------
    ValueError
        If either is not a mixture, or the dimensions or the covariances differ.
    """
    check_mixture("target", target)
    check_mixture(name, model)
    if model.dim != target.dim:
        raise ValueError(f"{name} must have the target's dimension {target.dim}, got {model.dim}")
    if model.covariance is target.covariance:
        return
    if (
        model.covariance is not None
        and target.covariance is not None
        and np.array_equal(model.covariance, target.covariance)
    ):
        return
    identity = np.eye(target.dim)
    ours = identity if model.covariance is None else model.covariance
    theirs = identity if target.covariance is None else target.covariance
    if not np.allclose(ours, theirs, rtol=1e-12, atol=0.0):
        raise ValueError(
            f"{name} must share the target's covariance (the two-mode theory fixes it), "
            f"got one that differs by up to {np.abs(ours - theirs).max():.3g}"
        )


def _log_weights(mixture: TwoModeMixture) -> tuple[float, float]:
    return math.log(mixture.old_weight), math.log1p(-mixture.old_weight)


@dataclasses.dataclass(frozen=True)
class ForwardKL:
    r"""Forward KL to data: supervised fine-tuning, with or without replay.

    .. math:: L(q) = KL(\lambda f_o + (1 - \lambda) f_n \,\|\, q)

    Parameters
    ----------
    target : TwoModeMixture
        Supplies the two components :math:`f_o, f_n`. Its own old weight plays no part:
        only data can tell forward KL how much old mass to keep.
    replay : float
        Share :math:`\lambda` of old data, in [0, 1). 0 is new data only.

    Raises
    ------
    ValueError
        If ``replay`` is outside [0, 1), or ``target`` is not a mixture.

    Notes
    -----
    Label ``thm-mass-forgetting``; the setting is that of arXiv:2603.12163.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    >>> slope = fl.ForwardKL(target).gradient(target).logit
    >>> round(slope, 4)  # positive: the flow lowers the old weight
    0.6921
    """

    mixtures: ClassVar[tuple[str, ...]] = ("target",)
    target: TwoModeMixture
    replay: float = 0.0

    def __post_init__(self) -> None:
        check_mixture("target", self.target)
        object.__setattr__(self, "replay", _arguments.share("replay", self.replay))

    def _sources(self, gram: _Gram, model: TwoModeMixture) -> list[tuple[float, int, _LogOdds]]:
        """Weight, error vector and model's log-odds of old, for each data component."""
        gap = gram.norm(_MODEL_GAP)
        logit = model.old_logit
        # under N(mu_o): E log-odds = l + |u_q|^2/2 + u_q . (m_o - mu_o); likewise under new
        old = _LogOdds(logit + 0.5 * gap**2 + gram.dot(_MODEL_GAP, _OLD_ERROR), gap)
        new = _LogOdds(logit - 0.5 * gap**2 + gram.dot(_MODEL_GAP, _NEW_ERROR), gap)
        return [(self.replay, _OLD_ERROR, old), (1.0 - self.replay, _NEW_ERROR, new)]

    def value(self, model: TwoModeMixture) -> float:
        """Value of the objective.

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        float
            ``KL(data || model)`` in nats, >= 0.

        Raises
        ------
        ValueError
            If the model does not share the target's space and covariance.
        """
        check_compatible(model, self.target)
        gram = _Gram(model, self.target)
        (_, _, old), (_, _, new) = self._sources(gram, model)
        ours = _log_weights(model)
        gap = gram.norm(_TARGET_GAP)
        total = 0.0
        soft: list[tuple[float, tuple[float, float]]] = []  # multiples of means of softplus
        for weight, log_weight, error, mine, sign in (
            (self.replay, ours[0], _OLD_ERROR, old, -1.0),
            (1.0 - self.replay, ours[1], _NEW_ERROR, new, 1.0),
        ):
            if weight == 0.0:
                continue
            other = 1.0 - weight
            total += weight * (math.log(weight) - log_weight + 0.5 * gram.dot(error, error))
            soft.append((-weight, (sign * mine.mean, mine.deviation)))
            # E[log data] = log(weight) + E softplus(log-odds of the other source); without
            # replay the data are one Gaussian and their log-odds are -infinity
            if other > 0.0:
                data_odds = math.log(other) - math.log(weight) - 0.5 * gap**2
                soft.append((weight, (data_odds, gap)))
        means = logistic_means([odds for _, odds in soft]).softplus
        total += sum(factor * mean for (factor, _), mean in zip(soft, means, strict=True))
        return max(0.0, total)

    def gradient(self, model: TwoModeMixture) -> Gradient:
        r"""Gradient in ``(logit, old_mean, new_mean)``.

        .. math:: \partial_l L = b - E[r], \quad
                  \partial_{m_o} L = -E[r\, \Sigma^{-1}(y - m_o)], \quad
                  \partial_{m_n} L = -E[(1-r)\, \Sigma^{-1}(y - m_n)],

        expectations over the data, ``r`` the model's responsibility of its old mode.

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        Gradient

        Raises
        ------
        ValueError
            If the model does not share the target's space and covariance.
        """
        check_compatible(model, self.target)
        gram = _Gram(model, self.target)
        white_gap = gram.vector[_MODEL_GAP]
        weight = model.old_weight
        logit_slope = 0.0
        old_mean = np.zeros(model.dim)
        new_mean = np.zeros(model.dim)
        sources = [source for source in self._sources(gram, model) if source[0] > 0.0]
        rows = [(sign * odds.mean, odds.deviation) for *_, odds in sources for sign in (1.0, -1.0)]
        gap = gram.norm(_MODEL_GAP)
        fits_data = gap > 0.0 and not any(gram.vector[error].any() for _, error, _ in sources)
        if fits_data:
            rows.append((0.5 * gap**2 - abs(model.old_logit), gap))
        means = logistic_means(rows)
        given, slopes = means.sigmoid, means.slope
        for index, (share, error, odds) in enumerate(sources):
            old_given, new_given = given[2 * index : 2 * index + 2]
            slope = slopes[2 * index + (odds.mean > 0.0)]  # E[r (1 - r)]
            # b - E r, from whichever of r and 1 - r is small
            if old_given < 0.5:
                logit_slope += share * (weight - old_given)
            else:
                logit_slope += share * (new_given - (1.0 - weight))
            miss = -gram.vector[error]  # Sigma^{-1} (mu_source - m_component)
            to_old, to_new = _to_components(miss, white_gap, error)
            # Stein: E[r (y - m)] = E[r] (mu - m) - E[r (1 - r)] u_q
            old_mean -= share * (old_given * to_old - slope * white_gap)
            new_mean -= share * (new_given * to_new + slope * white_gap)
        if fits_data:
            # The data's components are the model's: then the slope is (b - lambda) S with
            # S = b (1 - b) I(b), a positive integral; see log_weight_slope
            light = min(weight, 1.0 - weight)
            if gap >= 1.0:
                information = (given[-1] - light) / (1.0 - light)
            else:
                information = math.exp(float(log_weight_slope(gap, model.old_logit))) / weight
            logit_slope = (weight - self.replay) * information
        return Gradient(logit_slope, old_mean, new_mean)

    def hessian(self, model: TwoModeMixture) -> FloatArray:
        r"""Hessian, by Louis' identity.

        .. math:: \nabla^2 L = \operatorname{diag}(b(1-b),\, E[r]\,\Sigma^{-1},\,
                  E[1-r]\,\Sigma^{-1}) - E[r(1-r)\, w w^\top], \qquad
                  w = (1,\ \Sigma^{-1}(y - m_o),\ -\Sigma^{-1}(y - m_n))

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        ndarray, shape (1 + 2d, 1 + 2d)
            Order: logit, old_mean, new_mean.

        Raises
        ------
        ValueError
            If the model does not share the target's space and covariance.
        """
        check_compatible(model, self.target)
        gram = _Gram(model, self.target)
        sources = [source for source in self._sources(gram, model) if source[0] > 0.0]
        given = logistic_means(
            [(sign * odds.mean, odds.deviation) for *_, odds in sources for sign in (1.0, -1.0)]
        ).sigmoid
        slopes = _slope_moments([odds for *_, odds in sources])
        core, precisions = np.zeros((5, 5)), np.zeros((2, 2))
        core[0, 0] = model.old_weight * (1.0 - model.old_weight)
        for index, (share, error, _) in enumerate(sources):
            # w under this source, in the frame: its own error is what to_old and to_new share
            center = (
                [1.0, 0.0, 1.0, -1.0, 0.0] if error == _OLD_ERROR else [1.0, 1.0, 0.0, 0.0, -1.0]
            )
            core -= share * _label_information(center, slopes[index])
            precisions += share * np.diag(given[2 * index : 2 * index + 2])
            precisions -= share * slopes[index][0] * _TOLD_APART
        gap, old_error, new_error = (
            gram.vector[name] for name in (_MODEL_GAP, _OLD_ERROR, _NEW_ERROR)
        )
        zero = np.zeros(model.dim)
        frame = [(gap, zero), (zero, gap), (old_error, -old_error), (new_error, -new_error)]
        return _assembled(self.target, frame, core, precisions)


def _to_components(miss: FloatArray, gap: FloatArray, error: int) -> tuple[FloatArray, FloatArray]:
    """Sigma^{-1} (mu - m_o) and Sigma^{-1} (mu - m_n) for a data component at mu."""
    return (miss, miss - gap) if error == _OLD_ERROR else (miss + gap, miss)


_TOLD_APART = np.array([[1.0, -1.0], [-1.0, 1.0]])  # signs of w w^T in the two means


def _slope_moments(odds: list[_LogOdds]) -> list[tuple[float, float, float]]:
    """Means of the first three derivatives of the sigmoid, for each law."""
    means, deviations = zip(*odds, strict=True)
    moments = sigmoid_slope_moments(means, deviations)
    return list(zip(*(one.tolist() for one in moments), strict=True))


def _label_information(center: list[float], slopes: tuple[float, float, float]) -> FloatArray:
    """E[r (1 - r) w w^T] under one Gaussian, the information lost with the labels.

    ``center`` is the mean of ``w`` in a frame (see :func:`_assembled`) whose vectors 1 and 2
    are the gap of the model, in the block of the old and of the new mean. What is missing is
    E[r (1 - r)] times the precision matrix, with the signs of ``_TOLD_APART``.
    """
    first, second, third = slopes
    # with s = r (1 - r): E[s z] = second * v, E[s z z^T] = first * I + third * v v^T (Stein)
    middle = np.array(center)
    along = np.zeros_like(middle)
    along[1:3] = -1.0, 1.0  # r = sigmoid(mean - u_q . z)
    mixed = np.multiply.outer(middle, second * along)
    return np.asarray(
        np.multiply.outer(first * middle, middle)
        + (mixed + mixed.T)
        + np.multiply.outer(third * along, along)
    )


def _assembled(
    target: TwoModeMixture,
    frame: list[tuple[FloatArray, FloatArray]],
    core: FloatArray,
    precisions: FloatArray,
) -> FloatArray:
    """Hessian from the few numbers that it holds.

    ``core`` are its coefficients in the frame of the unit vector of the logit and then of the
    given vectors, each with its block of the old and of the new mean; ``precisions`` are the
    multiples of the precision matrix in the four blocks of the means.
    """
    dim = target.dim
    vectors = np.zeros((1 + len(frame), 1 + 2 * dim))
    vectors[0, 0] = 1.0
    vectors[1:, 1:] = [np.concatenate(pair) for pair in frame]
    matrix = vectors.T @ (core @ vectors)
    old, new = slice(1, 1 + dim), slice(1 + dim, 1 + 2 * dim)
    for row, left in enumerate((old, new)):
        for column, right in enumerate((old, new)):
            matrix[left, right] += precisions[row, column] * target.precision
    return np.asarray(0.5 * (matrix + matrix.T))


@dataclasses.dataclass(frozen=True)
class ReverseKL:
    r"""Reverse KL to a target: reinforcement learning in its matching form.

    .. math:: L(q) = KL(q \,\|\, p)

    Parameters
    ----------
    target : TwoModeMixture
        The true target ``p``, old mass included.
    replay : float
        Share of old samples in a batch, in [0, 1). Batches are then drawn from
        ``(1 - replay) * model + replay * old component of the target`` and weighted back
        to the model, so that value, gradient and Hessian do not depend on it.

    Raises
    ------
    ValueError
        If ``replay`` is outside [0, 1), or ``target`` is not a mixture.

    Notes
    -----
    Labels ``thm-monotone-retention`` and ``thm-drift-force``; the setting is that of
    arXiv:2603.12163.

    Examples
    --------
    >>> import forgetlib as fl
    >>> target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    >>> objective = fl.ReverseKL(target)
    >>> objective.value(target)
    0.0
    >>> objective.gradient(target.replace(old_weight=0.9)).logit > 0
    True
    """

    mixtures: ClassVar[tuple[str, ...]] = ("target",)
    target: TwoModeMixture
    replay: float = 0.0

    def __post_init__(self) -> None:
        check_mixture("target", self.target)
        object.__setattr__(self, "replay", _arguments.share("replay", self.replay))

    def _odds(self, gram: _Gram, model: TwoModeMixture) -> dict[str, tuple[_LogOdds, _LogOdds]]:
        """Log-odds of *old* under model and target, for samples of either model mode."""
        model_gap, target_gap = gram.norm(_MODEL_GAP), gram.norm(_TARGET_GAP)
        ours, theirs = model.old_logit, self.target.old_logit
        return {
            "old": (
                _LogOdds(ours + 0.5 * model_gap**2, model_gap),
                _LogOdds(
                    theirs + 0.5 * target_gap**2 - gram.dot(_TARGET_GAP, _OLD_ERROR),
                    target_gap,
                ),
            ),
            "new": (
                _LogOdds(ours - 0.5 * model_gap**2, model_gap),
                _LogOdds(
                    theirs - 0.5 * target_gap**2 - gram.dot(_TARGET_GAP, _NEW_ERROR),
                    target_gap,
                ),
            ),
        }

    def _means(self, odds: dict[str, tuple[_LogOdds, _LogOdds]]) -> LogisticMeans:
        """Means for the log-odds of the other mode: old samples under model and target, then new."""
        return logistic_means([(-o.mean, o.deviation) for o in odds["old"]] + [*odds["new"]])

    def _mean_log_ratios(
        self,
        gram: _Gram,
        means: LogisticMeans,
        model: TwoModeMixture,
    ) -> tuple[float, float]:
        """E[log(q / p)] under the old and under the new mode of the model."""
        ours, theirs = _log_weights(model), _log_weights(self.target)
        # log q = log(weight * density of the mode) + softplus(log-odds of the other mode)
        old_q, old_p, new_q, new_p = means.softplus
        old = ours[0] - theirs[0] + 0.5 * gram.dot(_OLD_ERROR, _OLD_ERROR) + (old_q - old_p)
        new = ours[1] - theirs[1] + 0.5 * gram.dot(_NEW_ERROR, _NEW_ERROR) + (new_q - new_p)
        return old, new

    def value(self, model: TwoModeMixture) -> float:
        """Value of the objective.

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        float
            ``KL(model || target)`` in nats, >= 0.

        Raises
        ------
        ValueError
            If the model does not share the target's space and covariance.
        """
        check_compatible(model, self.target)
        gram = _Gram(model, self.target)
        means = self._means(self._odds(gram, model))
        old, new = self._mean_log_ratios(gram, means, model)
        weight = model.old_weight
        return max(0.0, weight * old + (1.0 - weight) * new)

    def gradient(self, model: TwoModeMixture) -> Gradient:
        r"""Gradient in ``(logit, old_mean, new_mean)``.

        .. math::
           \partial_l L &= b(1-b)\,\{E_{m_o}[\log\tfrac qp] - E_{m_n}[\log\tfrac qp]\}, \\
           \partial_{m_o} L &= b\,\Sigma^{-1}[(m_o - \mu_o) + \varepsilon_q (m_n - m_o)
                               - \varepsilon_p (\mu_n - \mu_o)], \\
           \partial_{m_n} L &= (1-b)\,\Sigma^{-1}[(m_n - \mu_n) + \eta_q (m_o - m_n)
                               - \eta_p (\mu_o - \mu_n)].

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        Gradient

        Raises
        ------
        ValueError
            If the model does not share the target's space and covariance.

        Notes
        -----
        Label ``thm-drift-force``.
        """
        check_compatible(model, self.target)
        gram = _Gram(model, self.target)
        weight = model.old_weight
        means = self._means(self._odds(gram, model))
        old, new = self._mean_log_ratios(gram, means, model)
        # misassignment of old samples by model and target, then of new samples
        eps_q, eps_p, eta_q, eta_p = means.sigmoid
        model_gap, target_gap = gram.vector[_MODEL_GAP], gram.vector[_TARGET_GAP]
        return Gradient(
            weight * (1.0 - weight) * (old - new),
            weight * (gram.vector[_OLD_ERROR] + (eps_q * model_gap - eps_p * target_gap)),
            (1.0 - weight) * (gram.vector[_NEW_ERROR] - (eta_q * model_gap - eta_p * target_gap)),
        )

    def hessian(self, model: TwoModeMixture) -> FloatArray:
        r"""Hessian: Fisher information plus what the remaining error adds.

        .. math:: \nabla^2 L = F(q) + \int \nabla^2 q\, \log\tfrac qp

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        ndarray, shape (1 + 2d, 1 + 2d)
            Order: logit, old_mean, new_mean. At ``model = target`` it is the Fisher
            information of the mixture.

        Raises
        ------
        ValueError
            If the model does not share the target's space and covariance.
        """
        check_compatible(model, self.target)
        gram = _Gram(model, self.target)
        b = model.old_weight
        odds = self._odds(gram, model)
        means = self._means(odds)
        old, new = self._mean_log_ratios(gram, means, model)
        eps_q, eps_p, eta_q, eta_p = means.sigmoid
        old_q, old_p, new_q, new_p = _slope_moments([*odds["old"], *odds["new"]])

        # frame: logit, u_q for the old mean, u_q for the new, the same for u_p
        core = -b * _label_information([1.0, 0.0, 1.0, 0.0, 0.0], old_q)
        core -= (1.0 - b) * _label_information([1.0, 1.0, 0.0, 0.0, 0.0], new_q)
        core[0, 0] += b * (1.0 - b) * (1.0 + (1.0 - 2.0 * b) * (old - new))
        # E[grad^2 A] = E[r_q (1 - r_q)] u_q u_q^T - E[r_p (1 - r_p)] u_p u_p^T, A = log(q / p)
        core[range(1, 5), range(1, 5)] += [
            b * old_q[0],
            (1.0 - b) * new_q[0],
            -b * old_p[0],
            -(1.0 - b) * new_p[0],
        ]
        precisions = np.diag([b, 1.0 - b])
        precisions -= (b * old_q[0] + (1.0 - b) * new_q[0]) * _TOLD_APART
        gap, target_gap = gram.vector[_MODEL_GAP], gram.vector[_TARGET_GAP]
        zero = np.zeros(model.dim)
        frame = [(gap, zero), (zero, gap), (target_gap, zero), (zero, target_gap)]
        matrix = _assembled(self.target, frame, core, precisions)

        # d/dl of b E_o[grad A] and (1 - b) E_n[grad A]
        force = np.concatenate(
            [
                gram.vector[_OLD_ERROR] + (eps_q * gap - eps_p * target_gap),
                -(gram.vector[_NEW_ERROR] - (eta_q * gap - eta_p * target_gap)),
            ]
        )
        matrix[0, 1:] += b * (1.0 - b) * force
        matrix[1:, 0] += b * (1.0 - b) * force
        return matrix
