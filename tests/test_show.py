"""`show`, `run --only` and what a dry run says is new."""

import json
import shlex
from pathlib import Path

import pytest
from conftest import Command

from mutransfer.results.store.store import read_rows

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

    words = shlex.split(lines[-1].removeprefix("to repeat it alone: "))
    assert words[0] == "mutransfer"
    again = mutransfer(*words[1:])
    assert again.returncode == 0, again.stderr
    repeated = read_rows(tmp_path / words[words.index("--out") + 1])[0].to_pandas()
    assert repeated["trial_id"].to_list() == [one["trial_id"]]
    assert repeated["loss"].iloc[0] == pytest.approx(one["loss"], abs=1e-6)

    untrained = mutransfer("show", "out", "zz")
    assert untrained.returncode == 2 and "no trial whose id begins with 'zz'" in untrained.stderr


def test_a_trial_without_a_result_is_shown(sweep_file: Path, mutransfer: Command, tmp_path: Path) -> None:
    assert mutransfer("run", str(sweep_file), "--out", "out", "--only", "width=8").returncode == 0
    done = {*read_rows(tmp_path / "out")[0].column("trial_id").to_pylist()}
    planned = json.loads((tmp_path / "out" / "plan.json").read_text())
    left = sorted({trial for job in planned["jobs"] for trial in job["trials"]} - done)
    told = mutransfer("show", "out", left[0])
    assert told.stdout.splitlines()[0] == f"trial {left[0]}: has no result yet"


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
