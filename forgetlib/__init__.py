"""forgetlib: exact and simulated forgetting in two-mode mixtures.

The names below are the whole public interface. Each is imported on first use, so
``import forgetlib`` is quick and compiles nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forgetlib import (
        drift,
        ensemble,
        flow,
        logistic_normal,
        mixture,
        objective,
        overlap,
        plot,
        results,
        retention,
        widgets,
    )
    from forgetlib.drift import (
        DriftBox,
        SeparatedDrift,
        drift_bound,
        drift_box,
        drift_constant,
        separated_drift,
    )
    from forgetlib.ensemble import Ensemble, simulate
    from forgetlib.flow import (
        Trajectory,
        WeightFlow,
        forgetting_time,
        gradient_flow,
        log_forgetting_time,
    )
    from forgetlib.mixture import TwoModeMixture
    from forgetlib.objective import ForwardKL, Gradient, ReverseKL
    from forgetlib.overlap import (
        bhattacharyya_coefficient,
        log_misassignment_probability,
        log_weight_slope,
        misassignment_bound,
        misassignment_probability,
    )
    from forgetlib.retention import contraction_rate, safe_learning_rate

__version__ = "0.1.0"

__all__ = [
    "DriftBox",
    "Ensemble",
    "ForwardKL",
    "Gradient",
    "ReverseKL",
    "SeparatedDrift",
    "Trajectory",
    "TwoModeMixture",
    "WeightFlow",
    "bhattacharyya_coefficient",
    "contraction_rate",
    "drift",
    "drift_bound",
    "drift_box",
    "drift_constant",
    "ensemble",
    "flow",
    "forgetting_time",
    "gradient_flow",
    "log_forgetting_time",
    "log_misassignment_probability",
    "log_weight_slope",
    "logistic_normal",
    "misassignment_bound",
    "misassignment_probability",
    "mixture",
    "objective",
    "overlap",
    "plot",
    "results",
    "retention",
    "safe_learning_rate",
    "separated_drift",
    "simulate",
    "widgets",
]

# where each name lives; a module that is not named here is a public name itself
_HOME = {
    "DriftBox": "drift",
    "Ensemble": "ensemble",
    "ForwardKL": "objective",
    "Gradient": "objective",
    "ReverseKL": "objective",
    "SeparatedDrift": "drift",
    "Trajectory": "flow",
    "TwoModeMixture": "mixture",
    "WeightFlow": "flow",
    "bhattacharyya_coefficient": "overlap",
    "contraction_rate": "retention",
    "drift_bound": "drift",
    "drift_box": "drift",
    "drift_constant": "drift",
    "forgetting_time": "flow",
    "gradient_flow": "flow",
    "log_forgetting_time": "flow",
    "log_misassignment_probability": "overlap",
    "log_weight_slope": "overlap",
    "misassignment_bound": "overlap",
    "misassignment_probability": "overlap",
    "safe_learning_rate": "retention",
    "separated_drift": "drift",
    "simulate": "ensemble",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'forgetlib' has no attribute {name!r}")
    module = importlib.import_module(f"forgetlib.{_HOME.get(name, name)}")
    value = getattr(module, name) if name in _HOME else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
