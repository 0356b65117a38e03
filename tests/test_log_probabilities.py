"""Estimates from log-probabilities: identities, coverage, files, and what is refused.

Chance results use fixed seeds. A count of misses is compared with its binomial law at a
false-alarm rate of 1e-6 each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import quad

import forgetlib as fl

FloatArray = NDArray[np.float64]
Density = Callable[[FloatArray], FloatArray]


def pairs(samples: FloatArray, old: Density, new: Density) -> FloatArray:
    return np.stack([old(samples), new(samples)], axis=1)


def gaussians(separation: float, n_old: int, n_new: int, seed: int) -> fl.OverlapEstimate:
    rng = np.random.default_rng(seed)
    old, new = stats.norm(0, 1).logpdf, stats.norm(separation, 1).logpdf
    return fl.estimate_overlap(
        pairs(rng.normal(0, 1, n_old), old, new), pairs(rng.normal(separation, 1, n_new), old, new)
    )


# ---- what is estimated -------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.8])
@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
def test_pooled_terms_integrate_to_the_overlap(share: float, weight: float) -> None:
    """The identity behind the estimates, by quadrature, for a Student and a skewed density."""
    old, new = stats.t(4).pdf, stats.skewnorm(5, loc=1.5).pdf

    def pooled(y: float, power: int) -> float:
        f, g = float(old(y)), float(new(y))
        root = math.sqrt(f / g)
        terms = [
            1.0 / (share * root + (1 - share) / root),
            1.0 / (weight * root + (1 - weight) / root),
        ]
        return (share * f + (1 - share) * g) * math.prod(terms[:power])

    def whole(function: Callable[[float], float]) -> float:
        # the skewed density underflows far to the left, where nothing is left to integrate
        return float(quad(function, -5.0, 15.0, limit=400, points=[1.5])[0])

    coefficient = whole(lambda y: math.sqrt(float(old(y)) * float(new(y))))
    gate = whole(
        lambda y: (
            float(old(y)) * float(new(y)) / (weight * float(old(y)) + (1 - weight) * float(new(y)))
        )
    )
    assert whole(lambda y: pooled(y, 1)) == pytest.approx(coefficient, rel=1e-7)
    assert whole(lambda y: pooled(y, 2)) == pytest.approx(gate, rel=1e-7)


def test_estimates_agree_with_the_exact_mixture() -> None:
    """A hundred thousand samples: everything within five of its half-widths at 95%."""
    for separation in (0.5, 2.0, 4.0):
        found = gaussians(separation, 100_000, 50_000, 3)
        for weight in (0.05, 0.5, 0.95):
            model = fl.TwoModeMixture.separated(separation, weight)
            for told, exact in (
                (found.coefficient, fl.bhattacharyya_coefficient(model)),
                (found.misassignment(weight), fl.misassignment_probability(model)),
                (found.separation, separation),
            ):
                assert told.low < told.value < told.high
                assert abs(told.value - exact) < 2.5 * (told.high - told.low)


CASES: dict[str, tuple[stats.rv_continuous, stats.rv_continuous, int, int]] = {
    "gaussians, near": (stats.norm(0, 1), stats.norm(0.5, 1), 200, 200),
    "gaussians": (stats.norm(0, 1), stats.norm(3, 1), 200, 200),
    "gaussians, few": (stats.norm(0, 1), stats.norm(4, 1), 50, 50),
    "gaussians, far": (stats.norm(0, 1), stats.norm(6, 1), 1000, 1000),
    "gaussians, unequal numbers": (stats.norm(0, 1), stats.norm(4, 1), 2000, 200),
    "unequal widths": (stats.norm(0, 1), stats.norm(3, 3), 200, 200),
    "heavy tails": (stats.t(3), stats.t(3, loc=6), 500, 500),
    "skewed": (stats.skewnorm(6), stats.gumbel_r(loc=4), 500, 500),
}
RUNS = 2000


@pytest.mark.parametrize("case", CASES)
def test_intervals_cover_at_their_level(case: str) -> None:
    """Coverage of 95% intervals, of the overlap and of the gate that forgetting sees.

    At least 94%: the law of as many misses as at 6% is exceeded with probability 1e-6.
    """
    old, new, n_old, n_new = CASES[case]
    ends = (-60.0, 60.0)
    exact = quad(lambda y: math.sqrt(old.pdf(y) * new.pdf(y)), *ends, limit=500, points=[0, 4])[0]
    gate = quad(
        lambda y: 2 * old.pdf(y) * new.pdf(y) / max(old.pdf(y) + new.pdf(y), 1e-300),
        *ends,
        limit=500,
        points=[0, 4],
    )[0]
    rng = np.random.default_rng(20)
    misses = np.zeros(2, dtype=np.int64)
    y, z = (d.rvs((RUNS, n), random_state=rng) for d, n in ((old, n_old), (new, n_new)))
    h_old, h_new = old.logpdf(y) - new.logpdf(y), old.logpdf(z) - new.logpdf(z)
    for one, other in zip(h_old, h_new, strict=True):
        found = fl.OverlapEstimate(one, other)
        for k, (told, truth) in enumerate(((found.coefficient, exact), (found.gate(0.5), gate))):
            misses[k] += not told.low <= truth <= told.high
    assert np.all(misses <= stats.binom(RUNS, 0.06).isf(1e-6))
    assert np.all(misses > 0)  # limits that never miss would be too wide


def test_a_normal_interval_from_one_side_does_not_cover() -> None:
    """What the interval is for: far apart, plain averages over old samples miss far too often."""
    rng, separation, misses = np.random.default_rng(1), 6.0, 0
    for _ in range(400):
        terms = np.exp(-0.5 * rng.normal(0.5 * separation**2, separation, 1000))
        error = 1.96 * terms.std(ddof=1) / math.sqrt(1000)
        misses += abs(terms.mean() - math.exp(-(separation**2) / 8)) > error
    assert misses > 400 * 0.15


def test_no_overlap_in_the_samples_leaves_an_upper_limit() -> None:
    found = fl.OverlapEstimate(np.linspace(900, 1000, 60), np.linspace(-1000, -900, 40))
    told = found.coefficient
    largest = 1.0 / (2.0 * math.sqrt(0.6 * 0.4)) / 100
    assert told.low == pytest.approx(0.0, abs=1e-100)
    assert told.high == pytest.approx(largest * math.log(2 / 0.05), rel=1e-9)
    assert found.degenerate
    assert found.consistent is None
    assert found.separation.high == math.inf
    assert found.separation.low == pytest.approx(math.sqrt(-8 * math.log(told.high)))


# ---- what is checked ---------------------------------------------------------------------


def test_normalization_gap_finds_an_offset_and_its_error_is_right() -> None:
    rng = np.random.default_rng(2)
    gaps, errors = [], []
    for _ in range(400):
        h, k = rng.normal(2.0, 2.0, 300), rng.normal(-2.0, 2.0, 200)
        gap, stderr = fl.OverlapEstimate(h + 0.7, k + 0.7).normalization_gap
        gaps.append(gap)
        errors.append(stderr)
    spread = float(np.std(gaps))
    assert np.mean(gaps) == pytest.approx(0.7, abs=5 * spread / 20)
    assert np.mean(errors) == pytest.approx(spread, rel=5 / math.sqrt(2 * 400))


def test_samples_at_another_temperature_are_noticed() -> None:
    rng = np.random.default_rng(5)
    old, new = stats.norm(0, 1).logpdf, stats.norm(3, 1).logpdf
    cold = pairs(rng.normal(0.0, 0.6, 2000), old, new)
    assert (
        fl.estimate_overlap(cold, pairs(rng.normal(3.0, 1.0, 2000), old, new)).consistent is False
    )


def test_calibration_has_a_uniform_law_when_all_is_right() -> None:
    """Rejections at 5% are binomial, with a false-alarm rate of 1e-6; unequal numbers too."""
    rng, runs = np.random.default_rng(9), 1000
    for separation, n_old, n_new in ((1.0, 100, 100), (2.0, 200, 60), (4.0, 500, 300)):
        x = separation * rng.normal(0.5 * separation, 1.0, (runs, n_old + n_new))
        told = [fl.OverlapEstimate(row[:n_old], -row[n_old:]).calibration for row in x]
        rejected = int(np.sum(np.array(told) < 0.05))
        assert (
            stats.binom(runs, 0.05).isf(1 - 1e-6) <= rejected <= stats.binom(runs, 0.05).isf(1e-6)
        )


def test_the_gaussian_reading_is_questioned_when_it_is_wrong() -> None:
    rng = np.random.default_rng(6)
    old, new = stats.norm(0, 1), stats.norm(3, 4)
    wide = fl.estimate_overlap(
        pairs(old.rvs(2000, random_state=rng), old.logpdf, new.logpdf),
        pairs(new.rvs(2000, random_state=rng), old.logpdf, new.logpdf),
    )
    assert not wide.looks_gaussian
    assert all(
        gaussians(d, 50, 50, seed).looks_gaussian for d in (0.5, 2.0, 5.0) for seed in range(50)
    )


# ---- files -------------------------------------------------------------------------------


def test_csv_and_npz_say_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(12, 2)), rng.normal(size=(15, 2))
    np.savez(tmp_path / "samples.npz", old=old, new=new)
    rows = [
        f"{a!r},{b!r},{name}"
        for name, rows in (("old", old), ("new", new))
        for a, b in rows.tolist()
    ]
    # columns in another order, one more of them, and the mark that spreadsheets put in front
    text = "\ufefflog_old,log_new,model,prompt\n" + "\n".join(f'{row},"a, b"' for row in rows)
    (tmp_path / "samples.csv").write_text(text, encoding="utf-8")
    for name in ("samples.npz", "samples.csv"):
        first, second = fl.read_log_probabilities(tmp_path / name)
        np.testing.assert_array_equal(first, old)
        np.testing.assert_array_equal(second, new)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    def refused(name: str, text: str, match: str) -> None:
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=match):
            fl.read_log_probabilities(tmp_path / name)

    head, good = "model,log_old,log_new\n", "old,-1,-2\n" * 10 + "new,-2,-1\n" * 10
    refused("a.txt", good, r"must end in \.csv or \.npz")
    refused("a.csv", good, "columns model, log_old, log_new")
    refused("b.csv", head + good + "older,-1,-2\n", "line 22")
    refused("c.csv", head + good + "old,-1\n", "two numbers in every row")
    refused("d.csv", head + good + "old,-1,inf\n", "rows of model old must be finite")
    refused("e.csv", head + "old,-1,-2\n" * 10, "rows of model new must hold at least 10")
    refused("f.npz", "no archive", r"must be an \.npz file")
    np.savez(tmp_path / "g.npz", old=np.ones((10, 2)))
    with pytest.raises(ValueError, match=r"arrays 'old' and 'new', got \['old'\]"):
        fl.read_log_probabilities(tmp_path / "g.npz")
    np.savez(tmp_path / "h.npz", old=np.array([{}], dtype=object), new=np.ones((10, 2)))
    with pytest.raises(ValueError, match="without objects"):  # they would have to be unpickled
        fl.read_log_probabilities(tmp_path / "h.npz")
    with pytest.raises(FileNotFoundError):
        fl.read_log_probabilities(tmp_path / "none.csv")


# ---- arguments ---------------------------------------------------------------------------


def test_wrong_arrays_are_refused() -> None:
    good = np.random.default_rng(0).normal(size=(20, 2))
    bad = good.copy()
    bad[3, 1] = np.nan
    for old, new, match in (
        (good[:, 0], good, r"old_samples must be numbers of shape \(samples, 2\).*shape \(20,\)"),
        (good.T, good, r"got shape \(2, 20\)"),
        (good, good[:9], "new_samples must hold at least 10 samples, got 9"),
        (good, bad, r"new_samples must be finite, got .* in row 3 \(1 such rows\)"),
        ([[1, 2], [3]], good, "old_samples must be numbers"),
        (good.astype(str), good, "old_samples must be numbers"),
        (np.ones((10, 2)), np.zeros((10, 2)), "must come from different models, got one log-ratio"),
    ):
        with pytest.raises(ValueError, match=match):
            fl.estimate_overlap(old, new)
    with pytest.raises(ValueError, match="level must"):
        fl.estimate_overlap(good, good + 1, level=95)
    with pytest.raises(ValueError, match="old_weight must"):
        gaussians(2.0, 20, 20, 0).gate(1.0)
