"""The floor: drawing the random numbers that the law of a step needs, and nothing else.

That is K normals for each sample, K the dimension of the span of its forms, and for each batch
how many of its samples come from the old mode. The replicates are spread over all cores, the
numbers go into a buffer that stays in the first-level cache, in compiled code. Two floors:

``floor_numpy``
    NumPy's SFC64 and its ziggurat, compiled by numba.
``floor_forgetlib``
    forgetlib's own generator, alone.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
from problem import Final, FloatArray, Problem, Run, cores

_BUFFER = 1024  # normals


@cache
def _drawing(own: bool) -> Callable[..., float]:
    """Compiled for one of the two; not kept on disk, where a change of forgetlib goes unnoticed."""
    if own:
        from forgetlib import _kernels

        draw_normals: Any = _kernels.draw_normals
        draw_binomial: Any = _kernels.draw_binomial
    else:

        @numba.njit(nogil=True)
        def draw_normals(rng: np.random.Generator, out: FloatArray) -> None:
            for i in range(out.size):
                out[i] = rng.standard_normal()

        @numba.njit(nogil=True)
        def draw_binomial(rng: np.random.Generator, size: int, probability: float) -> int:
            return rng.binomial(size, probability)

    @numba.njit(nogil=True)
    def draw(source: Any, batches: int, batch: int, normals: int, labels: int) -> float:
        buffer = np.empty(_BUFFER)
        checksum = 0.0  # so that nothing is left out
        for _ in range(batches):
            for _ in range(labels):
                checksum += draw_binomial(source, batch, 0.6)
            left = normals
            while left > 0:
                draw_normals(source, buffer[: min(left, _BUFFER)])
                checksum += buffer[0]
                left -= _BUFFER
        return checksum

    return draw


def runner(problem: Problem, own: bool, workers: int | None = None) -> Run:
    """Draw for all replicates, on all cores or on as many as there are workers."""
    draw = _drawing(own)
    threads = min(workers or cores(), problem.replicates)
    normals = round(problem.batch_size * problem.normals_per_sample)
    labels = {"forward_kl": 0, "replay": 2}.get(problem.workload, 1)

    def source(stream: np.random.SeedSequence) -> Any:
        if own:
            from forgetlib import _kernels

            return _kernels.new_source(stream)
        return np.random.Generator(np.random.SFC64(stream))

    def run(steps: int, seed: int) -> Final:
        streams = np.random.SeedSequence(seed).spawn(threads)

        def part(k: int) -> float:
            share = problem.replicates * (k + 1) // threads - problem.replicates * k // threads
            return draw(source(streams[k]), steps * share, problem.batch_size, normals, labels)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, range(threads)))
        nothing = np.empty(0)
        return Final(nothing, nothing, nothing)

    return run
