"""Figures: the house style, its verbs, and what the SVG may and may not contain."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import forgetlib as fl
from forgetlib import _svg, plot


@pytest.fixture
def axes():
    return plot.figure()


# ---- numbers and labels ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.019302, 3, "0.0193"),
        (1.93e-7, 3, "1.93 × 10⁻⁷"),
        (-1.93e-7, 2, "−1.9 × 10⁻⁷"),
        (0.00099996, 3, "0.00100"),
        (12345.6, 3, "12,300"),
        (1234567.0, 3, "1.23 × 10⁶"),
        (2000, 3, "2,000"),
        (-7, 3, "−7"),
        (0.0, 3, "0"),
        (float("inf"), 3, "∞"),
        (float("nan"), 3, "NaN"),
        (9.996, 3, "10.0"),
    ],
)
def test_number(value, digits, text):
    assert plot.number(value, digits) == text


def read(text: str) -> float:
    """Inverse of number."""
    plain = text.replace("−", "-").replace(",", "")
    mantissa, _, power = plain.partition(" × 10")
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    return float(f"{mantissa}e{power.translate(digits) or 0}")


@settings(deadline=None)
@given(
    st.floats(1e-300, 1e300).flatmap(lambda x: st.sampled_from([x, -x])),
    st.integers(1, 9),
)
def test_number_is_right_to_its_digits(value, digits):
    assert read(plot.number(value, digits)) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (0.0192, 0.00021, "0.01920 ± 0.00021"),
        (0.001183, 0.0000421, "0.001183 ± 0.000042"),
        (1.183e-5, 4.2e-7, "(1.183 ± 0.042) × 10⁻⁵"),
        (-3.14159, 0.021, "−3.142 ± 0.021"),
        (0.0, 0.013, "0.000 ± 0.013"),
        (1e-9, 0.01, "0.000 ± 0.010"),
        (123456.0, 7890.0, "(1.235 ± 0.079) × 10⁵"),
        (0.25, 0.0, "0.250 ± 0"),
    ],
)
def test_estimate(value, stderr, text):
    assert plot.estimate(value, stderr) == text


@pytest.mark.parametrize("stderr", [-1.0, float("nan"), float("inf")])
def test_estimate_refuses_a_bad_error(stderr):
    with pytest.raises(ValueError, match="stderr must be finite and >= 0"):
        plot.estimate(1.0, stderr)


def test_number_refuses_zero_digits():
    with pytest.raises(ValueError, match="digits must be >= 1"):
        plot.number(1.0, 0)


@settings(deadline=None)
@given(st.lists(st.floats(0, 200), min_size=1, max_size=8))
def test_spread_labels_do_not_touch_and_keep_their_order(wishes):
    placed = _svg.spread(wishes, 12.0, 0.0, 200.0)
    order = sorted(range(len(wishes)), key=lambda k: wishes[k])
    ordered = [placed[k] for k in order]
    assert all(b - a >= 12.0 - 1e-9 for a, b in itertools.pairwise(ordered))
    assert min(placed) >= -1e-9
    assert max(placed) <= 200.0 + 1e-9


def test_spread_leaves_distant_labels_alone():
    assert _svg.spread([150.0, 20.0, 80.0], 12.0, 0.0, 200.0) == [150.0, 20.0, 80.0]
    assert _svg.spread([100.0, 100.0], 12.0, 0.0, 200.0) == [94.0, 106.0]


# ---- figures ---------------------------------------------------------------------------


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()).strip() for node in ET.fromstring(svg).iter(f"{NS}text")]


NS = "{http://www.w3.org/2000/svg}"


def full_figure():
    fig, (top, bottom) = plot.figure(2, 1, height=5.0)
    model = fl.TwoModeMixture.separated(4.0, old_weight=0.75, dim=2)
    plot.density(top, model, data=model.replace(old_weight=0.5))
    t = np.geomspace(0.1, 1e4, 60)
    plot.log_axes(bottom)
    plot.curve(bottom, t, 1.0 / (1.0 + t), role="model", label="predicted")
    plot.curve(bottom, t, 1.1 / (1.0 + t), role="bound", label="bound")
    plot.curve(bottom, t, 5.0 / (1.0 + t), role="muted", label="beside", at=10.0)
    rng = np.random.default_rng(7)
    samples = 1.0 / (1.0 + t) * np.exp(0.2 * rng.normal(size=(40, t.size)))
    plot.ensemble(bottom, t, samples, role="old", label="runs", band=(0.1, 0.9))
    bottom.set(xlabel="training time t", ylabel="old weight b", title="Forgetting")
    return fig


def test_picture_is_the_same_in_every_run_and_follows_the_page():
    svg = plot.show(full_figure()).svg
    assert svg == plot.show(full_figure()).svg
    ET.fromstring(svg)
    for role in ("old", "new", "model", "data", "bound", "ink", "muted", "grid"):
        assert f"var(--fl-{role},{_svg.ROLES[role].light})" in svg
    # no colour that the page could not change, no paper, no date, no rule for other pictures
    assert not re.findall(r"(?<!,)#[0-9a-fA-F]{6}", svg)
    assert "#ffffff" not in svg.lower()
    assert "<metadata" not in svg
    assert "<style" not in svg


def test_picture_is_small_and_its_text_is_text():
    svg = plot.show(full_figure()).svg
    assert len(svg) < 60_000
    assert {"predicted", "bound", "runs", "beside", "old", "new", "10⁴"} <= set(texts(svg))
    assert "Forgetting" in texts(svg)
    assert "DejaVu" in svg.split(">", 1)[0]  # named once, on the root
    assert "DejaVu" not in svg.split(">", 1)[1]


def test_text_is_at_least_ten_pixels_on_a_phone():
    svg = plot.show(full_figure()).svg
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])
    sizes = [float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg)]
    assert min(sizes) * 350.0 / width >= 10.0


def test_end_labels_stay_apart():
    svg = plot.show(full_figure()).svg
    heights = [
        float(node.get("y"))
        for node in ET.fromstring(svg).iter(f"{NS}text")
        if "".join(node.itertext()).strip() in ("predicted", "bound")
    ]
    assert len(heights) == 2
    assert abs(heights[0] - heights[1]) >= 13.0


@pytest.mark.parametrize(("sign", "side"), [(1.0, "right"), (-1.0, "left"), (0.0, "center")])
def test_label_beside_a_curve_keeps_off_it(axes, sign, side):
    _, ax = axes
    plot.curve(ax, [0.0, 1.0, 2.0], sign * np.arange(3), label="name", at=1.2)
    (text,) = ax.texts
    assert text.get_horizontalalignment() == side
    assert text.xy == pytest.approx((1.2, 1.2 * sign))


def test_drawing_writes_nothing_to_the_terminal(capfd):
    plot.show(full_figure())
    assert capfd.readouterr() == ("", "")


def test_show_twice_gives_one_picture():
    fig = full_figure()
    assert plot.show(fig).svg == plot.show(fig).svg


def test_picture_in_a_notebook_and_in_a_file(tmp_path, axes):
    fig, ax = axes
    plot.curve(ax, [0, 1], [0, 1])
    picture = plot.show(fig)
    assert picture._repr_mimebundle_() == {"image/svg+xml": picture.svg}
    picture.save(tmp_path / "picture.svg")
    assert (tmp_path / "picture.svg").read_text("utf-8") == picture.svg


def test_log_ticks_within_one_decade_are_plain_numbers(axes):
    fig, ax = axes
    plot.log_axes(ax, y=False)
    plot.curve(ax, [1.0, 8.0], [0.0, 1.0])
    assert {"1", "2", "5"} <= set(texts(plot.show(fig).svg))


def test_density_is_the_density(axes):
    _, ax = axes
    model = fl.TwoModeMixture(0.3, [0.5], [3.0], [[2.0]])
    y = np.linspace(-4.0, 8.0, 50)
    plot.density(ax, model, y=y)
    (total,) = ax.lines
    np.testing.assert_allclose(total.get_ydata(), model.pdf(y), rtol=1e-12)


def test_density_of_many_dimensions_is_the_marginal(axes):
    _, ax = axes
    covariance = [[2.0, 0.3], [0.3, 1.0]]
    model = fl.TwoModeMixture(0.3, [0.5, 1.0], [3.0, -1.0], covariance)
    y = np.linspace(-4.0, 4.0, 50)
    plot.density(ax, model, y=y, axis=1)
    np.testing.assert_allclose(
        ax.lines[0].get_ydata(), fl.TwoModeMixture(0.3, [1.0], [-1.0], [[1.0]]).pdf(y), rtol=1e-12
    )
    with pytest.raises(ValueError, match="axis must lie in"):
        plot.density(ax, model, axis=2)


def test_responsibility_is_the_responsibility(axes):
    _, ax = axes
    model = fl.TwoModeMixture.separated(3.0, old_weight=0.6, dim=3)
    plot.responsibility(ax, model, y=[0.0, 1.5, 3.0])
    expected = model.responsibility([[0.0, 0, 0], [1.5, 0, 0], [3.0, 0, 0]])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), expected)


def test_ensemble_draws_means_and_two_standard_errors(axes):
    _, ax = axes
    samples = np.random.default_rng(7).normal(size=(50, 5)) + np.arange(5)
    plot.ensemble(ax, np.arange(5), samples, records=5)
    line, caps, bars = ax.containers[0]
    np.testing.assert_allclose(line.get_ydata(), samples.mean(axis=0))
    half = [0.5 * np.ptp(segment[:, 1]) for segment in bars[0].get_segments()]
    np.testing.assert_allclose(half, 2.0 * samples.std(axis=0, ddof=1) / np.sqrt(50))
    assert len(caps) == 2


def test_ensemble_takes_records_evenly_on_its_axis(axes):
    _, ax = axes
    plot.log_axes(ax)
    x = np.arange(1001)
    plot.ensemble(ax, x, np.ones((3, x.size)), records=4)
    assert ax.containers[0][0].get_xdata().tolist() == [1, 10, 100, 1000]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ax: plot.curve(ax, [1], [1], role="red"), "role must be one of .*'red'"),
        (lambda ax: plot.curve(ax, [1, 2], [1]), "vectors of one length"),
        (lambda ax: plot.curve(ax, [1.0], [np.nan], label="x"), "finite values to carry"),
        (lambda ax: plot.points(ax, [1], [1], [-0.1]), "stderr must be >= 0"),
        (lambda ax: plot.ensemble(ax, [1, 2], np.ones((1, 2))), "samples must have shape"),
        (lambda ax: plot.ensemble(ax, [1, 2], np.ones((4, 3))), "samples must have shape"),
        (
            lambda ax: plot.ensemble(ax, [1, 2], np.ones((4, 2)), band=(0.9, 0.1)),
            "band must be two increasing quantiles",
        ),
        (lambda ax: plot.show(ax), "fig must be a matplotlib Figure, got Axes"),
        (lambda ax: plot.color("blue"), "role must be one of"),
    ],
)
def test_mistakes_are_named(axes, call, message):
    with pytest.raises(ValueError, match=message):
        call(axes[1])


# ---- tables ----------------------------------------------------------------------------


def test_table_is_accessible():
    table = plot.table(
        ["separation $D$", "exact", "simulated"],
        [[4, 0.019302, (0.0192, 0.0002)], ["a < b", 1e-9, "none"]],
        caption="Misassignment & more",
    )
    html = table._repr_html_()
    root = ET.fromstring(html)
    assert root.get("tabindex") == "0"
    assert root.get("aria-label") == "Misassignment & more"
    assert root.find("table/caption").text == "Misassignment & more"
    heads = root.findall("table/thead/tr/th")
    assert [head.get("scope") for head in heads] == ["col"] * 3
    assert heads[0].text == r"separation \(D\)"
    rows = root.findall("table/tbody/tr")
    assert [row.find("th").get("scope") for row in rows] == ["row", "row"]
    assert [cell.text for cell in rows[0].findall("td")] == ["0.0193", "0.01920 ± 0.00020"]
    assert rows[1].find("th").text == "a < b"
    assert "0.01920 ± 0.00020" in repr(table)


@pytest.mark.parametrize(
    ("rows", "caption", "message"),
    [([[1]], "c", "rows must have 2 cells"), ([[1, 2]], " ", "caption must say")],
)
def test_table_mistakes_are_named(rows, caption, message):
    with pytest.raises(ValueError, match=message):
        plot.table(["a", "b"], rows, caption=caption)


def test_import_forgetlib_does_not_import_matplotlib_or_widgets():
    code = "import sys, forgetlib; print([m for m in ('matplotlib', 'ipywidgets') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_curves_lose_points_but_not_their_shape() -> None:
    rng = np.random.default_rng(3)
    for roughness in (0.0, 0.01, 3.0):
        x = np.sort(rng.uniform(0.0, 300.0, 400))
        y = 100.0 + 60.0 * np.sin(x / 40.0) + roughness * rng.standard_normal(400)
        kept = np.array(_svg._points(x, y))
        assert tuple(kept[0]) == (round(x[0], 1), round(y[0], 1))
        assert tuple(kept[-1]) == (round(x[-1], 1), round(y[-1], 1))
        start, along = kept[:-1], np.diff(kept, axis=0)
        for point in np.column_stack([x, y]):
            share = np.sum((point - start) * along, axis=1) / np.sum(along**2, axis=1)
            nearest = start + np.clip(share, 0.0, 1.0)[:, None] * along
            assert np.hypot(*(point - nearest).T).min() < 0.3
    straight = _svg._points(np.linspace(0.0, 300.0, 20_000), np.full(20_000, 5.0))
    assert straight == [(0.0, 5.0), (300.0, 5.0)]
