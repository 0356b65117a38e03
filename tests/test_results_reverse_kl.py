"""The reverse-KL ledger: every check passes, and breaking any printed formula fails it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from ledger_checks import assert_passes, assert_reproducible, printed_formulas, scaled

from forgetlib import Gradient, ReverseKL, TwoModeMixture, drift
from forgetlib.drift import SeparatedDrift
from forgetlib.results import Result, reverse_kl

RESULTS = {result.label: result for result in reverse_kl.results()}


def test_ledger_has_the_chapters_claims() -> None:
    assert list(RESULTS) == [
        "thm-monotone-retention",
        "thm-drift-force",
        "thm-sharp-drift",
        "thm-drift-constant",
        "thm-drift-box",
        "thm-sure-retention",
    ]
    assert all(result.chapter == "reverse_kl" for result in RESULTS.values())


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_check_passes(result: Result) -> None:
    assert_passes(result)


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_check_is_reproducible_and_listens_to_its_arguments(result: Result) -> None:
    assert_reproducible(result, 2)


# name of the formula, the check that must notice, and the factor that breaks it
MUTATIONS = [
    ("_sech_integral", "thm-monotone-retention", 1.01),
    ("_sech_integral", "thm-monotone-retention", 0.99),
    ("_lower_factor", "thm-drift-constant", 1.01),
    ("_lower_factor", "thm-drift-constant", 0.99),
    ("_information", "thm-monotone-retention", 1.01),
    ("_information", "thm-monotone-retention", 0.99),
    ("_separated_speed", "thm-monotone-retention", 0.99),
    ("_regrowth_speed", "thm-monotone-retention", 1.01),
    ("_regrowth_speed", "thm-monotone-retention", 0.99),
    ("_final_rate", "thm-monotone-retention", 1.01),
    ("_final_rate", "thm-monotone-retention", 0.99),
    ("_drift_force", "thm-drift-force", 1.01),
    ("_drift_force", "thm-drift-force", 0.99),
    ("_pull", "thm-sharp-drift", 1.01),
    ("_pull", "thm-sharp-drift", 0.99),
    ("drift_bound", "thm-sharp-drift", 1.01),
    ("drift_bound", "thm-sharp-drift", 0.99),
    ("_constant", "thm-drift-constant", 1.01),
    ("_constant", "thm-drift-constant", 0.99),
    ("drift_constant", "thm-drift-constant", 1.01),
    ("drift_constant", "thm-drift-constant", 0.99),
    ("_cone", "thm-sharp-drift", 1.01),
    ("_cone", "thm-sharp-drift", 0.99),
    ("_limit_drift", "thm-drift-constant", 1.01),
    ("_limit_drift", "thm-drift-constant", 0.99),
    ("_pull", "thm-drift-box", 1.01),
    ("_pull", "thm-drift-box", 0.99),
    ("_log_by_root", "thm-drift-box", 1.01),
    ("_log_by_root", "thm-drift-box", 0.99),
    ("_safe_step", "thm-sure-retention", 1.01),
    ("_safe_step", "thm-sure-retention", 0.99),
    ("contraction_rate", "thm-sure-retention", 1.01),
    ("contraction_rate", "thm-sure-retention", 0.98),
]


@pytest.mark.parametrize(("name", "label", "factor"), MUTATIONS)
def test_one_per_cent_error_is_noticed(
    name: str, label: str, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    formula = getattr(reverse_kl, name)
    monkeypatch.setattr(reverse_kl, name, scaled(formula, factor))
    assert not RESULTS[label].check(configurations=4).holds


@pytest.mark.parametrize("share", [0.5, 1.0, 2.0])
def test_wrong_angle_is_noticed(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "_WIDE", share)
    assert not RESULTS["thm-sharp-drift"].check(configurations=1).holds


def test_wrong_force_on_the_new_mean_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ReverseKL.gradient

    def wrong(self: ReverseKL, model: TwoModeMixture) -> Gradient:
        gradient = honest(self, model)
        return gradient._replace(new_mean=1.001 * gradient.new_mean)

    monkeypatch.setattr(ReverseKL, "gradient", wrong)
    assert not RESULTS["thm-drift-force"].check(configurations=1).holds


def test_wrong_limit_of_the_drift_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = reverse_kl.separated_drift

    def wrong(*args: Any, **options: Any) -> SeparatedDrift:
        path = honest(*args, **options)
        if "separation" in options or len(args) > 4:
            return path
        return dataclasses.replace(path, scaled_drift=1.01 * path.scaled_drift)

    monkeypatch.setattr(reverse_kl, "separated_drift", wrong)
    assert not RESULTS["thm-drift-constant"].check(configurations=3).holds


def test_wrong_speed_with_the_batch_mean_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factor 1 - 1/N of part 2, wrong by ten per cent."""
    honest = reverse_kl.simulate

    def wrong(*args: Any, **options: Any) -> Any:
        if options.get("baseline") == "batch_mean":
            options["learning_rate"] *= 1.1
        return honest(*args, **options)

    monkeypatch.setattr(reverse_kl, "simulate", wrong)
    assert not RESULTS["thm-sure-retention"].check(configurations=4).holds


def test_every_formula_is_mutated() -> None:
    formulas = printed_formulas(reverse_kl)
    assert formulas <= {name for name, _, _ in MUTATIONS}


def test_wrong_sign_of_a_batch_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant baseline breaks the theorem, and the check sees it."""
    honest = reverse_kl._step_share

    def with_constant(b: float, a: float, log_ratio: Any, baseline: Any, replay: float) -> float:
        r = 1.0 / (1.0 + np.exp(-np.clip(np.log(b / (1 - b)) + log_ratio, -700, 700)))
        distance = np.log(b / (1 - b)) - np.log(a / (1 - a))
        return honest(b, a, log_ratio, baseline, replay) - float(np.mean(r - b)) / distance

    monkeypatch.setattr(reverse_kl, "_step_share", with_constant)
    assert not RESULTS["thm-sure-retention"].check(configurations=20).holds


def test_a_biased_sampler_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = reverse_kl.mode_samples

    def biased(mean: Any, size: int, generator: np.random.Generator) -> Any:
        return samples(mean + 0.1, size, generator)

    monkeypatch.setattr(reverse_kl, "mode_samples", biased)
    for label in ("thm-sharp-drift", "thm-drift-box"):
        assert not RESULTS[label].check(configurations=2).holds
