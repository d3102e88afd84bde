"""`gc`: what a sweep directory no longer needs. Results are gathered into fewer files, logs left alone."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...results.store.compaction import Compacted, compact
from ...results.store.store import published_jobs
from ..backends.registry import BACKENDS
from ..record.directory import SweepDirectory
from ..record.journal import read_journal, replay
from ..record.lease import Lease, OwnedError

SCRATCH = re.compile(r"\.(.+\.)?[0-9a-f]{32}|\..+\.[0-9a-z_]{8}")
"""What writers call a file before it has its place; a user's own hidden files are not ours to remove."""


@dataclass(frozen=True, slots=True)
class Collected:
    """Files that were, or would be, removed, and files that were gathered into one."""

    paths: tuple[Path, ...]
    bytes: int
    compacted: tuple[Compacted, ...] = ()


def collect(directory: SweepDirectory, dry_run: bool) -> Collected:
    """Removes checkpoints of finished and split jobs, scratch files and submission files of finished jobs;
    gathers the result files of many jobs.

    Raises OwnedError while a driver is at work, DirectoryError for no sweep.
    """
    directory.must_exist()
    with Lease(directory.path):
        if left := replay(read_journal(directory.journal)).left():
            told = BACKENDS[next(iter(left.values())).backend].told
            raise OwnedError(
                f"{directory.path}: {told} still has jobs of this sweep; run it to its end, or cancel it"
            )
        paths = tuple(sorted(path for path in _superfluous(directory) if path.exists()))
        size = sum(map(_size, paths))
        compacted: list[Compacted] = []
        if not dry_run:
            compacted = compact(directory.path)
            for path in paths:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            for folder in {path.parent for path in paths}:
                if folder.name == "checkpoints" and not any(folder.iterdir()):
                    folder.rmdir()
    return Collected(paths, size, tuple(compacted))


def _size(path: Path) -> int:
    """With what is in it, where it is the folder of a program's own checkpoints."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    return sum(one.lstat().st_size for one in (path, *inside) if one.is_symlink() or one.is_file())


def _superfluous(directory: SweepDirectory) -> Iterator[Path]:
    done = published_jobs(directory.path)
    jobs = directory.path / "jobs"
    for folder in jobs.iterdir() if jobs.is_dir() else ():
        if folder.name in done or directory.superseded(folder.name):
            yield from (folder / "checkpoints").glob("*")
    # A killed writer leaves what it was writing, under a hidden name; files moved aside are kept.
    for scratch in directory.path.rglob(".*"):
        ours = scratch.parent.name == "lease"  # our own heartbeat
        if scratch.is_file() and not ours and SCRATCH.fullmatch(scratch.name):
            yield scratch
    if directory.planned().keys() <= done:
        for kind in BACKENDS.values():
            if kind.leftovers is not None:
                yield from directory.path.glob(kind.leftovers)
