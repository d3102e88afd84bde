"""Which runs of a tracker count: those that finished, whatever it calls that."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from conftest import rates

from mutransfer.results.sources.fault import ImportFault
from mutransfer.results.sources.importing import Reading, understand


def test_weights_and_biases_states(tmp_path: Path) -> None:
    states = ("finished", "running", "crashed", "failed", "killed", None)
    runs = [
        {"config": {"lr": 0.1 * (index + 1)}, "summary": {"loss": 3.0}, **({"state": state} if state else {})}
        for index, state in enumerate(states)
    ]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    assert rates(tmp_path / "runs.json") == pytest.approx([0.1, 0.6])
    assert rates(tmp_path / "runs.json", "crashed") == pytest.approx([0.1, 0.3, 0.6])


def test_states_in_a_table_are_read(tmp_path: Path) -> None:
    """As Weights & Biases exports it."""
    path = tmp_path / "runs.csv"
    path.write_text("Name,State,lr,val_loss\na,finished,0.1,3\nb,crashed,0.2,2\nc,running,0.3,1\n")
    assert rates(path) == [0.1] and rates(path, "crashed") == [0.1, 0.2]
    assert understand(path).notes == (
        "1 crashed, 1 running left out; import --include crashed --include running take them",
    )
    (tmp_path / "plain.csv").write_text("lr,loss\n0.1,3\n")
    with pytest.raises(ImportFault, match="--include failed: the table has no states of runs"):
        rates(tmp_path / "plain.csv", "failed")


@pytest.mark.parametrize(
    ("words", "finished", "told"),
    [
        (("COMPLETE", "FAIL", "PRUNED", "RUNNING", ""), 1,
         "1 failed, 1 pruned, 1 running, 1 untold"),  # Optuna
        (("COMPLETED", "CANCELLED by 1000", "OUT_OF_MEMORY", "TIMEOUT", "NODE_FAIL"), 1,
         "1 cancelled, 1 node_fail, 1 out_of_memory, 1 timeout"),  # sacct
        (("finished", "preempting", "deleted", "someone's word", "diverged"), 2,
         "1 deleted, 1 preempted, 1 someone's word"),  # Weights & Biases, and a word that nobody knows
        (("TERMINATED", "ERROR", "PAUSED", "PENDING", " FINISHED "), 2,
         "1 failed, 1 pending, 1 suspended"),  # Ray Tune
        (("CD", "CA", "TO", "NF", "PD", "F"), 1,
         "1 cancelled, 1 failed, 1 node_fail, 1 pending, 1 timeout left out; import --include"),  # a queue's
    ],
)  # fmt: skip
def test_a_word_that_is_not_known_lets_no_other_run_in(
    words: Sequence[str], finished: int, told: str, tmp_path: Path
) -> None:
    rows = "".join(f"{word},{0.1 * (index + 1):.1f},3\n" for index, word in enumerate(words))
    (tmp_path / "a.csv").write_text("state,lr,loss\n" + rows)
    found = understand(tmp_path / "a.csv")
    assert found.table.num_rows == finished and told in found.notes[0]
    assert rates(tmp_path / "a.csv", told.split(",")[0][2:])[-1] > 0.1


@pytest.mark.parametrize(
    ("column", "cells", "finished"),
    [
        ("exit_code", ("0", "1", ""), [0.1]),
        ("ExitCode", ("0:0", "0:9", "1:0"), [0.1]),
        ("returncode", ("0.0", "137.0", "0.0"), [0.1, 0.3]),
        ("lifecycle_stage", ("active", "deleted", "active"), [0.1, 0.3]),
        ("exit_code", ("7", "8", "9"), None),
        ("exit_status", ("completed", "failed", "killed"), [0.1]),
        ("ST", ("CD", "F", "CA"), [0.1]),
        ("ST", ("MA", "CA", "NY"), [0.1, 0.2, 0.3]),
        ("state_0", ("failed", "16", "16"), [0.1, 0.2, 0.3]),
    ],
)
def test_exit_codes_and_deletions_tell_states(
    column: str, cells: Sequence[str], finished: list[float] | None, tmp_path: Path
) -> None:
    rows = "".join(f"{cell},{0.1 * (index + 1):.1f},3\n" for index, cell in enumerate(cells))
    (tmp_path / "a.csv").write_text(f"{column},lr,loss\n{rows}")
    if finished is None:
        with pytest.raises(ImportFault, match="no run has finished: 3 failed left out"):
            rates(tmp_path / "a.csv")
    else:
        assert rates(tmp_path / "a.csv") == finished
    (tmp_path / "runs.json").write_text(
        json.dumps([{"config": {"lr": 0.1}, "summary": {"loss": 3.0}, "exit_code": code} for code in (0, 1)])
    )
    assert rates(tmp_path / "runs.json") == [0.1]


def test_words_count_before_exit_codes(tmp_path: Path) -> None:
    """A run that diverged may well leave with one."""
    rows = "1,diverged,0.1,\n137,killed,0.2,3\n1,finished,0.3,3\n0,,0.4,3\n1,,0.5,3\n"
    (tmp_path / "a.csv").write_text("exit_code,state,lr,loss\n" + rows)
    found = understand(tmp_path / "a.csv")
    assert found.table["learning_rate"].to_pylist() == [0.1, 0.3, 0.4]
    assert found.notes[0].startswith(
        "1 failed, 1 killed left out; import --include failed --include killed take"
    )


def test_entries_that_end_like_a_state_may_be_something_else(tmp_path: Path) -> None:
    run = {"config": {"lr": 0.1}, "summary": {"loss": 3.0}, "d_state": 16, "home_state": "Utah"}
    (tmp_path / "a.json").write_text(
        json.dumps([{**run, "state": "finished"}, {**run, "state": "my own word"}])
    )
    assert understand(tmp_path / "a.json").notes[0].startswith("1 my own word left out")
    (tmp_path / "b.json").write_text(json.dumps([run]))
    assert rates(tmp_path / "b.json") == [0.1]
    (tmp_path / "a.csv").write_text("state,status,lr,loss\nCA,finished,0.1,1\nNY,finished,0.2,3\n")
    assert rates(tmp_path / "a.csv") == [0.1, 0.2]


def test_a_column_called_state_may_be_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("state,status,lr,loss\nUtah,failed,0.1,1\nOhio,finished,0.2,3\n")
    assert rates(tmp_path / "a.csv") == [0.2]
    (tmp_path / "b.csv").write_text("state,lr,loss\nUtah,0.1,1\nOhio,0.2,3\n")
    assert rates(tmp_path / "b.csv") == [0.1, 0.2]


def test_a_run_finished_where_every_column_of_states_says_so(tmp_path: Path) -> None:
    text = "JobState,trial_state,lr,loss\nCOMPLETED,failed,0.1,1\nCOMPLETED,TrialState.COMPLETE,0.2,3\n"
    (tmp_path / "a.csv").write_text(text + "TIMEOUT,,0.3,2\n,finished,0.4,2\n")
    assert rates(tmp_path / "a.csv") == [0.2, 0.4]
    runs = [{"config": {"lr": 0.1 * n}, "summary": {"loss": 3.0}, "Status": "crashed"} for n in (1, 2)]
    runs[0]["Status"] = "finished"
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    assert rates(tmp_path / "runs.json") == [0.1]
    frame = pd.DataFrame({"state": [b"FAILED", b"COMPLETED"], "lr": [0.1, 0.2], "loss": [1.0, 2.0]})
    frame.to_parquet(tmp_path / "a.parquet")
    assert rates(tmp_path / "a.parquet") == [0.2]


def test_an_empty_state_among_others_is_none(tmp_path: Path) -> None:
    runs = [{"config": {"lr": 0.1 * n}, "summary": {"loss": 3.0}, "state": None} for n in (1, 2)]
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    assert len(rates(tmp_path / "runs.json")) == 2
    (tmp_path / "runs.json").write_text(json.dumps([{**runs[0], "state": "finished"}, runs[1]]))
    assert rates(tmp_path / "runs.json") == [0.1]
    assert len(rates(tmp_path / "runs.json", "untold")) == 2


def test_a_loss_beside_divergence_does_not_count(tmp_path: Path) -> None:
    """It is the last before."""
    path = tmp_path / "a.csv"
    path.write_text("lr,loss,outcome,status\n0.1,3,good,finished\n0.2,1,bad,diverged\n0.4,2,odd,failed\n")
    found = understand(path)
    assert found.table.column("loss").to_pylist() == [3.0, None]
    assert found.table.column("outcome").to_pylist() == ["good", "bad"]
    assert "1 diverged, as they say; a loss beside that does not count" in found.notes
    runs = [{"config": {"lr": rate}, "summary": {"loss": 3.0}, "state": state}
            for rate, state in ((0.1, "finished"), (0.2, "diverged"))]  # fmt: skip
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    assert understand(tmp_path / "runs.json").table.column("loss").to_pylist() == [3.0, None]


@pytest.mark.parametrize(
    ("name", "odd", "state"),
    [("finished", "False", "unfinished"), ("is_done", "0", "unfinished"), ("completed", "no", "unfinished"),
     ("failed", "true", "failed"), ("crashed", "1", "crashed"), ("is_pruned", "True", "pruned")],
)  # fmt: skip
def test_truth_values_tell_states(name: str, odd: str, state: str, tmp_path: Path) -> None:
    usual = {"False": "True", "0": "1", "no": "yes", "true": "false", "1": "0", "True": "False"}[odd]
    path = tmp_path / "a.csv"
    path.write_text(f"lr,loss,{name}\n0.1,3,{usual}\n0.2,2,{odd}\n0.4,3,{usual}\n")
    found = understand(path)
    assert found.table.column("learning_rate").to_pylist() == [0.1, 0.4]
    assert f"1 {state} left out; import --include {state} takes them" in found.notes
    path.write_text(f"lr,loss,{name}\n0.1,3,0.25\n0.2,2,0.5\n")  # a measure of that name
    assert understand(path).table.num_rows == 2


def test_of_a_trainings_reports_the_last_counts(tmp_path: Path) -> None:
    """As Ray Tune writes them: each with the configuration, and whether it is the last."""
    reports = [
        {"loss": 5.0 - step, "training_iteration": step, "done": step == 2, "config": {"lr": rate}}
        for rate in (0.1, 0.2)
        for step in (1, 2)
    ]
    (tmp_path / "result.json").write_text("\n".join(map(json.dumps, reports)))
    found = understand(tmp_path / "result.json")
    assert found.table.column("loss").to_pylist() == [3.0, 3.0]
    assert "2 unfinished left out; import --include unfinished takes them" in found.notes


def ray_trial(folder: Path, name: str, rate: float, losses: Sequence[float], end: str = "") -> None:
    """As Ray 2.56 writes a function's trial: no report says that it is the last."""
    trial = folder / f"f_{name}_lr={rate}"
    trial.mkdir(parents=True)
    config = {"lr": rate, "model": {"width": 32}}
    (trial / "params.json").write_text(json.dumps(config))
    reports = [
        {
            "loss": loss,
            "done": False,
            "training_iteration": step,
            "trial_id": name,
            "pid": 7,
            "config": config,
        }
        for step, loss in enumerate(losses, start=1)
    ]
    (trial / "result.json").write_text("".join(json.dumps(report) + "\n" for report in reports) + end)


def test_the_folder_of_an_experiment(tmp_path: Path) -> None:
    """Three trials ended, one of them in no number; one failed, one goes on, one told nothing."""
    experiment = tmp_path / "tuned" / "experiment"
    ray_trial(experiment, "a0", 0.1, [5.0, 4.0])
    ray_trial(experiment, "a1", 0.2, [5.0, 3.0], end='{"loss": 2.9, "trai')
    ray_trial(experiment, "a2", 0.4, [5.0, float("nan")])
    ray_trial(experiment, "a3", 0.8, [5.0])
    ray_trial(experiment, "a4", 1.6, [5.0])
    ray_trial(experiment, "a5", 3.2, [])
    (experiment / "f_a5_lr=3.2" / "result.json").unlink()
    stands = ["TERMINATED"] * 3 + ["ERROR", "RUNNING", "TERMINATED"]
    told = [[json.dumps({"trial_id": f"a{i}", "status": status}), "{}"] for i, status in enumerate(stands)]
    (experiment / "experiment_state-2026.json").write_text(json.dumps({"trial_data": told}))
    found = understand(tmp_path / "tuned", Reading(columns={"width": "model.width"}))
    assert found.table.column("learning_rate").to_pylist() == [0.1, 0.2, 0.4]
    assert found.table.column("loss").to_pylist() == [4.0, 3.0, None]
    assert "1 failed, 1 running, 1 unfinished left out; " in "".join(found.notes)
    assert not {"pid", "done"} & {*found.table.column_names}


def test_without_the_states_of_an_experiment_its_trials_say_what_failed(tmp_path: Path) -> None:
    ray_trial(tmp_path, "a0", 0.1, [5.0, 4.0])
    ray_trial(tmp_path, "a1", 0.2, [5.0])
    (tmp_path / "f_a1_lr=0.2" / "error.txt").write_text("ValueError")
    assert understand(tmp_path).table.column("loss").to_pylist() == [4.0]
    (tmp_path / "f_a0_lr=0.1" / "result.json").write_bytes(b"\x1f\x8b[1\n\xff\n")
    with pytest.raises(ImportFault, match=r"result.json: holds no reports of a trial; mend it"):
        understand(tmp_path)


def test_trials_that_a_scheduler_stopped_have_not_finished(tmp_path: Path) -> None:
    """They stand as terminated, too. One that diverged has nothing more to report."""
    ray_trial(tmp_path, "a0", 0.1, [5.0, 4.0, 3.0, 2.0])
    ray_trial(tmp_path, "a1", 0.2, [5.0, 4.9])
    ray_trial(tmp_path, "a2", 0.4, [5.0, float("nan")])
    told = [[json.dumps({"trial_id": f"a{i}", "status": "TERMINATED"}), "{}"] for i in range(3)]
    told += [["no JSON"], 5, {}]  # type: ignore[list-item]
    (tmp_path / "experiment_state-2026.json").write_text(json.dumps({"trial_data": told}))
    found = understand(tmp_path)
    assert found.table.column("loss").to_pylist() == [2.0, None]
    assert "1 unfinished left out; import --include unfinished takes them" in found.notes


def test_trials_of_one_name_stand_as_their_own_experiment_says(tmp_path: Path) -> None:
    for name, status, loss in (("x", "TERMINATED", 4.0), ("y", "ERROR", 5.0)):
        ray_trial(tmp_path / name, "a0", 0.1, [loss])
        told = [[json.dumps({"trial_id": "a0", "status": status}), "{}"]]
        (tmp_path / name / "experiment_state-2026.json").write_text(json.dumps({"trial_data": told}))
    assert understand(tmp_path).table.column("loss").to_pylist() == [4.0]


def test_trials_beside_a_table_are_not_chosen_between(tmp_path: Path) -> None:
    ray_trial(tmp_path, "a0", 0.1, [4.0])
    pd.DataFrame({"lr": [0.1], "loss": [3.0]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ImportFault, match="holds trials of Ray Tune and Parquet files; give one of the"):
        understand(tmp_path)


@pytest.mark.parametrize(
    ("columns", "rows", "losses", "notes"),
    [
        # Measures and settings that are called like a state of somebody's.
        ("success", ["1", "0", "0"], [1.0, 2.0, 3.0], 0),
        ("stopped", ["0", "1", "1"], [1.0, 2.0, 3.0], 0),
        ("success", ["True", "False", "True"], [1.0, 2.0, 3.0], 1),
        ("outcome", ["failed", "completed", "completed"], [1.0, 2.0, 3.0], 1),
        ("result", ["0.7", "0.8", "0.9"], [1.0, 2.0, 3.0], 0),
        ("status", ["passed", "FAILED!", "passed"], [1.0, 2.0, 3.0], 1),
        ("status", ["3", "4", "3"], [1.0, 2.0, 3.0], 1),
        ("timeout", ["1", "1", "1"], [1.0, 2.0, 3.0], 0),
        ("error", ["1.0", "0.0", "0.0"], [1.0, 2.0, 3.0], 0),
        # Of what diverged nothing else is asked; where nothing is said nothing was.
        ("completed,diverged", ["True,False", "True,False", "False,True"], [1.0, 2.0, None], 1),
        ("state,diverged", ["finished,no", "crashed,yes", "failed,no"], [1.0, None], 2),
        ("diverged", ["", "", "True"], [1.0, 2.0, None], 1),
        ("diverged", ["n", "y", "n"], [1.0, None, 3.0], 1),
        ("status", ["", "", "diverged"], [1.0, 2.0, None], 1), ("done", ["", "True", "False"], [2.0], 1),
    ],
)  # fmt: skip
def test_what_is_called_like_a_state(
    columns: str, rows: Sequence[str], losses: Sequence[float | None], notes: int, tmp_path: Path
) -> None:
    lines = [f"0.{place},{place},{cells}" for place, cells in enumerate(rows, start=1)]
    (tmp_path / "a.csv").write_text("\n".join([f"lr,loss,{columns}", *lines]))
    found = understand(tmp_path / "a.csv")
    assert found.table.column("loss").to_pylist() == losses
    assert len(found.notes) == notes


def test_lists_under_the_name_of_a_state(tmp_path: Path) -> None:
    lists = pd.DataFrame({"lr": [0.1, 0.2], "loss": [3.0, 2.0], "done": [[1], [2]], "status": [["a"], ["b"]]})
    lists.to_parquet(tmp_path / "a.parquet")
    assert understand(tmp_path / "a.parquet").table.num_rows == 2


def test_entries_of_runs_that_are_called_like_a_state(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    numbers = [{"config": {"lr": rate}, "loss": 2.0, "failed": failed}
               for rate, failed in ((0.1, 0.3), (0.2, 1.0))]  # fmt: skip
    path.write_text(json.dumps(numbers))
    assert understand(path).table.column("failed").to_pylist() == ["0.3", "1.0"]
    gone = [{"config": {"lr": 0.1}, "summary": {"loss": 2.0}},
            {"config": {"lr": 0.2}, "summary": {"loss": 1.0, "diverged": True}},
            {"config": {"lr": 0.3}, "summary": {}, "state": "diverged"}]  # fmt: skip
    path.write_text(json.dumps(gone))
    assert understand(path).table.column("loss").to_pylist() == [2.0, None, None]
    asked = [{"config": {"lr": 0.1}, "summary": {"loss": 2.0}, "state": "finished"},
             {"config": {"lr": 0.2}, "summary": {}, "state": "crashed"}]  # fmt: skip
    path.write_text(json.dumps(asked))
    assert understand(path, Reading(include=["crashed"])).table.column("loss").to_pylist() == [2.0, None]
