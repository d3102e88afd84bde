"""A sweep's status as a terminal shows it."""

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..planning.duration import duration
from .status import Status

ROWS = 20


def print_status(status: Status) -> None:
    Console(highlight=False, markup=False, soft_wrap=True).print(status_table(status))


def status_table(status: Status) -> RenderableType:
    parts: list[RenderableType] = [Text(_headline(status))]
    if status.running:
        parts.append(_running(status))
    if status.failed:
        parts.append(_failed(status))
    parts += [Text(problem) for problem in status.problems[:ROWS]]
    if len(status.problems) > ROWS:
        parts.append(Text(f"and {len(status.problems) - ROWS} more"))
    parts.append(Text(_cost(status)))
    return Group(*parts)


def _headline(status: Status) -> str:
    counts = status.counts
    if not (counts.wanted or counts.extra or status.driver or status.problems):
        return f"{status.name}: measurements from elsewhere; mutransfer report says what they tell"
    driver = f"driven by {status.driver}" if status.driver else "no driver"
    extra = f"; {counts.extra} more are no longer asked for" if counts.extra else ""
    return (
        f"{status.name}: {status.state}, {driver}, backend {status.backend or 'none yet'}\n"
        f"{counts.finished} of {counts.wanted} trials done, {counts.diverged} of them diverged; "
        f"{counts.running} running, {counts.waiting} waiting, {counts.failed} failed{extra}"
    )


def _running(status: Status) -> Table:
    table = Table("job", "trials", "attempt", "step", "where", "quiet", pad_edge=False)
    for job in status.running[:ROWS]:
        table.add_row(
            job.job, str(job.trials), str(job.attempt), f"{job.step}/{job.steps}", job.where,
            f"{job.quiet_seconds:.0f} s",
        )  # fmt: skip
    if len(status.running) > ROWS:
        table.add_row(f"and {len(status.running) - ROWS} more")
    return table


def _failed(status: Status) -> Table:
    table = Table("failed job", "trials", "class", "reason", "log", pad_edge=False)
    for job in status.failed[:ROWS]:
        table.add_row(
            job.job, str(len(job.trials)), job.kind, Text(job.reason), Text(job.log, overflow="fold")
        )
    if len(status.failed) > ROWS:
        table.add_row(f"and {len(status.failed) - ROWS} more")
    return table


def _cost(status: Status) -> str:
    cost = status.cost
    failures = ", ".join(f"{count} {kind}" for kind, count in cost.failures.items()) or "none failed"
    gpu = f", {duration(cost.gpu_seconds)} of GPUs" if cost.gpu_seconds else ""
    lost = duration(cost.lost_gpu_seconds) + " of GPUs" if cost.gpu_seconds else duration(cost.lost_seconds)
    return (
        f"{cost.attempts} attempts ({failures}) took {duration(cost.seconds)}{gpu}; "
        f"{lost} went into attempts without a result"
    )
