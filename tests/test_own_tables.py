"""Parametrizations from files: what they are checked for, and from file to export."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, proxy_trial
from test_choice import compared, rows
from test_shipped_tables import shipped

from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.parametrization.experts import LIKE
from mutransfer.models.parametrization.own import TableFaults, make_known, read_table
from mutransfer.models.parametrization.power import Power, Ratios
from mutransfer.models.parametrization.registry import BUILT_IN, OWN
from mutransfer.models.parametrization.rules import forward_multipliers, rules_by_pattern
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.recipe.role import Role, Site
from mutransfer.orchestrator.handover.export import Leave, Target, export_object
from mutransfer.orchestrator.handover.fault import ExportError
from mutransfer.sweeps.load import load_sweep, resolved
from mutransfer.sweeps.problem import SpecError
from mutransfer.sweeps.proxy import recipe_of

Make = Callable[..., Recipe]

pytestmark = pytest.mark.usefixtures("only_built_in")


# --- powers and completeness ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1", "m_W", "m_W^-1/2 m_L", "m_B^1/2 m_T^-1/2", "m_T^-8/25"])
def test_a_power_reads_what_it_writes(text: str) -> None:
    assert str(Power.read(text)) == text


def test_a_power_may_be_a_decimal() -> None:
    assert Power.read("m_T^-0.32")(Ratios(1, 1, 1, 16)) == pytest.approx(16**-0.32)


@pytest.mark.parametrize("text", ["", "2", "m_W^", "m_W^1/0", "W", "m_W**2", "m_N", "m_W^a", "1 m_W"])
def test_what_is_no_power_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no power of m_W, m_L, m_B, m_T|is empty"):
        Power.read(text)


def mup_in_full() -> dict[str, Any]:
    """muP's table for AdamW, extending nothing."""
    held = BUILT_IN["mup"]
    rows = {
        role.value: {n: str(getattr(row, n)) for n in ("learning_rate", "weight_decay", "epsilon")}
        for role, row in held.update("adamw").items()
    }
    return {
        "init": {role.value: str(power) for role, power in held.init.items()},
        "multipliers": {site.value: str(power) for site, power in held.multiplier.items()},
        "updates": {"adamw": rows},
    }


def test_a_table_in_full_is_the_table(recipe: Make) -> None:
    """mup written out gives each value of mup, and is known by powers and not by words."""
    content = mup_in_full()
    known = make_known("again", content)
    ours, theirs = rules_by_pattern(recipe()), rules_by_pattern(recipe(parametrization=known))
    for name, rule in ours.items():
        values = (rule.init_std, rule.learning_rate, rule.weight_decay, rule.epsilon, rule.multiplier)
        other = theirs[name]
        assert values == (
            other.init_std, other.learning_rate, other.weight_decay, other.epsilon, other.multiplier
        ), name  # fmt: skip
    assert make_known("again", {**content, "source": "elsewhere"}) == known
    changed = {"extends": "mup", "updates": {"adamw": {"hidden": {"epsilon": 1}}}}
    assert make_known("again", changed) != known
    spaced = {**content, "init": {role: f" {power}" for role, power in content["init"].items()}}
    assert make_known("again", spaced) == known


CUT: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "init": (lambda t: t["init"].pop("hidden"), "init.hidden: has no power"),
    "site": (lambda t: t["multipliers"].pop("readout"), "multipliers.readout: has no power"),
    "role": (lambda t: t["updates"]["adamw"].pop("narrow"), "updates.adamw.narrow: has no row"),
    "quantity": (
        lambda t: t["updates"]["adamw"]["output"].pop("epsilon"),
        "adamw.output.epsilon: is missing",
    ),
    "adamw": (lambda t: t["updates"].pop("adamw"), "updates.adamw: has no rows"),
    "no such role": (lambda t: t["init"].update(hiden="1"), "init.hiden: is not one of input, hidden"),
    "an expert's role in other words": (
        lambda t: t["init"].update({"expert-out": "1"}),
        "hidden scalar, narrow, router, expert in, expert out, narrow vector",
    ),
    "no such key": (lambda t: t.update(update={}), "update: is not one of source, extends"),
    "no power": (lambda t: t["init"].update(hidden="m_W-1"), "init.hidden: 'm_W-1' is no power"),
    "a list": (lambda t: t.update(init=[1]), "init: is a mapping"),
    "extends": (lambda t: t.update(extends="sp"), "extends: 'sp' is not one of mup"),
    "a beta": (
        lambda t: t.update(betas={"beta1": "m_W"}),
        "betas.beta1: m_W: betas follow m_B and m_T alone",
    ),
    "read": (
        lambda t: t["updates"].update(lion={"hidden": {"learning_rate": 1, "weight_decay": 1, "epsilon": 1}}),
        "updates.lion.hidden.epsilon: is not one of learning_rate, weight_decay",
    ),
}


@pytest.mark.parametrize("case", CUT)
def test_what_is_not_complete_is_told(case: str) -> None:
    change, told = CUT[case]
    content = mup_in_full()
    change(content)
    with pytest.raises(TableFaults) as error:
        read_table(content)
    assert told in str(error.value)


def test_a_fault_is_told_once() -> None:
    with pytest.raises(TableFaults) as error:
        read_table({"extends": "mup", "init": ["hidden"]})
    assert [place for place, _ in error.value.faults] == [("init",)]


def test_only_optimizers_with_rows_are_trained(recipe: Make) -> None:
    known = make_known("few", mup_in_full())
    with pytest.raises(ValueError, match=f"optimizer: {known} has no rows for lion; give them under updates"):
        recipe(parametrization=known, optimizer="lion")
    every = make_known("all", {"extends": "mup"})
    for optimizer in OPTIMIZERS:
        ratio = {"adamw_lr_ratio": 0.5} if OPTIMIZERS[optimizer].matrices else {}
        recipe(parametrization=every, optimizer=optimizer, **ratio)


# --- from the file to the export --------------------------------------------------------------------------

MINE = """source: a paper of today
extends: mup
updates:
  adamw:
    hidden: {learning_rate: m_W^-1/2}
"""


def with_table(sweep_file: Path, text: str = MINE) -> Path:
    (sweep_file.parent / "mine.yaml").write_text(text)
    sweep_file.write_text(sweep_file.read_text().replace("[sp, mup]", "[mup, mine.yaml]"))
    return sweep_file


def test_a_sweep_file_names_a_table(sweep_file: Path, tmp_path: Path) -> None:
    sweep = load_sweep(str(with_table(sweep_file)))
    names = {recipe_of(trial).parametrization for trial in sweep.expansion.trials}
    (own,) = names - {"mup"}
    assert own.startswith("mine@")
    recipes = [recipe_of(trial) for trial in sweep.expansion.trials]
    narrow = next(one for one in recipes if one.parametrization == own and one.shape.width == 8)  # of base 16
    rate = rules_by_pattern(narrow)["blocks.*.mlp.up.weight"].learning_rate
    assert rate == pytest.approx(narrow.learning_rate * math.sqrt(2))
    # The sweep as it is recorded holds the table, whatever becomes of the file.
    whole = resolved(sweep.spec)
    (sweep_file.parent / "mine.yaml").write_text("gone")
    again = tmp_path / "again.yaml"
    again.write_text(json.dumps(whole))
    assert [t.id for t in load_sweep(str(again)).expansion.trials] == [t.id for t in sweep.expansion.trials]
    whole["parametrizations"]["mine"]["updates"]["adamw"]["hidden"]["learning_rate"] = "1"
    again.write_text(json.dumps(whole))
    with pytest.raises(SpecError, match=r"parametrizations\.mine: is mine@"):
        load_sweep(str(again))


def test_another_table_is_another_trial(recipe: Make) -> None:
    one = make_known("mine", {"extends": "mup"})
    other = make_known("mine", {"extends": "mup", "init": {"hidden": "1"}})
    assert proxy_trial(recipe(parametrization=one)).id != proxy_trial(recipe(parametrization=other)).id


WRONG = {
    "no file": (
        "mine.yaml",
        None,
        "mine.yaml: cannot be read (No such file or directory); give a YAML file, or one",
    ),
    "a row": (
        "mine.yaml",
        MINE.replace("m_W^-1/2", "m_V"),
        "mine.yaml:5: updates.adamw.hidden.learning_rate: 'm_V'",
    ),
    "unknown": ("mine", None, "axes.parametrization.1: 'mine' is not one of sp, mup"),
    "no mapping": (
        "mine.yaml",
        "- 1\n",
        "mine.yaml: is not a mapping; a table of a parametrization has keys such as",
    ),
    "a name of ours": ("mup.yaml", MINE, "mup.yaml: mup cannot name a table of your own; rename the file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_table_that_is_none_is_told(case: str, sweep_file: Path) -> None:
    name, text, told = WRONG[case]
    if text is not None:
        (sweep_file.parent / name).write_text(text)
    sweep_file.write_text(sweep_file.read_text().replace("[sp, mup]", f"[mup, {name}]"))
    with pytest.raises(SpecError) as error:
        load_sweep(str(sweep_file))
    assert told in str(error.value)


def test_from_the_file_to_the_export(sweep_file: Path, mutransfer: Command, tmp_path: Path) -> None:
    """Trained in a worker that reads no YAML, reported under its name, exported by its rows, and shown."""
    with_table(sweep_file)
    axes = (
        "--set",
        "width=[8, 16, 32]",
        "--set",
        "learning_rate={log2: [-8, 3], step: 1}",
        "--set",
        "steps=20",
    )
    done = mutransfer("run", str(sweep_file), "--out", "runs", *axes)
    assert done.returncode == 0, done.stderr
    (tmp_path / "mine.yaml").unlink()
    report = mutransfer("report", "runs", "-f", "json")
    families = {one["parametrization"] for one in json.loads(report.stdout)["comparisons"]}
    (own,) = families - {"mup"}
    OWN.clear()
    words = ("--width", "64", "--depth", "2", "--parametrization", "mine", "-f", "json")
    handed = mutransfer("export", "runs", *words)
    assert handed.returncode == 0, handed.stderr
    told = json.loads(handed.stdout)
    assert told["parametrization"] == own
    assert told["roles"]["hidden"]["source"] == f"{own} adamw, hidden: a paper of today"


def test_a_table_is_shown(mutransfer: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MINE)
    shown = mutransfer("rules", "mine.yaml", "-f", "markdown")
    assert shown.returncode == 0 and "| hidden | m_W^-1/2 | m_W | m_W^1/2 |" in shown.stdout
    assert "betas" in mutransfer("rules", "complete-d").stdout
    held = json.loads(mutransfer("rules", "complete-d", "-f", "json").stdout)
    (betas,) = held["betas"].values()
    assert betas["beta1"] == [0, 0, 1, -1]
    (tmp_path / "broken.yaml").write_text("updates: {adamw: {hidden: {learning_rate: fast}}}\nextends: mup\n")
    refused = mutransfer("rules", "broken.yaml")
    assert (
        refused.returncode == 2
        and "broken.yaml:1: updates.adamw.hidden.learning_rate: 'fast'" in refused.stderr
    )


def test_the_multiplier_of_the_readout_is_the_tables(recipe: Make) -> None:
    known = shipped("complete-d")
    sites = forward_multipliers(recipe(parametrization=known, base_batch_size=4, base_steps=20))
    assert sites[Site.READOUT] == 1


def test_a_recorded_sweep_can_be_read_again(sweep_file: Path, mutransfer: Command, tmp_path: Path) -> None:
    """The sweep directory's own file, whose keys are of several words, through a run and back."""
    with_table(sweep_file)
    done = mutransfer("run", str(sweep_file), "--out", "runs", "--set", "tolerance.nats=0.5")
    assert done.returncode == 0, done.stderr
    again = mutransfer("plan", "runs/sweep.yaml", "--set", "steps=6")
    assert again.returncode == 0, again.stderr
    assert "12 trials" in again.stdout
    one = next((tmp_path / "runs").glob("jobs/*/job.json"))
    shown = mutransfer("show", "runs", json.loads(one.read_text())["trials"][0]["id"])
    assert shown.returncode == 0, shown.stderr
    held = mutransfer("report", "runs", "--hold", "parametrization=mine")
    assert held.returncode == 0 and "may cost 0.5" in held.stdout
    (tmp_path / "runs" / "sweep.yaml").write_text("{broken")
    told = mutransfer("report", "runs")
    assert (
        "sweep.yaml: cannot be read; its scale, hyperparameter and tolerance are not"
        in told.stdout + told.stderr
    )


def test_a_point_is_left_out_by_the_tables_name(sweep_file: Path) -> None:
    with_table(sweep_file)
    sweep_file.write_text(sweep_file.read_text() + "exclude: [{parametrization: mine.yaml, width: 8}]\n")
    assert len(load_sweep(str(sweep_file)).expansion.trials) == 9


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("parametrizations: {mup: {extends: mup}}\n", "parametrizations.mup: is one of ours; give yours"),
        (
            "parametrizations: {idle: {extends: mup}}\n",
            "parametrizations.idle: is no trial's parametrization",
        ),
        ("parametrizations: [1]\n", "parametrizations: is a mapping of names to tables"),
    ],
)
def test_tables_in_a_sweep_file_are_used(given: str, told: str, sweep_file: Path) -> None:
    sweep_file.write_text(sweep_file.read_text() + given)
    with pytest.raises(SpecError) as error:
        load_sweep(str(sweep_file))
    assert told in str(error.value)


def test_a_tied_readout_has_no_start_of_its_own(recipe: Make) -> None:
    known = shipped("complete-d")
    with pytest.raises(ValueError, match=f"tied: {known} scales the readout's start"):
        recipe(parametrization=known, tied=True, base_batch_size=4, base_steps=20)


def test_the_betas_of_a_table_are_handed_over(recipe: Make) -> None:
    """At sixteen times the tokens and twice the batch, and no rule is advised beside the table."""
    known = shipped("complete-d")
    budget = {"base_batch_size": 4, "base_steps": 20, "weight_decay": 0.1, "parametrization": known}
    frame = rows(recipe, [-5] * 3, **budget)
    (comparison,) = compared(frame)
    target = Target(64, 2, batch=8, tokens=16 * 20 * 64)
    handed = export_object(comparison, frame, target)
    assert handed["hyperparameters"]["beta1"] == pytest.approx(1 - 0.1 * 2 / 16)
    assert handed["hyperparameters"]["beta2"] == pytest.approx(1 - 0.05 * 2 / 16)
    assert not any("--rule" in warning["text"] for warning in handed["warnings"])
    with pytest.raises(ExportError, match=f"the trials followed {known}"):
        export_object(comparison, frame, target, leave=Leave(rules=("batch-sqrt",)))
    longer = Target(64, 2, batch=8, tokens=16 * 20 * 64, sequence_length=32)
    with pytest.raises(ExportError, match="--sequence-length 32"):
        export_object(comparison, frame, longer)


@pytest.mark.parametrize("extends", ["mup", "mup-plain"])
def test_experts_follow_a_row_that_is_given_as_in_the_table_that_is_extended(extends: str) -> None:
    """Derived from it under muP, equal to it by the book."""
    same = {"init": {"hidden": "m_W^-1/2"}, "updates": {"adamw": {"hidden": {"learning_rate": "m_W^-1"}}}}
    before, after = BUILT_IN[extends], read_table({"extends": extends, **same})
    for role in LIKE:
        assert after.init[role] == before.init[role]
        assert after.update("adamw")[role].learning_rate == before.update("adamw")[role].learning_rate
    moved = read_table({"extends": extends, "updates": {"adamw": {"hidden": {"learning_rate": "m_W^-1/2"}}}})
    rate = moved.update("adamw")[Role.EXPERT_OUT].learning_rate
    assert str(rate) == ("m_W^-1/2 m_G" if extends == "mup" else "m_W^-1/2")


def test_a_whole_table_that_says_nothing_of_experts_has_them_follow() -> None:
    adamw = {
        role.value: {
            "learning_rate": str(row.learning_rate), "weight_decay": str(row.weight_decay),
            "epsilon": str(row.epsilon),
        }
        for role, row in BUILT_IN["mup"].update("adamw").items() if role not in LIKE
    }  # fmt: skip
    init = {role.value: str(power) for role, power in BUILT_IN["mup"].init.items() if role not in LIKE}
    multipliers = {site.value: str(power) for site, power in BUILT_IN["mup"].multiplier.items()}
    held = read_table({"init": init, "multipliers": multipliers, "updates": {"adamw": adamw}})
    assert held.init == BUILT_IN["mup"].init
    for role in LIKE:
        assert held.update("adamw")[role].epsilon == BUILT_IN["mup"].update("adamw")[role].epsilon
