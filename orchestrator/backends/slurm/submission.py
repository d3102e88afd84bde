"""Asking Slurm for jobs, through submitit: what each asks for, and what the answer means."""

import io
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.helpers import clean_env
from submitit.slurm.slurm import _make_sbatch_string

from ....sweeps.slurm import MEMORY, asks_gpus, named_options
from ...planning.plan import Job
from ..backend import BackendError
from .task import SlurmTask

SHORTEST_MINUTES = 30
"""Slurm's signal of a pre-emption within the last minutes of a job's limit cannot be told from that of its
time-out, so no limit is so short that a proxy's whole training lies there."""

ALLOWANCE = 1.5
"""Time and memory asked for are so many times the estimate, which is rough."""

HOST_GB, GPU_HOST_GB = 1.0, 8.0
"""What a process needs in host memory beside its trials, without and with CUDA."""

AS_TASK = 'trap "" TERM USR2; export MUTRANSFER_RANK=$SLURM_PROCID; exec "$@"'
"""Slurm sends its signals to every task, but what a program is told of them comes from our worker."""

_VARIABLES = {"TIME": "TIMELIMIT", "MEM": "MEM_PER_NODE"}
"""Options whose variable has another name."""
_OURS = {"ARRAY_INX", "JOB_NAME", "OPEN_MODE", "OUTPUT", "ERROR", "REQUEUE", "NO_REQUEUE", "SIGNAL", "WAIT"}
"""What jobs are found and followed by, or that we decide ourselves."""

_FULL = re.compile(r"SubmitJob|job submit limit|temporarily unable|Resource temporarily unavailable")
_UNCLEAR = re.compile(r"[Uu]nable to contact|timed out|[Cc]onnection|Zero Bytes|[Cc]ommunication|socket")


class FullError(Exception):
    """Slurm takes no more jobs of this user for now; nothing was submitted."""


class UnclearError(Exception):
    """The answer was lost: nobody knows whether Slurm has the jobs."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one job asks for. `exclude`: the node that failed under it last."""

    minutes: int
    memory_gb: int
    gpus: int
    exclude: str = ""
    cpus: int = 1


def resources_of(job: Job, gpus: float, longer: int, larger: int, exclude: str) -> Resources:
    """From the shape and the estimate, in powers of two, so that similar jobs share an array.

    `longer` and `larger` count the job's time-outs and wants of memory: each doubles what it asks for.
    """
    needed = max(SHORTEST_MINUTES, ALLOWANCE * job.seconds / 60 + 10) * 2**longer
    minutes = SHORTEST_MINUTES * 2 ** math.ceil(math.log2(needed / SHORTEST_MINUTES))
    held = job.trials[0].program.memory_bytes(len(job.trials)) / 2**30
    # A program says itself what it needs beside its GPUs; of ours there is a process for each.
    cpus = max(1, math.ceil(gpus)) if job.trials[0].program.gpus is None else 1
    memory = GPU_HOST_GB * cpus if gpus else HOST_GB + ALLOWANCE * held
    return Resources(minutes, 2 ** (math.ceil(math.log2(memory)) + larger), math.ceil(gpus), exclude, cpus)


def parameters_of(name: str, resources: Resources, options: Mapping[str, Any], most: int) -> dict[str, Any]:
    """submitit's parameters; the sweep file's options win, and `most` tasks of an array run at once."""
    named = {*named_options(options)}
    asked: dict[str, Any] = {
        "time": resources.minutes,
        "cpus_per_task": resources.cpus,
        "array_parallelism": most,
        "wckey": None,  # which submitit would make one of its own
        **options,
    }
    if not MEMORY & named:  # Slurm takes one of the three
        asked["mem"] = f"{resources.memory_gb}GB"
    if resources.gpus and not asks_gpus(options):
        asked["gpus_per_node"] = math.ceil(resources.gpus / (asked.get("nodes") or 1))
    if launcher_of(options):
        asked["srun_args"] = ["--nodes=1", "--ntasks=1", "--overlap"]
    if resources.exclude:
        asked["exclude"] = ",".join(filter(None, [asked.get("exclude"), resources.exclude]))
    asked["setup"] = [
        "export PYTHONSAFEPATH=1",  # the folder of the job may hold a queue.py of its own
        f"export OMP_NUM_THREADS={asked['cpus_per_task']}",
        *asked.get("setup", []),
    ]
    return {**asked, "job_name": name}


def launcher_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The words that start a program as all tasks of its job; none where it has one.

    Our worker is a step of one task beside them, and lends them all that the job holds.
    """
    nodes, each = options.get("nodes") or 1, options.get("ntasks_per_node") or 1
    if nodes * each == 1:
        return ()
    return (
        "srun", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes * each}", f"--ntasks-per-node={each}",
        f"--cpus-per-task={options.get('cpus_per_task') or 1}", "--kill-on-bad-exit=1",
        *(options.get("srun_args") or ()), "sh", "-c", AS_TASK, "sh",
    )  # fmt: skip


def submission_text(parameters: Mapping[str, Any]) -> str:
    """What sbatch is given for one job."""
    return str(_make_sbatch_string(command="COMMAND", folder="FOLDER", **parameters))


def submit_array(folder: Path, tasks: Sequence[SlurmTask], parameters: Mapping[str, Any]) -> str:
    """Slurm's id of the array, or of the job where there is one task.

    Raises FullError, UnclearError, and BackendError for what Slurm refuses for good.
    """
    try:
        with _own_environment(parameters):
            # Our own policy decides how often a job may run out of time, so submitit's never does.
            executor = SlurmExecutor(folder, max_num_timeout=1_000_000)
            executor.update_parameters(**parameters)
            jobs = executor.submit_array(tasks)
    except FailedSubmissionError as error:  # sbatch answered, with what submitit cannot read
        raise UnclearError(str(error)) from None
    except (FailedJobError, OSError) as error:
        said = str(error)
        if _UNCLEAR.search(said):
            raise UnclearError(said) from None
        if _FULL.search(said):
            raise FullError(said) from None
        lines = [line for line in said.splitlines() if "sbatch: error" in line] or said.splitlines()[-1:]
        raise BackendError(f"Slurm refused a job: {' '.join(lines)}; see slurm: in the sweep file") from None
    return str(jobs[0].job_id).partition("_")[0]


@contextmanager
def _own_environment(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Without the variables of a Slurm job that the driver itself may run in, and with what the user or the
    site says to sbatch by variables, but for what the job is asked for with."""
    kept = {name: value for name, value in os.environ.items() if name == "SLURM_CONF"}
    if "SLURM_JOB_ID" not in os.environ:
        kept |= site_variables(parameters)
    # sbatch's words come back in its exception; submitit repeats them on stderr.
    with clean_env(), redirect_stderr(io.StringIO()):
        os.environ.update(kept)
        try:
            yield
        finally:
            for name in kept:
                os.environ.pop(name, None)


def site_variables(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The variables of sbatch that do not say what the job's own lines say: they would win over these."""
    said = {name.upper() for name, value in named_options(parameters).items() if value is not None}
    said |= {_VARIABLES[name] for name in said & {*_VARIABLES}} | _OURS
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("SBATCH_") and name.removeprefix("SBATCH_") not in said
    }
