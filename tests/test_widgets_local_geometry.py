"""Explorer of local geometry: its frames and the numbers that they show."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import forgetlib as fl
from forgetlib import _svg, widgets
from forgetlib.widgets import _local_geometry


@pytest.mark.parametrize(("separation", "a"), [(1.0, 0.25), (3.0, 0.5), (8.0, 0.97), (0.5, 0.02)])
def test_frame_is_a_picture_with_words_and_numbers(separation: float, a: float) -> None:
    frame = widgets.local_geometry_frame(separation, a)
    root = ET.fromstring(frame.svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == frame.alt
    assert len(frame.alt) > 40
    assert len(frame.svg) < 15_000
    assert not re.search(r"nan|inf\b|∞", frame.svg)
    target = fl.TwoModeMixture.separated(separation, a, dim=2)
    rate, slow = fl.slowest_rate(target), fl.slowest_direction(target)
    assert f"predicted {_svg.number(rate)}, fitted" in frame.readout
    assert f"left at time {_svg.number(np.log(2) / rate, 2)}." in frame.readout
    assert f"(d ≥ 2): {_svg.number(fl.condition_number(target))};" in frame.readout
    assert f"new mean {_svg.number(float(slow.new_mean[0]), 2)}." in frame.readout


@pytest.mark.parametrize("separation", [2.0, 4.0, 8.0])
def test_runs_follow_the_predicted_rate(separation: float) -> None:
    shown = _local_geometry._geometry(separation, 0.75)
    rate, (fitted, stderr) = shown.rates[0], shown.fitted
    assert abs(fitted - rate) < 4.5 * stderr + 0.01 * rate  # start of 0.03: not quite linear
    assert np.abs(shown.runs.mean - np.exp(-rate * shown.runs.t)).max() < 0.03


def test_all_eigenvalues_are_shown_with_equal_weights_too() -> None:
    for a in (0.5, 0.75):
        for separation in (1.0, 8.0):
            shown = _local_geometry._geometry(separation, a)
            target = fl.TwoModeMixture.separated(separation, a, dim=2)
            assert shown.rates.size == 5
            expected = fl.fisher_eigenvalues(target).value
            np.testing.assert_allclose(np.sort(shown.rates), expected, rtol=1e-9)


def test_explorer_has_few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    grid: list[int] = []

    def capture(draw: object, *parameters: widgets.Parameter) -> str:
        grid.extend(len(parameter.values) for parameter in parameters)
        return "explorer"

    monkeypatch.setattr(_local_geometry, "explorer", capture)
    assert widgets.local_geometry() == "explorer"
    assert np.prod(grid) <= 40


@pytest.mark.parametrize(
    ("separation", "a", "message"),
    [
        (0.1, 0.5, r"separation must lie in \[0.5, 10\], got 0.1"),
        (11.0, 0.5, "separation must lie in"),
        (3.0, 1.0, r"old_weight must lie in \[0.02, 0.98\], got 1.0"),
        (3.0, float("nan"), "old_weight must lie in"),
    ],
)
def test_bad_input(separation: float, a: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        widgets.local_geometry_frame(separation, a)
