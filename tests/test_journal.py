"""The journal: what it tells of a run, and what a torn or foreign line costs."""

import json
from pathlib import Path

import pytest

from mutransfer.orchestrator.record.attempt import End
from mutransfer.orchestrator.record.journal import Journal, read_journal, replay


def written(path: Path) -> list[str]:
    with Journal(path, lease=1) as journal:
        journal.run(backend="slurm")
        journal.submitting("slurm", "first", ["a", "b", "c"])
        journal.submitted("slurm", "first", "17", ["a", "b", "c"])
        journal.ended(End(job="a", attempt=1, kind="finished", diverged=2, seconds=5.0), "done")
        journal.ended(End(job="b", attempt=1, kind="node-failure", reason="gone", seconds=3.0), "retry")
    return path.read_text().splitlines(keepends=True)


def test_history(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    written(path)
    history = replay(read_journal(path))
    assert list(history.in_flight) == ["c"]
    assert history.in_flight["c"].handle == "17"
    assert history.diverged == {"a": 2}
    assert history.failures == {"node-failure": 1}
    assert (history.seconds, history.lost_seconds, history.attempts) == (8.0, 3.0, 2)


def test_a_submission_without_an_answer_is_known_by_its_name(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", lease=1) as journal:
        journal.submitting("slurm", "first", ["a"])
        journal.submitting("slurm", "second", ["b"])
        journal.refused("second")
    history = replay(read_journal(tmp_path / "j"))
    assert list(history.in_flight) == ["a"]
    assert history.in_flight["a"].handle is None
    assert history.in_flight["a"].name == "first"


def test_only_slurm_outlives_its_driver(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", lease=1) as journal:
        journal.submitted("local", "one", "", ["a"])
        journal.submitted("slurm", "two", "5", ["b"])
        journal.run(backend="local")
    assert list(replay(read_journal(tmp_path / "j")).in_flight) == ["b"]


def test_a_requeued_job_stays_in_flight(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", lease=1) as journal:
        journal.submitted("slurm", "two", "5", ["b"])
        journal.ended(End(job="b", attempt=1, kind="pre-empted", requeued=True), "requeued")
    history = replay(read_journal(tmp_path / "j"))
    assert list(history.in_flight) == ["b"]
    assert history.seen == {("b", 1)}


def test_the_journal_loads_cut_off_anywhere(tmp_path: Path) -> None:
    """At every byte of the last line: at most that line is lost, and the next one is not glued to it."""
    path = tmp_path / "journal.jsonl"
    lines = written(path)
    whole = "".join(lines[:-1])
    for cut in range(len(lines[-1])):
        path.write_text(whole + lines[-1][:cut])
        assert len(list(read_journal(path))) == len(lines) - 1 + (cut == len(lines[-1]) - 1)
        with Journal(path, lease=2) as journal:
            journal.stopped("cancelled")
        assert list(read_journal(path))[-1]["event"] == "stopped"


@pytest.mark.parametrize(
    "line", ["\0" * 40, "[]", "{}", '{"event": "ended", "lease": 1}', '{"event": "other", "lease": 1}', "{",
             '{"event": "run", "lease": "x"}', "\xff"],
)  # fmt: skip
def test_foreign_lines_are_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "journal.jsonl"
    lines = written(path)
    path.write_bytes((lines[0] + line + "\n" + "".join(lines[1:])).encode("latin-1"))
    assert len(list(read_journal(path))) == len(lines)


def test_a_driver_that_lost_its_lease_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    written(path)
    with Journal(path, lease=2) as new:
        new.ended(End(job="c", attempt=1, kind="finished"), "done")
    with Journal(path, lease=1) as old:
        old.ended(End(job="c", attempt=1, kind="killed", reason="by the new driver"), "retry")
    history = replay(read_journal(path))
    assert "c" in history.diverged
    assert "killed" not in history.failures
    assert all(json.loads(line)["lease"] for line in path.read_text().splitlines())
