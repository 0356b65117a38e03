"""Explorers: a theorem as a picture that moves with its parameters.

:func:`explorer` turns a function that draws one frame into a picture with sliders. The
same call serves two readers. With a live kernel every move of a slider computes a new
frame, for any value, and a button draws the simulation anew with the next seed. When the
book is built (environment variable ``FORGETLIB_STATIC`` set to 1) the frames of a grid are
computed once and shipped in the page as plain HTML (:class:`StaticExplorer`), where the
sliders choose among them: no kernel, no network, and without scripts still the first frame.

Each chapter's explorer bears the chapter's name, such as :func:`forward_kl`. It begins with
the densities of model and target and with the responsibilities; below are what the theorem
predicts, an ensemble of simulated runs, and the bound. Everything in a frame is computed by
this package when the frame is drawn.
"""

from __future__ import annotations

from forgetlib.widgets._abstraction import abstraction, abstraction_frame
from forgetlib.widgets._calculator import calculator, calculator_frame
from forgetlib.widgets._explorer import Frame, Parameter, StaticExplorer, explorer
from forgetlib.widgets._finite_batch import finite_batch, finite_batch_frame
from forgetlib.widgets._forward_kl import forward_kl, forward_kl_frame
from forgetlib.widgets._local_geometry import local_geometry, local_geometry_frame
from forgetlib.widgets._oapl import oapl, oapl_frame
from forgetlib.widgets._overlap import overlap, overlap_frame
from forgetlib.widgets._plateau import plateau, plateau_frame
from forgetlib.widgets._replay_forward_kl import replay_forward_kl, replay_forward_kl_frame
from forgetlib.widgets._replay_reverse_kl import replay_reverse_kl, replay_reverse_kl_frame
from forgetlib.widgets._reverse_kl import reverse_kl, reverse_kl_frame
from forgetlib.widgets._sdft import sdft, sdft_frame
from forgetlib.widgets._synthesis import synthesis, synthesis_frame
from forgetlib.widgets._ttt_discover import ttt_discover, ttt_discover_frame

__all__ = [
    "Frame",
    "Parameter",
    "StaticExplorer",
    "abstraction",
    "abstraction_frame",
    "calculator",
    "calculator_frame",
    "explorer",
    "finite_batch",
    "finite_batch_frame",
    "forward_kl",
    "forward_kl_frame",
    "local_geometry",
    "local_geometry_frame",
    "oapl",
    "oapl_frame",
    "overlap",
    "overlap_frame",
    "plateau",
    "plateau_frame",
    "replay_forward_kl",
    "replay_forward_kl_frame",
    "replay_reverse_kl",
    "replay_reverse_kl_frame",
    "reverse_kl",
    "reverse_kl_frame",
    "sdft",
    "sdft_frame",
    "synthesis",
    "synthesis_frame",
    "ttt_discover",
    "ttt_discover_frame",
]
