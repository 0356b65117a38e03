r"""Grids of experiments: many small tasks, on one machine or on a cluster.

:func:`sweep` calls a task at every point of a grid, on threads, processes or any other
:class:`concurrent.futures.Executor`, and returns a tidy :class:`Table`, one row for each
point.

A task is a function ``task(rng, **point)`` that returns a mapping of names to numbers.
``rng`` is a seed of the task's own, made from the seed of the sweep and the place of the
point in the grid. So a result depends on neither the executor, nor the number of workers,
nor the order in which the tasks ran.

Order
    Tasks run in a shuffled order, fixed by the seed. The finished ones are then a fair
    sample of the grid, and tell how long the rest will take, however unequal the points
    are. That is shown as an interval, from the spread of the times so far.

Checkpoint
    A text file. Its first line says which sweep it belongs to, each other line holds one
    finished task, and each line carries a checksum. Lines are only ever appended, so a
    sweep can be killed at any moment: a torn last line is dropped. Numbers are written so
    that they are read back bit for bit. Nothing in the file is ever executed: it is JSON.

In flight
    Under a checkpoint each worker has one task at a time, and the next one leaves when the
    result is written; so a killed sweep computes again at most one task a worker. To Dask
    or MPI, where a trip to a worker may take milliseconds, short tasks travel together, as
    many as fit into 0.05 seconds; there it is one task a worker, or that much work.

Deaths
    A worker that dies takes its pool of processes with it. The sweep warns, makes a new
    pool, and tries each task that was lost once more, one at a time, so that the task that
    kills its worker again is known and named. A task that raises an exception is not tried
    again.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import inspect
import json
import keyword
import math
import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forgetlib import _arguments
from forgetlib._checkpoint import Checkpoint, Scalar, header, scalar, task_name, task_values
from forgetlib.ensemble import _available_workers

__all__ = ["Table", "sweep"]

Task = Callable[..., Mapping[str, Any]]
Grid = Mapping[str, Iterable[Any]] | Iterable[Mapping[str, Any]]

_TOGETHER = 0.05  # seconds that short tasks may travel together, to a worker far away
_MOST_TOGETHER = 1024
_MOST_POINTS = 10**8  # beyond it the table would not fit in memory
_BETWEEN_LOOKS = 1.0  # seconds between looks at the members of a cluster


# ------------------------------------------------------------------ values and points


def _column(values: Sequence[Scalar]) -> NDArray[Any]:
    """Values as an array: of bool, int64, float64 or str if they are all of a kind."""
    kinds = {type(value) for value in values}
    if kinds in ({bool}, {int}, {str}):
        return np.array(values)
    if kinds <= {int, float}:
        return np.array(values, dtype=np.float64)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


class _Points:
    """The points of a grid, made when they are asked for."""

    def __init__(self, grid: object) -> None:
        self.columns: dict[str, list[Scalar]]
        if isinstance(grid, Mapping):
            self.columns = {self._name(name): self._axis(name, grid[name]) for name in grid}
            self.shape = tuple(len(axis) for axis in self.columns.values())
        else:
            self.columns, rows = self._rows(grid)
            self.shape = (rows,)
        if not self.columns:
            raise ValueError(f"grid must have at least one name, got {grid!r:.200}")
        self.product = isinstance(grid, Mapping)
        self.size = math.prod(self.shape)
        if not 1 <= self.size <= _MOST_POINTS:
            raise ValueError(f"grid must have 1 to {_MOST_POINTS} points, got {self.size}")

    @staticmethod
    def _name(name: object) -> str:
        if (
            not isinstance(name, str)
            or not name.isidentifier()
            or keyword.iskeyword(name)
            or name == "rng"
        ):
            raise ValueError(
                "grid must have names that can be arguments of the task, other than 'rng' "
                f"(the seed), got {name!r}"
            )
        return name

    @staticmethod
    def _axis(name: str, values: object) -> list[Scalar]:
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
            raise ValueError(f"grid[{name!r}] must be a sequence of values, got {values!r:.200}")
        if isinstance(values, np.ndarray) and values.ndim != 1:
            raise ValueError(
                f"grid[{name!r}] must have one dimension, got an array of shape {values.shape}"
            )
        axis = [scalar(f"each value of grid[{name!r}]", value) for value in values]
        if not axis:
            raise ValueError(f"grid[{name!r}] must have at least one value, got {values!r}")
        return axis

    def _rows(self, grid: object) -> tuple[dict[str, list[Scalar]], int]:
        if isinstance(grid, str | bytes) or not isinstance(grid, Iterable):
            raise ValueError(
                "grid must map names to sequences of values, or be a sequence of points that "
                f"map names to values, got {grid!r:.200}"
            )
        columns: dict[str, list[Scalar]] = {}
        rows = 0
        for row, point in enumerate(grid):
            if not isinstance(point, Mapping):
                raise ValueError(f"grid[{row}] must map names to values, got {point!r:.200}")
            if row == 0:
                columns = {self._name(name): [] for name in point}
            if set(point) != set(columns):
                raise ValueError(
                    f"grid[{row}] must have the names {list(columns)} of the first point, "
                    f"got {list(point)!r:.200}"
                )
            for name, column in columns.items():
                column.append(scalar(f"grid[{row}][{name!r}]", point[name]))
            rows = row + 1
        return columns, rows

    def __getitem__(self, index: int) -> dict[str, Scalar]:
        if not self.product:
            return {name: column[index] for name, column in self.columns.items()}
        point: dict[str, Scalar] = {}
        for name, axis in reversed(self.columns.items()):
            index, place = divmod(index, len(axis))
            point[name] = axis[place]
        return dict(reversed(point.items()))

    def describe(self, index: int) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self[index].items())

    def summary(self) -> str:
        """Names, shape and a digest of every value."""
        text = json.dumps([self.product, self.columns])
        shape = " x ".join(map(str, self.shape))
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{', '.join(self.columns)}: {shape} points, sha256 {digest}"

    def table(self) -> dict[str, NDArray[Any]]:
        """One column for each name, the last name varying fastest."""
        arrays = {name: _column(column) for name, column in self.columns.items()}
        if self.product:
            mesh = np.meshgrid(*arrays.values(), indexing="ij", copy=False)
            arrays = {name: array.ravel() for name, array in zip(arrays, mesh, strict=True)}
        return arrays


# --------------------------------------------------------------------------- the table


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Table:
    """A tidy table: one row for each point of the grid, in the order of the grid.

    ``table["name"]`` is a column, ``len(table)`` the number of rows; iterating gives the names.

    Attributes
    ----------
    columns : dict of str to ndarray, each of shape (rows,)
        The names of the grid, then ``rng``, the seed that each task was given, then the
        names that the task returned. A column is read-only, of ``bool``, ``int64``,
        ``float64`` or strings, or of objects if its values are of several kinds.
    shape : tuple of int
        Shape of the grid: the number of values of each name, or ``(rows,)`` if the grid
        was a sequence of points.
    """

    columns: dict[str, NDArray[Any]]
    shape: tuple[int, ...]

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.columns:
            raise KeyError(f"{name!r} is not one of the columns {list(self.columns)}")
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return math.prod(self.shape)

    def on_grid(self, name: str) -> NDArray[Any]:
        """A column in the shape of the grid, as figures want it.

        Parameters
        ----------
        name : str
            Name of a column.

        Returns
        -------
        ndarray, of the shape of the grid
            Axes in the order of the names of the grid.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        return self[name].reshape(self.shape)

    def to_pandas(self) -> Any:
        """The table as a data frame.

        Returns
        -------
        pandas.DataFrame
            With copies of the columns.

        Raises
        ------
        ImportError
            If pandas is not installed. The columns are arrays without it.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "to_pandas needs pandas, which is not installed; `columns` holds the same "
                "values as arrays"
            ) from error
        return pandas.DataFrame({name: column.copy() for name, column in self.columns.items()})

    def __repr__(self) -> str:
        names = list(self.columns)
        rows = [
            [f"{value:.6g}" if isinstance(value, float) else str(value) for value in row]
            for row in zip(*(column[:6].tolist() for column in self.columns.values()), strict=True)
        ]
        widths = [max(map(len, cells)) for cells in zip(names, *rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in [names, *rows]
        ]
        shape = " x ".join(map(str, self.shape))
        more = ["..."] if len(self) > len(rows) else []
        return "\n".join([f"Table of {len(self)} rows, grid {shape}", *lines, *more])

    def _repr_html_(self) -> str | None:
        """In a notebook a data frame shows itself better, if there is pandas."""
        with contextlib.suppress(ImportError):
            return str(self.to_pandas()._repr_html_())
        return None


# -------------------------------------------------------------------------- the worker


@functools.cache
def _die_with(parent: int, own: int) -> None:
    """In a process that ``parent`` started: leave as soon as it is gone.

    A worker of a killed ProcessPoolExecutor would wait forever, and run what was queued.
    """
    me = multiprocessing.parent_process()
    if own == parent or me is None or me.pid != parent:
        return

    def watch() -> None:
        multiprocessing.connection.wait([me.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="forgetlib-sweep-watch", daemon=True).start()


def _work(
    task: Task, batch: list[tuple[int, dict[str, Scalar]]], seconds: float, parent: int, trip: str
) -> list[tuple[dict[str, Scalar], float]]:
    """Run tasks in turn while another one fits into ``seconds``, at least one of them.

    Returns the values and the time of each finished task. ``trip`` is different each time:
    Dask would give back the outcome of an equal call.
    """
    _die_with(parent, os.getpid())
    finished: list[tuple[dict[str, Scalar], float]] = []
    start = before = time.perf_counter()
    longest = 0.0
    for seed, point in batch:
        try:
            values = task_values(task(rng=seed, **point))
        except Exception:
            if not finished:
                raise
            break  # what is finished goes home first; this one comes again, alone
        now = time.perf_counter()
        finished.append((values, now - before))
        longest = max(longest, now - before)
        if now - start + longest > seconds:
            break
        before = now
    return finished


class _Crew:
    """An executor, and what is known of its workers."""

    def __init__(self, executor: object, workers: int | None) -> None:
        self._own: concurrent.futures.Executor | None = None
        if executor is None or executor == "threads":
            self.workers = workers or _available_workers()
            self._own = concurrent.futures.ThreadPoolExecutor(self.workers)
        elif executor == "processes":
            self.workers = workers or _available_workers()
            # not "fork", which copies locks that other threads hold
            methods = multiprocessing.get_all_start_methods()
            method = "forkserver" if "forkserver" in methods else "spawn"
            self._own = concurrent.futures.ProcessPoolExecutor(
                self.workers,
                mp_context=multiprocessing.get_context(method),
                initializer=signal.signal,  # Ctrl-C is for us: what runs shall finish
                initargs=(signal.SIGINT, signal.SIG_IGN),
            )
        elif not isinstance(executor, concurrent.futures.Executor):
            raise ValueError(
                "executor must be None, 'threads', 'processes' or a concurrent.futures.Executor, "
                f"got {executor!r}"
            )
        self.executor: Any = self._own or executor
        self.near = isinstance(
            self.executor,
            concurrent.futures.ThreadPoolExecutor | concurrent.futures.ProcessPoolExecutor,
        )
        self._client = getattr(self.executor, "_client", None)  # of Dask
        self._members = self._present()
        if self._own is None:
            self.workers = workers or self._count()
        self._looked = time.monotonic()

    def _present(self) -> set[str]:
        nthreads = getattr(self._client, "nthreads", None)
        return set(nthreads()) if callable(nthreads) else set()

    def _count(self) -> int:
        if self._members:
            return int(sum(self._client.nthreads().values()))  # type: ignore[union-attr]
        for name in ("num_workers", "_max_workers"):  # of MPI; of the standard library
            count = getattr(self.executor, name, None)
            if isinstance(count, int) and count >= 1:
                return count
        return _available_workers()

    def submit(self, *call: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = self.executor.submit(*call)
        return future

    def lost_members(self, *, now: bool = False) -> list[str]:
        """Workers that have left a Dask cluster since the last look."""
        if self._client is None or (not now and time.monotonic() - self._looked < _BETWEEN_LOOKS):
            return []
        self._looked = time.monotonic()
        present = self._present()
        lost = sorted(self._members - present)
        self._members = present
        return lost

    def renew(self) -> bool:
        """Put a new pool in the place of a broken one, if it is known how to."""
        broken = self.executor
        if type(broken) is not concurrent.futures.ProcessPoolExecutor:
            return False
        if self._own is not None:
            self._own.shutdown(wait=False)
        # the executor's own settings have no public names
        self.executor = self._own = concurrent.futures.ProcessPoolExecutor(
            getattr(broken, "_max_workers", self.workers),
            mp_context=getattr(broken, "_mp_context", None),
            initializer=getattr(broken, "_initializer", None),
            initargs=getattr(broken, "_initargs", ()),
        )
        return True

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._own is not None:  # what runs is finished by now, unless Ctrl-C came twice
            self._own.shutdown(wait=kind is not KeyboardInterrupt, cancel_futures=True)


# ------------------------------------------------------------------------ the progress


class _Estimate:
    """How long the rest will take, with the spread that the finished tasks show.

    Tasks run in a random order, so the mean time of those to come is that of the finished
    ones, up to a relative error of ``cv * sqrt(1/finished + 1/left)``, with ``cv`` the ratio
    of the standard deviation of a task's time to its mean.
    """

    def __init__(self) -> None:
        self.finished = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, seconds: float) -> None:
        self.finished += 1
        step = seconds - self.mean
        self.mean += step / self.finished
        self._squares += step * (seconds - self.mean)

    def left(self, elapsed: float, left: int) -> tuple[float, float] | None:
        """Two seconds between which the rest lies, in 95 of 100 sweeps; None if unknown."""
        if self.finished < 3 or left < 1:
            return None
        middle = elapsed / self.finished * left
        ratio = math.sqrt(self._squares / (self.finished - 1)) / max(self.mean, 1e-12)
        spread = math.exp(2.0 * ratio * math.sqrt(1.0 / self.finished + 1.0 / left))
        return middle / spread, middle * spread + self.mean  # the last worker to finish


class _Progress:
    """A bar, in a notebook or a terminal; nothing where there is neither."""

    def __init__(self, shown: bool, total: int, done: int) -> None:
        self._estimate = _Estimate()
        self._left = total - done
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        if shown:
            from tqdm.auto import tqdm  # imported when it is needed

            self._bar = tqdm(
                total=total,
                initial=done,
                disable=None,
                unit="task",
                bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
            )
            if self._bar.disable:  # no terminal
                self._bar = None

    def add(self, times: Sequence[float]) -> None:
        if self._bar is None:
            return
        self._left -= len(times)
        for seconds in times:
            self._estimate.add(seconds)
        if time.monotonic() - self._last > 0.2:
            self._tell()
        self._bar.update(len(times))

    def tick(self) -> None:
        """The time that passes while nothing finishes counts too."""
        if self._bar is not None:
            self._tell()
            self._bar.refresh()

    def _tell(self) -> None:
        self._last = time.monotonic()
        between = self._estimate.left(self._last - self._start, self._left)
        if between:
            low, high = map(self._bar.format_interval, between)
            self._bar.set_postfix_str(
                f"{low} to {high} left" if low != high else f"{low} left", refresh=False
            )

    def close(self) -> None:
        if self._bar is not None:
            if not self._left:
                self._bar.set_postfix_str("", refresh=False)
            self._bar.close()


# --------------------------------------------------------------------------- the sweep


class _Sweep:
    """The state of one sweep."""

    def __init__(
        self, task: Task, points: _Points, rng: int, crew: _Crew, checkpoint: Checkpoint | None
    ) -> None:
        self.task = task
        self.points = points
        self.crew = crew
        self.checkpoint = checkpoint
        seeds = np.random.SeedSequence(rng).generate_state(points.size, np.uint64)
        self.seeds = (seeds >> np.uint64(1)).astype(np.int64)
        self.finished = bytearray(points.size)
        self.count = 0
        self.results: dict[str, list[Scalar]] = {}
        self.names: list[str] = []
        order = np.random.default_rng(np.random.SeedSequence(rng, spawn_key=(0,)))
        self._order = map(int, order.permutation(points.size))
        self._returned: collections.deque[int] = collections.deque()
        self._suspects: collections.deque[int] = collections.deque()
        self._flying: dict[concurrent.futures.Future[Any], list[int]] = {}
        self._alone = False  # what flies is a task that may have killed a worker before
        self._landed: queue.SimpleQueue[concurrent.futures.Future[Any]] = queue.SimpleQueue()
        # one task a worker may be lost; without a checkpoint all are lost anyway
        self._most_flying = crew.workers * (1 if checkpoint else 2)
        self._seconds = 0.0 if crew.near else _TOGETHER
        self._together = 1
        self._trip = uuid.uuid4().hex
        self._trips = 0
        self._renewals = 0
        self._news: list[str] = []  # of deaths, to be told
        self._progress: _Progress | None = None

    # -- results

    def _keep(self, index: int, values: dict[str, Scalar]) -> bool:
        """Put the values of a point into the table; False if they are there already."""
        if self.finished[index]:
            return False
        if not self.results:
            clash = set(values) & set(self.points.columns)
            if clash:
                raise ValueError(
                    f"task must return names that are not in the grid, got {sorted(clash)}"
                )
            self.results = {name: [None] * self.points.size for name in values}
            self.names = list(values)
        if values.keys() != self.results.keys():
            raise ValueError(
                f"task must return the same names at every point: {sorted(values)} at "
                f"{self.points.describe(index)}, elsewhere {sorted(self.results)}"
            )
        self.finished[index] = 1
        self.count += 1
        if index == 0:
            self.names = list(values)  # an order that does not depend on who was first
        for name, value in values.items():
            self.results[name][index] = value
        return True

    def resume(self) -> None:
        """Take what is finished from the checkpoint."""
        if self.checkpoint is None:
            return
        for index, values in self.checkpoint.read(self.points.size):
            if not self._keep(index, values):
                raise ValueError(
                    f"checkpoint must not be damaged: {str(self.checkpoint.path)!r} holds two "
                    f"results for {self.points.describe(index)}"
                )

    def _record(self, indices: list[int], outcome: list[tuple[dict[str, Scalar], float]]) -> None:
        """Keep and write what came back; what did not come back is still to be done."""
        self._returned.extend(indices[len(outcome) :])
        new = [
            (index, values)
            for index, (values, _) in zip(indices, outcome, strict=False)
            if self._keep(index, values)
        ]
        if self.checkpoint and new:
            self.checkpoint.append(new)
        if self._progress:
            self._progress.add([seconds for _, seconds in outcome])

    # -- tasks

    def _next(self, most: int) -> list[int]:
        batch: list[int] = []
        while len(batch) < most:
            if self._returned:
                batch.append(self._returned.popleft())
                continue
            index = next(self._order, None)
            if index is None:
                break
            if not self.finished[index]:
                batch.append(index)
        return batch

    def _launch(self, indices: list[int], seconds: float) -> None:
        self._trips += 1
        batch = [(int(self.seeds[index]), self.points[index]) for index in indices]
        try:
            future = self.crew.submit(
                *(_work, self.task, batch, seconds, os.getpid(), f"{self._trip}-{self._trips}")
            )
        except concurrent.futures.BrokenExecutor as error:
            (self._suspects if self._alone else self._returned).extendleft(reversed(indices))
            self._bury(error)
            return
        self._flying[future] = indices
        future.add_done_callback(self._landed.put)

    def _fill(self) -> None:
        if self._suspects:
            if not self._flying:
                self._alone = True
                self._launch([self._suspects.popleft()], 0.0)
            return
        if self._alone and self._flying:
            return
        self._alone = False
        while len(self._flying) < self._most_flying and not self._suspects:
            indices = self._next(self._together)
            if not indices:
                return
            self._launch(indices, self._seconds)

    def run(self, progress: _Progress) -> None:
        """Run all tasks that are not finished."""
        self._progress = progress
        try:
            while self.count < self.points.size:
                self._fill()
                self._tell_news()
                if not self._flying:  # a pool broke just now: fill the new one
                    continue
                try:
                    self._land(self._landed.get(timeout=_BETWEEN_LOOKS))
                except queue.Empty:
                    progress.tick()
            self._tell_news(last=True)
        except BaseException:
            self._save_what_runs()
            raise

    def _land(self, future: concurrent.futures.Future[Any]) -> None:
        indices = self._flying.get(future)
        if indices is None:  # dealt with when its pool broke
            return
        try:
            outcome = future.result()
        except concurrent.futures.BrokenExecutor as error:
            self._bury(error)
            return
        except BaseException as error:
            del self._flying[future]
            if type(error).__name__ == "KilledWorker" and len(indices) > 1:
                self._report(indices, error)  # of Dask: one of these kills its workers
                return
            if isinstance(error, Exception):
                more = f" and {len(indices) - 1} more" if len(indices) > 1 else ""
                error.add_note(f"in the task at {self.points.describe(indices[0])}{more}")
            raise
        del self._flying[future]
        self._renewals = 0
        self._record(indices, outcome)
        if len(outcome) < len(indices):
            self._together = len(outcome)
        elif self._seconds and len(indices) >= self._together:
            self._together = min(2 * self._together, _MOST_TOGETHER)

    # -- deaths and interrupts

    def _bury(self, error: concurrent.futures.BrokenExecutor) -> None:
        """A pool broke: keep what it finished, suspect what it was running."""
        concurrent.futures.wait(self._flying)
        lost: list[int] = []
        for future, indices in self._flying.items():
            if not future.cancelled() and future.exception() is None:
                self._record(indices, future.result())
            else:
                lost += indices
        self._flying.clear()
        if self._alone and lost:
            raise RuntimeError(
                f"a worker died again while it ran the task at {self.points.describe(lost[0])}; "
                "what else is finished is kept in the checkpoint, if there is one"
            ) from error
        self._renewals += 1
        if self._renewals > 2:
            raise RuntimeError("the workers die before they run a task") from error
        if not self.crew.renew():
            error.add_note(
                f"a {type(self.crew.executor).__name__} cannot be used after that, and it is not "
                "known how to make another: resume from the checkpoint with a new one"
            )
            raise error
        self._report(lost, error)

    def _report(self, lost: list[int], error: BaseException) -> None:
        self._suspects.extend(lost)
        where = "; ".join(self.points.describe(index) for index in lost[:4])
        more = f"; and {len(lost) - 4} more" if len(lost) > 4 else ""
        what = f"tried again, one at a time: {where}{more}" if lost else "it ran no task"
        self._news.append(f"a worker died ({type(error).__name__}); {what}")

    def _tell_news(self, *, last: bool = False) -> None:
        """Warn of deaths, at the line that called the sweep."""
        self._news += [
            f"a worker died or left the cluster ({member}); what it ran is tried again by another"
            for member in self.crew.lost_members(now=last)
        ]
        while self._news:
            warnings.warn(self._news.pop(0), RuntimeWarning, stacklevel=4)

    def _save_what_runs(self) -> None:
        """After an error: cancel what waits, and keep what was running when it is done."""
        for future in self._flying:
            future.cancel()
        concurrent.futures.wait(self._flying)
        for future, indices in self._flying.items():
            if not future.cancelled() and future.exception() is None:
                with contextlib.suppress(Exception):  # the first error is the one to be told
                    self._record(indices, future.result())

    def table(self) -> Table:
        columns = {
            **self.points.table(),
            "rng": self.seeds,
            **{name: _column(self.results[name]) for name in self.names},
        }
        for column in columns.values():
            column.flags.writeable = False
        return Table(columns, self.points.shape)


def _check_signature(task: Task, points: _Points) -> None:
    try:
        signature = inspect.signature(task)
    except (TypeError, ValueError):  # not every callable can tell
        return
    try:
        signature.bind(rng=0, **points[0])
    except TypeError as error:
        raise ValueError(
            f"task must take the arguments rng, {', '.join(points.columns)} by name, "
            f"got {task_name(task)}{signature} ({error})"
        ) from None


def sweep(
    task: Task,
    grid: Grid,
    executor: Literal["threads", "processes"] | concurrent.futures.Executor | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
    *,
    rng: int = 7,
    workers: int | None = None,
) -> Table:
    """Call a task at every point of a grid, and gather the results in a table.

    Parameters
    ----------
    task : callable
        ``task(rng, **point)`` gets a seed of its own (an integer below ``2**63``) and the
        values of the point by name. It returns a mapping of names to numbers, strings,
        True, False or None, with the same names at every point.
    grid : mapping of str to sequence, or sequence of mappings
        A value for each combination of the values of all names, the last name varying
        fastest; or the points themselves. Values are numbers, strings, True, False or None:
        the task makes mixtures and objectives from them. At most 10**8 points.
    executor : None, "threads", "processes" or concurrent.futures.Executor
        Where tasks run. None is ``"threads"``: right for :func:`forgetlib.simulate`, whose
        loops run without Python's lock. For ``"processes"`` the task must be importable,
        and a script needs its ``if __name__ == "__main__":``. An executor that is passed
        in is not shut down.
    checkpoint : path, optional
        File of finished tasks. If it exists the sweep goes on from there, else it is made.
    progress : bool
        Show a bar with the time that is left, in a notebook or a terminal; nothing is shown
        where there is neither.
    rng : int
        Seed of the sweep.
    workers : int, optional
        Tasks at a time. By default as many as the executor has workers, which is the number
        of available cores for ``"threads"`` and ``"processes"``.

    Returns
    -------
    Table
        One row for each point, in the order of the grid.

    Raises
    ------
    ValueError
        If an argument is not as described; if the checkpoint was written by a sweep with
        another grid, seed, task or version (of forgetlib, Python, NumPy, SciPy or Numba);
        if it is damaged or in use.
    RuntimeError
        If a worker dies again at a task that is tried again.
    Exception
        Whatever the task raises, with a note that names the point, after what was running
        is finished and saved. The same holds for Ctrl-C; a second one does not wait.

    Warns
    -----
    RuntimeWarning
        If a worker dies. Its task is tried again once.

    Notes
    -----
    In a task pass ``workers=1`` to :func:`forgetlib.simulate`: the sweep has all cores at
    work already.

    A checkpoint knows a task by its name and its own code, without its comments. It does not
    see a change of the functions that the task calls.

    A Dask cluster is ``client.get_executor()``, MPI is ``mpi4py.futures.MPIPoolExecutor()``.
    Their workers need forgetlib and the task; the checkpoint is written here alone. Results
    are the same to the last bit on machines with the same libraries and kind of processor. Dask
    itself decides how often it tries a task whose worker dies (its setting
    ``distributed.scheduler.allowed-failures``).

    Examples
    --------
    >>> import forgetlib as fl
    >>> def drift(rng, replay, learning_rate):
    ...     target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    ...     ensemble = fl.simulate(
    ...         fl.ReverseKL(target, replay=replay), target, steps=20, batch_size=16,
    ...         learning_rate=learning_rate, replicates=40, rng=rng, workers=1, train="old_mean")
    ...     distance = abs(ensemble.old_mean[:, -1, 0])
    ...     return {"drift": distance.mean(), "stderr": distance.std(ddof=1) / 40**0.5}
    >>> table = fl.sweep(drift, {"replay": [0.0, 0.2], "learning_rate": [0.1, 0.2, 0.4]},
    ...                  progress=False)
    >>> list(table.columns)
    ['replay', 'learning_rate', 'rng', 'drift', 'stderr']
    >>> table.on_grid("drift").shape
    (2, 3)
    """
    if not callable(task):
        raise ValueError(f"task must be callable, got {task!r}")
    points = _Points(grid)
    _check_signature(task, points)
    progress = _arguments.flag("progress", progress)
    rng = _arguments.integer("rng", rng, 0)
    if workers is not None:
        workers = _arguments.integer("workers", workers, 1)
    if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
        raise ValueError(f"checkpoint must be None or a path, got {checkpoint!r}")

    with contextlib.ExitStack() as stack:
        crew = stack.enter_context(_Crew(executor, workers))
        file = None
        if checkpoint is not None:
            file = Checkpoint(Path(checkpoint), header(task, points.summary(), rng))
            stack.callback(file.close)
        run = _Sweep(task, points, rng, crew, file)
        run.resume()
        with contextlib.closing(_Progress(progress, points.size, run.count)) as bar:
            run.run(bar)
        return run.table()
