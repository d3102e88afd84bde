"""A run in the background: the same command again, in a session of its own, with its output in a file."""

import os
import subprocess
import sys
import time

from ..planning.device import PreflightError
from ..record.directory import SweepDirectory
from ..record.journal import read_journal
from ..record.lease import holder
from ..record.output import typed

LOOK_SECONDS = 0.1
START_SECONDS = 60.0


def detach(directory: SweepDirectory) -> str:
    """Starts this very command without --no-wait; returns once it drives the sweep, with words for the user.

    Raises PreflightError with the end of its output where it gave up before.
    """
    words = [word for word in sys.argv[1:] if word != "--no-wait"]
    directory.path.mkdir(parents=True, exist_ok=True)
    log = directory.driver_log
    with open(log, "ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "mutransfer.orchestrator.cli", *words],
            env={**os.environ, "PYTHONSAFEPATH": "1"},  # the folder may hold a queue.py of its own
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if _drives(directory, child.pid):
            break
        code = child.poll()
        if code is not None and code != 0:
            tail = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise PreflightError(f"{directory.path}: the run gave up with exit code {code}: {' '.join(tail)}")
        if code == 0:
            break
        time.sleep(LOOK_SECONDS)
    name = typed(directory.path)
    return (
        f"process {child.pid} runs {directory.path} in the background; its output: {log}\n"
        f"next: mutransfer status {name}, mutransfer logs {name}, mutransfer cancel {name}"
    )


def _drives(directory: SweepDirectory, pid: int) -> bool:
    """Whether the process holds the sweep and its backend has come up."""
    held = holder(directory.path)
    if held is None or held.process is None or held.process.pid != pid:
        return False
    events = read_journal(directory.journal)
    return any(event["event"] == "run" and event["lease"] == held.number for event in events)
