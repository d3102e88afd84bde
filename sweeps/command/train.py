"""The training of a job that is a program of the user's, inside a worker."""

import math
import time
from collections.abc import Sequence

from ...models.training.outcome import Outcome
from ..program import Setup
from .call import called, spoiled
from .command import Command
from .execute import Execution
from .given import Given
from .loss import curve

__all__ = ["pre_empt", "spoiled", "train"]

_running: Execution | None = None
"""A scheduler's signal comes to the process, not to the program."""


def pre_empt() -> None:
    """The place is wanted: tells the program that runs in this process."""
    if _running is not None:
        _running.pre_empt()


def train(programs: Sequence[Command], setup: Setup) -> tuple[list[Outcome], str]:
    """Runs the one program of the job. Raises ProgramFailed."""
    (program,) = programs
    given = Given(program, setup)
    begin = time.perf_counter()
    loss = called(given) if program.definition.get("function") else _executed(given)
    points = curve(given.metrics)
    outcome = Outcome(
        diverged=not math.isfinite(loss),
        diverged_step=None if math.isfinite(loss) else max((point.step for point in points), default=None),
        initial_loss=math.nan,
        loss=loss if math.isfinite(loss) else None,
        accuracy=None,
        train_loss=points[-1].train_loss if points and math.isfinite(loss) else None,
        seconds=time.perf_counter() - begin,
        curve=points,
    )
    return [outcome], setup.device


def _executed(given: Given) -> float:
    global _running
    _running = Execution(given)
    try:
        return _running.loss()
    finally:
        _running = None
