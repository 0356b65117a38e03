"""The plateau against independent computations: quadrature, mpmath, and the exact flow."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import forgetlib as fl
from forgetlib.plateau import (
    Escape,
    adiabatic_escape_time,
    escape_time,
    escape_time_floor,
    flow_escape,
    plateau_height,
    plateau_moments,
    swap_threshold,
)


@pytest.mark.parametrize(("separation", "weight"), [(1.0, 0.2), (4.0, 0.75), (9.0, 0.5)])
def test_moments_against_mpmath(separation: float, weight: float) -> None:
    def phi(y: mpmath.mpf) -> mpmath.mpf:
        odds = mpmath.mpf(1 - weight) / weight * mpmath.exp(separation * y - separation**2 / 2)
        return mpmath.log1p(odds)

    for order, moment in enumerate(plateau_moments(separation, weight)):
        # derivatives by parts: E[phi He_j]
        exact = mpmath.quad(
            lambda y, j=order: phi(y) * mpmath.npdf(y) * _hermite(j, y),
            [-12, -4, 0, separation / 2, separation, separation + 4, separation + 12],
        )
        assert moment == pytest.approx(float(exact), rel=1e-9, abs=1e-15)


def _hermite(order: int, y: mpmath.mpf) -> mpmath.mpf:
    return [mpmath.mpf(1), y, y**2 - 1, y**3 - 3 * y][order]


def test_objective_expands_in_the_moments() -> None:
    """Near the old mode the objective is the distance of two sets of moments."""
    separation, weight = 7.0, 0.75
    target = fl.TwoModeMixture.separated(separation, old_weight=weight)
    psi = plateau_moments(separation, weight)
    for b, old, new in [(0.75, -0.02, 0.05), (0.6, -0.04, 0.06)]:
        value = fl.ReverseKL(target).value(fl.TwoModeMixture(b, [old], [new]))
        mu = np.array([b * old**j + (1 - b) * new**j for j in range(4)])
        scale = np.array([1.0, 1.0, 2.0, 6.0])
        expansion = -math.log(weight) - psi[0]
        expansion += float(np.sum(((mu - psi) ** 2 - psi**2)[1:] / (2 * scale[1:])))
        assert value - expansion == pytest.approx(0.0, abs=3e-8)
        assert abs(value + math.log(weight) + psi[0]) > 1e-6


def test_escape_of_the_flow_at_small_separations() -> None:
    target = fl.TwoModeMixture.separated(3.0, old_weight=0.75)
    escape = flow_escape(target, target.replace(new_mean=[0.5]))
    path = fl.gradient_flow(
        fl.ReverseKL(target), target.replace(new_mean=[0.5]), [escape.time * 0.999, escape.time]
    )
    assert path.new_mean[0, 0] < 1.5 == pytest.approx(path.new_mean[1, 0], abs=1e-4)
    assert not escape.swapped


def test_escape_does_not_depend_on_coordinates() -> None:
    plain = fl.TwoModeMixture.separated(3.0, old_weight=0.7)
    covariance = np.array([[2.0, 0.6], [0.6, 1.0]])
    direction = np.linalg.cholesky(covariance) @ np.array([0.6, 0.8])
    origin = np.array([1.0, -2.0])
    tilted = fl.TwoModeMixture(0.7, origin, origin + 3.0 * direction, covariance)
    one = flow_escape(plain, plain.replace(new_mean=[0.3]), rtol=1e-8)
    other = flow_escape(tilted, tilted.replace(new_mean=origin + 0.3 * direction), rtol=1e-8)
    assert other.time == pytest.approx(one.time, rel=1e-6)
    floors = [
        escape_time_floor(plain, plain.replace(new_mean=[0.3])),
        escape_time_floor(tilted, tilted.replace(new_mean=origin + 0.3 * direction)),
    ]
    assert floors[1] == pytest.approx(floors[0], rel=1e-9)


def test_labels_swap_and_both_bounds_hold() -> None:
    target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    escapes = {x: flow_escape(target, target.replace(new_mean=[x]), rtol=1e-7) for x in (0.04, 0.5)}
    assert escapes[0.04].swapped
    assert not escapes[0.5].swapped
    for x, escape in escapes.items():
        assert escape_time_floor(target, target.replace(new_mean=[x])) < escape.time < math.inf


def test_merged_halves_never_escape() -> None:
    target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    start = fl.TwoModeMixture(0.5, [0.2], [0.2])
    assert flow_escape(target, start, longest=100.0) == Escape(math.inf, False)
    outside = target.replace(new_mean=[3.0])
    assert flow_escape(target, outside).time == 0.0
    assert escape_time_floor(target, outside) == 0.0


def test_floor_has_the_order_of_the_escape_time() -> None:
    """At D = 10 the proved floor is already a fair share of the formal law."""
    separation, weight = 10.0, 0.75
    _, first, second, _ = plateau_moments(separation, weight)
    target = fl.TwoModeMixture.separated(separation, old_weight=weight)
    width = math.sqrt(second)
    start = fl.TwoModeMixture(0.5, [first - width], [first + width])
    share = escape_time_floor(target, start) / escape_time(separation, weight, 0.5)
    assert 0.35 < share < 0.6
    # off the line of the modes only the weaker bound is left
    wide = fl.TwoModeMixture.separated(separation, old_weight=weight, dim=2)
    off = fl.TwoModeMixture(0.5, [first - width, 1e-3], [first + width, 0.0])
    assert escape_time_floor(wide, off) < 1e-6 * escape_time_floor(target, start)


def test_rounding_never_lifts_the_floor() -> None:
    """Where the height of the start is known to few digits the floor must not be above its
    exact value: evaluated with 50 digits that is 1.42e16 for the first start."""

    def on_slow_set(separation: float, weight: float, b: float) -> tuple[float, float]:
        _, first, second, _ = plateau_moments(separation, weight)
        width, tilt = math.sqrt(second), math.sqrt(b / (1.0 - b))
        target = fl.TwoModeMixture.separated(separation, old_weight=weight)
        start = fl.TwoModeMixture(b, [first - width / tilt], [first + width * tilt])
        return escape_time_floor(target, start), escape_time(separation, weight, b)

    floor, _ = on_slow_set(11.359109616279095, 0.787499908728791, 0.3112706989134072)
    assert 0.0 < floor < 1.42e16
    rng = np.random.default_rng(4)
    for _ in range(150):
        separation = float(rng.uniform(10.0, 14.0))
        weight, b = (float(x) for x in rng.uniform(0.1, 0.9, 2))
        floor, law = on_slow_set(separation, weight, b)
        assert floor < 0.6 * law


def test_floor_does_not_depend_on_the_origin() -> None:
    """Far from the origin the coordinates are rounded; the floor feels that, but no more."""
    plain = fl.TwoModeMixture.separated(9.0, old_weight=0.75)
    _, first, second, _ = plateau_moments(9.0, 0.75)
    old, new = first - math.sqrt(second), first + math.sqrt(second)
    away = fl.TwoModeMixture(0.75, [1024.0], [1033.0])
    floors = [
        escape_time_floor(plain, fl.TwoModeMixture(0.5, [old], [new])),
        escape_time_floor(away, fl.TwoModeMixture(0.5, [1024.0 + old], [1024.0 + new])),
    ]
    assert floors[1] == pytest.approx(floors[0], rel=1e-3)


def test_slow_manifold_ends_in_a_fold() -> None:
    with pytest.raises(ValueError, match=r"start lies beyond the fold, got 6\.0"):
        adiabatic_escape_time(6.0, 0.75, 0.99)
    with pytest.raises(ValueError, match="modes overlap too much"):
        adiabatic_escape_time(4.0, 0.75, 0.75)
    with pytest.raises(ValueError, match="pull='exponential' has no such limit"):
        adiabatic_escape_time(12.0, 0.75, 0.75)
    ratios = [
        adiabatic_escape_time(d, 0.75, 0.75, "exponential") / escape_time(d, 0.75, 0.75)
        for d in (6.0, 8.0, 10.0, 14.0, 20.0, 45.0)
    ]
    assert np.all(np.diff(ratios[:5]) > 0)
    assert ratios[-1] == pytest.approx(1.0, abs=1e-7)


def test_height_is_finite_only_near_the_old_mode() -> None:
    low, high = plateau_height(6.0, 0.75)
    assert 0.0 < high - low < 1e-3
    assert plateau_height(6.0, 0.75, 5.0)[0] == -math.inf
    assert plateau_height(45.0, 0.5, 3.0)[0] == pytest.approx(math.log(2.0))


def test_weights_below_one_half_do_not_swap() -> None:
    assert swap_threshold(5.0, 0.75, 0.4) < 0.0 == swap_threshold(5.0, 0.75, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plateau_moments(0.0, 0.5), "separation must lie in"),
        (lambda: plateau_moments(46.0, 0.5), "separation must lie in"),
        (lambda: plateau_moments(4.0, 1.0), "old_weight must lie strictly between"),
        (lambda: plateau_height(4.0, 0.5, -1.0), "radius must be a finite number >= 0"),
        (lambda: escape_time(4.0, 0.5, 0.0), "start_weight must lie strictly between"),
        (lambda: escape_time(0.5, 0.1, 0.5), "its third moment positive"),
        (lambda: adiabatic_escape_time(8.0, 0.5, 0.5, "fast"), "pull must be 'exact' or"),
        (lambda: swap_threshold(4.0, 0.5, 2.0), "start_weight must lie strictly between"),
        (lambda: escape_time_floor(3.0, 3.0), "target must be a TwoModeMixture"),
        (
            lambda: flow_escape(
                fl.TwoModeMixture.separated(3.0), fl.TwoModeMixture.separated(3.0, dim=2)
            ),
            "start must have the target's dimension",
        ),
        (
            lambda: flow_escape(
                fl.TwoModeMixture.separated(3.0), fl.TwoModeMixture.separated(3.0), longest=-1.0
            ),
            "longest must be a finite number > 0",
        ),
    ],
)
def test_bad_arguments(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
