"""The report in a terminal: one table of verdicts, one of optima per scale, and what to mind."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..comparison import Comparison
from . import words
from .console import stdout

VERDICT_STYLE = {"stable": "bold green", "drifts": "bold red", "inconclusive": "bold yellow"}
PLAIN_WIDTH = 110


def print_report(comparisons: Sequence[Comparison]) -> None:
    """Prints verdicts first."""
    stdout(PLAIN_WIDTH).print(render(comparisons))


def render(comparisons: Sequence[Comparison]) -> RenderableType:
    parts: list[RenderableType] = []
    for axis, hyperparameter in dict.fromkeys((c.axis, c.hyperparameter) for c in comparisons):
        family = [c for c in comparisons if (c.axis, c.hyperparameter) == (axis, hyperparameter)]
        parts += [_verdicts(family, axis, hyperparameter), _optima(family, axis), Text()]
    notes = [(words.heading(c), reason) for c in comparisons for reason in c.drift.reasons]
    parts += [Text(f"{heading}: {reason}", style="yellow") for heading, reason in notes]
    parts.append(
        Text(
            "Slope in octaves per doubling; penalty in nats: the loss that the largest model gives up by "
            "taking the value tuned on the small ones. Intervals are 95 %.",
            style="dim",
        )
    )
    return Group(*parts)


def _verdicts(family: Sequence[Comparison], axis: str, hyperparameter: str) -> Table:
    title = f"Does the best {words.readable(hyperparameter)} survive scaling the {words.readable(axis)}?"
    table = Table(title=title, title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("what")
    table.add_column("verdict")
    table.add_column("slope per doubling", justify="right")
    table.add_column("transfer penalty", justify="right")
    for comparison in family:
        drift = comparison.drift
        table.add_row(
            words.label(comparison),
            Text(drift.verdict, style=VERDICT_STYLE[drift.verdict]),
            " ".join(words.slope(drift.slope)),
            " ".join(words.penalty(drift.penalty)),
        )
    return table


def _optima(family: Sequence[Comparison], axis: str) -> Table:
    scales = sorted({optimum.scale for c in family for optimum in c.drift.optima})
    table = Table(title=f"Optimum by {words.readable(axis)}", title_justify="left", pad_edge=False)
    table.add_column("what")
    for scale in scales:
        table.add_column(words.scale_name(scale), justify="right")
    for comparison in family:
        by_scale = {optimum.scale: words.optimum(optimum) for optimum in comparison.drift.optima}
        table.add_row(words.label(comparison), *(by_scale.get(scale, "") for scale in scales))
    return table
