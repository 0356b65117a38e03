"""Finite-batch dynamics: exact in law, unbiased, reproducible, and refusing bad input.

Statistical tests use fixed seeds, so they either always pass or always fail. The
false-alarm rate that each one states is the chance that a right program would fail at a
seed picked at random.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import expit, logit

import forgetlib as fl
from forgetlib import ensemble as module
from forgetlib.ensemble import _BATCH_BASELINES, _simulate

FloatArray = np.ndarray
TRAIN = ("weight", "old_mean", "new_mean")


def run(kernel: str = "auto", workers: int | None = 2, **changes: Any) -> fl.Ensemble:
    """One ensemble with a choice of kernel and handy defaults."""
    arguments: dict[str, Any] = {
        "steps": 1,
        "batch_size": 8,
        "learning_rate": 0.1,
        "replicates": 4000,
        "rng": 7,
        "estimator": "score",
        "baseline": None,
        "record_every": 1,
        "train": TRAIN,
        "precondition": False,
    }
    return _simulate(arguments | changes, workers, kernel)  # type: ignore[arg-type]


def general_position(dim: int, seed: int, given_covariance: bool = False) -> tuple[Any, Any]:
    """A target and a start whose means are not collinear."""
    rng = np.random.default_rng(seed)
    covariance = None
    if given_covariance:
        root = rng.standard_normal((dim, dim))
        covariance = root @ root.T / dim + 0.3 * np.eye(dim)
    means = 0.5 * rng.standard_normal((2, dim)) / np.sqrt(dim)
    means[1, 0] += 2.0
    errors = 0.5 * rng.standard_normal((2, dim)) / np.sqrt(dim)
    target = fl.TwoModeMixture(0.6, *means, covariance)
    return target, fl.TwoModeMixture(0.35, *(means + errors), covariance)


# ---- an independent oracle: whole samples, densities from scipy -------------------------


def gaussian(y: FloatArray, mean: FloatArray, covariance: FloatArray) -> FloatArray:
    return stats.multivariate_normal(mean, covariance).pdf(y)


def plain_estimates(
    objective: Any, start: Any, batch: int, replicates: int, estimator: str, baseline: Any
) -> FloatArray:
    """Gradient estimates (replicates, 1 + 2d), straight from their definitions."""
    rng = np.random.default_rng(11)
    target = objective.target
    dim = start.dim
    covariance = np.eye(dim) if start.covariance is None else start.covariance
    precision = np.linalg.inv(covariance)
    forward = isinstance(objective, fl.ForwardKL)
    shape = (replicates, batch)
    replayed = rng.random(shape) < objective.replay
    if forward:
        means = np.where(replayed[..., None], target.old_mean, target.new_mean)
    else:
        old = rng.random(shape) < start.old_weight
        means = np.where(old[..., None], start.old_mean, start.new_mean)
        means = np.where(replayed[..., None], target.old_mean, means)
    y = means + rng.standard_normal((*shape, dim)) @ np.linalg.cholesky(covariance).T
    b, a = start.old_weight, target.old_weight
    q_old = b * gaussian(y, start.old_mean, covariance)
    q_new = (1 - b) * gaussian(y, start.new_mean, covariance)
    p_old = a * gaussian(y, target.old_mean, covariance)
    p_new = (1 - a) * gaussian(y, target.new_mean, covariance)
    q, p = q_old + q_new, p_old + p_new
    r, r_target = (q_old / q)[..., None], (p_old / p)[..., None]
    score_logit = r[..., 0] - b
    score_old = r * (y - start.old_mean) @ precision
    score_new = (1 - r) * (y - start.new_mean) @ precision
    if forward:
        alpha = -np.ones(shape)
    else:
        weight = q / ((1 - objective.replay) * q + objective.replay * p_old / a)
        advantage = np.log(q / p)
        weighted = weight * advantage
        if baseline == "batch_mean":
            subtract = weighted.mean(axis=1, keepdims=True)
        elif baseline == "leave_one_out":
            subtract = (weighted.sum(axis=1, keepdims=True) - weighted) / (batch - 1)
        elif baseline == "self_normalized":
            subtract = weighted.sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
        else:
            subtract = 0.0 if baseline is None else baseline
        alpha = weight * (advantage - subtract)
    if estimator == "pathwise":
        slope = (r_target * (y - target.old_mean) + (1 - r_target) * (y - target.new_mean)) - (
            r * (y - start.old_mean) + (1 - r) * (y - start.new_mean)
        )
        slope = weight[..., None] * (slope @ precision)
        old_part, new_part = r * slope, (1 - r) * slope
    else:
        old_part, new_part = alpha[..., None] * score_old, alpha[..., None] * score_new
    return np.concatenate(
        [
            (alpha * score_logit).mean(axis=1)[:, None],
            old_part.mean(axis=1),
            new_part.mean(axis=1),
        ],
        axis=1,
    )


def one_step_estimates(result: fl.Ensemble) -> FloatArray:
    """Gradient estimates (replicates, 1 + 2d) read off the first step."""
    rate = result.settings["learning_rate"]
    moves = [
        result.old_logit[:, 1:2] - result.old_logit[:, :1],
        result.old_mean[:, 1] - result.old_mean[:, 0],
        result.new_mean[:, 1] - result.new_mean[:, 0],
    ]
    return -np.concatenate(moves, axis=1) / rate


ESTIMATORS = [
    (fl.ForwardKL, 0.0, "score", None),
    (fl.ForwardKL, 0.3, "score", None),
    (fl.ReverseKL, 0.0, "score", None),
    (fl.ReverseKL, 0.0, "score", -0.7),
    (fl.ReverseKL, 0.0, "score", "batch_mean"),
    (fl.ReverseKL, 0.0, "score", "leave_one_out"),
    (fl.ReverseKL, 0.3, "score", None),
    (fl.ReverseKL, 0.3, "score", 0.4),
    (fl.ReverseKL, 0.3, "score", "batch_mean"),
    (fl.ReverseKL, 0.3, "score", "leave_one_out"),
    (fl.ReverseKL, 0.3, "score", "self_normalized"),
    (fl.ReverseKL, 0.0, "pathwise", None),
    (fl.ReverseKL, 0.3, "pathwise", "leave_one_out"),
]
UNBIASED = [case for case in ESTIMATORS if case[3] not in ("batch_mean", "self_normalized")]
SPACES = [(1, False), (2, False), (3, True), (5, False), (9, False), (9, True)]


@pytest.mark.parametrize(("kind", "replay", "estimator", "baseline"), ESTIMATORS)
def test_one_step_has_the_law_of_its_definition(
    kind: Any, replay: float, estimator: str, baseline: Any
) -> None:
    """Kolmogorov-Smirnov on every coordinate, and on products of neighbours (correlations).

    Family-wise false-alarm rate 1e-3 per case (Bonferroni).
    """
    p_values = []
    for dim, given_covariance in ((2, True), (7, False)):
        target, start = general_position(dim, 5, given_covariance)
        objective = kind(target, replay=replay)
        expected = plain_estimates(objective, start, 4, 4000, estimator, baseline)
        for kernel in ("auto", "direct"):
            seen = one_step_estimates(
                run(
                    kernel,
                    objective=objective,
                    start=start,
                    batch_size=4,
                    estimator=estimator,
                    baseline=baseline,
                )
            )
            for ours, theirs in (
                (seen, expected),
                (seen * np.roll(seen, 1, axis=1), expected * np.roll(expected, 1, axis=1)),
                (seen * np.roll(seen, dim, axis=1), expected * np.roll(expected, dim, axis=1)),
            ):
                p_values += [
                    stats.ks_2samp(x, y, method="asymp").pvalue
                    for x, y in zip(ours.T, theirs.T, strict=True)
                ]
    assert min(p_values) > 1e-3 / len(p_values)


@pytest.mark.parametrize(("kind", "replay", "estimator", "baseline"), UNBIASED)
def test_mean_estimate_is_the_exact_gradient(
    kind: Any, replay: float, estimator: str, baseline: Any
) -> None:
    """In standard errors; family-wise false-alarm rate 1e-4 per case (Bonferroni)."""
    z_scores: list[float] = []
    for dim, given_covariance in SPACES:
        target, start = general_position(dim, dim, given_covariance)
        objective = kind(target, replay=replay)
        exact = objective.gradient(start)
        for precondition in {False, given_covariance}:
            metric = target.covariance if precondition else np.eye(dim)
            flat = np.concatenate([[exact.logit], metric @ exact.old_mean, metric @ exact.new_mean])
            seen = one_step_estimates(
                run(
                    objective=objective,
                    start=start,
                    estimator=estimator,
                    baseline=baseline,
                    precondition=precondition,
                    replicates=10000,
                )
            )
            stderr = seen.std(axis=0, ddof=1) / np.sqrt(len(seen))
            z_scores += list((seen.mean(axis=0) - flat) / stderr)
    worst = float(np.max(np.abs(z_scores)))
    assert worst < stats.norm.isf(0.5e-4 / len(z_scores))


def test_batch_mean_is_biased_by_one_minus_one_over_n() -> None:
    """In standard errors, and told from no bias; family-wise false-alarm rate 1e-4."""
    target, start = general_position(2, 1)
    objective = fl.ReverseKL(target)
    exact = objective.gradient(start)
    flat = np.concatenate([[exact.logit], exact.old_mean, exact.new_mean])
    for batch in (2, 4):
        seen = one_step_estimates(
            run(
                objective=objective,
                start=start,
                baseline="batch_mean",
                batch_size=batch,
                replicates=60000,
            )
        )
        stderr = seen.std(axis=0, ddof=1) / np.sqrt(len(seen))
        z_scores = (seen.mean(axis=0) - (1 - 1 / batch) * flat) / stderr
        assert np.abs(z_scores).max() < stats.norm.isf(0.5e-4 / 10)
        assert np.abs((seen.mean(axis=0) - flat) / stderr).max() > 6


def test_batch_mean_bias_under_replay() -> None:
    """Mean ``E_q[s A] - E_q[w s A] / N`` by quadrature; false-alarm rate 1e-4."""
    target = fl.TwoModeMixture(0.6, 0.0, 2.0)
    start = fl.TwoModeMixture(0.3, 0.3, 1.6)
    replay, batch = 0.4, 3

    def integrand(y: float) -> float:
        q, p = float(start.pdf(y)), float(target.pdf(y))
        old = float(np.exp(-0.5 * y * y) / np.sqrt(2 * np.pi))
        weight = q / ((1 - replay) * q + replay * old)
        score = float(start.responsibility(y)) - start.old_weight
        return q * score * np.log(q / p) * (1 - weight / batch)

    mean = integrate.quad(integrand, -12, 14, epsabs=1e-12, limit=200)[0]
    seen = one_step_estimates(
        run(
            objective=fl.ReverseKL(target, replay=replay),
            start=start,
            baseline="batch_mean",
            batch_size=batch,
            replicates=100000,
        )
    )[:, 0]
    z_score = (seen.mean() - mean) / (seen.std(ddof=1) / np.sqrt(seen.size))
    assert abs(z_score) < stats.norm.isf(0.5e-4)


def test_leave_one_out_is_the_batch_mean_scaled() -> None:
    target, start = general_position(3, 2)
    common = {"objective": fl.ReverseKL(target), "start": start, "replicates": 50}
    batch_mean = one_step_estimates(run(baseline="batch_mean", **common))
    leave_one_out = one_step_estimates(run(baseline="leave_one_out", **common))
    np.testing.assert_allclose(leave_one_out, batch_mean * 8 / 7, rtol=1e-10, atol=1e-13)


def test_pathwise_has_no_noise_at_the_target() -> None:
    target, _ = general_position(6, 3)
    result = run(
        objective=fl.ReverseKL(target), start=target, estimator="pathwise", steps=20, replicates=5
    )
    np.testing.assert_allclose(result.old_mean[:, -1], np.tile(target.old_mean, (5, 1)), atol=1e-14)
    np.testing.assert_allclose(result.new_mean[:, -1], np.tile(target.new_mean, (5, 1)), atol=1e-14)
    np.testing.assert_allclose(result.old_logit, target.old_logit, atol=1e-13)


# ---- the reduction, over many steps -----------------------------------------------------


def summaries(result: fl.Ensemble, target: Any) -> dict[str, FloatArray]:
    """Weight, drift, new-mean error, and what ties two records together."""
    old = result.old_mean - target.old_mean
    new = result.new_mean - target.new_mean
    final = {
        "weight": result.old_logit[:, -1],
        "drift": np.linalg.norm(old[:, -1], axis=1),
        "new-mean error": np.linalg.norm(new[:, -1], axis=1),
        "angle": (old[:, -1] * new[:, -1]).sum(axis=1),
        "first coordinate": old[:, -1, 0],
        "last coordinate": new[:, -1, -1],
        "increment": np.linalg.norm(old[:, -1] - old[:, 1], axis=1),
        "persistence": (old[:, 1] * old[:, -1]).sum(axis=1),
        "cross persistence": (old[:, 1] * new[:, -1]).sum(axis=1),
        "weight at first record": result.old_logit[:, 1],
    }
    return final


@pytest.mark.parametrize("dim", [2, 5, 6, 40])
@pytest.mark.parametrize("estimator", ["forward", "score", "replay", "pathwise"])
def test_reduced_and_direct_kernels_agree_in_law(dim: int, estimator: str) -> None:
    """Two-sample Kolmogorov-Smirnov tests over 3000 replicates of 12 noisy steps.

    Family-wise false-alarm rate 1e-3 per case (Bonferroni over the summaries).
    """
    target, start = general_position(dim, 17)
    objective: Any = fl.ReverseKL(target, replay=0.3 if estimator == "replay" else 0.0)
    if estimator == "forward":
        objective = fl.ForwardKL(target, replay=0.3)
    common: dict[str, Any] = {
        "objective": objective,
        "start": start,
        "steps": 12,
        "batch_size": 5,
        "learning_rate": 0.4,
        "replicates": 3000,
        "record_every": 6,
        "estimator": "pathwise" if estimator == "pathwise" else "score",
    }
    kernel = "auto" if dim > 5 else "reduced"
    ours = summaries(run(kernel, rng=1, **common), target)
    theirs = summaries(run("direct", rng=2, **common), target)
    p_values = {
        name: stats.ks_2samp(ours[name], theirs[name], method="asymp").pvalue for name in ours
    }
    assert min(p_values.values()) > 1e-3 / len(p_values), p_values


@pytest.mark.parametrize("train", [("old_mean",), ("weight", "new_mean"), ("old_mean", "new_mean")])
@pytest.mark.parametrize("kernel", ["auto", "reduced"])
def test_kernels_agree_when_some_parameters_are_fixed(kernel: str, train: tuple[str, ...]) -> None:
    """As above, false-alarm rate 1e-3 per case; means start at the target, a thin span."""
    target = fl.TwoModeMixture.separated(2.0, old_weight=0.6, dim=7)
    start = target.replace(old_weight=0.3)
    common: dict[str, Any] = {
        "objective": fl.ReverseKL(target),
        "start": start,
        "steps": 9,
        "batch_size": 4,
        "learning_rate": 0.4,
        "replicates": 3000,
        "record_every": 3,
        "train": train,
    }
    ours = summaries(run(kernel, rng=3, **common), target)
    theirs = summaries(run("direct", rng=4, **common), target)
    p_values = {
        name: stats.ks_2samp(ours[name], theirs[name], method="asymp").pvalue
        for name in ours
        if np.ptp(theirs[name]) > 1e-12
    }
    assert len(p_values) >= 3
    assert min(p_values.values()) > 1e-3 / len(p_values), p_values
    for name in ours.keys() - p_values.keys():  # what cannot move does not move
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-12)


def test_reduced_kernel_with_a_covariance_agrees_with_direct() -> None:
    """Plain gradients in a stretched space; false-alarm rate 1e-3."""
    target, start = general_position(8, 21, given_covariance=True)
    common: dict[str, Any] = {
        "objective": fl.ReverseKL(target),
        "start": start,
        "steps": 10,
        "batch_size": 5,
        "learning_rate": 0.15,
        "replicates": 3000,
        "record_every": 5,
    }
    for precondition in (False, True):
        ours = summaries(run(rng=5, precondition=precondition, **common), target)
        theirs = summaries(run("direct", rng=6, precondition=precondition, **common), target)
        p_values = {
            name: stats.ks_2samp(ours[name], theirs[name], method="asymp").pvalue for name in ours
        }
        assert min(p_values.values()) > 1e-3 / 2 / len(p_values), p_values


def test_recording_more_often_does_not_change_the_law() -> None:
    """Directions are named at every record; false-alarm rate 1e-3."""
    target, start = general_position(12, 23)
    common: dict[str, Any] = {
        "objective": fl.ReverseKL(target),
        "start": start,
        "steps": 12,
        "batch_size": 5,
        "learning_rate": 0.4,
        "replicates": 3000,
    }
    often = run(rng=8, record_every=1, **common)
    rarely = run(rng=9, record_every=12, **common)
    assert often.old_mean.shape == (3000, 13, 12)
    assert rarely.old_mean.shape == (3000, 2, 12)
    p_values = []
    for x, y in (
        (often.old_logit[:, -1], rarely.old_logit[:, -1]),
        (often.old_mean[:, -1, 0], rarely.old_mean[:, -1, 0]),
        (often.new_mean[:, -1, -1], rarely.new_mean[:, -1, -1]),
        (
            np.linalg.norm(often.old_mean[:, -1], axis=1),
            np.linalg.norm(rarely.old_mean[:, -1], axis=1),
        ),
    ):
        p_values.append(stats.ks_2samp(x, y, method="asymp").pvalue)
    assert min(p_values) > 1e-3 / len(p_values)


# ---- what theory says -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [fl.ForwardKL, fl.ReverseKL])
def test_mean_path_approaches_the_gradient_flow(kind: Any) -> None:
    """The error of the mean path falls in proportion to the learning rate.

    The factor is held to [1.5, 2.7] per halving; noise of the means is below a tenth of
    the error at the smallest rate.
    """
    target = fl.TwoModeMixture.separated(3.0, old_weight=0.7, dim=2)
    start = fl.TwoModeMixture(0.4, [0.2, 0.3], [2.5, -0.4])
    objective = kind(target, replay=0.25 if kind is fl.ForwardKL else 0.0)
    flow = fl.gradient_flow(objective, start, [0.0, 4.0])
    exact = np.concatenate([[flow.old_logit[-1]], flow.old_mean[-1], flow.new_mean[-1]])
    errors = []
    for rate in (0.4, 0.2, 0.1):
        result = run(
            objective=objective,
            start=start,
            steps=round(4 / rate),
            batch_size=256,
            learning_rate=rate,
            replicates=6000,
            record_every=1000,
        )
        final = np.concatenate(
            [result.old_logit[:, -1:], result.old_mean[:, -1], result.new_mean[:, -1]], axis=1
        )
        errors.append(float(np.linalg.norm(final.mean(axis=0) - exact)))
        noise = np.linalg.norm(final.std(axis=0)) / np.sqrt(6000)
    assert noise < 0.1 * errors[-1]
    assert 1.5 < errors[0] / errors[1] < 2.7
    assert 1.5 < errors[1] / errors[2] < 2.7
    assert errors[-1] < 0.05


def test_drift_of_one_step_is_not_gated_by_overlap() -> None:
    """Separated modes, score function: the second moment of the old mean's error is

    ``(1 - h b)^2 e^2 + h^2 / N * (b ((A + e^2/2)^2 + 3 e^2) - b^2 e^2)``, ``A = log(b/a)``,
    per coordinate along ``e`` (and ``h^2 / N * b ((A + e^2/2)^2 + e^2)`` across).
    False-alarm rate 1e-4 (Bonferroni). The pathwise estimator has none of it.
    """
    rate, batch, a, b = 0.3, 4, 0.75, 0.3
    target = fl.TwoModeMixture.separated(20.0, old_weight=a, dim=6)
    advantage = float(np.log(b / a))
    for e in (0.0, 0.6):
        start = fl.TwoModeMixture(b, [e] + 5 * [0.0], target.new_mean)
        common: dict[str, Any] = {
            "objective": fl.ReverseKL(target),
            "start": start,
            "batch_size": batch,
            "learning_rate": rate,
            "replicates": 60000,
        }
        squares = run(**common).old_mean[:, 1] ** 2
        along = (1 - rate * b) ** 2 * e**2 + rate**2 / batch * (
            b * ((advantage + e**2 / 2) ** 2 + 3 * e**2) - b**2 * e**2
        )
        across = rate**2 / batch * b * ((advantage + e**2 / 2) ** 2 + e**2)
        stderr = squares.std(axis=0, ddof=1) / np.sqrt(len(squares))
        z_scores = (squares.mean(axis=0) - np.array([along] + 5 * [across])) / stderr
        assert np.abs(z_scores).max() < stats.norm.isf(0.5e-4 / 12)
    common["start"] = fl.TwoModeMixture(b, np.zeros(6), target.new_mean)
    quiet = run(estimator="pathwise", **common).old_mean[:, 1]
    assert np.abs(quiet).max() < 1e-12


@pytest.mark.parametrize(
    ("baseline", "replay", "rate"),
    [
        (None, 0.0, 1.0),
        ("batch_mean", 0.0, 4.0),
        ("leave_one_out", 0.0, 3.0),
        (None, 0.2, 0.8),
        ("self_normalized", 0.0, 4.0),
        ("self_normalized", 0.36, 3.24),
    ],
)
def test_retention_is_sure(baseline: Any, replay: float, rate: float) -> None:
    """On every path the logit moves towards the target's and never crosses it."""
    for separation, a, b in ((0.3, 0.75, 0.01), (2.0, 0.2, 0.97), (5.0, 0.6, 0.001)):
        target = fl.TwoModeMixture.separated(separation, old_weight=a)
        result = run(
            objective=fl.ReverseKL(target, replay=replay),
            start=target.replace(old_weight=b),
            steps=400,
            batch_size=4,
            learning_rate=rate,
            replicates=100,
            baseline=baseline,
            train="weight",
        )
        distance = (result.old_logit - target.old_logit) * np.sign(logit(b) - logit(a))
        assert distance.min() > -1e-12
        assert np.diff(distance, axis=1).max() < 1e-12
        assert distance[:, -1].mean() < 0.99 * distance[0, 0]


def test_a_constant_baseline_breaks_sure_retention() -> None:
    target = fl.TwoModeMixture.separated(4.0, old_weight=0.6)
    result = run(
        objective=fl.ReverseKL(target),
        start=target.replace(old_weight=0.5),
        steps=3000,
        batch_size=4,
        learning_rate=1.0,
        replicates=200,
        baseline=2.0,
        train="weight",
    )
    assert (result.old_weight.min(axis=1) < 0.05).mean() > 0.03


@pytest.mark.parametrize("replay", [0.0, 0.2])
@pytest.mark.parametrize("kind", [fl.ForwardKL, fl.ReverseKL])
def test_starved_batches_are_counted(kind: Any, replay: float) -> None:
    """Binomial counts at a frozen weight; false-alarm rate 1e-4 per case."""
    target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    start = target.replace(old_weight=0.05)
    result = run(
        objective=kind(target, replay=replay),
        start=start,
        steps=500,
        batch_size=16,
        learning_rate=1e-9,
        replicates=100,
        train="new_mean",
    )
    missing = (1 - replay) * (1.0 if kind is fl.ForwardKL else 1 - start.old_weight)
    probability = missing**16
    assert result.starved.shape == (100,)
    if probability == 1.0:
        assert (result.starved == 500).all()
    else:
        test = stats.binomtest(int(result.starved.sum()), 50000, probability)
        assert test.pvalue > 1e-4
        spread = result.starved.var(ddof=1) / (500 * probability * (1 - probability))
        assert 0.5 < spread < 1.8  # chi-square(99) / 99 leaves this once in 1e6


# ---- far out ----------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [1e-300, 1e-12, 1 - 1e-15])
@pytest.mark.parametrize("replay", [0.0, 0.3])
@pytest.mark.parametrize("estimator", ["score", "pathwise"])
def test_extreme_weights_and_separations(weight: float, replay: float, estimator: str) -> None:
    for separation, dim in ((0.05, 1), (50.0, 3), (50.0, 100)):
        target = fl.TwoModeMixture.separated(separation, old_weight=0.75, dim=dim)
        for objective in (
            fl.ReverseKL(target, replay=replay),
            *([fl.ForwardKL(target, replay=replay)] if estimator == "score" else []),
        ):
            result = run(
                objective=objective,
                start=target.replace(old_weight=weight),
                steps=20,
                learning_rate=0.01,
                replicates=4,
                estimator=estimator,
            )
            for array in (result.old_logit, result.old_weight, result.old_mean, result.new_mean):
                assert np.isfinite(array).all()


def test_logit_keeps_its_digits_where_the_weight_has_rounded_to_one() -> None:
    target = fl.TwoModeMixture.separated(4.0, old_weight=0.5)
    result = run(
        objective=fl.ReverseKL(target, replay=0.0),
        start=target.replace(old_weight=0.5),
        steps=4,
        learning_rate=300.0,
        replicates=20,
        baseline=3.0,
        train="weight",
    )
    assert np.abs(result.old_logit).max() > 50
    assert np.isfinite(result.old_logit).all()
    np.testing.assert_allclose(result.old_weight, expit(result.old_logit), rtol=1e-12)


def test_divergence_is_an_error() -> None:
    target, start = general_position(2, 9)
    with pytest.raises(FloatingPointError, match=r"diverged at step \d+.*learning_rate"):
        run(
            objective=fl.ForwardKL(target), start=start, learning_rate=1e3, steps=1000, replicates=4
        )


# ---- reproducibility --------------------------------------------------------------------


def same(first: fl.Ensemble, second: fl.Ensemble) -> bool:
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("step", "old_weight", "old_logit", "old_mean", "new_mean", "starved")
    )


@pytest.mark.parametrize("dim", [2, 9])
def test_results_do_not_depend_on_the_number_of_workers(dim: int) -> None:
    target, start = general_position(dim, 31)
    common = {"objective": fl.ReverseKL(target, replay=0.2), "start": start, "steps": 20}
    first = run(workers=1, replicates=100, **common)
    for workers in (2, 5, None):
        assert same(first, run(workers=workers, replicates=100, **common))
    # nor do the first replicates on how many follow, in whole blocks
    more = run(workers=3, replicates=150, **common)
    np.testing.assert_array_equal(more.old_mean[:96], first.old_mean[:96])
    # and every replicate has randomness of its own
    assert np.unique(first.old_logit[:, -1]).size == 100


def test_seeds_generators_and_settings() -> None:
    target, start = general_position(2, 32)
    arguments: dict[str, Any] = {
        "steps": 5,
        "batch_size": 4,
        "learning_rate": 0.1,
        "replicates": 20,
    }
    objective = fl.ReverseKL(target)
    first = fl.simulate(objective, start, rng=3, **arguments)
    assert same(first, fl.simulate(objective, start, rng=np.int64(3), **arguments))
    assert not same(first, fl.simulate(objective, start, rng=4, **arguments))
    generator = np.random.default_rng(3)
    second = fl.simulate(objective, start, rng=generator, **arguments)
    third = fl.simulate(objective, start, rng=generator, **arguments)
    assert not same(second, third)  # a generator moves on
    again = fl.simulate(objective, start, rng=np.random.default_rng(3), **arguments)
    assert same(second, again)
    fresh = fl.simulate(objective, start, rng=None, **arguments)
    assert not same(fresh, fl.simulate(objective, start, rng=None, **arguments))
    for result in (first, second, fresh):
        assert same(result, fl.simulate(**result.settings))


def test_an_ensemble_describes_itself_and_cannot_be_overwritten() -> None:
    target = fl.TwoModeMixture.separated(4.0, old_weight=0.75, dim=3)
    start = target.replace(old_weight=0.9)
    result = run(
        objective=fl.ReverseKL(target), start=start, steps=10, replicates=30, record_every=4
    )
    np.testing.assert_array_equal(result.step, [0, 4, 8, 10])
    assert result.old_weight.shape == result.old_logit.shape == (30, 4)
    assert result.old_mean.shape == result.new_mean.shape == (30, 4, 3)
    assert (result.old_weight[:, 0] == start.old_weight).all()
    assert (result.old_mean[:, 0] == start.old_mean).all()
    for words in ("ReverseKL", "30 replicates", "10 steps", "dim=3", "old_weight"):
        assert words in repr(result)
    with pytest.raises(ValueError, match="read-only"):
        result.old_weight[0, 0] = 0.5
    with pytest.raises(AttributeError):
        result.step = result.step  # type: ignore[misc]


def test_what_is_not_trained_stays() -> None:
    target, start = general_position(7, 33)
    for train in ("weight", ("old_mean",), ("new_mean", "weight")):
        result = run(
            objective=fl.ReverseKL(target), start=start, steps=5, replicates=3, train=train
        )
        assert (np.ptp(result.old_logit, axis=1) == 0).all() == ("weight" not in train)
        for name in ("old_mean", "new_mean"):
            moved = getattr(result, name)[:, -1] != getattr(start, name)
            assert moved.all() if name in train else not moved.any()
    assert result.old_mean.strides[:2] == (0, 0)  # and takes no memory


INTERPRETED = """
    import sys
    import numpy as np
    import forgetlib as fl
    from forgetlib import _kernels

    assert hasattr(_kernels.seed, "py_func") == (sys.argv[1] == "compiled")
    parts = []
    root = np.array([[1.0, 0.2, 0.0], [0.0, 0.7, 0.1], [0.3, 0.0, 1.4]])
    for dim, covariance in ((2, None), (3, root @ root.T), (8, None)):
        old, new = np.zeros(dim), np.linspace(2.0, 0.5, dim)
        target = fl.TwoModeMixture(0.7, old, new, covariance)
        start = fl.TwoModeMixture(0.4, old + 0.1, new[::-1], covariance)
        for objective, estimator, baseline in (
            (fl.ForwardKL(target, replay=0.2), "score", None),
            (fl.ReverseKL(target), "score", "batch_mean"),
            (fl.ReverseKL(target, replay=0.2), "score", "leave_one_out"),
            (fl.ReverseKL(target, replay=0.2), "pathwise", 0.3),
        ):
            result = fl.simulate(
                objective, start, steps=6, batch_size=5, learning_rate=0.2, replicates=3,
                record_every=3, estimator=estimator, baseline=baseline,
            )
            parts += [result.old_logit, result.old_mean, result.new_mean, result.starved]
    np.save(sys.argv[2], np.concatenate([part.ravel() for part in parts]))
"""


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_compiled_and_interpreted_runs_are_equal(tmp_path: Any) -> None:
    results = []
    for name, disable in (("compiled", "0"), ("interpreted", "1")):
        path = tmp_path / f"{name}.npy"
        done = python(INTERPRETED, name, str(path), NUMBA_DISABLE_JIT=disable)
        assert done.returncode == 0, done.stderr
        results.append(np.load(path))
    np.testing.assert_allclose(results[0], results[1], rtol=0, atol=1e-10)


def test_importing_the_package_does_not_import_numba() -> None:
    done = python("import sys, forgetlib, forgetlib.ensemble; assert 'numba' not in sys.modules")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_an_interrupt_ends_a_long_run() -> None:
    # the first line, because a shell's background jobs start with interrupts ignored
    code = """
        import signal; signal.signal(signal.SIGINT, signal.default_int_handler)
        import forgetlib as fl
        target = fl.TwoModeMixture.separated(4.0, dim=2)
        start = target.replace(old_weight=0.9)
        arguments = dict(batch_size=1024, learning_rate=0.01, replicates=64, record_every=10**6)
        fl.simulate(fl.ReverseKL(target), start, steps=1, **arguments)
        print("ready", flush=True)
        fl.simulate(fl.ReverseKL(target), start, steps=10**8, **arguments)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors


def test_a_record_interval_beyond_the_last_step_is_the_last_step() -> None:
    target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    arguments = {"steps": 30, "batch_size": 8, "learning_rate": 0.1, "replicates": 2}
    start = target.replace(old_weight=0.9)
    far = fl.simulate(fl.ReverseKL(target), start, record_every=2**61, **arguments)
    near = fl.simulate(fl.ReverseKL(target), start, record_every=30, **arguments)
    assert far.step.tolist() == [0, 30]
    np.testing.assert_array_equal(far.old_logit, near.old_logit)


# ---- bad input --------------------------------------------------------------------------

NOT_COUNTS = st.one_of(
    st.integers(max_value=0),
    st.integers(min_value=2**62),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
)
NOT_RATES = st.one_of(
    st.floats(max_value=0.0),
    st.sampled_from([np.nan, np.inf, -np.inf, None, "fast", [0.1, 0.2]]),
)
NOT_NAMES = st.text(max_size=12).filter(lambda text: text not in {"score", "pathwise"})
NOT_BASELINES = st.one_of(
    st.text(max_size=12).filter(lambda text: text not in _BATCH_BASELINES),
    st.sampled_from([np.nan, np.inf, [1.0, 2.0], True, object()]),
)
NOT_TRAIN = st.one_of(
    st.text(min_size=1, max_size=8).filter(lambda text: text not in TRAIN),
    st.lists(st.text(max_size=8).filter(lambda text: text not in TRAIN), max_size=3),
)
NOT_SEEDS = st.one_of(st.integers(max_value=-1), st.floats(), st.text(max_size=3), st.booleans())


@given(
    bad=st.one_of(
        st.tuples(
            st.sampled_from(["steps", "batch_size", "replicates", "record_every"]), NOT_COUNTS
        ),
        st.tuples(st.just("workers"), NOT_COUNTS.filter(lambda value: value is not None)),
        st.tuples(st.just("learning_rate"), NOT_RATES),
        st.tuples(st.just("estimator"), NOT_NAMES),
        st.tuples(st.just("baseline"), NOT_BASELINES),
        st.tuples(st.just("train"), NOT_TRAIN),
        st.tuples(st.just("rng"), NOT_SEEDS),
        st.tuples(st.just("precondition"), st.sampled_from([None, 1, "yes"])),
        st.tuples(st.just("objective"), st.sampled_from([None, "ReverseKL", 3])),
        st.tuples(
            st.just("start"),
            st.sampled_from([None, 0.5, fl.TwoModeMixture.separated(2.0, dim=3)]),
        ),
    )
)
@settings(max_examples=300, deadline=None)
def test_bad_input_is_one_clear_error(bad: tuple[str, Any]) -> None:
    name, value = bad
    target = fl.TwoModeMixture.separated(4.0, old_weight=0.75, dim=2)
    arguments: dict[str, Any] = {
        "objective": fl.ReverseKL(target),
        "start": target,
        "steps": 2,
        "batch_size": 4,
        "learning_rate": 0.1,
        "replicates": 2,
    } | {name: value}
    with pytest.raises(ValueError, match=f"^{name} must"):
        fl.simulate(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "batch_mean", "batch_size": 1}, "batch_size must be an integer >= 2"),
        ({"baseline": "leave_one_out", "batch_size": 1}, "batch_size must be an integer >= 2"),
    ],
)
def test_baselines_of_the_batch_need_two_samples(changes: dict[str, Any], message: str) -> None:
    target, start = general_position(2, 1)
    with pytest.raises(ValueError, match=message):
        run(objective=fl.ReverseKL(target), start=start, **changes)


def test_forward_kl_has_one_estimator() -> None:
    target, start = general_position(2, 1)
    for changes, name in (
        ({"estimator": "pathwise"}, "estimator"),
        ({"baseline": 0.0}, "baseline"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be .* for ForwardKL"):
            run(objective=fl.ForwardKL(target), start=start, **changes)


def test_an_ensemble_that_does_not_fit_is_refused_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, start = general_position(2, 1)
    common: dict[str, Any] = {"objective": fl.ReverseKL(target), "start": start, "steps": 1000}
    with pytest.raises(ValueError, match=r"record_every must.*TiB|record_every must.*GiB"):
        run(replicates=10**12, **common)
    # 100 replicates x 6 numbers x 8 bytes = 4800 bytes a record
    monkeypatch.setattr(module, "_free_memory", lambda: 100 * 4800 / 0.9)
    with pytest.raises(ValueError, match=r"record_every >= (\d+) would make it fit") as caught:
        run(replicates=100, record_every=5, **common)
    advised = int(str(caught.value).split("record_every >= ")[1].split()[0])
    assert run(replicates=100, record_every=advised, **common).step.size <= 100
    with pytest.raises(ValueError, match="lower replicates"):
        run(replicates=10**5, **common)
    with pytest.raises(ValueError, match="batch_size must be small enough"):
        run(replicates=1, batch_size=10**6, **common)
    # untrained means take no memory, so the weight alone fits
    assert run(replicates=100, record_every=5, train="weight", **common).step.size == 201


def test_free_memory_is_known_here() -> None:
    assert 2**20 < module._free_memory() < 2**60


FIRST_CALL = """
    import os, sys, time
    import numba, numpy, scipy.special
    import forgetlib as fl
    import forgetlib.ensemble

    if sys.argv[1] == "nobody":  # may write neither beside the code nor at home
        import concurrent.futures.thread, encodings.ascii  # may lie where nobody may read
        numba.njit(lambda x: x + numpy.ones(2))(1.0)
        os.environ["HOME"] = "/nonexistent"
        os.environ.pop("XDG_CACHE_HOME", None)
        os.setuid(65534)
        assert not os.access(os.path.dirname(fl.__file__), os.W_OK)
    target = fl.TwoModeMixture.separated(4.0, dim=2)
    began = time.process_time()
    result = fl.simulate(
        fl.ReverseKL(target), target.replace(old_weight=0.9), steps=2, batch_size=8,
        learning_rate=0.1, replicates=2, workers=1,
    )
    print(time.process_time() - began, float(result.old_logit.sum()).hex())
"""


def first_call(kind: str, **environment: str) -> tuple[float, str]:
    """Processor seconds of a first call in a new process, and what it gave."""
    done = python(FIRST_CALL, kind, **environment)
    assert done.returncode == 0, done.stderr
    seconds, value = done.stdout.split()
    return float(seconds), value


def test_a_first_call_does_not_keep_anyone_waiting(tmp_path: Any) -> None:
    """Processor time, twice what was measured: 5 to 6 s to compile, 0.4 s from the cache."""
    cold, value = first_call("user", NUMBA_CACHE_DIR=str(tmp_path))
    assert cold < 12.0
    warm, again = first_call("user", NUMBA_CACHE_DIR=str(tmp_path))
    assert warm < 1.2
    assert again == value


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="only root can be nobody")
def test_a_first_call_works_where_nothing_can_be_written() -> None:
    assert first_call("nobody")[1] == first_call("user")[1]
