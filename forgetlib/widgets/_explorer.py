"""The machine behind every explorer: sliders, and a picture for each of their values."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from forgetlib._svg import ROLES, number, power_of_ten

__all__ = ["Frame", "Parameter", "explorer", "value_text"]

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
