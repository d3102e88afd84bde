"""`law`: how the best values go with several scales at once."""

import json
import math
from typing import Annotated

import typer

from ...models.recipe.fault import NOTHING_TO_REPORT, Fault
from .options import DirectoriesArgument, HoldOption, PoolOption, ReportFormat, pairs


def law(
    directories: DirectoriesArgument,
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A scale: any numeric column. Repeatable. Default: what varies."),
    ] = None,
    hyperparameter: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="What was tuned, one or two. Default: the learning rate."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE", help="A scale of the large run: what the law gives there. Repeatable."
        ),
    ] = None,
    hold: HoldOption = None,
    pool: PoolOption = None,
    format_: Annotated[ReportFormat, typer.Option("-f", "--format")] = ReportFormat.table,
) -> None:
    """Fit the best values as a law of several scales: constant * N^a * D^b, with intervals."""
    from ...results.questions.laws import default_axes, laws
    from ...results.questions.view import View, collinear
    from ...results.report.console import stdout
    from ...results.report.law_contract import law_object
    from ...results.report.law_tables import law_notes, law_tables
    from ...results.report.markdown import markdown_table
    from ...results.report.terminal import PLAIN_WIDTH, rich_table
    from ..evidence.gather import asked_field, measurements
    from ..run.progress import warn

    tuned = hyperparameter or asked_field(directories, "hyperparameter") or ["learning_rate"]
    if len({*tuned}) != len(tuned) or len(tuned) > 2:
        raise Fault("--hyperparameter: give one column or two")
    if len({*(axis or ())}) != len(axis or ()):
        raise Fault(f"--axis {' --axis '.join(axis or ())}: give each column once")
    held = pairs("--hold", hold)
    asked = asked_field(directories, "scale")
    axes = axis or default_axes(measurements(directories, View(hold=held)).rows, tuned, asked)
    view = View(axes, tuned, held, tuple(pool or ()))
    found = measurements(directories, view)
    for problem in found.problems:
        warn(problem)
    if found.rows.empty:
        raise typer.Exit(NOTHING_TO_REPORT)
    for problem in view.pooled(found.rows, found.coordinates):
        warn(problem)
    single = [name for name in axes if found.rows[name].nunique() == 1]
    if single and len(axes) > 1:
        raise Fault(f"--axis {single[0]}: has one value, {found.rows[single[0]].iloc[0]}; leave it out")
    if told := collinear(found.rows, axes):
        raise Fault(f"--axis {' --axis '.join(axes)}: {told}; give those that vary by themselves")
    target = _target(at, axes)
    fitted = laws(found.rows, found.coordinates, tuned, axes)
    tables = list(law_tables(fitted, target))
    match format_:
        case ReportFormat.json:
            print(json.dumps(law_object(fitted, target), indent=1, allow_nan=False))
        case ReportFormat.markdown:
            print("\n\n".join(map(markdown_table, tables)))
        case ReportFormat.table:
            for table in tables:
                stdout(PLAIN_WIDTH).print(rich_table(table))
    for note in law_notes(fitted):
        warn(note)
    if not any(one for entry in fitted for one in entry.laws.values()):
        raise typer.Exit(NOTHING_TO_REPORT)


def _target(at: list[str] | None, axes: list[str]) -> dict[str, float]:
    """The scales of the large run, all of them. Raises Fault."""
    target = {}
    for name, value in pairs("--at", at).items():
        try:
            target[name] = float(value)
        except ValueError:
            target[name] = math.nan
        if name not in axes:
            told = f"is no scale of this law, which is of {', '.join(axes)}"
            raise Fault(f"--at {name}={value}: {told}; --axis {name} makes it one")
        if not 0 < target[name] < math.inf:
            raise Fault(f"--at {name}={value}: give a positive number for each of {', '.join(axes)}")
    if missing := [name for name in axes if target and name not in target]:
        raise Fault(f"--at: gives no {', '.join(missing)}; the law needs all of {', '.join(axes)}")
    return {name: target[name] for name in axes if name in target}
