"""Files that a command writes where its user says: never over what it reads, nor over a sweep's records."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from ...models.files.place import replace
from ...models.recipe.fault import Fault

RECORDS = {
    "sweep.json", "sweep.yaml", "plan.json", "data.json", "options.json", "provenance.json", "journal.jsonl",
    "lease", "cancel", "driver.log", "workers.log",
    "results", "curves", "jobs", "ended", "data", "weights",
}  # fmt: skip
"""What is the sweep's own in its directory."""


def typed(path: Path) -> str:
    """As it is typed into a shell, where it is no option either."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def check_place(path: Path) -> None:
    """Raises Fault for a place among a sweep's records, or one that nothing can be written to."""
    place = path.resolve()
    for folder in place.parents:
        is_sweep = (folder / "sweep.json").exists() and (folder / "sweep.yaml").exists()
        if is_sweep and place.relative_to(folder).parts[0] in RECORDS:
            raise Fault(f"{path}: is among the records of the sweep {folder.name}; give another place")
    if place.exists() and not place.is_file() and not place.is_dir():
        return  # such as a pipe
    within = place if place.is_dir() else place.parent
    folder = next(one for one in (within, *within.parents) if one.exists())
    if not folder.is_dir():
        raise Fault(f"{path}: cannot be written ({folder} is no folder); give another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Fault(f"{path}: cannot be written (no permission to write to {folder}); give another place")


def check_output(path: Path, read: Sequence[Path]) -> None:
    """Raises Fault for a file that is read, or a place that no file can be written to."""
    place = path.resolve()
    if any(place == one.resolve() for one in read):
        raise Fault(f"{path}: is what is read; give another name")
    if place.is_dir():
        raise Fault(f"{path}: is a folder; give the name of a file")
    check_place(path)


def write_output(path: Path, content: bytes, read: Sequence[Path]) -> None:
    """Puts the content there whole; into what is no file, such as a pipe, it is written. Raises Fault."""
    check_output(path, read)
    if path.exists() and not path.is_file():
        path.write_bytes(content)
    else:
        replace(path.resolve(), content)


def write_to_edit(path: Path, content: bytes, read: Sequence[Path]) -> None:
    """The same of what its user goes on with, sweep files and tables to fill in: never over another one."""
    if path.is_file() and path.read_bytes() != content:
        raise Fault(f"{path}: exists already; give another name")
    write_output(path, content, read)
