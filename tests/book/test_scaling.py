"""The lines for a cluster, as the page on scaling shows them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from built import ROOT

PAGE = (ROOT / "chapters" / "scaling.md").read_text("utf-8")
SMALL = 'grid = {"batch": [2, 16], "rate": [0.5, 2.0]}\n'
THREADS = """
import forgetlib as fl
from runs import grid, self_trained
print(fl.sweep(self_trained, grid, progress=False, rng=1))
"""
# Two threads under the name of MPI's executor: what is tested is the page, not MPI.
STAND_IN = """
import concurrent.futures
class MPIPoolExecutor(concurrent.futures.ThreadPoolExecutor):
    def __init__(self):
        super().__init__(2)
"""


def block(opening: str, needle: str) -> str:
    """The one block of code on the page that contains some text."""
    blocks = re.findall(rf"^```{opening}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    [found] = [code for code in blocks if needle in code]
    return found


def run(folder: Path, code: str) -> str:
    (folder / "million.py").write_text(code)
    process = subprocess.run(
        [sys.executable, "million.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the page says: its task and grid in a file; then a smaller grid."""
    cell = block(r"\{code-cell\} ipython3", "def self_trained")
    (tmp_path / "runs.py").write_text(cell + SMALL)
    return tmp_path


@pytest.mark.xdist_group("dask")
def test_ten_lines_run_on_a_cluster(folder: Path) -> None:
    from distributed import LocalCluster

    code = block("python", "get_executor")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        address = "tcp://scheduler:8786"
        assert code.count(address) == 1
        shown = run(folder, code.replace(address, cluster.scheduler_address))
    assert "Table of 4 rows" in shown
    assert shown == run(folder, THREADS)
    lines = (folder / "million.checkpoint").read_bytes().count(b"\n")
    assert lines == 5  # what it is, and four tasks


def test_lines_for_mpi_run_with_a_stand_in(folder: Path) -> None:
    package = folder / "mpi4py"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "futures.py").write_text(STAND_IN)
    assert run(folder, block("python", "mpi4py")) == run(folder, THREADS)
