"""The file of a sweep's finished tasks, and how it knows which sweep it belongs to.

The first line tells all that a result depends on, each other line holds one finished task::

    checksum {"format": ..., "forgetlib": ..., "grid": ..., "rng": ..., "task": ..., ...}
    checksum {"index": 4703, "values": {"mean": 0.75, "stderr": 0.01}}

A checksum is the CRC-32 of the JSON that follows it. Lines are only ever appended, each in one
call to the system, so a process that is killed leaves whole lines, and at most a torn one at the
end. Nothing in the file is ever executed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import io
import json
import math
import os
import sys
import threading
import time
import types
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import forgetlib

try:
    import fcntl
except ImportError:  # Windows: there another process's sweep is not noticed
    fcntl = None  # type: ignore[assignment]

__all__ = ["Checkpoint", "Scalar", "header", "scalar", "task_name", "task_values"]

Scalar = bool | int | float | str | None

_FORMAT = "forgetlib sweep 1"
_BETWEEN_SYNCS = 1.0  # seconds of finished work that a power cut may cost


def scalar(name: str, value: object) -> Scalar:
    """The value as a plain number, string or None, one that JSON gives back unchanged."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    if isinstance(value, float):
        return math.nan if math.isnan(value) else float(value)  # one NaN, whatever its sign
    raise ValueError(
        f"{name} must be a number (an integer of 64 bits, or a float), a string, True, False "
        f"or None, got {value!r:.200}"
    )


def task_values(result: object) -> dict[str, Scalar]:
    if not isinstance(result, Mapping) or not result:
        raise ValueError(f"task must return a mapping of names to numbers, got {result!r:.200}")
    for name in result:
        if not isinstance(name, str) or not name or name == "rng":
            raise ValueError(
                f"task must return a mapping whose names are strings other than 'rng', got {name!r}"
            )
    return {str(name): scalar(f"task's {name!r}", value) for name, value in result.items()}


def _encode(record: Mapping[str, Any]) -> bytes:
    """A line: checksum, space, JSON."""
    text = json.dumps(record, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _decode(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None if the line is not as it was written."""
    if line[8:9] != b" " or line[-1:] != b"\n" or line[:8] != b"%08x" % zlib.crc32(line[9:-1]):
        return None
    try:
        record = json.loads(line[9:-1])
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class Checkpoint:
    """The file of finished tasks, open for one sweep alone."""

    _in_use: set[tuple[int, int]] = set()  # noqa: RUF012
    _guard = threading.Lock()

    def __init__(self, path: Path, header: dict[str, Scalar]) -> None:
        self.path = path
        self._synced = time.monotonic()
        self._whole = True
        busy = ValueError(f"checkpoint must not be in use by another sweep, got {str(path)!r}")
        with self._guard:
            # looked at before it is opened: closing a file drops this process's locks on it
            with contextlib.suppress(FileNotFoundError):
                if self._identity(path.stat()) in self._in_use:
                    raise busy
            try:
                self._file = open(path, "a+b", buffering=0)  # noqa: SIM115
            except OSError as error:
                raise ValueError(
                    f"checkpoint must be a file that can be written, got {str(path)!r}: {error}"
                ) from error
            try:
                if fcntl is not None:
                    # of this process only: a worker that outlives a killed sweep holds nothing
                    fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                raise busy from None
            self._key = self._identity(os.fstat(self._file.fileno()))
            self._in_use.add(self._key)
        try:
            self._start(header)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _identity(status: os.stat_result) -> tuple[int, int]:
        return status.st_dev, status.st_ino

    def _start(self, header: dict[str, Scalar]) -> None:
        """Write the first line, or check that it is ours."""
        expected = _encode(header)
        self._file.seek(0)
        with self._lines() as lines:
            first = next(lines, b"")
        found = _decode(first)
        if found is None:
            if first.endswith(b"\n") or not expected.startswith(first):
                raise ValueError(
                    f"checkpoint must be a file made by forgetlib.sweep, got {str(self.path)!r}: "
                    "its first line is not one, or is damaged"
                )
            self._file.truncate(0)  # nothing, or a torn first line of this very sweep
            self._write(expected)
            return
        for name in {**header, **found}:
            if found.get(name) != header.get(name):
                raise ValueError(
                    f"checkpoint must come from the same sweep: {str(self.path)!r} was written "
                    f"with {name} {found.get(name)!r}, this sweep has {header.get(name)!r}; "
                    "take another file, or delete it to start anew"
                )

    @contextlib.contextmanager
    def _lines(self) -> Iterator[Iterator[bytes]]:
        reader = io.BufferedReader(self._file, 1 << 16)
        try:
            yield iter(reader)
        finally:
            reader.detach()

    def read(self, size: int) -> Iterator[tuple[int, dict[str, Scalar]]]:
        """Finished tasks; then drop what was torn at the end."""
        torn: tuple[int, int] | None = None
        position = 0
        self._file.seek(0)
        with self._lines() as lines:
            for number, line in enumerate(lines, 1):
                record = _decode(line)
                if record is None:
                    torn = torn or (number, position)
                elif torn:
                    raise self._damaged(torn[0], "does not match its checksum")
                elif number > 1:
                    index, values = record.get("index"), record.get("values")
                    if type(index) is not int or not 0 <= index < size:
                        raise self._damaged(number, f"has index {index!r}")
                    if not isinstance(values, dict):
                        raise self._damaged(number, "has no values")
                    yield index, task_values(values)
                position += len(line)
        if torn:
            self._file.truncate(torn[1])

    def _damaged(self, number: int, what: str) -> ValueError:
        return ValueError(
            f"checkpoint must not be damaged: line {number} of {str(self.path)!r} {what}; "
            "take another file, or delete that line to compute its task again"
        )

    def append(self, records: Iterable[tuple[int, dict[str, Scalar]]]) -> None:
        self._write(b"".join(_encode({"index": i, "values": values}) for i, values in records))
        now = time.monotonic()
        if now - self._synced > _BETWEEN_SYNCS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def _write(self, lines: bytes) -> None:
        """Append in one call to the system: what it has taken survives any death of ours."""
        if not self._whole:  # nothing may follow a torn line
            return
        self._whole = False
        written = self._file.write(lines)
        if written != len(lines):
            raise OSError(f"the disk took {written} of {len(lines)} bytes of {self.path}")
        self._whole = True

    def close(self) -> None:
        with self._guard:
            self._in_use.discard(self._key)
            with contextlib.suppress(OSError):
                os.fsync(self._file.fileno())
            self._file.close()


def _fingerprint(task: object) -> str:
    """A digest of the task's own code, its defaults, and the values it was made with.

    Comments, names of files and line numbers do not count. What the task calls is not
    looked into, nor are lists and other objects, which it may change as it runs.
    """
    digest = hashlib.sha256()
    seen: set[int] = set()

    def look(item: object) -> None:
        digest.update(f"<{type(item).__name__}>".encode())
        if isinstance(item, bool | int | float | complex | str | bytes) or item is None:
            digest.update(repr(item).encode())
        elif id(item) in seen:
            return
        elif isinstance(item, np.ndarray) and item.dtype.kind in "biufcSU":
            digest.update(f"{item.dtype}{item.shape}".encode() + item.tobytes())
        elif isinstance(item, types.CodeType):
            seen.add(id(item))
            digest.update(item.co_code)
            names = item.co_names + item.co_varnames + item.co_freevars
            look((*names, item.co_argcount, item.co_kwonlyargcount))
            look(item.co_consts)
        elif isinstance(item, types.FunctionType):
            seen.add(id(item))
            look(item.__code__)
            look(item.__defaults__)
            look(tuple(sorted((item.__kwdefaults__ or {}).items())))
            for cell in item.__closure__ or ():
                with contextlib.suppress(ValueError):  # not yet filled
                    look(cell.cell_contents)
        elif isinstance(item, types.MethodType):
            look(item.__func__)
        elif isinstance(item, functools.partial):
            look(item.func)
            look(item.args)
            look(tuple(sorted(item.keywords.items())))
        elif isinstance(item, tuple):
            digest.update(str(len(item)).encode())
            for part in item:
                look(part)
        elif isinstance(item, frozenset):
            look(sorted(map(repr, item)))
        elif not isinstance(item, type | types.ModuleType | types.BuiltinFunctionType):
            call = getattr(type(item), "__call__", None)  # noqa: B004
            if isinstance(call, types.FunctionType):
                look(call)
        else:
            digest.update(getattr(item, "__name__", "").encode())

    look(task)
    return digest.hexdigest()


def task_name(task: object) -> str:
    while isinstance(task, functools.partial):
        task = task.func
    return str(getattr(task, "__qualname__", type(task).__qualname__))


@functools.cache
def _version(package: str) -> str:
    return importlib.metadata.version(package)


def header(task: object, grid: str, rng: int) -> dict[str, Scalar]:
    """Everything that a result depends on, as far as it can be known."""
    return {
        "format": _FORMAT,
        "forgetlib": forgetlib.__version__,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        **{name: _version(name) for name in ("numpy", "scipy", "numba")},
        "grid": grid,
        "rng": rng,
        "task": task_name(task),
        "code of the task": _fingerprint(task),
    }
