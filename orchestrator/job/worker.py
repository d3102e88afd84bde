"""One attempt at one job, the same on every backend: claim, train, publish, record the end.

A job comes as JSON and names files of the sweep directory; nothing executable travels. Loads only torch,
numpy, pyarrow and the standard library.
"""

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ...models.training.execution import Execution
from ...models.training.outcome import Outcome, Progress
from ...models.training.pruning import Pruning
from ...results.store.schema import rows_schema
from ...results.store.store import diverged_trials, publish
from ...sweeps.command.train import spoiled
from ...sweeps.program import DeviceKind, ProgramFailed, Setup
from ...sweeps.registry import PROGRAMS
from ...sweeps.trial import Trial, trial_id
from ..record.attempt import Attempt, End, SupersededError, never_started
from ..record.directory import SweepDirectory
from ..record.failpoint import failpoint
from ..record.failures import failure_of
from ..record.provenance import environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a backend tells a worker. `gpus` are the GPUs that the job holds, or its share of one; `visible`
    which they are, where the backend hands them out itself. `launcher` are the words before those of a
    program's own command."""

    directory: str
    job: str
    backend: str
    device: DeviceKind
    gpus: float
    checkpoint_seconds: float
    hang_seconds: float
    visible: str | None = None
    launcher: tuple[str, ...] = ()
    pruning: Pruning | None = None
    keep_weights: bool = False
    execution: Execution = "auto"

    def text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Self:
        held = json.loads(text)
        rule = held.get("pruning")
        held["launcher"] = tuple(held.get("launcher", ()))
        return cls(**{**held, "pruning": rule and Pruning(**{**rule, "along": tuple(rule["along"])})})


def perform(
    text: str,
    report: Callable[[Progress], None] = lambda progress: None,
    begun: Callable[[Attempt], None] = lambda attempt: None,
) -> End:
    """An attempt at the task in `text` (`Task.text`). What goes wrong in it is its end, not an exception."""
    task = Task.of(text)
    directory = SweepDirectory(Path(task.directory))
    try:
        attempt = Attempt(directory, task.job, task.backend, task.gpus, environment())
    except OSError as error:
        return never_started(task.job, failure_of(error), f"{type(error).__name__}: {error}")
    begun(attempt)
    with _output_to(directory.log(task.job)):
        with suppress(OSError):  # of a full disk: the attempt itself will say so
            now = time.strftime("%F %T")
            print(f"--- attempt {attempt.number}, process {os.getpid()}, {now}", flush=True)

        def reported(progress: Progress) -> None:
            attempt.report(progress)
            report(progress)

        with attempt.beating(task.hang_seconds):
            try:
                return _published(directory, task, attempt, reported)
            except SupersededError as error:
                return attempt.end("superseded", str(error))
            except ProgramFailed as error:
                return attempt.end(failure_of(error), str(error))
            except Exception as error:
                end = attempt.end(failure_of(error), f"{type(error).__name__}: {error}")
                with suppress(OSError):  # of a full disk
                    traceback.print_exc()
                return end


def unusable(end: End) -> bool:
    """Whether the process can train nothing more after this end, and has to give way to another."""
    return spoiled() or end.kind == "device-error"


def _published(
    directory: SweepDirectory, task: Task, attempt: Attempt, report: Callable[[Progress], None]
) -> End:
    if (diverged := diverged_trials(directory.path, task.job)) is not None:
        return attempt.end("finished", "its result was there already", diverged)
    trials, micro_batches = directory.read_job(task.job)
    setup = Setup(
        data=directory.read_data,
        device=task.device,
        report=report,
        checkpoints=directory.checkpoints(task.job),
        checkpoint_seconds=task.checkpoint_seconds,
        micro_batches=micro_batches,
        pruning=task.pruning,
        ids=[trial.id for trial in trials],
        folder=directory.job(task.job),
        attempt=attempt.number,
        visible=task.visible,
        launcher=task.launcher,
        gpus=task.gpus,
        weights=directory.weights(task.job) if task.keep_weights else None,
        execution=task.execution,
    )
    _must_be_as_planned(trials)
    programs = [trial.program for trial in trials]
    schema = rows_schema([program.point() for program in programs])  # before anything is spent
    outcomes, device = PROGRAMS[programs[0].kind].train(programs, setup)
    sweep = directory.sweep_name()
    rows = [
        {**_row(trial, outcome), "job_id": task.job, "sweep": sweep, "device": device}
        for trial, outcome in zip(trials, outcomes, strict=True)
    ]
    attempt.check()
    failpoint("publish")
    publish(directory.path, task.job, rows, _curve_rows(trials, outcomes), schema)
    failpoint("published")
    return attempt.end(
        "finished",
        diverged=sum(outcome.diverged for outcome in outcomes),
        tokens=sum(row["tokens"] or 0 for row in rows),
        flops=sum(row["flops"] or 0.0 for row in rows),
    )


def _must_be_as_planned(trials: Sequence[Trial]) -> None:
    """Raises ProgramFailed where the trials are others here than where they were planned."""
    for trial in trials:
        if trial_id(trial.program) != trial.id:
            raise ProgramFailed(
                "error",
                f"trial {trial.id} is another one to this worker: its mutransfer is of another version than "
                "that which planned it, or MUTRANSFER_TRAINING is set for one of the two",
            )


def _row(trial: Trial, outcome: Outcome) -> dict[str, Any]:
    cost = trial.program.cost()
    status = "diverged" if outcome.diverged else "finished" if outcome.pruned_step is None else "pruned"
    done = 1.0 if outcome.pruned_step is None else outcome.pruned_step / trial.program.steps
    return {
        "trial_id": trial.id,
        "recipe_version": trial.program.identity().get("recipe_version"),
        **trial.program.point(),
        "status": status,
        "diverged_step": outcome.diverged_step,
        "pruned_step": outcome.pruned_step,
        "initial_loss": _finite(outcome.initial_loss),
        "loss": outcome.loss,
        "accuracy": outcome.accuracy,
        "train_loss": _finite(outcome.train_loss),
        "busiest_expert": outcome.busiest_expert,
        "parameters": cost.parameters or None,
        "tokens": round(done * cost.tokens) or None,
        "flops": done * cost.flops or None,
        "seconds": outcome.seconds,
    }


def _curve_rows(trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial.id, **{name: _finite(value) for name, value in asdict(point).items()}}
        for trial, outcome in zip(trials, outcomes, strict=True)
        for point in outcome.curve
    ]


def _finite(value: float | None) -> float | None:
    """Null instead of NaN: the store never holds NaN."""
    return value if value is not None and abs(value) < float("inf") else None


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Everything that this process prints, whoever prints it, goes to the end of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    # Where whoever holds this process has handlers of his own, nothing changes.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        yield
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        for held, number in zip(before, (1, 2), strict=True):
            os.dup2(held, number)
            os.close(held)
