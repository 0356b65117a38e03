"""Drift by batch noise, and weights lost by it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit

import forgetlib as fl
from forgetlib.batch_noise import (
    crossover_separation,
    drift_design,
    imitation_exit_probability,
    loss_probability,
    pathwise_drift_bound,
    score_drift,
)

NOISE = {"learning_rate": 0.02, "batch_size": 16}


def simulated(separation, batch_size, learning_rate, time, dim=8, replicates=400, **options):
    """Mean square drift at the end, and its standard error."""
    target = fl.TwoModeMixture.separated(separation, old_weight=0.75, dim=dim)
    steps = round(time / learning_rate)
    run = fl.simulate(
        fl.ReverseKL(target),
        target.replace(old_weight=0.3),
        steps=steps,
        record_every=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        replicates=replicates,
        **options,
    )
    square = (run.old_mean[:, -1] ** 2).sum(axis=1)
    return square.mean(), square.std(ddof=1) / math.sqrt(replicates)


@pytest.mark.parametrize("baseline", [None, "batch_mean", "leave_one_out", 0.5])
def test_law_agrees_with_training(baseline):
    """Within 4.5 standard errors and the O(h) of the law: false-alarm rate 3e-5 in all."""
    law = score_drift(0.75, 0.3, [1.0], dim=8, baseline=baseline, **NOISE)
    mean, stderr = simulated(9.0, time=1.0, baseline=baseline, **NOISE)
    assert abs(mean - law.rms[0] ** 2) < 4.5 * stderr + 0.03 * mean
    assert stderr < 0.05 * mean


def test_law_does_not_know_the_separation_and_scales():
    times = np.linspace(0.0, 10.0, 11)
    one = score_drift(0.75, 0.3, times, **NOISE)
    wide = score_drift(0.75, 0.3, times, learning_rate=0.08, batch_size=16, dim=9)
    np.testing.assert_allclose(wide.rms, 6.0 * one.rms, rtol=1e-6)
    np.testing.assert_allclose(wide.peak, 6.0 * one.peak, rtol=1e-6)
    assert one.rms[0] == 0.0
    assert one.rms.max() <= one.peak * (1 + 1e-9)
    fine = score_drift(0.75, 0.3, np.linspace(0.0, 10.0, 2001), **NOISE)
    assert fine.rms.max() == pytest.approx(one.peak, rel=1e-4)


def test_law_at_the_target_is_still_and_a_constant_keeps_it_moving():
    assert score_drift(0.6, 0.6, [1.0], **NOISE).peak == 0.0
    moving = score_drift(0.6, 0.6, [200.0], baseline=1.0, **NOISE)
    assert moving.rms[0] == pytest.approx(math.sqrt(0.02 / 16 / 2), rel=1e-6)
    assert moving.peak == pytest.approx(moving.rms[0], rel=1e-6)


def test_law_from_nearly_nothing():
    """For b0 -> 0 the peak of V tends to log^2(b0 / a) times max(w exp(-2 w))."""
    law = score_drift(0.75, 1e-12, [0.0, 1.0], **NOISE)
    limit = math.sqrt(0.02 / 16 / (2 * math.e)) * math.log(0.75 / 1e-12)
    assert law.peak == pytest.approx(limit, rel=0.03)


def test_crossover_is_where_the_two_drifts_meet():
    place = crossover_separation(0.75, 0.3, **NOISE)
    drifts = []
    for separation in (place - 0.75, place + 0.75):
        target = fl.TwoModeMixture.separated(separation, old_weight=0.75)
        path = fl.gradient_flow(
            fl.ReverseKL(target), target.replace(old_weight=0.3), np.linspace(0, 20, 101)
        )
        drifts.append(np.abs(path.old_mean).max())
    noise = score_drift(0.75, 0.3, [1.0], **NOISE).peak
    assert drifts[0] > noise > drifts[1]
    assert crossover_separation(0.75, 0.3, learning_rate=50.0, batch_size=1, dim=900) == 0.0
    far = crossover_separation(0.75, 0.3, learning_rate=1e-12, batch_size=10**6)
    assert far == pytest.approx(math.sqrt(4 * math.log(1e18)), rel=0.02)


def test_design_is_enough_and_not_more_than_enough():
    design = drift_design(0.03, 0.75, 0.3, learning_rate=0.02, dim=8)
    assert design.rms <= 0.03 < design.rms * math.sqrt(design.batch_size / (design.batch_size - 1))
    peak_time = 1.4
    mean, stderr = simulated(9.0, design.batch_size, 0.02, peak_time)
    assert math.sqrt(mean) < 0.03 + 4.5 * stderr / (2 * math.sqrt(mean))
    mean, stderr = simulated(9.0, design.batch_size // 2, 0.02, peak_time)
    assert math.sqrt(mean) > 0.03 + 4.5 * stderr / (2 * math.sqrt(mean))
    back = drift_design(0.03, 0.75, 0.3, batch_size=design.batch_size, dim=8)
    assert back.learning_rate >= 0.02
    assert back.rms == pytest.approx(0.03)
    assert "batch_size=" in repr(back)
    assert "score function" in repr(back)


def test_design_never_exceeds_the_step_of_sure_retention():
    assert drift_design(5.0, 0.75, 0.3, batch_size=64).learning_rate == 1.0
    assert drift_design(0.1, 0.5, 0.5, batch_size=8).learning_rate == 1.0
    mixed = drift_design(9.0, 0.75, 0.3, batch_size=8, baseline="leave_one_out")
    assert mixed.learning_rate == 3.5
    assert (
        drift_design(9.0, 0.75, 0.3, learning_rate=3.6, baseline="leave_one_out").batch_size == 10
    )


def test_pathwise_bound_is_exponentially_small_and_above_training():
    sizes = []
    for separation in (8.0, 12.0, 16.0):
        target = fl.TwoModeMixture.separated(separation, old_weight=0.75)
        sizes.append(pathwise_drift_bound(target, (0.3, 0.8), old_error=1e-3, **NOISE))
    means, rms = np.log(np.array(sizes)).T
    # e^(-D^2 / 8) for the mean, e^(-D^2 / 16) for the noise
    np.testing.assert_allclose(np.diff(means), [-80 / 8, -112 / 8], rtol=0.01)
    np.testing.assert_allclose(np.diff(rms)[-1], -112 / 16, rtol=0.03)
    target = fl.TwoModeMixture.separated(9.0, old_weight=0.75)
    bound = pathwise_drift_bound(target, (0.3, 0.76), old_error=0.05, new_error=0.05, **NOISE)
    run = fl.simulate(
        fl.ReverseKL(target),
        target.replace(old_weight=0.3),
        steps=300,
        replicates=100,
        estimator="pathwise",
        **NOISE,
    )
    drift = np.abs(run.old_mean[..., 0])
    assert drift.max() < 0.05
    assert drift.mean(axis=0).max() < bound.mean
    assert math.sqrt((drift**2).mean(axis=0).max()) < bound.rms


def chain(start, level, steps, size, h, target, baseline, replicates=20_000):
    """Loss probability by simulating the separated chain."""
    rng = np.random.default_rng(3)
    odds, low = np.full(replicates, logit(start)), np.zeros(replicates, bool)
    for _ in range(steps):
        b = expit(odds)
        share = rng.binomial(size, b) / size
        push = b - share
        if target is not None:
            old, new = np.log(b / target), np.log((1 - b) / (1 - target))
            push = share * (1 - b) * (old - baseline) - (1 - share) * b * (new - baseline)
        odds -= h * push
        low |= expit(odds) < level
    return low.mean(), math.sqrt(low.mean() * (1 - low.mean()) / replicates)


@pytest.mark.parametrize(
    ("start", "steps", "size", "h", "target", "baseline"),
    [(0.5, 200, 4, 1.5, 0.6, 2.0), (0.5, 300, 2, 0.6, 0.3, 1.0), (0.75, 500, 8, 0.9, None, 0.0)],
)
def test_loss_probability_agrees_with_the_chain(start, steps, size, h, target, baseline):
    """Within 4.5 standard errors and 2% of discretization; false-alarm rate 2e-5 in all."""
    mean, stderr = chain(start, 0.05, steps, size, h, target, baseline)
    found = loss_probability(
        start,
        0.05,
        steps=steps,
        batch_size=size,
        learning_rate=h,
        target_weight=target,
        baseline=baseline,
    )
    assert 0.01 < mean < 0.9
    assert abs(found - mean) < 4.5 * stderr + 0.02 * mean


def test_loss_probability_agrees_with_training():
    """A large constant baseline at a small step is imitation; false-alarm rate 7e-6."""
    model = fl.TwoModeMixture.separated(12.0, old_weight=0.75)
    run = fl.simulate(
        fl.ReverseKL(model),
        model,
        steps=400,
        batch_size=8,
        learning_rate=1e-6,
        replicates=2000,
        baseline=1e6,
        train="weight",
    )
    share = (run.old_weight.min(axis=1) < 0.05).mean()
    found = loss_probability(0.75, 0.05, steps=400, batch_size=8, learning_rate=1.0)
    assert abs(share - found) < 4.5 * math.sqrt(found * (1 - found) / 2000) + 0.01 * found


def test_loss_probability_grows_with_time_and_is_zero_with_sure_retention():
    many = loss_probability(0.75, 0.05, steps=[1, 100, 1000], batch_size=8, learning_rate=1.0)
    assert many.shape == (3,)
    assert (np.diff(many) > 0).all()
    one = loss_probability(0.75, 0.05, steps=100, batch_size=8, learning_rate=1.0)
    assert one.shape == ()
    assert float(one) == pytest.approx(many[1], rel=0.02)
    assert (
        loss_probability(0.5, 0.2, steps=500, batch_size=2, learning_rate=1.0, target_weight=0.6)
        == 0.0
    )
    # below its floor a small baseline loses nothing, above it something
    floor = 1 - 0.4 * math.exp(0.3)
    options = {"steps": 300, "batch_size": 2, "learning_rate": 0.05, "target_weight": 0.6}
    assert loss_probability(0.5, floor - 0.02, baseline=0.3, **options) == 0.0
    assert loss_probability(0.5, floor + 0.01, baseline=0.3, **options) > 0.0


def test_exit_probability_brackets_the_chain():
    low, high = imitation_exit_probability(0.75, 0.05, 0.95, 0.1)
    assert low < high < 1.01 * low
    l0, l1, l2 = logit([0.75, 0.05, 0.95])
    assert low < (l2 - l0) / (l2 - l1) < high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: score_drift(0.0, 0.3, [1.0], **NOISE), "target_weight must lie strictly"),
        (lambda: score_drift(0.5, 1.0, [1.0], **NOISE), "start_weight must lie strictly"),
        (lambda: score_drift(0.5, 0.3, [2.0, 1.0], **NOISE), "t must be increasing"),
        (lambda: score_drift(0.5, 0.3, [1.0], dim=0, **NOISE), "dim must be an integer >= 1"),
        (lambda: score_drift(0.5, 0.3, [1.0], baseline="mean", **NOISE), "baseline must be None"),
        (
            lambda: score_drift(0.5, 0.3, [1.0], learning_rate=0.0, batch_size=2),
            "learning_rate must be a finite number > 0",
        ),
        (
            lambda: score_drift(
                0.5, 0.3, [1.0], learning_rate=0.1, batch_size=1, baseline="batch_mean"
            ),
            "batch_size must be an integer >= 2",
        ),
        (lambda: crossover_separation(0.5, 0.5, **NOISE), "start_weight must differ"),
        (lambda: drift_design(0.1, 0.5, 0.3), "batch_size or learning_rate must be given"),
        (lambda: drift_design(0.1, 0.5, 0.3, **NOISE), "and not both"),
        (lambda: drift_design(-1.0, 0.5, 0.3, batch_size=4), "level must be a finite number > 0"),
        (lambda: drift_design(0.1, 0.5, 0.3, batch_size=4, baseline=1.0), "baseline must be None"),
        (lambda: drift_design(0.1, 0.5, 0.3, learning_rate=1.5), "learning_rate must be below"),
        (lambda: drift_design(1e-9, 0.5, 0.3, learning_rate=0.5), "level large enough"),
        (lambda: imitation_exit_probability(0.5, 0.6, 0.9, 0.1), r"low must lie in \(0, start"),
        (lambda: imitation_exit_probability(0.5, 0.1, 0.4, 0.1), "high must lie in"),
        (
            lambda: imitation_exit_probability(0.5, 0.1, 0.9, 5.0),
            r"learning_rate must lie in \(0, 4",
        ),
        (lambda: loss_probability(0.5, 0.6, steps=1, **NOISE), "level must lie in"),
        (lambda: loss_probability(0.5, 0.1, steps=[], **NOISE), "steps must name at least one"),
        (lambda: loss_probability(0.5, 0.1, steps=0, **NOISE), "steps must be an integer >= 1"),
        (
            lambda: loss_probability(0.5, 0.1, steps=1, baseline=1.0, **NOISE),
            "baseline must be 0 without a target",
        ),
        (lambda: loss_probability(0.5, 0.1, steps=1, points=5, **NOISE), "points must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": 0.3}, "weights must be a pair"),
        ({"weights": (0.5, 0.4)}, r"weights\[1\] must lie in"),
        ({"old_error": 0.0}, "old_error must be a finite number > 0"),
        ({"new_error": 7.95}, "new_error must be >= 0 and below"),
        ({"learning_rate": 1.5}, r"learning_rate must lie in \(0, 1\]"),
        ({"weights": (1e-9, 0.5)}, "modes far enough apart"),
    ],
)
def test_bad_arguments_of_the_pathwise_bound_are_named(options, message):
    target = fl.TwoModeMixture.separated(8.0, old_weight=0.75)
    usual = {"weights": (0.3, 0.8), "old_error": 0.1, **NOISE}
    with pytest.raises(ValueError, match=message):
        pathwise_drift_bound(target, **{**usual, **options})
