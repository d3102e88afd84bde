"""What becomes of jobs in Slurm's hands when Slurm is silent, forgetful or wrong, without a Slurm."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from mutransfer.orchestrator.backends.backend import BackendError
from mutransfer.orchestrator.backends.slurm import commands as slurm_commands
from mutransfer.orchestrator.backends.slurm.commands import Accounted, Queued, SlurmSilentError
from mutransfer.orchestrator.backends.slurm.flights import RUNAWAY_LOOKS, SILENT_LOOKS, Flights
from mutransfer.orchestrator.record.attempt import Attempt, read_end
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.orchestrator.record.journal import Journal, Submission, read_journal

T = TypeVar("T")


class Slurm:
    """A Slurm that says what a test has it say; None for silence."""

    def __init__(self) -> None:
        self.queued: dict[str, Queued] | None = {}
        self.accounts: dict[str, list[Accounted]] | None = {}
        self.names: set[str] | None = set()

    def queue(self) -> dict[str, Queued]:
        return self._said(self.queued)

    def queued_as(self, name: str) -> dict[str, Queued]:
        return self._said(self.queued)

    def accounting(self, ids: object) -> dict[str, list[Accounted]]:
        return self._said(self.accounts)

    def accounted_as(self, name: str) -> set[str]:
        return self._said(self.names)

    def cancel_named(self, name: str) -> None: ...

    @staticmethod
    def _said(answer: T | None) -> T:
        if answer is None:
            raise SlurmSilentError("silent")
        return answer


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    made = Slurm()
    for name in ("queue", "queued_as", "accounting", "accounted_as", "cancel_named"):
        monkeypatch.setattr(slurm_commands, name, getattr(made, name))
    return made


@pytest.fixture
def directory(tmp_path: Path) -> SweepDirectory:
    return SweepDirectory(tmp_path)


Begin = Callable[..., Flights]


@pytest.fixture
def flights(directory: SweepDirectory) -> Iterator[Begin]:
    """Makes the flights of one submitted job; handle None: Slurm's answer was lost."""
    with Journal(directory.journal, 1) as journal:

        def begin(handle: str | None = "7") -> Flights:
            made = Flights(directory, journal)
            made.add(Submission("slurm", "name", ["a"], handle), ["a"])
            return made

        yield begin


@pytest.mark.parametrize("accounting", [True, False])
def test_an_unanswered_submission_comes_back_but_not_at_once(
    slurm: Slurm, directory: SweepDirectory, flights: Begin, accounting: bool
) -> None:
    """The controller may take it late; a cluster without accounting must not be waited for in vain."""
    slurm.names = set() if accounting else None
    one = flights(None)
    looks = 0
    while not (events := one.resolve()):
        looks += 1
        assert looks < 10
    assert looks >= 1
    assert [(event.job, event.returned) for event in events] == [("a", True)]
    assert len(one) == 0
    assert [event["event"] for event in read_journal(directory.journal)] == ["refused"]


def test_a_silent_controller_decides_nothing(slurm: Slurm, directory: SweepDirectory, flights: Begin) -> None:
    slurm.queued = None
    one = flights(None)
    for _ in range(5):
        with pytest.raises(SlurmSilentError):
            one.resolve()
    assert one.jobs() == {"a"}


def test_node_failure_is_believed_the_second_time(
    slurm: Slurm, directory: SweepDirectory, flights: Begin
) -> None:
    one = flights()
    slurm.accounts = {"7": [Accounted("NODE_FAIL", "n2")]}
    assert one.ask() == []
    slurm.queued = {"7": Queued("PENDING", "BeginTime")}  # it was about to be requeued
    assert one.ask() == []
    slurm.queued = {}
    assert one.ask() == []
    (event,) = one.ask()
    assert event.end is not None
    assert (event.end.kind, one.failed_on) == ("node-failure", {"a": "n2"})


@pytest.mark.parametrize(("accounts", "looks"), [(None, SILENT_LOOKS), ({}, 1), ("RUNNING", RUNAWAY_LOOKS)])
def test_a_job_that_vanished_is_given_back_in_the_end(
    slurm: Slurm, directory: SweepDirectory, flights: Begin, accounts: object, looks: int
) -> None:
    """No accounting, accounting that knows nothing, and accounting that calls a dead job alive."""
    slurm.accounts = {"7": [Accounted("RUNNING", "n1")]} if accounts == "RUNNING" else accounts  # type: ignore[assignment]
    one = flights()
    seen = 0
    while not (events := one.ask()):
        seen += 1
        assert seen <= RUNAWAY_LOOKS
    assert seen >= looks - 1
    assert events[0].end is not None
    assert events[0].end.kind == "killed"


def test_an_attempt_counts_once(slurm: Slurm, directory: SweepDirectory, flights: Begin) -> None:
    """What Slurm said of its end is on record, so that the next submission does not explain it again."""
    attempt = Attempt(directory, "a", "slurm", 0.0, {})
    one = flights()
    slurm.accounts = {"7": [Accounted("FAILED", "n1")]}
    (event,) = one.ask()
    assert event.end is not None
    assert (event.end.attempt, event.end.kind) == (attempt.number, "killed")
    recorded = read_end(directory.end("a", 1))
    assert recorded == event.end
    one.add(Submission("slurm", "again", ["a"], "8"), ["a"])
    Attempt(directory, "a", "slurm", 0.0, {})
    slurm.queued = {"8": Queued("RUNNING", "None")}
    assert one.ask() == []
    assert list(one.ends()) == []


def test_a_stale_end_does_not_count_for_a_new_submission(
    slurm: Slurm, directory: SweepDirectory, flights: Begin
) -> None:
    """The old process on a node thought dead says something late."""
    old = Attempt(directory, "a", "slurm", 0.0, {})
    one = flights()
    slurm.accounts = {"7": [Accounted("FAILED", "n1")]}
    one.ask()
    one.add(Submission("slurm", "again", ["a"], "8"), ["a"])
    old.end("error", "late")
    assert list(one.ends()) == []
    assert one.jobs() == {"a"}


def test_a_killed_job_is_called_hung(slurm: Slurm, directory: SweepDirectory, flights: Begin) -> None:
    one = flights()
    one.hung.add("a")
    slurm.accounts = {"7": [Accounted("CANCELLED", "n1")]}
    (event,) = one.ask()
    assert event.end is not None
    assert event.end.kind == "hung"


def test_what_will_never_start_is_said(slurm: Slurm, directory: SweepDirectory, flights: Begin) -> None:
    one = flights()
    slurm.queued = {"7": Queued("PENDING", "QOSMaxWallDurationPerJobLimit")}
    with pytest.raises(BackendError, match="will never start job 7: QOSMaxWallDurationPerJobLimit"):
        one.ask()
