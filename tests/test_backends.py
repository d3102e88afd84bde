"""What each backend declares of itself, seen where it matters: no cluster is needed."""

from pathlib import Path

import pytest
from conftest import Command

from mutransfer.orchestrator.backends.registry import BACKENDS, end_left, outlives
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.orchestrator.record.journal import Submission
from mutransfer.orchestrator.upkeep.collect import collect


def test_the_backends_are_these() -> None:
    assert {name: kind.told for name, kind in BACKENDS.items()} == {
        "local": "this machine", "ray": "Ray", "slurm": "Slurm",
    }  # fmt: skip
    assert [name for name in BACKENDS if outlives(name)] == ["slurm"]
    assert [name for name, kind in BACKENDS.items() if kind.shares_gpus] == ["local", "ray"]


def test_jobs_that_outlive_their_driver_are_ended_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("scancel", "squeue"):
        (tmp_path / command).write_text(f'#!/bin/sh\necho {command} "$@" >> {tmp_path}/asked\n')
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    end_left({job: Submission("slurm", "mutransfer-7", [job], "1") for job in ("a", "b")})
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 2 and asked[0].startswith("scancel -u ") and "--name mutransfer-7" in asked[0]


def test_gpus_are_not_shared_on_slurm(mutransfer: Command, sweep_file: Path) -> None:
    done = mutransfer("run", str(sweep_file), "--backend", "slurm", "--jobs-per-gpu", "2")
    assert done.returncode == 6
    assert "--jobs-per-gpu: Slurm gives whole GPUs to jobs; use it with local or ray" in done.stderr


def test_files_of_submissions_are_left_over_when_all_is_done(tmp_path: Path) -> None:
    directory = SweepDirectory(tmp_path / "sweep")
    directory.write_sweep("mine", "name: mine\n")
    directory.write_plan([], [])
    (directory.path / "slurm").mkdir()
    (directory.path / "slurm" / "1_submitted.pkl").write_text("old")
    assert collect(directory, dry_run=False).paths == (directory.path / "slurm" / "1_submitted.pkl",)
    assert not [*(directory.path / "slurm").iterdir()]
