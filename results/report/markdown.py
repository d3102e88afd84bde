"""The report as Markdown, for papers and pull requests."""

import re

from . import words
from .content import Content
from .tables import Table, notes, tables


def markdown(content: Content) -> str:
    """All tables, the reasons, and how to cite."""
    parts = [f"# {_escaped(content.name)}", ""]
    for table in tables(content):
        parts += [markdown_table(table), ""]
    parts += [f"- {_escaped(note)}" for note in (*content.problems, *notes(content))]
    return "\n".join([*parts, "", _escaped(cite(content)), ""])


def markdown_table(table: Table) -> str:
    lines = [f"**{table.title}**", "", _line(table.columns)]
    lines += [_line(["---"] + ["---:"] * (len(table.columns) - 1))]
    lines += [_line([_escaped(cell) for cell in row]) for row in table.rows]
    return "\n".join([*lines, *(["", table.about] if table.about else [])])


def cite(content: Content) -> str:
    """What a verdict has to be given with."""
    facts = content.facts
    run = facts.runs[-1] if facts.runs else {}
    version = run.get("packages", {}).get("mutransfer", "")
    by = f"mutransfer {version}".strip()
    told = [f"{facts.trials:,} trials ({words.fates(facts)})"]
    told += [f"{facts.seeds} seed{'' if facts.seeds == 1 else 's'}"] if facts.seeds else []
    told += [f"{facts.tokens:,} tokens"] if facts.tokens else []
    return (
        f"{'Measured' if facts.runs else 'Judged'} with {by}: {content.name}, {', '.join(told)}. "
        f"Slopes in octaves per doubling, penalties {words.unit(facts)}, intervals 95 %."
    )


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    return re.sub(r"([|`\[\]!])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;")).replace("\n", " ")
