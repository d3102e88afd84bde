"""What an attempt's failure is called, and what follows from it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from mutransfer.models.training import checkpoint
from mutransfer.orchestrator.record.failures import MAX_FAILURES, MAX_UNBEGUN, FailureKind, decide, failure_of


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's own, which is not loaded here."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out-of-memory"),
        (RuntimeError("CUDA error: out of memory"), "out-of-memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory"),
         "out-of-memory"),
        (RuntimeError("std::bad_alloc"), "out-of-memory"),
        (MemoryError(), "out-of-memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out-of-memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk-full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk-full"),
        (OSError(errno.EFBIG, "File too large"), "disk-full"),
        (FileNotFoundError(errno.ENOENT, "No such file"), "error"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "device-error"),
        (RuntimeError("CUDA error: out of memory"), "out-of-memory"),
        (ValueError("out of memory is only mentioned here"), "error"),
    ],
)  # fmt: skip
def test_exceptions_have_their_class(error: Exception, kind: FailureKind) -> None:
    assert failure_of(error) == kind


@pytest.mark.parametrize(
    ("kind", "failures", "progressed", "trials", "more_parts", "action", "count"),
    [
        ("pre-empted", 2, False, 4, True, "retry", 2),  # costs nothing, however often
        ("time-out", 0, False, 4, True, "retry", 1),
        ("time-out", 2, False, 4, True, "give up", 3),
        ("time-out", 2, True, 4, True, "retry", 1),  # it got on: the count begins again
        ("node-failure", 1, False, 4, True, "retry", 2),
        ("killed", MAX_FAILURES - 1, False, 4, True, "give up", MAX_FAILURES),
        ("hung", 0, False, 4, True, "retry", 1),
        ("device-error", 0, False, 4, True, "retry", 1),
        ("out-of-memory", 0, False, 4, True, "split", 0),
        ("out-of-memory", 0, False, 1, True, "accumulate", 0),
        ("out-of-memory", 0, False, 1, False, "give up", 0),
        ("disk-full", 0, False, 4, True, "stop", 0),
        ("error", 0, False, 4, True, "give up", 0),
        ("no-result", 0, False, 4, True, "give up", 0),
        ("cancelled", 0, False, 4, True, "give up", 0),
    ],
)
def test_policy(
    kind: FailureKind, failures: int, progressed: bool, trials: int, more_parts: bool, action: str, count: int
) -> None:
    decision = decide(kind, failures, progressed, trials, more_parts)
    assert (decision.action, decision.failures) == (action, count)


@pytest.mark.parametrize(
    ("unbegun", "action"), [(1, "retry"), (MAX_UNBEGUN - 1, "retry"), (MAX_UNBEGUN, "give up")]
)
def test_deaths_before_the_start_are_the_machines(unbegun: int, action: str) -> None:
    """They cost the job no attempt, but where nothing ever begins it is given up."""
    decision = decide("unbegun", MAX_FAILURES - 1, False, 4, True, unbegun)
    assert (decision.action, decision.failures) == (action, MAX_FAILURES - 1)


def test_a_disk_that_is_full_under_a_checkpoint_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux's own full device in place of the file beside."""

    @contextmanager
    def full(path: Path) -> Iterator[Path]:
        yield Path("/dev/full")

    monkeypatch.setattr(checkpoint, "beside", full)
    with pytest.raises(OSError) as error:
        checkpoint.Checkpoints(tmp_path, 0.0).save(1, {"weights": torch.ones(100_000)})
    assert failure_of(error.value) == "disk-full"
