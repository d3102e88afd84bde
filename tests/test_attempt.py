"""Attempts: one number each, the highest owns the job, and an older one neither goes on nor publishes."""

import json
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import proxy_trial, wait_until

from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.outcome import Progress
from mutransfer.orchestrator.planning.plan import Job, halves
from mutransfer.orchestrator.record import attempt as module
from mutransfer.orchestrator.record.attempt import Attempt, SupersededError, latest_attempt, read_end
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.orchestrator.run.reconcile import end_orphans

JOB = "0123456789abcdef"


@pytest.fixture
def directory(tmp_path: Path) -> SweepDirectory:
    return SweepDirectory(tmp_path)


def begin(directory: SweepDirectory) -> Attempt:
    return Attempt(directory, JOB, "local", 0.5, {})


def test_of_many_at_once_each_has_its_number(directory: SweepDirectory) -> None:
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.append(begin(directory).number)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 17))


def test_a_later_attempt_supersedes(directory: SweepDirectory) -> None:
    first = begin(directory)
    first.check()
    second = begin(directory)
    second.check()
    with pytest.raises(SupersededError, match="attempt 1 was taken over"):
        first.check()


def test_a_split_job_has_no_attempts(directory: SweepDirectory, recipe: Callable[..., Recipe]) -> None:
    one = begin(directory)
    trials = tuple(proxy_trial(recipe(seed=seed)) for seed in range(4))
    job = Job(JOB, trials, 8.0)
    parts = halves(job)
    directory.split(job, parts)
    with pytest.raises(SupersededError, match="split"):
        one.check()
    assert directory.parts(JOB) == [part.id for part in parts]
    assert [directory.read_job(part.id)[0] for part in parts] == [trials[:2], trials[2:]]


def test_the_first_end_counts(directory: SweepDirectory) -> None:
    one = begin(directory)
    one.report(Progress(7, 1))
    one.end("pre-empted", "by the scheduler", requeued=True)
    assert one.end("error", "in the signal's wake").kind == "pre-empted"
    end = read_end(directory.end(JOB, 1))
    assert end is not None
    assert (end.kind, end.requeued, end.attempt) == ("pre-empted", True, 1)
    assert end.gpu_seconds == pytest.approx(end.seconds / 2, abs=2e-3)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"job": "x"}', '{"kind": "other"}'])
def test_unreadable_records_are_none(directory: SweepDirectory, text: str) -> None:
    begin(directory)
    (directory.job(JOB) / "attempts" / "1.json").write_text(text)
    assert latest_attempt(directory, JOB) is None
    directory.ended.mkdir()
    directory.end(JOB, 1).write_text(text)
    assert read_end(directory.end(JOB, 1)) is None


def test_a_record_under_another_name_is_not_believed(directory: SweepDirectory) -> None:
    begin(directory).end("finished")
    directory.end(JOB, 1).rename(directory.end(JOB, 2))
    assert read_end(directory.end(JOB, 2)) is None


def test_heartbeats(directory: SweepDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.05)
    one = begin(directory)
    with one.beating(600):
        one.report(Progress(12, 3))
        wait_until(lambda: (found := latest_attempt(directory, JOB)) and found.beat > 2 and found.step == 12)
    found = latest_attempt(directory, JOB)
    assert found is not None
    assert (found.diverged, found.process.alive, found.backend) == (3, True, "local")


SUPERSEDED = textwrap.dedent("""\
    import sys, time
    from pathlib import Path
    from mutransfer.orchestrator.record import attempt
    from mutransfer.orchestrator.record.directory import SweepDirectory
    attempt.BEAT_SECONDS = 0.05
    one = attempt.Attempt(SweepDirectory(Path(sys.argv[1])), sys.argv[2], "local", 0.0, {})
    with one.beating(float(sys.argv[3])):
        print("begun", flush=True)
        time.sleep(600)
    """)


@pytest.mark.parametrize(("hang", "kind"), [("600", "superseded"), ("0.2", "hung")])
def test_a_process_that_must_not_go_on_ends_itself(directory: SweepDirectory, hang: str, kind: str) -> None:
    """A later attempt exists, or no step comes: the heartbeat's thread ends the process, whatever it does."""
    words = [sys.executable, "-c", SUPERSEDED, str(directory.path), JOB, hang]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        if kind == "superseded":
            begin(directory)
        assert process.wait(30) == (module.SUPERSEDED_EXIT if kind == "superseded" else module.HUNG_EXIT)
    assert json.loads(directory.end(JOB, 1).read_text())["kind"] == kind


def test_an_attempt_whose_directory_is_moved_does_not_make_it_anew(tmp_path: Path) -> None:
    place = tmp_path / "sweep"
    place.mkdir()
    attempt = begin(SweepDirectory(place))
    place.rename(tmp_path / "moved")
    with pytest.raises(SupersededError, match="was moved or removed"):
        attempt.check()
    attempt.end("superseded")
    assert not place.exists()


def test_a_copy_of_a_sweep_ends_nobody_of_the_original(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    """Its records name processes that are at work elsewhere."""
    original, copy = SweepDirectory(tmp_path / "sweep"), SweepDirectory(tmp_path / "copy")
    original.path.mkdir()
    job = Job(JOB, (proxy_trial(recipe()),), 1.0)
    words = [sys.executable, "-c", SUPERSEDED, str(original.path), JOB, "600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        shutil.copytree(original.path, copy.path)
        (end,) = end_orphans(copy, [job], set())
        assert end.kind == "killed" and process.poll() is None
        end_orphans(original, [job], set())
        assert process.wait(30) == -signal.SIGKILL
