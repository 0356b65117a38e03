"""The explorer of the chapter on overlap: sound frames, and numbers that are the library's."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

import forgetlib as fl
from forgetlib import _svg, widgets


@pytest.mark.parametrize(("separation", "weight"), [(2.0, 0.25), (12.0, 0.75)])
def test_readout_is_the_library(separation: float, weight: float) -> None:
    frame = widgets.overlap_frame(separation, weight)
    model = fl.TwoModeMixture.separated(separation, old_weight=weight)
    exact = fl.misassignment_probability(model)
    assert f"Misassigned share of the old mode: {_svg.number(exact)};" in frame.readout
    assert f"bounds {_svg.number(fl.misassignment_interval(model)[1])}" in frame.readout
    general = 0.5 * np.sqrt((1 - weight) / weight) * fl.bhattacharyya_coefficient(model)
    assert f"and {_svg.number(general)} (any densities)" in frame.readout
    random = np.random.default_rng(0)
    runs = [
        fl.estimate_misassignment(model, 1000, random, proposal=proposal)  # type: ignore[arg-type]
        for proposal in ("naive", "boundary", "secant")
    ]
    told = [_svg.estimate(run.estimate, run.stderr) for run in runs]
    assert f"naive {told[0]}, boundary {told[1]}, secant {told[2]}." in frame.readout
    assert ET.fromstring(frame.svg).get("aria-label") == frame.alt
    assert len(frame.alt) >= 40


def test_alt_text_says_whether_naive_sampling_sees_it() -> None:
    assert "within two standard errors" in widgets.overlap_frame(2.0, 0.5).alt
    assert "times too small, and its error bar does not show it" in widgets.overlap_frame(12.0).alt


def test_a_bound_beyond_the_scale_is_named() -> None:
    model = fl.TwoModeMixture.separated(14.0, old_weight=0.75)
    general = 0.5 * np.sqrt(1 / 3) * fl.bhattacharyya_coefficient(model)
    ratio = _svg.number(general / fl.misassignment_probability(model), 2)
    assert f"bound, any densities: {ratio} →" in widgets.overlap_frame(14.0, 0.75).svg
    assert "→" not in widgets.overlap_frame(12.0, 0.75).svg


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((15.0,), "separation must lie in"),
        ((0.0,), "separation must lie in"),
        ((3.0, 1.0), "old_weight must lie in"),
    ],
)
def test_mistakes_are_named(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        widgets.overlap_frame(*arguments)
