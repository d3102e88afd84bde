"""How far jobs are that tell it in the sweep directory alone."""

import time
from collections.abc import Collection

from ..record.attempt import latest_attempt
from ..record.directory import SweepDirectory
from .backend import Event

LOOK_SECONDS = 1.0
READ_AT_ONCE = 50
"""Heartbeats read in one look: with more jobs running, each is read less often."""


class Heartbeats:
    """Reads heartbeats now and then, some at a time."""

    def __init__(self, directory: SweepDirectory) -> None:
        self._directory = directory
        self._looked, self._turn = 0.0, 0

    def news(self, running: Collection[str]) -> list[Event]:
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        chosen = sorted(running)[self._turn : self._turn + READ_AT_ONCE]
        self._turn = self._turn + READ_AT_ONCE if chosen else 0
        attempts = (latest_attempt(self._directory, job) for job in chosen)
        return [Event(attempt.job, attempt.step, attempt.diverged) for attempt in attempts if attempt]
