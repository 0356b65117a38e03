"""Logistic-normal integrals against 40-digit quadrature."""

from __future__ import annotations

import tracemalloc

import mpmath as mp
import numpy as np
import pytest
from oracle import mean, sigmoid, softplus
from scipy.special import expit, log_expit

from forgetlib import logistic_normal

CASES = [
    (0.0, 0.0),
    (-3.0, 0.0),
    (0.3, 1e-3),
    (-1.0, 0.3),
    (2.0, 1.0),
    (-30.0, 0.7),
    (5.0, 4.0),
    (-40.0, 9.0),
    (600.0, 35.0),
    (-1250.0, 50.0),
]


@pytest.mark.parametrize(("mu", "s"), CASES)
def test_positive_integrals_to_relative_accuracy(mu: float, s: float) -> None:
    pairs = [
        (logistic_normal.sigmoid_mean, sigmoid),
        (logistic_normal.sigmoid_square_mean, lambda x: sigmoid(x) ** 2),
        (logistic_normal.sigmoid_slope_mean, lambda x: sigmoid(x) * sigmoid(-x)),
        (logistic_normal.softplus_mean, softplus),
    ]
    for function, integrand in pairs:
        exact = mean(integrand, mu, s)
        if exact > 1e-300:
            assert abs(float(function(mu, s) / exact - 1)) < 1e-11, function.__name__


@pytest.mark.parametrize("company", [[], [(0.2, 0.1)], [(-9000.0, 3.0)]])
@pytest.mark.parametrize(("mu", "s"), CASES)
def test_means_of_several_laws_at_once(
    mu: float, s: float, company: list[tuple[float, float]]
) -> None:
    """On the lattice, and where a narrow or a far companion makes every law have its own nodes."""
    pairs = [
        (0, softplus),
        (1, sigmoid),
        (2, lambda x: sigmoid(x) * sigmoid(-x)),
    ]
    found = logistic_normal.logistic_means([(mu, s), *company])
    for index, integrand in pairs:
        exact = mean(integrand, mu, s)
        if exact > 1e-300 and not (index == 2 and mu > 0.0):
            assert abs(float(found[index][0] / exact - 1)) < 1e-11, found._fields[index]


def test_laws_far_apart_need_few_nodes() -> None:
    """The memory is bounded by the fall from the kink, not by the width of the Gaussian."""
    tracemalloc.start()
    for s in (10.0, 1e3, 1e5):
        means = logistic_normal.logistic_means([(-0.5 * s * s, s)] * 4)
        assert len(means.sigmoid) == 4
        logistic_normal.softplus_mean(-0.5 * s * s, s)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


def test_elementary_functions_are_those_of_scipy() -> None:
    x = np.concatenate([np.linspace(-700.0, 700.0, 4001), [0.0, -0.0, 1e-300, np.inf, -np.inf]])
    np.testing.assert_allclose(logistic_normal.sigmoid(x), expit(x), rtol=4e-16)
    np.testing.assert_allclose(logistic_normal.softplus(x), -log_expit(-x), rtol=4e-16)
    nodes, weights = logistic_normal.gauss_legendre(8)
    assert float(weights @ nodes**14) == pytest.approx(2.0 / 15.0, rel=1e-14)
    with pytest.raises(ValueError, match="read-only"):
        nodes[0] = 0.0


@pytest.mark.parametrize(("mu", "s"), CASES[:8])
def test_higher_moments(mu: float, s: float) -> None:
    def second(x: mp.mpf) -> mp.mpf:
        return sigmoid(x) * sigmoid(-x) * (1 - 2 * sigmoid(x))

    def third(x: mp.mpf) -> mp.mpf:
        return sigmoid(x) * sigmoid(-x) * (1 - 6 * sigmoid(x) * sigmoid(-x))

    first, *rest = logistic_normal.sigmoid_slope_moments(mu, s)
    for value, integrand in zip(rest, (second, third), strict=True):
        assert abs(float(value - mean(integrand, mu, s))) < 1e-12 * max(float(first), 1e-300)


def test_the_log_form_goes_where_the_mean_underflows() -> None:
    # far left the sigmoid is exp, whose mean is exp(mu + s^2 / 2)
    value = float(logistic_normal.log_sigmoid_mean(-5000.0, 10.0))
    assert value == pytest.approx(-4950.0, rel=1e-13)


def test_broadcasting_matches_scalars() -> None:
    mu = np.array([[-3.0], [4.0]])
    s = np.array([0.0, 0.4, 20.0])
    together = logistic_normal.sigmoid_mean(mu, s)
    assert together.shape == (2, 3)
    for index in np.ndindex(together.shape):
        alone = float(logistic_normal.sigmoid_mean(mu[index[0], 0], s[index[1]]))
        assert together[index] == pytest.approx(alone, rel=1e-13)


@pytest.mark.parametrize(
    ("mu", "s", "name"),
    [(np.nan, 1.0, "mu"), (np.inf, 1.0, "mu"), (0.0, -1.0, "s"), (0.0, np.nan, "s")],
)
def test_bad_input_names_the_argument(mu: float, s: float, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        logistic_normal.sigmoid_mean(mu, s)
    with pytest.raises(ValueError, match=f"^{name} must be"):
        logistic_normal.logistic_means([(0.0, 1.0), (mu, s)])
