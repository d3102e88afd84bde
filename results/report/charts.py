"""The report's pictures as Vega-Lite: which there are, and loss against the hyperparameter.

The others are in `optimum_chart` and `scale_charts`. Where a report holds many comparisons only the first are
drawn.
"""

import re
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from ..questions.comparison import Comparison
from ..statistics.curve import scale_name
from . import words
from .drawing import INK, PANEL_HEIGHT, PANEL_WIDTH, SCALES, configured, log2_axis, scale_labels, title_lines
from .optimum_chart import optimum_chart, optimum_rows
from .scale_charts import best_loss_chart, diverged_chart

THINNED = 3
"""Every third place of the fit is drawn."""
HEADROOM = 3.0
"""The axis reaches so many times a valley's median height above its lowest loss; what is higher is marked at
the top: what matters happens near the minimum."""

MAX_PANELS = 8
"""Comparisons that one picture draws; the tables hold all."""


def charts(comparisons: Sequence[Comparison], target: float | None = None) -> dict[str, dict[str, Any]]:
    """Every picture of the report, by file stem, as a Vega-Lite specification; `target` is the large run's
    scale."""
    found: dict[str, dict[str, Any]] = {}
    for axis, hyperparameter in dict.fromkeys((c.axis, c.hyperparameter) for c in comparisons):
        family = [c for c in comparisons if (c.axis, c.hyperparameter) == (axis, hyperparameter)][:MAX_PANELS]
        stem = f"{_file_name(hyperparameter)}-across-{_file_name(axis)}"
        optima = [optimum for c in family for optimum in c.drift.optima]
        if any(optimum.status in ("ok", "at_edge") for optimum in optima):
            found[f"optimum-{stem}"] = configured(optimum_chart(family, axis, hyperparameter, target))
        found[f"loss-{stem}"] = configured(_loss_chart(family, axis, hyperparameter))
        if any(optimum.status == "ok" for optimum in optima) and len({o.scale for o in optima}) > 1:
            found[f"best-{stem}"] = configured(best_loss_chart(family, axis, target))
        if any(optimum.diverged for optimum in optima):
            found[f"diverged-{stem}"] = configured(diverged_chart(family, axis, hyperparameter))
    return found


def _file_name(column: str) -> str:
    """Of a quotient or a product of columns, too, or whatever a user's own is called."""
    return (
        re.sub(r"[^\w.-]+", "-", column.replace("/", "-per-").replace("*", "-times-")).strip("-.") or "column"
    )


def _loss_chart(family: Sequence[Comparison], axis: str, hyperparameter: str) -> alt.TopLevelMixin:
    curves = pd.DataFrame([row for c in family for row in _curve_rows(c)])
    optima = pd.DataFrame([row for c in family for row in optimum_rows(c)])
    low, high = _loss_range(family)
    curves["above"] = curves["loss"].where(curves["loss"].isna() | (curves["loss"] > high)).notna()
    curves["top"] = high
    scales = sorted(curves["scale"].unique())
    color = alt.Color(
        "scale:O",
        title=words.readable(axis),
        scale=alt.Scale(scheme=SCALES, reverse=True),
        sort=scales,
        legend=alt.Legend(symbolOpacity=1, labelExpr=scale_labels()),
    )
    x = alt.X(
        "x:Q", title=words.readable(hyperparameter), axis=log2_axis(curves["x"]), scale=alt.Scale(zero=False)
    )
    y = alt.Y(
        "loss:Q",
        title="validation loss",
        scale=alt.Scale(domain=[low, high], nice=False),
    )
    tooltip = [
        alt.Tooltip("panel:N", title="trials"),
        alt.Tooltip("scale:O", title=words.readable(axis)),
        alt.Tooltip("value:Q", title=words.readable(hyperparameter), format=".4g"),
        alt.Tooltip("loss:Q", format=".4f"),
    ]
    hover = alt.selection_point(fields=["scale"], bind="legend")
    shade = alt.condition(hover, alt.value(1.0), alt.value(0.15))
    lines = alt.Chart().mark_line(clip=True, strokeWidth=1.8).encode(x=x, y=y, color=color, opacity=shade)
    points = (
        alt.Chart()
        .mark_point(clip=True, filled=True, size=22)
        .encode(x=x, y=y, color=color, tooltip=tooltip, opacity=shade)
    )
    above = (
        alt.Chart()
        .mark_point(shape="triangle-up", size=26, filled=True)
        .encode(x=x, y=alt.Y("top:Q"), color=color, tooltip=tooltip, opacity=shade)
    )
    transferred = pd.DataFrame(
        [row for c in family for row in _transfer_rows(c, high)],
        columns=["panel", "x", "loss", "told", "late"],
    )
    value = alt.Chart(transferred).mark_rule(strokeDash=[4, 3], color=INK).encode(x=alt.X("x:Q"))
    costs = {
        late: alt.Chart(transferred)
        .mark_text(align="right" if late else "left", dx=-5 if late else 5, dy=8, baseline="top", color=INK)
        .encode(x=alt.X("x:Q"), y=alt.Y("loss:Q"), text="told:N")
        for late in (False, True)
    }
    fitted = pd.DataFrame(
        [row for c in family for row in _fitted_rows(c)], columns=["panel", "scale", "x", "loss"]
    )
    faint = alt.condition(hover, alt.value(0.3), alt.value(0.05))
    bends = (
        alt.Chart(fitted).mark_line(clip=True, strokeWidth=4.5).encode(x=x, y=y, color=color, opacity=faint)
    )
    marks = (
        alt.Chart(optima)
        .mark_point(shape="diamond", size=110, filled=True, stroke="white", strokeWidth=0.8)
        .encode(x=x, y=y, color=color, tooltip=tooltip, opacity=shade)
    )
    panels = [
        alt.layer(
            # Where nothing was fitted there is nothing to draw, and Vega would warn of it.
            *([bends.transform_filter(alt.datum.panel == panel)] if (fitted["panel"] == panel).any() else []),
            lines.transform_filter(alt.datum.panel == panel),
            points.transform_filter(alt.datum.panel == panel),
            *(
                [above.transform_filter((alt.datum.panel == panel) & alt.datum.above)]
                if (curves["above"] & (curves["panel"] == panel)).any()
                else []
            ),
            *(
                mark.transform_filter(alt.datum.panel == panel)
                for late in transferred["late"][transferred["panel"] == panel]
                for mark in (value, costs[late])
            ),
            marks.transform_filter(alt.datum.panel == panel),
            data=curves,
            title=title_lines(panel),
        ).properties(width=PANEL_WIDTH, height=PANEL_HEIGHT)
        for panel in curves["panel"].unique()
    ]
    panels[0] = panels[0].add_params(hover)
    return alt.concat(
        *panels,
        columns=2,
        title="Loss by scale; broad lines: the fit, diamonds: its optimum, dashed: the value transferred",
    )


def _loss_range(family: Sequence[Comparison]) -> tuple[float, float]:
    """From below the lowest loss to where the valleys' walls stand."""
    curves = [curve for c in family for curve in c.drift.curves if curve.usable.any()]
    if not curves:
        return 0.0, 1.0
    lowest = [float(curve.y[curve.usable].min()) for curve in curves]
    middle = [float(np.median(curve.y[curve.usable])) for curve in curves]
    tops = [low + HEADROOM * (half - low) for low, half in zip(lowest, middle, strict=True)]
    bottom, top = min(lowest), max(*tops, *lowest)
    margin = 0.06 * (top - bottom) or abs(bottom) or 1.0
    return bottom - margin, top + margin


def _transfer_rows(comparison: Comparison, top: float) -> list[dict[str, Any]]:
    """What the smaller scales choose, and what it costs the largest."""
    transfer = comparison.drift.transfer
    if transfer is None:
        return []
    value, interval = words.penalty(transfer.estimate)
    told = value if not np.isfinite(transfer.estimate.value) else f"costs {value} {interval}"
    largest = comparison.drift.curves[-1].scale
    tried = np.concatenate([curve.x for curve in comparison.drift.curves])
    late = bool(transfer.chosen > (tried.min() + tried.max()) / 2)  # its label is on the side with more room
    told = f"{words.readable(comparison.axis)} {scale_name(largest)}: {told}"
    return [{"panel": words.label(comparison), "x": transfer.chosen, "loss": top, "told": told, "late": late}]


def _curve_rows(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "panel": words.label(comparison),
            "scale": curve.scale,
            "x": float(x),
            "value": 2.0 ** float(x),
            "loss": float(y) if np.isfinite(y) else None,
        }
        for curve in comparison.drift.curves
        for x, y in zip(curve.x, curve.y, strict=True)
    ]


def _fitted_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The median of the fit's draws."""
    rows = []
    for fit in comparison.drift.fitted.fits:
        if fit.valley is None:
            continue
        middle = np.median(fit.valley.loss_RF, axis=0)
        for x, loss in zip(fit.valley.place_F[::THINNED], middle[::THINNED], strict=True):
            row = {"panel": words.label(comparison), "scale": fit.curve.scale, "x": round(float(x), 4)}
            rows.append({**row, "loss": round(float(loss), 5)})
    return rows
