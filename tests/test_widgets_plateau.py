"""Explorer of the plateau: sound frames, and numbers that agree with the library."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import forgetlib as fl
from forgetlib import _svg
from forgetlib.widgets import _plateau as module


@pytest.mark.parametrize("separation", [3.0, 6.0])
def test_readout_agrees_with_the_library(separation):
    target = fl.TwoModeMixture.separated(separation, old_weight=0.75)
    start = target.replace(new_mean=[0.5])
    escape = fl.flow_escape(target, start).time
    before = module.plateau_frame(separation, 0.9 * escape)
    after = module.plateau_frame(separation, 1.1 * escape)
    assert before.readout.startswith("The new skill is not found yet")
    assert after.readout.startswith("The new skill is found")
    floor = fl.escape_time_floor(target, start)
    for frame in (before, after):
        shown = re.search(r"Half-way at time ([\d,.]+);", frame.readout)
        assert float(shown[1].replace(",", "")) == pytest.approx(escape, rel=0.05)
        assert f"not before {_svg.number(floor, 2)}" in frame.readout
    model = fl.gradient_flow(fl.ReverseKL(target), start, 5.0).model()
    frame = module.plateau_frame(separation, 5.0)
    assert f"old weight {_svg.number(model.old_weight, 2)}" in frame.readout
    assert f"new mean {_svg.number(round(model.new_mean[0], 3), 2)}" in frame.readout


def test_predicted_time_is_said_where_there_is_one():
    predicted = fl.adiabatic_escape_time(6.0, 0.75, 0.75)
    alt = module.plateau_frame(6.0, 10.0).alt
    assert f"slow manifold predicts {_svg.number(predicted, 2)}" in alt
    assert "too close for a slow manifold" in module.plateau_frame(3.0, 10.0).alt
    assert math.isnan(module._plateau(3.0, 0.5, 0.75).predicted)


def test_floor_of_the_loss_is_below_it():
    for separation in (3.0, 5.0, 7.0):
        paths = module._plateau(separation, 0.5, 0.75)
        assert (paths.least <= paths.loss + 1e-6).all()
        assert paths.least[0] > 0.05
        for index in (0, 20, 40):
            model = paths.model(float(paths.t[index]))
            radius = float(np.abs([model.old_mean, model.new_mean]).max())
            best, _ = fl.plateau_height(separation, 0.75, radius)
            assert paths.least[index] <= best + 1e-4


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"time must lie in \[0.1, 3000000\]"):
        module.plateau_frame(4.0, 0.0)
    with pytest.raises(ValueError, match="separation must be a finite number > 0"):
        module.plateau_frame(0.0, 1.0)
