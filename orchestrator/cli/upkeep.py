"""`doctor` and `gc`: whether sweeps can run here, and what a finished one no longer needs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ...models.recipe.fault import DONE, PREFLIGHT, Fault
from ..backends.registry import BACKENDS
from ..upkeep.finding import Finding
from .options import DirectoryArgument, TableOrJson, one_of


def doctor(
    spec: Annotated[
        str | None, typer.Argument(metavar="[SPEC]", help="With --backend: whose jobs. Default: quickstart.")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar=f"<{'|'.join(BACKENDS)}>",
            callback=one_of(BACKENDS),
            help="Look at this one alone, and print what a job would be submitted with.",
        ),
    ] = None,
    place: Annotated[Path, typer.Option("--out", help="Where sweeps would be written.")] = Path("runs"),
    ray_address: Annotated[
        str | None, typer.Option(help="A Ray cluster to look at, HOST:PORT, or local.")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure this GPU's rates; plans of this machine rest on them.")
    ] = False,
    format_: Annotated[TableOrJson, typer.Option("-f", "--format")] = TableOrJson.table,
) -> None:
    """Look at Python, packages, devices, disk, clock, Ray and Slurm, and say what is missing."""
    from dataclasses import asdict

    from ..upkeep.doctor import examine

    if spec is not None and backend is None:
        raise Fault(f"{spec}: --backend says what its jobs would be submitted to")
    findings = list(examine(place, ray_address) if backend is None else _of(backend, spec, ray_address))
    if measure:
        findings.append(_measured())
    if format_ is TableOrJson.json:
        print(json.dumps({"schema": 1, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        for finding in findings:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            print(f"{finding.status:5}  {finding.subject:16}  {finding.found}{remedy}")
    faulty = any(finding.status == "fault" for finding in findings)
    raise typer.Exit(PREFLIGHT if faulty else DONE)


def _measured() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("rates", "fault", "torch sees no GPU to measure", "leave out --measure")
    from ...sweeps.card import keep_card
    from ..upkeep.card import measured_card

    card = measured_card()
    products = ", ".join(f"{name} {rate / 1e12:,.0f}" for name, rate in card.flops.items())
    told = (
        f"{card.name}: {1e6 * card.launch_seconds:.1f} us a recorded operation, "
        f"{card.bytes_per_second / 1e12:.2f} TB/s, TFLOP/s {products}; kept in {keep_card(card)}"
    )
    return Finding("rates", "ok", told)


def _of(backend: str, spec: str | None, ray_address: str | None) -> Iterator[Finding]:
    """What is found of one backend, and what it would be given for a job of a sweep."""
    kind = BACKENDS[backend]
    yield from kind.examine(ray_address)
    if kind.submission is not None:
        from ...sweeps.load import load_sweep
        from ..run.options import RunOptions

        text = kind.submission(load_sweep(spec or "quickstart"), RunOptions())
        yield Finding(f"{backend} job", "ok", text)


def gc(
    directory: DirectoryArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would go, and stop.")] = False,
) -> None:
    """Remove checkpoints and scratch files that nothing needs any more; gather results of 16 jobs or more
    into fewer files."""
    from ..record.directory import SweepDirectory
    from ..upkeep.collect import collect

    gone = collect(SweepDirectory(directory), dry_run)
    for path in gone.paths if dry_run else ():
        print(path)
    verb = "would be removed" if dry_run else "removed"
    print(f"{len(gone.paths)} files {verb}, {gone.bytes / 2**20:,.1f} MiB")
    for compacted in gone.compacted:
        print(f"{compacted.files} files gathered into {compacted.path}")
