r"""TTT-Discover: chase the best answer, held by a KL penalty to where it started.

In the two-mode model the method of arXiv:2601.16175 minimizes

.. math:: L(q) = \gamma\, \mathrm{KL}(q \,\|\, p_0) - \log Z(q), \qquad
          Z(q) = E_q\, e^{\beta R},

with ``R`` a reward that tells the modes apart, :math:`\beta` the inverse temperature and
:math:`p_0` the model before training. The gradient weighs a sample by
:math:`w = e^{\beta R} / Z`: its advantage is ``w - 1``.

What holds the old mode is the penalty alone. With mode-level rewards that differ by ``G``
and :math:`\rho = e^{-\beta G}` the old weight ends at the only solution of (label
``thm-entropic-retention``)

.. math:: \operatorname{logit} b = \operatorname{logit} b_0
          - \frac{1}{\gamma}\, \frac{1 - \rho}{1 - b\,(1 - \rho)} .

Practice replaces :math:`\beta` by a rule, "tilt every group by log 2 nats":
:func:`entropic_group`. That rule is a budget for one step and no anchor:
:func:`smallest_tilted_weight`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from forgetlib import _arguments
from forgetlib.logistic_normal import gauss_legendre
from forgetlib.methods._reward import Gate, GatedReward, LogMoment
from forgetlib.mixture import TwoModeMixture, check_mixture
from forgetlib.objective import Gradient, ReverseKL, check_compatible
from forgetlib.overlap import misassignment_probability

__all__ = [
    "EntropicGroup",
    "EntropicOptimum",
    "MeanForces",
    "TTTDiscover",
    "entropic_group",
    "smallest_tilted_weight",
]

FloatArray = NDArray[np.float64]

#: The largest inverse temperature that the adaptive rule may choose.
LARGEST_TEMPERATURE = 1e6
_HIGHEST = 1e300  # of inverse temperature times reward: beyond it nothing changes
_FAR, _NEAR_ONE = 500.0, 36.0  # log-odds between which a weight is a float inside (0, 1)


def _kl_weight(value: object) -> float:
    return _arguments.number(
        "kl_weight", value, "be a finite number >= 0", lambda x: 0.0 <= x < math.inf
    )


def _inverse_temperature(value: object) -> float | Literal["adaptive"]:
    if isinstance(value, str):
        if value == "adaptive":
            return "adaptive"
        raise ValueError(
            f"inverse_temperature must be a finite number > 0 or 'adaptive', got {value!r}"
        )
    return _arguments.number(
        "inverse_temperature",
        value,
        "be a finite number > 0 or 'adaptive'",
        lambda x: 0.0 < x < math.inf,
    )


# ---- one tilt --------------------------------------------------------------------------


def _tilted_divergence(height: float, winners: float) -> float:
    """KL(tilt || law) of a two-valued law, winners at log-odds ``winners`` lifted by height."""
    log_z = float(
        np.logaddexp(scipy.special.log_expit(-winners), height + scipy.special.log_expit(winners))
    )
    return height * float(scipy.special.expit(winners + height)) - log_z


def _budget_height(winners: float, budget: float, largest: float) -> float:
    """Height ``beta |G| >= 0`` that spends the budget, for winners at log-odds ``winners``."""
    if (
        -float(scipy.special.log_expit(winners)) <= budget
        or _tilted_divergence(largest, winners) <= budget
    ):
        return largest
    high = 1.0
    while _tilted_divergence(high, winners) < budget:
        high = min(2.0 * high, largest)
    return float(
        scipy.optimize.brentq(
            lambda h: _tilted_divergence(h, winners) - budget, 0.0, high, xtol=1e-15, rtol=1e-14
        )
    )


def smallest_tilted_weight(old_weight: float, budget: float = math.log(2.0)) -> float:
    r"""Smallest old weight that one exact tilt can leave, within a budget of KL divergence.

    The smaller root :math:`b'` of :math:`\mathrm{kl}(b' \,\|\, b) = B`, or 0 if
    :math:`-\log(1 - b) \le B`: then dropping the old mode is affordable.

    Parameters
    ----------
    old_weight : float
        Old weight ``b``, strictly between 0 and 1.
    budget : float
        Budget ``B`` in nats, > 0. The published rule has log 2.

    Returns
    -------
    float
        In [0, b).

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Label ``thm-budget``: repeated, it reaches exactly 0 after a few tilts.

    Examples
    --------
    >>> import forgetlib as fl
    >>> [round(fl.smallest_tilted_weight(b), 3) for b in (0.5, 0.75, 0.9, 0.99)]
    [0.0, 0.189, 0.423, 0.723]
    """
    weight = _arguments.weight("old_weight", old_weight)
    budget = _arguments.positive("budget", budget)
    winners = float(np.log1p(-weight) - np.log(weight))
    if -float(scipy.special.log_expit(winners)) <= budget:
        return 0.0
    return float(scipy.special.expit(-winners - _budget_height(winners, budget, math.inf)))


# ---- one group -------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class EntropicGroup:
    """What the method makes of the rewards of one group.

    Attributes
    ----------
    inverse_temperature : float
        Given, or found by the adaptive rule.
    advantages : ndarray, shape (n,)
        ``w - 1``, with ``w`` the reward's exponential over its mean in the rest of the group.
    divergence : float
        KL divergence of the tilted group from the uniform one, in nats.
    """

    inverse_temperature: float
    advantages: FloatArray
    divergence: float

    def __repr__(self) -> str:
        return (
            f"EntropicGroup({self.advantages.size} samples, "
            f"inverse_temperature={self.inverse_temperature:.4g}, "
            f"divergence={self.divergence:.4g})"
        )


def _group_divergence(height: float, below: FloatArray, counts: FloatArray) -> float:
    """KL(softmax || uniform); below are the distinct rewards, scaled to [-1, 0]."""
    logits = height * below
    weights = counts * np.exp(logits)
    total = float(weights.sum())
    return float(weights @ logits) / total - math.log(total) + math.log(float(counts.sum()))


def entropic_group(
    rewards: ArrayLike,
    inverse_temperature: float | Literal["adaptive"] = "adaptive",
    budget: float = math.log(2.0),
) -> EntropicGroup:
    r"""Advantages of one group of samples, as the published method computes them.

    .. math:: A_i = \frac{e^{\beta R_i}}{\frac{1}{n-1}\sum_{j \ne i} e^{\beta R_j}} - 1

    Parameters
    ----------
    rewards : array_like, shape (n,)
        Finite rewards of ``n >= 2`` samples.
    inverse_temperature : float or "adaptive"
        Above 0. ``"adaptive"`` is the one at which the tilted group is ``budget`` nats
        from the uniform one, at most 1e6.
    budget : float
        In nats, > 0; unused if the temperature is given.

    Returns
    -------
    EntropicGroup

    Raises
    ------
    ValueError
        If the rewards are not a vector of at least two finite numbers, or another argument
        is out of range.

    Notes
    -----
    Label ``prp-winner-group``. As in the published code 1e-12 is added to the mean of the
    others, in units of the largest exponential, so that a single winner of an unreachable
    budget gets a finite advantage.

    Examples
    --------
    >>> import numpy as np
    >>> import forgetlib as fl
    >>> group = fl.entropic_group(np.arange(64) < 8)  # 8 winners, 56 losers
    >>> round(group.inverse_temperature, 2), group.advantages.max().round(2)
    (2.47, np.float64(4.36))
    """
    values = np.asarray(rewards)
    if values.dtype.kind not in "fiub" or values.ndim != 1 or values.size < 2:
        raise ValueError(f"rewards must be a vector of at least 2 numbers, got {rewards!r}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"rewards must be finite, got {rewards!r}")
    k = _inverse_temperature(inverse_temperature)
    budget = _arguments.positive("budget", budget)
    width = float(values.max()) - float(values.min())
    if not math.isfinite(width):
        raise ValueError(f"rewards must differ by finite numbers, got {rewards!r}")
    below = (values - values.max()) / (width or 1.0)  # in [-1, 0]: no unit of reward is special
    distinct, counts = np.unique(below, return_counts=True)

    def spent(height: float) -> float:
        return _group_divergence(height, distinct, counts.astype(np.float64))

    if k == "adaptive":
        k, height = LARGEST_TEMPERATURE, min(LARGEST_TEMPERATURE * width, _HIGHEST)
        if spent(height) > budget * (1.0 + 1e-12):  # else it saturates
            high = 1.0
            while spent(high) < budget:
                high *= 2.0
            height = float(
                scipy.optimize.brentq(
                    lambda h: spent(h) - budget, 0.0, high, xtol=1e-15, rtol=1e-14
                )
            )
            k = height / width
    else:
        height = min(k * width, _HIGHEST)
    exponentials = np.exp(height * below)
    others = (exponentials.sum() - exponentials) / (values.size - 1)
    advantages = exponentials / (others + 1e-12) - 1.0
    return EntropicGroup(k, advantages, max(0.0, spent(height)))


@functools.lru_cache(maxsize=64)
def _two_valued(
    size: int, gap: float, k: float | Literal["adaptive"], budget: float
) -> tuple[FloatArray, FloatArray]:
    """Advantages of old and of new samples in a group, by the number of old ones."""
    groups = [
        entropic_group(np.where(np.arange(size) < old, 0.0, gap), k, budget).advantages
        for old in range(1, size)
    ]
    # equal rewards: no advantage
    of_old = np.array([0.0, *(group[0] for group in groups), 0.0])
    of_new = np.array([0.0, *(group[-1] for group in groups), 0.0])
    return of_old, of_new


# ---- what the method returns --------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class EntropicOptimum:
    r"""The best density of all, :math:`q_* \propto p_0 \exp\big(e^{\beta R} / (\gamma Z)\big)`.

    Attributes
    ----------
    log_normalizer : float
        :math:`\log Z`, with :math:`Z = E_{q_*} e^{\beta R}`.
    log_constant : float
        :math:`\log C`, with :math:`C = E_{p_0} \exp(e^{\beta R} / (\gamma Z))`.
    divergence : float
        :math:`\mathrm{KL}(q_* \,\|\, p_0)`, in nats; at most :math:`1/\gamma`.
    value : float
        Smallest value that the objective has on any density.
    old_weight : float
        Weight of the old component, tilted.
    old_region : float
        Probability that the reference's responsibility is at least 1/2.
    """

    log_normalizer: float
    log_constant: float
    divergence: float
    value: float
    old_weight: float
    old_region: float


class MeanForces(NamedTuple):
    r"""Forces on the old mean where all means are right, in units of :math:`\mu_n - \mu_o`.

    Attributes
    ----------
    reward : float
        Pull of the reward, :math:`\beta G\, E_o[s(1-s) e^{\beta R}] / (\gamma Z)`.
    penalty : float
        Pull of the penalty, :math:`\varepsilon(b_0) - \varepsilon(b)`.
    """

    reward: float
    penalty: float

    @property
    def net(self) -> float:
        """Their sum: where the spring of the penalty holds the old mean, to first order."""
        return self.reward + self.penalty


# ---- the method ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class TTTDiscover:
    r"""Entropic utility with a KL penalty to the initial model, minimized.

    .. math:: L(q) = \gamma\, \mathrm{KL}(q \,\|\, p_0) - \log E_q\, e^{\beta R}

    Parameters
    ----------
    reference : TwoModeMixture
        The model :math:`p_0` before training. Its responsibility is the reward's gate.
    reward_gap : float
        ``G``: how much more a new answer earns than an old one. Any finite number;
        negative if the reward likes the old mode.
    inverse_temperature : float or "adaptive"
        :math:`\beta > 0`. ``"adaptive"``: it is solved for so that the tilted law is ``budget``
        nats from the law that is sampled, at most 1e6; in every group of a simulation, and
        under the model itself in the population.
    kl_weight : float
        :math:`\gamma \ge 0`.
    gate : {"soft", "hard"}
        ``R = G (1 - r)`` or ``R = G 1[r < 1/2]``, with ``r`` the reference's
        responsibility of its old mode.
    group_size : int or None
        Samples in a group, at least 2, for simulations; None is the whole batch.
    budget : float
        Nats that the adaptive rule spends, > 0.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Labels ``thm-entropic-fixed-point``, ``thm-entropic-retention``, ``thm-gate-drift``; the
    method is that of arXiv:2601.16175, the question that of arXiv:2603.12163.

    Examples
    --------
    >>> import forgetlib as fl
    >>> reference = fl.TwoModeMixture.separated(6.0, old_weight=0.9)
    >>> method = fl.TTTDiscover(reference, 1.0, inverse_temperature=0.5, kl_weight=0.1)
    >>> round(method.stationary_old_weight(), 3)
    0.125
    """

    mixtures: ClassVar[tuple[str, ...]] = ("reference",)

    reference: TwoModeMixture
    reward_gap: float
    inverse_temperature: float | Literal["adaptive"]
    kl_weight: float
    gate: Gate = "soft"
    group_size: int | None = None
    budget: float = math.log(2.0)

    def __post_init__(self) -> None:
        check_mixture("reference", self.reference)
        reward = GatedReward(self.reference, self.reward_gap, self.gate)
        object.__setattr__(self, "reward_gap", reward.gap)
        k = _inverse_temperature(self.inverse_temperature)
        object.__setattr__(self, "inverse_temperature", k)
        object.__setattr__(self, "kl_weight", _kl_weight(self.kl_weight))
        if self.group_size is not None:
            size = _arguments.integer("group_size", self.group_size, 2)
            object.__setattr__(self, "group_size", size)
        object.__setattr__(self, "budget", _arguments.positive("budget", self.budget))

    @cached_property
    def reward(self) -> GatedReward:
        """The reward, a function of the answer alone."""
        return GatedReward(self.reference, self.reward_gap, self.gate)

    # ---- population values ---------------------------------------------------------

    def _moments(self, model: TwoModeMixture, k: float) -> tuple[LogMoment, LogMoment, float]:
        """Exponential moments under the two modes, and log Z."""
        old = self.reward.log_moment(model.old_mean, k)
        new = self.reward.log_moment(model.new_mean, k)
        log_z = float(
            np.logaddexp(
                math.log(model.old_weight) + old.log_value,
                math.log1p(-model.old_weight) + new.log_value,
            )
        )
        return old, new, log_z

    def _fixed_temperature(self, what: str) -> float:
        if self.inverse_temperature == "adaptive":
            raise ValueError(
                f"inverse_temperature must be a number for {what}, got 'adaptive': "
                "the adaptive rule follows no objective"
            )
        return self.inverse_temperature

    def inverse_temperature_at(self, model: TwoModeMixture) -> float:
        r"""Inverse temperature in force at a model.

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        float
            :math:`\beta`. Under the adaptive rule it solves
            :math:`\mathrm{KL}(q e^{\beta R} / Z \,\|\, q) = B`, and is 1e6 if that cannot be
            reached below it.

        Raises
        ------
        ValueError
            If the model does not share the reference's space and covariance.
        """
        check_compatible(model, self.reference)
        if self.inverse_temperature != "adaptive":
            return self.inverse_temperature
        if self.reward_gap == 0.0:
            return LARGEST_TEMPERATURE

        def spent(k: float) -> float:
            old, new, log_z = self._moments(model, k)
            share = math.exp(math.log(model.old_weight) + old.log_value - log_z)
            gate = share * old.gate + (1.0 - share) * new.gate
            return k * self.reward_gap * gate - log_z - self.budget

        high = min(1.0 / abs(self.reward_gap), LARGEST_TEMPERATURE)
        while spent(high) < 0.0:
            if high >= LARGEST_TEMPERATURE:
                return LARGEST_TEMPERATURE
            high = min(2.0 * high, LARGEST_TEMPERATURE)
        return float(scipy.optimize.brentq(spent, 0.0, high, rtol=1e-13))

    def value(self, model: TwoModeMixture) -> float:
        """Value of the objective.

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        float
            In nats; may be negative.

        Raises
        ------
        ValueError
            If the inverse temperature is adaptive, or the model does not share the
            reference's space and covariance.
        """
        k = self._fixed_temperature("value")
        check_compatible(model, self.reference)
        log_z = self._moments(model, k)[2]
        if self.kl_weight == 0.0:
            return -log_z
        return self.kl_weight * ReverseKL(self.reference).value(model) - log_z

    def gradient(self, model: TwoModeMixture) -> Gradient:
        r"""Gradient in ``(logit, old_mean, new_mean)``.

        .. math:: \partial_l \log Z = b (1-b) \frac{E_o e^{\beta R} - E_n e^{\beta R}}{Z}, \qquad
                  \nabla_{m_o} \log Z = \frac{b}{Z} \nabla_{m_o} E_o e^{\beta R},

        and likewise for the new mean. Under the adaptive rule :math:`\beta` is that of
        this model, and no derivative of it enters.

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        Gradient

        Raises
        ------
        ValueError
            If the model does not share the reference's space and covariance.
        """
        k = self.inverse_temperature_at(model)
        old, new, log_z = self._moments(model, k)
        log_b, log_n = math.log(model.old_weight), math.log1p(-model.old_weight)
        old_share = math.exp(log_b + old.log_value - log_z)  # of the tilted law
        new_share = math.exp(log_n + new.log_value - log_z)
        weight_slope = old_share * (1.0 - model.old_weight) - new_share * model.old_weight
        direction = self.reward.direction
        old_mean = -old_share * old.first * direction
        new_mean = -new_share * new.first * direction
        if self.kl_weight == 0.0:
            return Gradient(-weight_slope, old_mean, new_mean)
        anchor = ReverseKL(self.reference).gradient(model)
        return Gradient(
            self.kl_weight * anchor.logit - weight_slope,
            self.kl_weight * anchor.old_mean + old_mean,
            self.kl_weight * anchor.new_mean + new_mean,
        )

    def hessian(self, model: TwoModeMixture) -> FloatArray:
        """Hessian in ``(logit, old_mean, new_mean)``.

        Parameters
        ----------
        model : TwoModeMixture

        Returns
        -------
        ndarray, shape (1 + 2d, 1 + 2d)

        Raises
        ------
        ValueError
            If the inverse temperature is adaptive, or the model does not share the
            reference's space and covariance.
        """
        k = self._fixed_temperature("hessian")
        check_compatible(model, self.reference)
        old, new, log_z = self._moments(model, k)
        b = model.old_weight
        old_share = math.exp(math.log(b) + old.log_value - log_z)
        new_share = math.exp(math.log1p(-b) + new.log_value - log_z)
        # Z's derivatives over Z in (l, s_o, s_n), s the moves of the means along the gate
        slope = old_share * (1.0 - b) - new_share * b
        first = np.array([slope, old_share * old.first, new_share * new.first])
        second = np.array(
            [
                [(1.0 - 2.0 * b) * slope, (1.0 - b) * first[1], -b * first[2]],
                [(1.0 - b) * first[1], old_share * old.second, 0.0],
                [-b * first[2], 0.0, new_share * new.second],
            ]
        )
        core = second - np.outer(first, first)
        dim = model.dim
        direction = self.reward.direction
        lift = np.zeros((3, 1 + 2 * dim))
        lift[0, 0] = 1.0
        lift[1, 1 : 1 + dim] = direction
        lift[2, 1 + dim :] = direction
        hessian = -(lift.T @ core @ lift)
        if self.kl_weight > 0.0:
            hessian = hessian + self.kl_weight * ReverseKL(self.reference).hessian(model)
        return np.asarray(hessian)

    # ---- closed forms for mode-level rewards ------------------------------------------

    def _start_logit(self, old_weight: float | None) -> float:
        if old_weight is None:
            return self.reference.old_logit
        return float(scipy.special.logit(_arguments.weight("old_weight", old_weight)))

    def _pull(self, old_logit: float) -> float:
        r"""Reward's pull on the loser, :math:`(1 - \rho) / (1 - b (1 - \rho))`.

        ``old_logit`` is that of the mode that earns less.
        """
        if self.inverse_temperature == "adaptive":
            largest = LARGEST_TEMPERATURE * abs(self.reward_gap)
            height = _budget_height(-old_logit, self.budget, largest)
        else:
            height = self.inverse_temperature * abs(self.reward_gap)
        denominator = float(
            scipy.special.expit(-old_logit) + scipy.special.expit(old_logit) * math.exp(-height)
        )
        return -math.expm1(-height) / denominator

    def _check_budget(self) -> None:
        if self.inverse_temperature == "adaptive" and self.budget < math.log(2.0) - 1e-12:
            raise ValueError(
                "budget must be at least log 2 for a stationary weight that is known to be "
                f"the only one, got {self.budget!r}"
            )

    def stationary_old_logit(self, old_weight: float | None = None) -> float:
        """Log-odds of :meth:`stationary_old_weight`, which does not underflow.

        Parameters
        ----------
        old_weight : float or None
            Weight before training; None is the reference's.

        Returns
        -------
        float
            In nats; infinite without a penalty.

        Raises
        ------
        ValueError
            If ``old_weight`` lies outside (0, 1), or an adaptive budget is below log 2.
        """
        start = self._start_logit(old_weight)
        self._check_budget()
        if self.reward_gap == 0.0:
            return start
        sign = math.copysign(1.0, self.reward_gap)
        if self.kl_weight == 0.0:
            return -sign * math.inf
        loser = sign * start

        def excess(odds: float) -> float:
            return odds - loser + self._pull(odds) / self.kl_weight

        # the pull grows with the loser's weight, so it is largest at the start
        low = loser - self._pull(loser) / self.kl_weight
        if not math.isfinite(low):  # a penalty as small as 1e-308
            return -sign * math.inf
        root = scipy.optimize.brentq(
            excess, low - 1e-9 * (1.0 + abs(low)), loser, xtol=1e-14, rtol=1e-14
        )
        return sign * float(root)

    def stationary_old_weight(self, old_weight: float | None = None) -> float:
        r"""Old weight at which training with mode-level rewards ends.

        The only solution ``b`` of

        .. math:: \operatorname{logit} b = \operatorname{logit} b_0
              - \frac{1}{\gamma}\, \frac{1 - \rho}{1 - b\,(1 - \rho)}, \qquad
              \rho = e^{-\beta G},

        for ``G > 0``; a negative ``G`` exchanges the modes. Under the adaptive rule
        :math:`\beta` is that of the weight ``b`` itself.

        Parameters
        ----------
        old_weight : float or None
            Weight :math:`b_0` before training; None is the reference's. With a hard gate
            and a model that can be any density, pass the probability of the old region,
            ``r >= 1/2``, under the reference: the answer is then exact at every overlap.

        Returns
        -------
        float
            In (0, 1); 0 or 1 without a penalty (the limit of training), and where the weight
            is below 1e-308.

        Raises
        ------
        ValueError
            If ``old_weight`` lies outside (0, 1), or an adaptive budget is below log 2.

        Notes
        -----
        Label ``thm-entropic-retention``; for the adaptive rule, ``thm-budget``.

        Examples
        --------
        >>> import forgetlib as fl
        >>> reference = fl.TwoModeMixture.separated(6.0, old_weight=0.9)
        >>> method = fl.TTTDiscover(reference, 1.0, inverse_temperature=2.0, kl_weight=0.1)
        >>> round(method.stationary_old_weight(), 4)
        0.0016
        """
        return float(scipy.special.expit(self.stationary_old_logit(old_weight)))

    def old_weight_floor(
        self, level: float | None = None, old_weight: float | None = None
    ) -> float:
        r"""Explicit floor under :meth:`stationary_old_weight`.

        With :math:`T(c) = \sigma\big(\operatorname{logit} b_0 - \frac{1-\rho}
        {\gamma (1 - c (1-\rho))}\big)` the stationary weight is at least
        :math:`\min(c, T(c))`, for every ``c`` in [0, 1).

        Parameters
        ----------
        level : float or None
            ``c``, in (0, 1). None: the better of ``c = 1/2`` and ``c = T(0)``, where the
            floor is ``T(T(0))``.
        old_weight : float or None
            Weight :math:`b_0` before training; None is the reference's.

        Returns
        -------
        float
            In [0, 1); 0 without a penalty if the new mode earns more.

        Raises
        ------
        ValueError
            If an argument lies outside (0, 1), or an adaptive budget is below log 2.

        Notes
        -----
        Label ``prp-kl-floor``; for the adaptive rule, part 5 of ``thm-budget``. If the reward does not like the new mode, no old mass is lost,
        and the floor is :math:`b_0`.

        Examples
        --------
        >>> import forgetlib as fl
        >>> reference = fl.TwoModeMixture.separated(6.0, old_weight=0.97)
        >>> method = fl.TTTDiscover(reference, 3.0, inverse_temperature=1.0, kl_weight=0.4)
        >>> round(method.old_weight_floor(), 3), round(method.stationary_old_weight(), 3)
        (0.259, 0.405)
        """
        start = self._start_logit(old_weight)
        self._check_budget()
        if level is not None:
            level = _arguments.weight("level", level)
        if self.reward_gap <= 0.0:
            return float(scipy.special.expit(start))
        if self.kl_weight == 0.0:
            return 0.0

        def ceiling(c: float) -> float:
            odds = -math.inf if c <= 0.0 else float(scipy.special.logit(c))
            return float(scipy.special.expit(start - self._pull(odds) / self.kl_weight))

        if level is not None:
            return min(level, ceiling(level))
        return max(min(0.5, ceiling(0.5)), ceiling(ceiling(0.0)))

    def required_kl_weight(self, retained: float, old_weight: float | None = None) -> float:
        r"""Smallest penalty with which mode-level rewards leave at least this old weight.

        .. math:: \gamma = \frac{1 - \rho}{(1 - c (1 - \rho))\,
                  (\operatorname{logit} b_0 - \operatorname{logit} c)}

        Parameters
        ----------
        retained : float
            Old weight ``c`` to be kept, in (0, b_0).
        old_weight : float or None
            Weight :math:`b_0` before training; None is the reference's.

        Returns
        -------
        float
            At least 0; 0 if the reward does not like the new mode. ``kl_weight`` of this
            object plays no part.

        Raises
        ------
        ValueError
            If ``retained`` is not in (0, b_0), or an adaptive budget is below log 2.

        See Also
        --------
        forgetlib.kl_weight_for : The same question with overlap, at right and fixed means.

        Notes
        -----
        Label ``thm-entropic-retention``: necessary and sufficient; for the adaptive rule,
        part 5 of ``thm-budget``.

        Examples
        --------
        >>> import forgetlib as fl
        >>> reference = fl.TwoModeMixture.separated(6.0, old_weight=0.9)
        >>> method = fl.TTTDiscover(reference, 1.0, "adaptive", kl_weight=0.1)
        >>> round(method.required_kl_weight(0.5), 2)
        0.91
        """
        start = self._start_logit(old_weight)
        retained = _arguments.weight("retained", retained)
        kept = float(scipy.special.logit(retained))
        if kept >= start:
            raise ValueError(
                f"retained must lie in (0, {float(scipy.special.expit(start)):.6g}), below the weight before "
                f"training, got {retained!r}"
            )
        self._check_budget()
        if self.reward_gap <= 0.0:
            return 0.0
        return self._pull(kept) / (start - kept)

    def old_region(self, model: TwoModeMixture | None = None) -> float:
        r"""Probability of the old region: where the reference says the old mode is likelier.

        Parameters
        ----------
        model : TwoModeMixture or None
            None is the reference.

        Returns
        -------
        float
            In (0, 1): a measure of retention that does not ask where the components went.

        Raises
        ------
        ValueError
            If the model does not share the reference's space and covariance.

        Examples
        --------
        >>> import forgetlib as fl
        >>> reference = fl.TwoModeMixture.separated(6.0, old_weight=0.9)
        >>> method = fl.TTTDiscover(reference, 1.0, 0.5, kl_weight=0.1, gate="hard")
        >>> round(method.old_region(), 4)
        0.9001
        """
        model = self.reference if model is None else model
        check_compatible(model, self.reference)

        def inside(mean: FloatArray) -> float:
            center, deviation = self.reward.log_odds_law(mean)
            return (
                float(scipy.special.ndtr(center / deviation))
                if deviation > 0.0
                else float(center >= 0.0)
            )

        b = model.old_weight
        return b * inside(model.old_mean) + (1.0 - b) * inside(model.new_mean)

    # ---- training without a penalty ----------------------------------------------------

    def tilt_time(self, old_weight: float, model: TwoModeMixture | None = None) -> float:
        r"""Training time down to an old weight without a penalty, means fixed.

        .. math:: (1 - \rho)\, t = \Psi(l) - \Psi(l_0), \qquad
                  \Psi(l) = e^{-l} - (1 + \rho)\, l - \rho\, e^{l}, \qquad
                  \rho = \frac{E_o e^{\beta R}}{E_n e^{\beta R}}

        Parameters
        ----------
        old_weight : float
            Old weight to be reached, at most that of the model.
        model : TwoModeMixture or None
            Start; None is the reference.

        Returns
        -------
        float
            In units of learning rate times steps; infinite if the reward does not like the
            new mode.

        Raises
        ------
        ValueError
            If the penalty is not 0, the inverse temperature is adaptive, or the weight is not
            below that of the model.

        Notes
        -----
        Label ``thm-tilt-forgetting``. Exact at every overlap and for both gates.

        Examples
        --------
        >>> import forgetlib as fl
        >>> reference = fl.TwoModeMixture.separated(6.0, old_weight=0.9)
        >>> method = fl.TTTDiscover(reference, 1.0, inverse_temperature=2.0, kl_weight=0.0)
        >>> round(method.tilt_time(0.01), 1)
        124.9
        """
        k = self._fixed_temperature("tilt_time")
        if self.kl_weight != 0.0:
            raise ValueError(f"kl_weight must be 0 for tilt_time, got {self.kl_weight!r}")
        start = self.reference if model is None else model
        check_compatible(start, self.reference)
        end = float(scipy.special.logit(_arguments.weight("old_weight", old_weight)))
        if end > start.old_logit:
            raise ValueError(
                f"old_weight must be at most that of the model, {start.old_weight:.6g}, "
                f"got {old_weight!r}"
            )
        old, new, _ = self._moments(start, k)
        log_ratio = old.log_value - new.log_value
        if log_ratio >= 0.0:
            return math.inf
        ratio = math.exp(log_ratio)

        def clock(odds: float) -> float:
            return math.exp(-odds) - (1.0 + ratio) * odds - ratio * math.exp(odds)

        return (clock(end) - clock(start.old_logit)) / -math.expm1(log_ratio)

    # ---- groups --------------------------------------------------------------------------

    def _group(self) -> int:
        if self.group_size is None:
            raise ValueError("group_size must be given for the law of one group, got None")
        return self.group_size

    def stretch(self, old_weight: float) -> float:
        r"""How much longer the leave-one-out normalizer makes the mean step of the reward.

        .. math:: \theta_n = E\Big[\frac{Z}{\hat Z_{n-1}}\Big] \ge 1,

        with the mean :math:`\hat Z_{n-1}` of ``n - 1`` independent :math:`e^{\beta R}`, for
        mode-level rewards.

        Parameters
        ----------
        old_weight : float

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If ``old_weight`` lies outside (0, 1), there is no group size, or the inverse
            temperature is adaptive.

        Notes
        -----
        Label ``prp-winner-normalizer``.

        Examples
        --------
        >>> import forgetlib as fl
        >>> reference = fl.TwoModeMixture.separated(6.0, old_weight=0.9)
        >>> method = fl.TTTDiscover(reference, 1.0, 2.0, kl_weight=0.1, group_size=8)
        >>> round(method.stretch(0.9), 3)
        1.186
        """
        b = _arguments.weight("old_weight", old_weight)
        size = self._group()
        height = self._fixed_temperature("stretch") * self.reward_gap
        top = max(height, 0.0)
        lose, win = math.exp(-top), math.exp(height - top)
        old = np.arange(size)
        others = (old * lose + (size - 1 - old) * win) / (size - 1)
        chance = scipy.stats.binom.pmf(old, size - 1, b)
        return float((chance / others).sum() * (b * lose + (1.0 - b) * win))

    def group_velocity(self, old_weight: float, batch_size: int | None = None) -> float:
        r"""Mean velocity of the log-odds with groups of finite size and mode-level rewards.

        .. math:: E\Big[\frac1n \sum_i A_i\, (1[i \text{ old}] - b)\Big]
                  - \gamma \Big(1 - \frac1N\Big)\, b (1-b)
                  (\operatorname{logit} b - \operatorname{logit} b_0)

        Parameters
        ----------
        old_weight : float
        batch_size : int or None
            Samples ``N`` over whose mean the penalty is centered, a multiple of the group
            size; None is one group.

        Returns
        -------
        float
            Expected change of the log-odds in a step, over the learning rate.

        Raises
        ------
        ValueError
            If an argument is out of range or there is no group size.

        Notes
        -----
        Labels ``prp-winner-group`` and ``prp-winner-normalizer``.
        """
        b = _arguments.weight("old_weight", old_weight)
        size = self._group()
        batch = size if batch_size is None else _arguments.integer("batch_size", batch_size, size)
        if batch % size:
            raise ValueError(
                f"batch_size must be a multiple of the group size {size}, got {batch_size!r}"
            )
        of_old, of_new = _two_valued(size, self.reward_gap, self.inverse_temperature, self.budget)
        old = np.arange(size + 1)
        pull = old * of_old * (1.0 - b) - (size - old) * of_new * b
        velocity = float(scipy.stats.binom.pmf(old, size, b) @ pull) / size
        odds = float(scipy.special.logit(b)) - self.reference.old_logit
        return velocity - self.kl_weight * (1.0 - 1.0 / batch) * b * (1.0 - b) * odds

    # ---- drift ---------------------------------------------------------------------------

    def balanced_old_weight(self) -> float:
        r"""Old weight at which the exact objective is stationary, means right and fixed.

        Returns
        -------
        float
            The only one: the objective is strictly convex in the weight. 0 or 1 if there is
            none: with overlap a weak penalty does not stop the weight from tending there.

        Raises
        ------
        ValueError
            If there is no penalty, or the inverse temperature is adaptive.

        Notes
        -----
        Label ``thm-gate-sign``. Without overlap it is :meth:`stationary_old_weight`.

        Examples
        --------
        >>> import forgetlib as fl
        >>> reference = fl.TwoModeMixture.separated(4.0, old_weight=0.8)
        >>> method = fl.TTTDiscover(reference, 0.8, inverse_temperature=1.0, kl_weight=0.3)
        >>> round(method.balanced_old_weight(), 3), round(method.stationary_old_weight(), 3)
        (0.301, 0.306)
        """
        self._fixed_temperature("balanced_old_weight")
        if self.kl_weight == 0.0:
            raise ValueError("kl_weight must be > 0 for a balanced weight, got 0.0")

        def slope(odds: float) -> float:
            return self.gradient(
                self.reference.replace(old_weight=float(scipy.special.expit(odds)))
            ).logit

        low = high = self.reference.old_logit
        step = 1.0
        while slope(low) > 0.0:
            if low <= -_FAR:
                return 0.0
            low, step = max(low - step, -_FAR), 2.0 * step
        step = 1.0
        while slope(high) < 0.0:
            if high >= _NEAR_ONE:
                return 1.0
            high, step = min(high + step, _NEAR_ONE), 2.0 * step
        if low == high:  # nothing pulls
            return self.reference.old_weight
        return float(scipy.special.expit(scipy.optimize.brentq(slope, low, high, xtol=1e-13)))

    def mean_forces(self, old_weight: float | None = None) -> MeanForces:
        r"""Forces on the old mean where both means are right.

        Parameters
        ----------
        old_weight : float or None
            Weight of the model; None is :meth:`balanced_old_weight`.

        Returns
        -------
        MeanForces
            In units of :math:`\mu_n - \mu_o`: positive is toward the new mode.

        Raises
        ------
        ValueError
            If ``old_weight`` lies outside (0, 1), there is no penalty, the inverse temperature
            is adaptive, or the gate is hard.

        Notes
        -----
        Labels ``thm-gate-drift``, ``thm-gate-sign``.

        Examples
        --------
        >>> import forgetlib as fl
        >>> reference = fl.TwoModeMixture.separated(6.0, old_weight=0.8)
        >>> method = fl.TTTDiscover(reference, 0.8, inverse_temperature=1.0, kl_weight=0.3)
        >>> forces = method.mean_forces()
        >>> f"{6 * forces.reward:.2e}, {6 * forces.penalty:.2e}, {6 * forces.net:.2e}"
        '5.85e-03, -1.25e-02, -6.70e-03'
        """
        k = self._fixed_temperature("mean_forces")
        if self.gate != "soft":
            raise ValueError(f"gate must be 'soft' for mean_forces, got {self.gate!r}")
        if self.kl_weight == 0.0:
            raise ValueError("kl_weight must be > 0 for mean_forces, got 0.0")
        b = self.balanced_old_weight() if old_weight is None else old_weight
        if old_weight is None and b in (0.0, 1.0):
            raise ValueError(
                "kl_weight must be large enough for a balanced weight inside (0, 1), "
                f"got {self.kl_weight!r}"
            )
        model = self.reference.replace(old_weight=_arguments.weight("old_weight", b))
        old, _, log_z = self._moments(model, k)
        # first is E[d e^{kR} / dx] / E[e^{kR}], and x falls toward the new mode
        reward = -old.first * math.exp(old.log_value - log_z) / self.kl_weight
        before, now = misassignment_probability(self.reference), misassignment_probability(model)
        return MeanForces(reward, before - now)

    def drift_bound(self, old_weight_floor: float, smallest_separation: float) -> float:
        r"""Bound on the drift of the old mean along a path that starts at the reference.

        The smallest root of :math:`\xi = F_q + C F_0\, e^{D\xi/2}`, with

        .. math:: F_q = \sqrt{\tfrac\pi2}\, \sqrt{\tfrac{1-b_-}{b_-}}\, e^{-U_-^2/8}, \qquad
                  F_0 = \sqrt{\tfrac{\pi(1-b_0)}{2 b_0}}\, e^{-D^2/8}, \qquad
                  \bar c = \frac{\kappa\, e^{\kappa/2}}{2\gamma Z_0}
                  \Big[I_0\big(\tfrac\kappa2\big) - I_1\big(\tfrac\kappa2\big)\Big],

        :math:`\kappa = \beta G`, :math:`Z_0 = E_{p_0} e^{\beta R}`, and
        :math:`C = 1 + \bar c` for a positive gap, :math:`C = \max(1, -\bar c)` otherwise.

        Parameters
        ----------
        old_weight_floor : float
            Lower bound :math:`b_-` on the old weight along the path.
        smallest_separation : float
            Lower bound :math:`U_-` on the separation of the model along the path, >= 0.

        Returns
        -------
        float
            In standard deviations; infinite if the equation has no root: the theorem is then
            silent.

        Raises
        ------
        ValueError
            If an argument is out of range, there is no penalty, the inverse temperature is
            adaptive, or the gate is hard.

        Notes
        -----
        Label ``thm-gate-drift``: whitened flow, soft gate.

        Examples
        --------
        >>> import forgetlib as fl
        >>> reference = fl.TwoModeMixture.separated(8.0, old_weight=0.8)
        >>> method = fl.TTTDiscover(reference, 0.8, inverse_temperature=1.0, kl_weight=0.3)
        >>> method.drift_bound(0.3, 8.0) < 2e-3
        True
        """
        k = self._fixed_temperature("drift_bound")
        if self.gate != "soft":
            raise ValueError(f"gate must be 'soft' for drift_bound, got {self.gate!r}")
        if self.kl_weight == 0.0:
            raise ValueError("kl_weight must be > 0 for drift_bound, got 0.0")
        lowest = _arguments.weight("old_weight_floor", old_weight_floor)
        gap = _arguments.number(
            "smallest_separation",
            smallest_separation,
            "be a finite number >= 0",
            lambda x: 0.0 <= x < math.inf,
        )
        height = k * self.reward_gap
        half = 0.5 * abs(height)
        # e^{kappa/2} [I_0 - I_1](kappa/2), with exponentially scaled Bessel functions
        log_scale = max(height, 0.0) - self._moments(self.reference, k)[2]
        bessel = float(
            scipy.special.ive(0, half) - math.copysign(1.0, height) * scipy.special.ive(1, half)
        )
        pull = 0.5 * height * bessel * math.exp(log_scale) / self.kl_weight
        factor = 1.0 + pull if height >= 0.0 else max(1.0, -pull)
        sharp = math.sqrt(0.5 * math.pi)
        distance = self.reference.separation
        push = sharp * math.exp(-0.5 * float(scipy.special.logit(lowest)) - 0.125 * gap**2)
        gain = factor * sharp * math.exp(-0.5 * self.reference.old_logit - 0.125 * distance**2)
        bound = push + gain
        for _ in range(10_000):
            exponent = 0.5 * distance * bound
            following = push + gain * math.exp(exponent) if exponent < 700.0 else math.inf
            if following <= bound * (1.0 + 1e-14):
                return following
            bound = following
        return math.inf

    # ---- the best density ----------------------------------------------------------------

    def optimum(self) -> EntropicOptimum:
        r"""The density that minimizes the objective among all densities.

        Returns
        -------
        EntropicOptimum

        Raises
        ------
        ValueError
            If there is no penalty, or the inverse temperature is adaptive.

        Notes
        -----
        Label ``thm-entropic-fixed-point``. It is a mixture of two tilted Gaussians, not of two
        Gaussians. Its one number :math:`Z` is the root of a decreasing function.

        Examples
        --------
        >>> import forgetlib as fl
        >>> reference = fl.TwoModeMixture.separated(6.0, old_weight=0.9)
        >>> method = fl.TTTDiscover(reference, 1.0, 0.5, kl_weight=0.1, gate="hard")
        >>> best = method.optimum()
        >>> best.divergence < 1 / method.kl_weight
        True
        >>> abs(best.old_region - method.stationary_old_weight(method.old_region())) < 1e-12
        True
        """
        k = self._fixed_temperature("optimum")
        if self.kl_weight == 0.0:
            raise ValueError("kl_weight must be > 0 for an optimum, got 0.0")
        height = k * self.reward_gap
        gate, log_old, log_new, region = self._gate_law()
        log_law = np.logaddexp(log_old, log_new)
        top = max(height, 0.0)
        exponent = height * gate

        def tilted(log_z: float) -> tuple[FloatArray, float]:
            log_terms = log_law + np.exp(exponent - log_z) / self.kl_weight
            peak = float(log_terms.max())
            log_c = peak + math.log(float(np.exp(log_terms - peak).sum()))
            return log_terms - log_c, log_c

        def excess(log_z: float) -> float:
            weights = np.exp(tilted(log_z)[0])
            return top + math.log(float(weights @ np.exp(exponent - top))) - log_z

        low = top + math.log(float(np.exp(log_law) @ np.exp(exponent - top)))
        if excess(low) <= 0.0:  # the reward is flat to rounding
            log_z = low
        else:
            log_z = float(scipy.optimize.brentq(excess, low, top + 1e-9, xtol=1e-15, rtol=1e-14))
        log_weights, log_c = tilted(log_z)
        weights = np.exp(log_weights)
        divergence = max(0.0, 1.0 / self.kl_weight - log_c)
        return EntropicOptimum(
            log_z,
            log_c,
            divergence,
            self.kl_weight * divergence - log_z,
            float(weights @ np.exp(log_old - log_law)),
            float(weights @ region),
        )

    def _gate_law(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """The gate on a grid; the log weights of the old and of the new part of the reference.

        The last array is the share of a node that lies in the old region.
        """
        reference = self.reference
        b, distance = reference.old_weight, reference.separation
        centers = reference.old_logit + 0.5 * distance**2 * np.array([1.0, -1.0])
        log_weights = np.log([b, 1.0 - b])
        if self.gate == "hard":
            edges = centers / distance if distance > 0.0 else np.sign(centers) * math.inf
            new_region = log_weights + scipy.special.log_ndtr(-edges)
            old_region = log_weights + scipy.special.log_ndtr(edges)
            pair = np.stack([new_region, old_region])  # region x component
            return np.array([1.0, 0.0]), pair[:, 0], pair[:, 1], np.array([0.0, 1.0])
        if distance == 0.0:
            gate = np.array([1.0 - b])
            return gate, log_weights[:1], log_weights[1:], np.array([float(b >= 0.5)])
        # Gauss-Legendre panels that end at the edge of the old region, x = 0
        k = self._fixed_temperature("optimum")
        height, log_z = k * self.reward_gap, self._moments(reference, k)[2]
        slope = 0.25 * abs(height) * math.exp(max(height, 0.0) - log_z) / self.kl_weight
        width = min(1.0, distance) / (1.0 + 0.1 * slope)
        half = 0.5 * distance**2 + abs(reference.old_logit) + 40.0 * max(1.0, distance)
        panels = np.arange(-math.ceil(half / width), math.ceil(half / width))
        node, share = gauss_legendre(16)
        x = (width * (panels[:, None] + 0.5 * (1.0 + node))).ravel()
        log_density = (
            np.log(0.5 * width * np.tile(share, panels.size))[:, None]
            - 0.5 * math.log(2.0 * math.pi)
            - math.log(distance)
            - 0.5 * ((x[:, None] - centers) / distance) ** 2
            + log_weights
        )
        return (
            scipy.special.expit(-x),
            log_density[:, 0],
            log_density[:, 1],
            (x > 0.0).astype(np.float64),
        )
