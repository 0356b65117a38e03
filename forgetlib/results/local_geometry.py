r"""Checks of the chapter on local geometry: eigenvalues, rates and noise at the optimum.

Setting: target :math:`p = a f_o + (1-a) f_n` at separation ``D``, :math:`\omega = a (1 - a)`, and
the Fisher information ``F`` of the mixture in whitened coordinates ``(logit, m_o, m_n)``. Each
printed formula is one small function below, so that a test can break it and see the check fail.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from forgetlib.ensemble import simulate
from forgetlib.flow import gradient_flow
from forgetlib.geometry import (
    condition_number,
    fisher_eigenvalues,
    mean_square_factor,
    slowest_direction,
    slowest_rate,
    slowest_rate_bounds,
    stationary_variance,
)
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ForwardKL, ReverseKL
from forgetlib.overlap import misassignment_probability
from forgetlib.results import Check, Result, Rng
from forgetlib.results._cases import SIGMAS, Cases, mean_and_error

__all__ = ["results"]

FloatArray = NDArray[np.float64]


# ---- the formulas, as printed ---------------------------------------------------------


def _line_information(a: float, separation: float) -> FloatArray:
    """Information along the line of the means: labeled samples, less what labels hide."""
    y, density, r = _line_nodes(a, separation)
    ratio = np.stack([np.ones_like(y), y, separation - y])
    hidden = (ratio * (density * r * (1.0 - r))) @ ratio.T
    return np.asarray(np.diag([a * (1.0 - a), a, 1.0 - a]) - hidden)


def _across_eigenvalues(a: float, lost: float) -> FloatArray:
    """Eigenvalues of the block of a perpendicular direction; ``lost`` is a epsilon."""
    spread = math.hypot(a - 0.5, lost)
    return np.array([0.5 - lost - spread, 0.5 - lost + spread])


def _weight_rate(a: float, epsilon: float) -> float:
    """Information in the logit alone, and determinant of the perpendicular block."""
    return a * (1.0 - a - epsilon)


def _largest(a: float) -> float:
    """Upper bound on all eigenvalues."""
    return max(a, 1.0 - a)


def _covariance_price(variances: FloatArray) -> float:
    """Factor by which conditioning may grow without whitening."""
    return float(max(1.0, 1.0 / variances.min()) / min(1.0, 1.0 / variances.max()))


def _weyl(a: float, separation: float) -> float:
    """Lower bound on the slowest rate, for every separation."""
    size = max(2.0, 1.0 + separation**2 / 2) * math.exp(-(separation**2) / 8)
    return a * (1.0 - a) - 0.5 * math.sqrt(a * (1.0 - a)) * size


def _separated_floor(a: float, separation: float, epsilon: float) -> float:
    """Lower bound on the slowest rate, for large separation."""
    hidden = math.sqrt(a * (1 - a)) * (1 + separation**2 / 4) * math.exp(-(separation**2) / 8)
    gap = min(a, 1.0 - a) ** 2
    return a * (1.0 - a) - a * epsilon * gap / (gap - hidden) if hidden < gap else -math.inf


def _separated_loss(a: float, separation: float) -> float:
    """What overlap takes from the slowest rate, to leading order."""
    return math.sqrt(math.pi / 2 * a * (1 - a)) / separation * math.exp(-(separation**2) / 8)


def _separated_condition(a: float) -> float:
    """Limit of the condition number."""
    return 1.0 / min(a, 1.0 - a)


def _small_rate(a: float, separation: float) -> float:
    """Slowest rate at small separation."""
    return (a * (1.0 - a)) ** 2 * separation**6 / 24.0


def _small_middle(a: float, separation: float) -> float:
    """Middle rate along the line at small separation."""
    return 2.0 * (a * (1.0 - a)) ** 2 * separation**2 / (a**2 + (1.0 - a) ** 2)


def _small_across(a: float, separation: float) -> float:
    """Smaller perpendicular rate at small separation."""
    return (a * (1.0 - a)) ** 2 * separation**2 / (a**2 + (1.0 - a) ** 2)


def _small_largest(a: float) -> float:
    """Largest rate at small separation."""
    return a**2 + (1.0 - a) ** 2


def _small_direction(a: float, separation: float) -> FloatArray:
    """Means that move with the logit in the slowest direction, at small separation."""
    return np.array([0.5 * (1.0 - a) * separation, 0.5 * a * separation])


def _small_ceiling(a: float, separation: float) -> float:
    """Upper bound on the slowest rate, sharp at small separation."""
    omega = a * (1.0 - a)
    front = omega**2 * separation**6 / 24.0 * math.exp((1.0 + omega / 2) * separation**2)
    return front / (1.0 + (1.0 - 2.0 * omega) * separation**2 / 4)


def _moment_floor(a: float, separation: float) -> float:
    """Smallest eigenvalue of the information in three moments, from raw moments."""
    y, density, r = _line_nodes(a, separation)
    z = y - (1.0 - a) * separation
    powers = np.stack([z, z**2, z**3])
    centered = powers - (powers @ density)[:, None]
    covariance = (centered * density) @ centered.T
    scores = np.stack([r - a, r * y, (1.0 - r) * (y - separation)])
    moved = (powers * density) @ scores.T
    return float(np.linalg.eigvalsh(moved.T @ np.linalg.solve(covariance, moved))[0])


def _left_after(rate: float, t: float) -> float:
    """Share of an error that flow leaves, in an eigendirection."""
    return math.exp(-rate * t)


def _loss_near(rate: float, left: float) -> float:
    """Loss of an error of size ``left`` in an eigendirection."""
    return 0.5 * rate * left**2


def _mean_factor(rate: float, h: float) -> float:
    """Factor of the mean error in one step."""
    return 1.0 - h * rate


def _square_factor(rate: float, fourth: float, h: float, batch_size: int) -> float:
    """Factor of the mean squared error in one step; ``fourth`` is a mean fourth power."""
    return (1.0 - h * rate) ** 2 + h**2 / batch_size * (fourth - rate**2)


def _stationary(rate: float, h: float, batch_size: int) -> float:
    """Variance that stays in a direction with this rate."""
    return h / (batch_size * (2.0 - h * rate))


def _reached(rate: float, h: float, steps: int) -> float:
    """Share of the stationary variance that is there after some steps."""
    return 1.0 - (1.0 - h * rate) ** (2 * steps)


def _noise_loss_ceiling(a: float, dim: int, h: float, batch_size: int, largest: float) -> float:
    """Upper bound on the loss that stationary noise costs."""
    return h / (4 * batch_size) * (a * (1.0 - a) + dim) / (1.0 - h * largest / 2)


# ---- checks ---------------------------------------------------------------------------


def _line_nodes(a: float, separation: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Nodes, weights under the mixture, and responsibilities; old mode at 0."""
    y, step = np.linspace(-10.0, separation + 10.0, 801, retstep=True)
    old, new = norm.logpdf(y), norm.logpdf(y - separation)
    density = float(step) * (a * np.exp(old) + (1.0 - a) * np.exp(new))
    return y, density, np.asarray(expit(logit(a) + old - new))


def _scores(mixture: TwoModeMixture, y: FloatArray) -> FloatArray:
    """Derivatives of the log density in (logit, old mean, new mean), shape (n, 1 + 2 d)."""
    r = mixture.responsibility(y)[:, None]
    precision = mixture.precision_times(np.eye(mixture.dim))
    pulls = [(y - mean) @ precision for mean in (mixture.old_mean, mixture.new_mean)]
    return np.concatenate([r - mixture.old_weight, r * pulls[0], (1.0 - r) * pulls[1]], axis=1)


def _samples(mixture: TwoModeMixture, size: int, generator: np.random.Generator) -> FloatArray:
    return mixture.rvs(size, generator)[0]


def _random_target(
    generator: np.random.Generator, low: float, high: float, dim: int
) -> TwoModeMixture:
    """Weight from 0.02 to 0.98, log-uniform separation, random place and covariance."""
    a = float(expit(generator.uniform(-4.0, 4.0)))
    distance = math.exp(generator.uniform(math.log(low), math.log(high)))
    root = generator.standard_normal((dim, dim)) + 2.0 * np.eye(dim)
    direction = generator.standard_normal(dim)
    direction *= distance / np.linalg.norm(direction)
    old = generator.standard_normal(dim)
    return TwoModeMixture(a, old, old + root @ direction, root @ root.T)


def _line_target(generator: np.random.Generator, low: float, high: float) -> tuple[float, float]:
    """Old weight from 0.1 to 0.9 and a separation."""
    return float(expit(generator.uniform(-2.2, 2.2))), float(generator.uniform(low, high))


def check_fisher_geometry(configurations: int = 20, rng: Rng = 1) -> Check:
    """Hessians are the Fisher information; its blocks, eigenvalues and multiplicities.

    Parameters
    ----------
    configurations : int
        Random targets with random covariances, in one to four dimensions.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        dim = int(generator.integers(1, 5))
        target = _random_target(generator, 0.3, 12.0, dim)
        a, distance = target.old_weight, target.separation
        epsilon = misassignment_probability(target)
        plain = ReverseKL(target).hessian(target)
        other = ForwardKL(target, replay=a).hessian(target)
        cases.within(plain - other, 1e-11 * np.abs(plain).max())
        # whitened coordinates, the first axis along the line of the means
        unwhiten = target.unwhiten(np.eye(dim)).T
        along = target.whiten(target.new_mean - target.old_mean) / distance
        axes = np.linalg.qr(np.column_stack([along, np.eye(dim)]))[0][:, :dim]
        axes[:, 0] *= np.sign(axes[:, 0] @ along)
        change = np.zeros((1 + 2 * dim, 1 + 2 * dim))
        change[0, 0] = 1.0
        change[1 : 1 + dim, 1 : 1 + dim] = change[1 + dim :, 1 + dim :] = unwhiten @ axes
        white = change.T @ plain @ change
        line = np.array([0, 1, 1 + dim])
        cases.within(white[np.ix_(line, line)] - _line_information(a, distance), 1e-9)
        rest = np.setdiff1d(np.arange(1 + 2 * dim), line)
        cases.within(white[np.ix_(line, rest)], 1e-9)
        values, multiplicity = fisher_eigenvalues(target)
        cases.within(np.linalg.eigvalsh(white) - np.repeat(values, multiplicity), 1e-9)
        across = _across_eigenvalues(a, a * epsilon)
        if dim > 1:
            cases.must(multiplicity.sum() == 1 + 2 * dim)
            for value in across:
                nearest = int(np.abs(values - value).argmin())
                cases.within(values[nearest] - value, 1e-10)
                cases.must(multiplicity[nearest] == dim - 1)
            cases.equal(across.prod(), _weight_rate(a, epsilon), 1e-6)
        slowest = slowest_rate(target)
        cases.at_most(values[-1], _largest(a))
        cases.at_most(slowest, _weight_rate(a, epsilon))
        cases.must(slowest < across[0] + 1e-12)
        cases.must(slowest > 0.0)
        ends = np.linalg.eigvalsh(plain)[[0, -1]]
        assert target.covariance is not None
        price = _covariance_price(np.asarray(np.linalg.eigvalsh(target.covariance)))
        cases.at_most(ends[1] / ends[0], price * condition_number(target) * (1.0 + 1e-9))
    # the price of a covariance is attained, and so is the bound on all eigenvalues
    far = TwoModeMixture(0.5, [0.0, 0.0], [60.0, 0.0], np.diag([2.0, 0.125]))
    ends = np.linalg.eigvalsh(ReverseKL(far).hessian(far))[[0, -1]]
    cases.equal(ends[1] / 0.5, _covariance_price(np.array([1.0, 0.125])), 1e-9)
    apart = TwoModeMixture.separated(40.0, old_weight=0.3)
    cases.at_most(fisher_eigenvalues(apart).value[-1], _largest(0.3))
    cases.at_most(slowest_rate(apart), _weight_rate(0.3, misassignment_probability(apart)))

    target = TwoModeMixture(0.6, [0.0, 1.0], [2.5, 1.5], [[1.5, 0.4], [0.4, 1.0]])
    direction = np.array([1.0, -0.2, 0.2, 0.1, 0.1])
    scores = _scores(target, _samples(target, 250_000, cases.generator))
    estimate, stderr = mean_and_error((scores @ direction) ** 2)
    prediction = float(direction @ ReverseKL(target).hessian(target) @ direction)
    return cases.conclude(
        estimate,
        prediction,
        stderr,
        "weight, means, covariance and dimension varied; Monte Carlo: mean square of the "
        "score in one direction",
    )


def check_separated_conditioning(configurations: int = 40, rng: Rng = 2) -> Check:
    """Bounds on the slowest rate at large separation, its sharp form, and the limit.

    Parameters
    ----------
    configurations : int
        Random targets.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        a, distance = _line_target(generator, 0.3, 14.0)
        target = TwoModeMixture.separated(distance, a, dim=2)
        epsilon = misassignment_probability(target)
        slowest = slowest_rate(target)
        cases.at_most(slowest, _weight_rate(a, epsilon))
        lower, upper = slowest_rate_bounds(target)
        cases.at_most(lower, slowest)
        cases.at_most(slowest, upper)
        for floor in (_weyl(a, distance), _separated_floor(a, distance, epsilon)):
            if floor > 0.0:
                cases.at_most(floor, slowest)
        # the leading order, with the next two orders of the misassignment probability
        a, distance = _line_target(generator, 11.0, 12.5)
        far = TwoModeMixture.separated(distance, a, dim=2)
        c = float(logit(a))
        second, fourth = math.pi**2 + c**2, 5 * math.pi**4 + 6 * math.pi**2 * c**2 + c**4
        factor = 1.0 - second / (2 * distance**2) + fourth / (8 * distance**4)
        loss = a * (1.0 - a) - slowest_rate(far)
        cases.equal(loss / factor, _separated_loss(a, distance), 4e-3)
    for a in (0.1, 0.5, 0.8):
        far = TwoModeMixture.separated(30.0, a, dim=3)
        cases.equal(condition_number(far), _separated_condition(a), 1e-12)
        epsilon = misassignment_probability(far)
        for floor in (_weyl(a, 30.0), _separated_floor(a, 30.0, epsilon)):
            cases.at_most(floor, slowest_rate(far))
        cases.equal(slowest_rate_bounds(far)[0], _separated_floor(a, 30.0, epsilon), 1e-12)
    # where all its factors show: what the lower bound leaves of the limit
    apart = TwoModeMixture.separated(7.0, 0.5)
    floor = _separated_floor(0.5, 7.0, misassignment_probability(apart))
    cases.equal(0.25 - slowest_rate_bounds(apart)[0], 0.25 - floor, 1e-6)

    target = TwoModeMixture.separated(5.0, old_weight=0.5, dim=2)
    r = target.responsibility(_samples(target, 100_000, cases.generator))
    estimate, stderr = mean_and_error((r - 0.5) ** 2)
    return cases.conclude(
        estimate,
        _weight_rate(0.5, misassignment_probability(target)),
        stderr,
        "weight and separation varied; Monte Carlo: information in the logit at $D = 5$",
    )


def check_small_separation(configurations: int = 40, rng: Rng = 3) -> Check:
    """Slowest rate at small separation: bounds both ways, limits and direction.

    Parameters
    ----------
    configurations : int
        Random targets.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        a, distance = _line_target(generator, 0.05, 5.0)
        slowest = slowest_rate(TwoModeMixture.separated(distance, a))
        cases.at_most(slowest, _small_ceiling(a, distance))
        lower, upper = slowest_rate_bounds(TwoModeMixture.separated(distance, a))
        cases.at_most(lower, slowest)
        cases.at_most(slowest, upper)
        if distance > 0.5:  # from raw moments the bound loses digits below
            cases.at_most(_moment_floor(a, distance), slowest)
            cases.must(lower >= _moment_floor(a, distance) * (1.0 - 1e-7))
        # the limits, at a separation where the next order is below 1e-3
        distance = float(generator.uniform(0.01, 0.03))
        close = TwoModeMixture.separated(distance, a, dim=2)
        values = fisher_eigenvalues(close).value
        limits = [
            _small_rate(a, distance),
            _small_across(a, distance),
            _small_middle(a, distance),
            _small_largest(a),
            _small_largest(a),
        ]
        cases.equal(values, limits, 5e-3)
        cases.at_most(values[0], _small_ceiling(a, distance))
        lower, upper = slowest_rate_bounds(close)
        cases.at_most(lower, values[0])
        cases.at_most(values[0], upper)
        cases.equal([lower, upper], _small_rate(a, distance), 5e-3)
        slow = slowest_direction(close)
        ratio = np.array([slow.old_mean[0], slow.new_mean[0]]) / slow.logit
        cases.within(ratio / _small_direction(a, distance) - 1.0, 5e-3)
    # where raw moments keep their digits, they give the bound of the library
    cases.equal(
        slowest_rate_bounds(TwoModeMixture.separated(1.0, 0.5))[0], _moment_floor(0.5, 1.0), 1e-7
    )

    # the mean square of the score in the slowest direction lives in the tails: sample wider
    target = TwoModeMixture.separated(0.5, old_weight=0.5)
    wide = 2.0
    z = wide * cases.generator.standard_normal(400_000)
    y = target.new_mean[0] / 2 + z
    slow = slowest_direction(target)
    direction = np.array([slow.logit, slow.old_mean[0], slow.new_mean[0]])
    weight = target.pdf(y) / norm.pdf(z, scale=wide)
    estimate, stderr = mean_and_error(weight * (_scores(target, y[:, None]) @ direction) ** 2)
    return cases.conclude(
        estimate,
        slowest_rate(target),
        stderr,
        "weight and separation varied; Monte Carlo: slowest rate at $D = 0.5$ by importance sampling",
    )


def _moved(target: TwoModeMixture, change: FloatArray) -> TwoModeMixture:
    """Target with its logit and means changed; for one dimension."""
    return TwoModeMixture(
        float(expit(target.old_logit + change[0])),
        target.old_mean + change[1],
        target.new_mean + change[2],
    )


def _slow(target: TwoModeMixture) -> FloatArray:
    direction = slowest_direction(target)
    return np.array([direction.logit, direction.old_mean[0], direction.new_mean[0]])


def _follow(
    objective: ForwardKL | ReverseKL, target: TwoModeMixture, start: FloatArray, times: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Errors of all parameters, shape (3, times), and losses along a flow near the optimum."""
    path = gradient_flow(objective, _moved(target, start), times, rtol=1e-7)
    error = np.stack(
        [
            path.old_logit - target.old_logit,
            path.old_mean[:, 0] - target.old_mean[0],
            path.new_mean[:, 0] - target.new_mean[0],
        ]
    )
    return error, np.array([objective.value(path.model(i)) for i in range(times.size)])


def check_exponential_convergence(configurations: int = 2, rng: Rng = 4) -> Check:
    """PL inequality next to the optimum, and the rate at which flows end.

    Parameters
    ----------
    configurations : int
        Random targets and starts, with a flow of each objective.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        a, distance = _line_target(generator, 2.0, 6.0)
        target = TwoModeMixture.separated(distance, a)
        rate, slow = slowest_rate(target), _slow(target)
        forward = cases.count % 2 == 1
        objective = ForwardKL(target, replay=a) if forward else ReverseKL(target)
        close = 0.02 * rate  # the third order of the loss, relative to the second
        aside = generator.standard_normal(3)
        aside -= slow * (slow @ aside)
        start = close * (slow + 0.3 * aside)
        times = np.array([3.0, 5.0]) / rate
        error, loss = _follow(objective, target, start, times)
        left = slow @ error
        cases.equal(left[1] / left[0], _left_after(rate, times[1] - times[0]), 5e-3)
        # no direction has a smaller PL ratio than the rate, and the slowest attains it
        for change in (slow, *generator.standard_normal((4, 3))):
            change = change / np.linalg.norm(change)
            model = _moved(target, close * change)
            gradient = np.concatenate([np.atleast_1d(part) for part in objective.gradient(model)])
            ratio = float(gradient @ gradient) / (2.0 * objective.value(model))
            cases.at_most(0.98 * rate, ratio)
            if change @ slow > 1.0 - 1e-12:
                cases.equal(ratio, rate, 2e-2)
        if fisher_eigenvalues(target).value[1] > 2.0 * rate:  # the slowest is alone by then
            cases.equal(loss[0], _loss_near(rate, left[0]), 1e-2)

    # errors line up with the slowest direction, on the side where they started
    target = TwoModeMixture.separated(3.0, old_weight=0.75)
    rate, slow = slowest_rate(target), _slow(target)
    aside = np.cross(slow, [1.0, 1.0, 1.0])
    times = np.array([3.0, 5.0]) / rate
    for objective, side in ((ReverseKL(target), 1.0), (ForwardKL(target, replay=0.75), -1.0)):
        start = 0.02 * rate * (0.3 * aside + 0.2 * side * slow)
        error, loss = _follow(objective, target, start, times)
        left = slow @ error
        cases.must(side * left > 0.0)
        cases.within((error - np.outer(slow, left))[:, 1] / left[1], 1e-3)
        cases.equal(loss[1] / loss[0], _left_after(rate, 2.0 * (times[1] - times[0])), 4e-3)
        cases.equal(loss, [_loss_near(rate, size) for size in left], 4e-3)

    h, steps = 0.02, 400
    runs = simulate(
        ReverseKL(target),
        _moved(target, 1e-2 * slow),
        steps=steps,
        batch_size=8,
        learning_rate=h,
        replicates=250,
        rng=cases.generator,
        estimator="pathwise",
        record_every=steps,
    )
    left = 100.0 * (
        slow[0] * (runs.old_logit[:, -1] - target.old_logit)
        + slow[1] * (runs.old_mean[:, -1, 0] - target.old_mean[0])
        + slow[2] * (runs.new_mean[:, -1, 0] - target.new_mean[0])
    )
    estimate, stderr = mean_and_error(left)
    return cases.conclude(
        estimate,
        _left_after(rate, h * steps),
        stderr,
        "target and start varied; Monte Carlo: error left in SGD runs after time 8 at $D = 3$",
    )


def _square_map(a: float, separation: float, dim: int, h: float, batch_size: int) -> float:
    """Largest eigenvalue of the map of second moments, with nothing reduced."""
    y, density, r = _line_nodes(a, separation)
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)  # exact up to degree 5
    size = 1 + 2 * dim
    fisher, fourth = np.zeros((size, size)), np.zeros((size**2, size**2))
    for index in itertools.product(range(3), repeat=dim - 1):
        share = math.prod(weights[i] / math.sqrt(2 * math.pi) for i in index)
        z = [nodes[i] for i in index]
        old = [r * y, *(r * value for value in z)]
        new = [(1.0 - r) * (y - separation), *((1.0 - r) * value for value in z)]
        scores = np.stack([r - a, *old, *new])
        pairs = np.einsum("in,jn->ijn", scores, scores).reshape(size**2, -1)
        fisher += share * (scores * density) @ scores.T
        fourth += share * (pairs * density) @ pairs.T
    unit = np.eye(size)
    # with a row-major vector of X, A X B is (A kron B^T) times it
    once = np.kron(fisher, fisher)
    step = np.eye(size**2) - h * (np.kron(fisher, unit) + np.kron(unit, fisher))
    step += h**2 * (once + (fourth - once) / batch_size)
    return float(np.abs(np.linalg.eigvals(step)).max())


def check_stochastic_rate(configurations: int = 12, rng: Rng = 5) -> Check:
    """How mini-batches shrink the mean and the mean square of an error.

    Parameters
    ----------
    configurations : int
        Random targets, step sizes and batch sizes.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        a, distance = _line_target(generator, 1.0, 7.0)
        dim = int(generator.integers(1, 3))
        h, batch_size = float(generator.uniform(0.05, 1.0)), int(generator.integers(1, 20))
        target = TwoModeMixture.separated(distance, a, dim=dim)
        exact = mean_square_factor(target, h, batch_size)
        cases.equal(exact, _square_map(a, distance, dim, h, batch_size), 1e-9)
        # the weight alone
        _, density, r = _line_nodes(a, distance)
        rate, fourth = float(density @ (r - a) ** 2), float(density @ (r - a) ** 4)
        exact = mean_square_factor(target, h, batch_size, train="weight")
        cases.equal(exact, _square_factor(rate, fourth, h, batch_size), 1e-9)
        cases.at_most(_mean_factor(rate, h) ** 2, exact)
        # everything, to second order in a short step
        slow = _slow(TwoModeMixture.separated(distance, a))
        y = _line_nodes(a, distance)[0][:, None]
        along = _scores(TwoModeMixture.separated(distance, a), y) @ slow
        rate, fourth = float(density @ along**2), float(density @ along**4)
        exact = mean_square_factor(target, 1e-3, 1)
        cases.within(exact - _square_factor(rate, fourth, 1e-3, 1), 1e-6)
    target = TwoModeMixture.separated(2.0, 0.3, dim=3)
    cases.equal(mean_square_factor(target, 0.5, 4), _square_map(0.3, 2.0, 3, 0.5, 4), 1e-9)

    # one step after the other on real runs; each multiplies the error by a fresh factor
    a, distance, h, batch_size, steps = 0.75, 4.0, 1.0, 2, 24
    target = TwoModeMixture.separated(distance, a)
    runs = simulate(
        ReverseKL(target),
        _moved(target, np.array([1e-3, 0.0, 0.0])),
        steps=steps,
        batch_size=batch_size,
        learning_rate=h,
        replicates=2500,
        rng=cases.generator,
        train="weight",
    )
    error = runs.old_logit - target.old_logit
    factor = (error[:, 1:] / error[:, :-1]).ravel()
    _, density, r = _line_nodes(a, distance)
    rate, fourth = float(density @ (r - a) ** 2), float(density @ (r - a) ** 4)
    mean, spread = mean_and_error(factor)
    cases.within(mean - _mean_factor(rate, h), SIGMAS * spread)
    cases.at_most(np.exp(np.log(factor).mean()), _mean_factor(rate, h))
    estimate, stderr = mean_and_error(factor**2)
    return cases.conclude(
        estimate,
        _square_factor(rate, fourth, h, batch_size),
        stderr,
        "target, dimension, step and batch varied; Monte Carlo: squared factor of single steps "
        "of reverse KL at $D = 4$",
    )


def check_stationary_noise(configurations: int = 25, rng: Rng = 6) -> Check:
    """Covariance that forward KL keeps: Lyapunov equation, formula, simulation.

    Parameters
    ----------
    configurations : int
        Random targets, step sizes and batch sizes.
    rng : int, Generator or None

    Returns
    -------
    Check
    """
    cases = Cases(configurations, rng)
    for generator in cases:
        a, distance = _line_target(generator, 0.5, 8.0)
        dim = int(generator.integers(1, 4))
        target = TwoModeMixture.separated(distance, a, dim=dim)
        fisher = ForwardKL(target, replay=a).hessian(target)
        values, multiplicity = fisher_eigenvalues(target)
        h = float(generator.uniform(0.01, 1.9)) / float(values[-1])
        batch_size = int(generator.integers(1, 100))
        exact = stationary_variance(target, h, batch_size)
        printed = np.array([_stationary(value, h, batch_size) for value in values])
        cases.equal(exact, printed, 1e-12)
        # the covariance with these eigenvalues balances shrinking and noise
        rates, axes = np.linalg.eigh(fisher)
        stay = (axes * [_stationary(value, h, batch_size) for value in rates]) @ axes.T
        shrink = np.eye(len(fisher)) - h * fisher
        noise = h**2 / batch_size * fisher
        cases.within(shrink @ stay @ shrink + noise - stay, 1e-11 * np.abs(stay).max())
        cases.equal(float(multiplicity @ (values * exact)), float(np.trace(fisher @ stay)), 1e-9)
        loss = 0.5 * float(multiplicity @ (values * exact))
        cases.at_most(loss, _noise_loss_ceiling(a, dim, h, batch_size, float(values[-1])))
        # and the start of it, step by step
        steps = int(generator.integers(1, 6))
        early = np.zeros_like(fisher)
        for _ in range(steps):
            early = shrink @ early @ shrink + noise
        reached = [_reached(rate, h, steps) * _stationary(rate, h, batch_size) for rate in rates]
        cases.within(early - (axes * reached) @ axes.T, 1e-10 * np.abs(early).max())

    # far apart and with short steps the loss is all that it may be
    far = TwoModeMixture.separated(30.0, 0.3, dim=3)
    values, multiplicity = fisher_eigenvalues(far)
    loss = 0.5 * float(multiplicity @ (values * stationary_variance(far, 1e-3, 10)))
    cases.equal(loss, _noise_loss_ceiling(0.3, 3, 1e-3, 10, 0.7), 1e-3)

    # many perpendicular coordinates, all at once
    a, dim, h, batch_size, steps = 0.75, 500, 0.1, 64, 30
    target = TwoModeMixture.separated(6.0, old_weight=a, dim=dim)
    runs = simulate(
        ForwardKL(target, replay=a),
        target,
        steps=steps,
        batch_size=batch_size,
        learning_rate=h,
        replicates=600,
        rng=cases.generator,
        record_every=steps,
    )
    square = (runs.old_mean[:, -1, 1:] ** 2).sum(axis=1)
    square += (runs.new_mean[:, -1, 1:] ** 2).sum(axis=1)
    rates = _across_eigenvalues(a, a * misassignment_probability(target))
    prediction = (dim - 1) * sum(
        _stationary(rate, h, batch_size) * _reached(rate, h, steps) for rate in rates
    )
    estimate, stderr = mean_and_error(square)
    return cases.conclude(
        estimate,
        float(prediction),
        stderr,
        "target, dimension, step and batch varied; Monte Carlo: noise of the means after 30 "
        "steps of forward KL with replay in 500 dimensions",
    )


def results() -> list[Result]:
    """Numbered claims of the chapter, in order.

    Returns
    -------
    list of Result
    """
    chapter = "local_geometry"
    return [
        Result(
            label="thm-fisher-geometry",
            chapter=chapter,
            title="The Hessian at the optimum",
            statement=r"Forward and reverse KL share their Hessian at the optimum: the Fisher "
            r"information. It is positive definite for every $D > 0$, splits into a "
            r"$3 \times 3$ block and $d - 1$ equal $2 \times 2$ blocks, its eigenvalues are at "
            r"most $\max(a, 1-a)$, and the smallest does not depend on $d$.",
            kind="proved",
            functions=("fisher_eigenvalues",),
            check=check_fisher_geometry,
        ),
        Result(
            label="thm-separated-conditioning",
            chapter=chapter,
            title="Well conditioned when separated",
            statement=r"$\lambda_{\min} = \omega - \sqrt{\pi \omega / 2}\, D^{-1} "
            r"e^{-D^2/8}(1 + o(1))$ with $\omega = a(1-a)$, between explicit bounds, and the "
            r"condition number tends to $1 / \min(a, 1-a)$.",
            kind="proved",
            functions=("slowest_rate", "slowest_rate_bounds", "condition_number"),
            check=check_separated_conditioning,
        ),
        Result(
            label="thm-small-separation",
            chapter=chapter,
            title="The collapse at small separation",
            statement=r"$\lambda_{\min} \sim a^2(1-a)^2 D^6 / 24$ as $D \to 0$, between explicit "
            r"bounds that hold for every $D$; its direction keeps mean and variance of the mixture.",
            kind="proved",
            functions=("slowest_rate", "slowest_rate_bounds", "slowest_direction"),
            check=check_small_separation,
        ),
        Result(
            label="thm-exponential-convergence",
            chapter=chapter,
            title="Exponential convergence",
            statement=r"Near the optimum $|\nabla L|^2 \ge 2\mu L$ for every $\mu < "
            r"\lambda_{\min}$, and flows of either objective that converge end like "
            r"$e^{-\lambda_{\min} t}$ for almost every start.",
            kind="proved",
            functions=("slowest_rate", "slowest_direction", "gradient_flow"),
            check=check_exponential_convergence,
            grid=200,
        ),
        Result(
            label="thm-stochastic-rate",
            chapter=chapter,
            title="Reverse KL: noise that dies",
            statement=r"In the linearized training by mini-batches the mean error shrinks by "
            r"$1 - h\lambda_{\min}$ a step; the mean square by $(1 - h\lambda)^2 + \frac{h^2}{N}"
            r"(E(v \cdot S)^4 - \lambda^2)$, exactly for the weight, to second order otherwise.",
            kind="proved",
            functions=("mean_square_factor", "simulate"),
            check=check_stochastic_rate,
            grid=300,
        ),
        Result(
            label="thm-stationary-noise",
            chapter=chapter,
            title="Forward KL: noise that stays",
            statement=r"With replay $\lambda = a$ the linearized training settles at the "
            r"covariance $\frac hN (2I - hF)^{-1}$, which is $\frac{h}{2N} I$ for short steps.",
            kind="proved",
            functions=("stationary_variance", "simulate"),
            check=check_stationary_noise,
        ),
    ]
