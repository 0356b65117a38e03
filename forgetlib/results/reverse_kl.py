r"""Checks of the chapter on reverse KL: retention and drift.

Setting: target :math:`p = a f_o + (1-a) f_n`, model
:math:`q = b N(m_o) + (1-b) N(m_n)`, loss :math:`L = \mathrm{KL}(q \| p)`, and
:math:`l = \operatorname{logit} b`. Each printed formula is one small function below, so
that a test can break it and see the check fail.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm

from forgetlib.drift import drift_bound, drift_box, drift_constant, separated_drift
from forgetlib.ensemble import simulate
from forgetlib.flow import Trajectory, gradient_flow
from forgetlib.logistic_normal import sigmoid_mean
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.results import Check, Result, Rng
from forgetlib.results._cases import SIGMAS, Cases, mean_and_error, mode_samples, random_mixture
from forgetlib.retention import Baseline, contraction_rate, safe_learning_rate

__all__ = ["results"]

FloatArray = NDArray[np.float64]

_ROUNDING = 1e-12  # for claims about every sample path


# ---- the formulas, as printed ---------------------------------------------------------


def _sech_integral(old_weight: float, separation: float) -> float:
    """Misassignment probability by its integral over the hyperbolic secant."""
    c = -float(logit(old_weight))
    u, step = np.linspace(-80.0, 80.0, 16001, retstep=True)
    integral = step * np.sum(np.exp(-((u - c) ** 2) / (2 * separation**2)) / (2 * np.cosh(u / 2)))
    front = math.exp(-(separation**2) / 8 + c / 2) / (separation * math.sqrt(2 * math.pi))
    return float(front * integral)


def _lower_factor(old_weight: float, separation: float) -> float:
    """What the misassignment probability keeps of its sharp bound, at least."""
    c = -float(logit(old_weight))
    return 1.0 - (math.pi**2 + c**2) / (2 * separation**2)


def _information(old_weight: float, separation: float) -> float:
    """Fisher information of the weight: the curvature of reverse KL in the weight."""
    y, step = np.linspace(-30.0, 30.0, 2401, retstep=True)
    old, new = norm.logpdf(y + 0.5 * separation), norm.logpdf(y - 0.5 * separation)
    log_q = np.logaddexp(np.log(old_weight) + old, np.log1p(-old_weight) + new)
    square = (np.exp(old - 0.5 * log_q) - np.exp(new - 0.5 * log_q)) ** 2
    return float(step * square.sum())


def _separated_speed(old_logit: float, target_logit: float) -> float:
    """Speed limit of the logit, in units of b (1 - b): its distance to the target."""
    return abs(old_logit - target_logit)


def _regrowth_speed(target_weight: float, separation: float) -> float:
    """Limit of the speed of b, over b^2, as b falls to 0: three divergences."""
    y, step = np.linspace(-30.0, 30.0, 2401, retstep=True)
    old, new = norm.logpdf(y + 0.5 * separation), norm.logpdf(y - 0.5 * separation)
    log_p = np.logaddexp(np.log(target_weight) + old, np.log1p(-target_weight) + new)

    def divergence(source: FloatArray, other: FloatArray) -> float:
        return float(step * np.sum(np.exp(source) * (source - other)))

    return divergence(old, new) + divergence(new, log_p) - divergence(old, log_p)


def _final_rate(target_weight: float, separation: float) -> float:
    """Rate at which the logit ends its way to the target."""
    epsilon = _sech_integral(target_weight, separation)
    return target_weight * (1.0 - target_weight - epsilon)


def _drift_force(model: TwoModeMixture, target: TwoModeMixture) -> FloatArray:
    """Gradient of reverse KL in the old mean, from two misassignment probabilities."""
    gap, target_gap = model.new_mean - model.old_mean, target.new_mean - target.old_mean
    error = model.old_mean - target.old_mean
    distance = target.separation
    tilt = float(target_gap @ target.precision_times(error))
    eps_q = float(sigmoid_mean(-(model.old_logit + 0.5 * model.separation**2), model.separation))
    eps_p = float(sigmoid_mean(-(target.old_logit + 0.5 * distance**2 - tilt), distance))
    force = error + eps_q * gap - eps_p * target_gap
    return np.asarray(model.old_weight * target.precision_times(force))


def _pull(old_logit: ArrayLike, separation: ArrayLike) -> FloatArray:
    """Most that two modes at this separation can pull at the old one."""
    size = -0.5 * np.asarray(old_logit) - np.asarray(separation) ** 2 / 8
    return np.asarray(math.sqrt(math.pi / 2) * np.exp(size))


def _cone() -> float:
    """How far U may be from u, per length of u, for an angle of at most 60 degrees."""
    return 0.5 * math.sqrt(3.0)


def _constant(old_weight: float) -> float:
    """Exact limit of the scaled drift."""
    return math.sqrt(math.pi * (1.0 - old_weight) / (2.0 * old_weight))


def _limit_drift(old_weight: float, start_weight: float, t: FloatArray) -> FloatArray:
    """Limit of the scaled drift if only the weight is wrong, by Runge-Kutta steps."""
    goal = float(logit(old_weight))

    def velocity(state: FloatArray) -> FloatArray:
        odds, drift = state
        b = float(expit(odds))
        pull, push = math.exp(-0.5 * goal), math.exp(-0.5 * odds)
        force = math.sqrt(math.pi / 2) * (pull - push)
        return np.array([-b * (1.0 - b) * (odds - goal), -b * (drift - force)])

    state, drift, substeps = np.array([float(logit(start_weight)), 0.0]), [0.0], 10
    for span in np.diff(t):
        step = span / substeps
        for _ in range(substeps):
            k1 = velocity(state)
            k2 = velocity(state + 0.5 * step * k1)
            k3 = velocity(state + 0.5 * step * k2)
            k4 = velocity(state + step * k3)
            state = state + step / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        drift.append(float(state[1]))
    return np.array(drift)


def _log_by_root() -> float:
    """Constant C of log(1 + t) <= C sqrt(t)."""
    return 0.80475


def _safe_step(batch_size: int, baseline: Baseline, replay: float) -> float:
    """Largest step for which no batch carries the logit past the target."""
    if baseline is None:
        return 1.0 - replay
    return 4.0 if baseline == "batch_mean" else 4.0 * (batch_size - 1) / batch_size


# ---- checks ---------------------------------------------------------------------------


def _within_ball(generator: np.random.Generator, dim: int, radius: float) -> FloatArray:
    """Random vector of length at most the radius."""
    direction = generator.standard_normal(dim)
    return np.asarray(direction * radius * generator.uniform() / np.linalg.norm(direction))


def _exchanged(mixture: TwoModeMixture) -> TwoModeMixture:
    """The same density with the names of its modes exchanged."""
    return mixture.replace(
        old_weight=1.0 - mixture.old_weight, old_mean=mixture.new_mean, new_mean=mixture.old_mean
    )


def check_monotone_retention(configurations: int = 12, rng: Rng = 2) -> Check:
    """Convexity in the weight, monotone return, speed limit, speed of regrowth.

    Parameters
    ----------
    configurations : int
        Random targets and starts for the exact part; a flow in every tenth case.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    nodes, weights = np.polynomial.legendre.leggauss(16)
    times = np.linspace(0.0, 30.0, 30)
    for index, generator in enumerate(cases):
        # every fourth separation is large, where the speed limit is attained
        separation = 30.0 if index % 4 == 1 else generator.uniform(0.5, 6.0)
        a, b = (float(expit(generator.uniform(-3.0, 3.0))) for _ in range(2))
        if index == 0:
            separation, a, b = 2.0, 0.7, 0.2  # close enough for the regrowth, whatever the seed
        target = TwoModeMixture.separated(separation, old_weight=a)
        objective = ReverseKL(target)
        start = target.replace(old_weight=b)
        slope = objective.gradient(start).logit / (b * (1.0 - b))
        # L'(b) is the integral of the information from a to b, here over the logit
        middle, half = 0.5 * (logit(b) + logit(a)), 0.5 * (logit(b) - logit(a))
        w = expit(middle + half * nodes)
        information = np.array([_information(weight, separation) for weight in w])
        cases.equal(half * (weights * w * (1.0 - w)) @ information, slope, 1e-6)
        cases.at_most(abs(slope), _separated_speed(float(logit(b)), float(logit(a))))
        cases.must(slope * (b - a) > 0.0)
        if separation < 3.0:
            tiny = 1e-12
            speed = -objective.gradient(target.replace(old_weight=tiny)).logit / tiny
            cases.equal(speed, _regrowth_speed(a, separation), 1e-4)
        near = float(expit(target.old_logit + 1e-4))
        rate = objective.gradient(target.replace(old_weight=near)).logit / 1e-4
        cases.equal(rate, _final_rate(a, separation), 1e-3)
        if index % 10 == 0:
            path = gradient_flow(objective, start, times, train="weight", rtol=1e-7)
            gap = (path.old_logit - target.old_logit) * np.sign(b - a)
            cases.must((np.diff(gap) <= 1e-7) & (gap[1:] >= -1e-7))

    target = TwoModeMixture.separated(2.0, old_weight=0.75)
    model = target.replace(old_weight=0.3)
    samples, _ = model.rvs(250_000, cases.generator)
    score = model.responsibility(samples) - model.old_weight
    estimate, stderr = mean_and_error(score * (model.logpdf(samples) - target.logpdf(samples)))
    return cases.conclude(
        estimate,
        ReverseKL(target).gradient(model).logit,
        stderr,
        "$L'(b)$ against the integral of the information (to $10^{-6}$), its sign, the speed "
        "limit, the speed of regrowth and the final rate; target, start and separation varied; "
        "every tenth case a flow; Monte Carlo: score-function estimate of $dL/dl$",
    )


def check_drift_force(configurations: int = 30, rng: Rng = 3) -> Check:
    """The forces on both means, against gradients and differences of the exact value.

    Parameters
    ----------
    configurations : int
        Random models and targets, any covariance, means not collinear.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    stencil = ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))
    for generator in cases:
        separation, weight = generator.uniform(0.5, 5.0), generator.uniform(0.1, 0.9)
        target = random_mixture(generator, separation, weight, 3)
        model = target.replace(
            old_weight=generator.uniform(0.1, 0.9),
            old_mean=target.old_mean + generator.standard_normal(3),
            new_mean=target.new_mean + generator.standard_normal(3),
        )
        objective = ReverseKL(target)
        gradient = objective.gradient(model)
        printed = _drift_force(model, target)
        mirrored = _drift_force(_exchanged(model), _exchanged(target))
        for force, exact in ((printed, gradient.old_mean), (mirrored, gradient.new_mean)):
            cases.within(force - exact, 1e-10 * float(np.linalg.norm(force)))
        direction = generator.standard_normal(3)
        direction = model.unwhiten(direction / np.linalg.norm(direction))
        size = float(np.linalg.norm(model.unwhiten(np.eye(3)) @ printed))
        slope, step = 0.0, 0.01
        for count, share in stencil:
            up, down = (
                objective.value(
                    model.replace(old_mean=model.old_mean + sign * count * step * direction)
                )
                for sign in (1, -1)
            )
            slope += share * (up - down) / step
        cases.within(slope - printed @ direction, 1e-6 * size)

    target = TwoModeMixture(0.6, [0.0, 0.0], [2.0, 0.0], [[1.0, 0.3], [0.3, 1.5]])
    model = target.replace(old_weight=0.9, old_mean=[-0.6, 0.8], new_mean=[2.5, -0.5])
    force = _drift_force(model, target)
    direction = force / np.linalg.norm(force)
    samples, _ = model.rvs(400_000, cases.generator)
    along = (samples - model.old_mean) @ model.precision_times(direction)
    score = model.responsibility(samples) * along
    # the score has mean 0, so the loss as baseline changes no mean, only the noise
    excess = model.logpdf(samples) - target.logpdf(samples) - ReverseKL(target).value(model)
    estimate, stderr = mean_and_error(score * excess)
    return cases.conclude(
        estimate,
        float(force @ direction),
        stderr,
        "error of both forces against the gradient ($10^{-10}$) and of the force on the old mean "
        "against sixth-order differences of the value ($10^{-6}$); any covariance, weights and "
        "means; Monte Carlo: score-function estimate along the force",
    )


def _root(model_pull: float, target_pull: float, separation: float, wide: bool = False) -> float:
    """Smallest root of z = max(F_q, F_p exp(D z / 2)), by bisection; infinity if none.

    If the forces are wide of each other, the maximum becomes a sum.
    """
    floor = model_pull if wide else 0.0

    def excess(z: float) -> float:
        return floor + target_pull * math.exp(0.5 * separation * z) - z

    peak = 2.0 / separation * math.log(2.0 / (separation * target_pull))
    if peak <= 0 or excess(peak) > 0:
        return math.inf
    low = float(brentq(excess, 0.0, peak, xtol=1e-300, rtol=1e-14))
    if wide or model_pull <= low:
        return low
    return model_pull if excess(model_pull) <= 0.0 else math.inf


def _check_cone(cases: Cases) -> None:
    """60 degrees: forces of any size in the cone do not add up, and those on its rim just so."""
    u = np.array([1.0, 0.0, 0.0])
    direction = cases.generator.standard_normal((2000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    gap = u + _cone() * cases.generator.uniform(0.0, 1.0, (2000, 1)) * direction
    push = gap / np.linalg.norm(gap, axis=1, keepdims=True)
    push *= cases.generator.uniform(0.0, 1.0, (2000, 1))
    cases.must(np.linalg.norm(u - push, axis=1) <= 1.0 + 1e-12)
    # the tangent from the origin touches the ball of radius _cone() around u here
    sine = _cone()
    rim = math.sqrt(1.0 - sine**2) * np.array([math.sqrt(1.0 - sine**2), sine, 0.0])
    cases.must(np.linalg.norm(rim - u) / sine <= 1.0 + 1e-12)
    cases.equal(np.linalg.norm(u - rim / np.linalg.norm(rim)), 1.0, 1e-9)


def _path_bound(target: TwoModeMixture, path: Trajectory) -> tuple[float, bool]:
    """Bound along a path, as printed (identity covariance), and whether it is the sum."""
    gap = path.new_mean - path.old_mean
    spread = np.linalg.norm(gap - (target.new_mean - target.old_mean), axis=1).max()
    wide = bool(spread > _cone() * target.separation)
    model_pull = float(_pull(path.old_logit, np.linalg.norm(gap, axis=1)).max())
    target_pull = float(_pull(target.old_logit, target.separation))
    return _root(model_pull, target_pull, target.separation, wide), wide


def check_sharp_drift(configurations: int = 40, rng: Rng = 4) -> Check:
    """The force at random points and the drift along paths against their bounds.

    Parameters
    ----------
    configurations : int
        Random models for the bound on the force; a flow in every 20th case.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    times = np.concatenate([np.linspace(0.0, 12.0, 61), np.linspace(13.0, 60.0, 20)])
    _check_cone(cases)
    for index, generator in enumerate(cases):
        # the force anywhere within 60 degrees, which is what the proof rests on
        separation, dim = generator.uniform(0.5, 8.0), int(generator.integers(1, 4))
        target = TwoModeMixture.separated(separation, generator.uniform(0.05, 0.95), dim)
        error = _within_ball(generator, dim, 0.25 * separation)
        spread = _within_ball(generator, dim, _cone() * separation)
        model = target.replace(
            old_weight=generator.uniform(0.05, 0.95),
            old_mean=target.old_mean + error,
            new_mean=target.new_mean + error + spread,
        )
        force = error - ReverseKL(target).gradient(model).old_mean / model.old_weight
        tilt = 0.5 * separation * float(np.linalg.norm(error))
        bound = max(
            float(_pull(model.old_logit, model.separation)),
            float(_pull(target.old_logit, separation)) * math.exp(tilt),
        )
        cases.at_most(float(np.linalg.norm(force)), bound)
        if index % 20:
            continue
        separation = generator.uniform(4.0, 9.0)
        target = TwoModeMixture.separated(
            separation, old_weight=generator.uniform(0.3, 0.9), dim=1 + index // 20 % 2
        )
        start = target.replace(
            old_weight=generator.uniform(0.2, 0.95),
            new_mean=target.new_mean + generator.uniform(-1.0, 2.0, target.dim),
        )
        path = gradient_flow(ReverseKL(target), start, times, rtol=1e-8)
        drift = float(np.linalg.norm(path.old_mean, axis=1).max())
        # errors of at most 2 sqrt(2) keep the angle between the two gaps below 60 degrees
        printed, wide = _path_bound(target, path)
        cases.must(not wide)
        bound = drift_bound(target, path)
        if math.isfinite(printed):
            cases.at_most(drift, bound)
            cases.equal(bound, printed, 1e-9)
        else:
            cases.must(not math.isfinite(bound))
    # Beyond 60 degrees the sum holds. A path that starts there, then paths that stay just
    # inside and just outside of the cone.
    target = TwoModeMixture.separated(6.0, old_weight=0.75, dim=2)
    path = gradient_flow(ReverseKL(target), target.replace(new_mean=[0.0, 6.0]), times, rtol=1e-6)
    printed, wide = _path_bound(target, path)
    cases.must(wide)
    cases.at_most(float(np.linalg.norm(path.old_mean, axis=1).max()), printed)
    cases.equal(drift_bound(target, path), printed, 1e-9)
    for share in (0.999, 1.001):
        angle = cases.generator.uniform(2.0, math.pi)  # of U - u against u: not far outside
        error = share * _cone() * 6.0 * np.array([math.cos(angle), math.sin(angle)])
        start = target.replace(new_mean=target.new_mean + error)
        path = gradient_flow(ReverseKL(target), start, [0.0, 0.1], train="weight", rtol=1e-6)
        printed, wide = _path_bound(target, path)
        cases.must(wide is (share > 1.0))
        bound = drift_bound(target, path)
        if bound != printed:  # both may be infinite
            cases.equal(bound, printed, 1e-9)
    # Pinned: the new mean stays three standard deviations outside, the weight at the
    # target's. The old mean then comes to rest where the bound is nearly attained.
    for separation in (9.0, 10.0):
        target = TwoModeMixture.separated(separation)
        start = target.replace(new_mean=[separation + 3.0])
        path = gradient_flow(
            ReverseKL(target), start, np.linspace(0.0, 60.0, 3), train="old_mean", rtol=1e-8
        )
        share = float(path.old_mean[-1, 0]) / drift_bound(target, path)
        # the misassignment integral, cut after its second and after its third term
        low = 1.0 - math.pi**2 / (2 * separation**2)
        high = low + 5 * math.pi**4 / (8 * separation**4)
        cases.must(low / (1.0 + 1e-3) <= share <= high * (1.0 + 1e-3))

    target = TwoModeMixture.separated(3.0, old_weight=0.75)
    model = target.replace(old_weight=0.3, old_mean=[0.1], new_mean=[2.0])
    samples = mode_samples(model.old_mean, 300_000, cases.generator)
    pull = (1.0 - target.responsibility(samples)) * 3.0
    push = (1.0 - model.responsibility(samples)) * 1.9
    estimate, stderr = mean_and_error(pull - push)
    return cases.conclude(
        estimate,
        float(0.1 - ReverseKL(target).gradient(model).old_mean[0] / 0.3),
        stderr,
        "the force at random points within 60 degrees, and the drift along a flow in every 20th "
        "case, over their bounds; beyond 60 degrees, at the rim, and where the bound is "
        "nearly attained; the bound against an independent root; Monte Carlo: the overlap force, "
        "from old samples",
    )


def check_drift_constant(configurations: int = 3, rng: Rng = 5) -> Check:
    """The exact constant, from far separations and from exact flows.

    Parameters
    ----------
    configurations : int
        Random targets: in turn far away, with an exact flow, and in the limit.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)

    def against_the_flow(a: float, b0: float, separation: float, error: float) -> None:
        """The exact flow against its leading order, and the direction of the drift."""
        target = TwoModeMixture.separated(separation, old_weight=a)
        start = target.replace(old_weight=b0, new_mean=[separation + error])
        times = np.linspace(0.0, 20.0, 41)
        path = gradient_flow(ReverseKL(target), start, times, rtol=1e-8)
        scaled = path.old_mean[:, 0] * math.exp(separation**2 / 8)
        leading = separated_drift(a, b0, times, error, separation).scaled_drift
        cases.within(scaled - leading, 1e-3 * _constant(min(a, b0)))
        # toward the new mode, or away from it if the weight starts below the target
        cases.must((scaled[1:] < 0.0) == (error == 0.0 and b0 < a))

    for index, generator in enumerate(cases):
        a = generator.uniform(0.75, 0.9)
        low, high = generator.uniform(0.1, 0.6), generator.uniform(0.92, 0.97)
        b0 = low if index % 2 else high
        cases.equal(drift_constant(a), _constant(a), 1e-12)
        if index % 3 == 0:  # far away, from the right weight
            far = separated_drift(a, a, np.linspace(0.0, 40.0, 400), 1.0, separation=100.0)
            share = float(far.scaled_drift.max()) / _constant(a)
            cases.at_most(share, 1.0)
            cases.at_most(0.99, share)
            against_the_flow(a, a, 10.0, 1.0)
        elif index % 3 == 1:  # only the weight is wrong
            against_the_flow(a, b0, 11.0, 0.0)
        else:  # part 2 has a limit at every time; the lemma says how far from it we are
            times, far_off = np.linspace(0.0, 20.0, 41), 60.0
            limit = _limit_drift(a, b0, times)
            largest = _constant(a) + _constant(min(a, b0))  # pull and push
            neglected = (math.pi**2 + max(logit(a) ** 2, logit(b0) ** 2)) / (2 * far_off**2)
            leading = separated_drift(a, b0, times, separation=far_off).scaled_drift
            cases.at_most(float(np.abs(leading - limit).max()), neglected * largest)
            size = float(np.abs(limit).max())
            cases.within(separated_drift(a, b0, times).scaled_drift - limit, 1e-5 * size)

    # e^{D^2/8} eps D: an integral over 1 / (2 cosh(z/2)), with z drawn from a Laplace law
    a, separation = 0.75, 60.0
    z = cases.generator.laplace(0.0, 2.0, 100_000)
    weight = norm.pdf(z, float(logit(a)), separation) / (0.25 * np.exp(-0.5 * np.abs(z)))
    front = math.sqrt((1.0 - a) / a) * separation
    estimate, stderr = mean_and_error(front * weight / (2 * np.cosh(0.5 * z)))
    return cases.conclude(
        estimate,
        _constant(a) * _lower_factor(a, separation),
        stderr,
        "scaled drift over the constant at $D = 100$, exact flows against the leading order at "
        "$D = 10$ and 11 (to $10^{-3}$), that against its limit at $D = 60$; Monte Carlo: the "
        "scaled force at $D = 60$, by importance sampling",
    )


def _box_demands(
    target: TwoModeMixture, start: TwoModeMixture, old: float, new: float, slack: float
) -> tuple[float, float, float, float, float]:
    """Right-hand sides of the definition of an invariant box, as printed."""
    separation, goal = target.separation, target.old_logit
    low = min(start.old_logit, goal - 0.5 * old**2 - slack)
    high = max(start.old_logit, goal + 0.5 * new**2 + slack)
    closest = separation - old - new
    old_pull = (
        float(_pull(low, closest)),
        float(_pull(goal, separation)) * math.exp(0.5 * separation * old),
    )
    new_pull = (
        float(_pull(-high, closest)),
        float(_pull(-goal, separation)) * math.exp(0.5 * separation * new),
    )
    k = math.sqrt(math.pi / 2)
    slack_demand = _log_by_root() / k * max(old_pull[0] + new_pull[1], old_pull[1] + new_pull[0])
    old_start = float(np.linalg.norm(start.old_mean - target.old_mean))
    new_start = float(np.linalg.norm(start.new_mean - target.new_mean))
    return max(old_start, *old_pull), max(new_start, *new_pull), slack_demand, low, high


def check_drift_box(configurations: int = 12, rng: Rng = 6) -> Check:
    """The a-priori box is the least solution of its conditions, and the flow stays in.

    Parameters
    ----------
    configurations : int
        Random targets and starts, in one and two dimensions; a flow in every 20th case.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    t = np.geomspace(1e-6, 1e12, 4001)
    steepest = float((np.log1p(t) / np.sqrt(t)).max())
    cases.at_most(steepest, _log_by_root())
    cases.at_most(_log_by_root(), 1.001 * steepest)
    found = 0
    for index, generator in enumerate(cases):
        separation = generator.uniform(7.0, 11.0)
        dim = 1 + index % 2
        target = TwoModeMixture.separated(separation, generator.uniform(0.3, 0.8), dim)
        error = _within_ball(generator, dim, 0.12 * separation)
        start = target.replace(
            old_weight=generator.uniform(0.2, 0.9), new_mean=target.new_mean + error
        )
        box = drift_box(target, start)
        if box is None:
            continue
        found += 1
        old, new, slack, low, high = _box_demands(
            target, start, box.old_radius, box.new_radius, box.slack
        )
        cases.equal(box.old_radius, old, 1e-6)
        cases.equal(box.new_radius, new, 1e-6)
        cases.equal(box.slack, slack, 1e-6)
        cases.must(box.old_radius + box.new_radius <= _cone() * separation)
        cases.within([box.logit_low - low, box.logit_high - high], 1e-9)
        objective = ReverseKL(target)
        for face in ("old_mean", "new_mean", "low", "high") * 2:
            model = _on_face(target, generator, face, box.old_radius, box.new_radius, low, high)
            gradient = objective.gradient(model)
            outward = {
                "old_mean": -float(gradient.old_mean @ (model.old_mean - target.old_mean)),
                "new_mean": -float(gradient.new_mean @ (model.new_mean - target.new_mean)),
                "low": gradient.logit,
                "high": -gradient.logit,
            }[face]
            cases.must(outward <= 0.0)
        if (found - 1) % 20 == 0:
            path = gradient_flow(objective, start, np.linspace(0.0, 40.0, 41), rtol=1e-8)
            drift = np.linalg.norm(path.old_mean - target.old_mean, axis=1).max()
            cases.at_most(float(drift), box.old_radius)
            cases.at_most(box.old_weight_floor, float(path.old_weight.min()))
    cases.must(found >= 0.5 * configurations)

    # the logit's velocity at a corner of a box: the difference of two mean log ratios
    target = TwoModeMixture.separated(7.0, old_weight=0.75)
    model = target.replace(old_weight=0.6, old_mean=[0.02], new_mean=[8.0])
    ratios = []
    for mean in (model.old_mean, model.new_mean):
        samples = mode_samples(mean, 200_000, cases.generator)
        ratios.append(model.logpdf(samples) - target.logpdf(samples))
    estimate, stderr = mean_and_error(ratios[0] - ratios[1])
    spring = model.old_logit - target.old_logit + 0.5 * (0.02**2 - 1.0**2)
    corner = drift_box(target, model)
    exact = ReverseKL(target).gradient(model).logit / (0.6 * 0.4)
    cases.must(corner is not None and abs(exact - spring) <= corner.slack)
    return cases.conclude(
        estimate,
        exact,
        stderr,
        "least solution of the conditions (to $10^{-6}$), velocity on random points of every "
        "face; every 20th case a flow that stays in; Monte Carlo: the velocity of the logit, "
        "from samples of both modes",
    )


def _on_face(
    target: TwoModeMixture,
    generator: np.random.Generator,
    face: str,
    old: float,
    new: float,
    low: float,
    high: float,
) -> TwoModeMixture:
    """Random model on one face of a box."""

    def error(radius: float, full: bool) -> FloatArray:
        direction = generator.standard_normal(target.dim)
        direction /= np.linalg.norm(direction)
        return np.asarray(direction * radius * (1.0 if full else generator.uniform()))

    odds = {"low": low, "high": high}.get(face, generator.uniform(low, high))
    return target.replace(
        old_weight=float(expit(odds)),
        old_mean=target.old_mean + error(old, face == "old_mean"),
        new_mean=target.new_mean + error(new, face == "new_mean"),
    )


def _step_share(
    b: float, a: float, log_ratio: FloatArray, baseline: Baseline, replay: float
) -> float:
    """Share of the distance to the target that one batch removes, at unit step.

    ``log_ratio`` is log(f_o / f_n) at the samples of the batch, any real numbers.
    """
    odds, goal = float(logit(b)), float(logit(a))
    r = expit(odds + log_ratio)
    log_q = np.logaddexp(np.log1p(-b), np.log(b) + log_ratio)
    log_p = np.logaddexp(np.log1p(-a), np.log(a) + log_ratio)
    loss = log_q - log_p
    weight = 1.0 / ((1.0 - replay) + replay * np.exp(log_ratio - log_q))
    if baseline is not None:
        loss = loss - loss.mean()
        if baseline == "leave_one_out":
            loss *= log_ratio.size / (log_ratio.size - 1)
    return float(np.mean(weight * (r - b) * loss)) / (odds - goal)


def check_sure_retention(configurations: int = 200, rng: Rng = 7) -> Check:
    """Every batch moves the logit toward the target, and never past it.

    Parameters
    ----------
    configurations : int
        Random batches for the exact part, for any two densities: the log ratios of the
        components are arbitrary numbers.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    generator = cases.generator

    def check_batch(b: float, a: float, log_ratio: FloatArray) -> None:
        methods: tuple[tuple[Baseline, float], ...] = (
            (None, 0.0),
            (None, float(generator.uniform(0.0, 0.9))),
            ("batch_mean", 0.0),
            ("leave_one_out", 0.0),
        )
        for baseline, replay in methods:
            step = _safe_step(log_ratio.size, baseline, replay)
            cases.equal(step, safe_learning_rate(log_ratio.size, baseline, replay), 1e-12)
            # at most 1 of the way, so at most 2 at twice the step: part 3
            share = step * _step_share(b, a, log_ratio, baseline, replay)
            cases.at_most(share, 1.0 + 1e-5)
            cases.must(share >= -_ROUNDING)

    # where the limits on the step are attained: samples of one mode only, or half and half
    nearly = 1.0 - 2.0**-40
    check_batch(1e-9, 1e-7, np.full(2, 80.0))
    check_batch(nearly, 1.0 - 2.0**-34, np.full(2, -80.0))
    check_batch(0.3, 0.6, np.array([-90.0, 90.0]))
    for _ in cases:
        b, a = (float(expit(generator.uniform(-12.0, 12.0))) for _ in range(2))
        size = int(generator.integers(2, 12))
        check_batch(b, a, generator.uniform(1.0, 30.0) * generator.standard_normal(size))
    # the expected share is at least the contraction rate, and equals it somewhere
    target = TwoModeMixture.separated(2.0, old_weight=0.7)
    rate = contraction_rate(target, 0.02)
    shares = []
    for odds in np.linspace(logit(0.02), logit(0.7) - 1e-3, 50):
        model = target.replace(old_weight=float(expit(odds)))
        shares.append(ReverseKL(target).gradient(model).logit / (odds - target.old_logit))
    cases.must(rate <= min(shares) * (1.0 + 1e-6))
    cases.equal(rate, min(shares), 1e-2)

    # every path of three ensembles, each at its largest safe step
    violations = 0
    ensembles: tuple[tuple[Baseline, float, float, float, int], ...] = (
        (None, 0.0, 1.0, 0.02, 2),
        ("leave_one_out", 0.0, 3.0, 0.97, 1),
        (None, 0.25, 4.0, 0.01, 40),
    )
    for baseline, replay, separation, b0, dim in ensembles:
        goal = TwoModeMixture.separated(separation, old_weight=0.6, dim=dim)
        run = simulate(
            ReverseKL(goal, replay=replay),
            goal.replace(old_weight=b0),
            steps=400,
            batch_size=4,
            learning_rate=_safe_step(4, baseline, replay),
            replicates=100,
            baseline=baseline,
            train="weight",
            rng=generator,
        )
        side = math.copysign(1.0, b0 - 0.6)
        gap = side * (run.old_logit - goal.old_logit)
        violations += int((np.diff(gap, axis=1) > _ROUNDING).sum() + (gap < -_ROUNDING).sum())
    cases.must(violations == 0)

    # part 2: the distance falls geometrically; with the batch mean by 1 - 1/N less per step
    start = target.replace(old_weight=0.4)
    first = ReverseKL(target).gradient(start).logit / (start.old_logit - target.old_logit)
    rate = contraction_rate(target, 0.4, 33)
    speeds: tuple[tuple[Baseline, float, float], ...] = (
        (None, 1.0, 0.0),
        ("batch_mean", 4.0, 0.5),
    )
    for baseline, h, lost in speeds:
        run = simulate(
            ReverseKL(target),
            start,
            steps=4,
            batch_size=2,
            learning_rate=h,
            replicates=8000,
            baseline=baseline,
            train="weight",
            rng=generator,
        )
        distance = np.abs(run.old_logit - target.old_logit)
        for step, share in ((1, first), (4, rate)):
            mean, error = mean_and_error(distance[:, step] / distance[:, 0])
            allowed = (1.0 - h * (1.0 - lost) * share) ** step
            # one step goes exactly this far on average; many go at least as far
            cases.must(mean <= allowed + SIGMAS * error)
            cases.must(step > 1 or mean >= allowed - SIGMAS * error)

    start = target.replace(old_weight=0.2)
    run = simulate(
        ReverseKL(target),
        start,
        steps=1,
        batch_size=400,
        learning_rate=1.0,
        replicates=1000,
        train="weight",
        rng=generator,
    )
    estimate, stderr = mean_and_error(run.old_logit[:, -1] - start.old_logit)
    return cases.conclude(
        estimate,
        -ReverseKL(target).gradient(start).logit,
        stderr,
        f"share of the way that a batch of any log ratios goes; {violations} violations on 300 "
        "simulated paths of 400 steps; the contraction rate; Monte Carlo: mean step from "
        "$b = 0.2$",
    )


def results() -> list[Result]:
    """Ledger entries of the chapter, in its order.

    Returns
    -------
    list of Result
    """
    chapter = "reverse_kl"
    return [
        Result(
            "thm-monotone-retention",
            chapter,
            "Monotone retention",
            r"With correct components $\mathrm{KL}(q_b \| p_a)$ is strictly convex in $b$, and the logit "
            r"flow moves monotonically to $\operatorname{logit} a$ from every start.",
            "proved",
            ("ReverseKL", "gradient_flow"),
            check_monotone_retention,
            grid=1500,
        ),
        Result(
            "thm-drift-force",
            chapter,
            "The force on the old mean",
            r"$\nabla_{m_o} L = b\,\Sigma^{-1}[(m_o - \mu_o) + \varepsilon_q (m_n - m_o) - "
            r"\varepsilon_p (\mu_n - \mu_o)]$.",
            "proved",
            ("ReverseKL",),
            check_drift_force,
        ),
        Result(
            "thm-sharp-drift",
            chapter,
            "Sharp drift",
            r"The drift of a correct old mean stays below the smallest root of "
            r"$\xi = \sqrt{\frac\pi2}\max\{\sup_t \sqrt{\frac{1-b_t}{b_t}}\, e^{-|m_n - m_o|^2/8}, "
            r"\sqrt{\frac{1-a}{a}}\, e^{-D^2/8 + D\xi/2}\}$, while the two gaps are within 60 "
            r"degrees.",
            "proved",
            ("drift_bound",),
            check_sharp_drift,
        ),
        Result(
            "thm-drift-constant",
            chapter,
            "The exact constant of the drift",
            r"From $b_0 = a$ and a new mean a fixed distance outside, "
            r"$e^{D^2/8} \sup_t |m_o - \mu_o| \to \sqrt{\pi(1-a)/(2a)}$ as $D \to \infty$.",
            "proved",
            ("drift_constant", "separated_drift"),
            check_drift_constant,
            grid=200,
        ),
        Result(
            "thm-drift-box",
            chapter,
            "A box that training never leaves",
            r"If $\rho$, $R$ and $\kappa$ meet four explicit inequalities, then "
            r"$|m_o - \mu_o| \le \rho$, $|m_n - \mu_n| \le R$ and $l_- \le l \le l_+$ forever.",
            "proved",
            ("drift_box",),
            check_drift_box,
        ),
        Result(
            "thm-sure-retention",
            chapter,
            "Sure retention",
            r"For any two densities and every batch, a score-function step of size "
            r"$h \le 1$ (batch mean: $4$; replay: $1 - \lambda$) moves the logit toward "
            r"$\operatorname{logit} a$ and never past it; the distance falls geometrically in "
            r"expectation.",
            "proved",
            ("simulate", "safe_learning_rate", "contraction_rate"),
            check_sure_retention,
        ),
    ]
