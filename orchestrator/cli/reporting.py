"""`report` and `compare`: what the losses say."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ...models.recipe.fault import NOTHING_TO_REPORT, Fault
from .options import (
    AxisOption,
    DirectoriesArgument,
    DirectoryArgument,
    HoldOption,
    HyperparameterOption,
    PoolOption,
    ReportFormat,
    check_target,
    pairs,
)


def report(
    directories: DirectoriesArgument,
    format_: Annotated[ReportFormat, typer.Option("-f", "--format")] = ReportFormat.table,
    out: Annotated[
        Path | None, typer.Option(help="Where the page and its pictures go. Default: DIR/report.")
    ] = None,
    suggest: Annotated[
        Path | None,
        typer.Option(
            help="Write the trials that would settle what is inconclusive: a sweep file, or FILE.csv."
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="NATS", help="What transferring may cost. Default: the sweep's, or 0.05."
        ),
    ] = None,
    tolerance_doublings: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="SHARE",
            help="And what share of what a doubling of the scale brings. Default: the sweep's, or 0.25.",
        ),
    ] = None,
    axis: AxisOption = None,
    hyperparameter: HyperparameterOption = None,
    hold: HoldOption = None,
    target: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="SCALE",
            help="Predict the optimum at this scale, too, and what a transfer costs there.",
        ),
    ] = None,
    pool: PoolOption = None,
) -> None:
    """Say whether the optimum is stable across scale; write report.html, pictures and report.md."""
    from ...results.questions.view import View
    from ...results.report.contract import report_object
    from ...results.report.markdown import markdown
    from ...results.report.terminal import print_report
    from ..evidence.gather import asked, gather
    from ..record.output import check_output, check_place, write_to_edit
    from ..run.progress import warn

    check_target(target)
    if out is not None:
        check_place(out)
    if suggest is not None:
        check_output(suggest, directories)
    if out is None and directories[0].is_file():
        raise Fault(f"{directories[0]}: is a table; say with --out where its report goes")
    view = View.along(axis, hyperparameter, pairs("--hold", hold), pool or ())
    evidence = gather(directories, asked(directories, tolerance, tolerance_doublings), view)
    for problem in evidence.problems:
        warn(problem)
    content = replace(evidence.content, target=target)
    if not content.comparisons and not content.searches:
        if len(evidence.rows):
            warn(f"nothing to compare: {evidence.lacks(axis, hyperparameter)}")
        raise typer.Exit(NOTHING_TO_REPORT)
    broken: OSError | None = None
    try:
        match format_:
            case ReportFormat.json:
                told = report_object(
                    content.comparisons, content.joint, content.searches, content.options, content.target,
                    content.problems,
                )  # fmt: skip
                print(json.dumps(told, indent=1, allow_nan=False))
            case ReportFormat.markdown:
                print(markdown(content), end="")
            case ReportFormat.table:
                print_report(content)
        sys.stdout.flush()
    except OSError as error:  # of a pipe or a disk; the page is written all the same
        broken = error
    # Drawing takes most of the time, its imports included: the answer comes first.
    from ...results.report.page import write_report

    try:
        written = write_report(content, out or directories[0] / "report")
        warn(f"wrote {written[0]} and {len(written) - 1} files beside it")
    except OSError as error:
        if out is not None:
            raise
        warn(f"wrote no page: {error.filename}: {error.strerror}; --out DIR puts it elsewhere")
    if suggest is not None:
        from ..evidence.suggestion import suggested

        text = suggested(directories, evidence, suggest)
        if text is None:
            warn("nothing to suggest: no verdict is open that further trials would settle")
        else:
            write_to_edit(suggest, text.encode(), directories)
            table = suggest.suffix == ".csv"
            then = "train these, fill in the losses and import it" if table else f"mutransfer run {suggest}"
            warn(f"wrote {suggest}; next: {then}")
    if broken is not None:
        raise broken


def compare(
    directory: DirectoryArgument,
    other: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Another sweep. Default: pairs within the first.")
    ] = None,
    format_: Annotated[ReportFormat, typer.Option("-f", "--format")] = ReportFormat.table,
) -> None:
    """Compare parametrizations, optimizers, architectures or whole sweeps."""
    from ...results.questions.contrast import contrasts
    from ...results.report.console import stdout
    from ...results.report.contract import compare_object
    from ...results.report.markdown import markdown_table
    from ...results.report.tables import contrast_table
    from ...results.report.terminal import PLAIN_WIDTH, rich_table
    from ..evidence.gather import gather
    from ..run.progress import warn

    first = gather([directory])
    second = None if other is None else gather([other])
    for problem in (*first.problems, *(second.problems if second else ())):
        warn(problem)
    found = contrasts(first.content.comparisons, None if second is None else second.content.comparisons)
    if not found:
        warn("nothing to compare: no two comparisons share their axis and hyperparameter")
        raise typer.Exit(NOTHING_TO_REPORT)
    of = [str(place) for place in (directory, other) if place is not None]
    match format_:
        case ReportFormat.json:
            print(json.dumps(compare_object(found, of), indent=1, allow_nan=False))
        case ReportFormat.markdown:
            print(markdown_table(contrast_table(found, of)))
        case ReportFormat.table:
            table, console = contrast_table(found, of), stdout(PLAIN_WIDTH)
            console.print(rich_table(table))
            console.print(table.about)
