"""The hand-over of a sweep of the user's own program: what every role of parameter gets at the target."""

from typing import Any

import pandas as pd

from ...models.handover.handover import SCHEMA, WHERE
from ...models.handover.values import handover_of
from ...models.recipe.recipe import EXPERTS
from ...results.questions.choice import tuned_log2
from ...results.questions.comparison import Comparison, rows_behind
from ...results.report.contract import comparison_object
from .export import Target, best_point, must_be_of_rates, size_warnings
from .fault import ExportError


def is_of_programs(comparison: Comparison, rows: pd.DataFrame) -> bool:
    """Whether a comparison's trials ran programs: our proxies have an architecture, and imports no job."""
    family = rows_behind(comparison, rows)
    return bool(family["architecture"].isna().all() and family["job_id"].notna().all())


def program_export(comparison: Comparison, rows: pd.DataFrame, target: Target) -> dict[str, Any]:
    """The export as plain values: that of a trial at the target, with its tuned learning rate.

    Raises ExportError where the trials do not say by which rules their parameters are scaled.
    """
    if target != Target(target.width, target.depth):
        raise ExportError(
            "batch, tokens, sequences, experts: are a program's own business; give --width and --depth"
        )
    must_be_of_rates(comparison)
    log2_rate, interval = tuned_log2(comparison)
    family = rows_behind(comparison, rows)
    point = {name: value for name, value in best_point(comparison, family).items() if value is not None}
    sizes = {"width": target.width, "depth": target.depth}
    handed, why_not = handover_of({**point, **sizes, "learning_rate": 2.0**log2_rate})
    if handed is None:
        raise ExportError(f"no values by role: {why_not}; --target SCALE hands over the value alone")
    held = {name: point[name] for name in EXPERTS if name in point}
    ends = [None if end is None else 2.0**end for end in interval]
    return {
        "schema": SCHEMA,
        **handed,
        "base": {name: point.get(f"base_{name}") for name in ("width", "depth", *held)},
        "target": {**sizes, **held},
        "hyperparameters": {**handed["hyperparameters"], "learning_rate_interval": ends},
        "places": {site: WHERE[site] for site in handed["multipliers"]},
        "evidence": {"comparison": comparison_object(comparison)},
        "warnings": size_warnings(comparison, family, target, log2_rate),
    }
