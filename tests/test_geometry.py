"""Local geometry: eigenvalues against Hessians and high precision, bounds, rates, noise."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest

import forgetlib as fl


def _precise(separation: str, old_weight: str) -> list[float]:
    """Eigenvalues of the block on the line, in 50 digits."""
    with mp.workdps(50):
        distance, a = mp.mpf(separation), mp.mpf(old_weight)
        step = mp.mpf("0.08")
        fisher = mp.matrix(3, 3)
        count = int((30 + distance) / step)
        for k in range(count + 1):
            y = -15 + k * step
            old, new = mp.npdf(y, 0, 1), mp.npdf(y, distance, 1)
            density = a * old + (1 - a) * new
            r = a * old / density
            scores = (r - a, r * y, (1 - r) * (y - distance))
            for i in range(3):
                for j in range(3):
                    fisher[i, j] += step * density * scores[i] * scores[j]
        return [float(value) for value in sorted(mp.eigsy(fisher, eigvals_only=True))]


@pytest.mark.parametrize(
    ("separation", "old_weight"),
    [("0.05", "0.75"), ("0.01", "0.3"), ("0.25", "0.999"), ("1", "0.5"), ("4", "0.000001")],
)
def test_all_digits(separation: str, old_weight: str) -> None:
    mixture = fl.TwoModeMixture.separated(float(separation), float(old_weight))
    exact = _precise(separation, old_weight)
    np.testing.assert_allclose(fl.fisher_eigenvalues(mixture).value, exact, rtol=2e-13)


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize(("separation", "a"), [(0.7, 0.2), (3.0, 0.75), (12.0, 0.5), (49.0, 0.9)])
def test_eigenvalues_are_those_of_the_hessian(dim: int, separation: float, a: float) -> None:
    mixture = fl.TwoModeMixture.separated(separation, a, dim=dim)
    value, multiplicity = fl.fisher_eigenvalues(mixture)
    assert multiplicity.sum() == 1 + 2 * dim
    for objective in (fl.ReverseKL(mixture), fl.ForwardKL(mixture, replay=a)):
        expected = np.linalg.eigvalsh(objective.hessian(mixture))
        np.testing.assert_allclose(np.repeat(value, multiplicity), expected, atol=2e-14)


def test_covariance_is_whitened_away() -> None:
    covariance = np.array([[4.0, 1.0], [1.0, 0.5]])
    mixture = fl.TwoModeMixture(0.3, [1.0, 2.0], [4.0, 1.5], covariance)
    white = fl.TwoModeMixture.separated(mixture.separation, 0.3, dim=2)
    expected = fl.fisher_eigenvalues(white).value
    np.testing.assert_allclose(fl.fisher_eigenvalues(mixture).value, expected, rtol=1e-12)
    # the direction is an eigenvector of the Hessian, once gradients are multiplied by Sigma
    direction = fl.slowest_direction(mixture)
    flat = np.concatenate([[direction.logit], direction.old_mean, direction.new_mean])
    change = fl.ReverseKL(mixture).hessian(mixture) @ flat
    change[1:3], change[3:] = covariance @ change[1:3], covariance @ change[3:]
    np.testing.assert_allclose(change, fl.slowest_rate(mixture) * flat, atol=1e-14)
    white_length = np.sqrt(
        direction.logit**2
        + (mixture.whiten(direction.old_mean) ** 2).sum()
        + (mixture.whiten(direction.new_mean) ** 2).sum()
    )
    assert white_length == pytest.approx(1.0, abs=1e-14)


def test_far_and_near_branches_meet() -> None:
    near, far = (fl.TwoModeMixture.separated(s, 0.3, dim=3) for s in (49.9, 50.1))
    np.testing.assert_allclose(
        fl.fisher_eigenvalues(near).value, fl.fisher_eigenvalues(far).value, rtol=1e-12
    )
    assert fl.slowest_direction(near).logit == pytest.approx(1.0, abs=1e-14)
    huge = fl.TwoModeMixture.separated(1e5, 0.3, dim=3)
    np.testing.assert_allclose(fl.fisher_eigenvalues(huge).value, [0.21, 0.3, 0.3, 0.7, 0.7])
    assert fl.slowest_rate_bounds(huge) == pytest.approx((0.21, 0.21), rel=1e-15)


def test_tiny_separations_keep_their_digits() -> None:
    for distance in (1e-3, 1e-10, 1e-30):
        mixture = fl.TwoModeMixture.separated(distance, 0.3, dim=2)
        omega, sum_of_squares = 0.21, 0.58
        expected = [
            omega**2 * distance**6 / 24,
            omega**2 * distance**2 / sum_of_squares,
            2 * omega**2 * distance**2 / sum_of_squares,
            sum_of_squares,
            sum_of_squares,
        ]
        np.testing.assert_allclose(fl.fisher_eigenvalues(mixture).value, expected, rtol=2e-6)
        lower, upper = fl.slowest_rate_bounds(mixture)
        assert lower == pytest.approx(expected[0], rel=2e-6)
        assert upper == pytest.approx(expected[0], rel=2e-6)


def test_conditioning_in_one_and_more_dimensions() -> None:
    one = [fl.condition_number(fl.TwoModeMixture.separated(s, 0.75)) for s in (2, 3, 5, 6)]
    two = [fl.condition_number(fl.TwoModeMixture.separated(s, 0.75, dim=2)) for s in (2, 3, 5, 6)]
    assert np.round(one, 2).tolist() == [28.22, 7.69, 3.99, 3.97]
    assert np.round(two, 2).tolist() == [32.59, 8.67, 4.12, 4.02]
    many = fl.TwoModeMixture.separated(3.0, 0.75, dim=10_000)
    assert fl.condition_number(many) == pytest.approx(two[1], rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_bounds_hold_and_are_not_vacuous(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ratios = []
    for _ in range(100):
        a = 1.0 / (1.0 + math.exp(-rng.uniform(-10.0, 10.0)))
        mixture = fl.TwoModeMixture.separated(math.exp(rng.uniform(-6.0, 4.5)), a)
        rate = fl.slowest_rate(mixture)
        lower, upper = fl.slowest_rate_bounds(mixture)
        assert 0.0 < lower <= rate * (1.0 + 1e-11)
        assert rate <= upper * (1.0 + 1e-11)
        ratios.append(lower / rate)
    assert np.median(ratios) > 0.9


@pytest.mark.parametrize(("separation", "a"), [(1.0, 0.5), (3.0, 0.9), (5.0, 0.2)])
def test_moving_along_the_slowest_direction_costs_least(separation: float, a: float) -> None:
    target = fl.TwoModeMixture.separated(separation, a, dim=2)
    objective, rate = fl.ReverseKL(target), fl.slowest_rate(target)
    slow = fl.slowest_direction(target)

    def cost(step: float, logit: float, old: np.ndarray, new: np.ndarray) -> float:
        weight = 1.0 / (1.0 + math.exp(-(target.old_logit + step * logit)))
        model = target.replace(
            old_weight=weight,
            old_mean=target.old_mean + step * old,
            new_mean=target.new_mean + step * new,
        )
        return objective.value(model) / (0.5 * step**2)

    assert cost(3e-3, *slow) == pytest.approx(rate, rel=0.03)
    rng = np.random.default_rng(5)
    for _ in range(20):
        direction = rng.standard_normal(5)
        direction /= np.linalg.norm(direction)
        assert cost(3e-3, direction[0], direction[1:3], direction[3:]) > 0.97 * rate


def test_mean_square_factor_separates_stable_from_unstable_steps() -> None:
    target = fl.TwoModeMixture.separated(4.0, 0.75, dim=1)
    factors = [fl.mean_square_factor(target, h, 1) for h in (0.05, 0.5, 3.0)]
    assert factors[0] < 1.0 < factors[2]
    # noise only adds, more samples only help, and endless batches leave the mean's factor
    rate = fl.slowest_rate(target)
    by_batch = [fl.mean_square_factor(target, 0.5, n) for n in (1, 4, 64, 10**9)]
    assert by_batch == sorted(by_batch, reverse=True)
    assert by_batch[-1] == pytest.approx((1.0 - 0.5 * rate) ** 2, rel=1e-6)
    # in many dimensions the same step needs a larger batch
    wide = fl.TwoModeMixture.separated(4.0, 0.75, dim=200)
    assert fl.mean_square_factor(wide, 0.5, 8) > 1.0 > fl.mean_square_factor(target, 0.5, 8)


def test_mean_square_factor_of_parts() -> None:
    target = fl.TwoModeMixture.separated(3.0, 0.6, dim=3)
    weight = fl.mean_square_factor(target, 0.5, 4, train="weight")
    old = fl.mean_square_factor(target, 0.5, 4, train="old_mean")
    both = fl.mean_square_factor(target, 0.5, 4, train=("weight", "old_mean"))
    everything = fl.mean_square_factor(target, 0.5, 4)
    assert max(weight, old) <= both + 1e-12
    assert both <= everything + 1e-12


def test_stationary_variance() -> None:
    target = fl.TwoModeMixture.separated(3.0, 0.6, dim=4)
    exact = fl.stationary_variance(target, 1e-6, 10)
    np.testing.assert_allclose(exact, 1e-6 / 20, rtol=1e-6)
    longest = 2.0 / fl.fisher_eigenvalues(target).value[-1]
    assert fl.stationary_variance(target, 0.999 * longest, 10)[-1] > 50.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: fl.fisher_eigenvalues(m.replace(new_mean=m.old_mean)), "two distinct modes"),
        (lambda m: fl.slowest_rate(m.replace(new_mean=m.old_mean)), "got separation 0"),
        (lambda m: fl.condition_number("mixture"), "mixture must be a TwoModeMixture"),
        (lambda m: fl.slowest_rate_bounds(None), "mixture must be a TwoModeMixture"),
        (lambda m: fl.mean_square_factor(m, 0.0, 1), "learning_rate must be"),
        (lambda m: fl.mean_square_factor(m, 0.1, 0), "batch_size must be an integer >= 1"),
        (lambda m: fl.mean_square_factor(m, 0.1, 1, train="old"), "train must name"),
        (
            lambda m: fl.mean_square_factor(fl.TwoModeMixture.separated(60.0), 0.1, 1),
            "separation of at most 50, got 60",
        ),
        (lambda m: fl.stationary_variance(m, 9.0, 4), "learning_rate must be > 0 and below"),
        (lambda m: fl.stationary_variance(m, 0.1, 0), "batch_size must be an integer >= 1"),
    ],
)
def test_bad_input(call: object, message: str) -> None:
    mixture = fl.TwoModeMixture.separated(2.0, 0.6, dim=2)
    with pytest.raises(ValueError, match=message):
        call(mixture)  # type: ignore[operator]
