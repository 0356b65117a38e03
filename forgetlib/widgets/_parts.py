"""Parts of pictures that several explorers share."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forgetlib._svg import Panel
from forgetlib.mixture import TwoModeMixture

__all__ = ["WIDE", "Runs", "bell", "credit", "parts"]

FloatArray = NDArray[np.float64]

WIDE = {"left": 34.0, "width": 312.0}  # of every panel: the picture is 360 wide


def bell(y: FloatArray, mean: float) -> FloatArray:
    return np.asarray(np.exp(-0.5 * (y - mean) ** 2) / math.sqrt(2.0 * math.pi))


def parts(panel: Panel, y: FloatArray, model: TwoModeMixture) -> None:
    """Weighted old and new part of a one-dimensional model, and their sum."""
    old = model.old_weight * bell(y, float(model.old_mean[0]))
    new = (1.0 - model.old_weight) * bell(y, float(model.new_mean[0]))
    panel.band(y, 0.0 * y, old, "old")
    panel.band(y, 0.0 * y, new, "new")
    panel.line(y, old + new, "model")


def credit(panel: Panel, y: FloatArray, model: TwoModeMixture) -> None:
    """Responsibilities: below the curve the old mode's, above it the new mode's."""
    share = model.responsibility(y)
    panel.band(y, 0.0 * y, share, "old", 0.13)  # faint: text on it needs a contrast of 4.5
    panel.band(y, share, 0.0 * y + 1.0, "new", 0.13)
    panel.line(y, share, "model", 1.4)
    middle = panel.top + 0.5 * panel.height + 4
    if share[0] > 0.8:
        panel.canvas.text(panel.left + 6, middle, "old mode", "old")
    panel.canvas.text(panel.left + panel.width - 6, middle, "new mode", "new", "end")


@dataclasses.dataclass(frozen=True)
class Runs:
    """Mean, standard error and central 80% of an ensemble at a few times, evenly spaced in log."""

    t: FloatArray
    mean: FloatArray
    stderr: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, time: ArrayLike, samples: FloatArray, count: int = 13) -> Runs:
        t = np.asarray(time, dtype=np.float64)
        wanted = np.geomspace(t[1], t[-1], count)
        chosen = np.unique(np.abs(np.log(t[1:, None] / wanted)).argmin(axis=0) + 1)
        values = samples[:, chosen]
        low, high = np.quantile(values, [0.1, 0.9], axis=0)
        stderr = values.std(axis=0, ddof=1) / math.sqrt(values.shape[0])
        return cls(t[chosen], values.mean(axis=0), stderr, low, high)

    def draw(self, panel: Panel, role: str) -> None:
        """Shade the central 80%, and mark the means with bars of two standard errors."""
        panel.band(self.t, self.low, self.high, role, 0.25)
        panel.errors(self.t, self.mean, 2.0 * self.stderr, role)
