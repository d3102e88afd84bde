"""Slurm's commands, each with a time limit and its answer parsed. No state, no policy."""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

COMMAND_SECONDS = 60
IDS_A_CALL = 500


class SlurmSilentError(Exception):
    """Slurm did not answer, or not with what was asked: nothing is known, neither good nor bad."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the controller takes: tasks of one array, jobs in all."""

    array: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Queued:
    """A job or array task that the controller still holds, and why it waits."""

    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Accounted:
    """A job or array task as the accounting knows it."""

    state: str
    nodes: str


def limits() -> Limits:
    text = _answer("scontrol", "show", "config")
    found = dict(re.findall(r"^(MaxArraySize|MaxJobCount)\s*=\s*(\d+)", text, re.MULTILINE))
    # Slurm's own defaults, for a controller that hides its configuration.
    return Limits(max(1, int(found.get("MaxArraySize", 1001))), int(found.get("MaxJobCount", 10000)))


def queue() -> dict[str, Queued]:
    """All jobs of this user that have not ended, array tasks one by one, by id."""
    return _queued("-u", str(os.getuid()))


def queued_as(name: str) -> dict[str, Queued]:
    """Those of one name."""
    return _queued("-u", str(os.getuid()), "--name", name)


def accounting(ids: Iterable[str]) -> dict[str, list[Accounted]]:
    """What became of the jobs and arrays with these base ids, array tasks one by one.

    A job that was requeued has one entry for each of its runs, the latest last.
    """
    found: dict[str, list[Accounted]] = {}
    fields = ("-D", "-X", "-n", "-P", "-o", "JobID,State,NodeList")
    for line in _answer("sacct", *fields, "-j", ",".join(sorted(ids))).splitlines():
        job, state, nodes = line.split("|", 2)
        word = state.split()[0] if state else ""  # "CANCELLED by 0"
        found.setdefault(job, []).append(Accounted(word, nodes))
    return found


def accounted_as(name: str) -> set[str]:
    """Base ids of the jobs that were ever submitted under this name in the last days."""
    text = _answer("sacct", "-X", "-n", "-P", "-o", "JobID", "--name", name, "-S", "now-7days")
    return {line.partition("_")[0] for line in text.splitlines() if line}


def cancel(ids: Sequence[str]) -> None:
    for begin in range(0, len(ids), IDS_A_CALL):
        _answer("scancel", *ids[begin : begin + IDS_A_CALL])


def cancel_named(name: str) -> None:
    _answer("scancel", "-u", str(os.getuid()), "--name", name)


def version() -> str:
    return _answer("sbatch", "--version").strip()


def _queued(*selection: str) -> dict[str, Queued]:
    found = {}
    for line in _answer("squeue", "-h", "-r", "-o", "%i|%T|%r", *selection).splitlines():
        job, state, reason = line.split("|", 2)
        found[job] = Queued(state, reason)
    return found


def _answer(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmSilentError(f"{command[0]}: {error}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise SlurmSilentError(f"{command[0]}: {said[-1] if said else f'exit code {done.returncode}'}")
    return done.stdout
