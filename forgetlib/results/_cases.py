"""What every check shares: its cases, how tight they were, samples, and a Monte Carlo verdict."""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forgetlib.mixture import TwoModeMixture
from forgetlib.results import Check, Rng

__all__ = ["SIGMAS", "Cases", "mean_and_error", "mode_samples", "random_mixture", "watching"]

FloatArray = NDArray[np.float64]

SIGMAS = 4.5  # a false alarm has probability 7e-6
ROUNDING = 1e-9  # by how much a bound that is attained may seem to be broken

Watcher = Callable[[int], None]
_watcher: contextvars.ContextVar[Watcher | None] = contextvars.ContextVar("watcher", default=None)


@contextlib.contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Within the block, call ``watcher(count)`` whenever ``count`` more cases are done."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


class Cases:
    """The random configurations of one check, and what they showed.

    Iterate to go through them one by one (each turn gives the random generator), or draw
    arrays of them from ``generator`` and say ``done(count)``.
    """

    def __init__(self, configurations: int, rng: Rng) -> None:
        self.generator = np.random.default_rng(rng)
        self.configurations = configurations
        self.count = 0
        self._worst = 0.0
        self._ratios: list[float] = []

    def __iter__(self) -> Iterator[np.random.Generator]:
        for _ in range(self.configurations):
            yield self.generator
            self.done(1)

    def done(self, count: int) -> None:
        """Count cases, and tell who is watching."""
        self.count += count
        watcher = _watcher.get()
        if watcher is not None:
            watcher(count)

    def at_most(self, left: ArrayLike, right: ArrayLike) -> None:
        """Claim ``left <= right``, with ``right > 0``, for each entry."""
        ratios = np.ravel(np.asarray(left, dtype=np.float64) / np.asarray(right))
        self._note(ratios)
        self._ratios.extend(ratios)

    def equal(self, left: ArrayLike, right: ArrayLike, tolerance: float) -> None:
        """Claim ``left = right`` up to a relative error, for each entry."""
        error = np.abs(np.asarray(left, dtype=np.float64) / np.asarray(right) - 1.0)
        self._note(np.ravel(error) / tolerance)

    def within(self, error: ArrayLike, tolerance: ArrayLike) -> None:
        """Claim that an error, in whatever unit, is at most its tolerance."""
        self._note(np.ravel(np.abs(np.asarray(error, dtype=np.float64)) / np.asarray(tolerance)))

    def must(self, condition: ArrayLike) -> None:
        """Claim that something is true, for each entry."""
        if not np.all(condition):
            self._worst = math.inf

    def _note(self, ratios: FloatArray) -> None:
        worst = float(ratios.max(initial=0.0))
        self._worst = math.inf if math.isnan(worst) else max(self._worst, worst)

    def conclude(self, estimate: float, prediction: float, stderr: float, note: str) -> Check:
        """Put the exact part and a Monte Carlo estimate together.

        The estimate may lie 4.5 standard errors from the prediction, which chance alone
        exceeds in 7 of a million checks. A ``stderr`` of 0 belongs to a claim about every
        path: then the estimate must be the prediction.
        """
        bound = 1.0 + ROUNDING
        agrees = abs(estimate - prediction) <= SIGMAS * stderr
        return Check(
            holds=bool(self._worst <= bound and agrees),
            value=self._worst,
            bound=bound,
            estimate=estimate,
            prediction=prediction,
            stderr=stderr,
            configurations=self.count,
            typical=float(np.median(self._ratios)) if self._ratios else math.nan,
            note=note,
        )


def mean_and_error(samples: FloatArray) -> tuple[float, float]:
    """Mean of independent samples, and its standard error."""
    return float(samples.mean()), float(samples.std(ddof=1) / math.sqrt(samples.size))


def mode_samples(mean: FloatArray, size: int, generator: np.random.Generator) -> FloatArray:
    """Samples of one mode with identity covariance."""
    return np.asarray(mean + generator.standard_normal((size, mean.size)))


def random_mixture(
    generator: np.random.Generator, separation: float, weight: float, dim: int
) -> TwoModeMixture:
    """Mixture at this separation with a random covariance and a random direction."""
    root = generator.standard_normal((dim, dim)) + 2.0 * np.eye(dim)
    direction = generator.standard_normal(dim)
    direction *= separation / np.linalg.norm(direction)
    old = generator.standard_normal(dim)
    return TwoModeMixture(weight, old, old + root @ direction, root @ root.T)
