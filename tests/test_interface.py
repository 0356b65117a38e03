"""The public interface: what it names, what importing it costs, what it must not do."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import forgetlib as fl


@pytest.mark.parametrize("name", fl.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(fl, name)
    assert inspect.getdoc(value)
    if inspect.isfunction(value) or inspect.isclass(value):
        assert name in importlib.import_module(value.__module__).__all__


def test_unknown_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'ForwardKl'"):
        fl.ForwardKl  # noqa: B018
    assert set(fl.__all__) <= set(dir(fl))


HEAVY = ["numba", "matplotlib", "ipywidgets", "pandas", "tqdm", "dask", "distributed"]
#: SciPy's parts take longer to load than all that a first simulation waits for
HEAVY += [f"scipy.{part}" for part in ("special", "linalg", "integrate", "optimize", "stats")]


@pytest.mark.parametrize(
    "first_use",
    [
        "",
        "fl.TwoModeMixture.separated(2.0).responsibility(1.0)",
        "import forgetlib.flow, forgetlib.methods",
        "p = fl.TwoModeMixture.separated(2.0); m = p.replace(old_weight=0.4); "
        "[fl.ReverseKL(p).hessian(m), fl.ForwardKL(p).gradient(m), fl.SDFT(p, 0.1, 0.1), "
        "fl.OAPL(p, 1.0, 1.0, 5), fl.TTTDiscover(p, 1.0, 1.0, 0.1), fl.gradient_flow]",
    ],
)
def test_importing_loads_no_compiler_and_nothing_heavy(first_use: str) -> None:
    code = (
        f"import sys, forgetlib as fl; {first_use}\n"
        f"print(sorted({set(HEAVY)!r} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


FLOORS = [
    "_arguments",
    "_checkpoint",
    "log_probabilities",
    "logistic_normal",
    "mixture",
    "overlap",
    "rare_event",
    "objective",
    "methods",
    "flow",
    "geometry",
    "drift",
    "retention",
    "plateau",
    "batch_noise",
    "toy",
    "data_mixing",
    "replay",
]
FLOORS += [
    "_kernels",
    "ensemble",
    "sweep",
    "verdict",
    "results",
    "_svg",
    "_figure_table",
    "design",
    "plot",
    "widgets",
]


@pytest.mark.parametrize("module", FLOORS)
def test_imports_run_one_way(module: str) -> None:
    """A module imports only from the floors below its own."""
    file = Path(inspect.getfile(importlib.import_module(f"forgetlib.{module}")))
    files = file.parent.glob("*.py") if file.name == "__init__.py" else [file]
    source = "\n".join(one.read_text(encoding="utf-8") for one in files)
    for name in FLOORS[FLOORS.index(module) + 1 :]:
        assert f"from forgetlib.{name} import" not in source, (module, name)
        assert f"import forgetlib.{name}" not in source, (module, name)
