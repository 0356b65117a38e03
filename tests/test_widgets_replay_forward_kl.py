"""Explorer of replay under forward KL: valid pictures whose numbers are the library's."""

from __future__ import annotations

import re

import numpy as np
import pytest

import forgetlib as fl
from forgetlib import widgets
from forgetlib._svg import number
from forgetlib.widgets import _replay_forward_kl as module


@pytest.mark.parametrize(("replay", "t"), [(0.0, 1000.0), (0.05, 30.0), (0.8, 1.0), (0.95, 10.0)])
def test_readout_agrees_with_the_library(replay: float, t: float) -> None:
    frame = widgets.replay_forward_kl_frame(replay, t)
    start = fl.TwoModeMixture.separated(3.0, old_weight=0.9)
    objective = fl.ForwardKL(start, replay=replay)
    weight = fl.gradient_flow(objective, start, t, train="weight").old_weight[-1]
    loss = fl.weight_divergence(3.0, 0.5, float(weight))
    shown = re.match(r"Old weight (\S+), loss (\S+) nats\. ([^.]*(?:\.\d[^.]*)*\.)", frame.readout)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(weight, rel=0.05)
    assert float(shown[2]) == pytest.approx(loss, rel=0.05)
    if replay == 0.95:
        assert "pushes the weight up" in shown[3]
        assert number(replay / weight - 1.0, 2) in shown[3]
    elif replay:
        assert number(100 * replay / weight, 2) + "%" in shown[3]
    else:
        assert shown[3] == "There is no replay."
    assert ("falls toward zero" in frame.alt) == (replay == 0.0)


@pytest.mark.parametrize("separation", [1.5, 3.0, 4.0])
@pytest.mark.parametrize("replay", [0.0, 0.05, 0.5, 0.9, 0.97])
def test_bounds_hold_the_flow(separation: float, replay: float) -> None:
    t, weight = module._exact(separation, replay)
    low, high = module._bounds(separation, replay, t)
    assert (low <= weight * (1 + 2e-4)).all()
    assert (weight <= high * (1 + 2e-4)).all()
    if separation == 4.0 and 0.0 < replay < 0.9:  # little overlap: nearly the fastest
        assert np.abs(weight - low).max() < 0.05


def test_ceiling_of_the_loss() -> None:
    weight = np.array([0.02, 0.3, 0.5, 0.9])
    exact = [fl.weight_divergence(np.inf, 0.5, w) for w in weight.tolist()]
    assert module._ceiling(weight) == pytest.approx(exact, abs=1e-12)
    assert (module._loss(2.0, weight) <= module._ceiling(weight) + 1e-4).all()


def test_what_is_left_to_learn_is_never_negative() -> None:
    """The data less the model's own part is a share of one mode."""
    for weight, replay in [(0.8, 0.2), (0.1, 0.5)]:
        model = fl.TwoModeMixture.separated(3.0, old_weight=weight)
        y = np.linspace(-4, 8, 50)
        own = min(replay / weight, (1 - replay) / (1 - weight)) * model.pdf(y[:, None])
        rest = model.replace(old_weight=replay).pdf(y[:, None]) - own
        mode = model.replace(old_weight=1e-12 if weight > replay else 1 - 1e-12)
        share = 1 - replay / weight if weight > replay else (replay - weight) / (1 - weight)
        assert rest == pytest.approx(share * mode.pdf(y[:, None]), abs=1e-9)


def test_rest_and_bad_input() -> None:
    assert "come to rest" in widgets.replay_forward_kl_frame(0.2, 1000.0).readout
    with pytest.raises(ValueError, match=r"replay must lie in \[0, 1\), got 1.0"):
        widgets.replay_forward_kl_frame(1.0, 10.0)
    with pytest.raises(ValueError, match=r"time must lie in \[0.3, 1200\]"):
        widgets.replay_forward_kl_frame(0.2, 0.0)
