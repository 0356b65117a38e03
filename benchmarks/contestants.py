"""Everyone who is timed, by name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.metadata import version

from problem import Problem, Run, forgetlib_runner

PEERS = ("numpy", "numba", "jax64", "jax32", "torch64")
DOUBLE = ("numpy", "numba", "jax64", "torch64")  # in the precision of forgetlib
FLOORS = ("floor_numpy", "floor_forgetlib")
TITLES = {
    "forgetlib": "forgetlib",
    "numpy": "NumPy",
    "numba": "numba, direct",
    "jax64": "JAX float64",
    "jax32": "JAX float32",
    "torch64": "PyTorch float64",
    "floor_numpy": "random numbers, NumPy's",
    "floor_forgetlib": "random numbers, forgetlib's",
}


def runner(name: str, problem: Problem) -> Run:
    """Compile what has to be compiled, and give back a function of steps and seed."""
    # each is imported when it is asked for: the tests have neither JAX nor PyTorch
    match name:
        case "forgetlib":
            return forgetlib_runner(problem)
        case "numpy":
            import peer_numpy

            return peer_numpy.runner(problem)
        case "numba":
            import peer_numba

            return peer_numba.runner(problem)
        case "jax64" | "jax32":
            import peer_jax

            return peer_jax.runner(problem, single=name == "jax32")
        case "torch64":
            import peer_torch

            return peer_torch.runner(problem)
        case "floor_numpy" | "floor_forgetlib":
            import floor

            return floor.runner(problem, own=name == "floor_forgetlib")
    raise ValueError(f"no contestant {name!r}")


def missing() -> dict[str, str]:
    """Contestants that cannot run here, and why."""
    packages = {"jax64": "jax", "jax32": "jax", "torch64": "torch"}
    return {
        name: f"{package} is not installed"
        for name, package in packages.items()
        if importlib.util.find_spec(package) is None
    }


def versions() -> dict[str, str]:
    found = {}
    for package in ("forgetlib", "numpy", "numba", "jax", "torch"):
        if importlib.util.find_spec(package) is not None:
            found[package] = version(package)
    return found


def free(name: str) -> Callable[[], None]:
    """What frees the memory of compiled code, for those who never do it themselves."""
    if name.startswith("jax"):
        import peer_jax

        return peer_jax.forget
    return lambda: None
