"""The explorer of the abstraction chapter: valid pictures whose numbers are the library's."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from scipy.integrate import quad

import forgetlib as fl
from forgetlib import toy, widgets
from forgetlib.widgets import _abstraction


@pytest.mark.parametrize(
    ("slow", "beta", "time"), [(0.005, 0.1, 0.3), (0.005, 4.0, 1.5), (1.0, 0.1, 40.0)]
)
def test_frames_are_pictures_with_alt_text_and_true_numbers(
    slow: float, beta: float, time: float
) -> None:
    frame = widgets.abstraction_frame(slow, beta, time)
    root = ET.fromstring(frame.svg)
    assert root.get("aria-label") == frame.alt
    assert len(frame.alt) > 100
    assert " id=" not in frame.svg
    assert "nan" not in frame.svg.lower()
    told = [float(x) for x in re.findall(r"covers ([\d.]+) of the old mode and", frame.readout)]
    for rule, shown in zip(("forward", "reverse"), told, strict=True):
        rate = {"forward": 0.15, "reverse": 0.1}[rule]
        run = toy.train_toy(
            rule,  # type: ignore[arg-type]
            toy.START,
            toy.TARGET,
            learning_rate=rate,
            steps=round(time / rate),
            batch_size=200,
            slow=slow,
            beta=beta,
            replicates=8,
            rng=0,
        )
        score = float(toy.overlap_score(run.policy[0, -1], toy.TARGET))
        assert shown == pytest.approx(score, abs=0.00501)
    assert f"asks for a new weight of {fl.plot.number(1 / beta, 2)}." in frame.readout


@pytest.mark.parametrize("slow", [0.005, 0.1, 1.0])
@pytest.mark.parametrize("beta", [0.05, 0.1, 0.7, 1.0, 2.0, 4.0])
def test_bounds_hold_the_closed_form(slow: float, beta: float) -> None:
    t, floor, ceiling = _abstraction._bounds(slow, beta)
    path = fl.separated_toy("reverse", toy.START, toy.TARGET, t, slow=slow, beta=beta)
    assert (floor <= path.old_weight + 2e-3).all()  # a pixel is 0.006
    assert (path.old_weight <= ceiling + 2e-3).all()


@pytest.mark.parametrize("slow", [0.005, 0.1])
def test_bounds_end_where_the_theorem_empties_the_old_mode(slow: float) -> None:
    t, floor, ceiling = _abstraction._bounds(slow, 0.1)
    earliest = quad(lambda v: v / math.log(10 / v), 0.25, 1)[0] / slow
    latest = (1 - 0.25**2 + 2 * slow * 9 / 4) / (2 * slow * math.log(10))
    for curve, end in ((floor, earliest), (ceiling, latest)):
        assert (curve[t < 0.97 * end] > 0.0).all()
        assert (np.abs(curve[t > 1.03 * end]) < 1e-3).all()


def test_runs_follow_the_closed_form_where_the_old_mode_is_slow() -> None:
    for rule, beta in (("forward", 1.0), ("reverse", 0.1), ("reverse", 4.0)):
        shown = _abstraction._rule(rule, 0.005, beta, 0)  # type: ignore[arg-type]
        closed = np.interp(np.log(shown.runs.t), np.log(shown.t), shown.closed)
        assert (
            np.abs(shown.runs.mean - closed)[shown.runs.t > 1.0].max() < 0.06
        )  # rare samples kick


def test_a_run_that_never_gains_so_much_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for cached in (_abstraction._run, _abstraction._rule):
        cached.cache_clear()
    monkeypatch.setitem(_abstraction._SPAN, "reverse", 0.5)
    frame = widgets.abstraction_frame(0.02, 0.1, 0.3)
    assert "reverse never" in frame.readout
    assert "inf" not in frame.svg + frame.readout
    for cached in (_abstraction._run, _abstraction._rule):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2.0, 0.1, 1.0), r"slow_factor must lie in \[0.001, 1\], got 2.0"),
        ((0.1, 5.0, 1.0), r"constant must lie in \[0.05, 4\], got 5.0"),
        ((0.1, 0.1, 0.0), r"time must lie in \[0.15, 40\], got 0.0"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        widgets.abstraction_frame(*arguments)
