"""Explorer of the synthesis: sound frames, and numbers that agree with the library."""

from __future__ import annotations

import numpy as np
import pytest

import forgetlib as fl
from forgetlib import _svg
from forgetlib.widgets import _synthesis as module


@pytest.mark.parametrize(("choice", "strength"), [(0, 3), (1, 2), (2, 4), (3, 1), (4, 3), (5, 4)])
def test_readout_agrees_with_the_library(choice, strength):
    readout = module.synthesis_frame(choice + 1, strength, 10.0).readout
    knob = module._CHOICES[choice][2][strength - 1]
    start = fl.TwoModeMixture(0.9, [0.0], [5.0])
    truth = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    right = truth.replace(old_weight=0.9)

    def method(before):
        return [
            lambda: fl.ForwardKL(truth, replay=knob),
            lambda: fl.ReverseKL(truth.replace(old_weight=knob)),
            lambda: fl.SDFT(truth, 0.1, knob),
            lambda: fl.SDFT(truth.replace(old_weight=knob), 0.1, 0.2),
            lambda: fl.TTTDiscover(before, 1.0, 2.0, knob),
            lambda: fl.OAPL(before, 0.8, knob, 50),
        ][choice]()

    hold = fl.what_holds(method(start), 0.9, learning_rate=0.2)
    assert ("Held by nothing" in readout) == (hold.law is None)
    if hold.law is not None and choice != 4:
        assert f"limit {_svg.number(hold.old_weight, 2)};" in readout
    if choice == 4:  # with overlap
        exact = method(right).balanced_old_weight()
        assert f"limit {_svg.number(exact, 2)};" in readout
    end = fl.outcome(method(start), start, truth, 100.0, learning_rate=0.2)
    assert f"Verdict: {end.verdict}." in readout
    path = fl.gradient_flow(method(right), right, 10.0, train="weight", learning_rate=0.2)
    shown = float(readout.partition("Weight trained: ")[2].split(" ")[0])
    assert shown == pytest.approx(path.old_weight[-1], abs=0.01)


def test_runs_follow_the_flow():
    for choice, knob in [(0, 0.3), (1, 0.75), (2, 0.1), (4, 3.0), (5, 1.0)]:
        trained = module._trained(choice, knob, 0)
        flow = np.interp(trained.weight_runs.t, module._T, trained.weights)
        assert np.abs(trained.weight_runs.mean - flow).max() < 0.05


def test_limits_hold_for_the_flow_that_is_drawn():
    """thm-overlap-holds: the weight stays between its start and its limit."""
    for choice, (_, _, knobs) in enumerate(module._CHOICES):
        for knob in knobs:
            trained = module._trained(choice, knob, 0)
            assert (trained.weights >= trained.limit - 2e-3).all(), (choice, knob)
            assert (trained.weights <= 0.9 + 1e-6).all(), (choice, knob)


def test_a_live_slider_may_give_any_number():
    frame = module.synthesis_frame(1.4, 2.5, 7.0)
    assert frame.readout.startswith("Replay share 0.20.")


@pytest.mark.parametrize(
    ("method", "strength", "time", "message"),
    [
        (0.5, 3, 1.0, r"method must lie in \[1, 6\]"),
        (1, 4.5, 1.0, r"strength must lie in \[1, 4\]"),
        (1, 3, 101.0, r"time must lie in \[0, 100\]"),
    ],
)
def test_mistakes_are_named(method, strength, time, message):
    with pytest.raises(ValueError, match=message):
        module.synthesis_frame(method, strength, time)
