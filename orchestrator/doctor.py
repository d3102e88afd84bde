"""`doctor`: whether this machine and its clusters have what a sweep needs, before anything is spent."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from .device import cores

CLOCK_SECONDS = 5.0
FREE_GB = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `remedy` says what to do where it is not ok."""

    subject: str
    status: Literal["ok", "note", "fault"]
    found: str
    remedy: str = ""


def examine(place: Path, ray_address: str | None) -> Iterator[Finding]:
    """Looks at everything; `place` is where sweeps would be written."""
    yield _python()
    yield from _packages()
    yield _torch()
    yield _write(place)
    yield _clock(place)
    yield _disk(place)
    yield _ray(ray_address)
    yield from _slurm()


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
        place.mkdir(parents=True, exist_ok=True)
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


def _ray(address: str | None) -> Finding:
    joined = os.environ.get("RAY_ADDRESS")
    if address is None:
        told = (
            f"not asked; RAY_ADDRESS is {joined}"
            if joined
            else "not asked; give --ray-address to look at a cluster"
        )
        return Finding("ray cluster", "note", told)
    from .backends.backend import BackendError
    from .backends.ray import Cluster, shut_down

    try:
        cluster = Cluster(address)
    except BackendError as error:
        return Finding("ray cluster", "fault", str(error), "start it, or give its address as HOST:PORT")
    cpus, gpus = cluster.devices()
    found = f"{cluster.address}: {cluster.nodes()} nodes, {cpus} CPUs, {gpus} GPUs"
    shut_down()
    return Finding("ray cluster", "ok", found)


def _slurm() -> Iterator[Finding]:
    from .backends import slurm_commands as slurm

    missing = [
        name
        for name in ("sbatch", "squeue", "scancel", "scontrol", "sacct", "srun")
        if not shutil.which(name)
    ]
    if len(missing) == 6:
        yield Finding("slurm", "note", "no commands of it here", "sweeps run there from a login node")
        return
    if missing:
        yield Finding("slurm", "fault", f"no {', '.join(missing)}", "load the cluster's module")
        return
    try:
        limits = slurm.limits()
        yield Finding(
            "slurm", "ok", f"{slurm.version()}; arrays of {limits.array}, {limits.jobs} jobs in all"
        )
    except slurm.SlurmSilentError as error:
        if "configuration source" in str(error):  # its commands are here, but no cluster
            yield Finding("slurm", "note", str(error), "sweeps run there from a login node")
        else:
            yield Finding("slurm", "fault", str(error), "running jobs go on; look again when it answers")
        return
    try:
        slurm.accounting(["1"])
        yield Finding("slurm accounting", "ok", "sacct answers")
    except slurm.SlurmSilentError as error:
        remedy = "without it the reason of a job that vanished is not known, and it is tried again"
        yield Finding("slurm accounting", "note", str(error), remedy)
    yield from _limits()


def _limits() -> Iterator[Finding]:
    """Submit limits, where the accounting tells them; they are met by trying anyway."""
    command = ["sacctmgr", "-n", "-P", "show", "qos", "format=Name,MaxSubmitPU,MaxJobsPU"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return
    rows = [line.split("|") for line in done.stdout.splitlines()]
    told = [f"{name}: at most {submit} submitted" for name, submit, *_ in rows if submit]
    if told:
        yield Finding("slurm qos", "ok", "; ".join(told))
