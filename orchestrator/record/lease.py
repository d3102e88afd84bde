"""One driver per sweep: a numbered lease, made by link(2), with a heartbeat. The highest number owns.

An owner whose process has ended on this host is replaced at once. One on another host, or one that is
stopped, is replaced after 30 s in which its heartbeat stood still; it finds the higher number when it
wakes, and must stop its work. Heartbeats are counted, not dated, so clocks need not agree.
"""

import json
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ...models.files.place import claim, replace
from ...models.recipe.fault import OWNED, Fault
from .failpoint import failpoint
from .processes import Process, process_from, this_process

BEAT_SECONDS = 2.0
STALE_SECONDS = 30.0
LOOK_SECONDS = 0.25


class OwnedError(Fault):
    """Another driver is at work on the sweep; the message names it."""

    exit_code = OWNED


class LostLeaseError(Fault):
    """Another driver has taken the sweep over; the message names it."""

    exit_code = OWNED


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that was not given back. `process` is None where its record cannot be read."""

    number: int
    process: Process | None

    def __str__(self) -> str:
        return str(self.process or "another driver")


class Lease:
    """Held from `with` to its end. Raises OwnedError where another driver holds it."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._folder = directory, directory / "lease"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self.number = 0

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        before = _highest(self._folder)
        held = holder(self._directory)
        if held is not None and _lives(self._folder, held):
            raise OwnedError(
                f"{self._directory}: {held} is running this sweep; wait, or mutransfer cancel it"
            )
        self.number = before + 1
        if not claim(
            self._folder / f"{self.number}.json",
            json.dumps(asdict(this_process())).encode(),
            sync=False,
            before=lambda: failpoint("lease"),
        ):
            raise OwnedError(
                f"{self._directory}: another driver has just begun to run this sweep; wait, or mutransfer "
                "cancel it"
            )
        if _highest(self._folder) > self.number:  # others came and went while we watched
            raise OwnedError(f"{self._directory}: another driver was quicker; wait, or mutransfer cancel it")
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        """Gives it back. The number stays behind, so that the next one is higher."""
        self._stop.set()
        self._thread.join()  # no heartbeat is written once it is given back
        if not self._is_there():
            return
        (self._folder / f"{self.number}.done").touch()
        for path in self._folder.glob("[0-9]*"):
            if path.stem.isdigit() and int(path.stem) < self.number:
                path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raises LostLeaseError once another driver has taken over."""
        if _highest(self._folder) > self.number:
            new = holder(self._directory)
            raise LostLeaseError(
                f"{self._directory}: {new or 'another driver'} took this sweep over while this one stood "
                "still; its work is stopped"
            )
        if not self._is_there():
            raise LostLeaseError(
                f"{self._directory}: was moved or removed while this sweep ran; its work is stopped, and run "
                "goes on with --out and its new place"
            )

    def _is_there(self) -> bool:
        return (self._folder / f"{self.number}.json").exists()

    def _beat(self) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            with suppress(OSError):  # a full disk, which the sweep's own writes will tell of
                if self._is_there():
                    replace(self._folder / f"{self.number}.beat", str(count).encode(), sync=False)
            self._stop.wait(BEAT_SECONDS)


def holder(directory: Path) -> Held | None:
    """Who holds the sweep, dead or alive; None where the last lease was given back."""
    folder = directory / "lease"
    number = _highest(folder)
    if not number or (folder / f"{number}.done").exists():
        return None
    try:
        return Held(number, process_from(json.loads((folder / f"{number}.json").read_text())))
    except (OSError, ValueError, KeyError, TypeError):
        return Held(number, None)


def drives(directory: Path, held: Held) -> bool:
    """Whether it is a process of this machine that lives, or of another one, that was heard of lately: for
    people, not for decisions."""
    if held.process is not None and held.process.here:
        return held.process.alive
    return _silence(directory, held) < 2 * STALE_SECONDS


def _silence(directory: Path, held: Held) -> float:
    """Seconds since the holder's last heartbeat, by the file's time."""
    try:
        return time.time() - (directory / "lease" / f"{held.number}.beat").stat().st_mtime
    except OSError:
        return 0.0


def _lives(folder: Path, held: Held) -> bool:
    """Whether the holder still drives: its heartbeat moves while we look."""
    if held.process is not None and held.process.here and not held.process.alive:
        return False
    first, begin = _read(folder / f"{held.number}.beat"), time.monotonic()
    while time.monotonic() - begin < STALE_SECONDS:
        time.sleep(LOOK_SECONDS)
        if _highest(folder) > held.number or (folder / f"{held.number}.done").exists():
            return False  # the link decides who is next
        if _read(folder / f"{held.number}.beat") != first:
            return True
    return False


def _highest(folder: Path) -> int:
    return max((int(path.stem) for path in folder.glob("[0-9]*.json") if path.stem.isdigit()), default=0)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
