"""What every explorer owes its reader, whatever its theorem."""

from __future__ import annotations

import itertools
import re
import textwrap
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from html import unescape

import ipywidgets
import numpy as np
import pytest
from explorer_page import EXPLORERS, Page, Shipped, find, live, shipped, simulates

from forgetlib import _svg, widgets
from forgetlib.widgets import _explorer

SVG = "{http://www.w3.org/2000/svg}"
LIGHT, DARK = "#ffffff", "#121212"  # pages

# They are about estimating, not about training.
NO_TRAINING = {"calculator", "overlap"}


@pytest.fixture(scope="module", params=EXPLORERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def page(name: str) -> Page:
    return shipped(getattr(widgets, name))


def role_of(paint: str | None) -> str | None:
    """Role of a fill or a stroke; of ``none`` and of the rim of text there is none."""
    found = re.match(r"var\(--fl-(\w+),", paint or "")
    return found[1] if found else None


def groups(frame: Shipped, kind: str) -> list[ET.Element]:
    return [g for g in frame.picture.iter(f"{SVG}g") if g.get("class") == f"fl-{kind}"]


def below(frame: Shipped) -> ET.Element:
    """The picture without its upper two panels."""
    picture = frame.picture
    for group in list(picture):
        if group.get("class") in ("fl-density", "fl-credit"):
            picture.remove(group)
    return picture


def test_every_chapter_of_theory_has_one() -> None:
    assert len(EXPLORERS) == 14


# ---- as a page ---------------------------------------------------------------------------


def test_page_is_light_and_begins_with_the_right_frame(page: Page) -> None:
    assert 1 < len(page.frames) <= _explorer.MAX_FRAMES
    assert page.weight < 100_000
    assert page.start in page.frames


def test_frames_differ_and_say_what_they_show(page: Page) -> None:
    for frame in page.frames:
        assert len(frame.alt) > 100
        assert not any(node.get("id") or node.tag == f"{SVG}style" for node in frame.picture.iter())
        for words in (frame.svg, frame.readout):
            assert not re.search(r"\b(nan|inf|NaN)\b", words)
    for part in ("alt", "svg", "readout"):
        assert len({getattr(frame, part) for frame in page.frames}) == len(page.frames), part


def test_readout_has_the_values_and_the_numbers(page: Page) -> None:
    for frame in page.frames:
        values = re.findall(r"<b>(.*?)</b>", frame.readout)
        assert tuple(values) == frame.texts
        rest = frame.words.partition(". ")[2]
        assert len(re.findall(r"\d", rest)) >= 2, rest


def test_nothing_moves_from_frame_to_frame(page: Page) -> None:
    """Pictures have one size, and the page keeps room for the longest readout."""
    assert len({frame.picture.get("viewBox") for frame in page.frames}) == 1
    room = re.search(r'data-room="([^"]*)"', page.html)
    assert room is not None
    for width in (24, 40, 56):
        kept = len(textwrap.wrap(unescape(room[1]), width))
        assert kept >= max(len(textwrap.wrap(frame.words, width)) for frame in page.frames)


# ---- what is drawn -----------------------------------------------------------------------


def test_density_and_responsibilities_come_first(page: Page) -> None:
    for frame in page.frames:
        upper = list(frame.picture)[:2]
        assert [group.get("class") for group in upper] == ["fl-density", "fl-credit"]
        for group, heading in zip(upper, ("Density", "Responsibilities"), strict=True):
            titles = [t.text for t in group.iter(f"{SVG}text") if t.get("font-weight")]
            assert titles[0] is not None
            assert titles[0].startswith(heading)
            shaded = {role_of(p.get("fill")) for p in group.iter(f"{SVG}path")}
            assert {"old", "new"} <= shaded


def test_prediction_is_drawn(page: Page) -> None:
    for frame in page.frames:
        paths = list(below(frame).iter(f"{SVG}path"))
        assert "model" in {role_of(path.get("stroke")) for path in paths}


def test_ensemble_is_drawn(name: str, page: Page) -> None:
    """Runs with their spread; no training, but draws with their error, in the chapter on overlap."""
    assert simulates(name)
    if name in NO_TRAINING:
        return
    for frame in page.frames:
        runs = groups(frame, "runs")
        assert runs
        assert max(path.get("d", "").count("M") for g in runs for path in g.iter()) >= 5


def test_bound_is_drawn_and_named(page: Page) -> None:
    for frame in page.frames:
        nodes = list(below(frame).iter())
        paths = [n for n in nodes if n.tag == f"{SVG}path"]
        drawn = {role_of(path.get(paint)) for path in paths for paint in ("stroke", "fill")}
        named = {role_of(n.get("fill")) for n in nodes if n.tag == f"{SVG}text"}
        assert "bound" in drawn & named


def test_training_time_can_be_played(name: str, page: Page) -> None:
    assert ('class="fl-play"' in page.html) != (name in NO_TRAINING)


# ---- for every eye -----------------------------------------------------------------------


def test_roles_of_a_panel_differ_by_more_than_color(page: Page) -> None:
    """Lines of one dash, and areas, are told apart by words in their color, all but one."""
    for frame in page.frames:
        boxes: dict[tuple[float, ...], list[ET.Element]] = defaultdict(list)
        for clip in frame.picture.iter(f"{SVG}svg"):
            if clip.get("overflow"):
                box = tuple(float(clip.get(k, "")) for k in ("x", "y", "width", "height"))
                boxes[box].extend(clip)
        words = [
            (role_of(text.get("fill")), float(text.get("x", "")), float(text.get("y", "")))
            for text in frame.picture.iter(f"{SVG}text")
        ]
        for (x, y, width, height), paths in boxes.items():
            alike: dict[str, set[str]] = defaultdict(set)
            for path in paths:
                stroke, fill = role_of(path.get("stroke")), role_of(path.get("fill"))
                bars = path.get("stroke-width") == "1.3"  # of marks, which differ in shape
                if stroke and stroke not in ("grid", "muted") and not bars:
                    alike[f"line {path.get('stroke-dasharray')}"].add(stroke)
                if fill and path.get("fill-opacity"):
                    alike["area"].add(fill)
            named = {
                role
                for role, h, v in words
                if role and x - 5 <= h <= x + width + 5 and y - 20 <= v <= y + height
            }
            for kind, roles in alike.items():
                assert len(roles - named) <= 1, (frame.texts, kind, roles - named)


def test_marks_have_different_shapes() -> None:
    used = [role.marker for role in _svg.ROLES.values() if role.marker and role.dash != ()]
    shapes = [_svg._MARKS[marker] for marker in used]
    assert len(set(shapes)) == len(shapes)


def luminance(color: np.ndarray) -> float:
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def rgb(color: str) -> np.ndarray:
    return np.array([int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)])


def contrast(first: np.ndarray, second: np.ndarray) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast(theme: str) -> None:
    ground = rgb(LIGHT if theme == "light" else DARK)
    for role_name, role in _svg.ROLES.items():
        if role_name == "grid":
            continue
        ink = rgb(getattr(role, theme))
        assert contrast(ink, ground) >= 4.5, role_name
        if role_name in ("old", "new"):  # on their own area in the panel of responsibilities
            assert contrast(ink, 0.13 * ink + 0.87 * ground) >= 4.5, role_name


def test_words_on_areas_have_a_rim(page: Page) -> None:
    """Outside the faint panel of responsibilities, words over curves and areas are rimmed."""
    for frame in page.frames:
        picture = frame.picture
        for group in list(picture):
            if group.get("class") == "fl-credit":
                picture.remove(group)
        clips = [c for c in picture.iter(f"{SVG}svg") if c.get("overflow")]
        boxes = {tuple(float(c.get(k, "")) for k in ("x", "y", "width", "height")) for c in clips}
        for text in picture.iter(f"{SVG}text"):
            h, v = float(text.get("x", "")), float(text.get("y", ""))
            inside = any(x < h < x + w and y + 8 < v < y + height for x, y, w, height in boxes)
            assert not inside or text.get("paint-order"), (frame.texts, text.text)


# ---- with a kernel -----------------------------------------------------------------------


def test_live_moves_take_a_tenth_of_a_second(name: str) -> None:
    """Median over moves across all sliders, each to a value not seen before.

    The machine of the tests may be busy, so the shorter counts of wall clock and of this
    process's own time on all cores.
    """
    box = live(getattr(widgets, name))
    sliders = find(box, ipywidgets.FloatSlider | ipywidgets.FloatLogSlider)
    moves = []
    for share, slider in itertools.product((0.31, 0.57, 0.83), sliders):
        low, high = slider.min, slider.max
        value = low + share * (high - low)
        if isinstance(slider, ipywidgets.FloatLogSlider):
            value = 10.0**value
        begin = time.perf_counter(), time.process_time()
        slider.value = value
        moves.append(min(time.perf_counter() - begin[0], time.process_time() - begin[1]))
    assert float(np.median(moves)) <= 0.1, [f"{1e3 * move:.0f} ms" for move in moves]


def test_live_explorer_is_resampled(name: str) -> None:
    if not simulates(name):
        return
    box = live(getattr(widgets, name))
    (button,) = [b for b in find(box, ipywidgets.Button) if b.description == "resample"]
    (picture,) = find(box, ipywidgets.HTML)
    seen = {picture.value}
    for _ in range(2):
        button.click()
        seen.add(picture.value)
    assert len(seen) == 3


def test_seed_decides_the_frame(name: str) -> None:
    draw = getattr(widgets, f"{name}_frame")
    box = live(getattr(widgets, name))
    sliders = find(box, ipywidgets.FloatSlider | ipywidgets.FloatLogSlider)
    values = {slider.tooltip.replace(" ", "_"): slider.value for slider in sliders}
    assert draw(**values, rng=1).svg == draw(**values, rng=1).svg
    assert draw(**values, rng=1).svg != draw(**values, rng=2).svg
    with pytest.raises(ValueError, match="rng must be an integer >= 0, got -1"):
        draw(**values, rng=-1)
