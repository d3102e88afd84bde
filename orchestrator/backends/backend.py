"""The one seam between the driver and whatever runs jobs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...models.recipe.fault import PREFLIGHT, Fault
from ..job.worker import Task
from ..planning.plan import Job
from ..record.attempt import End

TaskOf = Callable[[Job], Task]


class BackendError(Fault):
    """A backend that cannot be reached or will not take jobs; the message says what to do."""

    exit_code = PREFLIGHT


@dataclass(frozen=True, slots=True)
class Event:
    """News of a job: how far it is, how its attempt ended, or that it was `returned`, never begun."""

    job: str
    step: int = 0
    diverged: int = 0
    end: End | None = None
    returned: bool = False


class Backend(Protocol):
    """Runs jobs. Policy is the driver's: a backend never tries a job again by itself, but may go on with
    an attempt that its scheduler requeued."""

    def room(self) -> int:
        """How many jobs it takes now."""
        ...

    def submit(self, jobs: Sequence[Job]) -> list[str]:
        """Takes some or all of the jobs; returns the ids of those it took. Raises BackendError."""
        ...

    def poll(self, seconds: float) -> list[Event]:
        """What happened; waits so long at most for something to happen."""
        ...

    def in_flight(self) -> set[str]:
        """Jobs that it has, waiting or running; those of an earlier driver too, where they outlived it."""
        ...

    def running(self) -> set[str]:
        """Jobs whose process must be alive, so that a heartbeat that stands still means something."""
        ...

    def kill(self, job: str) -> None:
        """Ends a job's process; its end comes as an event."""
        ...

    def close(self, cancel: bool) -> set[str]:
        """Lets go; returns the jobs that this ended. With `cancel` those of a scheduler are ended too."""
        ...
