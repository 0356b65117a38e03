"""How things are measured: time in paired rounds, memory and first calls in fresh processes."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import contestants
import floor
from problem import Problem, Run, disagreement, forgetlib_runner

_NORMALS = 1 << 22  # a step's, beyond which a peer is timed on fewer replicates
_STATE = 1 << 20  # numbers in the means of all replicates, likewise
_PAUSE = 0.002  # seconds, in which idle threads of the one before stop to spin
_LARGEST_Z = 5.0

Spread = dict[str, float]


def spread(values: Iterable[float]) -> Spread:
    """Median, smallest and largest, to four digits."""
    values = list(values)
    table = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {name: float(f"{value:.4g}") for name, value in table.items()}


def show(value: Spread, digits: int = 2) -> str:
    return f"{value['median']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


# ---- time --------------------------------------------------------------------------------


class Timing(NamedTuple):
    """Nanoseconds per sample and step: on the wall clock, and summed over all cores."""

    wall: float
    cpu: float


def timed_problem(name: str, problem: Problem) -> Problem:
    """The same problem on as many replicates as a contestant is timed on.

    A step of 2^22 normals fills all cores and lies far outside the caches: more replicates
    take longer in proportion. forgetlib draws fewer than a thousandth of them, but its means
    would fill the memory where there are thousands of replicates in thousands of dimensions.
    """
    most = _STATE // problem.dim
    if name in contestants.PEERS:
        most = min(most, _NORMALS // (problem.dim * problem.batch_size))
    return dataclasses.replace(problem, replicates=max(1, min(problem.replicates, most)))


def seconds(run: Run, steps: int, seed: int) -> float:
    began = time.perf_counter()
    run(steps, seed)
    return time.perf_counter() - began


def steps_for(name: str, run: Run, target: float) -> int:
    """Steps that take about the target time, and four fifths of the run at least; once compiled.

    The rest is what a run of any length costs: threads, seeds, and the means at the end in all
    dimensions. It matters for forgetlib only, whose steps are cheap in high dimensions.
    """
    first = min(seconds(run, 1, 0) for _ in range(2))
    if first >= target and name != "forgetlib":
        return 1
    steps, taken = 1, first
    # a slope that the fixed cost, or a disturbance in one of the two, cannot hide
    while taken < max(0.4 * target, 2.5 * first) and steps < 1 << 22:
        steps *= 4
        taken = min(seconds(run, steps, 0) for _ in range(2 if taken < 2.0 * target else 1))
    each = (taken - first) / (steps - 1)
    fixed = max(first - each, 0.0)
    return max(1, math.ceil(min(max(target, 4.0 * fixed), 20.0 * target) / each))


def time_together(
    runs: dict[tuple[str, Problem], Run], rounds: int, target: float
) -> dict[tuple[str, Problem], dict[str, Any]]:
    """Time everyone once in every round, in an order that changes."""
    keys = list(runs)
    steps = {key: steps_for(key[0], run, target) for key, run in runs.items()}
    timings: dict[tuple[str, Problem], list[Timing]] = {key: [] for key in keys}
    for seed in range(1, rounds + 1):
        shift = seed * len(keys) // rounds
        for key in keys[shift:] + keys[:shift]:
            problem = key[1]
            time.sleep(_PAUSE)
            wall, cpu = time.perf_counter(), time.process_time()
            runs[key](steps[key], seed)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            unit = 1e9 / (steps[key] * problem.replicates * problem.batch_size)
            timings[key].append(Timing(unit * wall, unit * cpu))
    return {
        key: {
            "replicates": key[1].replicates,
            "steps": steps[key],
            "wall": [float(f"{timing.wall:.5g}") for timing in timings[key]],
            "cpu": [float(f"{timing.cpu:.5g}") for timing in timings[key]],
        }
        for key in keys
    }


def ratios(times: dict[str, dict[str, Any]], clock: str = "wall") -> dict[str, Spread]:
    """Of each contestant's time to forgetlib's in the same round; floors the other way up."""
    ours, table = times["forgetlib"][clock], {}
    for name, entry in times.items():
        if name == "forgetlib":
            continue
        pairs = zip(entry[clock], ours, strict=True)
        if name in contestants.FLOORS:
            table[name] = spread(own / max(floor, 1e-9) for floor, own in pairs)
        else:
            table[name] = spread(theirs / max(own, 1e-9) for theirs, own in pairs)
    return table


def efficiency(problem: Problem, rounds: int, target: float) -> dict[str, Spread]:
    """Time on one worker over twice the time on two, paired with the same for the floor.

    The floor's loops share no memory, no lock and no Python: what they lose on two cores, the
    machine takes.
    """
    problem = timed_problem("forgetlib", problem)

    def pair(run: Callable[..., Run], name: str) -> Callable[[int], float]:
        one, two = run(problem, workers=1), run(problem, workers=2)
        two(1, 0)  # compiles
        steps = steps_for(name, two, target)

        def measured(seed: int) -> float:
            time.sleep(_PAUSE)
            return seconds(one, steps, seed) / (2.0 * seconds(two, steps, seed))

        return measured

    ours = pair(forgetlib_runner, "forgetlib")
    machine = pair(functools.partial(floor.runner, own=True), "floor_forgetlib")
    found = [(ours(seed), machine(seed)) for seed in range(1, rounds + 1)]
    return {
        "efficiency": spread(own for own, _ in found),
        "machine": spread(bare for _, bare in found),
        "relative": spread(own / bare for own, bare in found),
    }


# ---- agreement ---------------------------------------------------------------------------


def check_agreement(workload: str, names: Iterable[str], dims: Iterable[int] = (2, 16)) -> None:
    """Raise unless all contestants train the same model.

    Six means over replicates, of the log-odds and of the errors of the means, may differ from
    forgetlib's by five standard errors. With five peers and six workloads in two dimensions,
    that is a false alarm in about 5000 runs; the seeds are fixed.
    """
    for dim in dims:
        problem = Problem(workload, dim, 32, 400, learning_rate=0.05)
        ours = forgetlib_runner(problem)(25, 1)
        for name in names:
            z = disagreement(problem, ours, contestants.runner(name, problem)(25, 2))
            if not z <= _LARGEST_Z:
                raise AssertionError(
                    f"{name} and forgetlib do not train the same model on {workload} in {dim} "
                    f"dimensions: {z:.1f} standard errors"
                )


# ---- memory ------------------------------------------------------------------------------


def _resident(peak: bool) -> float:
    """Memory of this process now, or the most since the last reset; MiB."""
    name = "VmHWM:" if peak else "VmRSS:"
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024.0
    raise OSError(f"no {name} in /proc/self/status")


def _peak_here(name: str, problem: Problem, steps: int) -> float:
    """MiB that a run takes beyond what the process holds when all is imported and compiled."""
    small = dataclasses.replace(problem, batch_size=16, replicates=2)
    contestants.runner(name, small)(2, 1)
    run = contestants.runner(name, problem)
    before = _resident(peak=False)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    run(steps, 1)
    return _resident(peak=True) - before


def peak_memory(name: str, problem: Problem, steps: int) -> float | None:
    """The same, in a process of its own; None where the system does not tell (not Linux)."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    request = json.dumps([name, dataclasses.asdict(problem), steps])
    answer = subprocess.run(
        [sys.executable, __file__, request], capture_output=True, text=True, check=True
    )
    return round(float(answer.stdout.split()[-1]), 2)


# ---- imports and first calls ---------------------------------------------------------------

_FIRST_CALL = """
import time
began = time.perf_counter()
import forgetlib
imported = time.perf_counter()
import sys
assert "numba" not in sys.modules
from problem import Problem, forgetlib_runner
run = forgetlib_runner(Problem({workload!r}, 2, 256, 2))
run_began = time.perf_counter()
run(10, 1)
print(imported - began, time.perf_counter() - run_began)
"""


def first_calls(workload: str, warm_rounds: int) -> dict[str, Any]:
    """Seconds to import forgetlib, and of the first call of simulate, cold and warm."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "NUMBA_CACHE_DIR": folder,
            "PYTHONPATH": str(Path(__file__).parent),
        }

        def once() -> tuple[float, float]:
            answer = subprocess.run(
                [sys.executable, "-c", _FIRST_CALL.format(workload=workload)],
                capture_output=True,
                text=True,
                check=True,
                env=environment,
            )
            importing, calling = map(float, answer.stdout.split())
            return importing, calling

        cold = once()
        warm = [once() for _ in range(warm_rounds)]
    return {
        "workload": workload,
        "cold": round(cold[1], 3),
        "warm": spread(call for _, call in warm),
        "import": spread(importing for importing, _ in warm),
    }


if __name__ == "__main__":
    its_name, fields, its_steps = json.loads(sys.argv[1])
    print(_peak_here(its_name, Problem(**fields), its_steps))
