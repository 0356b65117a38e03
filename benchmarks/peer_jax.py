"""JAX: one compiled loop over all steps, all replicates at once, on all cores.

The number of steps is an argument of the compiled function, so that one compilation serves
runs of any length. Random numbers are drawn for several steps at once: where a step is small,
handing out the work costs more than the work. Products are ``einsum``, though sums over two
dimensions could be fused: XLA would then compute the normals once for each use. The default
generator is the fastest of JAX's three on a CPU.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from problem import Final, Problem, Run

jax.config.update("jax_enable_x64", True)
# generates blocks of random bits in an order that is faster where nothing is sharded
jax.config.update("jax_threefry_partitionable", False)

_CHUNK = 1 << 18  # normals drawn at once


class Mixture(NamedTuple):
    logit: jax.Array  # (replicates,)
    old: jax.Array  # (replicates, d)
    new: jax.Array


def runner(problem: Problem, single: bool = False) -> Run:
    dtype = jnp.float32 if single else jnp.float64
    train = jax.jit(partial(_train, problem, dtype))
    compiled = train.lower(jax.random.key(0), jnp.int32(1)).compile()

    def run(steps: int, seed: int) -> Final:
        final = jax.block_until_ready(compiled(jax.random.key(seed), jnp.int32(steps)))
        return Final(*(np.asarray(part) for part in final))

    return run


def forget() -> None:
    """Free what was compiled."""
    jax.clear_caches()


def _inner(x: jax.Array, y: jax.Array) -> jax.Array:
    return (x * y).sum(-1)


def _sigmoid(x: jax.Array, exp_x: jax.Array) -> jax.Array:
    """1 / (1 + exp(-x)), given exp(-|x|)."""
    return jnp.where(x >= 0.0, 1.0, exp_x) / (1.0 + exp_x)


def _train(problem: Problem, dtype: Any, key: jax.Array, steps: jax.Array) -> tuple[jax.Array, ...]:
    workload, dim, batch = problem.workload, problem.dim, problem.batch_size
    replicates = problem.replicates
    mu_old, mu_new, start_new = (jnp.asarray(mean, dtype) for mean in problem.means())

    def ensemble(logit: float, old: jax.Array, new: jax.Array) -> Mixture:
        return Mixture(
            jnp.full(replicates, logit, dtype),
            jnp.tile(old, (replicates, 1)),
            jnp.tile(new, (replicates, 1)),
        )

    target = ensemble(problem.target_logit, mu_old, mu_new)
    start = ensemble(problem.start_logit, mu_old, start_new)
    scale = problem.learning_rate / batch

    chunk = max(1, min(64, _CHUNK // (replicates * dim * batch)))

    def several(index: jax.Array, state: tuple[Mixture, Mixture]) -> tuple[Mixture, Mixture]:
        """Steps whose random numbers are drawn together."""
        normal_key, label_key = jax.random.split(jax.random.fold_in(key, index))
        normals = jax.random.normal(normal_key, (chunk, replicates, dim, batch), dtype)
        uniforms = jax.random.uniform(label_key, (chunk, replicates, batch), dtype)
        first = index * chunk

        def one(k: jax.Array, state: tuple[Mixture, Mixture]) -> tuple[Mixture, Mixture]:
            return step(first + k, normals[k], uniforms[k], state)

        return jax.lax.fori_loop(0, jnp.minimum(chunk, steps - first), one, state)

    def step(
        index: jax.Array, z: jax.Array, uniform: jax.Array, state: tuple[Mixture, Mixture]
    ) -> tuple[Mixture, Mixture]:
        model, other = state
        weight = jax.nn.sigmoid(model.logit)

        # ---- samples: a standard normal each, and the component it stands around -------------
        if workload == "forward_kl":
            components, members = [target.new], [jnp.ones((replicates, batch), dtype)]
        else:
            source = other if workload == "oapl" else model
            chance = jax.nn.sigmoid(source.logit)[:, None]
            components = [source.new, source.old]
            if workload == "replay":
                components.append(target.old)
                edge = problem.replay + (1.0 - problem.replay) * chance
                members = [
                    uniform >= edge,
                    (uniform >= problem.replay) & (uniform < edge),
                    uniform < problem.replay,
                ]
            else:
                members = [uniform >= chance, uniform < chance]

        def affine(direction: jax.Array, middle: jax.Array, constant: Any) -> jax.Array:
            """constant + direction . (y - middle) of all samples."""
            result = jnp.einsum("rd,rdn->rn", direction, z)
            for component, member in zip(components, members, strict=True):
                mean = constant + _inner(direction, component - middle)
                result += jnp.where(member, mean[:, None], 0.0)
            return result

        def log_odds(mixture: Mixture) -> jax.Array:
            return affine(
                mixture.old - mixture.new, 0.5 * (mixture.old + mixture.new), mixture.logit
            )

        # ---- coefficients --------------------------------------------------------------------
        ours = log_odds(model)
        exp_ours = jnp.exp(-jnp.abs(ours))
        responsibility = _sigmoid(ours, exp_ours)
        if workload == "forward_kl":
            a, c = -responsibility, responsibility - 1.0
        else:
            theirs = log_odds(other)
            exp_theirs = jnp.exp(-jnp.abs(theirs))
            log_ratio = affine(model.new - other.new, 0.5 * (model.new + other.new), 0.0)
            log_ratio += jnp.maximum(ours, 0.0) - jnp.maximum(theirs, 0.0)
            log_ratio += jnp.log((1.0 + exp_ours) / (1.0 + exp_theirs))
            log_ratio += (jax.nn.softplus(other.logit) - jax.nn.softplus(model.logit))[:, None]
            if workload == "replay":
                old_ratio = jnp.exp(-log_ratio) * _sigmoid(theirs, exp_theirs)
                old_ratio *= problem.replay / problem.target_weight
                alpha = log_ratio / (1.0 - problem.replay + old_ratio)
            elif workload == "ttt_discover":
                reward = problem.reward_gap * _sigmoid(-theirs, exp_theirs)
                tilt = jnp.exp(problem.inverse_temperature * reward)
                others = (tilt.sum(1, keepdims=True) - tilt) / (batch - 1)
                alpha = 1.0 - tilt / others
                alpha += problem.kl_weight * (log_ratio - log_ratio.mean(1, keepdims=True))
            elif workload == "oapl":
                tau = problem.temperature
                reward = problem.reward_gap * jax.nn.sigmoid(-log_odds(target))
                value = tau * jnp.log(jnp.exp(reward / tau).mean(1, keepdims=True))
                alpha = 2.0 * tau * (tau * log_ratio - (reward - value))
            else:
                alpha = log_ratio
            a = alpha * responsibility
            c = alpha - a

        # ---- update --------------------------------------------------------------------------
        coefficients = jnp.stack([a, c], axis=1)
        moments = jnp.einsum("rkn,rdn->rkd", coefficients, z)
        old_moment, new_moment = moments[:, 0], moments[:, 1]
        a_sum = c_sum = jnp.zeros(replicates, dtype)
        for component, member in zip(components, members, strict=True):
            a_part = jnp.where(member, a, 0.0).sum(1)
            c_part = jnp.where(member, c, 0.0).sum(1)
            old_moment += a_part[:, None] * (component - model.old)
            new_moment += c_part[:, None] * (component - model.new)
            a_sum, c_sum = a_sum + a_part, c_sum + c_part
        model = Mixture(
            model.logit - scale * ((1.0 - weight) * a_sum - weight * c_sum),
            model.old - scale * old_moment,
            model.new - scale * new_moment,
        )
        if workload == "sdft":
            ema = problem.learning_rate * problem.ema_rate
            anchor = problem.learning_rate * problem.anchor
            other = Mixture(
                *(
                    (1.0 - ema - anchor) * teacher + ema * student + anchor * fixed
                    for teacher, student, fixed in zip(other, model, target, strict=True)
                )
            )
        elif workload == "oapl":
            due = (index + 1) % problem.sync_every == 0
            other = Mixture(
                *(jnp.where(due, ours, kept) for ours, kept in zip(model, other, strict=True))
            )
        return model, other

    return tuple(jax.lax.fori_loop(0, (steps + chunk - 1) // chunk, several, (start, target))[0])
