"""A coordinate check in a terminal: one table a family, a line for every module and quantity."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..checks.coordinates import MAX_HALF_WIDTH, TOLERANCE, Check, Row
from . import words
from .console import stdout

PLAIN_WIDTH = 120


def print_checks(checks: Sequence[Check]) -> None:
    """Prints every family."""
    for check in checks:
        stdout(PLAIN_WIDTH).print(render(check))


def render(check: Check) -> RenderableType:
    axes = list(dict.fromkeys(row.axis for row in check.rows))
    word = "passes" if check.passed else "fails"
    table = Table(
        title=f"{check.title} {word}: {counted(check)}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold green" if check.passed else "bold red",
        pad_edge=False,
    )
    for column in ("module", "role", "quantity"):
        table.add_column(column)
    for axis in axes:
        table.add_column("wanted", justify="right")
        table.add_column(f"across {axis}", justify="right")
    for (module, role, quantity), rows in by_quantity(check).items():
        cells = [cell for axis in axes for cell in _cells(rows.get(axis))]
        failed = any(row.verdict == "fails" for row in rows.values())
        table.add_row(module, role, quantity, *cells, style="red" if failed else None)
    note = (
        f"{check.steps} steps at base learning rate {check.learning_rate:g}, {check.seeds} seeds. Exponents "
        f"of sizes against scale; ✗ where the whole 95 % interval is over {TOLERANCE} from what is wanted, "
        f"? where it is wider than ± {MAX_HALF_WIDTH}: more --seeds."
    )
    return Group(table, Text(note, style="dim"), Text())


def by_quantity(check: Check) -> dict[tuple[str, str, str], dict[str, Row]]:
    """Rows of the same module and quantity side by side, by axis."""
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in check.rows:
        found.setdefault((row.module, row.role, row.quantity), {})[row.axis] = row
    return found


def wanted(row: Row) -> str:
    sign = "≤ " if row.at_most else ""
    return f"{sign}{words.exponent(row.expected)}"


def measured(row: Row) -> str:
    if row.exponent is None:
        return "zero ✗" if 0.0 in row.sizes else "not finite ✗"
    mark = {"passes": "✓", "fails": "✗", "unclear": "?"}[row.verdict]
    if row.interval is None:
        return f"{words.signed(row.exponent)} {mark}"
    half = (row.interval[1] - row.interval[0]) / 2
    return f"{words.signed(row.exponent)} ± {half:.2f} {mark}"


def counted(check: Check) -> str:
    """How many exponents are as wanted, and how many say nothing."""
    good = len(check.rows) - len(check.failures) - len(check.unclear)
    noisy = f", {len(check.unclear)} too noisy to say" if check.unclear else ""
    return f"{good} of {len(check.rows)} exponents as wanted{noisy}"


def _cells(row: Row | None) -> tuple[str, str]:
    return ("", "") if row is None else (wanted(row), measured(row))
