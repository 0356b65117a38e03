"""Explorer of TTT-Discover: sound frames, and numbers that agree with the library."""

from __future__ import annotations

import numpy as np
import pytest

import forgetlib as fl
from forgetlib import _svg
from forgetlib.widgets import _ttt_discover as module

REFERENCE = fl.TwoModeMixture.separated(40.0, old_weight=0.9)
NEAR = fl.TwoModeMixture.separated(5.0, old_weight=0.9)


@pytest.mark.parametrize(("penalty", "height"), [(0.1, 1.0), (0.8, 2.0), (1.6, 0.25)])
def test_readout_agrees_with_the_library(penalty, height):
    readout = module.ttt_discover_frame(penalty, height, 10.0).readout
    method = fl.TTTDiscover(REFERENCE, height, 1.0, penalty)
    assert f"{_svg.number(method.stationary_old_weight(), 3)} in the end" in readout
    assert f"(proved floor {_svg.number(method.old_weight_floor(), 3)})" in readout
    half = _svg.number(method.required_kl_weight(0.5), 3)
    assert f"One half needs γ = {half}." in readout
    flow = fl.gradient_flow(method, REFERENCE, [0.0, 10.0], train="weight", rtol=1e-8)
    shown = float(readout.partition("old weight ")[2].split(" ")[0])
    assert shown == pytest.approx(flow.old_weight[-1], abs=2e-3)
    near = fl.TTTDiscover(NEAR, height, 1.0, penalty)
    forces = [near.mean_forces(b).net for b in (0.9, near.balanced_old_weight())]
    before, after = (_svg.number(5.0 * force, 2) for force in forces)
    assert f"net pull on the old mean: {before} at the start" in readout
    assert readout.endswith(f" now, {after} in balance.")


def test_a_weak_penalty_leaves_no_balance():
    assert "overlap leaves no balance" in module.ttt_discover_frame(0.05, 4.0, 5.0).readout
    free = module.ttt_discover_frame(0.0, 1.0, 5.0)
    assert "no spring" in free.readout
    assert "no spring" in free.svg


def test_runs_keep_to_the_flow_and_above_the_floor():
    for penalty, height in [(0.4, 1.0), (1.6, 2.0)]:
        runs, flow = module._trained(penalty, height, 0)
        exact = np.interp(runs.t, module._TIMES, flow)
        # groups of 64 stretch the step by a few per cent
        assert np.abs(runs.mean - exact).max() < 0.03
    # the adaptive temperature does not see the gap, and loses more than a small reward
    assert module._adaptive(0.4, 0).mean[-1] < module._trained(0.4, 0.5, 0)[1][-1] - 0.1


@pytest.mark.parametrize("penalty", [0.1, 0.4, 1.6])
@pytest.mark.parametrize("height", [0.5, 1.0, 2.0, 4.0])
def test_the_bounds_hold_for_what_is_drawn(penalty, height):
    drawn = module._method(penalty, height)
    floor = drawn.old_weight_floor()
    end = drawn.balanced_old_weight()  # exact: it knows of the overlap
    assert floor <= end * (1.0 + 1e-9)
    assert module._trained(penalty, height, 0)[1].min() >= floor - 1e-9
    pulls = module._pulls(penalty, height)
    assert (pulls.reward <= pulls.bound).all()  # thm-gate-drift, part 2
    assert (pulls.bound < 2.0 * pulls.reward).all()
    # the pull of the full gradient, over the spring
    near = fl.TTTDiscover(NEAR, height, 1.0, penalty)
    slope = near.gradient(NEAR.replace(old_weight=0.6)).old_mean[0]
    assert pulls.at(0.6) == pytest.approx(-slope / (penalty * 0.6), rel=0.05, abs=2e-3)


@pytest.mark.parametrize(
    ("penalty", "height", "time", "message"),
    [
        (-0.1, 1.0, 1.0, r"penalty must lie in \[0, 4\]"),
        (0.1, 0.0, 1.0, "height must be > 0 and at most 6"),
        (0.1, 1.0, 200.0, r"time must lie in \[0, 100\]"),
    ],
)
def test_mistakes_are_named(penalty, height, time, message):
    with pytest.raises(ValueError, match=message):
        module.ttt_discover_frame(penalty, height, time)
