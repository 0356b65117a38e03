"""Explorer of OAPL: sound frames, and numbers that agree with the library."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

import forgetlib as fl
from forgetlib import _svg
from forgetlib.widgets import _oapl as module

START = fl.TwoModeMixture.separated(6.0, old_weight=0.8)


@pytest.mark.parametrize(("every", "tilt"), [(1, 0.25), (16, 1.0), (256, 2.0)])
def test_readout_agrees_with_the_library(every, tilt):
    readout = module.oapl_frame(every, tilt, 200).readout
    plain = fl.OAPL(START, tilt, 1.0, every)
    finished = float(plain.old_weight_after(256 // every))
    assert f"the exact value, {_svg.number(finished, 2)}." in readout
    assert f"after {plain.rounds_until(0.4)} finished round" in readout
    floor = 1.0 / (1.0 + 0.25 + 2.0 * np.expm1(tilt) * 64.0)
    assert f"Floor for any schedule: {_svg.number(floor, 2)}." in readout
    model, lagged = module._exact(every, tilt)
    aim = fl.OAPL(START.replace(old_weight=expit(lagged[200])), tilt, 1.0, every)
    target = float(aim.old_weight_after(1))
    assert readout.startswith(f"Old weight {_svg.number(float(expit(model[200])), 3)} now")
    assert f"target of the round {_svg.number(target, 3)}." in readout


def test_exact_steps_follow_the_flow_and_the_runs_follow_them():
    """Sixty-four runs, twelve comparisons at 4.5 standard errors and a bias of the noise."""
    for every, tilt in [(4, 0.5), (16, 1.0), (64, 2.0)]:
        model, lagged = module._exact(every, tilt)
        group = fl.OAPL(START, tilt, 1.0, every, group_size=8)
        syncs = group.synced_logits(256 // every, 0.25)
        assert np.abs(model[::every] - syncs).max() < 0.15  # steps of 0.25 are not a flow
        np.testing.assert_array_equal(lagged[every::every], model[every::every])
        assert (model >= -np.log(0.25 + 2 * np.expm1(tilt) * 0.25 * np.arange(257.0))).all()
        runs = module._training(every, tilt, 0)
        steps = runs.t.astype(int)
        error = np.abs(runs.mean - expit(model[steps]))
        assert (error < 4.5 * runs.stderr + 0.01).all()


def test_a_live_slider_may_give_any_number():
    frame = module.oapl_frame(10.3, 0.7, 31.6)
    assert frame.readout == module.oapl_frame(10, 0.7, 32).readout
    assert module.oapl_frame(7, 0.0, 5).readout.count("never") == 1


@pytest.mark.parametrize(
    ("every", "tilt", "step", "message"),
    [
        (0.4, 1.0, 1, r"sync_every must lie in \[1, 256\]"),
        (10, 3.5, 1, r"tilt must lie in \[0, 3\]"),
        (10, -0.5, 1, r"tilt must lie in \[0, 3\]"),
        (10, 0.5, 300, r"step must lie in \[0, 256\]"),
    ],
)
def test_mistakes_are_named(every, tilt, step, message):
    with pytest.raises(ValueError, match=message):
        module.oapl_frame(every, tilt, step)
