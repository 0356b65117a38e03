"""Explorer of the finite-batch chapter: its frames and the numbers that they show."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import forgetlib as fl
from forgetlib import _svg, widgets
from forgetlib.widgets import _finite_batch


@pytest.mark.parametrize(("separation", "batch_size"), [(3.0, 2.0), (6.0, 8.0), (10.0, 64.0)])
def test_frame_is_a_picture_with_words_and_numbers(separation, batch_size):
    frame = widgets.finite_batch_frame(separation, batch_size)
    root = ET.fromstring(frame.svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == frame.alt
    assert len(frame.alt) > 40
    assert not re.search(r"nan|inf\b", frame.svg)
    law = fl.score_drift(0.75, 0.3, [1.0], learning_rate=0.05, batch_size=round(batch_size)).peak
    assert f"law without overlap {_svg.number(law, 2)}" in frame.readout
    goal = fl.TwoModeMixture.separated(separation, old_weight=0.75)
    t = np.r_[0.0, np.geomspace(0.1, 20.0, 60)]
    flow = fl.gradient_flow(fl.ReverseKL(goal), goal.replace(old_weight=0.3), t)
    overlap = np.abs(flow.old_mean).max()
    assert f"overlap alone {_svg.number(float(overlap), 2)}" in frame.readout
    assert ("batch noise weighs more" in frame.readout) == (law > overlap)


def test_frame_shows_what_the_theorem_says():
    """Far apart the score function follows its law; the pathwise gradient stays far below."""
    paths = _finite_batch._drifts(8.0, 32)
    law = np.interp(paths.score.t, _finite_batch._T, _finite_batch._noise(32)[0].rms)
    shown = (paths.score.t > 0.1) & (paths.score.t < 12.0)
    z = (paths.score.value - law)[shown] / (paths.score.stderr + 0.05 * law)[shown]
    assert np.abs(z).max() < 4.5  # 10 records, false-alarm rate 7e-5
    assert paths.pathwise.peak < 0.1 * paths.score.peak


def test_pushes_are_the_gradients_of_the_samples():
    """Their mean moves the old mean as a step of the trained model does."""
    target = fl.TwoModeMixture.separated(3.0, old_weight=0.75)
    model = target.replace(old_weight=0.4)
    y, score, pathwise = _finite_batch._pushes(model, target, 400_000, 3)
    exact = -float(fl.ReverseKL(target).gradient(model).old_mean[0])
    for pushes in (score, pathwise):
        assert (pushes.mean() - exact) / (pushes.std() / y.size**0.5) == pytest.approx(0, abs=4)
    # one sample, by hand
    r = float(model.responsibility(y[:1, None])[0])
    slope = model.logpdf(y[:1, None] + 1e-5) - target.logpdf(y[:1, None] + 1e-5)
    slope = (slope - model.logpdf(y[:1, None] - 1e-5) + target.logpdf(y[:1, None] - 1e-5)) / 2e-5
    assert pathwise[0] == pytest.approx(-r * slope[0], rel=1e-3)


def test_ceiling_of_the_law_is_one():
    law, _ = _finite_batch._noise(8)
    frame = widgets.finite_batch_frame(6.0, 8.0, 2.0)
    bound = abs(np.log(0.3 / 0.75)) * np.sqrt(0.5 * 0.05 / 8)
    assert law.rms.max() <= law.peak <= bound
    assert f"its ceiling {_svg.number(bound, 2)}" in frame.alt


@pytest.mark.parametrize(
    ("separation", "batch_size", "message"),
    [(0.0, 8, "separation must be a finite number > 0"), (4.0, 0, "batch_size must lie in")],
)
def test_bad_arguments_are_named(separation, batch_size, message):
    with pytest.raises(ValueError, match=message):
        widgets.finite_batch_frame(separation, batch_size)
