"""Explorers: a theorem as a picture that moves with its parameters.

:func:`explorer` turns a function that draws one frame into a picture with sliders. The
same call serves two readers. With a live kernel every move of a slider computes a new
frame, for any value. When the book is built (environment variable ``FORGETLIB_STATIC``
set to 1) the frames of a grid are computed once and shipped with the page, where the
sliders choose among them: no kernel, no network.

:func:`forward_kl` and :func:`reverse_kl` are the explorers of the two chapters of these
names. Everything in a frame is computed by this package when the frame is drawn.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from forgetlib import _arguments
from forgetlib._svg import ROLES, Axis, Canvas, Panel, number, power_of_ten
from forgetlib.drift import drift_bound
from forgetlib.ensemble import simulate
from forgetlib.flow import Trajectory, gradient_flow, log_forgetting_time
from forgetlib.mixture import TwoModeMixture
from forgetlib.objective import ForwardKL, ReverseKL
from forgetlib.overlap import log_weight_slope, misassignment_probability

__all__ = [
    "Frame",
    "Parameter",
    "explorer",
    "forward_kl",
    "forward_kl_frame",
    "reverse_kl",
    "reverse_kl_frame",
]

FloatArray = NDArray[np.float64]

MAX_FRAMES = 40  # of one explorer: what a page can carry


def value_text(value: float) -> str:
    """Write a slider's value: three digits, no idle zeros, and powers of ten as such."""
    if value >= 1000 and abs(math.log10(value) - round(math.log10(value))) < 1e-9:
        return power_of_ten(round(math.log10(value)))
    text = number(value)
    return text.rstrip("0").rstrip(".") if "." in text and "×" not in text else text


@dataclasses.dataclass(frozen=True)
class Parameter:
    r"""Something a reader can move.

    Attributes
    ----------
    name : str
        Keyword under which the drawing function receives it. With underscores read as
        spaces it is also the accessible name of the slider.
    label : str
        Text beside the slider; mathematics between dollar signs.
    values : sequence of float
        Increasing. A built page offers these; a live kernel everything between the first
        and the last.
    start : int
        Index of the value shown first.
    log : bool
        Whether a live slider moves in the logarithm.
    play : bool
        Whether there is a button that runs through the values.
    text : callable
        Writes a value for the reader.
    """

    name: str
    label: str
    values: Sequence[float]
    start: int = 0
    log: bool = False
    play: bool = False
    text: Callable[[float], str] = value_text

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"name must be a Python identifier, got {self.name!r}")
        values = tuple(float(value) for value in self.values)
        if len(values) < 2 or not all(np.diff(values) > 0) or not np.isfinite(values).all():
            raise ValueError(f"values must be two or more increasing numbers, got {self.values!r}")
        if self.log and values[0] <= 0:
            raise ValueError(f"values must be > 0 on a logarithmic slider, got {values[0]!r}")
        if not 0 <= self.start < len(values):
            raise ValueError(f"start must lie in [0, {len(values)}), got {self.start!r}")
        object.__setattr__(self, "values", values)

    @property
    def spoken(self) -> str:
        """Name of the parameter in words."""
        return self.name.replace("_", " ")


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of an explorer. As the last line of a cell it is a still picture.

    Attributes
    ----------
    svg : str
        The picture: transparent, colours by CSS variables, no ids.
    alt : str
        What the picture shows, for those who cannot see it.
    readout : str
        The numbers of this frame, as plain text.
    """

    svg: str = dataclasses.field(repr=False)
    alt: str
    readout: str

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"image/svg+xml": self.svg}


Draw = Callable[..., Frame]


def explorer(draw: Draw, *parameters: Parameter) -> ipywidgets.VBox:
    """Picture with sliders, alive with a kernel and without.

    Parameters
    ----------
    draw : callable
        ``draw(**values) -> Frame`` with one keyword for each parameter.
    *parameters : Parameter
        One or two. Together they may have at most 40 combinations of values.

    Returns
    -------
    ipywidgets.VBox
        The last line of a cell shows it.

    Raises
    ------
    ValueError
        If there are no or more than two parameters, two of one name, or too many frames.

    Notes
    -----
    With ``FORGETLIB_STATIC=1`` in the environment the frames of the whole grid are drawn
    at once into stacks that the sliders index in the browser.
    """
    if not 1 <= len(parameters) <= 2:
        raise ValueError(f"parameters must be one or two, got {len(parameters)}")
    if len({parameter.name for parameter in parameters}) < len(parameters):
        raise ValueError("parameters must have different names")
    frames = math.prod(len(parameter.values) for parameter in parameters)
    if frames > MAX_FRAMES:
        raise ValueError(f"parameters must span at most {MAX_FRAMES} frames, got {frames}")
    static = os.environ.get("FORGETLIB_STATIC", "") not in ("", "0")
    return (_static if static else _live)(draw, parameters)


def _markup(parameters: Sequence[Parameter], values: Sequence[float], frame: Frame) -> str:
    """Frame as HTML: the numbers, which are announced when they change, and the picture."""
    texts = [parameter.text(value) for parameter, value in zip(parameters, values, strict=True)]
    named = ", ".join(
        f'{escape(parameter.spoken)} <b data-fl-value="{escape(text)}">{escape(text)}</b>'
        for parameter, text in zip(parameters, texts, strict=True)
    )
    return (
        '<div class="fl-frame" style="max-width:30rem;line-height:1.45;white-space:normal">'
        f'<p class="fl-readout" aria-live="polite" style="margin:.2rem 0 .6rem;min-height:5.9em">'
        f"{named[0].upper() + named[1:]}. {escape(frame.readout)}</p>"
        f'<div aria-live="off">{frame.svg}</div></div>'
    )


def _slider_options(parameter: Parameter) -> dict[str, Any]:
    return {
        "description": parameter.label,
        "tooltip": parameter.spoken,  # becomes the accessible name: it must not hold TeX
        "readout": False,  # of an index it would mislead; the frame says the value
        "style": {"description_width": "initial"},
        "layout": {"width": "100%", "max_width": "30rem"},
    }


def _player(parameter: Parameter) -> ipywidgets.Play:
    return ipywidgets.Play(
        min=0,
        max=len(parameter.values) - 1,
        value=parameter.start,
        interval=900,
        show_repeat=False,
        description=f"play {parameter.spoken}",
    )


def _assemble(controls: Sequence[ipywidgets.Widget], picture: ipywidgets.Widget) -> ipywidgets.VBox:
    box = ipywidgets.VBox([*controls, picture], layout={"width": "100%"})
    box.add_class("fl-explorer")
    return box


def _static(draw: Draw, parameters: Sequence[Parameter]) -> ipywidgets.VBox:
    first = ipywidgets.HTML("")
    shared = {"layout": first.layout, "style": first.style}  # not one model for each frame

    def html(*values: float) -> ipywidgets.HTML:
        named = {p.name: value for p, value in zip(parameters, values, strict=True)}
        return ipywidgets.HTML(_markup(parameters, values, draw(**named)), **shared)

    def stack(children: Sequence[ipywidgets.Widget], start: int) -> ipywidgets.Stack:
        return ipywidgets.Stack(list(children), selected_index=start, layout={"width": "100%"})

    sliders, controls = [], []
    for parameter in parameters:
        slider = ipywidgets.IntSlider(
            parameter.start, 0, len(parameter.values) - 1, **_slider_options(parameter)
        )
        sliders.append(slider)
        controls.append(slider)
        if parameter.play:
            play = _player(parameter)
            ipywidgets.jslink((play, "value"), (slider, "value"))
            controls.append(play)
    inner = [
        stack([html(*outer, value) for value in parameters[-1].values], parameters[-1].start)
        for outer in itertools.product(*(parameter.values for parameter in parameters[:-1]))
    ]
    for each in inner:
        ipywidgets.jslink((sliders[-1], "value"), (each, "selected_index"))
    if len(parameters) == 1:
        return _assemble(controls, inner[0])
    outer_stack = stack(inner, parameters[0].start)
    ipywidgets.jslink((sliders[0], "value"), (outer_stack, "selected_index"))
    return _assemble(controls, outer_stack)


# A notebook has no style sheet of the book: follow JupyterLab's dark theme from here.
_DARK = (
    "<style>[data-jp-theme-light=false] .fl-explorer{"
    + "".join(f"--fl-{name}:{role.dark};" for name, role in ROLES.items())
    + "}</style>"
)


def _live(draw: Draw, parameters: Sequence[Parameter]) -> ipywidgets.VBox:
    picture = ipywidgets.HTML()
    sliders, controls = [], []
    for parameter in parameters:
        low, high = parameter.values[0], parameter.values[-1]
        value = parameter.values[parameter.start]
        slider: Any
        if parameter.log:
            ends = (math.log10(low), math.log10(high))
            slider = ipywidgets.FloatLogSlider(
                value,
                min=ends[0],
                max=ends[1],
                step=(ends[1] - ends[0]) / 200,
                **_slider_options(parameter),
            )
        else:
            slider = ipywidgets.FloatSlider(
                value, min=low, max=high, step=(high - low) / 200, **_slider_options(parameter)
            )
        sliders.append(slider)
        controls.append(slider)
        if parameter.play:
            play = _player(parameter)

            def step(
                change: dict[str, Any], slider: Any = slider, parameter: Parameter = parameter
            ) -> None:
                slider.value = parameter.values[change["new"]]

            play.observe(step, "value")
            controls.append(play)

    def update(_: Any = None) -> None:
        values = [float(slider.value) for slider in sliders]
        named = {p.name: value for p, value in zip(parameters, values, strict=True)}
        picture.value = _DARK + _markup(parameters, values, draw(**named))

    for slider in sliders:
        slider.observe(update, "value")
    update()
    return _assemble(controls, picture)


# ---- what the two explorers share ------------------------------------------------------


def _bell(y: FloatArray, mean: float) -> FloatArray:
    return np.asarray(np.exp(-0.5 * (y - mean) ** 2) / math.sqrt(2.0 * math.pi))


def _parts(panel: Panel, y: FloatArray, model: TwoModeMixture) -> None:
    """Weighted old and new part of a one-dimensional model, and their sum."""
    old = model.old_weight * _bell(y, float(model.old_mean[0]))
    new = (1.0 - model.old_weight) * _bell(y, float(model.new_mean[0]))
    panel.band(y, 0.0 * y, old, "old")
    panel.band(y, 0.0 * y, new, "new")
    panel.line(y, old + new, "model")


def _credit(panel: Panel, y: FloatArray, model: TwoModeMixture) -> None:
    """Responsibilities: below the curve the old mode's, above it the new mode's."""
    share = model.responsibility(y)
    panel.band(y, 0.0 * y, share, "old", 0.13)  # faint: text on it needs a contrast of 4.5
    panel.band(y, share, 0.0 * y + 1.0, "new", 0.13)
    panel.line(y, share, "model", 1.4)
    middle = panel.top + 0.5 * panel.height + 4
    if share[0] > 0.8:
        panel.canvas.text(panel.left + 6, middle, "old mode", "old")
    panel.canvas.text(panel.left + panel.width - 6, middle, "new mode", "new", "end")


@dataclasses.dataclass(frozen=True)
class _Runs:
    """Mean, standard error and central 80% of an ensemble at a few times, evenly spaced in log."""

    t: FloatArray
    mean: FloatArray
    stderr: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def of(cls, time: ArrayLike, samples: FloatArray, count: int = 13) -> _Runs:
        t = np.asarray(time, dtype=np.float64)
        wanted = np.geomspace(t[1], t[-1], count)
        chosen = np.unique(np.abs(np.log(t[1:, None] / wanted)).argmin(axis=0) + 1)
        values = samples[:, chosen]
        low, high = np.quantile(values, [0.1, 0.9], axis=0)
        stderr = values.std(axis=0, ddof=1) / math.sqrt(values.shape[0])
        return cls(t[chosen], values.mean(axis=0), stderr, low, high)

    def draw(self, panel: Panel, role: str) -> None:
        """Shade the central 80%, and mark the means with bars of two standard errors."""
        panel.band(self.t, self.low, self.high, role, 0.25)
        panel.errors(self.t, self.mean, 2.0 * self.stderr, role)


# ---- forward KL ------------------------------------------------------------------------

_FORWARD_RATE = 0.5
_WIDE = {"left": 34.0, "width": 312.0}  # of every panel: the picture is 360 wide


@dataclasses.dataclass(frozen=True)
class _Forward:
    """What a frame of the forward-KL explorer shows of all times."""

    log_t: FloatArray  # increasing
    logit: FloatArray
    separated_log_t: FloatArray
    runs: _Runs

    def old_weight(self, t: FloatArray) -> FloatArray:
        return np.asarray(expit(np.interp(np.log(t), self.log_t, self.logit)))

    def separated_weight(self, t: FloatArray) -> FloatArray:
        return np.asarray(expit(np.interp(np.log(t), self.separated_log_t, self.logit)))


@functools.lru_cache(maxsize=4)
def _forward_logits(start_logit: float) -> tuple[FloatArray, FloatArray]:
    """Log-odds on the way down, and the log times of the flow without overlap to reach them."""
    down = np.concatenate([np.geomspace(1e-3, 1.0, 30), np.linspace(1.2, 42.0, 160)])
    logit = start_logit - down
    return logit, log_forgetting_time(math.inf, start_logit, logit)


@functools.lru_cache(maxsize=16)
def _forward(separation: float, start_weight: float) -> _Forward:
    start = TwoModeMixture.separated(separation, old_weight=start_weight)
    logit, separated_log_t = _forward_logits(start.old_logit)
    run = simulate(
        ForwardKL(start),
        start,
        steps=2000,
        batch_size=16,
        learning_rate=_FORWARD_RATE,
        replicates=64,
        record_every=2,
        train=("weight",),
    )
    return _Forward(
        log_forgetting_time(separation, start.old_logit, logit),
        logit,
        separated_log_t,
        _Runs.of(_FORWARD_RATE * run.step, run.old_weight),
    )


def _forward_bounds(
    paths: _Forward, separation: float, start_weight: float, t: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Proved floor and ceiling of the old weight at times ``t``."""
    tail = (start_weight**-2 + 2.0 * math.expm1(separation**2) * t) ** -0.5
    variation = math.erf(separation / math.sqrt(8.0))  # total variation of the two modes
    ceiling = (start_weight**-2 + 8.0 * (variation * (1.0 - start_weight)) ** 2 * t) ** -0.5
    return np.maximum(paths.separated_weight(t), tail), ceiling


def forward_kl_frame(separation: float, time: float, start_weight: float = 0.9) -> Frame:
    r"""One frame of the forward-KL explorer.

    Parameters
    ----------
    separation : float
        Distance ``D > 0`` between the modes, in standard deviations; the picture is made
        for 2 to 4.
    time : float
        Training time of the logit flow (learning rate times steps), > 0; the picture is
        made for 1 to 1e15.
    start_weight : float
        Old weight at time 0, strictly between 0 and 1.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If the separation or the time is not positive, or the weight outside (0, 1).

    Notes
    -----
    Labels ``thm-mass-forgetting``, ``prp-forgetting-bounds``, ``prp-forgetting-tail`` and
    ``thm-forgetting-profile``. The floor is the larger of two lower bounds: the flow
    without overlap, and :math:`[b_0^{-2} + 2 (e^{D^2} - 1)\, t]^{-1/2}`. The ceiling is
    :math:`[b_0^{-2} + 8\, TV^2 (1 - b_0)^2\, t]^{-1/2}`.
    """
    separation = _arguments.positive("separation", separation)
    start_weight = _arguments.weight("start_weight", start_weight)
    time = _arguments.number("time", time, "lie in (0, 1e17]", lambda x: 0.0 < x <= 1e17)
    paths = _forward(float(separation), float(start_weight))
    weight = float(paths.old_weight(np.array(time)))
    model = TwoModeMixture.separated(separation, old_weight=weight)
    # -d log b / d log t along the flow b' = -b (1 - b) dL/dl
    slope = math.exp(float(log_weight_slope(separation, model.old_logit)))
    exponent = (1.0 - weight) * slope * time

    canvas = Canvas(360, 414)
    y = np.linspace(-3.2, 7.2, 121)
    density = canvas.panel(
        Axis(-3.2, 7.2, ticks=()), Axis(0.0, 0.49, ticks=()), top=22, height=86, **_WIDE
    )
    density.frame("Density of model and new data")
    _parts(density, y, model)
    density.line(y, _bell(y, separation), "data")
    density.label(separation, 0.4, "new data", "data", "middle", dy=-5)
    old = "old part" if weight > 0.03 else "old part: not visible"
    density.label(0.0, 0.4 * weight, old, "old", "middle", dy=-5)

    share = canvas.panel(
        Axis(-3.2, 7.2, "sample y", ticks=(-2, 0, 2, 4, 6)),
        Axis(0.0, 1.0, ticks=(0, 1)),
        top=132,
        height=34,
        **_WIDE,
    )
    share.frame("Credit for a sample y", grid=False)
    _credit(share, y, model)

    clock = Axis(0.3, 3e16, "training time t", True, [10.0**k for k in (0, 4, 8, 12, 16)])
    scale = Axis(1e-12, 60.0, "", True, [10.0**k for k in (0, -3, -6, -9, -12)])
    panel = canvas.panel(clock, scale, top=228, height=150, **_WIDE)
    panel.frame("Old weight b: exact (line), 64 SGD runs (dots)")
    t = np.geomspace(clock.low, clock.high, 140)
    floor, ceiling = _forward_bounds(paths, separation, start_weight, t)
    panel.line(t, floor, "bound")
    panel.line(t, ceiling, "bound")
    panel.label(3e13, float(np.interp(3e13, t, ceiling)), "ceiling", "bound", "middle", dy=-6)
    panel.label(1e8, float(np.interp(1e8, t, floor)), "floor", "bound", "end", dy=14)
    edges = (clock.low, math.exp(0.5 * separation**2), math.exp(2 * separation**2), clock.high)
    for edge in edges[1:-1]:
        panel.rule(edge)
    for low, high, law in zip(edges[:-1], edges[1:], ("1/t", "between", "1/√t"), strict=True):
        panel.label(math.sqrt(low * high), 60.0, law, "muted", "middle", dy=12)
    panel.line(t, paths.old_weight(t), "model")
    paths.runs.draw(panel, "old")
    panel.point(time, weight, "old")

    credit = number(misassignment_probability(model, "new"), 2)
    readout = (
        f"Old weight {number(weight, 2)}, falling like t to the power {number(-exponent, 2)}. "
        f"New data credited to the old mode: {credit}, which is "
        f"{number(100.0 * slope / weight, 2)}% less than its weight."
    )
    alt = (
        f"Above, the model at separation {number(separation, 2)} and training time "
        f"{value_text(time)}: its old part has weight {number(weight, 2)}, and {credit} of the new "
        "data is credited to it. Below, the old weight against training time on logarithmic "
        "axes: runs of stochastic gradient descent follow the exact flow, which lies between a "
        "proved floor and a proved ceiling, and bends from 1 over t to 1 over the root of t "
        f"between times {number(edges[1], 2)} and {number(edges[2], 2)}."
    )
    return Frame(canvas.render(alt), alt, readout)


def forward_kl() -> ipywidgets.VBox:
    """Explorer of the forward-KL chapter: training on new data only forgets the old mode.

    Returns
    -------
    ipywidgets.VBox
        Moves the separation and the training time of :func:`forward_kl_frame`.
    """
    return explorer(
        forward_kl_frame,
        Parameter("separation", "separation $D$", (2.0, 2.5, 3.0, 3.5, 4.0), start=2),
        Parameter(
            "time",
            "training time $t$",
            (1.0, 10.0, 1e2, 1e3, 1e5, 1e8, 1e11, 1e15),
            start=1,
            log=True,
            play=True,
        ),
    )


# ---- reverse KL ------------------------------------------------------------------------


_PICTURE = 1e-4  # tolerance of the flows: a tenth of a pixel
_SMALLEST = 1e-5  # drift that the picture and its numbers tell from zero


@dataclasses.dataclass(frozen=True)
class _Reverse:
    """What a frame of the reverse-KL explorer shows of all times."""

    fixed: Trajectory  # only the weight is trained
    joint: Trajectory  # everything is trained
    bound: float
    weights: _Runs
    drifts: _Runs

    def model(self, t: float) -> TwoModeMixture:
        """Model of the joint flow."""
        return TwoModeMixture(
            float(expit(np.interp(t, self.joint.t, self.joint.old_logit))),
            float(np.interp(t, self.joint.t, self.joint.old_mean[:, 0])),
            float(np.interp(t, self.joint.t, self.joint.new_mean[:, 0])),
        )


@functools.lru_cache(maxsize=16)
def _reverse(separation: float, old_weight: float, start_weight: float) -> _Reverse:
    target = TwoModeMixture.separated(separation, old_weight=old_weight)
    objective = ReverseKL(target)
    right = target.replace(old_weight=start_weight)
    beyond = right.replace(new_mean=[separation + 1.0])
    t = np.r_[0.0, np.geomspace(0.1, 100.0, 64)]
    joint = gradient_flow(objective, beyond, t, rtol=_PICTURE)
    at_peak = joint.old_mean[np.abs(joint.old_mean[:, 0]).argmax(), 0]
    weights = simulate(
        objective,
        right,
        steps=200,
        batch_size=16,
        learning_rate=0.5,
        replicates=64,
        baseline="batch_mean",
        train=("weight",),
    )
    drifts = simulate(
        objective,
        beyond,
        steps=500,
        batch_size=32,
        learning_rate=0.2,
        replicates=64,
        estimator="pathwise",
        baseline="leave_one_out",
        record_every=2,
    )
    return _Reverse(
        gradient_flow(objective, right, t, train=("weight",), rtol=_PICTURE),
        joint,
        drift_bound(target, joint),
        _Runs.of(0.5 * weights.step, weights.old_weight),
        _Runs.of(0.2 * drifts.step, np.sign(at_peak) * drifts.old_mean[:, :, 0]),
    )


def reverse_kl_frame(
    separation: float, time: float, old_weight: float = 0.75, start_weight: float = 0.1
) -> Frame:
    r"""One frame of the reverse-KL explorer.

    Parameters
    ----------
    separation : float
        Distance ``D > 0`` between the modes of the target, in standard deviations; the
        picture is made for 2 to 6.
    time : float
        Training time (learning rate times steps), from 0.1 to 100.
    old_weight : float
        Old weight ``a`` of the target, strictly between 0 and 1.
    start_weight : float
        Old weight of the model at time 0, strictly between 0 and 1. Its old mean is
        right, its new mean one standard deviation too far out.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If the separation is not positive, the time outside [0.1, 100], or a weight outside
        (0, 1).

    Notes
    -----
    Labels ``thm-monotone-retention``, ``thm-sure-retention`` and ``thm-sharp-drift``. In
    the middle only the weight is trained, by score-function SGD, and no run can cross the
    floor. At the top and at the bottom all parameters are trained, by pathwise SGD.
    """
    separation = _arguments.positive("separation", separation)
    time = _arguments.number("time", time, "lie in [0.1, 100]", lambda x: 0.1 <= x <= 100.0)
    start_weight = _arguments.weight("start_weight", start_weight)
    paths = _reverse(float(separation), float(old_weight), float(start_weight))
    model = paths.model(time)
    drift = abs(float(model.old_mean[0]))
    missed = misassignment_probability(model)
    weight = float(expit(np.interp(time, paths.fixed.t, paths.fixed.old_logit)))
    floor = min(start_weight, old_weight)

    off = number(drift, 2) if drift >= _SMALLEST else f"less than {power_of_ten(-5)}"

    canvas = Canvas(360, 470)
    y = np.linspace(-3.2, 9.6, 141)
    density = canvas.panel(
        Axis(-3.2, 9.6, "sample y", ticks=(-2, 0, 2, 4, 6, 8)),
        Axis(0.0, 0.47, ticks=()),
        top=22,
        height=92,
        **_WIDE,
    )
    density.frame("Density of model and target")
    _parts(density, y, model)
    credited = (
        model.old_weight * _bell(y, float(model.old_mean[0])) * (1.0 - model.responsibility(y))
    )
    density.band(y, 0.0 * y, credited, "new", 0.9)
    aim = old_weight * _bell(y, 0.0) + (1.0 - old_weight) * _bell(y, separation)
    density.line(y, aim, "data")
    density.label(-0.9, 0.36 * old_weight, "target", "data", "end")
    density.label(
        float(model.new_mean[0]), 0.4 * (1.0 - model.old_weight), "new part", "new", "middle", dy=-6
    )

    clock = Axis(0.1, 100.0, "", True, (0.1, 1.0, 10.0, 100.0))
    panel = canvas.panel(clock, Axis(0.0, 1.0, ticks=(0, 0.5, 1)), top=182, height=88, **_WIDE)
    panel.frame("Old weight b, means fixed: exact, 64 SGD runs")
    t = paths.fixed.t
    panel.line(t, np.full_like(t, old_weight), "data")
    panel.label(0.12, old_weight, "target", "data", dy=-5)
    panel.line(t, np.full_like(t, floor), "bound")
    panel.label(100.0, floor, "floor of every run", "bound", "end", dy=-5)
    panel.line(t, paths.fixed.old_weight, "model")
    paths.weights.draw(panel, "old")
    panel.point(time, weight, "old")

    clock = dataclasses.replace(clock, label="training time t")
    scale = Axis(_SMALLEST, 30.0, "", True, [10.0**k for k in (0, -2, -4)])
    panel = canvas.panel(clock, scale, top=318, height=116, **_WIDE)
    panel.frame("Drift of the old mean, all trained: exact, 64 runs")
    if math.isfinite(paths.bound):
        panel.line(t, np.full_like(t, paths.bound), "bound")
        panel.label(0.12, paths.bound, "bound for the exact flow", "bound", dy=-5)
    else:
        panel.label(0.12, 3.0, "too close: no bound", "bound")
    panel.line(t, np.abs(paths.joint.old_mean[:, 0]), "model")
    paths.drifts.draw(panel, "old")
    panel.point(time, drift, "old")

    readout = (
        f"Means fixed: old weight {number(weight, 2)} (target {number(old_weight, 2)}). "
        f"All trained: old weight {number(model.old_weight, 2)}, old mean off by {off}, and "
        f"{number(missed, 2)} of the old samples credited to the new mode (solid area)."
    )
    bound = (
        f"below its bound {number(paths.bound, 2)}"
        if math.isfinite(paths.bound)
        else "for which the modes are too close to have a bound"
    )
    alt = (
        f"Above, model and target at separation {number(separation, 2)} and training time "
        f"{number(time, 2)}: the old part of the model has weight {number(model.old_weight, 2)}. "
        "In the middle, the old weight against training time with fixed means: it goes "
        f"from {number(start_weight, 2)} to the target's {number(old_weight, 2)}, and the runs of "
        f"stochastic gradient descent never fall below {number(floor, 2)}. Below, the drift of "
        f"the old mean, at most {number(float(np.abs(paths.joint.old_mean).max()), 2)}, {bound}."
    )
    return Frame(canvas.render(alt), alt, readout)


def reverse_kl() -> ipywidgets.VBox:
    """Explorer of the reverse-KL chapter: matching the target regrows the old mode.

    Returns
    -------
    ipywidgets.VBox
        Moves the separation and the training time of :func:`reverse_kl_frame`.
    """
    return explorer(
        reverse_kl_frame,
        Parameter("separation", "separation $D$", (2.0, 3.0, 4.0, 5.0, 6.0), start=2),
        Parameter(
            "time",
            "training time $t$",
            (0.1, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 100.0),
            start=2,
            log=True,
            play=True,
        ),
    )
