"""A coordinate check as one self-contained HTML page, with its pictures as PNG beside it."""

import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from ..checks.coordinates import TOLERANCE, Check, Row, coordcheck_object
from .coordinates_terminal import by_quantity, counted, measured, wanted
from .drawing import configured
from .shell import figures, filled, shell, write_page

QUANTITIES = ("activation", "update", "propagated", "change", "gradient")
PANEL_WIDTH, PANEL_HEIGHT = 200, 180
SHOWN_FAILURES = 5
WORDS = {"passes": "as wanted", "fails": "not as wanted", "unclear": "too noisy to say"}
COLORS = ["#2f6f9f", "#c8553d", "#9aa2aa"]


def write_checks(checks: Sequence[Check], name: str, folder: Path) -> list[Path]:
    """Writes coordcheck.html, its pictures and coordcheck.json; returns the paths, the page first."""
    pictures = check_figures(checks)
    text = json.dumps(coordcheck_object(checks), indent=1, allow_nan=False)
    texts = {"coordcheck.html": _page(checks, name, pictures), "coordcheck.json": text}
    return write_page(folder, texts, pictures)


def check_figures(checks: Sequence[Check]) -> dict[str, dict[str, Any]]:
    """One picture per family and axis, by file stem."""
    return {
        f"{check.title} {axis}".replace(" ", "-"): _chart(check, axis)
        for check in checks
        for axis in dict.fromkeys(row.axis for row in check.rows)
    }


def check_verdicts(checks: Sequence[Check]) -> str:
    return "\n".join(_verdict(check) for check in checks)


def check_tables(checks: Sequence[Check]) -> str:
    return "\n".join(_table(check) for check in checks)


def _page(checks: Sequence[Check], name: str, pictures: dict[str, dict[str, Any]]) -> str:
    parts = {
        "name": html.escape(name),
        "verdicts": check_verdicts(checks),
        "charts": figures(pictures),
        "tables": check_tables(checks),
        "tolerance": f"{TOLERANCE}",
    }
    return shell(f"{name}: coordinate check", filled("coordinates.html", parts), pictures)


def _verdict(check: Check) -> str:
    word, mark, style = ("passes", "●", "stable") if check.passed else ("fails", "▲", "drifts")
    told = [_told(row) for row in check.failures[:SHOWN_FAILURES]]
    if rest := len(check.failures) - len(told):
        told.append(f"and {rest} more, in the table below")
    failing = "".join(f"<li>{html.escape(line)}</li>" for line in told)
    return f"""<article class="verdict {style}"><h2>{html.escape(check.title)}</h2>
<p class="word">{mark} {word}</p>
<p>{counted(check)}; {check.steps} steps
at base learning rate {check.learning_rate:g}, {check.seeds} seeds</p><ul>{failing}</ul></article>"""


def _told(row: Row) -> str:
    return f"{row.module}, {row.quantity}, {row.axis}: {measured(row)}, wanted {wanted(row)}"


def _table(check: Check) -> str:
    axes = list(dict.fromkeys(row.axis for row in check.rows))
    heads = "".join(f"<th>{axis}: wanted</th><th>measured</th>" for axis in axes)
    lines = []
    for names, rows in by_quantity(check).items():
        cells = [html.escape(name) for name in names]
        for axis in axes:
            cells += [wanted(rows[axis]), measured(rows[axis])] if axis in rows else ["", ""]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"""<table><caption>{html.escape(check.title)}</caption>
<thead><tr><th>module</th><th>role</th><th>quantity</th>{heads}</tr></thead>
<tbody>{"".join(lines)}</tbody></table>"""


def _chart(check: Check, axis: str) -> dict[str, Any]:
    """One panel per quantity; lines relative to the smallest model and to the wanted exponent."""
    points = pd.DataFrame([point for row in check.rows if row.axis == axis for point in _points(row)])
    color = alt.Color(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=list(WORDS.values()), range=COLORS),
    )
    shown = [quantity for quantity in QUANTITIES if (points["quantity"] == quantity).any()]
    scales = sorted(points["scale"].unique())
    panels = [
        alt.Chart(points[points["quantity"] == quantity], title=quantity)
        .mark_line(point=alt.OverlayMarkDef(size=18), strokeWidth=1.5, opacity=0.8)
        .encode(
            x=alt.X("scale:Q", title=axis, scale=alt.Scale(type="log", base=2),
                    axis=alt.Axis(values=scales, format="d")),
            y=alt.Y("relative:Q", title="size, relative to wanted" if quantity == shown[0] else None,
                    scale=alt.Scale(type="log", base=2, domain=_domain(points)), axis=alt.Axis(format="~g")),
            color=color,
            detail="module:N",
            tooltip=["module:N", "role:N", "scale:Q", alt.Tooltip("size:Q", format=".3g"),
                     alt.Tooltip("relative:Q", format=".2f"), "exponent:N"],
        )
        .properties(width=PANEL_WIDTH, height=PANEL_HEIGHT)
        for quantity in shown
    ]  # fmt: skip
    return configured(alt.concat(*panels, columns=3, title=f"{check.title}, across {axis}: flat is right"))


def _points(row: Row) -> list[dict[str, Any]]:
    first = row.sizes[0]
    if not first:
        return []
    return [
        {
            "module": row.module,
            "role": row.role,
            "quantity": row.quantity,
            "scale": scale,
            "size": size,
            "relative": size / first / (scale / row.scales[0]) ** row.expected,
            "exponent": f"{measured(row)}, wanted {wanted(row)}",
            "verdict": WORDS[row.verdict],
        }
        for scale, size in zip(row.scales, row.sizes, strict=True)
        if size
    ]


def _domain(points: pd.DataFrame) -> tuple[float, float]:
    """At least a factor of 4 both ways, so that flat lines look flat."""
    widest = max(2.0, *(abs(math.log2(value)) for value in points["relative"]))
    return 2.0**-widest, 2.0**widest
