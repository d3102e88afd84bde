"""The JSON contract of `report -f json`: plain values, null instead of NaN."""

import math
from collections.abc import Sequence
from typing import Any

from .comparison import Comparison
from .drift import Interval, ScaleOptimum

REPORT_SCHEMA = 1


def report_object(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    return {"schema": REPORT_SCHEMA, "comparisons": [comparison_object(c) for c in comparisons]}


def comparison_object(comparison: Comparison) -> dict[str, Any]:
    drift = comparison.drift
    return {
        "architecture": comparison.architecture,
        "optimizer": comparison.optimizer,
        "parametrization": comparison.parametrization,
        "axis": comparison.axis,
        "hyperparameter": comparison.hyperparameter,
        "fixed": comparison.fixed,
        "optima": [_optimum_object(optimum) for optimum in drift.optima],
        "slope_per_doubling": _number(drift.slope),
        "slope_interval": _interval(drift.slope_interval),
        "transfer_penalty": _number(drift.penalty),
        "transfer_penalty_interval": _interval(drift.penalty_interval),
        "verdict": drift.verdict,
        "reasons": list(drift.reasons),
    }


def _optimum_object(optimum: ScaleOptimum) -> dict[str, Any]:
    scale = int(optimum.scale) if float(optimum.scale).is_integer() else optimum.scale
    return {
        "scale": scale,
        "status": optimum.status,
        "log2_optimum": _number(optimum.log2_optimum),
        "interval": _interval(optimum.interval),
        "loss": _number(optimum.loss),
        "at_edge": optimum.at_edge,
        "trials": optimum.trials,
        "diverged": optimum.diverged,
    }


def _interval(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [_number(end) for end in interval]


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 6)
