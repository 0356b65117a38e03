r"""Checks of the chapter on replay for reverse KL.

Setting: a share :math:`\lambda` of each batch comes from the old mode, the rest from the
model :math:`q = b f_o + (1-b) f_n`; the behavior is :math:`\nu = (1-\lambda) q + \lambda
f_o`, and samples carry the weight :math:`w = q/\nu`. Each printed formula is one small
function below, so that a test can break it and see the check fail. Densities are tabulated
on a line and integrated by the trapezoid rule, which no function of the library does.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binom, norm

from forgetlib.ensemble import Baseline, simulate
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.overlap import log_weight_slope
from forgetlib.replay import (
    batch_for_starvation,
    best_replay,
    effective_old_samples,
    effective_sample_size,
    importance_weight_bound,
    importance_weights,
    logit_gradient_moments,
    replay_for_starvation,
    run_starvation,
    starvation_probability,
    variance_price,
)
from forgetlib.results import Check, Result, Rng
from forgetlib.results._cases import SIGMAS, Cases, mean_and_error
from forgetlib.retention import safe_learning_rate

__all__ = ["results"]

FloatArray = NDArray[np.float64]


# ---- the formulas, as printed ---------------------------------------------------------


def _behavior_weight(b: float, replay: float) -> float:
    """Old weight of what is sampled."""
    return replay + (1.0 - replay) * b


def _smallest_weight(b: float, replay: float) -> float:
    """Importance weight deep inside the old mode."""
    return b / (replay + (1.0 - replay) * b)


def _largest_weight(replay: float) -> float:
    """Importance weight deep inside the new mode: the bound."""
    return 1.0 / (1.0 - replay)


def _chi_square(b: float, replay: float, epsilon: float) -> float:
    """Chi-square divergence of the model from the behavior; epsilon at the behavior."""
    mixed = replay + (1.0 - replay) * b
    known = 1.0 - epsilon / (1.0 - mixed)
    return replay**2 * (1.0 - b) / ((1.0 - replay) * mixed) * known


def _surest_share(b: float, replay: float) -> float:
    """Smallest effective share of any batch whatsoever."""
    ratio = (replay + (1.0 - replay) * b) / (b * (1.0 - replay))
    return 4.0 * ratio / (1.0 + ratio) ** 2


def _normalized_bias(b: float, replay: float) -> float:
    """N times the bias of the self-normalized old share, without overlap."""
    smallest = b / (replay + (1.0 - replay) * b)
    return -b * (1.0 - b) * (smallest - 1.0 / (1.0 - replay))


def _starvation(b: float, size: int, replay: float) -> float:
    """Probability that a batch holds no old sample."""
    return float(((1.0 - replay) * (1.0 - b)) ** size)


def _some_starved(starvation: float, steps: int) -> float:
    """Probability that one of several independent batches is starved."""
    return -math.expm1(steps * math.log1p(-starvation))


def _least_replay(b: float, size: int, steps: int, failure: float) -> float:
    """Smallest replay share; none is needed if negative."""
    allowed = -math.expm1(math.log1p(-failure) / steps)
    return float(1.0 - allowed ** (1.0 / size) / (1.0 - b))


def _least_batch(b: float, replay: float, steps: int, failure: float) -> float:
    """Smallest batch size, before it is rounded up."""
    allowed = -math.expm1(math.log1p(-failure) / steps)
    return math.log(allowed) / math.log((1.0 - replay) * (1.0 - b))


def _old_samples_wanted(steps: int, failure: float) -> float:
    """Expected old samples per batch that are enough for a run."""
    return math.log(steps / failure)


def _old_share(b: float, replay: float, epsilon: float) -> float:
    """Effective old samples per sample of the batch; epsilon at the behavior."""
    return (replay + (1.0 - replay) * b) / (1.0 - epsilon)


def _new_share(b: float, replay: float, eta: float) -> float:
    """Effective new samples per sample of the batch; eta at the behavior."""
    return (1.0 - replay) * (1.0 - b) / (1.0 - eta)


def _moved_share(b: float, replay: float, shift: float) -> float:
    """Effective old samples per sample if the model's old mean has moved."""
    z, step = np.linspace(-12.0, 12.0, 2401, retstep=True)
    odds = math.log(replay / ((1.0 - replay) * b))
    kept = step * np.sum(norm.pdf(z) * expit(0.5 * shift**2 - odds + shift * z))
    return float((1.0 - replay) * b / kept)


def _logs(b: float, a: float) -> tuple[float, float]:
    """alpha and beta: log(q / p) on the old mode, and minus that on the new one."""
    return math.log(b / a), math.log((1.0 - a) / (1.0 - b))


def _gradient_range(b: float, a: float, replay: float) -> float:
    """Largest gradient of the logit that a sample can have."""
    alpha, beta = math.log(b / a), math.log((1.0 - a) / (1.0 - b))
    mixed = replay + (1.0 - replay) * b
    return b * (1.0 - b) * max(abs(alpha) / mixed, abs(beta) / (1.0 - mixed))


def _separated_variance(b: float, a: float, replay: float) -> float:
    """Variance of the logit's gradient, per sample, without overlap."""
    alpha, beta = math.log(b / a), math.log((1.0 - a) / (1.0 - b))
    mixed = replay + (1.0 - replay) * b
    inside = alpha**2 / mixed + beta**2 / (1.0 - mixed) - (alpha + beta) ** 2
    return (b * (1.0 - b)) ** 2 * inside


def _best_share(b: float, a: float) -> float:
    """Old share of the behavior with the least noise in the logit."""
    return math.log(b / a) / float(logit(b) - logit(a))


def _mean_noise(b: float, a: float, replay: float) -> tuple[float, float]:
    """Second moments of the gradients of the old and the new mean, without overlap."""
    alpha, beta = math.log(b / a), math.log((1.0 - a) / (1.0 - b))
    mixed = replay + (1.0 - replay) * b
    return b**2 * alpha**2 / mixed, (1.0 - b) ** 2 * beta**2 / (1.0 - mixed)


def _starved_gradient(b: float, a: float, replay: float) -> float:
    """Logit gradient of a starved batch without overlap and without baseline."""
    return b / (1.0 - replay) * math.log((1.0 - a) / (1.0 - b))


def _starved_error(b: float, a: float, replay: float) -> float:
    """The same with the mean of w log(q / p) over the batch as baseline: the wrong way."""
    return -replay * b / (1.0 - replay) ** 2 * math.log((1.0 - a) / (1.0 - b))


def _normalized_step(b: float, replay: float) -> float:
    """Safe step with the self-normalized batch mean as baseline."""
    mixed = replay + (1.0 - replay) * b
    return (math.sqrt(mixed / b) + math.sqrt(1.0 - replay)) ** 2


def _unweighted_step() -> float:
    """Safe step without weights, with the batch mean as baseline."""
    return 4.0


def _imitation_drift(b: float, replay: float, epsilon: float) -> float:
    """Mean step of the logit, per learning rate, when nothing is weighted."""
    return replay * (1.0 - b - epsilon)


def _imitation_noise(b: float, replay: float, epsilon: float) -> float:
    """Second moment of one sample's step when weighted; epsilon at the behavior."""
    mixed = replay + (1.0 - replay) * b
    return (b * (1.0 - b)) ** 2 / (mixed * (1.0 - mixed)) * (1.0 - epsilon / (1.0 - mixed))


# ---- checks ----------------------------------------------------------------------------


class _Table:
    """Densities of one configuration on a line, and integrals over it."""

    def __init__(self, b: float, replay: float, separation: float, shift: float = 0.0) -> None:
        low, high = -14.0 - abs(shift), separation + 14.0 + abs(shift)
        self.y, self.step = np.linspace(low, high, int(24 * (high - low)), retstep=True)
        self.old = norm.pdf(self.y)  # of the model; what is replayed may be moved
        self.new = norm.pdf(self.y - separation)
        self.model = b * self.old + (1.0 - b) * self.new
        self.replayed = norm.pdf(self.y - shift)
        self.behavior = (1.0 - replay) * self.model + replay * self.replayed
        self.weight = self.model / self.behavior
        self.responsibility = b * self.old / self.model
        self.rest = (1.0 - b) * self.new / self.model

    def integral(self, values: FloatArray) -> float:
        return float(self.step * values.sum())

    def misassigned(self, b: float) -> tuple[float, float]:
        """Misassignment probabilities of a mixture of the same modes with old weight b."""
        product = self.old * self.new / (b * self.old + (1.0 - b) * self.new)
        return (1.0 - b) * self.integral(product), b * self.integral(product)


def _draw(generator: np.random.Generator) -> tuple[float, float, float]:
    """Old weight, replay share and separation."""
    b = float(expit(generator.uniform(-6.0, 3.0)))
    return b, float(generator.uniform(0.02, 0.9)), float(generator.uniform(0.3, 9.0))


def _behave(
    b: float, replay: float, separation: float, count: int, generator: np.random.Generator
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Samples of the behavior by its recipe, and whether each bears the old label."""
    old = (generator.random(count) < replay) | (generator.random(count) < b)
    return np.where(old, 0.0, separation) + generator.standard_normal(count), old


def check_replay_weights(configurations: int = 100, rng: Rng = 1) -> Check:
    """Replay is the same mixture with another weight; the weights act mode by mode.

    Parameters
    ----------
    configurations : int
        Number of random old weights, replay shares and separations.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        b, replay, separation = _draw(generator)
        table = _Table(b, replay, separation)
        mixed = _behavior_weight(b, replay)
        low, high = _smallest_weight(b, replay), _largest_weight(replay)
        r, w = table.responsibility, table.weight
        shared = mixed * table.old + (1.0 - mixed) * table.new
        cases.equal(shared, table.behavior, 1e-12)
        cases.equal(w * r, low * mixed * table.old / shared, 1e-10)
        cases.equal(w * table.rest, high * (1.0 - mixed) * table.new / shared, 1e-10)
        cases.at_most(low, w.min())
        cases.at_most(w.max(), high)
        model = TwoModeMixture.separated(separation, old_weight=b)
        cases.equal(importance_weights(model, table.y, replay), w, 1e-10)
        price = variance_price(model, replay)
        cases.equal([price.smallest_weight, price.largest_weight], [low, high], 1e-12)
        cases.equal(price.behavior_weight, mixed, 1e-12)

    b, replay = 0.1, 0.3
    _, old = _behave(b, replay, 2.0, 600_000, cases.generator)
    estimate, stderr = mean_and_error(old.astype(np.float64))
    return cases.conclude(
        estimate,
        _behavior_weight(b, replay),
        stderr,
        "old weights from 0.002 to 0.95, replay shares to 0.9, separations from 0.3 to 9; Monte "
        "Carlo: share of old labels",
    )


def check_bounded_weights(configurations: int = 100, rng: Rng = 1) -> Check:
    """Unbiased, bounded, and at this price.

    Parameters
    ----------
    configurations : int
        Number of random old weights, replay shares, separations, test functions, shifts of
        the replayed mean, and batches.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        b, replay, separation = _draw(generator)
        bound = _largest_weight(replay)
        cases.equal(importance_weight_bound(replay), bound, 1e-12)
        model = TwoModeMixture.separated(separation, old_weight=b)
        # any replayed density, any function
        shift = float(generator.uniform(-4.0, 4.0))
        moved = _Table(b, replay, separation, shift)
        weights = importance_weights(model, moved.y, replay, model.replace(old_mean=[shift]))
        test = 1.1 + np.sin(generator.uniform(0.1, 3.0) * moved.y + generator.uniform(0.0, 6.0))
        mean = moved.integral(moved.model * test)
        cases.equal(moved.integral(moved.behavior * weights * test), mean, 1e-8)
        cases.at_most(weights.max(), bound)
        square = moved.integral(moved.behavior * (weights * test) ** 2)
        cases.at_most(square, bound * moved.integral(moved.model * test**2))
        cases.at_most(moved.integral(moved.behavior * (weights - 1.0) ** 2), bound - 1.0)

        # the model's own component
        table = _Table(b, replay, separation)
        mixed = _behavior_weight(b, replay)
        chi_square = table.integral(table.behavior * (table.weight - 1.0) ** 2)
        exact = _chi_square(b, replay, table.misassigned(mixed)[0])
        price = variance_price(model, replay)
        cases.equal([exact, price.chi_square], chi_square, 1e-7)
        cases.at_most(chi_square, _chi_square(b, replay, 0.0) * (1.0 + 1e-9))
        cases.equal(price.sample_share, 1.0 / (1.0 + chi_square), 1e-7)
        cases.at_most(1.0 - replay, price.sample_share)

        # any batch; the worst one mixes the two extreme weights
        low, high = price.smallest_weight, price.largest_weight
        few = int(generator.integers(2, 40))
        heavy = round(2000 * low / (low + high))
        worst = np.repeat([low, high], [2000 - heavy, heavy])
        for batch in (generator.choice(table.weight, few), worst):
            effective = float(effective_sample_size(batch))
            cases.equal(effective, batch.sum() ** 2 / (batch @ batch), 1e-12)
            cases.at_most((1.0 - replay) * batch.sum(), effective)
            cases.at_most(_surest_share(b, replay) * batch.size, effective)
        if heavy > 10:
            cases.equal(effective, _surest_share(b, replay) * 2000, 5e-3)

        # bias of the self-normalized old share: N * bias, extrapolated
        scaled = []
        b = max(b, 0.05)
        low, mixed = _smallest_weight(b, replay), _behavior_weight(b, replay)
        for size in (1000, 2000):
            k = np.arange(size + 1)
            share = k * low / (k * low + (size - k) * high)
            scaled.append(size * float(binom.pmf(k, size, mixed) @ (share - b)))
        cases.equal(2.0 * scaled[1] - scaled[0], _normalized_bias(b, replay), 5e-3)

    b, replay, separation = 0.1, 0.5, 2.0
    y, _ = _behave(b, replay, separation, 600_000, cases.generator)
    model = TwoModeMixture.separated(separation, old_weight=b)
    estimate, stderr = mean_and_error((importance_weights(model, y, replay) - 1.0) ** 2)
    mixed = _behavior_weight(b, replay)
    epsilon = _Table(b, replay, separation).misassigned(mixed)[0]
    return cases.conclude(
        estimate,
        _chi_square(b, replay, epsilon),
        stderr,
        "old weights, replay shares and separations as for lem-replay-weights, replayed means up "
        "to 4 off, random test functions and batches; Monte Carlo: chi-square of the weights",
    )


def check_starvation(configurations: int = 200, rng: Rng = 1) -> Check:
    """How often batches hold no old sample, and the design rules.

    Parameters
    ----------
    configurations : int
        Number of random paths of the old weight, batch sizes, replay shares and runs.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        low, high = np.sort(expit(generator.uniform(-6.0, 1.0, 2)))
        replay = float(generator.uniform(0.0, 0.6))
        size, steps = int(generator.integers(1, 65)), int(generator.integers(2, 400))
        often, seldom = _starvation(low, size, replay), _starvation(high, size, replay)
        cases.equal(starvation_probability(float(low), size, replay), often, 1e-10)
        path = run_starvation(generator.uniform(low, high, steps), size, replay)
        cases.at_most(path, _some_starved(often, steps))
        cases.at_most(_some_starved(seldom, steps), path)
        cases.at_most(_some_starved(often, steps), steps * often)
        still = run_starvation(np.full(steps, low), size, replay)
        cases.equal(still, _some_starved(often, steps), 1e-9)

        failure = float(np.exp(generator.uniform(-20.0, -0.1)))
        design = replay_for_starvation(float(low), size, steps, failure)
        least = _least_replay(low, size, steps, failure)
        cases.within(design.replay - max(least, 0.0), 1e-12)
        found = _some_starved(_starvation(low, size, design.replay), steps)
        cases.at_most(found, failure * (1.0 + 1e-8))
        if least > 0.0:
            # 1 - replay is known to within 1e-15
            rounding = 1e-8 + 2e-15 * size / (1.0 - design.replay)
            cases.equal([found, design.failure], failure, rounding)
        design = batch_for_starvation(float(low), replay, steps, failure)
        wanted = _least_batch(low, replay, steps, failure)
        cases.within(design.batch_size - max(1.0, wanted) - 0.5, 0.5 + 1e-9)
        size, most = design.batch_size, _largest_weight(replay)
        share = 1.0 / (1.0 + _chi_square(low, replay, 0.0))
        cases.equal(design.starvation, _starvation(low, size, replay), 1e-9)
        cases.equal([design.sample_share, design.largest_weight], [share, most], 1e-12)
        cases.equal(design.old_samples, size * _old_share(low, replay, 0.0), 1e-12)
        cases.equal(design.new_samples, size * _new_share(low, replay, 0.0), 1e-12)
        cases.equal(design.safe_learning_rate, safe_learning_rate(size, None, replay), 1e-12)

        # rule of thumb, at a large batch, where it is sharp
        share = _old_samples_wanted(steps, failure) / 10**6
        cases.at_most(_some_starved(_starvation(share, 10**6, 0.0), steps), failure)
        cases.at_most(failure, 1.5 * steps * _starvation(share, 10**6, 0.0))

    # runs whose weight moves with its batches, at the largest safe step
    b, a, size, replay, steps = 0.05, 0.6, 4, 0.05, 3
    target = TwoModeMixture.separated(2.0, old_weight=a)
    run = simulate(
        ReverseKL(target, replay=replay),
        target.replace(old_weight=b),
        steps=steps,
        batch_size=size,
        learning_rate=safe_learning_rate(size, None, replay),
        replicates=4000,
        train="weight",
        rng=cases.generator,
    )
    often, seldom = _starvation(b, size, replay), _starvation(a, size, replay)
    for happened, low, high in (
        (run.starved > 0, _some_starved(seldom, steps), _some_starved(often, steps)),
        (run.starved == steps, seldom**steps, often**steps),  # still waiting for an old sample
    ):
        share, stderr = mean_and_error(happened.astype(np.float64))
        cases.must(low - SIGMAS * stderr <= share <= high + SIGMAS * stderr)

    b, size, replay, steps = 0.02, 4, 0.02, 120
    target = TwoModeMixture.separated(2.0, old_weight=b)
    run = simulate(
        ReverseKL(target, replay=replay),
        target,  # at its target the weight does not move, so batches are independent
        steps=steps,
        batch_size=size,
        learning_rate=0.5,
        replicates=416,
        train="weight",
        record_every=steps,
        rng=cases.generator,
    )
    estimate, stderr = mean_and_error(run.starved / steps)
    return cases.conclude(
        estimate,
        _starvation(b, size, replay),
        stderr,
        "batches of 1 to 64, runs of 2 to 400 steps, failure probabilities from 2e-9 to 0.9; "
        "Monte Carlo: share of starved batches in 416 runs",
    )


def check_effective_old_samples(configurations: int = 100, rng: Rng = 1) -> Check:
    """Replayed samples count as if the model had the behavior's weight.

    Parameters
    ----------
    configurations : int
        Number of random old weights, replay shares, separations, shifts and functions.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        b, replay, separation = _draw(generator)
        table = _Table(b, replay, separation)
        mixed = _behavior_weight(b, replay)
        epsilon, eta = table.misassigned(mixed)
        price = variance_price(TwoModeMixture.separated(separation, old_weight=b), replay)
        r, w, law = table.responsibility, table.weight, table.behavior
        old = b**2 / table.integral(law * (w * r) ** 2)
        new = (1.0 - b) ** 2 / table.integral(law * (w * table.rest) ** 2)
        cases.equal([_old_share(b, replay, epsilon), price.old_share], old, 1e-8)
        cases.equal([_new_share(b, replay, eta), price.new_share], new, 1e-8)
        cases.at_most(effective_old_samples(b, 1, replay), old)
        test = generator.standard_normal(3) @ np.stack([table.y**0, table.y, np.sin(table.y)])
        square = table.integral(law * (w * r * test) ** 2)
        cases.at_most(square, b**2 / mixed * table.integral(table.old * test**2))
        square = table.integral(law * (w * table.rest * test) ** 2)
        bound = (1.0 - b) / (1.0 - replay) * table.integral(table.new * test**2)
        cases.at_most(square, bound)

        # without overlap both bounds are attained
        apart = _Table(b, replay, 30.0)
        for part, center, most in (
            (apart.responsibility, 0.0, b**2 / mixed),
            (apart.rest, 30.0, (1.0 - b) / (1.0 - replay)),
        ):
            test = 1.0 + np.abs(apart.y - center)
            square = apart.integral(apart.behavior * (apart.weight * part * test) ** 2)
            cases.equal(square, most * apart.integral(norm.pdf(apart.y - center) * test**2), 1e-6)

        shift = float(generator.uniform(0.2, 4.0))
        share = _moved_share(b, replay, shift)
        cases.equal(effective_old_samples(b, 1, replay, shift), share, 1e-8)
        cases.at_most(share, mixed)
        cases.at_most((1.0 - replay) * b, share)
        odds = math.log(replay / ((1.0 - replay) * b))
        if odds > 0.0:  # here it is twice what it tends to far out
            twice = effective_old_samples(b, 1, replay, math.sqrt(2.0 * odds))
            cases.equal(twice, 2.0 * (1.0 - replay) * b, 1e-9)
        for distance in (separation, 40.0):  # 40: no overlap, so the bound is attained
            moved = _Table(b, replay, distance, -shift)
            square = moved.integral(moved.behavior * (moved.weight * moved.responsibility) ** 2)
            cases.at_most(share, b**2 / square)
        cases.equal(share, b**2 / square, 1e-8)

    b, replay, separation = 0.1, 0.3, 2.0
    y, _ = _behave(b, replay, separation, 600_000, cases.generator)
    model = TwoModeMixture.separated(separation, old_weight=b)
    samples = (importance_weights(model, y, replay) * model.responsibility(y) / b) ** 2
    estimate, stderr = mean_and_error(samples)
    epsilon = _Table(b, replay, separation).misassigned(_behavior_weight(b, replay))[0]
    return cases.conclude(
        estimate,
        1.0 / _old_share(b, replay, epsilon),
        stderr,
        "old weights, replay shares and separations as for lem-replay-weights, old means up to 4 "
        "off; Monte Carlo: second moment of the weighted responsibility",
    )


def check_best_replay(configurations: int = 100, rng: Rng = 1) -> Check:
    """The least noise in the gradients.

    Parameters
    ----------
    configurations : int
        Number of random old weights of model and target, replay shares and separations.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    ratio = np.linspace(-45.0, 45.0, 901)  # log of f_o / f_n
    for generator in cases:
        b, replay, separation = _draw(generator)
        a = float(expit(logit(b) + generator.choice([-1.0, 1.0]) * generator.uniform(0.2, 6.0)))
        alpha, beta = _logs(b, a)
        sign = math.copysign(1.0, b - a)
        share = _best_share(b, a)
        cases.must(min(a, b) < 1.0 - share < max(a, b))
        cases.must(share > b or b + max(a, b) > 1.0)
        best = (share - b) / (1.0 - b)
        cases.within(best_replay(b, a) - max(best, 0.0), 1e-9)
        for fraction in (replay, best) if 0.0 <= best < 1.0 else (replay,):
            mixed = _behavior_weight(b, fraction)
            density = mixed * np.exp(ratio) + 1.0 - mixed
            log_ratio = np.log((b * np.exp(ratio) + 1.0 - b) / (a * np.exp(ratio) + 1.0 - a))
            each = b * (1.0 - b) * np.expm1(ratio) / density * log_ratio
            cases.must(sign * each >= -1e-12)
            largest = _gradient_range(b, a, fraction)
            cases.at_most(np.abs(each).max(), largest)
            cases.equal(np.abs(each).max(), largest, 1e-6)

            table = _Table(b, fraction, separation)
            log_ratio = np.log(table.model / (a * table.old + (1.0 - a) * table.new))
            values = table.weight * (table.responsibility - b) * log_ratio
            mean = table.integral(table.behavior * values)
            variance = table.integral(table.behavior * (values - mean) ** 2)
            exact = logit_gradient_moments(separation, b, a, fraction)
            cases.within(exact[0] - mean, 1e-9 * largest)
            cases.within(exact[1] - variance, 1e-9 * largest**2)
            cases.at_most(variance, abs(mean) * (largest - abs(mean)) * (1.0 + 1e-7))
            formula = _separated_variance(b, a, fraction)
            error = logit_gradient_moments(math.inf, b, a, fraction)[1] - formula
            cases.within(error, 1e-9 * (largest**2 + formula))
            if fraction == best:  # and the whole way is the most that a sample can go
                cases.equal(largest, b * (1.0 - b) * abs(alpha + beta), 1e-9)
                cases.within(formula, 1e-9 * largest**2)

        # gradients of the means, without overlap; the least sum is a square
        table = _Table(b, replay, 30.0)
        model = TwoModeMixture.separated(30.0, old_weight=b)
        weights = importance_weights(model, table.y, replay)
        log_ratio = np.where(table.y < 15.0, alpha, -beta)
        parts = (table.responsibility * table.y, (1.0 - table.responsibility) * (table.y - 30.0))
        for part, noise in zip(parts, _mean_noise(b, a, replay), strict=True):
            square = table.integral(table.behavior * (weights * part * log_ratio) ** 2)
            cases.equal(square, noise, 1e-6)
        odds = b * abs(alpha) / ((1.0 - b) * abs(beta))
        least = (odds / (1.0 + odds) - b) / (1.0 - b)
        if 0.0 <= least < 1.0:
            total = (b * abs(alpha) + (1.0 - b) * abs(beta)) ** 2
            cases.equal(sum(_mean_noise(b, a, least)), total, 1e-9)

    b, a, replay, separation = 0.1, 0.75, 0.3, 3.0
    target = TwoModeMixture.separated(separation, old_weight=a)
    model = target.replace(old_weight=b)
    y, _ = _behave(b, replay, separation, 600_000, cases.generator)
    log_ratio = model.logpdf(y) - target.logpdf(y)
    each = importance_weights(model, y, replay) * (model.responsibility(y) - b) * log_ratio
    mean, variance = logit_gradient_moments(separation, b, a, replay)
    estimate, stderr = mean_and_error(each**2)
    return cases.conclude(
        estimate,
        variance + mean**2,
        stderr,
        "old weights from 0.002 to 0.95, targets up to 6 nats away, replay shares to 0.9, "
        "separations from 0.3 to 9; Monte Carlo: second moment of the logit's gradient",
    )


def check_starved_batch(configurations: int = 300, rng: Rng = 1) -> Check:
    """What a starved batch does to the weight, and a baseline that is safe under replay.

    Parameters
    ----------
    configurations : int
        Number of random batches, old weights of model and target, and replay shares.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        b, a = (float(expit(x)) for x in generator.uniform(-7.0, 7.0, 2))
        replay, size = float(generator.uniform(0.0, 0.9)), int(generator.integers(2, 12))
        distance = float(logit(b) - logit(a))
        safe = _normalized_step(b, replay)
        cases.at_most(safe_learning_rate(size, "self_normalized", replay), safe)
        limit = _normalized_step(1.0, replay)  # for every old weight
        cases.equal(safe_learning_rate(size, "self_normalized", replay), limit, 1e-12)
        # the worst batch is a mixture of the two extremes with this share of old samples
        low, high = _smallest_weight(b, replay), _largest_weight(replay)
        old = math.sqrt(high) / (math.sqrt(low) + math.sqrt(high))
        some = generator.uniform(1.0, 30.0) * generator.standard_normal(size)
        count, ends = np.ones(size) / size, np.array([-60.0, 60.0])
        for v, law, weighted in (
            (some, count, True),
            (ends, np.array([1.0 - old, old]), True),
            (some, count, False),
            (ends, np.array([0.5, 0.5]), False),
        ):
            r = expit(logit(b) + v)
            w = 1.0 / ((1.0 - replay) + replay * r / b) if weighted else np.ones_like(r)
            log_ratio = (
                math.log((1.0 - b) / (1.0 - a))
                + np.logaddexp(0.0, logit(b) + v)
                - np.logaddexp(0.0, logit(a) + v)
            )
            mean = float((law * w) @ log_ratio / (law @ w))
            step = safe if weighted else _unweighted_step()
            way = step * float((law * w) @ ((r - b) * (log_ratio - mean))) / distance
            cases.must(way >= -1e-9)
            cases.at_most(max(way, 0.0), 1.0 + 1e-9)
            if v is ends:  # the worst batch attains the bound
                cases.equal(way, 1.0, 1e-6)

        # batches of new samples only, no overlap
        r, w, log_ratio = np.zeros(3), np.full(3, high), np.full(3, math.log((1 - b) / (1 - a)))
        plain = float(np.mean(w * (r - b) * log_ratio))
        centered = float(np.mean(w * (r - b) * (log_ratio - np.mean(w * log_ratio))))
        cases.equal(_starved_gradient(b, a, replay), plain, 1e-9)
        cases.within((_starved_error(b, a, replay) - centered) / abs(plain * high), 1e-9)
        cases.must(plain * distance > 0.0)
        cases.must(centered * distance <= 1e-12)

    b, a, replay, size = 0.005, 0.75, 0.05, 2
    target = TwoModeMixture.separated(30.0, old_weight=a)
    start = target.replace(old_weight=b)

    def starved_steps(baseline: Baseline, runs: int = 10_000) -> FloatArray:
        """What one step does to the logit if its batch is starved, else 0."""
        run = simulate(
            ReverseKL(target, replay=replay),
            start,
            steps=1,
            batch_size=size,
            learning_rate=1.0,
            replicates=runs,
            baseline=baseline,
            train="weight",
            rng=cases.generator,
        )
        return np.where(run.starved == 1, run.old_logit[:, -1] - start.old_logit, 0.0)

    chance = _starvation(b, size, replay)
    gradients: list[tuple[Baseline, float]] = [
        (None, _starved_gradient(b, a, replay)),
        ("leave_one_out", _starved_error(b, a, replay)),
    ]
    for baseline, gradient in gradients:
        estimate, stderr = mean_and_error(starved_steps(baseline))
        cases.within(estimate + gradient * chance, SIGMAS * stderr)
    cases.within(starved_steps("self_normalized"), 1e-9)
    samples = starved_steps("batch_mean", 40_000)
    estimate, stderr = mean_and_error(samples)
    return cases.conclude(
        estimate,
        -_starved_error(b, a, replay) * chance,
        stderr,
        "old weights from 0.001 to 0.999, replay shares to 0.9, batches of 2 to 11; Monte Carlo: "
        "what starved batches of two do to the logit",
    )


def check_self_imitation(configurations: int = 100, rng: Rng = 1) -> Check:
    """Imitation of one's own batches, with replay: a drift, or a martingale.

    Parameters
    ----------
    configurations : int
        Number of random old weights, replay shares and separations.
    rng : int, numpy.random.Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        b, replay, separation = _draw(generator)
        table = _Table(b, replay, separation)
        score = table.responsibility - b
        drift = table.integral(table.behavior * score)
        formula = _imitation_drift(b, replay, table.misassigned(b)[0])
        cases.within(formula - drift, 1e-9 * replay * (1.0 - b))
        cases.must(drift > 0.0)
        # the clock of forgetting, with the names of the modes exchanged
        mirrored = math.exp(float(log_weight_slope(separation, -logit(b))))
        cases.within(replay * mirrored - drift, 1e-9 * replay * (1.0 - b))
        # a constant in the log-ratio: it drops out with the weights, and adds this without
        a, constant = float(generator.uniform(0.05, 0.95)), float(generator.uniform(-3.0, 3.0))
        log_ratio = np.log(table.model / (a * table.old + (1.0 - a) * table.new))
        plain = table.integral(table.behavior * score * log_ratio)
        added = table.integral(table.behavior * score * (log_ratio + constant)) - plain
        cases.within(added - constant * formula, 1e-8)
        model = TwoModeMixture.separated(separation, old_weight=b)
        weights = importance_weights(model, table.y, replay)
        weighted = table.behavior * weights * score
        both = [table.integral(weighted * (log_ratio + c)) for c in (0.0, constant)]
        cases.within(both[1] - both[0], 1e-8)
        cases.must((b - a) * plain >= -1e-12)

        cases.within(table.integral(weighted), 1e-9)
        noise = table.integral(table.behavior * (weights * score) ** 2)
        mixed = _behavior_weight(b, replay)
        epsilon = table.misassigned(mixed)[0]
        cases.equal(_imitation_noise(b, replay, epsilon), noise, 1e-6)
        cases.at_most(noise, _imitation_noise(b, replay, 0.0) * (1.0 + 1e-9))
        alone = table.integral(table.model * score**2)
        if abs(noise / alone - 1.0) > 1e-6:  # two modes of one shape: a test for less noise
            cases.must((noise < alone) == (b < mixed < 1.0 - b))

    b, replay, separation = 0.3, 0.5, 2.0
    y, _ = _behave(b, replay, separation, 900_000, cases.generator)
    model = TwoModeMixture.separated(separation, old_weight=b)
    score = model.responsibility(y) - b
    table = _Table(b, replay, separation)
    estimate, stderr = mean_and_error((importance_weights(model, y, replay) * score) ** 2)
    noise = _imitation_noise(b, replay, table.misassigned(_behavior_weight(b, replay))[0])
    cases.within(estimate - noise, SIGMAS * stderr)
    estimate, stderr = mean_and_error(score)
    epsilon = table.misassigned(b)[0]
    return cases.conclude(
        estimate,
        _imitation_drift(b, replay, epsilon),
        stderr,
        "old weights, replay shares and separations as for lem-replay-weights, constants to 3; "
        "Monte Carlo: mean step of the logit without weights, and its noise with them",
    )


def results() -> list[Result]:
    """Ledger entries of the chapter, in its order.

    Returns
    -------
    list of Result
    """
    chapter = "replay_reverse_kl"
    return [
        Result(
            "lem-replay-weights",
            chapter,
            "Replay changes one number",
            r"The behavior is the model with old weight $b_\lambda = \lambda + (1-\lambda) b$, and "
            r"$w r = \frac{b}{b_\lambda} r_\nu$, $w (1-r) = \frac{1 - r_\nu}{1-\lambda}$; so "
            r"$\frac{b}{b_\lambda} \le w \le \frac{1}{1-\lambda}$.",
            "proved",
            ("importance_weights", "variance_price"),
            check_replay_weights,
        ),
        Result(
            "thm-bounded-weights",
            chapter,
            "Bounded weights",
            r"For any replayed density the weighted estimate is unbiased, $w \le "
            r"\frac{1}{1-\lambda}$ and $\chi^2 \le \frac{\lambda}{1-\lambda}$; for the model's own "
            r"component $\chi^2 = \lambda^2 (1-b)^2 I(b_\lambda)$.",
            "proved",
            ("importance_weight_bound", "effective_sample_size", "variance_price"),
            check_bounded_weights,
        ),
        Result(
            "thm-effective-old-samples",
            chapter,
            "Effective old samples",
            r"A weighted batch of $N$ is worth $N b_\lambda / (1 - \varepsilon(b_\lambda)) \ge N "
            r"b_\lambda$ old samples; if the old mean has moved, fewer, but at least "
            r"$N (1-\lambda) b$.",
            "proved",
            ("effective_old_samples", "variance_price"),
            check_effective_old_samples,
        ),
        Result(
            "thm-starvation",
            chapter,
            "Starvation over a run",
            r"On a path with $b_k \ge b_-$ some of $T$ batches is starved with probability at most "
            r"$1 - (1-s)^T$, $s = ((1-\lambda)(1-b_-))^N$; exact at $b_k = b_-$.",
            "proved",
            (
                "starvation_probability",
                "run_starvation",
                "replay_for_starvation",
                "batch_for_starvation",
            ),
            check_starvation,
        ),
        Result(
            "prp-starved-batch",
            chapter,
            "What a starved batch does",
            r"Without overlap its gradient is $\frac{b}{1-\lambda} \log\frac{1-a}{1-b}$, toward the "
            r"target; with the mean of $w \log\frac qp$ as baseline it has the other sign. With the "
            r"self-normalized mean every batch goes the right way if $h \le (1 + "
            r"\sqrt{1-\lambda})^2$; with the batch mean and no weights, if $h \le 4$.",
            "proved",
            ("simulate", "safe_learning_rate"),
            check_starved_batch,
        ),
        Result(
            "thm-best-replay",
            chapter,
            "The best replay share",
            r"At the old share $s_* = \log\frac ba / (l - l_a)$ every sample's gradient lies "
            r"between 0 and $b(1-b)(l - l_a)$, for any two densities; without overlap it has no "
            r"variance.",
            "proved",
            ("best_replay", "logit_gradient_moments"),
            check_best_replay,
        ),
        Result(
            "thm-self-imitation",
            chapter,
            "Without a target",
            r"Imitating the behavior moves the logit by $h \lambda (1 - b - \varepsilon) > 0$ on "
            r"average; with weights it is a martingale with variance $\frac{h^2}{N} b^2 (1-b)^2 "
            r"I(b_\lambda)$ per step.",
            "proved",
            ("importance_weights",),
            check_self_imitation,
        ),
    ]
