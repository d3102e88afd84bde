"""`report`, `import` and `export`: what the losses say, and what to hand to the large run."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from . import exit_codes
from .running import DirectoryArgument


class ReportFormat(StrEnum):
    table = "table"
    json = "json"


class ExportFormat(StrEnum):
    yaml = "yaml"
    json = "json"
    torchtitan = "torchtitan"
    megatron = "megatron"
    huggingface = "huggingface"


DirectoriesArgument = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Sweep directories.")]


def report(
    directories: DirectoriesArgument,
    format_: Annotated[ReportFormat, typer.Option("-f", "--format")] = ReportFormat.table,
) -> None:
    """Say whether the optimum is stable across scale; write report.html and pictures."""
    from ...results.contract import report_object
    from ...results.report.page import write_report
    from ...results.report.terminal import print_report
    from ..evidence import gather
    from ..progress import warn

    evidence = gather(directories)
    for problem in evidence.problems:
        warn(problem)
    if not evidence.comparisons:
        raise typer.Exit(exit_codes.NOTHING_TO_REPORT)
    if format_ is ReportFormat.json:
        print(json.dumps(report_object(evidence.comparisons), indent=1, allow_nan=False))
    else:
        print_report(evidence.comparisons)
    written = write_report(evidence.comparisons, evidence.facts, directories[0] / "report")
    warn(f"wrote {written[0]} and {len(written) - 1} pictures beside it")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or Parquet of losses.")],
    out: Annotated[Path, typer.Option(help="The sweep directory to create.")],
) -> None:
    """Bring losses measured elsewhere into a sweep directory, for the same report."""
    from ...results.importing import read_measurements
    from ..evidence import store_import

    table = read_measurements(file)
    count = store_import(table, file, out)
    print(f"imported {count} measurements into {out}; next: mutransfer report {out}")


def export(
    directory: DirectoryArgument,
    width: Annotated[int, typer.Option(min=1, max=10_000_000, help="Width of the large model.")],
    depth: Annotated[int, typer.Option(min=1, max=100_000, help="Residual blocks of the large model.")],
    batch: Annotated[
        int | None, typer.Option(min=1, help="Sequences per batch of the large run. Default: the sweep's.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens the large run trains on. Default: the sweep's steps.")
    ] = None,
    architecture: Annotated[str | None, typer.Option()] = None,
    optimizer: Annotated[str | None, typer.Option()] = None,
    parametrization: Annotated[str | None, typer.Option()] = None,
    format_: Annotated[ExportFormat, typer.Option("-f", "--format")] = ExportFormat.yaml,
    out: Annotated[Path | None, typer.Option(help="Write to a file instead of stdout.")] = None,
) -> None:
    """Print the tuned base hyperparameters and what they become at the large model's size."""
    from ...results.choice import choose
    from ..evidence import gather
    from ..export import Target, export_object
    from ..export_texts import export_text
    from ..progress import warn

    evidence = gather([directory])
    if not evidence.comparisons:
        raise typer.Exit(exit_codes.NOTHING_TO_REPORT)
    wanted = {"architecture": architecture, "optimizer": optimizer, "parametrization": parametrization}
    chosen = choose(evidence.comparisons, **wanted)
    target = Target(width, depth, batch, tokens)
    handed = export_object(chosen, evidence.rows, target, evidence.comparisons)
    for warning in handed["warnings"]:
        warn(f"warning: {warning}")
    text = export_text(handed, format_.value)
    if out is None:
        print(text, end="")
    else:
        out.write_text(text)
