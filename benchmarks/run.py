"""Speed of forgetlib.simulate beside NumPy and JAX, paired and interleaved in one run.

    python benchmarks/run.py            # all of it, some minutes
    python benchmarks/run.py --quick

Every round times all contestants once, one after the other; a ratio is taken within a round,
so that whatever else the machine does hits both sides alike. Printed are the median ratio and
its range over the rounds, of wall-clock time and of CPU time (which other programs disturb
less, and which gives no credit for the use of several cores). Before any timing, the
contestants must agree on mean weight, drift and new-mean error within five standard errors.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from peers import Final, Problem, jax_runner, numpy_run

import forgetlib as fl


def forgetlib_run(problem: Problem, seed: int) -> Final:
    old, new, start_new = problem.means()
    target = fl.TwoModeMixture(problem.target_weight, old, new)
    start = fl.TwoModeMixture(problem.start_weight, old, start_new)
    result = fl.simulate(
        fl.ReverseKL(target),
        start,
        steps=problem.steps,
        batch_size=problem.batch_size,
        learning_rate=problem.learning_rate,
        replicates=problem.replicates,
        record_every=problem.steps,
        rng=seed,
    )
    return result.old_logit[:, -1], result.old_mean[:, -1], result.new_mean[:, -1]


def check_agreement(problem: Problem, contestants: dict[str, Callable[[int], Final]]) -> None:
    """Raise if two contestants do not train the same model."""
    old, new, _ = problem.means()
    summaries = {}
    for name, contestant in contestants.items():
        logit, old_mean, new_mean = contestant(1)
        table = np.stack(
            [
                logit,
                np.linalg.norm(old_mean - old, axis=1),
                np.linalg.norm(new_mean - new, axis=1),
            ]
        )
        variance = table.var(axis=1, ddof=1) / table.shape[1]
        summaries[name] = table.mean(axis=1), variance
    mean, variance = summaries["forgetlib"]
    for name, (other_mean, other_variance) in summaries.items():
        z_scores = (other_mean - mean) / np.sqrt(variance + other_variance + 1e-30)
        if np.abs(z_scores).max() > 5:
            raise SystemExit(f"{name} disagrees with forgetlib: z-scores {z_scores}")


class Timing(NamedTuple):
    """Nanoseconds per sample and step: on the wall clock, and summed over all cores."""

    wall: float
    cpu: float


def timed(contestant: Callable[[int], Final], problem: Problem, seed: int) -> Timing:
    wall, cpu = time.perf_counter(), time.process_time()
    contestant(seed)
    unit = 1e9 / (problem.steps * problem.replicates * problem.batch_size)
    return Timing(unit * (time.perf_counter() - wall), unit * (time.process_time() - cpu))


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):7.2f} [{min(values):.2f}, {max(values):.2f}]"


def compare(rounds: int, dims: list[int], quick: bool) -> None:
    # Steps are chosen so that everyone runs for about half a second: the peers take the
    # first number, forgetlib the second. What is compared is the time per step.
    sizes = {2: (64, 300, 3000), 256: (32, 20, 4000), 1024: (32, 5, 4000)}
    for dim in dims:
        replicates, steps, our_steps = sizes[dim]
        if quick:
            steps, our_steps = max(2, steps // 5), our_steps // 5
        problem = Problem(dim, 256, replicates, steps)
        ours = problem._replace(steps=our_steps)
        contestants: dict[str, Callable[[int], Final]] = {
            "forgetlib": partial(forgetlib_run, problem),
            "NumPy": partial(numpy_run, problem),
            "JAX": jax_runner(problem),
        }
        check_agreement(problem, contestants)  # and compiles
        contestants["forgetlib"] = partial(forgetlib_run, ours)
        times: dict[str, list[Timing]] = {name: [] for name in contestants}
        for seed in range(rounds):
            for name, contestant in contestants.items():
                work = ours if name == "forgetlib" else problem
                times[name].append(timed(contestant, work, seed))
        print(f"\nd = {dim}, batch {problem.batch_size}, {replicates} replicates")
        for name, timings in times.items():
            line = f"  {name:10s} {statistics.median(t.wall for t in timings):10.1f} ns per sample"
            if name != "forgetlib":
                pairs = list(zip(timings, times["forgetlib"], strict=True))
                line += f"   ratio {spread([t.wall / o.wall for t, o in pairs])}"
                line += f"   of CPU time {spread([t.cpu / o.cpu for t, o in pairs])}"
            print(line, flush=True)


def scaling(rounds: int) -> None:
    """Time at d = 1024 over time at d = 2, everything else equal."""
    small, large = Problem(2, 256, 64, 2000), Problem(1024, 256, 64, 2000)
    forgetlib_run(small._replace(steps=1), 0)  # compiles
    pairs = [
        tuple(timed(partial(forgetlib_run, problem), problem, seed) for problem in (small, large))
        for seed in range(rounds)
    ]
    print(
        f"\nforgetlib, time at d = 1024 / time at d = 2: {spread([b.wall / a.wall for a, b in pairs])}"
        f"   of CPU time {spread([b.cpu / a.cpu for a, b in pairs])}"
    )


def importing(rounds: int) -> None:
    """Time to import forgetlib over time to import numba and scipy.stats."""

    def seconds(statement: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        return time.perf_counter() - began

    for statement in ("import forgetlib", "from forgetlib import simulate, gradient_flow"):
        ratios = []
        for _ in range(rounds):
            theirs = seconds("import numba, scipy.stats")
            ratios.append(seconds(statement) / theirs)
        print(f"\n{statement} / import numba, scipy.stats: {spread(ratios)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="shorter runs, fewer rounds")
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 256, 1024])
    options = parser.parse_args()
    rounds = min(options.rounds, 3) if options.quick else options.rounds
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, NumPy {np.__version__}; "
        "median [smallest, largest] over rounds"
    )
    importing(rounds)
    scaling(rounds)
    compare(rounds, options.dims, options.quick)


if __name__ == "__main__":
    main()
