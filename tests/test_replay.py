"""Replay: weights, moments, starvation and design rules, against other computations."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, multivariate_normal

import forgetlib as fl
from forgetlib import replay


def _relative(value: float, other: float) -> float:
    return abs(value / other - 1.0)


# ---- weights ---------------------------------------------------------------------------


def test_weights_in_two_dimensions_with_a_covariance_and_a_moved_old_mean() -> None:
    covariance = [[2.0, 0.6], [0.6, 0.5]]
    model = fl.TwoModeMixture(0.2, [0.3, -0.1], [3.0, 1.0], covariance)
    other = fl.TwoModeMixture(0.9, [0.0, 0.4], [7.0, 7.0], covariance)
    y = np.random.default_rng(3).normal(size=(5, 7, 2)) * 3
    q = model.pdf(y)
    for source, mixture in ((None, model), (other, other)):
        old = multivariate_normal(mixture.old_mean, covariance).pdf(y)
        expected = q / (0.7 * q + 0.3 * old)
        assert fl.importance_weights(model, y, 0.3, source) == pytest.approx(expected, rel=1e-10)
    assert (fl.importance_weights(model, y, 0.0) == 1.0).all()


def test_weights_far_out_keep_their_limits() -> None:
    model = fl.TwoModeMixture.separated(100.0, old_weight=1e-200)
    weights = fl.importance_weights(model, [-500.0, 600.0], 0.25)
    assert weights == pytest.approx([1e-200 / 0.25, 1.0 / 0.75], rel=1e-12)
    moved = model.replace(old_mean=[60.0])
    assert fl.importance_weights(model, 40.0, 0.25, moved) < 1e-100


def test_effective_sample_size() -> None:
    assert float(fl.effective_sample_size(np.full(7, 3.0))) == pytest.approx(7.0)
    batches = np.array([[1.0, 0.0, 0.0], [1e200, 1e200, 0.0], [1e-200, 1e-200, 1e-200]])
    assert fl.effective_sample_size(batches) == pytest.approx([1.0, 2.0, 3.0])


def test_sample_size_of_a_batch_may_fall_below_the_population_bound() -> None:
    """lambda = 0.5, b = 0.05, N = 32, no overlap: a binomial number of old samples."""
    low, high = 0.05 / 0.525, 2.0
    k = np.arange(33)
    weights = np.where(np.arange(32) < k[:, None], low, high)
    below = fl.effective_sample_size(weights) < 16.0
    probability = binom.pmf(k, 32, 0.525)[below].sum()
    assert 0.3 < probability < 0.45
    # the guarantee that holds is the one with the sum of the weights
    assert (fl.effective_sample_size(weights) >= 0.5 * weights.sum(axis=1) * (1 - 1e-12)).all()


# ---- moments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("b", "share", "distance"), [(0.05, 0.2, 5.0), (0.6, 0.1, 0.05), (0.9, 0.5, 2.0)]
)
def test_moments_against_mpmath(b: float, share: float, distance: float) -> None:
    price = fl.variance_price(fl.TwoModeMixture.separated(distance, old_weight=b), share)
    moments = fl.logit_gradient_moments(distance, b, 0.4, share)
    with mpmath.workdps(30):

        def integral(function):  # type: ignore[no-untyped-def]
            def integrand(y):  # type: ignore[no-untyped-def]
                old, new = mpmath.npdf(y), mpmath.npdf(y - distance)
                q, p = b * old + (1 - b) * new, 0.4 * old + mpmath.mpf(0.6) * new
                law = (1 - share) * q + share * old
                return law * function(q / law, b * old / q, mpmath.log(q / p))

            return mpmath.quad(integrand, [-14, -4, 0, distance, distance + 4, distance + 14])

        chi = integral(lambda w, r, g: (w - 1) ** 2)
        old = b**2 / integral(lambda w, r, g: (w * r) ** 2)
        new = (1 - b) ** 2 / integral(lambda w, r, g: (w * (1 - r)) ** 2)
        mean = integral(lambda w, r, g: w * (r - b) * g)
        variance = integral(lambda w, r, g: (w * (r - b) * g) ** 2) - mean**2
    assert price.chi_square == pytest.approx(float(chi), rel=1e-9)
    assert price.sample_share == pytest.approx(1.0 / (1.0 + float(chi)), rel=1e-12)
    assert price.old_share == pytest.approx(float(old), rel=1e-10)
    assert price.new_share == pytest.approx(float(new), rel=1e-10)
    assert moments == pytest.approx((float(mean), float(variance)), rel=1e-9)


def test_gradient_mean_is_that_of_the_objective() -> None:
    target = fl.TwoModeMixture.separated(3.0, old_weight=0.7)
    for b in (1e-6, 0.3, 0.7, 0.999):
        exact = fl.ReverseKL(target).gradient(target.replace(old_weight=b)).logit
        for share in (0.0, 0.4):
            mean, _ = fl.logit_gradient_moments(3.0, b, 0.7, share)
            assert mean == pytest.approx(exact, rel=1e-9, abs=1e-15)


def test_moments_reach_their_limits() -> None:
    near, far = (fl.logit_gradient_moments(d, 0.1, 0.6, 0.2) for d in (60.0, math.inf))
    assert near == pytest.approx(far, rel=1e-12)
    coincident = fl.variance_price(fl.TwoModeMixture(0.3, [1.0], [1.0]), 0.5)
    assert coincident.chi_square == 0.0
    assert coincident.old_share == pytest.approx(1.0)
    alone = fl.variance_price(fl.TwoModeMixture.separated(2.0, old_weight=0.3), 0.0)
    assert alone.chi_square == 0.0
    assert alone.sample_share == alone.largest_weight == 1.0


def test_old_samples_fall_with_the_shift_between_their_limits() -> None:
    shifts = [0.0, 1e-9, 0.5, 1.0, 2.0, 4.0, 10.0, 1e5]
    numbers = [fl.effective_old_samples(0.05, 32, 0.2, shift) for shift in shifts]
    assert numbers[0] == pytest.approx(32 * 0.24)
    assert numbers[1] == pytest.approx(numbers[0])
    assert (np.diff(numbers[1:]) < 1e-12).all()
    assert numbers[-1] == pytest.approx(32 * 0.8 * 0.05)
    # at sqrt(2 c), c = log(lambda / ((1 - lambda) b)), exactly twice the lower limit
    half = math.sqrt(2.0 * math.log(0.2 / (0.8 * 0.05)))
    assert fl.effective_old_samples(0.05, 32, 0.2, half) == pytest.approx(2 * 32 * 0.8 * 0.05)
    assert fl.effective_old_samples(0.05, 32, 0.0, 3.0) == pytest.approx(1.6)


@pytest.mark.parametrize(("b", "a"), [(0.05, 0.75), (0.01, 0.3), (0.4, 0.45), (0.6, 0.2)])
def test_best_replay_minimizes_the_variance(b: float, a: float) -> None:
    best = fl.best_replay(b, a)

    def noise(share: float) -> float:
        return fl.logit_gradient_moments(math.inf, b, a, share)[1]

    found = minimize_scalar(noise, bounds=(0.0, 0.999), method="bounded", options={"xatol": 1e-9})
    assert best == pytest.approx(found.x, abs=1e-4)
    if best > 0.0:
        assert noise(best) < 1e-15 < noise(0.0)


def test_best_replay_is_continuous_at_the_target() -> None:
    assert fl.best_replay(0.3, 0.3) == pytest.approx(0.4 / 0.7)  # best share 1 - a
    for step in (1e-15, 1e-9, 1e-6):
        assert fl.best_replay(0.3 + step, 0.3) == pytest.approx(0.4 / 0.7, abs=2 * step + 1e-9)
    assert fl.best_replay(0.8, 0.8) == 0.0
    assert 0.99 < fl.best_replay(1e-300, 0.5) < 1.0


# ---- starvation ------------------------------------------------------------------------


def test_starvation_keeps_its_digits() -> None:
    assert fl.starvation_probability(0.05, 32) == pytest.approx(0.95**32, rel=1e-13)
    assert fl.starvation_probability(0.01, 32, 0.5) == pytest.approx(1.6878e-10, rel=1e-4)
    with mpmath.workdps(40):
        tiny = mpmath.mpf(1 - mpmath.mpf(1e-20)) ** 10**18
        assert _relative(fl.starvation_probability(1e-20, 10**18), float(tiny)) < 1e-14
        small = mpmath.mpf(0.7) ** 1900
        assert _relative(fl.starvation_probability(0.3, 1900), float(small)) < 1e-12
    assert fl.starvation_probability(0.5, 10**6) == 0.0


def test_run_starvation() -> None:
    path = np.array([0.1, 0.4, 0.9])
    each = (0.8 * (1 - path)) ** 3
    assert fl.run_starvation(path, 3, 0.2) == pytest.approx(1 - np.prod(1 - each))
    tiny = fl.run_starvation(np.full(1000, 0.9), 200)
    assert tiny == pytest.approx(1000 * 1e-200, rel=1e-10)
    assert fl.run_starvation([1e-300], 1) == 1.0


def test_starvation_against_ensembles() -> None:
    """Five independent comparisons at 4.5 standard errors: false-alarm rate 4e-5."""
    for b, size, share, steps in [
        (0.05, 32, 0.0, 50),
        (0.05, 8, 0.2, 50),
        (0.2, 2, 0.5, 50),
        (0.3, 1, 0.1, 50),
        (0.01, 16, 0.05, 50),
    ]:
        target = fl.TwoModeMixture.separated(2.0, old_weight=b)
        run = fl.simulate(
            fl.ReverseKL(target, replay=share),
            target,
            steps=steps,
            batch_size=size,
            learning_rate=0.5,
            replicates=800,
            train="weight",
        )
        s = fl.starvation_probability(b, size, share)
        stderr = math.sqrt(s * (1 - s) / (800 * steps))
        assert abs(run.starved.mean() / steps - s) < 4.5 * stderr


# ---- design rules ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("floor", "size", "steps", "failure"),
    [
        (0.05, 32, 1000, 0.01),
        (1e-9, 64, 10**6, 1e-3),
        (0.0, 128, 100, 0.5),
        (0.3, 1, 1, 0.1),
        (1e-300, 512, 10**5, 1e-200),
    ],
)
def test_least_replay_is_enough_and_not_more(
    floor: float, size: int, steps: int, failure: float
) -> None:
    design = fl.replay_for_starvation(floor, size, steps, failure)

    def log_failure(share: float) -> float:
        with mpmath.workdps(60):
            starved = ((1 - mpmath.mpf(share)) * (1 - mpmath.mpf(floor))) ** size
            return float(mpmath.log(-mpmath.expm1(steps * mpmath.log1p(-starved))))

    slack = 1e-9
    assert log_failure(design.replay) <= math.log(failure) + slack
    assert log_failure(design.replay - 1e-6 * (1 - design.replay)) > math.log(failure)
    assert math.log(design.failure) == pytest.approx(log_failure(design.replay), abs=slack)
    assert design.largest_weight == pytest.approx(1 / (1 - design.replay))
    assert design.safe_learning_rate == 1 - design.replay
    assert math.log(design.starvation) == pytest.approx(
        size * (math.log1p(-design.replay) + math.log1p(-floor)), rel=1e-12
    )
    assert design.old_samples + design.new_samples == pytest.approx(size)
    assert len(design.assumptions) == 4


@pytest.mark.parametrize(
    ("floor", "share", "steps", "failure"),
    [
        (0.05, 0.1, 1000, 0.01),
        (1e-6, 0.0, 10**4, 1e-9),
        (0.0, 0.5, 1, 0.5),
        (0.999, 0.9, 10, 0.9),
        (1e-12, 0.0, 10**6, 1e-30),
    ],
)
def test_least_batch_is_enough_and_not_more(
    floor: float, share: float, steps: int, failure: float
) -> None:
    design = fl.batch_for_starvation(floor, share, steps, failure)

    def log_failure(size: int) -> float:
        with mpmath.workdps(60):
            starved = ((1 - mpmath.mpf(share)) * (1 - mpmath.mpf(floor))) ** size
            return float(mpmath.log(-mpmath.expm1(steps * mpmath.log1p(-starved))))

    few = max(1, design.batch_size // 10**13)  # a float knows no more digits
    assert log_failure(design.batch_size + few) <= math.log(failure)
    if design.batch_size > 1:
        assert log_failure(design.batch_size - few) > math.log(failure)


def test_nothing_is_replayed_without_need() -> None:
    design = fl.replay_for_starvation(0.5, 64, 100, 0.01)
    assert design.replay == 0.0
    assert design.largest_weight == design.sample_share == design.safe_learning_rate == 1.0
    assert design.failure < 0.01
    assert fl.batch_for_starvation(0.9999, 0.0, 1, 0.5).batch_size == 1


def test_the_two_rules_agree() -> None:
    by_share = fl.replay_for_starvation(0.02, 48, 500, 0.05)
    by_size = fl.batch_for_starvation(0.02, by_share.replay, 500, 0.05)
    assert by_size.batch_size == 48
    assert "assumptions" not in repr(by_share)


def test_price_at_the_floor_bounds_the_price_above_it() -> None:
    design = fl.replay_for_starvation(0.03, 32, 1000)
    for b in (0.03, 0.2, 0.7, 0.99):
        for distance in (0.5, 3.0, 12.0):
            model = fl.TwoModeMixture.separated(distance, old_weight=b)
            price = fl.variance_price(model, design.replay)
            assert price.sample_share >= design.sample_share * (1 - 1e-12)
            assert 32 * price.old_share >= design.old_samples * (1 - 1e-12)


def test_designs_hold_in_simulation() -> None:
    """Runs with a starved batch, at the target and on the way to it.

    At the target the bound is exact (two-sided at 4.5 standard errors), below the target it
    is a bound on every path. False-alarm rate 1.4e-5.
    """
    runs, steps, size, failure = 3000, 60, 8, 0.2
    for b, a in ((0.1, 0.1), (0.1, 0.75)):
        design = fl.replay_for_starvation(min(b, a), size, steps, failure)
        target = fl.TwoModeMixture.separated(3.0, old_weight=a)
        run = fl.simulate(
            fl.ReverseKL(target, replay=design.replay),
            target.replace(old_weight=b),
            steps=steps,
            batch_size=size,
            learning_rate=design.safe_learning_rate,
            replicates=runs,
            train="weight",
            record_every=steps,
        )
        share = (run.starved > 0).mean()
        stderr = math.sqrt(failure * (1 - failure) / runs)
        assert share < failure + 4.5 * stderr
        if b == a:
            assert share > failure - 4.5 * stderr
        else:
            assert share < 0.8 * failure  # the weight rises, so the bound is generous


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fl.starvation_probability(0.0, 8), "old_weight must lie strictly between 0 and 1"),
        (lambda: fl.starvation_probability(0.5, 0), "batch_size must be an integer >= 1, got 0"),
        (lambda: fl.starvation_probability(0.5, 8.5), "batch_size must be an integer"),
        (lambda: fl.starvation_probability(0.5, 8, 1.0), r"replay must lie in \[0, 1\), got 1.0"),
        (lambda: fl.importance_weight_bound(-0.1), r"replay must lie in \[0, 1\), got -0.1"),
        (lambda: fl.importance_weight_bound(float("nan")), "replay must lie in"),
        (lambda: fl.importance_weights(0.5, [0.0], 0.1), "model must be a TwoModeMixture"),
        (
            lambda: fl.importance_weights(
                fl.TwoModeMixture.separated(2.0),
                [0.0],
                0.1,
                fl.TwoModeMixture.separated(2.0, dim=2),
            ),
            "replayed must have the dimension and the covariance of model",
        ),
        (
            lambda: fl.importance_weights(
                fl.TwoModeMixture.separated(2.0), [0.0], 0.1, fl.TwoModeMixture(0.5, 0.0, 2.0, 3.0)
            ),
            "replayed must have the dimension and the covariance",
        ),
        (lambda: fl.effective_sample_size([1.0, -1.0]), "weights must be finite and >= 0"),
        (lambda: fl.effective_sample_size([0.0, 0.0]), "weights must hold a positive one"),
        (lambda: fl.effective_sample_size([]), "weights must hold a positive one"),
        (lambda: fl.effective_sample_size(2.0), "with samples last, got 2.0"),
        (lambda: fl.effective_old_samples(0.1, 8, 0.1, -1.0), "shift must be >= 0"),
        (lambda: fl.variance_price(None, 0.1), "model must be a TwoModeMixture"),
        (lambda: fl.logit_gradient_moments(0.0, 0.1, 0.5), "separation must be > 0"),
        (lambda: fl.logit_gradient_moments(2.0, 0.1, 1.0), "target_weight must lie strictly"),
        (lambda: fl.best_replay(1.0, 0.5), "old_weight must lie strictly"),
        (lambda: fl.run_starvation([], 4), "old_weights must be a non-empty sequence"),
        (lambda: fl.run_starvation([0.5, 1.0], 4), "old_weights must lie strictly between 0 and 1"),
        (lambda: fl.replay_for_starvation(1.0, 8, 10), r"weight_floor must lie in \[0, 1\)"),
        (lambda: fl.replay_for_starvation(0.1, 8, 0), "steps must be an integer >= 1"),
        (lambda: fl.replay_for_starvation(0.1, 8, 10, 1.0), "failure must lie strictly between"),
        (
            lambda: fl.replay_for_starvation(0.0, 1, 10**6, 1e-20),
            "no replay below 1 is enough, got 1",
        ),
        (lambda: fl.batch_for_starvation(0.0, 0.0, 10), "replay must be positive if weight_floor"),
        (lambda: fl.batch_for_starvation(1e-18, 0.0, 10), "weight_floor must be larger"),
    ],
)
def test_bad_input(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()


def test_public_names() -> None:
    assert set(replay.__all__) <= set(fl.__all__)
