"""Sure retention: safe learning rates, contraction, and what every path does."""

from __future__ import annotations

import math

import numpy as np
import pytest

import forgetlib as fl
from forgetlib.retention import contraction_rate, safe_learning_rate


def _gap(run: fl.Ensemble, target: fl.TwoModeMixture) -> np.ndarray:
    return np.asarray(run.old_logit - target.old_logit)


@pytest.mark.parametrize("baseline", [None, "batch_mean", "leave_one_out", "self_normalized"])
@pytest.mark.parametrize(
    ("separation", "b0", "a", "dim"), [(0.5, 0.01, 0.7, 1), (3.0, 0.98, 0.4, 7)]
)
def test_no_path_moves_away_or_past(
    baseline: str | None, separation: float, b0: float, a: float, dim: int
) -> None:
    target = fl.TwoModeMixture.separated(separation, old_weight=a, dim=dim)
    run = fl.simulate(
        fl.ReverseKL(target),
        target.replace(old_weight=b0),
        steps=500,
        batch_size=3,
        learning_rate=safe_learning_rate(3, baseline),  # type: ignore[arg-type]
        replicates=64,
        baseline=baseline,  # type: ignore[arg-type]
        train="weight",
    )
    gap = math.copysign(1.0, b0 - a) * _gap(run, target)
    assert np.diff(gap, axis=1).max() <= 1e-12
    assert gap.min() >= -1e-12


def test_twice_the_safe_step_can_cross_but_not_grow() -> None:
    target = fl.TwoModeMixture.separated(5.0, old_weight=0.9)
    run = fl.simulate(
        fl.ReverseKL(target),
        target.replace(old_weight=0.2),
        steps=300,
        batch_size=1,
        learning_rate=2.0 * safe_learning_rate(1),
        replicates=200,
        train="weight",
    )
    gap = _gap(run, target)
    assert (gap > 1e-6).any()  # some paths cross: the limit is not slack
    assert np.diff(np.abs(gap), axis=1).max() <= 1e-12


def test_mean_distance_obeys_the_rate() -> None:
    target = fl.TwoModeMixture.separated(2.0, old_weight=0.75)
    rate = contraction_rate(target, 0.3)
    run = fl.simulate(
        fl.ReverseKL(target),
        target.replace(old_weight=0.3),
        steps=60,
        batch_size=2,
        learning_rate=0.8,
        replicates=2000,
        train="weight",
    )
    gap = np.abs(_gap(run, target))
    mean = gap.mean(axis=0)
    stderr = gap.std(axis=0, ddof=1) / math.sqrt(2000)
    bound = (1.0 - 0.8 * rate) ** run.step * mean[0]
    assert (mean <= bound + 4.5 * stderr + 1e-12).all()
    assert mean[-1] > 0.2 * bound[-1]  # and the rate is not a caricature


def test_contraction_rate() -> None:
    target = fl.TwoModeMixture.separated(6.0, old_weight=0.75)
    epsilon = fl.misassignment_probability(target)
    at_target = 0.75 * (0.25 - epsilon)
    assert contraction_rate(target, 0.75) == pytest.approx(at_target, rel=1e-3)
    assert contraction_rate(target, 0.7) == pytest.approx(at_target, rel=1e-3)
    far = contraction_rate(target, 0.01)
    assert far < 0.01 < at_target
    # next to the target rounding must not take over
    near = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    limit = contraction_rate(near, 0.75)
    for weight in (0.750000000001, 0.7500001, 0.75001, 0.7501):
        assert contraction_rate(near, weight) == pytest.approx(limit, rel=1e-3)
    # without overlap the share is b (1 - b)
    wide = fl.TwoModeMixture.separated(30.0, old_weight=0.75)
    assert contraction_rate(wide, 0.01) == pytest.approx(0.01 * 0.99, rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "batch_size must be an integer >= 1"),
        ((1, "batch_mean"), "batch_size must be an integer >= 2, got 1"),
        (
            (4, "mean"),
            "baseline must be None, 'batch_mean', 'leave_one_out' or 'self_normalized', got 'mean'",
        ),
        ((4, None, 1.0), r"replay must lie in \[0, 1\), got 1.0"),
        ((4, "batch_mean", 0.5), "replay must be 0 with baseline 'batch_mean', got 0.5"),
    ],
)
def test_bad_input(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        safe_learning_rate(*arguments)  # type: ignore[arg-type]


def test_contraction_rate_bad_input() -> None:
    target = fl.TwoModeMixture.separated(2.0)
    with pytest.raises(ValueError, match="start_weight must lie strictly between 0 and 1"):
        contraction_rate(target, 1.0)
    with pytest.raises(ValueError, match="points must be an integer >= 2, got 1"):
        contraction_rate(target, 0.4, points=1)
    with pytest.raises(ValueError, match="target must have two distinct modes"):
        contraction_rate(fl.TwoModeMixture(0.5, [0.0], [0.0]), 0.4)
