"""Vectorised NumPy: one thread, replicates in groups that stay in cache, buffers reused.

The samples are kept as ``d`` rows of noise, under which stand the indicators of their
components and a row of ones. Then one matrix product gives all forms, means included, and
another one all sums.
"""

from __future__ import annotations

import numpy as np
from problem import Final, FloatArray, Problem, Run

_GROUP = 1 << 14  # numbers of a batch that are drawn together: they stay in the cache


def runner(problem: Problem) -> Run:
    def run(steps: int, seed: int) -> Final:
        rng = np.random.Generator(np.random.SFC64(seed))  # the fastest of NumPy's generators
        size = max(1, min(problem.replicates, _GROUP // (problem.batch_size * problem.dim)))
        parts = [
            _train(problem, min(size, problem.replicates - first), steps, rng)
            for first in range(0, problem.replicates, size)
        ]
        return Final(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    return run


def _inner(x: FloatArray, y: FloatArray) -> FloatArray:
    return np.vecdot(x, y)


def _sigmoid(x: FloatArray, exp_x: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), given exp(-|x|)."""
    return np.where(x >= 0.0, 1.0, exp_x) / (1.0 + exp_x)


def _log_new(logit: FloatArray) -> FloatArray:
    """Log weight of the new mode."""
    return -np.logaddexp(0.0, logit)


def _train(problem: Problem, replicates: int, steps: int, rng: np.random.Generator) -> Final:
    workload, dim, batch = problem.workload, problem.dim, problem.batch_size
    mu_old, mu_new, start = problem.means()
    rows = (replicates, 1)
    logit = np.full(replicates, problem.start_logit)
    old, new = np.tile(mu_old, rows), np.tile(start, rows)
    # what the model is compared with
    other_logit = np.full(replicates, problem.target_logit)
    other_old, other_new = np.tile(mu_old, rows), np.tile(mu_new, rows)
    target_gap = np.tile(mu_new - mu_old, rows)
    target_middle = np.tile(0.5 * (mu_new + mu_old), rows)

    components = {"forward_kl": 1, "replay": 3}.get(workload, 2)
    forms_count = {"forward_kl": 1, "oapl": 4}.get(workload, 3)
    samples = np.ones((dim + components, replicates, batch))
    noise, is_old, is_replayed = (
        samples[:dim],
        samples[dim],
        samples[min(dim + 1, len(samples) - 1)],
    )
    uniform = np.empty((replicates, batch))
    by_replicate = samples.transpose(1, 0, 2)
    rows_of_samples = samples.transpose(1, 2, 0)
    maps = np.empty((replicates, forms_count, dim + components))
    forms = np.empty((replicates, forms_count, batch))
    coefficients = np.empty((replicates, 2, batch))
    a, c = coefficients[:, 0], coefficients[:, 1]
    scale = problem.learning_rate / batch

    for step in range(1, steps + 1):
        weight = 1.0 / (1.0 + np.exp(-logit))
        # ---- samples ------------------------------------------------------------------
        rng.standard_normal(out=noise)
        if workload == "forward_kl":
            base = mu_new[None]
            shifts: list[FloatArray] = []
        else:
            rng.random(out=uniform)
            base, first = (other_new, other_old) if workload == "oapl" else (new, old)
            shifts = [first - base]
            chance = 1.0 / (1.0 + np.exp(-other_logit)) if workload == "oapl" else weight
            if workload == "replay":
                shifts.append(mu_old - base)
                np.less(uniform, problem.replay, out=is_replayed)
                chance = problem.replay + (1.0 - problem.replay) * weight
            np.less(uniform, chance[:, None], out=is_old)
            if workload == "replay":
                is_old -= is_replayed

        # ---- forms --------------------------------------------------------------------
        gap = new - old
        np.negative(gap, out=maps[:, 0, :dim])
        maps[:, 0, -1] = logit + _inner(gap, 0.5 * (new + old) - base)
        if forms_count > 1:
            other_gap, error = other_new - other_old, new - other_new
            np.negative(other_gap, out=maps[:, 1, :dim])
            maps[:, 1, -1] = other_logit + _inner(other_gap, 0.5 * (other_new + other_old) - base)
            maps[:, 2, :dim] = error
            maps[:, 2, -1] = _inner(error, base - 0.5 * (new + other_new))
        if forms_count > 3:
            np.negative(target_gap, out=maps[:, 3, :dim])
            maps[:, 3, -1] = problem.target_logit + _inner(target_gap, target_middle - base)
        for k, shift in enumerate(shifts):
            maps[:, :, dim + k] = (maps[:, :, :dim] @ shift[:, :, None])[:, :, 0]
        np.matmul(maps, by_replicate, out=forms)

        # ---- coefficients -------------------------------------------------------------
        ours = forms[:, 0]
        exp_ours = np.exp(-np.abs(ours))
        responsibility = _sigmoid(ours, exp_ours)
        if workload == "forward_kl":
            np.negative(responsibility, out=a)
            np.subtract(-1.0, a, out=c)
        else:
            theirs = forms[:, 1]
            exp_theirs = np.exp(-np.abs(theirs))
            alpha = np.log((1.0 + exp_ours) / (1.0 + exp_theirs))
            alpha += forms[:, 2]
            alpha += np.maximum(ours, 0.0)
            alpha -= np.maximum(theirs, 0.0)
            alpha += (_log_new(logit) - _log_new(other_logit))[:, None]
            if workload == "replay":
                ratio = np.exp(-alpha) * _sigmoid(theirs, exp_theirs)
                ratio *= problem.replay / problem.target_weight
                ratio += 1.0 - problem.replay
                alpha /= ratio
            elif workload == "ttt_discover":
                reward = _sigmoid(-theirs, exp_theirs)
                tilt = np.exp(problem.inverse_temperature * problem.reward_gap * reward)
                others = tilt.sum(axis=1, keepdims=True) - tilt
                alpha -= alpha.mean(axis=1, keepdims=True)
                alpha *= problem.kl_weight
                alpha += 1.0 - (batch - 1) * tilt / others
            elif workload == "oapl":
                gate = forms[:, 3]
                reward = problem.reward_gap * _sigmoid(-gate, np.exp(-np.abs(gate)))
                tau = problem.temperature
                value = tau * np.log(np.exp(reward / tau).mean(axis=1, keepdims=True))
                alpha *= tau
                alpha -= reward - value
                alpha *= 2.0 * tau
            np.multiply(alpha, responsibility, out=a)
            np.subtract(alpha, a, out=c)

        # ---- update -------------------------------------------------------------------
        sums = coefficients @ rows_of_samples
        a_sum, c_sum = sums[:, 0, -1], sums[:, 1, -1]
        a_moment = sums[:, 0, :dim] + a_sum[:, None] * (base - old)
        c_moment = sums[:, 1, :dim] + c_sum[:, None] * (base - new)
        for k, shift in enumerate(shifts):
            a_moment += sums[:, 0, dim + k, None] * shift
            c_moment += sums[:, 1, dim + k, None] * shift
        logit = logit - scale * ((1.0 - weight) * a_sum - weight * c_sum)
        old = old - scale * a_moment
        new = new - scale * c_moment
        if workload == "sdft":
            ema = problem.learning_rate * problem.ema_rate
            anchor = problem.learning_rate * problem.anchor
            stay = 1.0 - ema - anchor
            other_logit = stay * other_logit + ema * logit + anchor * problem.target_logit
            other_old = stay * other_old + ema * old + anchor * mu_old
            other_new = stay * other_new + ema * new + anchor * mu_new
        elif workload == "oapl" and step % problem.sync_every == 0:
            other_logit, other_old, other_new = logit, old, new
    return Final(logit, old, new)
