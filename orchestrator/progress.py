"""Live progress of a run on stderr: trials done and diverged, tokens per second, time left."""

import sys
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .backends.local import Event
from .driver import Work, job_tokens
from .plan import Job

PLAIN_SECONDS = 10.0
BAR = 12


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
        self._steps: dict[str, int] = {}
        self._diverged: dict[str, int] = {}
        self._done: set[str] = set()
        self._trials, self._kept, self._begin = work.trials, work.done, time.monotonic()
        if work.done:
            self.note(f"{work.done} of {work.trials} trials are already there")
        if self._console.is_terminal and self._jobs:
            self._live = Live(console=self._console, get_renderable=self._line, refresh_per_second=4)
            self._live.start()

    def progressed(self, event: Event) -> None:
        self._steps[event.job] = event.step
        self._diverged[event.job] = event.diverged
        self._print_now_and_then()

    def ended(self, event: Event, job: Job) -> None:
        if event.kind == "finished":
            self._done.add(job.id)
            self._diverged[job.id] = event.diverged
            self._steps[job.id] = job.trials[0].recipe.steps
        else:
            self._steps.pop(job.id, None)
            self.note(f"job {job.id}: {event.reason}")
        if len(self._done) == len(self._jobs) and self._live is None:
            self._console.print(self._line(), soft_wrap=True)
        self._print_now_and_then()

    def note(self, text: str) -> None:
        self._console.print(text)

    def _print_now_and_then(self) -> None:
        if self._live is None and time.monotonic() - self._printed >= PLAIN_SECONDS:
            self._printed = time.monotonic()
            self._console.print(self._line(), soft_wrap=True)

    def _line(self) -> Text:
        elapsed = max(time.monotonic() - self._begin, 1e-9)
        shares = {job_id: step / self._jobs[job_id].trials[0].recipe.steps
                  for job_id, step in self._steps.items()}  # fmt: skip
        cost = sum(job.seconds for job in self._jobs.values())
        done = sum(share * self._jobs[job_id].seconds for job_id, share in shares.items())
        tokens = sum(share * job_tokens(self._jobs[job_id]) for job_id, share in shares.items())
        left = elapsed * (cost - done) / done if done else None
        finished = self._kept + sum(len(self._jobs[job_id].trials) for job_id in self._done)
        filled = round(BAR * done / cost) if cost else BAR
        return Text(
            f"{'█' * filled}{'░' * (BAR - filled)} {finished}/{self._trials} trials, "
            f"{sum(self._diverged.values())} diverged, {tokens / elapsed:,.0f} tokens/s, "
            f"{_clock(elapsed)} gone, {'?' if left is None else _clock(left)} left"
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def warn(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr)
