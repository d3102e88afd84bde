"""One driver per sweep: a lock on the directory that its owner's death releases."""

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class OwnedError(Exception):
    """Another driver is at work on the sweep; the message names it."""


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Holds the sweep for this process. Raises OwnedError at once when another one holds it.

    The lock is the kernel's (flock), so it ends with its process, however that dies. Across hosts it
    is as good as the file system's locks; results stay safe there too, since the first one published wins.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".owner.json", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OwnedError(
                f"{directory}: {_owner(directory)} is training this sweep; wait or stop it"
            ) from None
        file.truncate(0)
        file.write(json.dumps({"host": platform.node(), "pid": os.getpid()}))
        file.flush()
        yield


def _owner(directory: Path) -> str:
    try:
        record = json.loads((directory / ".owner.json").read_text(encoding="utf-8"))
        return f"process {record['pid']} on {record['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it has only just begun
