"""PyTorch: all replicates at once, in batches, on all cores, compiled where that is faster.

Up to 16 dimensions the step goes through ``torch.compile`` (if there is a C++ compiler), which
fuses its many small passes. Beyond, the random numbers take nearly all of the time, and what
runs as written is a little faster. Normals in double precision are made from uniforms by Box
and Muller's formula, whose logarithm and cosines run on all cores with vector instructions:
faster than ``Tensor.normal_``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from problem import Final, Problem, Run, cores

Tensor = torch.Tensor

_COMPILED_DIM = 16  # the largest
_SMALL = 1 << 14  # normals of a step
torch._dynamo.config.recompile_limit = 64  # workloads, and sizes of 1, which count as special


class Mixture(NamedTuple):
    logit: Tensor  # (replicates, 1)
    old: Tensor  # (replicates, d)
    new: Tensor


def runner(problem: Problem, compiled: bool | None = None) -> Run:
    if compiled is None:
        compiled = problem.dim <= _COMPILED_DIM and can_compile()
    # compiled code knows the workload, and gets the sizes from its arguments
    template = dataclasses.replace(problem, dim=0, batch_size=0, replicates=0)
    # handing a small batch of one replicate to other cores costs more than it saves
    small = problem.replicates == 1 and problem.batch_size * problem.dim < _SMALL
    threads = 1 if small else cores()
    step = _compiled_step(template) if compiled else functools.partial(_step, template)

    def run(steps: int, seed: int) -> Final:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            generator = torch.Generator().manual_seed(seed)
            target, model = _start(problem)
            other = target
            shape = (problem.replicates, problem.dim, problem.batch_size)
            half = (math.prod(shape) + 1) // 2
            uniforms = torch.empty((2, half), dtype=torch.float64)
            labels = torch.empty((shape[0], shape[2]), dtype=torch.float64)
            for index in range(1, steps + 1):
                uniforms.uniform_(generator=generator)
                if problem.workload != "forward_kl":
                    labels.uniform_(generator=generator)
                model = step(uniforms, labels, model, other, target)
                if problem.workload == "sdft":
                    ema = problem.learning_rate * problem.ema_rate
                    anchor = problem.learning_rate * problem.anchor
                    other = Mixture(
                        *(
                            (1.0 - ema - anchor) * teacher + ema * student + anchor * fixed
                            for teacher, student, fixed in zip(other, model, target, strict=True)
                        )
                    )
                elif problem.workload == "oapl" and index % problem.sync_every == 0:
                    other = model
            return Final(model.logit[:, 0].numpy(), model.old.numpy(), model.new.numpy())

    return run


@functools.cache
def can_compile() -> bool:
    """Whether torch.compile works here: it needs a C++ compiler."""
    try:
        torch.compile(torch.sin)(torch.zeros(3))
    except Exception:
        return False
    return True


@functools.cache
def _compiled_step(template: Problem) -> Callable[..., Mixture]:
    return torch.compile(functools.partial(_step, template), dynamic=True)


def _start(problem: Problem) -> tuple[Mixture, Mixture]:
    """Target and model at the start."""
    mu_old, mu_new, start_new = (
        torch.from_numpy(mean).repeat(problem.replicates, 1) for mean in problem.means()
    )

    def logit(value: float) -> Tensor:
        return torch.full((problem.replicates, 1), value, dtype=torch.float64)

    return (
        Mixture(logit(problem.target_logit), mu_old, mu_new),
        Mixture(logit(problem.start_logit), mu_old, start_new),
    )


def _normals(uniforms: Tensor, shape: tuple[int, ...]) -> Tensor:
    radius = torch.sqrt(-2.0 * torch.log1p(-uniforms[0]))
    angle = (2.0 * math.pi) * uniforms[1]
    both = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)])
    return both[: math.prod(shape)].view(shape)


def _sigmoid(x: Tensor, exp_x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), given exp(-|x|)."""
    return torch.where(x >= 0.0, 1.0, exp_x) / (1.0 + exp_x)


def _step(
    template: Problem,
    uniforms: Tensor,
    labels: Tensor,
    model: Mixture,
    other: Mixture,
    target: Mixture,
) -> Mixture:
    problem, workload = template, template.workload
    replicates, batch = labels.shape
    weight = torch.sigmoid(model.logit)

    # ---- samples: a standard normal each, and the component it stands around -----------------
    z = _normals(uniforms, (replicates, model.old.shape[1], batch))
    if workload == "forward_kl":
        components, members = [target.new], []
    else:
        source = other if workload == "oapl" else model
        chance = torch.sigmoid(source.logit)
        components = [source.new, source.old]
        if workload == "replay":
            components.append(target.old)
            is_replayed = labels < problem.replay
            edge = problem.replay + (1.0 - problem.replay) * chance
            members = [(labels < edge) & ~is_replayed, is_replayed]
        else:
            members = [labels < chance]

    # ---- forms: affine in the sample -----------------------------------------------------------
    directions, constants, middles = [], [], []

    def log_odds(mixture: Mixture) -> None:
        directions.append(mixture.old - mixture.new)
        constants.append(mixture.logit)
        middles.append(0.5 * (mixture.old + mixture.new))

    log_odds(model)
    if workload != "forward_kl":
        log_odds(other)
        directions.append(model.new - other.new)
        constants.append(torch.zeros_like(model.logit))
        middles.append(0.5 * (model.new + other.new))
    if workload == "oapl":
        log_odds(target)
    direction = torch.stack(directions, dim=1)
    constant = torch.stack(constants, dim=1)
    middle = torch.stack(middles, dim=1)
    linear = torch.bmm(direction, z)

    def shift(component: Tensor) -> Tensor:
        return constant + (direction * (component[:, None] - middle)).sum(-1, keepdim=True)

    base = shift(components[0])
    forms = linear + base
    for component, member in zip(components[1:], members, strict=True):
        forms += torch.where(member[:, None], shift(component) - base, 0.0)

    # ---- coefficients ----------------------------------------------------------------------------
    ours = forms[:, 0]
    exp_ours = torch.exp(-torch.abs(ours))
    responsibility = _sigmoid(ours, exp_ours)
    if workload == "forward_kl":
        a, c = -responsibility, responsibility - 1.0
    else:
        theirs = forms[:, 1]
        exp_theirs = torch.exp(-torch.abs(theirs))
        log_ratio = torch.log((1.0 + exp_ours) / (1.0 + exp_theirs))
        log_ratio += forms[:, 2] + torch.clamp(ours, min=0.0) - torch.clamp(theirs, min=0.0)
        softplus = torch.nn.functional.softplus
        log_ratio += softplus(other.logit) - softplus(model.logit)
        if workload == "replay":
            old_ratio = torch.exp(-log_ratio) * _sigmoid(theirs, exp_theirs)
            old_ratio *= problem.replay / problem.target_weight
            alpha = log_ratio / (1.0 - problem.replay + old_ratio)
        elif workload == "ttt_discover":
            reward = problem.reward_gap * _sigmoid(-theirs, exp_theirs)
            tilt = torch.exp(problem.inverse_temperature * reward)
            others = (tilt.sum(1, keepdim=True) - tilt) / (batch - 1)
            alpha = 1.0 - tilt / others
            alpha += problem.kl_weight * (log_ratio - log_ratio.mean(1, keepdim=True))
        elif workload == "oapl":
            tau = problem.temperature
            reward = problem.reward_gap * torch.sigmoid(-forms[:, 3])
            value = tau * torch.log(torch.exp(reward / tau).mean(1, keepdim=True))
            alpha = 2.0 * tau * (tau * log_ratio - (reward - value))
        else:
            alpha = log_ratio
        a = alpha * responsibility
        c = alpha - a

    # ---- update ------------------------------------------------------------------------------------
    coefficients = torch.stack([a, c], dim=1)
    moments = torch.bmm(coefficients, z.transpose(1, 2))
    sums = coefficients.sum(-1)
    old_moment = moments[:, 0] + sums[:, :1] * (components[0] - model.old)
    new_moment = moments[:, 1] + sums[:, 1:] * (components[0] - model.new)
    for component, member in zip(components[1:], members, strict=True):
        parts = torch.where(member[:, None], coefficients, 0.0).sum(-1)
        old_moment += parts[:, :1] * (component - components[0])
        new_moment += parts[:, 1:] * (component - components[0])
    scale = problem.learning_rate / batch
    return Mixture(
        model.logit - scale * ((1.0 - weight) * sums[:, :1] - weight * sums[:, 1:]),
        model.old - scale * old_moment,
        model.new - scale * new_moment,
    )
