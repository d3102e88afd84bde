"""`status`, `logs` and `watch`: how a sweep stands, and what happened in it."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from .options import DirectoryArgument, TableOrJson

WATCH_SECONDS = 2.0


def status(
    directory: DirectoryArgument,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every 2 s, until it is over.")] = False,
    format_: Annotated[TableOrJson, typer.Option("-f", "--format")] = TableOrJson.table,
) -> None:
    """Say what is done, running, waiting and failed, and what attempts cost."""
    from ..record.directory import SweepDirectory
    from ..upkeep.status import status_object, sweep_status
    from ..upkeep.status_table import print_status

    while True:
        found = sweep_status(SweepDirectory(directory))
        if format_ is TableOrJson.json:
            print(json.dumps(status_object(found), indent=None if watch else 1, allow_nan=False), flush=True)
        else:
            print_status(found)
        if not watch or found.state != "running":
            return
        time.sleep(WATCH_SECONDS)


def logs(
    directory: DirectoryArgument,
    trial: Annotated[
        str | None, typer.Argument(metavar="[TRIAL]", help="A trial or job id, or how one begins.")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as more is written.")] = False,
) -> None:
    """Print what happened in a sweep; with TRIAL, what its job printed."""
    from ..record.directory import SweepDirectory
    from ..upkeep.logs import sweep_events, trial_log

    held = SweepDirectory(directory)
    held.must_exist()
    for text in sweep_events(held, follow) if trial is None else trial_log(held, trial, follow):
        print(text, end="", flush=True)


def show(
    directory: DirectoryArgument,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial id, or how it begins.")],
    cause: Annotated[
        bool,
        typer.Option("--cause", help="Of one that diverged: train it again, say what left first."),
    ] = False,
    format_: Annotated[TableOrJson, typer.Option("-f", "--format")] = TableOrJson.table,
) -> None:
    """Print all that is known of a trial: point, result, attempts, curve, and the command that repeats it."""
    from dataclasses import asdict, replace

    from ..record.directory import SweepDirectory
    from ..upkeep.found import found_trial
    from ..upkeep.show import lines, shown

    held = SweepDirectory(directory)
    held.must_exist()
    one = found_trial(held, trial)
    found = shown(held, one)
    if cause:
        from ..upkeep.cause import told_cause

        found = replace(found, cause=tuple(told_cause(held, one, found.row)))
    if format_ is TableOrJson.json:
        print(json.dumps({"schema": 1, **asdict(found)}, indent=1, default=str))
    else:
        print("\n".join(lines(found)))


def watch(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Sweep directories.")],
    port: Annotated[
        int, typer.Option(min=0, max=65535, show_default=False, help="Default: one that is free.")
    ] = 0,
) -> None:
    """Serve report and progress as a page on this machine, new as trials end, until Ctrl-C."""
    from contextlib import suppress

    from ..upkeep.live import HOST, Site, server

    with server(Site(directories), port) as serving, suppress(KeyboardInterrupt):
        print(f"http://{HOST}:{serving.server_port}/ (Ctrl-C ends it)", flush=True)
        serving.serve_forever()
