"""The norm-scale probe as tables, pictures and a page."""

import html
import json
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import pandas as pd

from ..checks.norm_scale import Probe, probe_object
from . import words
from .console import stdout
from .drawing import PANEL_HEIGHT, PANEL_WIDTH, PARAMETRIZATION_COLORS, configured
from .html_table import html_table
from .shell import figures, filled, shell, write_page
from .tables import Table
from .terminal import PLAIN_WIDTH, rich_table

ABOUT = (
    "Loss in nats by S = sqrt(lr / decay) of the part's matrices at a constant sqrt(lr decay). Degradation: "
    "the worse end minus the lowest; kept: its share of that without multipliers."
)


def print_probes(probes: Sequence[Probe]) -> None:
    """A table for each family in the terminal."""
    for probe in probes:
        stdout(PLAIN_WIDTH).print(rich_table(probe_table(probe)))
    stdout(PLAIN_WIDTH).print(ABOUT)


def probe_table(probe: Probe) -> Table:
    """Losses by S, one line a placement."""
    scales = [point.scale for point in probe.curves[0].points]
    rows = [
        [
            curve.multipliers,
            *("diverged" if point.loss is None else f"{point.loss:.3f}" for point in curve.points),
            words.number(curve.degradation),
            "" if (kept := probe.kept(curve)) is None else f"{kept:.0%}",
        ]
        for curve in probe.curves
    ]
    columns = ["multipliers", *(f"{scale:.3g}" for scale in scales), "degradation", "kept"]
    return Table(f"{probe.title}: loss by S", columns, rows)


def write_probes(probes: Sequence[Probe], name: str, folder: Path) -> list[Path]:
    """Writes norm-scale.html, its pictures and norm-scale.json; returns the paths, the page first."""
    pictures = {_stem(probe): configured(_chart(probe)) for probe in probes}
    parts = {
        "name": html.escape(name),
        "charts": figures(pictures),
        "tables": "\n".join(html_table(probe_table(probe)) for probe in probes),
        "about": html.escape(ABOUT),
    }
    page = shell(f"{name}: norm scale", filled("norm_scale.html", parts), pictures)
    text = json.dumps(probe_object(probes), indent=1, allow_nan=False)
    return write_page(folder, {"norm-scale.html": page, "norm-scale.json": text}, pictures)


def _stem(probe: Probe) -> str:
    return "-".join([*filter(None, probe.family), probe.part])


def _chart(probe: Probe) -> alt.TopLevelMixin:
    rows = pd.DataFrame(
        {"multipliers": curve.multipliers, "S": point.scale, "loss": point.loss, "norm": point.norm,
         "with multipliers": point.effective_norm}
        for curve in probe.curves
        for point in curve.points
    )  # fmt: skip
    names = [curve.multipliers for curve in probe.curves]
    axis = alt.Axis(values=[point.scale for point in probe.curves[0].points], format=".1~g", grid=False)
    x = alt.X("S:Q", title="S = sqrt(lr / decay)", scale=alt.Scale(type="log", base=2), axis=axis)
    color = alt.Color(
        "multipliers:N", title=None, sort=names,
        scale=alt.Scale(domain=names, range=PARAMETRIZATION_COLORS[: len(names)]),
    )  # fmt: skip
    kinds = [
        ("loss", "validation loss (nats)", "linear"),
        ("norm", "RMS of the entries", "log"),
        ("with multipliers", "RMS with multipliers", "log"),
    ]
    panels = []
    for column, title, kind in kinds:
        y = alt.Y(
            f"{column}:Q",
            title=title,
            scale=alt.Scale(zero=False) if kind == "linear" else alt.Scale(type="log"),
            axis=alt.Axis(format="~g"),
        )
        tooltip = [
            "multipliers:N",
            alt.Tooltip("S:Q", format=".3g"),
            alt.Tooltip(f"{column}:Q", format=".4g"),
        ]
        line = alt.Chart().mark_line(strokeWidth=2).encode(x=x, y=y, color=color)
        point = alt.Chart().mark_point(filled=True, size=50, opacity=1)
        dots = point.encode(x=x, y=y, color=color, tooltip=tooltip)
        panels.append(
            alt.layer(line, dots, data=rows).properties(width=PANEL_WIDTH * 0.7, height=PANEL_HEIGHT)
        )
    return alt.concat(*panels, columns=3, title=probe.title)
