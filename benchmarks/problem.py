r"""One training problem for all contestants, and what each of them computes.

A model :math:`q = b\,N(m_o) + (1 - b)\,N(m_n)` in ``d`` dimensions, identity covariance, is
trained for some steps. A step draws ``N`` samples ``y = m + z``, where ``m`` is the mean of
the component that a sample comes from and ``z`` a standard normal vector, and gives each
sample a coefficient ``alpha``. With ``r`` the model's responsibility of its old mode,
``a = alpha r`` and ``c = alpha (1 - r)``:

    logit b  <-  logit b - h / N ((1 - b) sum a - b sum c)
    m_o      <-  m_o - h / N sum a (y - m_o)
    m_n      <-  m_n - h / N sum c (y - m_n)

``r`` and ``alpha`` hang on a sample through *forms*, affine in it: the log-odds of old under
the model (``ours``), under the mixture ``p`` it is compared with (``theirs``) and, for OAPL,
under the mixture that gates the reward, and the log-ratio of the new components of ``q`` and
``p``. With them ``A = log(q / p)``, and the workloads are

    ============  =======================  ====================  ================================
    workload      samples from             p                     alpha
    ============  =======================  ====================  ================================
    forward_kl    new mode of the target   none                  -1
    reverse_kl    model                    target                A
    replay        1 - l model, l old data  target                w A, w = q / density of samples
    sdft          model                    teacher, moves        A
    ttt_discover  model                    target                1 - w + g (A - mean A)
    oapl          p                        model some steps ago  2 tau (tau A - (R - V))
    ============  =======================  ====================  ================================

(:mod:`forgetlib.ensemble` says what ``w``, ``R`` and ``V`` are.) All parameters are trained, at
a learning rate so small that the model hardly leaves its start: runs of different length do
the same work, and none diverges. Whether all train the same model is checked at a large one.

Every peer computes the forms and the sums from ``z`` alone and adds what the means contribute
component by component, which spares the passes over ``N d`` numbers that ``y`` would cost.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import forgetlib as fl

FloatArray = NDArray[np.float64]

WORKLOADS = ("forward_kl", "reverse_kl", "replay", "sdft", "ttt_discover", "oapl")


class Final(NamedTuple):
    """The models after the last step: (replicates,), (replicates, d), (replicates, d)."""

    logit: FloatArray
    old_mean: FloatArray
    new_mean: FloatArray


Run = Callable[[int, int], Final]  # of steps and seed


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is trained, on what, and how many at once."""

    workload: str
    dim: int
    batch_size: int
    replicates: int
    learning_rate: float = 1e-6
    separation: float = 4.0
    target_weight: float = 0.75
    start_weight: float = 0.6
    new_mean_error: float = 0.5  # at the start, in the last coordinate
    replay_share: float = 0.25
    ema_rate: float = 2.0
    anchor: float = 1.0
    reward_gap: float = 0.8
    inverse_temperature: float = 1.0
    kl_weight: float = 0.3
    temperature: float = 1.0
    sync_every: int = 10

    @property
    def target_logit(self) -> float:
        return float(np.log(self.target_weight / (1.0 - self.target_weight)))

    @property
    def start_logit(self) -> float:
        return float(np.log(self.start_weight / (1.0 - self.start_weight)))

    @property
    def replay(self) -> float:
        """Share of replayed samples in a batch."""
        return self.replay_share if self.workload == "replay" else 0.0

    @property
    def normals_per_sample(self) -> float:
        """How many normals the law of a step needs: the dimension of the span of its forms.

        For OAPL that is two in the first step after each synchronization, when model and
        lagged policy are one, and four in the others.
        """
        if self.workload == "forward_kl":
            return 1.0
        if self.workload == "oapl":
            lag = 1.0 / self.sync_every
            return lag * min(self.dim, 2) + (1.0 - lag) * min(self.dim, 4)
        return float(min(self.dim, 3))

    def means(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Old and new mean of the target, and the model's new mean at the start."""
        old, new = np.zeros(self.dim), np.zeros(self.dim)
        new[0] = self.separation
        start = new.copy()
        start[-1] += self.new_mean_error
        return old, new, start

    def objective(self) -> Any:
        """The workload as forgetlib names it."""
        old, new, _ = self.means()
        target = fl.TwoModeMixture(self.target_weight, old, new)
        match self.workload:
            case "forward_kl":
                return fl.ForwardKL(target)
            case "reverse_kl" | "replay":
                return fl.ReverseKL(target, replay=self.replay)
            case "sdft":
                return fl.SDFT(target, self.ema_rate, self.anchor, teacher=target)
            case "ttt_discover":
                return fl.TTTDiscover(
                    target, self.reward_gap, self.inverse_temperature, self.kl_weight
                )
            case "oapl":
                return fl.OAPL(target, self.reward_gap, self.temperature, self.sync_every)
        raise ValueError(f"workload must be one of {WORKLOADS}, got {self.workload!r}")


def forgetlib_runner(problem: Problem, workers: int | None = None) -> Run:
    """The contestant that all others are measured against."""
    objective = problem.objective()
    old, _, start_new = problem.means()
    start = fl.TwoModeMixture(problem.start_weight, old, start_new)

    def run(steps: int, seed: int) -> Final:
        result = fl.simulate(
            objective,
            start,
            steps=steps,
            batch_size=problem.batch_size,
            learning_rate=problem.learning_rate,
            replicates=problem.replicates,
            record_every=steps,
            workers=workers,
            rng=seed,
        )
        return Final(result.old_logit[:, -1], result.old_mean[:, -1], result.new_mean[:, -1])

    return run


def summary(problem: Problem, final: Final) -> tuple[FloatArray, FloatArray]:
    """Means over the replicates and their variances: logit, drift and error of the means."""
    old, new, _ = problem.means()
    old_error, new_error = final.old_mean - old, final.new_mean - new
    table = np.stack(
        [
            final.logit,
            old_error[:, 0],
            new_error[:, 0],
            new_error[:, -1],
            np.square(old_error).sum(axis=1),
            np.square(new_error).sum(axis=1),
        ]
    ).astype(np.float64)
    return table.mean(axis=1), table.var(axis=1, ddof=1) / table.shape[1]


def disagreement(problem: Problem, ours: Final, theirs: Final) -> float:
    """Largest distance of the summaries of two ensembles, in standard errors."""
    (mean, variance), (other_mean, other_variance) = (
        summary(problem, ours),
        summary(problem, theirs),
    )
    return float(np.abs((mean - other_mean) / np.sqrt(variance + other_variance)).max())
