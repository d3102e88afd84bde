"""`doctor` and `gc`: whether sweeps can run here, and what a finished one no longer needs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ...models.recipe.fault import DONE, PREFLIGHT
from .options import DirectoryArgument, TableOrJson


def doctor(
    place: Annotated[Path, typer.Option("--out", help="Where sweeps would be written.")] = Path("runs"),
    ray_address: Annotated[
        str | None, typer.Option(help="A Ray cluster to look at, HOST:PORT, or local.")
    ] = None,
    format_: Annotated[TableOrJson, typer.Option("-f", "--format")] = TableOrJson.table,
) -> None:
    """Look at Python, packages, devices, disk, clock, Ray and Slurm, and say what is missing."""
    from dataclasses import asdict

    from ..upkeep.doctor import examine

    findings = list(examine(place, ray_address))
    if format_ is TableOrJson.json:
        print(json.dumps({"schema": 1, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            print(f"{finding.status:5}  {finding.subject:16}  {finding.found}{remedy}")
    faulty = any(finding.status == "fault" for finding in findings)
    raise typer.Exit(PREFLIGHT if faulty else DONE)


def gc(
    directory: DirectoryArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would go, and stop.")] = False,
) -> None:
    """Remove checkpoints and scratch files that nothing needs any more; gather results into fewer files."""
    from ..record.directory import SweepDirectory
    from ..upkeep.collect import collect

    gone = collect(SweepDirectory(directory), dry_run)
    for path in gone.paths if dry_run else ():
        print(path)
    verb = "would be removed" if dry_run else "removed"
    print(f"{len(gone.paths)} files {verb}, {gone.bytes / 2**20:,.1f} MiB")
    for compacted in gone.compacted:
        print(f"{compacted.files} files gathered into {compacted.path}")
