"""Explorer of replay under reverse KL: sound frames, and numbers that agree with the library."""

from __future__ import annotations

import numpy as np
import pytest

import forgetlib as fl
from forgetlib import _svg
from forgetlib.widgets import _replay_reverse_kl as module

TARGET = fl.TwoModeMixture.separated(4.0, old_weight=0.75)


@pytest.mark.parametrize(("replay", "size"), [(0.0, 4), (0.1, 16), (0.4, 64)])
def test_readout_agrees_with_the_library(replay, size):
    readout = module.replay_reverse_kl_frame(replay, size).readout
    b = 0.01
    starved = fl.starvation_probability(b, size, replay)
    assert f"a batch starves with probability {_svg.number(starved, 2)}" in readout
    model = TARGET.replace(old_weight=b)
    price = fl.variance_price(model, replay)
    assert f"{_svg.number(size * price.old_share, 2)} effective old samples" in readout
    assert f"{_svg.number(size * price.new_share, 2)} new" in readout
    alone = fl.variance_price(model, 0.0)
    assert f"(without replay {_svg.number(size * alone.old_share, 2)})" in readout
    design = fl.replay_for_starvation(b, size, 240, 0.01)
    assert f"For 1%: replay {_svg.number(design.replay, 2)}." in readout
    bound = fl.run_starvation(np.full(240, b), size, replay)
    assert f"proved at most {_svg.number(100 * bound, 2)}%" in readout
    if replay:
        assert f"to {_svg.number(fl.importance_weight_bound(replay), 3)};" in readout


def test_runs_keep_what_is_proved():
    step, weight = module._exact()
    for replay, size in [(0.0, 4), (0.1, 16), (0.7, 64)]:
        found = module._recovery(replay, size)
        assert (found.runs.low >= 0.01 * (1 - 1e-12)).all()  # sure retention
        assert (found.runs.high <= 0.75 * (1 + 1e-12)).all()
        bound = fl.run_starvation(np.full(240, 0.01), size, replay)
        assert found.starved <= bound + 4.5 * np.sqrt(bound * (1 - bound) / 64) + 1e-9
    # much replay: the runs follow the exact flow closely
    gap = found.runs.mean - np.interp(found.runs.t, step, weight)
    assert np.abs(gap).max() < 0.05
    assert found.half[2] - found.half[0] < 10
    assert module._recovery(0.0, 16).half[2] - module._recovery(0.0, 16).half[0] > 20


def test_chance_of_a_starved_batch_so_far():
    for replay, size in [(0.0, 16), (0.1, 16), (0.4, 32)]:
        flow, bound = module._starved(replay, size)
        _, weight = module._exact()
        assert flow[-1] == pytest.approx(fl.run_starvation(weight[:-1], size, replay), rel=1e-9)
        worst = fl.run_starvation(np.full(240, 0.01), size, replay)
        assert bound[-1] == pytest.approx(worst, rel=1e-9)
        assert flow[0] == bound[0] == 0.0
        assert (flow <= bound * (1 + 1e-12) + 1e-15).all()


def test_the_step_moves_the_model():
    _, weight = module._exact()
    for at in (0, 97, 240):
        readout = module.replay_reverse_kl_frame(0.1, 16, at).readout
        assert f"At b = {_svg.number(float(weight[at]), 2)}:" in readout
    with pytest.raises(ValueError, match=r"step must lie in \[0, 240\]"):
        module.replay_reverse_kl_frame(0.1, 16, 241)


def test_a_live_slider_may_give_any_number():
    frame = module.replay_reverse_kl_frame(0.123, 16.4)
    assert frame.readout == module.replay_reverse_kl_frame(0.123, 16).readout


@pytest.mark.parametrize(
    ("replay", "size", "message"),
    [
        (0.71, 16, r"replay must lie in \[0, 0.7\]"),
        (0.1, 0.5, r"batch_size must lie in \[1, 128\]"),
    ],
)
def test_mistakes_are_named(replay, size, message):
    with pytest.raises(ValueError, match=message):
        module.replay_reverse_kl_frame(replay, size)
