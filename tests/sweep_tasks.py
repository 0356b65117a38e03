"""Tasks for the tests of sweeps: in a module of their own, so that workers can import them."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

import forgetlib as fl


def tiny(rng: int, a: float, b: float) -> dict[str, float]:
    return {"sum": a + b, "seed": rng % 97}


def values(rng: int, a: int, b: float) -> dict[str, Any]:
    """Every kind of value, in ways that a text file could get wrong."""
    generator = np.random.default_rng(rng)
    normal = generator.standard_normal()
    return {
        "normal": normal,
        "tiny": normal * 5e-324**0.999,
        "odd": [-math.nan, math.inf, -0.0, 1e-310][a % 4],
        "integer": generator.integers(-(2**63), 2**63 - 1),
        "flag": normal > 0,
        "text": 'line\n"quote" ü ' + "x" * (a % 3),
        "mixed": None if a % 2 else normal,
    }


def numbers(rng: int, a: int) -> dict[str, float]:
    return {"normal": np.random.default_rng(rng).standard_normal()}


def ensemble(rng: int, replay: float, learning_rate: float) -> dict[str, float]:
    target = fl.TwoModeMixture.separated(4.0, old_weight=0.75)
    runs = fl.simulate(
        fl.ReverseKL(target, replay=replay),
        target,
        steps=20,
        batch_size=16,
        learning_rate=learning_rate,
        replicates=20,
        rng=rng,
        workers=1,
        record_every=20,
        train="weight",
    )
    last = runs.old_weight[:, -1]
    return {"mean": last.mean(), "stderr": last.std(ddof=1) / 20**0.5}


def logged(rng: int, a: int, b: int) -> dict[str, Any]:
    """Say in a file that it starts, and take about 10 ms."""
    line = f"{a} {b} {os.getpid()}\n".encode()
    file = os.open(os.environ["SWEEP_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)
    generator = np.random.default_rng(rng)
    time.sleep(float(os.environ["SWEEP_SECONDS"]) * generator.uniform(0.5, 1.5))
    return {"normal": generator.standard_normal(), "odd": [math.nan, 0.1][a % 2]}


def dies(rng: int, a: int, folder: str, deaths: int) -> dict[str, float]:
    """At ``a = 3`` kill the worker, the first ``deaths`` times."""
    if a == 3:
        before = len(list(Path(folder).iterdir()))
        (Path(folder) / str(before)).touch()
        if before < deaths:
            os.kill(os.getpid(), signal.SIGKILL)
    return numbers(rng, a)


def fails(rng: int, a: int, folder: str) -> dict[str, float]:
    (Path(folder) / str(a)).touch()
    if a == 3:
        raise ArithmeticError("three")
    return numbers(rng, a)


def digest(table: fl.Table) -> str:
    """The bits of a table."""
    parts = hashlib.sha256()
    for name, column in table.columns.items():
        cells = column.tobytes() if column.dtype != object else repr(column.tolist()).encode()
        parts.update(f"{name}{column.dtype}{column.shape}".encode() + cells)
    return parts.hexdigest()


GRID = {"a": range(6), "b": range(10)}


def killed(executor: str, checkpoint: str) -> None:
    """The sweep that tests kill; prints the digest of its table if it is left alone."""
    if executor == "dask":
        from distributed import Client, LocalCluster

        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
            ) as cluster,
            Client(cluster) as client,
        ):
            table = fl.sweep(logged, GRID, client.get_executor(), checkpoint, progress=False)
    elif executor == "forked":
        import concurrent.futures
        import multiprocessing

        fl.sweep(tiny, {"a": [1], "b": [2]}, progress=False)  # leaves nothing to a fork
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            table = fl.sweep(logged, GRID, pool, checkpoint, progress=False)
    else:
        table = fl.sweep(logged, GRID, executor, checkpoint, progress=False, workers=2)
    print(digest(table))
