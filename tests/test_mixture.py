"""TwoModeMixture: density, sampling, geometry and its error messages."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import forgetlib as fl

COVARIANCE = np.array([[2.0, 0.6], [0.6, 0.5]])
MODEL = fl.TwoModeMixture(0.3, [0.5, -1.0], [2.0, 1.0], COVARIANCE)


def test_density_agrees_with_scipy() -> None:
    y = np.random.default_rng(0).standard_normal((4, 5, 2)) * 3
    expected = 0.3 * stats.multivariate_normal([0.5, -1.0], COVARIANCE).pdf(y)
    expected += 0.7 * stats.multivariate_normal([2.0, 1.0], COVARIANCE).pdf(y)
    np.testing.assert_allclose(MODEL.pdf(y), expected, rtol=1e-12)
    np.testing.assert_allclose(MODEL.logpdf(y), np.log(expected), rtol=1e-12)


def test_responsibility_is_the_posterior() -> None:
    y = np.random.default_rng(1).standard_normal((7, 2))
    old = 0.3 * stats.multivariate_normal([0.5, -1.0], COVARIANCE).pdf(y)
    np.testing.assert_allclose(MODEL.responsibility(y), old / MODEL.pdf(y), rtol=1e-12)


def test_one_dimension_takes_plain_arrays() -> None:
    model = fl.TwoModeMixture.separated(3.0, old_weight=0.4)
    y = np.linspace(-2, 5, 6)
    np.testing.assert_array_equal(model.pdf(y), model.pdf(y[:, None]))
    assert model.pdf(0.0).shape == ()
    assert model.responsibility(y.reshape(2, 3)).shape == (2, 3)


def test_samples_have_the_right_law() -> None:
    # two-sided tests at 1e-4 each; four of them: false-alarm rate 4e-4, fixed seed
    samples, is_old = MODEL.rvs(200_000, rng=5)
    assert samples.shape == (200_000, 2)
    threshold = stats.norm.isf(0.5e-4)
    stderr = np.sqrt(0.3 * 0.7 / 200_000)
    assert abs(is_old.mean() - 0.3) < threshold * stderr
    for label, centre in ((True, MODEL.old_mean), (False, MODEL.new_mean)):
        white = MODEL.whiten(samples[is_old == label] - centre)
        distance = (white**2).sum(axis=1)
        assert stats.kstest(distance, stats.chi2(2).cdf).pvalue > 1e-4
    z = (MODEL.whiten(samples[is_old] - MODEL.old_mean)).mean(axis=0) * np.sqrt(is_old.sum())
    assert np.abs(z).max() < stats.norm.isf(0.25e-4)


def test_seeds_and_generators_agree() -> None:
    first, _ = MODEL.rvs(5, rng=3)
    second, _ = MODEL.rvs(5, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(first, second)


def test_separation_is_the_mahalanobis_distance() -> None:
    gap = np.array([1.5, 2.0])
    assert pytest.approx(np.sqrt(gap @ np.linalg.solve(COVARIANCE, gap)), rel=1e-14) == (
        MODEL.separation
    )
    assert fl.TwoModeMixture.separated(4.0, dim=3).separation == 4.0


def test_whiten_and_unwhiten_are_inverse() -> None:
    y = np.random.default_rng(2).standard_normal((3, 2))
    np.testing.assert_allclose(MODEL.unwhiten(MODEL.whiten(y)), y, atol=1e-14)
    product = MODEL.precision_times(COVARIANCE)
    np.testing.assert_allclose(product, np.eye(2), atol=1e-14)


def test_ill_conditioned_precision_is_refined() -> None:
    rng = np.random.default_rng(4)
    rotation, _ = np.linalg.qr(rng.standard_normal((30, 30)))
    covariance = (rotation * np.geomspace(1e-3, 1e3, 30)) @ rotation.T
    covariance = 0.5 * (covariance + covariance.T)
    x = rng.standard_normal(30)
    model = fl.TwoModeMixture(0.5, np.zeros(30), x, covariance)
    with mp.workdps(40):
        exact = mp.lu_solve(mp.matrix(covariance.tolist()), mp.matrix(x.tolist()))
    error = np.array(
        [float(ours - e) for ours, e in zip(model.precision_times(x), exact, strict=True)]
    )
    size = np.abs(model.precision_times(x)).max()
    # a plain solve is off by about 1e-11 here
    limit = 1e-14 if np.finfo(np.longdouble).eps < 1e-18 else 1e-10
    assert np.abs(error).max() < limit * size


def test_precision_matrix_is_the_inverse() -> None:
    np.testing.assert_allclose(MODEL.precision @ COVARIANCE, np.eye(2), atol=1e-14)
    np.testing.assert_array_equal(MODEL.precision, MODEL.precision.T)
    with pytest.raises(ValueError, match="read-only"):
        MODEL.precision[0, 0] = 1.0
    np.testing.assert_array_equal(fl.TwoModeMixture.separated(2.0, dim=3).precision, np.eye(3))


def test_replace_and_repr() -> None:
    other = MODEL.replace(old_weight=0.9)
    assert other.old_weight == 0.9
    assert other.covariance is not None
    np.testing.assert_array_equal(other.new_mean, MODEL.new_mean)
    assert repr(MODEL) == (
        f"TwoModeMixture(old_weight=0.3, dim=2, separation={MODEL.separation:.6g}, "
        "covariance given)"
    )


def test_it_is_frozen_to_the_bottom() -> None:
    with pytest.raises(AttributeError):
        MODEL.old_weight = 0.5  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        MODEL.old_mean[0] = 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"old_weight": 0.0}, "old_weight must lie strictly between 0 and 1, got 0.0"),
        ({"old_weight": 1.0}, "old_weight must lie strictly between 0 and 1, got 1.0"),
        ({"old_weight": float("nan")}, "old_weight must lie strictly"),
        ({"old_weight": "half"}, "old_weight must lie strictly between 0 and 1, got 'half'"),
        ({"old_mean": [0.0, np.nan]}, "old_mean must be finite"),
        (
            {"new_mean": [0.0]},
            r"new_mean must have the shape of old_mean \(2,\), got \(1,\)",
        ),
        ({"new_mean": [[0.0]]}, "new_mean must be a non-empty vector"),
        ({"new_mean": "far"}, "new_mean must be a vector of real numbers"),
        (
            {"covariance": np.eye(3)},
            r"covariance must be None \(identity\) or of shape \(2, 2\)",
        ),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "positive definite.*eigenvalue -1"),
        ({"covariance": [[1.0, 0.5], [0.0, 1.0]]}, "covariance must be symmetric"),
        ({"covariance": [[np.inf, 0.0], [0.0, 1.0]]}, "covariance must be finite"),
        ({"weight": 0.3}, "replace knows"),
    ],
)
def test_bad_input_is_one_clear_error(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MODEL.replace(**changes)


@given(st.one_of(st.floats(max_value=0.0), st.floats(min_value=1.0), st.just(float("nan"))))
def test_no_weight_outside_the_open_interval(weight: float) -> None:
    with pytest.raises(ValueError, match="old_weight"):
        fl.TwoModeMixture(weight, [0.0], [1.0])


@pytest.mark.parametrize(("separation", "dim"), [(-1.0, 1), (np.nan, 1), (np.inf, 2)])
def test_separated_rejects_bad_separation(separation: float, dim: int) -> None:
    with pytest.raises(ValueError, match="separation must be finite and >= 0"):
        fl.TwoModeMixture.separated(separation, dim=dim)


def test_separated_rejects_bad_dim() -> None:
    with pytest.raises(ValueError, match="dim must be an integer >= 1, got 0"):
        fl.TwoModeMixture.separated(1.0, dim=0)


def test_vectors_of_the_wrong_shape() -> None:
    for model in (MODEL, MODEL.replace(covariance=None)):
        for method in (model.whiten, model.unwhiten, model.precision_times):
            with pytest.raises(ValueError, match=r"vectors must have shape .*, got shape \(4,\)"):
                method([1.0, 2.0, 3.0, 4.0])


def test_samples_of_the_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"y must have shape \(\.\.\., 2\), got shape \(3,\)"):
        MODEL.pdf([0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="size must be an integer >= 0, got -1"):
        MODEL.rvs(-1)
