"""Measurements of other trackers: each read from what its own package wrote."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import optuna
import pandas as pd
import pytest
from conftest import Command

from mutransfer.results.sources.fault import ImportFault
from mutransfer.results.sources.importing import Reading, read_measurements

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
        (files / "wandb-summary.json").write_text(json.dumps({} if loss is None else {"loss": loss}))
    check(tmp_path / "wandb", Reading({"learning_rate": "lr"}, FILL))


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_optuna_studies(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("study.db" if kind == "sqlite" else "study.log")
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
    check(path, Reading({"learning_rate": "lr"}, FILL))
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
        if loss is not None:
            (run / "metrics" / "eval").mkdir()
            (run / "metrics" / "eval" / "loss").write_text(f"1 9.5 0\n2 {loss!r} 1\n")
    check(tmp_path / "mlruns", Reading({"learning_rate": "lr", "loss": "eval/loss"}, FILL))


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
