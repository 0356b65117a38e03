"""The machine behind every explorer: sliders, and a picture for each of their values."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, TypeAlias

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from forgetlib._svg import ROLES, number, power_of_ten

__all__ = ["Explorer", "Frame", "Parameter", "StaticExplorer", "explorer", "value_text"]

FloatArray = NDArray[np.float64]

# Of one explorer. Frames share most of their pieces, so that 120 of them weigh about as much
# as one photograph (tests hold each explorer to 100 KB, compressed); and three parameters
# with 4, 4 and 7 values fit.
MAX_FRAMES = 120


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
        spaces it is also the name by which the readout calls it.
    label : str
        Text beside the slider, and its accessible name; mathematics between dollar signs.
    values : sequence of float
        Increasing. A built page offers these; a live kernel everything between the first
        and the last.
    start : int
        Index of the value shown first.
    log : bool
        Whether a live slider moves in the logarithm.
    play : bool
        Whether there is a button that runs through the values: for what unfolds in training
        time.
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
        The picture: transparent, colors by CSS variables, no ids.
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


class StaticExplorer:
    """Explorer of a built page: HTML with its first frame, and all the others as data.

    Attributes
    ----------
    html : str
        The page's ``explorer.js`` gives it life. Without scripts, and in print, it is the
        first frame.
    """

    def __init__(self, html: str) -> None:
        self.html = html

    def __repr__(self) -> str:
        return f"StaticExplorer({len(self.html)} characters)"

    def _repr_html_(self) -> str:
        return self.html


Explorer: TypeAlias = StaticExplorer | ipywidgets.VBox


def explorer(draw: Draw, *parameters: Parameter) -> Explorer:
    """Picture with sliders, alive with a kernel and without.

    Parameters
    ----------
    draw : callable
        ``draw(**values) -> Frame`` with one keyword for each parameter. If it also has a
        parameter ``rng``, the seed of its simulation (an integer), there is a button
        "resample" with a kernel, which draws with the next seed; a built page shows seed 0.
    *parameters : Parameter
        One to three. Together they may have at most 120 combinations of values.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        The last line of a cell shows it.

    Raises
    ------
    ValueError
        If there are no or more than three parameters, two of one name, or too many frames.

    Notes
    -----
    With ``FORGETLIB_STATIC=1`` in the environment the frames of the whole grid are drawn at
    once and shipped in the page, where a small script lets the sliders choose among them.
    """
    if not 1 <= len(parameters) <= 3:
        raise ValueError(f"parameters must be one to three, got {len(parameters)}")
    if len({parameter.name for parameter in parameters}) < len(parameters):
        raise ValueError("parameters must have different names")
    frames = math.prod(len(parameter.values) for parameter in parameters)
    if frames > MAX_FRAMES:
        raise ValueError(f"parameters must span at most {MAX_FRAMES} frames, got {frames}")
    static = os.environ.get("FORGETLIB_STATIC", "") not in ("", "0")
    return (_static if static else _live)(draw, parameters)


def _takes_seed(draw: Draw) -> bool:
    return "rng" in inspect.signature(draw).parameters


def _readout(parameters: Sequence[Parameter], values: Sequence[float], frame: Frame) -> str:
    """The current values by name, and the numbers of the frame."""
    named = ", ".join(
        f"{escape(parameter.spoken)} <b>{escape(parameter.text(value))}</b>"
        for parameter, value in zip(parameters, values, strict=True)
    )
    return f"{named[0].upper() + named[1:]}. {escape(frame.readout)}"


# ---- on a page ---------------------------------------------------------------------------


def _label(label: str) -> str:
    """Label as HTML; what is between dollar signs is marked for the page to typeset."""
    pieces = label.split("$")
    for k in range(1, len(pieces), 2):
        tex = escape(pieces[k])
        pieces[k] = f'<span class="fl-math" data-tex="{tex}">{tex}</span>'
    return "".join(pieces[k] if k % 2 else escape(pieces[k]) for k in range(len(pieces)))


def _control(parameter: Parameter) -> str:
    text = escape(parameter.text(parameter.values[parameter.start]))
    # a browser that restores the slider of an earlier visit would part it from its picture
    slider = (
        f'<input type="range" min="0" max="{len(parameter.values) - 1}" '
        f'value="{parameter.start}" aria-valuetext="{text}" autocomplete="off">'
    )
    play = ""
    if parameter.play:
        # where motion is not wanted, the button goes one step at a time
        play = (
            '<button type="button" class="fl-play"><span class="fl-run">Play</span>'
            '<span class="fl-step">Next</span>'
            f'<span class="fl-unseen"> {escape(parameter.spoken)}</span></button>'
        )
    label = f'<label><span class="fl-name">{_label(parameter.label)}</span>{slider}</label>'
    return f'<div class="fl-control">{label}{play}</div>'


def _data(texts: list[list[str]], readouts: list[str], pictures: list[str]) -> str:
    """All frames as JSON. Pieces that pictures have in common are stored once."""
    index: dict[str, int] = {}
    frames = []
    for readout, picture in zip(readouts, pictures, strict=True):
        pieces = re.split(r"(?=<[a-z])", picture)[1:]
        frames.append([readout, [index.setdefault(piece, len(index)) for piece in pieces]])
    data = {"texts": texts, "pieces": list(index), "frames": frames}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")


def _lines(words: Sequence[int], width: int) -> int:
    """Lines that words of these lengths take when a line holds so many letters."""
    count, used = 1, -1
    for word in words:
        if used + 1 + word > width:
            count, used = count + 1, -1
        used += 1 + word
    return count


def _room(readouts: Sequence[str]) -> str:
    """A text that takes at least as many lines as any of these, on a phone or in a column."""
    texts = [re.sub(r"</?b>", "", readout) for readout in readouts]
    lengths = [[len(word) for word in text.split()] for text in texts]
    longest = max(texts, key=len)
    kept = [len(word) for word in longest.split()]
    for width in range(20, 64):
        most = max(_lines(words, width) for words in lengths)
        while _lines(kept, width) < most:
            longest += " 00000"
            kept.append(5)
    return longest + " 00000"  # letters are not equally wide


def _static(draw: Draw, parameters: Sequence[Parameter]) -> StaticExplorer:
    seed = {"rng": 0} if _takes_seed(draw) else {}
    readouts, pictures = [], []
    for values in itertools.product(*(parameter.values for parameter in parameters)):
        frame = draw(**dict(zip((p.name for p in parameters), values, strict=True)), **seed)
        readouts.append(_readout(parameters, values, frame))
        pictures.append(frame.svg)
    start = 0
    for parameter in parameters:
        start = start * len(parameter.values) + parameter.start
    texts = [[parameter.text(value) for value in parameter.values] for parameter in parameters]
    return StaticExplorer(
        '<div class="fl-explorer"><div class="fl-board">'
        f'<div class="fl-controls">{"".join(map(_control, parameters))}</div>'
        f'<p class="fl-readout" data-room="{_room(readouts)}">'
        f'<span aria-live="polite">{readouts[start]}</span></p>'
        f'<div class="fl-picture">{pictures[start]}</div>'
        f'<script type="application/json">{_data(texts, readouts, pictures)}</script>'
        "</div></div>"
    )


# ---- with a kernel -----------------------------------------------------------------------

# A notebook has no style sheet of the book: follow JupyterLab's dark theme from here.
_DARK = (
    "<style>[data-jp-theme-light=false] .fl-explorer{"
    + "".join(f"--fl-{name}:{role.dark};" for name, role in ROLES.items())
    + "}</style>"
)


def _slider(parameter: Parameter) -> Any:
    low, high = parameter.values[0], parameter.values[-1]
    value = parameter.values[parameter.start]
    options = {
        "description": parameter.label,
        "tooltip": parameter.spoken,  # becomes the accessible name: it must not hold TeX
        "readout": False,  # the text below the sliders says the values
        "continuous_update": True,
        "style": {"description_width": "initial"},
        "layout": {"width": "100%", "max_width": "30rem"},
    }
    if parameter.log:
        ends = (math.log10(low), math.log10(high))
        step = (ends[1] - ends[0]) / 200
        return ipywidgets.FloatLogSlider(value, min=ends[0], max=ends[1], step=step, **options)
    return ipywidgets.FloatSlider(value, min=low, max=high, step=(high - low) / 200, **options)


def _player(parameter: Parameter, slider: Any) -> ipywidgets.Play:
    play = ipywidgets.Play(
        min=0,
        max=len(parameter.values) - 1,
        value=parameter.start,
        interval=900,
        show_repeat=False,
        description=f"play {parameter.spoken}",
    )

    def step(change: dict[str, Any]) -> None:
        slider.value = parameter.values[change["new"]]

    play.observe(step, "value")
    return play


def _live(draw: Draw, parameters: Sequence[Parameter]) -> ipywidgets.VBox:
    picture = ipywidgets.HTML()
    sliders = [_slider(parameter) for parameter in parameters]
    controls: list[Any] = []
    for parameter, slider in zip(parameters, sliders, strict=True):
        controls.append(slider)
        if parameter.play:
            controls.append(_player(parameter, slider))
    seed = {"rng": 0} if _takes_seed(draw) else {}

    def update(_: Any = None) -> None:
        values = [float(slider.value) for slider in sliders]
        named = {p.name: value for p, value in zip(parameters, values, strict=True)}
        frame = draw(**named, **seed)
        picture.value = (
            f'{_DARK}<div style="max-width:30rem;line-height:1.45;white-space:normal">'
            '<p aria-live="polite" style="margin:.2rem 0 .6rem;min-height:5.9em">'
            f"{_readout(parameters, values, frame)}</p>{frame.svg}</div>"
        )

    if seed:
        button = ipywidgets.Button(
            description="resample", tooltip="simulate again with the next seed"
        )

        def resample(_: Any) -> None:
            seed["rng"] += 1
            update()

        button.on_click(resample)
        controls.append(button)
    for slider in sliders:
        slider.observe(update, "value")
    update()
    box = ipywidgets.VBox([*controls, picture], layout={"width": "100%"})
    box.add_class("fl-explorer")
    return box
