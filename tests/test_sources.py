"""Measurements of other trackers: each read from what its own package wrote."""

import gzip
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Command, rates

from mutransfer.results.sources.fault import ImportFault
from mutransfer.results.sources.importing import Reading, read_measurements, understand

FILL = {"optimizer": "adamw", "parametrization": "sp", "depth": "2"}


def points() -> Iterator[tuple[int, float, float]]:
    for width in (64, 128, 256):
        for power in range(-8, -2):
            yield width, 2.0**power, 3 + 0.1 * (power + 5) ** 2


def check(source: Path, reading: Reading) -> None:
    frame = read_measurements(source, reading).to_pandas()
    expected = sorted((width, rate, pytest.approx(loss)) for width, rate, loss in points())
    finished = frame[frame["status"] == "finished"]
    found = sorted(zip(finished["width"], finished["learning_rate"], finished["loss"], strict=True))
    assert found == expected
    assert (frame["status"] == "diverged").sum() == 1
    assert {*frame["optimizer"]} == {"adamw"} and {*frame["depth"]} == {2}


def test_a_csv_with_other_names(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"d_model": w, "lr": r, "val/loss": y} for w, r, y in points()]
    rows.append({"d_model": 64, "lr": 1.0, "val/loss": None})
    pd.DataFrame(rows).to_csv(tmp_path / "mine.csv", index=False)
    columns = {"width": "d_model", "learning_rate": "lr", "loss": "val/loss"}
    check(tmp_path / "mine.csv", Reading(columns, FILL))
    with pytest.raises(ImportFault, match="has no column nope; it has d_model, lr, val/loss"):
        read_measurements(tmp_path / "mine.csv", Reading({"width": "nope"}, FILL))


@pytest.mark.parametrize(
    "comment", ["# of the cluster\n", "// one\n// and another\n\n", "/* a\n b */", f"# {'long' * 500}\n"]
)
def test_a_comment_above_json_is_named(comment: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(comment + '{"lr": 0.1, "loss": 3}\n{"lr": 0.2, "loss": 2}\n')
    with pytest.raises(ImportFault, match="begins with a comment, which JSON has not"):
        understand(tmp_path / "a.json")


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_weights_and_biases_exports(suffix: str, tmp_path: Path) -> None:
    runs = [
        {"name": f"run{i}", "config": {"model": {"width": w}, "lr": r, "_wandb": {}}, "summary": {"loss": y}}
        for i, (w, r, y) in enumerate(points())
    ]
    runs.append({"name": "nan", "config": {"model": {"width": 64}, "lr": 1.0}, "summary": {"loss": "NaN"}})
    lines = "\n".join(json.dumps(run) for run in runs)
    (tmp_path / f"runs.{suffix}").write_text(json.dumps(runs) if suffix == "json" else lines)
    check(tmp_path / f"runs.{suffix}", Reading({"width": "model.width", "learning_rate": "lr"}, FILL))


@pytest.mark.slow
def test_weights_and_biases_offline_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder as wandb itself lays it out; config.yaml wraps every value."""
    for index, (width, rate, loss) in enumerate([*points(), (64, 1.0, None)]):
        files = tmp_path / "wandb" / f"offline-run-{index}" / "files"
        files.mkdir(parents=True)
        (files / "config.yaml").write_text(f"width:\n  value: {width}\nlr:\n  desc: null\n  value: {rate}\n")
        (files / "wandb-summary.json").write_text(json.dumps({"loss": "NaN" if loss is None else loss}))
    killed = shutil.copytree(files.parent, tmp_path / "wandb" / "offline-run-99") / "files"
    (killed / "wandb-summary.json").unlink()  # it is written at the end
    check(tmp_path / "wandb", Reading({"learning_rate": "lr"}, FILL))
    found = understand(tmp_path / "wandb", Reading({"learning_rate": "lr"}, FILL))
    assert "1 run without a loss left out" in found.notes
    (killed / "wandb-summary.json").write_text("")
    with pytest.raises(ImportFault, match=r"run-99/files/wandb-summary.json: .*; mend or delete it"):
        understand(tmp_path / "wandb", Reading({"learning_rate": "lr"}, FILL))


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


def test_mlflow_runs(tmp_path: Path) -> None:
    """The file store's layout: a file per parameter, a line per step of a metric."""
    for index, (width, rate, loss) in enumerate([*points(), (64, 1.0, None)]):
        run = tmp_path / "mlruns" / "1" / f"{index:032x}"
        for folder in ("params", "metrics", "tags"):
            (run / folder).mkdir(parents=True)
        (run / "meta.yaml").write_text("run_id: x\n")
        (run / "params" / "width").write_text(str(width))
        (run / "params" / "lr").write_text(repr(rate))
        (run / "metrics" / "eval").mkdir()
        value = "nan" if loss is None else repr(loss)
        (run / "metrics" / "eval" / "loss").write_text(f"1 9.5 0\n2 {value} 1\n")
    reading = Reading({"learning_rate": "lr", "loss": "eval/loss"}, FILL)
    check(tmp_path / "mlruns", reading)
    # What a run left behind, a model that it logged, and a run that measured nothing.
    artifacts = run / "artifacts" / "files"
    artifacts.mkdir(parents=True)
    pd.DataFrame({"lr": [0.1], "loss": [0.5]}).to_parquet(artifacts / "data.parquet")
    (artifacts / "config.yaml").write_text("lr: 0.1\n")
    model = shutil.copytree(run, run.parent / "models" / "m-1")
    (model / "meta.yaml").write_text("model_id: m-1\nstatus: 3\n")
    nothing = shutil.copytree(run, run.parent / "begun")
    (nothing / "metrics" / "eval" / "loss").unlink()
    check(tmp_path / "mlruns", reading)
    found = understand(tmp_path / "mlruns", reading)
    assert "1 run without a eval/loss left out" in found.notes and len(found.notes) == 2


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [("meta.yaml", "- a\n", "holds no names with values"),
     ("metrics/loss", "1 3.0 0\n2\n", "a line is not time"), ("params/lr", "\udcff", "can't decode byte")],
)  # fmt: skip
def test_the_file_of_a_run_that_is_damaged_is_named(file: str, text: str, words: str, tmp_path: Path) -> None:
    write_mlruns(tmp_path, [("a", 0.1, ""), ("b", 0.2, "")])
    (tmp_path / "1" / "b" / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ImportFault, match=f"1/b/{file}: .*{words}.*; mend or delete it"):
        understand(tmp_path)


def write_mlruns(folder: Path, runs: Sequence[tuple[str, float, str]], experiment: str = "1") -> None:
    """A file store of runs: name, learning rate, the lines of meta.yaml."""
    for name, rate, meta in runs:
        for kind, key, text in (("params", "lr", str(rate)), ("metrics", "loss", f"1 {3 + rate} 0\n")):
            (folder / experiment / name / kind).mkdir(parents=True)
            (folder / experiment / name / kind / key).write_text(text)
        (folder / experiment / name / "meta.yaml").write_text(meta)


STATES = (
    ("a", 0.1, "lifecycle_stage: active\nstatus: 3\n"),
    ("b", 0.2, "lifecycle_stage: deleted\nstatus: 3\n"),
    ("c", 0.3, "lifecycle_stage: active\nstatus: 1\n"),
    ("d", 0.4, "lifecycle_stage: active\nstatus: 4\n"),
    ("e", 0.5, "lifecycle_stage: active\nstatus: 5\n"),
)


def test_runs_that_have_not_finished_are_left_out_and_said(tmp_path: Path, mutransfer: Command) -> None:
    write_mlruns(tmp_path / "mlruns", STATES)
    told = mutransfer("import", "mlruns", "--out", "taken")
    assert (
        "1 deleted, 1 failed, 1 killed, 1 running left out; --include deleted --include failed" in told.stdout
    )
    assert rates(tmp_path / "mlruns") == [0.1]
    assert rates(tmp_path / "mlruns", "running", "deleted") == [0.1, 0.2, 0.3]
    with pytest.raises(ImportFault, match="--include crashed: no run is crashed; there are deleted, failed"):
        rates(tmp_path / "mlruns", "crashed")
    write_mlruns(tmp_path / "none", STATES[1:3])
    with pytest.raises(ImportFault, match="no run has finished: 1 deleted, 1 running left out"):
        rates(tmp_path / "none")


def test_experiments_of_one_mlflow_store_are_told_apart(tmp_path: Path, mutransfer: Command) -> None:
    write_mlruns(tmp_path / "mlruns", STATES[:2], "1")
    write_mlruns(tmp_path / "mlruns", [("x", 0.7, "status: 3\n")], "2")
    write_mlruns(tmp_path / "mlruns", [("y", 0.8, "lifecycle_stage: deleted\n")], "3")
    (tmp_path / "mlruns" / "1" / "meta.yaml").write_text("name: ours\n")
    told = mutransfer("import", "mlruns", "--dry-run")
    assert "of 2 experiments: 2, ours; --study NAME takes one" in told.stdout
    both = read_measurements(tmp_path / "mlruns").to_pylist()
    assert {row["learning_rate"]: row["experiment"] for row in both} == {0.1: "ours", 0.7: "2"}
    (one,) = read_measurements(tmp_path / "mlruns", Reading(study="ours")).to_pylist()
    assert one["learning_rate"] == 0.1 and "experiment" not in one
    with pytest.raises(ImportFault, match="has no experiment mine; choose one with --study: 2, ours"):
        read_measurements(tmp_path / "mlruns", Reading(study="mine"))


RECORDS: list[dict[str, Any]] = [
    {"lr": 0.1, "loss": 3.0},
    {"lr": 0.2, "loss": "NaN"},
    {"lr": 0.4, "loss": 3.5},
]


@pytest.mark.parametrize(
    "held",
    [
        json.dumps(RECORDS),
        "\n".join(map(json.dumps, RECORDS)),
        json.dumps({"runs": RECORDS, "exported": "today"}),
        json.dumps(
            {"runs": [{"config": {"lr": row["lr"]}, "summary": {"loss": row["loss"]}} for row in RECORDS]}
        ),
        json.dumps({"a": RECORDS[0], "b": RECORDS[1], "c": RECORDS[2]}),
        json.dumps({"lr": [0.1, 0.2, 0.4], "loss": [3.0, None, 3.5]}),
        json.dumps({"lr": {"0": 0.1, "1": 0.2, "2": 0.4}, "loss": {"0": 3.0, "1": None, "2": 3.5}}),
        json.dumps([{"hparams": {"lr": row["lr"]}, "metrics": {"loss": row["loss"]}} for row in RECORDS]),
    ],
    ids=["list", "lines", "within", "runs within", "by name", "columns", "pandas", "nested"],
)
def test_rows_in_any_json(held: str, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text(held)
    rename = {"learning_rate": "hparams.lr"} if "hparams" in held else {}
    rows = read_measurements(tmp_path / "rows", Reading(rename)).to_pylist()
    assert {row["learning_rate"]: row["loss"] for row in rows} == {0.1: 3.0, 0.2: None, 0.4: 3.5}


def test_a_decimal_comma_among_commas_is_quoted(tmp_path: Path) -> None:
    """Where a cell below one shows that no thousands are meant; else it is refused, not guessed."""
    path = tmp_path / "losses.csv"
    path.write_text('lr,loss\n"0,01","3,25"\n"0,02","3,125"\n')
    rows = read_measurements(path).to_pylist()
    assert {row["learning_rate"]: row["loss"] for row in rows} == {0.01: 3.25, 0.02: 3.125}
    path.write_text('width,lr,loss\n"1,024",0.01,3.25\n')
    with pytest.raises(ImportFault, match="row 2: width '1,024' is not a number"):
        read_measurements(path)


@pytest.mark.parametrize("name", ["losses.csv", "runs.json"])
def test_text_in_another_encoding_is_named(name: str, tmp_path: Path) -> None:
    text = '[{"lr": 0.1,\n"note": "ä"}]' if name == "runs.json" else "lr,loss\n0.1,ä\n"
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ImportFault, match=f"{name}: line 2 is no text in UTF-8; save the file as that"):
        read_measurements(tmp_path / name)


def test_a_configuration_called_like_a_metric_hides_nothing(tmp_path: Path) -> None:
    run = {"config": {"loss": "cross entropy", "lr": 0.1, "steps": 7}, "summary": {"loss": 3.0, "steps": 9}}
    path = tmp_path / "runs.json"
    path.write_text(json.dumps([run]))
    (row,) = read_measurements(path).to_pylist()
    assert (row["loss"], row["steps"], row["config.loss"]) == (3.0, 7, "cross entropy")
    reading = Reading({"steps": "summary.steps", "learning_rate": "config.lr", "loss": "summary.loss"})
    (row,) = read_measurements(path, reading).to_pylist()
    assert (row["loss"], row["steps"], row["learning_rate"]) == (3.0, 9, 0.1)


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


def test_a_damaged_database_is_told_how_to_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE studies(id text)")
        database.commit()
    whole = bytearray(path.read_bytes())
    whole[100:3000] = b"\xff" * 2900  # the first page, which says what tables there are
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


def test_runs_of_mlflow_without_their_file_are_said(tmp_path: Path) -> None:
    write_mlruns(tmp_path, [("a", 0.1, ""), ("b", 0.2, "")])
    (tmp_path / "1" / "b" / "meta.yaml").unlink()
    found = understand(tmp_path)
    assert found.table.num_rows == 1
    assert found.notes == ("without meta.yaml, which runs have, passed over: 1, 1/b first",)


def test_a_folder_and_a_column_that_disagree(tmp_path: Path) -> None:
    for width in (64, 128):
        (tmp_path / f"width={width}").mkdir()
        frame = pd.DataFrame({"width": [width] * 2, "lr": [0.1, 0.2], "loss": [3.0, 2.0]})
        frame.to_parquet(tmp_path / f"width={width}" / "part.parquet")
    assert sorted(understand(tmp_path).table.column("width").to_pylist()) == [64, 64, 128, 128]
    frame.assign(width=0).to_parquet(tmp_path / "width=128" / "part.parquet")
    with pytest.raises(ImportFault, match=r"the column width holds 0, its folder says 128"):
        understand(tmp_path)
    frame.assign(width=64).to_parquet(tmp_path / "width=128" / "part.parquet")
    with pytest.raises(
        ImportFault, match=r"part.parquet: the column width holds 64, its folder says 128; mend"
    ):
        understand(tmp_path)


def test_what_a_trainer_keeps_of_one_run_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    log = [{"step": 10, "loss": 3.0, "learning_rate": 0.1}, {"step": 20, "loss": 2.0, "learning_rate": 0.1}]
    path.write_text(json.dumps({"global_step": 20, "log_history": log}))
    with pytest.raises(ImportFault, match="is what transformers' Trainer keeps of one run; write a table"):
        understand(path)


@pytest.mark.parametrize("kind", ["nullable", "arrow"])
def test_columns_of_nullable_types(kind: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"width": [64, 64, 128], "learning_rate": [0.1, 0.2, 0.1], "loss": [3.0, None, 2.5],
                          "batch_size": [8, None, 8], "flag": [True, None, False]})  # fmt: skip
    backend = "pyarrow" if kind == "arrow" else "numpy_nullable"
    frame.convert_dtypes(dtype_backend=backend).set_index(["width", "learning_rate"]).to_parquet(
        tmp_path / "losses.parquet"
    )
    rows = read_measurements(tmp_path / "losses.parquet").to_pylist()
    assert [(row["width"], row["loss"], row["batch_size"], row["flag"]) for row in rows] == [
        (64, 3.0, 8, "True"), (64, None, None, None), (128, 2.5, 8, "False")
    ]  # fmt: skip


def test_columns_with_levels_are_named(tmp_path: Path) -> None:
    frame = pd.DataFrame([[1.0, 2.0]], columns=pd.MultiIndex.from_tuples([("lr", "a"), ("loss", "b")]))
    frame.to_parquet(tmp_path / "losses.parquet")
    with pytest.raises(ImportFault, match=r"columns have 2 levels \(lr and a\); join their names"):
        read_measurements(tmp_path / "losses.parquet")


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    for index in range(2):
        (tmp_path / "parts" / f"{index}").mkdir(parents=True)
        part = pd.DataFrame({"lr": [0.1 * (index + 1)], "loss": [3.0]})
        part.to_parquet(tmp_path / "parts" / f"{index}" / "part.parquet")
    assert rates(tmp_path / "parts") == [0.1, 0.2]
    (tmp_path / "parts" / "sweep.yaml").write_text("name: x\n")
    with pytest.raises(ImportFault, match="is a sweep directory already; next: mutransfer report"):
        rates(tmp_path / "parts")


def test_two_spellings_of_a_name_are_one_family(tmp_path: Path, mutransfer: Command) -> None:
    (tmp_path / "losses.csv").write_text("optimizer,lr,loss\nAdamW,0.1,3\nadamw,0.2,2\nLion,0.1,3\n")
    told = mutransfer("import", "losses.csv", "--out", "taken")
    assert "optimizer: AdamW and adamw are one" in told.stdout
    rows = read_measurements(tmp_path / "losses.csv").column("optimizer").to_pylist()
    assert rows == ["adamw", "adamw", "Lion"]


def test_rows_of_separators_alone_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "losses.csv").write_text("lr,loss\n0.1,3\n,\n\n0.2,2\n,wide\n")
    with pytest.raises(ImportFault, match="row 6: loss 'wide' is not a number"):
        read_measurements(tmp_path / "losses.csv")


@pytest.mark.parametrize("name", ["empty.json", "broken.json", "empty.db", "nothing"])
def test_what_is_none_of_these_is_named(name: str, tmp_path: Path, mutransfer: Command) -> None:
    path = tmp_path / name
    if name == "nothing":
        path.mkdir()
    else:
        path.write_text({"empty.json": "[]", "broken.json": "{"}.get(name, ""))
    done = mutransfer("import", os.fspath(path), "--out", "x")
    assert done.returncode == 2
    assert name in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def test_what_no_loss_can_be_read_from_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text(json.dumps([{"config": "no object", "summary": {"loss": 1}}]))
    with pytest.raises(ImportFault, match=r"odd\.json: is no Weights & Biases export"):
        read_measurements(tmp_path / "odd.json")
    storage = f"sqlite:///{tmp_path}/up.db"
    study = optuna.create_study(study_name="up", storage=storage, direction="maximize")
    study.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(ImportFault, match="the study up does not minimise one loss"):
        read_measurements(storage)
    with pytest.raises(ImportFault, match="there is no"):
        read_measurements(f"sqlite:///{tmp_path}/gone.db")
    assert not (tmp_path / "gone.db").exists()


def test_the_options_are_checked(mutransfer: Command) -> None:
    wrong = mutransfer("import", "x.csv", "--out", "x", "--map", "width")
    assert wrong.returncode == 2 and "--map width: write FIELD=VALUE" in wrong.stderr


def test_a_name_in_both_folders_of_mlflow_hides_nothing(tmp_path: Path) -> None:
    write_mlruns(tmp_path / "mlruns", STATES[:1])
    (tmp_path / "mlruns" / "1" / "a" / "params" / "loss").write_text("cross entropy")
    (row,) = read_measurements(tmp_path / "mlruns").to_pylist()
    assert (row["loss"], row["params.loss"]) == (3.1, "cross entropy")
    reading = Reading({"loss": "metrics.loss", "learning_rate": "params.lr"})
    assert read_measurements(tmp_path / "mlruns", reading).to_pylist()[0]["loss"] == 3.1


def test_a_metric_is_that_of_the_last_step(tmp_path: Path) -> None:
    """Not of the last line: a run that went on again writes earlier steps later."""
    write_mlruns(tmp_path / "mlruns", STATES[:1])
    (tmp_path / "mlruns" / "1" / "a" / "metrics" / "loss").write_text("5 3.35 10\n9 8.35 1\n6 3.5 9\n")
    (row,) = read_measurements(tmp_path / "mlruns").to_pylist()
    assert row["loss"] == 3.35


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


def test_a_header_behind_a_comment_sign(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("# made by hand\n# width,lr,loss\n64,0.001,3.0\n64,0.002,nan\n")
    rows = read_measurements(tmp_path / "a.csv").to_pylist()
    cells = [(row["width"], row["learning_rate"], row["loss"]) for row in rows]
    assert cells == [(64, 0.001, 3.0), (64, 0.002, None)]
    (tmp_path / "b.csv").write_text("# no header\n64,0.001,3.0\n64,0.002,3.1\n")
    with pytest.raises(ImportFault, match="all its columns are named by numbers"):
        read_measurements(tmp_path / "b.csv")


def test_wide_and_partitioned_parquet(tmp_path: Path) -> None:
    rows = [(64, 0.1, 3.0), (64, 0.2, 2.0), (64, 0.4, 3.0), (128, 0.1, 2.5)]
    frame = pd.DataFrame(rows, columns=["width", "lr", "loss"])
    frame[:3].pivot(index="width", columns="lr", values="loss").to_parquet(tmp_path / "wide.parquet")
    assert rates(tmp_path / "wide.parquet") == [0.1, 0.2, 0.4]
    frame.to_parquet(tmp_path / "hive", partition_cols=["width"])
    widths = read_measurements(tmp_path / "hive").column("width").to_pylist()
    assert sorted(widths) == [64, 64, 64, 128]


def test_what_was_taken_for_diverged_is_said(tmp_path: Path) -> None:
    """A table of suggestions whose losses were not filled in, say."""
    (tmp_path / "a.csv").write_text("width,depth,lr,loss\n64,,0.1,\n64,,0.2,3\n")
    found = understand(tmp_path / "a.csv")  # a column without any cell is none
    assert "1 without a finite loss are taken for diverged" in found.notes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"lr": 0.1, "loss": 3}\n\n{"lr": 0.2, "loss":\n', "line 3: Expecting value"),
        ('[{"lr": 0.1, "loss": 3, "loss": 4}]', "an object has 'loss' twice"),
        ('{"lr": [0.1, 0.2, 0.3], "loss": [1, 2]}', "the column loss has another length than lr"),
        ('[{"lr": 0.1, "loss": 3}, 5]', "entry 2 of 2 is no object: 5"),
        ('[\n{"lr": 0.1,\n "loss": }]', "line 3 column 10"),
    ],
)
def test_what_is_wrong_in_json_is_named(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ImportFault, match=told):
        understand(tmp_path / "a.json")


def test_what_was_measured_may_stand_beside_the_configuration(tmp_path: Path) -> None:
    runs = [{"config": {"lr": 0.1 * n}, "val_loss": 3.0, "status": "TERMINATED"} for n in (1, 2)]
    (tmp_path / "a.json").write_text(json.dumps(runs))
    assert understand(tmp_path / "a.json").table.column("loss").to_pylist() == [3.0, 3.0]


def test_a_run_is_named_where_it_has_no_line(tmp_path: Path) -> None:
    runs = [
        {"name": f"r{n}", "config": {"lr": rate}, "summary": {"loss": 3.0}}
        for n, rate in ((1, 0.1), (2, "x"))
    ]
    (tmp_path / "a.json").write_text(json.dumps(runs))
    with pytest.raises(ImportFault, match="run r2: learning_rate 'x' is not a number"):
        understand(tmp_path / "a.json")


def test_columns_of_no_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"lr": [True, False], "loss": [3.0, 2.0]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ImportFault, match="learning_rate holds true and false, no numbers"):
        understand(tmp_path / "a.parquet")
    pd.DataFrame({"lr": pd.to_timedelta([1, 2], unit="s"), "loss": [3.0, 2.0]}).to_parquet(
        tmp_path / "a.parquet"
    )
    with pytest.raises(ImportFault, match="learning_rate holds times, no numbers"):
        understand(tmp_path / "a.parquet")
    twice = pa.table([pa.array([1.0])] * 3, names=["lr", "loss", "loss"])
    pq.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(ImportFault, match="has several columns loss; keep one of each"):
        understand(tmp_path / "a.parquet")


def test_what_holds_no_table_says_what_does(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").write_text("lr,loss\n0.1,3\n")
    with pytest.raises(ImportFault, match=r"import a file alone: a\.csv"):
        understand(tmp_path / "tables")
    with pytest.raises(ImportFault, match="is neither a file nor a folder"):
        understand("/dev/null")
    (tmp_path / "empty.db").touch()
    with pytest.raises(ImportFault, match=r"empty\.db: is empty"):
        understand(tmp_path / "empty.db")


def test_a_name_that_is_no_text(tmp_path: Path, mutransfer: Command) -> None:
    """Bytes of latin-1 as the name of a file, on a system whose names are UTF-8."""
    name = os.fsdecode(b"na\xefve")
    lines = [f"{width},{2.0**power},{3 + (power + 5) ** 2}" for width in (64, 128) for power in range(-8, -2)]
    (tmp_path / f"{name}.csv").write_text("\n".join(["width,lr,loss", *lines]))
    assert mutransfer("import", f"{name}.csv", "--out", name).returncode == 0
    for source in (name, f"{name}.csv"):
        done = mutransfer("report", source, "--out", "page")
        assert done.returncode == 0 and "na?ve" in (tmp_path / "page" / "report.html").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "width;0,001;0,002;0,004\n128;3,5;3,4;3,45\n256;3,3;3,2;diverged\n",
        "width;0,001;0,002;0,004;0,008\n128;3,5;3,4;3,45;-\n256;3,3;3,2;-;>10\n",
        "sep=;\nwidth;lr;loss\n128;0,001;3,5\n128;0,002;3,4\n128;0,004;3,45\n256;0,001;3,3\n256;0,002;3,2\n",
        'width,lr,loss,note\n128,0.001,3.5,"a\u2028b"\n128,0.002,3.4,\x0c\n128,0.004,3.45,\x85\n'
        "256,0.001,3.3,\n256,0.002,3.2,\n",
    ],
)
def test_separators_where_commas_are_in_numbers(text: str, tmp_path: Path) -> None:
    """In the header, too; and lines end where lines end."""
    (tmp_path / "losses.csv").write_text(text, encoding="utf-8")
    rows = read_measurements(tmp_path / "losses.csv").to_pylist()
    told = {(row["width"], row["learning_rate"]): row["loss"] for row in rows if row["loss"]}
    assert told == {
        (128, 0.001): 3.5, (128, 0.002): 3.4, (128, 0.004): 3.45, (256, 0.001): 3.3, (256, 0.002): 3.2,
    }  # fmt: skip


def test_what_is_not_the_file_itself_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(ImportFault, match="is a pointer of Git LFS"):
        understand(tmp_path / "a.csv")
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(b'{"op_code": 0}\n'))
    with pytest.raises(ImportFault, match=r"is gzipped, .*; unpack it"):
        understand(tmp_path / "a.log.gz")
    with pytest.raises(ImportFault, match=r"://me:\*\*\*@nowhere/db"):
        understand("postgresql://me:secret@nowhere/db")
    for address, words in (
        ("postgres://me:secret@h/db", "write postgresql://"), ("mysql://me:se@cret@h/db", r"://me:\*\*\*@h"),
        ("https://me:secret@h/x", "is no database's address"), ("sqlite+pysqlite:///x.db", "the path alone"),
        ("postgresql://h/db?user=me&password=secret", r"password=\*\*\*"),
    ):  # fmt: skip
        with pytest.raises(ImportFault, match=words) as told:
            understand(address)
        assert "cret" not in str(told.value)
    entries = [{"lr": 0.1, "loss": 3.0, "tags": ["a"]}, {"lr": 0.2, "loss": 2.0, "tags": "b"}]
    (tmp_path / "rows.json").write_text(json.dumps(entries))
    assert understand(tmp_path / "rows.json").table.num_rows == 2
    entries = [{"lr": 0.1, "loss": 3.0}, {"lr": 0.2, "loss": [3.0, 2.9]}]
    (tmp_path / "rows.json").write_text(json.dumps(entries))
    with pytest.raises(ImportFault, match="entry 2: loss is a list, and one value in other entries"):
        understand(tmp_path / "rows.json")


def test_folders_of_several_kinds(tmp_path: Path) -> None:
    """MLflow's are told by what they say, not by how their folders are called."""
    pd.DataFrame({"lr": [0.1, 0.2], "loss": [3.0, 2.0]}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "x" / "metrics").mkdir(parents=True)
    (tmp_path / "x" / "meta.yaml").write_text("title: plots\n")
    (tmp_path / "x" / "metrics" / "plot.txt").write_text("none")
    assert understand(tmp_path).table.num_rows == 2
    write_mlruns(tmp_path / "mlruns", [("a", 0.1, "run_id: a\n")])
    files = tmp_path / "wandb" / "run-1" / "files"
    files.mkdir(parents=True)
    (files / "config.yaml").write_text("lr: {value: 0.1}\n")
    with pytest.raises(ImportFault, match="holds runs of MLflow and of Weights & Biases"):
        understand(tmp_path)
