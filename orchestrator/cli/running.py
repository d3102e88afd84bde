"""`plan`, `run` and `cancel`: what a sweep costs, having it trained, and stopping it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...models.recipe.fault import DONE, FAILED_TRIALS, INTERRUPTED, Fault
from ..backends.registry import BACKENDS
from ..record.output import typed
from .options import (
    BackendOption,
    DeviceChoice,
    DeviceOption,
    DirectoryArgument,
    ExecutionChoice,
    SetOption,
    SpecArgument,
    TableOrJson,
    WorkersOption,
    pairs,
)

if TYPE_CHECKING:
    from ...sweeps.load import Sweep
    from ..run.driver import Watcher
    from ..run.options import RunOptions


MANY_TRIALS = 20_000
"""Planning so many takes seconds, and says so."""


def plan(
    spec: SpecArgument,
    set_: SetOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = DeviceChoice.auto,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Time a few steps of each family here, for a better estimate.")
    ] = False,
    format_: Annotated[TableOrJson, typer.Option("-f", "--format")] = TableOrJson.table,
) -> None:
    """Say what a sweep costs, without running anything."""
    from ...sweeps.load import load_sweep
    from ..planning.device import find_device, must_suit
    from ..planning.estimate import estimate, estimate_object, print_estimate
    from ..planning.try_out import try_out
    from ..run.progress import warn

    sweep = load_sweep(spec, set_ or [])
    if len(sweep.expansion.trials) >= MANY_TRIALS:
        warn(f"planning {len(sweep.expansion.trials):,} trials")
    found = find_device(device.value)
    if (
        found.kind == "cuda" or device is DeviceChoice.cpu
    ):  # without a GPU here, auto may plan for one elsewhere
        must_suit(sweep, found)
    try_out(sweep)
    if sweep.spec.program is not None:
        _plan_program(sweep, Path("runs") / sweep.spec.name, workers or found.count, format_)
        return
    measured = None
    if calibrate:
        from ..planning.calibration import measure

        measured = measure(sweep, found)
    summary = estimate(sweep, found, workers or found.count, measured)
    if format_ is TableOrJson.json:
        print(json.dumps(estimate_object(summary, sweep), indent=1, allow_nan=False))
    else:
        print_estimate(summary)
        _tell_rounds(sweep)


def run(
    spec: SpecArgument,
    out: Annotated[Path | None, typer.Option(help="Sweep directory. Default: runs/<sweep name>.")] = None,
    set_: SetOption = None,
    backend: BackendOption = "local",
    workers: WorkersOption = None,
    device: DeviceOption = DeviceChoice.auto,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Print the plan and stop.")] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Go on in the background; see status, logs, cancel.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast/--keep-going", help="Whether the first failed job stops the rest.")
    ] = False,
    jobs_per_gpu: Annotated[int, typer.Option(min=1, max=64, help="Jobs that share a GPU (local, ray).")] = 1,
    gpus_per_job: Annotated[
        int, typer.Option(min=1, max=64, help="GPUs that a job's batch is split over.")
    ] = 1,
    gpu_memory: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="GB", help="Memory of a GPU. Default: asked of it, or 80."),
    ] = None,
    ray_address: Annotated[
        str, typer.Option(help="The Ray cluster, HOST:PORT; local starts one for this run.")
    ] = "local",
    checkpoint_every: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="The most work that a pre-emption may cost, or ten times what saving takes.",
        ),
    ] = 60.0,
    log: Annotated[
        list[str] | None,
        typer.Option(metavar="LOGGER", help="Log finished trials: tensorboard, wandb, mlflow. Repeatable."),
    ] = None,
    hang_after: Annotated[
        float, typer.Option(min=6.0, metavar="SECONDS", help="A job without a step for so long is ended.")
    ] = 1800.0,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Keep trials whose program has changed since; train what is missing."),
    ] = False,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Keep the trained models: mutransfer.trained loads them.")
    ] = False,
    execution: Annotated[
        ExecutionChoice,
        typer.Option(
            help="eager: one operation after the other; graph: a step is recorded and replayed, on a GPU; "
            "compiled: fused first; auto: graph where it pays."
        ),
    ] = ExecutionChoice.auto,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE", help="Only trials with this value, and those of their jobs. Repeatable."
        ),
    ] = None,
) -> None:
    """Train what is missing of a sweep. Running it again resumes it; Ctrl-C loses nothing finished."""
    from ...sweeps.load import load_sweep
    from ..run.options import RunOptions

    sweep = load_sweep(spec, set_ or [])
    path = out or Path("runs") / sweep.spec.name
    sweep = as_before(sweep, path, keep)
    options = RunOptions(
        backend=backend,
        device=device.value,
        max_concurrent=workers,
        jobs_per_gpu=jobs_per_gpu,
        gpus_per_job=gpus_per_job,
        gpu_memory_gb=gpu_memory,
        ray_address=ray_address,
        fail_fast=fail_fast,
        checkpoint_seconds=checkpoint_every,
        hang_seconds=hang_after,
        keep=keep,
        keep_weights=keep_weights,
        execution=execution.value,
    )
    chosen = _chosen(sweep, pairs("--only", only, "FIELD")) if only else None
    if chosen is not None and (no_wait or dry_run):
        raise Fault("--only: is for a run that is waited for; leave out --no-wait and --dry-run")
    if keep_weights and sweep.spec.program is not None:
        raise Fault("--keep-weights: a program keeps its own, in its folder {files}; leave it out")
    if gpus_per_job > 1 and jobs_per_gpu > 1:
        raise Fault("--jobs-per-gpu, --gpus-per-job: a job has a share of one GPU, or several; give one")
    if gpus_per_job > 1 and sweep.spec.program is not None:
        raise Fault(
            "--gpus-per-job: a program asks for its own, program.gpus in the sweep file; leave it out"
        )
    if dry_run:
        from ..planning.device import must_suit
        from ..planning.estimate import estimate, print_estimate

        planned = BACKENDS[backend].planned_for(sweep, options)
        if sweep.spec.program is not None:
            _plan_program(sweep, path, planned[1], TableOrJson.table)
            return
        must_suit(sweep, planned[0])
        print_estimate(estimate(sweep, *planned, backend=backend))
        _tell_rounds(sweep)
        _tell_new(sweep, path)
        return
    carry_out(sweep, path, options, no_wait, chosen, log=log or [])


def _chosen(sweep: "Sweep", wanted: Mapping[str, str]) -> set[str]:
    """Trials with these values. Raises Fault for a field that no trial has, and for values of none."""
    if sweep.spec.search is not None or sweep.spec.refine is not None:
        raise Fault("--only: this sweep decides its trials while it runs; leave it out")
    points = {trial.id: trial.program.point() for trial in sweep.expansion.trials}
    fields = sorted({name for point in points.values() for name in point})
    if unknown := sorted({*wanted} - {*fields}):
        raise Fault(
            f"--only {unknown[0]}={wanted[unknown[0]]}: no trial has a {unknown[0]}; see mutransfer plan"
        )
    chosen = {
        trial for trial, point in points.items()
        if all(_is(point.get(name), value) for name, value in wanted.items())
    }  # fmt: skip
    if not chosen:
        there = {name: sorted({str(point.get(name)) for point in points.values()}) for name in wanted}
        told = "; ".join(f"{name} is {', '.join(values[:8])}" for name, values in there.items())
        raise Fault(f"--only: no trial has all of these values; {told}")
    return chosen


def _is(held: object, told: str) -> bool:
    if isinstance(held, bool) or not isinstance(held, int | float):
        return str(held).lower() == told.lower()
    try:
        return held == float(told)
    except ValueError:
        return False


def _tell_new(sweep: "Sweep", path: Path) -> None:
    from ...results.store.store import finished_trials

    if path.exists():
        done = finished_trials(path)[0]
        new = sum(trial.id not in done for trial in sweep.expansion.trials)
        print(f"{new} of {len(sweep.expansion.trials)} trials are new to {path}, which has the others")


def as_before(sweep: "Sweep", path: Path, keep: bool) -> "Sweep":
    """The sweep, of the program that its directory's trials were trained with if they are to be kept."""
    from ..planning.own_code import changed, known_as_before
    from ..record.directory import SweepDirectory
    from ..run.progress import warn

    found = changed(sweep, SweepDirectory(path)) if path.exists() else None
    if found is None:
        return sweep
    if keep and not found.parts:
        warn(f"changed since the trials ran, and kept as they are: {', '.join(found.names)}")
        return known_as_before(sweep, found)
    warn(found.told)
    return sweep


def _plan_program(sweep: "Sweep", path: Path, at_once: int, format_: TableOrJson) -> None:
    from ..planning.program_plan import print_program_plan, program_plan, program_plan_object

    found = program_plan(sweep, path, at_once)
    if format_ is TableOrJson.json:
        print(json.dumps(program_plan_object(found, sweep), indent=1, allow_nan=False))
    else:
        print_program_plan(found)
        _tell_rounds(sweep)


def _tell_rounds(sweep: "Sweep") -> None:
    """What a plan cannot hold: trials that are decided from the results of earlier ones."""
    from ..run.progress import warn

    search, refine = sweep.spec.search, sweep.spec.refine
    if search is not None:
        warn(f"this is the first round; each of its trials starts a search of {search.trials}")
    if refine is not None:
        warn(
            "this is the whole grid; scales above the smallest begin with a few of their values, "
            f"and at most {refine.rounds} rounds of points follow"
        )


def cancel(directory: DirectoryArgument) -> None:
    """Stop a sweep, wherever its driver runs. What is finished is kept, and run goes on from there."""
    from ..record.directory import SweepDirectory
    from ..run.cancel import cancel_sweep

    print(cancel_sweep(SweepDirectory(directory)))


def carry_out(
    sweep: "Sweep",
    path: Path,
    options: "RunOptions",
    no_wait: bool,
    only: set[str] | None = None,
    log: Sequence[str] = (),
) -> None:
    """Exits with what came of it."""
    from ..planning.try_out import try_out
    from ..record.directory import SweepDirectory
    from ..run.progress import warn

    directory = SweepDirectory(path)
    directory.check(sweep.spec.name)
    try_out(sweep)
    if sweep.spec.program is not None:
        from ..planning.program_plan import commands_told

        warn(commands_told(sweep))
    if no_wait:
        from ..run.detach import detach

        print(detach(directory))
        return
    failed = trained(sweep, path, options, only, log)
    warn(f"results in {path}; next: mutransfer report {typed(path)}")
    raise typer.Exit(FAILED_TRIALS if failed else DONE)


def trained(
    sweep: "Sweep",
    path: Path,
    options: "RunOptions",
    only: set[str] | None = None,
    log: Sequence[str] = (),
) -> bool:
    """Trains what is missing, with a line of progress. Whether a job was given up; its log is shown then."""
    from ..record.directory import SweepDirectory
    from ..run.loggers import Logged, open_logger
    from ..run.progress import Progress, log_tail, warn
    from ..run.session import runner_of

    directory = SweepDirectory(path)
    try:
        with Progress() as progress:
            watcher: Watcher = progress
            for name in log:
                watcher = Logged(watcher, directory, open_logger(name, path, sweep.spec.name))
            failed = runner_of(sweep)(sweep, directory, options, watcher, only)
    except KeyboardInterrupt:
        warn("interrupted; what is finished is kept, and the same command goes on from there")
        kind = BACKENDS[options.backend]
        if kind.outlives:
            warn(f"jobs that {kind.told} has go on; mutransfer cancel {path} ends them")
        raise typer.Exit(INTERRUPTED) from None
    for line in log_tail(directory, failed, sweep.spec.axes):
        warn(line)
    return bool(failed)
