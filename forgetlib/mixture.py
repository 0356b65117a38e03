r"""The two-mode mixture: a language model under post-training, reduced to its essence.

.. math:: q(y) = b\, N(y; m_o, \Sigma) + (1 - b)\, N(y; m_n, \Sigma)

The *old* mode is what the model could do before; the *new* mode is what training
teaches. Because both share one covariance, the log-odds that a sample is old are
affine in the sample,

.. math:: \log\frac{b N(y; m_o)}{(1-b) N(y; m_n)}
          = \operatorname{logit} b
            + (y - \tfrac{m_o + m_n}{2})^\top \Sigma^{-1} (m_o - m_n),

which is why every exact value below is a one-dimensional integral.
"""

from __future__ import annotations

import dataclasses
import math
from functools import cached_property
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from forgetlib import _arguments
from forgetlib.logistic_normal import sigmoid

__all__ = ["TwoModeMixture"]

FloatArray = NDArray[np.float64]
Rng = int | np.random.Generator | None

_ROWS_AT_ONCE = 64  # of a covariance in extended precision


def _finite_vector(name: str, value: ArrayLike) -> FloatArray:
    try:
        vector = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a vector of real numbers, got {value!r}") from error
    if vector.ndim == 0:
        vector = vector.reshape(1)
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"{name} must be a non-empty vector, got shape {vector.shape}")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} must be finite, got {value!r}")
    vector.flags.writeable = False
    return vector


def _checked_covariance(value: ArrayLike | None, dim: int) -> FloatArray | None:
    if value is None:
        return None
    try:
        covariance = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"covariance must be None or a real matrix, got {value!r}") from error
    if covariance.ndim == 0 and dim == 1:
        covariance = covariance.reshape(1, 1)
    if covariance.shape != (dim, dim):
        raise ValueError(
            f"covariance must be None (identity) or of shape ({dim}, {dim}), "
            f"got shape {covariance.shape}"
        )
    if not np.isfinite(covariance).all():
        raise ValueError("covariance must be finite, got NaN or infinite entries")
    asymmetry = float(np.abs(covariance - covariance.T).max())
    if asymmetry > 1e-12 * float(np.abs(covariance).max()):
        raise ValueError(
            f"covariance must be symmetric, got a matrix that differs from its transpose "
            f"by {asymmetry:.3g}"
        )
    covariance = 0.5 * (covariance + covariance.T)
    covariance.flags.writeable = False
    return covariance


def check_mixture(name: str, value: object) -> None:
    """Raise unless the value is a mixture.

    Parameters
    ----------
    name : str
        Argument to be named in the error.
    value : object

    Raises
    ------
    ValueError
        If it is not a :class:`TwoModeMixture`.
    """
    if not isinstance(value, TwoModeMixture):
        raise ValueError(f"{name} must be a TwoModeMixture, got {value!r}")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class TwoModeMixture:
    r"""Mixture of an old and a new Gaussian mode with a shared covariance.

    .. math:: q = b\, N(m_o, \Sigma) + (1-b)\, N(m_n, \Sigma)

    Parameters
    ----------
    old_weight : float
        Weight :math:`b` of the old mode, strictly between 0 and 1.
    old_mean, new_mean : array_like, shape (d,)
        Means :math:`m_o` and :math:`m_n`. A scalar means ``d = 1``.
    covariance : array_like, shape (d, d), or None
        Shared symmetric positive definite covariance :math:`\Sigma`; None is the
        identity (and then no ``d x d`` matrix is ever formed).

    Raises
    ------
    ValueError
        If a weight lies outside (0, 1), a mean is not finite, the shapes disagree, or
        the covariance is not symmetric positive definite.

    Notes
    -----
    The setting is that of arXiv:2603.12163; the abstraction of a model under
    post-training as an old and a new mode comes from arXiv:2510.18874.

    Examples
    --------
    >>> import forgetlib as fl
    >>> model = fl.TwoModeMixture.separated(4.0, old_weight=0.75, dim=2)
    >>> model.separation
    4.0
    >>> round(float(model.responsibility([2.0, 0.0])), 12)  # half-way: the weight decides
    0.75
    """

    old_weight: float
    old_mean: FloatArray
    new_mean: FloatArray
    covariance: FloatArray | None = None

    def __init__(
        self,
        old_weight: float,
        old_mean: ArrayLike,
        new_mean: ArrayLike,
        covariance: ArrayLike | None = None,
    ) -> None:
        old = _finite_vector("old_mean", old_mean)
        new = _finite_vector("new_mean", new_mean)
        if old.shape != new.shape:
            raise ValueError(
                f"new_mean must have the shape of old_mean {old.shape}, got {new.shape}"
            )
        object.__setattr__(self, "old_weight", _arguments.weight("old_weight", old_weight))
        object.__setattr__(self, "old_mean", old)
        object.__setattr__(self, "new_mean", new)
        object.__setattr__(self, "covariance", _checked_covariance(covariance, old.size))
        if self.covariance is not None:
            self._factor  # noqa: B018  a non-SPD matrix must fail here, not at first use

    @classmethod
    def separated(cls, separation: float, old_weight: float = 0.5, dim: int = 1) -> TwoModeMixture:
        r"""Old mode at the origin, new mode at ``separation`` along the first axis.

        Parameters
        ----------
        separation : float
            Distance :math:`D \ge 0` between the modes, in standard deviations.
        old_weight : float
            Weight of the old mode, strictly between 0 and 1.
        dim : int
            Dimension ``d >= 1``.

        Returns
        -------
        TwoModeMixture
            With identity covariance.

        Raises
        ------
        ValueError
            If ``separation`` is negative or not finite, or ``dim < 1``.
        """
        separation = _arguments.number(
            "separation",
            separation,
            f"be finite and >= 0, at most {_arguments.MAX_SEPARATION:g}",
            lambda x: 0.0 <= x <= _arguments.MAX_SEPARATION,
        )
        new_mean = np.zeros(_arguments.integer("dim", dim, 1))
        new_mean[0] = separation
        return cls(old_weight, np.zeros_like(new_mean), new_mean)

    def __repr__(self) -> str:
        return (
            f"TwoModeMixture(old_weight={self.old_weight:.6g}, dim={self.dim}, "
            f"separation={self.separation:.6g}"
            + (")" if self.covariance is None else ", covariance given)")
        )

    def replace(self, **changes: Any) -> TwoModeMixture:
        """Copy with some of the constructor's arguments changed.

        Parameters
        ----------
        **changes
            Any of ``old_weight``, ``old_mean``, ``new_mean``, ``covariance``.

        Returns
        -------
        TwoModeMixture

        Raises
        ------
        ValueError
            If a name is unknown or a value is not allowed.
        """
        fields = {field.name for field in dataclasses.fields(self)}
        unknown = sorted(set(changes) - fields)
        if unknown:
            raise ValueError(f"replace knows {sorted(fields)}, got {unknown}")
        return TwoModeMixture(**{name: changes.get(name, getattr(self, name)) for name in fields})

    def _moved(
        self, old_weight: float, old_mean: FloatArray, new_mean: FloatArray
    ) -> TwoModeMixture:
        """Mixture with this covariance, and what is known of it; arguments are not checked.

        A flow asks for thousands of them.
        """
        moved = object.__new__(TwoModeMixture)
        moved.__dict__.update(
            old_weight=old_weight, old_mean=old_mean, new_mean=new_mean, covariance=self.covariance
        )
        if self.covariance is not None:
            moved.__dict__["_factor"] = self._factor
        return moved

    # ---- geometry -----------------------------------------------------------------

    @property
    def dim(self) -> int:
        """Dimension ``d`` of the sample space."""
        return int(self.old_mean.size)

    @property
    def old_logit(self) -> float:
        """Log-odds ``log(b / (1 - b))`` of the old mode, in nats."""
        return math.log(self.old_weight) - math.log1p(-self.old_weight)

    @cached_property
    def separation(self) -> float:
        """Mahalanobis distance between the two means, in standard deviations."""
        difference = self.new_mean - self.old_mean
        return float(np.sqrt(max(0.0, float(difference @ self.precision_times(difference)))))

    @cached_property
    def _factor(self) -> FloatArray:
        """Lower Cholesky factor of the covariance (given, not None)."""
        assert self.covariance is not None
        try:
            factor, _ = scipy.linalg.cho_factor(self.covariance, lower=True)
        except np.linalg.LinAlgError as error:
            smallest = float(np.linalg.eigvalsh(self.covariance)[0])
            raise ValueError(
                "covariance must be positive definite, "
                f"got a matrix with smallest eigenvalue {smallest:.3g}"
            ) from error
        return np.asfortranarray(np.tril(factor))  # LAPACK would copy it at every call

    def _vectors(self, vectors: ArrayLike, axis: int) -> FloatArray:
        """Vectors as an array whose given axis has length d."""
        x = np.asarray(vectors, dtype=np.float64)
        if x.ndim == 0 or x.shape[axis] != self.dim:
            shape = f"(..., {self.dim})" if axis else f"({self.dim},) or ({self.dim}, k)"
            raise ValueError(f"vectors must have shape {shape}, got shape {x.shape}")
        return x

    def precision_times(self, vectors: ArrayLike) -> FloatArray:
        r""":math:`\Sigma^{-1} x` for one vector or for the columns of a matrix.

        Parameters
        ----------
        vectors : array_like, shape (d,) or (d, k)

        Returns
        -------
        ndarray
            Of the same shape. Iterative refinement with residuals in extended precision
            (where the platform has it) keeps the answer accurate to rounding for condition
            numbers far beyond 1e6.
        """
        x = self._vectors(vectors, axis=0)
        if self.covariance is None:
            return x.copy()
        solution = np.asarray(scipy.linalg.cho_solve((self._factor, True), x), dtype=np.float64)
        for _ in range(2):
            correction = np.asarray(
                scipy.linalg.cho_solve((self._factor, True), self._residual(x, solution))
            )
            solution = solution + correction
            # each round squares the relative error
            if (np.abs(correction) <= 1e-9 * np.abs(solution).max(axis=0)).all():
                break
        return solution

    def _residual(self, x: FloatArray, solution: FloatArray) -> FloatArray:
        """x - covariance @ solution in extended precision, by rows to bound the memory."""
        assert self.covariance is not None
        residual = np.empty_like(solution)
        for first in range(0, self.dim, _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            extended = self.covariance[rows].astype(np.longdouble)
            residual[rows] = x[rows].astype(np.longdouble) - extended @ solution
        return residual

    @cached_property
    def precision(self) -> FloatArray:
        r"""Precision matrix :math:`\Sigma^{-1}`, shape (d, d). Only Hessians need it."""
        inverse = self.precision_times(np.eye(self.dim))
        inverse = 0.5 * (inverse + inverse.T)
        inverse.flags.writeable = False
        return inverse

    def whiten(self, vectors: ArrayLike) -> FloatArray:
        """Coordinates (last axis) in which the covariance is the identity.

        Parameters
        ----------
        vectors : array_like, shape (..., d)

        Returns
        -------
        ndarray, shape (..., d)
            ``L^{-1} x`` with ``L`` the lower Cholesky factor of the covariance.
        """
        x = self._vectors(vectors, axis=-1)
        if self.covariance is None:
            return x.copy()
        flat = x.reshape(-1, self.dim).T
        white = scipy.linalg.solve_triangular(self._factor, flat, lower=True)
        return np.asarray(white.T.reshape(x.shape))

    def unwhiten(self, vectors: ArrayLike) -> FloatArray:
        """Inverse of :meth:`whiten`.

        Parameters
        ----------
        vectors : array_like, shape (..., d)

        Returns
        -------
        ndarray, shape (..., d)
        """
        x = self._vectors(vectors, axis=-1)
        if self.covariance is None:
            return x.copy()
        return np.asarray(x @ self._factor.T)

    # ---- probability ---------------------------------------------------------------

    def _samples(self, y: ArrayLike) -> FloatArray:
        """Samples as an array of shape (..., d)."""
        samples = np.asarray(y, dtype=np.float64)
        if self.dim == 1 and (samples.ndim == 0 or samples.shape[-1] != 1):
            samples = samples[..., None]
        if samples.ndim == 0 or samples.shape[-1] != self.dim:
            raise ValueError(
                f"y must have shape (..., {self.dim})"
                + (" or (...,)" if self.dim == 1 else "")
                + f", got shape {np.shape(y)}"
            )
        return samples

    def log_odds(self, y: ArrayLike) -> FloatArray:
        """Log-odds that ``y`` came from the old mode, in nats.

        Parameters
        ----------
        y : array_like, shape (..., d); for d = 1 also (...,)

        Returns
        -------
        ndarray, shape (...)
        """
        samples = self._samples(y)
        centered = samples - 0.5 * (self.old_mean + self.new_mean)
        return np.asarray(self.old_logit + centered @ self._odds_direction)

    @cached_property
    def _odds_direction(self) -> FloatArray:
        """Gradient of the log-odds in the sample."""
        return self.precision_times(self.old_mean - self.new_mean)

    def responsibility(self, y: ArrayLike) -> FloatArray:
        r"""Posterior probability of the old mode, :math:`P(\text{old} \mid y)`.

        Parameters
        ----------
        y : array_like, shape (..., d); for d = 1 also (...,)

        Returns
        -------
        ndarray, shape (...), values in [0, 1]
        """
        return sigmoid(self.log_odds(y))

    def logpdf(self, y: ArrayLike) -> FloatArray:
        """Log density at ``y``, in nats.

        Parameters
        ----------
        y : array_like, shape (..., d); for d = 1 also (...,)
            An array whose last axis has length 1 is read as (..., 1) when d = 1.

        Returns
        -------
        ndarray, shape (...)
        """
        samples = self._samples(y)
        log_volume = 0.0
        if self.covariance is not None:
            log_volume = float(np.log(np.diag(self._factor)).sum())
        constant = -0.5 * self.dim * np.log(2.0 * np.pi) - log_volume
        old = -0.5 * (self.whiten(samples - self.old_mean) ** 2).sum(axis=-1)
        new = -0.5 * (self.whiten(samples - self.new_mean) ** 2).sum(axis=-1)
        return np.asarray(
            constant + np.logaddexp(np.log(self.old_weight) + old, np.log1p(-self.old_weight) + new)
        )

    def pdf(self, y: ArrayLike) -> FloatArray:
        """Density at ``y``.

        Parameters
        ----------
        y : array_like, shape (..., d); for d = 1 also (...,)

        Returns
        -------
        ndarray, shape (...)
        """
        return np.asarray(np.exp(self.logpdf(y)))

    def rvs(self, size: int, rng: Rng = None) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Draw samples and remember which mode each came from.

        Parameters
        ----------
        size : int
            Number of samples, at least 0.
        rng : int, numpy.random.Generator or None
            Seed or generator; None draws fresh entropy.

        Returns
        -------
        samples : ndarray, shape (size, d)
        is_old : ndarray of bool, shape (size,)

        Raises
        ------
        ValueError
            If ``size`` is not an integer >= 0.
        """
        size = _arguments.integer("size", size, 0)
        generator = np.random.default_rng(rng)
        is_old = generator.random(size) < self.old_weight
        noise = self.unwhiten(generator.standard_normal((size, self.dim)))
        samples = np.where(is_old[:, None], self.old_mean, self.new_mean) + noise
        return samples, is_old
