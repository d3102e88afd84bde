"""A run as a function: devices and their sharing, without a GPU to share."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import noop
import pytest
from many_jobs import TESTS, Sweep, assert_complete, many

from mutransfer.orchestrator.backends.backend import Event
from mutransfer.orchestrator.backends.local.declaration import local_device
from mutransfer.orchestrator.backends.ray.declaration import ray_device
from mutransfer.orchestrator.backends.slurm.declaration import slurm_device
from mutransfer.orchestrator.planning import device
from mutransfer.orchestrator.planning.device import PreflightError
from mutransfer.orchestrator.planning.plan import Device, Job
from mutransfer.orchestrator.record.attempt import End
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.orchestrator.run.options import RunOptions
from mutransfer.orchestrator.run.reconcile import Work
from mutransfer.orchestrator.run.session import run_sweep
from mutransfer.sweeps.load import load_sweep

GPUS = Device("cuda", 2, 80 << 30)


class Silent:
    """Watches and says nothing."""

    def started(self, work: Work) -> None: ...
    def progressed(self, event: Event) -> None: ...
    def ended(self, end: End, job: Job, action: str) -> None: ...
    def split(self, job: Job, parts: Sequence[Job]) -> None: ...
    def note(self, text: str) -> None: ...


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    made = many(tmp_path, range(3, 11), rates=2)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device, "find_device", lambda choice: GPUS)
    assert str(TESTS) in made.environment()["PYTHONPATH"]
    return made


def run(sweep: Sweep, **options: object) -> None:
    given = RunOptions(device="cuda", **options)  # type: ignore[arg-type]
    assert run_sweep(load_sweep(str(sweep.file), []), SweepDirectory(sweep.directory), given, Silent()) == {}


def gpus_used(sweep: Sweep) -> Counter[str]:
    return Counter(line.split()[-1] for line in noop.lines(sweep.noop) if line.startswith("begin"))


def test_each_job_has_a_gpu(sweep: Sweep) -> None:
    sweep.plan(step_seconds=0.1)
    run(sweep)
    assert_complete(sweep, 16)
    assert set(gpus_used(sweep)) == {"0", "1"}
    ended = sweep.events("ended")
    assert all(event["gpu_seconds"] == pytest.approx(event["seconds"], abs=2e-3) for event in ended)


def test_several_jobs_share_a_gpu(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that this process may see; a job's GPU time is its share."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    sweep.plan(step_seconds=0.2)
    run(sweep, jobs_per_gpu=2)
    assert_complete(sweep, 16)
    used = gpus_used(sweep)
    assert set(used) == {"5", "7"}
    assert len({line.split()[2] for line in noop.lines(sweep.noop) if line.startswith("begin")}) == 4
    ended = sweep.events("ended")
    assert all(event["gpu_seconds"] == pytest.approx(event["seconds"] / 2, abs=2e-3) for event in ended)


def test_a_job_has_several_gpus(sweep: Sweep) -> None:
    sweep.plan(step_seconds=0.1)
    run(sweep, gpus_per_job=2)
    assert_complete(sweep, 16)
    assert set(gpus_used(sweep)) == {"0,1"}
    ended = sweep.events("ended")
    assert all(event["gpu_seconds"] == pytest.approx(2 * event["seconds"], abs=2e-3) for event in ended)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"gpus_per_job": 3}, "--gpus-per-job 3: there are 2 GPUs"),
     ({"gpus_per_job": 2, "jobs_per_gpu": 2}, "--jobs-per-gpu, --gpus-per-job")],
)  # fmt: skip
def test_gpus_that_are_not_there_are_refused(sweep: Sweep, options: dict[str, int], words: str) -> None:
    sweep.plan()
    with pytest.raises(PreflightError, match=words):
        run(sweep, **options)


def test_memory_is_planned_for_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find_device", lambda choice: GPUS)
    assert local_device(RunOptions()).memory_bytes == 80 << 30
    assert local_device(RunOptions(jobs_per_gpu=4)).memory_bytes == 20 << 30
    assert local_device(RunOptions(max_concurrent=6)).memory_bytes == pytest.approx((80 << 30) / 3, abs=1)
    assert local_device(RunOptions(gpu_memory_gb=40)).memory_bytes == 40 << 30


def test_a_clusters_device() -> None:
    assert slurm_device(RunOptions(), {}).kind == "cpu"
    assert slurm_device(RunOptions(), {"gpus_per_node": 1}) == Device("cuda", 64, 80 << 30)
    assert slurm_device(RunOptions(max_concurrent=7, gpu_memory_gb=40), {"gres": "gpu:1"}) == Device(
        "cuda", 7, 40 << 30
    )
    assert slurm_device(RunOptions(device="cpu"), {"gpus_per_node": 1}).kind == "cpu"
    assert slurm_device(RunOptions(gpus_per_job=2), {"gpus_per_node": 2}).per_job == 2
    with pytest.raises(PreflightError, match="slurm: asks for gpus_per_node: 3"):
        slurm_device(RunOptions(gpus_per_job=2), {"gpus_per_node": 3})
    assert ray_device(RunOptions(), 16, 0) == Device("cpu", 16)
    assert ray_device(RunOptions(jobs_per_gpu=2), 16, 4) == Device("cuda", 4, 40 << 30)
    with pytest.raises(PreflightError, match="the Ray cluster has no GPUs"):
        ray_device(RunOptions(device="cuda"), 16, 0)


def test_options_survive_their_record() -> None:
    options = RunOptions(backend="slurm", max_concurrent=3, fail_fast=True)
    assert RunOptions.recorded({**options.record(), "format": 1, "of the future": 2}) == options
    assert RunOptions.recorded(None) == RunOptions()


def test_a_sweep_that_another_driver_begins_meanwhile_is_no_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name appears, and its file, right after it was found to have none."""
    found = SweepDirectory.sweep_name

    def begun_meanwhile(directory: SweepDirectory) -> str | None:
        name = found(directory)
        (directory.path / "sweep.yaml").touch()
        return name

    monkeypatch.setattr(SweepDirectory, "sweep_name", begun_meanwhile)
    SweepDirectory(tmp_path).check("tiny")
