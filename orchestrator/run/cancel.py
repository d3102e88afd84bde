"""Stopping a sweep from anywhere: its driver is asked through the directory; without one, we are it."""

import time

from ..backends.backend import BackendError
from ..backends.registry import end_left
from ..record.directory import SweepDirectory
from ..record.journal import Journal, read_journal, replay
from ..record.lease import Lease, OwnedError, holder
from .reconcile import end_orphans

ANSWER_SECONDS = 90.0
LOOK_SECONDS = 0.2


def cancel_sweep(directory: SweepDirectory) -> str:
    """Returns what was done, in words, once nothing of the sweep runs any more.

    Raises DirectoryError for no sweep, and BackendError where a scheduler's jobs cannot be ended.
    """
    directory.must_exist()
    deadline = time.monotonic() + ANSWER_SECONDS
    asked = None
    while time.monotonic() < deadline:
        held = holder(directory.path)
        if held is not None and (asked is None or asked == held.number):
            directory.cancel_request.touch()
            asked = held.number
        if asked is not None and held is None:
            return f"{directory.path}: stopped; run it again to go on"
        try:
            if held is None or held.process is None or not held.process.alive:
                return _cancel_as_driver(directory)  # its heartbeat is looked at before we take over
        except OwnedError:
            pass  # somebody has just begun; ask them
        time.sleep(LOOK_SECONDS)
    raise BackendError(
        f"{directory.path}: {held} did not stop within {ANSWER_SECONDS:.0f} s; it will when it next looks, "
        "or end it yourself and cancel again"
    )


def _cancel_as_driver(directory: SweepDirectory) -> str:
    with Lease(directory.path) as lease, Journal(directory.journal, lease.number) as journal:
        directory.cancel_request.unlink(missing_ok=True)
        left = replay(read_journal(directory.journal)).left()
        end_left(left)
        for end in end_orphans(directory, directory.read_plan(), set()):
            journal.ended(end, "retry")
        journal.returned(sorted(left))
        journal.stopped("cancelled")
    return f"{directory.path}: no driver was running; {len(left)} jobs of a scheduler were cancelled"
