"""`slurm:` of a sweep file: what is asked of the cluster, whatever the trials."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from .section import Section

Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f]*$", max_length=1000)]


class SlurmSpec(Section):
    """What `sbatch` is asked for beside what the planner works out: its options, with their long names.

    `time` is in minutes. `setup` are shell lines run on the node before the training, such as module loads.
    """

    partition: Line | None = None
    qos: Line | None = None
    account: Line | None = None
    constraint: Line | None = None
    exclude: Line | None = None
    nodelist: Line | None = None
    gres: Line | None = None
    gpus_per_node: int | None = Field(default=None, ge=1)
    gpus_per_task: int | None = Field(default=None, ge=1)
    cpus_per_task: int | None = Field(default=None, ge=1)
    mem: Line | None = None
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
        return value
