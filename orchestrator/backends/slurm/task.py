"""What runs inside a Slurm job: an attempt that records its pre-emption and asks to be requeued.

submitit carries this object to the node by the name of its class and one JSON text; everything else is in
the sweep directory, so that a requeued job never replays an old state.
"""

import json
import os
import time
from pathlib import Path

from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import DelayedSubmission

from ....sweeps.command.train import pre_empt
from ...job.worker import perform
from ...record.attempt import Attempt
from ...record.directory import SweepDirectory
from ...record.failures import EndKind

# Slurm signals 90 s before the limit, and may do so up to a minute early.
EARLY_SECONDS = 90 + 60 + 30


class SlurmTask:
    """Called by submitit on the node. `limit_seconds` is the job's time limit."""

    def __init__(self, text: str, limit_seconds: float) -> None:
        self._text, self._limit = text, limit_seconds

    def __call__(self) -> str:
        self._begin = time.monotonic()
        self._attempt: Attempt | None = None
        self._checkpoint = self._checkpoint_step()
        end = perform(self._text, begun=self._begun)
        if end.kind != "finished":
            raise RuntimeError(f"{end.kind}: {end.reason}")  # so that Slurm calls the job failed too
        return end.kind

    def checkpoint(self) -> DelayedSubmission | None:
        """Called by submitit on Slurm's signal. The last checkpoint is on disk: what is left is to say why.

        None, so no requeue, where the time was not enough for one checkpoint: the same time would not be
        the next time either.
        """
        timed_out = time.monotonic() - self._begin > self._limit - EARLY_SECONDS
        requeue = not timed_out or self._checkpoint_step() > self._checkpoint
        kind: EndKind = "time-out" if timed_out else "pre-empted"
        pre_empt()  # a program of the user's may save what it has
        if self._attempt is not None:
            self._attempt.end(kind, f"Slurm's signal, {kind}", requeued=requeue)
        _remove_stale_pickle()
        return DelayedSubmission(SlurmTask(self._text, self._limit)) if requeue else None

    def _begun(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def _checkpoint_step(self) -> int:
        task = json.loads(self._text)
        return SweepDirectory(Path(task["directory"])).checkpoint_step(task["job"])


def _remove_stale_pickle() -> None:
    """submitit refuses to save over what an attempt killed in the middle of saving left behind."""
    if "SUBMITIT_FOLDER" in os.environ:
        path = JobEnvironment().paths.submitted_pickle
        path.with_suffix(path.suffix + ".save_tmp").unlink(missing_ok=True)
