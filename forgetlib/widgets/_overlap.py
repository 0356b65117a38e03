"""Explorer of the chapter on overlap."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit

from forgetlib import _arguments
from forgetlib._svg import Axis, Canvas, Panel, estimate, number
from forgetlib.mixture import TwoModeMixture
from forgetlib.overlap import (
    bhattacharyya_coefficient,
    boundary_position,
    misassignment_interval,
    misassignment_probability,
)
from forgetlib.rare_event import MisassignmentEstimate, estimate_misassignment
from forgetlib.widgets._explorer import Explorer, Frame, Parameter, explorer
from forgetlib.widgets._parts import WIDE, bell, top

__all__ = ["overlap", "overlap_frame"]

_DRAWS = 1000
_WIDEST = 5.5  # right end of the scale of ratios


def _row(
    panel: Panel, height: float, name: str, ratio: float, role: str, half: float = 0.0
) -> None:
    """One marker with its name beside it, on the side that has room.

    A ratio beyond the scale is named instead of marked.
    """
    if ratio > _WIDEST:
        name = f"{name}: {number(ratio, 2)} →"
    else:
        panel.errors([ratio], [height], [0.0], role)
        if half > 0.0:
            panel.line([ratio - half, ratio + half], [height, height], role, 1.5, ())
    room = ratio > 0.6 * _WIDEST
    end = min(max(ratio - half if room else ratio + half, 0.0), _WIDEST)
    h, v = panel.place(end, height)
    anchor, gap = ("end", -8.0) if room else ("start", 8.0)
    panel.canvas.text(float(h[0]) + gap, float(v[0]) + 4, name, role, anchor, halo=True)


def overlap_frame(separation: float, old_weight: float = 0.75, rng: int = 0) -> Frame:
    r"""One frame of the overlap explorer.

    Parameters
    ----------
    separation : float
        Distance ``D`` between the modes in standard deviations, in (0, 14]; the picture is
        made for 1 to 12.
    old_weight : float
        Old weight ``b``, from 0.001 to 0.999.
    rng : int
        Seed of the draws, >= 0.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If the separation lies outside (0, 14], the weight outside [0.001, 0.999], or the
        seed is negative.

    Notes
    -----
    Labels ``lem-misassignment``, ``thm-uniform-misassignment``, ``prp-naive-sampling``,
    ``thm-boundary-sampling`` and ``thm-secant-sampling``. Each estimate uses 1000 draws.
    """
    separation = _arguments.number(
        "separation", separation, "lie in (0, 14]", lambda x: 0.0 < x <= 14.0
    )
    old_weight = _arguments.number(
        "old_weight", old_weight, "lie in [0.001, 0.999]", lambda w: 0.001 <= w <= 0.999
    )
    random = np.random.default_rng(_arguments.integer("rng", rng, 0))
    model = TwoModeMixture.separated(separation, old_weight=old_weight)
    exact = misassignment_probability(model)
    _, upper = misassignment_interval(model)
    general = 0.5 * math.exp(-0.5 * model.old_logit) * bhattacharyya_coefficient(model)
    boundary = boundary_position(model) * separation
    between = min(max(boundary, 0.0), separation)

    canvas = Canvas(360, 490)
    above = top(
        canvas, model, low=-3.5, high=separation + 3.5, peak=0.42, title="Density of the model"
    )
    y = above.y
    across = Axis(float(y[0]), float(y[-1]), "sample y", ticks_wanted=7)
    scale = Axis(1e-20, 1e7, "", True, (1.0, 1e-6, 1e-12, 1e-18))  # room for words above
    logs = canvas.panel(across, scale, top=above.below, height=92, **WIDE)
    logs.frame("Old samples, and the misassigned ones (log scale)")
    logs.band(y, 0.0 * y + 1e-30, bell(y, 0.0) * expit(-model.log_odds(y)), "new", 0.3)
    logs.line(y, bell(y, 0.0), "old")
    logs.line(y, bell(y, between), "second")
    logs.label(y[0], 1e4, "old samples", "old", dx=3)
    logs.label(y[-1], 1e4, "proposal at the boundary", "second", "end", dx=-3)
    logs.label(0.5 * separation, 1e-16, "misassigned", "ink", "middle")

    axis = Axis(-0.1, _WIDEST, "in units of the exact value", ticks=(0, 1, 2, 3, 4, 5))
    rows = canvas.panel(axis, Axis(0.0, 5.0, ticks=()), top=364, height=92, left=8, width=338)
    rows.frame(f"Bounds, and estimates from {_DRAWS} draws each")
    rows.rule(1.0, "model")
    _row(rows, 4.5, "bound, any densities", general / exact, "bound")
    _row(rows, 3.5, "bound, Gaussians", upper / exact, "bound")
    told: list[MisassignmentEstimate] = []
    for height, name, role in (
        (2.5, "naive", "first"),
        (1.5, "boundary", "second"),
        (0.5, "secant", "third"),
    ):
        run = estimate_misassignment(model, _DRAWS, random, proposal=name)  # type: ignore[arg-type]
        _row(rows, height, name, run.estimate / exact, role, 2.0 * run.stderr / exact)
        told.append(run)
    naive, moved, secant = (estimate(run.estimate, run.stderr) for run in told)

    readout = (
        f"Misassigned share of the old mode: {number(exact)}; bounds {number(upper)} (Gaussians) "
        f"and {number(general)} (any densities). {_DRAWS} draws say: naive {naive}, boundary "
        f"{moved}, secant {secant}."
    )
    factor = exact / told[0].estimate
    honest = abs(told[0].estimate - exact) <= 2.0 * told[0].stderr
    alt = (
        f"Two modes at separation {number(separation, 2)} with old weight {number(old_weight, 2)}: "
        f"densities, responsibilities with the boundary at {number(boundary, 2)}, and on a log "
        f"scale old samples, the misassigned ones and the proposal that is moved to the boundary. "
        f"Below, two upper bounds and three estimates with error bars, in units of the exact share "
        f"{number(exact, 2)}. The naive estimate is "
        + (
            "within two standard errors."
            if honest
            else f"{number(factor, 2)} times too small, and its error bar does not show it."
            if factor > 1.0
            else "off by more than two standard errors."
        )
    )
    return Frame(canvas.render(alt), alt, readout)


def overlap() -> Explorer:
    """Explorer of the overlap chapter: how much is misassigned, and who can see it.

    Returns
    -------
    StaticExplorer or ipywidgets.VBox
        Moves the separation and the old weight of :func:`overlap_frame`.
    """
    return explorer(
        overlap_frame,
        Parameter("separation", "separation $D$", [float(d) for d in range(1, 13)], start=3),
        Parameter("old_weight", "old weight $b$", (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95), 4),
    )
