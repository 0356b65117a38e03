"""The benchmarks still compare like with like; neither JAX nor PyTorch is needed here."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import contestants  # noqa: E402
import goals  # noqa: E402
import measure  # noqa: E402
import run  # noqa: E402
from problem import WORKLOADS, Problem, disagreement, forgetlib_runner  # noqa: E402

# 12 comparisons a workload and dimension: a false alarm in one of 8000 choices of the seeds
LIMIT = 5.0


@pytest.mark.parametrize("dim", [1, 2, 16])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_peers_train_the_same_model(workload: str, dim: int) -> None:
    problem = Problem(workload, dim, 32, 400, learning_rate=0.05)
    ours = forgetlib_runner(problem)(25, 1)
    for name in ("numpy", "numba"):
        assert disagreement(problem, ours, contestants.runner(name, problem)(25, 2)) < LIMIT, name


@pytest.mark.parametrize(
    ("workload", "change"),
    [
        ("forward_kl", {"start_weight": 0.61}),
        ("reverse_kl", {"target_weight": 0.76}),
        ("replay", {"learning_rate": 0.053}),
        ("sdft", {"anchor": 0.8}),
        ("ttt_discover", {"kl_weight": 0.33}),
        ("oapl", {"sync_every": 20}),
    ],
)
def test_another_model_is_noticed(workload: str, change: dict[str, Any]) -> None:
    """The comparison has the power to tell small differences of the rule apart."""
    problem = Problem(workload, 2, 32, 400, learning_rate=0.05)
    other = dataclasses.replace(problem, **change)
    ours = forgetlib_runner(problem)(25, 1)
    assert disagreement(problem, ours, contestants.runner("numpy", other)(25, 2)) > LIMIT


@pytest.mark.parametrize("name", contestants.FLOORS)
def test_the_floor_grows_with_the_numbers_that_are_drawn(name: str) -> None:
    """Twenty times the steps take more than three times as long: nothing is optimised away."""
    draw = contestants.runner(name, Problem("reverse_kl", 16, 256, 4))
    few, many = (
        min(measure.seconds(draw, steps, seed) for seed in range(3)) for steps in (1000, 20000)
    )
    assert many > 3.0 * few


def test_peers_are_timed_on_fewer_replicates_where_a_step_is_large() -> None:
    huge = Problem("reverse_kl", 16384, 4096, 4096)
    assert measure.timed_problem("numpy", huge).replicates == 1
    assert measure.timed_problem("forgetlib", huge).replicates == 64
    small = Problem("reverse_kl", 2, 256, 64)
    assert all(measure.timed_problem(name, small) == small for name in contestants.TITLES)


def test_goals_are_judged_by_the_least_favourable_cell() -> None:
    def cell(replicates: int, numpy: list[float]) -> dict[str, Any]:
        times: dict[str, dict[str, Any]] = {
            name: {"wall": wall}
            for name, wall in (("forgetlib", [1.0, 1.0, 2.0]), ("numpy", numpy))
        }
        return {
            "workload": "oapl",
            "dim": 2,
            "batch_size": 256,
            "replicates": replicates,
            "times": times,
            "ratios": measure.ratios(times),
        }

    results = {
        "cells": [cell(64, [20.0, 14.0, 40.0]), cell(4096, [14.0, 10.0, 40.0])],
        "efficiency": [],
        "memory": [],
        "first_calls": [],
    }
    (goal,) = goals.judge(results)
    assert goal["measured"] == {"median": 14.0, "low": 10.0, "high": 20.0}
    assert not goal["met"]
    assert (goal["kept"], goal["of"]) == (1, 2)
    assert "4096 replicates" in goal["where"]
    assert "NOT MET" in goals.table({"goals": [goal]})


def test_a_run_writes_its_results_and_goes_on_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "results.json"
    command = ["run.py", "--cells-only", "--peers", "numpy", "--workloads", "reverse_kl"]
    command += ["--dims", "2", "--batches", "16", "--rounds", "2", "--seconds", "0.002"]
    command += ["--output", str(output), "--replicates", "1"]
    monkeypatch.setattr(sys, "argv", command)
    assert run.main() == 0
    table = json.loads(output.read_text(encoding="utf-8"))
    (cell,) = table["cells"]
    assert set(cell["times"]) == {"forgetlib", "numpy", *contestants.FLOORS}
    assert all(len(entry["wall"]) == 2 for entry in cell["times"].values())
    assert cell["ratios"]["numpy"]["low"] > 0.0
    assert table["goals"]
    # as an interruption leaves it
    (tmp_path / "results.json.part").write_text(json.dumps(table), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [*command, "4"])
    assert run.main() == 0
    assert "1 cells are done" in capsys.readouterr().out
    cells = json.loads(output.read_text(encoding="utf-8"))["cells"]
    assert cells[0] == cell
    assert [found["replicates"] for found in cells] == [1, 4]
