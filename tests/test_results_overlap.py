"""The overlap ledger: every check passes, and breaking any printed formula fails it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from ledger_checks import assert_passes, assert_reproducible, printed_formulas, scaled

from forgetlib import Trajectory
from forgetlib.results import Result, overlap

RESULTS = {result.label: result for result in overlap.results()}


def test_ledger_has_the_chapters_claims() -> None:
    assert list(RESULTS) == [
        "prp-bhattacharyya",
        "thm-one-axis",
        "lem-misassignment",
        "prp-label-information",
        "thm-uniform-misassignment",
        "prp-naive-sampling",
        "thm-boundary-sampling",
        "thm-secant-sampling",
    ]
    assert all(result.chapter == "overlap" for result in RESULTS.values())


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_check_passes(result: Result) -> None:
    assert_passes(result)


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_check_is_reproducible_and_listens_to_its_arguments(result: Result) -> None:
    assert_reproducible(result, 4, exactly=False)


# name of the formula, the check that must notice, and the factors that break it
BOTH = (1.01, 0.99)
MUTATED: list[tuple[str, str, tuple[float, ...]]] = [
    ("_gaussian_affinity", "prp-bhattacharyya", BOTH),
    ("_gaussian_variation", "prp-bhattacharyya", BOTH),
    ("_affinity_floor", "prp-bhattacharyya", (1.01,)),
    ("_affinity_ceiling", "prp-bhattacharyya", (0.99,)),
    ("_joint_separation", "prp-bhattacharyya", BOTH),
    ("_log_odds_mean", "thm-one-axis", BOTH),
    ("_log_odds_variance", "thm-one-axis", BOTH),
    ("_sech_integral", "thm-one-axis", BOTH),
    ("_sech_integral", "lem-misassignment", BOTH),
    ("_sharp_bound", "lem-misassignment", BOTH),
    ("_any_bound", "lem-misassignment", BOTH),
    ("_lower_factor", "lem-misassignment", (1.01,)),
    ("_label_error", "prp-label-information", BOTH),
    ("_information", "prp-label-information", BOTH),
    ("_position", "thm-uniform-misassignment", BOTH),
    ("_boundary_bound", "thm-uniform-misassignment", BOTH),
    ("_boundary_factor", "thm-uniform-misassignment", BOTH),
    ("_lower_factor", "thm-uniform-misassignment", BOTH),
    ("_sharp_bound", "thm-uniform-misassignment", BOTH),
    ("_lost_share", "thm-uniform-misassignment", BOTH),
    ("_soft_over_hard", "thm-uniform-misassignment", BOTH),
    ("_even_moment", "prp-naive-sampling", BOTH),
    ("_naive_bound", "prp-naive-sampling", BOTH),
    ("naive_detection_bound", "prp-naive-sampling", BOTH),
    ("_moved_moment", "thm-boundary-sampling", BOTH),
    ("_boundary_moment", "thm-boundary-sampling", (0.99,)),
    ("_boundary_constant", "thm-boundary-sampling", BOTH),
    ("_tilt_price", "thm-boundary-sampling", BOTH),
    ("_secant_bound", "thm-secant-sampling", (0.99,)),
    ("_secant_constant", "thm-secant-sampling", BOTH),
    ("_sharp_bound", "thm-secant-sampling", BOTH),
    ("relative_variance", "thm-secant-sampling", BOTH),
]


@pytest.mark.parametrize(
    ("name", "label", "factor"),
    [(name, label, factor) for name, label, factors in MUTATED for factor in factors],
)
def test_one_per_cent_error_is_noticed(
    name: str, label: str, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    formula = getattr(overlap, name)
    monkeypatch.setattr(overlap, name, scaled(formula, factor))
    configurations = 2 if label == "thm-one-axis" else 20  # each integrates flows
    assert not RESULTS[label].check(configurations=configurations).holds


def test_every_formula_is_mutated() -> None:
    formulas = printed_formulas(overlap)
    assert formulas <= {name for name, _, _ in MUTATED}


def test_a_flow_that_leaves_the_line_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = overlap.gradient_flow

    def plain(*args: Any, **options: Any) -> Trajectory:
        return honest(*args, **{**options, "precondition": False})

    monkeypatch.setattr(overlap, "gradient_flow", plain)
    assert not RESULTS["thm-one-axis"].check(configurations=2).holds


def test_a_wrong_report_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = overlap.estimate_misassignment

    def proud(*args: Any, **options: Any) -> Any:
        run = honest(*args, **options)
        return dataclasses.replace(run, stderr=1.01 * run.estimate)

    monkeypatch.setattr(overlap, "estimate_misassignment", proud)
    assert not RESULTS["prp-naive-sampling"].check(configurations=2).holds


def test_a_misplaced_boundary_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on the second moment is about the boundary, not about any place."""
    honest = overlap.relative_variance

    def misplaced(model: Any, proposal: Any = None, side: Any = "old") -> float:
        if proposal is None:
            proposal = min(max(overlap.boundary_position(model) + 0.3, -1.0), 2.0)
        return honest(model, proposal, side)

    monkeypatch.setattr(overlap, "relative_variance", misplaced)
    assert not RESULTS["thm-boundary-sampling"].check().holds


@pytest.mark.parametrize("wrong", ["inverted", "shifted"])
def test_wrong_labels_or_guesses_are_noticed(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(overlap.TwoModeMixture):
        def rvs(self, size: int, rng: Any = None) -> Any:
            samples, is_old = super().rvs(size, rng)
            return samples, ~is_old if wrong == "inverted" else is_old

        def responsibility(self, y: Any) -> Any:
            right = super().responsibility(y)
            return right + 0.05 if wrong == "shifted" else right

    monkeypatch.setattr(overlap, "TwoModeMixture", Wrong)
    assert not RESULTS["prp-label-information"].check(configurations=2).holds


def test_a_shift_with_the_wrong_sign_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = overlap._sharp_bound

    def flipped(old_weight: float, separation: float, shift: float = 0.0) -> float:
        return honest(old_weight, separation, -shift)

    monkeypatch.setattr(overlap, "_sharp_bound", flipped)
    assert not RESULTS["lem-misassignment"].check().holds


def test_correlation_with_the_rest_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A responsibility that listens to another direction than that of the means."""
    honest = overlap.TwoModeMixture.responsibility

    def curious(self: Any, y: Any) -> Any:
        if self.dim < 6:
            return honest(self, y)
        white = self.whiten(y - self.old_mean)
        way = self.whiten(self.new_mean - self.old_mean)
        across = np.linalg.svd(way[None, :])[2][1]
        return honest(self, y) * (1 + 0.02 * np.sign((white @ across) ** 2 - 0.455))

    monkeypatch.setattr(overlap.TwoModeMixture, "responsibility", curious)
    assert not RESULTS["thm-one-axis"].check(configurations=1).holds


def test_a_naive_bound_that_does_not_vanish_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = overlap.naive_detection_bound
    monkeypatch.setattr(overlap, "naive_detection_bound", lambda *args: max(2e-5, honest(*args)))
    assert not RESULTS["prp-naive-sampling"].check(configurations=2).holds


def test_a_biased_sampler_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = overlap.mode_samples

    def biased(mean: Any, size: int, generator: np.random.Generator) -> Any:
        return samples(mean + 0.05, size, generator)

    monkeypatch.setattr(overlap, "mode_samples", biased)
    for label in (
        "prp-bhattacharyya",
        "lem-misassignment",
        "prp-naive-sampling",
        "thm-boundary-sampling",
    ):
        assert not RESULTS[label].check(configurations=2).holds
