"""`report`, `import` and `export`: what the losses say, and what to hand to the large run."""

import json
import math
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ...models.recipe.fault import NOTHING_TO_REPORT, Fault
from .options import DirectoriesArgument, DirectoryArgument, HoldOption, PoolOption, ReportFormat, pairs


class ExportFormat(StrEnum):
    yaml = "yaml"
    json = "json"
    torchtitan = "torchtitan"
    megatron = "megatron"
    huggingface = "huggingface"


def report(
    directories: DirectoriesArgument,
    format_: Annotated[ReportFormat, typer.Option("-f", "--format")] = ReportFormat.table,
    suggest: Annotated[
        Path | None,
        typer.Option(help="Write a sweep file with the trials that would settle what is inconclusive."),
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
    axis: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The scale: any numeric column. Default: what varies."),
    ] = None,
    hyperparameter: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="What was tuned: any numeric column. Default: what was swept."),
    ] = None,
    hold: HoldOption = None,
    target: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="SCALE", help="What it says of the large run's scale, too."),
    ] = None,
    pool: PoolOption = None,
) -> None:
    """Say whether the optimum is stable across scale; write report.html, pictures and report.md."""
    from ...results.questions.view import View
    from ...results.report.contract import report_object
    from ...results.report.markdown import markdown
    from ...results.report.page import write_report
    from ...results.report.terminal import print_report
    from ..evidence.gather import asked, gather
    from ..run.progress import warn

    if target is not None and not 0 < target < math.inf:
        raise Fault(f"--target {target:g}: give a positive number, the scale of the large run")
    scales, tuned = ((name,) if name else () for name in (axis, hyperparameter))
    view = View(scales, tuned, pairs("--hold", hold), tuple(pool or ()))
    evidence = gather(directories, asked(directories, tolerance, tolerance_doublings), view)
    for problem in evidence.problems:
        warn(problem)
    content = replace(evidence.content, target=target)
    if not content.comparisons and not content.searches:
        if len(evidence.rows):
            warn("nothing to compare: no trial has a width; say what was scaled with --axis COLUMN")
        raise typer.Exit(NOTHING_TO_REPORT)
    match format_:
        case ReportFormat.json:
            told = report_object(
                content.comparisons, content.joint, content.searches, content.options, content.target
            )
            print(json.dumps(told, indent=1, allow_nan=False))
        case ReportFormat.markdown:
            print(markdown(content), end="")
        case ReportFormat.table:
            print_report(content)
    written = write_report(content, directories[0] / "report")
    warn(f"wrote {written[0]} and {len(written) - 1} files beside it")
    if suggest is not None:
        from ..evidence.suggestion import suggested_sweep

        text = suggested_sweep(directories, content.comparisons)
        if text is None:
            warn("nothing to suggest: no verdict is open that further trials would settle")
        else:
            suggest.write_text(text)
            warn(f"wrote {suggest}; next: mutransfer run {suggest}")


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
    match format_:
        case ReportFormat.json:
            print(json.dumps(compare_object(found), indent=1, allow_nan=False))
        case ReportFormat.markdown:
            print(markdown_table(contrast_table(found)))
        case ReportFormat.table:
            stdout(PLAIN_WIDTH).print(rich_table(contrast_table(found)))


def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="CSV, Parquet; Weights & Biases runs (JSON, folder); an Optuna storage; MLflow's mlruns.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The sweep directory to create.")],
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="What a column is: learning_rate=config.lr."),
    ] = None,
    fill: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="What all rows have: optimizer=adamw."),
    ] = None,
    study: Annotated[str | None, typer.Option(help="Which Optuna study, where there are several.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what each column was taken for, and make nothing."),
    ] = False,
) -> None:
    """Bring losses measured elsewhere into a sweep directory, for the same report."""
    from ...results.sources.importing import Reading, understand
    from ..evidence.gather import store_import

    reading = Reading(pairs("--map", map_), pairs("--fill", fill), study)
    found = understand(source, reading)
    for ours, theirs in found.found.items():
        print(f"{ours}: {theirs}")
    if dry_run:
        print(f"{found.table.num_rows} measurements; nothing was made")
        return
    count = store_import(found.table, Path(source), out)
    print(f"imported {count} measurements into {out}; next: mutransfer report {out}")


def trials(
    directories: DirectoriesArgument,
    out: Annotated[Path, typer.Option(help="A .csv or .parquet file.")],
) -> None:
    """Write all trials of sweeps as one table."""
    from ..evidence.gather import all_trials

    count = all_trials(directories, out)
    print(f"wrote {count} trials to {out}")


def export(
    directory: DirectoryArgument,
    width: Annotated[int, typer.Option(min=1, max=10_000_000, help="Width of the large model.")],
    depth: Annotated[int, typer.Option(min=1, max=100_000, help="Residual blocks of the large model.")],
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=10**9, help="Sequences per batch of the large run. Default: the sweep's."),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(min=1, max=10**18, help="Tokens the large run trains on. Default: the sweep's steps."),
    ] = None,
    architecture: Annotated[str | None, typer.Option()] = None,
    optimizer: Annotated[str | None, typer.Option()] = None,
    parametrization: Annotated[str | None, typer.Option()] = None,
    format_: Annotated[ExportFormat, typer.Option("-f", "--format")] = ExportFormat.yaml,
    out: Annotated[Path | None, typer.Option(help="Write to a file instead of stdout.")] = None,
) -> None:
    """Print the tuned base hyperparameters and what they become at the large model's size."""
    from ...results.questions.choice import choose
    from ..evidence.gather import gather
    from ..handover.export import Target, export_object
    from ..handover.export_texts import export_text
    from ..run.progress import warn

    evidence = gather([directory])
    if not evidence.content.comparisons:
        raise typer.Exit(NOTHING_TO_REPORT)
    wanted = {"architecture": architecture, "optimizer": optimizer, "parametrization": parametrization}
    chosen = choose(evidence.content.comparisons, **wanted)
    target = Target(width, depth, batch, tokens)
    handed = export_object(chosen, evidence.rows, target, evidence.content.comparisons)
    for warning in handed["warnings"]:
        warn(f"warning: {warning}")
    text = export_text(handed, format_.value)
    if out is None:
        print(text, end="")
    else:
        out.write_text(text)
