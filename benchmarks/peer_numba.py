"""numba, written directly: every sample of every replicate in full, ``d`` normals each.

Blocks of replicates run on all cores. A sample is drawn, weighed and added to the sums while
it is in the first-level cache; only where the coefficients of a batch hang together (the
weights of TTT-Discover, the value of OAPL) is the batch kept.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from problem import WORKLOADS, Final, FloatArray, Problem, Run, cores

FORWARD, REVERSE, REPLAY, SDFT, TTT, OAPL = range(len(WORKLOADS))
_FLAGS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc"},
}


def runner(problem: Problem) -> Run:
    mu_old, mu_new, start = problem.means()
    constants = np.array(
        [
            problem.learning_rate,
            problem.target_logit,
            problem.start_logit,
            problem.replay,
            problem.learning_rate * problem.ema_rate,
            problem.learning_rate * problem.anchor,
            problem.reward_gap,
            problem.inverse_temperature,
            problem.kl_weight,
            problem.temperature,
            problem.sync_every,
        ]
    )
    rule, replicates = WORKLOADS.index(problem.workload), problem.replicates

    def run(steps: int, seed: int) -> Final:
        final = Final(
            np.empty(replicates),
            np.empty((replicates, problem.dim)),
            np.empty((replicates, problem.dim)),
        )
        threads = min(cores(), replicates)
        edges = [replicates * k // threads for k in range(threads + 1)]
        streams = np.random.SeedSequence(seed).spawn(threads)

        def block(k: int) -> None:
            rng = np.random.Generator(np.random.SFC64(streams[k]))
            part = slice(edges[k], edges[k + 1])
            results = (final.logit[part], final.old_mean[part], final.new_mean[part])
            _train(rng, rule, steps, problem.batch_size, constants, mu_old, mu_new, start, *results)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(block, range(threads)))
        return final

    return run


@numba.njit(**_FLAGS)
def _dot(x: FloatArray, y: FloatArray) -> float:
    total = 0.0
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@numba.njit(**_FLAGS)
def _sigmoid(x: float) -> float:
    e = math.exp(-abs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


@numba.njit(**_FLAGS)
def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@numba.njit(**_FLAGS)
def _add(factor: float, x: FloatArray, out: FloatArray) -> None:
    for i in range(out.size):
        out[i] += factor * x[i]


@numba.njit(**_FLAGS)
def _train(
    rng: np.random.Generator,
    rule: int,
    steps: int,
    batch: int,
    constants: FloatArray,
    mu_old: FloatArray,
    mu_new: FloatArray,
    start: FloatArray,
    logits: FloatArray,
    olds: FloatArray,
    news: FloatArray,
) -> Any:
    rate, target_logit, start_logit, replay, ema, anchor = constants[:6]
    reward_gap, inverse_temperature, kl_weight, tau, sync_every = constants[6:]
    target_weight = 1.0 / (1.0 + math.exp(-target_logit))
    dim, scale = mu_old.size, rate / batch
    kept = batch if rule in (TTT, OAPL) else 1
    z = np.empty((kept, dim))
    component, responsibility = np.empty(kept, np.int64), np.empty(kept)
    log_ratios, rewards = np.empty(kept), np.empty(kept)
    old, new, other_old, other_new = np.empty((4, dim))
    # one row for each form: minus the gaps of model, other and target; the error of the new mean
    directions = np.empty((4, dim))
    sources = np.empty((3, dim))
    means = np.empty((3, 4))  # of each form in each component
    moments, sums = np.empty((2, dim)), np.empty((3, 2))
    forms = 1 if rule == FORWARD else (4 if rule == OAPL else 3)

    for replicate in range(logits.size):
        logit, other_logit = start_logit, target_logit
        old[:], new[:] = mu_old, start
        other_old[:], other_new[:] = mu_old, mu_new
        for step in range(1, steps + 1):
            # ---- the forms: one vector each, and the mean in each component -----------------
            for i in range(dim):
                directions[0, i] = old[i] - new[i]
                directions[1, i] = other_old[i] - other_new[i]
                directions[2, i] = new[i] - other_new[i]
                directions[3, i] = mu_old[i] - mu_new[i]
                sources[0, i] = other_new[i] if rule in (OAPL, FORWARD) else new[i]
                sources[1, i] = other_old[i] if rule == OAPL else old[i]
                sources[2, i] = mu_old[i]
            means[:] = 0.0
            for source in range(3):
                for i in range(dim):
                    y = sources[source, i]
                    means[source, 0] += directions[0, i] * (y - 0.5 * (old[i] + new[i]))
                    means[source, 1] += directions[1, i] * (y - 0.5 * (other_old[i] + other_new[i]))
                    means[source, 2] += directions[2, i] * (y - 0.5 * (new[i] + other_new[i]))
                    means[source, 3] += directions[3, i] * (y - 0.5 * (mu_old[i] + mu_new[i]))
                means[source, 0] += logit
                means[source, 1] += other_logit
                means[source, 3] += target_logit
            weight = 1.0 / (1.0 + math.exp(-logit))
            chance = 1.0 / (1.0 + math.exp(-other_logit)) if rule == OAPL else weight
            edge = replay + (1.0 - replay) * chance
            constant = _softplus(other_logit) - _softplus(logit)
            moments[:] = 0.0
            sums[:] = 0.0

            # ---- samples ---------------------------------------------------------------------
            for sample in range(batch):
                row = sample if kept > 1 else 0
                noise = z[row]
                for i in range(dim):
                    noise[i] = rng.standard_normal()
                source = 0
                if rule != FORWARD:
                    uniform = rng.random()
                    if uniform < edge:
                        source = 2 if uniform < replay else 1
                ours = means[source, 0] + _dot(directions[0], noise)
                exp_ours = math.exp(-abs(ours))
                r = (1.0 if ours >= 0.0 else exp_ours) / (1.0 + exp_ours)
                if forms == 1:
                    a, c = -r, r - 1.0
                else:
                    theirs = means[source, 1] + _dot(directions[1], noise)
                    exp_theirs = math.exp(-abs(theirs))
                    log_ratio = constant + means[source, 2] + _dot(directions[2], noise)
                    log_ratio += max(ours, 0.0) - max(theirs, 0.0)
                    log_ratio += math.log((1.0 + exp_ours) / (1.0 + exp_theirs))
                    if kept > 1:
                        gate = theirs
                        if forms == 4:
                            gate = means[source, 3] + _dot(directions[3], noise)
                        component[row], responsibility[row] = source, r
                        log_ratios[row], rewards[row] = log_ratio, reward_gap * _sigmoid(-gate)
                        continue
                    alpha = log_ratio
                    if rule == REPLAY:
                        ratio = math.exp(-log_ratio) * (1.0 if theirs >= 0.0 else exp_theirs)
                        ratio /= (1.0 + exp_theirs) * target_weight
                        alpha /= 1.0 - replay + replay * ratio
                    a = alpha * r
                    c = alpha - a
                sums[source, 0] += a
                sums[source, 1] += c
                for i in range(dim):
                    moments[0, i] += a * noise[i]
                    moments[1, i] += c * noise[i]

            # ---- coefficients that the samples of a batch share ----------------------------
            if kept > 1:
                center, mass = 0.0, 0.0
                k = inverse_temperature if rule == TTT else 1.0 / tau
                for row in range(kept):
                    center += log_ratios[row] / batch
                    if rule == TTT:
                        rewards[row] = math.exp(k * rewards[row])
                        mass += rewards[row]
                    else:
                        mass += math.exp(k * rewards[row])
                value = tau * math.log(mass / batch)
                for row in range(kept):
                    if rule == TTT:
                        own = rewards[row]
                        alpha = 1.0 - (batch - 1) * own / (mass - own)
                        alpha += kl_weight * (log_ratios[row] - center)
                    else:
                        alpha = 2.0 * tau * (tau * log_ratios[row] - (rewards[row] - value))
                    a = alpha * responsibility[row]
                    c = alpha - a
                    source = component[row]
                    sums[source, 0] += a
                    sums[source, 1] += c
                    for i in range(dim):
                        moments[0, i] += a * z[row, i]
                        moments[1, i] += c * z[row, i]

            # ---- update --------------------------------------------------------------------------
            for source in range(3):
                for i in range(dim):
                    moments[0, i] += sums[source, 0] * (sources[source, i] - old[i])
                    moments[1, i] += sums[source, 1] * (sources[source, i] - new[i])
            a_sum = sums[0, 0] + sums[1, 0] + sums[2, 0]
            c_sum = sums[0, 1] + sums[1, 1] + sums[2, 1]
            logit -= scale * ((1.0 - weight) * a_sum - weight * c_sum)
            _add(-scale, moments[0], old)
            _add(-scale, moments[1], new)
            if rule == SDFT:
                stay = 1.0 - ema - anchor
                other_logit = stay * other_logit + ema * logit + anchor * target_logit
                for i in range(dim):
                    other_old[i] = stay * other_old[i] + ema * old[i] + anchor * mu_old[i]
                    other_new[i] = stay * other_new[i] + ema * new[i] + anchor * mu_new[i]
            elif rule == OAPL and step % int(sync_every) == 0:
                other_logit = logit
                other_old[:], other_new[:] = old, new
        logits[replicate], olds[replicate], news[replicate] = logit, old, new
