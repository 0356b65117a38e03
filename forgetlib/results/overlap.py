r"""Checks of the chapter on overlap: how much, how exactly, and how to see it by sampling.

Setting: :math:`q = b f_o + (1-b) f_n`, two Gaussians with one covariance at separation
:math:`D`, :math:`c = \log\frac{1-b}{b}`. Each printed formula is one small function below,
so that a test can break it and see the check fail.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr
from scipy.stats import norm

from forgetlib.flow import gradient_flow
from forgetlib.logistic_normal import sigmoid_mean
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ForwardKL, ReverseKL
from forgetlib.overlap import (
    bhattacharyya_coefficient,
    boundary_position,
    log_misassignment_probability,
    misassignment_bound,
    misassignment_interval,
    misassignment_probability,
    total_variation,
    weight_information,
)
from forgetlib.rare_event import estimate_misassignment, naive_detection_bound, relative_variance
from forgetlib.results import Check, Result, Rng
from forgetlib.results._cases import SIGMAS, Cases, mean_and_error, mode_samples, random_mixture

__all__ = ["results"]

FloatArray = NDArray[np.float64]


# ---- the formulas, as printed ---------------------------------------------------------


def _gaussian_affinity(separation: float) -> float:
    """Bhattacharyya coefficient of two Gaussians."""
    return math.exp(-(separation**2) / 8)


def _gaussian_variation(separation: float) -> float:
    """Total variation distance of two Gaussians."""
    return float(2 * norm.cdf(separation / 2) - 1)


def _affinity_floor(variation: float) -> float:
    """Least Bhattacharyya coefficient at this total variation distance."""
    return 1 - variation


def _affinity_ceiling(variation: float) -> float:
    """Largest Bhattacharyya coefficient at this total variation distance."""
    return math.sqrt(1 - variation**2)


def _joint_separation(separation: float, samples: int) -> float:
    """Separation of two modes if each draw is a group of samples."""
    return separation * math.sqrt(samples)


def _any_bound(old_weight: float, affinity: float) -> float:
    """Upper bound for any two densities with this Bhattacharyya coefficient."""
    return 0.5 * math.sqrt((1 - old_weight) / old_weight) * affinity


def _log_odds_mean(old_logit: float, separation: float) -> float:
    """Mean log-odds of an old sample."""
    return old_logit + separation**2 / 2


def _log_odds_variance(separation: float) -> float:
    """Variance of the log-odds of samples of either mode."""
    return separation**2


def _sech_integral(old_weight: float, separation: float) -> float:
    """Misassignment probability by its integral over the hyperbolic secant."""
    c = -float(logit(old_weight))
    u, step = np.linspace(-80.0, 80.0, 8001, retstep=True)
    integral = step * np.sum(np.exp(-((u - c) ** 2) / (2 * separation**2)) / (2 * np.cosh(u / 2)))
    front = math.exp(-(separation**2) / 8 + c / 2) / (separation * math.sqrt(2 * math.pi))
    return float(front * integral)


def _sharp_bound(old_weight: float, separation: float, shift: float = 0.0) -> float:
    """Upper bound that is sharp for large separations; samples may be shifted."""
    odds = math.sqrt((1 - old_weight) / old_weight)
    tail = math.exp(-(separation**2) / 8 + shift / 2)
    return math.sqrt(math.pi / 2) / separation * odds * tail


def _lower_factor(old_weight: float, separation: float, shift: float = 0.0) -> float:
    """What the misassignment probability keeps of its sharp bound, at least."""
    c = shift - float(logit(old_weight))
    return math.exp(-(math.pi**2 + c**2) / (2 * separation**2))


def _label_error(old_weight: float, epsilon: float) -> float:
    """Mean squared error of the best guess of the label."""
    return old_weight * epsilon


def _information(old_weight: float, epsilon: float) -> float:
    """Fisher information of the weight."""
    return (1 - epsilon / (1 - old_weight)) / (old_weight * (1 - old_weight))


def _position(old_weight: float, separation: float) -> float:
    """Where the boundary lies between the means."""
    return 0.5 + float(logit(old_weight)) / separation**2


def _boundary_bound(position: float, separation: float) -> float:
    """Upper bound that knows where the boundary is."""
    tail = math.exp(-((position * separation) ** 2) / 2)
    return math.sqrt(math.pi / 2) / separation * tail / math.sin(math.pi * position)


def _boundary_factor(position: float, separation: float) -> float:
    """What the misassignment probability keeps of that bound, at least."""
    spread = 1 + 2 / math.tan(math.pi * position) ** 2
    return math.exp(-(math.pi**2) * spread / (2 * separation**2))


def _lost_share(ratio: float) -> float:
    """Limit of the misassignment probability over its sharp bound, if c / D has a limit."""
    return math.exp(-(ratio**2) / 2)


def _soft_over_hard(position: float) -> float:
    """Limit of misassigned mass over the mass beyond the boundary."""
    return math.pi * position / math.sin(math.pi * position)


def _even_moment(epsilon: float) -> float:
    """Relative second moment of naive sampling at equal weights."""
    return 1 / (2 * epsilon)


def _naive_bound(c: float, separation: float, size: int, reach: float, z: FloatArray) -> FloatArray:
    """Bound on the chance that naive sampling finds a share; reach is that share of the truth."""
    near = size * ndtr((c + z) / separation - separation / 2)
    rest = 2 / math.pi * np.arctan(np.exp(-z / 2))
    return np.asarray(near + _sharp_bound(float(expit(-c)), separation) / reach * rest)


def _moved_moment(old_weight: float, separation: float, tilt: float) -> float:
    """Relative second moment of sampling from a moved mode, straight from its definition."""
    c = -float(logit(old_weight))
    # one coordinate, old mean at 0; the integrand is a Gaussian around -tilt D, times (1 - r)^2
    x = np.linspace(-12.0, 12.0, 24001) * (1 + separation / 6)
    own, moved = -0.5 * x**2, -0.5 * (x - tilt * separation) ** 2
    missed = -np.logaddexp(0.0, -(c - separation**2 / 2 + separation * x))
    logs = 2 * own - moved + 2 * missed - 0.5 * math.log(2 * math.pi)
    top = float(logs.max())
    total = float(np.exp(logs - top).sum()) * float(x[1] - x[0])
    truth = math.log(_sech_integral(old_weight, separation))
    return math.exp(top + math.log(total) - 2 * truth)


def _boundary_moment(position: float, separation: float) -> float:
    """Bound on the relative second moment of boundary sampling."""
    share = min(max(position, 0.0), 1.0)
    entropy = -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)
    return math.exp(-entropy) * math.sqrt(separation**2 + 4)


def _boundary_constant(position: float) -> float:
    """Limit of that relative second moment over D."""
    angle = math.pi * (0.5 - position)
    swing = angle / math.tan(angle) if angle else 1.0
    return math.sqrt(2 * math.pi) / math.pi**2 * swing


def _tilt_price(separation: float, offset: float, c: float) -> float:
    """Asymptotic relative second moment if the mode is moved elsewhere."""
    angle = math.pi * offset
    front = math.sqrt(2 * math.pi) / math.pi**2 * separation * angle / math.sin(angle)
    return front * math.exp((offset * separation) ** 2 / 2 - offset * c)


def _secant_bound(c: float, separation: float) -> float:
    """Bound on the relative second moment of secant sampling."""
    return math.exp((math.pi**2 + c**2) / (2 * separation**2))


def _secant_constant(c: float) -> float:
    """Limit of D^4 times the relative variance of secant sampling."""
    return math.pi**2 * (math.pi**2 + c**2)


# ---- checks ---------------------------------------------------------------------------


def _random_pair(generator: np.random.Generator, kind: int) -> tuple[FloatArray, FloatArray]:
    """Two densities on a few points: random, or at one of the two ends of what is possible."""
    share = float(generator.uniform(0.01, 0.99))
    if kind == 0:  # the largest affinity
        return np.array([share, 1 - share]), np.array([1 - share, share])
    if kind == 1:  # the least
        return np.array([1 - share, share, 0.0]), np.array([1 - share, 0.0, share])
    old, new = generator.dirichlet(np.full(6, 0.5), 2)
    return old, new


def check_bhattacharyya(configurations: int = 100, rng: Rng = 21) -> Check:
    """Affinity: bounds by total variation, products, Gaussians, groups of samples.

    Parameters
    ----------
    configurations : int
        Random pairs of densities, and as many pairs of Gaussians.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for index, generator in enumerate(cases):
        old, new = _random_pair(generator, index % 3)
        variation = 0.5 * float(np.abs(old - new).sum())
        affinity = float(np.sqrt(old * new).sum())
        cases.at_most(_affinity_floor(variation), affinity * (1 + 1e-12))
        cases.at_most(affinity, _affinity_ceiling(variation) * (1 + 1e-12))
        b = float(expit(generator.uniform(-5.0, 5.0)))
        for samples in (1, 2, 3):
            f_o, f_n = old, new
            for _ in range(samples - 1):
                f_o, f_n = np.outer(f_o, old).ravel(), np.outer(f_n, new).ravel()
            cases.equal(np.sqrt(f_o * f_n).sum(), affinity**samples, 1e-11)
            mixed = b * f_o + (1 - b) * f_n
            shared = f_o * f_n > 0
            missed = float((f_o * (1 - b) * f_n)[shared] @ (1 / mixed[shared]))
            cases.at_most(missed, _any_bound(b, affinity**samples))
        separation = float(generator.uniform(0.1, 8.0))
        model = TwoModeMixture.separated(separation, old_weight=b)
        cases.equal(bhattacharyya_coefficient(model), _gaussian_affinity(separation), 1e-12)
        cases.equal(total_variation(model), _gaussian_variation(separation), 1e-9)
        joint = _gaussian_affinity(_joint_separation(separation, 3))
        cases.equal(bhattacharyya_coefficient(model) ** 3, joint, 1e-11)
        y, step = np.linspace(-9.0, 9.0 + separation, 2001, retstep=True)
        f_o, f_n = norm.pdf(y), norm.pdf(y - separation)
        cases.equal(step * np.sqrt(f_o * f_n).sum(), _gaussian_affinity(separation), 1e-9)
        cases.equal(0.5 * step * np.abs(f_o - f_n).sum(), _gaussian_variation(separation), 2e-3)
    # groups of four samples of the old mode, in three dimensions
    b, separation, samples, size = 0.5, 0.6, 4, 100_000
    model = TwoModeMixture.separated(separation, old_weight=b, dim=3)
    draws = mode_samples(model.old_mean, size * samples, cases.generator)
    evidence = (model.log_odds(draws) - model.old_logit).reshape(size, samples).sum(axis=1)
    estimate, stderr = mean_and_error(expit(-model.old_logit - evidence))
    prediction = _sech_integral(b, _joint_separation(separation, samples))
    return cases.conclude(
        estimate,
        prediction,
        stderr,
        "densities on a few points, with their products, and Gaussians; Monte Carlo: "
        "misassigned share of groups of four old samples",
    )


def check_one_axis(configurations: int = 4, rng: Rng = 22) -> Check:
    """One axis: laws of the log-odds, flows that stay on the line, gradients along it.

    Parameters
    ----------
    configurations : int
        Random mixtures, dimensions and covariances; two flows for each, in d dimensions and in one.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    times = np.array([0.0, 1.0])
    for index, generator in enumerate(cases):
        dim, separation = int(generator.integers(2, 5)), float(generator.uniform(0.8, 5.0))
        b, a = generator.uniform(0.1, 0.9, 2)
        target = random_mixture(generator, separation, float(a), dim)
        # under each mode the log-odds are affine in a standard normal vector
        model = target.replace(old_weight=float(b))
        at_old = float(model.log_odds(model.old_mean))
        at_new = float(model.log_odds(model.new_mean))
        slopes = model.log_odds(model.old_mean + model.unwhiten(np.eye(dim))) - at_old
        spread = _log_odds_variance(separation)
        cases.within(at_old - _log_odds_mean(model.old_logit, separation), 1e-9 * spread)
        cases.within(-at_new - _log_odds_mean(-model.old_logit, separation), 1e-9 * spread)
        cases.equal((slopes**2).sum(), spread, 1e-9)
        # means on the line: the flow in d dimensions is the flow in one
        u = target.new_mean - target.old_mean
        places = np.array([generator.uniform(-0.3, 0.3), generator.uniform(0.5, 1.2)])
        start = model.replace(
            old_mean=target.old_mean + places[0] * u, new_mean=target.old_mean + places[1] * u
        )
        line = TwoModeMixture.separated(separation, old_weight=float(a))
        on_line = TwoModeMixture(float(b), separation * places[0], separation * places[1])
        objective: ReverseKL | ForwardKL = ReverseKL(target)
        small: ReverseKL | ForwardKL = ReverseKL(line)
        if index % 2:
            replay = (0.0, float(generator.uniform(0.0, 0.999)))[index // 2 % 2]
            objective, small = ForwardKL(target, replay=replay), ForwardKL(line, replay=replay)
        path = gradient_flow(objective, start, times, precondition=True, rtol=1e-8)
        flat = gradient_flow(small, on_line, times, rtol=1e-8)
        for means, along in ((path.old_mean, flat.old_mean), (path.new_mean, flat.new_mean)):
            cases.within(target.whiten(means - target.old_mean - along * u / separation), 1e-7)
        cases.within(path.old_logit - flat.old_logit, 1e-7)
        gradient = objective.gradient(start)
        axis = target.precision_times(u)  # where the plain gradient points
        for vector in (gradient.old_mean, gradient.new_mean):
            parallel = axis * float(vector @ axis) / float(axis @ axis)
            cases.within(vector - parallel, 1e-9 * float(np.abs(parallel).max()))
    model = random_mixture(cases.generator, 1.0, 0.5, 6)
    noise = cases.generator.standard_normal((150_000, 6))
    missed = 1.0 - model.responsibility(model.old_mean + model.unwhiten(noise))
    estimate, stderr = mean_and_error(missed)
    # across the line, misassigned samples are spread like all others: mean 0, variance 1
    way = model.whiten(model.new_mean - model.old_mean)
    across = np.linalg.svd(way[None, :])[2][1]
    for power, moment in ((1, 0.0), (2, 1.0)):
        mean, error = mean_and_error(missed * (noise @ across) ** power)
        cases.within(mean - moment * _sech_integral(0.5, 1.0), SIGMAS * error)
    return cases.conclude(
        estimate,
        _sech_integral(0.5, 1.0),
        stderr,
        "dimension, covariance, weights, replay and means on the line varied; Monte Carlo: "
        "misassigned share in six dimensions, and moments of misassigned samples across the line",
    )


def check_misassignment(configurations: int = 60, rng: Rng = 23) -> Check:
    """The misassignment lemma: exact integral, conservation law, bounds both ways.

    Parameters
    ----------
    configurations : int
        Random mixtures for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    fixed = [(0.5, 30.0), (0.3, 28.0), (0.5, 0.04), (0.9, 0.04)]
    for index, generator in enumerate(cases):
        b, separation = float(expit(generator.uniform(-8.0, 8.0))), generator.uniform(0.2, 12.0)
        if index < len(fixed):
            b, separation = fixed[index]
        model = TwoModeMixture.separated(separation, old_weight=b)
        exact = misassignment_probability(model)
        sharp, affinity = _sharp_bound(b, separation), _gaussian_affinity(separation)
        cases.equal(_sech_integral(b, separation), exact, 1e-9)
        cases.equal((1 - b) * misassignment_probability(model, side="new"), b * exact, 1e-11)
        cases.equal(misassignment_bound(model), min(sharp, _any_bound(b, affinity)), 1e-12)
        cases.at_most(exact, _any_bound(b, affinity))
        cases.at_most(exact, sharp)
        cases.at_most(_lower_factor(b, separation) * sharp, exact)
        # shifted samples of either mode, in any direction
        model = random_mixture(generator, separation, b, 3)
        sigma = np.asarray(model.covariance, dtype=np.float64)
        move = model.unwhiten(generator.standard_normal(3)) * generator.uniform(0.0, 1.0)
        for weight, own, other, sign in (
            (b, model.old_mean, model.new_mean, -1.0),
            (1 - b, model.new_mean, model.old_mean, 1.0),
        ):
            shift = float((other - own) @ np.linalg.solve(sigma, move))
            log_odds = sign * float(model.log_odds(own + move))  # of the other mode
            shifted = float(sigmoid_mean(log_odds, separation))
            bound = _sharp_bound(weight, separation, shift)
            cases.at_most(shifted, bound)
            cases.at_most(_lower_factor(weight, separation, shift) * bound, shifted)
    # a pair that is not Gaussian: old exponential, new a folded normal
    y, step = np.linspace(0.0, 60.0, 60001, retstep=True)
    old, new = np.exp(-y), math.sqrt(2 / math.pi) * np.exp(-(y**2) / 2)
    affinity = float(np.trapezoid(np.sqrt(old * new), dx=step))
    for b in (0.01, 0.5, 0.97):
        missed = (1 - b) * float(np.trapezoid(old * new / (b * old + (1 - b) * new), dx=step))
        cases.at_most(missed, _any_bound(b, affinity))
    cases.done(3)
    model = TwoModeMixture.separated(1.5, old_weight=0.5)
    samples = mode_samples(model.old_mean, 350_000, cases.generator)
    estimate, stderr = mean_and_error(1.0 - model.responsibility(samples))
    return cases.conclude(
        estimate,
        _sech_integral(0.5, 1.5),
        stderr,
        "weight, separation, covariance and shift varied; Monte Carlo: misassigned share of old "
        "samples",
    )


def check_label_information(configurations: int = 60, rng: Rng = 24) -> Check:
    """Label error and Fisher information, for Gaussians and for densities on points.

    Parameters
    ----------
    configurations : int
        Random mixtures for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        b, separation = float(expit(generator.uniform(-5.0, 5.0))), generator.uniform(0.3, 7.0)
        model = TwoModeMixture.separated(separation, old_weight=b)
        y, step = np.linspace(-10.0, 10.0 + separation, 1501, retstep=True)
        gaussians = norm.pdf(y) * step, norm.pdf(y - separation) * step
        points = generator.dirichlet(np.ones(5), 2)
        for index, (old, new) in enumerate([gaussians, (points[0], points[1])]):
            q = b * old + (1 - b) * new
            r = b * old / q
            epsilon = float((old * (1 - r)).sum())
            information = float(((old - new) ** 2 / q).sum())
            cases.equal((q * r * (1 - r)).sum(), _label_error(b, epsilon), 1e-9)
            # mean squared error of a guess, from the joint law of sample and label
            guesses = r, r + 0.1 * generator.standard_normal(r.size) * r * (1 - r)
            best, other = (b * old @ (1 - g) ** 2 + (1 - b) * new @ g**2 for g in guesses)
            cases.equal(best, _label_error(b, epsilon), 1e-9)
            cases.at_most(_label_error(b, epsilon), other)
            # absolute, in units of the information with labels: 1 - eps / (1 - b) cancels
            with_labels = 1 / (b * (1 - b))
            cases.within(information - _information(b, epsilon), 1e-9 * with_labels)
            cases.at_most(epsilon, 1 - b)
            # the misassigned mass is concave in the weight, so the share falls with it
            masses = []
            for weight in (b - 0.3 * b * (1 - b), b, b + 0.3 * b * (1 - b)):
                mixed = weight * old + (1 - weight) * new
                masses.append(float((weight * old * (1 - weight) * new / mixed).sum()))
            cases.at_most(masses[0] + masses[2], 2 * masses[1] * (1 + 1e-12))
            if index == 0:
                cases.equal(epsilon, misassignment_probability(model), 1e-8)
                cases.equal(information, weight_information(model), 1e-8)
    b, separation = 0.4, 1.0
    model = TwoModeMixture.separated(separation, old_weight=b, dim=2)
    samples, is_old = model.rvs(240_000, cases.generator)
    miss = is_old - model.responsibility(samples)
    estimate, stderr = mean_and_error(miss**2)
    for off in (-0.05, 0.05):  # a worse guess is worse by the square of the difference
        lost, error = mean_and_error((miss - off) ** 2 - miss**2)
        cases.within(lost - off**2, SIGMAS * error)
    return cases.conclude(
        estimate,
        _label_error(b, _sech_integral(b, separation)),
        stderr,
        "weight, separation and densities on five points varied; Monte Carlo: squared error of "
        "the best guess of the label",
    )


def check_uniform_misassignment(configurations: int = 150, rng: Rng = 25) -> Check:
    """Bounds that know where the boundary is; limits for weights that move with D.

    Parameters
    ----------
    configurations : int
        Random weights and separations.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for index, generator in enumerate(cases):
        separation = 50.0 if index % 5 == 0 else float(generator.uniform(0.5, 30.0))
        reach = 0.3 if separation > 25 else 0.48  # weights a float can hold
        reach = min(reach, 600.0 / separation**2)
        place = 0.5 + float(generator.uniform(-reach, reach))
        b = float(expit((place - 0.5) * separation**2))
        if not 1e-300 < b < 1.0:
            b = 0.5
        model = TwoModeMixture.separated(separation, old_weight=b)
        position = _position(b, separation)
        cases.within(boundary_position(model) - position, 1e-12)
        log_exact = log_misassignment_probability(model)
        bound = _boundary_bound(position, separation)
        factor = _boundary_factor(position, separation)
        exact = math.exp(log_exact)
        cases.at_most(exact, bound)
        cases.at_most(factor * bound, exact)
        low, high = misassignment_interval(model)
        sharp, kept = _sharp_bound(b, separation), _lower_factor(b, separation)
        general = _any_bound(b, _gaussian_affinity(separation))
        cases.equal(high, min(bound, sharp, general, 1 - b), 1e-9)
        cases.equal(low, max(factor * bound, kept * sharp), 1e-9)
    # c = kappa D with D large: the ratio has a limit
    generator, far = cases.generator, 70.0
    for ratio in (0.0, *generator.uniform(0.3, 2.0, 3)):
        model = TwoModeMixture.separated(far, old_weight=float(expit(-ratio * far)))
        share = misassignment_probability(model) / _sharp_bound(model.old_weight, far)
        cases.equal(share, _lost_share(ratio), 0.005)
    for position in (0.5, *generator.uniform(0.42, 0.5, 3)):
        model = TwoModeMixture.separated(
            far, old_weight=float(expit((position - 0.5) * far**2 / 4))
        )
        place = _position(model.old_weight, far)
        beyond = float(norm.logcdf(-place * far))
        soft = math.exp(log_misassignment_probability(model) - beyond)
        cases.equal(soft, _soft_over_hard(place), 0.005)
    cases.done(8)
    b, separation = 0.02, 4.0
    model = TwoModeMixture.separated(separation, old_weight=b, dim=2)
    center = model.old_mean + _position(b, separation) * (model.new_mean - model.old_mean)
    samples = mode_samples(center, 200_000, generator)
    squares = ((samples - model.old_mean) ** 2 - (samples - center) ** 2).sum(axis=1)
    weight = np.exp(-0.5 * squares)
    estimate, stderr = mean_and_error(weight * (1.0 - model.responsibility(samples)))
    return cases.conclude(
        estimate,
        _sech_integral(b, separation),
        stderr,
        "separation and boundary varied; limits at D = 70; Monte Carlo: importance sampling in "
        "two dimensions for a small weight",
    )


def check_naive_sampling(configurations: int = 40, rng: Rng = 26) -> Check:
    """Naive sampling: second moment, reported error, and how rarely it sees anything.

    Parameters
    ----------
    configurations : int
        Random mixtures, sample sizes and shares.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        separation = float(generator.uniform(0.3, 12.0))
        even = TwoModeMixture.separated(separation)
        epsilon = misassignment_probability(even)
        cases.equal(1 + relative_variance(even, "naive"), _even_moment(epsilon), 1e-9)
        light = even.replace(old_weight=float(expit(generator.uniform(-6.0, 0.0))))
        moment = 1 + relative_variance(light, "naive")
        epsilon = misassignment_probability(light)
        cases.at_most(_even_moment(epsilon), moment * (1 + 1e-9))
        cases.at_most(moment, 1 / epsilon)
        # what a small sample reports, and how often it finds half of the truth
        size = int(generator.integers(2, 100))
        run = estimate_misassignment(light, size, generator, proposal="naive")
        cases.at_most(run.stderr, run.estimate)
        b, far = float(generator.uniform(0.2, 0.8)), float(generator.uniform(6.0, 11.0))
        model = TwoModeMixture.separated(far, old_weight=b)
        share, many = float(generator.uniform(0.3, 1.0)), int(generator.choice([1, 10, 100]))
        reach, c = share * _sech_integral(b, far), -model.old_logit
        printed = float(_naive_bound(c, far, many, reach, np.arange(0.0, 60.0, 0.1)).min())
        bound = naive_detection_bound(model, many, share)
        cases.equal(bound, min(1.0, printed), 2e-3)
        log_odds = c - far**2 / 2 + far * generator.standard_normal((400, many))
        found = expit(log_odds).mean(axis=1) >= reach
        noise = math.sqrt(bound * (1 - bound) / 400) if bound < 1 else 0.0
        cases.at_most(found.mean(), bound + SIGMAS * noise + 0.02)
        # a single sample finds the share with a probability that is known exactly
        beyond = float(ndtr((c - far**2 / 2 - logit(reach)) / far))
        cases.at_most(beyond, naive_detection_bound(model, 1, share))
    # n grows like one over the root of the probability: the share found tends to 0
    bounds = []
    for far in (8.0, 12.0, 16.0, 20.0):
        model = TwoModeMixture.separated(far, old_weight=0.3)
        many = int(misassignment_probability(model) ** -0.5)
        bounds.append(naive_detection_bound(model, many, 0.1))
    cases.must(np.diff(bounds) < 0)
    cases.within(bounds[-1], 1e-5)
    # fixed weight, far apart: half of one over the probability
    for b in (0.2, 0.8):
        model = TwoModeMixture.separated(45.0, old_weight=b)
        epsilon = misassignment_probability(model)
        cases.equal(1 + relative_variance(model, "naive"), _even_moment(epsilon), 0.002)
    cases.done(2)
    model = TwoModeMixture.separated(1.0)
    samples = mode_samples(model.old_mean, 250_000, cases.generator)
    estimate, stderr = mean_and_error((1.0 - model.responsibility(samples)) ** 2)
    truth = _sech_integral(0.5, 1.0)
    return cases.conclude(
        estimate,
        truth**2 * _even_moment(truth),
        stderr,
        "weight, separation, sample size and share varied; Monte Carlo: second moment of the "
        "misassigned share",
    )


def check_boundary_sampling(configurations: int = 60, rng: Rng = 27) -> Check:
    """Sampling at the boundary: exact second moment, bound, constant, price of a miss.

    Parameters
    ----------
    configurations : int
        Random weights, separations and tilts.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    fixed = [(0.5, 0.02), (0.5, 1.0), (0.4, 4.0)]
    for index, generator in enumerate(cases):
        b = float(expit(generator.uniform(-20.0, 20.0)))
        separation = float(np.exp(generator.uniform(math.log(0.05), math.log(25.0))))
        if index < len(fixed):
            b, separation = fixed[index]
        model = TwoModeMixture.separated(separation, old_weight=b)
        position = boundary_position(model)
        moment = 1 + relative_variance(model)
        cases.at_most(moment, _boundary_moment(position, separation))
        near = float(generator.uniform(0.5, 12.0))
        near_b = float(expit(generator.uniform(-3.0, 3.0)))
        tilt = float(generator.uniform(-0.3, 1.3))
        model = TwoModeMixture.separated(near, old_weight=near_b)
        exact = 1 + relative_variance(model, tilt)
        cases.equal(_moved_moment(near_b, near, tilt), exact, 1e-7)
        tilts = tilt + np.array([-0.1, 0.0, 0.1])
        logs = [math.log1p(relative_variance(model, float(value))) for value in tilts]
        # second derivative at least D^2, so there is one best tilt
        cases.must(logs[0] + logs[2] - 2 * logs[1] >= (0.1 * near) ** 2 * (1 - 1e-9) - 1e-12)
        # the price of a wrong tilt, between its proved limits
        far, offset = 40.0, float(generator.choice([-0.5, 0.5, generator.uniform(0.05, 0.45)]))
        b = float(expit(generator.uniform(-1.5, 1.5)))
        c = -float(logit(b))
        model = TwoModeMixture.separated(far, old_weight=b)
        ratio = (1 + relative_variance(model, 0.5 - offset)) / _tilt_price(far, offset, c)
        angle = math.pi * offset
        mean = 1 / offset - math.pi / math.tan(angle)
        spread = (math.pi / math.sin(angle)) ** 2 - 1 / offset**2
        cases.at_most(ratio, math.exp((math.pi**2 + c**2) / far**2))
        cases.at_most(math.exp(-(spread + (mean - c) ** 2) / (2 * far**2)), ratio)
    far = 60.0
    for position in (0.5, *cases.generator.uniform(0.35, 0.5, 3)):
        b = float(expit((position - 0.5) * far**2))
        model = TwoModeMixture.separated(far, old_weight=b)
        constant = _boundary_constant(boundary_position(model))
        cases.equal((1 + relative_variance(model)) / far, constant, 0.004)
    cases.done(4)
    model = TwoModeMixture.separated(3.0, old_weight=0.75, dim=3)
    b, separation = model.old_weight, model.separation
    center = model.old_mean + _position(b, separation) * (model.new_mean - model.old_mean)
    samples = mode_samples(center, 150_000, cases.generator)
    squares = ((samples - model.old_mean) ** 2 - (samples - center) ** 2).sum(axis=1)
    values = np.exp(-0.5 * squares) * (1.0 - model.responsibility(samples))
    estimate, stderr = mean_and_error(values**2)
    truth = _sech_integral(b, separation)
    return cases.conclude(
        estimate,
        truth**2 * _moved_moment(b, separation, _position(b, separation)),
        stderr,
        "weight, separation and tilt varied; limits at D = 40 and 60; Monte Carlo: second moment "
        "of the weighted values in three dimensions",
    )


def check_secant_sampling(configurations: int = 100, rng: Rng = 28) -> Check:
    """Secant sampling: bound, vanishing relative variance, and the estimator itself.

    Parameters
    ----------
    configurations : int
        Random weights and separations.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for index, generator in enumerate(cases):
        c = float(generator.uniform(-6.0, 6.0))
        separation = 0.2 if index % 5 == 0 else float(generator.uniform(0.5, 40.0))
        if index % 5 == 1:
            separation = 60.0
        model = TwoModeMixture.separated(separation, old_weight=float(expit(-c)))
        variance = relative_variance(model, "secant")
        if separation > 0.3:  # below, the bound exceeds what a float can hold
            cases.at_most(1 + variance, _secant_bound(c, separation))
        # the second moment, straight from the density of the secant law
        h, step = np.linspace(-100.0, 100.0, 4001, retstep=True)
        density = step / (2 * math.pi * np.cosh(h / 2))
        value = np.exp(-((h - c) ** 2) / (2 * separation**2))
        first, second = float(density @ value), float(density @ value**2)
        cases.within(second / first**2 - 1 - variance, 1e-9 * (1 + variance))
        sharp = _sharp_bound(float(expit(-c)), separation)
        cases.equal(first * sharp, misassignment_probability(model), 1e-9)
        far = TwoModeMixture.separated(250.0, old_weight=float(expit(-c)))
        cases.equal(relative_variance(far, "secant") * 250.0**4, _secant_constant(c), 3e-3)
    model = TwoModeMixture.separated(6.0, old_weight=0.3)
    run = estimate_misassignment(model, 100_000, cases.generator, proposal="secant")
    return cases.conclude(
        run.estimate,
        _sech_integral(0.3, 6.0),
        run.stderr,
        "weight and separation varied; limit at D = 250; Monte Carlo: the estimate at D = 6",
    )


def results() -> list[Result]:
    """Ledger entries of the chapter, in its order.

    Returns
    -------
    list of Result
    """
    chapter = "overlap"
    return [
        Result(
            "prp-bhattacharyya",
            chapter,
            "What the Bhattacharyya coefficient knows",
            r"$1 - \mathrm{TV} \le \mathrm{BC} \le \sqrt{1 - \mathrm{TV}^2}$; groups of $N$ "
            r"samples have $\mathrm{BC}^N$; for Gaussians $\mathrm{BC} = e^{-D^2/8}$, so a group "
            r"is a sample at separation $D\sqrt N$.",
            "proved",
            ("bhattacharyya_coefficient", "total_variation"),
            check_bhattacharyya,
        ),
        Result(
            "thm-one-axis",
            chapter,
            "One axis is enough",
            r"The log-odds are $N(l \pm D^2/2, D^2)$ under the two modes, in any dimension; and "
            r"if the means start on the line through $\mu_o$ and $\mu_n$, the whitened flow stays "
            r"on it and is the flow in one dimension.",
            "proved",
            ("TwoModeMixture", "gradient_flow"),
            check_one_axis,
            grid=200,
        ),
        Result(
            "lem-misassignment",
            chapter,
            "Misassignment",
            r"$\varepsilon \le \min(\frac12, \frac1D\sqrt{\frac\pi2}) \sqrt{\frac{1-b}{b}}\, "
            r"e^{-D^2/8}$, and at least $e^{-(\pi^2 + \log^2\frac{1-b}{b})/(2D^2)}$ of the second "
            r"bound; $\varepsilon \le \frac12\sqrt{\frac{1-b}{b}}\,\mathrm{BC}$ for any two "
            r"densities.",
            "proved",
            ("misassignment_probability", "misassignment_bound"),
            check_misassignment,
        ),
        Result(
            "prp-label-information",
            chapter,
            "Misassignment is what the labels would tell",
            r"$b\,\varepsilon = E_q[r(1-r)]$ is the least mean squared error of a guess of the "
            r"label, and $b(1-b)\,I(b) = 1 - \frac{\varepsilon}{1-b}$.",
            "proved",
            ("weight_information", "misassignment_probability"),
            check_label_information,
        ),
        Result(
            "thm-uniform-misassignment",
            chapter,
            "Misassignment for every weight",
            r"With the boundary at $\nu = \frac12 + l/D^2 \in (0, 1)$: $\varepsilon \le "
            r"\sqrt{\frac\pi2}\, e^{-\nu^2D^2/2} / (D \sin\pi\nu)$, and at least "
            r"$e^{-\pi^2(1 + 2\cot^2\pi\nu)/(2D^2)}$ times that.",
            "proved",
            ("misassignment_interval", "boundary_position"),
            check_uniform_misassignment,
        ),
        Result(
            "prp-naive-sampling",
            chapter,
            "Naive sampling sees nothing, and does not know it",
            r"At a fixed weight $1 + V \sim 1/(2\varepsilon)$; the reported standard error never exceeds the "
            r"estimate; and if $n\varepsilon \to 0$, then $\hat\varepsilon/\varepsilon \to 0$ in "
            r"probability.",
            "proved",
            ("relative_variance", "naive_detection_bound", "estimate_misassignment"),
            check_naive_sampling,
            grid=500,
        ),
        Result(
            "thm-boundary-sampling",
            chapter,
            "Rare is not hard",
            r"Sampling from the mode moved to the boundary has $1 + V \le \sqrt{D^2 + 4}$ for "
            r"every weight, and $V/D \to \sqrt{2\pi}/\pi^2$ at fixed weight. A move that is off by "
            r"a share $s$ of the way costs a factor $e^{s^2D^2/2}$.",
            "proved",
            ("relative_variance", "estimate_misassignment"),
            check_boundary_sampling,
        ),
        Result(
            "thm-secant-sampling",
            chapter,
            "Vanishing relative error",
            r"With $H$ of density $1/(2\pi\cosh\frac h2)$, $\varepsilon = \sqrt{\frac\pi2}\, "
            r"\frac1D \sqrt{\frac{1-b}{b}}\, e^{-D^2/8}\, E[e^{-(H-c)^2/(2D^2)}]$; sampling $H$ "
            r"has $D^4 V \to \pi^2(\pi^2 + c^2)$ at a fixed weight.",
            "proved",
            ("relative_variance", "estimate_misassignment"),
            check_secant_sampling,
        ),
    ]
