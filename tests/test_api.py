"""`import mutransfer as mt`: its members, what importing it loads, and a sweep from file to handover."""

import inspect
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

import numpy as np
import pandas as pd
import pytest
from conftest import SWEEP, Command
from own_programs import ONE

import mutransfer as mt
from mutransfer.orchestrator.api import AT_LEAST, SIZES
from mutransfer.orchestrator.cli import exchange, running

api: Any = mt  # for arguments that no type checker would let through
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


TABLE = pd.DataFrame({"width": [32.0], "learning_rate": [0.1], "loss": [3.0]})


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda sweep, out: api.expand("a.yaml"), "'a.yaml': is no sweep"),
        (lambda sweep, out: api.plan("a.yaml"), "'a.yaml': is no sweep"),
        (lambda sweep, out: api.load("a.yaml", set=[3]), "3: is no text; give a list of them"),
        (lambda sweep, out: api.run(sweep, out, workers=-2), "workers -2: give a whole number from 1 on"),
        (lambda sweep, out: api.plan(sweep, workers=0), "workers 0: give a whole number from 1 on"),
        (
            lambda sweep, out: api.run(sweep, out, hang_seconds="a"),
            "hang_seconds 'a': give a number from 6 on",
        ),
        (
            lambda sweep, out: api.run(sweep, out, checkpoint_seconds=-1),
            "checkpoint_seconds -1: give a number",
        ),
        (lambda sweep, out: api.run(sweep, out, execution="fast"), "execution 'fast': give one of auto"),
        (lambda sweep, out: api.export(out, 64.0, 2), "width 64.0: give a whole number from 1 to 10,000,000"),
        (lambda sweep, out: api.export(out, 64, 2, batch=0), "batch 0: give a whole number from 1 to"),
        (
            lambda sweep, out: api.export(out, 64, 2, vocabulary=300.5),
            "vocabulary 300.5: give a whole number",
        ),
        (lambda sweep, out: api.export(out, None, 2), "width, depth: give both"),
        (lambda sweep, out: api.export(out, 64, 2, rule="x"), "rule: is no argument of export; a family is"),
        (lambda sweep, out: api.judge(out, tolerance=-1), "tolerance -1: give a number from 0 on"),
        (lambda sweep, out: api.judge(out, hold="width=4"), "hold 'width=4': give a mapping of columns"),
        (lambda sweep, out: api.charts([], target=0), "target 0: give a number above 0"),
        (lambda sweep, out: api.charts("out"), "a str where comparisons are asked for; give those of judge"),
        (lambda sweep, out: api.judge(out, pool=True), "True: is no list of texts"),
        (lambda sweep, out: api.trained(out, 5), "trial 5: give its id, or how that begins"),
        (lambda sweep, out: api.judge([]), "a list where directories are asked for"),
        (lambda sweep, out: api.judge(None), "a NoneType where directories are asked for"),
        (lambda sweep, out: api.judge(b"out"), "a bytes where directories are asked for"),
        (lambda sweep, out: api.judge([TABLE]), "a DataFrame where directories are asked for"),
        (lambda sweep, out: api.trials(TABLE), "a DataFrame where directories are asked for"),
        (lambda sweep, out: api.judge(TABLE, axis=["width"]), "axis ['width']: give the name of one column"),
        (
            lambda sweep, out: api.judge(TABLE.iloc[:, [0, 1, 1]]),
            "the table cannot be read: Duplicate column",
        ),
    ],
)
def test_arguments_that_the_command_line_refuses_are_refused(
    call: Callable[[mt.Sweep, Path], object], told: str, sweep_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(mt.Fault, match=re.escape(told)):
        call(mt.load(sweep_file), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ranges_are_those_of_the_command_line() -> None:
    """Which imports nothing of what declares them here, so that its help answers at once."""
    names = {"checkpoint_seconds": "checkpoint_every", "hang_seconds": "hang_after"}
    told: dict[str, Any] = {}
    for command in (running.run, exchange.export):
        hints = get_type_hints(command, include_extras=True)
        told |= {name: hint.__metadata__[0] for name, hint in hints.items() if get_origin(hint) is Annotated}
    bounds = {**AT_LEAST, **SIZES}
    compared = {name for name in bounds if getattr(told.get(names.get(name, name)), "min", None) is not None}
    for name in compared:
        option, (_, least, most) = told[names.get(name, name)], bounds[name]
        assert (option.min, math.inf if option.max is None else option.max) == (least, most), name
    assert {*SIZES} <= compared and len(compared) >= 12


def test_a_text_alone_is_one_of_several(sweep_file: Path) -> None:
    assert mt.expand(mt.load(sweep_file, set="steps=4"))["steps"].eq(4).all()


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
