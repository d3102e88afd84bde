"""`run` from outside: real commands, real processes, real files."""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command, arguments, trial_ids, wait_until

from mutransfer.orchestrator.record.directory import SweepDirectory

pytestmark = pytest.mark.slow


def workers_of(directory: Path) -> list[int]:
    """Processes that work on this directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "mutransfer.orchestrator.backends.local.worker" in command and str(directory) in command:
            found.append(int(entry.name))
    return found


def test_from_sweep_file_to_export(sweep_file: Path, tmp_path: Path, mutransfer: Command) -> None:
    """run, report, export; a second run does nothing."""
    done = mutransfer("run", str(sweep_file), "-j", "2", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "12/12 trials" in done.stderr
    directory = tmp_path / "runs" / "tiny"
    assert len(trial_ids(directory)) == 12
    names = {"sweep.yaml", "sweep.json", "provenance.json", "plan.json", "data", "jobs", "results", "curves"}
    assert names <= {path.name for path in directory.iterdir()}

    stamps = {path: path.stat().st_mtime_ns for path in (directory / "results").iterdir()}
    again = mutransfer("run", str(sweep_file), "--device", "cpu")
    assert again.returncode == 0
    assert "12 of 12 trials are already there" in again.stderr
    assert stamps == {path: path.stat().st_mtime_ns for path in (directory / "results").iterdir()}

    report = mutransfer("report", str(directory), "-f", "json")
    assert report.returncode == 0, report.stderr
    contract = json.loads(report.stdout)
    assert [c["parametrization"] for c in contract["comparisons"]] == ["sp", "mup"]
    assert (directory / "report" / "report.html").stat().st_size > 100_000
    assert len(list((directory / "report").glob("*.png"))) >= 1

    rows = pd.read_parquet(directory / "results")
    assert set(rows["status"]) <= {"finished", "diverged"}
    assert rows["tokens"].eq(5 * 2 * 16).all()
    assert len(pd.read_parquet(directory / "curves")) == 12 * 5


def test_the_resolved_sweep_file_is_the_same_sweep(
    sweep_file: Path, tmp_path: Path, mutransfer: Command
) -> None:
    """It can be run from anywhere, overrides included, and asks for the very same trials."""
    mutransfer("run", str(sweep_file), "--set", "steps=4")
    (tmp_path / "elsewhere").mkdir()
    resolved = tmp_path / "elsewhere" / "again.yaml"
    resolved.write_text((tmp_path / "runs" / "tiny" / "sweep.yaml").read_text())
    again = mutransfer("run", str(resolved))
    assert again.returncode == 0, again.stderr
    assert "12 of 12 trials are already there" in again.stderr


def test_rows_repeat_exactly(sweep_file: Path, tmp_path: Path, mutransfer: Command) -> None:
    """Two runs on one machine give the same losses, bit for bit."""
    frames = []
    for name in ("one", "two"):
        mutransfer("run", str(sweep_file), "--out", name, "--device", "cpu", "-j", "1")
        frames.append(pd.read_parquet(tmp_path / name / "results").set_index("trial_id")["loss"].sort_index())
    assert len(frames[0]) == 12
    pd.testing.assert_series_equal(*frames, check_exact=True)


def test_a_sweep_that_grew_trains_only_what_is_new(
    sweep_file: Path, tmp_path: Path, mutransfer: Command
) -> None:
    mutransfer("run", str(sweep_file))
    before = set(trial_ids(tmp_path / "runs/tiny"))
    done = mutransfer("run", str(sweep_file), "--set", "width=[8, 16, 32]")
    assert "12 of 18 trials are already there" in done.stderr
    after = trial_ids(tmp_path / "runs/tiny")
    assert len(after) == len(set(after)) == 18
    assert before < set(after)


def test_kills_lose_and_repeat_nothing(sweep_file: Path, tmp_path: Path, mutransfer: Command) -> None:
    """SIGKILL of the driver and of workers at random times, then one run to the end."""
    generator = random.Random(0)
    directory = tmp_path / "out"
    words = arguments(
        "run", str(sweep_file), "--out", str(directory), "-j", "2", "--device", "cpu",
        "--set", "steps=150", "--set", "learning_rate={log2: [-8, -1]}", "--set", "seed=[0, 1, 2]",
        "--checkpoint-every", "0.2",
    )  # fmt: skip
    for _ in range(5):
        before = len([*directory.glob("jobs/*/attempts/*.json")])
        driver = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL)
        wait_until(
            lambda: driver.poll() is not None or len([*directory.glob("jobs/*/attempts/*.json")]) > before  # noqa: B023
        )
        time.sleep(generator.uniform(0.2, 2.5))
        if generator.random() < 0.5 and (workers := workers_of(directory)):
            os.kill(generator.choice(workers), signal.SIGKILL)
            time.sleep(generator.uniform(0.0, 1.0))
        driver.kill()
        driver.wait()
        wait_until(lambda: not workers_of(directory))  # workers die with their driver
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    counts = Counter(trial_ids(directory))
    assert len(counts) == 2 * 2 * 8 * 3
    assert set(counts.values()) == {1}
    undisturbed = tmp_path / "undisturbed"
    words[words.index(str(directory))] = str(undisturbed)
    subprocess.run(words, cwd=tmp_path, check=True, stderr=subprocess.DEVNULL, timeout=300)
    ours, theirs = (
        pd.read_parquet(path / "results").set_index("trial_id")["loss"].sort_index()
        for path in (directory, undisturbed)
    )
    pd.testing.assert_series_equal(ours, theirs, check_exact=True)  # with checkpoints, bit for bit
    starts = [log.read_text().count("--- attempt") for log in directory.glob("jobs/*/log.txt")]
    assert max(starts) > 1


def test_a_killed_worker_is_replaced(sweep_file: Path, tmp_path: Path) -> None:
    directory = tmp_path / "out"
    words = arguments("run", str(sweep_file), "--out", str(directory), "-j", "1", "--set", "steps=400")
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as driver:
        wait_until(lambda: list(directory.glob("jobs/*/log.txt")))
        os.kill(workers_of(directory)[0], signal.SIGKILL)
        _, messages = driver.communicate(timeout=200)
    assert driver.returncode == 0, messages
    assert "killed, the worker was killed by signal 9 -> retry" in messages
    assert len(trial_ids(directory)) == 12


def _interruptible() -> None:
    """Where the tests run in a shell's background, SIGINT is ignored, and so it would be in the driver."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_and_exits_130(sweep_file: Path, tmp_path: Path, number: signal.Signals) -> None:
    directory = tmp_path / "out"
    words = arguments("run", str(sweep_file), "--out", str(directory), "--set", "steps=100000")
    with subprocess.Popen(
        words, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=_interruptible
    ) as driver:
        wait_until(lambda: list(directory.glob("jobs/*/log.txt")))
        driver.send_signal(number)
        _, messages = driver.communicate(timeout=300)
    assert driver.returncode == 130
    assert "interrupted; what is finished is kept" in messages
    assert "Traceback" not in messages
    wait_until(lambda: not workers_of(directory))


def test_a_failing_job_is_reported_and_the_rest_finishes(
    sweep_file: Path, tmp_path: Path, mutransfer: Command
) -> None:
    """A job file that a worker cannot use: one failure, named with its log; exit code 3."""
    mutransfer("run", str(sweep_file))
    directory = tmp_path / "runs" / "tiny"
    results = sorted((directory / "results").iterdir())
    results[0].unlink()
    (directory / "data").joinpath(next((directory / "data").iterdir()).name).write_bytes(b"short")
    done = mutransfer("run", str(sweep_file))
    assert done.returncode == 3
    assert "size changed since the sweep was planned; restore the file" in done.stderr
    assert str(Path("runs") / "tiny" / "jobs" / results[0].stem / "log.txt") in done.stderr
    assert "Traceback" not in done.stderr
    status = json.loads(mutransfer("status", str(directory), "-f", "json").stdout)
    assert [(job["job"], job["kind"]) for job in status["failed"]] == [(results[0].stem, "error")]
    assert status["state"] == "failed"
    report = mutransfer("report", str(directory))
    assert "trials are not there yet; run the sweep again" in report.stderr


def test_a_broken_result_is_moved_aside_and_trained_again(
    sweep_file: Path, tmp_path: Path, mutransfer: Command
) -> None:
    mutransfer("run", str(sweep_file))
    directory = tmp_path / "runs" / "tiny"
    victim = sorted((directory / "results").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:100])
    report = mutransfer("report", str(directory))
    assert report.returncode == 0
    told = f"{Path('runs') / 'tiny' / 'results' / victim.name}: unreadable, left out"
    assert told in report.stderr
    for page in ("report.html", "report.md"):
        text = (directory / "report" / page).read_text()
        assert told in text and "of 12 trials are not there yet" in text
    done = mutransfer("run", str(sweep_file))
    assert done.returncode == 0
    assert "moved aside, its trials run again" in done.stderr
    assert len(set(trial_ids(directory))) == 12


def test_a_report_says_whom_it_counts_unasked_and_what_it_cannot_follow(
    sweep_file: Path, tmp_path: Path, mutransfer: Command
) -> None:
    sweep_file.write_text(sweep_file.read_text() + "tolerance: {nats: 5, doublings: .inf}\n")
    mutransfer("run", str(sweep_file))
    directory = tmp_path / "runs" / "tiny"
    quiet = mutransfer("report", str(directory))
    assert "Transferring may cost 5" in quiet.stdout and "no longer" not in quiet.stderr
    mutransfer("run", str(sweep_file), "--set", "width=[8]")
    told = mutransfer("report", str(directory)).stderr
    assert f"{Path('runs') / 'tiny'}: counts 6 trials that its sweep no longer asks for; --hold" in told
    (directory / "sweep.yaml").unlink()
    told = mutransfer("report", str(directory)).stderr
    assert "sweep.yaml: is missing; its scale, hyperparameter and tolerance are not followed" in told


@pytest.mark.parametrize(
    "left",
    [
        {".sweep.json.abc": "{"},
        {"sweep.json": '{"format": 1, "name": "tiny"}', ".sweep.yaml.abc": "na"},
        {"sweep.json": '{"format": 1, "name": "tiny"}', "sweep.yaml": "name: tiny"},
    ],
)
def test_a_start_that_was_killed_can_be_gone_on_with(tmp_path: Path, left: dict[str, str]) -> None:
    """Whatever a process killed in its first writes leaves behind."""
    out = tmp_path / "out"
    out.mkdir()
    for name, text in left.items():
        (out / name).write_text(text)
    directory = SweepDirectory(out)
    directory.write_sweep("tiny", "name: tiny\n")
    assert directory.sweep_name() == "tiny"
    assert (out / "sweep.yaml").read_text() == "name: tiny\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"notes.txt": "mine"}, "is not empty and holds no sweep; give another --out"),
        ({"sweep.json": '{"format": 1, "name": "other"}'}, "holds the sweep 'other', not 'tiny'"),
        ({"sweep.json": "{"}, "sweep.json: cannot be read"),
    ],
)
def test_a_foreign_directory_is_left_alone(
    sweep_file: Path, tmp_path: Path, mutransfer: Command, content: dict[str, str], message: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, text in content.items():
        (out / name).write_text(text)
    done = mutransfer("run", str(sweep_file), "--out", "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert {path.name for path in out.iterdir()} == set(content)


@pytest.mark.parametrize(
    "words", [("run", "smoke", "--out", "/proc/x"), ("init", "smoke", "--out", "/proc/x")]
)
def test_an_unwritable_place_is_named(mutransfer: Command, words: tuple[str, ...]) -> None:
    done = mutransfer(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("/proc/x")
    assert "Traceback" not in done.stderr


def test_a_second_driver_is_turned_away(sweep_file: Path, tmp_path: Path, mutransfer: Command) -> None:
    words = ("run", str(sweep_file), "--out", "out", "--set", "steps=100000")
    with subprocess.Popen(arguments(*words), cwd=tmp_path, stderr=subprocess.DEVNULL) as driver:
        wait_until(lambda: list((tmp_path / "out").glob("jobs/*/log.txt")))
        second = mutransfer(*words)
        driver.kill()
    assert second.returncode == 5
    assert f"process {driver.pid} on" in second.stderr
    assert "is running this sweep; wait, or mutransfer cancel it" in second.stderr


def test_a_moved_sweep_goes_on(sweep_file: Path, tmp_path: Path, mutransfer: Command) -> None:
    mutransfer("run", str(sweep_file), "--out", "before")
    (tmp_path / "before").rename(tmp_path / "after")
    next((tmp_path / "after" / "results").iterdir()).unlink()
    done = mutransfer("run", str(sweep_file), "--out", "after")
    assert done.returncode == 0, done.stderr
    assert len(set(trial_ids(tmp_path / "after"))) == 12
