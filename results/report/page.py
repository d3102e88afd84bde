"""The report as one self-contained HTML page, with its pictures as PNG and SVG, and Markdown, beside it."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..questions.comparison import Comparison
from ..questions.facts import Facts
from . import words
from .charts import MAX_PANELS, charts
from .content import Content
from .coordinates_page import check_figures, check_tables, check_verdicts
from .html_table import html_table
from .markdown import cite, markdown
from .option_charts import option_charts
from .shell import figures, filled, shell, write_page
from .tables import notes, tables

Pictures = Mapping[str, Mapping[str, Any]]
"""Vega-Lite specifications by file stem."""

SYMBOL = {"stable": "●", "shifts": "◆", "drifts": "▲", "inconclusive": "◇"}
MAX_CARDS = 12
"""With more comparisons the verdicts are a table that can be filtered."""


def write_report(content: Content, folder: Path) -> list[Path]:
    """Writes report.html, report.md and the pictures; returns the paths, the page first."""
    own, checks = _pictures(content)
    texts = {"report.html": render_page(content, own, checks), "report.md": markdown(content)}
    return write_page(folder, texts, {**own, **checks})


def page_of(content: Content) -> str:
    """The page alone."""
    return render_page(content, *_pictures(content))


def _pictures(content: Content) -> tuple[Pictures, Pictures]:
    """Its own, and those of the coordinate checks."""
    own = {**charts(content.comparisons, content.target), **option_charts(content.options)}
    return own, check_figures(content.checks)


def render_page(content: Content, own: Pictures, checks: Pictures) -> str:
    """The whole page: no request leaves it, whatever it is opened with."""
    cards = len(content.comparisons) <= MAX_CARDS
    parts = {
        "name": html.escape(content.name),
        "count": _count(content),
        "verdicts": "\n".join(_verdict(c, content.facts) for c in content.comparisons) if cards else "",
        "problems": _problems(content),
        "charts": figures(own),
        "undrawn": _undrawn(content),
        "tables": "\n".join(html_table(table) for table in tables(content)),
        "notes": _notes(content) if not cards else "",
        "checks": _checks(content, checks),
        "facts": _facts(content.facts),
        "cite": html.escape(cite(content)),
    }
    return shell(f"{content.name}: does it transfer?", filled("page.html", parts), {**own, **checks})


def _count(content: Content) -> str:
    verdicts = [c.drift.verdict for c in content.comparisons]
    told = [f'<b class="{word}">{verdicts.count(word)} {word}</b>' for word in SYMBOL if word in verdicts]
    return " · ".join(told)


def _verdict(comparison: Comparison, facts: Facts) -> str:
    drift = comparison.drift
    slope, penalty = words.slope(drift.slope), words.penalty(drift.penalty)
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in drift.reasons)
    return f"""<article class="verdict {drift.verdict}">
<h2>{html.escape(words.label(comparison))}</h2>
<p class="word">{SYMBOL[drift.verdict]} {drift.verdict}</p>
<p>best {html.escape(words.readable(comparison.hyperparameter))} across {html.escape(comparison.axis)}:
<b>{slope[0]}</b> octaves per doubling <span>{slope[1]}</span></p>
<p>transfer penalty <b>{penalty[0]}</b>{" nats" if facts.in_nats else ""} <span>{penalty[1]}</span></p>
<ul>{reasons}</ul></article>"""


def _problems(content: Content) -> str:
    items = "".join(f"<li>{html.escape(problem)}</li>" for problem in content.problems)
    return f'<section class="reading"><h2>To mind</h2><ul>{items}</ul></section>' if items else ""


def _undrawn(content: Content) -> str:
    kinds = [(c.axis, c.hyperparameter) for c in content.comparisons]
    most = max((kinds.count(kind) for kind in {*kinds}), default=0)
    if most <= MAX_PANELS:
        return ""
    return (
        f"<p>Drawn are the first {MAX_PANELS} comparisons of each kind, of {most}; the tables hold all.</p>"
    )


def _notes(content: Content) -> str:
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes(content))
    return f"<details><summary>Reasons</summary><ul>{items}</ul></details>" if items else ""


def _checks(content: Content, pictures: Pictures) -> str:
    if not content.checks:
        return "<p>None here; <code>mutransfer coordcheck SPEC --out DIR/coordcheck</code> puts one here.</p>"
    exponents = f"<details><summary>All exponents</summary>{check_tables(content.checks)}</details>"
    cards = f'<section class="verdicts">{check_verdicts(content.checks)}</section>'
    return cards + figures(pictures) + exponents


def _facts(facts: Facts) -> str:
    entries = [
        ("trials", f"{facts.trials:,}, of which {words.fates(facts)}"),
        ("seeds", f"{facts.seeds}"),
        ("tokens trained on", f"{facts.tokens:,}"),
        ("arithmetic", f"{facts.flops / 1e12:,.1f} TFLOPs" if facts.flops else ""),
        ("worker time", f"{facts.seconds / 60:,.1f} minutes" if facts.seconds else ""),
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
