r"""Checks of the chapter on the plateau: how high it is, how long it lasts, who leaves it.

Setting: on the line of the modes, whitened, with the old mode at 0 and the new one at
:math:`D`: target :math:`p = a f_o + (1-a) f_n`, model :math:`q = b N(m_o) + (1-b) N(m_n)`,
loss :math:`L = KL(q \| p)`, :math:`\kappa = \sqrt{\pi(1-a)/(2a)}\, e^{-D^2/8}`. Each
printed formula is one small function below, so that a test can break it and see the check
fail.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm

from forgetlib.flow import gradient_flow
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ReverseKL
from forgetlib.overlap import misassignment_probability
from forgetlib.plateau import (
    adiabatic_escape_time,
    escape_time,
    escape_time_floor,
    flow_escape,
    plateau_height,
    plateau_moments,
    swap_threshold,
)
from forgetlib.results import Check, Result, Rng
from forgetlib.results._cases import Cases, mean_and_error

__all__ = ["results"]

FloatArray = NDArray[np.float64]


# ---- the formulas, as printed ---------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _moment(order: int, separation: float, old_weight: float, at: float = 0.0) -> float:
    """Mean derivative of log(1 + odds of new) for samples of a unit Gaussian at a point."""
    z, step = np.linspace(-12.0, 12.0 + separation, 8001, retstep=True)
    x = separation * (z + at) - 0.5 * separation**2 - float(logit(old_weight))
    s = expit(x)
    derivative = (np.logaddexp(0.0, x), s, s * expit(-x), -s * expit(-x) * np.tanh(x / 2))
    return float(separation**order * step * np.sum(norm.pdf(z) * derivative[order]))


def _leading(order: int, separation: float, old_weight: float, at: float = 0.0) -> float:
    """kappa (D / 2)^(j - 1) e^(D m / 2)."""
    odds = math.sqrt(math.pi * (1.0 - old_weight) / (2.0 * old_weight))
    tail = math.exp(-(separation**2) / 8 + separation * at / 2)
    return odds * tail * (separation / 2) ** (order - 1)


def _remainder(order: int, separation: float, old_weight: float, at: float = 0.0) -> float:
    """How far a moment can be from its leading value, relative to that."""
    l = float(logit(old_weight)) - separation * at
    spread = (
        math.pi**2 + 4 + (l + 2) ** 2,
        math.pi**2 + l**2,
        math.pi**2 - 4 + (l - 2) ** 2,
        math.pi**2 - 4 + (l - 2) ** 2,
    )
    if order == 3:
        return spread[order] / separation**2
    return -math.expm1(-spread[order] / (2 * separation**2))


def _third_factor() -> float:
    """Largest ratio of the third derivative to its leading value."""
    return 0.5 + 2 / math.pi


def _unstable_rate(weight: float, curvature: float) -> float:
    """Rate at which two merged components part."""
    product = weight * (1 - weight)
    trace = 1 - 2 * product - curvature
    return 0.5 * (math.sqrt(trace**2 + 4 * curvature * (1 - curvature) * product) - trace)


def _parting_speed(weight: float, force: float) -> float:
    """Velocity of the gap of two merged components."""
    return (2 * weight - 1) * force


def _ceiling(separation: float, old_weight: float) -> float:
    """Objective at the old mode itself."""
    return math.log(1 / old_weight) - _moment(0, separation, old_weight)


def _reference(separation: float, old_weight: float) -> float:
    """Height of the plateau, up to the slack."""
    first, second = (_moment(j, separation, old_weight) for j in (1, 2))
    return _ceiling(separation, old_weight) - first**2 / 2 - second**2 / 4


def _margin(separation: float, old_weight: float, radius: float) -> float:
    """What a radius adds to psi_2 in the bounds: R Psi_3(R) / 3."""
    return radius * _third_factor() * _leading(3, separation, old_weight, radius) / 3


def _slack(separation: float, old_weight: float, radius: float) -> float:
    """S: how far below the reference the objective can be."""
    first, second = (_moment(j, separation, old_weight) for j in (1, 2))
    extra = _margin(separation, old_weight, radius)
    total = second + extra
    bent = extra * (total + second) + radius**2 * total**2
    return first**2 * total / (2 * (1 - total)) + bent / 4


def _coarse_floor(separation: float, old_weight: float, radius: float) -> float:
    """Lower bound on the objective in any dimension."""
    return math.log(1 / old_weight) - _leading(0, separation, old_weight, radius)


def _speed_limit(separation: float, old_weight: float, distance: float) -> float:
    """Most that the distance of the pair of means from the old mode can grow per time."""
    return _leading(1, separation, old_weight, distance)


def _distance_energy(
    weight: float, old: float, new: float, separation: float, old_weight: float
) -> float:
    """Velocity of (m_o^2 + m_n^2) / 2: what spreads them out, and what pulls them in."""
    y, step = np.linspace(min(old, new) - 10.0, max(old, new) + 10.0, 4001, retstep=True)
    f_old, f_new = weight * norm.pdf(y - old), (1 - weight) * norm.pdf(y - new)
    r = f_old / (f_old + f_new)
    variance = float(step * np.sum((f_old + f_new) * (r - weight) ** 2))
    center = weight * old + (1 - weight) * new
    pull_old, pull_new = (_moment(1, separation, old_weight, m) for m in (old, new))
    pull = weight * old * pull_old + (1 - weight) * new * pull_new
    return pull - center**2 - variance * (new - old) ** 2


def _slow_floor(separation: float, old_weight: float, distance: float) -> float:
    """Time before which no mean can be half-way, from any start."""
    kappa = _leading(1, separation, old_weight)
    room = math.exp(-separation * distance / 2) - math.exp(-(separation**2) / 4)
    return 2 / (separation * kappa) * room


def _confined(model: TwoModeMixture, separation: float, old_weight: float, radius: float) -> float:
    """Squares by which the objective exceeds its lower bound, for means on the line."""
    b, old, new = model.old_weight, float(model.old_mean[0]), float(model.new_mean[0])
    first, second = (_moment(j, separation, old_weight) for j in (1, 2))
    total = second + _margin(separation, old_weight, radius)
    wide = 1 + radius**2
    center, spread = b * old + (1 - b) * new, b * (1 - b) * (new - old) ** 2
    off = center - first / (1 - total)
    return (1 - total) * off**2 / 2 + (spread - wide * total) ** 2 / (4 * wide)


def _reach(separation: float, old_weight: float, radius: float, excess: float) -> float:
    """P: most that the mean of the two means can be; excess is E = L(0) - L* + S."""
    first, second = (_moment(j, separation, old_weight) for j in (1, 2))
    room = 1 - second - _margin(separation, old_weight, radius)
    return first / room + math.sqrt(2 * excess / room)


def _widest(separation: float, old_weight: float, radius: float, excess: float) -> float:
    """V: most that their variance can be."""
    total = _moment(2, separation, old_weight) + _margin(separation, old_weight, radius)
    wide = 1 + radius**2
    return wide * total + 2 * math.sqrt(wide * excess)


def _farthest(separation: float, old_weight: float, radius: float, excess: float) -> float:
    """l_R: the size that the logit must come to before a mean can leave the box."""
    inside = radius - _reach(separation, old_weight, radius, excess)
    if inside <= 0.0:
        return 0.0
    return 2 * math.log(inside / math.sqrt(_widest(separation, old_weight, radius, excess)))


def _travel_time(distance: float, fall: float) -> float:
    """Least time for the logit to go a distance while the objective falls by this much."""
    return distance**2 / fall


def _floor(
    separation: float, old_weight: float, radius: float, excess: float, start_logit: float
) -> float:
    """Time before which both means stay within a radius."""
    room = _farthest(separation, old_weight, radius, excess) - abs(start_logit)
    return _travel_time(max(room, 0.0), excess)


def _start_share(start_logit: float) -> float:
    """Limit of L(0) - L* on the slow set, in units of psi_3 psi_2^(3/2)."""
    return -math.sinh(start_logit / 2) / 3


def _limit_share(start_logit: float) -> float:
    """Limit of the floor, in units of 1 / (psi_3 psi_2^(3/2)): the best over A."""
    widths = np.exp(0.5 * abs(start_logit) + np.linspace(0.01, 6.0, 4000))
    room = 2 * np.log(widths) - abs(start_logit)
    cost = _third_factor() * widths - 2 * math.sinh(start_logit / 2)
    return float((6 * room**2 / cost).max())


def _slow_logit(time: float, start_logit: float, constant: float) -> float:
    """Solution of l' = c cosh(l / 2)."""
    angle = math.atan(math.exp(-start_logit / 2)) - constant * time / 4
    return -2 * math.log(math.tan(angle))


def _escape(separation: float, old_weight: float, start_weight: float) -> float:
    """Blow-up time of the slow equation: 24 arctan(e^(-l0 / 2)) / (psi_3 psi_2^(3/2))."""
    second, third = (_moment(j, separation, old_weight) for j in (2, 3))
    angle = math.atan(math.sqrt((1 - start_weight) / start_weight))
    return float(24 * angle / (third * second**1.5))


def _slow_speed(old_logit: float, separation: float, old_weight: float) -> float:
    """Speed of the logit along the slow manifold of an exponential pull."""
    second, third = (_moment(j, separation, old_weight) for j in (2, 3))
    strength, b = third**2 / second, float(expit(old_logit))

    def excess(s: FloatArray) -> FloatArray:
        return b * (1 - b) * s**3 - strength * (np.expm1(b * s) - np.expm1((b - 1) * s))

    # the pull outgrows the model's resistance again far out: take the nearer root
    grid = np.geomspace(1e-12, 8.0, 4000)
    first = int((excess(grid) > 0).argmax())
    low, high = float(grid[first - 1]), float(grid[first])
    s = float(brentq(lambda x: float(excess(np.asarray(x))), low, high, xtol=1e-15))
    out, back = math.exp(b * s), math.exp((b - 1) * s)
    return second**3 / third**2 * b * (1 - b) * (0.5 * s * (out + back) - (out - back))


def _threshold(separation: float, old_weight: float, start_weight: float) -> float:
    """Where the new mean must start for the labels to swap, to leading order."""
    epsilon = misassignment_probability(TwoModeMixture.separated(separation, old_weight))
    return (2 * start_weight - 1) / start_weight * separation * epsilon


# ---- checks ---------------------------------------------------------------------------


def _on_line(weight: float, old: float, new: float) -> TwoModeMixture:
    return TwoModeMixture(weight, [old], [new])


def _slow_start(separation: float, old_weight: float, start_logit: float) -> TwoModeMixture:
    """Model with first moment psi_1 and central second moment psi_2."""
    _, first, second, _ = plateau_moments(separation, old_weight)
    width = math.sqrt(second)
    return _on_line(
        float(expit(start_logit)),
        first - width * math.exp(-start_logit / 2),
        first + width * math.exp(start_logit / 2),
    )


def _mode_samples(mean: float, size: int, generator: np.random.Generator) -> FloatArray:
    """Samples of a unit Gaussian on the line."""
    return np.asarray(mean + generator.standard_normal(size))


def _balance(
    pull: Callable[[int, float, float, float], float], separation: float, old_weight: float
) -> float:
    """Smallest place at which the pull of the new mode is the distance from the old one."""

    def excess(m: float) -> float:
        return m - pull(1, separation, old_weight, m)

    return float(brentq(excess, 0.0, 2.0 / separation, xtol=1e-15))


def _importance(
    separation: float, old_weight: float, size: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Weights and log-odds of new: samples of the old mode, drawn half-way between the modes."""
    y = _mode_samples(separation / 2, size, generator)
    weight = np.exp(separation**2 / 8 - separation * y / 2)
    return weight, separation * y - separation**2 / 2 - float(logit(old_weight))


def check_plateau_moments(configurations: int = 60, rng: Rng = 21) -> Check:
    """Moments of the plateau: integrals, leading values, bounds on the remainders.

    Parameters
    ----------
    configurations : int
        Random targets and positions for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for index, generator in enumerate(cases):
        # every third far apart, where the bounds are tight
        separation = 30.0 if index % 3 == 0 else float(generator.uniform(1.0, 12.0))
        a = float(expit(generator.uniform(-3.0, 3.0)))
        at = float(generator.uniform(-0.2, 0.2)) if index % 3 else 0.0
        exact = plateau_moments(separation, a)
        for j in range(4):
            printed = _moment(j, separation, a)
            here, lead = _moment(j, separation, a, at), _leading(j, separation, a, at)
            cases.within(printed - exact[j], 1e-9 * exact[min(j, 2)] * max(1.0, separation))
            share = _remainder(j, separation, a, at)
            if j < 3:
                cases.at_most(here, lead)
                cases.at_most(1.0 - here / lead, share)
            else:
                cases.at_most(abs(here / lead - 1.0), share)
                cases.at_most(abs(here), _third_factor() * lead)
        target = TwoModeMixture.separated(separation, old_weight=a)
        cases.equal(exact[1], separation * misassignment_probability(target), 1e-10)
    # the integral that the constant in the bound on the third derivative is made of
    positive = quad(lambda y: np.exp(y) * np.sinh(y) / np.cosh(y) ** 3, 0.0, 40.0)[0] / 2
    cases.equal(_third_factor(), positive / (math.pi / 4), 1e-9)
    weight, x = _importance(3.0, 0.6, 1_000_000, cases.generator)
    estimate, stderr = mean_and_error(9.0 * weight * expit(x) * expit(-x))
    return cases.conclude(
        estimate,
        _moment(2, 3.0, 0.6),
        stderr,
        "separation, weight and position varied; Monte Carlo: second moment at D = 3 by "
        "importance sampling",
    )


def check_plateau_merged(configurations: int = 25, rng: Rng = 22) -> Check:
    """Merged components: how they part, where they rest, and how unstable that is.

    Parameters
    ----------
    configurations : int
        Random targets and models for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        separation = float(generator.uniform(4.0, 9.0))
        a, b = (float(expit(generator.uniform(-1.5, 1.5))) for _ in range(2))
        target = TwoModeMixture.separated(separation, old_weight=a)
        objective = ReverseKL(target)
        # anywhere on the merged set the gap opens at the printed speed
        m = float(generator.uniform(-1.0, separation + 1.0))
        gradient = objective.gradient(_on_line(b, m, m))
        force = m - _moment(1, separation, a, m)
        opened = float(gradient.old_mean[0] - gradient.new_mean[0])
        scale = max(abs(force), 1.0)
        cases.within(opened - _parting_speed(b, force), 1e-10 * scale)
        cases.within(opened - _parting_speed(b, force), 1e-4 * abs(opened) + 1e-9)
        cases.within(gradient.logit, 1e-12)
        # equal weights: merged forever, in any dimension
        wide = TwoModeMixture.separated(separation, old_weight=a, dim=3)
        place = generator.standard_normal(3)
        both = ReverseKL(wide).gradient(TwoModeMixture(0.5, place, place))
        cases.within(both.old_mean - both.new_mean, 1e-12)
        # the stationary point next to the old mode
        kappa = _leading(1, separation, a)
        if kappa > 2.0 / (math.e * separation):
            continue
        rest = _balance(_moment, separation, a)
        model = _on_line(b, rest, rest)
        gradient = objective.gradient(model)
        cases.within([gradient.logit, *gradient.old_mean, *gradient.new_mean], 1e-10)
        root = _balance(_leading, separation, a)
        cases.at_most(_moment(1, separation, a), rest)
        cases.at_most(rest, root)
        value, top = objective.value(model), _ceiling(separation, a)
        cases.at_most(value, top * (1 + 1e-12))
        cases.at_most(top - rest**2 / 2, value * (1 + 1e-12))
        hessian = objective.hessian(model)
        curvature = _moment(2, separation, a, rest)
        block = np.outer([b, 1 - b], [b, 1 - b]) - curvature * np.diag([b, 1 - b])
        cases.within(hessian[0], 1e-9)
        cases.within(hessian[1:, 1:] - block, 1e-9)
        rates = np.linalg.eigvalsh(hessian[1:, 1:])
        cases.equal(_unstable_rate(b, curvature), -rates[0], 1e-5)
        cases.must(rates[0] < 0.0 < rates[1])

    a, b, m = 0.75, 0.7, -0.5
    target = TwoModeMixture.separated(3.0, old_weight=a)
    y = _mode_samples(m, 1_500_000, cases.generator)
    # slope of log(q / p) under the merged model, with the mean of y - m taken out
    estimate, stderr = mean_and_error(3.0 * (1.0 - target.responsibility(y[:, None])))
    scale = 2 * b - 1
    return cases.conclude(
        scale * (m - estimate),
        _parting_speed(b, m - _moment(1, 3.0, a, m)),
        scale * stderr,
        "separation, weights and place varied; Monte Carlo: speed at which two merged "
        "components part",
    )


def check_plateau_height(configurations: int = 60, rng: Rng = 23) -> Check:
    """Height of the plateau: bounds on the objective with both means near the old mode.

    Parameters
    ----------
    configurations : int
        Random targets and models for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for index, generator in enumerate(cases):
        separation = float(generator.uniform(4.0, 7.5))
        a = float(expit(generator.uniform(-1.0, 1.5)))
        radius = float(generator.uniform(0.02, 0.25) * separation)
        low, high = plateau_height(separation, a, radius)
        cases.equal(high, _ceiling(separation, a), 1e-10)
        target = TwoModeMixture.separated(separation, old_weight=a)
        b = float(expit(generator.uniform(-4.0, 4.0)))
        old, new = generator.uniform(-radius, radius, 2)
        if index % 2:  # near the lowest place there is
            start = _slow_start(separation, a, float(generator.uniform(-1.0, 1.0)))
            b, old, new = start.old_weight, float(start.old_mean[0]), float(start.new_mean[0])
            radius = max(abs(old), abs(new))
            low, high = plateau_height(separation, a, radius)
        if _moment(2, separation, a) + _margin(separation, a, radius) >= 1.0:
            cases.must(low == -math.inf)
            continue
        reference, slack = _reference(separation, a), _slack(separation, a, radius)
        cases.within(low - (reference - slack), 1e-7 * slack + 1e-14)
        value = ReverseKL(target).value(_on_line(b, old, new))
        cases.at_most(reference - value, slack + 1e-14)
        cases.equal(ReverseKL(target).value(_on_line(b, 0.0, 0.0)), high, 1e-10)
        # in more dimensions, off the line
        wide = TwoModeMixture.separated(separation, old_weight=a, dim=3)
        means = generator.standard_normal((2, 3))
        means *= radius * generator.uniform(0, 1, (2, 1)) / np.linalg.norm(means, axis=1)[:, None]
        somewhere = ReverseKL(wide).value(TwoModeMixture(b, *means))
        cases.at_most(_coarse_floor(separation, a, radius), somewhere)
    target = TwoModeMixture.separated(3.0, old_weight=0.6)
    y = _mode_samples(0.0, 1_000_000, cases.generator)
    estimate, stderr = mean_and_error(norm.logpdf(y) - target.logpdf(y[:, None]))
    return cases.conclude(
        estimate,
        _ceiling(3.0, 0.6),
        stderr,
        "target, radius and model varied; Monte Carlo: the objective at the old mode, D = 3",
    )


def check_plateau_speed(configurations: int = 12, rng: Rng = 24) -> Check:
    """No escape before an exponentially long time, from any start.

    Parameters
    ----------
    configurations : int
        Random targets and models for the exact part; every twentieth follows a flow.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for index, generator in enumerate(cases):
        separation = float(generator.uniform(3.0, 7.0))
        a, b = (float(expit(generator.uniform(-1.5, 1.5))) for _ in range(2))
        dim = int(generator.integers(1, 4))
        target = TwoModeMixture.separated(separation, old_weight=a, dim=dim)
        means = generator.standard_normal((2, dim)) * generator.uniform(0.05, 0.6)
        if index % 4 < 3:  # so near the old mode that the target's pull wins
            small = _moment(1, separation, a) * generator.uniform(0.05, 0.5)
            means = small * np.abs(means) / np.linalg.norm(means)
        model = TwoModeMixture(b, *means)
        distance = float(np.linalg.norm(means))
        gradient = ReverseKL(target).gradient(model)
        outward = -float(gradient.old_mean @ means[0] + gradient.new_mean @ means[1])
        if outward > 0.0:
            cases.at_most(outward, distance * _speed_limit(separation, a, distance))
        floor = escape_time_floor(target, model)
        printed = max(_slow_floor(separation, a, distance), 0.0)
        cases.must(floor >= printed * (1 - 1e-9))
        if dim > 1:  # off the line this is all there is
            cases.within(floor - printed, 1e-9 * printed + 1e-12)
        else:
            old, new = float(means[0, 0]), float(means[1, 0])
            printed = _distance_energy(b, old, new, separation, a)
            cases.within(outward - printed, 1e-8 * max(1.0, abs(printed)))
            printed = _distance_energy(b, old, new, separation, a)
            cases.equal(printed, outward, 1e-4)
        if index % 20 == 0:
            t = np.r_[0.0, np.geomspace(0.1, 200.0, 8)]
            path = gradient_flow(ReverseKL(target), model, t, rtol=1e-7)
            far = np.hypot(*(np.linalg.norm(m, axis=1) for m in (path.old_mean, path.new_mean)))
            kappa = _leading(1, separation, a)
            used = np.exp(-separation * distance / 2) - np.exp(-separation * far / 2)
            cases.at_most(np.maximum(used[1:], 0.0) * 2 / (separation * kappa), t[1:] * (1 + 1e-6))
    # where the limit is attained: far apart, almost everything old, just off the mode
    far_apart = TwoModeMixture.separated(36.0, old_weight=0.5)
    model = _on_line(1.0 - 1e-12, 1e-75, 0.0)
    outward = -float(ReverseKL(far_apart).gradient(model).old_mean[0])
    cases.at_most(outward, _speed_limit(36.0, 0.5, 1e-75))

    # the identity that the proof rests on, from samples of each component
    target, model = TwoModeMixture.separated(3.0, 0.6), _on_line(0.6, -0.4, 1.6)
    total, error = 0.0, 0.0
    for mean, share in ((-0.4, 0.6), (1.6, 0.4)):
        y = _mode_samples(mean, 1_000_000, cases.generator)[:, None]
        pull_model = -0.4 * model.responsibility(y) + 1.6 * (1 - model.responsibility(y))
        pull_target = 3.0 * (1 - target.responsibility(y))
        velocity, stderr = mean_and_error(pull_target - pull_model)
        total += share * mean * velocity
        error = math.hypot(error, share * mean * stderr)
    return cases.conclude(
        total,
        _distance_energy(0.6, -0.4, 1.6, 3.0, 0.6),
        error,
        "target, dimension, start and weight varied; Monte Carlo: velocity of the squared "
        "distance of the means from the old mode",
    )


def _rounding(separation: float, old_weight: float, start_logit: float) -> float:
    """What a floating-point objective may be off by (the library allows for the same)."""
    size = 1.0 + separation**2 / 2 + abs(float(logit(old_weight))) + abs(start_logit)
    return 16.0 * float(np.finfo(np.float64).eps) * size


def _best_floor(
    separation: float, old_weight: float, excess: float, start_logit: float, nearest: float
) -> tuple[float, float, float]:
    """The floor at its best radius, that radius, and E; the start is excess above L*."""
    best = (0.0, nearest, math.inf)
    nearest = max(nearest, 0.5 * math.sqrt(_moment(2, separation, old_weight)))
    for radius in map(float, np.geomspace(nearest, min(separation / 2, 300 * nearest), 400)):
        total = _moment(2, separation, old_weight) + _margin(separation, old_weight, radius)
        if total >= 1.0:
            break
        above = excess + _slack(separation, old_weight, radius)
        if above > 0.0:
            floor = _floor(separation, old_weight, radius, above, start_logit)
            best = max(best, (floor, radius, above))
    return best


def _above_reference(model: TwoModeMixture, separation: float, old_weight: float) -> float:
    """L - L*, by quadrature of small things only: nothing of the size of L is subtracted."""
    b, old, new = model.old_weight, float(model.old_mean[0]), float(model.new_mean[0])
    y, step = np.linspace(-12.0, 12.0 + separation, 8001, retstep=True)
    u = b * np.expm1(old * y - old**2 / 2) + (1 - b) * np.expm1(new * y - new**2 / 2)
    series = u**2 / 2 - u**3 / 6 + u**4 / 12 - u**5 / 20
    spread = np.where(np.abs(u) < 1e-3, series, (1 + u) * np.log1p(u) - u)
    pull = u * np.logaddexp(0.0, separation * y - separation**2 / 2 - float(logit(old_weight)))
    first, second = (_moment(j, separation, old_weight) for j in (1, 2))
    divergence = float(step * np.sum(norm.pdf(y) * (spread - pull)))
    return divergence + first**2 / 2 + second**2 / 4


def check_escape_floor(configurations: int = 10, rng: Rng = 25) -> Check:
    """A floor on the escape time with the exponent of the escape law.

    Parameters
    ----------
    configurations : int
        Random targets and starts for the exact part; every twentieth follows a flow.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for index, generator in enumerate(cases):
        separation = float(generator.uniform(7.5, 9.0))
        a = float(expit(generator.uniform(-0.5, 1.2)))
        start_logit = float(generator.uniform(-0.8, 0.8))
        target = TwoModeMixture.separated(separation, old_weight=a)
        objective, start = ReverseKL(target), _slow_start(separation, a, start_logit)
        nearest = float(max(np.abs(start.old_mean).max(), np.abs(start.new_mean).max()))
        rounding = _rounding(separation, a, start_logit)
        # the whole way: the objective is above its bound by at least the squares, and a
        # model in the box is no farther out, and no wider, than its objective allows
        small = 0.05
        models = [
            (0.5, -small, small, small),  # as wide as it can be
            (0.5, small, small, small),  # as far out
        ]
        for radius in (1.5 * nearest, 4.0 * nearest):
            old, new = map(float, generator.uniform(-radius, radius, 2))
            models.append((float(expit(start_logit)), old, new, radius))
        for b, old, new, radius in models:
            model = _on_line(b, old, new)
            above = _above_reference(model, separation, a)
            seen = objective.value(model) - _reference(separation, a)
            cases.within(seen - above, rounding)
            above += _slack(separation, a, radius)
            cases.at_most(_confined(model, separation, a, radius), above + rounding)
            center, spread = b * old + (1 - b) * new, b * (1 - b) * (new - old) ** 2
            cases.at_most(abs(center), _reach(separation, a, radius, above))
            cases.at_most(spread, _widest(separation, a, radius, above))
        if index % 20:
            continue
        floor = escape_time_floor(target, start)
        excess = objective.value(start) - _reference(separation, a) + rounding
        printed, radius, above = _best_floor(separation, a, excess, start_logit, nearest)
        cases.equal(floor, printed, 1e-4)
        cases.must(floor > 100.0 * _slow_floor(separation, a, nearest))
        # up to the floor the flow does what the proof says, link by link
        path = gradient_flow(objective, start, np.linspace(0.0, floor, 9), rtol=1e-8)
        means = np.abs(np.stack([path.old_mean, path.new_mean])[..., 0])
        widest = math.sqrt(_widest(separation, a, radius, above))
        reach = _reach(separation, a, radius, above) + widest * np.exp(np.abs(path.old_logit) / 2)
        cases.at_most(means, reach)
        cases.at_most(means, radius)
        cases.at_most(np.abs(path.old_logit), _farthest(separation, a, radius, above))
        heights = [_above_reference(path.model(i), separation, a) for i in range(path.t.size)]
        for i, later in enumerate(np.diff(path.t)):
            moved = float(path.old_logit[i + 1] - path.old_logit[i])
            cases.at_most(_travel_time(moved, heights[i] - heights[i + 1]), later)
        # it has the order of the escape law, with the printed constant
        far = 14.0
        unit = _moment(3, far, a) * _moment(2, far, a) ** 1.5
        height = _above_reference(_slow_start(far, a, -1.0), far, a) / unit
        cases.equal(height, _start_share(-1.0), 5e-3)
        far, unit = 44.0, _leading(3, 44.0, a) * _moment(2, 44.0, a) ** 1.5
        width = math.sqrt(_moment(2, far, a)) * math.exp(abs(start_logit) / 2)
        lower = unit * _start_share(start_logit)
        limit, _, _ = _best_floor(far, a, lower, start_logit, width)
        cases.equal(unit * limit, _limit_share(start_logit), 5e-3)

    # what the proof pays with: the squared speed, added up, is the fall of the objective
    target, start = TwoModeMixture.separated(5.0, old_weight=0.75), _slow_start(5.0, 0.75, 0.0)
    objective = ReverseKL(target)
    begin, end, count = 60.0, 160.0, 400
    edges = np.linspace(begin, end, count + 1)
    times = edges[:-1] + np.diff(edges) * cases.generator.random(count)
    path = gradient_flow(objective, start, np.r_[begin, times, end], rtol=1e-8)
    speed = np.empty(count)
    for record in range(count):
        gradient = objective.gradient(path.model(record + 1))
        speed[record] = gradient.logit**2 + float(
            gradient.old_mean @ gradient.old_mean + gradient.new_mean @ gradient.new_mean
        )
    # one time in each of many equal intervals: their neighbors tell the error
    span = end - begin
    stderr = span * math.sqrt(float(np.sum(np.diff(speed) ** 2) / 2)) / count
    return cases.conclude(
        float(span * speed.mean()),
        objective.value(path.model(0)) - objective.value(path.model()),
        stderr,
        "target and start varied; Monte Carlo: fall of the objective from squared speeds at "
        "random times",
    )


def check_arctan_law(configurations: int = 40, rng: Rng = 26) -> Check:
    """The slow equation: its moments, its solution, its end.

    Parameters
    ----------
    configurations : int
        Random targets and starts for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        separation = float(generator.uniform(4.0, 20.0))
        a, b = (float(expit(generator.uniform(-1.0, 1.5))) for _ in range(2))
        _, first, second, third = plateau_moments(separation, a)
        start_logit = float(logit(b))
        model = _slow_start(separation, a, start_logit)
        weights = np.array([b, 1.0 - b])
        means = np.array([model.old_mean[0], model.new_mean[0]])
        cases.within(weights @ means - first, 1e-9 * math.sqrt(second))
        cases.equal(weights @ (means - first) ** 2, second, 1e-9)
        skew = weights @ (means - first) ** 3 / second**1.5
        cases.within(skew - 2 * math.sinh(start_logit / 2), 1e-9 * (1 + abs(skew)))
        constant = third * second**1.5 / 6
        end = escape_time(separation, a, b)
        cases.equal(_escape(separation, a, b), end, 1e-6)
        # the equation itself, at a random time, by differences
        time = end * float(generator.uniform(0.05, 0.9))
        step = 1e-4 * end
        values = [_slow_logit(time + s, start_logit, constant) for s in (-step, 0.0, step)]
        slope = (values[2] - values[0]) / (2 * step)
        cases.equal(slope, constant * math.cosh(values[1] / 2), 1e-4)
        cases.within(_slow_logit(0.0, start_logit, constant) - start_logit, 1e-9)
        cases.must(_slow_logit(end * (1 - 1e-9), start_logit, constant) > 30.0)
    # time as a mean: dl / cosh(l / 2) with the excess over the start drawn exponential
    unit = 6 / (plateau_moments(6.0, 0.75)[3] * plateau_moments(6.0, 0.75)[2] ** 1.5)
    far = cases.generator.standard_exponential(500_000)
    start_logit = math.log(3.0)
    samples = unit * 2 * np.exp(far) / np.cosh(0.5 * start_logit + far)
    estimate, stderr = mean_and_error(samples)
    return cases.conclude(
        estimate,
        _escape(6.0, 0.75, 0.75),
        stderr,
        "target and start varied; Monte Carlo: time to the end as a mean over logits",
    )


def check_escape_time(configurations: int = 3, rng: Rng = 27) -> Check:
    """The escape law: flow against slow manifold against closed form.

    Parameters
    ----------
    configurations : int
        Random targets and starts for the exact part; every twentieth follows a flow.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for index, generator in enumerate(cases):
        a = float(generator.uniform(0.6, 0.8))
        b, c = float(generator.uniform(0.4, 0.55)), float(generator.uniform(0.6, 0.7))
        # far apart: the closed form is the time along the slow manifold
        separation = float(generator.uniform(17.0, 24.0))
        slow = adiabatic_escape_time(separation, a, b, "exponential")
        cases.equal(slow, _escape(separation, a, b), 5e-4)
        cases.equal(escape_time(separation, a, b), _escape(separation, a, b), 1e-8)
        # nearer: the manifold of an exponential pull, between two weights
        separation = float(generator.uniform(7.0, 9.0))
        part = adiabatic_escape_time(separation, a, b, "exponential")
        part -= adiabatic_escape_time(separation, a, c, "exponential")
        nodes, weights = np.polynomial.legendre.leggauss(8)
        low, high = float(logit(b)), float(logit(c))
        logits = 0.5 * (low + high) + 0.5 * (high - low) * nodes
        slowness = np.array([1 / _slow_speed(l, separation, a) for l in logits])
        cases.equal(0.5 * (high - low) * float(weights @ slowness), part, 1e-6)
        if index % 20:
            continue
        # the exact pull: the two manifolds approach each other as the separation grows
        exact, rough = (adiabatic_escape_time(9.0, a, b, pull) for pull in _PULLS)
        cases.within(exact / rough - 1.0, 0.05)
        # and the flow follows the exact manifold
        separation = float(generator.uniform(6.5, 7.2))
        target = TwoModeMixture.separated(separation, old_weight=a)
        start = _slow_start(separation, a, float(logit(b)) - 0.1)
        span = adiabatic_escape_time(separation, a, b) - adiabatic_escape_time(separation, a, c)
        t = np.linspace(0.0, 1.5 * span, 100)
        path = gradient_flow(ReverseKL(target), start, t, rtol=1e-7)
        cases.must(path.old_weight[-1] > c)
        seen = np.interp([logit(b), logit(c)], path.old_logit, path.t)
        cases.equal(seen[1] - seen[0], span, 0.02)

    # Monte Carlo: the two moments that set the time, at D = 3
    weight, x = _importance(3.0, 0.75, 1_200_000, cases.generator)
    slope = weight * expit(x) * expit(-x)
    second, third = 9.0 * slope, -27.0 * slope * np.tanh(x / 2)
    centered = 1.5 * second / second.mean() + third / third.mean()
    angle = math.atan(math.sqrt(1 / 3))
    estimate = 24 * angle / (float(third.mean()) * float(second.mean()) ** 1.5)
    return cases.conclude(
        estimate,
        _escape(3.0, 0.75, 0.75),
        estimate * mean_and_error(centered)[1],
        "target and start varied, D from 6.5 to 24; Monte Carlo: the closed form at D = 3 from "
        "sampled moments",
    )


_PULLS: tuple[Literal["exact"], Literal["exponential"]] = ("exact", "exponential")


def check_swap_threshold(configurations: int = 2, rng: Rng = 28) -> Check:
    """Which component is pulled out, just below and just above the threshold.

    Parameters
    ----------
    configurations : int
        Random targets and starts for the exact part; each follows two flows.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        separation = float(generator.uniform(8.8, 10.0))
        a, b = (float(generator.uniform(0.55, 0.85)) for _ in range(2))
        target = TwoModeMixture.separated(separation, old_weight=a)
        threshold = _threshold(separation, a, b)
        cases.equal(threshold, swap_threshold(separation, a, b), 1e-9)
        for side in (-1.0, 1.0):
            start = _on_line(b, 0.0, threshold * (1.0 + 0.006 * side))
            end = gradient_flow(ReverseKL(target), start, 30.0, rtol=1e-8).model()
            cases.must(side * float(end.new_mean[0] - end.old_mean[0]) > 0.0)
    # closer together, all the way to the end
    target = TwoModeMixture.separated(3.0, old_weight=0.75)
    for share, swapped in ((0.5, True), (2.0, False)):
        start = _on_line(0.75, 0.0, share * _threshold(3.0, 0.75, 0.75))
        escape = flow_escape(target, start, longest=150.0, rtol=1e-5)
        cases.must(escape.swapped == swapped and math.isfinite(escape.time))
    weight, x = _importance(4.0, 0.75, 1_000_000, cases.generator)
    estimate, stderr = mean_and_error(0.5 / 0.75 * 4.0 * weight * expit(x))
    return cases.conclude(
        estimate,
        _threshold(4.0, 0.75, 0.75),
        stderr,
        "target and start varied, each a little below and above; Monte Carlo: the threshold "
        "at D = 4 by importance sampling",
    )


def results() -> list[Result]:
    """Ledger entries of the chapter, in its order.

    Returns
    -------
    list of Result
    """
    chapter = "plateau"
    return [
        Result(
            "lem-plateau-moments",
            chapter,
            "What the old mode sees",
            r"$e^{-c_j/(2D^2)} \le \psi_j / (\kappa (D/2)^{j-1}) \le 1$ for $j \le 2$ and "
            r"$|\psi_3 / (\kappa (D/2)^2) - 1| \le c_2/D^2$, with explicit $c_j$ and "
            r"$\kappa = \sqrt{\pi(1-a)/(2a)}\, e^{-D^2/8}$.",
            "proved",
            ("plateau_moments",),
            check_plateau_moments,
        ),
        Result(
            "prp-plateau-merged",
            chapter,
            "Merged components",
            r"Merged means stay merged forever if $b = \frac12$; they rest where "
            r"$m = D\,\varepsilon_p(m)$, and each rest point has exactly one unstable direction.",
            "proved",
            ("ReverseKL", "gradient_flow"),
            check_plateau_merged,
        ),
        Result(
            "thm-plateau-height",
            chapter,
            "The height of the plateau",
            r"With both means within $R$ of the old mode, $\mathrm{KL}(q \| p) \ge \log\frac1a - \psi_0 - "
            r"\frac12\psi_1^2 - \frac14\psi_2^2 - S(R)$ with an explicit $S$; the infimum is at "
            r"most $\log\frac1a - \psi_0$.",
            "proved",
            ("plateau_height",),
            check_plateau_height,
        ),
        Result(
            "thm-plateau-speed",
            chapter,
            "No quick escape",
            r"From any start at distance $\rho_0$ no mean is half-way before "
            r"$\frac{2}{D\kappa}(e^{-D\rho_0/2} - e^{-D^2/4})$, in any dimension and whatever "
            r"moves the weight.",
            "proved",
            ("escape_time_floor",),
            check_plateau_speed,
            grid=600,
        ),
        Result(
            "thm-escape-floor",
            chapter,
            "A floor of the right order",
            r"From the slow set the escape takes at least $C(l_0)\,(1 - o(1)) / "
            r"(\psi_3 \psi_2^{3/2})$, of the order of $D^{-7/2} e^{5D^2/16}$; the bound is "
            r"explicit at every $D$.",
            "proved",
            ("escape_time_floor",),
            check_escape_floor,
            grid=200,
        ),
        Result(
            "prp-arctan-law",
            chapter,
            "The arctan law",
            r"$\dot l = c \cosh\frac l2$ has the solution $1 - b = \sin^2\vartheta$, "
            r"$\vartheta = \arctan e^{-l_0/2} - ct/4$, and ends at "
            r"$\frac4c \arctan e^{-l_0/2}$.",
            "proved",
            ("escape_time",),
            check_arctan_law,
        ),
        Result(
            "cnj-escape-time",
            chapter,
            "The escape time",
            r"$T \sim 24 \arctan(e^{-l_0/2}) / (\psi_3 \psi_2^{3/2})$ as $D \to \infty$.",
            "formal",
            ("escape_time", "adiabatic_escape_time", "flow_escape"),
            check_escape_time,
            grid=200,
        ),
        Result(
            "cnj-swap-threshold",
            chapter,
            "The label swap",
            r"From $m_o = \mu_o$ the labels swap if the new mean starts below "
            r"$\Delta_c \sim \frac{2b_0 - 1}{b_0} D\,\varepsilon$.",
            "formal",
            ("swap_threshold", "flow_escape"),
            check_swap_threshold,
            grid=200,
        ),
    ]
