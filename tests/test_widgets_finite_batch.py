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
    assert len(frame.svg) < 40_000
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
    paths = _finite_batch._paths(8.0, 32)
    law = np.interp(paths.score.t, _finite_batch._T, _finite_batch._noise(32)[0].rms)
    shown = (paths.score.t > 0.1) & (paths.score.t < 12.0)
    z = (paths.score.value - law)[shown] / (paths.score.stderr + 0.05 * law)[shown]
    assert np.abs(z).max() < 4.5  # 10 records, false-alarm rate 7e-5
    assert paths.pathwise.peak < 0.1 * paths.score.peak
    assert paths.weights.mean[-1] == pytest.approx(0.745, abs=0.01)


def test_explorer_has_few_frames(monkeypatch):
    monkeypatch.setenv("FORGETLIB_STATIC", "0")
    grid = []

    def capture(draw, *parameters):
        grid.extend(len(parameter.values) for parameter in parameters)
        return "explorer"

    monkeypatch.setattr(_finite_batch, "explorer", capture)
    assert widgets.finite_batch() == "explorer"
    assert np.prod(grid) <= 40


@pytest.mark.parametrize(
    ("separation", "batch_size", "message"),
    [(0.0, 8, "separation must be a finite number > 0"), (4.0, 0, "batch_size must lie in")],
)
def test_bad_arguments_are_named(separation, batch_size, message):
    with pytest.raises(ValueError, match=message):
        widgets.finite_batch_frame(separation, batch_size)
