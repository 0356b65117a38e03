"""Answers for practitioners: the theorems they quote, their ranges, and the limits beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest

import forgetlib as fl
from forgetlib import design


def samples(separation: float, count: int = 4000, seed: int = 0) -> fl.OverlapEstimate:
    rng = np.random.default_rng(seed)
    h = separation * rng.normal(0.5 * separation, 1.0, (2, count))
    return fl.OverlapEstimate(h[0], -h[1])


#: every answer that takes an overlap
FROM_OVERLAP: dict[str, Callable[[fl.OverlapEstimate | float], design.Answer]] = {
    "misassignment": lambda overlap: design.misassignment(overlap, 0.7),
    "finetuning_half_life": lambda overlap: design.finetuning_half_life(overlap, 0.7, 0.01),
    "drift": lambda overlap: design.drift(overlap, 0.7),
    "replay_share": lambda overlap: design.replay_share(overlap, 0.1, 0.5),
    "kl_weight": lambda overlap: design.kl_weight(overlap, 0.7, 0.4, 1.0),
}
OTHERS = (
    design.replay_for_rare_old_samples(0.05, 32, 1000),
    design.batch_size(0.05, 1000),
    design.lag_rounds(0.8, 0.8, 1.0),
)


@pytest.mark.parametrize("name", FROM_OVERLAP)
def test_samples_and_the_separation_they_come_from_give_one_answer(name: str) -> None:
    """The range holds the exact answer; it narrows as samples are added (fixed seeds)."""
    exact = FROM_OVERLAP[name](4.0)
    assert exact.low == exact.value == exact.high
    widths = []
    for count in (500, 50_000):
        told = FROM_OVERLAP[name](samples(4.0, count))
        assert told.low <= told.value <= told.high
        slack = 1.0 * (told.high - told.low) + (1.0 if "half_life" in name else 0.0)
        assert told.low - slack <= exact.value <= told.high + slack
        widths.append(told.high - told.low)
    assert widths[1] < 0.3 * widths[0]


def test_answers_are_those_of_the_theorems() -> None:
    assert design.misassignment(3.0, 0.6).value == pytest.approx(
        fl.misassignment_probability(fl.TwoModeMixture.separated(3.0, 0.6))
    )
    steps = design.finetuning_half_life(3.0, 0.9, 1e-4).value
    path = fl.gradient_flow(
        fl.ForwardKL(fl.TwoModeMixture.separated(3.0)),
        fl.TwoModeMixture.separated(3.0, 0.9),
        [0.0, steps * 1e-4],
        train="weight",
    )
    assert path.old_weight[-1] == pytest.approx(0.45, abs=1e-4)
    assert design.drift(6.0, 0.75).value == pytest.approx(fl.drift_constant(0.75) * math.exp(-4.5))
    assert design.replay_share(4.0, 0.1, 0.5).value == fl.minimax_replay(0.1, 0.5, 4.0).replay
    model = fl.TwoModeMixture.separated(4.0, 0.9)
    assert design.kl_weight(4.0, 0.9, 0.5, 1.0).value == fl.kl_weight_for(model, 1.0, 1.0, 0.5)
    method = fl.OAPL(fl.TwoModeMixture.separated(40.0, 0.8), 0.8, 1.0, 1)
    assert design.lag_rounds(0.8, 0.8, 1.0).value == method.rounds_until(0.4)


def test_three_rounds_of_lag_leave_less_than_half_and_two_do_not() -> None:
    rounds = int(design.lag_rounds(0.8, 0.8, 1.0).value)
    left = [1 / (1 + math.exp(-(math.log(4.0) - 0.8 * k))) for k in (rounds - 1, rounds)]
    assert left[1] <= 0.4 < left[0]


def test_half_life_from_samples_needs_no_gaussians() -> None:
    """Two exponential densities: the flow of the weight by quadrature against the samples."""
    rng = np.random.default_rng(8)
    rate = 6.0  # densities e^-y and rate e^(-rate y)
    ratio = lambda y: -y - (math.log(rate) - rate * y)  # noqa: E731
    found = fl.OverlapEstimate(
        ratio(rng.exponential(1, 40_000)), ratio(rng.exponential(1 / rate, 40_000))
    )
    y = np.linspace(0, 40, 400_001)
    old, new = np.exp(-y), rate * np.exp(-rate * y)
    logit, time = math.log(0.8 / 0.2), 0.0
    while 1 / (1 + math.exp(-logit)) > 0.4:
        b = 1 / (1 + math.exp(-logit))
        gate = float(np.trapezoid(old * new / (b * old + (1 - b) * new), y))
        logit -= 0.01 * b * (1 - gate)
        time += 0.01
    told = design.finetuning_half_life(found, 0.8, 0.01)
    assert told.value == pytest.approx(100 * time, rel=0.02)
    assert told.low < 100 * time < told.high


def test_every_answer_says_what_it_rests_on() -> None:
    for answer in (*OTHERS, *(ask(4.0) for ask in FROM_OVERLAP.values())):
        assert answer.question
        assert answer.limits
        assert answer.label in {result.label for result in fl.results.ledger()}
        page = answer._repr_html_()
        for limit in answer.limits:
            assert limit in page
        assert re.search(r": \d", str(answer))


def test_the_samples_speak_against_an_answer() -> None:
    few = FROM_OVERLAP["kl_weight"](samples(10.0, 100))
    assert any(limit.startswith("NOT MET: fewer than ten") for limit in few.limits)
    shifted = samples(3.0)
    shifted = fl.OverlapEstimate(shifted.old_ratios + 1.0, shifted.new_ratios + 1.0)
    assert any("normalization off by" in limit for limit in design.drift(shifted, 0.5).limits)
    rng = np.random.default_rng(3)
    wide = fl.OverlapEstimate(rng.normal(1.0, 4.0, 2000), rng.normal(-3.0, 1.0, 2000))
    assert any(limit.startswith("DOUBTFUL") for limit in design.replay_share(wide, 0.1, 0.5).limits)
    assert not any(limit[:3] in ("NOT", "DOU") for limit in design.drift(samples(3.0), 0.5).limits)


def test_degenerate_overlap_gives_a_range_not_an_error() -> None:
    apart = fl.OverlapEstimate(np.linspace(900, 1000, 60), np.linspace(-1000, -900, 40))
    for name, ask in FROM_OVERLAP.items():
        found = ask(apart)
        assert found.low <= found.value <= found.high, name
    alike = fl.OverlapEstimate(*(0.05 * np.random.default_rng(0).normal(size=(2, 500))))
    for name, ask in FROM_OVERLAP.items():
        found = ask(alike)
        assert found.low <= found.value <= found.high, name
        assert not math.isnan(found.value)


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda: design.misassignment(-1.0, 0.5), "overlap must be"),
        (lambda: design.drift("far", 0.5), "overlap must"),
        (lambda: design.drift(3.0, 1.5), "old_weight must"),
        (lambda: design.finetuning_half_life(3.0, 0.5, 0.0), "learning_rate must"),
        (lambda: design.finetuning_half_life(3.0, 0.5, 0.1, 1.0), "remaining must lie strictly"),
        (lambda: design.lag_rounds(0.5, -1.0, 1.0), "reward_gap must"),
        (lambda: design.lag_rounds(0.5, 1.0, 1.0, 0.0), "remaining must"),
        (lambda: design.batch_size(0.0, 100), "weight_floor"),
        (lambda: design.replay_share(3.0, 0.5, 0.1), "must"),
        (lambda: design.kl_weight(3.0, 0.5, 0.6, 1.0), "must"),
    ],
)
def test_wrong_arguments_are_named(ask: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ask()
