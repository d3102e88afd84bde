"""All that is known of one trial: point, result, attempts, curve, and the command that repeats it."""

import shlex
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from ...results.store.store import read_curves, read_rows
from ...sweeps.load import Sweep, load_sweep
from ...sweeps.trial import Trial
from ..record.directory import SweepDirectory
from ..record.journal import read_journal
from .logs import the_one

CURVE_POINTS = 12


@dataclass(frozen=True, slots=True)
class Shown:
    """`row` is the trial's result, None before it has one; `attempts` are the ends of its jobs' attempts."""

    id: str
    jobs: tuple[str, ...]
    logs: tuple[str, ...]
    point: dict[str, Any]
    row: dict[str, Any] | None
    attempts: tuple[dict[str, Any], ...]
    curve: tuple[dict[str, Any], ...]
    repeat: str


def shown(directory: SweepDirectory, name: str) -> Shown:
    """Of the trial whose id begins so. Raises DirectoryError for none and for several."""
    sweep = load_sweep(str(directory.path / "sweep.yaml"))
    planned = directory.planned()
    known = {trial.id: trial for trial in sweep.expansion.trials}
    ids = {*known, *(trial for held in planned.values() for trial in held)}
    found = the_one(directory, ids, name, "trial", "trials", "mutransfer trials has all")
    jobs = tuple(job for job, held in planned.items() if found in held)
    rows = _of(read_rows(directory.path)[0], found)
    in_jobs = (one for job in jobs for one in directory.read_job(job)[0] if one.id == found)
    trial = known[found] if found in known else next(in_jobs, None)
    point = trial.program.point() if trial is not None else {}
    return Shown(
        id=found,
        jobs=jobs,
        logs=tuple(str(directory.written_log(job)) for job in jobs),
        point={field: value for field, value in point.items() if value is not None},
        row=rows[-1] if rows else None,
        attempts=tuple(
            event for event in read_journal(directory.journal)
            if event["event"] == "ended" and event["job"] in jobs
        ),
        curve=tuple(_of(read_curves(directory.path)[0], found)),
        repeat=_repeat(directory, known[found], sweep) if found in known else "",
    )  # fmt: skip


def _of(table: Any, trial: str) -> list[dict[str, Any]]:  # noqa: ANN401 - an Arrow table
    rows: list[dict[str, Any]] = table.filter(pc.equal(table.column("trial_id"), trial)).to_pylist()
    return rows


def _repeat(directory: SweepDirectory, trial: Trial, sweep: Sweep) -> str:
    """It alone, in a directory of its own: the same id, the same numbers. Nothing for a sweep whose trials
    depend on each other, or whose axes are not to be cut."""
    spec = sweep.spec
    if spec.search or spec.refine or spec.prune is not None or spec.exclude or spec.zip:
        return ""
    words = ["mutransfer", "run", str(directory.path / "sweep.yaml")]
    words += ["--out", f"{directory.path}-{trial.id[:8]}"]
    point = trial.program.point()
    for name in sorted(spec.axes):
        words += ["--set", f"{name}=[{_written(point[name])}]"]
    return shlex.join(words)


def _written(value: object) -> str:
    """As YAML reads it back."""
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else repr(value) if isinstance(value, float) else str(value)


def lines(found: Shown) -> list[str]:
    """For a terminal."""
    row = found.row
    status = "has no result yet" if row is None else row["status"]
    if row is not None and row["loss"] is not None:
        status += f", loss {row['loss']:.4f}"
    if row is not None and row["diverged_step"] is not None:
        status += f" at step {row['diverged_step']}"
    told = [f"trial {found.id}: {status}"]
    told += [f"  {name}: {value}" for name, value in found.point.items()]
    told += [f"job {job}: {log}" for job, log in zip(found.jobs, found.logs, strict=True)]
    told += [
        f"  attempt {event['attempt']}: {event['kind']}, {event['seconds']:.1f} s"
        + (f" ({event['reason']})" if event["reason"] else "")
        for event in found.attempts
    ]
    if found.curve:
        told.append(f"{'step':>8} {'train loss':>12} {'eval loss':>12}")
        every = -(-len(found.curve) // CURVE_POINTS)
        kept = [*found.curve[::every]]
        if kept[-1] is not found.curve[-1]:
            kept.append(found.curve[-1])
        told += [f"{p['step']:>8} {_number(p['train_loss']):>12} {_number(p['eval_loss']):>12}" for p in kept]
    return [*told, f"to repeat it alone: {found.repeat}"] if found.repeat else told


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
