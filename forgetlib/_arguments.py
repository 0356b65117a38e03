"""Checks of arguments: one clear error, before any work starts.

Every check names the argument, says what is allowed, and shows the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_SEPARATION = 1e5  # beyond it a logistic-normal integral would need millions of nodes


def number(name: str, value: object, allowed: str, valid: Callable[[float], bool]) -> float:
    """The value as a float, if it is a real number for which ``valid`` holds.

    ``allowed`` completes the sentence "``name`` must ...".
    """
    real = isinstance(value, int | float | np.number) or (
        isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "fiu"
    )
    if real and not isinstance(value, bool | complex):
        try:
            result = float(value)  # type: ignore[arg-type]
        except (TypeError, OverflowError):
            result = math.nan
        if valid(result):
            return result
    raise ValueError(f"{name} must {allowed}, got {value!r}")


def weight(name: str, value: object) -> float:
    """A mixture weight."""
    return number(name, value, "lie strictly between 0 and 1", lambda w: 0.0 < w < 1.0)


def share(name: str, value: object) -> float:
    """A share of replayed samples."""
    return number(name, value, "lie in [0, 1)", lambda x: 0.0 <= x < 1.0)


def positive(name: str, value: object) -> float:
    """A finite number above 0."""
    return number(name, value, "be a finite number > 0", lambda x: 0.0 < x < math.inf)


def distance(name: str, value: object) -> float:
    """A separation of two distinct modes; infinity means no overlap."""
    return number(
        name,
        value,
        f"be > 0 and at most {MAX_SEPARATION:g}, or infinite",
        lambda x: 0.0 < x <= MAX_SEPARATION or x == math.inf,
    )


def integer(name: str, value: object, least: int) -> int:
    """A whole number, at least ``least``; True and False are not numbers."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        result = int(value)
        if least <= result < 2**62:
            return result
        if result >= least:
            raise ValueError(f"{name} must be an integer in [{least}, 2**62), got {value!r}")
    raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")


def flag(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def times(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Increasing times, from 0 or later, in one dimension."""
    try:
        array = np.atleast_1d(np.asarray(value))
    except ValueError:  # ragged
        array = np.array([None])
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be a time or an increasing sequence of times, got {value!r}")
    array = array.astype(np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, one-dimensional and not empty, got {value!r}")
    if array[0] < 0 or (np.diff(array) <= 0).any():
        raise ValueError(f"{name} must be increasing and start at 0 or later, got {value!r}")
    return array
