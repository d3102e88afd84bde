"""The worker's side of its keeper (`keeper`), which runs the programs of its trials, one after another."""

import atexit
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

KEEPER = Path(__file__).with_name("keeper.py")
STANDARD_ERROR = 2


class Keeper:
    """A process that ends with this one, and then ends whatever the program has started."""

    def __init__(self) -> None:
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            words = [sys.executable, "-SEI", str(KEEPER), *(["detached"] if _detached else [])]
            self._process = subprocess.Popen(words, stdin=its.fileno(), start_new_session=True)
        self._alive = os.pidfd_open(int(self._socket.recv(64) or b"-1"))  # an OSError where it is gone

    def run(
        self, words: Sequence[str], directory: str, environment: Mapping[str, str], told_by: int, lock: int
    ) -> None:
        """Starts a program; its output goes to where this process's errors go. `told_by` is the signal that
        reaches it even from a scheduler, `lock` a file that stays open while anything of it lives."""
        asked = {
            "words": [*words], "directory": directory, "environment": dict(environment), "signal": told_by,
        }  # fmt: skip
        told = os.memfd_create("program")
        try:
            with open(told, "wb", closefd=False) as file:
                marshal.dump(asked, file)
            os.lseek(told, 0, os.SEEK_SET)
            socket.send_fds(self._socket, [b"run"], [told, STANDARD_ERROR, lock])
        finally:
            os.close(told)

    def is_over(self, seconds: float) -> bool:
        """Whether the program ends within so many seconds."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def ending(self) -> dict[str, Any]:
        """How the program ended, once it has: its exit `code`, or the `error` that kept it from starting."""
        said = self._socket.recv(1 << 16)
        return marshal.loads(said) if said else {"code": -signal.SIGKILL}

    def send(self, number: int) -> None:
        with suppress(OSError):  # it is gone
            self._socket.send(str(int(number)).encode())

    def close(self) -> None:
        """Ends the program, if one runs, and the keeper."""
        self._socket.close()
        select.select([self._alive], [], [])
        os.close(self._alive)
        self._process.wait()


_keeper: Keeper | None = None
_detached = False


def detach() -> None:
    """Keepers are no children of this process from now on, for whoever kills those before it ends."""
    global _detached
    _detached = True


def keeper() -> Keeper:
    """This process's own."""
    global _keeper
    if _keeper is None:
        _keeper = Keeper()
    return _keeper


@atexit.register
def dismiss() -> None:
    """Ends it and its program; the next one is new."""
    global _keeper
    if _keeper is not None:
        _keeper.close()
        _keeper = None
