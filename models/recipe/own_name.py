"""Names in somebody's modules, `package.module:name`."""

import re
from pathlib import Path

OWN_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def file_of(module: str, directory: str) -> str | None:
    """The file of a module of a directory, by its path in it; None for one that is not there."""
    path = Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if Path(directory, candidate).is_file():
            return str(candidate)
    return None
