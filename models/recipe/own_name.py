"""Names in somebody's modules, `package.module:name`, and the files that they are in."""

import hashlib
import re
from pathlib import Path

OWN_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def digest_of(path: Path) -> str:
    """16 hex digits of the sha256 of what is in a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def file_of(module: str, directory: str) -> str | None:
    """The file of a module of a directory, by its path in it; None for one that is not there."""
    path = Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if Path(directory, candidate).is_file():
            return str(candidate)
    return None
