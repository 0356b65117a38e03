r"""Checks of the chapter on finite batches: what noise can and cannot do.

Setting: reverse KL toward :math:`p = a f_o + (1-a) f_n` by samples of the model, with
:math:`G = l - \operatorname{logit} a`, :math:`\alpha = \log\frac ba` and :math:`\beta =
\log\frac{1-a}{1-b}`, so that :math:`\alpha + \beta = G`; ``phi`` is the share of old samples
in a batch. Each printed formula is one small function below, so that a test can break it
and see the check fail.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, eye_array
from scipy.sparse.linalg import splu, spsolve
from scipy.special import expit, logit
from scipy.stats import binom, norm

from forgetlib.batch_noise import (
    crossover_separation,
    drift_design,
    imitation_exit_probability,
    loss_probability,
    pathwise_drift_bound,
    score_drift,
)
from forgetlib.drift import separated_drift
from forgetlib.ensemble import simulate
from forgetlib.geometry import mean_square_factor
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.overlap import log_weight_slope, misassignment_probability
from forgetlib.results import Check, Result, Rng
from forgetlib.results._cases import SIGMAS, Cases, mean_and_error
from forgetlib.retention import Baseline, safe_learning_rate

__all__ = ["results"]

FloatArray = NDArray[np.float64]

_ROUNDING = 1e-9


# ---- the formulas, as printed ---------------------------------------------------------


def _plain_share(b: float, a: float) -> float:
    """Largest share of the way to the target that a batch goes at unit step, no baseline."""
    old, new = abs(math.log(b / a)), abs(math.log((1.0 - a) / (1.0 - b)))
    ends = ((1.0 - b) * old, b * new)
    return max(ends) / (old + new)


def _batch_share(batch_size: int) -> float:
    """The same with the batch mean as baseline: the same for all weights."""
    return (batch_size**2 // 4) / batch_size**2


def _step_limit(batch_size: int, baseline: Baseline, replay: float) -> float:
    """Longest step that crosses for no weights and no batch of this size."""
    if baseline is None:
        return 1.0 - replay
    limit = batch_size**2 / (batch_size**2 // 4)
    return limit * ((batch_size - 1) / batch_size if baseline == "leave_one_out" else 1.0)


def _constant_gradient(b: float, a: float, baseline: float, phi: FloatArray) -> FloatArray:
    """Gradient of the logit from a batch with this share of old samples."""
    old, new = math.log(b / a), math.log((1.0 - a) / (1.0 - b))
    best = (1.0 - b) * old - b * new
    return np.asarray(b * (1.0 - b) * (old + new) + (phi - b) * (best - baseline))


def _away_probability(b: float, a: float, baseline: float, batch_size: int) -> float:
    """Probability that one batch moves the weight away from its target."""
    old, new = math.log(b / a), math.log((1.0 - a) / (1.0 - b))
    best = (1.0 - b) * old - b * new
    edge = batch_size * b * (1.0 - (1.0 - b) * (old + new) / (best - baseline))
    above = (best - baseline) * (old + new) < 0.0
    at_most = float(binom.cdf(math.floor(edge), batch_size, b))
    return 1.0 - at_most if above else float(binom.cdf(math.ceil(edge) - 1, batch_size, b))


def _floor(a: float, baseline: float) -> float:
    """Old weight below which no batch of separated modes lowers it."""
    if baseline <= 0.0:
        return a * math.exp(baseline)
    return 1.0 - (1.0 - a) * math.exp(baseline)


def _exit_bounds(l0: float, l1: float, l2: float, h: float) -> tuple[float, float]:
    """Probability that imitation passes below l1 before above l2, between two bounds."""
    over = h * float(expit(-l2))
    under = h * float(expit(l1))
    return (l2 - l0) / (l2 - l1 + under), (l2 - l0 + over) / (l2 - l1 + over)


def _imitation_variance(b: float, separation: float, batch_size: int, h: float) -> float:
    """Variance of one step of imitation: b (1 - b), less what overlap hides."""
    missed = misassignment_probability(TwoModeMixture.separated(separation, old_weight=b))
    return h**2 / batch_size * b * (1.0 - b) * (1.0 - missed / (1.0 - b))


def _imitation_law(b0: float, level: float, clock: float) -> float:
    """P(below the level by this clock) in the diffusion that imitation tends to, no overlap."""
    points, steps = 1201, 1000
    grid = np.linspace(float(logit(level)), float(logit(b0)) + 12.0, points)
    pace = 0.5 * clock / steps * expit(grid) * expit(-grid) / (grid[1] - grid[0]) ** 2
    pace[0] = 0.0  # lost for good; the upper end reflects, and is out of reach
    diagonal = 1.0 + 2.0 * pace
    diagonal[-1] -= pace[-1]
    implicit = splu(diags_array([-pace[1:], diagonal, -pace[:-1]], offsets=[-1, 0, 1]).tocsc())
    lost = (np.arange(points) == 0).astype(np.float64)
    for _ in range(steps):
        lost = implicit.solve(lost)
    return float(np.interp(logit(b0), grid, lost))


def _single_change(b: FloatArray, a: FloatArray, mode: int, baseline: float) -> float:
    """First-order change of half the squared distance, by one sample of this mode."""
    value = np.log(b / a)
    return float(-(value[mode] - baseline) * (value[mode] - b @ value))


def _batch_change(value: FloatArray, phi: FloatArray) -> float:
    """The same by a batch with the batch mean: a variance, negative."""
    return float(-(phi @ value**2 - (phi @ value) ** 2))


def _mode_limit() -> float:
    """Step up to which no batch increases the distance, for any number of modes."""
    return 4.0


def _mode_floors(a: FloatArray, distance: float) -> FloatArray:
    """Sure floors of all weights, from the distance at the start."""
    return np.asarray(a * math.exp(-math.sqrt(2.0) * distance))


def _mean_push(gap: float, old_error: float, new_error: float) -> float:
    """Mean gradient of the logit over b (1 - b), wrong means, no overlap."""
    return gap + 0.5 * (old_error**2 - new_error**2)


def _leak(r: FloatArray, b: float, mismatch: FloatArray) -> float:
    """How far, per unit of step, wrong means can carry the logit off its way."""
    return abs(float(np.mean((r - b) * mismatch)))


def _mean_leak(b: float, old_error: float, new_error: float) -> float:
    """Its mean without overlap, for one sample."""

    def folded(s: float) -> float:
        spread = math.sqrt(2.0 / math.pi) * math.exp(-(s**2) / 8.0)
        return s * spread + 0.5 * s**2 * (2.0 * float(norm.cdf(0.5 * s)) - 1.0)

    return b * (1.0 - b) * (folded(old_error) + folded(new_error))


def _second_moment(
    b: float, a: float, error: float, h: float, batch_size: int, dim: int, baseline: float
) -> float:
    """Mean square of the old mean's error after one step of the score function."""
    value = math.log(b / a) - baseline + 0.5 * error**2
    noise = b * (dim * value**2 + (dim + 2) * error**2) - b**2 * error**2
    return (1.0 - h * b) ** 2 * error**2 + h**2 / batch_size * noise


def _square_factor(a: float, h: float, batch_size: int, dim: int) -> float:
    """Factor of a small mean square error in one step, at the right weight."""
    spread = h**2 / batch_size * a * (dim + 2)
    return 1.0 - 2.0 * h * a + h**2 * a**2 * (1.0 - 1.0 / batch_size) + spread


def _mixed_first_step(b: float, a: float, h: float, batch_size: int, dim: int) -> float:
    """The same from a right mean, with the leave-one-out mean as baseline."""
    gap, n = float(logit(b) - logit(a)), batch_size
    return h**2 / n * dim * b * gap**2 * (1.0 - b) * ((n - 2) * (1.0 - b) + 1.0) / (n - 1)


def _law(a: float, b0: float, t: FloatArray, dim: int, baseline: float) -> FloatArray:
    """The small-step law V(t), by Runge-Kutta steps."""
    goal = float(logit(a))

    def velocity(state: FloatArray) -> FloatArray:
        b = float(expit(state[0]))
        noise = dim * (math.log(b / a) - baseline) ** 2
        return np.array([-b * (1.0 - b) * (state[0] - goal), b * (noise - 2.0 * state[1])])

    state, values, substeps = np.array([float(logit(b0)), 0.0]), [0.0], 40
    for span in np.diff(t):
        step = span / substeps
        for _ in range(substeps):
            k1 = velocity(state)
            k2 = velocity(state + 0.5 * step * k1)
            k3 = velocity(state + 0.5 * step * k2)
            k4 = velocity(state + step * k3)
            state = state + step / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        values.append(float(state[1]))
    return np.array(values)


def _law_bound(a: float, b0: float, dim: int) -> float:
    """Bound on V at all times, without a baseline."""
    return 0.5 * dim * math.log(b0 / a) ** 2


def _law_tail(a: float, dim: int) -> float:
    """Limit of V / log(b / a)^2 at late times."""
    return dim / (2.0 * a)


def _pathwise_force(
    a: float, separation: float, low: float, rho: float, radius: float
) -> tuple[float, float, float]:
    """First and second moment of what is not the spring, at most, and the misassignment."""
    near = separation - radius - rho
    eps_q = min(0.5, math.sqrt(math.pi / 2) / near) * math.sqrt((1 - low) / low)
    eps_q *= math.exp(-(near**2) / 8)
    eps_p = min(0.5, math.sqrt(math.pi / 2) / separation) * math.sqrt((1 - a) / a)
    eps_p *= math.exp(-(separation**2) / 8 + separation * rho / 2)
    omega = radius * eps_q + separation * (eps_q + eps_p)
    square = (radius + separation) * (radius * eps_q / 4 + separation * (eps_q + eps_p))
    return omega, square, eps_q


def _pathwise_bounds(
    weights: tuple[float, float], h: float, batch_size: int, force: tuple[float, float, float]
) -> tuple[float, float]:
    """Mean and mean square drift under the pathwise gradient, at most."""
    low, high = weights
    omega, square, eps_q = force
    mean = high / low * omega / (1 - eps_q)
    total = 2 * omega * mean + h * high * omega**2 + h / batch_size * square
    return mean, high / low * total / (1 - eps_q)


# ---- checks ---------------------------------------------------------------------------


def _step(
    b: float, a: float, log_ratio: FloatArray, baseline: Baseline | float, replay: float = 0.0
) -> float:
    """Gradient of the logit from a batch with these log(f_o / f_n)."""
    r = expit(logit(b) + log_ratio)
    log_q = np.logaddexp(np.log1p(-b), np.log(b) + log_ratio)
    log_p = np.logaddexp(np.log1p(-a), np.log(a) + log_ratio)
    loss = log_q - log_p
    weight = 1.0 / ((1.0 - replay) + replay * np.exp(log_ratio - log_q))
    if isinstance(baseline, float):
        loss = loss - baseline
    elif baseline is not None:
        loss = loss - loss.mean()
        if baseline == "leave_one_out":
            loss *= log_ratio.size / (log_ratio.size - 1)
    return float(np.mean(weight * (r - b) * loss))


def check_step_limits(configurations: int = 300, rng: Rng = 21) -> Check:
    """No batch goes further than the printed share, and some batch goes exactly so far.

    Parameters
    ----------
    configurations : int
        Random pairs of weights, each with a random batch and the extreme ones.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        b, a = (float(expit(generator.uniform(-9.0, 9.0))) for _ in range(2))
        size = int(generator.integers(2, 12))
        gap = float(logit(b) - logit(a))
        batch = generator.uniform(1.0, 30.0) * generator.standard_normal(size)
        half = np.where(np.arange(size) < size // 2, 80.0, -80.0)
        alone = max(_step(b, a, np.full(size, s), None) / gap for s in (-80.0, 80.0))
        cases.at_most(_step(b, a, batch, None) / gap, _plain_share(b, a))
        cases.equal(alone, _plain_share(b, a), _ROUNDING)
        cases.at_most(_step(b, a, batch, "batch_mean") / gap, _batch_share(size))
        cases.equal(_step(b, a, half, "batch_mean") / gap, _batch_share(size), 1e-8)
        for baseline in ("batch_mean", "leave_one_out"):
            share = _step(b, a, half, baseline) / gap
            cases.equal(_step_limit(size, baseline, 0.0) * share, 1.0, 1e-8)
            safe, limit = safe_learning_rate(size, baseline), _step_limit(size, baseline, 0.0)
            cases.must(safe <= limit * (1.0 + _ROUNDING))
            if size % 2 == 0:
                cases.equal(safe, limit, _ROUNDING)
        # without a baseline the limit is approached as the weights go to 0, or to 1
        replay = float(generator.uniform(0.0, 0.9))
        far = _step(1e-12, 1e-300, np.full(size, 800.0), None) / float(logit(1e-12) + 690.7755)
        cases.equal(_step_limit(size, None, 0.0) * far, 1.0, 1e-3)
        near_one = _step(1.0 - 2.0**-52, 0.9, np.full(size, -80.0), None, replay)
        gap = 52.0 * math.log(2.0) - float(logit(0.9))
        cases.equal(_step_limit(size, None, replay) * near_one / gap, 1.0, 5e-3)
        cases.equal(safe_learning_rate(size, None, replay), _step_limit(size, None, replay), 1e-9)

    # half-half batches of two at 1% above the limit: how often a step crosses
    b, a, h = 0.5, 0.8, 1.01 * _step_limit(2, "batch_mean", 0.0)
    target = TwoModeMixture.separated(14.0, old_weight=a)
    model = target.replace(old_weight=b)
    y, _ = model.rvs(1_000_000, cases.generator)
    r, loss = model.responsibility(y), model.logpdf(y) - target.logpdf(y)
    r, loss = r.reshape(-1, 2), loss.reshape(-1, 2)
    step = h * np.mean((r - b) * (loss - loss.mean(axis=1, keepdims=True)), axis=1)
    crossed = step / (model.old_logit - target.old_logit) > 1.0
    estimate, stderr = mean_and_error(crossed.astype(np.float64))
    return cases.conclude(
        estimate,
        2.0 * b * (1.0 - b),
        stderr,
        "random batches against the largest share, and the batches that attain it; Monte "
        "Carlo: how often a batch of two crosses at 1% above the limit",
    )


def check_constant_baseline(configurations: int = 100, rng: Rng = 22) -> Check:
    """A constant baseline: exact noise, exact floor, and no floor with any overlap.

    Parameters
    ----------
    configurations : int
        Random weights, baselines and batches.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        b, a = (float(expit(generator.uniform(-5.0, 5.0))) for _ in range(2))
        baseline = float(generator.uniform(-3.0, 3.0))
        size = int(generator.integers(1, 9))
        kept = np.arange(size + 1) / size
        exact = [
            _step(b, a, np.where(np.arange(size) < n, 400.0, -400.0), baseline)
            for n in range(size + 1)
        ]
        scale = abs(baseline) + abs(float(logit(b) - logit(a)))
        error = _constant_gradient(b, a, baseline, kept) - np.array(exact)
        cases.within(error, 1e-9 * scale)
        chance = binom.pmf(np.arange(size + 1), size, b)
        gap = float(logit(b) - logit(a))
        away = float(chance[np.array(exact) * gap < 0.0].sum())
        cases.within(_away_probability(b, a, baseline, size) - away, 1e-9)
        # the floor: below it no batch lowers the weight, just above it some batch does
        small = float(generator.uniform(-2.0, 0.99 * -math.log1p(-a)))
        floor = min(max(_floor(a, small), 1e-9), 1.0 - 1e-5)
        for weight, lowers in ((floor * (1.0 - 1e-6), False), (floor * (1.0 + 1e-6), True)):
            ends = [_step(weight, a, np.array([s]), small) for s in (-400.0, 400.0)]
            cases.must((max(ends) > 0.0) == lowers)
        # and from above no batch passes it, if h <= 1
        above = float(generator.uniform(logit(floor), max(9.0, logit(floor))))
        steepest = max(_step(float(expit(above)), a, np.array([s]), small) for s in (-400.0, 400.0))
        cases.must(above - steepest >= float(logit(floor)) - 1e-9)
        # with overlap: samples just off the point of balance lower every weight
        ratio = -baseline * float(generator.uniform(0.25, 0.5))
        drop = _step(b, a, np.array([ratio]), baseline)
        sure = 0.5 * abs(baseline) * -math.expm1(-abs(baseline) / 4) * b * (1.0 - b)
        cases.at_most(sure, drop)

    # losses within a few steps, against all sequences of batches
    for target_weight, baseline, h in ((0.6, 2.0, 1.5), (0.6, -3.0, 2.0), (None, 0.0, 2.0)):
        exact_loss = _enumerated_loss(0.4, 0.12, target_weight, baseline, h, 2, 6)
        found = loss_probability(
            0.4,
            0.12,
            steps=6,
            batch_size=2,
            learning_rate=h,
            target_weight=target_weight,
            baseline=baseline,
            points=4001,
        )
        cases.within(float(found) - exact_loss, 0.004 * max(exact_loss, 0.05))

    # in the long run a loss is certain, or impossible: the floor decides
    for level, constant, certain in ((0.05, 2.0, True), (0.05, -1.0, False)):
        found = loss_probability(
            0.5,
            level,
            steps=3000,
            batch_size=1,
            learning_rate=1.0,
            target_weight=0.3,
            baseline=constant,
            points=801,
        )
        cases.must((_floor(0.3, constant) < level) == certain)
        cases.must(found > 0.999 if certain else found == 0.0)

    b, a, baseline, size = 0.4, 0.45, 2.0, 3
    target = TwoModeMixture.separated(16.0, old_weight=a)
    model = target.replace(old_weight=b)
    y, _ = model.rvs(150_000 * size, cases.generator)
    r, loss = model.responsibility(y), model.logpdf(y) - target.logpdf(y)
    step = ((r - b) * (loss - baseline)).reshape(-1, size).mean(axis=1)
    estimate, stderr = mean_and_error((step > 0.0).astype(np.float64))
    return cases.conclude(
        estimate,
        _away_probability(b, a, baseline, size),
        stderr,
        "random weights, baselines and batches; losses against all sequences of batches; "
        "Monte Carlo: share of batches that move away from the target",
    )


def _enumerated_loss(
    start: float, level: float, a: float | None, baseline: float, h: float, n: int, steps: int
) -> float:
    """Loss probability by following every sequence of batches."""
    lost, alive = 0.0, {float(logit(start)): 1.0}
    for _ in range(steps):
        after: dict[float, float] = {}
        for odds, mass in alive.items():
            b = float(expit(odds))
            for count in range(n + 1):
                signs = np.where(np.arange(n) < count, 800.0, -800.0)
                push = b - count / n if a is None else _step(b, a, signs, baseline)
                chance = mass * math.comb(n, count) * b**count * (1.0 - b) ** (n - count)
                if expit(odds - h * push) < level:
                    lost += chance
                else:
                    after[odds - h * push] = after.get(odds - h * push, 0.0) + chance
        alive = after
    return lost


def check_imitation(configurations: int = 200, rng: Rng = 23) -> Check:
    """Imitation: a logit without drift, its exits, and its noise.

    Parameters
    ----------
    configurations : int
        Random weights and steps for the bounds on the exit.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        b1, b0, b2 = np.sort(generator.uniform(0.01, 0.99, 3))
        h = float(generator.uniform(0.01, 4.0))
        bounds = imitation_exit_probability(b0, b1, b2, h)
        printed = _exit_bounds(float(logit(b0)), float(logit(b1)), float(logit(b2)), h)
        cases.equal(np.array(bounds), np.array(printed), _ROUNDING)
    # exact exit probabilities of the chain, by one linear system
    for size, h, ends in itertools.product((1, 4), (0.1, 0.4), ((0.05, 0.95), (0.2, 0.97))):
        exact = _exit_probability(0.75, *ends, size, h)
        l1, l2 = float(logit(ends[0])), float(logit(ends[1]))
        low, high = _exit_bounds(float(logit(0.75)), l1, l2, h)
        cases.at_most(low, exact * (1.0 + 1e-5))
        cases.at_most(exact, high * (1.0 + 1e-5))
    # steps of any batch with the same h^2 / N follow one diffusion, up to O(h)
    law = _imitation_law(0.75, 0.05, 60.0)
    for size, h in ((64, 1.6), (16, 0.8), (4, 0.4)):
        steps = round(60.0 * size / h**2)
        chain = loss_probability(
            0.75, 0.05, steps=steps, batch_size=size, learning_rate=h, points=1001
        )
        cases.within(float(chain) / law - 1.0, 0.025)

    # variance of a step, with overlap, against the information that is left
    b, separation = 0.3, 1.5
    model = TwoModeMixture.separated(separation, old_weight=b)
    y, _ = model.rvs(1_200_000, cases.generator)
    estimate, stderr = mean_and_error((model.responsibility(y) - b) ** 2)
    prediction = _imitation_variance(b, separation, 1, 1.0)
    # the share of information has a closed form of its own: the forward-KL slope
    slope = math.exp(float(log_weight_slope(separation, model.old_logit)))
    cases.equal(prediction, (1.0 - b) * slope, _ROUNDING)
    return cases.conclude(
        estimate,
        prediction,
        stderr,
        "bounds on the exit against a linear system for the exact chain; three settings "
        "against one diffusion, to 2.5%; Monte Carlo: variance of a step at D = 1.5",
    )


def _exit_probability(b0: float, b1: float, b2: float, size: int, h: float) -> float:
    """P(below b1 before above b2) of the separated chain, on a grid of logits."""
    points = 2001
    grid = np.linspace(float(logit(b1)), float(logit(b2)), points)
    b = expit(grid)
    below, move = np.zeros(points), csr_array((points, points))
    for count in range(size + 1):
        chance = binom.pmf(count, size, b)
        place = (grid + h * (count / size - b) - grid[0]) / (grid[1] - grid[0])
        below += chance * (place < 0.0)
        inside = (place >= 0.0) & (place <= points - 1)
        center = np.clip(np.rint(place), 1, points - 2)
        x = place - center
        for shift, weight in ((-1, x * (x - 1) / 2), (0, 1 - x**2), (1, x * (x + 1) / 2)):
            entries = (chance * weight)[inside]
            where = (np.arange(points)[inside], (center + shift).astype(int)[inside])
            move = move + csr_array((entries, where), (points, points))
    value = spsolve((eye_array(points) - move).tocsc(), below)
    return float(np.interp(logit(b0), grid, value))


def check_many_modes(configurations: int = 400, rng: Rng = 24) -> Check:
    """More than two modes: what one sample does, and what a batch with its mean does.

    Parameters
    ----------
    configurations : int
        Random weights, targets and batches of two to six modes.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        modes, size = int(generator.integers(2, 7)), int(generator.integers(2, 10))
        b, a = _softmax(2.0 * generator.standard_normal((2, modes)))
        value = np.log(b / a)
        gap = value - value.mean()
        # one sample, constant baseline
        mode, baseline = int(generator.integers(modes)), float(generator.normal())
        move = -(np.eye(modes)[mode] - b) * (value[mode] - baseline)
        change = float(gap @ move)
        scale = float(np.abs(gap).max() ** 2 + abs(baseline))
        cases.within(_single_change(b, a, mode, baseline) - change, 1e-9 * scale)
        # a batch with its mean as baseline
        phi = generator.multinomial(size, generator.dirichlet(np.full(modes, 0.6))) / size
        step = -phi * (value - phi @ value)
        cases.within(_batch_change(value, phi) - float(gap @ step), 1e-9 * scale)
        after = gap + _mode_limit() * step
        cases.at_most(np.linalg.norm(after), np.linalg.norm(gap) * (1.0 + 1e-12))
        # a whole path, with random batches from anywhere
        distance = float(np.linalg.norm(gap))
        floors = _mode_floors(a, distance)
        odds = np.log(b)
        for _ in range(5):
            phi = generator.multinomial(size, generator.dirichlet(np.ones(modes))) / size
            now = np.log(_softmax(odds)) - np.log(a)
            odds = odds - _mode_limit() * phi * (now - phi @ now)
            cases.at_most(floors, _softmax(odds))
    # where the step and the floor are attained
    a = np.array([1.0 - 1e-12, 1e-12])
    odds = np.log(a) + np.array([1.0, -1.0]) / math.sqrt(2.0)
    cases.at_most(_mode_floors(a, 1.0)[1], _softmax(odds)[1] * (1.0 + 1e-9))
    gap = np.array([1.0, -1.0])
    after = gap - _mode_limit() * 0.5 * gap
    cases.equal(np.linalg.norm(after), np.linalg.norm(gap), 1e-9)
    # the printed counterexamples
    b, a = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.2, 0.7])
    cases.must(_single_change(b, a, 1, 0.0) > 0.2)
    b, a = np.array([8.0, 1.0, 3.0]) / 12.0, np.array([1.0, 2.0, 3.0]) / 6.0
    cases.must(_overlapping_change(b, a, np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])) > 0.01)

    # Monte Carlo: mean change by a batch of eight is the mean variance within a batch
    b, a, size = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6]), 8
    value = np.log(b / a)
    phi = cases.generator.multinomial(size, b, 400_000) / size
    step = -phi * (value - (phi @ value)[:, None])
    estimate, stderr = mean_and_error(step @ (value - value.mean()))
    prediction = (1.0 - 1.0 / size) * _batch_change(value, b)
    return cases.conclude(
        estimate,
        prediction,
        stderr,
        "random weights and batches of two to six modes; Monte Carlo: mean change of the "
        "squared distance by a batch of eight",
    )


def _softmax(odds: FloatArray) -> FloatArray:
    weight = np.exp(odds - odds.max(axis=-1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=-1, keepdims=True))


def _overlapping_change(b: FloatArray, a: FloatArray, r: FloatArray) -> float:
    """First-order change by a batch with its mean, given responsibilities of any samples."""
    value = np.log(b / a)
    loss = -np.log(r @ np.exp(-value))
    step = -((r - b) * (loss - loss.mean())[:, None]).mean(axis=0)
    return float(step @ (value - value.mean()))


def check_moving_means(configurations: int = 150, rng: Rng = 25) -> Check:
    """Wrong means: where the logit heads, and how far a batch can carry it off its way.

    Parameters
    ----------
    configurations : int
        Random targets and models, each with a random batch.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        a, b = (float(expit(generator.uniform(-4.0, 4.0))) for _ in range(2))
        if generator.uniform() < 0.3:
            b = a
        separation, dim = float(generator.uniform(0.5, 8.0)), int(generator.integers(1, 4))
        target = TwoModeMixture.separated(separation, old_weight=a, dim=dim)
        errors = generator.standard_normal((2, dim))
        model = target.replace(
            old_weight=b,
            old_mean=target.old_mean + errors[0],
            new_mean=target.new_mean + errors[1],
        )
        same = model.replace(old_weight=a)  # the model's components, the target's weight
        size = int(generator.integers(1, 6))
        y = generator.standard_normal((size, dim)) * generator.uniform(1.0, 6.0)
        y[:, 0] += generator.uniform(0.0, separation, size)
        r = model.responsibility(y)
        loss, mismatch = (model.logpdf(y) - q.logpdf(y) for q in (target, same))
        mismatch = loss - mismatch
        after = model.old_logit - float(np.mean((r - b) * loss))
        ends = sorted((model.old_logit, target.old_logit))
        off = max(ends[0] - after, after - ends[1], 0.0)
        leak = _leak(r, b, mismatch)
        cases.at_most(off, leak + 1e-12)
        if b == a:  # then the step is nothing but the leak
            cases.within(abs(after - target.old_logit) - leak, 1e-9 * (leak + 1.0))
        # far apart: the mean gradient
        apart = TwoModeMixture.separated(40.0, old_weight=a, dim=dim)
        model = apart.replace(
            old_weight=b,
            old_mean=apart.old_mean + errors[0],
            new_mean=apart.new_mean + errors[1],
        )
        sizes = (float(np.linalg.norm(errors[0])), float(np.linalg.norm(errors[1])))
        push = ReverseKL(apart).gradient(model).logit / (b * (1.0 - b))
        printed = _mean_push(model.old_logit - apart.old_logit, *sizes)
        cases.within(push - printed, 1e-9 * (abs(printed) + 1.0))
    # one far sample off a right weight: its step is the leak
    target = TwoModeMixture.separated(3.0, old_weight=0.6)
    model, y = target.replace(old_mean=[0.5]), np.array([[-6.0]])
    mismatch = model.logpdf(y) - target.logpdf(y)
    step = float((model.responsibility(y)[0] - 0.6) * mismatch[0])
    cases.equal(abs(step), _leak(model.responsibility(y), 0.6, mismatch), _ROUNDING)
    cases.equal(_mean_push(0.0, 0.0, 1.0), -0.5, 1e-12)

    b, old_error, new_error = 0.4, 0.6, 1.1
    target = TwoModeMixture.separated(16.0, old_weight=0.7)
    model = target.replace(old_weight=b, old_mean=[old_error], new_mean=target.new_mean + new_error)
    y, _ = model.rvs(1_500_000, cases.generator)
    mismatch = model.replace(old_weight=0.7).logpdf(y) - target.logpdf(y)
    estimate, stderr = mean_and_error(np.abs((model.responsibility(y) - b) * mismatch))
    return cases.conclude(
        estimate,
        _mean_leak(b, old_error, new_error),
        stderr,
        "random models, means and batches at D = 0.5 to 8; Monte Carlo: how far wrong means "
        "carry the logit off its way, on average",
    )


def check_batch_drift(configurations: int = 4, rng: Rng = 26) -> Check:
    """Batch noise moves a right old mean, by the exact second moment and its law.

    Parameters
    ----------
    configurations : int
        Random weights, dimensions and batches for the second moment and the law.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    t = np.array([0.0, 0.5, 2.0, 8.0])
    for generator in cases:
        a, b = generator.uniform(0.1, 0.9, 2)
        dim, size = int(generator.integers(1, 9)), int(generator.integers(2, 65))
        h = float(generator.uniform(0.001, 0.1))
        law = score_drift(a, b, t, learning_rate=h, batch_size=size, dim=dim)
        expected = _law(a, b, t, dim, 0.0)
        cases.equal(law.rms[1:] ** 2, h / size * expected[1:], 1e-4)
        cases.at_most(law.rms**2, h / size * _law_bound(a, b, dim))
        cases.at_most(law.rms, law.peak * (1.0 + 1e-5))
        baseline = float(generator.uniform(-1.0, 1.0))
        law = score_drift(a, b, t, learning_rate=h, batch_size=size, dim=dim, baseline=baseline)
        cases.equal(law.rms[1:] ** 2, h / size * _law(a, b, t, dim, baseline)[1:], 1e-4)
        # the design rule: the batch is enough, and one sample less is not
        level = float(generator.uniform(0.002, 0.02))
        design = drift_design(level, a, b, learning_rate=h, dim=dim)
        cases.at_most(design.rms, level * (1.0 + 1e-9))
        peak = score_drift(a, b, t, learning_rate=h, batch_size=1, dim=dim).peak
        cases.must(design.batch_size == max(1, math.ceil((peak / level) ** 2 * (1.0 - 1e-9))))
        back = drift_design(level, a, b, batch_size=size, dim=dim)
        cases.equal(back.learning_rate, min(1.0, h * size * (level / peak) ** 2), 1e-6)
        # the second moment of one step, by quadrature
        wrong = generator.standard_normal(int(generator.integers(1, 4)))
        exact = _integrated_moment(b, a, wrong, h, size, baseline)
        distance = float(np.linalg.norm(wrong))
        found = _second_moment(b, a, distance, h, size, wrong.size, baseline)
        cases.equal(found, exact, _ROUNDING)
        # at the crossover both drifts are the same
        place = crossover_separation(a, b, learning_rate=h, batch_size=size, dim=dim)
        wide = separated_drift(a, b, np.linspace(0.0, 200.0, 4001)).scaled_drift
        noise = score_drift(a, b, t, learning_rate=h, batch_size=size, dim=dim).peak
        if place > 0.0:
            cases.equal(math.exp(-(place**2) / 8) * np.abs(wide).max(), noise, 1e-3)
    # late times, and short times: V grows at the rate d b0 log^2(b0 / a)
    late = score_drift(0.6, 0.3, [30.0], learning_rate=1e-3, batch_size=1, dim=3)
    value = math.log(late.old_weight[0] / 0.6)
    cases.equal(late.rms[0] ** 2 / (1e-3 * value**2), _law_tail(0.6, 3), 5e-3)
    early = score_drift(0.6, 0.3, [1e-3], learning_rate=1e-3, batch_size=1, dim=3)
    first = _second_moment(0.3, 0.6, 0.0, 1e-3, 1, 3, 0.0)
    cases.equal(early.rms[0] ** 2, first, 5e-3)
    # the bound is approached from a mode that has nearly all the weight
    high = score_drift(0.75, 1.0 - 1e-6, [1.0], learning_rate=1e-3, batch_size=1, dim=3)
    cases.equal(high.peak**2, 1e-3 * _law_bound(0.75, 1.0 - 1e-6, 3), 1e-4)
    # in many dimensions the mean square of a small error grows
    for dim, grows in ((16, False), (256, True)):
        target = TwoModeMixture.separated(14.0, old_weight=0.75, dim=dim)
        factor = _square_factor(0.75, 0.5, 16, dim)
        cases.equal(mean_square_factor(target, 0.5, 16, train=("old_mean",)), factor, 1e-6)
        cases.equal(_second_moment(0.75, 0.75, 1e-5, 0.5, 16, dim, 0.0) * 1e10, factor, 1e-6)
        cases.must((factor > 1.0) == grows)

    # one step, simulated, with baselines
    _simulated_steps(cases)

    # many steps against the law
    a, b, h = 0.75, 0.3, 0.02
    target = TwoModeMixture.separated(9.0, old_weight=a, dim=24)
    run = simulate(
        ReverseKL(target),
        target.replace(old_weight=b),
        steps=200,
        batch_size=8,
        learning_rate=h,
        replicates=320,
        rng=cases.generator,
        record_every=40,
    )
    squares = (run.old_mean[:, 1:] ** 2).sum(axis=2)
    expected = h / 8 * _law(a, b, np.array(h * run.step), 24, 0.0)[1:]
    for column, wanted in zip(squares.T, expected, strict=True):
        mean, error = mean_and_error(column)
        cases.within(mean - wanted, SIGMAS * error + 1.5 * h * wanted)

    # nearly all samples are old: little noise from the labels
    b, a = 0.9, 0.3
    estimate, stderr = _simulated_step(cases, b, a, None, 1600)
    return cases.conclude(
        estimate,
        _second_moment(b, a, 0.0, 0.5, 64, 400, 0.0),
        stderr,
        "second moments by quadrature, the law against Runge-Kutta steps, the design rule, "
        "simulated steps and paths; Monte Carlo: squared drift after one step at D = 14",
    )


def _integrated_moment(
    b: float, a: float, error: FloatArray, h: float, batch_size: int, baseline: float
) -> float:
    """Mean square error after one step, by Gauss-Hermite quadrature (exact: degree 6)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    xi = np.array(list(itertools.product(nodes, repeat=error.size))).T
    chance = np.prod(list(itertools.product(weights, repeat=error.size)), axis=1)
    chance = chance / chance.sum()
    term = xi * (math.log(b / a) - baseline + 0.5 * error @ error + error @ xi)
    first, second = b * (term @ chance), b * float((term**2).sum(axis=0) @ chance)
    square = second / batch_size + (1.0 - 1.0 / batch_size) * float(first @ first)
    return float(error @ error - 2.0 * h * error @ first + h**2 * square)


def _simulated_step(
    cases: Cases, b: float, a: float, baseline: float | Baseline, replicates: int
) -> tuple[float, float]:
    """Mean square drift after one step of the engine, and its standard error."""
    target = TwoModeMixture.separated(14.0, old_weight=a, dim=400)
    run = simulate(
        ReverseKL(target),
        target.replace(old_weight=b),
        steps=1,
        batch_size=64,
        learning_rate=0.5,
        replicates=replicates,
        rng=cases.generator,
        baseline=baseline,
        train=("old_mean",),
    )
    return mean_and_error((run.old_mean[:, -1] ** 2).sum(axis=1))


def _simulated_steps(cases: Cases) -> None:
    """Single steps with baselines, each against its exact second moment."""
    mean, stderr = _simulated_step(cases, 0.9, 0.3, 0.7, 800)
    cases.within(mean - _second_moment(0.9, 0.3, 0.0, 0.5, 64, 400, 0.7), SIGMAS * stderr)
    mean, stderr = _simulated_step(cases, 1.0 / 3.0, 0.75, "leave_one_out", 800)
    cases.within(mean - _mixed_first_step(1.0 / 3.0, 0.75, 0.5, 64, 400), SIGMAS * stderr)
    a, b, h, dim = 0.75, 0.3, 0.5, 64
    # the baselines of the batch in closed form: all batches, each with its probability
    for size in (2, 5, 16):
        n = np.arange(size + 1)
        share = n / size
        exact = binom.pmf(n, size, b) @ (share * (1.0 - share) ** 2)
        gap = float(logit(b) - logit(a))
        exact *= dim / size * h**2 * gap**2 * (size / (size - 1)) ** 2
        cases.equal(_mixed_first_step(b, a, h, size, dim), exact, _ROUNDING)
        early = score_drift(
            a, b, [1e-4], learning_rate=1.0, batch_size=size, dim=dim, baseline="leave_one_out"
        )
        cases.equal(early.rms[0] ** 2 / 1e-4, exact / h**2, 1e-3)


def check_pathwise_drift(configurations: int = 60, rng: Rng = 27) -> Check:
    """The pathwise gradient lets noise in through overlap only.

    Parameters
    ----------
    configurations : int
        Random models, for which the moments of the gradient are integrated.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        a, b = (float(expit(generator.uniform(-2.5, 2.5))) for _ in range(2))
        separation = float(generator.uniform(4.0, 12.0))
        rho, radius = generator.uniform(0.001, 0.4, 2)
        h, size = float(generator.uniform(0.001, 1.0)), int(generator.integers(1, 65))
        target = TwoModeMixture.separated(separation, old_weight=a)
        weights = (b, min(0.99, 1.2 * b))
        bound = pathwise_drift_bound(
            target,
            weights,
            learning_rate=h,
            batch_size=size,
            old_error=rho,
            new_error=radius,
        )
        limits = _pathwise_force(a, separation, b, rho, radius)
        mean, square = _pathwise_bounds(weights, h, size, limits)
        cases.equal(np.array(bound), np.array([mean, math.sqrt(square)]), _ROUNDING)
        # the moments of what is not the spring, at the worst allowed errors
        model = target.replace(
            old_weight=b,
            old_mean=[rho],
            new_mean=[separation + radius * generator.choice([-1.0, 1.0])],
        )
        y, step = np.linspace(-12.0, separation + 12.0, 6001, retstep=True)
        r, r_p = model.responsibility(y), target.responsibility(y)
        density = step * model.pdf(y)
        error, gap = float(model.new_mean[0]) - separation, separation
        force = r * (1.0 - r) * error + r * (r_p - r) * gap
        eps_q = float(density @ (r * (1.0 - r))) / b
        eps_p = float(density @ (r * (1.0 - r_p))) / b
        cases.at_most(density @ np.abs(force), b * (radius * eps_q + gap * (eps_q + eps_p)))
        whole = (radius + gap) * (0.25 * radius * eps_q + gap * (eps_q + eps_p))
        cases.at_most(density @ force**2, b * whole)
        spring = density @ (r**2 * rho + force)
        cases.within(spring - ReverseKL(target).gradient(model).old_mean[0], 1e-9)

    # simulated drift, everything trained, below both bounds
    for separation, size in ((7.0, 1), (9.0, 16)):
        target = TwoModeMixture.separated(separation, old_weight=0.75)
        run = simulate(
            ReverseKL(target),
            target.replace(old_weight=0.3),
            steps=200,
            batch_size=size,
            learning_rate=0.05,
            replicates=100,
            rng=cases.generator,
            estimator="pathwise",
        )
        old = np.abs(run.old_mean[..., 0])
        new = np.abs(run.new_mean[..., 0] - separation)
        weights = (float(run.old_weight.min()), float(run.old_weight.max()))
        bound = pathwise_drift_bound(
            target,
            weights,
            learning_rate=0.05,
            batch_size=size,
            old_error=float(old.max()),
            new_error=float(new.max()),
        )
        cases.at_most(old.mean(axis=0), bound.mean)
        cases.at_most(np.sqrt((old**2).mean(axis=0)), bound.rms)
        limits = _pathwise_force(0.75, separation, weights[0], old.max(), new.max())
        cases.at_most(old.max(axis=1).mean(), 0.05 * 200 * weights[1] * limits[0])

    # the gradient is unbiased
    target = TwoModeMixture.separated(4.0, old_weight=0.7)
    model = target.replace(old_weight=0.4, old_mean=[0.4], new_mean=[4.5])
    y, _ = model.rvs(1_000_000, cases.generator)
    r, r_p = model.responsibility(y), target.responsibility(y)
    estimate, stderr = mean_and_error(r**2 * 0.4 + r * (1.0 - r) * 0.5 + r * (r_p - r) * 4.0)
    return cases.conclude(
        estimate,
        float(ReverseKL(target).gradient(model).old_mean[0]),
        stderr,
        "moments of the gradient on random models, simulated drifts below both bounds; Monte "
        "Carlo: mean of the pathwise gradient at D = 4",
    )


def results() -> list[Result]:
    """Ledger entries of the chapter, in its order.

    Returns
    -------
    list of Result
    """
    chapter = "finite_batch"
    return [
        Result(
            "prp-step-limits",
            chapter,
            "How long a step may be",
            r"The largest share of $|l - l_a|$ that a batch removes at $h = 1$ is "
            r"$\max\{(1-b)|\alpha|, b|\beta|\}/|\alpha + \beta|$ without a baseline, with "
            r"$\alpha = \log\frac ba$ and $\beta = \log\frac{1-a}{1-b}$, and "
            r"$\lfloor N^2/4 \rfloor / N^2$ with the batch mean. So the limits $1$, $4$ and "
            r"$1 - \lambda$ are sharp.",
            "proved",
            ("safe_learning_rate",),
            check_step_limits,
        ),
        Result(
            "thm-constant-baseline",
            chapter,
            "A constant baseline",
            r"Without overlap a constant baseline $B$ lowers the sure floor of the old weight to "
            r"exactly $a e^B$ ($B < 0$) or $1 - (1-a)e^B$ ($B > 0$), if $h \le 1$. For two Gaussian modes at any finite "
            r"separation every $B \ne 0$ takes the old weight below every level, with "
            r"probability 1.",
            "proved",
            ("loss_probability", "simulate"),
            check_constant_baseline,
            grid=1000,
        ),
        Result(
            "thm-imitation",
            chapter,
            "Imitation without a target",
            r"The logit is a martingale, passes every level, and falls below $l_1$ before rising "
            r"above $l_2$ with probability $(l_2 - l_0)/(l_2 - l_1)$ up to the overshoot of one "
            r"step. For short steps its law depends on $h^2 j/N$ only.",
            "proved",
            ("imitation_exit_probability", "loss_probability"),
            check_imitation,
        ),
        Result(
            "prp-many-modes",
            chapter,
            "More than two modes",
            r"Without overlap, one sample of mode $m$ increases the distance of the logits from "
            r"the target's if $0 < \log\frac{b_m}{a_m} < \mathrm{KL}(b \| a)$. With the batch mean and "
            r"$h \le 4$ no batch does, and $b_j \ge a_j e^{-\sqrt2 |G_0|}$ on every path. With "
            r"overlap this fails too.",
            "proved",
            ("simulate",),
            check_many_modes,
        ),
        Result(
            "prp-moving-means",
            chapter,
            "Wrong means",
            r"With wrong means a step with $h \le 1$ ends within $h$ times the size of the batch "
            r"mean of $(r - b) S$ of the way from $l$ to $l_a$, where $S$ is the log ratio of "
            r"model and target at equal weights.",
            "proved",
            ("simulate", "ReverseKL"),
            check_moving_means,
        ),
        Result(
            "thm-batch-drift",
            chapter,
            "Batch noise moves a right old mean",
            r"Without overlap $\frac Nh E|m_o - \mu_o|^2 \to V$ as $h \to 0$, where $\dot V = "
            r"-2bV + d\,b \log^2\frac ba$: a drift of order $\sqrt{hd/N}$, whatever the "
            r"separation.",
            "proved",
            ("score_drift", "drift_design", "crossover_separation"),
            check_batch_drift,
            grid=200,
        ),
        Result(
            "thm-pathwise-drift",
            chapter,
            "The pathwise gradient is gated by overlap",
            r"Under the pathwise gradient the mean drift is at most of order $D\varepsilon$, and "
            r"its mean square of order $D^2\varepsilon^2 + \frac hN D^2 \varepsilon$, at all "
            r"steps and for every batch size.",
            "proved",
            ("pathwise_drift_bound",),
            check_pathwise_drift,
        ),
    ]
