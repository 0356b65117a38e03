r"""Checks of the chapter on reverse KL: retention and drift.

Setting: target :math:`p = a f_o + (1-a) f_n`, model
:math:`q = b N(m_o) + (1-b) N(m_n)`, loss :math:`L = KL(q \| p)`, and
:math:`l = \operatorname{logit} b`. Each printed formula is one small function below, so
that a test can break it and see the check fail.

``value`` is scaled so that its bound is 1: for an inequality it is the ratio of left to
right side, for an identity its relative error in units of the tolerance. Every Monte
Carlo part accepts an estimate within 4.5 standard errors of the prediction: a false alarm
has probability 7e-6, and with the default seed none happens.
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
from forgetlib.overlap import misassignment_bound, misassignment_probability
from forgetlib.results import Check, Result, Rng
from forgetlib.retention import Baseline, contraction_rate, safe_learning_rate

__all__ = ["results"]

FloatArray = NDArray[np.float64]

_SIGMAS = 4.5
_FALSE_ALARM = "false-alarm rate of the Monte Carlo part 7e-6"
_ROUNDING = 1e-12  # for claims about every sample path


# ---- the formulas, as printed ---------------------------------------------------------


def _sech_integral(old_weight: float, separation: float) -> float:
    """Misassignment probability by its integral over the hyperbolic secant."""
    c = -float(logit(old_weight))
    u, step = np.linspace(-80.0, 80.0, 16001, retstep=True)
    integral = step * np.sum(np.exp(-((u - c) ** 2) / (2 * separation**2)) / (2 * np.cosh(u / 2)))
    front = math.exp(-(separation**2) / 8 + c / 2) / (separation * math.sqrt(2 * math.pi))
    return float(front * integral)


def _sharp_bound(old_weight: float, separation: float, shift: float = 0.0) -> float:
    """Upper bound that is sharp for large separations; samples may be shifted."""
    odds = math.sqrt((1.0 - old_weight) / old_weight)
    tail = math.exp(-(separation**2) / 8 + shift / 2)
    return math.sqrt(math.pi / 2) / separation * odds * tail


def _any_bound(old_weight: float, affinity: float) -> float:
    """Upper bound for any two densities with this Bhattacharyya coefficient."""
    return 0.5 * math.sqrt((1.0 - old_weight) / old_weight) * affinity


def _lower_factor(old_weight: float, separation: float, shift: float = 0.0) -> float:
    """What the misassignment probability keeps of its sharp bound, at least."""
    c = shift - float(logit(old_weight))
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
    """Limit of b' / b^2 as b falls to 0: three divergences."""
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


def _mean(samples: FloatArray) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(samples.mean()), float(samples.std(ddof=1) / math.sqrt(samples.size))


def _agrees(estimate: float, prediction: float, stderr: float) -> bool:
    return abs(estimate - prediction) <= _SIGMAS * stderr


def _error(left: float, right: float, tolerance: float) -> float:
    """Relative error of an identity, in units of its tolerance."""
    return abs(left / right - 1.0) / tolerance


def _violation(violated: bool) -> float:
    return math.inf if violated else 0.0


def _mode_samples(mean: FloatArray, size: int, generator: np.random.Generator) -> FloatArray:
    """Samples of one mode with identity covariance."""
    return np.asarray(mean + generator.standard_normal((size, mean.size)))


def _random_model(
    generator: np.random.Generator, separation: float, weight: float, dim: int
) -> TwoModeMixture:
    """Mixture at this separation with a random covariance and random directions."""
    root = generator.standard_normal((dim, dim)) + 2.0 * np.eye(dim)
    direction = generator.standard_normal(dim)
    direction *= separation / np.linalg.norm(direction)
    old = generator.standard_normal(dim)
    return TwoModeMixture(weight, old, old + root @ direction, root @ root.T)


def _exchanged(mixture: TwoModeMixture) -> TwoModeMixture:
    """The same density with the names of its modes exchanged."""
    return mixture.replace(
        old_weight=1.0 - mixture.old_weight, old_mean=mixture.new_mean, new_mean=mixture.old_mean
    )


def check_misassignment(configurations: int = 40, rng: Rng = 1) -> Check:
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
    generator = np.random.default_rng(rng)
    cases = [
        (float(expit(generator.uniform(-8.0, 8.0))), generator.uniform(0.2, 12.0))
        for _ in range(configurations)
    ]
    worst = 0.0
    for b, separation in [*cases, (0.5, 40.0), (0.3, 35.0), (0.5, 0.02)]:
        model = TwoModeMixture.separated(separation, old_weight=b)
        exact = misassignment_probability(model)
        mirror = misassignment_probability(model, side="new")
        affinity = math.exp(-(separation**2) / 8)
        printed = min(_sharp_bound(b, separation), _any_bound(b, affinity))
        worst = max(
            worst,
            _error(_sech_integral(b, separation), exact, 1e-9),
            _error((1.0 - b) * mirror, b * exact, 1e-11),
            _error(misassignment_bound(model), printed, 1e-12),
            exact / _any_bound(b, affinity),
            exact / _sharp_bound(b, separation),
            _lower_factor(b, separation) * _sharp_bound(b, separation) / exact,
        )
        # samples shifted along the line of the modes, up to a quarter of the way
        shift = generator.uniform(-0.25, 0.25) * separation**2
        mean = float(logit(b)) + 0.5 * separation**2 - shift
        shifted = float(sigmoid_mean(-mean, separation))
        bound = _sharp_bound(b, separation, shift)
        worst = max(worst, shifted / bound, _lower_factor(b, separation, shift) * bound / shifted)
    # a pair that is not Gaussian: old exponential, new a folded normal
    y, step = np.linspace(0.0, 60.0, 60001, retstep=True)
    old, new = np.exp(-y), math.sqrt(2 / math.pi) * np.exp(-(y**2) / 2)
    for b in (0.01, 0.5, 0.97):
        q = b * old + (1.0 - b) * new
        with np.errstate(invalid="ignore"):
            mixed = np.nan_to_num(old * new / q)
        affinity = float(np.trapezoid(np.sqrt(old * new), dx=step))
        worst = max(
            worst, (1.0 - b) * float(np.trapezoid(mixed, dx=step)) / _any_bound(b, affinity)
        )

    model = TwoModeMixture.separated(2.0, old_weight=0.6)
    samples = _mode_samples(model.old_mean, 2_000_000, generator)
    estimate, stderr = _mean(1.0 - model.responsibility(samples))
    prediction = _sech_integral(0.6, 2.0)
    return Check(
        holds=worst <= 1.0 + 1e-9 and _agrees(estimate, prediction, stderr),
        value=worst,
        bound=1.0 + 1e-9,
        estimate=estimate,
        prediction=prediction,
        stderr=stderr,
        configurations=len(cases) + 6,
        note="weight, separation and shift varied; Monte Carlo: misassigned share of old "
        "samples; " + _FALSE_ALARM,
    )


def check_monotone_retention(configurations: int = 12, rng: Rng = 2) -> Check:
    """Convexity in the weight, monotone return, speed limit, speed of regrowth.

    Parameters
    ----------
    configurations : int
        Random targets and starts for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    generator = np.random.default_rng(rng)
    nodes, weights = np.polynomial.legendre.leggauss(24)
    worst = 0.0
    cases = [(2.0, 0.7, 0.2)]  # close enough for the regrowth below, whatever the seed
    for index in range(configurations):
        # every fourth separation is large, where the speed limit is attained
        separation = 30.0 if index % 4 == 0 else generator.uniform(0.5, 6.0)
        a, b = (float(expit(generator.uniform(-3.0, 3.0))) for _ in range(2))
        cases.append((separation, a, b))
    for separation, a, b in cases:
        target = TwoModeMixture.separated(separation, old_weight=a)
        objective = ReverseKL(target)
        start = target.replace(old_weight=b)
        slope = objective.gradient(start).logit / (b * (1.0 - b))
        # L'(b) is the integral of the information from a to b, here over the logit
        middle, half = 0.5 * (logit(b) + logit(a)), 0.5 * (logit(b) - logit(a))
        integral = 0.0
        for node, weight in zip(nodes, weights, strict=True):
            w = float(expit(middle + half * node))
            integral += half * weight * w * (1.0 - w) * _information(w, separation)
        worst = max(
            worst,
            _error(integral, slope, 1e-6),
            abs(slope) / _separated_speed(float(logit(b)), float(logit(a))),
            _violation(slope * (b - a) <= 0.0),
        )
        path = gradient_flow(objective, start, np.linspace(0.0, 30.0, 40), train="weight")
        gap = (path.old_logit - target.old_logit) * np.sign(b - a)
        worst = max(worst, _violation(bool((np.diff(gap) > 1e-9).any() or (gap < -1e-9).any())))
        if separation < 3.0:
            tiny = 1e-12
            speed = -objective.gradient(target.replace(old_weight=tiny)).logit / tiny
            worst = max(worst, _error(speed, _regrowth_speed(a, separation), 1e-4))
        near = float(expit(target.old_logit + 1e-4))
        rate = objective.gradient(target.replace(old_weight=near)).logit / 1e-4
        worst = max(worst, _error(rate, _final_rate(a, separation), 1e-3))

    target = TwoModeMixture.separated(2.0, old_weight=0.75)
    model = target.replace(old_weight=0.3)
    samples, _ = model.rvs(1_000_000, generator)
    score = model.responsibility(samples) - model.old_weight
    estimate, stderr = _mean(score * (model.logpdf(samples) - target.logpdf(samples)))
    prediction = ReverseKL(target).gradient(model).logit
    return Check(
        holds=worst <= 1.0 + 1e-9 and _agrees(estimate, prediction, stderr),
        value=worst,
        bound=1.0 + 1e-9,
        estimate=estimate,
        prediction=prediction,
        stderr=stderr,
        configurations=len(cases),
        note="target, start and separation varied; Monte Carlo: score-function estimate of "
        "dL/dl; " + _FALSE_ALARM,
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
    generator = np.random.default_rng(rng)
    stencil = ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))
    worst = 0.0
    for _ in range(configurations):
        target = _random_model(
            generator, generator.uniform(0.5, 5.0), generator.uniform(0.1, 0.9), 3
        )
        model = target.replace(
            old_weight=generator.uniform(0.1, 0.9),
            old_mean=target.old_mean + generator.standard_normal(3),
            new_mean=target.new_mean + generator.standard_normal(3),
        )
        objective = ReverseKL(target)
        printed = _drift_force(model, target)
        exact = objective.gradient(model).old_mean
        mirrored = _drift_force(_exchanged(model), _exchanged(target))
        new_exact = objective.gradient(model).new_mean
        size = float(np.linalg.norm(mirrored))
        worst = max(worst, float(np.linalg.norm(mirrored - new_exact)) / size / 1e-10)
        direction = generator.standard_normal(3)
        direction /= np.linalg.norm(direction)
        slope, step = 0.0, 0.01
        for count, share in stencil:
            up, down = (
                objective.value(
                    model.replace(old_mean=model.old_mean + sign * count * step * direction)
                )
                for sign in (1, -1)
            )
            slope += share * (up - down) / step
        size = float(np.linalg.norm(printed))
        worst = max(
            worst,
            float(np.linalg.norm(printed - exact)) / size / 1e-10,
            abs(slope - float(printed @ direction)) / size / 1e-6,
        )

    target = TwoModeMixture(0.6, [0.0, 0.0], [2.0, 0.0], [[1.0, 0.3], [0.3, 1.5]])
    model = target.replace(old_weight=0.5, old_mean=[-0.6, 0.8], new_mean=[2.5, -0.5])
    prediction_vector = _drift_force(model, target)
    direction = prediction_vector / np.linalg.norm(prediction_vector)
    samples, _ = model.rvs(1_500_000, generator)
    along = (samples - model.old_mean) @ model.precision_times(direction)
    score = model.responsibility(samples) * along
    estimate, stderr = _mean(score * (model.logpdf(samples) - target.logpdf(samples)))
    prediction = float(prediction_vector @ direction)
    return Check(
        holds=worst <= 1.0 and _agrees(estimate, prediction, stderr),
        value=worst,
        bound=1.0,
        estimate=estimate,
        prediction=prediction,
        stderr=stderr,
        configurations=configurations,
        note="error against the gradient of both means (1e-10) and against sixth-order differences of the "
        "value (1e-6); Monte Carlo: score-function estimate along the force; " + _FALSE_ALARM,
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


def _cone_error(generator: np.random.Generator) -> float:
    """60 degrees: forces of any size in the cone do not add up, and those on its rim just so."""
    u = np.array([1.0, 0.0, 0.0])
    direction = generator.standard_normal((2000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    gap = u + _cone() * generator.uniform(0.0, 1.0, (2000, 1)) * direction
    push = gap / np.linalg.norm(gap, axis=1, keepdims=True)
    push *= generator.uniform(0.0, 1.0, (2000, 1))
    worst = float(np.linalg.norm(u - push, axis=1).max())
    # the tangent from the origin touches the ball of radius _cone() around u here
    sine = _cone()
    rim = math.sqrt(1.0 - sine**2) * np.array([math.sqrt(1.0 - sine**2), sine, 0.0])
    inside = float(np.linalg.norm(rim - u)) / sine
    attained = float(np.linalg.norm(u - rim / np.linalg.norm(rim)))
    return max(_violation(max(worst, inside) > 1.0 + 1e-12), _error(attained, 1.0, 1e-9))


def _path_bound(target: TwoModeMixture, path: Trajectory) -> tuple[float, bool]:
    """Bound along a path, as printed (identity covariance), and whether it is the sum."""
    gap = path.new_mean - path.old_mean
    spread = np.linalg.norm(gap - (target.new_mean - target.old_mean), axis=1).max()
    wide = bool(spread > _cone() * target.separation)
    model_pull = float(_pull(path.old_logit, np.linalg.norm(gap, axis=1)).max())
    target_pull = float(_pull(target.old_logit, target.separation))
    return _root(model_pull, target_pull, target.separation, wide), wide


def check_sharp_drift(configurations: int = 8, rng: Rng = 4) -> Check:
    """The drift along random paths against its bound; the bound nearly attained.

    Parameters
    ----------
    configurations : int
        Random starts, in one and two dimensions.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    generator = np.random.default_rng(rng)
    times = np.concatenate([np.linspace(0.0, 12.0, 121), np.linspace(12.5, 60.0, 60)])
    worst = _cone_error(generator)
    for index in range(configurations):
        separation = generator.uniform(4.0, 9.0)
        target = TwoModeMixture.separated(
            separation, old_weight=generator.uniform(0.3, 0.9), dim=1 + index % 2
        )
        error = generator.uniform(-1.0, 2.0, target.dim)
        start = target.replace(
            old_weight=generator.uniform(0.2, 0.95), new_mean=target.new_mean + error
        )
        path = gradient_flow(ReverseKL(target), start, times)
        drift = float(np.linalg.norm(path.old_mean, axis=1).max())
        # errors of at most 2 sqrt(2) keep the angle between the two gaps below 60 degrees
        printed, wide = _path_bound(target, path)
        worst = max(worst, _violation(wide))
        bound = drift_bound(target, path)
        if math.isfinite(printed):
            worst = max(worst, drift / bound, _error(bound, printed, 1e-9))
        else:
            worst = max(worst, _violation(math.isfinite(bound)))
    # Beyond 60 degrees the sum holds. A path that starts there, then paths that stay just
    # inside and just outside of the cone.
    target = TwoModeMixture.separated(6.0, old_weight=0.75, dim=2)
    path = gradient_flow(ReverseKL(target), target.replace(new_mean=[0.0, 6.0]), times)
    drift = float(np.linalg.norm(path.old_mean, axis=1).max())
    printed, wide = _path_bound(target, path)
    worst = max(worst, drift / printed, _violation(not wide))
    worst = max(worst, _error(drift_bound(target, path), printed, 1e-9))
    for share in (0.999, 1.001):
        angle = generator.uniform(2.0, math.pi)  # of U - u against u: not far outside
        error = share * _cone() * 6.0 * np.array([math.cos(angle), math.sin(angle)])
        start = target.replace(new_mean=target.new_mean + error)
        path = gradient_flow(ReverseKL(target), start, [0.0, 0.1], train="weight")
        printed, wide = _path_bound(target, path)
        worst = max(worst, _violation(wide is not (share > 1.0)))
        bound = drift_bound(target, path)
        worst = max(worst, 0.0 if bound == printed else _error(bound, printed, 1e-9))
    # Pinned: the new mean stays three standard deviations outside, the weight at the
    # target's. The old mean then comes to rest where the bound is nearly attained.
    for separation in (9.0, 10.0):
        target = TwoModeMixture.separated(separation)
        start = target.replace(new_mean=[separation + 3.0])
        path = gradient_flow(ReverseKL(target), start, np.linspace(0.0, 60.0, 3), train="old_mean")
        share = float(path.old_mean[-1, 0]) / drift_bound(target, path)
        # the misassignment integral, cut after its second and after its third term
        low = 1.0 - math.pi**2 / (2 * separation**2)
        high = low + 5 * math.pi**4 / (8 * separation**4)
        worst = max(worst, low / share / (1.0 + 1e-3), share / high / (1.0 + 1e-3))

    target = TwoModeMixture.separated(2.5, old_weight=0.75)
    model = target.replace(old_weight=0.6, old_mean=[0.1], new_mean=[3.5])
    samples = _mode_samples(model.old_mean, 2_000_000, generator)
    pull = (1.0 - target.responsibility(samples)) * 2.5
    push = (1.0 - model.responsibility(samples)) * 3.4
    estimate, stderr = _mean(pull - push)
    prediction = float(0.1 - ReverseKL(target).gradient(model).old_mean[0] / 0.6)
    return Check(
        holds=worst <= 1.0 and _agrees(estimate, prediction, stderr),
        value=worst,
        bound=1.0,
        estimate=estimate,
        prediction=prediction,
        stderr=stderr,
        configurations=configurations + 5,
        note="drift over bound along exact flows, within and beyond 60 degrees, and the bound "
        "against an independent root; "
        "Monte Carlo: the overlap force, from old samples; " + _FALSE_ALARM,
    )


def check_drift_constant(configurations: int = 2, rng: Rng = 5) -> Check:
    """The exact constant, from far separations and from exact flows.

    Parameters
    ----------
    configurations : int
        Random targets.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    generator = np.random.default_rng(rng)
    worst = 0.0
    for _ in range(configurations):
        a = generator.uniform(0.75, 0.9)
        constant = _constant(a)
        far = separated_drift(a, a, np.linspace(0.0, 40.0, 400), 1.0, separation=200.0)
        share = float(far.scaled_drift.max()) / constant
        worst = max(worst, _error(drift_constant(a), constant, 1e-12), share, 0.995 / share)
        # exact flows: new mean outside (the constant), and only the weight wrong
        for separation, b0, error in (
            (10.0, a, 1.0),
            (11.0, generator.uniform(0.1, 0.6), 0.0),
            (11.0, generator.uniform(0.92, 0.97), 0.0),
        ):
            target = TwoModeMixture.separated(separation, old_weight=a)
            start = target.replace(old_weight=b0, new_mean=[separation + error])
            times = np.linspace(0.0, 20.0, 101)
            path = gradient_flow(ReverseKL(target), start, times)
            scaled = path.old_mean[:, 0] * math.exp(separation**2 / 8)
            leading = separated_drift(a, b0, times, error, separation).scaled_drift
            size = float(np.abs(leading).max())
            worst = max(worst, float(np.abs(scaled - leading).max()) / size / 1e-3)
            # toward the new mode, or away from it if the weight starts below the target
            away = error == 0.0 and b0 < a
            worst = max(worst, _violation(bool(((scaled[1:] < 0.0) != away).any())))
        # part 2 has a limit at every time; the lemma says how far from it we are
        for b0 in (generator.uniform(0.1, 0.6), generator.uniform(0.92, 0.97)):
            times, far_off = np.linspace(0.0, 20.0, 41), 60.0
            leading = separated_drift(a, b0, times, separation=far_off).scaled_drift
            limit = _limit_drift(a, b0, times)
            neglected = (math.pi**2 + max(logit(a) ** 2, logit(b0) ** 2)) / far_off**2
            size = float(np.abs(limit).max())
            worst = max(
                worst,
                float(np.abs(leading - limit).max()) / size / neglected,
                float(np.abs(separated_drift(a, b0, times).scaled_drift - limit).max())
                / size
                / 1e-5,
            )

    # e^{D^2/8} eps D under the tilted law, where nothing is rare
    a, separation = 0.75, 60.0
    tilted = generator.normal(float(logit(a)), separation, 5_000_000)
    front = math.sqrt((1.0 - a) / a) * separation
    estimate, stderr = _mean(front / (2 * np.cosh(0.5 * np.clip(tilted, -700.0, 700.0))))
    prediction = _constant(a) * _lower_factor(a, separation)
    return Check(
        holds=worst <= 1.0 and _agrees(estimate, prediction, stderr),
        value=worst,
        bound=1.0,
        estimate=estimate,
        prediction=prediction,
        stderr=stderr,
        configurations=configurations,
        note="scaled drift over the constant at D = 200, exact flows against the leading "
        "order at D = 10 and 11, that against its limit at D = 60; Monte Carlo: the scaled "
        "force at D = 60, tilted; " + _FALSE_ALARM,
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
        Random targets and starts, in one and two dimensions.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    generator = np.random.default_rng(rng)
    t = np.geomspace(1e-6, 1e12, 4001)
    steepest = float((np.log1p(t) / np.sqrt(t)).max())
    worst = max(steepest / _log_by_root(), _log_by_root() / steepest / 1.001)
    found = 0
    for index in range(configurations):
        separation = generator.uniform(7.0, 11.0)
        dim = 1 + index % 2
        target = TwoModeMixture.separated(separation, generator.uniform(0.3, 0.8), dim)
        error = generator.standard_normal(dim)
        error *= generator.uniform(0.0, 0.12) * separation / np.linalg.norm(error)
        start = target.replace(
            old_weight=generator.uniform(0.2, 0.9), new_mean=target.new_mean + error
        )
        box = drift_box(target, start)
        if box is None:
            continue
        found += 1
        slack = box.slack
        old, new, demand, low, high = _box_demands(
            target, start, box.old_radius, box.new_radius, slack
        )
        worst = max(
            worst,
            _error(box.old_radius, old, 1e-6),
            _error(box.new_radius, new, 1e-6),
            _error(slack, demand, 1e-6),
            (box.old_radius + box.new_radius) / (_cone() * separation),
            abs(box.logit_low - low) / 1e-9,
            abs(box.logit_high - high) / 1e-9,
        )
        objective = ReverseKL(target)
        for face in ("old_mean", "new_mean", "low", "high") * 5:
            model = _on_face(target, generator, face, box.old_radius, box.new_radius, low, high)
            gradient = objective.gradient(model)
            outward = {
                "old_mean": -float(gradient.old_mean @ (model.old_mean - target.old_mean)),
                "new_mean": -float(gradient.new_mean @ (model.new_mean - target.new_mean)),
                "low": gradient.logit,
                "high": -gradient.logit,
            }[face]
            worst = max(worst, _violation(outward > 0.0))
        path = gradient_flow(objective, start, np.linspace(0.0, 40.0, 81))
        drift = np.linalg.norm(path.old_mean - target.old_mean, axis=1).max()
        worst = max(worst, float(drift) / box.old_radius)
        worst = max(worst, box.old_weight_floor / float(path.old_weight.min()))
    worst = max(worst, _violation(found < 0.5 * configurations))

    # the logit's velocity at a corner of a box: the difference of two mean log ratios
    target = TwoModeMixture.separated(7.0, old_weight=0.75)
    model = target.replace(old_weight=0.6, old_mean=[0.02], new_mean=[8.0])
    ratios = []
    for mean in (model.old_mean, model.new_mean):
        samples = _mode_samples(mean, 400_000, generator)
        ratios.append(model.logpdf(samples) - target.logpdf(samples))
    estimate, stderr = _mean(ratios[0] - ratios[1])
    spring = model.old_logit - target.old_logit + 0.5 * (0.02**2 - 1.0**2)
    box = drift_box(target, model)
    exact = ReverseKL(target).gradient(model).logit / (0.6 * 0.4)
    worst = max(worst, _violation(box is None or abs(exact - spring) > box.slack))
    return Check(
        holds=worst <= 1.0 and _agrees(estimate, exact, stderr),
        value=worst,
        bound=1.0,
        estimate=estimate,
        prediction=exact,
        stderr=stderr,
        configurations=configurations,
        note="least solution of the conditions, velocity on random points of every face, exact "
        "flows; Monte Carlo: the velocity of the logit, from samples of both modes; "
        + _FALSE_ALARM,
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


def check_sure_retention(configurations: int = 400, rng: Rng = 7) -> Check:
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
    generator = np.random.default_rng(rng)
    methods: tuple[tuple[Baseline, bool], ...] = (
        (None, False),
        (None, True),
        ("batch_mean", False),
        ("leave_one_out", False),
    )
    worst = 0.0
    batches: list[tuple[float, float, FloatArray]] = []
    for _ in range(configurations):
        b, a = (float(expit(generator.uniform(-12.0, 12.0))) for _ in range(2))
        size = int(generator.integers(2, 12))
        batches.append((b, a, generator.uniform(1.0, 30.0) * generator.standard_normal(size)))
    # where the limits on the step are attained: samples of one mode only, or half and half
    nearly = 1.0 - 2.0**-40
    batches += [(1e-9, 1e-7, np.full(2, 80.0)), (nearly, 1.0 - 2.0**-34, np.full(2, -80.0))]
    batches += [(0.3, 0.6, np.array([-90.0, 90.0]))]
    for b, a, log_ratio in batches:
        for baseline, with_replay in methods:
            replay = float(generator.uniform(0.0, 0.9)) if with_replay else 0.0
            step = _safe_step(log_ratio.size, baseline, replay)
            # at most 1 of the way, so at most 2 at twice the step: part 3
            share = step * _step_share(b, a, log_ratio, baseline, replay)
            allowed = safe_learning_rate(log_ratio.size, baseline, replay)
            worst = max(
                worst,
                share / (1.0 + 1e-5),
                _violation(share < -_ROUNDING),
                _error(step, allowed, 1e-12),
            )
    # the expected share is at least the contraction rate, and equals it somewhere
    target = TwoModeMixture.separated(2.0, old_weight=0.7)
    rate = contraction_rate(target, 0.02)
    shares = []
    for odds in np.linspace(logit(0.02), logit(0.7) - 1e-3, 50):
        model = target.replace(old_weight=float(expit(odds)))
        shares.append(ReverseKL(target).gradient(model).logit / (odds - target.old_logit))
    worst = max(worst, rate / min(shares) / (1.0 + 1e-6), _error(rate, min(shares), 1e-2))

    # every path of three ensembles, each at its largest safe step
    violations = 0
    for baseline, replay, separation, b0, dim in (
        (None, 0.0, 1.0, 0.02, 2),
        ("leave_one_out", 0.0, 3.0, 0.97, 1),
        (None, 0.25, 4.0, 0.01, 40),
    ):
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

    # part 2: the distance falls geometrically; with the batch mean by 1 - 1/N less per step
    start = target.replace(old_weight=0.4)
    first = ReverseKL(target).gradient(start).logit / (start.old_logit - target.old_logit)
    rate = contraction_rate(target, 0.4, 33)
    for baseline, h, lost in ((None, 1.0, 0.0), ("batch_mean", 4.0, 0.5)):
        run = simulate(
            ReverseKL(target),
            start,
            steps=8,
            batch_size=2,
            learning_rate=h,
            replicates=20_000,
            baseline=baseline,
            train="weight",
            rng=generator,
        )
        distance = np.abs(run.old_logit - target.old_logit)
        for step, share in ((1, first), (8, rate)):
            mean, error = _mean(distance[:, step] / distance[:, 0])
            allowed = (1.0 - h * (1.0 - lost) * share) ** step
            # one step goes exactly this far on average; many go at least as far
            slow = mean > allowed + _SIGMAS * error
            fast = step == 1 and mean < allowed - _SIGMAS * error
            worst = max(worst, _violation(slow or fast))

    start = target.replace(old_weight=0.2)
    run = simulate(
        ReverseKL(target),
        start,
        steps=1,
        batch_size=8,
        learning_rate=1.0,
        replicates=100_000,
        train="weight",
        rng=generator,
    )
    estimate, stderr = _mean(run.old_logit[:, -1] - start.old_logit)
    prediction = -ReverseKL(target).gradient(start).logit
    return Check(
        holds=worst <= 1.0 and violations == 0 and _agrees(estimate, prediction, stderr),
        value=worst,
        bound=1.0,
        estimate=estimate,
        prediction=prediction,
        stderr=stderr,
        configurations=len(batches),
        note=f"largest share of the way that a batch goes; {violations} violations on 300 paths "
        "of 400 steps; Monte Carlo: mean step from b = 0.2; " + _FALSE_ALARM,
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
            "lem-misassignment",
            chapter,
            "Misassignment",
            r"$\varepsilon \le \min(\frac12, \frac1D\sqrt{\frac\pi2}) \sqrt{\frac{1-b}{b}}\, "
            r"e^{-D^2/8}$, and at least $1 - (\pi^2 + \log^2\frac{1-b}{b})/(2D^2)$ of the second "
            r"bound; $\varepsilon \le \frac12\sqrt{\frac{1-b}{b}}\,\mathrm{BC}$ for any two "
            r"densities.",
            "proved",
            ("misassignment_probability", "misassignment_bound"),
            check_misassignment,
        ),
        Result(
            "thm-monotone-retention",
            chapter,
            "Monotone retention",
            r"With correct components $KL(q_b \| p_a)$ is strictly convex in $b$, and the logit "
            r"flow moves monotonically to $\operatorname{logit} a$ from every start.",
            "proved",
            ("ReverseKL", "gradient_flow"),
            check_monotone_retention,
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
