"""Putting a file in its place: written beside it under a hidden name, synced, then moved or linked there.

Readers see what was there before or the whole file, never a part; of several writers of one name, the last
replaces and the first claims.
"""

import errno
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says where a file cannot grow: the disk, a quota, or the limit of a file's size."""
SCRATCH = re.compile(r"^\..*\.[0-9a-f]{32}$")


def meant(path: Path) -> Path:
    """The folder, where a path is a hidden name that something was to be written under."""
    return path.parent if SCRATCH.match(path.name) else path


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A hidden name beside a place, for what will be moved there; what is left under it is removed.

    An error of a file that cannot grow names none: it is of this one.
    """
    if not path.parent.is_dir():  # ten times quicker than making one that is there
        path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield scratch
    except OSError as error:
        if error.filename is None and error.errno in DISK_FULL:
            error.filename = str(path)
        raise
    finally:
        scratch.unlink(missing_ok=True)


def replace(path: Path, content: bytes, sync: bool = True, before: Callable[[], None] = lambda: None) -> None:
    """Puts the content there, whatever was there. `before` is called when all but the move is done.

    Without `sync` a crash of the machine, not of the process, may leave an empty file: for what is
    written again anyway.
    """
    with beside(path) as scratch:
        _write(scratch, content, sync)
        before()
        os.replace(scratch, path)


def claim(path: Path, content: bytes, sync: bool = True, before: Callable[[], None] = lambda: None) -> bool:
    """Puts the content there unless the name is taken; whether it was free. By link(2), which fails where a
    name exists: one of several writers wins."""
    with beside(path) as scratch:
        _write(scratch, content, sync)
        before()
        try:
            os.link(scratch, path)
        except FileExistsError:
            return False
        if sync:
            sync_folder(path.parent)
        return True


def sync_file(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(scratch: Path, content: bytes, sync: bool) -> None:
    with open(scratch, "wb") as file:
        file.write(content)
        if sync:
            file.flush()
            os.fsync(file.fileno())
