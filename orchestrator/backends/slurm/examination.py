"""What `doctor` finds of Slurm: its commands, its limits, its accounting."""

import shutil
import subprocess
from collections.abc import Iterator

from ...upkeep.finding import Finding
from . import commands as slurm


def examine() -> Iterator[Finding]:
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
