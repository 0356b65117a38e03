r"""Checks of the chapter on forward KL: mass forgetting.

Setting: both components correct and fixed, data from the new mode only, and the log-odds
:math:`l` of the old weight :math:`b` follow :math:`\dot l = -dL/dl` with
:math:`L = \mathrm{KL}(f_n \| q_b)`; only the last two claims move the means. Each printed
formula is one small function below, so that a test can break it and see the check fail.
The flow between any two densities is :class:`forgetlib.WeightFlow`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import simpson
from scipy.special import expit, log_expit, logit, ndtr, wrightomega
from scipy.stats import norm
from scipy.stats import t as student_t

from forgetlib.flow import LogDensity, WeightFlow, gradient_flow, log_forgetting_time
from forgetlib.logistic_normal import sigmoid_square_mean
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ForwardKL
from forgetlib.overlap import (
    bhattacharyya_coefficient,
    log_weight_slope,
    misassignment_probability,
)
from forgetlib.results import Check, Result, Rng
from forgetlib.results._cases import SIGMAS, Cases, mean_and_error

__all__ = ["results"]

FloatArray = NDArray[np.float64]


# ---- the formulas, as printed ---------------------------------------------------------


def _information(old_weight: float, separation: float) -> float:
    """Fisher information of the weight, by the trapezoid rule along the line of means."""
    y, step = np.linspace(-40.0, 40.0, 8001, retstep=True)
    old, new = norm.logpdf(y + 0.5 * separation), norm.logpdf(y - 0.5 * separation)
    log_q = np.logaddexp(np.log(old_weight) + old, np.log1p(-old_weight) + new)
    square = (np.exp(old - 0.5 * log_q) - np.exp(new - 0.5 * log_q)) ** 2
    return float(step * square.sum())


def _separated_time(start_weight: float, old_weight: float) -> float:
    """Time to forget without overlap: the rise of exp(-l) - l."""
    return float(np.diff([np.exp(-logit(w)) - logit(w) for w in (start_weight, old_weight)])[0])


def _separated_weight(start_weight: float, t: float) -> float:
    """Old weight after time t without overlap, by the Wright omega function."""
    start = float(logit(start_weight))
    return float(1.0 / (1.0 + wrightomega(t + np.exp(-start) - start)))


def _clock_deficit(old_weight: float, separation: float) -> float:
    """Bound on how much overlap slows the clock, 1 - rho(b)."""
    spread = np.sqrt(old_weight * (1.0 - old_weight))
    return float(0.5 * np.exp(-(separation**2) / 8.0) / spread)


def _plateau_time(new_weight: float, separation: float) -> float:
    """Lower bound on the time from new weight c up to one half."""
    return float((1.0 / new_weight - 2.0) / np.expm1(separation**2))


def _total_variation(separation: float) -> float:
    """Total variation distance of the two modes."""
    return float(2.0 * ndtr(0.5 * separation) - 1.0)


def _cubic_clock(old_weight: float) -> float:
    """The function Psi whose derivative is -1 / (b^3 (1 - b)^2)."""
    b = old_weight
    return float(0.5 / b**2 + 2.0 / b - 1.0 / (1.0 - b) - 3.0 * logit(b))


def _tail_constant(separation: float) -> float:
    """Limit of 1 / (b^2 t): twice the chi-square divergence of the modes."""
    return float(2.0 * np.expm1(separation**2))


def _log_profile_time(x: float, separation: float) -> float:
    """Log time down to b = exp(-x D^2), to leading order with its constant."""
    d2 = separation**2
    constant = 1.0 if x < 0.5 else 0.5
    if 0.5 < x < 1.5:
        constant = np.sqrt(2.0 / np.pi) * separation * abs(np.cos(np.pi * x)) / (x + 0.5)
    return float(_profile_exponent(x) * d2 + np.log(constant))


def _profile_exponent(x: float) -> float:
    """Exponent s(x) of the time, in units of D^2."""
    if x <= 0.5:
        return x
    return 0.5 * (x + 0.5) ** 2 if x <= 1.5 else 2.0 * x - 1.0


def _log_sandwich(x: float, separation: float, start_weight: float) -> tuple[float, float]:
    """Logs of the lower and the upper bound on the time from b0 <= 1/2 to exp(-x D^2)."""
    exponent = _profile_exponent(x) * separation**2
    gap = -np.expm1(-2.0 * x * separation**2 - 2.0 * np.log(start_weight))
    ceiling = 82.0 * separation**2 * (1.0 + separation) * x
    return float(exponent + np.log(gap / 16.0)), float(exponent + np.log(ceiling))


def _log_clock_sandwich(x: float, separation: float) -> tuple[float, float]:
    """Logs of the lower and the upper bound on the clock rate at b = exp(-x D^2) <= 1/2."""
    price = (_profile_exponent(x) - x) * separation**2
    return float(-price - np.log(41.0 * (1.0 + separation))), float(np.log(8.0) - price)


def _profile_slope(x: float) -> float:
    """Slope s'(x) of the exponent: the reciprocal of the exponent of forgetting."""
    return float(np.clip(x + 0.5, 1.0, 2.0))


def _detection_bound(start_logit: float, old_logit: FloatArray) -> FloatArray:
    """Lower bound on time times divergence."""
    return np.asarray(0.25 * -np.expm1(2.0 * (old_logit - start_logit)))


def _detection_ceiling(start_logit: float, old_logit: FloatArray) -> FloatArray:
    """Upper bound on time times divergence: b times the integral of 1 / (b (1 - b))^2."""
    odds, start_odds = np.exp(old_logit), np.exp(start_logit)
    inside = 1.0 / odds - 1.0 / start_odds + start_odds - odds + 2.0 * (start_logit - old_logit)
    return np.asarray(expit(old_logit) * inside)


def _hellinger_constant(old_weight: FloatArray) -> FloatArray:
    """Upper bound C_b on KL / H^2 between the new data and q_b."""
    b = old_weight
    return np.asarray((-b - np.log1p(-b)) / (b / (1.0 + np.sqrt(1.0 - b))) ** 2)


def _mean_square_responsibility(model: TwoModeMixture) -> float:
    """E[r^2] over new data: the pull on the old mean, per unit of separation."""
    return float(sigmoid_square_mean(model.old_logit - 0.5 * model.separation**2, model.separation))


def _pull_bound(model: TwoModeMixture) -> float:
    """Upper bound on E[r^2] over new data."""
    constant = min(3.0 * np.sqrt(3.0) / 16.0, np.sqrt(np.pi / 8.0) / model.separation)
    odds = np.exp(0.5 * model.old_logit)
    return float(constant * odds * bhattacharyya_coefficient(model))


def _lyapunov_slope(mean_r: float, variance_r: float, old: FloatArray, new: FloatArray) -> float:
    """Slope of (|m_o|^2 + |m_n|^2) / 2, new data at the origin, identity covariance."""
    centroid = mean_r * old + (1.0 - mean_r) * new
    return float(-(centroid @ centroid) - variance_r * ((new - old) @ (new - old)))


# ---- checks ---------------------------------------------------------------------------


def _random_pair(kind: int, generator: np.random.Generator) -> tuple[LogDensity, LogDensity]:
    """Two random densities (old, new); of the kinds 0 and 1, chi-square is moderate."""
    distance, scale = generator.uniform(0.5, 2.0), generator.uniform(1.0, 1.2)
    freedom = generator.uniform(3.0, 6.0)

    def old(y: FloatArray) -> FloatArray:
        return np.asarray(norm.logpdf(y))

    def new(y: FloatArray) -> FloatArray:
        return np.asarray(norm.logpdf(y, distance, scale))

    def heavy(y: FloatArray) -> FloatArray:
        return np.asarray(student_t.logpdf(y, freedom))

    def heavy_new(y: FloatArray) -> FloatArray:
        return np.asarray(student_t.logpdf(y - distance, freedom))

    def two_bumps(y: FloatArray) -> FloatArray:
        bumps = norm.logpdf(y, distance, 0.5), norm.logpdf(y, distance + 2.0, scale)
        return np.asarray(np.logaddexp(*bumps) - np.log(2.0))

    return ((old, new), (heavy, heavy_new), (heavy, new), (old, two_bumps))[kind]


def _square_hellinger(log_old: LogDensity, log_new: LogDensity, b: FloatArray) -> FloatArray:
    """Square of the Hellinger distance of f_n and q_b, by the trapezoid rule in asinh(y)."""
    z, step = np.linspace(-14.0, 14.0, 3501, retstep=True)
    y = np.sinh(z)
    old, new = log_old(y), log_new(y)
    log_q = np.logaddexp(np.log(b)[:, None] + old, np.log1p(-b)[:, None] + new)
    gap = (np.exp(0.5 * log_q) - np.exp(0.5 * new)) ** 2
    return np.asarray(step * (gap * np.cosh(z)).sum(axis=1))


def _covariance(dim: int, generator: np.random.Generator) -> FloatArray:
    root = generator.standard_normal((dim, dim)) / np.sqrt(dim)
    return np.asarray(root @ root.T + 0.2 * np.eye(dim))


def _random_model(generator: np.random.Generator, low: float, high: float) -> TwoModeMixture:
    """Random weight, dimension and covariance; separation uniform in [low, high]."""
    dim = int(generator.integers(1, 6))
    covariance = _covariance(dim, generator)
    old = generator.standard_normal(dim)
    direction = generator.standard_normal(dim)
    model = TwoModeMixture(
        float(expit(generator.uniform(-6.0, 6.0))), old, old + direction, covariance
    )
    scale = generator.uniform(low, high) / model.separation
    return model.replace(new_mean=old + scale * direction)


def _new_samples(model: TwoModeMixture, size: int, generator: np.random.Generator) -> FloatArray:
    noise = model.unwhiten(generator.standard_normal((size, model.dim)))
    return np.asarray(model.new_mean + noise)


def check_mass_forgetting(configurations: int = 40, rng: Rng = 1) -> Check:
    """Slope of the loss in the logit, three ways, and by Monte Carlo.

    Parameters
    ----------
    configurations : int
        Random models for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        model = _random_model(generator, 0.3, 7.0)
        b, separation = model.old_weight, model.separation
        slope = ForwardKL(model).gradient(model).logit
        cases.equal(b**2 * (1.0 - b) * _information(b, separation), slope, 1e-8)
        epsilon = misassignment_probability(model)
        if epsilon < 0.9 * (1.0 - b):  # else the difference cancels
            cases.equal(b * (1.0 - epsilon / (1.0 - b)), slope, 1e-8)
        cases.must(slope > 0.0)
        cases.at_most(slope, b)
    model = TwoModeMixture.separated(1.5, old_weight=0.999)
    times = [0.0, 1.0, 1e2, 1e4, 1e6]
    path = gradient_flow(ForwardKL(model), model, times, train="weight", rtol=1e-6)
    loss = np.array([ForwardKL(model).value(path.model(record)) for record in range(5)])
    cases.must((np.diff(path.old_weight) < 0.0).all() and path.old_weight[-1] < 1e-3)
    cases.must((np.diff(loss) < 0.0).all() and 0.0 < loss[-1] < 1e-5)

    model = TwoModeMixture.separated(1.5, old_weight=0.6, dim=2)
    samples = _new_samples(model, 400_000, cases.generator)
    estimate, stderr = mean_and_error(model.old_weight - model.responsibility(samples))
    return cases.conclude(
        estimate,
        0.6**2 * 0.4 * _information(0.6, 1.5),
        stderr,
        "three forms of $dL/dl$ (to $10^{-8}$) and $dL/dl < b$; weight, separation, dimension "
        "and covariance varied; loss and weight fall to 0 along a flow to time $10^6$; Monte "
        "Carlo: $b - E_n[r]$ from new samples",
    )


def check_forgetting_bounds(configurations: int = 30, rng: Rng = 2) -> Check:
    """The clock, and every inequality between the exact flow and its elementary bounds.

    Parameters
    ----------
    configurations : int
        Random pairs of start and end for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for index, generator in enumerate(cases):
        # every second separation is large, where the bounds are nearly attained
        separation = generator.uniform(0.5, 5.0) if index % 2 else generator.uniform(12.0, 16.0)
        start, end = np.sort(generator.uniform(-7.0, 7.0, 2))[::-1]
        b0, b = float(expit(start)), float(expit(end))
        time = float(np.exp(log_forgetting_time(separation, start, end)))
        separated = _separated_time(b0, b)
        cases.at_most(separated, time)
        cases.at_most(_separated_weight(b0, time), b)
        deficit = max(_clock_deficit(b0, separation), _clock_deficit(b, separation))
        if deficit < 1.0:
            cases.at_most((1.0 - deficit) * time, separated)
        rate = 4.0 * _total_variation(separation) ** 2
        cases.at_most(rate * time, _cubic_clock(b) - _cubic_clock(b0))
        cases.at_most(b, (b0**-2 + 2.0 * rate * (1.0 - b0) ** 2 * time) ** -0.5)
        new_weight = float(10.0 ** generator.uniform(-10.0, -1.0))
        near = min(separation, 5.0)
        time = float(np.exp(log_forgetting_time(near, float(-logit(new_weight)), 0.0)))
        cases.at_most(_plateau_time(new_weight, near), time)
    for separation in (0.5, 1.0, 2.0):  # where the limit of the plateau is reached
        time = float(np.exp(log_forgetting_time(separation, float(-logit(1e-10)), 0.0)))
        share = _plateau_time(1e-10, separation) / time
        cases.at_most(share, 1.0)
        cases.must(share >= 0.999)
    # the ingredients where they are nearly attained
    for separation in (0.01, 0.1, 1.0):
        clock = 2.0 * np.exp(float(log_weight_slope(separation, 0.0)))
        cases.at_most(1.0 - clock, _clock_deficit(0.5, separation))
    rate = 4.0 * _total_variation(14.0) ** 2
    cases.at_most(rate, _information(0.5, 14.0))
    time = float(np.exp(log_forgetting_time(14.0, 0.05, -0.05)))
    cases.at_most(rate * time, _cubic_clock(expit(-0.05)) - _cubic_clock(expit(0.05)))
    # the same path by another clock, and the symmetry of that clock
    nodes, weights = np.polynomial.legendre.leggauss(16)
    for separation, b0, time in ((0.8, 0.9, 20.0), (2.0, 0.97, 8.0), (4.0, 0.5, 30.0)):
        model = TwoModeMixture.separated(separation, old_weight=b0)
        t = np.append(0.5 * time * (1.0 + nodes), time)
        path = gradient_flow(ForwardKL(model), model, t, train="weight", rtol=1e-8).old_weight
        clock = [b * (1.0 - b) * _information(b, separation) for b in path[:-1]]
        elapsed = 0.5 * time * float(weights @ np.array(clock))
        cases.equal(_separated_weight(b0, elapsed), path[-1], 1e-6)
        mirror = [_information(b, separation) / _information(1.0 - b, separation) for b in path[:4]]
        cases.equal(mirror, 1.0, 1e-9)

    model = TwoModeMixture.separated(2.0, old_weight=0.7)
    old_samples = cases.generator.standard_normal((400_000, 1))
    losses, stderr = mean_and_error(1.0 - model.responsibility(old_samples))
    return cases.conclude(
        1.0 - losses / 0.3,
        float(np.exp(log_weight_slope(2.0, logit(0.7)))) / 0.7,
        stderr / 0.3,
        "every inequality along exact flows, start, end and separation varied; the identity of "
        "the clocks (to $10^{-6}$), their symmetry and the limit of the plateau; Monte Carlo: "
        r"the clock rate $\rho$, from misassigned old samples",
    )


def check_forgetting_tail(configurations: int = 60, rng: Rng = 3) -> Check:
    """The constant of the square-root tail, and the floor under the weight.

    Parameters
    ----------
    configurations : int
        Random separations and starts for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        separation = generator.uniform(0.7, 6.0)
        start = generator.uniform(-3.0, 3.0)
        ends = -np.array([4.0, 1.5 * separation**2 + 6.0 * separation + 8.0])
        log_time = log_forgetting_time(separation, start, ends)
        log_inverse = np.log(_tail_constant(separation)) + log_time
        product = np.exp(log_expit(ends) + 0.5 * log_inverse)  # b sqrt(2 chi^2 t)
        cases.equal(product[1], 1.0, 1e-3)
        floor = np.exp(-0.5 * np.logaddexp(-2.0 * log_expit(start), log_inverse))
        cases.at_most(floor, np.exp(log_expit(ends)))
    # old samples see E[f_o / f_n] = 1 + chi^2
    separation = 0.7
    old_samples = cases.generator.standard_normal(1_000_000)
    ratio = np.exp(0.5 * separation**2 - separation * old_samples)
    estimate, stderr = mean_and_error(2.0 * (ratio - 1.0))
    return cases.conclude(
        estimate,
        _tail_constant(separation),
        stderr,
        r"$b \sqrt{2 (e^{D^2} - 1) t}$ deep in the tail (1 to $10^{-3}$) and the floor under "
        r"$b$ there and at $b = 0.02$; Monte Carlo: $2 \chi^2$ from old samples",
    )


def check_forgetting_profile(configurations: int = 14, rng: Rng = 4) -> Check:
    """The three-regime profile with its constants, separations 20 to 40.

    Parameters
    ----------
    configurations : int
        Random pairs of separation and depth for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    windows = [(0.1, 0.3), (0.85, 1.15), (1.8, 2.4)]
    start = np.log(9.0)
    for index, generator in enumerate(cases):
        separation = 40.0 if index < 3 else generator.uniform(20.0, 40.0)
        x = float(generator.uniform(*windows[index % 3]))
        log_b = -x * separation**2
        log_time = float(log_forgetting_time(separation, start, log_b - np.log(-np.expm1(log_b))))
        error = log_time - _log_profile_time(x, separation)
        cases.within(error, 10.0 / separation**2)
        # the sandwiches, at every separation from 1: first at the corners, then anywhere
        x = (0.5, 1.5)[index] if index < 2 else generator.uniform(0.0, 3.0)
        separation = 40.0 if index < 2 else float(np.exp(generator.uniform(0.0, np.log(40.0))))
        b0 = generator.uniform(0.05, 0.5)
        log_b = min(-x * separation**2, np.log(0.5 * b0))
        end = log_b - np.log(-np.expm1(log_b))
        log_time = float(log_forgetting_time(separation, logit(b0), end))
        log_clock = float(log_weight_slope(separation, end)) - log_b
        x = -log_b / separation**2
        for value, (low, high) in (
            (log_time, _log_sandwich(x, separation, b0)),
            (log_clock, _log_clock_sandwich(x, separation)),
        ):
            cases.at_most(np.exp([low - value, value - high]), 1.0)
    for x in (0.25, 1.0, 2.0):  # the local exponent and t KL, times their reciprocal limits
        separation, end = 40.0, -x * 40.0**2
        log_time = float(log_forgetting_time(separation, start, end))
        depth = np.linspace(0.0, 40.0, 301)
        log_slope = log_weight_slope(separation, end - depth)
        fall = np.exp(log_slope - log_slope[0])
        log_divergence = log_slope[0] + np.log(float(simpson(fall, x=depth)))
        exponent = np.exp(log_time + log_slope[0]) * _profile_slope(x)
        product = np.exp(log_time + log_divergence) * _profile_slope(x) ** 2
        cases.equal([exponent, product], 1.0, 10.0 / separation**2)
    # the clock rate in the middle window, by importance sampling around w = 0
    separation, x = 6.0, 1.0
    w = separation * cases.generator.standard_normal(300_000)
    log_b = -x * separation**2
    shift = -np.log1p(-np.exp(log_b))
    tilt = np.exp(-(x - 0.5) * w - 0.5 * (x - 0.5) ** 2 * separation**2 + log_expit(w + shift))
    estimate, stderr = mean_and_error(tilt)
    return cases.conclude(
        estimate,
        float(np.exp(log_weight_slope(separation, log_b + shift) - log_b)),
        stderr,
        r"error of $\log t$, of the local exponent and of $t\,\mathrm{KL}$, at most $10 / D^2$, "
        r"$D$ from 20 to 40, $\log t$ to 6000; both sandwiches for $D$ from 1 to 40; Monte "
        r"Carlo: the clock rate at $b = e^{-36}$, $D = 6$, by importance sampling",
    )


def check_forgetting_detection(configurations: int = 4, rng: Rng = 5) -> Check:
    """Time times divergence against its bounds, for Gaussian and other pairs.

    Parameters
    ----------
    configurations : int
        Random pairs of densities, of four kinds in turn, each with a random start.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    rounding = 1.0 + 1e-6
    for index, generator in enumerate(cases):
        log_old, log_new = _random_pair(index % 4, generator)
        flow = WeightFlow(log_old, log_new, high=generator.uniform(-2.0, 7.0))
        l, product = flow.logit[1:], (flow.time * flow.divergence)[1:]
        cases.at_most(_detection_bound(flow.logit[0], l), product * rounding)
        cases.at_most(product, _detection_ceiling(flow.logit[0], l) * rounding)
        kept = flow.slope > 1e-6  # below, the difference cancels
        kappa, b = flow.exponent[kept], expit(flow.logit[kept])
        cases.must((kappa > 1.0 - 2.0 * b) & (kappa < 2.0))
        if index % 4 < 2:  # the floor is attained
            cases.equal(product[-1], 0.25, 4e-3)
        some = np.array([0, flow.logit.size // 2, np.abs(flow.logit + 7.0).argmin()])
        b = expit(flow.logit[some])
        hellinger = _square_hellinger(log_old, log_new, b)
        cases.at_most(flow.divergence[some], _hellinger_constant(b) * hellinger * rounding)
    # hardly any overlap: the ceiling is attained
    flow = WeightFlow(lambda y: norm.logpdf(y), lambda y: norm.logpdf(y, 25.0), low=-10.0, high=0.0)
    share = (flow.time * flow.divergence)[1:] / _detection_ceiling(0.0, flow.logit[1:])
    cases.at_most(share, rounding)
    cases.must(share[-1] > 0.999)
    # the corollary: its constant, and the test itself
    cases.must(_hellinger_constant(np.array(0.5)) <= 2.26)
    weight, separation, trials = 0.02, 2.0, 500
    model = TwoModeMixture.separated(separation, old_weight=weight)
    divergence = ForwardKL(model).value(model)
    few = int(0.5 / divergence)
    many = int(1.0 + 2.0 * np.log(2.0) * float(_hellinger_constant(np.array(weight))) / divergence)
    errors = np.zeros(2)
    for is_mixture in (False, True):
        v = cases.generator.normal(-0.5 * separation**2, separation, (trials, many))
        v += is_mixture * separation**2 * (cases.generator.random(v.shape) < weight)
        evidence = np.log1p(weight * np.expm1(v)).cumsum(axis=1)[:, [few - 1, many - 1]]
        errors += ((evidence > 0.0) != is_mixture).mean(axis=0)
    noise = SIGMAS * np.sqrt(0.5 / trials)  # at most: two rates, each from its own trials
    cases.must(errors[0] >= 0.5 - noise and errors[1] <= 0.5 + noise)
    # the divergence of a heavy-tailed pair from new samples
    flow = WeightFlow(
        lambda y: student_t.logpdf(y, 3.0), lambda y: norm.logpdf(y, 3.0), low=-1.0, high=0.0
    )
    samples = cases.generator.standard_normal(300_000) + 3.0
    log_q = np.logaddexp(student_t.logpdf(samples, 3.0), norm.logpdf(samples, 3.0)) - np.log(2.0)
    estimate, stderr = mean_and_error(norm.logpdf(samples, 3.0) - log_q)
    return cases.conclude(
        estimate,
        float(flow.divergence[0]),
        stderr,
        r"$t\,\mathrm{KL}$ against its two bounds, and $\mathrm{KL}$ against $C_b H^2$, for "
        "random Gaussian, Student t, unequal-variance and two-bump pairs; both bounds are "
        "attained, the local exponent lies in $(1 - 2b, 2)$, and the likelihood-ratio test errs "
        r"as the corollary says; Monte Carlo: $\mathrm{KL}$ of a Student t pair",
    )


def check_old_mean_pull(configurations: int = 60, rng: Rng = 6) -> Check:
    """The pull on the old mean: formula, bound, and its tie to the local exponent.

    Parameters
    ----------
    configurations : int
        Random models for the exact part.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        model = _random_model(generator, 0.3, 7.0)
        objective = ForwardKL(model)
        gradient = objective.gradient(model)
        curvature = float(objective.hessian(model)[0, 0])
        pull = _mean_square_responsibility(model)
        expected = -pull * model.precision_times(model.new_mean - model.old_mean)
        cases.within(gradient.old_mean - expected, 1e-8 * np.abs(expected).max())
        # E r^2 = b^2 + (kappa - 1) g, in units of the largest term
        tied = model.old_weight**2 + curvature - gradient.logit
        cases.within(pull - tied, 1e-8 * max(pull, model.old_weight**2))
        cases.at_most(pull, _pull_bound(model))
    for separation in (40.0, 60.0):  # where the bound is nearly attained
        model = TwoModeMixture.separated(separation, old_weight=0.5)
        ratio = _mean_square_responsibility(model) / _pull_bound(model)
        cases.must(1.0 - 10.0 / separation**2 <= ratio <= 1.0)
    for x, limit in ((0.3, 0.0), (1.0, 0.5), (1.8, 1.0)):  # deep: the share of the pull
        log_b = -x * 15.0**2
        slope = np.exp(log_weight_slope(15.0, log_b))
        ratio = float(sigmoid_square_mean(log_b - 112.5, 15.0) / slope)
        cases.within(ratio - limit, 0.01)

    model = TwoModeMixture(0.6, [0.0, 0.0], [1.2, -0.9], [[1.0, 0.3], [0.3, 0.5]])
    samples = _new_samples(model, 300_000, cases.generator)
    along = model.precision_times(model.new_mean - model.old_mean)
    estimate, stderr = mean_and_error(
        model.responsibility(samples) * ((samples - model.old_mean) @ along)
    )
    return cases.conclude(
        estimate,
        _mean_square_responsibility(model) * model.separation**2,
        stderr,
        r"the gradient, $E_n[r^2] = b^2 + (\kappa - 1)\, dL/dl$ (both to $10^{-8}$) and the "
        "bound; weight, separation, dimension and covariance varied; Monte Carlo: the pull "
        "along the line of means, from new samples",
    )


def _lyapunov_slopes(model: TwoModeMixture, objective: ForwardKL) -> tuple[float, float]:
    """Slope of the Lyapunov function along the flow: from the gradient, and as printed."""
    gradient = objective.gradient(model)
    center = objective.target.new_mean
    old, new = model.old_mean - center, model.new_mean - center
    actual = -(gradient.old_mean @ old + gradient.new_mean @ new)
    old, new = model.whiten(old), model.whiten(new)
    mean_odds = model.old_logit + 0.5 * (new @ new - old @ old)
    mean_r = model.old_weight - gradient.logit
    variance = float(sigmoid_square_mean(mean_odds, model.separation)) - mean_r**2
    return float(actual), _lyapunov_slope(mean_r, variance, old, new)


def check_region_loss(configurations: int = 26, rng: Rng = 7) -> Check:
    """The Lyapunov identity, and where flows from random starts end.

    Parameters
    ----------
    configurations : int
        Random models for the identity; a flow starts in every 25th case.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for index, generator in enumerate(cases):
        covariance = _covariance(3, generator)
        means = generator.normal(0.0, 1.0, (4, 3))
        target = TwoModeMixture(0.5, means[0], means[1], covariance)
        model = TwoModeMixture(
            float(expit(generator.uniform(-3.0, 3.0))), means[2], means[3], covariance
        )
        actual, printed = _lyapunov_slopes(model, ForwardKL(target))
        cases.equal(printed, actual, 1e-8)
        if index % 25:
            continue
        spread: FloatArray | None = _covariance(2, generator) if index % 50 else None
        target = TwoModeMixture(0.5, [3.0, 0.0], [0.0, 0.0], spread)
        means = generator.normal(0.0, 1.0, (2, 2))
        start = TwoModeMixture(
            float(expit(generator.uniform(-2.0, 2.0))), means[0], means[1], spread
        )
        objective = ForwardKL(target)
        times = [0.0, 1.0, 10.0, 100.0, 1e5, 1e6]
        path = gradient_flow(objective, start, times, rtol=1e-5)  # plain, whatever the covariance
        height = 0.5 * (path.old_mean**2 + path.new_mean**2).sum(axis=1)
        loss = np.array([objective.value(path.model(record)) for record in range(len(times))])
        cases.must((np.diff(height) < 1e-5).all() and (np.diff(loss) < 0.0).all())
        # the third case: components merge, the weight stays, the loss falls like 1 / t^2
        cases.must(abs(np.diff(path.old_weight[-2:])[0]) < 1e-3 and path.model().separation < 0.1)
        end, middle = path.model(), 0.5 * target.separation
        gradient = np.concatenate(
            [np.ravel(part) for part in objective.gradient(end)]
        )  # the loss falls at the rate |gradient|^2
        cases.must(1.5 < times[-1] * (gradient @ gradient) / loss[-1] < 2.1 and loss[-1] < 1e-8)
        # the half space nearer to the old mode of the target
        axis = target.whiten(target.new_mean - target.old_mean) / target.separation
        old, new = (
            float(ndtr(middle - target.whiten(mean - target.old_mean) @ axis))
            for mean in (end.old_mean, end.new_mean)
        )
        region = end.old_weight * old + (1.0 - end.old_weight) * new
        cases.at_most(abs(region - float(ndtr(-middle))), np.sqrt(0.5 * loss[-1]) + 1e-9)

    model = TwoModeMixture(0.6, [2.0, 0.5], [-1.0, 1.0])
    y = cases.generator.standard_normal((200_000, 2))
    r = model.responsibility(y)
    estimate, stderr = mean_and_error(
        r * ((y - model.old_mean) @ model.old_mean)
        + (1.0 - r) * ((y - model.new_mean) @ model.new_mean)
    )
    _, prediction = _lyapunov_slopes(model, ForwardKL(TwoModeMixture(0.5, [3.0, 0.0], [0.0, 0.0])))
    return cases.conclude(
        estimate,
        prediction,
        stderr,
        "slope of the Lyapunov function (to $10^{-8}$); along a flow from every 25th start "
        "it and the loss fall, the components merge at a weight that stays, the loss goes like "
        "$1/t^2$, and the old region loses what the old mode added; Monte Carlo: the slope, "
        "from new samples",
    )


def results() -> list[Result]:
    """Claims of the chapter on forward KL, in the order of the page.

    Returns
    -------
    list of Result
    """
    chapter = "forward_kl"
    return [
        Result(
            "thm-mass-forgetting",
            chapter,
            "Mass forgetting",
            r"With correct, fixed components and new data only, $dL/dl = b^2 (1-b) I(b) > 0$: the "
            r"old weight falls to $0$ from every start.",
            "proved",
            ("ForwardKL", "gradient_flow", "forgetting_time"),
            check_mass_forgetting,
        ),
        Result(
            "prp-forgetting-bounds",
            chapter,
            "Overlap slows the clock",
            r"$b(t) = b_{\mathrm{sep}}(\int_0^t \rho)$ with clock rate $\rho = b(1-b)I(b) < 1$; "
            r"start-up plateau of length at least $(1/(1-b_0) - 2)/(e^{D^2}-1)$; "
            r"$\Psi(b(t)) - \Psi(b_0) \ge 4\,\mathrm{TV}^2\, t$.",
            "proved",
            ("forgetting_time", "misassignment_probability"),
            check_forgetting_bounds,
        ),
        Result(
            "prp-forgetting-tail",
            chapter,
            "The square-root tail",
            r"$b(t) \ge [b_0^{-2} + 2 (e^{D^2}-1) t]^{-1/2}$ for all $t$, and "
            r"$b(t) \sqrt{2 (e^{D^2}-1) t} \to 1$.",
            "proved",
            ("log_forgetting_time",),
            check_forgetting_tail,
        ),
        Result(
            "thm-forgetting-profile",
            chapter,
            "The profile of forgetting",
            r"With $t = e^{s D^2}$ and $D \to \infty$, $-\log b(t) / D^2 \to s$ for $s \le 1/2$, "
            r"$\sqrt{2s} - 1/2$ for $1/2 \le s \le 2$, $(s+1)/2$ for $s \ge 2$.",
            "proved",
            ("log_forgetting_time",),
            check_forgetting_profile,
            grid=600,
        ),
        Result(
            "thm-forgetting-detection",
            chapter,
            "Forgetting takes as long as detection",
            r"For any two densities, $\frac14 [1 - (\mathrm{odds}(b) / \mathrm{odds}(b_0))^2] \le "
            r"t\, \mathrm{KL}(f_n \| q_b) \le b \int_b^{b_0} \frac{d\beta}{\beta^2 (1-\beta)^2}$; as "
            r"$b \to 0$ the bounds tend to $\frac14$ and $1$.",
            "proved",
            ("WeightFlow",),
            check_forgetting_detection,
            grid=200,
        ),
        Result(
            "prp-old-mean-pull",
            chapter,
            "The pull on the old mean",
            r"At correct means $\nabla_{m_o} L = -E_n[r^2]\, \Sigma^{-1}(\mu_n - \mu_o)$, with "
            r"$E_n[r^2] \le \min(\frac{3\sqrt3}{16}, \frac1{2D}\sqrt{\frac{\pi}{2}}) "
            r"\sqrt{b/(1-b)}\, e^{-D^2/8}$ and $E_n[r^2] = b^2 + (\kappa - 1)\, dL/dl$.",
            "proved",
            ("ForwardKL",),
            check_old_mean_pull,
        ),
        Result(
            "thm-region-loss",
            chapter,
            "Loss of the old region when everything is trained",
            r"If weight and both means are trained, $\mathrm{KL}(f_n \| q) \to 0$ from every start with "
            r"$b_0 \in (0, 1)$; the probability of every region tends to what $f_n$ gives it. The "
            r"flow ends at $b = 0$, at $b = 1$, or with merged components and a frozen weight, and "
            r"then $\mathrm{KL} = O(t^{-2})$.",
            "proved",
            ("ForwardKL", "gradient_flow"),
            check_region_loss,
        ),
    ]
