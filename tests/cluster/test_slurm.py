"""Sweeps on a real Slurm: slurmctld, slurmdbd and two nodes on this machine.

Starting daemons needs root and Debian, so only MUTRANSFER_SLURM=1 does it; `.ci/run` sets it.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import noop
import pytest
from conftest import arguments, trial_ids, wait_until
from many_jobs import Sweep, assert_complete, assert_endings, assert_losses, endings, many, programs
from slurm_cluster import SlurmCluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("MUTRANSFER_SLURM") != "1", reason="MUTRANSFER_SLURM=1 starts a Slurm"),
]

COUNTED = ("sacct", "squeue", "sbatch")
ASKED_EVERY = "10"
"""Seconds between two questions to Slurm: most of a test would be waiting for the next one otherwise."""


@pytest.fixture(scope="session")
def started() -> Iterator[SlurmCluster]:
    cluster = SlurmCluster()
    begin = time.monotonic()
    cluster.up()
    print(f"Slurm came up in {time.monotonic() - begin:.1f} s")
    yield cluster
    cluster.down()


@pytest.fixture
def cluster(started: SlurmCluster) -> Iterator[SlurmCluster]:
    started.all_up()
    yield started
    started.all_up()


class OnSlurm:
    """A sweep on the cluster, with every call of Slurm's commands counted."""

    def __init__(self, cluster: SlurmCluster, sweep: Sweep, **options: object) -> None:
        self.cluster, self.sweep = cluster, sweep
        self.calls = sweep.noop / "calls"
        tools = sweep.noop / "bin"
        tools.mkdir()
        for name in COUNTED:
            script = tools / name
            script.write_text(f'#!/bin/sh\necho {name} >> {self.calls}\nexec /usr/bin/{name} "$@"\n')
            script.chmod(0o755)
        self.environment = {
            "SLURM_CONF": str(cluster.conf), "PATH": f"{tools}:{os.environ['PATH']}",
            "MUTRANSFER_SLURM_SECONDS": ASKED_EVERY,
        }  # fmt: skip
        lines = "".join(f"  {name}: {value}\n" for name, value in options.items())
        if lines:
            sweep.file.write_text(f"{sweep.file.read_text()}slurm:\n{lines}")

    def run(self, *words: str, timeout: float = 500, **more: str) -> "subprocess.CompletedProcess[str]":
        return self.sweep.run("--backend", "slurm", *words, timeout=timeout, **{**self.environment, **more})

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return self.sweep.start("--backend", "slurm", *words, **self.environment)

    def ask(self, command: str, *words: str) -> "subprocess.CompletedProcess[str]":
        return self.sweep.call(arguments(command, str(self.sweep.directory), *words), 300, **self.environment)

    def count(self, name: str) -> int:
        return self.calls.read_text().split().count(name) if self.calls.exists() else 0

    def queue(self) -> list[str]:
        return self.cluster.must("squeue", "-h", "-r", "-o", "%i %T").splitlines()

    def running(self) -> list[str]:
        return [line.split()[0] for line in self.queue() if line.endswith("RUNNING")]

    def node_of(self, job: str) -> str:
        return self.cluster.must("squeue", "-h", "-r", "-j", job, "-o", "%N").strip()


def begun(sweep: Sweep, count: int = 1) -> bool:
    return sum(line.startswith("begin") for line in noop.lines(sweep.noop)) >= count


def take_all_nodes(cluster: SlurmCluster, seconds: int) -> None:
    """A job of a higher partition, before which all others have to leave."""
    cluster.must("sbatch", "-p", "high", "-N", "2", "--exclusive", "-t", "5", "-o", "/dev/null", "--wrap",
                 f"sleep {seconds}")  # fmt: skip


def test_a_hundred_programs_in_arrays_of_thirty(cluster: SlurmCluster, tmp_path: Path) -> None:
    """MaxArraySize is 31. One accounting call in 30 s, however many jobs."""
    slurm = OnSlurm(cluster, programs(tmp_path, 100, 10))
    begin = time.monotonic()
    done = slurm.run(MUTRANSFER_SLURM_SECONDS="30")
    seconds = time.monotonic() - begin
    assert done.returncode == 0, done.stderr
    assert_losses(slurm.sweep, 100)
    assert [len(event["jobs"]) for event in slurm.sweep.events("submitted")] == [31, 31, 31, 7]
    assert slurm.count("sbatch") == 4
    assert slurm.count("squeue") <= seconds / 30 + 2
    assert slurm.count("sacct") <= seconds / 30 + 1
    assert slurm.sweep.ends() == ["finished"] * 100


def test_three_times_as_many_jobs_as_a_submit_limit(cluster: SlurmCluster, tmp_path: Path) -> None:
    """The QOS takes 10 jobs of a user at a time; they are fed as others leave."""
    slurm = OnSlurm(cluster, many(tmp_path, range(1, 33), rates=1), qos="few")
    done = slurm.run()
    assert done.returncode == 0, done.stderr
    assert_complete(slurm.sweep, 32)
    assert max(len(event["jobs"]) for event in slurm.sweep.events("submitted")) <= 10
    assert slurm.count("sbatch") < 32  # what fits goes together
    assert len([line for line in noop.lines(slurm.sweep.noop) if line.startswith("begin")]) == 32
    assert "sbatch: error" not in done.stderr


@pytest.mark.parametrize("partition", ["low", "lowcancel"])
def test_pre_emption_costs_one_interval(cluster: SlurmCluster, tmp_path: Path, partition: str) -> None:
    """Requeued by ourselves on Slurm's signal, whether Slurm would requeue or cancel."""
    slurm = OnSlurm(cluster, many(tmp_path, [300, 301], rates=2), partition=partition)
    slurm.sweep.plan(step_seconds=0.1)
    with slurm.start("--checkpoint-every", "1") as driver:
        wait_until(lambda: begun(slurm.sweep, 2))
        time.sleep(8)
        take_all_nodes(cluster, 10)
        _, said = driver.communicate(timeout=300)
    assert driver.returncode == 0, said
    assert_complete(slurm.sweep, 4)
    assert slurm.sweep.ends().count("pre-empted") == 2
    resumed = [int(line.split()[-1]) for line in noop.lines(slurm.sweep.noop) if line.startswith("done")]
    ended = slurm.sweep.events("ended")
    steps = {event["job"]: event for event in ended if event["kind"] == "pre-empted"}
    assert min(resumed) > 0
    assert all(event["requeued"] for event in steps.values())
    # 0.1 s a step and a checkpoint every second: what the first attempt had done, less one interval.
    spent = min(event["seconds"] for event in steps.values())
    assert min(resumed) >= (spent - 1) / 0.1 * 0.7 - 11


def test_a_time_out_goes_on_from_its_checkpoint(cluster: SlurmCluster, tmp_path: Path) -> None:
    slurm = OnSlurm(cluster, many(tmp_path, [450], rates=2), time=1)
    slurm.sweep.plan(step_seconds=0.1)
    done = slurm.run("--checkpoint-every", "1")
    assert done.returncode == 0, done.stderr
    assert_complete(slurm.sweep, 2)
    assert "time-out" in slurm.sweep.ends()
    assert {*slurm.sweep.ends()} == {"time-out", "finished"}


def test_a_cancelled_job_is_not_tried_again_until_asked(cluster: SlurmCluster, tmp_path: Path) -> None:
    slurm = OnSlurm(cluster, many(tmp_path, [600, 601, 3], rates=2))
    slurm.sweep.plan(step_seconds=0.1)
    with slurm.start() as driver:
        wait_until(lambda: len(trial_ids(slurm.sweep.directory)) == 2)
        victim = slurm.running()[0]
        cluster.must("scancel", victim)
        slurm.sweep.plan(step_seconds=0.0)
        _, said = driver.communicate(timeout=200)
    assert driver.returncode == 3, said
    assert f"failed (cancelled): Slurm job {victim}: CANCELLED" in said
    assert slurm.sweep.ends().count("cancelled") == 1
    assert slurm.ask("retry", "--failed").returncode == 0
    assert_complete(slurm.sweep, 6)


def test_a_dead_node_is_replaced(cluster: SlurmCluster, tmp_path: Path) -> None:
    """The machine is gone, Slurm requeues its jobs; they run on the other node."""
    slurm = OnSlurm(cluster, many(tmp_path, range(400, 416), rates=1))
    slurm.sweep.plan(step_seconds=0.1)
    with slurm.start("--checkpoint-every", "1") as driver:
        wait_until(lambda: begun(slurm.sweep, 16))
        time.sleep(3)
        lost = [job for job in slurm.running() if slurm.node_of(job) == "n2"]
        assert lost
        cluster.kill_node("n2")
        cluster.down_node("n2")
        _, said = driver.communicate(timeout=400)
    assert driver.returncode == 0, said
    assert_complete(slurm.sweep, 16)
    assert slurm.sweep.ends().count("node-failure") == len(lost)
    assert {*slurm.sweep.ends()} == {"node-failure", "finished"}


def test_a_node_thought_dead_does_not_count_twice(cluster: SlurmCluster, tmp_path: Path) -> None:
    """slurmd stops for longer than SlurmdTimeout; its jobs run on while Slurm starts them elsewhere."""
    slurm = OnSlurm(cluster, many(tmp_path, range(900, 904), rates=1))
    # Asked sooner, Slurm would explain the lost attempts before they find their successors themselves.
    slurm.environment["MUTRANSFER_SLURM_SECONDS"] = "30"
    slurm.sweep.plan(step_seconds=0.1)
    cluster.must("scontrol", "update", "nodename=n1", "state=drain", "reason=test")  # all on n2 at first
    with slurm.start("--checkpoint-every", "1") as driver:
        wait_until(lambda: begun(slurm.sweep, 4))
        cluster.stop_node("n2")
        cluster.must("scontrol", "update", "nodename=n1", "state=resume")
        wait_until(lambda: begun(slurm.sweep, 8))  # the same jobs, on the other node
        time.sleep(6)  # three heartbeats, in which the old processes find their successors
        cluster.start_node("n2")
        _, said = driver.communicate(timeout=300)
    assert driver.returncode == 0, said
    assert_complete(slurm.sweep, 4, alone=False)
    finished = [event["job"] for event in slurm.sweep.events("ended") if event["kind"] == "finished"]
    assert len(finished) == len(set(finished)) == 4
    assert slurm.sweep.ends().count("superseded") == 4


def test_a_stopped_controller_is_waited_for(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Jobs go on without it; what cannot be submitted is submitted when it is back, once."""
    slurm = OnSlurm(cluster, many(tmp_path, range(60, 80), rates=1))
    slurm.sweep.plan(step_seconds=0.1)
    with slurm.start("-j", "4") as driver:
        wait_until(lambda: begun(slurm.sweep, 2))
        cluster.stop_controller()
        time.sleep(45)
        cluster.start_controller()
        _, said = driver.communicate(timeout=400)
    assert driver.returncode == 0, said
    assert_complete(slurm.sweep, 20)
    assert len([line for line in noop.lines(slurm.sweep.noop) if line.startswith("begin")]) == 20


def test_a_killed_driver_is_succeeded(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Jobs in Slurm's hands outlive it; the next driver takes them over and submits none again."""
    slurm = OnSlurm(cluster, many(tmp_path, range(100, 106), rates=2))
    slurm.sweep.plan(step_seconds=0.1)
    with slurm.start() as driver:
        wait_until(lambda: begun(slurm.sweep, 6))
        driver.kill()
    assert slurm.sweep.status()["counts"]["running"] == 12
    done = slurm.run()
    assert done.returncode == 0, done.stderr
    assert_complete(slurm.sweep, 12)
    assert len([line for line in noop.lines(slurm.sweep.noop) if line.startswith("begin")]) == 6


@pytest.mark.parametrize("point", ["journal submitting", "journal submitted"])
def test_a_driver_killed_around_its_submission(cluster: SlurmCluster, tmp_path: Path, point: str) -> None:
    """Before Slurm is asked, and after it has answered but before that is on record: found by name."""
    slurm = OnSlurm(cluster, many(tmp_path, range(20, 24), rates=2))
    killed = slurm.run(MUTRANSFER_FAILPOINT=point)
    assert killed.returncode == -signal.SIGKILL
    done = slurm.run()
    assert done.returncode == 0, done.stderr
    assert_complete(slurm.sweep, 8)
    assert len([line for line in noop.lines(slurm.sweep.noop) if line.startswith("begin")]) == 4


def test_cancel_empties_the_queue(cluster: SlurmCluster, tmp_path: Path) -> None:
    """With a driver in the background, and without one."""
    slurm = OnSlurm(cluster, many(tmp_path, range(600, 604), rates=2))
    slurm.sweep.plan(step_seconds=0.1)
    assert slurm.run("--no-wait").returncode == 0
    wait_until(lambda: begun(slurm.sweep, 4))
    assert slurm.ask("cancel").returncode == 0
    wait_until(lambda: slurm.queue() == [])
    with slurm.start() as driver:
        wait_until(lambda: begun(slurm.sweep, 8))
        driver.kill()
    cancelled = slurm.ask("cancel")
    assert cancelled.returncode == 0, cancelled.stderr
    assert "no driver was running; 4 jobs of a scheduler were cancelled" in cancelled.stdout
    wait_until(lambda: slurm.queue() == [])
    slurm.sweep.plan()
    assert slurm.run().returncode == 0
    assert_complete(slurm.sweep, 8)


def test_resources_follow_the_shape_and_options_pass_through(cluster: SlurmCluster, tmp_path: Path) -> None:
    slurm = OnSlurm(
        cluster, many(tmp_path, [5], rates=2), gpus_per_node=1, comment="from the sweep file",
        setup="[export FROM_SETUP=1]",
    )  # fmt: skip
    slurm.sweep.plan(step_seconds=2.0)
    with slurm.start() as driver:
        wait_until(lambda: slurm.running())
        told = cluster.must("scontrol", "show", "job", slurm.running()[0])
        _, said = driver.communicate(timeout=120)
    assert driver.returncode == 0, said
    assert "gres/gpu=1" in told.replace("gres:gpu:1", "gres/gpu=1").replace("gpu:1", "gres/gpu=1")
    assert "TimeLimit=00:30:00" in told
    assert "MinMemoryNode=8G" in told
    assert "Comment=from the sweep file" in told
    assert slurm.sweep.events("ended")[0]["gpu_seconds"] >= 10
    trial = trial_ids(slurm.sweep.directory)[0]
    assert "--- attempt 1" in slurm.ask("logs", trial).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [({"partition": "nowhere"}, "invalid partition specified"), ({"gpus_per_node": 64}, "not available")],
)
def test_what_slurm_refuses_is_said(
    cluster: SlurmCluster, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    slurm = OnSlurm(cluster, many(tmp_path, [2], rates=1), **options)
    done = slurm.run()
    assert done.returncode == 6
    assert "Slurm refused a job" in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_job_that_slurm_would_never_start_is_said(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Accepted, and left to wait for ever: the partition's limit is 10 minutes, the job's 30."""
    slurm = OnSlurm(cluster, many(tmp_path, [2], rates=1), partition="short")
    done = slurm.run()
    assert done.returncode == 6
    # Slurm 22.05 says PartitionTimeLimit at first, and PartitionConfig after it has looked again.
    assert "Slurm will never start job" in done.stderr
    assert ": Partition" in done.stderr
    assert "see slurm: in the sweep file" in done.stderr
    assert slurm.queue() == []
    assert slurm.run("--set", "slurm.time=5").returncode == 0
    assert_complete(slurm.sweep, 1)


def test_a_payload_without_a_result_is_a_failure(cluster: SlurmCluster, tmp_path: Path) -> None:
    """The process says all is well, and there is nothing; and one that dies is tried three times."""
    slurm = OnSlurm(cluster, many(tmp_path, [2, 3], rates=1))
    slurm.sweep.plan(faults=[{"of": {"steps": 2}, "kind": "exit", "code": 0}])
    done = slurm.run()
    assert done.returncode == 3
    assert sorted(slurm.sweep.ends()) == ["finished", "no-result"]
    assert "COMPLETED" in done.stderr


def test_doctor_knows_the_limits(cluster: SlurmCluster, tmp_path: Path) -> None:
    sweep = many(tmp_path, [1])
    done = sweep.call(arguments("doctor"), 120, SLURM_CONF=str(cluster.conf))
    assert done.returncode == 0
    assert "arrays of 31, 1000 jobs in all" in done.stdout
    assert "few: at most 10 submitted" in done.stdout
    cluster.stop_controller()
    done = sweep.call(arguments("doctor"), 120, SLURM_CONF=str(cluster.conf))
    assert done.returncode == 6
    assert "fault  slurm" in done.stdout


def test_programs_of_four_tasks_on_two_nodes(cluster: SlurmCluster, tmp_path: Path) -> None:
    slurm = OnSlurm(cluster, endings(tmp_path), nodes=2, ntasks_per_node=2)
    done = slurm.run()
    assert done.returncode == 3, done.stderr
    assert_endings(slurm.sweep, 4)


def test_a_pre_empted_program_is_told_and_goes_on(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Slurm's signal reaches it as the one that it asked for; it saves within its grace and is requeued."""
    slurm = OnSlurm(cluster, programs(tmp_path, 2, 250), partition="low")
    logs = slurm.sweep.directory / "jobs"
    with slurm.start() as driver:
        wait_until(lambda: sum("begins at 0" in log.read_text() for log in logs.glob("*/log.txt")) == 2)
        time.sleep(3)
        take_all_nodes(cluster, 5)
        _, said = driver.communicate(timeout=300)
    assert driver.returncode == 0, said
    assert_losses(slurm.sweep, 2)
    assert slurm.sweep.ends().count("pre-empted") == 2
    begins = [line.split()[-1] for log in logs.glob("*/log.txt") for line in log.read_text().splitlines()
              if line.startswith("begins at")]  # fmt: skip
    assert len(begins) == 4 and sum(int(step) > 10 for step in begins) == 2
