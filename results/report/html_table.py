"""A table of the report as HTML."""

import html

from .tables import VERDICT_COLUMN, Table

LOOKS = {
    "stable": "stable", "shifts": "shifts", "drifts": "drifts", "inconclusive": "inconclusive",
    "survives": "stable", "moves": "drifts",
}  # fmt: skip
"""The style of each word that a table may hold as its verdict."""


def html_table(table: Table) -> str:
    """Verdict words carry their colour; a table of many rows is one that can be filtered."""
    heads = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    body = "".join(
        f"<tr>{''.join(_cell(row, index) for index in range(len(row)))}</tr>" for row in table.rows
    )
    about = f"<p>{html.escape(table.about)}</p>" if table.about else ""
    return f"""<div class="table"><table><caption>{html.escape(table.title)}</caption>
<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>{about}</div>"""


def _cell(row: list[str], index: int) -> str:
    text = row[index]
    verdict = f' class="{LOOKS[text]}"' if index == VERDICT_COLUMN and text in LOOKS else ""
    return f"<td{verdict}>{html.escape(text)}</td>"
