"""What becomes of a sweep whose program, section or place has changed between two runs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Command, trial_ids
from own_programs import ONE, VALLEY

from mutransfer.results.store.store import read_rows


@pytest.mark.slow
def test_files_that_changed_are_said(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """By default they make other trials; --keep trains what is missing under the old identity."""
    sweep = ONE.replace("  loss", "  identity: [train.py]\n  loss")
    path, directory = own(sweep, "print('loss 1')\n"), tmp_path / "runs" / "own"
    assert mutransfer("run", str(path)).returncode == 0
    first = set(trial_ids(directory))
    (tmp_path / "trainer" / "train.py").write_text("print('loss 2')\n")
    more = path.read_text().replace("[0.5, 0.25]", "[0.5, 0.25, 0.125]")
    path.write_text(more)
    kept = mutransfer("run", str(path), "--keep")
    assert "changed since the trials ran, and kept as they are: train.py" in kept.stderr
    assert len(trial_ids(directory)) == 3 and first < set(trial_ids(directory))
    again = mutransfer("run", str(path))
    assert "changed since the trials ran: train.py; 3 that have ended are trained again" in again.stderr
    assert len(trial_ids(directory)) == 6
    mutransfer("trials", str(directory), "--out", "rows.csv")
    rows = np.genfromtxt(tmp_path / "rows.csv", delimiter=",", names=True, dtype=None, encoding=None)
    assert rows["loss"].tolist() == [2, 2, 2]


@pytest.mark.slow
def test_retry_keeps_what_run_kept(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    path = own(ONE.replace("  loss", "  identity: [train.py]\n  loss"), "print('loss 1')\n")
    assert mutransfer("run", str(path)).returncode == 0
    (tmp_path / "trainer" / "train.py").write_text("print('loss 2')\n")
    assert mutransfer("run", str(path), "--keep").returncode == 0
    mutransfer("retry", "runs/own")
    assert len(trial_ids(tmp_path / "runs" / "own")) == 2


def losses(directory: Path) -> list[float]:
    return sorted(read_rows(directory)[0].column("loss").to_pylist())


@pytest.mark.slow
def test_a_program_runs_where_the_sweep_file_says_now(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """Trials that were planned in another directory, or moved with it; and with another time limit."""
    sweep = ONE + "  timeout: 1\n"
    waits = "import time\nprint('loss 1', flush=True)\ntime.sleep(60)\n"
    path = own(sweep, waits)
    assert mutransfer("run", str(path)).returncode == 3
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.py").write_text(waits.replace("loss 1", "loss 2").replace("60", "2"))
    path.write_text(path.read_text().replace("trainer", "other").replace("timeout: 1", "timeout: 60"))
    done = mutransfer("run", str(path))
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "runs" / "own") == [2, 2]
    jobs = [job.read_text() for job in (tmp_path / "runs" / "own").glob("jobs/*/job.json")]
    assert all('"timeout": 60.0' in job and str(tmp_path / "other") in job for job in jobs)


@pytest.mark.slow
def test_a_section_that_changed_is_said(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """What decides a result beside files: no --keep makes two commands one."""
    path = own(ONE, "print('loss 1')\n")
    assert mutransfer("run", str(path)).returncode == 0
    assert "changed since" not in mutransfer("run", str(path)).stderr
    path.write_text(path.read_text() + "  environment: {A: x}\n")
    told = "changed since the trials ran: program.environment; 2 that have ended are trained again (put"
    assert told in mutransfer("run", str(path), "--keep").stderr
    assert len(trial_ids(tmp_path / "runs" / "own")) == 4


@pytest.mark.slow
def test_a_field_that_changed_its_kind_is_read(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """Between two runs, or between two sweeps that are reported together."""
    path = own(ONE, "print('loss 1')\n")
    assert mutransfer("run", str(path)).returncode == 0
    path.write_text(path.read_text().replace("[0.5, 0.25]", "[low, high]"))
    assert mutransfer("run", str(path)).returncode == 0
    assert mutransfer("run", str(path), "--out", "words").returncode == 0
    path.write_text(path.read_text().replace("[low, high]", "[1, 2]"))
    assert mutransfer("run", str(path), "--out", "numbers").returncode == 0
    for directories, rates in (
        (["runs/own"], {"high", "low"}),
        (["words", "numbers"], {"high", "low", "1", "2"}),
    ):
        done = mutransfer("trials", *directories, "--out", "rows.csv")
        assert done.returncode == 0, done.stderr
        table = pd.read_csv(tmp_path / "rows.csv", dtype=str)
        assert set(table["rate"]) == rates


@pytest.mark.slow
def test_checkpoints_of_finished_trials_are_collected(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """Those of a program are a folder; what a link points to stays."""
    saves = (
        "import os, sys\nfolder = sys.argv[2]\nos.makedirs(folder + '/deep')\n"
        "open(folder + '/deep/weights', 'w').write('x' * 1000)\n"
        f"os.symlink({str(tmp_path)!r}, folder + '/link')\nprint('loss 1')\n"
    )
    path = own(ONE.replace('"{rate}"]', '"{rate}", "{checkpoints}"]'), saves)
    assert mutransfer("run", str(path)).returncode == 0
    dry = mutransfer("gc", "runs/own", "-n")
    assert dry.returncode == 0 and [*tmp_path.glob("runs/own/jobs/*/checkpoints/own/deep/weights")]
    done = mutransfer("gc", "runs/own")
    assert done.returncode == 0, done.stderr
    assert not [*tmp_path.glob("runs/own/jobs/*/checkpoints")] and path.exists()
    assert losses(tmp_path / "runs" / "own") == [1, 1]


@pytest.mark.slow
def test_what_came_back_is_not_said_to_have_changed(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """Only what would be trained again; --keep keeps what was asked for last, whatever was planned since."""
    path = own(ONE.replace("  loss", "  identity: [train.py]\n  loss"), "print('loss 1')\n")
    trainer, directory = tmp_path / "trainer" / "train.py", tmp_path / "runs" / "own"
    whole = path.read_text()
    assert mutransfer("run", str(path)).returncode == 0
    first = set(trial_ids(directory))
    path.write_text(whole.replace("loss (", "lost ("))
    assert mutransfer("run", str(path)).returncode == 3
    trainer.write_text("print('loss 2')\n")
    path.write_text(whole)
    assert "2 that have ended" not in mutransfer("run", str(path)).stderr
    trainer.write_text("print('loss 1')\n")
    back = mutransfer("run", str(path))
    assert "changed since" not in back.stderr and "2 of 2 trials are already there" in back.stderr
    trainer.write_text("print('loss 3')\n")
    before = len(trial_ids(directory))
    kept = mutransfer("run", str(path), "--keep")
    assert "changed since the trials ran, and kept as they are: train.py" in kept.stderr
    assert len(trial_ids(directory)) == before
    mutransfer("trials", str(directory), "--out", "rows.csv")
    assert set(pd.read_csv(tmp_path / "rows.csv")["trial_id"]) == first
    path.write_text(whole.replace("  loss", "  gpus: {'0.5': 0, '0.25': 0}\n  loss") + "scale: rate\n")
    path.write_text(path.read_text() + "hyperparameter: learning_rate\n")
    assert "changed since" not in mutransfer("run", str(path), "--keep").stderr


@pytest.mark.slow
def test_different_programs_are_not_averaged(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """Two directories of equal fields, one trainer a nat above the other."""
    sweep = ONE.replace("{rate: [0.5, 0.25]}", "{width: [8, 16, 32], learning_rate: {log2: [-9, -3]}}")
    sweep = sweep.replace("{rate}", "{learning_rate}").replace("  loss", "  identity: [train.py]\n  loss")
    path = own(sweep, VALLEY)
    assert mutransfer("run", str(path), "--out", "one").returncode == 0
    assert mutransfer("run", str(path), "--out", "same").returncode == 0
    assert "differ in" not in mutransfer("report", "one", "same").stderr
    (tmp_path / "trainer" / "train.py").write_text(VALLEY.replace("2 + 0.1", "3 + 0.1"))
    assert mutransfer("run", str(path), "--out", "two").returncode == 0
    told = mutransfer("report", "one", "two", "-f", "json")
    assert "one, two: ran programs that differ in files; their trials are compared apart" in told.stderr
    found = json.loads(told.stdout)["comparisons"]
    assert len(found) == 2
    assert sorted(entry["optima"][-1]["loss"] for entry in found) == pytest.approx([2, 3], abs=0.01)
