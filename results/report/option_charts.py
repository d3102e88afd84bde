"""Pictures of training options: the optimum at each value of an option, by scale."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from ..questions.comparison import Comparison
from ..questions.options import OptionShift
from . import words
from .charts import MAX_PANELS
from .drawing import PANEL_HEIGHT, SCALES, configured, log2_axis, scale_labels

STEP = 70  # pixels of a value


def option_charts(options: Sequence[OptionShift]) -> dict[str, dict[str, Any]]:
    """One picture an option and hyperparameter, by file stem."""
    found: dict[str, dict[str, Any]] = {}
    kinds = dict.fromkeys((entry.option, entry.reference_of.hyperparameter) for entry in options)
    for option, hyperparameter in kinds:
        members = [
            e for e in options if (e.option, e.reference_of.hyperparameter) == (option, hyperparameter)
        ]
        rows = pd.DataFrame([row for entry in members for row in _rows(entry)]).drop_duplicates()
        if len(rows):
            found[f"option-{option}-{hyperparameter}"] = configured(_chart(rows, option, hyperparameter))
    return found


def _chart(rows: pd.DataFrame, option: str, hyperparameter: str) -> alt.TopLevelMixin:
    scales = sorted(rows["scale"].unique())
    values = list(dict.fromkeys(rows["value"]))
    x = alt.X("value:N", title=words.readable(option), sort=values, axis=alt.Axis(labelAngle=0, grid=False))
    offset = alt.XOffset("scale:O", sort=scales)
    ends = pd.concat([rows["low"].dropna(), rows["high"].dropna(), rows["x"]])
    y = alt.Y(
        "x:Q",
        title=f"best {words.readable(hyperparameter)}",
        axis=log2_axis(ends),
        scale=alt.Scale(domain=[float(ends.min()) - 0.3, float(ends.max()) + 0.3], nice=False),
    )
    color = alt.Color(
        "scale:O",
        title="scale",
        scale=alt.Scale(scheme=SCALES, reverse=True),
        sort=scales,
        legend=alt.Legend(labelExpr=scale_labels()),
    )
    tooltip = ["value:N", "scale:O", alt.Tooltip("x:Q", title="log2 of the optimum", format=".2f")]
    interval = alt.Chart().mark_rule(strokeWidth=1.6)
    point = alt.Chart().mark_point(filled=True, size=70, opacity=1)
    layers = (
        interval.encode(x=x, xOffset=offset, y=alt.Y("low:Q"), y2="high:Q", color=color),
        point.encode(x=x, xOffset=offset, y=y, color=color, tooltip=tooltip),
    )
    groups = list(dict.fromkeys(rows["group"]))[:MAX_PANELS]
    panels = [
        alt.layer(
            *(layer.transform_filter(alt.datum.group == group) for layer in layers), data=rows, title=group
        ).properties(width=alt.Step(STEP), height=PANEL_HEIGHT)
        for group in groups
    ]
    return alt.concat(*panels, columns=3, title=f"Optimum by {words.readable(option)}, with 95 % intervals")


def _rows(entry: OptionShift) -> list[dict[str, Any]]:
    group = words.option_family(entry)
    pairs = [(entry.reference, entry.reference_of), (entry.value, entry.value_of)]
    return [row for value, comparison in pairs for row in _optima(group, value, comparison)]


def _optima(group: str, value: object, comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "group": group,
            "value": words.told_value(value),
            "scale": optimum.scale,
            "x": optimum.log2_optimum,
            "low": optimum.interval[0] if optimum.interval else None,
            "high": optimum.interval[1] if optimum.interval else None,
        }
        for optimum in comparison.drift.optima
        if optimum.log2_optimum is not None
    ]
