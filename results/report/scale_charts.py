"""Further pictures: the best loss against scale with its law, and where trials diverged."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from ..questions.comparison import Comparison
from . import words
from .drawing import PANEL_HEIGHT, PANEL_WIDTH, PARAMETRIZATION_COLORS, log2_axis, scale_labels, title_lines

LAW_PLACES = 40
LAW_COLUMNS = ["label", "parametrization", "group", "scale", "loss"]


def best_loss_chart(family: Sequence[Comparison], axis: str, target: float | None) -> alt.TopLevelMixin:
    """The loss at each scale's optimum; lines are the fitted laws, to one doubling beyond or the large run's
    scale."""
    points = pd.DataFrame([row for c in family for row in _point_rows(c)])
    laws = pd.DataFrame([row for c in family for row in _law_rows(c, target)], columns=LAW_COLUMNS)
    names = list(dict.fromkeys(points["parametrization"]))
    color = alt.Color(
        "parametrization:N",
        title=None,
        scale=alt.Scale(domain=names, range=PARAMETRIZATION_COLORS[: len(names)]),
    )
    hover = alt.selection_point(fields=["parametrization"], bind="legend")
    shade = alt.condition(hover, alt.value(1.0), alt.value(0.15))
    x = alt.X(
        "scale:Q",
        title=words.readable(axis),
        scale=alt.Scale(type="log", base=2, nice=False),
        axis=alt.Axis(values=sorted(points["scale"].unique()), labelExpr=scale_labels(), grid=False),
    )
    y = alt.Y("loss:Q", title="best validation loss", scale=alt.Scale(zero=False))
    tooltip = [alt.Tooltip("label:N", title="trials"), alt.Tooltip("scale:O", title=words.readable(axis)),
               alt.Tooltip("loss:Q", format=".4f")]  # fmt: skip
    lines = (
        alt.Chart().mark_line(strokeWidth=1.6).encode(x=x, y=y, color=color, detail="label:N", opacity=shade)
    )
    dots = (
        alt.Chart(points)
        .mark_point(filled=True, size=60)
        .encode(x=x, y=y, color=color, tooltip=tooltip, opacity=shade)
    )
    panels = [
        alt.layer(
            # Where no law was fitted there is nothing to draw, and Vega would warn of it.
            *([lines.transform_filter(alt.datum.group == group)] if (laws["group"] == group).any() else []),
            dots.transform_filter(alt.datum.group == group),
            data=laws,
            title=title_lines(group),
        ).properties(width=PANEL_WIDTH, height=PANEL_HEIGHT)
        for group in points["group"].unique()
    ]
    panels[0] = panels[0].add_params(hover)
    return alt.concat(
        *panels, columns=2, title="Best loss by scale; lines are laws through four scales or more"
    )


def diverged_chart(family: Sequence[Comparison], axis: str, hyperparameter: str) -> alt.TopLevelMixin:
    """Share of the seeds that diverged, by scale and value; comparisons without any are left out."""
    cells = pd.DataFrame([row for c in family for row in _diverged_rows(c)])
    worst = cells.groupby("panel", sort=False)["share"].max()
    tooltip = [
        alt.Tooltip("scale:O", title=words.readable(axis)),
        alt.Tooltip("value:Q", format=".4g", title=words.readable(hyperparameter)),
        alt.Tooltip("share:Q", format=".0%", title="diverged"),
    ]
    color = alt.Color(
        "share:Q",
        title="diverged",
        scale=alt.Scale(domain=[0, 1], range=["#9bbfae", "#c8553d"]),
        legend=alt.Legend(format="%"),
    )
    x = alt.X("x:Q", title=words.readable(hyperparameter), axis=log2_axis(cells["x"]),
              scale=alt.Scale(zero=False, padding=12))  # fmt: skip
    panels = [
        alt.Chart(cells[cells["panel"] == panel], title=title_lines(panel))
        .mark_square(size=170, opacity=1)
        .encode(
            x=x,
            y=alt.Y(
                "scale:O",
                title=words.readable(axis),
                sort="descending",
                axis=alt.Axis(labelExpr=scale_labels()),
            ),
            color=color,
            tooltip=tooltip,
        )
        .properties(width=PANEL_WIDTH, height=24 * cells["scale"].nunique() + 20)
        for panel in worst[worst > 0].index
    ]
    return alt.concat(*panels, columns=2, title="Where trials diverged")


def _point_rows(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {**_names(comparison), "scale": optimum.scale, "loss": optimum.loss}
        for optimum in comparison.drift.optima
        if optimum.status == "ok"
    ]


def _law_rows(comparison: Comparison, target: float | None) -> list[dict[str, Any]]:
    metrics = comparison.drift.metrics
    if metrics is None or metrics.law is None:
        return []
    law = metrics.law
    usable = [optimum.scale for optimum in comparison.drift.optima if optimum.status == "ok"]
    scales = np.geomspace(usable[0], max(usable[-1] * 2, target or 0.0), LAW_PLACES)
    losses = law.asymptote + law.amplitude * (scales / usable[0]) ** -law.exponent
    pairs = zip(scales, losses, strict=True)
    return [{**_names(comparison), "scale": float(s), "loss": round(float(y), 5)} for s, y in pairs]


def _names(comparison: Comparison) -> dict[str, str]:
    return {
        "label": words.label(comparison),
        "parametrization": comparison.family.parametrization or "–",
        "group": words.group(comparison),
    }


def _diverged_rows(comparison: Comparison) -> list[dict[str, Any]]:
    rows = []
    for curve in comparison.drift.curves:
        finished = np.isfinite(curve.losses_SP).sum(axis=0)
        share = curve.failed / np.maximum(finished + curve.failed, 1)
        rows += [
            {"panel": words.label(comparison), "scale": curve.scale, "x": float(x), "value": 2.0 ** float(x),
             "share": float(part)}
            for x, part in zip(curve.x, share, strict=True)
        ]  # fmt: skip
    return rows
