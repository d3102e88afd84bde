"""What is registered is known everywhere: a toy of each kind goes from the sweep file to the export."""

from pathlib import Path

import pytest
import toys

from mutransfer.models.architectures.registry import ARCHITECTURES
from mutransfer.models.mixers.registry import MIXERS
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.parametrization import depth_mup, mup
from mutransfer.models.parametrization.registry import PARAMETRIZATIONS
from mutransfer.orchestrator.evidence.gather import gather
from mutransfer.orchestrator.handover.export import Target, export_object
from mutransfer.orchestrator.handover.formats.text import export_text
from mutransfer.orchestrator.job.worker import Task, perform
from mutransfer.orchestrator.planning.estimate import estimate
from mutransfer.orchestrator.planning.plan import Device, plan_jobs
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.orchestrator.run.reconcile import prepare
from mutransfer.orchestrator.studies.rule_tables import tables_object
from mutransfer.orchestrator.studies.rules import family_object
from mutransfer.orchestrator.upkeep.status import sweep_status
from mutransfer.results.questions.choice import choose
from mutransfer.results.report.contract import report_object
from mutransfer.results.store.compaction import compact
from mutransfer.results.store.schema import coordinate_names, rows_schema
from mutransfer.results.store.store import read_rows
from mutransfer.sweeps.load import load_sweep
from mutransfer.sweeps.proxy import recipe_of
from mutransfer.sweeps.registry import PROGRAMS
from mutransfer.sweeps.trial import trial_of

CPU = Device("cpu", 1)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line in a registry each; the architecture that has the mixer and the optimizer's rows beside it."""
    monkeypatch.setitem(MIXERS, "mean", toys.MEAN)
    monkeypatch.setitem(ARCHITECTURES, "mean-net", toys.MEAN_NET)
    monkeypatch.setitem(OPTIMIZERS, "sign", toys.SIGN)
    monkeypatch.setitem(mup.UPDATE, "sign", toys.SIGN_TABLE)
    monkeypatch.setitem(depth_mup.UPDATE, "sign", toys.SIGN_TABLE)
    monkeypatch.setitem(PARAMETRIZATIONS, "loud", toys.LOUD)


@pytest.mark.parametrize(
    ("kind", "name"), [("architecture", "mean-net"), ("optimizer", "sign"), ("parametrization", "loud")]
)
def test_from_the_sweep_file_to_the_export(kind: str, name: str, sweep_file: Path, tmp_path: Path) -> None:
    rates = "{log2: [-12, -2], step: 2}" if name == "sign" else "{log2: [-10, 2], step: 2}"
    chosen = {"parametrization": "mup", kind: name}
    sweep = load_sweep(
        str(sweep_file),
        ["steps=12", "learnable_multipliers=all" if name == "mean-net" else "mlp_ratio=2",
         f"learning_rate={rates}", *(f"{field}={value}" for field, value in chosen.items())],
    )  # fmt: skip
    (shape_cost, *_) = estimate(sweep, CPU, 1).shapes
    assert shape_cost.flops > 0
    trial = sweep.expansion.trials[0]
    assert family_object(recipe_of(trial))[kind] == name
    directory = SweepDirectory(tmp_path / "out")
    work, _ = prepare(sweep, directory, CPU, 1)
    for job in work.remaining:
        task = Task(
            directory=str(directory.path), job=job.id, backend="test", device="cpu", gpus=0.0,
            checkpoint_seconds=0.0, hang_seconds=60.0,
        )  # fmt: skip
        end = perform(task.text())
        assert end.kind == "finished", end
    evidence = gather([directory.path])
    assert not evidence.problems
    (comparison,) = report_object(evidence.content.comparisons)["comparisons"]
    assert comparison[kind] == name
    best = choose(evidence.content.comparisons)
    handed = export_object(best, evidence.rows, Target(64, 2))
    assert handed[kind] == name and handed["parameters"]
    assert name in export_text(handed, "yaml")


def test_the_tables_hold_the_toys() -> None:
    tables = tables_object()
    assert "loud" in tables["init"] and "loud" in tables["multipliers"]
    rows = {(row["parametrization"], row["optimizer"]) for row in tables["updates"]}
    assert rows == {(p, o) for p in PARAMETRIZATIONS for o in OPTIMIZERS}


def test_a_program_of_its_own_runs_like_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planned, trained, stored and found again; its coordinates are columns, typed by their values."""
    monkeypatch.setitem(PROGRAMS, "bowl", toys.BOWL)
    trials = [trial_of(toys.Bowl(2.0**-k, size)) for size in (8, 16) for k in range(6)]
    assert len({trial.id for trial in trials}) == 12
    directory = SweepDirectory(tmp_path / "bowls")
    directory.write_sweep("bowls", "name: bowls\n")
    jobs = plan_jobs(trials, CPU)
    assert [len(job.trials) for job in jobs] == [6, 6]
    directory.write_plan(jobs, trials, new=jobs)
    assert {trial.id for job in directory.read_plan() for trial in job.trials} == {t.id for t in trials}
    for job in jobs:
        task = Task(
            directory=str(directory.path), job=job.id, backend="test", device="cpu", gpus=0.0,
            checkpoint_seconds=0.0, hang_seconds=60.0,
        )  # fmt: skip
        assert perform(task.text()).kind == "finished"
    compact(directory.path)
    table, broken = read_rows(directory.path)
    assert not broken and table.num_rows == 12
    kinds = {name: str(table.schema.field(name).type) for name in ("tilt", "size", "shape", "parameters")}
    assert kinds == {"tilt": "double", "size": "int64", "shape": "string", "parameters": "int64"}
    assert {"tilt", "size", "shape"} <= {*coordinate_names(table)}
    assert sweep_status(directory).counts.finished == 12


def test_coordinates_are_typed_by_all_their_values() -> None:
    schema = rows_schema([{"tilt": 1, "note": None}, {"tilt": 1.5, "note": None, "late": True}])
    assert [str(schema.field(name).type) for name in ("tilt", "note", "late")] == ["double", "null", "bool"]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([{"tilt": [1]}], "tilt: no column holds list; give texts, numbers or truths alone"),
        ([{"tilt": 1}, {"tilt": "one"}], "tilt: no column holds int, str; give texts"),
        ([{"loss": 1.0}], "loss: is a column of what came of a trial; give the coordinate another name"),
    ],
)
def test_coordinates_that_no_column_holds_are_named(points: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rows_schema(points)
