"""The cache of tokenised text: each file is made by one process, whole or not at all; others wait for it."""

import fcntl
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from ..files.place import beside, sync_file
from .token_file import TokenType

FOLDER = "MUTRANSFER_CACHE"


def cache_folder() -> Path:
    """$MUTRANSFER_CACHE, or mutransfer's folder among the user's caches."""
    if named := os.environ.get(FOLDER):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mutransfer"


def tokenised(name: str, documents: Callable[[], Iterable[Sequence[int]]], dtype: TokenType) -> Path:
    """The cached file of this name, made from the documents' tokens if it is not there."""
    folder = cache_folder()
    path = folder / name
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.lock", "w") as lock:
        # Where a file system has no locks, several make the file; the last one in place is as good as any.
        _try_lock(lock.fileno())
        put_in_place(path, lambda scratch: _write(scratch, documents(), dtype))
    return path


def put_in_place(path: Path, make: Callable[[Path], object]) -> None:
    """Has a file made beside its place and moves it there, whole or not at all; one that is there stays."""
    if path.exists():
        return
    with beside(path) as scratch:
        make(scratch)
        sync_file(scratch)
        os.replace(scratch, path)


def _write(scratch: Path, documents: Iterable[Sequence[int]], dtype: TokenType) -> None:
    with open(scratch, "wb") as file:
        for tokens in documents:
            file.write(np.asarray(tokens, dtype).tobytes())


def _try_lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return
