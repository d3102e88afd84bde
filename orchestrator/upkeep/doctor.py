"""`doctor`: whether this machine and its clusters have what a sweep needs, before anything is spent."""

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

from ..backends.registry import BACKENDS
from ..planning.device import cores
from .finding import Finding

CLOCK_SECONDS = 5.0
FREE_GB = 1.0


def examine(place: Path, ray_address: str | None) -> Iterator[Finding]:
    """Looks at everything; `place` is where sweeps would be written, or made to be written."""
    yield _python()
    yield from _packages()
    yield _torch()
    place = next((one for one in (place, *place.absolute().parents) if os.path.exists(one)), place)
    yield _write(place)
    yield _clock(place)
    yield _disk(place)
    for kind in BACKENDS.values():
        yield from kind.examine(ray_address)


def _python() -> Finding:
    version = (
        f"Python {platform.python_version()} at {sys.executable}, {cores()} cores, {platform.platform()}"
    )
    return Finding("python", "ok", version)


def _packages() -> Iterator[Finding]:
    for name in ("mutransfer", "torch", "pyarrow", "ray", "submitit"):
        try:
            yield Finding(name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            if importlib.util.find_spec(name) is not None:
                yield Finding(
                    name, "note", "found, but not installed", "workers on other machines need it too"
                )
            else:
                yield Finding(name, "fault", "not installed", f"pip install {name}")


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("devices", "fault", f"torch cannot be loaded: {error}", "install it again")
    if not torch.cuda.is_available():
        return Finding("devices", "note", "torch sees no GPU", "jobs here train on the CPU")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    free = [torch.cuda.mem_get_info(index)[0] / 2**30 for index in range(len(names))]
    told = ", ".join(f"{name} ({gb:.0f} GiB free)" for name, gb in zip(names, free, strict=True))
    return Finding("devices", "ok", told)


def _write(place: Path) -> Finding:
    """Whether a sweep's way of publishing works there: a synced file, put in place by link(2)."""
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=place) as folder:
            first, second = Path(folder, "a"), Path(folder, "b")
            with open(first, "w") as file:
                file.write("x")
                file.flush()
                os.fsync(file.fileno())
            os.link(first, second)
    except OSError as error:
        return Finding("writing", "fault", f"{place}: {error.strerror}", "choose another place for sweeps")
    return Finding("writing", "ok", f"{place}: files and hard links")


def _clock(place: Path) -> Finding:
    """The clock of this machine against that of the file system's."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".doctor-", dir=place) as file:
            skew = abs(os.stat(file.name).st_mtime - time.time())
    except OSError as error:
        return Finding("clock", "fault", f"{place}: {error.strerror}", "choose another place for sweeps")
    if skew > CLOCK_SECONDS:
        found = f"{skew:.0f} s apart from the file server's"
        return Finding("clock", "note", found, "times in logs will not agree; nothing else depends on them")
    return Finding("clock", "ok", f"within {CLOCK_SECONDS:.0f} s of the file system's")


def _disk(place: Path) -> Finding:
    try:
        usage = shutil.disk_usage(place)
    except OSError as error:
        return Finding("disk", "fault", f"{place}: {error.strerror}", "choose another place for sweeps")
    free = usage.free / 2**30
    status: Literal["ok", "fault"] = "ok" if free >= FREE_GB else "fault"
    return Finding(
        "disk", status, f"{free:,.1f} GiB free at {place}", "" if status == "ok" else "free some space"
    )
