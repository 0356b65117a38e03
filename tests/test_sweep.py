"""Sweeps: the same bits everywhere, through kills, deaths, damage and interrupts."""

from __future__ import annotations

import ast
import concurrent.futures
import concurrent.futures.process
import functools
import inspect
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sweep_tasks as tasks

import forgetlib as fl
import forgetlib.sweep
from forgetlib import _checkpoint

sweep_module = sys.modules["forgetlib.sweep"]
quiet = functools.partial(fl.sweep, progress=False)
GRID = {"a": range(5), "b": [0.5, 1.5, -0.0]}


@pytest.fixture(scope="module")
def dask() -> Iterator[concurrent.futures.Executor]:
    """A cluster of two processes, reached through the network."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(os.environ.update, {"SWEEP": "1"})  # both are up
        yield client.get_executor()


on_dask = pytest.mark.xdist_group("dask")


# ---------------------------------------------------------------- the same bits everywhere


def everywhere(task: Callable[..., Any], grid: Any, dask: Any, tmp_path: Path) -> list[fl.Table]:
    tables = [
        quiet(task, grid, workers=1),
        quiet(task, grid, workers=3),
        quiet(task, grid, "processes", workers=2),
        quiet(task, grid, dask),
        quiet(task, grid, dask, tmp_path / "dask"),
        quiet(task, grid, checkpoint=tmp_path / "one"),
    ]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        tables.append(quiet(task, grid, pool))
        tables.append(quiet(task, grid, pool, tmp_path / "one"))  # all of it from the file
        assert pool.submit(int).result() == 0  # not shut down
    return tables


@on_dask
def test_results_are_the_same_bits_on_every_executor(dask: Any, tmp_path: Path) -> None:
    first, *others = everywhere(tasks.values, GRID, dask, tmp_path)
    assert {tasks.digest(other) for other in others} == {tasks.digest(first)}
    assert np.signbit(first["b"]).sum() == 5
    assert np.signbit(first["odd"][first["odd"] == 0]).all()
    assert np.isnan(first["odd"]).sum() == 6


@on_dask
def test_ensembles_are_the_same_bits_on_every_executor(dask: Any, tmp_path: Path) -> None:
    grid = {"replay": [0.0, 0.3], "learning_rate": [0.1, 0.5]}
    row = quiet(tasks.ensemble, grid)
    assert tasks.digest(quiet(tasks.ensemble, grid, dask, tmp_path / "file")) == tasks.digest(row)
    again = tasks.ensemble(int(row["rng"][3]), replay=0.3, learning_rate=0.5)
    assert again["mean"] == row["mean"][3]  # a row can be computed by hand


def test_seeds_are_of_their_own_and_follow_the_seed_of_the_sweep() -> None:
    table = quiet(tasks.numbers, {"a": range(1000)})
    assert len(set(table["rng"].tolist())) == 1000
    assert table["rng"].min() >= 0
    # 1000 normals: mean and variance within 4 standard errors (false alarms: 1 in 8000)
    assert abs(table["normal"].mean()) < 4 / 1000**0.5
    assert abs(table["normal"].var() - 1) < 4 * (2 / 1000) ** 0.5
    other = quiet(tasks.numbers, {"a": range(1000)}, rng=8)
    assert not set(table["rng"].tolist()) & set(other["rng"].tolist())


# ------------------------------------------------------------------------------ the table


def test_table_is_tidy() -> None:
    table = quiet(tasks.values, GRID)
    assert list(table) == ["a", "b", "rng", *tasks.values(1, 1, 1.0)]
    assert len(table) == 15
    assert table.shape == (5, 3)
    assert table["a"].tolist() == [a for a in range(5) for _ in range(3)]
    assert table["b"].tolist() == [0.5, 1.5, -0.0] * 5
    kinds = {name: table[name].dtype.kind for name in table}
    assert kinds == {
        **{"a": "i", "b": "f", "rng": "i", "normal": "f", "tiny": "f", "odd": "f"},
        **{"integer": "i", "flag": "b", "text": "U", "mixed": "O"},
    }
    assert table.on_grid("normal").shape == (5, 3)
    assert table.on_grid("normal")[2, 1] == table["normal"][7]
    assert not any(column.flags.writeable for column in table.columns.values())
    assert repr(table).startswith("Table of 15 rows, grid 5 x 3\na")
    assert repr(table).endswith("\n...")
    with pytest.raises(KeyError, match="'none' is not one of the columns"):
        table["none"]


def test_points_can_be_listed() -> None:
    points = [{"a": 3, "b": 0.5}, {"b": 2, "a": 1}, {"a": 3, "b": 0.5}]
    table = quiet(tasks.tiny, points)
    assert table.shape == (3,)
    assert table["a"].tolist() == [3, 1, 3]
    assert table["b"].tolist() == [0.5, 2.0, 0.5]
    assert table["sum"].tolist() == [3.5, 3.0, 3.5]
    assert table["rng"][0] != table["rng"][2]


def test_points_are_given_as_they_are_not_as_columns() -> None:
    def kind(rng: int, a: Any) -> dict[str, Any]:
        return {"kind": type(a).__name__}

    axis = [np.float32(0.5), np.int64(3), True, "text", None, np.bool_(False), np.array(2)]
    table = quiet(kind, {"a": axis})
    assert table["kind"].tolist() == ["float", "int", "bool", "str", "NoneType", "bool", "int"]


def test_table_becomes_a_data_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas

    table = quiet(tasks.values, GRID)
    frame = table.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(table)
    for name in table:
        np.testing.assert_array_equal(frame[name].to_numpy(), table[name])
    frame.loc[0, "a"] = 9  # a copy
    assert table["a"][0] == 0
    assert "<table" in str(table._repr_html_())
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert table._repr_html_() is None
    with pytest.raises(ImportError, match="not installed; `columns` holds the same"):
        table.to_pandas()


# ------------------------------------------------------------------------------ bad input


def no_rng(a: int) -> dict[str, float]:
    return {"x": 1.0}


BAD = [
    ({"task": 3}, "task must be callable, got 3"),
    ({"task": no_rng}, "task must take the arguments rng, a by name, got no_rng"),
    ({"grid": {"c": [1]}}, r"task must take the arguments rng, c by name, got numbers"),
    ({"grid": {}}, "grid must have at least one name"),
    ({"grid": []}, "grid must have at least one name"),
    ({"grid": [{}]}, "grid must have at least one name"),
    ({"grid": 3}, "grid must map names to sequences of values"),
    ({"grid": "ab"}, "grid must map names to sequences of values"),
    ({"grid": {"a": []}}, r"grid\['a'\] must have at least one value"),
    ({"grid": {"a": "xy"}}, r"grid\['a'\] must be a sequence of values, got 'xy'"),
    ({"grid": {"a": 3}}, r"grid\['a'\] must be a sequence of values, got 3"),
    ({"grid": {"a": np.ones((2, 2))}}, r"grid\['a'\] must have one dimension"),
    ({"grid": {"a": [1j]}}, r"each value of grid\['a'\] must be a number"),
    ({"grid": {"a": [2**63]}}, r"each value of grid\['a'\] must be a number"),
    ({"grid": {"a": [[1, 2]]}}, r"each value of grid\['a'\] must be a number"),
    ({"grid": {"rng": [1]}}, "grid must have names that can be arguments .*, got 'rng'"),
    ({"grid": {"a b": [1]}}, "grid must have names that can be arguments .*, got 'a b'"),
    ({"grid": {"if": [1]}}, "grid must have names that can be arguments .*, got 'if'"),
    ({"grid": {1: [1]}}, "grid must have names that can be arguments .*, got 1"),
    ({"grid": [{"a": 1}, {"b": 1}]}, r"grid\[1\] must have the names \['a'\]"),
    ({"grid": [{"a": 1}, 3]}, r"grid\[1\] must map names to values, got 3"),
    ({"grid": [{"a": [1]}]}, r"grid\[0\]\['a'\] must be a number"),
    ({"grid": dict.fromkeys("abcdef", range(100))}, "grid must have 1 to 100000000 points"),
    ({"executor": "cluster"}, "executor must be None, 'threads', 'processes' or"),
    ({"executor": 2}, "executor must be None, 'threads', 'processes' or"),
    ({"checkpoint": 3}, "checkpoint must be None or a path, got 3"),
    ({"checkpoint": "/nowhere/at/all"}, "checkpoint must be a file that can be written"),
    ({"checkpoint": os.curdir}, "checkpoint must be a file that can be written"),
    ({"progress": 1}, "progress must be True or False"),
    ({"rng": -1}, "rng must be an integer >= 0"),
    ({"rng": None}, "rng must be an integer >= 0"),
    ({"workers": 0}, "workers must be an integer >= 1"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_one_clear_error(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"task": tasks.numbers, "grid": {"a": [1]}, "progress": False}
    with pytest.raises(ValueError, match=message):
        fl.sweep(**{**arguments, **change})


RETURNS = [
    (3.0, "task must return a mapping of names to numbers, got 3.0"),
    ({}, "task must return a mapping of names to numbers"),
    ({1: 2.0}, "task must return a mapping whose names are strings .*, got 1"),
    ({"rng": 2.0}, "task must return a mapping whose names are strings .*, got 'rng'"),
    ({"a": 2.0}, r"task must return names that are not in the grid, got \['a'\]"),
    ({"x": [1.0, 2.0]}, "task's 'x' must be a number"),
    ({"x": 2.0j}, "task's 'x' must be a number"),
    ({"x": 2**70}, "task's 'x' must be a number"),
]


@pytest.mark.parametrize(("result", "message"), RETURNS)
def test_bad_results_are_one_clear_error(result: Any, message: str) -> None:
    def task(rng: int, a: int) -> Any:
        return result

    with pytest.raises(ValueError, match=message):
        quiet(task, {"a": [1, 2]})


def test_names_must_be_the_same_at_every_point() -> None:
    def task(rng: int, a: int) -> dict[str, int]:
        return {"xy"[a]: 1}

    with pytest.raises(ValueError, match="task must return the same names at every point"):
        quiet(task, {"a": [0, 1]}, workers=1)


# ------------------------------------------------------------------------- the checkpoint


def test_finished_sweep_runs_nothing_again(tmp_path: Path) -> None:
    calls = []

    def task(rng: int, a: int) -> dict[str, int]:
        calls.append(a)
        return {"x": a}

    first = quiet(task, {"a": range(9)}, checkpoint=tmp_path / "file")
    before = (tmp_path / "file").read_bytes()
    second = quiet(task, {"a": range(9)}, checkpoint=str(tmp_path / "file"))
    assert sorted(calls) == list(range(9))
    assert tasks.digest(first) == tasks.digest(second)
    assert (tmp_path / "file").read_bytes() == before


def test_torn_last_line_at_every_byte(tmp_path: Path) -> None:
    """Cut the file anywhere in its last line, and in its first."""
    path = tmp_path / "file"
    grid = {"a": range(4), "b": [0.5]}
    whole = tasks.digest(quiet(tasks.values, grid, checkpoint=path, workers=1))
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    head = b"".join(lines[:-1])
    for cut in range(len(lines[-1])):
        path.write_bytes(head + lines[-1][:cut])
        assert tasks.digest(quiet(tasks.values, grid, checkpoint=path, workers=1)) == whole
        assert path.read_bytes() == b"".join(lines)
    for cut in range(0, len(lines[0]), 9):
        path.write_bytes(lines[0][:cut])
        assert tasks.digest(quiet(tasks.values, grid, checkpoint=path, workers=1)) == whole
        assert path.read_bytes() == b"".join(lines)


def test_damage_at_the_end_is_computed_again_and_elsewhere_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    grid = {"a": range(4), "b": [0.5]}
    whole = tasks.digest(quiet(tasks.values, grid, checkpoint=path))
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    starts = np.cumsum([0, *map(len, lines)])
    rng = np.random.default_rng(3)
    for number in range(5):
        for place in rng.integers(starts[number], starts[number + 1] - 1, 20):
            bad = bytearray(good)
            bad[place] ^= 1 << rng.integers(7)
            path.write_bytes(bad)
            if number == 4:
                assert tasks.digest(quiet(tasks.values, grid, checkpoint=path)) == whole
                continue
            what = (
                "first line is not one, or is damaged" if number == 0 else f"line {number + 1} of"
            )
            with pytest.raises(ValueError, match=what):
                quiet(tasks.values, grid, checkpoint=path)
            assert path.read_bytes() == bytes(bad)  # refused, and left alone
    path.write_bytes(good + b"\0" * 5000)  # what a power cut may leave
    assert tasks.digest(quiet(tasks.values, grid, checkpoint=path)) == whole
    assert path.read_bytes() == good


def rewritten(line: bytes, **changes: Any) -> bytes:
    return bytes(_checkpoint._encode({**json.loads(line[9:]), **changes}))


def test_checkpoint_of_another_sweep_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    grid = {"a": [0, 1], "b": [0.5]}
    quiet(tasks.values, grid, checkpoint=path)
    good = path.read_bytes()
    refused = functools.partial(pytest.raises, ValueError)
    with refused(match=r"was written with rng 7, this sweep has rng 8|rng 7, this sweep has 8"):
        quiet(tasks.values, grid, checkpoint=path, rng=8)
    for other in (
        {"a": [0, 1], "b": [0.25]},
        {"a": [0.0, 1], "b": [0.5]},
        {"a": [1, 0], "b": [0.5]},
        {"b": [0.5], "a": [0, 1]},
        {"a": [0, 1], "b": [0.5, 0.5]},
        [{"a": 0, "b": 0.5}, {"a": 1, "b": 0.5}],
    ):
        with refused(match=r"was written with grid 'a, b: 2 x 1 points, sha256 \w+', this sweep"):
            quiet(tasks.values, other, checkpoint=path)
    with refused(match="was written with task 'values', this sweep has 'tiny'"):
        quiet(tasks.tiny, grid, checkpoint=path)
    with monkeypatch.context() as patch:
        patch.setattr(fl, "__version__", "0.2.0")
        with refused(match=r"was written with forgetlib '0\.1\.0', this sweep has '0\.2\.0'"):
            quiet(tasks.values, grid, checkpoint=path)
    lines = good.splitlines(keepends=True)
    for name in ("format", "python", "numpy", "scipy", "numba", "code of the task"):
        path.write_bytes(rewritten(lines[0], **{name: "other"}) + b"".join(lines[1:]))
        with refused(match=f"was written with {name} 'other', this sweep has"):
            quiet(tasks.values, grid, checkpoint=path)
    path.write_bytes(rewritten(lines[0], more=1) + b"".join(lines[1:]))
    with refused(match="was written with more 1, this sweep has None"):
        quiet(tasks.values, grid, checkpoint=path)
    path.write_text("my data, not a checkpoint")
    with refused(match="checkpoint must be a file made by "):
        quiet(tasks.values, grid, checkpoint=path)
    assert path.read_text() == "my data, not a checkpoint"


def test_lines_with_a_checksum_and_no_sense_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    grid = {"a": [0, 1], "b": [0.5]}
    quiet(tasks.values, grid, checkpoint=path)
    lines = path.read_bytes().splitlines(keepends=True)
    for changes, what in [
        ({"index": 2}, "line 3 .* has index 2"),
        ({"index": -1}, "line 3 .* has index -1"),
        ({"index": True}, "line 3 .* has index True"),
        ({"index": json.loads(lines[1][9:])["index"]}, "two results for a="),
        ({"values": [1]}, "line 3 .* has no values"),
        ({"values": {"x": 1}}, "the same names at every point"),
        ({"values": {"x": {"deep": 1}}}, "'x' must be a number"),
    ]:
        path.write_bytes(lines[0] + lines[1] + rewritten(lines[2], **changes))
        with pytest.raises(ValueError, match=what):
            quiet(tasks.values, grid, checkpoint=path)


def test_task_is_known_by_its_code_not_its_comments() -> None:
    def function(text: str, name: str = "task") -> Any:
        space: dict[str, Any] = {"np": np}
        exec(compile(text, "<test>", "exec"), space)
        return space[name]

    def mark(task: Any) -> str:
        return str(_checkpoint._fingerprint(task))

    base = "def task(rng, a):\n    return {'x': a + 1}\n"
    same = "# why\n\ndef task(rng,  a):\n    # because\n    return {'x': (a + 1)}\n"
    assert mark(function(base)) == mark(function(same))
    others = [
        base.replace("+ 1", "+ 2"),
        base.replace("+ 1", "+ 1.0"),
        base.replace("+ 1", "- 1"),
        base.replace("'x'", "'y'"),
        base.replace("a)", "a, b=1)"),
        base.replace("a + 1", "np.sin(a)"),
        base.replace("a + 1", "np.cos(a)"),
        base.replace("a + 1", "(lambda: a + 1)()"),
        base.replace("a + 1", "(lambda: a + 2)()"),
    ]
    assert len({mark(function(text)) for text in [base, *others]}) == 1 + len(others)

    def made(scale: Any) -> Callable[..., Any]:
        return lambda rng, a: {"x": scale * a}

    assert mark(made(2)) == mark(made(2)) != mark(made(3))
    assert mark(made(np.arange(3))) == mark(made(np.arange(3))) != mark(made(np.arange(4)))
    partial = functools.partial
    assert mark(partial(tasks.tiny, b=1)) == mark(partial(tasks.tiny, b=1))
    assert mark(partial(tasks.tiny, b=1)) != mark(partial(tasks.tiny, b=2))
    assert _checkpoint.task_name(partial(tasks.tiny, b=1)) == "tiny"
    words = "def task(rng, a):\n    return {'x': a in {'one', 'two', 'three', 'four'}}\n"
    code = (
        "import sys, forgetlib._checkpoint as file; space = {}; exec(sys.argv[1], space); "
        "print(file._fingerprint(space['task']))"
    )
    marks = {
        subprocess.run(
            [sys.executable, "-c", code, words],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(marks) == 1


def test_two_sweeps_do_not_share_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = (
        "import sys, forgetlib as fl, sweep_tasks as tasks\n"
        "try: fl.sweep(tasks.numbers, {'a': [1, 2]}, checkpoint=sys.argv[1], progress=False)\n"
        "except ValueError as error: print(error)\n"
    )

    def task(rng: int, a: int) -> dict[str, int]:
        if a == 1:
            with pytest.raises(ValueError, match="checkpoint must not be in use by another sweep"):
                quiet(tasks.numbers, {"a": [1, 2]}, checkpoint=path)
            other = subprocess.run(
                [sys.executable, "-c", code, str(path)],
                cwd=Path(__file__).parent,
                capture_output=True,
                text=True,
                check=True,
            )
            assert "checkpoint must not be in use by another sweep" in other.stdout
        return {"x": a}

    assert quiet(task, {"a": [1, 2]}, checkpoint=path)["x"].tolist() == [1, 2]
    quiet(task, {"a": [1, 2]}, checkpoint=path)  # free again


def test_full_disk_is_an_error_and_the_file_stays_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    grid = {"a": range(8), "b": [0.5]}
    whole = tasks.digest(quiet(tasks.values, grid))
    written = 0

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, data: bytes) -> int:
            nonlocal written
            written += 1
            return int(self.file.write(data[:30] if written >= 4 else data))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    start = _checkpoint.Checkpoint._start

    def patched(self: Any, header: Any) -> None:
        start(self, header)
        self._file = Full(self._file)

    with monkeypatch.context() as patch:
        patch.setattr(_checkpoint.Checkpoint, "_start", patched)
        patch.setattr(_checkpoint.Checkpoint, "read", lambda self, size: iter(()))
        with pytest.raises(OSError, match="the disk took 30 of"):
            quiet(tasks.values, grid, checkpoint=path, workers=3)
    assert written == 4
    assert tasks.digest(quiet(tasks.values, grid, checkpoint=path)) == whole


def test_nothing_that_is_stored_is_ever_executed(tmp_path: Path) -> None:
    """No unpickling, no evaluation: not in the source, and not of a file that invites to it."""
    source = inspect.getsource(_checkpoint) + inspect.getsource(sweep_module)
    nodes = list(ast.walk(ast.parse(source.replace("from __future__ import annotations", ""))))
    imported = {
        alias.name.split(".")[0]
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    assert {"zlib", "queue"} <= imported
    assert not imported & {"pickle", "marshal", "shelve", "joblib", "dill", "cloudpickle"}
    assert not called & {"eval", "exec", "np.load", "numpy.load", "np.fromfile", "__import__"}
    import pickle

    class Mean:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "executed"),)

    path = tmp_path / "file"
    good = pickle.dumps(Mean())
    for content in (good, b"%08x %s\n" % (zlib.crc32(good), good)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="checkpoint must be a file made by "):
            quiet(tasks.numbers, {"a": [1]}, checkpoint=path)
    assert not (tmp_path / "executed").exists()


# --------------------------------------------------------------------------------- kill -9


def start_sweep(kind: str, path: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-c", "import sys, sweep_tasks; sweep_tasks.killed(*sys.argv[1:])"),
            *(kind, str(path / "checkpoint")),
        ],
        cwd=Path(__file__).parent,
        env={**os.environ, "SWEEP_LOG": str(path / "log"), "SWEEP_SECONDS": str(seconds)},
        stdout=subprocess.PIPE,
        text=True,
    )


def log_lines(path: Path) -> list[str]:
    try:
        return (path / "log").read_text().splitlines()
    except FileNotFoundError:
        return []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize(
    ("kind", "kills", "seconds"),
    [
        ("threads", 3, 0.02),
        ("processes", 2, 0.02),
        ("forked", 2, 0.02),
        pytest.param("dask", 1, 0.06, marks=on_dask),
    ],
)
def test_killed_sweep_goes_on_with_the_same_bits(
    kind: str, kills: int, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most one task a worker runs again after each kill, and no worker is left behind."""
    monkeypatch.setenv("SWEEP_LOG", str(tmp_path / "unused"))
    monkeypatch.setenv("SWEEP_SECONDS", "0")
    expected = tasks.digest(quiet(tasks.logged, tasks.GRID))
    rng = np.random.default_rng([kills, len(kind)])
    moments = np.sort(rng.integers(1, 55, kills)) + np.arange(kills)
    for moment in moments:
        with start_sweep(kind, tmp_path, seconds) as process:
            deadline = time.monotonic() + 60
            while len(log_lines(tmp_path)) < moment and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            time.sleep(rng.uniform(0, seconds))
            process.send_signal(signal.SIGKILL)
        workers = {int(line.split()[2]) for line in log_lines(tmp_path)}
        while any(map(is_running, workers)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        started = {line.rpartition(" ")[0] for line in log_lines(tmp_path)}
        try:
            recorded = (tmp_path / "checkpoint").read_bytes().count(b"\n") - 1
        except FileNotFoundError:
            recorded = 0
        assert len(started) - recorded <= 2, (started, recorded)
    with start_sweep(kind, tmp_path, 0.0) as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out.strip() == expected
    assert len(log_lines(tmp_path)) - 60 <= 2 * kills
    assert len({line.rpartition(" ")[0] for line in log_lines(tmp_path)}) == 60


# ----------------------------------------------------------------- deaths, errors, Ctrl-C


@pytest.mark.parametrize("kind", ["processes", "given"])
def test_worker_that_dies_is_reported_and_its_task_tried_again(kind: str, tmp_path: Path) -> None:
    grid = {"a": range(8), "folder": [str(tmp_path)], "deaths": [1]}
    expected = quiet(tasks.numbers, {"a": range(8)})
    pool = concurrent.futures.ProcessPoolExecutor(2) if kind == "given" else "processes"
    with pytest.warns(RuntimeWarning, match=r"a worker died.*tried again.*a=3, folder=") as caught:
        table = quiet(tasks.dies, grid, pool, workers=2)
    assert len(caught) == 1
    assert caught[0].filename == __file__  # the line that asked for the sweep
    assert table["normal"].tolist() == expected["normal"].tolist()
    assert len(list(tmp_path.iterdir())) == 2  # once, and once again
    if isinstance(pool, concurrent.futures.ProcessPoolExecutor):
        pool.shutdown()


def test_second_death_is_an_error_that_names_the_point(tmp_path: Path) -> None:
    folder = tmp_path / "deaths"
    folder.mkdir()
    grid = {"a": range(8), "folder": [str(folder)], "deaths": [2]}
    path = tmp_path / "file"
    with (
        pytest.warns(RuntimeWarning, match="a worker died"),
        pytest.raises(RuntimeError, match="died again while it ran the task at a=3, folder="),
    ):
        quiet(tasks.dies, grid, "processes", path, workers=2)
    assert len(list(folder.iterdir())) == 2  # not a third time
    table = quiet(tasks.dies, grid, "processes", path, workers=2)  # the third goes well
    assert table["normal"].tolist() == quiet(tasks.numbers, {"a": range(8)})["normal"].tolist()


def test_innocent_tasks_are_not_blamed(tmp_path: Path) -> None:
    """Many tasks are lost with the pool; only the one that kills again is named."""
    folder = tmp_path / "deaths"
    folder.mkdir()
    grid = {"a": range(8), "folder": [str(folder)], "deaths": [9]}
    with (
        pytest.warns(RuntimeWarning, match="a worker died"),
        pytest.raises(RuntimeError, match="the task at a=3, "),
    ):
        quiet(tasks.dies, grid, "processes", tmp_path / "file", workers=4)
    assert len(list(folder.iterdir())) == 2


def test_pool_that_cannot_start_is_an_error() -> None:
    pool = concurrent.futures.ProcessPoolExecutor(1, initializer=os._exit, initargs=(1,))
    with (
        pytest.warns(RuntimeWarning, match="a worker died"),
        pytest.raises(RuntimeError, match=r"died again while it ran|die before they run"),
        pool,
    ):
        quiet(tasks.numbers, {"a": range(8)}, pool)


def test_pools_that_break_again_and_again_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*call: object) -> None:
        raise concurrent.futures.process.BrokenProcessPool("at once")

    monkeypatch.setattr(concurrent.futures.ProcessPoolExecutor, "submit", broken)
    with pytest.raises(RuntimeError, match="the workers die before they run a task"):
        quiet(tasks.numbers, {"a": range(8)}, "processes")


def test_pool_of_an_unknown_kind_that_breaks_says_what_to_do() -> None:
    def no(*_: object) -> None:
        raise OSError("no")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pytest.PytestUnhandledThreadExceptionWarning)
        with (
            concurrent.futures.ThreadPoolExecutor(1, initializer=no) as pool,
            pytest.raises(concurrent.futures.BrokenExecutor) as caught,
        ):
            quiet(tasks.numbers, {"a": range(3)}, pool)
    assert "resume from the checkpoint with a new one" in caught.value.__notes__[0]


@on_dask
def test_dask_worker_that_dies_is_reported_and_its_task_tried_again(
    dask: Any, tmp_path: Path
) -> None:
    grid = {"a": range(8), "folder": [str(tmp_path)], "deaths": [1]}
    with pytest.warns(RuntimeWarning, match=r"a worker died or left the cluster \(tcp://"):
        table = quiet(tasks.dies, grid, dask)
    assert table["normal"].tolist() == quiet(tasks.numbers, {"a": range(8)})["normal"].tolist()
    assert len(list(tmp_path.iterdir())) >= 2


@on_dask
def test_dask_task_that_kills_every_worker_is_named(dask: Any, tmp_path: Path) -> None:
    """Also if it travelled with others."""
    executor = dask

    class KilledWorker(Exception):
        """As the scheduler would raise it, without four real deaths for each try."""

    def submit(work: Any, task: Any, batch: Any, *rest: Any) -> Any:
        if any(point["a"] == 3 for _, point in batch):
            future: concurrent.futures.Future[Any] = concurrent.futures.Future()
            future.set_exception(KilledWorker("four times"))
            return future
        return executor.submit(work, task, batch, *rest)

    class Scripted(concurrent.futures.Executor):
        _client = executor._client

    scripted = Scripted()
    scripted.submit = submit  # type: ignore[method-assign]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(KilledWorker) as error:
            quiet(tasks.numbers, {"a": [*range(40)]}, scripted, tmp_path / "file")
    assert error.value.__notes__ == ["in the task at a=3"]
    assert len(caught) <= 1


@pytest.mark.parametrize("kind", ["threads", "processes", pytest.param("dask", marks=on_dask)])
def test_error_in_a_task_names_the_point_and_keeps_the_rest(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    executor = request.getfixturevalue("dask") if kind == "dask" else kind
    folder = tmp_path / "started"
    folder.mkdir()
    grid = {"a": range(8), "folder": [str(folder)]}
    with pytest.raises(ArithmeticError, match="three") as caught:
        quiet(tasks.fails, grid, executor, tmp_path / "file", workers=2)
    assert f"in the task at a=3, folder={str(folder)!r}" in caught.value.__notes__
    started = {int(file.name) for file in folder.iterdir()}
    records = [
        json.loads(line[9:])["index"] for line in (tmp_path / "file").read_bytes().splitlines()[1:]
    ]
    assert 3 not in records
    if kind != "dask":  # which can cancel what runs
        assert set(records) == started - {3}


# a shell's background jobs start with interrupts ignored, hence the first line of both
INTERRUPTED = """
import signal; signal.signal(signal.SIGINT, signal.default_int_handler)
import sys, time, forgetlib as fl, sweep_tasks as tasks
try:
    fl.sweep(tasks.logged, tasks.GRID, sys.argv[1], sys.argv[2], workers=2, progress=False)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_interrupt_keeps_what_was_running(kind: str, tmp_path: Path) -> None:
    """Ctrl-C goes to the sweep and its workers alike."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, kind, str(tmp_path / "checkpoint")],
        cwd=Path(__file__).parent,
        env={**os.environ, "SWEEP_LOG": str(tmp_path / "log"), "SWEEP_SECONDS": "0.2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(log_lines(tmp_path)) < 7:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out.strip() == "interrupted", err
    lines = (tmp_path / "checkpoint").read_bytes().splitlines()[1:]
    assert len(lines) == len(log_lines(tmp_path)) < 60
    assert all(_checkpoint._decode(line + b"\n") for line in lines)


TWICE = """
import signal; signal.signal(signal.SIGINT, signal.default_int_handler)
import os, sys, threading, time, forgetlib as fl
running = threading.Event()
def task(rng, a):
    running.set()
    time.sleep(3)
    ended.append(a)
    return {"x": a}
def interrupt():
    running.wait()
    for pause in (0.2, 0.2):
        time.sleep(pause)
        os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
ended = []
try:
    fl.sweep(task, {"a": range(9)}, None, sys.argv[1], workers=2, progress=False)
except KeyboardInterrupt:
    print(ended)
"""


def test_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", TWICE, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"  # it was over before its tasks


# ------------------------------------------------------------------------- what it costs


def trivial(rng: int, a: int, b: int) -> dict[str, float]:
    return {"x": 1.0}


def test_ten_thousand_small_tasks_cost_under_a_millisecond_each(tmp_path: Path) -> None:
    """Of processor time, which other programs do not add to; measured: 0.03 to 0.09 ms."""
    grid = {"a": range(100), "b": range(100)}
    for checkpoint in (None, tmp_path / "file"):
        start = time.process_time()
        table = quiet(trivial, grid, checkpoint=checkpoint)
        assert time.process_time() - start < 1e-3 * 10_000
        assert table["x"].sum() == 10_000
    start = time.process_time()
    quiet(trivial, grid, checkpoint=tmp_path / "file")
    assert time.process_time() - start < 0.2e-3 * 10_000  # to read them back


@on_dask
@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_small_tasks_elsewhere_cost_under_a_millisecond_each(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Time on the clock, the best of three; measured: 0.1 to 0.4 ms."""
    best = math.inf
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        executor: Any = request.getfixturevalue("dask") if kind == "dask" else pool
        quiet(tasks.tiny, {"a": range(20), "b": range(5)}, executor)  # all workers are up
        for attempt in range(3):
            start = time.perf_counter()
            quiet(tasks.tiny, {"a": range(20), "b": range(100)}, executor, tmp_path / str(attempt))
            best = min(best, time.perf_counter() - start)
    assert best < 1e-3 * 2000


def test_few_futures_are_in_flight() -> None:
    most = 0

    class Counting(concurrent.futures.ThreadPoolExecutor):
        flying = 0
        lock = threading.Lock()

        def submit(self, *call: Any, **more: Any) -> Any:
            nonlocal most
            with self.lock:
                self.flying += 1
                most = max(most, self.flying)
            future = super().submit(*call, **more)
            future.add_done_callback(self.landed)
            return future

        def landed(self, future: object) -> None:
            with self.lock:
                self.flying -= 1

    with Counting(3) as pool:
        quiet(tasks.numbers, {"a": range(200)}, pool)
    assert 1 <= most <= 6


def test_short_tasks_travel_together_and_long_ones_alone() -> None:
    sizes: list[int] = []

    class Far(concurrent.futures.Executor):
        """Neither threads nor processes of this machine, as far as the sweep can see."""

        def submit(self, work: Any, /, task: Any, batch: Any, *rest: Any) -> Any:
            future: concurrent.futures.Future[Any] = concurrent.futures.Future()
            outcome = work(task, batch, *rest)
            sizes.append(len(outcome))
            future.set_result(outcome)
            return future

    expected = quiet(tasks.numbers, {"a": range(300)})
    assert tasks.digest(quiet(tasks.numbers, {"a": range(300)}, Far())) == tasks.digest(expected)
    assert max(sizes) > 20
    sizes.clear()

    def long(rng: int, a: int) -> dict[str, float]:
        time.sleep(0.03)
        return {"x": 1.0}

    quiet(long, {"a": range(12)}, Far())
    assert sizes == [1] * 12


# ------------------------------------------------------------------------------ progress


def test_estimate_covers_the_rest_as_often_as_it_says() -> None:
    """Log-normal times, the longest a hundred times the shortest; two workers.

    An interval of 95% that is right fails in 1 of 20 sweeps; more than 30 failures in 200
    would happen once in 10**7 (binomial).
    """
    rng = np.random.default_rng(11)
    missed, widths = 0, []
    for _ in range(200):
        times = rng.lognormal(0.0, 1.0, 200)
        estimate = sweep_module._Estimate()
        busy = [0.0, 0.0]
        ends = []
        for seconds in times:  # each task goes to the worker that is free first
            worker = int(busy[1] < busy[0])
            busy[worker] += seconds
            ends.append((busy[worker], seconds))
        ends.sort()
        now = ends[59][0]
        for _, seconds in ends[:60]:
            estimate.add(seconds)
        low, high = estimate.left(now, 140)
        missed += not low <= max(busy) - now <= high
        widths.append(high / low)
    assert missed <= 30
    assert np.median(widths) < 2.5  # and it does say something


def test_estimate_says_nothing_when_it_knows_nothing() -> None:
    estimate = sweep_module._Estimate()
    assert estimate.left(1.0, 10) is None
    for _ in range(3):
        estimate.add(2.0)
    assert estimate.left(6.0, 10) == (20.0, 22.0)
    assert estimate.left(6.0, 0) is None


def test_tasks_run_in_an_order_that_represents_the_grid() -> None:
    order: list[int] = []

    def task(rng: int, a: int) -> dict[str, int]:
        order.append(a)
        return {"x": 1}

    quiet(task, {"a": range(400)}, workers=1)
    assert sorted(order) == list(range(400))
    # the mean of 100 of 400 numbers: 5 is one standard error, 4 of them 1 in 15 000
    assert abs(np.mean(order[:100]) - 199.5) < 4 * 400 / 12**0.5 / 10 * 0.75**0.5
    again = order.copy()
    order.clear()
    quiet(task, {"a": range(400)}, workers=1)
    assert order == again


def test_bar_counts_from_where_the_checkpoint_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)  # no thread that outlives the test
    path = tmp_path / "file"
    fl.sweep(tasks.numbers, {"a": range(10)}, checkpoint=path)
    assert capsys.readouterr().err == ""  # no terminal, no bar
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    def slow(rng: int, a: int) -> dict[str, float]:
        time.sleep(0.05)
        return tasks.numbers(rng, a)

    fl.sweep(tasks.numbers, {"a": range(10)}, checkpoint=path)
    shown = capsys.readouterr().err
    assert "| 4/10 [" in shown
    assert "10/10" in shown
    fl.sweep(slow, {"a": range(20)}, workers=1)
    assert " left]" in capsys.readouterr().err
    fl.sweep(tasks.numbers, {"a": range(10)}, progress=False)
    assert capsys.readouterr().err == ""


def test_importing_sweep_loads_neither_compiler_nor_pandas_nor_bar() -> None:
    code = (
        "import sys, forgetlib as fl; fl.sweep; fl.Table; "
        "fl.sweep(lambda rng, a: {'x': a}, {'a': [1]}, progress=False); "
        "print(sorted({'numba', 'pandas', 'tqdm', 'distributed'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_module_does_not_hide_the_function() -> None:
    code = (
        "import forgetlib.sweep, forgetlib as fl; from forgetlib.sweep import Table, sweep; "
        "assert fl.sweep is sweep is forgetlib.sweep; assert fl.Table is Table"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
