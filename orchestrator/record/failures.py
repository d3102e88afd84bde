"""Why an attempt ended without a result, and what follows from it. Pure.

A diverged trial is a result and does not appear here.
"""

import errno
from dataclasses import dataclass
from typing import Literal, get_args

from ...models.files.place import DISK_FULL
from ...sweeps.program import OUT_OF_MEMORY, ProgramFailed

FailureKind = Literal[
    "out-of-memory",  # of the device or the host: fewer trials at a time, then parts of a batch
    "time-out",  # the scheduler's limit: goes on from the checkpoint, with more time
    "pre-empted",  # the scheduler wanted the place: goes on, and costs no attempt
    "node-failure",  # the machine went away: goes on elsewhere
    "device-error",  # the GPU or its driver failed: nothing more runs in that process, it may in another
    "killed",  # the process ended without a word
    "unbegun",  # the process was killed before it began: the machine's doing
    "hung",  # no step for too long
    "disk-full",  # nothing can be saved: the whole run stops
    "no-result",  # the process says done, but there is no result
    "error",  # of the code or its input: it would recur
    "cancelled",  # somebody took the job away
    "superseded",  # another attempt of the same job took over
]
FAILURE_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)
EndKind = Literal["finished"] | FailureKind

MAX_FAILURES = 3
"""Failures in a row without a new checkpoint, after which a job is given up."""
MAX_UNBEGUN = 20
"""Processes in a row that were killed before they began. None of them is the job's doing, but where each is,
nothing will ever begin."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a job after a failed attempt. `failures` is its new count of failures in a row."""

    action: Literal["retry", "split", "accumulate", "give up", "stop"]
    failures: int


def decide(
    kind: FailureKind, failures: int, progressed: bool, trials: int, more_parts: bool, unbegun: int = 0
) -> Decision:
    """`failures` so far in a row, whether the checkpoint has `progressed` since the last of them.

    `more_parts`: the batch can still be cut into smaller micro-batches. `unbegun`: processes in a row that
    were killed before they began, this one among them.
    """
    match kind:
        case "unbegun":
            return Decision("retry" if unbegun < MAX_UNBEGUN else "give up", failures)
        case "pre-empted":
            return Decision("retry", failures)
        case "time-out" | "node-failure" | "device-error" | "killed" | "hung" | "superseded":
            count = 1 if progressed else failures + 1
            return Decision("retry" if count < MAX_FAILURES else "give up", count)
        case "out-of-memory":
            action: Literal["split", "accumulate", "give up"] = "accumulate" if more_parts else "give up"
            return Decision("split" if trials > 1 else action, failures)
        case "disk-full":
            return Decision("stop", failures)
        case _:
            return Decision("give up", failures)


def failure_of(error: BaseException) -> FailureKind:
    """The class of an exception that ended a training.

    Out of memory is told by its words as well: most schedulers report it as a plain failure.
    """
    if isinstance(error, ProgramFailed):
        return next(kind for kind in FAILURE_KINDS if kind == error.kind)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return "disk-full"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out-of-memory"
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "out-of-memory"
    if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY):
        return "out-of-memory"
    if type(error).__name__ == "AcceleratorError" or str(error).startswith(("CUDA error", "NCCL error")):
        return "device-error"
    return "error"
