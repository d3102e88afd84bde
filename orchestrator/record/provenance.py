"""Where a run came from: versions, host, device and command. Never the environment or its secrets."""

import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ..planning.plan import Device

PACKAGES = ("mutransfer", "torch", "numpy", "pyarrow", "pandas", "ray", "submitit")


def invocation(device: Device, backend: str) -> dict[str, Any]:
    """One entry of provenance.json."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "host": platform.node(),
        **environment(),
        "git": _git_state(),
        "backend": backend,
        "device": device.kind,
        "devices": device.count,
    }


@cache
def environment() -> dict[str, Any]:
    """What a process runs on, for an attempt's record too."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit of the folder the command was run in, and whether it had changes."""
    commit = _git("rev-parse", "HEAD")
    return None if commit is None else {"commit": commit, "changed": bool(_git("status", "--porcelain"))}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
