"""`plan` and `run`: what a sweep costs, and having it trained."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from . import exit_codes

SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help="A sweep file, or the name of a preset.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override: steps=20, width=[16,32], base.width=64."),
]
WorkersOption = Annotated[
    int | None, typer.Option("-j", "--jobs", min=1, help="Jobs at a time. Default: CPU cores, or GPUs.")
]


class DeviceChoice(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class PlanFormat(StrEnum):
    table = "table"
    json = "json"


DeviceOption = Annotated[
    DeviceChoice, typer.Option(help="Where proxies train; auto takes GPUs if there are any.")
]


def plan(
    spec: SpecArgument,
    set_: SetOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = DeviceChoice.auto,
    format_: Annotated[PlanFormat, typer.Option("-f", "--format")] = PlanFormat.table,
) -> None:
    """Say what a sweep costs, without running anything."""
    from ...sweeps.load import load_sweep
    from ..device import find_device
    from ..estimate import estimate, estimate_object, print_estimate
    from ..plan import plan_jobs

    sweep = load_sweep(spec, set_ or [])
    found = find_device(device.value)
    summary = estimate(sweep, plan_jobs(sweep.expansion.trials, found), found, workers)
    if format_ is PlanFormat.json:
        print(json.dumps(estimate_object(summary), indent=1, allow_nan=False))
    else:
        print_estimate(summary)


def run(
    spec: SpecArgument,
    out: Annotated[Path | None, typer.Option(help="Sweep directory. Default: runs/<sweep name>.")] = None,
    set_: SetOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = DeviceChoice.auto,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Print the plan and stop.")] = False,
) -> None:
    """Train what is missing of a sweep. Running it again resumes it; Ctrl-C loses nothing finished."""
    from ...sweeps.load import load_sweep
    from ..backends.local import LocalPool
    from ..device import find_device
    from ..directory import SweepDirectory
    from ..driver import prepare
    from ..driver import run as run_jobs
    from ..ownership import owned
    from ..progress import Progress, warn

    if dry_run:
        plan(spec, set_, workers, device)
        return
    sweep = load_sweep(spec, set_ or [])
    found = find_device(device.value)
    directory = SweepDirectory(out or Path("runs") / sweep.spec.name)
    directory.check(sweep.spec.name)
    with Progress() as progress, owned(directory.path):
        work = prepare(sweep, directory, found, progress)
        pool = LocalPool(directory.path, workers or found.count, found)
        try:
            failed = run_jobs(work, directory, pool, progress)
        except KeyboardInterrupt:
            warn("interrupted; what is finished is kept, and the same command goes on from there")
            raise typer.Exit(exit_codes.INTERRUPTED) from None
        finally:
            pool.close()
    for job_id, reason in failed.items():
        warn(f"job {job_id} failed: {reason}")
    warn(f"results in {directory.path}; next: mutransfer report {directory.path}")
    raise typer.Exit(exit_codes.FAILED_TRIALS if failed else exit_codes.DONE)
