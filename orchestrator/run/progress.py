"""Live progress of a run on stderr: trials done and diverged, tokens per second, time left."""

import sys
import time
from collections.abc import Collection, Mapping, Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..backends.backend import Event
from ..planning.plan import Job
from ..record.attempt import End
from ..record.directory import SweepDirectory
from .reconcile import Work

PLAIN_SECONDS = 10.0
BAR = 12
TAIL_LINES = 8


class Quiet:
    """Says nothing."""

    def started(self, work: Work) -> None: ...
    def progressed(self, event: Event) -> None: ...
    def ended(self, end: End, job: Job, action: str) -> None: ...
    def split(self, job: Job, parts: Sequence[Job]) -> None: ...
    def note(self, text: str) -> None: ...


class Progress:
    """One line that is redrawn on a terminal, and printed now and then elsewhere.

    The time left is the estimated cost still to do at the rate of cost done so far.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._live: Live | None = None
        self._printed = 0.0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *reason: object) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, work: Work) -> None:
        self._jobs = {job.id: job for job in work.remaining}
        self._tokens = {job.id: _tokens(job) for job in work.remaining}
        self._steps: dict[str, int] = {}
        self._diverged: dict[str, int] = {}
        self._done: set[str] = set()
        self._trials, self._kept, self._begin = len(work.wanted), work.done, time.monotonic()
        if work.done:
            self.note(f"{work.done} of {len(work.wanted)} trials are already there")
        if self._console.is_terminal and self._jobs:
            self._live = Live(console=self._console, get_renderable=self._line, refresh_per_second=4)
            self._live.start()

    def progressed(self, event: Event) -> None:
        self._steps[event.job] = event.step
        self._diverged[event.job] = event.diverged
        self._print_now_and_then()

    def ended(self, end: End, job: Job, action: str) -> None:
        if action == "done":
            self._done.add(job.id)
            self._diverged[job.id] = end.diverged
            self._steps[job.id] = job.trials[0].program.steps
        else:
            self._steps.pop(job.id, None)
            self.note(f"job {job.id}: {end.kind}, {end.reason} -> {action}")
        if len(self._done) == len(self._jobs) and self._live is None:
            self._console.print(self._line(), soft_wrap=True)
        self._print_now_and_then()

    def split(self, job: Job, parts: Sequence[Job]) -> None:
        del self._jobs[job.id]
        self._jobs.update({part.id: part for part in parts})
        self._tokens.update({part.id: _tokens(part) for part in parts})

    def note(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def _print_now_and_then(self) -> None:
        if self._live is None and time.monotonic() - self._printed >= PLAIN_SECONDS:
            self._printed = time.monotonic()
            self._console.print(self._line(), soft_wrap=True)

    def _line(self) -> Text:
        elapsed = max(time.monotonic() - self._begin, 1e-9)
        shares = {job_id: step / self._jobs[job_id].trials[0].program.steps
                  for job_id, step in dict(self._steps).items()}  # fmt: skip
        cost = sum(job.seconds for job in dict(self._jobs).values())
        done = sum(share * self._jobs[job_id].seconds for job_id, share in shares.items())
        tokens = sum(share * self._tokens[job_id] for job_id, share in shares.items())
        left = elapsed * (cost - done) / done if done else None
        finished = self._kept + sum(len(self._jobs[job_id].trials) for job_id in set(self._done))
        filled = round(BAR * done / cost) if cost else BAR
        return Text(
            f"{'█' * filled}{'░' * (BAR - filled)} {finished}/{self._trials} trials, "
            f"{sum(dict(self._diverged).values())} diverged, {tokens / elapsed:,.0f} tokens/s, "
            f"{_clock(elapsed)} elapsed, {'?' if left is None else _clock(left)} left"
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _tokens(job: Job) -> int:
    """Tokens that a job trains on, all its trials together."""
    return sum(trial.program.cost().tokens for trial in job.trials)


def log_tail(directory: SweepDirectory, failed: Mapping[str, End], axes: Collection[str]) -> list[str]:
    """Every failed job with its reason and log, and the end of the log once for each reason. A job of one
    trial is told by its values along the axes, too."""
    lines, told = [], set()
    for job, end in failed.items():
        log = directory.written_log(job)
        trials, _ = directory.read_job(job)
        point = trials[0].program.point() if len(trials) == 1 else {}
        values = ", ".join(f"{name}={point[name]}" for name in axes if name in point)
        of = f" ({values})" if values else ""
        lines.append(f"job {job}{of} failed ({end.kind}): {end.reason}; log: {log}")
        if end.reason not in told and log.exists():
            told.add(end.reason)
            tail = log.read_text(errors="replace").strip().splitlines()[-TAIL_LINES:]
            lines += [f"    {line}" for line in tail]
    return lines


def warn(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr)
