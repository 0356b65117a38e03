"""The same training run, written the usual way: every sample drawn in full.

Reverse KL by the score function (no baseline), all parameters trained, identity covariance:

    y ~ q,  A = log(q / p)(y),  theta <- theta - h mean[A * score(y)].

Both versions work with affine log-odds instead of densities, as anyone who writes them with
care would, because a density costs another pass over the ``d`` coordinates of each sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Final = tuple[FloatArray, FloatArray, FloatArray]  # logit, old mean, new mean


class Problem(NamedTuple):
    """One training problem for all contestants."""

    dim: int
    batch_size: int
    replicates: int
    steps: int
    separation: float = 4.0
    target_weight: float = 0.75
    start_weight: float = 0.6
    new_mean_error: float = 0.5
    learning_rate: float = 0.01

    @property
    def target_logit(self) -> float:
        return float(np.log(self.target_weight / (1.0 - self.target_weight)))

    @property
    def start_logit(self) -> float:
        return float(np.log(self.start_weight / (1.0 - self.start_weight)))

    def means(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Old and new mean of the target, and the model's new mean at the start."""
        old, new = np.zeros(self.dim), np.zeros(self.dim)
        new[0] = self.separation
        start = new.copy()
        start[-1] += self.new_mean_error
        return old, new, start


def numpy_run(problem: Problem, seed: int) -> Final:
    """NumPy: replicates in groups that stay in cache, buffers reused, a fast generator."""
    rng = np.random.Generator(np.random.SFC64(seed))
    sample_floats = problem.batch_size * problem.dim
    group = max(1, min(problem.replicates, 16384 // sample_floats))
    parts = []
    for first in range(0, problem.replicates, group):
        size = min(group, problem.replicates - first)
        parts.append(_numpy_group(problem, size, rng))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))  # type: ignore[return-value]


def _numpy_group(problem: Problem, replicates: int, rng: np.random.Generator) -> Final:
    mu_old, mu_new, start = problem.means()
    batch, dim, rate = problem.batch_size, problem.dim, problem.learning_rate
    logit = np.full(replicates, problem.start_logit)
    old, new = np.tile(mu_old, (replicates, 1)), np.tile(start, (replicates, 1))
    y = np.empty((replicates, batch, dim))
    uniform = np.empty((replicates, batch))
    target_gap = mu_new - mu_old
    target_middle = 0.5 * (mu_new + mu_old) @ target_gap
    target_base = -np.log1p(np.exp(problem.target_logit))
    for _ in range(problem.steps):
        weight = 1.0 / (1.0 + np.exp(-logit))
        rng.standard_normal(out=y)
        rng.random(out=uniform)
        is_old = uniform < weight[:, None]
        y += np.where(is_old[..., None], old[:, None], new[:, None])
        gap, error = new - old, new - mu_new
        # log-odds of old under model and target; log-ratio of the new components
        directions = np.stack([gap, np.broadcast_to(target_gap, gap.shape), error], axis=2)
        forms = y @ directions
        ours = (logit + 0.5 * ((new + old) * gap).sum(axis=1))[:, None] - forms[..., 0]
        theirs = (problem.target_logit + target_middle) - forms[..., 1]
        ratio = forms[..., 2] - 0.5 * ((new + mu_new) * error).sum(axis=1)[:, None]
        exp_ours, exp_theirs = np.exp(-np.abs(ours)), np.exp(-np.abs(theirs))
        advantage = ratio + np.maximum(ours, 0.0) - np.maximum(theirs, 0.0)
        advantage += np.log((1.0 + exp_ours) / (1.0 + exp_theirs))
        advantage += (-np.log1p(np.exp(logit)) - target_base)[:, None]
        responsibility = np.where(ours >= 0.0, 1.0, exp_ours) / (1.0 + exp_ours)
        a = advantage * responsibility
        c = advantage - a
        a_sum, c_sum = a.sum(axis=1), c.sum(axis=1)
        moments = np.stack([a, c], axis=1) @ y
        scale = rate / batch
        logit = logit - scale * (a_sum - weight * (a_sum + c_sum))
        old = old - scale * (moments[:, 0] - a_sum[:, None] * old)
        new = new - scale * (moments[:, 1] - c_sum[:, None] * new)
    return logit, old, new


def jax_runner(problem: Problem) -> Callable[[int], Final]:
    """JAX: one compiled scan over all steps, all replicates at once, double precision."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    mu_old, mu_new, start = (jnp.asarray(mean) for mean in problem.means())
    replicates, batch, dim = problem.replicates, problem.batch_size, problem.dim
    scale = problem.learning_rate / batch
    target_gap = mu_new - mu_old
    target_middle = 0.5 * jnp.dot(mu_new + mu_old, target_gap)

    def step(state: tuple, key: jax.Array) -> tuple[tuple, None]:
        logit, old, new = state
        weight = jax.nn.sigmoid(logit)
        normal_key, label_key = jax.random.split(key)
        is_old = jax.random.uniform(label_key, (replicates, batch)) < weight[:, None]
        noise = jax.random.normal(normal_key, (replicates, batch, dim))
        y = noise + jnp.where(is_old[..., None], old[:, None], new[:, None])
        gap, error = new - old, new - mu_new
        ours = (logit + 0.5 * ((new + old) * gap).sum(1))[:, None] - jnp.einsum(
            "rnd,rd->rn", y, gap
        )
        theirs = (problem.target_logit + target_middle) - y @ target_gap
        ratio = jnp.einsum("rnd,rd->rn", y, error) - 0.5 * ((new + mu_new) * error).sum(1)[:, None]
        advantage = (
            ratio
            + jax.nn.softplus(ours)
            - jax.nn.softplus(theirs)
            + (jax.nn.log_sigmoid(-logit) - jax.nn.log_sigmoid(-problem.target_logit))[:, None]
        )
        a = advantage * jax.nn.sigmoid(ours)
        c = advantage - a
        a_sum, c_sum = a.sum(1), c.sum(1)
        return (
            logit - scale * (a_sum - weight * (a_sum + c_sum)),
            old - scale * (jnp.einsum("rn,rnd->rd", a, y) - a_sum[:, None] * old),
            new - scale * (jnp.einsum("rn,rnd->rd", c, y) - c_sum[:, None] * new),
        ), None

    @jax.jit
    def run(key: jax.Array) -> tuple:
        state = (
            jnp.full(replicates, problem.start_logit),
            jnp.tile(mu_old, (replicates, 1)),
            jnp.tile(start, (replicates, 1)),
        )
        return jax.lax.scan(step, state, jax.random.split(key, problem.steps))[0]

    def runner(seed: int) -> Final:
        # JAX's default generator is the fastest of its three on a CPU
        logit, old, new = jax.block_until_ready(run(jax.random.key(seed)))
        return np.asarray(logit), np.asarray(old), np.asarray(new)

    return runner
