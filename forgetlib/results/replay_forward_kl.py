r"""Checks of the chapter on replay and forward KL: data mixing.

Setting: data :math:`p_\lambda = \lambda f_o + (1-\lambda) f_n`, model
:math:`q_b = b f_o + (1-b) f_n` with :math:`l = \operatorname{logit} b`, loss
:math:`KL(p_\lambda \| q)`. Each printed formula is one small function below, computed by
plain quadrature along the line of means, so that a test can break it and see the check fail.

Every Monte Carlo part accepts an estimate within 4.5 standard errors of the prediction: a
false alarm has probability 7e-6, and with the default seed none happens.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import binom, expit, gammaln, logit, ndtr, ndtri, xlog1py, xlogy
from scipy.stats import chi2, norm

from forgetlib import data_mixing
from forgetlib.ensemble import simulate
from forgetlib.flow import forgetting_time, gradient_flow
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ForwardKL
from forgetlib.overlap import log_weight_slope, misassignment_probability
from forgetlib.results import Check, Result, Rng
from forgetlib.results._cases import Cases, mean_and_error

__all__ = ["results"]

FloatArray = NDArray[np.float64]

_HALF_LINE = np.polynomial.legendre.leggauss(40)


# ---- the formulas, as printed ---------------------------------------------------------


def _information(old_weight: ArrayLike, separation: float) -> FloatArray:
    """Fisher information of the weight, by the trapezoid rule along the line of means."""
    reach, step = 1.5 * separation + 9.5, min(0.4, 0.5 / separation)
    y = np.arange(-reach, reach, step)
    b = np.asarray(old_weight, dtype=np.float64)[..., None]
    old, new = (-0.5 * (y + shift) ** 2 for shift in (0.5 * separation, -0.5 * separation))
    log_q = np.logaddexp(np.log(b) + old, np.log1p(-b) + new)
    square = (np.exp(old - 0.5 * log_q) - np.exp(new - 0.5 * log_q)) ** 2
    return np.asarray(step / math.sqrt(2.0 * math.pi) * square.sum(axis=-1))


def _mixing_slope(old_weight: float, replay: float, separation: float) -> float:
    """Slope of the loss in the logit."""
    b = old_weight
    return (b - replay) * b * (1.0 - b) * float(_information(b, separation))


def _brake(old_weight: float, replay: float) -> float:
    """Factor that replay puts on every gradient of training without it."""
    return 1.0 - replay / old_weight


def _separated_clock(old_weight: float, replay: float) -> float:
    """What falls at unit rate without overlap."""
    b, lam = old_weight, replay
    inside = math.log(abs(b - lam)) - (1.0 - lam) * math.log(b) - lam * math.log1p(-b)
    return inside / (lam * (1.0 - lam))


def _end_rate(replay: float, separation: float) -> float:
    """Rate at which the last error dies."""
    return (replay * (1.0 - replay)) ** 2 * float(_information(replay, separation))


def _rate_floor(start_weight: float, replay: float, separation: float) -> float:
    """Lower bound on the rate along the whole way."""
    variation = 2.0 * float(ndtr(0.5 * separation)) - 1.0
    least = min(w * (1.0 - w) for w in (start_weight, replay))
    return 4.0 * variation**2 * least**2


def _rate_ceiling() -> float:
    """Upper bound on the rate along the whole way."""
    return 0.25


def _scores(model: TwoModeMixture, y: FloatArray) -> FloatArray:
    """Score in (logit, old mean, new mean) at samples, shape (n, 1 + 2d), identity covariance."""
    r = model.responsibility(y)
    return np.column_stack(
        [
            r - model.old_weight,
            r[:, None] * (y - model.old_mean),
            (1.0 - r)[:, None] * (y - model.new_mean),
        ]
    )


def _fisher(replay: float, separation: float) -> FloatArray:
    """Fisher information of the mixture on the line, as the second moment of its score."""
    return np.asarray(
        replay * _moment(replay, separation, 0.0)
        + (1.0 - replay) * _moment(replay, separation, separation)
    )


def _weighted_back(old_weight: float, replay: float, separation: float) -> float:
    """Second moment of the gradient when replayed samples are weighted back."""
    y, step = np.linspace(-12.0, 12.0, 4001, retstep=True)  # measured from the new mode
    log_ratio = -separation * (0.5 * separation + y)
    r = expit(logit(old_weight) + log_ratio)
    weight = 1.0 / (1.0 - replay + replay * np.exp(log_ratio))
    return float(step * np.sum(norm.pdf(y) * weight * (old_weight - r) ** 2))


def _wrong_loss(right: float, replay: float, separation: float) -> float:
    """Integral of (a - s) I(s) from the share to the right weight."""
    nodes, weights = _HALF_LINE
    # in the logit of s, where the integrand has no pole next to the path
    low, high = float(logit(replay)), float(logit(right))
    l = 0.5 * (low + high) + 0.5 * (high - low) * nodes
    s = np.asarray(expit(l))
    inside = (right - s) * s * (1.0 - s) * _information(s, separation)
    return 0.5 * (high - low) * float(weights @ inside)


def _binary_divergence(right: float, replay: float) -> float:
    """Divergence of two coins: the loss without overlap."""
    a, lam = right, replay
    return float(xlogy(a, a / lam) + xlogy(1.0 - a, (1.0 - a) / (1.0 - lam)))


def _loss_floor(right: float, replay: float, separation: float) -> float:
    """Lower bound on the loss by the total variation distance of the modes."""
    return 2.0 * (2.0 * float(ndtr(0.5 * separation)) - 1.0) ** 2 * (right - replay) ** 2


def _loss_ceiling(right: float, replay: float, separation: float) -> float:
    """Upper bound on the loss, by the convexity of the information."""
    return 0.5 * (right - replay) ** 2 * float(_information([right, replay], separation).max())


def _entropy(weight: float) -> float:
    """Entropy of a coin in nats."""
    return float(-xlogy(weight, weight) - xlog1py(1.0 - weight, -weight))


def _minimax_logit(low: float, high: float) -> float:
    """Logit of the minimax share without overlap."""
    return (_entropy(low) - _entropy(high)) / (high - low)


def _minimax_loss(low: float, high: float) -> float:
    """Worst loss at the minimax share: a channel capacity."""
    s = _minimax_logit(low, high)
    return float(np.logaddexp(0.0, s)) - low * s - _entropy(low)


def _buffer_variance(replay: float, old: FloatArray, new: FloatArray) -> float:
    """Limit of M times the variance of the old weight, weight trained only.

    The two modes are given by their masses at the same points.
    """
    r = replay * old / (replay * old + (1.0 - replay) * new)
    mean = float(old @ r)
    rho = 1.0 - float(old @ (1.0 - r)) / (1.0 - replay)
    return replay**2 * float(old @ (r - mean) ** 2) / rho**2


def _buffer_bias(replay: float, old: FloatArray, new: FloatArray) -> float:
    """Limit of M times the mean error of the old weight."""
    lam = replay
    mixed = lam * old + (1.0 - lam) * new
    s = (old - new) / mixed
    info = float(mixed @ s**2)
    mean, square, cube = (float(old @ s**k) for k in (1, 2, 3))
    third = float(mixed @ s**3)
    return lam**2 * (third * (square - mean**2) / info**3 - (cube - mean * square) / info**2)


def _gate(replay: float, separation: float) -> float:
    """Upper bound on the mean square of 1 - r under the old mode."""
    constant = min(3.0 * math.sqrt(3.0) / 16.0, math.sqrt(math.pi / 8.0) / separation)
    return constant * math.sqrt((1.0 - replay) / replay) * math.exp(-(separation**2) / 8.0)


def _weight_ceiling_equation(old_weight: float, replay: float, separation: float) -> float:
    """Share at which a buffer of samples with r = 1 ends at this old weight."""
    y, step = np.linspace(-14.0, 14.0, 8001, retstep=True)
    r = expit(logit(old_weight) - separation * (0.5 * separation + y))
    eta = float(step * norm.pdf(y) @ r)
    return old_weight - replay - (1.0 - replay) * eta


def _square_drift(dim: int, size: int) -> float:
    """Mean square distance of the old mean, without overlap."""
    return dim / size


def _excess(drift: FloatArray, replay: float) -> FloatArray:
    """Loss on fresh data when the old mean is displaced, without overlap."""
    return np.asarray(0.5 * replay * (drift**2).sum(axis=-1))


def _drift_floor(dim: int) -> float:
    """Lower bound on the size of the buffer times the mean square drift, to first order."""
    return float(dim)


def _excess_ceiling(dim: int, replay: float) -> float:
    """Upper bound on the size of the buffer times the mean loss on fresh data."""
    return 0.5 * replay * (2 * dim + 1)


def _sandwich(replay: float, separation: float) -> FloatArray:
    """Covariance of the optimum on the line, times the size of the buffer."""
    noise = replay**2 * _moment(replay, separation, 0.0, centered=True)
    inverse = np.linalg.inv(_fisher(replay, separation))
    return np.asarray(inverse @ noise @ inverse)


def _sandwich_across(replay: float, separation: float) -> tuple[float, float]:
    """At right angles to the line: variance of the old mean and mean loss, times the size."""
    y, step = np.linspace(-12.0, 12.0 + separation, 6001, retstep=True)
    r = expit(logit(replay) + separation * (0.5 * separation - y))
    both = np.stack([r, 1.0 - r])
    old, new = (step * norm.pdf(y - center) * both @ both.T for center in (0.0, separation))
    fisher = replay * old + (1.0 - replay) * new
    inverse = np.linalg.inv(fisher)
    covariance = replay**2 * inverse @ old @ inverse
    return float(covariance[0, 0]), 0.5 * float(np.trace(covariance @ fisher))


def _stationary_variance(learning_rate: float, batch_size: int) -> float:
    """Variance of the logit in the long run, to first order."""
    return learning_rate / (2.0 * batch_size)


def _steady_variance(replay: float, learning_rate: float, batch_size: int) -> float:
    """Variance of the logit that the rule for the batch counts with."""
    return learning_rate / (batch_size * (2.0 - learning_rate * replay * (1.0 - replay)))


# ---- helpers --------------------------------------------------------------------------


def _moment(replay: float, separation: float, center: float, centered: bool = False) -> FloatArray:
    """Second moment (or covariance) of the score under N(center, 1), modes at 0 and D."""
    y, step = np.linspace(center - 12.0, center + 12.0, 401, retstep=True)
    mass = step * norm.pdf(y - center)
    model = TwoModeMixture.separated(separation, old_weight=replay)
    s = _scores(model, y[:, None])
    if centered:
        s = s - mass @ s
    return np.asarray((s * mass[:, None]).T @ s)


def _line(separation: float) -> tuple[FloatArray, FloatArray]:
    """Masses of both modes at the nodes of the trapezoid rule along the line of means."""
    reach, step = 9.5 + 2.0 * separation, min(0.4, 0.5 / separation)
    y = np.arange(-reach, reach + separation, step)
    return step * norm.pdf(y), step * norm.pdf(y - separation)


def _enumerated(replay: float, old: FloatArray, new: FloatArray, size: int) -> tuple[float, float]:
    """Size times mean error and variance of the old weight over all buffers of three points."""
    first, second = (k.ravel() for k in np.indices((size + 1, size + 1)))
    counts = np.stack([first, second, size - first - second])[:, first + second <= size]
    log_chance = gammaln(size + 1.0) + (counts * np.log(old)[:, None] - gammaln(counts + 1.0)).sum(
        axis=0
    )
    data = replay * counts / size + (1.0 - replay) * new[:, None]
    low, high = np.zeros(counts.shape[1]), np.ones(counts.shape[1])
    for _ in range(50):
        b = 0.5 * (low + high)
        rise = (data * ((old - new)[:, None] / (new[:, None] + b * (old - new)[:, None]))).sum(
            axis=0
        )
        low, high = np.where(rise > 0.0, b, low), np.where(rise > 0.0, high, b)
    chance, error = np.exp(log_chance), low - replay
    mean = float(chance @ error)
    return size * mean, size * float(chance @ (error - mean) ** 2)


def _noise(old_weight: FloatArray, replay: float, separation: float) -> FloatArray:
    """Variance of the responsibility under the mixed data."""
    z, step = np.linspace(-9.0, 9.0, 241, retstep=True)
    mass = step * norm.pdf(z)
    odds = logit(old_weight)[:, None] + separation * z
    old, new = (expit(odds + shift * 0.5 * separation**2) for shift in (1.0, -1.0))
    mean, square = (replay * old**k @ mass + (1.0 - replay) * new**k @ mass for k in (1, 2))
    return np.asarray(square - mean**2)


def _shares(generator: np.random.Generator, size: int | None = None) -> FloatArray:
    return np.asarray(expit(generator.uniform(-4.0, 4.0, size)))


def _covariance(dim: int, generator: np.random.Generator) -> FloatArray:
    root = generator.standard_normal((dim, dim)) / np.sqrt(dim)
    return np.asarray(root @ root.T + 0.2 * np.eye(dim))


def _random_model(
    generator: np.random.Generator, low: float = 0.4, high: float = 6.0
) -> TwoModeMixture:
    """Random weight, dimension and covariance; separation uniform in [low, high]."""
    dim = int(generator.integers(1, 6))
    old = generator.standard_normal(dim)
    model = TwoModeMixture(
        float(_shares(generator)),
        old,
        old + generator.standard_normal(dim),
        _covariance(dim, generator),
    )
    scale = generator.uniform(low, high) / model.separation
    return model.replace(new_mean=old + scale * (model.new_mean - old))


def _mixed_samples(
    model: TwoModeMixture, replay: float, size: int, generator: np.random.Generator
) -> FloatArray:
    """Samples of the data: a share of old ones, the rest new."""
    return model.replace(old_weight=replay).rvs(size, generator)[0]


def _stationary(
    separation: float, replay: float, learning_rate: float, batch_size: int
) -> tuple[FloatArray, FloatArray]:
    """Stationary law of stochastic gradient descent: error of the logit and its weights.

    Collocation of the transition operator at Chebyshev points. Without overlap any batch
    size (a binomial number of old samples); with overlap one sample per step.
    """
    points = 48
    center = float(logit(replay))
    reach = 8.0 * math.sqrt(learning_rate / (2.0 * batch_size)) + learning_rate
    angle = math.pi * (np.arange(points) + 0.5) / points
    nodes = np.cos(angle)
    l = center + reach * nodes
    if math.isinf(separation):
        k = np.arange(batch_size + 1)
        chance = binom(batch_size, k) * replay**k * (1.0 - replay) ** (batch_size - k)
        mean_r = np.broadcast_to(k / batch_size, (points, k.size))
    else:
        assert batch_size == 1
        z, step = np.linspace(-9.0, 9.0, 121, retstep=True)
        mass = step * norm.pdf(z)
        v = separation * np.concatenate([z + 0.5 * separation, z - 0.5 * separation])
        chance = np.concatenate([replay * mass, (1.0 - replay) * mass])
        mean_r = expit(l[:, None] + v)
    moved = nodes[:, None] - learning_rate * (expit(l)[:, None] - mean_r) / reach
    moved = np.clip(moved, -1.0, 1.0)
    # values at moved points from values at Chebyshev points, by the cosine transform
    order = np.arange(points)
    scale = np.where(order == 0, 1.0, 2.0) / points
    values = scale * np.cos(np.arccos(moved)[..., None] * order)
    transition = np.einsum("ikj,k->ij", values, chance) @ np.cos(np.outer(order, angle))
    system = np.vstack([(transition - np.eye(points)).T, np.ones(points)])
    right = np.append(np.zeros(points), 1.0)
    return reach * nodes, np.linalg.lstsq(system, right, rcond=None)[0]


# ---- checks ---------------------------------------------------------------------------


def check_data_mixing(configurations: int = 30, rng: Rng = 1) -> Check:
    """Optimum, slope, clock, rates, and the comparison with training without replay.

    Parameters
    ----------
    configurations : int
        Random cases for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        model = _random_model(generator)
        b, separation = model.old_weight, model.separation
        lam = float(_shares(generator))
        mixed, plain = (ForwardKL(model, replay=x).gradient(model) for x in (lam, 0.0))
        cases.equal(mixed.logit, _mixing_slope(b, lam, separation), 1e-8)
        # the same brake on every parameter
        brake = _brake(b, lam)
        pull = np.concatenate([plain.old_mean, plain.new_mean])
        braked = np.concatenate([mixed.old_mean, mixed.new_mean])
        cases.within(
            braked - brake * pull, 1e-10 * max(1.0, abs(brake)) * np.abs(pull).max() + 1e-13
        )
        cases.within(mixed.logit - brake * plain.logit, 1e-9 * abs(brake * plain.logit))
        # times down to a weight between start and optimum, or up to it
        start = float(_shares(generator))
        end = lam + generator.uniform(0.02, 0.98) * (start - lam)
        time = forgetting_time(separation, start, end, lam)
        unit = forgetting_time(math.inf, start, end, lam)
        cases.equal(unit, _separated_clock(start, lam) - _separated_clock(end, lam), 1e-9)
        cases.at_most(unit, time)
        if start > lam:
            alone = forgetting_time(separation, start, end)
            cases.at_most(alone, time)
            cases.at_most(time * _brake(end, lam), alone)
        floor = _rate_floor(start, lam, separation)
        cases.at_most(floor * time, math.log((start - lam) / (end - lam)))
        cases.at_most(math.log((start - lam) / (end - lam)), _rate_ceiling() * time)
        # the last error
        near = lam + 1e-5 * (start - lam)
        nearer = lam + 1e-6 * (start - lam)
        last = math.log(10.0) / forgetting_time(separation, near, nearer, lam)
        cases.equal(last, _end_rate(lam, separation), 1e-3)
        # the loss is least at the share
        loss = [data_mixing.weight_divergence(separation, lam, w) for w in (b, start, lam)]
        cases.must(loss[2] < 1e-12 < min(loss[:2]))
    generator = cases.generator
    # the flow reaches the weight at the time said, and never crosses the share
    model = TwoModeMixture.separated(1.7, old_weight=0.9)
    t = [forgetting_time(1.7, 0.9, w, 0.3) for w in (0.6, 0.35, 0.301)]
    path = gradient_flow(ForwardKL(model, replay=0.3), model, [*t, 1e4], train="weight")
    cases.within(path.old_weight - np.array([0.6, 0.35, 0.301, 0.3]), 1e-7)
    # where the inequalities are nearly attained
    half = forgetting_time(12.0, 0.5, 0.4995, 0.499)  # of the way
    cases.at_most(_rate_floor(0.5, 0.499, 12.0) * half, math.log(2.0))
    cases.at_most(math.log(2.0), _rate_ceiling() * half)
    ends = (0.31, 0.3001)
    braked_times = [forgetting_time(2.0, 0.95, w, 0.3) * _brake(w, 0.3) for w in ends]
    cases.at_most(braked_times, [forgetting_time(2.0, 0.95, w) for w in ends])
    step = forgetting_time(2.0, 0.601, 0.6, 0.3) * _brake(0.6, 0.3)
    cases.equal(step, forgetting_time(2.0, 0.601, 0.6), 3e-3)
    model = TwoModeMixture.separated(3.0, old_weight=0.8, dim=2)
    samples = _mixed_samples(model, 0.2, 400_000, generator)
    estimate, stderr = mean_and_error(model.old_weight - model.responsibility(samples))
    return cases.conclude(
        estimate,
        _mixing_slope(0.8, 0.2, 3.0),
        stderr,
        "weight, share, separation, dimension and covariance; Monte Carlo: slope of the loss from "
        "mixed samples",
    )


def check_replay_target(configurations: int = 20, rng: Rng = 2) -> Check:
    """Everything trained: the mixture is the minimum, with the Fisher information as Hessian.

    Parameters
    ----------
    configurations : int
        Random cases for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        lam = float(expit(generator.uniform(-2.5, 2.5)))
        separation = generator.uniform(0.6, 6.0)
        model = TwoModeMixture.separated(separation, old_weight=lam)
        objective = ForwardKL(model, replay=lam)
        fisher = _fisher(lam, separation)
        hessian = objective.hessian(model)
        cases.within(hessian - fisher, 1e-9)
        cases.must(np.linalg.eigvalsh(hessian)[0] > 0.0)
        # the loss nearby is the quadratic form
        move = generator.standard_normal(3)
        move *= 1e-3 / np.linalg.norm(move)
        other = TwoModeMixture(
            float(expit(model.old_logit + move[0])),
            model.old_mean + move[1],
            model.new_mean + move[2],
        )
        quadratic = 0.5 * float(move @ fisher @ move)
        cases.within(objective.value(other) - quadratic, 0.02 * quadratic + 1e-14)
        swapped = TwoModeMixture(1.0 - lam, model.new_mean, model.old_mean)
        cases.within(objective.value(swapped), 1e-12)
        cases.must(objective.value(model.replace(old_weight=0.5 * lam)) > 0.0)
    generator = cases.generator
    goal = TwoModeMixture.separated(3.0, old_weight=0.25, dim=2)
    start = goal.replace(old_weight=0.9, new_mean=[2.5, 0.4])
    end = gradient_flow(ForwardKL(goal, replay=0.25), start, 200.0).model()
    cases.within(end.old_weight - goal.old_weight, 1e-5)
    cases.within(end.old_mean - goal.old_mean, 1e-5)
    cases.within(end.new_mean - goal.new_mean, 1e-5)
    model = TwoModeMixture.separated(2.0, old_weight=0.4)
    samples = _mixed_samples(model, 0.4, 600_000, generator)
    score = _scores(model, samples)
    estimate, stderr = mean_and_error((score**2).sum(axis=1))
    return cases.conclude(
        estimate,
        float(np.trace(_fisher(0.4, 2.0))),
        stderr,
        "share and separation; flow of all parameters from a wrong start; Monte Carlo: trace of "
        "the Fisher information from mixed samples",
    )


def check_unmoved_optimum(configurations: int = 60, rng: Rng = 3) -> Check:
    """Replay that is weighted back or centered has the slope of training without it.

    Parameters
    ----------
    configurations : int
        Random cases for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    y, step = np.linspace(-20.0, 40.0, 6001, retstep=True)
    old = norm.pdf(y)
    for generator in cases:
        separation = generator.uniform(0.3, 8.0)
        b, lam = (float(_shares(generator)) for _ in range(2))
        new = norm.pdf(y - separation)
        r = expit(logit(b) + separation * (0.5 * separation - y))
        mixed = lam * old + (1.0 - lam) * new
        weight = np.divide(new, mixed, out=np.zeros_like(y), where=mixed > 0.0)
        model = TwoModeMixture.separated(separation, old_weight=b)
        slope = ForwardKL(model).gradient(model).logit
        cases.must(slope > 0.0)
        cases.within(step * float((mixed * weight) @ (b - r)) - slope, 1e-10)
        # centering the replayed term takes its mean away
        center = 1.0 - misassignment_probability(model)
        cases.within(step * float(old @ (r - center)), 1e-10)
        moment = step * float((mixed * weight**2) @ (b - r) ** 2)
        cases.equal(moment, _weighted_back(b, lam, separation), 1e-7)
        cases.at_most(moment * (1.0 - lam), step * float(new @ (b - r) ** 2))
    generator = cases.generator
    # where the bound is attained
    cases.equal(0.7 * _weighted_back(0.4, 0.3, 9.0), 0.4**2, 1e-3)
    model = TwoModeMixture.separated(1.5, old_weight=0.8, dim=2)
    samples = _mixed_samples(model, 0.3, 1_000_000, generator)
    back = 1.0 - model.replace(old_weight=0.3).responsibility(samples)
    gradient = back / 0.7 * (0.8 - model.responsibility(samples))
    second, second_error = mean_and_error(gradient**2)
    cases.within(second - _weighted_back(0.8, 0.3, 1.5), 4.5 * second_error)
    estimate, stderr = mean_and_error(gradient)
    return cases.conclude(
        estimate,
        math.exp(float(log_weight_slope(1.5, logit(0.8)))),
        stderr,
        "weight, share and separation; Monte Carlo: slope from mixed samples weighted back to the "
        "new data, and its second moment",
    )


def check_wrong_fraction(configurations: int = 60, rng: Rng = 4) -> Check:
    """The loss at a wrong share: its integral, its bounds, and its quadratic limit.

    Parameters
    ----------
    configurations : int
        Random cases for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        separation = generator.uniform(0.4, 6.0)
        a, lam = (float(_shares(generator)) for _ in range(2))
        loss = data_mixing.weight_divergence(separation, a, lam)
        cases.equal(loss, _wrong_loss(a, lam, separation), 1e-7)
        cases.at_most(loss, _binary_divergence(a, lam))
        cases.at_most(_loss_floor(a, lam, separation), loss)
        cases.at_most(loss, _loss_ceiling(a, lam, separation))
        near = a + 1e-4 * min(a, 1.0 - a)
        quadratic = 0.5 * (near - a) ** 2 * float(_information(a, separation))
        for pair in ((a, near), (near, a)):
            cases.equal(data_mixing.weight_divergence(separation, *pair), quadratic, 1e-3)
        budget = float(np.exp(generator.uniform(-8.0, -3.0)))
        for end in data_mixing.affordable_replay(a, budget, separation):
            if 0.0 < end < 1.0:
                cases.equal(_wrong_loss(a, end, separation), budget, 1e-6)
    # where the bounds are nearly attained
    cases.at_most(data_mixing.weight_divergence(12.0, 0.7, 0.2), _binary_divergence(0.7, 0.2))
    cases.at_most(
        _loss_floor(0.502, 0.498, 12.0), data_mixing.weight_divergence(12.0, 0.502, 0.498)
    )
    cases.at_most(data_mixing.weight_divergence(3.0, 0.3, 0.3001), _loss_ceiling(0.3, 0.3001, 3.0))
    model = TwoModeMixture.separated(2.5, old_weight=0.8)
    samples = _mixed_samples(model, 0.8, 1_000_000, cases.generator)
    ratio = model.logpdf(samples) - model.replace(old_weight=0.1).logpdf(samples)
    estimate, stderr = mean_and_error(ratio)
    return cases.conclude(
        estimate,
        _wrong_loss(0.8, 0.1, 2.5),
        stderr,
        "right weight, share and separation; Monte Carlo: mean log-ratio of right mixture and "
        "trained model",
    )


def check_minimax_replay(configurations: int = 40, rng: Rng = 5) -> Check:
    """The minimax share equalizes the ends, and no other share does better.

    Parameters
    ----------
    configurations : int
        Random intervals for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        low, high = np.sort(_shares(generator, 2)).tolist()
        if generator.random() < 0.3:
            low = 0.0
        separation = generator.uniform(0.5, 6.0)
        plan = data_mixing.minimax_replay(low, high)
        cases.within(logit(plan.replay) - _minimax_logit(low, high), 1e-9 / (high - low))
        cases.within(plan.loss - _minimax_loss(low, high), 1e-10)
        for distance in (math.inf, separation):
            best = data_mixing.minimax_replay(low, high, distance)
            cases.must(low < best.replay < high)
            ends = [data_mixing.weight_divergence(distance, w, best.replay) for w in (low, high)]
            cases.within(ends[0] - ends[1], 1e-8)
            inside = low + (high - low) * generator.random(5)
            within = [data_mixing.weight_divergence(distance, w, best.replay) for w in inside]
            cases.at_most(within, best.loss + 1e-12)
            other = float(np.clip(low + (high - low) * generator.random(), 1e-9, 1.0 - 1e-9))
            worst = max(data_mixing.weight_divergence(distance, w, other) for w in (low, high))
            cases.at_most(best.loss, worst + 1e-12)
        cases.at_most(data_mixing.minimax_replay(low, high, separation).loss, plan.loss + 1e-12)
    for low, high in ((0.0, 0.5), (0.1, 0.4)):  # the two limits in the separation
        cases.equal(data_mixing.minimax_replay(low, high, 0.02).replay, 0.5 * (low + high), 1e-3)
        far = data_mixing.minimax_replay(low, high, 12.0)
        cases.equal(far.replay, expit(_minimax_logit(low, high)), 1e-5)
    cases.equal(data_mixing.minimax_replay(0.0, 1.0, 1.3).replay, 0.5, 1e-9)
    # the worst loss is the capacity of a channel: mutual information of end and sample's label
    share = float(expit(_minimax_logit(0.1, 0.9)))
    prior = (share - 0.1) / 0.8
    information = _entropy(share) - prior * _entropy(0.9) - (1.0 - prior) * _entropy(0.1)
    cases.equal(_minimax_loss(0.1, 0.9), information, 1e-9)
    labels = cases.generator.random(2_000_000) < 0.5
    share = float(expit(_minimax_logit(0.0, 0.5)))
    estimate, stderr = mean_and_error(
        np.where(labels, math.log(0.5 / share), math.log(0.5 / (1.0 - share)))
    )
    return cases.conclude(
        estimate,
        _minimax_loss(0.0, 0.5),
        stderr,
        "intervals (three in ten begin at 0) and separation; Monte Carlo: loss at the end 1/2 of "
        "the interval from 0 to 1/2, from labels",
    )


def check_buffer_weight(configurations: int = 20, rng: Rng = 6) -> Check:
    """Law of the old weight when old data come from a finite buffer, weight trained only.

    Parameters
    ----------
    configurations : int
        Random cases for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        separation = generator.uniform(0.8, 6.0)
        lam = float(expit(generator.uniform(-2.5, 2.5)))
        law = data_mixing.buffer_law(separation, lam)
        modes = _line(separation)
        cases.equal(law.weight_variance, _buffer_variance(lam, *modes), 1e-7)
        cases.within(
            law.weight_bias - _buffer_bias(lam, *modes),
            1e-7 * (abs(law.weight_bias) + law.weight_variance),
        )
        y, step = np.linspace(-14.0, 14.0, 4001, retstep=True)
        miss = expit(-logit(lam) - separation * (0.5 * separation - y))
        cases.at_most(step * float(norm.pdf(y) @ miss**2), _gate(lam, separation))
        # a buffer decides its optimum through the mean responsibility, and its surest one is a cap
        v = 0.5 * separation**2 + separation * generator.standard_normal((6, 30))
        weights = data_mixing.buffer_weights(v, separation, lam)
        for b in (float(expit(logit(lam) + x)) for x in (-0.1, 0.1)):
            mean = expit(logit(b) + v).mean(axis=-1)
            right = 1.0 - misassignment_probability(
                TwoModeMixture.separated(separation, old_weight=b)
            )
            excess = mean - right - _mixing_slope(b, lam, separation) / lam
            sure = np.abs(excess) > 1e-12
            cases.must(((weights >= b) == (excess >= 0.0))[sure])
        cap = float(data_mixing.buffer_weights(np.full(3, 700.0), separation, lam))
        if cap < 1.0 - 1e-9:
            cases.within(_weight_ceiling_equation(cap, lam, separation), 1e-9)
            cases.must(weights <= cap * (1.0 + 1e-12))
    # where the two constants of the gate are attained
    for lam, separation in ((0.25, 0.01), (0.5, 40.0)):
        y, step = np.linspace(-9.5, 30.0, 40001, retstep=True)
        odds = -logit(lam) - separation * (0.5 * separation - y)
        square = step * float(norm.pdf(y) @ expit(odds) ** 2)
        cases.at_most(square, _gate(lam, separation))
        cases.must(square > 0.995 * _gate(lam, separation))
    far = data_mixing.buffer_law(18.0, 0.5).weight_variance
    cases.equal(far, 0.25 * _gate(0.5, 18.0), 0.03)
    # any two densities: all buffers of samples with three values, extrapolated in the size
    for lam, *pair in (
        (0.3, (0.6, 0.3, 0.1), (0.1, 0.3, 0.6)),
        (0.2, (0.5, 0.45, 0.05), (0.05, 0.25, 0.7)),
        (0.45, (0.8, 0.15, 0.05), (0.1, 0.4, 0.5)),
    ):
        old, new = (np.array(mode) for mode in pair)
        few, many = (np.array(_enumerated(lam, old, new, size)) for size in (60, 120))
        bias, variance = 2.0 * many - few
        cases.equal(variance, _buffer_variance(lam, old, new), 1e-3)
        cases.equal(bias, _buffer_bias(lam, old, new), 1e-3)
    lam, separation = 0.3, 1.5
    line = _line(separation)
    model = TwoModeMixture.separated(separation, old_weight=lam)
    right = 1.0 - misassignment_probability(model)
    rho = lam * (1.0 - lam) * float(_information(lam, separation))
    # Monte Carlo: the variance of the linear part, sample by sample
    noise = cases.generator.standard_normal(10**6)
    r = expit(model.old_logit + 0.5 * separation**2 + separation * noise)
    estimate, stderr = mean_and_error((lam * (r - right) / rho) ** 2)
    return cases.conclude(
        estimate,
        _buffer_variance(lam, *line),
        stderr,
        "share, separation and buffers; three pairs of densities on three points, all buffers of 60 "
        "and 120 samples; Monte Carlo: variance of one sample's influence",
    )


def check_buffer_mean(configurations: int = 12, rng: Rng = 7) -> Check:
    """Law of the old mean when old data come from a finite buffer and everything is trained.

    Parameters
    ----------
    configurations : int
        Random cases for the exact part; each fits one buffer.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        separation = generator.uniform(1.0, 6.0)
        lam = float(expit(generator.uniform(-2.0, 2.0)))
        dim = int(generator.integers(1, 6))
        law = data_mixing.buffer_law(separation, lam, dim)
        line = _sandwich(lam, separation)
        cases.equal(law.drift_along, line[1, 1], 1e-6)
        cases.equal(law.joint_weight_variance, (lam * (1.0 - lam)) ** 2 * line[0, 0], 1e-6)
        fisher = _fisher(lam, separation)
        variance, loss = _sandwich_across(lam, separation)
        cases.equal(law.drift_across, variance, 1e-6)
        cases.equal(law.square_drift, line[1, 1] + (dim - 1) * variance, 1e-6)
        along = 0.5 * float(np.trace(line @ fisher))
        cases.equal(law.excess_loss, along + (dim - 1) * loss, 1e-6)
        # never worse than the share times what a full sample would do
        gap = lam * np.linalg.inv(fisher) - line
        cases.must(np.linalg.eigvalsh(gap)[0] > -1e-9 * np.linalg.norm(line))
        cases.at_most(law.excess_loss, _excess_ceiling(dim, lam))
        cases.at_most(_drift_floor(dim), law.square_drift)
        cases.at_most(_drift_floor(1), [law.drift_along, law.drift_across])
        # the rule counts with the worse direction
        plan = data_mixing.buffer_size(0.05, dim, 0.1, separation, lam)
        needed = max(line[1, 1], variance) * chi2.isf(0.1, dim) / 0.05**2
        cases.within(plan.size - 0.5 - needed, 0.5 + 1e-5 * needed)
        # far apart: the buffer's mean, and its exact price
        size = int(generator.integers(2, 40))
        target = TwoModeMixture.separated(14.0, dim=dim)
        buffer = generator.standard_normal((size, dim))
        fit = data_mixing.fit_buffer(buffer, target, lam)
        mean = buffer.mean(axis=0)
        cases.within(fit.old_mean - mean, 1e-6)
        cases.within(fit.new_mean - target.new_mean, 1e-6)
        cases.within(fit.old_weight - lam, 1e-6)
        loss = ForwardKL(target, replay=lam).value(fit)
        cases.within(loss - _excess(mean, lam), 1e-6 + 1e-6 * loss)
        truth = target.replace(old_weight=lam)
        optimism = lam * float(np.mean(fit.logpdf(buffer) - truth.logpdf(buffer)))
        cases.within(optimism - _excess(mean, lam), 1e-6 + 1e-6 * loss)
    generator = cases.generator
    # where the bounds are attained
    cases.at_most(_drift_floor(4), data_mixing.buffer_law(14.0, 0.3, 4).square_drift)
    for dim in (1, 2, 7):
        last = 1.0 - 1e-6
        cases.at_most(
            data_mixing.buffer_law(1.0, last, dim).excess_loss, _excess_ceiling(dim, last)
        )
        cases.at_most(
            0.9999 * _excess_ceiling(dim, last), data_mixing.buffer_law(1.0, last, dim).excess_loss
        )
    # with overlap: the optimum of large buffers is the linear one, to second order
    target = TwoModeMixture.separated(3.0, old_weight=0.3, dim=2)
    inverse = np.linalg.inv(ForwardKL(target, replay=0.3).hessian(target))
    for _ in range(4):
        buffer = generator.standard_normal((20_000, 2))
        buffer -= 0.9 * buffer.mean(axis=0)  # a small linear part makes a small second order
        score = _scores(target, buffer).mean(axis=0)
        # the mean score of the old mode: minus the gradient of its own divergence
        old_only = ForwardKL(TwoModeMixture(0.5, target.new_mean, target.old_mean)).gradient(target)
        expected = -np.concatenate([[old_only.logit], old_only.old_mean, old_only.new_mean])
        linear = inverse @ (0.3 * (score - expected))
        fit = data_mixing.fit_buffer(buffer, target, 0.3)
        error = np.concatenate(
            [
                [fit.old_logit - target.old_logit],
                fit.old_mean - target.old_mean,
                fit.new_mean - target.new_mean,
            ]
        )
        cases.within(np.abs(error - linear).max(), 10.0 * float(linear @ linear) + 1e-6)
        cases.must(np.linalg.norm(error) > 1e-4)
    plan = data_mixing.buffer_size(0.2, 20, 0.05)
    drift = generator.standard_normal((100_000, 20)) / math.sqrt(plan.size)
    square = (drift**2).sum(axis=1)
    share = float((square > 0.2**2).mean())
    cases.within(share - 0.05, 4.5 * math.sqrt(0.05 * 0.95 / square.size) + 0.001)
    cases.equal(plan.expected_drift**2, _square_drift(20, plan.size), 1e-9)
    estimate, stderr = mean_and_error(_excess(drift, 0.3))
    return cases.conclude(
        estimate,
        0.5 * 0.3 * _square_drift(20, plan.size),
        stderr,
        "share, separation, dimension, buffer; Monte Carlo: loss at the mean of 100,000 buffers in "
        "20 dimensions",
    )


def check_replay_noise(configurations: int = 6, rng: Rng = 8) -> Check:
    """Stationary law of stochastic gradient descent with replay.

    Parameters
    ----------
    configurations : int
        Random cases: stationary laws computed from the transition operator.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        lam = float(expit(generator.uniform(-1.5, 1.5)))
        separation = math.inf if generator.random() < 0.5 else generator.uniform(1.0, 4.0)
        size = int(generator.integers(1, 9)) if math.isinf(separation) else 1
        h = generator.uniform(0.05, 0.2)
        ratios, skews = [], []
        for rate in (h, 0.5 * h):
            x, law = _stationary(separation, lam, rate, size)
            b = expit(logit(lam) + x)
            rho = np.exp(log_weight_slope(separation, logit(lam) + x)) / b
            slope = (b - lam) * rho
            # two identities that hold exactly for every learning rate
            cases.within(law @ slope, 1e-6 * math.sqrt(rate))
            if math.isinf(separation):
                noise = np.full_like(b, lam * (1.0 - lam))
            else:
                noise = _noise(b, lam, separation)
            left, right = law @ (x * slope), 0.5 * rate * (law @ (slope**2 + noise / size))
            cases.equal(left, right, 1e-5)
            variance = law @ x**2 - (law @ x) ** 2
            ratios.append(variance / _stationary_variance(rate, size))
            skews.append(law @ x**4 / variance**2)
        # to first order the variance is h / 2N, and the law is normal
        cases.within(2.0 * ratios[1] - ratios[0] - 1.0, 0.004)
        cases.within(2.0 * skews[1] - skews[0] - 3.0, 0.05)
    generator = cases.generator
    # the same identity for simulated batches of four samples
    goal = TwoModeMixture.separated(2.0, old_weight=0.3)
    run = simulate(
        ForwardKL(goal, replay=0.3),
        goal,
        steps=3000,
        batch_size=4,
        learning_rate=0.2,
        replicates=400,
        rng=generator,
        record_every=20,
        train="weight",
    )
    l = run.old_logit[:, 25:]
    grid = np.linspace(l.min(), l.max(), 400)
    b = expit(grid)
    g = (b - 0.3) * np.exp(log_weight_slope(2.0, grid)) / b
    excess = (grid - goal.old_logit) * g - 0.1 * (g**2 + _noise(b, 0.3, 2.0) / 4)
    mean, error = mean_and_error(np.interp(l, grid, excess).mean(axis=1))
    cases.within(mean, 4.5 * error)
    cases.must(4.5 * error < 0.05 * 0.1 * _end_rate(0.3, 2.0) / 4)
    # the rule for the batch: as small as its own law allows
    for floor, lam, h in ((0.08, 0.1, 1.0), (0.29, 0.3, 0.5), (0.4, 0.5, 7.0)):
        plan = data_mixing.steady_batch(floor, lam, h)
        cases.equal(plan.logit_deviation**2, _steady_variance(lam, h, plan.batch_size), 1e-9)
        gap = logit(floor) - logit(lam)
        least = _steady_variance(lam, h, 1) * (ndtri(0.01) / gap) ** 2
        cases.within(plan.batch_size - 0.5 - least, 0.5)
        cases.equal(plan.probability_below(floor), ndtr(gap / plan.logit_deviation), 1e-9)
    # Monte Carlo: at the optimum the noise of one sample is the Hessian
    model = TwoModeMixture.separated(3.0, old_weight=0.2, dim=2)
    samples = _mixed_samples(model, 0.2, 1_000_000, generator)
    estimate, stderr = mean_and_error((0.2 - model.responsibility(samples)) ** 2)
    return cases.conclude(
        estimate,
        _end_rate(0.2, 3.0),
        stderr,
        "share, separation, learning rate, batch; stationary laws from the transition operator, "
        "extrapolated in the learning rate; 400 simulated runs; Monte Carlo: noise of one sample "
        "at the optimum",
    )


def results() -> list[Result]:
    """Claims of the chapter on replay and forward KL, in the order of the page.

    Returns
    -------
    list of Result
    """
    chapter = "replay_forward_kl"
    return [
        Result(
            "thm-data-mixing",
            chapter,
            "Data mixing moves the optimum to the share",
            r"At right components $\nabla \mathrm{KL}(p_\lambda \| q_b) = (1 - \lambda/b)\, \nabla "
            r"\mathrm{KL}(f_n \| q_b)$. So $dL/dl = (b - \lambda)\, b(1-b) I(b)$, the flow moves "
            r"monotonically to $b = \lambda$, and down to $b > \lambda$ it takes between $1$ and "
            r"$1/(1 - \lambda/b)$ times as long as without replay.",
            "proved",
            ("ForwardKL", "forgetting_time", "gradient_flow"),
            check_data_mixing,
        ),
        Result(
            "prp-replay-target",
            chapter,
            "With everything trained, the mixture is the minimum",
            r"$\mathrm{KL}(p_\lambda \| q) = 0$ only at $q = p_\lambda$ (up to the names of the "
            r"modes); the Hessian there is the Fisher information, which is positive definite.",
            "proved",
            ("ForwardKL", "gradient_flow"),
            check_replay_target,
        ),
        Result(
            "prp-unmoved-optimum",
            chapter,
            "What does not move the optimum",
            r"If $E[g] = \partial_l \mathrm{KL}(f_n \| q_b)$, then the mean logit falls at every "
            r"step and there is no stationary law. Weighting back to $f_n$ has the second moment "
            r"$E_n[(b - r)^2 / (1 - \lambda + \lambda \Lambda)] \le E_n[(b-r)^2] / (1 - \lambda)$.",
            "proved",
            ("ForwardKL", "misassignment_probability"),
            check_unmoved_optimum,
        ),
        Result(
            "prp-wrong-fraction",
            chapter,
            "The price of a wrong share",
            r"$\mathrm{KL}(p_a \| p_\lambda) = \int_\lambda^a (a - s) I(s)\, ds$, between "
            r"$2\,\mathrm{TV}^2 (a - \lambda)^2$ and $\mathrm{kl}(a \| \lambda)$; "
            r"$\sim \frac12 I(a) (\lambda - a)^2$ as $\lambda \to a$.",
            "proved",
            ("weight_divergence", "affordable_replay"),
            check_wrong_fraction,
        ),
        Result(
            "thm-minimax-replay",
            chapter,
            "The minimax share",
            r"If the right weight is known to lie in $[a_-, a_+]$, the worst loss is least at the "
            r"one share that makes the losses at the ends equal; without overlap "
            r"$\lambda^* = \sigma((H(a_-) - H(a_+)) / (a_+ - a_-))$.",
            "proved",
            ("minimax_replay",),
            check_minimax_replay,
        ),
        Result(
            "thm-buffer-weight",
            chapter,
            "A finite buffer and the weight",
            r"With $M$ old samples reused forever, $\sqrt M (b_M - \lambda) \to N(0, v)$ with "
            r"$v = \lambda^2 \operatorname{Var}_o(r) / \rho(\lambda)^2$, gated by overlap.",
            "proved",
            ("buffer_law", "buffer_weights"),
            check_buffer_weight,
        ),
        Result(
            "thm-buffer-mean",
            chapter,
            "A finite buffer and the old mean",
            r"With everything trained the optimum has covariance $F^{-1} C F^{-1} / M$. Without "
            r"overlap the old mean ends at the mean of the buffer: $|m_o - \mu_o|^2 \sim "
            r"\chi^2_d / M$, and the loss is $\frac\lambda2 |m_o - \mu_o|^2$.",
            "proved",
            ("buffer_law", "buffer_size", "fit_buffer"),
            check_buffer_mean,
            grid=400,
        ),
        Result(
            "thm-replay-noise",
            chapter,
            "Replay noise does not die",
            r"Stochastic gradient descent on mixed data has a stationary law; as $h \to 0$ its "
            r"logit is normal around $\operatorname{logit} \lambda$ with variance $h / 2N$.",
            "proved",
            ("steady_batch", "simulate"),
            check_replay_noise,
            grid=400,
        ),
    ]
