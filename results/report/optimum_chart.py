"""The optimum against scale, log against log: with intervals, the line through it, and what that gives at the
large run's scale."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from ..questions.comparison import Comparison
from ..statistics.drift import ScaleOptimum
from ..statistics.prediction import predict
from . import words
from .drawing import (
    INK,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    PARAMETRIZATION_COLORS,
    log2_axis,
    scale_labels,
    title_lines,
)

SHIFT = 0.07  # octaves of the scale
PLACES = 24
REFERENCES = {-1.0: "−1", -0.5: "−½", 0.0: "0", 0.5: "+½"}
"""Slopes drawn for the eye, octaves per doubling."""
MARGIN = 0.5  # octaves
SHAPES = {"ok": "circle", "lowest value": "triangle-down", "highest value": "triangle-up"}
"""Of an optimum: inside of its grid, or at an end of it, and then open there."""
BAND_COLUMNS = ["group", "label", "parametrization", "place", "line", "low", "high"]
TARGET_COLUMNS = ["group", "label", "parametrization", "scale", "place", "x", "value", "low", "high"]


def optimum_chart(
    family: Sequence[Comparison], axis: str, hyperparameter: str, target: float | None
) -> alt.TopLevelMixin:
    optima = pd.DataFrame([row for c in family for row in optimum_rows(c)])
    bands = pd.DataFrame([row for c in family for row in _band_rows(c, target)], columns=BAND_COLUMNS)
    targets = pd.DataFrame([row for c in family for row in _target_rows(c, target)], columns=TARGET_COLUMNS)
    names = list(dict.fromkeys(optima["parametrization"]))
    ends = [*optima["low"].dropna(), *optima["high"].dropna(), *optima["x"], *bands["line"], *targets["x"]]
    bottom, top = min(ends) - MARGIN, max(ends) + MARGIN
    # An interval that is open on a side reaches to the edge of the picture, and ends in an arrow.
    optima["from"], optima["to"] = optima["low"].fillna(bottom), optima["high"].fillna(top)
    optima["open_low"], optima["open_high"] = optima["low"].isna(), optima["high"].isna()
    # Side by side, so that the intervals of one scale do not hide each other.
    shift = {name: (index - (len(names) - 1) / 2) * SHIFT for index, name in enumerate(names)}
    optima["place"] = optima["log2_scale"] + optima["parametrization"].map(shift)
    first, last = optima["log2_scale"].min(), max([*optima["log2_scale"], *bands["place"], *targets["place"]])
    references = pd.DataFrame(
        [row for group in optima["group"].unique() for row in _reference_rows(group, optima, bands, last)]
    )
    references = references[references["line"].between(bottom, top)]
    ends_R = references.groupby(["group", "slope"])["place"].transform("max")
    references = references.assign(last=references["place"] == ends_R)
    x = alt.X(
        "place:Q",
        title=words.readable(axis),
        axis=_scale_axis([*optima["log2_scale"], *targets["place"]]),
        scale=alt.Scale(domain=[first - SHIFT, last + SHIFT], nice=False),
    )
    y_scale = alt.Scale(domain=[bottom, top], nice=False)
    title = f"best {words.readable(hyperparameter)}"
    y = alt.Y("x:Q", title=title, axis=log2_axis(pd.Series(ends)), scale=y_scale)
    color = alt.Color(
        "parametrization:N",
        title=None,
        scale=alt.Scale(domain=names, range=PARAMETRIZATION_COLORS[: len(names)]),
        legend=alt.Legend(symbolOpacity=1),
    )
    tooltip = [
        alt.Tooltip("label:N", title="trials"),
        alt.Tooltip("scale:O", title=words.readable(axis)),
        alt.Tooltip("value:Q", title="optimum", format=".4g"),
        alt.Tooltip("low:Q", title="log2, low", format=".2f"),
        alt.Tooltip("high:Q", title="log2, high", format=".2f"),
    ]
    detail = alt.Detail("label:N")
    line, end = alt.Y("line:Q", scale=y_scale), alt.Detail("slope:N")
    shape = alt.Shape(
        "status:N",
        scale=alt.Scale(domain=[*SHAPES], range=[*SHAPES.values()]),
        legend=None,
    )
    layers = [
        (references, alt.Chart().mark_line(clip=True, strokeWidth=0.8, strokeDash=[2, 3], color=INK)
         .encode(x=x, y=line, detail=end)),
        (references[references["last"]], alt.Chart().mark_text(align="left", dx=4, color=INK, fontSize=10)
         .encode(x=x, y=line, text="slope:N")),
        (bands, alt.Chart().mark_area(clip=True, opacity=0.14)
         .encode(x=x, y=alt.Y("low:Q", scale=y_scale), y2="high:Q", color=color, detail=detail)),
        (bands, alt.Chart().mark_line(clip=True, strokeWidth=1.8)
         .encode(x=x, y=line, color=color, detail=detail)),
        (optima, alt.Chart().mark_rule(strokeWidth=1.6)
         .encode(x=x, y=alt.Y("from:Q"), y2="to:Q", color=color)),
        (optima, alt.Chart().mark_point(size=70, filled=True, opacity=1)
         .encode(x=x, y=y, color=color, tooltip=tooltip, shape=shape)),
        (optima[optima["open_low"]], _arrow("triangle-down").encode(x=x, y=alt.Y("from:Q"), color=color)),
        (optima[optima["open_high"]], _arrow("triangle-up").encode(x=x, y=alt.Y("to:Q"), color=color)),
        (targets, alt.Chart().mark_rule(clip=True, strokeWidth=1.6, strokeDash=[3, 2])
         .encode(x=x, y=alt.Y("low:Q", scale=y_scale), y2="high:Q", color=color)),
        (targets, alt.Chart().mark_point(size=90, shape="diamond", strokeWidth=2, fill="white", opacity=1)
         .encode(x=x, y=y, color=color, tooltip=tooltip)),
    ]  # fmt: skip
    panels = [
        alt.layer(
            # Where a layer has no rows there is nothing to draw, and Vega would warn of it.
            *(
                layer.properties(data=rows[rows["group"] == group])
                for rows, layer in layers
                if (rows["group"] == group).any()
            ),
            title=title_lines(group),
        ).properties(width=PANEL_WIDTH, height=PANEL_HEIGHT)
        for group in optima["group"].unique()
    ]
    told = "Optimum by scale, 95 % intervals; arrows: open there; bands: the line; dotted: slopes for the eye"
    return alt.concat(*panels, columns=2, title=told)


def _status(optimum: ScaleOptimum) -> str:
    if not optimum.at_edge:
        return "ok"
    return "lowest value" if optimum.interval is not None and optimum.interval[0] is None else "highest value"


def optimum_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The optima that are known or bounded."""
    return [
        {
            **_names(comparison),
            "panel": words.label(comparison),
            "scale": optimum.scale,
            "log2_scale": float(np.log2(optimum.scale)),
            "x": optimum.log2_optimum,
            "value": 2.0**optimum.log2_optimum,
            "low": optimum.interval[0] if optimum.interval else None,
            "high": optimum.interval[1] if optimum.interval else None,
            "loss": optimum.loss,
            "status": _status(optimum),
        }
        for optimum in comparison.drift.optima
        if optimum.log2_optimum is not None
    ]


def _names(comparison: Comparison) -> dict[str, str]:
    return {
        "label": words.label(comparison),
        "group": words.group(comparison),
        "parametrization": comparison.family.parametrization or "–",
    }


def _arrow(shape: str) -> alt.Chart:
    chart: alt.Chart = alt.Chart().mark_point(shape=shape, size=60, filled=True, opacity=1)
    return chart


def _band_rows(comparison: Comparison, target: float | None) -> list[dict[str, Any]]:
    """The line and where 95 % of a scale's optima are expected, to the large run's scale."""
    drift = comparison.drift
    if drift.line is None:
        return []
    scales = [optimum.scale for optimum in drift.optima]
    rows = []
    for scale in np.geomspace(scales[0], max(scales[-1], target or 0.0), PLACES):
        value, low, high = drift.line.band(float(scale))
        ends = {"line": round(value, 4), "low": round(low, 4), "high": round(high, 4)}
        rows.append({**_names(comparison), "place": float(np.log2(scale)), **ends})
    return rows


def _target_rows(comparison: Comparison, target: float | None) -> list[dict[str, Any]]:
    found = None if target is None else predict(comparison.drift, target)
    if found is None or target is None:
        return []
    optimum = found.log2_optimum
    low, high = optimum.interval
    row = {"scale": target, "place": float(np.log2(target)), "x": optimum.value, "value": 2.0**optimum.value}
    return [{**_names(comparison), **row, "low": low, "high": high}]


def _reference_rows(
    group: str, optima: pd.DataFrame, bands: pd.DataFrame, last: float
) -> list[dict[str, Any]]:
    """Lines of usual slopes, from where the group's own begin."""
    mine, lines = optima[optima["group"] == group], bands[bands["group"] == group]
    first = float(mine["log2_scale"].min())
    begun = lines[lines["place"] == lines["place"].min()]["line"] if len(lines) else mine["x"][:1]
    start = float(begun.mean())
    places = np.linspace(first, last, PLACES)
    return [
        {"group": group, "slope": told, "place": float(place), "line": start + slope * (float(place) - first)}
        for slope, told in REFERENCES.items()
        for place in places
    ]


def _scale_axis(places: Sequence[float]) -> alt.Axis:
    values = sorted({*places})
    return alt.Axis(values=values, labelExpr=scale_labels("pow(2, datum.value)"), grid=False)
