"""The backends, by the names that `run --backend` takes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...models.recipe.fault import Fault
from .kind import BackendKind
from .local.declaration import LOCAL
from .ray.declaration import RAY
from .slurm.declaration import SLURM

if TYPE_CHECKING:
    from ..record.journal import Submission

BACKENDS: dict[str, BackendKind] = {
    "local": LOCAL,
    "ray": RAY,
    "slurm": SLURM,
}


def outlives(backend: str) -> bool:
    """Whether a backend's jobs go on when their driver ends. Raises Fault for one that is not known."""
    if backend not in BACKENDS:
        raise Fault(
            f"journal.jsonl: {backend!r} is no backend of this version; use the one that ran the sweep"
        )
    return BACKENDS[backend].outlives


def end_left(left: "Mapping[str, Submission]") -> None:
    """Ends the jobs that earlier drivers left behind. Raises BackendError where they cannot be ended."""
    names: dict[str, set[str]] = {}
    for submission in left.values():
        names.setdefault(submission.backend, set()).add(submission.name)
    for backend, submitted in names.items():
        BACKENDS[backend].end_named(submitted)
