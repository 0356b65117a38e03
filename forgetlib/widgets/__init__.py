"""Explorers: a theorem as a picture that moves with its parameters.

:func:`explorer` turns a function that draws one frame into a picture with sliders. The
same call serves two readers. With a live kernel every move of a slider computes a new
frame, for any value. When the book is built (environment variable ``FORGETLIB_STATIC``
set to 1) the frames of a grid are computed once and shipped with the page, where the
sliders choose among them: no kernel, no network.

Each chapter's explorer bears the chapter's name, such as :func:`forward_kl`. Everything in
a frame is computed by this package when the frame is drawn.
"""

from __future__ import annotations

from forgetlib.widgets._explorer import Frame, Parameter, explorer
from forgetlib.widgets._forward_kl import forward_kl, forward_kl_frame
from forgetlib.widgets._reverse_kl import reverse_kl, reverse_kl_frame

__all__ = [
    "Frame",
    "Parameter",
    "explorer",
    "forward_kl",
    "forward_kl_frame",
    "reverse_kl",
    "reverse_kl_frame",
]
