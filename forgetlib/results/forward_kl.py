r"""Checks of the chapter on forward KL: mass forgetting.

Setting: both components correct and fixed, data from the new mode only, and the log-odds
:math:`l` of the old weight :math:`b` follow :math:`l' = -L'(l)` with
:math:`L = KL(f_n \| q_b)`; only the last two claims move the means. Each printed formula
is one small function below, so that a test can break it and see the check fail. The flow
between any two densities is :class:`forgetlib.WeightFlow`.

Every Monte Carlo part accepts an estimate within 4.5 standard errors of the prediction:
a false alarm has probability 7e-6, and with the default seed none happens.
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

__all__ = ["results"]

FloatArray = NDArray[np.float64]

_SIGMAS = 4.5
_FALSE_ALARM = "false-alarm rate of the Monte Carlo part 7e-6"


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
    """The function Psi with Psi' = -1 / (b^3 (1 - b)^2)."""
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


# ---- pairs of densities --------------------------------------------------------------


def _pairs() -> dict[str, tuple[LogDensity, LogDensity]]:
    """Pairs of densities (old, new) of very different kinds."""

    def two_bumps(y: FloatArray) -> FloatArray:
        return np.asarray(
            np.logaddexp(norm.logpdf(y, 2.0, 0.5), norm.logpdf(y, 4.0, 1.0)) - np.log(2.0)
        )

    return {
        "Gaussian, D = 1": (lambda y: norm.logpdf(y), lambda y: norm.logpdf(y, 1.0)),
        "Gaussian, D = 2": (lambda y: norm.logpdf(y), lambda y: norm.logpdf(y, 2.0)),
        "unequal variance": (
            lambda y: norm.logpdf(y, 0.0, 0.8),
            lambda y: norm.logpdf(y, 2.0, 1.0),
        ),
        "heavy-tailed old mode": (
            lambda y: student_t.logpdf(y, 3.0),
            lambda y: norm.logpdf(y, 3.0),
        ),
        "Student t, both": (
            lambda y: student_t.logpdf(y, 4.0),
            lambda y: student_t.logpdf(y - 3.0, 4.0),
        ),
        "two bumps of new data": (lambda y: norm.logpdf(y), two_bumps),
    }


_FINITE = ("Gaussian, D = 1", "Gaussian, D = 2", "unequal variance", "Student t, both")


def _square_hellinger(log_old: LogDensity, log_new: LogDensity, b: FloatArray) -> FloatArray:
    """Square of the Hellinger distance of f_n and q_b, by the trapezoid rule in asinh(y)."""
    z, step = np.linspace(-14.0, 14.0, 7001, retstep=True)
    y = np.sinh(z)
    log_q = np.logaddexp(np.log(b)[:, None] + log_old(y), np.log1p(-b)[:, None] + log_new(y))
    gap = (np.exp(0.5 * log_q) - np.exp(0.5 * log_new(y))) ** 2
    return np.asarray(step * (gap * np.cosh(z)).sum(axis=1))


# ---- random configurations ------------------------------------------------------------


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


def _agrees(estimate: float, prediction: float, stderr: float) -> bool:
    return abs(estimate - prediction) <= _SIGMAS * stderr


def _mean(sample: FloatArray) -> tuple[float, float]:
    return float(sample.mean()), float(sample.std(ddof=1) / np.sqrt(sample.size))


def _new_samples(model: TwoModeMixture, size: int, generator: np.random.Generator) -> FloatArray:
    noise = model.unwhiten(generator.standard_normal((size, model.dim)))
    return np.asarray(model.new_mean + noise)


# ---- the checks -----------------------------------------------------------------------


def check_mass_forgetting(configurations: int = 60, rng: Rng = 1) -> Check:
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
    generator = np.random.default_rng(rng)
    worst, inside = 0.0, True
    for _ in range(configurations):
        model = _random_model(generator, 0.3, 7.0)
        b, separation = model.old_weight, model.separation
        slope = ForwardKL(model).gradient(model).logit
        by_information = b**2 * (1.0 - b) * _information(b, separation)
        worst = max(worst, abs(by_information / slope - 1.0))
        epsilon = misassignment_probability(model)
        if epsilon < 0.9 * (1.0 - b):  # else the difference cancels
            by_misassignment = b * (1.0 - epsilon / (1.0 - b))
            worst = max(worst, abs(by_misassignment / slope - 1.0))
        inside = inside and 0.0 < slope < b
    model = TwoModeMixture.separated(1.5, old_weight=0.999)
    path = gradient_flow(ForwardKL(model), model, [0.0, 1.0, 1e2, 1e4, 1e6], train="weight")
    loss = np.array([ForwardKL(model).value(path.model(record)) for record in range(5)])
    inside = inside and bool((np.diff(path.old_weight) < 0.0).all() and path.old_weight[-1] < 1e-3)
    inside = inside and bool((np.diff(loss) < 0.0).all() and 0.0 < loss[-1] < 1e-5)
    model = TwoModeMixture.separated(1.5, old_weight=0.6, dim=3)
    samples = _new_samples(model, 400_000, generator)
    estimate, stderr = _mean(model.old_weight - model.responsibility(samples))
    prediction = 0.6**2 * 0.4 * _information(0.6, 1.5)
    return Check(
        holds=inside and worst <= 1e-8 and _agrees(estimate, prediction, stderr),
        value=worst,
        bound=1e-8,
        estimate=estimate,
        prediction=prediction,
        stderr=stderr,
        configurations=configurations,
        note="relative error of dL/dl; weight, separation, dimension and covariance varied; the "
        "slope lies in (0, b), and loss and weight fall to 0 along a flow to time 1e6; "
        + _FALSE_ALARM,
    )


def check_forgetting_bounds(configurations: int = 40, rng: Rng = 2) -> Check:
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
    generator = np.random.default_rng(rng)
    ratios: list[float] = []
    exact = True
    for index in range(configurations):
        # every second separation is large, where the bounds are nearly attained
        separation = generator.uniform(0.5, 5.0) if index % 2 else generator.uniform(12.0, 16.0)
        start, end = np.sort(generator.uniform(-7.0, 7.0, 2))[::-1]
        b0, b = float(expit(start)), float(expit(end))
        time = float(np.exp(log_forgetting_time(separation, start, end)))
        separated = _separated_time(b0, b)
        ratios += [separated / time, _separated_weight(b0, time) / b]
        deficit = max(_clock_deficit(b0, separation), _clock_deficit(b, separation))
        if deficit < 1.0:
            ratios.append((1.0 - deficit) * time / separated)
        rate = 4.0 * _total_variation(separation) ** 2
        ratios.append(rate * time / (_cubic_clock(b) - _cubic_clock(b0)))
        crude = (b0**-2 + 2.0 * rate * (1.0 - b0) ** 2 * time) ** -0.5
        ratios.append(b / crude)
    for separation in (0.5, 1.0, 2.0, 3.0):
        for new_weight in (0.1, 1e-3, 1e-6, 1e-10):
            start = float(-logit(new_weight))
            time = float(np.exp(log_forgetting_time(separation, start, 0.0)))
            ratios.append(_plateau_time(new_weight, separation) / time)
            if new_weight == 1e-10 and separation <= 2.0:  # where the limit is reached
                exact = exact and ratios[-1] >= 0.999
    # the ingredients where they are nearly attained
    for separation in (0.01, 0.1, 1.0):
        clock = 2.0 * np.exp(float(log_weight_slope(separation, 0.0)))
        ratios.append((1.0 - clock) / _clock_deficit(0.5, separation))
    rate = 4.0 * _total_variation(14.0) ** 2
    ratios.append(rate / _information(0.5, 14.0))
    time = float(np.exp(log_forgetting_time(14.0, 0.05, -0.05)))
    ratios.append(rate * time / (_cubic_clock(expit(-0.05)) - _cubic_clock(expit(0.05))))
    worst = max(ratios)
    # the same path by another clock, and the symmetry of that clock
    nodes, weights = np.polynomial.legendre.leggauss(24)
    for separation, b0, time in ((0.8, 0.9, 20.0), (2.0, 0.97, 8.0), (4.0, 0.5, 30.0)):
        model = TwoModeMixture.separated(separation, old_weight=b0)
        t = np.append(0.5 * time * (1.0 + nodes), time)
        path = gradient_flow(ForwardKL(model), model, t, train="weight").old_weight
        clock = [b * (1.0 - b) * _information(b, separation) for b in path[:-1]]
        elapsed = 0.5 * time * float(weights @ np.array(clock))
        exact = exact and abs(_separated_weight(b0, elapsed) / path[-1] - 1.0) <= 1e-7
        mirror = [_information(b, separation) / _information(1.0 - b, separation) for b in path[:4]]
        exact = exact and float(np.abs(np.array(mirror) - 1.0).max()) <= 1e-9

    model = TwoModeMixture.separated(2.0, old_weight=0.7)
    old_samples = generator.standard_normal((400_000, 1))
    losses, stderr = _mean(1.0 - model.responsibility(old_samples))
    estimate, stderr = 1.0 - losses / 0.3, stderr / 0.3
    prediction = float(np.exp(log_weight_slope(2.0, logit(0.7)))) / 0.7
    return Check(
        holds=exact and worst <= 1.0 + 1e-9 and _agrees(estimate, prediction, stderr),
        value=worst,
        bound=1.0 + 1e-9,
        estimate=estimate,
        prediction=prediction,
        stderr=stderr,
        configurations=configurations + 21,
        note="worst ratio of left to right side over all inequalities; the identity of the "
        "clocks, their symmetry and the limit of the plateau are checked too; Monte Carlo: the "
        "clock rate, from misassigned old samples; " + _FALSE_ALARM,
    )


def check_forgetting_tail(configurations: int = 20, rng: Rng = 3) -> Check:
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
    generator = np.random.default_rng(rng)
    worst, floor_holds = 0.0, True
    for _ in range(configurations):
        separation = generator.uniform(0.7, 6.0)
        start = generator.uniform(-3.0, 3.0)
        ends = -np.array([4.0, 1.5 * separation**2 + 6.0 * separation + 8.0])
        log_time = log_forgetting_time(separation, start, ends)
        log_inverse = np.log(_tail_constant(separation)) + log_time
        product = np.exp(log_expit(ends) + 0.5 * log_inverse)  # b sqrt(2 chi^2 t)
        worst = max(worst, abs(float(product[1]) - 1.0))
        floor = np.exp(-0.5 * np.logaddexp(-2.0 * log_expit(start), log_inverse))
        floor_holds = floor_holds and bool((floor <= np.exp(log_expit(ends)) * (1 + 1e-9)).all())
    # old samples see E[f_o / f_n] = 1 + chi^2
    separation = 0.7
    old_samples = generator.standard_normal(2_000_000)
    ratio = np.exp(0.5 * separation**2 - separation * old_samples)
    estimate, stderr = _mean(2.0 * (ratio - 1.0))
    prediction = _tail_constant(separation)
    return Check(
        holds=floor_holds and worst <= 1e-3 and _agrees(estimate, prediction, stderr),
        value=worst,
        bound=1e-3,
        estimate=estimate,
        prediction=prediction,
        stderr=stderr,
        configurations=configurations,
        note="distance of b sqrt(2 (e^{D^2} - 1) t) from 1, deep in the tail; Monte Carlo: "
        "the chi-square divergence; " + _FALSE_ALARM,
    )


def check_forgetting_profile(configurations: int = 24, rng: Rng = 4) -> Check:
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
    generator = np.random.default_rng(rng)
    windows = [(0.1, 0.3), (0.85, 1.15), (1.8, 2.4)]
    worst = 0.0
    for index in range(configurations):
        separation = 40.0 if index < 3 else generator.uniform(20.0, 40.0)
        x = float(generator.uniform(*windows[index % 3]))
        log_b = -x * separation**2
        end = log_b - np.log(-np.expm1(log_b))
        log_time = float(log_forgetting_time(separation, np.log(9.0), end))
        error = abs(log_time - _log_profile_time(x, separation))
        worst = max(worst, separation**2 * error)
    inside = True
    for index in range(2 * configurations):  # the sandwiches, at every separation from 1
        # the corners, then anywhere
        x = (0.5, 1.5)[index] if index < 2 else generator.uniform(0.0, 3.0)
        separation = 40.0 if index < 2 else np.exp(generator.uniform(0.0, np.log(40.0)))
        b0 = generator.uniform(0.05, 0.5)
        log_b = min(-x * separation**2, np.log(0.5 * b0))
        end = log_b - np.log(-np.expm1(log_b))
        log_time = float(log_forgetting_time(separation, logit(b0), end))
        low, high = _log_sandwich(-log_b / separation**2, separation, b0)
        inside = inside and low <= log_time <= high
        log_clock = float(log_weight_slope(separation, end)) - log_b
        low, high = _log_clock_sandwich(-log_b / separation**2, separation)
        inside = inside and low <= log_clock <= high
    for x in (0.25, 1.0, 2.0):  # the local exponent and t KL, times their reciprocal limits
        separation, end = 40.0, -x * 40.0**2
        log_time = float(log_forgetting_time(separation, np.log(9.0), end))
        depth = np.linspace(0.0, 40.0, 301)
        log_slope = log_weight_slope(separation, end - depth)
        fall = np.exp(log_slope - log_slope[0])
        log_divergence = log_slope[0] + np.log(float(simpson(fall, x=depth)))
        exponent = np.exp(log_time + log_slope[0]) * _profile_slope(x)
        product = np.exp(log_time + log_divergence) * _profile_slope(x) ** 2
        worst = max(worst, separation**2 * float(max(abs(exponent - 1.0), abs(product - 1.0))))
    # the clock rate in the middle window, by importance sampling around w = 0
    separation, x = 10.0, 1.0
    w = separation * generator.standard_normal(1_000_000)
    log_b = -x * separation**2
    shift = -np.log1p(-np.exp(log_b))
    tilt = np.exp(-(x - 0.5) * w - 0.5 * (x - 0.5) ** 2 * separation**2 + log_expit(w + shift))
    estimate, stderr = _mean(tilt)
    exact = float(np.exp(log_weight_slope(separation, log_b + shift) - log_b))
    return Check(
        holds=inside and worst <= 10.0 and _agrees(estimate, exact, stderr),
        value=worst,
        bound=10.0,
        estimate=estimate,
        prediction=exact,
        stderr=stderr,
        configurations=configurations,
        note="D^2 times the error of the log time, D from 20 to 40, log times to 6000, and of the "
        "local exponent and t KL; both sandwiches hold for D from 1 to 40; Monte Carlo: the clock rate at b = e^{-100}, D = 10, by importance sampling; "
        + _FALSE_ALARM,
    )


def check_forgetting_detection(configurations: int = 6, rng: Rng = 5) -> Check:
    """Time times divergence against its bound, for Gaussian and other pairs.

    Parameters
    ----------
    configurations : int
        How many of the six pairs of densities.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    generator = np.random.default_rng(rng)
    pairs = _pairs()
    worst, sharp = 0.0, True
    for name in list(pairs)[:configurations]:
        for start_weight in (0.5, 0.999):
            flow = WeightFlow(*pairs[name], high=float(logit(start_weight)))
            l, product = flow.logit[1:], (flow.time * flow.divergence)[1:]
            worst = max(worst, float((_detection_bound(flow.logit[0], l) / product).max()))
            worst = max(worst, float((product / _detection_ceiling(flow.logit[0], l)).max()))
            kappa = flow.exponent[flow.slope > 1e-6]  # below, the difference cancels
            b = expit(flow.logit[flow.slope > 1e-6])
            sharp = sharp and bool(((kappa > 1.0 - 2.0 * b) & (kappa < 2.0)).all())
            if name in _FINITE:  # chi-square is finite: the floor is attained
                sharp = sharp and abs(product[-1] - 0.25) < 1e-3
    # hardly any overlap: the ceiling is attained
    flow = WeightFlow(lambda y: norm.logpdf(y), lambda y: norm.logpdf(y, 25.0), low=-10.0, high=0.0)
    product = (flow.time * flow.divergence)[1:]
    ratio = product / _detection_ceiling(0.0, flow.logit[1:])
    worst, sharp = max(worst, float(ratio.max())), sharp and ratio[-1] > 0.999
    # the corollary: KL against the Hellinger distance, and the test itself
    ends = np.array([0.5, 1e-3])
    for log_old, log_new in list(pairs.values())[:configurations]:
        flow = WeightFlow(log_old, log_new, low=float(logit(ends[1])), high=0.0)
        bound = _hellinger_constant(ends) * _square_hellinger(log_old, log_new, ends)
        worst = max(worst, float((flow.divergence[[0, -1]] / bound).max()))
    sharp = sharp and float(_hellinger_constant(np.array(0.5))) <= 2.26
    weight, separation, trials = 0.02, 2.0, 1000
    model = TwoModeMixture.separated(separation, old_weight=weight)
    divergence = ForwardKL(model).value(model)
    few = int(0.5 / divergence)
    many = int(1.0 + 2.0 * np.log(2.0) * float(_hellinger_constant(np.array(weight))) / divergence)
    errors = np.zeros(2)
    for is_mixture in (False, True):
        v = generator.normal(-0.5 * separation**2, separation, (trials, many))
        v += is_mixture * separation**2 * (generator.random(v.shape) < weight)
        evidence = np.log1p(weight * np.expm1(v)).cumsum(axis=1)[:, [few - 1, many - 1]]
        errors += ((evidence > 0.0) != is_mixture).mean(axis=0)
    noise = _SIGMAS * np.sqrt(0.5 / trials)  # at most: two rates, each from its own trials
    sharp = sharp and errors[0] >= 0.5 - noise and errors[1] <= 0.5 + noise
    # the divergence of the heavy-tailed pair from new samples
    flow = WeightFlow(*pairs["heavy-tailed old mode"], low=-1.0, high=0.0)
    samples = generator.standard_normal(400_000) + 3.0
    log_q = np.logaddexp(student_t.logpdf(samples, 3.0), norm.logpdf(samples, 3.0)) - np.log(2.0)
    estimate, stderr = _mean(norm.logpdf(samples, 3.0) - log_q)
    prediction = float(flow.divergence[0])
    return Check(
        holds=bool(sharp) and worst <= 1.0 + 1e-6 and _agrees(estimate, prediction, stderr),
        value=worst,
        bound=1.0 + 1e-6,
        estimate=estimate,
        prediction=prediction,
        stderr=stderr,
        configurations=2 * min(len(pairs), configurations) + 1,
        note="worst ratio of t KL to its two bounds, and of KL to C_b H^2, for Gaussian, "
        "Student t, unequal-variance and two-bump pairs; both constants are attained, the local "
        "slope lies in (1 - 2b, 2), and the likelihood-ratio test errs as the corollary says; "
        "Monte Carlo: KL of a Student t pair; " + _FALSE_ALARM,
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
    generator = np.random.default_rng(rng)
    worst, bounded = 0.0, True
    for _ in range(configurations):
        model = _random_model(generator, 0.3, 7.0)
        objective = ForwardKL(model)
        gradient = objective.gradient(model)
        curvature = float(objective.hessian(model)[0, 0])
        pull = _mean_square_responsibility(model)
        expected = -pull * model.precision_times(model.new_mean - model.old_mean)
        size = np.abs(expected).max()
        worst = max(worst, float(np.abs(gradient.old_mean - expected).max()) / size)
        # E r^2 = b^2 + (kappa - 1) g, in units of the largest term
        tied = model.old_weight**2 + curvature - gradient.logit
        worst = max(worst, abs(pull - tied) / max(pull, model.old_weight**2))
        bounded = bounded and pull <= _pull_bound(model) * (1.0 + 1e-12)
    for separation in (40.0, 60.0):  # where the bound is nearly attained
        model = TwoModeMixture.separated(separation, old_weight=0.5)
        ratio = _mean_square_responsibility(model) / _pull_bound(model)
        bounded = bounded and 1.0 - 10.0 / separation**2 <= ratio <= 1.0
    for x, limit in ((0.3, 0.0), (1.0, 0.5), (1.8, 1.0)):  # deep: the share of the pull
        log_b = -x * 15.0**2
        slope = np.exp(log_weight_slope(15.0, log_b))
        ratio = float(sigmoid_square_mean(log_b - 112.5, 15.0) / slope)
        bounded = bounded and abs(ratio - limit) <= 0.01
    model = TwoModeMixture(0.6, [0.0, 0.0], [1.2, -0.9], [[1.0, 0.3], [0.3, 0.5]])
    samples = _new_samples(model, 1_000_000, generator)
    along = model.precision_times((samples - model.old_mean).T).T
    direction = model.new_mean - model.old_mean
    estimate, stderr = _mean(model.responsibility(samples) * (along @ direction))
    prediction = _mean_square_responsibility(model) * model.separation**2
    return Check(
        holds=bounded and worst <= 1e-8 and _agrees(estimate, prediction, stderr),
        value=worst,
        bound=1e-8,
        estimate=estimate,
        prediction=prediction,
        stderr=stderr,
        configurations=configurations + 5,
        note="relative error of the gradient and of E r^2 = b^2 + (kappa - 1) dL/dl; the bound "
        "is checked too; Monte Carlo: the pull along the line of means; " + _FALSE_ALARM,
    )


def check_region_loss(configurations: int = 4, rng: Rng = 7) -> Check:
    """The Lyapunov identity, and where flows from random starts end.

    Parameters
    ----------
    configurations : int
        Random starts of the full flow; five times as many models for the identity.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    generator = np.random.default_rng(rng)

    def slopes(model: TwoModeMixture, objective: ForwardKL) -> tuple[float, float]:
        """Slope of the Lyapunov function from the gradient, and as printed."""
        gradient = objective.gradient(model)
        centre = objective.target.new_mean
        old, new = model.old_mean - centre, model.new_mean - centre
        actual = -(gradient.old_mean @ old + gradient.new_mean @ new)
        old, new = model.whiten(old), model.whiten(new)
        mean_odds = model.old_logit + 0.5 * (new @ new - old @ old)
        mean_r = model.old_weight - gradient.logit
        variance = float(sigmoid_square_mean(mean_odds, model.separation)) - mean_r**2
        return float(actual), _lyapunov_slope(mean_r, variance, old, new)

    worst = 0.0
    for _ in range(5 * configurations):
        covariance = _covariance(3, generator)
        means = generator.normal(0.0, 1.0, (4, 3))
        target = TwoModeMixture(0.5, means[0], means[1], covariance)
        model = TwoModeMixture(
            float(expit(generator.uniform(-3.0, 3.0))), means[2], means[3], covariance
        )
        actual, printed = slopes(model, ForwardKL(target))
        worst = max(worst, abs(printed / actual - 1.0))
    converged = True
    for index in range(configurations):
        spread: FloatArray | None = None if index else _covariance(2, generator)
        target = TwoModeMixture(0.5, [3.0, 0.0], [0.0, 0.0], spread)
        means = generator.normal(0.0, 1.0, (2, 2))
        start = TwoModeMixture(
            float(expit(generator.uniform(-2.0, 2.0))), means[0], means[1], spread
        )
        objective = ForwardKL(target)
        times = [0.0, 1.0, 10.0, 100.0, 1e5, 1e6]
        path = gradient_flow(objective, start, times, rtol=1e-7)  # P = I in any case
        height = 0.5 * (path.old_mean**2 + path.new_mean**2).sum(axis=1)
        loss = np.array([objective.value(path.model(record)) for record in range(len(times))])
        falls = (np.diff(height) <= 1e-7).all() and (np.diff(loss) <= 1e-12).all()
        # the third case: components merge, the weight stays, the loss falls like 1 / t^2
        merged = np.abs(np.diff(path.old_weight[-2:]))[0] < 1e-3 and path.model().separation < 0.1
        squared = 50.0 < loss[-2] / loss[-1] < 105.0  # in ten times the time
        converged = converged and bool(falls and merged and squared and loss[-1] < 1e-8)
        # the half space nearer to the old mode of the target
        end, middle = path.model(), 0.5 * target.separation
        axis = target.whiten(target.new_mean - target.old_mean) / target.separation
        old, new = (
            float(ndtr(middle - target.whiten(mean - target.old_mean) @ axis))
            for mean in (end.old_mean, end.new_mean)
        )
        region = end.old_weight * old + (1.0 - end.old_weight) * new
        gap = abs(region - float(ndtr(-middle)))
        converged = converged and bool(gap <= np.sqrt(0.5 * loss[-1]) + 1e-9)

    model = TwoModeMixture(0.6, [2.0, 0.5], [-1.0, 1.0])
    y = generator.standard_normal((1_000_000, 2))
    r = model.responsibility(y)
    estimate, stderr = _mean(
        r * ((y - model.old_mean) @ model.old_mean)
        + (1.0 - r) * ((y - model.new_mean) @ model.new_mean)
    )
    prediction = slopes(model, ForwardKL(TwoModeMixture(0.5, [3.0, 0.0], [0.0, 0.0])))[1]
    return Check(
        holds=converged and worst <= 1e-8 and _agrees(estimate, prediction, stderr),
        value=worst,
        bound=1e-8,
        estimate=estimate,
        prediction=prediction,
        stderr=stderr,
        configurations=configurations,
        note="relative error of the Lyapunov slope; from random starts the loss and the Lyapunov "
        "function fall, the components merge at a weight that stays, the loss goes like 1/t^2, "
        "and the old region loses what the old mode added; Monte Carlo: the Lyapunov slope from "
        "new samples; " + _FALSE_ALARM,
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
            r"With $t = e^{s D^2}$ and $D \to \infty$, $-\ln b(t) / D^2 \to s$ for $s \le 1/2$, "
            r"$\sqrt{2s} - 1/2$ for $1/2 \le s \le 2$, $(s+1)/2$ for $s \ge 2$.",
            "proved",
            ("log_forgetting_time",),
            check_forgetting_profile,
        ),
        Result(
            "thm-forgetting-detection",
            chapter,
            "Forgetting takes as long as detection",
            r"For any two densities, $\frac14 [1 - (\mathrm{odds}(b) / \mathrm{odds}(b_0))^2] \le "
            r"t\, KL(f_n \| q_b) \le b \int_b^{b_0} \frac{d\beta}{\beta^2 (1-\beta)^2}$; as "
            r"$b \to 0$ the bounds tend to $\frac14$ and $1$.",
            "proved",
            ("WeightFlow",),
            check_forgetting_detection,
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
            r"If weight and both means are trained, $KL(f_n \| q) \to 0$ from every start with "
            r"$b_0 \in (0, 1)$; the probability of every region tends to what $f_n$ gives it. The "
            r"flow ends at $b = 0$, at $b = 1$, or with merged components and a frozen weight, and "
            r"then $KL = O(t^{-2})$.",
            "proved",
            ("ForwardKL", "gradient_flow"),
            check_region_loss,
        ),
    ]
