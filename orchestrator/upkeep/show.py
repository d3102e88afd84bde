"""All that is known of one trial: point, result, attempts, curve, and the command that repeats it."""

import shlex
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from ...results.store.store import read_curves, read_rows
from ..record.directory import SweepDirectory
from ..record.journal import read_journal
from .found import Found

CURVE_POINTS = 12


@dataclass(frozen=True, slots=True)
class Shown:
    """`row` is the trial's result, None before it has one; `attempts` are the ends of its jobs' attempts,
    `cause` says why it diverged, where that was asked for."""

    id: str
    jobs: tuple[str, ...]
    logs: tuple[str, ...]
    point: dict[str, Any]
    row: dict[str, Any] | None
    attempts: tuple[dict[str, Any], ...]
    curve: tuple[dict[str, Any], ...]
    repeat: str
    problems: tuple[str, ...] = ()
    """Files of results and curves that cannot be read, one of which may hold this trial's."""
    cause: tuple[str, ...] = ()


def shown(directory: SweepDirectory, found: Found) -> Shown:
    (table, unread), (curves, lost) = read_rows(directory.path), read_curves(directory.path)
    rows, trial = _of(table, found.id), found.trial
    point = trial.program.point() if trial is not None else {}
    return Shown(
        id=found.id,
        jobs=found.jobs,
        logs=tuple(str(directory.written_log(job)) for job in found.jobs),
        point={field: value for field, value in point.items() if value is not None},
        row=rows[-1] if rows else None,
        attempts=tuple(
            event for event in read_journal(directory.journal)
            if event["event"] == "ended" and event["job"] in found.jobs
        ),
        curve=tuple(_of(curves, found.id)),
        problems=tuple(item.told for item in (*unread, *lost)),
        repeat=shlex.join(["mutransfer", "rerun", str(directory.path), found.id]),
    )  # fmt: skip


def _of(table: Any, trial: str) -> list[dict[str, Any]]:  # noqa: ANN401 - an Arrow table
    rows: list[dict[str, Any]] = table.filter(pc.equal(table.column("trial_id"), trial)).to_pylist()
    return rows


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
    told += [*found.problems, *found.cause]
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
    return [*told, f"to repeat it alone: {found.repeat}"]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
