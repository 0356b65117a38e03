r"""Checks of the chapter on the two-mode abstraction: two accounts, and a published toy.

Setting: policy :math:`q = b g_o + (1-b) g_n`, target :math:`p = a f_o + (1-a) f_n`, all
components Gaussian on the line with their own standard deviations. Each printed formula is
one small function below, computed apart from the library path that it is compared with.

The exact part is scaled so that its bound is 1. Every Monte Carlo part accepts an estimate
within 4.5 standard errors of the prediction: a false alarm has probability 7e-6, and with
the default seed none happens.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad, solve_ivp
from scipy.special import expit, log_expit, logit, spence
from scipy.stats import norm

from forgetlib import toy
from forgetlib.results import Check, Result, Rng
from forgetlib.results._cases import SIGMAS, Cases, mean_and_error
from forgetlib.toy import (
    ToyMixture,
    overlap_score,
    separated_toy,
    toy_divergence,
    toy_flow,
    toy_update,
)

__all__ = ["results"]

FloatArray = NDArray[np.float64]

_GRID, _STEP = np.linspace(-24.0, 24.0, 2401, retstep=True)


# ---- the formulas, as printed ---------------------------------------------------------


def _accounts(b: float, a: float, old: float, new: float) -> float:
    """Mass account and shape accounts: divergence of the labeled pair."""
    return b * (math.log(b / a) + old) + (1 - b) * (math.log((1 - b) / (1 - a)) + new)


def _between_normals(m: float, s: float, mean: float, sd: float) -> float:
    """KL(N(m, s^2) || N(mean, sd^2))."""
    return float(0.5 * ((m - mean) ** 2 + s**2) / sd**2 - 0.5 - math.log(s / sd))


def _label_gap(policy: ToyMixture, target: ToyMixture, y: FloatArray) -> FloatArray:
    """KL of the policy's label given the sample from the target's, at each sample."""
    x, z = _log_odds(policy, y), _log_odds(target, y)
    r = expit(x)
    return np.asarray(r * (log_expit(x) - log_expit(z)) + (1 - r) * (log_expit(-x) - log_expit(-z)))


def _gap_bound(b: float, a: float, old: float, new: float) -> float:
    """Most that the accounts can exceed the divergence, from two overlap integrals."""
    k = math.sqrt((1 - a) / a)
    return 0.80475 * (b * k * old + (1 - b) / k * new)


def _seen_weight(reward: FloatArray, ratio: FloatArray, b: float) -> float:
    """How a batch of new samples moves the weight."""
    return float(-np.mean(reward * (1.0 - ratio)) / (1.0 - b))


def _seen_old(reward: FloatArray, ratio: FloatArray, b: float, score: FloatArray) -> float:
    """How a batch of new samples moves a parameter of the old component with this score."""
    return float(b / (1.0 - b) * np.mean(reward * ratio * score))


def _own_gradient(policy: ToyMixture, target: ToyMixture) -> tuple[float, float]:
    """Minus the gradient of KL(g_n || f_n) in the new mean and standard deviation."""
    variance = target.new_sd**2
    return (
        (target.new_mean - policy.new_mean) / variance,
        1.0 / policy.new_sd - policy.new_sd / variance,
    )


def _mean_weight(policy: ToyMixture, target: ToyMixture) -> float:
    """Expected motion of the weight: both components average the reward; beta cancels."""

    def average(mean: float, sd: float) -> float:
        by_target = ((mean - target.new_mean) ** 2 + sd**2) / target.new_sd**2
        by_policy = ((mean - policy.new_mean) ** 2 + sd**2) / policy.new_sd**2
        return float(0.5 * (by_policy - by_target))

    old = average(policy.old_mean, policy.old_sd)
    new = average(policy.new_mean, policy.new_sd)
    return float((old - new) / (1.0 - policy.old_weight))


def _drive(divergence: float, b: float, beta: float) -> float:
    """Motion of the weight that batches without old samples show."""
    return (divergence + math.log(beta * (1.0 - b))) / (1.0 - b)


def _half_divergence(divergence: float, b: float, beta: float) -> float:
    """Divergence of the new half of the policy from the new mode over beta."""
    return (1.0 - b) * (divergence + math.log(beta * (1.0 - b)) - 1.0) + 1.0 / beta


def _forward_time(decay: float, error: float, excess: float, variance: float) -> float:
    """Training time after which the forward rule has shrunk the new mean's error e^-decay-fold."""
    left = math.exp(-2.0 * decay)
    by_error = 0.5 * error**2 * (1.0 - (1.0 + 2.0 * decay) * left)
    return variance * decay + 0.5 * excess * (1.0 - left) + by_error


def _forward_variance(decay: float, error: float, excess: float, variance: float) -> float:
    """Variance of the new component at that time."""
    return variance + (excess + 2.0 * error**2 * decay) * math.exp(-2.0 * decay)


def _reverse_variance(t: float, excess: float, variance: float) -> float:
    """Variance of the new component under the reverse rule."""
    return variance + excess * math.exp(-2.0 * t / variance)


def _square(v: float, slow: float, t: float) -> float:
    """Square of the new weight under the forward rule."""
    return v**2 + 2.0 * slow * t


def _forgotten(v: float, slow: float) -> float:
    """Time at which the forward rule has emptied the old mode."""
    return (1.0 - v**2) / (2.0 * slow)


def _total_divergence(error: float, excess: float, variance: float) -> float:
    """Integral of KL(g_n || f_n) over the whole reverse run."""
    ratio = excess / variance
    return 0.25 * error**2 + 0.25 * variance * (ratio + float(spence(1.0 + ratio)))


def _latest(v: float, slow: float, beta: float, total: float) -> float:
    """Time by which the reverse rule has emptied the old mode."""
    return (1.0 - v**2 + 2.0 * slow * total) / (2.0 * slow * math.log(1.0 / beta))


def _earliest(v: float, slow: float, beta: float) -> float:
    """Time before which it cannot have done so."""
    return float(quad(lambda x: x / math.log(1.0 / (beta * x)), v, 1.0, epsabs=0.0)[0]) / slow


def _resting(beta: float) -> float:
    """Old weight at which the reverse rule comes to rest, for beta above 1."""
    return 1.0 - 1.0 / beta


def _ceiling(b: float, a: float) -> float:
    """Most that the overlap score can be."""
    return min(1.0, b / a)


def _score_change(a: float, weights: tuple[float, float], shift: float, stretch: float) -> float:
    """Most that the score moves: by the weight, by the mean over an sd, by log sd."""
    shape = shift / math.sqrt(2.0 * math.pi) + stretch * math.sqrt(2.0 / (math.pi * math.e))
    return (abs(weights[0] - weights[1]) + min(weights) * shape) / a


def _most_drop(
    a: float, elapsed: float, start: ToyMixture, fastest: FloatArray, least_sd: float
) -> float:
    """Most that the score drops in slow time ``elapsed`` at these largest speeds."""
    weight, mean, sd = fastest
    shape = mean / (math.sqrt(2.0 * math.pi) * start.old_sd)
    shape += math.sqrt(2.0 / (math.pi * math.e)) * sd / least_sd
    return float(elapsed / a * (weight + start.old_weight * shape))


def _information(b: float, old: FloatArray, new: FloatArray) -> float:
    """Fisher information of the weight, from two densities on the grid."""
    return float(_STEP * np.sum((old - new) ** 2 / (b * old + (1 - b) * new)))


def _forward_slope(b: float, weight: float, information: float) -> float:
    """Slope in the logit of KL(p_lambda || q_b)."""
    return (b - weight) * b * (1 - b) * information


def _reverse_slope(b: float, weight: float, average: float) -> float:
    """Slope in the logit of KL(q_b || p_lambda), from the average information between."""
    return (b - weight) * b * (1 - b) * average


# ---- checks ---------------------------------------------------------------------------


def _log_odds(mixture: ToyMixture, y: FloatArray) -> FloatArray:
    """Log-odds of the old mode, given the sample."""
    prior = math.log(mixture.old_weight) - math.log1p(-mixture.old_weight)
    old = norm.logpdf(y, mixture.old_mean, mixture.old_sd)
    return np.asarray(prior + old - norm.logpdf(y, mixture.new_mean, mixture.new_sd))


def _components(mixture: ToyMixture) -> tuple[FloatArray, FloatArray]:
    """Densities of the old and of the new mode on the grid."""
    return (
        norm.pdf(_GRID, mixture.old_mean, mixture.old_sd),
        norm.pdf(_GRID, mixture.new_mean, mixture.new_sd),
    )


def _random_mixture(
    generator: np.random.Generator, distance: float, sds: tuple[float, float] = (0.8, 1.2)
) -> ToyMixture:
    """Old mode near 0, new mode about this far to the right."""
    old_mean, new_mean = generator.normal([0.0, distance], 0.3)
    old_sd, new_sd = generator.uniform(*sds, 2)
    return ToyMixture(float(expit(generator.uniform(-3, 3))), old_mean, old_sd, new_mean, new_sd)


def _draw(mixture: ToyMixture, size: int, generator: np.random.Generator) -> FloatArray:
    """Samples of a mixture."""
    old = generator.random(size) < mixture.old_weight
    mean, sd = (
        np.where(old, mixture.old_mean, mixture.new_mean),
        np.where(old, mixture.old_sd, mixture.new_sd),
    )
    return np.asarray(mean + sd * generator.standard_normal(size))


def check_two_accounts(configurations: int = 60, rng: Rng = 1) -> Check:
    """Mass plus shape, minus what labels would tell: identity and bound, either direction.

    Parameters
    ----------
    configurations : int
        Random pairs of mixtures for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)

    def compare(policy: ToyMixture, target: ToyMixture, value: float) -> None:
        b, a = float(policy.old_weight), float(target.old_weight)
        old, new = _components(policy)
        tilt = 0.5 * (_log_odds(target, _GRID) - math.log(a / (1 - a)))
        shapes = [
            _between_normals(policy.old_mean, policy.old_sd, target.old_mean, target.old_sd),
            _between_normals(policy.new_mean, policy.new_sd, target.new_mean, target.new_sd),
        ]
        source = b * old + (1 - b) * new
        gap = _STEP * float(source @ _label_gap(policy, target, _GRID))
        cases.equal(value + gap, _accounts(b, a, *shapes), 1e-8)
        log_old = norm.logpdf(_GRID, policy.old_mean, policy.old_sd)
        log_new = norm.logpdf(_GRID, policy.new_mean, policy.new_sd)
        integrals = [_STEP * np.exp(log_old - tilt).sum(), _STEP * np.exp(log_new + tilt).sum()]
        cases.at_most(gap, _gap_bound(b, a, *integrals))

    for generator in cases:
        policy = _random_mixture(generator, generator.uniform(0.0, 6.0))
        target = _random_mixture(generator, generator.uniform(0.0, 6.0))
        compare(policy, target, toy_divergence("reverse", policy, target)[0])
        compare(target, policy, toy_divergence("forward", policy, target)[0])
    # here the bound is attained, up to the digits of its constant: one shape, no new samples
    alone = ToyMixture(1 / (1 + 3.92155), 0.0, 1.0, 0.0, 1.0)
    for extreme in (alone, alone.replace(old_weight=1 - alone.old_weight)):
        far = extreme.replace(old_weight=1e-7 if extreme.old_weight > 0.5 else 1 - 1e-7)
        compare(far, extreme, toy_divergence("reverse", far, extreme)[0])

    policy, target = ToyMixture(0.6, 0.2, 1.0, 1.5, 0.9), ToyMixture(0.3, 0.0, 1.1, 1.2, 1.0)
    y = _draw(policy, 400_000, cases.generator)
    estimate, stderr = mean_and_error(
        policy.logpdf(y) - target.logpdf(y) + _label_gap(policy, target, y)
    )
    prediction = _accounts(
        0.6, 0.3, _between_normals(0.2, 1.0, 0.0, 1.1), _between_normals(1.5, 0.9, 1.2, 1.0)
    )
    return cases.conclude(
        estimate,
        prediction,
        stderr,
        "all weights, means and standard deviations varied; Monte Carlo: the accounts",
    )


def check_new_samples_only(configurations: int = 60, rng: Rng = 2) -> Check:
    """What a batch of the policy's new samples moves, sample by sample and on average.

    Parameters
    ----------
    configurations : int
        Random policies, targets, constants and batches for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for index, generator in enumerate(cases):
        distance = generator.uniform(1.0, 4.0)  # the new modes are near: no reward is floored
        policy, target = (_random_mixture(generator, distance) for _ in range(2))
        b, beta = float(policy.old_weight), float(np.exp(generator.uniform(-3.0, 2.0)))
        size = 1 if index % 3 == 0 else 30
        y = policy.new_mean + policy.new_sd * generator.standard_normal(size)
        own = norm.logpdf(y, policy.new_mean, policy.new_sd)
        reward = norm.logpdf(y, target.new_mean, target.new_sd) - own - math.log(beta * (1 - b))
        ratio = np.exp(norm.logpdf(y, policy.old_mean, policy.old_sd) - own)
        update = toy_update("reverse", policy, target, y, beta)
        size_of = float(np.mean(np.abs(reward) * (1.0 + ratio)))
        cases.within(update[0] - _seen_weight(reward, ratio, b), 1e-6 * size_of / (1 - b))
        z = (y - policy.old_mean) / policy.old_sd
        for moved, score in ((update[1], z), (update[2], z**2 - 1.0)):
            own_score = score / policy.old_sd
            reach = b / (1 - b) * float(np.mean(np.abs(reward * ratio * own_score)))
            cases.within(moved - _seen_old(reward, ratio, b, own_score), 1e-6 * reach + 1e-9)
        # neither the target's weight nor its old mode enters
        other = target.replace(old_weight=0.5, old_mean=-9.0, old_sd=3.0)
        cases.must(toy_update("reverse", policy, other, y, beta) == update)
        # all that batches without an overlapping sample see is their mean reward
        left = abs(float(update[0]) + float(reward.mean()) / (1 - b))
        cases.at_most(left, float(ratio.max()) * np.abs(reward).mean() / (1 - b) + 1e-9)

        # expectations, by quadrature of the library's update over the new component
        mean = _expected_update(policy, target, beta)
        to_mean, to_sd = _own_gradient(policy, target)
        cases.within(mean[3] - to_mean, 1e-5 + 1e-3 * abs(to_mean))
        cases.within(mean[4] - to_sd, 1e-5 + 1e-3 * abs(to_sd))
        expected = _mean_weight(policy, target)
        cases.within(mean[0] - expected, 1e-5 + 1e-3 * abs(expected))
        fitted = policy.replace(new_mean=target.new_mean, new_sd=target.new_sd)
        cases.within(_expected_update(fitted, target, beta)[:3], 1e-5)
        _check_descent(cases, policy, target, beta)

    # how often a batch holds a sample with a larger ratio than z
    z, size, batches = 2.0, 20, 2000
    y = cases.generator.standard_normal((batches, size))
    share = float(np.mean(np.exp(-2.0 * y - 2.0).max(axis=1) > z))  # old mode 2 to the left
    chance = size * norm.cdf(-1.0 - 0.5 * math.log(z))
    cases.at_most(share, chance + SIGMAS * math.sqrt(chance / batches))

    policy, target = ToyMixture(0.4, -40.0, 1.0, 1.0, 0.9), ToyMixture(0.7, -40.0, 1.0, 2.0, 1.0)
    y = policy.new_mean + policy.new_sd * cases.generator.standard_normal((400_000, 1))
    estimate, stderr = mean_and_error(toy_update("reverse", policy, target, y, 0.1)[0])
    prediction = _drive(_between_normals(1.0, 0.9, 2.0, 1.0), 0.4, 0.1)
    return cases.conclude(
        estimate,
        prediction,
        stderr,
        "policy, target, beta and batch varied; Monte Carlo: motion of the weight",
    )


def _expected_update(policy: ToyMixture, target: ToyMixture, beta: float) -> FloatArray:
    """Mean of the library's reverse update over the policy's new component."""
    y = np.linspace(-12.0, 16.0, 1401)
    weights = 0.02 * norm.pdf(y, policy.new_mean, policy.new_sd)
    return np.asarray(toy_update("reverse", policy, target, y[:, None], beta) @ weights)


def _check_descent(cases: Cases, policy: ToyMixture, target: ToyMixture, beta: float) -> None:
    """The motion without overlapping samples against the divergence of the new half."""
    b = float(policy.old_weight)
    half = (1 - b) * norm.pdf(_GRID, policy.new_mean, policy.new_sd)
    aim = norm.pdf(_GRID, target.new_mean, target.new_sd) / beta

    def value(weight: float, mean: float, sd: float) -> float:
        fit = _between_normals(mean, sd, target.new_mean, target.new_sd)
        return _half_divergence(fit, weight, beta)

    here = (b, policy.new_mean, policy.new_sd)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 log 0 = 0
        integrand = np.where(half > 0.0, half * np.log(half / aim), 0.0) - half + aim
    cases.within(_STEP * integrand.sum() - value(*here), 1e-8 * (1.0 + 1.0 / beta))
    fit = _between_normals(policy.new_mean, policy.new_sd, target.new_mean, target.new_sd)
    motion = (_drive(fit, b, beta), *_own_gradient(policy, target))
    for index, moved in enumerate(motion):
        ends = []
        for step in (1e-4 * b * (1 - b), -1e-4 * b * (1 - b)):
            ends.append(value(*(x + step * (i == index) for i, x in enumerate(here))))
        slope = (ends[0] - ends[1]) / (2e-4 * b * (1 - b))
        cases.within(moved + slope / (1 - b), 1e-5 * (1.0 + abs(moved)) / (1 - b))
    # so the divergence falls along the library's path, slow factor or not
    path = separated_toy("reverse", policy, target, np.linspace(0.0, 2.0, 5), slow=0.1, beta=beta)
    states = zip(path.old_weight, path.new_mean, path.new_sd, strict=True)
    left = [value(*state) for state in states]
    cases.must(np.diff(left) <= 1e-9)


def check_clocks(configurations: int = 6, rng: Rng = 3) -> Check:
    """Closed forms without overlap against direct integration, and forgetting times.

    Parameters
    ----------
    configurations : int
        Random starts, slow factors and constants for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        v, slow = generator.uniform(0.2, 0.9), float(np.exp(generator.uniform(-5.0, -2.0)))
        error, sd, sigma = generator.uniform(0.5, 2.0), *generator.uniform(0.7, 1.4, 2)
        beta = float(np.exp(generator.uniform(-4.0, -0.2)))
        start, target = (
            ToyMixture(1 - v, 0.0, 1.0, error, sd),
            ToyMixture(0.5, 0.0, 1.0, 0.0, sigma),
        )
        excess, variance = sd**2 - sigma**2, sigma**2

        def forward(_: float, x: FloatArray, s: float = slow, var: float = variance) -> FloatArray:
            speed = (x[1] ** 2 + var - x[2] ** 2) / x[2] ** 3
            return np.array([s / x[0], -x[1] / x[2] ** 2, speed])

        def reverse(
            _: float, x: FloatArray, s: float = slow, var: float = variance, c: float = beta
        ) -> FloatArray:
            fit = _between_normals(x[1], x[2], 0.0, math.sqrt(var))
            return np.array([-s * _drive(fit, 1 - x[0], c), -x[1] / var, 1 / x[2] - x[2] / var])

        decay = generator.uniform(0.2, 2.0)
        t = _forward_time(decay, error, excess, variance)
        begin = [v, error, sd]
        end = solve_ivp(forward, (0.0, t), begin, rtol=1e-9, atol=1e-11).y[:, -1]
        cases.equal(end[1], error * math.exp(-decay), 1e-5)
        cases.equal(end[2] ** 2, _forward_variance(decay, error, excess, variance), 1e-5)
        cases.equal(end[0] ** 2, _square(v, slow, t), 1e-6)
        path = separated_toy("forward", start, target, [t], slow=slow)
        cases.equal(path.new_mean, end[1], 1e-5)
        cases.equal(path.new_sd, end[2], 1e-5)
        cases.within(path.old_weight - max(0.0, 1 - end[0]), 1e-6)

        t = min(t, 0.5 * _earliest(v, slow, beta))
        end = solve_ivp(reverse, (0.0, t), begin, rtol=1e-9, atol=1e-11).y[:, -1]
        cases.equal(end[1], error * math.exp(-t / variance), 1e-5)
        cases.equal(end[2] ** 2, _reverse_variance(t, excess, variance), 1e-5)
        path = separated_toy("reverse", start, target, [t], slow=slow, beta=beta)
        cases.within(path.old_weight - (1 - end[0]), 1e-6)

        total = _total_divergence(error, excess, variance)

        def fit(x: float, e: float = error, r: float = excess, var: float = variance) -> float:
            now = math.sqrt(_reverse_variance(x, r, var))
            return _between_normals(e * math.exp(-x / var), now, 0.0, math.sqrt(var))

        cases.equal(quad(fit, 0.0, 30.0 * variance, limit=200)[0], total, 1e-6)
        # forgotten by the latest time, not before the earliest; after 1 / (2 s) forward
        times = np.array([_earliest(v, slow, beta), _latest(v, slow, beta, total)])
        cases.at_most(times[0], times[1])
        rest = 1 - separated_toy("reverse", start, target, times, slow=slow, beta=beta).old_weight
        cases.must(rest[0] <= 1.0 and rest[1] >= 1.0 - 1e-7)
        times = _forgotten(v, slow) * np.array([1 - 1e-6, 1 + 1e-6])
        left = separated_toy("forward", start, target, times, slow=slow).old_weight
        cases.must(left[0] > 0.0 and left[1] == 0.0)
        # a constant above 1 has a resting point
        keep = 1.0 / generator.uniform(0.05, 0.9)
        path = separated_toy(
            "reverse", start, target, [60.0 * (variance + 1 / slow)], slow=slow, beta=keep
        )
        cases.equal(path.old_weight, _resting(keep), 1e-5)

    # where the two times are sharp: a new mode that fits; a constant of almost 0 and a new
    # mode so far away that the weight hardly counts
    start = target = ToyMixture(0.6, 0.0, 1.0, 2.0, 1.0)
    times = np.array([_earliest(0.4, 0.1, 0.1) * x for x in (0.995, 1.005)])
    left = separated_toy("reverse", start, target, times, slow=0.1, beta=0.1).old_weight
    cases.must(left[0] > 0.0 and left[1] == 0.0)
    start = start.replace(old_weight=0.1, new_mean=32.0)
    total = _total_divergence(30.0, 0.0, 1.0)
    times = np.array([_latest(0.9, 5e-5, 1e-300, total) * x for x in (0.995, 1.0)])
    left = separated_toy("reverse", start, target, times, slow=5e-5, beta=1e-300).old_weight
    cases.must(left[0] > 0.0 and left[1] <= 1e-9)

    start, target = ToyMixture(0.5, -60.0, 1.0, 1.0, 1.0), ToyMixture(0.5, -60.0, 1.0, 0.0, 1.0)
    run = toy.train_toy(
        "reverse",
        start,
        target,
        learning_rate=0.001,
        steps=300,
        batch_size=5,
        slow=0.2,
        replicates=100,
        record_every=300,
        rng=cases.generator,
    )
    estimate, stderr = mean_and_error((1 - run.policy.old_weight[:, -1]) ** 2)
    path = separated_toy("reverse", start, target, [0.3], slow=0.2)
    return cases.conclude(
        estimate,
        float((1 - path.old_weight[0]) ** 2),
        stderr,
        "start, slow factor and beta varied; Monte Carlo: square of the new weight, by training",
    )


def check_slow_factor(configurations: int = 200, rng: Rng = 4) -> Check:
    """Range and speed of the overlap score; what the slow factor does to a run.

    Parameters
    ----------
    configurations : int
        Random pairs of policies for the exact part; every fiftieth is also a training run.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    fine, step = np.linspace(-16.0, 16.0, 8001, retstep=True)

    def compare(policy: ToyMixture, other: ToyMixture, target: ToyMixture) -> None:
        a, b = float(target.old_weight), float(policy.old_weight)
        score = float(overlap_score(policy, target))
        f, g = (
            norm.pdf(fine, target.old_mean, target.old_sd),
            norm.pdf(fine, policy.old_mean, policy.old_sd),
        )
        cases.within(step * np.minimum(a * f, b * g).sum() / a - score, 1e-5)
        total_variation = 0.5 * step * float(np.abs(f - g).sum())
        cases.at_most(score, _ceiling(b, a))
        cases.at_most((1 - total_variation) * _ceiling(b, a), score + 1e-9)
        change = abs(score - float(overlap_score(other, target)))
        shift = abs(policy.old_mean - other.old_mean) / policy.old_sd
        stretch = abs(math.log(policy.old_sd / other.old_sd))
        bound = _score_change(a, (b, float(other.old_weight)), shift, stretch)
        cases.at_most(change, bound + 1e-12)

    for index, generator in enumerate(cases):
        policy, target = (_random_mixture(generator, 3.0, (0.5, 1.5)) for _ in range(2))
        other = _random_mixture(generator, 3.0, (0.5, 1.5))
        scale = generator.uniform()
        ends = zip(dataclasses.astuple(policy), dataclasses.astuple(other), strict=True)
        near = [x + scale * (y - x) for x, y in ends]
        compare(policy, ToyMixture(*near), target)
        if index % 50 == 0:
            _check_run(cases, generator)
    # where the bounds are attained: right shape and less weight, or a small change of shape
    right = ToyMixture(0.7, 0.0, 1.0, 3.0, 1.0)
    for other in (
        right.replace(old_weight=0.4),
        right.replace(old_mean=1e-3),
        right.replace(old_sd=1.001),
    ):
        compare(right, other, right)
        compare(other, right, right)

    # the bound on the drop is attained too: a right old component that begins to move
    for name, speed in (("old_mean", [0.0, 2.0, 0.0]), ("old_sd", [0.0, 0.0, 2.0])):
        moved = right.replace(**{name: getattr(right, name) + 5e-4 * 2.0})
        drop = float(overlap_score(right, right)) - float(overlap_score(moved, right))
        cases.at_most(drop, _most_drop(0.7, 5e-4, right, np.array(speed), 1.0))

    policy, target = ToyMixture(0.5, 0.3, 0.8, 3.0, 1.0), ToyMixture(0.6, 0.0, 1.0, 3.0, 1.0)
    y = cases.generator.standard_normal(400_000)
    ratio = 0.5 * norm.pdf(y, 0.3, 0.8) / (0.6 * norm.pdf(y))
    estimate, stderr = mean_and_error(np.minimum(1.0, ratio))
    return cases.conclude(
        estimate,
        float(overlap_score(policy, target)),
        stderr,
        "two policies, a target and runs varied; Monte Carlo: the overlap score",
    )


def _check_run(cases: Cases, generator: np.random.Generator) -> None:
    """The drop of a run against the bound from its largest slow speeds."""
    slow, rule = (
        float(np.exp(generator.uniform(-8.0, -2.0))),
        generator.choice(["forward", "reverse"]),
    )
    run = toy.train_toy(
        rule,
        toy.START,
        toy.TARGET,
        learning_rate=0.01,
        steps=60,
        batch_size=100,
        slow=slow,
        rng=generator,
    )
    path, names = run.policy[0], ("old_weight", "old_mean", "old_sd")
    slow_part = np.array([getattr(path, name) for name in names])
    fastest = np.abs(np.diff(slow_part, axis=1)).max(axis=1) / (slow * 0.01)
    bound = _most_drop(0.75, slow * 0.6, toy.START, fastest, float(path.old_sd.min()))
    cases.at_most(run.drop()[0, -1], bound)
    # a right old component that stands still: only the weight moves, and the bound is attained
    right = toy.START.replace(old_mean=-3.0)
    run = toy.train_toy(
        "forward", right, toy.TARGET, learning_rate=0.15, steps=1, batch_size=100, slow=slow
    )
    speeds = np.abs(np.diff([getattr(run.policy, name)[0] for name in names], axis=1))[:, 0]
    bound = _most_drop(0.75, slow * 0.15, right, speeds / (slow * 0.15), 1.0)
    cases.at_most(run.drop()[0, 1], bound + 1e-12)


def check_target_decides(configurations: int = 60, rng: Rng = 5) -> Check:
    """Slopes of both directions of KL toward a mixture with another old weight.

    Parameters
    ----------
    configurations : int
        Random components and weights for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    for index, generator in enumerate(cases):
        model = _random_mixture(generator, generator.uniform(0.5, 3.0))
        b = float(model.old_weight)
        goal = 0.0 if index % 4 == 0 else float(expit(generator.uniform(-3.0, 3.0)))
        target = model.replace(old_weight=goal)
        old, new = _components(model)
        forward = float(toy_divergence("forward", model, target)[1][0])
        reverse = float(toy_divergence("reverse", model, target)[1][0])
        cases.equal(forward, _forward_slope(b, goal, _information(b, old, new)), 1e-7)
        # average information, with points that crowd at the target's weight
        places = 0.5 * (nodes + 1.0)
        between = [goal + (b - goal) * x**6 for x in places]
        values = np.array([_information(w, old, new) for w in between])
        average = 0.5 * float(weights @ (values * 6.0 * places**5))
        cases.equal(reverse, _reverse_slope(b, goal, average), 1e-4)
        cases.must(np.sign(forward) == np.sign(b - goal) == np.sign(reverse))

    _check_flows(cases)

    model = ToyMixture(0.8, 0.0, 1.0, 2.0, 0.9)
    y = _draw(model.replace(old_weight=0.25), 400_000, cases.generator)
    estimate, stderr = mean_and_error(0.8 - expit(_log_odds(model, y)))
    prediction = _forward_slope(0.8, 0.25, _information(0.8, *_components(model)))
    return cases.conclude(
        estimate,
        prediction,
        stderr,
        "components and both weights varied; Monte Carlo: forward slope",
    )


def _check_flows(cases: Cases) -> None:
    """Flows of separated modes: components stand still, the information is 1 / (b (1 - b))."""
    start, target = ToyMixture(0.9, 0.0, 1.0, 12.0, 1.0), ToyMixture(0.2, 0.0, 1.0, 12.0, 1.0)
    times = np.array([0.5, 2.0, 30.0])
    directions: tuple[toy.Rule, ...] = ("forward", "reverse")
    for direction in directions:

        def speed(_: float, x: FloatArray, direction: toy.Rule = direction) -> FloatArray:
            b = float(expit(x[0]))
            if direction == "forward":
                slope = _forward_slope(b, 0.2, 1 / (b * (1 - b)))
            else:
                slope = _reverse_slope(b, 0.2, (float(x[0]) - float(logit(0.2))) / (b - 0.2))
            return np.array([-slope])

        begin = [float(logit(0.9))]
        own = solve_ivp(speed, (0.0, 30.0), begin, "LSODA", times, rtol=1e-9, atol=1e-10)
        path = toy_flow(direction, start, target, times)
        cases.within(path.old_weight - expit(own.y[0]), 1e-5)
        cases.must(np.diff(path.old_weight) < 0.0)
        cases.within(path.old_weight[-1] - 0.2, 0.01)


def results() -> list[Result]:
    """Entries of the ledger for this chapter."""
    chapter = "abstraction"
    return [
        Result(
            "thm-two-accounts",
            chapter,
            "Two accounts",
            r"$\mathrm{KL}(q \,\|\, p) = \mathrm{kl}(b \,\|\, a) + b\,\mathrm{KL}(g_o \,\|\, f_o) + (1-b)\,\mathrm{KL}(g_n \,\|\, f_n) "
            r"- E_q[\mathrm{kl}(r_q \,\|\, r_p)]$, and the last term is bounded by overlap.",
            "proved",
            ("ToyMixture", "toy_divergence"),
            check_two_accounts,
        ),
        Result(
            "thm-new-samples-only",
            chapter,
            "What the reverse rule follows",
            r"Neither $a$ nor $f_o$ enters. Without overlapping samples the rule descends the divergence of "
            r"$(1-b)\,g_n$ from $f_n/\beta$, at the rate $\frac{1}{1-b}$.",
            "proved",
            ("toy_update", "separated_toy"),
            check_new_samples_only,
        ),
        Result(
            "thm-toy-clocks",
            chapter,
            "The toy's clocks",
            r"Forward: $v^2 = v_0^2 + 2 s t$. Reverse: $v \dot v = s(\log\frac1\beta + \log\frac1v - \Delta)$. "
            r"The forward rule empties the old mode at $t = (1 - v_0^2)/(2 s)$, the reverse rule in finite "
            r"time if $\beta < 1$; for $\beta > 1$ it has $b \to 1 - 1/\beta$.",
            "proved",
            ("separated_toy",),
            check_clocks,
            grid=400,
        ),
        Result(
            "prp-slow-factor",
            chapter,
            "The slow factor is a clock",
            r"The overlap score is Lipschitz in the old parameters, so after $j$ steps the drop is at most "
            r"$s h j$ times a bound on their directions.",
            "proved",
            ("overlap_score", "train_toy"),
            check_slow_factor,
        ),
        Result(
            "thm-target-decides",
            chapter,
            "Both directions go where the target is",
            r"$\frac{d}{dl} \mathrm{KL}(p_\lambda \,\|\, q_b) = (b - \lambda)\,b(1-b)\,I(b)$; for $\mathrm{KL}(q_b \,\|\, "
            r"p_\lambda)$ the average of $I$ between $\lambda$ and $b$ takes the place of $I(b)$.",
            "proved",
            ("toy_divergence", "toy_flow"),
            check_target_decides,
        ),
    ]
