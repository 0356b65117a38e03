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
    assert len(frame.svg) < 20_000
    assert not re.search(r"nan|inf\b|∞", frame.svg)
    target = fl.TwoModeMixture.separated(separation, a, dim=2)
    rate, bounds = fl.slowest_rate(target), fl.slowest_rate_bounds(target)
    low, high = (_svg.number(bound, 2) for bound in bounds)
    assert f"predicted {_svg.number(rate)} (proved: {low} to {high}), fitted" in frame.readout
    assert f"left at time {_svg.number(np.log(2) / rate, 2)}." in frame.readout
    assert frame.readout.endswith(f"(d ≥ 2): {_svg.number(fl.condition_number(target))}.")


@pytest.mark.parametrize("separation", [2.0, 4.0, 8.0])
def test_runs_follow_the_predicted_rates(separation: float) -> None:
    shown = _local_geometry._geometry(separation, 0.75)
    runs, (fitted, stderr) = _local_geometry._runs(separation, 0.75, 0)
    rate = shown.rates[0]
    assert abs(fitted - rate) < 4.5 * stderr + 0.01 * rate  # start of 0.03: not quite linear
    for each, value in zip(runs, shown.rates, strict=True):
        assert np.abs(each.mean - shown.left(value, each.t)).max() < 0.05


@pytest.mark.parametrize("separation", [0.5, 2.0, 8.0])
def test_directions_belong_to_the_rates(separation: float) -> None:
    shown = _local_geometry._geometry(separation, 0.75)
    hessian = fl.ReverseKL(shown.target).hessian(shown.target)
    for value, direction in zip(shown.rates, shown.directions.T, strict=True):
        np.testing.assert_allclose(hessian @ direction, value * direction, atol=1e-9)
    slow = fl.slowest_direction(shown.target)
    expected = np.array([slow.logit, slow.old_mean[0], slow.new_mean[0]])
    assert abs(expected @ shown.directions[:, 0]) == pytest.approx(1.0, rel=1e-6)


def test_time_undoes_the_errors_in_the_order_of_their_rates() -> None:
    """At the end nothing is left; on the way the divergence falls before the weight is right."""
    early, late = (widgets.local_geometry_frame(1.0, 0.75, t).readout for t in (0.1, 40.0))

    def drawn(readout: str) -> tuple[float, float]:
        weight, cost = re.findall(r"old weight is ([\d.]+) and the divergence (.*?) nats", readout)[
            0
        ]
        return float(weight) - 0.75, float(cost.replace(" × 10⁻⁴", "e-4"))

    (early_off, early_cost), (late_off, late_cost) = drawn(early), drawn(late)
    assert late_off > 0.5 * early_off
    assert late_cost < 0.05 * early_cost


def test_all_eigenvalues_are_shown_with_equal_weights_too() -> None:
    for a in (0.5, 0.75):
        for separation in (1.0, 8.0):
            shown = _local_geometry._geometry(separation, a)
            target = fl.TwoModeMixture.separated(separation, a, dim=2)
            expected = fl.fisher_eigenvalues(target).value
            drawn = np.sort([*shown.rates, *shown.across])
            np.testing.assert_allclose(drawn, expected, rtol=1e-9)


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
