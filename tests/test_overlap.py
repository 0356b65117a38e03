"""Overlap: exact values, conservation, bounds and their sharpness."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from oracle import mean, misassignment, sigmoid
from scipy.stats import norm

import forgetlib as fl
from forgetlib.overlap import log_weight_slope

SEPARATIONS = [0.05, 0.7, 3.0, 12.0, 30.0, 50.0]
WEIGHTS = [1e-12, 0.3, 0.97, 1 - 1e-12]


@pytest.mark.parametrize("separation", SEPARATIONS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_misassignment_to_relative_accuracy(separation: float, weight: float) -> None:
    model = fl.TwoModeMixture.separated(separation, old_weight=weight)
    for side in ("old", "new"):
        exact = misassignment(model, side)
        value = fl.misassignment_probability(model, side)
        assert abs(float(value / exact - 1)) < 1e-11
        assert abs(float(fl.log_misassignment_probability(model, side) - mp.log(exact))) < 1e-11


def test_separation_thirty_comes_out_right() -> None:
    value = fl.misassignment_probability(fl.TwoModeMixture.separated(30.0, old_weight=0.75))
    assert 1e-51 < value < 1e-50


@pytest.mark.parametrize("separation", SEPARATIONS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_conservation(separation: float, weight: float) -> None:
    model = fl.TwoModeMixture.separated(separation, old_weight=weight)
    left = np.log1p(-weight) + fl.log_misassignment_probability(model, "new")
    right = np.log(weight) + fl.log_misassignment_probability(model, "old")
    assert left == pytest.approx(right, rel=1e-13, abs=1e-13)


def test_bound_holds_and_is_sharp() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        model = fl.TwoModeMixture.separated(
            float(rng.uniform(0.05, 30)), old_weight=float(rng.uniform(1e-9, 1 - 1e-9))
        )
        for side in ("old", "new"):
            value = fl.misassignment_probability(model, side)
            assert value <= fl.misassignment_bound(model, side) * (1 + 1e-12)
    far = fl.TwoModeMixture.separated(36.0, old_weight=0.75)
    ratio = fl.misassignment_probability(far) / fl.misassignment_bound(far)
    # the matching lower bound: 1 - (pi^2 + c^2) / (2 D^2), c = log(1/3)
    assert 1 - (np.pi**2 + np.log(3) ** 2) / (2 * 36.0**2) <= ratio <= 1


def test_bhattacharyya_coefficient() -> None:
    model = fl.TwoModeMixture(0.2, [0.0, 0.0], [1.0, 2.0], [[4.0, 0.0], [0.0, 1.0]])
    assert fl.bhattacharyya_coefficient(model) == pytest.approx(np.exp(-(0.25 + 4) / 8), rel=1e-14)


def test_total_variation() -> None:
    for separation in (0.0, 0.01, 1.0, 5.0):
        model = fl.TwoModeMixture.separated(separation, dim=3)
        assert fl.total_variation(model) == pytest.approx(2 * norm.cdf(separation / 2) - 1)


def test_boundary_is_where_both_modes_are_equally_likely() -> None:
    model = fl.TwoModeMixture(0.2, [0.0, 1.0], [1.0, 3.0], [[4.0, 0.5], [0.5, 1.0]])
    place = fl.boundary_position(model)
    assert fl.boundary_position(model, "new") == pytest.approx(1 - place)
    point = model.old_mean + place * (model.new_mean - model.old_mean)
    assert float(model.responsibility(point)) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="two distinct means, got separation 0"):
        fl.boundary_position(model.replace(new_mean=model.old_mean))


@pytest.mark.parametrize("separation", [0.0, *SEPARATIONS])
@pytest.mark.parametrize("weight", [*WEIGHTS, 1e-3, 0.5])
def test_interval_holds_the_probability(separation: float, weight: float) -> None:
    model = fl.TwoModeMixture.separated(separation, old_weight=weight)
    for side in ("old", "new"):
        low, high = fl.misassignment_interval(model, side)
        value = fl.misassignment_probability(model, side)
        assert low <= value * (1 + 1e-12)
        assert value <= high * (1 + 1e-12)
        assert high <= fl.misassignment_bound(model, side)


def test_interval_is_narrow_wherever_the_boundary_is_between_the_means() -> None:
    for place in (0.3, 0.5, 0.6):
        model = fl.TwoModeMixture.separated(7.0, old_weight=1 / (1 + np.exp((0.5 - place) * 49)))
        low, high = fl.misassignment_interval(model)
        assert low > 0.6 * high
    far = fl.TwoModeMixture.separated(40.0, old_weight=1e-200)
    low, high = fl.misassignment_interval(far)
    assert low > 0.97 * high


@pytest.mark.parametrize("separation", [1e-3, 0.5, 2.0, 7.0])
@pytest.mark.parametrize("weight", [1e-9, 0.3, 0.999])
def test_weight_information_is_the_integral(separation: float, weight: float) -> None:
    b, d = mp.mpf(weight), mp.mpf(separation)

    def integrand(y: mp.mpf) -> mp.mpf:
        old, new = mp.npdf(y), mp.npdf(y, d)
        return (old - new) ** 2 / (b * old + (1 - b) * new)

    with mp.workdps(20):
        exact = mp.quad(integrand, [-30, -9, -6, -3, 0, d / 2, d, d + 3, d + 6, d + 9, d + 30])
    model = fl.TwoModeMixture.separated(separation, old_weight=weight)
    assert fl.weight_information(model) == pytest.approx(float(exact), rel=1e-9)
    assert fl.weight_information(fl.TwoModeMixture.separated(0.0)) == 0.0


@pytest.mark.parametrize("separation", [0.05, 0.5, 0.99, 1.0, 2.5, 6.0])
@pytest.mark.parametrize("logit", [-12.0, -2.0, 0.0, 1.5, 20.0])
def test_weight_slope_is_the_integral(separation: float, logit: float) -> None:
    d = mp.mpf(separation)
    b = sigmoid(mp.mpf(logit))
    exact = b - mean(sigmoid, mp.mpf(logit) - d**2 / 2, d)
    assert abs(float(log_weight_slope(separation, logit) - mp.log(exact))) < 1e-10


def test_weight_slope_far_out() -> None:
    # as b -> 0 the slope is (exp(D^2) - 1) b^2
    assert float(log_weight_slope(40.0, -5000.0)) == pytest.approx(1600 - 10000, abs=1e-9)
    assert float(log_weight_slope(2.0, -300.0)) == pytest.approx(
        np.log(np.expm1(4.0)) - 600, abs=1e-10
    )
    assert float(log_weight_slope(np.inf, -3.0)) == pytest.approx(-np.logaddexp(0, 3.0))


def test_weight_slope_branches_agree() -> None:
    below, above = (log_weight_slope(d, [-9.0, -1.0, 4.0]) for d in (1.0 - 1e-9, 1.0))
    np.testing.assert_allclose(below, above, atol=1e-7)


def test_bad_input() -> None:
    model = fl.TwoModeMixture.separated(2.0)
    with pytest.raises(ValueError, match="side must be 'old' or 'new', got 'left'"):
        fl.misassignment_probability(model, side="left")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="separation must be > 0"):
        log_weight_slope(0.0, 1.0)
    with pytest.raises(ValueError, match="old_logit must be finite"):
        log_weight_slope(1.0, np.nan)
