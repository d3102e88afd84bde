"""Sweeps on a real Ray cluster of several nodes, each a raylet with processes of its own."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import noop
import pytest
from conftest import wait_until
from many_jobs import TESTS, Sweep, assert_complete, assert_endings, assert_losses, endings, many, programs

pytestmark = [
    pytest.mark.slow,
    # Ray's own: sockets and processes that it leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One cluster for all tests, with a home of its own (Ray writes a token there). What its workers have in
    their environment stays as it was at the start, so the place of a test's ledger is a link."""
    from ray.cluster_utils import Cluster

    home = tmp_path_factory.mktemp("ray")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HOME", str(home))
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("MUTRANSFER_TRAINING", "noop:train")
        environment.setenv("NOOP", str(home / "noop"))
        environment.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0})
        yield made
        made.shutdown()


@pytest.fixture
def place(head: Any, tmp_path: Path) -> Path:  # noqa: ANN401
    link = Path(os.environ["NOOP"])
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / "sweep" / "noop")
    return tmp_path / "sweep"


@pytest.fixture
def cluster(head: Any) -> Iterator[Any]:  # noqa: ANN401
    """The head alone; what a test adds goes with it."""
    yield head
    for node in [*head.worker_nodes]:
        head.remove_node(node)
    head.wait_for_nodes()


def start(sweep: Sweep, cluster: Any, *words: str) -> "subprocess.Popen[str]":  # noqa: ANN401
    return sweep.start("--backend", "ray", "--ray-address", cluster.address, *words)


def begun(sweep: Sweep) -> int:
    return sum(line.startswith("begin") for line in noop.lines(sweep.noop))


def test_a_removed_node_costs_its_jobs_only(place: Path, cluster: Any) -> None:  # noqa: ANN401
    """Three nodes, one removed in the middle of the sweep: complete, none twice, policy ours."""
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    cluster.wait_for_nodes()
    sweep = many(place, range(60, 72), rates=2)
    sweep.plan(step_seconds=0.1)
    with start(sweep, cluster, "--checkpoint-every", "1") as driver:
        wait_until(lambda: begun(sweep) >= 6)
        cluster.remove_node(nodes[1], allow_graceful=False)
        _, said = driver.communicate(timeout=200)
    assert driver.returncode == 0, said
    assert_complete(sweep, 24)
    ends = sweep.ends()
    assert ends.count("finished") == 12
    assert 1 <= len(ends) - 12 <= 2, ends  # what ran on that node
    assert {*ends} <= {"finished", "node-failure"}, ends


def test_fractions_of_a_gpu(place: Path, cluster: Any) -> None:  # noqa: ANN401
    """Two jobs share the node's one GPU, no more; each has a process of its own: one that has used a GPU
    keeps it, whichever Ray gives it next."""
    cluster.add_node(num_cpus=8, num_gpus=1)
    cluster.wait_for_nodes()
    sweep = many(place, range(10, 16), rates=1)
    sweep.plan(step_seconds=0.2)
    with start(sweep, cluster, "--jobs-per-gpu", "2") as driver:
        wait_until(lambda: begun(sweep) >= 2)
        assert len(sweep.status()["running"]) <= 2
        _, said = driver.communicate(timeout=200)
    assert driver.returncode == 0, said
    assert_complete(sweep, 6)
    ended = sweep.events("ended")
    assert all(0 < event["gpu_seconds"] < event["seconds"] for event in ended)
    processes = [line.split()[2] for line in noop.lines(sweep.noop) if line.startswith("begin")]
    assert len({*processes}) == 6


def test_a_killed_driver_leaves_nothing_running(place: Path, cluster: Any) -> None:  # noqa: ANN401
    """Its tasks end with it; the next driver goes on from their checkpoints."""
    sweep = many(place, range(60, 66), rates=2)
    sweep.plan(step_seconds=0.1)
    with start(sweep, cluster, "--checkpoint-every", "0.5") as driver:
        wait_until(lambda: begun(sweep) >= 2)
        wait_until(lambda: list(sweep.directory.glob("jobs/*/checkpoints/*.pt")))
        driver.kill()
    done = sweep.run("--backend", "ray", "--ray-address", cluster.address)
    assert done.returncode == 0, done.stderr
    assert_complete(sweep, 12)
    assert any(not line.endswith(" 0") for line in noop.lines(sweep.noop) if line.startswith("done"))


def test_failures_have_their_class(place: Path, cluster: Any) -> None:  # noqa: ANN401
    sweep = many(place, [2, 3, 4, 5], rates=4)
    sweep.plan(
        faults=[
            {"of": {"steps": 2}, "kind": "error"},
            {"of": {"steps": 3}, "kind": "exit", "times": 1},
            {"of": {"steps": 4}, "kind": "cuda memory", "fits": 2},
        ]
    )
    done = sweep.run("--backend", "ray", "--ray-address", cluster.address)
    assert done.returncode == 3
    assert sorted(sweep.ends()) == ["error", *["finished"] * 4, "killed", "out-of-memory"]
    sweep.plan()
    assert sweep.ask("retry").returncode == 0
    assert_complete(sweep, 16)


def test_a_run_of_its_own_never_joins_a_strangers_cluster(place: Path, cluster: Any) -> None:  # noqa: ANN401
    """`local` starts one, whatever RAY_ADDRESS or the last `ray start` say."""
    sweep = many(place, [1, 2], rates=2)
    done = sweep.run("--backend", "ray", "-j", "1", RAY_ADDRESS=cluster.address)
    assert done.returncode == 0, done.stderr
    names = {event["name"].split()[0] for event in sweep.events("submitted")}
    assert cluster.address not in names
    assert_complete(sweep, 4)


def test_an_address_without_a_cluster_is_said(place: Path) -> None:
    sweep = many(place, [1], rates=1)
    done = sweep.run(
        "--backend", "ray", "--ray-address", "127.0.0.1:1", RAY_gcs_rpc_server_reconnect_timeout_s="1"
    )
    assert done.returncode == 6
    assert "--ray-address 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_programs_of_the_users_own(place: Path, cluster: Any) -> None:  # noqa: ANN401
    """Each a task with the GPUs that it asks for; a killed node's programs go on elsewhere."""
    cluster.add_node(num_cpus=4, num_gpus=4)
    cluster.wait_for_nodes()
    sweep = programs(place, 100, 10)
    sweep.file.write_text(sweep.file.read_text().replace("  directory", "  gpus: 1\n  directory"))
    done = sweep.run("--backend", "ray", "--ray-address", cluster.address)
    assert done.returncode == 0, done.stderr
    assert_losses(sweep, 100)
    assert all(event["gpu_seconds"] == event["seconds"] > 0 for event in sweep.events("ended"))


def test_programs_that_end_badly(place: Path, cluster: Any) -> None:  # noqa: ANN401
    """Of two GPUs each, which no single node but one has."""
    cluster.add_node(num_cpus=2, num_gpus=1)
    cluster.add_node(num_cpus=2, num_gpus=2)
    cluster.wait_for_nodes()
    sweep = endings(place)
    sweep.file.write_text(sweep.file.read_text().replace("  directory", "  gpus: 2\n  directory"))
    done = sweep.run("--backend", "ray", "--ray-address", cluster.address)
    assert done.returncode == 3, done.stderr
    assert_endings(sweep, 1)
    ends = sweep.events("ended")
    assert [end["gpu_seconds"] for end in ends] == pytest.approx(
        [2 * end["seconds"] for end in ends], abs=0.01
    )


SLEEPS = """\
name: many
axes: {rate: [1, 2]}
program:
  command: [bash, -c, "sleep 7654321; echo loss {rate}"]
  loss: {pattern: 'loss (\\S+)'}
"""


def sleeping() -> list[Path]:
    """What the programs have started: no child of a worker's own."""
    told = b"sleep\0" + b"7654321"
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes().startswith(told):
                found.append(process)
    return found


def test_an_interrupted_driver_ends_what_programs_started(place: Path, cluster: Any) -> None:  # noqa: ANN401
    """Ray kills a worker and its children alone: what those started ends all the same."""
    sweep = many(place, [1], rates=1)
    sweep.file.write_text(SLEEPS)
    with start(sweep, cluster) as driver:
        wait_until(lambda: len(sleeping()) == 2)
        driver.send_signal(signal.SIGTERM)  # SIGINT may be ignored here
        driver.communicate(timeout=100)
    wait_until(lambda: not sleeping(), seconds=30)


def test_a_program_that_no_node_can_take_is_said(place: Path, cluster: Any) -> None:  # noqa: ANN401
    cluster.add_node(num_cpus=1, num_gpus=1)
    cluster.wait_for_nodes()
    sweep = many(place, [1], rates=1)
    sweep.file.write_text(SLEEPS + "  gpus: 2\n")
    done = sweep.run("--backend", "ray", "--ray-address", cluster.address)
    assert done.returncode == 6
    assert "program.gpus: a trial asks for 2, and the largest node of the Ray cluster has 1" in done.stderr
