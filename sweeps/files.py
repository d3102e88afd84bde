"""The files that somebody's code is known by: found by patterns in its directory, each with a digest."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..models.recipe.own_name import digest_of
from .problem import Problem

SWEEP_RECORD = "sweep.json"
"""What every sweep directory has."""


def identity_problems(section: str, directory: str, patterns: Sequence[str]) -> Iterator[Problem]:
    """Patterns of a section's `identity` that give no files to know the code by."""
    for index, pattern in enumerate(patterns):
        if why := _unread(directory, pattern):
            yield Problem((section, "identity", index), why)


def digests(directory: str, patterns: Sequence[str]) -> dict[str, str]:
    """The sha256 of each file, by its path in the directory."""
    files = {path for pattern in patterns for path in _matching(directory, pattern)}
    return {os.path.relpath(path, directory): digest_of(path) for path in sorted(files)}


def _unread(directory: str, pattern: str) -> str | None:
    """Why a pattern gives no files to know the program by, if so."""
    found = _matching(directory, pattern)
    if not found:
        return f"{pattern} matches no file in {directory}"
    for path in found:
        try:
            with path.open("rb") as file:
                file.read(1)
        except OSError as error:
            return f"{path} cannot be read ({error.strerror or error}); mend it, or match less"
    return None


def _matching(directory: str, pattern: str) -> list[Path]:
    """Its files, but for those of sweeps in the directory and what Python makes of its own accord."""
    found = glob.iglob(os.path.join(glob.escape(directory), pattern), recursive=True)
    top = Path(directory)
    folders = {Path(path): [one for one in Path(path).parents if top in one.parents]
               for path in found if os.path.isfile(path)}  # fmt: skip
    made = {folder: _is_made(folder) for folder in {one for above in folders.values() for one in above}}
    return sorted(file for file, above in folders.items() if not any(made[one] for one in above))


def _is_made(folder: Path) -> bool:
    return folder.name == "__pycache__" or (folder / SWEEP_RECORD).is_file()
