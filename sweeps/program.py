"""What a trial runs, as sweeps, planner, driver and store see it: a program at a point of named coordinates.

Our proxies are one kind (`proxy`); a new kind is a class like this and a line in `registry`.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from ..models.data.batches import Source
from ..models.training.execution import Execution
from ..models.training.outcome import Outcome, Progress
from ..models.training.pruning import Pruning
from .card import Card

Point = Mapping[str, Any]
"""Coordinates by name: texts, numbers, truths or None."""
DeviceKind = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a training is made of: parameters of its model, tokens that it trains on, operations."""

    parameters: int
    tokens: int
    flops: float


class Program(Protocol):
    """One training. Programs of one kind with equal `group_key` can be one job."""

    @property
    def kind(self) -> str:
        """Its name in the registry."""
        ...

    def point(self) -> dict[str, Any]:
        """All coordinates: what the store keeps of it."""
        ...

    @property
    def definition(self) -> Mapping[str, Any]:
        """What it shares with all programs of its sweep, as plain values: with a point enough to make one."""
        ...

    def at(self, changes: Point) -> Self:
        """The same at another point. Raises ValueError, naming the coordinate, for one that is impossible."""
        ...

    def identity(self) -> Point:
        """What decides its result: equal exactly for equal trainings."""
        ...

    def group_key(self) -> Hashable: ...

    @property
    def steps(self) -> int: ...

    @property
    def most_parts(self) -> int:
        """Into how many parts its batches can be cut where memory does not hold a whole one."""
        ...

    @property
    def gpus(self) -> float | None:
        """GPUs that it asks for itself: whole ones, or a share of one; None where the run's options say."""
        ...

    def cost(self) -> Cost: ...

    def seconds(self, device: DeviceKind, together: int, card: Card | None = None) -> float:
        """An estimate of its share in a job of `together` trials on one core, or one GPU: on a `card`, from
        what the job would do there."""
        ...

    def bound(self, together: int, card: Card) -> str | None:
        """What most of its job's time on a card is, where that is known: launches, traffic or arithmetic."""
        ...

    def memory_bytes(self, together: int = 1, counted: bool = False, parts: int = 1) -> int:
        """An estimate of what so many take in a job, at their batches' first of `parts`; `counted`: of what
        the job would hold on a GPU."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a job is trained with. `data` finds the source of a digest; `report` is told after every step.

    The newest checkpoint in `checkpoints` is gone on from, and replaced every `checkpoint_seconds`.
    `pruning` is by what rule trials are stopped early, if any; `execution` how a GPU runs steps. `ids` are
    those of the trials, `folder` is the job's own and `attempt` its number. It holds `gpus`; `visible` are
    those that it may see, where nobody else has said so; `launcher` are words before those of a command,
    which start it as several tasks. `weights` is the file for those of the trained models, where they are
    kept.
    """

    data: Callable[[str], Source]
    device: DeviceKind
    report: Callable[[Progress], None]
    checkpoints: Path
    checkpoint_seconds: float
    micro_batches: int
    ids: Sequence[str]
    folder: Path
    attempt: int
    visible: str | None = None
    launcher: Sequence[str] = ()
    pruning: Pruning | None = None
    gpus: float = 0.0
    weights: Path | None = None
    execution: Execution = "auto"


OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")
"""How want of memory is said, whoever says it."""


class ProgramFailed(Exception):
    """A training that ended without a result. `kind` is its class of failure
    (`orchestrator/record/failures.py`); the message says what happened."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        super().__init__(reason)


class Train(Protocol):
    """Trains the programs of one job; returns their outcomes in order, and the device's name."""

    def __call__(self, programs: Sequence[Any], setup: Setup, /) -> tuple[list[Outcome], str]: ...


@dataclass(frozen=True, slots=True)
class ProgramKind:
    """How programs of a kind are made from a point and a definition (ValueError for impossible ones), and
    trained."""

    read: Callable[[Point, Mapping[str, Any]], Program]
    train: Train
