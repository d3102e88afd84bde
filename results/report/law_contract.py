"""The JSON contract of `law -f json`: plain values, null instead of NaN."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..questions.laws import CellOptimum, Laws
from ..statistics.power_law import PowerLaw
from ..statistics.regression import Bound, Known
from .contract import REPORT_SCHEMA, estimate_object, number


def law_object(found: Sequence[Laws], at: Mapping[str, float]) -> dict[str, Any]:
    return {
        "schema": REPORT_SCHEMA,
        "laws": [
            {
                **entry.family._asdict(),
                "fixed": entry.fixed,
                "hyperparameter": name,
                **_law(law, at),
                "cells": [_cell(cell, index, entry.over) for cell in entry.cells],
            }
            for entry in found
            for index, (name, law) in enumerate(entry.laws.items())
        ],
    }


def _law(law: PowerLaw | None, at: Mapping[str, float]) -> dict[str, Any]:
    if law is None:
        return {"law": None, "held_out": []}
    told: dict[str, Any] = {
        "law": {
            "log2_constant": number(law.log2_constant),
            "exponents": {
                name: estimate_object(exponent, "exponent", "interval")
                for name, exponent in zip(law.columns, law.exponents, strict=True)
            },
            "misfit": number(law.misfit),
        },
        "held_out": [
            {
                "column": one.column,
                "value": number(one.value),
                "cells": one.cells,
                **estimate_object(one.error, "error", "error_interval"),
            }
            for one in law.held_out
        ],
    }
    if at:
        predicted = law.at([at[name] for name in law.columns])
        told |= {"at": dict(at), **estimate_object(predicted, "log2_at", "log2_at_interval")}
    return told


def _cell(cell: CellOptimum, index: int, over: Sequence[str]) -> dict[str, Any]:
    optimum = cell.optima[index]
    match optimum:
        case Known():
            status, log2 = "ok", number(optimum.optimum)
        case Bound():
            status, log2 = "at_edge", number(optimum.end)
        case None:
            status, log2 = "unknown", None
    place = dict(zip(over, cell.place, strict=True))
    return {**place, "status": status, "log2_optimum": log2, "loss": number(cell.loss), "trials": cell.trials}
