"""How a sweep is run, as recorded in its directory, so that `retry` can run it the same way again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, get_args

from ...models.training.execution import Execution
from ..backends.registry import BACKENDS
from ..planning.device import Choice
from ..record.directory import DirectoryError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What `run` takes beside the sweep file."""

    backend: str = "local"
    device: Choice = "auto"
    max_concurrent: int | None = None
    jobs_per_gpu: int = 1
    gpus_per_job: int = 1
    gpu_memory_gb: float | None = None
    ray_address: str = "local"
    fail_fast: bool = False
    checkpoint_seconds: float = 60.0
    hang_seconds: float = 1800.0
    keep: bool = False
    keep_weights: bool = False
    execution: Execution = "auto"

    def record(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def recorded(cls, record: Mapping[str, Any] | None) -> Self:
        """Those of the last run; names that this version does not know are left out.

        Raises DirectoryError for values that no run has recorded.
        """
        known = {field.name for field in fields(cls)}
        options = cls(**{name: value for name, value in (record or {}).items() if name in known})
        known_ways = get_args(Choice), get_args(Execution)
        if options.backend not in tuple(BACKENDS) or any(
            value not in ways
            for value, ways in zip((options.device, options.execution), known_ways, strict=True)
        ):
            raise DirectoryError(
                "options.json: names no backend, device or execution of this version; use run instead"
            )
        return options
