"""The explorer of the abstraction chapter: valid pictures whose numbers are the library's."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import ipywidgets
import pytest

from forgetlib import toy, widgets
from forgetlib.widgets import _abstraction


@pytest.mark.parametrize(("slow", "step"), [(0.005, 10), (0.005, 125), (1.0, 4000), (0.1, 61.4)])
def test_frames_are_pictures_with_alt_text_and_true_numbers(slow: float, step: float) -> None:
    frame = widgets.abstraction_frame(slow_factor=slow, updates=step)
    root = ET.fromstring(frame.svg)
    assert root.get("aria-label") == frame.alt
    assert len(frame.alt) > 100
    assert " id=" not in frame.svg
    assert "nan" not in frame.svg.lower()
    told = [float(x) for x in re.findall(r"covers ([\d.]+) of the old mode and", frame.readout)]
    for rule, shown in zip(("forward", "reverse"), told, strict=True):
        run = toy.train_toy(
            rule,  # type: ignore[arg-type]
            toy.START,
            toy.TARGET,
            learning_rate={"forward": 0.15, "reverse": 0.01}[rule],
            steps=round(step),
            batch_size=250,
            slow=slow,
        )
        score = float(toy.overlap_score(run.policy[0, -1], toy.TARGET))
        assert shown == pytest.approx(score, abs=0.00501)


def test_a_run_that_never_gains_so_much_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _abstraction._run.cache_clear()
    _abstraction._scores.cache_clear()
    monkeypatch.setitem(_abstraction._RATES, "reverse", 1e-5)
    frame = widgets.abstraction_frame(slow_factor=0.02, updates=60)
    assert "reverse rule does not reach gain 0.9" in frame.alt
    assert "-1" not in frame.alt
    _abstraction._run.cache_clear()
    _abstraction._scores.cache_clear()


def test_forty_frames_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETLIB_STATIC", "1")
    monkeypatch.setattr(
        _abstraction,
        "abstraction_frame",
        lambda slow_factor, updates: widgets.Frame("<svg/>", "a", "b"),
    )
    outer = next(w for w in _inside(widgets.abstraction()) if isinstance(w, ipywidgets.Stack))
    counts = [len(inner.children) for inner in outer.children]
    assert len(counts) >= 2
    assert sum(counts) <= 40


def _inside(widget: Any) -> Iterator[Any]:
    """The widget and everything in it, from the outside in."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _inside(child)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slow_factor": 2.0, "updates": 10}, r"slow_factor must lie in \[0.001, 1\], got 2.0"),
        ({"slow_factor": 0.1, "updates": 0}, r"updates must lie in \[1, 4000\], got 0"),
    ],
)
def test_bad_input_is_one_clear_error(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        widgets.abstraction_frame(**arguments)
