r"""How far apart are two real models? Estimates from log-probabilities of samples.

Whoever can sample two models, and ask both for the log-probability of a sample, has the
log-ratios :math:`x = \log f_o - \log f_n` of old samples and of new ones. All that the
two-mode theory asks of two densities is an integral of both:

.. math:: \mathrm{BC} = \int \sqrt{f_o f_n}, \qquad
          \kappa(b) = \int \frac{f_o f_n}{b f_o + (1-b) f_n},

the Bhattacharyya coefficient and the overlap that gates forgetting: the misassignment
probability of the old mode is :math:`\varepsilon = (1-b)\,\kappa(b)`.

Why not average over one model
------------------------------
:math:`\mathrm{BC} = E_o\, e^{-x/2}` has unbounded terms: it is decided by old samples that look new,
which are the rarest. Pooled, the samples come from :math:`s_o f_o + s_n f_n` (shares
:math:`s`), and

.. math:: \mathrm{BC} = E_{\text{pooled}} \Big[ \frac{1}{s_o e^{x/2} + s_n e^{-x/2}} \Big]

has terms in :math:`[0, 1 / (2 \sqrt{s_o s_n})]`. Both models bridge to the middle, where
the integrand lives: this is bridge sampling with known normalization (the multistate
estimator of arXiv:0801.1426).

The interval
------------
A sum of rare bounded terms is nearer to a gamma variable than to a normal one. With the
mean ``y``, its variance ``v`` from within the two groups, and ``m`` what one more largest
term would add, the limits are the gamma quantiles of Fay and Feuer (1997),

.. math:: \frac{v}{2y} \chi^2_{2y^2/v,\; \alpha/2}, \qquad
          \frac{v + m^2}{2(y + m)} \chi^2_{2(y+m)^2/(v+m^2),\; 1-\alpha/2}.

With many samples that is the normal interval. With none in the overlap the upper limit is
:math:`m \log(2/\alpha)`, the limit that zero successes leave.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import chdtrc, chdtri, expit, log_expit, logit

from forgetlib import _arguments

__all__ = ["Interval", "OverlapEstimate", "estimate_overlap", "read_log_probabilities"]

FloatArray = NDArray[np.float64]

_FEWEST = 10  # samples of each model
_COLUMNS = ("model", "log_old", "log_new")


class Interval(NamedTuple):
    """An estimate between two limits.

    Attributes
    ----------
    value, low, high : float

    Examples
    --------
    >>> import forgetlib as fl
    >>> fl.Interval(0.3, 0.2, 0.5).high
    0.5
    """

    value: float
    low: float
    high: float


def _gamma_interval(mean: float, variance: float, largest: float, level: float) -> Interval:
    """Limits for the mean of rare bounded terms; ``largest`` is what one term can add."""
    tail = 0.5 * (1.0 - level)
    low = 0.0
    if variance > 0.0:
        shape = 2.0 * mean * mean / variance
        low = mean if shape > 1e12 else variance / (2.0 * mean) * float(chdtri(shape, 1.0 - tail))
    mean_up, variance_up = mean + largest, variance + largest * largest
    shape = 2.0 * mean_up * mean_up / variance_up
    high = variance_up / (2.0 * mean_up) * float(chdtri(shape, tail))
    return Interval(mean, min(low, mean), max(high, mean))


@dataclasses.dataclass(frozen=True)
class OverlapEstimate:
    r"""What samples of two models say about their overlap.

    Attributes
    ----------
    old_ratios : ndarray, shape (n_o,)
        Log-ratios :math:`x = \log f_o - \log f_n` of samples of the old model, in nats.
    new_ratios : ndarray, shape (n_n,)
        The same of samples of the new model.
    level : float
        Confidence level of the intervals, in (0, 1).

    Notes
    -----
    True of any two densities; only ``separation`` reads them as two Gaussian modes with a
    common covariance, which ``gaussian_ratio`` questions.

    Examples
    --------
    >>> import numpy as np
    >>> import forgetlib as fl
    >>> h = np.random.default_rng(0).normal(2.0, 2.0, 400)  # two Gaussians, D = 2
    >>> found = fl.OverlapEstimate(h, -h)
    >>> found.degenerate, found.consistent, found.looks_gaussian
    (False, True, True)
    >>> [round(limit, 3) for limit in found.misassignment(0.5)]
    [0.237, 0.225, 0.249]
    """

    old_ratios: FloatArray = dataclasses.field(repr=False)
    new_ratios: FloatArray = dataclasses.field(repr=False)
    level: float = 0.95

    def _pooled(self, *odds: float) -> Interval:
        """Integral of a product of ``1 / (w_o e^{x/2} + w_n e^{-x/2})`` over the pool.

        ``odds`` are the logits of the weights ``w_o`` of all factors after the first, which
        has the shares of the pool. The integrals are at most 1.
        """
        count = self.old_ratios.size + self.new_ratios.size
        share = self.old_ratios.size / count
        every = (float(logit(share)), *odds)

        def terms(h: FloatArray) -> FloatArray:
            logs = [
                -np.logaddexp(log_expit(each) + 0.5 * h, log_expit(-each) - 0.5 * h)
                for each in every
            ]
            return np.asarray(np.exp(sum(logs)))

        mean = variance = 0.0
        for weight, ratios in ((share, self.old_ratios), (1.0 - share, self.new_ratios)):
            values = terms(ratios)
            mean += weight * float(values.mean())
            variance += weight**2 * float(values.var(ddof=1)) / values.size
        bound = math.prod(0.5 / math.sqrt(expit(each) * expit(-each)) for each in every)
        found = _gamma_interval(mean, variance, bound / count, self.level)
        return Interval(*(min(limit, 1.0) for limit in found))

    @property
    def coefficient(self) -> Interval:
        r"""Bhattacharyya coefficient :math:`\int \sqrt{f_o f_n}`, in [0, 1]."""
        return self._pooled()

    @property
    def overlapping_samples(self) -> float:
        r"""How many samples in the middle between the models would tell as much.

        The estimate over the largest that one sample can add to it,
        :math:`2\, \mathrm{BC} \sqrt{n_o n_n}`.
        """
        return 2.0 * self.coefficient.value * math.sqrt(self.old_ratios.size * self.new_ratios.size)

    @property
    def degenerate(self) -> bool:
        """Fewer than ten samples overlap: believe the upper limit of the overlap only."""
        return self.overlapping_samples < _FEWEST

    @property
    def separation(self) -> Interval:
        r"""Separation of two Gaussian modes with this overlap, :math:`\sqrt{-8 \log \mathrm{BC}}`.

        The upper limit is infinite where the estimate is degenerate.
        """
        value, low, high = (
            math.sqrt(max(0.0, -8.0 * math.log(limit))) if limit > 0.0 else math.inf
            for limit in self.coefficient
        )
        return Interval(value, high, math.inf if self.degenerate else low)

    def gate(self, old_weight: float) -> Interval:
        r"""Overlap seen by a mixture, :math:`\kappa(b) = \int f_o f_n / q`, in [0, 1].

        Parameters
        ----------
        old_weight : float
            ``b``, strictly between 0 and 1.

        Returns
        -------
        Interval

        Raises
        ------
        ValueError
            If the weight is not inside (0, 1).
        """
        odds = float(logit(_arguments.weight("old_weight", old_weight)))
        return self._pooled(odds)

    def misassignment(self, old_weight: float) -> Interval:
        r"""Probability that an old sample counts as new, :math:`\varepsilon = (1-b)\kappa(b)`.

        Parameters
        ----------
        old_weight : float
            ``b``, strictly between 0 and 1.

        Returns
        -------
        Interval

        Raises
        ------
        ValueError
            If the weight is not inside (0, 1).
        """
        old_weight = _arguments.weight("old_weight", old_weight)
        return Interval(*((1.0 - old_weight) * limit for limit in self.gate(old_weight)))

    @property
    def normalization_gap(self) -> tuple[float, float]:
        r"""Nats by which the two log-probabilities disagree on a normalization, with its error.

        Bennett's estimate: the ``c`` for which as many old samples look new as new ones look
        old when ``x`` is replaced by ``x - c``. It is 0 for log-probabilities of the very
        distributions that made the samples.

        Returns
        -------
        gap, stderr : float
            ``nan`` and infinity where no sample lies in the overlap.
        """
        old, new = self.old_ratios, self.new_ratios
        tilt = math.log(old.size / new.size)

        def excess(c: float) -> float:
            return float(expit(-(old - c) - tilt).sum() - expit(new - c + tilt).sum())

        least, largest = float(min(old.min(), new.min())), float(max(old.max(), new.max()))
        gap = float(brentq(excess, least - 50.0, largest + 50.0, xtol=1e-12))
        looks_new, looks_old = expit(-(old - gap) - tilt), expit(new - gap + tilt)
        slope = float((looks_new * (1 - looks_new)).sum() + (looks_old * (1 - looks_old)).sum())
        noise = old.size * float(looks_new.var(ddof=1)) + new.size * float(looks_old.var(ddof=1))
        if not slope > 1e-12:
            return math.nan, math.inf
        return gap, math.sqrt(noise) / slope

    @property
    def calibration(self) -> float:
        r"""P-value of the claim that the log-probabilities are those of the samplers.

        If they are, a sample with log-ratio ``x`` comes from the old model with odds
        :math:`(n_o/n_n)\, e^x`. A score test of both the offset and the factor 1 of ``x``,
        with two degrees of freedom. Samples drawn at another temperature, or cut to the
        likeliest words, show here if both models were. Not a number where too few samples lie in
        the overlap; where there are just enough, a value of 0.001 comes by chance once in 100.
        """
        sizes = self.old_ratios.size, self.new_ratios.size
        x = np.concatenate([self.old_ratios, self.new_ratios])
        odds = x + math.log(sizes[0] / sizes[1])
        looks_old, looks_new = expit(odds), expit(-odds)
        each = np.stack([np.ones_like(x), x])
        score = (each[:, : sizes[0]] * looks_new[: sizes[0]]).sum(axis=1)
        score -= (each[:, sizes[0] :] * looks_old[sizes[0] :]).sum(axis=1)
        # information of labels that are drawn, less what fixed numbers of both take away
        information = (each * looks_old * looks_new) @ each.T
        fixed = (1.0 / sizes[0] + 1.0 / sizes[1]) * np.outer(information[0], information[0])
        covariance = information - fixed
        if self.degenerate or not np.linalg.det(covariance) > 0.0:
            return math.nan
        return float(chdtrc(2.0, score @ np.linalg.solve(covariance, score)))

    @property
    def consistent(self) -> bool | None:
        """Whether ``calibration`` is at least 0.001; None where nothing can be told."""
        return None if math.isnan(self.calibration) else self.calibration >= 0.001

    @property
    def gaussian_ratio(self) -> tuple[float, float]:
        r"""Variance of ``x`` over twice the absolute value of its mean: old and new samples.

        Both are 1 for two Gaussian modes with a common covariance, where
        :math:`x \sim N(\pm D^2/2, D^2)`.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            first, second = (
                float(np.divide(ratios.var(ddof=1), abs(2.0 * ratios.mean())))
                for ratios in (self.old_ratios, self.new_ratios)
            )
        return first, second

    @property
    def looks_gaussian(self) -> bool:
        """Whether ``gaussian_ratio`` may be within a factor of 2, at three standard errors."""
        for ratio, h in zip(self.gaussian_ratio, (self.old_ratios, self.new_ratios), strict=True):
            if not 0.0 < ratio < math.inf:
                return False
            relative = math.sqrt(2.0 / h.size + float(h.var() / h.mean() ** 2) / h.size)
            if abs(math.log(ratio)) > math.log(2.0) + 3.0 * relative:
                return False
        return True


def _pairs(name: str, value: ArrayLike) -> FloatArray:
    """Log-probabilities of one model's samples under both models."""
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        array = np.array(None)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != 2:
        shown = f"shape {array.shape}" if array.dtype.kind in "fiu" else repr(value)[:80]
        raise ValueError(
            f"{name} must be numbers of shape (samples, 2), the log-probability of each sample "
            f"under the old and under the new model, got {shown}"
        )
    if array.shape[0] < _FEWEST:
        raise ValueError(f"{name} must hold at least {_FEWEST} samples, got {array.shape[0]}")
    array = array.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if wrong.size:
        raise ValueError(
            f"{name} must be finite, got {array[wrong[0]].tolist()} in row {wrong[0]} "
            f"({wrong.size} such rows)"
        )
    return array


def estimate_overlap(
    old_samples: ArrayLike, new_samples: ArrayLike, *, level: float = 0.95
) -> OverlapEstimate:
    r"""Estimate the overlap of two models from log-probabilities of their samples.

    Parameters
    ----------
    old_samples : array_like, shape (n_o, 2)
        For each sample *of the old model* its log-probability under the old model and under
        the new one, in nats. At least 10 independent samples.
    new_samples : array_like, shape (n_n, 2)
        For each sample *of the new model* the same two numbers, in the same order.
    level : float
        Confidence level of the intervals, in (0, 1).

    Returns
    -------
    OverlapEstimate

    Raises
    ------
    ValueError
        If an array has another shape, is too short or holds numbers that are not finite; if
        all log-ratios are equal; or if the level is not inside (0, 1).

    Notes
    -----
    The estimate is unbiased for any two densities, the interval covers at about its level:
    see the calculator page. Log-probabilities must be those of whole samples (for text: summed
    over all tokens, the end included) under the distribution that was sampled.

    Examples
    --------
    >>> import numpy as np
    >>> import forgetlib as fl
    >>> rng = np.random.default_rng(0)
    >>> old, new = rng.normal(0.0, 1.0, 1000), rng.normal(3.0, 1.0, 1000)
    >>> log_probabilities = lambda y: np.stack([-0.5 * y**2, -0.5 * (y - 3.0) ** 2], axis=1)
    >>> found = fl.estimate_overlap(log_probabilities(old), log_probabilities(new))
    >>> [round(limit, 2) for limit in found.separation]
    [3.02, 2.96, 3.07]
    """
    level = _arguments.weight("level", level)
    old, new = _pairs("old_samples", old_samples), _pairs("new_samples", new_samples)
    first, second = old[:, 0] - old[:, 1], new[:, 0] - new[:, 1]
    if np.ptp(np.concatenate([first, second])) == 0.0:
        raise ValueError(
            "old_samples and new_samples must come from different models, got one log-ratio, "
            f"{float(first[0])!r}, for all samples"
        )
    return OverlapEstimate(first, second, level)


def read_log_probabilities(path: str | Path) -> tuple[FloatArray, FloatArray]:
    """Read log-probabilities of samples from a file.

    Parameters
    ----------
    path : str or Path
        ``.npz`` with arrays ``old`` and ``new`` of shape (samples, 2); or ``.csv`` with a
        header and the columns ``model`` (which model the sample comes from: ``old`` or
        ``new``), ``log_old`` and ``log_new`` (its log-probabilities, in nats).

    Returns
    -------
    old_samples, new_samples : ndarray, shape (samples, 2)
        As :func:`estimate_overlap` takes them.

    Raises
    ------
    ValueError
        If the file is of another kind, or a column, array or number is missing or wrong. Files
        that hold pickled objects are refused.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import forgetlib as fl
    >>> rows = ["model,log_old,log_new", *(["old,-1.0,-3.0"] * 10), *(["new,-4.0,-1.5"] * 12)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "samples.csv")
    ...     _ = path.write_text("\\n".join(rows))
    ...     old, new = fl.read_log_probabilities(path)
    >>> old.shape, new.shape
    ((10, 2), (12, 2))
    """
    path = Path(path)
    if path.suffix == ".npz":
        return _read_npz(path)
    if path.suffix == ".csv":
        return _read_csv(path)
    raise ValueError(f"path must end in .csv or .npz, got {str(path)!r}")


def _read_npz(path: Path) -> tuple[FloatArray, FloatArray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, Any] = {name: file[name] for name in file.files}
    except ValueError as error:
        raise ValueError(
            f"path must be an .npz file without objects, got {path}: {error}"
        ) from None
    missing = {"old", "new"} - set(arrays)
    if missing:
        raise ValueError(f"path must hold arrays 'old' and 'new', got {sorted(arrays)} in {path}")
    return _pairs("old", arrays["old"]), _pairs("new", arrays["new"])


def _read_csv(path: Path) -> tuple[FloatArray, FloatArray]:
    found: dict[str, list[tuple[float, float]]] = {"old": [], "new": []}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if missing := set(_COLUMNS) - set(reader.fieldnames or ()):
            raise ValueError(
                f"path must have the columns {', '.join(_COLUMNS)}, got none of "
                f"{', '.join(sorted(missing))} in {path}"
            )
        for row in reader:
            try:
                pair = float(row["log_old"]), float(row["log_new"])
                found[row["model"].strip()].append(pair)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise ValueError(
                    f"path must hold 'old' or 'new' and two numbers in every row, got {row} in "
                    f"line {reader.line_num} of {path}"
                ) from None
    return (
        _pairs("rows of model old", np.array(found["old"]).reshape(-1, 2)),
        _pairs("rows of model new", np.array(found["new"]).reshape(-1, 2)),
    )
