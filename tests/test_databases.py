"""Studies of Optuna and databases of MLflow, read from what their own packages wrote; never written to."""

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from conftest import rates
from measured import FILL, check, points

from mutransfer.results.sources.fault import ImportFault
from mutransfer.results.sources.importing import Reading, read_measurements, understand


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_optuna_studies(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("study.db" if kind == "sqlite" else "study.txt")
    backend = optuna.storages.journal.JournalFileBackend(str(path)) if kind == "journal" else None
    storage = optuna.storages.JournalStorage(backend) if backend else f"sqlite:///{path}"
    study = optuna.create_study(study_name="one", storage=storage)
    space = {"width": optuna.distributions.IntDistribution(64, 256),
             "lr": optuna.distributions.FloatDistribution(1e-4, 1.0)}  # fmt: skip
    for width, rate, loss in points():
        study.add_trial(
            optuna.trial.create_trial(params={"width": width, "lr": rate}, distributions=space, value=loss)
        )
    failed = optuna.trial.create_trial(
        params={"width": 64, "lr": 0.9}, distributions=space, state=optuna.trial.TrialState.FAIL
    )
    study.add_trial(failed)
    check(path, Reading({"learning_rate": "lr"}, FILL, include=["failed"]))
    optuna.create_study(study_name="two", storage=storage)
    with pytest.raises(ImportFault, match="choose one with --study: one, two"):
        read_measurements(path, Reading({"learning_rate": "lr"}, FILL))
    with pytest.raises(ImportFault, match="the study two has no trial that ended"):
        read_measurements(path, Reading({"learning_rate": "lr"}, FILL, study="two"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_database_of_mlflow_itself(tmp_path: Path) -> None:
    """Read as it stands, and not a byte of it changed."""
    import mlflow

    path = tmp_path / "ml flow?.db"
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/made.db")
    for index, state in enumerate(("FINISHED", "FINISHED", "FAILED", "RUNNING", "FINISHED")):
        run = client.create_run("0").info.run_id
        client.log_param(run, "lr", 0.1 * (index + 1))
        for step, loss in enumerate((5.0, float("nan") if index == 1 else 3.0)):
            client.log_metric(run, "loss", loss, step=step, timestamp=step)
        if state != "RUNNING":
            client.set_terminated(run, state)
        if index == 4:
            client.delete_run(run)
    shutil.copy(tmp_path / "made.db", path)
    before = path.read_bytes()
    rows = read_measurements(path).to_pylist()
    assert [(row["learning_rate"], row["loss"]) for row in rows] == [(0.1, 3.0), (0.2, None)]
    assert rates(path, "deleted", "failed", "running") == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert path.read_bytes() == before and not list(tmp_path.glob("ml flow*-*"))


@pytest.mark.parametrize("name", ["a#b.db", "a?mode=rwc.db", "per%20cent.db", "plain.db"])
@pytest.mark.parametrize("log", ["none", "empty", "full"])
def test_a_database_is_read_and_nothing_made_beside_it(name: str, log: str, tmp_path: Path) -> None:
    """Whatever it is called, and where it keeps a log of what is written."""
    made = tmp_path / "made.db"
    study = optuna.create_study(study_name="one", storage=f"sqlite:///{made}")
    study.enqueue_trial({"lr": 0.1})
    study.optimize(lambda trial: 20 * trial.suggest_float("lr", 1e-4, 1.0), n_trials=1)
    there = tmp_path / "there"
    there.mkdir()
    if log == "none":
        shutil.copy(made, there / name)
    else:
        with closing(sqlite3.connect(made)) as database:
            database.execute("PRAGMA journal_mode=wal")
            if log == "full":
                database.execute("UPDATE trial_values SET value = 2.5")
                database.commit()
                shutil.copy(f"{made}-wal", there / f"{name}-wal")
            shutil.copy(made, there / name)
    before = {file.name: file.read_bytes() for file in there.iterdir()}
    (row,) = read_measurements(there / name).to_pylist()
    assert (row["learning_rate"], row["loss"]) == (0.1, 2.5 if log == "full" else 2.0)
    assert {file.name: file.read_bytes() for file in there.iterdir()} == before


@pytest.mark.parametrize("damaged", ["tables", "trials"])
def test_a_damaged_database_is_told_how_to_be_saved(damaged: str, tmp_path: Path) -> None:
    """Whether it is the page that says what tables there are, or one that only Optuna comes to read."""
    path = tmp_path / "study.db"
    study = optuna.create_study(storage=f"sqlite:///{path}")
    study.add_trial(optuna.trial.create_trial(value=3.0, user_attrs={"lr": 0.1}))
    with closing(sqlite3.connect(path)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'trials'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    whole = bytearray(path.read_bytes())
    start, end = (100, size) if damaged == "tables" else ((page - 1) * size, page * size)
    whole[start:end] = b"\xff" * (end - start)
    path.write_bytes(whole)
    with pytest.raises(ImportFault, match=rf"{re.escape(str(path))}: cannot be read \(.*\.recover"):
        read_measurements(path)


@pytest.mark.parametrize("name", ["other.db", "other.sqlite", "odd?name.db", "other"])
def test_a_database_of_somebody_else_is_only_looked_at(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE runs(id text)")
        database.commit()
    before = path.read_bytes()
    with pytest.raises(ImportFault, match=r"is a database of neither Optuna nor MLflow; its tables: runs"):
        read_measurements(path)
    with pytest.raises(ImportFault, match="is a database of neither"):
        read_measurements(f"sqlite:///{path}")
    assert path.read_bytes() == before and {entry.name for entry in tmp_path.iterdir()} == {name}


def test_an_optuna_study_is_only_read(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    study = optuna.create_study(study_name="one", storage=f"sqlite:///{path}")
    study.add_trial(optuna.trial.create_trial(value=3.0, user_attrs={"lr": 0.1}))
    pruned = optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED, user_attrs={"lr": 0.2})
    study.add_trial(pruned)
    before = path.read_bytes()
    path.chmod(0o444)
    assert rates(path) == [0.1] and rates(path, "pruned") == [0.1, 0.2]
    assert path.read_bytes() == before


def test_a_parameter_of_optuna_called_like_the_loss_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    study = optuna.create_study(storage=f"sqlite:///{path}")
    kinds = optuna.distributions.CategoricalDistribution(["mse", "mae"])
    study.add_trial(
        optuna.trial.create_trial(
            value=3.0,
            params={"loss": "mse"},
            distributions={"loss": kinds},
            user_attrs={"lr": 0.1, "loss": 7},
        )
    )
    (row,) = read_measurements(path).to_pylist()
    assert (row["loss"], row["params.loss"], row["user_attrs.loss"]) == (3.0, "mse", "7")


def test_a_journal_of_optuna_that_is_cut_off_is_said(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    study = optuna.create_study(storage=storage)
    for value in (3.0, 2.0):
        study.add_trial(optuna.trial.create_trial(value=value, user_attrs={"lr": value / 10}))
    assert understand(path).notes == ()
    path.write_bytes(path.read_bytes()[:-20])
    found = understand(path)
    assert found.table.num_rows == 1 and found.notes == ("the last line is cut off and passed over",)


def test_an_infinite_metric_is_divergence_in_a_database(tmp_path: Path) -> None:
    """As MLflow's tables hold it."""
    with closing(sqlite3.connect(tmp_path / "m.db")) as database:
        database.execute("CREATE TABLE runs(run_uuid, status, lifecycle_stage, experiment_id)")
        database.execute("CREATE TABLE experiments(experiment_id, lifecycle_stage)")
        database.execute("CREATE TABLE params(key, value, run_uuid)")
        database.execute("CREATE TABLE latest_metrics(key, value, is_nan, run_uuid)")
        database.execute("INSERT INTO experiments VALUES (0, 'active')")
        for run, loss in (("a", 3.0), ("b", 1.7976931348623157e308), ("other", None)):
            database.execute("INSERT INTO runs VALUES (?, 'FINISHED', 'active', 0)", (run,))
            if loss is not None:
                database.execute("INSERT INTO params VALUES ('lr', '0.1', ?)", (run,))
                database.execute("INSERT INTO latest_metrics VALUES ('loss', ?, 0, ?)", (loss, run))
        database.commit()
    found = understand(tmp_path / "m.db")
    assert found.table.column("loss").to_pylist() == [3.0, None]
    assert "1 run without a learning rate left out" in found.notes
