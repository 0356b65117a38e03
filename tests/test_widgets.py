"""Explorers: frames on a page and with a kernel, and the numbers that two of them show."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import ipywidgets
import numpy as np
import pytest
from explorer_page import find, read

import forgetlib as fl
from forgetlib import _svg, widgets
from forgetlib.widgets import _explorer, _forward_kl, _reverse_kl


def draw(height, tilt=1.0):
    canvas = _svg.Canvas(100, 50)
    canvas.text(1, height, f"{height} and {tilt}")
    alt = f"height {height}, tilt {tilt}"
    return widgets.Frame(canvas.render(alt), alt, f"sum {height + tilt:g}")


def draw_with_seed(height, rng):
    return draw(height, rng)


HEIGHT = widgets.Parameter("height", "height $h < 5$ cm", (1, 2, 4), start=1, play=True)
TILT = widgets.Parameter("tilt_angle", "tilt & more", (0.1, 10.0), log=True)


def tilted(height, tilt_angle):
    return draw(height, tilt_angle)


@pytest.fixture
def static(monkeypatch):
    monkeypatch.setenv("FORGETLIB_STATIC", "1")


@pytest.fixture
def live(monkeypatch):
    monkeypatch.setenv("FORGETLIB_STATIC", "0")


# ---- any explorer, on a page -------------------------------------------------------------


@pytest.mark.usefixtures("static")
def test_static_explorer_holds_every_frame():
    page = read(widgets.explorer(tilted, HEIGHT, TILT).html)
    expected = [tilted(height, tilt) for height in HEIGHT.values for tilt in TILT.values]
    assert [frame.svg for frame in page.frames] == [frame.svg for frame in expected]
    assert page.frames[3].words == "Height 2, tilt angle 10. sum 12"
    assert page.frames[3].texts == ("2", "10")
    assert page.start == page.frames[2]


@pytest.mark.usefixtures("static")
def test_static_explorer_takes_one_to_three_parameters():
    one = read(widgets.explorer(lambda height: draw(height), HEIGHT)._repr_html_())
    assert [frame.alt for frame in one.frames] == [
        "height 1.0, tilt 1.0",
        "height 2.0, tilt 1.0",
        "height 4.0, tilt 1.0",
    ]
    third = widgets.Parameter("shift", "shift", (0, 5), start=1)
    three = read(
        widgets.explorer(
            lambda height, tilt_angle, shift: draw(height + shift, tilt_angle), HEIGHT, TILT, third
        ).html
    )
    assert len(three.frames) == 12
    assert three.start.alt == "height 7.0, tilt 0.1"


@pytest.mark.usefixtures("static")
def test_static_controls_are_plain_html():
    """Sliders inside their labels, with values in words; Play where it was asked for."""
    html = widgets.explorer(tilted, HEIGHT, TILT).html
    root = ET.fromstring(
        re.sub("<script.*?</script>", "", html).replace('autocomplete="off">', "/>")
    )
    labels = list(root.iter("label"))
    names = [" ".join("".join(label.itertext()).split()) for label in labels]
    assert names == ["height h < 5 cm", "tilt & more"]
    (tex,) = [span for span in root.iter("span") if span.get("class") == "fl-math"]
    assert tex.get("data-tex") == "h < 5"
    sliders = [label.find("input") for label in labels]
    assert [(s.get("max"), s.get("value"), s.get("aria-valuetext")) for s in sliders] == [
        ("2", "1", "2"),
        ("1", "0", "0.1"),
    ]
    (button,) = root.iter("button")
    words = [span.text for span in button.iter("span")]
    assert words == ["Play", "Next", " height"]
    (spoken,) = [node for node in root.iter() if node.get("aria-live")]
    assert spoken.get("aria-live") == "polite"
    assert "".join(spoken.itertext()) == "Height 2, tilt angle 0.1. sum 2.1"


@pytest.mark.usefixtures("static")
def test_static_explorer_survives_any_text():
    def odd(height):
        alt = 'a "quoted" </script> & <b>'
        return widgets.Frame(_svg.Canvas(9, 9).render(alt), alt, f"{height} < 5 & </script>")

    html = widgets.explorer(odd, HEIGHT).html
    assert html.count("</script>") == 1
    page = read(html)
    assert page.frames[0].alt == 'a "quoted" </script> & <b>'
    assert page.frames[0].words == "Height 1. 1.0 < 5 & </script>"


@pytest.mark.usefixtures("static")
def test_static_frames_have_seed_zero():
    page = read(widgets.explorer(draw_with_seed, HEIGHT).html)
    assert [frame.alt for frame in page.frames] == [f"height {h}, tilt 0" for h in HEIGHT.values]


def test_shared_pieces_are_shipped_once():
    """A hundred pictures that differ in one number are not ten times as long as one."""

    def same(height):
        canvas = _svg.Canvas(360, 400)
        for k in range(100):
            canvas.text(k, k, f"a word that never changes, number {k}")
        canvas.text(0, 0, f"{height}")
        return widgets.Frame(canvas.render("same"), "same", f"{height}")

    page = _explorer._static(same, (widgets.Parameter("height", "height", range(100)),))
    assert len(page.html) < 10 * len(same(0).svg)


# ---- any explorer, with a kernel ---------------------------------------------------------


@pytest.mark.usefixtures("live")
def test_live_explorer_computes_any_value():
    box = widgets.explorer(tilted, HEIGHT, TILT)
    (height,) = find(box, ipywidgets.FloatSlider)
    (tilt,) = find(box, ipywidgets.FloatLogSlider)
    (picture,) = find(box, ipywidgets.HTML)
    assert height.continuous_update
    assert tilt.continuous_update
    assert "sum 2.1" in picture.value
    height.value = 3.25
    assert "sum 3.35" in picture.value
    tilt.value = 1.0
    assert 'aria-label="height 3.25, tilt 1.0"' in picture.value
    (play,) = find(box, ipywidgets.Play)
    play.value = 2
    assert height.value == 4.0
    assert "sum 5" in picture.value


@pytest.mark.usefixtures("live")
def test_live_sliders_are_named_and_numbers_are_announced():
    box = widgets.explorer(tilted, HEIGHT, TILT)
    sliders = find(box, ipywidgets.FloatSlider | ipywidgets.FloatLogSlider)
    assert [slider.tooltip for slider in sliders] == ["height", "tilt angle"]
    assert [slider.description for slider in sliders] == [HEIGHT.label, TILT.label]
    (picture,) = find(box, ipywidgets.HTML)
    assert 'aria-live="polite"' in picture.value
    assert "Height <b>2</b>, tilt angle <b>0.1</b>. sum 2.1" in picture.value


@pytest.mark.usefixtures("live")
def test_resample_draws_with_the_next_seed():
    box = widgets.explorer(draw_with_seed, HEIGHT)
    (button,) = find(box, ipywidgets.Button)
    (picture,) = find(box, ipywidgets.HTML)
    assert button.description == "resample"
    assert "tilt 0" in picture.value
    button.click()
    assert "tilt 1" in picture.value
    find(box, ipywidgets.FloatSlider)[0].value = 3.0
    assert "height 3.0, tilt 1" in picture.value
    assert find(widgets.explorer(tilted, HEIGHT, TILT), ipywidgets.Button) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.0, "3"), (2.5, "2.5"), (100.0, "100"), (1e4, "10⁴"), (20.0, "20"), (3.333, "3.33")],
)
def test_values_are_written_without_idle_zeros(value, text):
    assert _explorer.value_text(value) == text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: widgets.explorer(draw), "parameters must be one to three, got 0"),
        (lambda: widgets.explorer(draw, HEIGHT, HEIGHT), "different names"),
        (
            lambda: widgets.explorer(draw, widgets.Parameter("height", "h", range(121))),
            "at most 120 frames, got 121",
        ),
        (lambda: widgets.Parameter("a b", "x", (1, 2)), "name must be a Python identifier"),
        (lambda: widgets.Parameter("a", "x", (1,)), "two or more increasing"),
        (lambda: widgets.Parameter("a", "x", (2, 1)), "two or more increasing"),
        (lambda: widgets.Parameter("a", "x", (1, np.inf)), "two or more increasing"),
        (lambda: widgets.Parameter("a", "x", (0, 1), log=True), "> 0 on a logarithmic"),
        (lambda: widgets.Parameter("a", "x", (0, 1), start=2), "start must lie in"),
        (lambda: widgets.forward_kl_frame(3.0, 0.0), "time must lie in"),
        (lambda: widgets.forward_kl_frame(-1.0, 1.0), "separation must be"),
        (lambda: widgets.forward_kl_frame(3.0, 1.0, 1.0), "start_weight must"),
        (lambda: widgets.reverse_kl_frame(3.0, 101.0), "time must lie in"),
        (lambda: widgets.reverse_kl_frame(3.0, 1.0, 1.0), "old_weight must"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw_frame", "values"),
    [(widgets.forward_kl_frame, (2.0, 1.0)), (widgets.reverse_kl_frame, (6.0, 100.0))],
)
def test_a_frame_is_a_still_picture(draw_frame, values):
    frame = draw_frame(*values)
    assert frame._repr_mimebundle_() == {"image/svg+xml": frame.svg}
    assert ET.fromstring(frame.svg).get("aria-label") == frame.alt


@pytest.mark.parametrize("separation", [2.0, 4.0])
def test_pictures_have_the_colors_of_roles_only(separation):
    svg = widgets.forward_kl_frame(separation, 10.0).svg
    colors = re.findall(r"(?:fill|stroke)=\"([^\"]*)\"", svg)
    allowed = {_svg.variable(role) for role in _svg.ROLES}
    assert set(colors) <= allowed | {"none", "var(--jp-layout-color1,transparent)"}


def test_forward_frame_shows_the_exact_flow():
    when = fl.forgetting_time(4.0, 0.9, 0.01)
    frame = widgets.forward_kl_frame(4.0, when)
    assert "Old weight 0.010," in frame.readout
    model = fl.TwoModeMixture.separated(4.0, old_weight=0.01)
    credit = fl.misassignment_probability(model, "new")
    assert f"credited to the old mode: {_svg.number(credit, 2)}" in frame.readout
    assert f"{_svg.number(100 * (1 - credit / 0.01), 2)}% less than its weight" in frame.readout
    step = 1e-3
    exponent = np.diff(
        np.log([fl.forgetting_time(4.0, 0.9, 0.01 * np.exp(s)) for s in (step, -step)])
    )
    assert f"to the power {_svg.number(-2 * step / float(exponent[0]), 2)}." in frame.readout


@pytest.mark.parametrize("separation", [2.0, 3.0, 4.0])
@pytest.mark.parametrize("start_weight", [0.5, 0.9, 0.99])
def test_forward_flow_lies_between_floor_and_ceiling(separation, start_weight):
    paths = _forward_kl._forward(separation, start_weight)
    t = np.geomspace(0.3, 1e15, 300)
    floor, ceiling = _forward_kl._forward_bounds(paths, separation, start_weight, t)
    weight = paths.old_weight(t)
    assert (floor <= weight * (1 + 1e-3)).all()  # interpolated between 190 exact times
    assert (weight <= ceiling * (1 + 1e-3)).all()
    assert floor[-1] > 0.7 * weight[-1]  # and it is nearly reached in the end


def test_forward_runs_follow_the_flow():
    # the means of 64 runs at 13 times; the finite step adds a bias of a few per cent
    paths = _forward_kl._forward(3.0, 0.9)
    early = paths.runs.t < 100
    gap = paths.runs.mean / paths.old_weight(paths.runs.t) - 1.0
    assert np.abs(gap[early]).max() < 0.15
    assert (paths.runs.stderr > 0).all()


def test_reverse_frame_shows_the_exact_flow():
    target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    start = target.replace(old_weight=0.1, new_mean=[5.0])
    path = fl.gradient_flow(fl.ReverseKL(target), start, 5.0)
    readout = widgets.reverse_kl_frame(4.0, 5.0).readout
    assert f"All trained: old weight {_svg.number(path.old_weight[-1], 2)}, old mean" in readout
    alone = fl.gradient_flow(fl.ReverseKL(target), target.replace(old_weight=0.1), 5.0, "weight")
    expected = f"Means fixed: old weight {_svg.number(alone.old_weight[-1], 2)} (target 0.75)"
    assert expected in readout
    assert f"old mean off by {_svg.number(abs(path.old_mean[-1, 0]), 2)}" in readout
    missed = fl.misassignment_probability(path.model())
    assert f"and {_svg.number(missed, 2)} of the old samples" in readout


@pytest.mark.parametrize("start_weight", [0.1, 0.95])
def test_reverse_runs_stay_above_the_floor_and_follow_the_flow(start_weight):
    paths = _reverse_kl._reverse(4.0, 0.75, start_weight)
    assert (paths.weights.low >= min(start_weight, 0.75) * (1 - 1e-12)).all()
    flow = np.interp(paths.weights.t, paths.fixed.t, paths.fixed.old_weight)
    assert np.abs(paths.weights.mean - flow).max() < 0.06  # the finite step costs some
    drift = np.abs(paths.joint.old_mean[:, 0])
    assert drift.max() < paths.bound


def test_too_close_modes_have_no_bound_and_say_so():
    frame = widgets.reverse_kl_frame(2.0, 5.0)
    assert "too close" in frame.svg
    assert "too close" in frame.alt
