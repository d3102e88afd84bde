"""Trials as runs of a tracker, by the trackers' own packages; a logger that fails costs a note."""

import logging
from pathlib import Path

import pytest
from conftest import Command, trial_ids

from mutransfer.orchestrator.planning.device import PreflightError
from mutransfer.orchestrator.planning.plan import Job
from mutransfer.orchestrator.record.attempt import End
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.orchestrator.run.loggers import Logged, open_logger
from mutransfer.results.sources.importing import Reading, read_measurements


@pytest.mark.slow
def test_tensorboard(sweep_file: Path, tmp_path: Path, mutransfer: Command) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = mutransfer("run", str(sweep_file), "--log", "tensorboard")
    assert done.returncode == 0, done.stderr
    assert "not logged" not in done.stderr
    folders = sorted((tmp_path / "runs/tiny/tensorboard").iterdir())
    assert [folder.name for folder in folders] == sorted(trial_ids(tmp_path / "runs/tiny"))
    events = EventAccumulator(str(folders[0]))
    events.Reload()
    assert [event.step for event in events.Scalars("train_loss")] == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_mlflow_and_back(
    sweep_file: Path, tmp_path: Path, mutransfer: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is logged to MLflow can be imported from there again."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    done = mutransfer("run", str(sweep_file), "--log", "mlflow")
    assert done.returncode == 0, done.stderr
    assert "not logged" not in done.stderr
    table = read_measurements(tmp_path / "mlruns", Reading())
    assert table.num_rows == len(trial_ids(tmp_path / "runs/tiny"))


@pytest.mark.slow
def test_weights_and_biases_offline(
    sweep_file: Path, tmp_path: Path, mutransfer: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    done = mutransfer("run", str(sweep_file), "--log", "wandb", "--set", "width=[8]")
    assert done.returncode == 0, done.stderr
    assert "not logged" not in done.stderr
    runs = list((tmp_path / "runs/tiny/wandb").glob("offline-run-*"))
    assert len(runs) == len(trial_ids(tmp_path / "runs/tiny"))


class Broken:
    def trial(self, row: object, curve: object) -> None:
        raise ConnectionError("no network")


class Quiet:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def __getattr__(self, name: str) -> object:
        return lambda *given: None

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_failing_logger_costs_a_note(tmp_path: Path) -> None:
    from mutransfer.results.store.store import publish

    publish(tmp_path, "job", [{"trial_id": "a", "loss": 1.0, "status": "finished"}], [])
    watcher = Quiet()
    logged = Logged(watcher, SweepDirectory(tmp_path), Broken())  # type: ignore[arg-type]
    end = End.__new__(End)
    logged.ended(end, Job("job", (), 0.0), "done")
    assert watcher.notes == ["job job: not logged (ConnectionError: no network)"]


def test_an_unknown_logger_is_refused(tmp_path: Path) -> None:
    logging.captureWarnings(False)
    with pytest.raises(
        PreflightError, match="--log nope: is not a logger; choose from tensorboard, wandb, mlflow"
    ):
        open_logger("nope", tmp_path, "sweep")
