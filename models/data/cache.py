"""The cache of tokenised text: each file is made by one process, whole or not at all; others wait for it."""

import fcntl
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

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
        if not path.exists():
            _write(path, documents(), dtype)
    return path


def _write(path: Path, documents: Iterable[Sequence[int]], dtype: TokenType) -> None:
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(scratch, "wb") as file:
            for tokens in documents:
                file.write(np.asarray(tokens, dtype).tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _try_lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return
