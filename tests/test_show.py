"""`show`, `rerun`, `run --only` and what a dry run says is new."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import Command, proxy_trial

import mutransfer as mt
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.orchestrator.record.directory import DirectoryError, SweepDirectory
from mutransfer.orchestrator.upkeep.found import Found
from mutransfer.results.store.store import read_rows
from mutransfer.sweeps.load import load_sweep

pytestmark = pytest.mark.slow


def test_a_trial_is_shown_and_repeated(sweep_file: Path, tmp_path: Path, mutransfer: Command) -> None:
    done = mutransfer(
        "run", str(sweep_file), "--out", "out", "--only", "width=8", "--only", "parametrization=SP"
    )
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "out")[0].to_pandas()
    chosen = rows[(rows["width"] == 8) & (rows["parametrization"] == "sp")]
    assert len(chosen) == 3 and len(rows) < 12  # those, and what shares their job
    dry = mutransfer("run", str(sweep_file), "--out", "out", "--dry-run")
    assert f"{12 - len(rows)} of 12 trials are new to out, which has the others" in dry.stdout

    (_, one) = next(iter(chosen.iterrows()))
    shown = mutransfer("show", "out", one["trial_id"][:10])
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0] == f"trial {one['trial_id']}: finished, loss {one['loss']:.4f}"
    assert "  width: 8" in lines and "  parametrization: sp" in lines
    assert any(line.startswith("  attempt 1: finished") for line in lines)
    told = json.loads(mutransfer("show", "out", one["trial_id"], "-f", "json").stdout)
    assert told["row"]["loss"] == one["loss"] and len(told["curve"]) == 5 and told["jobs"] == [one["job_id"]]

    curves = tmp_path / "out" / "curves" / f"{one['job_id']}.parquet"
    whole = curves.read_bytes()
    curves.write_bytes(whole[:100])
    told = json.loads(mutransfer("show", "out", one["trial_id"], "-f", "json").stdout)
    assert told["curve"] == [] and f"{curves.name}: unreadable" in told["problems"][0]
    curves.write_bytes(whole)
    journal = tmp_path / "out" / "journal.jsonl"
    kept = journal.read_bytes()
    assert "nothing in it can be read" not in mutransfer("status", "out").stdout
    journal.write_bytes(b"\xff" * 300)
    assert "journal.jsonl: nothing in it can be read" in mutransfer("status", "out").stdout
    journal.write_bytes(kept)

    words = shlex.split(lines[-1].removeprefix("to repeat it alone: "))
    assert words == ["mutransfer", "rerun", "out", one["trial_id"]]
    again = mutransfer(*words[1:], "--keep-weights")
    assert again.returncode == 0, again.stderr
    alone = tmp_path / f"out-{one['trial_id'][:8]}"
    repeated = read_rows(alone)[0].to_pandas()
    assert repeated["trial_id"].to_list() == [one["trial_id"]]
    assert repeated["loss"].iloc[0] == pytest.approx(one["loss"], abs=1e-6)
    assert again.stdout.splitlines() == [f"before: {one['loss']}", f"now: {repeated['loss'].iloc[0]}"]
    assert (
        "1 of 1 trials are already there"
        in mutransfer("run", str(alone / "sweep.yaml"), "--out", str(alone)).stderr
    )

    model = mt.trained(alone, one["trial_id"][:10])
    held = SweepDirectory(alone).read_data(one["data"]).batches(16).validation(4)
    logits_BTV = model(torch.from_numpy(held.inputs))
    loss = F.cross_entropy(logits_BTV.flatten(0, 1), torch.from_numpy(held.labels).flatten())
    assert loss.item() == pytest.approx(repeated["loss"].iloc[0], abs=1e-6)
    with pytest.raises(mt.Fault, match=r"no weights of trial .* were kept; mutransfer rerun"):
        mt.trained(tmp_path / "out", one["trial_id"])

    untrained = mutransfer("show", "out", "zz")
    assert untrained.returncode == 2 and "no trial whose id begins with 'zz'" in untrained.stderr


def test_why_a_trial_diverged(sweep_file: Path, mutransfer: Command, tmp_path: Path) -> None:
    """A rate of 1e30 breaks everything after one step; one of 30 without clipping takes longer."""
    settings = (
        "parametrization=sp",
        "width=8",
        "learning_rate=[1e30, 30, 0.01]",
        "grad_clip=0",
        "optimizer=sgd",
    )
    words = [word for setting in settings for word in ("--set", setting)]
    assert mutransfer("run", str(sweep_file), "--out", "out", "--set", "steps=30", *words).returncode == 0
    rows = read_rows(tmp_path / "out")[0].to_pandas().set_index("learning_rate")
    told = mutransfer("show", "out", rows["trial_id"][1e30], "--cause").stdout
    assert "not finite first: activation of " in told and "at step 1, not finite" in told
    assert rows["status"][30] == "diverged"
    told = mutransfer("show", "out", rows["trial_id"][30], "--cause").stdout
    assert "left first: " in told and "times its size at the first step" in told
    fine = mutransfer("show", "out", rows["trial_id"][0.01], "--cause")
    assert fine.returncode == 2 and "did not diverge" in fine.stderr


def test_a_plan_names_its_trials(sweep_file: Path, mutransfer: Command) -> None:
    ids = json.loads(mutransfer("plan", str(sweep_file), "-f", "json").stdout)["ids"]
    points = mt.expand(mt.load(sweep_file)).set_index("trial_id")
    axes = ["parametrization", "width", "learning_rate"]
    assert ids == points[axes].to_dict("index")


@pytest.mark.parametrize("several", [True, False])
def test_a_trial_without_a_result_is_shown(
    several: bool, sweep_file: Path, mutransfer: Command, tmp_path: Path
) -> None:
    if not several:
        text = sweep_file.read_text().replace("[sp, mup]", "[mup]")
        sweep_file.write_text(text.replace("{log2: [-8, -4], step: 2}", "[0.01]"))
    assert mutransfer("run", str(sweep_file), "--out", "out", "--only", "width=8").returncode == 0
    done = {*read_rows(tmp_path / "out")[0].column("trial_id").to_pylist()}
    planned = json.loads((tmp_path / "out" / "plan.json").read_text())
    left = sorted({trial for job in planned["jobs"] for trial in job["trials"]} - done)
    told = mutransfer("show", "out", left[0])
    assert told.stdout.splitlines()[0] == f"trial {left[0]}: has no result yet"

    job = next(job for job in planned["jobs"] if left[0] in job["trials"])
    assert (len(job["trials"]) > 1) == several
    asked = mutransfer("show", "out", job["id"])
    if several:
        assert asked.returncode == 2
        assert f"is a job of several trials; name one: {', '.join(job['trials'])}" in asked.stderr
    else:
        assert asked.stdout == told.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--only", "witdh=8"], "--only witdh=8: no trial has a witdh"),
        (["--only", "width=7"], "--only: no trial has all of these values; width is 16, 8"),
        (["--only", "width"], "--only width: write FIELD=VALUE"),
        (["--only", "width=8", "--no-wait"], "--only: is for a run that is waited for"),
    ],
)
def test_a_choice_of_nothing_is_said(
    words: list[str], told: str, sweep_file: Path, tmp_path: Path, mutransfer: Command
) -> None:
    done = mutransfer("run", str(sweep_file), "--out", "out", *words)
    assert done.returncode == 2 and told in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_trial_that_trains_differently_by_now_is_not_trained_again_as_itself(
    sweep_file: Path, recipe: Callable[..., Recipe]
) -> None:
    trial = proxy_trial(recipe(architecture="gdn"))
    Found(load_sweep(str(sweep_file)), trial.id, trial, ()).must_train_as_it_did()
    older = Found(load_sweep(str(sweep_file)), "0" * 16, trial, ())
    with pytest.raises(DirectoryError, match=r"another version of mutransfer than this one .GDN's queries"):
        older.must_train_as_it_did()
