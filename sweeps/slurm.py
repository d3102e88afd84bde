"""`slurm:` of a sweep file: what is asked of the cluster, whatever the trials."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from .section import Section

Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f]*$", max_length=1000)]
MEMORY = {"mem", "mem_per_cpu", "mem_per_gpu"}
COUNTS_OF_TASKS = {"nodes", "ntasks", "ntasks_per_node", "tasks_per_node"}
_GPU = re.compile(r"\s*(gres/)?gpu([:=]|\s*$)")


class SlurmSpec(Section):
    """What `sbatch` is asked for beside what the planner works out: its options, with their long names.

    `time` is in minutes. `setup` are shell lines run on the node before the training, such as module loads.
    `nodes` and `ntasks_per_node` are those of one trial: its program is started as so many tasks.
    """

    partition: Line | None = None
    qos: Line | None = None
    account: Line | None = None
    constraint: Line | None = None
    exclude: Line | None = None
    nodelist: Line | None = None
    nodes: int | None = Field(default=None, ge=1)
    ntasks_per_node: int | None = Field(default=None, ge=1)
    gres: Line | None = None
    gpus_per_node: int | None = Field(default=None, ge=1)
    gpus_per_task: int | None = Field(default=None, ge=1)
    cpus_per_task: int | None = Field(default=None, ge=1)
    mem: Line | None = None
    mem_per_cpu: Line | None = None
    mem_per_gpu: Line | None = None
    time: int | None = Field(default=None, ge=1)
    exclusive: bool | None = None
    comment: Line | None = None
    wckey: Line | None = None
    mail_type: Line | None = None
    mail_user: Line | None = None
    setup: list[str] | None = None
    srun_args: list[Line] | None = None
    additional_parameters: dict[Line, Line | int | bool] | None = None

    @field_validator("additional_parameters")
    @classmethod
    def _leave_the_name(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value and {"job_name", "job-name", "array"} & {*value}:
            raise ValueError("job_name and array are ours: jobs are found by them")
        if counts := {name.replace("-", "_") for name in value or ()} & COUNTS_OF_TASKS:
            told = " and ".join(sorted(counts))
            raise ValueError(f"{told}: say it as slurm: {{nodes: 2, ntasks_per_node: 4}}")
        return value

    @model_validator(mode="after")
    def _one_memory(self) -> Self:
        """`sbatch` knows them as one choice."""
        several = sorted(MEMORY & {*named_options(self.model_dump(exclude_none=True))})
        if len(several) > 1:
            raise ValueError(f"{' and '.join(several)}: Slurm takes one of them; keep one")
        return self


def named_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of `sbatch`, further ones among them, with underscores."""
    every = {**options, **(options.get("additional_parameters") or {})}
    return {name.replace("-", "_"): value for name, value in every.items()}


def asks_gpus(options: Mapping[str, Any]) -> bool:
    """Whether a job of these options holds GPUs; generic resources are not always some."""
    named = named_options(options)
    if any(named.get(name) for name in ("gpus", "gpus_per_node", "gpus_per_task", "gpus_per_socket")):
        return True
    resources = [str(named[name]) for name in ("gres", "tres_per_node", "tres_per_task") if named.get(name)]
    return any(_GPU.match(part) for one in resources for part in one.split(","))
