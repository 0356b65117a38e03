"""Figures: the house style, its verbs, and what the SVG may and may not contain."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

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


# ---- the house style -------------------------------------------------------------------

STYLE_SHEET = Path(__file__).parents[1] / "_static" / "forgetting.css"
PAPER = {
    "light": "#FFFFFF",
    "dark": "#121212",
}  # backgrounds of the page, looked up in test_figures
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], LUMINANCE, [0.0193339, 0.1191920, 0.9503041]])
# Machado, Oliveira and Fernandes (2009), full severity, for linear RGB
VISION = {
    "all colors": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
    "gray": np.tile(LUMINANCE, (3, 1)),
}
DRAWN = sorted(set(_svg.ROLES) - {"grid", "ink"})  # those two draw no data


def linear(color):
    values = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255.0
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear RGB: a distance of 2.3 is just noticeable side by side."""
    ratio = XYZ @ rgb / XYZ.sum(axis=1)
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one, two):
    dark, bright = sorted([LUMINANCE @ linear(one), LUMINANCE @ linear(two)])
    return (bright + 0.05) / (dark + 0.05)


def dashes_differ(one, two):
    """Another number of strokes, or one of the lengths at least 1.7 times the other's."""
    if len(one) != len(two):
        return True
    return any(max(a, b) >= 1.7 * min(a, b) for a, b in zip(one, two, strict=True))


def test_measures_of_the_house_style():
    assert lab(linear("#FFFFFF")) == pytest.approx([100, 0, 0], abs=0.01)
    assert lab(linear("#FF0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.005)
    for matrix in VISION.values():  # nobody sees color in gray
        assert matrix.sum(axis=1) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", PAPER)
def test_no_two_roles_differ_by_color_alone(theme, vision):
    def seen(role):
        rgb = linear(getattr(_svg.ROLES[role], theme))
        return lab(np.clip(VISION[vision] @ rgb, 0.0, 1.0))

    for one, two in itertools.combinations(DRAWN, 2):
        if not dashes_differ(_svg.ROLES[one].dash, _svg.ROLES[two].dash):
            assert np.linalg.norm(seen(one) - seen(two)) >= 12.0, (one, two)


def test_markers_of_roles_differ():
    markers = [_svg.ROLES[role].marker for role in DRAWN]
    assert len(set(markers)) == len(markers)


@pytest.mark.parametrize("theme", PAPER)
@pytest.mark.parametrize("role", sorted(set(_svg.ROLES) - {"grid"}))
def test_names_in_the_color_of_a_role_are_legible(role, theme):
    color = getattr(_svg.ROLES[role], theme)
    assert contrast(color, PAPER[theme]) >= 4.5
    if role in ("old", "new"):  # responsibility() writes on their areas, mixed as browsers do
        pairs = [(int(color[k : k + 2], 16), int(PAPER[theme][k : k + 2], 16)) for k in (1, 3, 5)]
        area = "#" + "".join(f"{round(0.13 * a + 0.87 * b):02X}" for a, b in pairs)
        assert contrast(color, area) >= 4.5


@pytest.mark.parametrize("theme", PAPER)
def test_page_has_the_colors_of_the_roles(theme):
    block = re.search(rf'html\[data-theme="{theme}"\] \{{(.*?)\}}', STYLE_SHEET.read_text(), re.S)[
        1
    ]
    page = {name: value.upper() for name, value in re.findall(r"--fl-(\w+): (#\w+);", block)}
    roles = {name: getattr(role, theme).upper() for name, role in _svg.ROLES.items()}
    assert {name: page.get(name) for name in roles} == roles


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


# ---- the numbers of a figure -----------------------------------------------------------


def agreement():
    """Two panels that share an axis: two curves with runs on them and a bound; a parabola."""
    fig, (top, bottom) = plot.figure(2, 1, height=5.0, sharex=True)
    plot.log_axes(top)
    t = np.geomspace(0.1, 1000.0, 41)
    samples = {}
    for D, times in ((2, np.arange(1, 900)), (4, 0.5 * np.arange(1, 1800, 7))):
        plot.curve(top, t, D / t**1.5, role="model", label=f"D = {D}")
        rng = np.random.default_rng(D)
        samples[D] = times, D / times**1.5 * rng.normal(1.0, 0.2, size=(20, times.size))
        plot.ensemble(top, *samples[D], role="old")
    plot.curve(top, [0.1, 1000.0], [1e-6, 1e-2], role="bound")
    top.text(1.0, 1e-3, "the floor", color=plot.color("bound"))
    top.set(ylabel="loss", title="Above")
    plot.curve(bottom, t[::-1], t[::-1] ** 2, role="first")
    plot.curve(bottom, [5.0, 5.0], [0.0, 1.0], role="muted")
    bottom.set(xlabel="time t", ylabel="square")
    return fig, samples


def test_numbers_of_a_figure_are_what_it_draws():
    fig, samples = agreement()
    above, below = plot.show(fig, numbers=True).numbers
    assert above.caption == "Above: loss against time t (± one standard error)"
    assert above.columns == (
        *("time t", "D = 2", "D = 2, simulated", "D = 4", "D = 4, simulated", "the floor"),
    )
    assert 10 <= len(above.rows) <= 12
    assert len({row[0] for row in above.rows}) == len(above.rows)
    for row in above.rows:
        x = read(row[0])
        for column, D in ((1, 2), (3, 4)):
            # the curves and the bound are straight on these axes: nothing is lost between points
            assert read(row[column]) == pytest.approx(D / x**1.5, rel=0.015)
            times, runs = samples[D]
            seen = np.flatnonzero(np.isclose(times, x, rtol=0.006))
            if row[column + 1] != "–":
                values = [plot.estimate(*mean_and_error(runs[:, k])) for k in seen]
                assert row[column + 1] in values
        assert read(row[5]) == pytest.approx(1e-5 * x, rel=0.01)
    # both ensembles have rows of their own
    assert all(sum(row[k] != "–" for row in above.rows) >= 5 for k in (2, 4))
    # a line straight up is no curve; one that was drawn backwards reads the same
    assert below.columns == ("time t", "first")
    assert below.caption == "square against time t"
    for row in below.rows:
        assert read(row[1]) == pytest.approx(read(row[0]) ** 2, rel=0.02)


def mean_and_error(sample):
    return sample.mean(), sample.std(ddof=1) / np.sqrt(sample.size)


def test_numbers_stay_with_the_picture():
    fig, _ = agreement()
    plain, picture = plot.show(fig), plot.show(fig, numbers=True)
    assert plain.numbers == ()
    assert "text/html" not in plain._repr_mimebundle_()
    # in the SVG they are out of sight, and the rest of it is the same
    (metadata,) = ET.fromstring(picture.svg).findall(f"{NS}metadata")
    assert len(metadata) == 0  # text, which cannot break out of a picture inside a page
    folded = ET.fromstring(metadata.text)
    assert folded.find("summary").text == "Numbers of this figure"
    assert len(folded.findall(".//caption")) == 2
    assert re.sub("<metadata>.*</metadata>", "", picture.svg, flags=re.S) == plain.svg
    # a notebook shows them below it
    html = picture._repr_mimebundle_()["text/html"]
    assert html.startswith(plain.svg)
    assert html == plain.svg + metadata.text
    assert html.count("<table") == 2


def test_curves_alone_get_ten_rows_along_the_axis(axes):
    fig, ax = axes
    plot.log_axes(ax, y=False)
    plot.curve(ax, np.geomspace(1.0, 1e9, 1000), np.linspace(0.0, 1.0, 1000), role="old")
    plot.curve(ax, [0.0, 1e3, 1e6], [3.0, 3.0, np.nan], role="new", name="part")
    ax.set(xlabel="t", ylabel="b")
    (table,) = plot.show(fig, numbers=True).numbers
    assert table.columns == ("t", "old", "part")
    assert len(table.rows) == 10
    ratios = np.diff(np.log10([read(row[0]) for row in table.rows]))
    np.testing.assert_allclose(ratios, 1.0, atol=0.02)
    assert [row[2] for row in table.rows[:5]] == ["3.00"] * 4 + ["–"]


def test_numbers_tell_their_rows_apart(axes):
    fig, ax = axes
    plot.points(ax, [1000.2, 1000.4, 1000.9], [1.0, 2.0, 3.0])
    (table,) = plot.show(fig, numbers=True).numbers
    assert [row[0] for row in table.rows] == ["1,000.2", "1,000.4", "1,001"]
    assert table.columns == ("x", "points")
    assert table.caption == "value against x"


def test_names_of_columns(axes):
    fig, ax = axes
    x = [0.0, 1.0]
    plot.curve(ax, x, x, role="bound", label="floor", at=0.5)
    plot.points(ax, x, x, role="old")  # exact, and not the floor's: its own text
    plot.curve(ax, x, x, role="new")  # the text goes to the curve
    plot.points(ax, x, x, [0.1, 0.1], role="new")
    plot.points(ax, x, x, [0.1, 0.1], role="data")  # does not follow a curve
    plot.points(ax, x, x, role="first")
    for role, text in (
        ("old", "exact flow"),
        ("new", "best\nshare"),
        ("first", "a"),
        ("first", "b"),
    ):
        ax.text(0.0, 0.0, text, color=plot.color(role))
    (table,) = plot.show(fig, numbers=True).numbers
    assert table.columns == (
        *("x", "floor", "exact flow", "best share", "best share, simulated", "simulated", "points"),
    )
    assert table.rows[1][2:5] == ("1.00", "1.00", "1.00 ± 0.10")


def test_many_short_sets_of_markers_share_twelve_rows(axes):
    fig, ax = axes
    for k in range(30):
        plot.points(ax, [float(k)], [k**2], [0.5], role="old", name=f"set {k}")
    (table,) = plot.show(fig, numbers=True).numbers
    assert len(table.rows) == 12
    for first, *cells in table.rows:
        assert [cell for cell in cells if cell != "–"] == [plot.estimate(read(first) ** 2, 0.5)]


def test_numbers_may_be_the_authors_own(axes):
    fig, ax = axes
    ax.plot([0, 1], [0, 1])
    own = plot.table(["a", "b"], [[1, 2]], caption="Mine")
    assert plot.show(fig, numbers=own).numbers == (own,)
    assert plot.show(fig, numbers=[own, own]).numbers == (own, own)


def two_of(ax, **names):
    plot.curve(ax, [0, 1], [0, 1], role="model", **names)
    plot.curve(ax, [0, 1], [1, 2], role="model", **names)


@pytest.mark.parametrize(
    ("draw", "numbers", "message"),
    [
        (lambda ax: ax.plot([0, 1], [0, 1]), True, "needs curves, points or ensembles"),
        (two_of, True, "names of 2 curves of role 'model' on the axes 'b'"),
        (lambda ax: two_of(ax, name="same"), True, "got 'same' twice"),
        (two_of, "yes", "numbers must be True, False, or tables, got 'yes'"),
        (two_of, 3, "numbers must be True, False, or tables, got 3"),
    ],
)
def test_numbers_are_never_guessed(axes, draw, numbers, message):
    fig, ax = axes
    ax.set(ylabel="b")
    draw(ax)
    with pytest.raises(ValueError, match=message):
        plot.show(fig, numbers=numbers)


# ---- what the SVG is made of -----------------------------------------------------------


def test_clouds_and_maps_stay_small_and_true():
    fig, ax = plot.figure()
    rng = np.random.default_rng(5)
    x, y = rng.uniform(size=(2, 1000))
    ax.plot(x, y, ".", color=plot.color("old"))
    ax.set(xlim=(0, 1), ylim=(0, 1))
    svg = plot.show(fig).svg
    assert len(svg) < 75_000
    uses = [
        (float(use.get("x")), float(use.get("y")))
        for group in ET.fromstring(svg).iter(f"{NS}g")
        if group.get("clip-path") and "--fl-old" in group.get("style", "")
        for use in group.findall(f"{NS}use")
    ]
    assert len(uses) == 1000
    for drawn, data in ((np.array(uses)[:, 0], x), (np.array(uses)[:, 1], -y)):
        assert np.corrcoef(drawn, data)[0, 1] > 0.999999


def farthest(points, corners) -> float:
    """Largest distance of the points from a polygonal line."""
    start, along = corners[:-1], np.diff(corners, axis=0)
    distances = []
    for point in points:
        share = np.sum((point - start) * along, axis=1) / np.sum(along**2, axis=1)
        nearest = start + np.clip(share, 0.0, 1.0)[:, None] * along
        distances.append(np.hypot(*(point - nearest).T).min())
    return max(distances)


def test_paths_lose_no_shape():
    fig, ax = plot.figure()
    rng = np.random.default_rng(5)
    walk = np.cumsum(rng.normal(size=500))
    ax.plot(walk, color=plot.color("old"))
    svg = plot.show(fig).svg
    longest = max(re.findall(r' d="M([^"MzC]*)"', svg), key=len)
    start, steps = longest.split("l")
    numbers = [float(text) for text in re.findall(r"-?[\d.]+", steps)]
    moves = np.array(numbers).reshape(-1, 2)
    places = np.vstack([[float(text) for text in start.split()], moves]).cumsum(axis=0)
    pixels = ax.transData.transform(np.column_stack([np.arange(500), walk])) * 72.0 / fig.dpi
    pixels[:, 1] = fig.get_size_inches()[1] * 72.0 - pixels[:, 1]
    assert farthest(pixels, places) < 0.3


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
        assert farthest(np.column_stack([x, y]), kept) < 0.3
    straight = _svg._points(np.linspace(0.0, 300.0, 20_000), np.full(20_000, 5.0))
    assert straight == [(0.0, 5.0), (300.0, 5.0)]
