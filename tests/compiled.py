"""Compiled functions that only compiled code can call, made callable from a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def from_python(function: Callable[..., Any]) -> Callable[..., Any]:
    @numba.njit
    def call(*arguments):  # type: ignore[no-untyped-def]
        return function(*arguments)

    return call  # type: ignore[no-any-return]
