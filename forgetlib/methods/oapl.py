r"""OAPL: off-policy regression toward a tilt of the lagged policy that drew the samples.

Between two synchronizations the samples come from a lagged copy of the model. One *round*
fits the log-ratio to the advantage,

.. math:: L(q) = E_{\text{lag}}\Big[\big(\tau \log\tfrac{q}{q_{\text{lag}}} - (R - V)\big)^2
          \Big], \qquad V = \tau_V \log E_{\text{lag}}\, e^{R/\tau_V},

and then the lagged copy is renewed. With one temperature, :math:`\tau_V = \tau`, the loss is
zero exactly at the tilt :math:`q_{\text{lag}}\, e^{R/\tau}` (label ``thm-round-target``), so
that a reward which is ``G`` higher on the new mode lowers the logit of the old one by
:math:`G/\tau` in every round (label ``thm-sync-decay``). Nothing fixed holds the old mass:
the reference moves along.

:class:`OAPL` is the method, :class:`LaggedRegression` the objective of one of its rounds, and
:func:`group_value` says what the estimate of :math:`V` from one group does.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from forgetlib import _arguments
from forgetlib.logistic_normal import gauss_legendre, softplus
from forgetlib.methods._reward import Gate, GatedReward
from forgetlib.mixture import TwoModeMixture, check_mixture
from forgetlib.objective import Gradient, check_compatible
from forgetlib.overlap import misassignment_bound

__all__ = ["OAPL", "GroupValue", "LaggedRegression", "group_value"]

FloatArray = NDArray[np.float64]

_STEP_IN_X = 0.5  # of the trapezoid rule; poles and branch points lie at +-i pi
_STEP_IN_Z = 0.6
_HALF_WIDTH = 8.6  # in z; exp(-8.6**2 / 2) = 9e-17
_MOST_NODES = 2_000_000
_SQRT_TWO_PI = math.sqrt(2.0 * math.pi)


def _value_temperature(value: float | None) -> float | None:
    return None if value is None else _arguments.positive("value_temperature", value)


# ---- one round ---------------------------------------------------------------------------


class _Nodes(NamedTuple):
    """Quadrature under the lagged policy, in the span of all differences of means."""

    weight: FloatArray  # (nodes,)
    residual: FloatArray  # (nodes,), what the loss squares
    responsibility: FloatArray  # (nodes,), of the model's old mode
    to_old: FloatArray  # (nodes, K), whitened y - m_o
    to_new: FloatArray  # (nodes, K)
    lift: FloatArray  # (d, K): from the span to gradients in original coordinates


def _axis(steepest: float, jump: float | None) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of one standard normal coordinate.

    ``steepest`` is the largest slope of a log-odds along it. At ``jump`` the integrand is
    discontinuous, and Gauss-Legendre panels meet there; else it is analytic, and the
    trapezoid rule converges geometrically. Along an axis that no log-odds sees, the integrand
    is a polynomial of degree at most three (a residual times two coordinates), for which the
    Gauss-Hermite rule with two nodes is exact.
    """
    z: FloatArray
    weight: FloatArray
    if steepest == 0.0:
        return np.array([-1.0, 1.0]), np.array([0.5, 0.5])
    if jump is None:
        step = min(_STEP_IN_Z, _STEP_IN_X / max(steepest, 1e-300))
        half = math.ceil(_HALF_WIDTH / step)
        z = step * np.arange(-half, half + 1.0)
        weight = np.full(z.shape, step)
    else:
        middle = min(max(jump, -_HALF_WIDTH), _HALF_WIDTH)
        width = min(1.5, 4.0 / max(steepest, 1e-300))
        edges = np.concatenate(
            [
                np.linspace(low, high, math.ceil((high - low) / width) + 1)[skip:]
                for low, high, skip in ((-_HALF_WIDTH, middle, 0), (middle, _HALF_WIDTH, 1))
            ]
        )
        half_width = 0.5 * np.diff(edges)[:, None]
        nodes, shares = gauss_legendre(16)
        z = (edges[:-1, None] + half_width * (1.0 + nodes)).ravel()
        weight = (half_width * shares).ravel()
    return z, weight * np.exp(-0.5 * z * z) / _SQRT_TWO_PI


def _basis(gate: FloatArray, log_odds: FloatArray, shift: FloatArray) -> tuple[FloatArray, int]:
    """Orthonormal basis (d, K) of some vectors, and how many axes a log-odds can see.

    The first axis is that of the gate, then come those that complete the span of the other
    gradients of log-odds (rows), and last, if need be, one for the shift of a mean.
    """
    size = max(float(np.abs([gate, *log_odds, shift]).max()), 1e-300)
    columns: list[FloatArray] = []
    seen = 0
    for vectors in (gate[None], log_odds, shift[None]):
        seen = len(columns)
        if seen == gate.size:
            break
        for column in columns:
            vectors = vectors - np.outer(vectors @ column, column)
        _, singular, directions = np.linalg.svd(vectors, full_matrices=False)
        columns += [v for s, v in zip(singular, directions, strict=True) if s > 1e-13 * size]
    if not columns:
        columns = [np.eye(gate.size)[0]]
    return np.stack(columns, axis=1), seen


@dataclasses.dataclass(frozen=True)
class LaggedRegression:
    r"""One round of OAPL: regress the log-ratio to the lagged policy on the advantage.

    .. math:: L(q) = E_{\text{lag}}\big[\rho^2\big], \qquad
              \rho = \tau \log\frac{q}{q_{\text{lag}}} - (R - V), \qquad
              V = \tau_V \log E_{\text{lag}}\, e^{R/\tau_V}

    Parameters
    ----------
    lagged : TwoModeMixture
        The policy that draws the samples, and that the log-ratio refers to.
    reference : TwoModeMixture
        Its responsibility is the gate of the reward.
    reward_gap : float
        How much higher the reward of the new mode is; any finite number.
    temperature : float
        :math:`\tau > 0`, in units of the reward.
    value_temperature : float or None
        :math:`\tau_V > 0`; None is the same as ``temperature``.
    gate : {"soft", "hard"}
        Reward ``reward_gap * (1 - r)`` or ``reward_gap * 1[r < 1/2]``.

    Raises
    ------
    ValueError
        If a field is not of that kind.

    Notes
    -----
    Labels ``thm-round-target`` and ``prp-coverage-lost``; the algorithm is that of
    arXiv:2602.19362. The integrals are not one-dimensional, since they hold products of
    three log-odds. They are sums over a grid in the span of the differences of means:
    cheap if those are collinear, and an error if the grid would exceed two million nodes.

    Examples
    --------
    >>> import forgetlib as fl
    >>> lagged = fl.TwoModeMixture.separated(6.0, old_weight=0.8)
    >>> round_ = fl.OAPL(lagged, reward_gap=0.8, temperature=1.0, sync_every=50).round()
    >>> start, tilted = (round_.value(lagged.replace(old_weight=b)) for b in (0.8, 0.6425))
    >>> start > 1000 * tilted
    True
    """

    lagged: TwoModeMixture
    reference: TwoModeMixture
    reward_gap: float
    temperature: float
    value_temperature: float | None = None
    gate: Gate = "soft"

    mixtures: ClassVar[tuple[str, ...]] = ("lagged", "reference")

    def __post_init__(self) -> None:
        check_mixture("lagged", self.lagged)
        check_mixture("reference", self.reference)
        check_compatible(self.reference, self.lagged, "reference")
        object.__setattr__(self, "reward_gap", self.reward.gap)
        object.__setattr__(
            self, "temperature", _arguments.positive("temperature", self.temperature)
        )
        object.__setattr__(self, "value_temperature", _value_temperature(self.value_temperature))

    @cached_property
    def reward(self) -> GatedReward:
        """The reward, as a function of a sample."""
        return GatedReward(self.reference, self.reward_gap, self.gate)

    def log_partition(self, temperature: float) -> float:
        r"""Soft maximum of the reward, :math:`\tau \log E_{\text{lag}}\, e^{R/\tau}`.

        Parameters
        ----------
        temperature : float
            Positive.

        Returns
        -------
        float
            In units of the reward, between its mean and its largest value.
        """
        k = 1.0 / _arguments.positive("temperature", temperature)
        lag = self.lagged
        old, new = (self.reward.log_moment(m, k).log_value for m in (lag.old_mean, lag.new_mean))
        return float(
            np.logaddexp(math.log(lag.old_weight) + old, math.log1p(-lag.old_weight) + new) / k
        )

    @cached_property
    def baseline(self) -> float:
        """The value ``V`` that is subtracted from the reward."""
        return self.log_partition(self.value_temperature or self.temperature)

    def residual(self, model: TwoModeMixture, y: ArrayLike) -> FloatArray:
        r"""What the loss squares: :math:`\tau \log(q / q_{\text{lag}}) - (R - V)`.

        Parameters
        ----------
        model : TwoModeMixture
        y : array_like, shape (..., d); for d = 1 also (...,)

        Returns
        -------
        ndarray, shape (...)
        """
        check_compatible(model, self.lagged)
        log_ratio = model.logpdf(y) - self.lagged.logpdf(y)
        return np.asarray(self.temperature * log_ratio - self.reward(y) + self.baseline)

    def target_logpdf(self, y: ArrayLike) -> FloatArray:
        r"""Log density of the tilt :math:`\pi^* \propto q_{\text{lag}}\, e^{R/\tau}`.

        Parameters
        ----------
        y : array_like, shape (..., d); for d = 1 also (...,)

        Returns
        -------
        ndarray, shape (...)
            In nats.
        """
        advantage = self.reward(y) - self.log_partition(self.temperature)
        return np.asarray(self.lagged.logpdf(y) + advantage / self.temperature)

    def _nodes(self, model: TwoModeMixture) -> _Nodes:
        check_compatible(model, self.lagged)
        lag, reference = self.lagged, self.reference
        origin = lag.old_mean
        gate = lag.whiten(reference.new_mean - reference.old_mean)
        means = lag.whiten(np.stack([lag.new_mean, model.old_mean, model.new_mean]) - origin)
        basis, seen = _basis(gate, np.stack([means[0], means[2] - means[1]]), means[1])
        gate = gate @ basis
        lag_new, old, new = means @ basis
        steepest = np.abs([gate, lag_new, new - old]).max(axis=0)
        steepest[seen:] = 0.0
        center = float(reference.log_odds(origin))  # the gate's log-odds at the origin
        jumps = self.gate == "hard" and reference.separation > 0.0

        parts = []
        for mode, share in (
            (np.zeros_like(old), lag.old_weight),
            (lag_new, 1.0 - lag.old_weight),
        ):
            jump = (center - float(mode @ gate)) / float(gate[0]) if jumps else None
            axes = [
                _axis(float(slope), jump if axis == 0 else None)
                for axis, slope in enumerate(steepest)
            ]
            nodes = math.prod(z.size for z, _ in axes)
            if nodes > _MOST_NODES:
                raise ValueError(
                    f"model must leave a quadrature of at most {_MOST_NODES} nodes (nearly "
                    f"collinear means, moderate separations), got {nodes} nodes in "
                    f"{len(axes)} dimensions"
                )
            grid = np.meshgrid(*(z for z, _ in axes), indexing="ij")
            z = np.stack([g.ravel() for g in grid], axis=1)
            weight = share * functools.reduce(np.multiply.outer, (w for _, w in axes)).ravel()
            if len(axes) > 1:  # the corners of the grid weigh no more than what is beyond it
                inside = (z * z).sum(axis=1) <= _HALF_WIDTH**2
                z, weight = z[inside], weight[inside]
            parts.append((z + mode, weight))
        y = np.concatenate([part[0] for part in parts])
        weight = np.concatenate([part[1] for part in parts])

        ours = model.old_logit + (y - 0.5 * (old + new)) @ (old - new)
        theirs = lag.old_logit - (y - 0.5 * lag_new) @ lag_new
        # log q - log lag, each from its new mode: softplus(log-odds) is the other mode's part
        log_ratio = (
            math.log1p(-model.old_weight)
            - math.log1p(-lag.old_weight)
            + (y - 0.5 * (new + lag_new)) @ (new - lag_new)
            + softplus(ours)
            - softplus(theirs)
        )
        reward = self.reward.of_log_odds(center - y @ gate)
        return _Nodes(
            weight,
            self.temperature * log_ratio - reward + self.baseline,
            np.asarray(scipy.special.expit(ours)),
            y - old,
            y - new,
            lag.precision_times(lag.unwhiten(basis.T).T),
        )

    def value(self, model: TwoModeMixture) -> float:
        """Mean squared residual under the lagged policy.

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        float
            In squared units of the reward, >= 0.

        Raises
        ------
        ValueError
            If the model does not share the lagged policy's space and covariance, or its
            means are too far out of line for the quadrature.
        """
        nodes = self._nodes(model)
        return float(nodes.weight @ nodes.residual**2)

    def gradient(self, model: TwoModeMixture) -> Gradient:
        r"""Gradient :math:`2\tau\, E_{\text{lag}}[\rho\, s]`, with ``s`` the model's score.

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        Gradient

        Raises
        ------
        ValueError
            As :meth:`value`.
        """
        weight, residual, r, to_old, to_new, lift = self._nodes(model)
        slope = 2.0 * self.temperature * weight * residual
        return Gradient(
            float(slope @ (r - model.old_weight)),
            lift @ ((slope * r) @ to_old),
            lift @ ((slope * (1.0 - r)) @ to_new),
        )

    def hessian(self, model: TwoModeMixture) -> FloatArray:
        r"""Hessian, :math:`2\tau^2 E_{\text{lag}}[s s^\top] + 2\tau E_{\text{lag}}[\rho
        \nabla^2 \log q]`.

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        ndarray, shape (1 + 2d, 1 + 2d)
            Order: logit, old_mean, new_mean. Where the residual vanishes it is
            :math:`2\tau^2` times the Fisher information *under the lagged policy*.

        Raises
        ------
        ValueError
            As :meth:`value`.

        Notes
        -----
        Label ``prp-coverage-lost``.
        """
        weight, residual, r, to_old, to_new, lift = self._nodes(model)
        b = model.old_weight
        squares = 2.0 * self.temperature**2 * weight
        slope = 2.0 * self.temperature * weight * residual
        score = np.column_stack([r - b, r[:, None] * to_old, (1.0 - r)[:, None] * to_new])
        jump = np.column_stack([np.ones_like(r), to_old, -to_new])
        lost = slope * r * (1.0 - r)
        inner = (score.T * squares) @ score + (jump.T * lost) @ jump
        # Louis: grad^2 log q = r (1 - r) w w^T - diag(b (1 - b), r P, (1 - r) P)
        size = lift.shape[1]
        inner[0, 0] -= b * (1.0 - b) * float(slope.sum())
        old, new = slice(1, 1 + size), slice(1 + size, 1 + 2 * size)
        inner[old, old] -= float(slope @ r) * np.eye(size)
        inner[new, new] -= float(slope @ (1.0 - r)) * np.eye(size)

        dim = model.dim
        frame = np.zeros((1 + 2 * dim, 1 + 2 * size))
        frame[0, 0] = 1.0
        frame[1 : 1 + dim, old] = frame[1 + dim :, new] = lift
        matrix = frame @ inner @ frame.T
        if size < dim:  # across the span y is standard normal, whatever the mode
            across = self.lagged.precision - lift @ lift.T
            both = float(lost.sum())
            matrix[1 : 1 + dim, 1 : 1 + dim] += across * (
                float(squares @ r**2) + both - float(slope @ r)
            )
            matrix[1 + dim :, 1 + dim :] += across * (
                float(squares @ (1.0 - r) ** 2) + both - float(slope @ (1.0 - r))
            )
            mixed = across * (float(squares @ (r * (1.0 - r))) - both)
            matrix[1 : 1 + dim, 1 + dim :] += mixed
            matrix[1 + dim :, 1 : 1 + dim] += mixed.T
        return np.asarray(0.5 * (matrix + matrix.T))


# ---- the value estimate of a group -------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class GroupValue:
    r"""Law of the value estimate from one group of two-valued rewards.

    Attributes
    ----------
    exact : float
        :math:`V = \tau_V \log E\, e^{R/\tau_V}`, in units of the reward.
    bias : float
        :math:`E[\hat V] - V \le 0`.
    deviation : float
        Standard deviation of :math:`\hat V`.
    covariance : float
        Covariance of :math:`\hat V` with the share of successes in the same group; it has
        the sign of the reward gap.
    """

    exact: float
    bias: float
    deviation: float
    covariance: float


def group_value(
    success_rate: float,
    group_size: int,
    value_temperature: float = 1.0,
    reward_gap: float = 1.0,
) -> GroupValue:
    r"""What a group says about the value, exactly.

    Rewards are ``reward_gap`` with probability ``success_rate``, else 0, and a group of ``n``
    estimates the value by :math:`\hat V = \tau_V \log\frac1n \sum_i e^{R_i/\tau_V}`.

    Parameters
    ----------
    success_rate : float
        Strictly between 0 and 1.
    group_size : int
        ``n``, from 1 to a million.
    value_temperature : float
        :math:`\tau_V > 0`, in units of the reward.
    reward_gap : float
        Any finite number.

    Returns
    -------
    GroupValue

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Label ``thm-value-bias``. A finite sum over the number of successes, without its tails.

    Examples
    --------
    >>> import forgetlib as fl
    >>> [round(fl.group_value(0.2, n).bias, 5) for n in (4, 8, 64)]
    [-0.03097, -0.016, -0.00204]
    """
    p = _arguments.weight("success_rate", success_rate)
    size = _arguments.integer("group_size", group_size, 1)
    if size > 1_000_000:
        raise ValueError(f"group_size must be at most 1000000, got {group_size!r}")
    temperature = _arguments.positive("value_temperature", value_temperature)
    gap = _arguments.number("reward_gap", reward_gap, "be a finite number", math.isfinite)
    return _group_value(p, 1.0 - p, size, temperature, gap)


def _group_value(p: float, q: float, size: int, temperature: float, gap: float) -> GroupValue:
    """As :func:`group_value`, for a success rate ``p = 1 - q`` that may round to 0 or 1."""
    reach = 40.0 + 12.0 * math.sqrt(size * p * q)  # the rest has a probability below 1e-30
    first = max(0, math.floor(size * q - reach))
    losses = np.arange(first, min(size, math.ceil(size * q + reach)) + 1.0)
    wins = size - losses
    log_law = (
        scipy.special.gammaln(size + 1.0)
        - scipy.special.gammaln(wins + 1.0)
        - scipy.special.gammaln(losses + 1.0)
        + scipy.special.xlogy(wins, p)
        + scipy.special.xlogy(losses, q)
    )
    law = np.exp(log_law - np.logaddexp.reduce(log_law))
    height = gap / temperature
    value = temperature * _log_tilt(wins / size, losses / size, height)
    exact = temperature * float(_log_tilt(p, q, height))
    error = value - exact
    bias = float(law @ error)
    # the share of successes less p, from whichever end is near
    excess = wins / size - p if p < 0.5 else q - losses / size
    return GroupValue(
        exact,
        bias,
        math.sqrt(float(law @ (error - bias) ** 2)),
        float(law @ (excess * (error - bias))),
    )


def _log_tilt(p: ArrayLike, q: ArrayLike, height: float) -> FloatArray:
    """log(q + p e^h) for p + q = 1, without overflow, and without cancellation for small h."""
    if abs(height) < 1.0:
        return np.log1p(np.asarray(p) * math.expm1(height))
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log(q), np.log(p) + height)


# ---- the method --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class OAPL:
    r"""Optimal-advantage regression with a lagged policy, renewed every few steps.

    Parameters
    ----------
    lagged : TwoModeMixture
        The policy that draws the first samples. Its responsibility is the gate of the
        reward, forever: a synchronization does not change what is rewarded.
    reward_gap : float
        :math:`G`: how much higher the reward of the new mode is. Any finite number.
    temperature : float
        :math:`\tau > 0`: what multiplies the log-ratio in the loss.
    sync_every : int
        Optimizer steps between two synchronizations, at least 1.
    value_temperature : float or None
        :math:`\tau_V > 0` of the value estimate; None is the same as ``temperature``.
    gate : {"soft", "hard"}
        Reward :math:`G(1-r)` or :math:`G\,1[r < 1/2]`.
    group_size : int or None
        Samples that share one value estimate, at least 1; None takes the whole batch (and
        the exact value in all population quantities).

    Raises
    ------
    ValueError
        If a field is not of that kind.

    Notes
    -----
    The algorithm is that of arXiv:2602.19362, seen through the two modes of
    arXiv:2603.12163. Labels ``thm-round-target``, ``thm-sync-decay``,
    ``thm-beta-mismatch``.

    Examples
    --------
    >>> import forgetlib as fl
    >>> lagged = fl.TwoModeMixture.separated(6.0, old_weight=0.8)
    >>> method = fl.OAPL(lagged, reward_gap=0.8, temperature=1.0, sync_every=50)
    >>> [round(float(b), 4) for b in method.old_weight_after([2, 4, 6, 8, 10])]
    [0.4468, 0.1402, 0.0319, 0.0066, 0.0013]
    >>> method.rounds_until(0.4)
    3
    """

    lagged: TwoModeMixture
    reward_gap: float
    temperature: float
    sync_every: int
    value_temperature: float | None = None
    gate: Gate = "soft"
    group_size: int | None = None

    mixtures: ClassVar[tuple[str, ...]] = ("lagged",)

    def __post_init__(self) -> None:
        check_mixture("lagged", self.lagged)
        object.__setattr__(self, "reward_gap", self.reward.gap)
        object.__setattr__(
            self, "temperature", _arguments.positive("temperature", self.temperature)
        )
        object.__setattr__(self, "sync_every", _arguments.integer("sync_every", self.sync_every, 1))
        object.__setattr__(self, "value_temperature", _value_temperature(self.value_temperature))
        if self.group_size is not None:
            size = _arguments.integer("group_size", self.group_size, 1)
            object.__setattr__(self, "group_size", size)

    @cached_property
    def reward(self) -> GatedReward:
        """The reward, as a function of a sample."""
        return GatedReward(self.lagged, self.reward_gap, self.gate)

    def round(self, lagged: TwoModeMixture | None = None) -> LaggedRegression:
        """Objective of the round that a lagged policy draws.

        Parameters
        ----------
        lagged : TwoModeMixture or None
            None is the first round.

        Returns
        -------
        LaggedRegression

        Raises
        ------
        ValueError
            If the policy does not share the method's space and covariance.
        """
        return LaggedRegression(
            self.lagged if lagged is None else lagged,
            self.lagged,
            self.reward_gap,
            self.temperature,
            self.value_temperature,
            self.gate,
        )

    # ---- the logit, without overlap ------------------------------------------------------

    @property
    def _is_exact(self) -> bool:
        """Whether a round ends at the tilt: one temperature, and the exact value."""
        matched = self.value_temperature in (None, self.temperature)
        return matched and self.group_size is None

    def logit_slope(self, old_logit: float, lagged_logit: float) -> float:
        r"""Slope of a round's loss in the logit, if each mode has its own reward.

        .. math:: 2\tau\,\big\{\bar b(1-b)\,[\tau\log\tfrac b{\bar b} + V_o]
                  - (1-\bar b)\,b\,[\tau\log\tfrac{1-b}{1-\bar b} - G + V_n]\big\}

        with :math:`\bar b` the lagged and :math:`b` the model's old weight, and
        :math:`V_o = V_n = V`; with a ``group_size`` they are the means of :math:`\hat V` as
        seen by a sample of either kind.

        Parameters
        ----------
        old_logit, lagged_logit : float
            Log-odds of the old mode in the model and in the lagged policy.

        Returns
        -------
        float

        Notes
        -----
        Labels ``thm-beta-mismatch`` and ``thm-value-bias``.
        """
        values = self._values(lagged_logit)
        return self._logit_slope(old_logit, lagged_logit, *values)

    def _logit_slope(
        self, old_logit: float, lagged_logit: float, old_value: float, new_value: float
    ) -> float:
        log_a, log_c = (
            float(scipy.special.log_expit(lagged_logit)),
            float(scipy.special.log_expit(-lagged_logit)),
        )
        log_b, log_d = (
            float(scipy.special.log_expit(old_logit)),
            float(scipy.special.log_expit(-old_logit)),
        )
        tau = self.temperature
        old = tau * (log_b - log_a) + old_value
        new = tau * (log_d - log_c) - self.reward_gap + new_value
        return 2.0 * tau * (math.exp(log_a + log_d) * old - math.exp(log_c + log_b) * new)

    def _values(self, lagged_logit: float) -> tuple[float, float]:
        """Mean value estimate that an old and a new sample of the lagged policy meet."""
        old_weight, new_weight = (
            float(scipy.special.expit(lagged_logit)),
            float(scipy.special.expit(-lagged_logit)),
        )
        temperature = self.value_temperature or self.temperature
        height = self.reward_gap / temperature
        if self.group_size is None or min(new_weight, old_weight) < 1e-300:
            exact = temperature * float(_log_tilt(new_weight, old_weight, height))
            return exact, exact
        found = _group_value(new_weight, old_weight, self.group_size, temperature, self.reward_gap)
        mean = found.exact + found.bias
        # E[share of new * V] = (1 - a) E V + covariance, shared among (1 - a) new samples
        return mean - found.covariance / old_weight, mean + found.covariance / new_weight

    def round_logit(self, lagged_logit: float) -> float:
        r"""Where one exact round takes the logit, if each mode has its own reward.

        With one temperature and the exact value, :math:`l - G/\tau`. Otherwise the root of
        :meth:`logit_slope` that the gradient flow reaches from the lagged policy.

        Parameters
        ----------
        lagged_logit : float
            Log-odds of the old mode in the lagged policy.

        Returns
        -------
        float

        Notes
        -----
        Labels ``thm-sync-decay``, ``thm-beta-mismatch``.
        """
        shift = self.reward_gap / self.temperature
        if self._is_exact or shift == 0.0:
            return lagged_logit - shift
        fixed = (lagged_logit, *self._values(lagged_logit))
        away = -math.copysign(1.0, self._logit_slope(lagged_logit, *fixed))
        near, reach = lagged_logit, 1.0
        while away * self._logit_slope(near + away * reach, *fixed) < 0.0:
            near, reach = near + away * reach, 2.0 * reach
        # the first root on the way: there may be three if the value is colder than the loss
        for far in np.linspace(near, near + away * reach, 101)[1:]:
            if away * self._logit_slope(float(far), *fixed) >= 0.0:
                break
            near = float(far)
        root = scipy.optimize.brentq(
            self._logit_slope, near, float(far), args=fixed, xtol=1e-13, rtol=1e-14
        )
        return float(root)

    def synced_logits(self, rounds: int, learning_rate: float = 1.0) -> FloatArray:
        r"""Log-odds at every synchronization, if each mode has its own reward.

        Rounds that stop after ``sync_every`` steps: within each the logit follows
        :math:`\dot l = -\partial_l L` for a time ``learning_rate * sync_every``.

        Parameters
        ----------
        rounds : int
            At least 0.
        learning_rate : float
            Positive.

        Returns
        -------
        ndarray, shape (rounds + 1,)
            From the start on, in nats.

        Raises
        ------
        ValueError
            If an argument is out of range.

        Notes
        -----
        Labels ``thm-round-flow``, ``thm-sync-schedule``.

        Examples
        --------
        >>> import forgetlib as fl
        >>> lagged = fl.TwoModeMixture.separated(6.0, old_weight=0.8)
        >>> long, short = (fl.OAPL(lagged, 0.8, 1.0, steps) for steps in (400, 4))
        >>> [round(float(m.synced_logits(2, 0.1)[-1]), 3) for m in (long, short)]
        [-0.214, 1.188]
        """
        count = _arguments.integer("rounds", rounds, 0)
        time = _arguments.positive("learning_rate", learning_rate) * self.sync_every
        path = [self.lagged.old_logit]
        for _ in range(count):
            fixed = (path[-1], *self._values(path[-1]))

            def velocity(_: float, logit: FloatArray, fixed: Any = fixed) -> list[float]:
                return [-self._logit_slope(float(logit[0]), *fixed)]

            flow = scipy.integrate.solve_ivp(
                velocity, (0.0, time), path[-1:], method="LSODA", rtol=1e-10, atol=1e-12
            )
            path.append(float(flow.y[0, -1]))
        return np.array(path)

    def old_logit_after(self, rounds: ArrayLike) -> FloatArray:
        r"""Log-odds of the old mode after exact rounds, if each mode has its own reward.

        .. math:: l_K = l_0 - K\, G/\tau

        with one temperature; else the iterated :meth:`round_logit`.

        Parameters
        ----------
        rounds : array_like of int
            Numbers of rounds ``K >= 0``.

        Returns
        -------
        ndarray
            Of the shape of ``rounds``, in nats. It never underflows.

        Raises
        ------
        ValueError
            If a number of rounds is negative or not whole.

        Notes
        -----
        Label ``thm-sync-decay``.
        """
        counts = np.asarray(rounds)
        if counts.dtype.kind not in "iu" or counts.size == 0 or counts.min() < 0:
            raise ValueError(f"rounds must be integers >= 0, got {rounds!r}")
        if self._is_exact:
            return np.asarray(self.lagged.old_logit - counts * (self.reward_gap / self.temperature))
        path = [self.lagged.old_logit]
        for _ in range(int(counts.max())):
            path.append(self.round_logit(path[-1]))
        return np.asarray(np.array(path)[counts])

    def old_weight_after(self, rounds: ArrayLike) -> FloatArray:
        """Old weight after exact rounds, if each mode has its own reward.

        Parameters
        ----------
        rounds : array_like of int
            Numbers of rounds >= 0.

        Returns
        -------
        ndarray
            Of the shape of ``rounds``, in [0, 1]. It underflows below 1e-308; use
            :meth:`old_logit_after` there.

        Raises
        ------
        ValueError
            If a number of rounds is negative or not whole.

        Notes
        -----
        Label ``thm-sync-decay``. For a reward that sees the label of a sample, or modes that
        do not overlap. With a gate and overlap it is an approximation, and
        :func:`forgetlib.gradient_flow` is exact.
        """
        return np.asarray(scipy.special.expit(self.old_logit_after(rounds)))

    def rounds_until(self, old_weight: float) -> int:
        r"""Number of exact rounds after which the old weight is at most a given one.

        With one temperature the smallest integer :math:`K \ge \frac{\tau}{G}(l_0 -
        \operatorname{logit} b)`.

        Parameters
        ----------
        old_weight : float
            Level, strictly between 0 and 1.

        Returns
        -------
        int

        Raises
        ------
        ValueError
            If the level is not inside (0, 1), or is never reached because the reward does
            not favor the new mode, or because groups of one learn nothing.

        Notes
        -----
        Label ``thm-sync-decay``.
        """
        level = _arguments.weight("old_weight", old_weight)
        wanted = math.log(level) - math.log1p(-level)
        start = self.lagged.old_logit
        if wanted >= start:
            return 0
        if self.reward_gap <= 0.0:
            raise ValueError(
                "old_weight must be at least that of the lagged policy, "
                f"{self.lagged.old_weight:.6g}, for a reward_gap that does not favor the new "
                f"mode, got {old_weight!r}"
            )
        if self._is_exact:
            return math.ceil((start - wanted) * self.temperature / self.reward_gap - 1e-12)
        if self.group_size == 1:
            raise ValueError("group_size must be at least 2 for the old weight to fall, got 1")
        logit, count = start, 0
        while logit > wanted:
            after = self.round_logit(logit)
            if after >= logit:
                raise ValueError(
                    f"old_weight must be at least {float(scipy.special.expit(logit)):.6g}, where rounds move "
                    f"less than rounding errors, got {old_weight!r}"
                )
            logit, count = after, count + 1
        return count

    # ---- the old mean --------------------------------------------------------------------

    def old_drift(self, rounds: int = 1) -> FloatArray:
        r"""How far exact rounds displace the mean of the old component.

        After ``K`` exact rounds the policy is :math:`q_{\text{lag}}\, e^{K R/\tau}`. Its old
        component, the tilted Gaussian, has its mean at :math:`\mu_o` plus

        .. math:: K\,\frac G\tau\; E_{\text{tilted}}[s(1-s)]\; (\mu_n - \mu_o),
                  \qquad s = 1 - r,

        for the soft gate. For the hard one, :math:`s = 1[r < \tfrac12]`, it is

        .. math:: \frac{e^g - 1}{E_{f_o}[e^{gs}]}\; \frac1D\, \varphi\Big(\frac D2 + \frac{l}{D}\Big)
                  (\mu_n - \mu_o), \qquad g = K\,\frac G\tau,

        with the logit :math:`l` of the lagged policy and the standard normal density
        :math:`\varphi`.

        Parameters
        ----------
        rounds : int
            ``K >= 1``.

        Returns
        -------
        ndarray, shape (d,)
            In original coordinates.

        Raises
        ------
        ValueError
            If ``rounds`` is not an integer >= 1.

        Notes
        -----
        Label ``thm-lagged-drift``.
        """
        count = _arguments.integer("rounds", rounds, 1)
        moment = self.reward.log_moment(self.lagged.old_mean, count / self.temperature)
        return np.asarray(moment.first * (self.lagged.old_mean - self.lagged.new_mean))

    def old_drift_bound(self, rounds: int = 1) -> float:
        r"""Bound on the displacement of the old component, for the soft gate.

        .. math:: |g|\, c(g)\, e^{\max(0, -g)\,\bar\varepsilon}\, k\, \sqrt{\tfrac{1-b}{b}}\;
                  e^{-D^2/8}, \qquad
                  c(g) = \tfrac12 e^{g/2} \big[I_0(\tfrac g2) - I_1(\tfrac g2)\big], \quad
                  g = K\,\tfrac G\tau,

        with modified Bessel functions, :math:`k = \sqrt{\pi/2}`, and
        :math:`\bar\varepsilon` the bound on the misassignment.

        Parameters
        ----------
        rounds : int
            ``K >= 1``.

        Returns
        -------
        float
            Mahalanobis distance. Infinite if it exceeds 1e308.

        Raises
        ------
        ValueError
            If ``rounds`` is not an integer >= 1, or the gate is hard.

        Notes
        -----
        Label ``thm-lagged-drift``. Sharp as ``D`` grows while ``g`` is fixed. It stays small
        as long as ``g`` is well below :math:`D^2/8`.
        """
        count = _arguments.integer("rounds", rounds, 1)
        if self.gate != "soft":
            raise ValueError(f"gate must be 'soft' for the bound on the drift, got {self.gate!r}")
        tilt = count * self.reward_gap / self.temperature
        if tilt == 0.0:
            return 0.0
        lag = self.lagged
        half = 0.5 * tilt
        # e^{g/2} I_j(g/2), without overflow
        bessel = float(scipy.special.ive(0, half) - scipy.special.ive(1, half))
        log_factor = math.log(abs(half)) + max(tilt, 0.0) + math.log(bessel)
        log_overlap = 0.5 * math.log(0.5 * math.pi) - 0.5 * lag.old_logit - lag.separation**2 / 8.0
        log_norm = max(0.0, -tilt) * min(misassignment_bound(lag), 1.0 - lag.old_weight)
        with np.errstate(over="ignore"):
            return float(np.exp(log_factor + log_overlap + log_norm))
