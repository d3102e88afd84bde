"""The report in a terminal: verdicts, optima with sparklines, metrics, and what to mind."""

from collections.abc import Iterator
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from . import words
from .console import stdout
from .content import Content
from .tables import Table, notes, tables

VERDICT_STYLE = {
    "stable": "bold green", "shifts": "bold blue", "drifts": "bold red", "inconclusive": "bold yellow",
    "survives": "bold green", "moves": "bold red",
}  # fmt: skip
PLAIN_WIDTH, TITLE_WIDTH, BORDER = 130, 60, 3
ABOUT = (
    "Slope in octaves per doubling; penalty {unit}: the loss that the largest model gives up by taking the "
    "value tuned on the small ones. Intervals are 95 %."
)


def print_report(content: Content) -> None:
    """Prints verdicts first; metrics and contrasts are on the page and in `compare`."""
    console = stdout(PLAIN_WIDTH)
    console.print(render(content, console.width))


def render(content: Content, width: int) -> RenderableType:
    parts: list[RenderableType] = []
    for table in tables(content, brief=True):
        parts += [*map(rich_table, _within(table, width)), Text(table.about, style="dim")]
    parts += [Text(note, style="yellow") for note in notes(content)]
    return Group(*parts, Text(ABOUT.format(unit=words.unit(content.facts)), style="dim"))


def _within(table: Table, width: int) -> Iterator[Table]:
    """The table, or its columns part after part beside the first one, so that no word is cut off."""
    cells = [[column, *(row[index] for row in table.rows)] for index, column in enumerate(table.columns)]
    needed = [max(len(word) for cell in column for word in cell.split() or [""]) + BORDER for column in cells]
    first = max(map(len, cells[0])) + BORDER + 1
    begin = 1
    while begin < len(needed):
        end = begin + 1
        while end < len(needed) and first + sum(needed[begin : end + 1]) <= width:
            end += 1
        title = table.title if begin == 1 else f"{table.title}, continued"
        rows = [[row[0], *row[begin:end]] for row in table.rows]
        yield replace(table, title=title, columns=[table.columns[0], *table.columns[begin:end]], rows=rows)
        begin = end


def rich_table(table: Table) -> RichTable:
    made = RichTable(
        title=table.title, title_justify="left", title_style="bold", pad_edge=False,
        min_width=min(len(table.title), TITLE_WIDTH),
    )  # fmt: skip
    for index, column in enumerate(table.columns):
        left = index == 0 or column == "verdict"
        made.add_column(column, justify="left" if left else "right")
    for row in table.rows:
        made.add_row(*(Text(cell, style=VERDICT_STYLE.get(cell, "")) for cell in row))
    return made
