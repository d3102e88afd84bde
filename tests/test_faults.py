"""What clusters, users and disks do to a running sweep: it ends complete, none twice, losses undisturbed."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import noop
import pyarrow.parquet as pq
import pytest
from conftest import trial_ids, wait_until
from many_jobs import Sweep, assert_complete, many

from mutransfer.orchestrator.record.attempt import latest_attempt
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.orchestrator.record.lease import holder
from mutransfer.results.store.store import link_table

pytestmark = pytest.mark.slow

LOCAL = ("-j", "2", "--device", "cpu")


def workers(sweep: Sweep) -> list[int]:
    """Worker processes of this sweep that live."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().decode().split("\0")
            if "mutransfer.orchestrator.backends.local.worker" in command and str(sweep.directory) in command:
                found.append(int(entry.name))
    return found


def last_run(sweep: Sweep, *words: str) -> "subprocess.CompletedProcess[str]":
    done = sweep.run(*LOCAL, *words)
    assert done.returncode == 0, done.stderr
    assert not workers(sweep)
    return done


def begun(sweep: Sweep) -> Callable[[], bool]:
    return lambda: any(line.startswith("begin") for line in noop.lines(sweep.noop))


def test_fifty_kills_of_the_driver(tmp_path: Path) -> None:
    """SIGKILL at random times, 50 times; workers die with their driver, checkpoints carry on."""
    sweep = many(tmp_path, range(60, 76))
    sweep.plan(step_seconds=0.05)
    generator = random.Random(0)
    alive = 0
    for _ in range(50):
        driver = sweep.start(*LOCAL, "--checkpoint-every", "0.2")
        with driver:
            time.sleep(generator.uniform(0.3, 2.2))
            alive += driver.poll() is None
            driver.kill()
        wait_until(lambda: not workers(sweep))
    assert alive == 50  # the sweep was never over before the kill
    last_run(sweep, "--checkpoint-every", "0.2")
    assert_complete(sweep, 64)


def at_work(sweep: Sweep) -> list[int]:
    """Workers that have begun a training: on a slow machine others may not have come so far."""
    begun = {int(line.split()[2]) for line in noop.lines(sweep.noop) if line.startswith("begin")}
    return [pid for pid in workers(sweep) if pid in begun]


def gone_on(sweep: Sweep, steps: dict[str, int]) -> list[int]:
    """Workers whose job has a newer checkpoint than at its last kill: three kills in a row without one give a
    job up, which a slow machine would soon come to."""
    held = SweepDirectory(sweep.directory)
    found = []
    for job in held.planned():
        attempt = latest_attempt(held, job)
        if attempt is not None and held.checkpoint_step(job) > steps.get(job, 0):
            found += [pid for pid in at_work(sweep) if pid == attempt.process.pid]
    return found


def test_kills_of_workers(tmp_path: Path) -> None:
    """Each is classed, and its job goes on from the last checkpoint."""
    sweep = many(tmp_path, range(40, 48))
    sweep.plan(step_seconds=0.05)
    generator = random.Random(1)
    with sweep.start(*LOCAL, "--checkpoint-every", "0.1") as driver:
        steps: dict[str, int] = {}
        for _ in range(10):
            wait_until(partial(gone_on, sweep, steps))
            time.sleep(generator.uniform(0.0, 0.5))
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(generator.choice(gone_on(sweep, steps)), signal.SIGKILL)
            held = SweepDirectory(sweep.directory)
            steps = {job: held.checkpoint_step(job) for job in held.planned()}
        _, said = driver.communicate(timeout=600)
    assert driver.returncode == 0, said
    assert sweep.ends().count("killed") >= 8
    assert_complete(sweep, 32)
    resumed = [line for line in noop.lines(sweep.noop) if line.startswith("done") and not line.endswith(" 0")]
    assert resumed


def test_workers_killed_before_they_begin_cost_no_attempt(tmp_path: Path) -> None:
    """Six times, twice what a job's own failures may be: a loaded machine does so."""
    sweep = many(tmp_path, range(90, 91))
    killed: set[int] = set()
    with sweep.start(*LOCAL) as driver:
        while len(killed) < 6:
            wait_until(lambda: {*workers(sweep)} - killed)
            for pid in {*workers(sweep)} - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        _, said = driver.communicate(timeout=600)
    assert driver.returncode == 0, said
    assert sweep.ends().count("unbegun") >= 4
    assert_complete(sweep, 4)


DRIVER_POINTS = [
    "replace sweep.json", "replace sweep.yaml", "replace data.json", "replace job.json", "replace plan.json",
    "replace options.json", "replace provenance.json", "journal run", "journal submitted", "journal ended",
    "lease",
]  # fmt: skip


@pytest.mark.parametrize("point", DRIVER_POINTS)
def test_a_driver_killed_at_a_state_write(tmp_path: Path, point: str) -> None:
    sweep = many(tmp_path, range(1, 4))
    killed = sweep.run(*LOCAL, MUTRANSFER_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL
    wait_until(lambda: not workers(sweep))
    last_run(sweep)
    assert_complete(sweep, 12)


@pytest.mark.parametrize("point", ["publish", "published", "ended"])
def test_workers_killed_at_a_state_write(tmp_path: Path, point: str) -> None:
    """What was published counts, though its worker never said so; the rest is given up."""
    sweep = many(tmp_path, range(1, 4))
    killed = sweep.run(*LOCAL, MUTRANSFER_FAILPOINT=point)
    assert killed.returncode == (3 if point == "publish" else 0), killed.stderr
    assert ("killed" in sweep.ends()) == (point == "publish")
    last_run(sweep)
    assert_complete(sweep, 12)


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    """One bit of a data page, where no reader looks without a checksum."""
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


@pytest.mark.parametrize("damage", [truncated, flipped, lambda data: b"", lambda data: b"garbage" * 100])
def test_a_damaged_result_is_named_and_run_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    sweep = many(tmp_path, range(1, 6))
    last_run(sweep)
    victim = sorted((sweep.directory / "results").iterdir())[2]
    victim.write_bytes(damage(victim.read_bytes()))
    report = sweep.ask("report", "-f", "json")
    assert f"{victim}: unreadable, left out" in report.stderr
    assert "Traceback" not in report.stderr
    done = last_run(sweep)
    assert f"{victim}: damaged" in done.stderr
    assert len([line for line in noop.lines(sweep.noop) if line.startswith("done")]) == 5 + 1
    assert_complete(sweep, 20)


def test_a_result_that_may_be_whole_stays_where_it_is(tmp_path: Path) -> None:
    """Written by a newer version: nothing is moved, hidden or trained again."""
    sweep = many(tmp_path, range(1, 4))
    last_run(sweep)
    victim = sorted((sweep.directory / "results").iterdir())[0]
    table = pq.read_table(victim)
    victim.unlink()
    link_table(table.replace_schema_metadata({b"mutransfer.schema": b"99"}), victim)
    held, lines = victim.read_bytes(), noop.lines(sweep.noop)
    for refused in (sweep.run(*LOCAL), sweep.ask("retry")):
        assert refused.returncode == 2, refused.stderr
        assert f"{victim}: cannot be read (written with schema 99 by a newer mutransfer" in refused.stderr
    assert victim.read_bytes() == held and noop.lines(sweep.noop) == lines
    assert not list((sweep.directory / "results").glob(".*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_the_run_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    sweep = many(tmp_path / "sweep", range(1, 31))
    sweep = Sweep(sweep.file, small_disk / "out", sweep.noop)
    sweep.plan(step_seconds=0.01)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 450_000)
    full = sweep.run(*LOCAL)
    assert full.returncode == 6, full.stderr
    assert "free some" in full.stderr
    assert "Traceback" not in full.stderr
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    before = len(trial_ids(sweep.directory))
    assert before < 120
    last_run(sweep)
    assert_complete(sweep, 120)


def test_of_eight_runs_at_once_one_drives(tmp_path: Path) -> None:
    sweep = many(tmp_path, range(30, 34))
    sweep.plan(step_seconds=0.3)
    with contextlib.ExitStack() as stack:
        drivers = [stack.enter_context(sweep.start(*LOCAL)) for _ in range(8)]
        said = [driver.communicate(timeout=600)[1] for driver in drivers]
    codes = sorted(driver.returncode for driver in drivers)
    assert codes == [0, *[5] * 7], said
    assert sum("is running this sweep" in text or "has just begun" in text for text in said) == 7
    assert_complete(sweep, 16)


def test_a_stopped_driver_is_succeeded_and_stops_on_waking(tmp_path: Path) -> None:
    """Its workers go on while it stands still; the successor ends them before it begins."""
    sweep = many(tmp_path, range(600, 604))
    sweep.plan(step_seconds=0.1)
    with sweep.start(*LOCAL, "--checkpoint-every", "1") as first:
        wait_until(begun(sweep))
        first.send_signal(signal.SIGSTOP)
        sweep.plan(step_seconds=0.005)
        second = sweep.run(*LOCAL, "--checkpoint-every", "1")
        assert second.returncode == 0, second.stderr
        assert "an earlier driver left it unfinished" in second.stderr
        first.send_signal(signal.SIGCONT)
        _, said = first.communicate(timeout=300)
    assert first.returncode == 5
    assert "took this sweep over while this one stood still" in said
    assert_complete(sweep, 16)


@pytest.mark.parametrize("kind", ["nan", "inf"])
def test_infinite_losses_are_results(tmp_path: Path, kind: str) -> None:
    """Diverged, not failed and not tried again; a report on nothing else is no crash."""
    sweep = many(tmp_path, range(1, 4))
    sweep.plan(faults=[{"of": {"steps": 2}, "kind": kind}])
    last_run(sweep)
    rows = assert_complete(sweep, 12)
    assert (rows["status"] == "diverged").sum() == 4
    assert sweep.status()["counts"]["diverged"] == 4
    report = sweep.ask("report", "-f", "json")
    assert report.returncode == 0, report.stderr
    assert "NaN" not in report.stdout


@pytest.mark.parametrize("kind", ["cuda memory", "host memory"])
def test_out_of_memory_splits_the_job(tmp_path: Path, kind: str) -> None:
    sweep = many(tmp_path, range(1, 4), rates=7)
    sweep.plan(faults=[{"of": {"steps": 2}, "kind": kind, "fits": 2}])
    last_run(sweep)
    assert_complete(sweep, 21)
    assert sweep.ends().count("out-of-memory") == 3  # 7 -> 4 + 3 -> 2 + 2 + 2 + 1
    assert len(sweep.events("split")) == 3
    again = last_run(sweep)
    assert "21 of 21 trials are already there" in again.stderr


def test_one_trial_out_of_memory_works_through_smaller_batches(tmp_path: Path) -> None:
    sweep = many(tmp_path, range(1, 3), rates=1)
    sweep.plan(faults=[{"of": {"steps": 2}, "kind": "cuda memory", "fits_in_parts": 4}])
    last_run(sweep)
    assert_complete(sweep, 2)
    sweep = many(tmp_path / "never", range(1, 3), rates=1)
    sweep.plan(faults=[{"of": {"steps": 2}, "kind": "cuda memory"}])
    done = sweep.run(*LOCAL)
    assert done.returncode == 3
    assert "failed (out-of-memory): RuntimeError: CUDA out of memory" in done.stderr


def test_a_split_survives_a_killed_driver(tmp_path: Path) -> None:
    """Between the parts' files, the parent's mark and the plan."""
    for point in ("replace superseded.json", "journal split"):
        sweep = many(tmp_path / point.replace(" ", "-"), range(1, 3), rates=4)
        sweep.plan(faults=[{"of": {"steps": 2}, "kind": "cuda memory", "fits": 2}])
        assert sweep.run(*LOCAL, MUTRANSFER_FAILPOINT=point).returncode == -signal.SIGKILL
        last_run(sweep)
        assert_complete(sweep, 8)


@pytest.mark.parametrize("kind", ["hang", "stop"])
def test_a_hung_worker_is_ended_and_replaced(tmp_path: Path, kind: str) -> None:
    """Alive without a step, or not even alive enough for a heartbeat."""
    sweep = many(tmp_path, range(3, 6))
    sweep.plan(faults=[{"of": {"steps": 4}, "kind": kind, "step": 2, "times": 1}])
    last_run(sweep, "--hang-after", "6")
    assert_complete(sweep, 12)
    assert sweep.ends().count("hung") == 1


def test_an_error_is_not_tried_again(tmp_path: Path) -> None:
    """One message with the log's tail, the rest finishes; `retry --failed` runs only what failed."""
    sweep = many(tmp_path, range(1, 6))
    sweep.plan(faults=[{"of": {"steps": 3}, "kind": "error"}])
    done = sweep.run(*LOCAL)
    assert done.returncode == 3
    assert done.stderr.count("failed (error): ValueError: the no-op training was told to fail") == 1
    assert "in _meet" in done.stderr  # the tail of the job's log
    assert len(trial_ids(sweep.directory)) == 16
    status = sweep.status()
    assert status["state"] == "failed"
    assert status["counts"] == {
        "wanted": 20, "finished": 16, "diverged": 0, "running": 0, "waiting": 0, "failed": 4, "extra": 0
    }  # fmt: skip
    assert status["cost"]["failures"] == {"error": 1}
    log = sweep.ask("logs", status["failed"][0]["trials"][0][:8])
    assert "ValueError: the no-op training was told to fail" in log.stdout
    sweep.ask("report")
    page = (sweep.directory / "report" / "report.html").read_text()
    assert "<dt>attempts without a result</dt><dd>1 error; 0.0 minutes</dd>" in page
    sweep.plan()
    assert sweep.ask("retry", "--failed").returncode == 0
    assert_complete(sweep, 20)


def test_a_job_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    sweep = many(tmp_path, range(1, 4))
    sweep.plan(faults=[{"of": {"steps": 2}, "kind": "exit"}])
    done = sweep.run(*LOCAL)
    assert done.returncode == 3
    assert sweep.ends().count("killed") == 3
    assert "failed (killed): the worker exited with code 3" in done.stderr


def test_a_worker_that_says_nothing_and_leaves_no_result(tmp_path: Path) -> None:
    sweep = many(tmp_path, range(1, 4))
    sweep.plan(faults=[{"of": {"steps": 2}, "kind": "exit", "code": 0}])
    done = sweep.run(*LOCAL)
    assert done.returncode == 3
    assert sweep.ends().count("no-result") == 1


def test_fail_fast_stops_the_rest(tmp_path: Path) -> None:
    sweep = many(tmp_path, [5, *range(40, 60)])
    sweep.plan(step_seconds=0.05, faults=[{"of": {"steps": 59}, "kind": "error"}])
    done = sweep.run(*LOCAL, "--fail-fast")
    assert done.returncode == 3
    assert len(trial_ids(sweep.directory)) < 21 * 4 / 2
    assert not workers(sweep)
    sweep.plan()
    last_run(sweep)
    assert_complete(sweep, 84)


def test_an_edited_sweep_runs_only_new_points(tmp_path: Path) -> None:
    sweep = many(tmp_path, [1, 2, 3])
    last_run(sweep)
    sweep.file.write_text(sweep.file.read_text().replace("[1, 2, 3]", "[2, 3, 4]"))
    last_run(sweep)
    assert len([line for line in noop.lines(sweep.noop) if line.startswith("begin")]) == 4
    counts = sweep.status()["counts"]
    assert (counts["wanted"], counts["finished"], counts["extra"]) == (12, 12, 4)


def test_a_run_in_the_background_is_watched_and_cancelled(tmp_path: Path) -> None:
    sweep = many(tmp_path, range(400, 408))
    sweep.plan(step_seconds=0.1)
    started = sweep.run(*LOCAL, "--no-wait", "--checkpoint-every", "0.5")
    assert started.returncode == 0, started.stderr
    held = holder(sweep.directory)
    assert held is not None and held.process is not None
    driver = held.process
    assert f"process {driver.pid} runs" in started.stdout
    wait_until(lambda: len(sweep.status()["running"]) == 2)
    status = sweep.status()
    assert (status["state"], status["backend"]) == ("running", "local")
    assert status["counts"]["running"] == 8
    second = sweep.run(*LOCAL)
    assert second.returncode == 5
    cancelled = sweep.ask("cancel")
    assert cancelled.returncode == 0, cancelled.stderr
    assert "stopped; run it again to go on" in cancelled.stdout
    assert not workers(sweep)
    wait_until(lambda: not driver.alive)  # it lets go of the sweep, then ends
    assert "cancelled on request" in (sweep.directory / "driver.log").read_text()
    assert sweep.status()["state"] == "incomplete"
    sweep.plan()
    assert sweep.ask("retry").returncode == 0
    assert_complete(sweep, 32)


def test_a_background_run_that_gives_up_says_why(tmp_path: Path) -> None:
    sweep = many(tmp_path, range(1, 3))
    done = sweep.run("--no-wait", "--backend", "slurm")
    assert done.returncode == 6
    assert "the run gave up with exit code 6: --backend slurm:" in done.stderr


def test_collected_garbage(tmp_path: Path) -> None:
    """Checkpoints of finished jobs and what killed writers left; results, logs and plan stay."""
    sweep = many(tmp_path, range(3, 6))
    sweep.plan(step_seconds=0.01)
    last_run(sweep, "--checkpoint-every", "0")
    (sweep.directory / ".plan.json.k3f_9a2x").write_text("{")
    assert len(list(sweep.directory.glob("jobs/*/checkpoints/*.pt"))) >= 3
    told = sweep.ask("gc", "--dry-run")
    assert ".plan.json.k3f_9a2x" in told.stdout
    assert (sweep.directory / ".plan.json.k3f_9a2x").exists()
    kept = {
        path for path in sweep.directory.rglob("*") if path.suffix in (".parquet", ".txt", ".json", ".yaml")
    }
    kept -= {path for path in kept if path.parent.name == "lease"}
    assert sweep.ask("gc").returncode == 0
    assert not list(sweep.directory.glob("jobs/*/checkpoints"))
    assert not (sweep.directory / ".plan.json.k3f_9a2x").exists()
    assert all(path.exists() for path in kept)
    last_run(sweep)
    assert_complete(sweep, 12)


def test_damaged_job_files_are_planned_again(tmp_path: Path) -> None:
    """What a crash of the machine may leave: named, and their trials trained all the same."""
    sweep = many(tmp_path, range(1, 7))
    last_run(sweep)
    for folder in ("results", "ended"):
        shutil.rmtree(sweep.directory / folder)
    texts = ["", "{", "[]", '{"trials": 3}', '{"trials": [{"id": "x", "point": {}}]}']
    _, *victims = sorted(sweep.directory.glob("jobs/*/job.json"))
    for victim, text in zip(victims, texts, strict=True):
        victim.write_text(text)
    done = last_run(sweep)
    for victim in victims:
        assert f"{victim.parent}: job.json is damaged or gone; its trials are planned again" in done.stderr
    assert_complete(sweep, 24)
