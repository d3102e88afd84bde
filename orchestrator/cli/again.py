"""`retry` and `rerun`: a sweep run again from its directory alone, and one trial of it."""

from pathlib import Path
from typing import Annotated

import typer

from ...models.recipe.fault import DONE, FAILED_TRIALS
from ..record.output import typed
from .options import DeviceChoice, DeviceOption, DirectoryArgument
from .running import as_before, carry_out, trained


def retry(
    directory: DirectoryArgument,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only jobs that failed, not those left over.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Go on in the background.")] = False,
) -> None:
    """Run a sweep again as it was last run, from its directory alone."""
    from ...sweeps.load import load_sweep
    from ..record.directory import SweepDirectory
    from ..run.options import RunOptions
    from ..upkeep.status import failed_trials

    held = SweepDirectory(directory)
    held.must_exist()
    options = RunOptions.recorded(held.read_options())
    sweep = as_before(load_sweep(str(directory / "sweep.yaml")), directory, options.keep)
    only = failed_trials(held) if failed else None
    carry_out(sweep, directory, options, no_wait, only)


def rerun(
    directory: DirectoryArgument,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial id, or how it begins.")],
    out: Annotated[
        Path | None, typer.Option(help="Sweep directory. Default: DIR- and the first 8 digits of TRIAL.")
    ] = None,
    device: DeviceOption = DeviceChoice.auto,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Keep the trained model: mutransfer.trained loads it.")
    ] = False,
) -> None:
    """Train one trial of a sweep again, alone, in a directory of its own, and compare the two losses."""
    from ...results.store.store import read_rows
    from ..record.directory import SweepDirectory
    from ..run.options import RunOptions
    from ..run.progress import warn
    from ..upkeep.found import alone, found_trial

    held = SweepDirectory(directory)
    held.must_exist()
    found = found_trial(held, trial)
    path = out or Path(f"{directory}-{found.id[:8]}")
    SweepDirectory(path).check(found.sweep.spec.name)
    options = RunOptions(device=device.value, max_concurrent=1, keep_weights=keep_weights)
    failed = trained(alone(held, found), path, options)
    for name, place in (("before", directory), ("now", path)):
        rows = [row for row in read_rows(place)[0].to_pylist() if row["trial_id"] == found.id]
        row = rows[-1] if rows else {"loss": None, "status": "no result"}
        print(f"{name}: {row['status'] if row['loss'] is None else row['loss']}")
    warn(f"in {path}; next: mutransfer show {typed(path)} {found.id}")
    raise typer.Exit(FAILED_TRIALS if failed else DONE)
