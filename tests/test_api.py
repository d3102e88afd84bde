"""`import mutransfer as mt`: its members, what importing it loads, and a sweep from file to handover."""

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import SWEEP, Command
from own_programs import ONE

import mutransfer as mt

MEMBERS = {
    "charts": "(comparisons, target)",
    "expand": "(sweep)",
    "export": "(directories, width, depth, batch, tokens, sequence_length, vocabulary, experts, granularity, "
    "rules, extrapolate, hyperparameter, family)",
    "judge": "(what, axis, hyperparameter, hold, pool, tolerance)",
    "load": "(spec, set)",
    "plan": "(sweep, backend, device, workers)",
    "run": "(sweep, out, backend, device, workers, progress, options)",
    "trained": "(directory, trial)",
    "trial": "(defaults)",
    "trials": "(directories)",
}
"""Names and parameters that users' scripts hold on to: a change here is told in CHANGELOG.md."""


def test_the_members_are_frozen() -> None:
    assert set(mt.__all__) == {*MEMBERS, "Comparison", "Fault", "Sweep"} == {*dir(mt)} - {"__version__"}
    told = {name: f"({', '.join(inspect.signature(getattr(mt, name)).parameters)})" for name in MEMBERS}
    assert told == MEMBERS
    assert all(getattr(mt, name).__doc__ for name in mt.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        mt.nothing  # noqa: B018


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ("numpy", "pandas", "torch", "pydantic")
    code = f"import sys, mutransfer; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def table(slope: float, **names: str) -> pd.DataFrame:
    """Losses of three widths whose optimum moves by `slope` octaves a doubling."""
    rows = [
        {"width": width, "learning_rate": 2.0**power,
         "loss": 3 - 0.1 * n + 0.02 * (power + 6 - slope * n) ** 2}
        for n, width in enumerate((64, 128, 256)) for power in np.arange(-10, -1.0)
    ]  # fmt: skip
    return pd.DataFrame(rows).rename(columns=names)


@pytest.mark.parametrize(("slope", "verdict"), [(0.0, "stable"), (-1.0, "drifts")])
def test_any_table_is_judged(slope: float, verdict: str) -> None:
    (found,) = mt.judge(table(slope, width="d_model", learning_rate="lr", loss="val_loss"))
    assert found.drift.verdict == verdict
    assert found.drift.slope is not None and found.drift.slope.value == pytest.approx(slope, abs=0.05)
    pictures = mt.charts([found])
    assert "optimum-learning_rate-across-width" in pictures
    assert json.dumps(pictures)


def test_a_table_that_cannot_be_judged_is_said() -> None:
    with pytest.raises(mt.Fault, match=r"^table\.parquet: the columns learning_rate are missing"):
        mt.judge(table(0.0).drop(columns="learning_rate"))
    with pytest.warns(UserWarning, match="1 without a finite final loss are taken for diverged"):
        mt.judge(table(0.0).assign(loss=lambda rows: rows["loss"].where(rows.index != 8)))


@pytest.mark.slow
def test_a_sweep_from_its_file_to_the_handover(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 50)
    path = tmp_path / "tiny.yaml"
    path.write_text(SWEEP)
    sweep = mt.load(path, set=["steps=3"])
    points = mt.expand(sweep)
    assert {"trial_id", "width", "learning_rate"} <= {*points.columns} and points["steps"].eq(3).all()
    assert mt.plan(sweep)["trials"] == len(points)
    rows = mt.run(sweep, tmp_path / "out", workers=1)
    assert {*rows["trial_id"]} == {*points["trial_id"]}
    pd.testing.assert_frame_equal(mt.trials(tmp_path / "out"), rows)
    verdicts = mt.judge(tmp_path / "out")
    assert verdicts and all(isinstance(one, mt.Comparison) for one in verdicts)
    with pytest.raises(mt.Fault, match=r"nothing"):
        mt.load(path, set=["nothing=3"])


def test_a_plan_of_programs_is_that_of_the_command(
    own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    path = own(ONE, "print('loss 1')\n")
    told = json.loads(mutransfer("plan", str(path), "-f", "json", "-j", "2").stdout)
    assert json.loads(json.dumps(mt.plan(mt.load(path), workers=2))) == told and told["trials"] == 2


NOTEBOOK = Path(__file__).parent.parent / "examples" / "from_sweep_to_charts.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells, one after the other."""
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    held: dict[str, object] = {"display": lambda *shown: None}
    for cell in cells:
        exec("".join(cell["source"]), held)
    assert len(cells) >= 5 and not any(cell["outputs"] for cell in cells)
    assert {one.drift.verdict for one in held["verdicts"]} <= {"stable", "shifts", "drifts", "inconclusive"}  # type: ignore[attr-defined]
