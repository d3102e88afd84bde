"""The report as one self-contained HTML page, with its pictures as PNG beside it."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..comparison import Comparison
from ..facts import Facts
from . import words
from .charts import charts
from .shell import figures, filled, shell, write_page

SYMBOL = {"stable": "●", "drifts": "▲", "inconclusive": "◇"}


def write_report(comparisons: Sequence[Comparison], facts: Facts, folder: Path) -> list[Path]:
    """Writes report.html and one PNG per chart; returns the paths, the page first."""
    pictures = charts(comparisons)
    return write_page(folder, "report.html", render_page(comparisons, facts, pictures), pictures)


def render_page(
    comparisons: Sequence[Comparison], facts: Facts, pictures: Mapping[str, Mapping[str, Any]]
) -> str:
    """The whole page: no request leaves it, whatever it is opened with."""
    name = ", ".join(facts.names)
    parts = {
        "name": html.escape(name),
        "verdicts": "\n".join(_verdict(comparison) for comparison in comparisons),
        "charts": figures(pictures),
        "tables": "\n".join(_table(comparison) for comparison in comparisons),
        "facts": _facts(facts),
    }
    return shell(f"{name}: does it transfer?", filled("page.html", parts), pictures)


def _verdict(comparison: Comparison) -> str:
    drift = comparison.drift
    slope, penalty = words.slope(drift.slope), words.penalty(drift.penalty)
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in drift.reasons)
    return f"""<article class="verdict {drift.verdict}">
<h2>{html.escape(words.label(comparison))}</h2>
<p class="word">{SYMBOL[drift.verdict]} {drift.verdict}</p>
<p>best {html.escape(words.readable(comparison.hyperparameter))} across {html.escape(comparison.axis)}:
<b>{slope[0]}</b> octaves per doubling <span>{slope[1]}</span></p>
<p>transfer penalty <b>{penalty[0]}</b> nats <span>{penalty[1]}</span></p>
<ul>{reasons}</ul></article>"""


def _table(comparison: Comparison) -> str:
    rows = "".join(
        f"<tr><td>{words.scale_name(entry.scale)}</td><td>{words.optimum(entry)}</td>"
        f"<td>{words.interval(entry.interval)}</td><td>{words.number(entry.loss, 4)}</td>"
        f"<td>{entry.trials}</td><td>{entry.diverged}</td></tr>"
        for entry in comparison.drift.optima
    )
    return f"""<table><caption>{html.escape(words.heading(comparison))}</caption>
<thead><tr><th>{html.escape(words.readable(comparison.axis))}</th><th>optimum</th><th>95 % interval, log2</th>
<th>loss</th><th>trials</th><th>diverged</th></tr></thead><tbody>{rows}</tbody></table>"""


def _facts(facts: Facts) -> str:
    entries = [
        ("trials", f"{facts.trials:,}, of which {facts.diverged:,} diverged"),
        ("seeds", f"{facts.seeds}"),
        ("tokens trained on", f"{facts.tokens:,}"),
        ("arithmetic", f"{facts.flops / 1e12:,.1f} TFLOPs"),
        ("worker time", f"{facts.seconds / 60:,.1f} minutes"),
        ("attempts without a result", _failures(facts)),
        ("sources", ", ".join(facts.sources)),
        ("last run", _run(facts.runs[-1]) if facts.runs else ""),
    ]
    shown = [(name, value) for name, value in entries if value and value != "0"]
    return "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in shown)


def _failures(facts: Facts) -> str:
    told = ", ".join(f"{count} {kind}" for kind, count in facts.failures.items())
    return f"{told}; {facts.lost_seconds / 60:,.1f} minutes" if told else ""


def _run(entry: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in entry.get("packages", {}).items())
    return f"{entry.get('started')}, {entry.get('platform')}, Python {entry.get('python')}, {packages}"
