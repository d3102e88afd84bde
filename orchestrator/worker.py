"""A worker: reads job ids on stdin, trains each group, publishes it, and tells the driver on stdout.

It lives for many jobs, so torch is imported once. It dies with its driver: when stdin closes without
a `stop`, the driver is gone, and the process ends at once (what it has published stays).
"""

import argparse
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import torch

from ..models.data.batches import Batches
from ..models.inventory import parameter_count
from ..models.training.loop import train
from ..models.training.outcome import Outcome, Progress
from ..results.store import publish
from ..sweeps.cost import training_flops, training_tokens
from ..sweeps.trial import Trial
from .directory import SweepDirectory

REPORT_SECONDS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains jobs of a sweep directory, named on stdin.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--device", required=True)
    options = parser.parse_args()
    # Everything but the events goes to the job's log, whoever prints it.
    events = os.fdopen(os.dup(1), "w", buffering=1)
    torch.set_num_threads(1)
    commands: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()
    directory = SweepDirectory(options.directory)
    while (job_id := commands.get()) is not None:
        _redirect_output(directory.log(job_id))
        try:
            report = _reporter(events, job_id)
            diverged = run_job(directory, job_id, torch.device(options.device), report)
        except Exception as error:
            traceback.print_exc()
            _send(events, event="failed", job=job_id, reason=f"{type(error).__name__}: {error}")
        else:
            _send(events, event="finished", job=job_id, diverged=diverged)


def run_job(
    directory: SweepDirectory, job_id: str, device: torch.device, report: Callable[[Progress], None]
) -> int:
    """Trains one job, publishes its curves and rows, and returns how many of its trials diverged."""
    trials = directory.read_job(job_id)
    recipes = [trial.recipe for trial in trials]
    batches = Batches(directory.read_data(recipes[0].data), recipes[0].shape.sequence_length)
    outcomes = train(recipes, batches, device, report)
    sweep = directory.sweep_name()
    rows = [
        {**_row(trial, outcome), "job_id": job_id, "sweep": sweep, "device": _device_name(device)}
        for trial, outcome in zip(trials, outcomes, strict=True)
    ]
    publish(directory.path, job_id, rows, _curve_rows(trials, outcomes))
    return sum(outcome.diverged for outcome in outcomes)


def _row(trial: Trial, outcome: Outcome) -> dict[str, Any]:
    recipe = trial.recipe
    return {
        "trial_id": trial.id,
        **recipe.point(),
        "status": "diverged" if outcome.diverged else "finished",
        "diverged_step": outcome.diverged_step,
        "initial_loss": _finite(outcome.initial_loss),
        "loss": outcome.loss,
        "train_loss": outcome.train_loss,
        "parameters": parameter_count(recipe.shape),
        "tokens": training_tokens(recipe),
        "flops": training_flops(recipe),
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


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _listen(commands: "queue.Queue[str | None]") -> None:
    for line in sys.stdin:
        command = json.loads(line)
        if "stop" in command:
            commands.put(None)
            return
        commands.put(command["job"])
    os._exit(1)  # the driver is gone; a plain exit would wait for the training


def _reporter(events: IO[str], job_id: str) -> Callable[[Progress], None]:
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            _send(events, event="progress", job=job_id, step=progress.step, diverged=progress.diverged)

    return report


def _send(events: IO[str], **event: object) -> None:
    print(json.dumps(event), file=events, flush=True)


def _redirect_output(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


if __name__ == "__main__":
    main()
