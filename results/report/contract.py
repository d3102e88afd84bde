"""The JSON contract of `report -f json`: plain values, null instead of NaN."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..questions.comparison import Comparison
from ..questions.contrast import Contrast
from ..questions.options import OptionShift
from ..questions.plane import Joint
from ..questions.searched import Searched
from ..statistics.drift import ScaleOptimum
from ..statistics.interval import Estimate, Interval
from ..statistics.prediction import predict
from ..statistics.scaling import Metrics
from ..statistics.verdict import Question

REPORT_SCHEMA = 1
DIGITS = 6


def report_object(
    comparisons: Sequence[Comparison],
    joint: Sequence[Joint] = (),
    searches: Sequence[Searched] = (),
    options: Sequence[OptionShift] = (),
    target: float | None = None,
    problems: Sequence[str] = (),
) -> dict[str, Any]:
    return {
        "schema": REPORT_SCHEMA,
        "comparisons": [
            comparison_object(c) if target is None else {**comparison_object(c), **_at_target(c, target)}
            for c in comparisons
        ],
        "joint": [_joint_object(entry) for entry in joint],
        "searches": [_search_object(entry) for entry in searches],
        "options": [_option_object(entry) for entry in options],
        "problems": [*problems],
    }


def _option_object(entry: OptionShift) -> dict[str, Any]:
    one = entry.reference_of
    return {
        "option": entry.option,
        "reference": entry.reference,
        "value": entry.value,
        **one.family._asdict(),
        "axis": one.axis,
        "hyperparameter": one.hyperparameter,
        "fixed": entry.fixed,
        "shifts": [
            {"scale": _scale(scale), **estimate_object(shift, "octaves", "interval")}
            for scale, shift in entry.shifts
        ],
        **estimate_object(entry.shift, "shift", "shift_interval"),
        **estimate_object(entry.loss, "loss_difference", "loss_interval"),
        "verdict": entry.verdict,
    }


def _search_object(entry: Searched) -> dict[str, Any]:
    known = asdict(entry)
    del known["family"]
    return {**entry.family._asdict(), **known}


def _joint_object(entry: Joint) -> dict[str, Any]:
    plane = entry.plane
    return {
        **entry.family._asdict(),
        "hyperparameter": entry.hyperparameter,
        "fixed": entry.fixed,
        "slopes": {
            axis: estimate_object(slope, "slope_per_doubling", "slope_interval")
            for axis, slope in plane.slopes.items()
        },
        "misfit": number(plane.misfit),
        **estimate_object(plane.penalty, "transfer_penalty", "transfer_penalty_interval"),
        "cells": [
            {"width": cell.width, "depth": cell.depth, "log2_optimum": number(cell.log2_optimum)}
            for cell in plane.cells
        ],
    }


def compare_object(contrasts: Sequence[Contrast], of: Sequence[str]) -> dict[str, Any]:
    """The JSON of `compare -f json`: second minus first; `of` are the places that they are of."""
    return {
        "schema": REPORT_SCHEMA,
        "of": list(of),
        "contrasts": [_contrast_object(entry) for entry in contrasts],
    }


def _contrast_object(entry: Contrast) -> dict[str, Any]:
    return {
        "first": _named(entry.first),
        "second": _named(entry.second),
        "differs": list(entry.differs),
        "axis": entry.first.axis,
        "hyperparameter": entry.first.hyperparameter,
        **estimate_object(entry.drift, "slope_size_difference", "slope_size_interval"),
        **estimate_object(entry.penalty, "penalty_difference", "penalty_interval"),
        "losses": [
            {
                "scale": _scale(loss.scale),
                **estimate_object(loss.difference, "difference", "interval"),
                "pairs": loss.pairs,
            }
            for loss in entry.losses
        ],
        "better": entry.better,
        "alike": entry.alike,
    }


def _named(comparison: Comparison) -> dict[str, Any]:
    family = comparison.family._asdict()
    return {**family, "fixed": comparison.fixed, "verdict": comparison.drift.verdict}


def comparison_object(comparison: Comparison) -> dict[str, Any]:
    drift = comparison.drift
    return {
        **comparison.family._asdict(),
        "axis": comparison.axis,
        "hyperparameter": comparison.hyperparameter,
        "fixed": comparison.fixed,
        "optima": [
            {
                **_optimum_object(optimum),
                "accuracy": number(comparison.accuracy.get(optimum.scale)),
                "busiest_expert": number(comparison.busiest_expert.get(optimum.scale)),
            }
            for optimum in drift.optima
        ],
        **estimate_object(drift.slope, "slope_per_doubling", "slope_interval"),
        **estimate_object(drift.shift, "total_shift", "total_shift_interval"),
        **estimate_object(drift.penalty, "transfer_penalty", "transfer_penalty_interval"),
        **estimate_object(drift.smallest_penalty, "penalty_from_smallest", "penalty_from_smallest_interval"),
        "noise_nats": number(drift.noise),
        "metrics": _metrics(drift.metrics),
        "verdict": drift.verdict,
        "moves": _question(drift.questions["moves"]),
        "costs": _question(drift.questions["costs"]),
        "tolerance": {"loss": number(drift.allowed.loss), "doubling": number(drift.allowed.doubling)},
        "reasons": list(drift.reasons),
    }


def _optimum_object(optimum: ScaleOptimum) -> dict[str, Any]:
    return {
        "scale": _scale(optimum.scale),
        "status": optimum.status,
        "log2_optimum": number(optimum.log2_optimum),
        "interval": _interval(optimum.interval),
        "loss": number(optimum.loss),
        "at_edge": optimum.at_edge,
        "trials": optimum.trials,
        "diverged": optimum.diverged,
    }


def _scale(scale: float) -> float | int:
    return int(scale) if float(scale).is_integer() else scale


def estimate_object(estimate: Estimate | None, value: str, interval: str) -> dict[str, Any]:
    if estimate is None:
        return {value: None, interval: None}
    return {value: number(estimate.value), interval: _interval(estimate.interval)}


def _at_target(comparison: Comparison, target: float) -> dict[str, Any]:
    found = predict(comparison.drift, target)
    penalty = None if found is None else found.penalty
    return {
        "target": _scale(target),
        **estimate_object(
            None if found is None else found.log2_optimum, "log2_at_target", "log2_at_target_interval"
        ),
        **estimate_object(penalty, "penalty_at_target", "penalty_at_target_interval"),
        "diverges_at_target": penalty is not None and math.isinf(penalty.value),
    }


def _question(question: Question) -> dict[str, Any]:
    return {"answer": question.answer, "probability": number(question.probability)}


def _metrics(metrics: Metrics | None) -> dict[str, Any] | None:
    if metrics is None:
        return None
    law = metrics.law
    return {
        "fit_error": number(metrics.fit_error),
        "robustness_exponent": number(metrics.robustness),
        "robustness_interval": _interval(metrics.robustness_interval),
        "loss_law": law
        and {
            "asymptote": number(law.asymptote),
            "asymptote_interval": _interval(law.asymptote_interval),
            "amplitude": number(law.amplitude),
            "exponent": number(law.exponent),
            "exponent_interval": _interval(law.exponent_interval),
            "misfit_nats": number(law.misfit_nats),
        },
    }


def _interval(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [number(end) for end in interval]


def number(value: float | None) -> float | None:
    """To six decimals, or as many as show six digits: losses may be in any unit."""
    if value is None or not math.isfinite(value):
        return None
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return round(value, DIGITS + max(0, -1 - magnitude)) + 0.0
