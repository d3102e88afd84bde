"""The report in a terminal: verdicts, optima with sparklines, metrics, and what to mind."""

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from .console import stdout
from .content import Content
from .tables import Table, notes, tables

VERDICT_STYLE = {
    "stable": "bold green", "shifts": "bold blue", "drifts": "bold red", "inconclusive": "bold yellow",
    "survives": "bold green", "moves": "bold red",
}  # fmt: skip
PLAIN_WIDTH = 130
ABOUT = (
    "Slope in octaves per doubling; penalty in nats: the loss that the largest model gives up by taking the "
    "value tuned on the small ones. Intervals are 95 %."
)


def print_report(content: Content) -> None:
    """Prints verdicts first; metrics and contrasts are on the page and in `compare`."""
    stdout(PLAIN_WIDTH).print(render(content))


def render(content: Content) -> RenderableType:
    parts: list[RenderableType] = []
    for table in tables(content, brief=True):
        parts += [rich_table(table), Text(table.about, style="dim")]
    parts += [Text(note, style="yellow") for note in notes(content)]
    return Group(*parts, Text(ABOUT, style="dim"))


def rich_table(table: Table) -> RichTable:
    made = RichTable(title=table.title, title_justify="left", title_style="bold", pad_edge=False)
    for index, column in enumerate(table.columns):
        left = index == 0 or column == "verdict"
        made.add_column(column, justify="left" if left else "right")
    for row in table.rows:
        made.add_row(*(Text(cell, style=VERDICT_STYLE.get(cell, "")) for cell in row))
    return made
