"""Runs of Weights & Biases, MLflow and the like, as folders and as exports."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import Command, rates
from measured import FILL, check, points, write_mlruns

from mutransfer.results.sources.fault import ImportFault
from mutransfer.results.sources.importing import Reading, read_measurements, understand


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
        "1 deleted, 1 failed, 1 killed, 1 running left out; import --include deleted --include failed"
        in told.stdout
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


def test_runs_of_mlflow_without_their_file_are_said(tmp_path: Path) -> None:
    write_mlruns(tmp_path, [("a", 0.1, ""), ("b", 0.2, "")])
    (tmp_path / "1" / "b" / "meta.yaml").unlink()
    found = understand(tmp_path)
    assert found.table.num_rows == 1
    assert found.notes == ("without meta.yaml, which runs have, passed over: 1, 1/b first",)


def test_a_configuration_called_like_a_metric_hides_nothing(tmp_path: Path) -> None:
    run = {"config": {"loss": "cross entropy", "lr": 0.1, "steps": 7}, "summary": {"loss": 3.0, "steps": 9}}
    path = tmp_path / "runs.json"
    path.write_text(json.dumps([run]))
    (row,) = read_measurements(path).to_pylist()
    assert (row["loss"], row["steps"], row["config.loss"]) == (3.0, 7, "cross entropy")
    reading = Reading({"steps": "summary.steps", "learning_rate": "config.lr", "loss": "summary.loss"})
    (row,) = read_measurements(path, reading).to_pylist()
    assert (row["loss"], row["steps"], row["learning_rate"]) == (3.0, 9, 0.1)


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


def test_what_a_trainer_keeps_of_one_run_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    log = [{"step": 10, "loss": 3.0, "learning_rate": 0.1}, {"step": 20, "loss": 2.0, "learning_rate": 0.1}]
    path.write_text(json.dumps({"global_step": 20, "log_history": log}))
    with pytest.raises(ImportFault, match="is what transformers' Trainer keeps of one run; write a table"):
        understand(path)


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


@pytest.mark.parametrize("kind", ["runs", "rows"])
def test_short_lists_tell_trials_apart(kind: str, tmp_path: Path) -> None:
    """Betas are one value; they were left out, and trials that differ in them repeated each other."""
    records = [
        {"lr": 0.1, "seed": 0, "betas": [0.9, beta], "history": [1.0] * 50, "loss": 3.0}
        for beta in (0.95, 0.999)
    ]
    runs = [{"config": {name: row[name] for name in ("lr", "seed", "betas")},
             "summary": {name: row[name] for name in ("loss", "history")}} for row in records]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(runs if kind == "runs" else records))
    found = understand(tmp_path / "a.json")
    assert found.table.column("betas").to_pylist() == ["[0.9, 0.95]", "[0.9, 0.999]"]
    assert "history" not in found.table.column_names and found.notes == ()


def test_the_steps_of_a_history_are_kept(tmp_path: Path) -> None:
    lines = [{"_step": step, "_runtime": 1.5, "lr": 0.1, "loss": 3 - step / 1000} for step in (100, 200)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = understand(tmp_path / "a.jsonl").table
    assert found.column("_step").to_pylist() == ["100", "200"] and "_runtime" not in found.column_names


@pytest.mark.parametrize("name", ["lr", "max_lr"])
def test_what_was_set_goes_before_what_was_logged_last(name: str, tmp_path: Path) -> None:
    """A schedule's last rate, and a loss that is configured by its name."""
    runs = [{"config": {name: rate, "loss": "cross-entropy"},
             "summary": {"learning_rate": 0.1 * rate, "val_loss": 3.0}} for rate in (0.1, 0.2)]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(runs))
    found = understand(tmp_path / "a.json")
    assert found.table.column("learning_rate").to_pylist() == [0.1, 0.2]
    assert found.table.column("loss").to_pylist() == [3.0, 3.0]
    assert found.table.column("config.loss").to_pylist() == ["cross-entropy"] * 2 and found.notes == ()


@pytest.mark.parametrize("theirs", ["peak", "learning_rate", "summary.learning_rate"])
def test_what_is_mapped_is_taken(theirs: str, tmp_path: Path) -> None:
    """Whatever else a tracker holds that is called like it."""
    runs = [{"config": {"lr": rate, "peak": 10 * rate, "n_layers": 4},
             "summary": {"learning_rate": rate / 4, "val_loss": 3.0, "depth": 2}}
            for rate in (0.1, 0.2)]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(runs))
    found = understand(tmp_path / "a.json", Reading({"learning_rate": theirs}, {"depth": "7"})).table
    share = 10 if theirs == "peak" else 0.25
    assert found.column("learning_rate").to_pylist() == [0.1 * share, 0.2 * share]
    assert found.column("depth").to_pylist() == [7, 7]
