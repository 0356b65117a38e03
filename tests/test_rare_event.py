"""Rare events: exact variances, honest estimates, and the bound on what is seen."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from oracle import misassignment, sigmoid

import forgetlib as fl
from forgetlib import rare_event
from forgetlib.rare_event import estimate_misassignment, naive_detection_bound, relative_variance

RARE = fl.TwoModeMixture.separated(14.0, old_weight=0.75)


def _moment(model: fl.TwoModeMixture, tilt: float) -> Any:
    """Relative second moment of a moved mode, from the ratio of densities in one dimension."""
    d, c = mp.mpf(model.separation), mp.log((1 - mp.mpf(model.old_weight)) / model.old_weight)

    unit = misassignment(model, "old")  # quad stops at an absolute error

    def integrand(x: Any) -> Any:
        ratio = mp.npdf(x) ** 2 / mp.npdf(x, tilt * d)
        return ratio * (sigmoid(c - d**2 / 2 + d * x) / unit) ** 2

    kink = d / 2 - c / d
    around = {k * d / 2 + j for k in range(-2, 4) for j in (-6, -2, 2, 6)}
    points = sorted({-40, 40, *around, *(kink + j for j in (-1, -0.3, 0, 0.3, 1))})
    return mp.quad(integrand, points)


@pytest.mark.parametrize("separation", [0.3, 7.0, 14.0])
@pytest.mark.parametrize("weight", [0.02, 0.97])
@pytest.mark.parametrize("tilt", [-0.2, 0.45, 1.0])
def test_relative_variance_of_a_moved_mode(separation: float, weight: float, tilt: float) -> None:
    model = fl.TwoModeMixture.separated(separation, old_weight=weight)
    with mp.workdps(20):
        exact = _moment(model, tilt) - 1
    value = relative_variance(model, tilt)
    assert value == pytest.approx(float(exact), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("separation", [0.3, 14.0, 300.0])
@pytest.mark.parametrize("weight", [0.02, 0.5])
def test_relative_variance_of_the_secant(separation: float, weight: float) -> None:
    d, c = mp.mpf(separation), mp.log((1 - mp.mpf(weight)) / weight)

    def mean(width: Any) -> Any:
        points = sorted(
            {-200, 200, *(c + k * width for k in (-9, -3, 0, 3, 9)), *range(-60, 61, 12)}
        )
        return mp.quad(
            lambda h: mp.exp(-((h - c) ** 2) / (2 * width**2)) / (2 * mp.pi * mp.cosh(h / 2)),
            points,
        )

    with mp.workdps(25):
        exact = mean(d / mp.sqrt(2)) / mean(d) ** 2 - 1
    model = fl.TwoModeMixture.separated(separation, old_weight=weight)
    assert relative_variance(model, "secant") == pytest.approx(float(exact), rel=1e-5)


def test_the_secant_is_poor_for_tiny_weights_and_for_modes_that_are_close() -> None:
    for separation, weight in [(6.0, 1e-9), (8.0, 1e-12), (1.0, 0.05), (0.3, 0.5)]:
        model = fl.TwoModeMixture.separated(separation, old_weight=weight)
        assert relative_variance(model, "secant") > 3 * relative_variance(model, "naive")


def test_named_proposals_are_places() -> None:
    place = fl.boundary_position(RARE)
    assert relative_variance(RARE, "boundary") == relative_variance(RARE, place)
    assert relative_variance(RARE, "naive") == relative_variance(RARE, 0.0)
    # a boundary that is not between the means: stay at the nearest one
    heavy = fl.TwoModeMixture.separated(1.0, old_weight=0.999)
    assert relative_variance(heavy) == relative_variance(heavy, 1.0)
    light = fl.TwoModeMixture.separated(1.0, old_weight=0.001)
    assert relative_variance(light) == relative_variance(light, "naive")


def test_the_new_side_is_the_mirror_image() -> None:
    mirror = RARE.replace(old_weight=0.25)
    for proposal in ("naive", "boundary", "secant", 0.3):
        here = relative_variance(RARE, proposal, "new")  # type: ignore[arg-type]
        assert here == pytest.approx(relative_variance(mirror, proposal), rel=1e-9)  # type: ignore[arg-type]
    # conservation: the other mode, from the other side, is the same estimator
    assert relative_variance(RARE, 0.7) == pytest.approx(relative_variance(RARE, 0.3, "new"))


def test_extremes() -> None:
    together = fl.TwoModeMixture.separated(0.0, old_weight=0.3)
    assert relative_variance(together) == pytest.approx(0.0, abs=1e-14)
    run = estimate_misassignment(together, 10)
    assert run.estimate == pytest.approx(0.7)
    assert run.stderr == pytest.approx(0.0, abs=1e-15)
    far = fl.TwoModeMixture.separated(90.0, old_weight=0.3)
    assert relative_variance(far, "naive") == math.inf
    run = estimate_misassignment(far, 1000, proposal="secant")
    assert run.estimate == 0.0  # underflow
    assert run.log_estimate == pytest.approx(fl.log_misassignment_probability(far), abs=0.01)


@pytest.mark.parametrize("side", ["old", "new"])
@pytest.mark.parametrize("proposal", ["naive", "boundary", "secant", 0.3])
def test_estimates_are_unbiased_and_their_errors_true(side: Any, proposal: Any) -> None:
    """Two tests at 4.5 standard errors each: false-alarm rate 1.4e-5 a case, fixed seeds."""
    model = fl.TwoModeMixture.separated(2.5, old_weight=0.6, dim=3)
    size, repeats = 400, 300
    rng = np.random.default_rng(5)
    runs = [estimate_misassignment(model, size, rng, side, proposal) for _ in range(repeats)]
    ratio = np.array([run.estimate for run in runs]) / fl.misassignment_probability(model, side)
    predicted = runs[0].relative_error
    assert abs(ratio.mean() - 1) < 4.5 * predicted / math.sqrt(repeats)
    square = ((ratio - 1) / predicted) ** 2
    assert abs(square.mean() - 1) < 4.5 * square.std(ddof=1) / math.sqrt(repeats)
    reported = np.mean([run.stderr / run.estimate for run in runs])
    assert reported == pytest.approx(predicted, rel=0.1)


def test_full_space_agrees_with_the_axis() -> None:
    """Weighted samples in three dimensions have the mean and the variance of the scalar draws."""
    model = fl.TwoModeMixture(0.3, [0.0, 1.0, 0.0], [2.0, 2.0, 1.0], np.diag([1.0, 2.0, 0.5]))
    rng = np.random.default_rng(8)
    place, size = fl.boundary_position(model), 200_000
    center = model.old_mean + place * (model.new_mean - model.old_mean)
    y = center + model.unwhiten(rng.standard_normal((size, 3)))
    own, moved = (model.whiten(y - mean) for mean in (model.old_mean, center))
    weight = np.exp(0.5 * (moved**2 - own**2).sum(axis=1))
    values = weight * (1 - model.responsibility(y)) / fl.misassignment_probability(model)
    variance = relative_variance(model)
    assert abs(values.mean() - 1) < 4.5 * math.sqrt(variance / size)
    square = (values - 1) ** 2
    assert abs(square.mean() - variance) < 4.5 * square.std(ddof=1) / math.sqrt(size)


def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = estimate_misassignment(RARE, 10_000, 3, proposal=0.8)
    monkeypatch.setattr(rare_event, "_BLOCK", 777)
    parts = estimate_misassignment(RARE, 10_000, 3, proposal=0.8)
    for field in dataclasses.fields(whole):
        here, there = getattr(whole, field.name), getattr(parts, field.name)
        assert here == there or here == pytest.approx(there, rel=1e-12)


def test_report_is_what_the_values_say() -> None:
    run = estimate_misassignment(RARE, 500, 4, proposal=0.6)
    generator = np.random.default_rng(4)
    d, c = RARE.separation, -RARE.old_logit
    z = generator.standard_normal(500)
    x = np.exp(-0.6 * d * z - 0.5 * (0.6 * d) ** 2) / (1 + np.exp(-(c + 0.1 * d**2 + d * z)))
    assert run.estimate == pytest.approx(x.mean(), rel=1e-12)
    assert run.stderr == pytest.approx(x.std(ddof=1) / math.sqrt(500), rel=1e-12)
    assert run.effective_sample_size == pytest.approx(x.sum() ** 2 / (x**2).sum(), rel=1e-12)


def test_naive_sampling_sees_nothing_and_reports_a_small_error() -> None:
    truth = fl.misassignment_probability(RARE)
    for seed in range(5):
        run = estimate_misassignment(RARE, 20_000, seed, proposal="naive")
        assert run.stderr <= run.estimate * (1 + 1e-12)
        assert run.estimate + 3 * run.stderr < 1e-3 * truth


def test_detection_bound_is_a_bound_and_tends_to_zero() -> None:
    """400 repetitions each, tolerance 4.5 standard errors, fixed seed."""
    rng = np.random.default_rng(9)
    model = fl.TwoModeMixture.separated(8.0, old_weight=0.4)
    truth = fl.misassignment_probability(model)
    for size, share in [(10, 0.5), (1000, 0.5), (1000, 0.1)]:
        found = np.mean(
            [
                estimate_misassignment(model, size, rng, proposal="naive").estimate >= share * truth
                for _ in range(400)
            ]
        )
        bound = naive_detection_bound(model, size, share)
        assert found <= bound + 4.5 * math.sqrt(max(bound, 0.01) / 400)
    bounds = [
        naive_detection_bound(fl.TwoModeMixture.separated(d, old_weight=0.4), 1000, 0.1)
        for d in (8.0, 12.0, 20.0, 35.0)
    ]
    assert np.all(np.diff(bounds) < 0)
    assert bounds[-1] < 1e-20
    assert naive_detection_bound(model, 10**9) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relative_variance(RARE, "middle"), "proposal must be 'naive', .*got 'middle'"),  # type: ignore[arg-type]
        (lambda: relative_variance(RARE, math.nan), "proposal must be .*got nan"),
        (lambda: relative_variance(RARE, 11.0), "proposal must be .*got 11.0"),
        (lambda: relative_variance(RARE, side="left"), "side must be"),  # type: ignore[arg-type]
        (lambda: estimate_misassignment(RARE, 1), "size must be an integer >= 2, got 1"),
        (lambda: estimate_misassignment(3.0, 10), "model must be a TwoModeMixture"),  # type: ignore[arg-type]
        (
            lambda: estimate_misassignment(fl.TwoModeMixture.separated(0.0), 10, proposal="secant"),
            "'secant' needs two distinct means, got separation 0",
        ),
        (lambda: naive_detection_bound(RARE, 0), "size must be an integer >= 1, got 0"),
        (lambda: naive_detection_bound(RARE, 10, 0.0), "share must be a finite number > 0"),
        (
            lambda: naive_detection_bound(fl.TwoModeMixture.separated(0.0), 10),
            "two distinct means",
        ),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
