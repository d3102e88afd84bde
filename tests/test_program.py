"""A program of the user's as the trial of a sweep: from the sweep file to the report and the export."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Command
from own_programs import ONE, SWEEP, TRAINER, VALLEY

from mutransfer.models.handover.transfer import param_groups
from mutransfer.models.handover.values import handover_of
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.job.worker import Task, perform
from mutransfer.orchestrator.planning.plan import Device
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.orchestrator.run.reconcile import prepare
from mutransfer.results.store.store import read_rows
from mutransfer.sweeps.load import load_sweep
from mutransfer.sweeps.proxy import Proxy
from mutransfer.sweeps.trial import trial_id


def reports(directory: Path, mutransfer: Command, *words: str) -> dict[str, object]:
    told = json.loads(mutransfer("report", str(directory), "-f", "json", *words).stdout)
    (found,) = told["comparisons"]
    return dict(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        "{pattern: 'val loss (\\S+)'}",
        "{file: metrics.jsonl, key: val}",
        "{csv: '{files}/log.csv', column: val}",
    ],
)
def test_from_the_sweep_file_to_the_verdict(
    loss: str, own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """Axes of any name; the scale is what the file says; a loss that is no number is a divergence."""
    path = own(SWEEP.replace("{pattern: 'val loss (\\S+)'}", loss), TRAINER)
    planned = mutransfer("plan", str(path)).stdout
    assert "own: 21 trials" in planned and "train.py --size 64 --rate 0.001953125 --out FILES" in planned
    assert "not known before a trial of each scale has ended" in planned
    done = mutransfer("run", str(path))
    assert done.returncode == 0 and f"runs in {tmp_path / 'trainer'}: " in done.stderr
    rows = read_rows(tmp_path / "runs" / "own")[0].to_pandas()
    assert len(rows) == 21 and (rows["status"] == "diverged").sum() == 3
    assert set(rows.loc[rows["status"] == "diverged", "rate"]) == {0.125}
    assert set(rows["note"]) == {"plain"}
    found = reports(tmp_path / "runs" / "own", mutransfer)
    assert found["axis"] == "size" and found["verdict"] == "drifts"
    assert found["slope_per_doubling"] == pytest.approx(-1, abs=0.1)
    assert "time left: 0 s" in mutransfer("plan", str(path)).stdout


@pytest.mark.slow
def test_a_function_is_called_in_the_worker(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    trainer = (
        "import math, os\n"
        "def build(trial):\n"
        "    trial.report(0, train_loss=3.0)\n"
        "    return trial.rate if trial.rate < 0.4 else math.inf\n"
        "def late(trial):\n"
        "    import time\n"
        "    time.sleep(100)\n"
        "def silent(trial):\n"
        "    pass\n"
    )
    function = ONE.replace("[0.5, 0.25]", "[0.5, 0.25]")
    function = function[: function.index("  command")] + "  function: train:build\n  directory: trainer\n"
    assert mutransfer("run", str(own(function, trainer))).returncode == 0
    rows = read_rows(tmp_path / "runs" / "own")[0].to_pandas().set_index("rate")
    assert rows.loc[0.25, "loss"] == 0.25 and rows.loc[0.5, "status"] == "diverged"
    late = function.replace("train:build", "train:late") + "  timeout: 0.5\n"
    done = mutransfer("run", str(own(late, trainer)), "--out", "late")
    assert "failed (error): the function took longer than its timeout, 0.5 s" in done.stderr
    silent = own(function.replace("train:build", "train:silent"), trainer)
    told = (
        "failed (no-result): the function returned None, no number, and did not call trial.finish(loss=...)"
    )
    assert told in mutransfer("run", str(silent), "--out", "silent").stderr


def test_a_program_sees_the_gpus_that_it_was_given(own: Callable[[str, str], Path], tmp_path: Path) -> None:
    trainer = "import os, sys\nprint('gpus', os.environ['CUDA_VISIBLE_DEVICES'], sys.argv[2], 'loss 1')\n"
    path = own(
        ONE.replace('"{rate}"]', '"{rate}", "{gpus}"]').replace("  loss", "  gpus: 2\n  loss"), trainer
    )
    sweep, directory = load_sweep(str(path)), SweepDirectory(tmp_path / "out")
    work, _ = prepare(sweep, directory, Device("cuda", 4, 80 << 30), 2)
    task = Task(
        directory=str(directory.path), job=work.remaining[0].id, backend="test", device="cuda", gpus=2.0,
        checkpoint_seconds=0.0, hang_seconds=60.0, visible="2,3",
    )  # fmt: skip
    end = perform(task.text())
    assert end.kind == "finished", end
    assert end.gpu_seconds == pytest.approx(2 * end.seconds, abs=0.01)
    assert "gpus 2,3 2 loss 1" in directory.log(task.job).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    ["refine: {rounds: 2}", "search: {trials: 4, batch: 2, space: {learning_rate: {log2: [-9, -3]}}}"],
)
def test_trials_are_decided_from_results_of_programs(
    asked: str, own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """No seed, which programs need not have."""
    rates = "" if asked.startswith("search") else ", learning_rate: {log2: [-9, -3], step: 2}"
    sweep = ONE.replace("{rate: [0.5, 0.25]}", "{width: [32, 64]" + rates + "}")
    sweep = sweep.replace("{rate}", "{learning_rate}")
    path = own(f"{sweep}{asked}\n", VALLEY)
    done = mutransfer("run", str(path))
    assert done.returncode == 0, done.stderr
    handed = mutransfer("export", "runs/own", "--target", "128")
    if asked.startswith("search"):
        assert handed.returncode == 4 and "nothing to hand over: a search has no curves" in handed.stderr
    rows = read_rows(tmp_path / "runs" / "own")[0].to_pandas()
    assert len(rows) >= (8 if asked.startswith("search") else 7)
    assert rows["loss"].notna().all()


@pytest.mark.slow
def test_an_export_holds_the_values_of_every_role(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    """They are those that a trial at the target is given; a large model takes them by its roles."""
    axes = "{parametrization: [mup], width: [32, 64, 128], learning_rate: {log2: [-9, -3], step: 1}}"
    sweep = ONE.replace("{rate: [0.5, 0.25]}", axes).replace("{rate}", "{learning_rate}")
    sweep += "base: {width: 32, depth: 1}\nfixed: {optimizer: adamw, weight_decay: 0.1}\n"
    done = mutransfer("run", str(own(sweep, VALLEY)))
    assert done.returncode == 0, done.stderr
    words = ("export", "runs/own", "--width", "512", "--depth", "1")
    told = mutransfer(*words, "-f", "json")
    assert told.returncode == 0, told.stderr
    handed = json.loads(told.stdout)
    values = handed["hyperparameters"]
    assert values["learning_rate"] == pytest.approx(2**-6, rel=0.02)
    assert "schedule" not in values and "grad_clip" not in values  # of which nothing is known
    point = {"parametrization": "mup", "optimizer": "adamw", "weight_decay": 0.1, "width": 512, "depth": 1,
             "base_width": 32, "base_depth": 1, "learning_rate": values["learning_rate"]}  # fmt: skip
    expected, _ = handover_of(point)
    assert expected is not None
    assert {name: handed[name] for name in ("roles", "multipliers")} == {
        name: expected[name] for name in ("roles", "multipliers")
    }
    model = torch.nn.Linear(512, 512, bias=False)
    (group,) = param_groups(model, handed, {"weight": "hidden"})
    assert group["lr"] == pytest.approx(values["learning_rate"] / 16)
    for more, fault in [
        (("-f", "megatron"), "-f: of a program's own model the roles are known"),
        (("--batch", "8"), "batch, tokens, sequences, experts: are a program's own business"),
    ]:
        refused = mutransfer(*words, *more)
        assert refused.returncode == 2 and fault in refused.stderr


@pytest.mark.slow
def test_exports_and_laws_follow_the_sweep_files_fields(
    own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    """As the report does, without --axis and --hyperparameter."""
    sweep = SWEEP[: SWEEP.index("program:")] + ONE[ONE.index("program:") :]
    assert mutransfer("run", str(own(sweep, VALLEY))).returncode == 0
    handed = json.loads(mutransfer("export", "runs/own", "--target", "1024", "-f", "json").stdout)
    assert handed["hyperparameters"]["rate"] == pytest.approx(2**-6, rel=0.05)
    fitted = mutransfer("law", "runs/own", "-f", "json")
    assert fitted.returncode == 0, fitted.stderr


@pytest.mark.slow
def test_without_rules_no_roles_are_exported(own: Callable[[str, str], Path], mutransfer: Command) -> None:
    sweep = ONE.replace(
        "{rate: [0.5, 0.25]}", "{width: [32, 64, 128], learning_rate: {log2: [-9, -3], step: 1}}"
    )
    assert mutransfer("run", str(own(sweep.replace("{rate}", "{learning_rate}"), VALLEY))).returncode == 0
    refused = mutransfer("export", "runs/own", "--width", "512", "--depth", "1")
    assert refused.returncode == 2
    assert "no values by role: the trial has no parametrization and no optimizer; --target" in refused.stderr


def test_no_variable_changes_what_trains_unseen(
    recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, sweep_file: Path, tmp_path: Path
) -> None:
    """A stand-in is part of the ids; where it is set for the worker alone, nothing is trained."""
    proxy = Proxy(recipe())
    before = trial_id(proxy)
    directory = SweepDirectory(tmp_path / "out")
    work, _ = prepare(load_sweep(str(sweep_file)), directory, Device("cpu", 1), 1)
    task = Task(
        directory=str(directory.path), job=work.remaining[0].id, backend="test", device="cpu", gpus=0.0,
        checkpoint_seconds=60.0, hang_seconds=60.0,
    )  # fmt: skip
    monkeypatch.setenv("MUTRANSFER_TRAINING", "noop:train")
    assert trial_id(proxy) != before
    end = perform(task.text())
    assert end.kind == "error" and "is another one to this worker" in end.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axes", "fault"),
    [
        ("{rate: [0.5, 0.25]}", "no trial has a width; say what was scaled with --axis"),
        (
            "{width: [8, 16], rate: [0.5, 0.25]}",
            "no learning_rate with several values; say what was tuned with",
        ),
    ],
)
def test_a_report_says_what_it_lacks(
    axes: str, fault: str, own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    path = own(ONE.replace("{rate: [0.5, 0.25]}", axes), "print('loss 1')\n")
    assert mutransfer("run", str(path)).returncode == 0
    done = mutransfer("report", "runs/own")
    assert done.returncode == 4
    assert "nothing to compare: " in done.stderr and fault in done.stderr
