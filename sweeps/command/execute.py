"""Running the user's command: a keeper between it and us, its signals and time limit, and how it ended."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from ...models.handover.trial import VARIABLE
from ..program import OUT_OF_MEMORY, ProgramFailed
from ..proxy import TRAINING
from .given import Given, size_of_output
from .keeping import dismiss, keeper
from .loss import NoLossError, Written, final_loss
from .words import filled

LOOK_SECONDS, GONE_SECONDS = 0.5, 30.0
OURS_ALONE = (
    "PYTHONSAFEPATH", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", TRAINING,
    "SPT_NOENV", "RAY_JOB_ID", "RAY_RAYLET_PID", "RAY_CLIENT_MODE", "RAY_AUTH_MODE",
    "RAY_LD_PRELOAD_ON_WORKERS",
)  # fmt: skip
"""Variables of our worker process, or of Ray's, that are nothing to the program."""
NO_MEMORY = (*OUT_OF_MEMORY, "outofmemoryerror", "oom_kill", "oom-kill")
TAIL_BYTES = 1 << 16
KILLED = 128 + signal.SIGKILL
"""What a shell says of a child that was killed, as the kernel does for want of memory."""


@dataclass
class Execution:
    """One run of the command. `loss` has it run, and raises ProgramFailed for an end that is no success."""

    given: Given
    begin: float = field(default_factory=time.monotonic)
    _runs: bool = False
    _told_to_leave: bool = False

    def loss(self) -> float:
        own = [filled(word, self.given.placeholders()) for word in self.given.definition["command"]]
        words = [*self.given.setup.launcher, *own]
        self.given.tell()
        print("runs", json.dumps(words), flush=True)
        begun = size_of_output()
        rule = self.given.rule()
        told_in = rule.get("file") or rule.get("csv")
        written = Written(self.given.files / told_in if told_in else self.given.metrics)
        self._judge(self._watched(words), begun)
        try:
            return final_loss(rule, _output(begun), written)
        except NoLossError as error:
            raise ProgramFailed("no-result", f"the program ended well, but {error}") from None

    def pre_empt(self) -> None:
        """The place is wanted: tells the program, and waits until it ends or its grace is over."""
        self._told_to_leave = True
        self.given.stop.touch()
        if self._runs:
            keeper().send(self._signal)
            keeper().is_over(self.given.definition["preempt"]["grace"])
        self.given.look(last=True)  # what it saved is progress

    @property
    def _signal(self) -> int:
        """By which the program is told that it has to leave."""
        return int(getattr(signal, self.given.definition["preempt"]["signal"]))

    def _watched(self, words: list[str]) -> dict[str, Any]:
        """What the keeper says of the end."""
        definition = self.given.definition
        environment = {name: value for name, value in os.environ.items() if name not in OURS_ALONE}
        if environment.get("PYTHONBREAKPOINT", "").startswith("ray."):
            del environment["PYTHONBREAKPOINT"]
        if self.given.setup.visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.given.setup.visible
        environment |= {**definition["environment"], VARIABLE: str(self.given.told_in)}
        lock = self._alone()
        asked = (words, definition["directory"], environment, self._signal, lock)
        try:
            keeper().run(*asked)
        except OSError:  # the last one was killed
            dismiss()
            keeper().run(*asked)
        finally:
            os.close(lock)
        self._runs = True
        try:
            timed_out = self._waited()
            ending = keeper().ending()
        except BaseException:
            dismiss()
            raise
        finally:
            self._runs = False
            self.given.look(last=True)
        return {**ending, "timed_out": timed_out}

    def _waited(self) -> bool:
        """Until the program is over; whether it took longer than it may: then it is told, and killed after
        its grace."""
        limit, grace = self.given.definition.get("timeout"), self.given.definition["preempt"]["grace"]
        timed_out = False
        while not keeper().is_over(LOOK_SECONDS):
            self.given.look()
            taken = time.monotonic() - self.begin
            if limit is not None and taken > limit and not timed_out:
                keeper().send(self._signal)
                timed_out = True
            elif limit is not None and taken > limit + grace:
                keeper().send(signal.SIGKILL)
        return timed_out

    def _alone(self) -> int:
        """A lock on the trial, which its keeper holds while anything of the program lives: if a worker died
        before its program, the next attempt waits for that."""
        lock = os.open(self.given.setup.folder / "lock", os.O_RDWR | os.O_CREAT)
        deadline = time.monotonic() + GONE_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ProgramFailed(
                        "killed", "the program of an earlier attempt is still there"
                    ) from None
                time.sleep(0.02)
            except OSError:
                return lock  # a file system without locks

    def _judge(self, ending: dict[str, Any], begun: int) -> None:
        """Raises ProgramFailed for an end that is no success."""
        code: int = ending.get("code", 1)
        if code == 0 and not ending["timed_out"] and not self._told_to_leave:
            return
        if "error" in ending:
            raise ProgramFailed("error", f"the program cannot be started ({ending['error']})")
        if ending["timed_out"]:
            raise ProgramFailed(
                "error", f"the program took longer than its timeout, {self.given.definition['timeout']:g} s"
            )
        if self._told_to_leave:  # whatever it says of its loss: it may have left in the middle
            raise ProgramFailed("pre-empted", "the program ended when its place was wanted")
        tail = _tail(begun).lower()
        if code == KILLED or any(words in tail for words in NO_MEMORY):
            raise ProgramFailed("out-of-memory", f"the program exited with code {code}, for want of memory")
        if code < 0:
            raise ProgramFailed("killed", f"the program was killed by signal {-code}")
        raise ProgramFailed("error", f"the program exited with code {code}")


def _log() -> IO[bytes]:
    return open("/proc/self/fd/2", "rb")


def _output(begin: int) -> Iterator[str]:
    with _log() as file:
        file.seek(begin)
        for line in file:
            yield line.decode(errors="replace")


def _tail(begin: int) -> str:
    with _log() as file:
        file.seek(max(begin, size_of_output() - TAIL_BYTES))
        return file.read(TAIL_BYTES).decode(errors="replace")
