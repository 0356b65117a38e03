"""Explorer of replay under forward KL: valid pictures whose numbers are the library's."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET

import ipywidgets
import pytest

import forgetlib as fl
from forgetlib import widgets
from forgetlib._svg import number
from forgetlib.widgets import _replay_forward_kl


def _frames(box: ipywidgets.Widget) -> list[str]:
    own = [box.value] if isinstance(box, ipywidgets.HTML) else []
    return own + [page for child in getattr(box, "children", ()) for page in _frames(child)]


def test_all_frames_are_drawn_and_different(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGETLIB_STATIC", "1")
    _replay_forward_kl._paths.cache_clear()
    begin = time.process_time()
    pages = _frames(widgets.replay_forward_kl())
    assert time.process_time() - begin < 20.0
    assert len(pages) == len(set(pages)) == 35
    assert sum(map(len, pages)) < 1.5e6
    for page in pages:
        svg = ET.fromstring(page[page.index("<svg") : page.rindex("</svg>") + 6])
        assert len(svg.attrib["aria-label"]) > 100


@pytest.mark.parametrize(("replay", "t"), [(0.0, 1000.0), (0.05, 30.0), (0.8, 1.0), (0.95, 10.0)])
def test_readout_agrees_with_the_library(replay: float, t: float) -> None:
    frame = widgets.replay_forward_kl_frame(replay, t)
    start = fl.TwoModeMixture.separated(3.0, old_weight=0.9)
    objective = fl.ForwardKL(start, replay=replay)
    weight = fl.gradient_flow(objective, start, t, train="weight").old_weight[-1]
    loss = fl.weight_divergence(3.0, 0.5, float(weight))
    shown = re.match(r"Old weight (\S+), loss (\S+) nats\. (.*)", frame.readout)
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


def test_rest_and_bad_input() -> None:
    assert "come to rest" in widgets.replay_forward_kl_frame(0.2, 1000.0).readout
    with pytest.raises(ValueError, match=r"replay must lie in \[0, 1\), got 1.0"):
        widgets.replay_forward_kl_frame(1.0, 10.0)
    with pytest.raises(ValueError, match=r"time must lie in \[0.3, 1200\]"):
        widgets.replay_forward_kl_frame(0.2, 0.0)
