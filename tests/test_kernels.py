"""The compiled building blocks of the simulations.

Statistical tests use fixed seeds; the false-alarm rate that each one states is the chance that
a right program would fail at a seed picked at random.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from compiled import from_python
from scipy import stats
from scipy.special import expit, ndtri

from forgetlib import _kernels


def elementwise(function: Any) -> Any:
    """A compiled function of one number, over an array."""

    @numba.njit
    def apply(x: np.ndarray, out: np.ndarray) -> None:
        for i in range(x.size):
            out[i] = function(x[i])

    def call(x: np.ndarray) -> np.ndarray:
        out = np.empty_like(x)
        apply(x, out)
        return out

    return call


make_ready = from_python(_kernels.seed)
draw_normals = from_python(_kernels.draw_normals)
draw_binomial = from_python(_kernels.draw_binomial)
draw_chi = from_python(_kernels.draw_chi)
next_word = from_python(_kernels.next_word)


def source(seed: int) -> _kernels.Source:
    made = _kernels.new_source(np.random.SeedSequence(seed))
    make_ready(made)
    return made


def wide_grid() -> np.ndarray:
    rng = np.random.default_rng(0)
    small = np.logspace(-300, 0, 400)
    return np.concatenate(
        [[0.0], small, -small, rng.uniform(-700, 700, 4000), rng.uniform(-3, 3, 4000)]
    )


# ---- functions of one number ---------------------------------------------------------


def test_exponentials_are_those_of_numpy() -> None:
    x = wide_grid()
    np.testing.assert_allclose(elementwise(_kernels.exponential)(x), np.exp(x), rtol=1e-13)
    np.testing.assert_allclose(elementwise(_kernels.decay)(x), np.exp(-np.abs(x)), rtol=1e-13)
    assert elementwise(_kernels.decay)(np.zeros(1))[0] == pytest.approx(1.0, rel=1e-13)


def test_exponential_stays_finite_and_positive_far_out() -> None:
    out = elementwise(_kernels.exponential)(np.array([-1e308, -1e4, -709.0, 709.0, 1e4, 1e308]))
    assert np.isfinite(out).all()
    assert (out > 0).all()
    assert (out[:3] < 1e-307).all()
    assert (out[3:] > 1e307).all()


def test_responsibilities_keep_their_digits_on_both_sides() -> None:
    x = wide_grid()
    old, new = np.empty_like(x), np.empty_like(x)
    from_python(_kernels.split)(x, old, new)
    np.testing.assert_allclose(old, expit(x), rtol=1e-12)
    np.testing.assert_allclose(new, expit(-x), rtol=1e-12)
    np.testing.assert_allclose(elementwise(_kernels.sigmoid)(x), expit(x), rtol=1e-12)


@pytest.mark.parametrize("logit", [-1e6, -800.0, -3.0, -1e-9, 0.0, 0.3, 40.0, 1e6])
def test_weights_of_a_mixture(logit: float) -> None:
    old, new, log_new = from_python(_kernels.weights)(logit)
    assert old == pytest.approx(expit(logit), rel=1e-14)
    assert new == pytest.approx(expit(-logit), rel=1e-14)
    assert log_new == pytest.approx(-np.logaddexp(0.0, logit), rel=1e-14)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_log_ratio_is_the_difference_of_log_densities(rank: int) -> None:
    rng = np.random.default_rng(1)
    n = 4001
    values = rng.uniform(-40, 40, (3, n))
    values[1, :2000] = values[0, :2000] * (1 + 1e-3 * rng.standard_normal(2000))
    normals = rng.standard_normal((rank, n))
    slopes = np.zeros((4, 4))
    slopes[:3, :rank] = rng.standard_normal((3, rank))
    forms = values + slopes[:3, :rank] @ normals
    x, y, straight = forms
    old, new = np.empty(n), np.empty(n)
    log_ratios = from_python(_kernels.log_ratios)
    log_ratios(values, slopes, normals, rank, -0.25, old, new)
    exact = straight - 0.25 + np.logaddexp(0, x) - np.logaddexp(0, y)
    np.testing.assert_allclose(values[2], exact, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(values[1], y, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(old, expit(x), rtol=1e-12)
    np.testing.assert_allclose(new, expit(-x), rtol=1e-12)
    # a model at its target feels nothing at all
    values = np.stack([x, x, np.zeros(n)])
    slopes[2] = 0.0
    slopes[1] = slopes[0]
    log_ratios(values, slopes, normals, rank, 0.0, old, new)
    np.testing.assert_array_equal(values[2], 0.0)


# ---- random numbers --------------------------------------------------------------------


def lane_of_numpy(first_state: np.ndarray) -> np.random.SFC64:
    """NumPy's SFC64 in a state, after it has discarded twelve words."""
    generator = np.random.SFC64(0)
    generator.state = {
        "bit_generator": "SFC64",
        "state": {"state": np.append(first_state, np.uint64(1))},
        "has_uint32": 0,
        "uinteger": 0,
    }
    generator.random_raw(12)
    return generator


def test_words_are_those_of_numpy() -> None:
    theirs = np.random.SFC64(np.random.SeedSequence(11))
    theirs.random_raw(3 * _kernels.LANES)  # they seed the lanes
    mine = source(11)
    words = np.array([next_word(mine) for _ in range(100)], dtype=np.uint64)
    np.testing.assert_array_equal(words, theirs.random_raw(100))


def test_normals_are_the_map_of_numpys_words() -> None:
    lanes, rounds = _kernels.LANES, 5
    out = np.empty(2 * lanes * rounds)
    draw_normals(source(12), out)
    blocks = out.reshape(rounds, 2, lanes)
    seeds = np.random.SFC64(np.random.SeedSequence(12)).random_raw(3 * lanes).reshape(lanes, 3)
    for lane in (0, 1, 17, lanes - 1):
        words = lane_of_numpy(seeds[lane]).random_raw(2 * rounds).reshape(rounds, 2)
        uniform = 1.0 - (words[:, 0] >> np.uint64(12)) * 2.0**-52
        radius = np.sqrt(-2.0 * np.log(uniform))
        angle = ((words[:, 1] >> np.uint64(12)) * 2.0**-52 - 0.5) * (np.pi / 2)
        radius *= 1.0 - (words[:, 1] & np.uint64(2)).astype(float)
        pair = np.stack([radius * np.cos(angle), radius * np.sin(angle)])
        turned = (words[:, 1] & np.uint64(1)) == 1
        pair[:, turned] = pair[::-1, turned]
        np.testing.assert_allclose(blocks[:, :, lane], pair.T, rtol=1e-11)


def test_normals_do_not_depend_on_how_many_are_asked_for_at_once() -> None:
    whole, pieces = np.empty(3000), np.empty(3000)
    draw_normals(source(13), whole)
    mine, done = source(13), 0
    for size in [1, 2, 255, 256, 257, 700] * 3:
        part = pieces[done : done + size]
        draw_normals(mine, part)
        done += part.size
    np.testing.assert_array_equal(pieces, whole)


def test_normals_are_normal_and_independent() -> None:
    """Bins of one, and pairs at each small distance; false-alarm rate 1e-4 in all."""
    out = np.empty(4_000_000)
    draw_normals(source(14), out)
    edges = np.concatenate([[-np.inf], ndtri(np.arange(1, 512) / 512), [np.inf]])
    p_values = [stats.chisquare(np.histogram(out, edges)[0]).pvalue]
    tails = np.array([np.sum(np.abs(out) > 4.5), np.sum(np.abs(out) <= 4.5)])
    chance = 2 * stats.norm.sf(4.5)
    p_values.append(stats.binomtest(int(tails[0]), out.size, chance).pvalue)
    coarse = edges[::32]
    # lanes, a pair (half a store apart), the next store
    for lag in (1, 2, _kernels.LANES, 2 * _kernels.LANES):
        counts = np.histogram2d(out[:-lag], out[lag:], bins=[coarse, coarse])[0]
        # neighbours overlap, so take every other pair of blocks
        first = out[: out.size // (2 * lag) * 2 * lag].reshape(-1, 2, lag)
        counts = np.histogram2d(first[:, 0].ravel(), first[:, 1].ravel(), bins=[coarse, coarse])[0]
        p_values.append(stats.chisquare(counts.ravel()).pvalue)
    assert min(p_values) > 1e-4 / len(p_values)


def test_number_of_old_samples_is_binomial() -> None:
    """Chi-square on the whole table; false-alarm rate 1e-4."""
    p_values = []
    mine = source(2)
    cases = ((3, 0.5), (16, 0.05), (64, 0.3), (65, 0.3), (256, 0.4), (256, 0.9), (1000, 1 / 3))
    for size, probability in cases:
        draws = np.array([draw_binomial(mine, size, probability) for _ in range(20000)])
        expected = 20000 * stats.binom.pmf(np.arange(size + 1), size, probability)
        seen = np.bincount(draws, minlength=size + 1)
        common = expected >= 5
        table = np.append(seen[common], seen[~common].sum())
        theory = np.append(expected[common], expected[~common].sum())
        keep = theory > 1e-9 * 20000
        p_values.append(
            stats.chisquare(table[keep], theory[keep] * table.sum() / theory[keep].sum()).pvalue
        )
    assert min(p_values) > 1e-4 / len(p_values)


def test_number_of_old_samples_at_the_ends() -> None:
    mine = source(3)
    for size in (1, 63, 64, 65, 4096):
        assert draw_binomial(mine, size, 0.0) == 0
        assert draw_binomial(mine, size, 1.0) == size
        assert draw_binomial(mine, size, 1e-18) == 0
        assert draw_binomial(mine, size, 1.0 - 2.0**-53) == size
    assert draw_binomial(mine, 0, 0.5) == 0


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 1000])
def test_lengths_of_noise_have_their_law(freedom: int) -> None:
    """Kolmogorov and Smirnov; false-alarm rate 1e-5 for each."""
    mine = source(100 + freedom)
    draws = np.array([draw_chi(mine, freedom) for _ in range(20000)])
    assert stats.kstest(draws, stats.chi(freedom).cdf).pvalue > 1e-5
    assert draw_chi(mine, 0) == 0.0


# ---- vectors -----------------------------------------------------------------------------


def test_gram_schmidt_drops_what_is_parallel_and_stays_orthonormal() -> None:
    extend = from_python(_kernels.extend)
    rng = np.random.default_rng(3)
    for dim in (1, 2, 3, 50):
        for gap in (0.0, 1e-15, 1e-9, 1e-4, 1.0):
            vectors = rng.standard_normal((3, dim))
            vectors[1] = 3 * vectors[0] + gap * vectors[1]
            vectors[2] = vectors[0] - vectors[1] + gap**2 * vectors[2]
            basis, coordinates = np.zeros((3, dim)), np.zeros((3, 3))
            rank = 0
            for vector, row in zip(vectors, coordinates, strict=True):
                rank = extend(basis, rank, vector, dim, row)
            assert 1 <= rank <= min(3, dim)
            kept = basis[:rank]
            np.testing.assert_allclose(kept @ kept.T, np.eye(rank), atol=1e-14)
            np.testing.assert_allclose(coordinates[:, :rank] @ kept, vectors, atol=1e-12)
            assert not coordinates[:, rank:].any()


@pytest.mark.parametrize("moving", [2, 4])
def test_rotation_keeps_lengths_and_angles(moving: int) -> None:
    """The outer parts of the errors move into as many axes as there are errors."""
    rotate = from_python(_kernels.rotate)
    rng = np.random.default_rng(4)
    first, width = 2, moving + 2
    for zeros in ((), (1,), (2,), tuple(range(1, moving + 1))):
        vectors = rng.standard_normal((9, first + width))
        vectors[list(zeros), first:] = 0.0
        before = vectors.copy()
        rotate(vectors, first, width, np.zeros((4, 6)), np.zeros(4))
        ours, theirs = vectors[1 : moving + 1, first:], before[1 : moving + 1, first:]
        np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-13)
        assert not ours[:, moving:].any()
        np.testing.assert_array_equal(vectors[:, :first], before[:, :first])
        np.testing.assert_array_equal(vectors[moving + 1 :], before[moving + 1 :])


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5, 7])
def test_weighed_normals_are_products_of_matrices(rank: int) -> None:
    rng = np.random.default_rng(5)
    a, c, normals = rng.standard_normal(33), rng.standard_normal(33), rng.standard_normal((8, 33))
    out = np.full((2, 8), np.nan)
    from_python(_kernels.weigh_normals)(a, c, rank, normals, out)
    np.testing.assert_allclose(out[:, :rank], np.stack([a, c]) @ normals[:rank].T, rtol=1e-11)
    assert np.isnan(out[:, rank:]).all()


# ---- compilation -----------------------------------------------------------------------------


def test_compilation_works_where_no_cache_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def njit(function: object, cache: bool = False, **_: object) -> object:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return function

    monkeypatch.setattr(numba, "njit", njit)
    assert _kernels._compiled()(len) is len
    assert asked == [True, False]


def test_a_kernel_is_compiled_for_what_it_does_only() -> None:
    """Each variant is made once, and holds the code of its own rule."""
    forward = _kernels.Variant(_kernels.FORWARD, _kernels.REDUCED, False, False, False, False)
    kernel = _kernels.block_kernel(forward)
    assert _kernels.block_kernel(forward) is kernel
    before = set(_kernels.log_ratios.signatures), set(_kernels.rotate.signatures)
    plan = _kernels.Plan(
        *(True, False, False, 4, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, False),
        *(0.0, 0.0, 0, 4, 0.0, False, 0.0, 0.0, 0.0),
    )
    _kernels.run_block(
        forward,
        np.random.SeedSequence(1),
        plan,
        _kernels.new_space(forward, plan, 3, 2),
        *(0.0, 0.0, np.ones((3, 2)), np.ones(2), np.array([0, 2])),
        *(np.zeros((1, 2)), np.zeros((1, 0)), np.zeros((0, 0, 0)), np.zeros((0, 0, 0))),
        *(np.zeros(1, dtype=np.int64), np.zeros(2, dtype=np.int64)),
    )
    assert (set(_kernels.log_ratios.signatures), set(_kernels.rotate.signatures)) == before
