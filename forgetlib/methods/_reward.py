r"""Rewards that tell the modes apart, and their exponential moments.

A verifier that scores new answers ``gap`` higher than old ones is a function of the
answer alone, so it has to decide which mode an answer came from. It does so with the
responsibility ``r`` of a fixed reference mixture:

.. math:: R(y) = G\, (1 - r(y)) \quad\text{(soft)}, \qquad
          R(y) = G\, 1[r(y) < \tfrac12] \quad\text{(hard)}.

The log-odds of the reference are affine in ``y``. Under a Gaussian mode they are a scalar
Gaussian, and :math:`E\, e^{kR}` is a one-dimensional integral.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from forgetlib import _arguments
from forgetlib.mixture import TwoModeMixture, check_mixture

__all__ = ["Gate", "GatedReward", "LogMoment"]

FloatArray = NDArray[np.float64]
Gate = Literal["soft", "hard"]

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_STEP_IN_X = 0.25  # exp(k sigmoid) is bounded by its real values within |Im x| < pi / 2
_STEP_IN_Z = 0.5
_HALF_WIDTH = 9.5  # in z
_SATURATED = 40.0  # |x| beyond which the gate is flat to rounding, once k G < 1
_FLOAT_REACH = 38.0  # in z; the slope of the gate may live far out, while it is a float
_MOST_NODES = 400_000
_LATTICE_REACH = 2048  # nodes on either side of zero


class LogMoment(NamedTuple):
    r"""Exponential moment of a reward under one Gaussian.

    Attributes
    ----------
    log_value : float
        :math:`\log E\, e^{kR}`.
    first, second : float
        :math:`E[\partial_x e^{kR}] / E\, e^{kR}` and
        :math:`E[\partial_x^2 e^{kR}] / E\, e^{kR}`, derivatives in the log-odds ``x`` of
        the reference.
    gate: float
        Mean gate under the tilted law, :math:`E[g\, e^{kR}] / E\, e^{kR}` with ``R = gap * g``:
        the reward of a tilted sample, in units of the gap.
    """

    log_value: float
    first: float
    second: float
    gate: float


@dataclasses.dataclass(frozen=True)
class GatedReward:
    r"""Reward ``gap`` for the new mode and 0 for the old one, as far as a sample tells.

    Parameters
    ----------
    reference : TwoModeMixture
        Its responsibility of the old mode, :math:`r`, is the gate.
    gap : float
        :math:`G`, any finite number; negative if the reward likes the old mode.
    gate : {"soft", "hard"}
        :math:`R = G (1 - r)`, or :math:`R = G\, 1[r < 1/2]`.

    Raises
    ------
    ValueError
        If an argument is not of that kind.
    """

    reference: TwoModeMixture
    gap: float
    gate: Gate = "soft"

    def __post_init__(self) -> None:
        check_mixture("reference", self.reference)
        object.__setattr__(
            self,
            "gap",
            _arguments.number("reward_gap", self.gap, "be a finite number", math.isfinite),
        )
        if self.gate not in ("soft", "hard"):
            raise ValueError(f"gate must be 'soft' or 'hard', got {self.gate!r}")

    def __call__(self, y: ArrayLike) -> FloatArray:
        """Reward of each sample.

        Parameters
        ----------
        y : array_like, shape (..., d); for d = 1 also (...,)

        Returns
        -------
        ndarray, shape (...)
        """
        return self.of_log_odds(self.reference.log_odds(y))

    def of_log_odds(self, x: ArrayLike) -> FloatArray:
        """Reward as a function of the reference's log-odds of old.

        Parameters
        ----------
        x : array_like
            In nats.

        Returns
        -------
        ndarray
        """
        x = np.asarray(x, dtype=np.float64)
        if self.gate == "soft":
            return np.asarray(self.gap * scipy.special.expit(-x))
        return np.where(x < 0.0, self.gap, 0.0)

    @cached_property
    def direction(self) -> FloatArray:
        r"""Gradient of the log-odds in the sample, :math:`\Sigma^{-1}(\mu_o - \mu_n)`."""
        return self.reference.precision_times(self.reference.old_mean - self.reference.new_mean)

    def log_odds_law(self, mean: ArrayLike) -> tuple[float, float]:
        r"""Mean and standard deviation of the log-odds under :math:`N(\text{mean}, \Sigma)`.

        Parameters
        ----------
        mean : array_like, shape (d,)

        Returns
        -------
        mean, deviation : float
        """
        return float(self.reference.log_odds(np.atleast_1d(mean))), self.reference.separation

    def log_moment(self, mean: ArrayLike, k: float) -> LogMoment:
        r"""Exponential moment under :math:`N(\text{mean}, \Sigma)`, with two derivatives.

        Parameters
        ----------
        mean : array_like, shape (d,)
            Center of the Gaussian.
        k : float
            Inverse temperature, > 0 and finite.

        Returns
        -------
        LogMoment

        Notes
        -----
        Hard gate: the normal distribution function. Soft gate: the trapezoid rule over all
        ``z`` where either plateau of the gate can hold the mass, in the log domain; in ``x``
        the integrand is analytic, and no larger than on the real axis, within
        :math:`\pi/2` of it.
        """
        mu, s = self.log_odds_law(mean)
        height = k * self.gap
        if self.gate == "hard":
            return _hard_moment(mu, s, height)
        return _soft_moment(mu, s, height)


def _hard_moment(mu: float, s: float, height: float) -> LogMoment:
    if s == 0.0:
        gate = 1.0 if mu < 0.0 else 0.0
        return LogMoment(height * gate, 0.0, 0.0, gate)
    edge = mu / s
    old, new = scipy.special.log_ndtr([edge, -edge]).tolist()
    log_value = float(np.logaddexp(old, height + new))
    # d/dmu [Phi(mu/s) + e^h Phi(-mu/s)] = (1 - e^h) phi(mu/s) / s
    log_density = -0.5 * edge * edge - _HALF_LOG_TWO_PI - math.log(s) - log_value
    first = math.exp(log_density) - math.exp(log_density + height)
    gate = float(scipy.special.expit(height + new - old))
    return LogMoment(log_value, first, -first * edge / s, gate)


@functools.cache
def _lattice() -> tuple[FloatArray, FloatArray]:
    """Multiples of _STEP_IN_X, and what the sums need of the gate there."""
    x = _STEP_IN_X * np.arange(-_LATTICE_REACH, _LATTICE_REACH + 1.0)
    return x, _gate_columns(x)


def _gate_columns(x: FloatArray) -> FloatArray:
    """1, the gate, minus its slope, the square of that, and minus its second derivative."""
    gate = scipy.special.expit(-x)
    bump = np.exp(scipy.special.log_expit(-x) + scipy.special.log_expit(x))
    columns = (np.ones_like(x), gate, bump, bump * bump, bump * (2.0 * gate - 1.0))
    return np.stack(columns, axis=-1)


def _soft_moment(mu: float, s: float, height: float) -> LogMoment:
    if s == 0.0:
        g = float(scipy.special.expit(-mu))
        tilt = -height * g * (1.0 - g)
        return LogMoment(height * g, tilt, tilt * tilt + tilt * (2.0 * g - 1.0), g)
    step = min(_STEP_IN_Z, _STEP_IN_X / s)
    # beyond these the gate is flat and the Gaussian factor rules
    reach = (abs(mu) + _SATURATED + math.log1p(abs(height))) / s
    reach = min(reach, max(0.25 * abs(height) * s, _FLOAT_REACH)) + _HALF_WIDTH
    if 2.0 * reach / step > _MOST_NODES:
        raise ValueError(
            "inverse_temperature times reward_gap must leave a quadrature of at most "
            f"{_MOST_NODES} nodes at separation {s:.6g}, got {height:.6g}"
        )
    first = math.floor((mu - s * reach) / _STEP_IN_X) + _LATTICE_REACH
    last = math.ceil((mu + s * reach) / _STEP_IN_X) + _LATTICE_REACH
    if s * _STEP_IN_Z >= _STEP_IN_X and first >= 0 and last <= 2 * _LATTICE_REACH:
        # the rule may place its nodes anywhere: here, where the gate is known from last time
        x, columns = (one[first : last + 1] for one in _lattice())
        z = (x - mu) / s
    else:
        z = np.arange(-reach, reach + step, step)
        columns = _gate_columns(mu + s * z)
    log_terms = height * columns[:, 1]
    log_terms -= 0.5 * z * z
    peak = float(log_terms.max())
    log_terms -= peak
    total, gate, bump, square, bend = (np.exp(log_terms, out=log_terms) @ columns).tolist()
    return LogMoment(
        peak + math.log(step) - _HALF_LOG_TWO_PI + math.log(total),
        -height * bump / total,
        (height * height * square - height * bend) / total,
        gate / total,
    )
