"""Speed and memory of forgetlib.simulate beside its peers, paired in one run.

    python benchmarks/run.py                       # the full grid; writes benchmarks/results.json
    python benchmarks/run.py --quick               # the cells that the goals speak of, minutes
    python benchmarks/run.py --workloads oapl --dims 2 256 --batches 256 --replicates 64

Every round times all contestants once, one after the other, and a ratio is taken within a
round, so that whatever else the machine does hits all alike. What is compared is the time per
sample and step, each contestant running for as many steps as take about the same time. Given
are the median ratio and its range over the rounds, of the time on the wall clock, which also
the goals refer to; the file has the time summed over all cores beside it. Before they are
timed, the contestants must train the same model: see ``measure.check_agreement``.

A peer that would draw more than four million normals in a step is timed on fewer replicates,
which the file tells; its time per replicate does not depend on their number then.

After every group of cells the results so far are saved beside the output. The same command after an
interruption goes on where it stopped, unless the machine, a version or the code has changed.

The file of results
-------------------
``schema``      1
``date``        UTC, when the run ended
``machine``     ``processor``, ``cores``, ``memory_gib``, ``system``, ``python``
``versions``    of the packages
``missing``     contestants that could not run, with the reason
``titles``      of the contestants, by name
``settings``    ``rounds``, ``goal_rounds``, ``seconds`` per run, ``fingerprint`` of the code
``cells``       a list, one entry for each problem:
    ``workload``, ``dim``, ``batch_size``, ``replicates``, ``normals_per_sample``
    ``times``       by contestant: ``replicates`` it was timed on, ``steps`` in a run, ``wall``
                    and ``cpu``: nanoseconds per sample and step, a list over the rounds
    ``ratios``      by peer: its time over forgetlib's; by floor: forgetlib's time over the
                    floor's; each a spread: ``median``, ``low`` and ``high`` over the rounds
    ``skipped``     peers that could not run this problem, with the reason
``efficiency``  a list: ``workload``, ``dim``, ``batch_size``, ``replicates``, and three spreads:
                ``efficiency``, time on one worker over twice the time on two; ``machine``, the
                same of loops that share nothing; ``relative``, the first over the second
``memory``      a list: ``contestant``, ``workload``, ``dim``, ``batch_size``, ``replicates``,
                ``steps``, ``peak_mib``: of a run, beyond what the process held before
``first_calls`` a list: ``workload``; ``cold``: seconds of the first call of simulate, nothing
                compiled before; ``warm``: the same from the cache on disk, ``import``: of
                importing forgetlib, both spreads
``goals``       a list: ``goal`` in words, ``limit``, ``sense`` (``"at least"`` or
                ``"at most"``), ``measured``: the spread in the least favourable cell,
                ``where``: that cell, ``met``: whether its median keeps the limit,
                ``kept`` and ``of``: in how many cells it does, of how many
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import itertools
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

# a NumPy program on one thread: its products are small, and threads that wait disturb the others
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import contestants
import goals
import measure
from problem import WORKLOADS, Problem, Run, cores

HERE = Path(__file__).resolve().parent
DIMS = (1, 2, 16, 256, 1024, 16384)
BATCHES = (16, 256, 4096)
REPLICATES = (1, 64, 4096)
_GOAL_REPLICATES = 64
_MEMORY_STEPS = 3


def is_goal(problem: Problem) -> bool:
    """Cells that are timed in more rounds, and that --quick is about."""
    return problem.batch_size == 256 and (
        (problem.dim in (2, 256) and problem.replicates == _GOAL_REPLICATES)
        or (problem.dim == 2 and problem.replicates == 1)
    )


def machine() -> dict[str, Any]:
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (OSError, ValueError, AttributeError):  # not Linux
        memory = None
    return {
        "processor": processor,
        "cores": cores(),
        "memory_gib": None if memory is None else round(memory, 1),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def fingerprint() -> str:
    """Of all code that the results depend on."""
    digest = hashlib.sha256()
    for folder in (HERE, HERE.parent / "forgetlib"):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def describe(problem: Problem) -> str:
    return (
        f"{problem.workload:12s} d={problem.dim:<5d} N={problem.batch_size:<4d} "
        f"R={problem.replicates:<4d}"
    )


def key(problem: Problem) -> dict[str, Any]:
    return {
        "workload": problem.workload,
        "dim": problem.dim,
        "batch_size": problem.batch_size,
        "replicates": problem.replicates,
    }


class Results:
    """The file of results, and what is known of it so far."""

    def __init__(self, output: Path, header: dict[str, Any]) -> None:
        self.output = output
        self.unfinished = output.with_name(output.name + ".part")
        self.table: dict[str, Any] = {
            **header,
            "cells": [],
            "efficiency": [],
            "memory": [],
            "first_calls": [],
        }
        if self.unfinished.exists():
            before = json.loads(self.unfinished.read_text(encoding="utf-8"))
            if all(before.get(name) == value for name, value in header.items()):
                self.table = before
                print(f"continuing {self.unfinished}: {len(self.table['cells'])} cells are done")
            else:
                print(f"starting anew: {self.unfinished} is of other code or another machine")

    def has(self, part: str, entry: dict[str, Any]) -> bool:
        return any(entry.items() <= known.items() for known in self.table[part])

    def add(self, part: str, entry: dict[str, Any]) -> None:
        self.table[part].append(entry)
        # written to the side first: an interruption leaves the old file or the new one
        fresh = self.output.with_name(self.output.name + ".new")
        fresh.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(self.table), encoding="utf-8")
        fresh.replace(self.unfinished)

    def finish(self) -> None:
        self.table["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
        self.table["goals"] = goals.judge(self.table)
        lines = [f"{json.dumps(name)}: {_listed(value)}" for name, value in self.table.items()]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        self.output.write_text(text, encoding="utf-8")
        self.unfinished.unlink(missing_ok=True)
        print(f"\nwritten: {self.output}")


def _listed(value: Any) -> str:
    """JSON with a line for each entry of a list."""
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(json.dumps(entry) for entry in value) + "\n]"
    return json.dumps(value)


def time_all(
    results: Results, problems: list[Problem], names: list[str], options: argparse.Namespace
) -> None:
    """Time all problems; those that differ in the replicates only, in the same rounds.

    Where a contestant is timed on fewer replicates, problems may share its time.
    """
    todo = [problem for problem in problems if not results.has("cells", key(problem))]
    began, done, agreed = time.perf_counter(), 0, set()
    for _, members in itertools.groupby(
        todo, lambda problem: (problem.workload, problem.dim, problem.batch_size)
    ):
        group = list(members)
        workload = group[0].workload
        if workload not in agreed:
            peers = [name for name in names if name in contestants.PEERS]
            measure.check_agreement(workload, peers)
            agreed.add(workload)
            print(f"{workload}: all contestants train the same model", flush=True)
        runs: dict[tuple[str, Problem], Run] = {}
        skipped: dict[tuple[str, Problem], str] = {}
        for problem, name in itertools.product(group, names):
            timed = name, measure.timed_problem(name, problem)
            if timed in runs or timed in skipped:
                continue
            try:
                runs[timed] = contestants.runner(*timed)
                runs[timed](1, 0)
            except Exception as error:  # a peer that runs out of memory is not the end
                if name not in contestants.PEERS:
                    raise
                runs.pop(timed, None)
                skipped[timed] = f"{type(error).__name__}: {error}"[:200]
                print(f"{describe(timed[1])} {name} is left out: {skipped[timed]}")
        rounds = options.goal_rounds if any(map(is_goal, group)) else options.rounds
        entries = measure.time_together(runs, rounds, options.seconds)
        runs.clear()
        for name in names:
            contestants.free(name)()
        for problem in group:
            timed_problems = {name: (name, measure.timed_problem(name, problem)) for name in names}
            times = {name: entries[at] for name, at in timed_problems.items() if at in entries}
            table = measure.ratios(times)
            results.add(
                "cells",
                {
                    **key(problem),
                    "normals_per_sample": problem.normals_per_sample,
                    "times": times,
                    "ratios": table,
                    "skipped": {
                        name: skipped[at] for name, at in timed_problems.items() if at in skipped
                    },
                },
            )
            wall = measure.spread(times["forgetlib"]["wall"])
            parts = [f"{name} {measure.show(value, 1)}" for name, value in table.items()]
            print(f"{describe(problem)} {wall['median']:7.2f} ns   {'   '.join(parts)}")
        done += len(group)
        left = (time.perf_counter() - began) / done * (len(todo) - done) / 60.0
        print(f"{done} of {len(todo)} problems, about {left:.0f} minutes left", flush=True)


def scale(results: Results, options: argparse.Namespace) -> None:
    """Parallel efficiency on two workers."""
    if cores() < 2:
        print("\none core: no parallel efficiency")
        return
    print("\nparallel efficiency on 2 workers")
    for workload in ("reverse_kl",) if options.quick else ("reverse_kl", "oapl"):
        for dim in (2, 256):
            for batch in (256,) if options.quick else BATCHES:
                for replicates in REPLICATES[1:]:
                    problem = Problem(workload, dim, batch, replicates)
                    if results.has("efficiency", key(problem)):
                        continue
                    found = measure.efficiency(problem, options.goal_rounds, 2.0 * options.seconds)
                    results.add("efficiency", {**key(problem), **found})
                    shown = "   ".join(f"{name} {measure.show(v)}" for name, v in found.items())
                    print(f"  {describe(problem)} {shown}", flush=True)


def remember(results: Results, names: list[str], options: argparse.Namespace) -> None:
    """Peak memory of a run."""
    print("\npeak memory of a run, MiB beyond what the process held before")
    sizes = [(2, 256), (256, 256)]
    if not options.quick:
        sizes = [(2, 16), (2, 256), (2, 4096), (256, 256), (256, 4096), (16384, 16)]
    for dim, batch in sizes:
        problem = Problem("reverse_kl", dim, batch, _GOAL_REPLICATES)
        for name in names:
            if name in contestants.FLOORS:
                continue
            for steps in (10, 1000) if name == "forgetlib" else (_MEMORY_STEPS,):
                entry = {"contestant": name, **key(problem), "steps": steps}
                if results.has("memory", entry):
                    continue
                peak = measure.peak_memory(name, problem, steps)
                if peak is None:
                    print("  not told by this system")
                    return
                results.add("memory", {**entry, "peak_mib": peak})
                print(f"  {describe(problem)} {name:10s} {steps:5d} steps {peak:9.1f}", flush=True)


def begin(results: Results, options: argparse.Namespace) -> None:
    """Imports and first calls."""
    print("\nseconds: first call of simulate, cold; warm; import of forgetlib")
    for workload in WORKLOADS[1:2] if options.quick else WORKLOADS:
        if results.has("first_calls", {"workload": workload}):
            continue
        entry = measure.first_calls(workload, options.rounds)
        results.add("first_calls", entry)
        print(
            f"  {workload:12s} {entry['cold']:.2f}   {measure.show(entry['warm'])}   "
            f"{measure.show(entry['import'])}",
            flush=True,
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only the cells of the goals")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--dims", nargs="+", type=int, default=list(DIMS))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--replicates", nargs="+", type=int, default=list(REPLICATES))
    parser.add_argument("--peers", nargs="+", choices=contestants.PEERS, default=contestants.PEERS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--goal-rounds", type=int, default=9, help="for the cells of the goals")
    parser.add_argument("--seconds", type=float, default=0.06, help="of one run")
    parser.add_argument("--cells-only", action="store_true", help="time only")
    parser.add_argument("--output", type=Path, help="file of results")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a goal is not met")
    options = parser.parse_args()
    options.full = not (options.quick or options.cells_only) and all(
        getattr(options, name) == parser.get_default(name)
        for name in ("workloads", "dims", "batches", "replicates", "peers")
    )
    if options.output is None:
        # the published file is of the full grid only
        folder = HERE if options.full else HERE.parent / "_build" / "benchmarks"
        options.output = folder / "results.json"
    return options


def main() -> int:
    options = parse()
    missing = contestants.missing()
    peers = [name for name in options.peers if name not in missing]
    names = ["forgetlib", *peers, *contestants.FLOORS]
    header = {
        "schema": 1,
        "machine": machine(),
        "versions": contestants.versions(),
        "missing": missing,
        "titles": contestants.TITLES,
        "settings": {
            "rounds": options.rounds,
            "goal_rounds": options.goal_rounds,
            "seconds": options.seconds,
            "fingerprint": fingerprint(),
        },
    }
    problems = [
        Problem(workload, dim, batch, replicates)
        for workload in options.workloads
        for dim in options.dims
        for batch in options.batches
        for replicates in options.replicates
    ]
    if options.quick:
        problems = [problem for problem in problems if is_goal(problem)]
    print(f"{header['machine']}\n{header['versions']}")
    for name, reason in missing.items():
        print(f"{name} is left out: {reason}")
    results = Results(options.output, header)
    try:
        time_all(results, problems, names, options)
        if not options.cells_only:
            scale(results, options)
            remember(results, names, options)
            begin(results, options)
    except KeyboardInterrupt:
        print(f"\ninterrupted; the same command goes on from {results.unfinished}")
        return 130
    results.finish()
    print(goals.table(results.table))
    return int(options.check and not all(goal["met"] for goal in results.table["goals"]))


if __name__ == "__main__":
    sys.exit(main())
