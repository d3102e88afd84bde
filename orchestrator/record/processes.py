"""Which process it was: a name that neither a reused pid, a reboot nor another host can be mistaken for."""

import os
import platform
import signal
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

GONE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process of some host; `started` are the clock ticks from that host's boot to its start."""

    host: str
    boot: str
    pid: int
    started: int

    @property
    def here(self) -> bool:
        """Whether it is, or was, a process of this machine since its last start."""
        return (self.host, self.boot) == (platform.node(), _boot_id())

    @property
    def alive(self) -> bool:
        """Whether it runs (or is stopped) on this machine."""
        return self.here and _start_ticks(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_process() -> Process:
    return Process(platform.node(), _boot_id(), os.getpid(), _start_ticks(os.getpid()) or 0)


def process_from(record: dict[str, Any]) -> Process:
    """Raises KeyError, TypeError or ValueError for a record of something else."""
    return Process(str(record["host"]), str(record["boot"]), int(record["pid"]), int(record["started"]))


def kill(process: Process) -> None:
    """Ends a process of this machine and, where it leads a group, the whole group; waits until it is gone."""
    if not process.alive:
        return
    try:
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + GONE_SECONDS
    while process.alive and time.monotonic() < deadline:
        time.sleep(0.01)


@cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None for no such process, and for a dead one that nobody has waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()  # the name in parentheses may hold anything
    return None if state in "ZX" else int(fields[18])
