"""What forgetlib sets out to do, judged from the results of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import contestants
from measure import Spread, show, spread

Cell = dict[str, Any]
_MEMORY_MARGIN = 8.0  # MiB: threads, and pages that the allocator keeps


def _where(entry: dict[str, Any]) -> str:
    return (
        f"{entry['workload']}, d = {entry['dim']}, N = {entry['batch_size']}, "
        f"{entry['replicates']} replicates"
    )


def _best(cell: Cell, peers: Iterable[str]) -> Spread | None:
    """Ratio to the fastest of some peers, chosen in each round."""
    there = [cell["times"][name]["wall"] for name in peers if name in cell["times"]]
    if not there:
        return None
    ours = cell["times"]["forgetlib"]["wall"]
    return spread(min(times) / own for *times, own in zip(*there, ours, strict=True))


def _goal(
    words: str, sense: str, limit: float, found: list[tuple[Spread | None, str]]
) -> list[dict[str, Any]]:
    """One goal over all cells where it applies: the least favourable one decides."""
    pairs = [(value, where) for value, where in found if value is not None]
    if not pairs:
        return []
    sign = 1.0 if sense == "at least" else -1.0
    kept = [sign * value["median"] >= sign * limit for value, _ in pairs]
    worst, where = min(pairs, key=lambda pair: sign * pair[0]["median"])
    return [
        {
            "goal": words,
            "sense": sense,
            "limit": limit,
            "measured": worst,
            "where": where,
            "met": all(kept),
            "kept": sum(kept),
            "of": len(kept),
        }
    ]


def judge(results: dict[str, Any]) -> list[dict[str, Any]]:
    """All goals that the results say something about."""
    cells: list[Cell] = results["cells"]

    def over(
        which: Callable[[Cell], bool], value: Callable[[Cell], Spread | None]
    ) -> list[tuple[Spread | None, str]]:
        return [(value(cell), _where(cell)) for cell in cells if which(cell)]

    def many(dim: int) -> Callable[[Cell], bool]:
        return lambda cell: (
            cell["dim"] == dim and cell["batch_size"] == 256 and cell["replicates"] > 1
        )

    def ratio(name: str) -> Callable[[Cell], Spread | None]:
        return lambda cell: cell["ratios"].get(name)

    def best(peers: Iterable[str]) -> Callable[[Cell], Spread | None]:
        return lambda cell: _best(cell, peers)

    double = tuple(name for name in contestants.DOUBLE if name in ("jax64", "torch64"))
    goals = [
        *_goal("d = 2, N = 256: times NumPy", "at least", 15.0, over(many(2), ratio("numpy"))),
        *_goal(
            "d = 2, N = 256: times the best of JAX and PyTorch in float64",
            "at least",
            8.0,
            over(many(2), best(double)),
        ),
        *_goal(
            "d = 256, N = 256: times the best peer, float32 included",
            "at least",
            100.0,
            over(many(256), best(contestants.PEERS)),
        ),
        *_goal(
            "d = 256, N = 256: times the best peer in float64",
            "at least",
            100.0,
            over(many(256), best(contestants.DOUBLE)),
        ),
    ]
    for name, words in (
        ("floor_numpy", "drawn by NumPy's generator"),
        ("floor_forgetlib", "drawn by forgetlib's own"),
    ):
        goals += _goal(
            f"N of 256 and more, 64 replicates and more: times the floor, {words}",
            "at most",
            1.5,
            over(lambda cell: cell["batch_size"] >= 256 and cell["replicates"] > 1, ratio(name)),
        )
    goals += _goal(
        "a single replicate: times the best peer, float32 included",
        "at least",
        1.0,
        over(lambda cell: cell["replicates"] == 1, best(contestants.PEERS)),
    )
    for name, words in (
        ("efficiency", "parallel efficiency on 2 workers"),
        ("relative", "parallel efficiency on 2 workers, over that of loops that share nothing"),
    ):
        goals += _goal(
            words,
            "at least",
            0.9,
            [(entry[name], _where(entry)) for entry in results["efficiency"]],
        )
    goals += _memory_goal(results["memory"])
    calls = results["first_calls"]
    goals += _goal(
        "seconds of the first call of simulate, nothing compiled before",
        "at most",
        5.0,
        [(spread([entry["cold"]]), entry["workload"]) for entry in calls],
    )
    goals += _goal(
        "seconds of the first call of simulate from a warm cache",
        "at most",
        0.5,
        [(entry["warm"], entry["workload"]) for entry in calls],
    )
    return goals


def _memory_goal(memory: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Peaks at one dimension, over batch sizes and numbers of steps."""
    found: list[tuple[Spread | None, str]] = []
    ours = [entry for entry in memory if entry["contestant"] == "forgetlib"]
    for dim in sorted({entry["dim"] for entry in ours}):
        peaks = [entry["peak_mib"] for entry in ours if entry["dim"] == dim]
        if len(peaks) > 1:
            found.append((spread([max(peaks) - min(peaks)]), f"d = {dim}"))
    words = "MiB by which the peak memory varies with N and the number of steps"
    return _goal(words, "at most", _MEMORY_MARGIN, found)


def table(results: dict[str, Any]) -> str:
    """The goals as text."""
    lines = ["", "goals (median [range over rounds] in the least favourable cell)"]
    for goal in results["goals"]:
        mark = "met    " if goal["met"] else "NOT MET"
        lines.append(
            f"  {mark} {goal['goal']}: {goal['sense']} {goal['limit']:g}; "
            f"{show(goal['measured'])} at {goal['where']}; "
            f"kept in {goal['kept']} of {goal['of']}"
        )
    return "\n".join(lines)
