"""Explorer of the SDFT chapter: its frames and the numbers that they show."""

from __future__ import annotations

import numpy as np
import pytest

import forgetlib as fl
from forgetlib import _svg, widgets
from forgetlib.widgets import _sdft


@pytest.mark.parametrize(
    ("anchor", "weight", "time"), [(0.0, 0.75, 30.0), (0.03, 0.02, 1.0), (0.1, 0.75, 800.0)]
)
def test_readout_agrees_with_the_library(anchor: float, weight: float, time: float) -> None:
    readout = widgets.sdft_frame(anchor, weight, time).readout
    goal = fl.TwoModeMixture.separated(5.0, old_weight=weight)
    method, start = fl.SDFT(goal, 0.1, anchor), goal.replace(old_weight=0.9)
    path = fl.gradient_flow(method, start, [0.0, time], train="weight", rtol=1e-7)
    assert path.teacher is not None
    for name, weights in (("student", path.old_weight), ("teacher", path.teacher.old_weight)):
        shown = float(readout.partition(f"{name} ")[2].split(",")[0])
        assert shown == pytest.approx(weights[-1], abs=0.011)
    assert readout.count("0 of 64 runs ever outside") == 1
    ahead = start.replace(new_mean=[3.5])
    everything = fl.gradient_flow(method, ahead, [0.0, time], rtol=1e-7)
    learned = 1.0 - abs(everything.new_mean[-1, 0] - 5.0) / 1.5
    shown = float(readout.partition("All trained: ")[2].split("%")[0])
    assert shown == pytest.approx(100.0 * learned, abs=1.0)
    assert ("loses the old mode" in readout) == (weight < 0.1 and anchor > 0.0)
    assert ("Limit of the noise: none" in readout) == (anchor == 0.0)


@pytest.mark.parametrize("weight", [0.02, 0.3, 0.75])
@pytest.mark.parametrize("anchor", [0.0, 0.01, 0.03, 0.1])
def test_bounds_hold_for_what_is_drawn(anchor: float, weight: float) -> None:
    paths = _sdft._paths(anchor, weight, 0)
    teacher = paths.weights.teacher
    assert teacher is not None
    for weights in (paths.weights.old_weight, teacher.old_weight):
        assert (weights <= paths.ceiling + 1e-4).all()
        assert (weights >= min(weight, 0.9) - 1e-4).all()
    assert paths.outside == 0  # thm-teacher-batches: sure, whatever the batches are
    assert (paths.law <= paths.limit).all()
    assert np.isfinite(paths.limit) == (anchor > 0.0)


def test_runs_follow_the_flow_and_the_law_of_noise() -> None:
    """Comparisons at 4.5 standard errors, and what steps of 0.8 and curvature add."""
    for anchor in (0.0, 0.01, 0.1):
        paths = _sdft._paths(anchor, 0.75, 0)
        flow = np.interp(paths.runs.t, _sdft._T, paths.weights.old_weight)
        assert (np.abs(paths.runs.mean - flow) <= 4.5 * paths.runs.stderr + 0.02).all()
        law = np.interp(paths.at, _sdft._T[1:], paths.law)
        assert (np.abs(paths.spread - law) <= 4.5 * paths.spread_error + 0.1 * law).all()
    still = _sdft._paths(0.0, 0.75, 0).everything
    assert still.new_mean[-1, 0] == pytest.approx(3.5, abs=1e-6)


def test_picture_has_the_boundary_that_it_names() -> None:
    model = fl.TwoModeMixture(0.8, [0.2], [4.0])
    edge = _sdft._boundary(model)
    assert model.responsibility(np.array(edge)) == pytest.approx(0.5)
    frame = widgets.sdft_frame(0.1, 0.3, 100.0)
    assert f"training time {_svg.number(100, 3)}" in frame.alt


@pytest.mark.parametrize(
    ("anchor", "weight", "time", "message"),
    [
        (-0.1, 0.75, 1.0, r"anchor must lie in \[0, 2\]"),
        (0.1, 1.0, 1.0, "demonstration_weight must lie strictly between 0 and 1"),
        (0.1, 0.5, 900.0, r"time must lie in \[0, 800\]"),
    ],
)
def test_bad_arguments_are_named(anchor: float, weight: float, time: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        widgets.sdft_frame(anchor, weight, time)
