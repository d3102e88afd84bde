"""What a report says of measurements from elsewhere: of what they mix, contradict and leave open."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Command

from mutransfer.results.questions.comparison import compare
from mutransfer.results.sources.importing import understand
from mutransfer.results.store.schema import ROWS
from mutransfer.results.store.store import read_rows


def test_sizes_are_written_as_people_write_them(tmp_path: Path, mutransfer: Command) -> None:
    rows = [f"{size},{rate},{loss}" for size, floor in (("125M", 3), ("1.3B", 2)) for rate, loss in
            ((0.1, floor + 0.1), (0.2, floor), (0.4, floor + 0.1))]  # fmt: skip
    (tmp_path / "a.csv").write_text("\n".join(["params,lr,loss", *rows]))
    told = mutransfer("report", "a.csv", "--out", "x", "--axis", "params", "--target", "7e12").stdout
    assert "125M" in told and "1.3B" in told and "At params 7T" in told
    drawn = (tmp_path / "x" / "optimum-learning_rate-across-params.svg").read_text()
    assert ">125M<" in drawn and ">1.3B<" in drawn
    assert ">1.3B<" in (tmp_path / "x" / "loss-learning_rate-across-params.svg").read_text()


def test_what_an_axis_is_not_is_said(tmp_path: Path, mutransfer: Command) -> None:
    (tmp_path / "a.csv").write_text(
        "width,params,wd,lr,loss\n16,small,0.1,0.1,3\n16,small,0.1,0.2,2\n16,small,0.1,0.4,3\n"
    )
    told = mutransfer("report", "a.csv", "--out", "x", "--axis", "params").stderr
    assert "--axis params: holds what is no positive number, such as small" in told
    told = mutransfer("report", "a.csv", "--out", "x", "--axis", "wd").stderr
    assert "--axis wd: is no column of these measurements; it was taken for weight_decay" in told


LAW = "N,D,bs,lr,loss\n" + "".join(
    f"{n},{d},{bs},{2.0**x},{2 + 500 / n + 0.1 * (x + 8 + n / 400) ** 2 + 0.05 * (bs == 64)}\n"
    for n in (100, 200, 400, 800) for d in (1e9, 2e9) for bs in (32, 64) for x in range(-12, -4)
)  # fmt: skip


def test_any_column_is_a_scale(tmp_path: Path, mutransfer: Command) -> None:
    (tmp_path / "law.csv").write_text(LAW)
    dry = mutransfer("import", "law.csv", "--out", "law", "--dry-run")
    assert "learning_rate: lr\nbatch_size: bs\n128 measurements; nothing was made" in dry.stdout
    assert not (tmp_path / "law").exists()
    assert mutransfer("import", "law.csv", "--out", "law").returncode == 0
    held = ("--hold", "D=1e9", "--hold", "batch_size=32")
    told = mutransfer("report", "law", "--axis", "N", *held, "-f", "json")
    assert "averaged" not in told.stderr, told.stderr
    (entry,) = json.loads(told.stdout)["comparisons"]
    assert entry["axis"] == "N" and [optimum["scale"] for optimum in entry["optima"]] == [100, 200, 400, 800]
    assert entry["optima"][0]["log2_optimum"] == pytest.approx(-8.25, abs=0.05)


def test_trials_that_contradict_each_other_are_said(tmp_path: Path, mutransfer: Command) -> None:
    """One seed twice, with another loss; and two tables of the same points. Rounding is no other loss."""
    lines = [f"{w},{2.0**p!r},0,{3 + (p + 5) ** 2 / 9!r}" for w in (32, 64, 128) for p in range(-8, -2)]
    (tmp_path / "once.csv").write_text("\n".join(["width,lr,seed,loss", *lines]))
    (tmp_path / "again.csv").write_text("\n".join(["width,lr,seed,loss", *lines, "64,0.03125,0,4.5"]))
    moved = [line.rpartition(",") for line in lines]
    for name, factor in (("other", 1.01), ("rounded", 1 + 1e-9)):
        others = [f"{point},{float(loss) * factor!r}" for point, _, loss in moved]
        (tmp_path / f"{name}.csv").write_text("\n".join(["width,lr,seed,loss", *others]))
    told = "2 trials agree in all that is known, their seed included, and ended otherwise (at learning_rate"
    assert told in mutransfer("report", "again.csv", "--out", "page").stderr
    both = mutransfer("report", "once.csv", "other.csv", "--out", "page").stderr
    assert "36 trials that differ in sweep are averaged; --hold sweep=VALUE keeps one" in both
    for words in (["once.csv"], ["once.csv", "rounded.csv"], ["once.csv", "other.csv", "--pool", "sweep"]):
        assert "averaged" not in mutransfer("report", *words, "--out", "page").stderr


def test_a_learning_rate_that_is_the_same_everywhere_is_said(tmp_path: Path, mutransfer: Command) -> None:
    lines = [f"{w},0.001,{b / 10},{3 + (b - 5) ** 2 / 9!r}" for w in (32, 64, 128) for b in range(2, 9)]
    (tmp_path / "a.csv").write_text("\n".join(["width,lr,momentum,loss", *lines]))
    told = "the learning rate is 0.001 in all trials; --hyperparameter momentum, which has 7 values, says"
    assert told in mutransfer("report", "a.csv", "--out", "page").stderr
    named = mutransfer("report", "a.csv", "--out", "page", "--hyperparameter", "momentum")
    assert "the learning rate is" not in named.stderr and "stable" in named.stdout


def test_what_is_averaged_silently_is_said(tmp_path: Path, mutransfer: Command) -> None:
    (tmp_path / "law.csv").write_text(LAW.replace(",bs,", ",rows,"))
    mutransfer("import", "law.csv", "--out", "law")
    mixed = mutransfer("report", "law", "--axis", "N", "--hold", "D=1e9")
    assert "64 trials that differ in rows are averaged; --hold rows=VALUE" in mixed.stderr
    meant = mutransfer("report", "law", "--axis", "N", "--hold", "D=1e9", "--pool", "rows")
    assert "averaged" not in meant.stderr


def test_seeds_that_reach_nothing_are_said(tmp_path: Path, mutransfer: Command) -> None:
    """Copies of one run are no repeats; one that differs in a single digit is."""
    rows = [(width, 2.0**x, seed, 2 + 0.1 * (x + 5) ** 2) for width in (16, 32, 64) for x in range(-8, -1)
            for seed in (0, 1)]  # fmt: skip
    text = "width,lr,seed,loss\n" + "".join(f"{w},{lr},{seed},{loss}\n" for w, lr, seed, loss in rows)
    (tmp_path / "copies.csv").write_text(text)
    assert (
        "at all 21 points with several seeds these ended alike"
        in mutransfer("report", "copies.csv", "--out", "a").stderr
    )
    (tmp_path / "runs.csv").write_text(text.replace("16,0.03125,1,2.0\n", "16,0.03125,1,2.001\n"))
    assert "ended alike" not in mutransfer("report", "runs.csv", "--out", "b").stderr
    kept = mutransfer("report", "copies.csv", "--out", "c", "--hold", "seed=0")
    assert "ended alike" not in kept.stderr


@pytest.mark.parametrize("column", ["algo", "host", "half"])
def test_a_curve_of_two_families_is_said(column: str, tmp_path: Path, mutransfer: Command) -> None:
    """Their grids do not meet, so that nothing is averaged. Of hosts, or of the two halves of a grid, each
    has values enough for a curve, and they are one."""
    rows = []
    for width in (16, 32, 64):
        for algo, shift, best in (("adam", 0.0, -9), ("sgd", 8.5, -1)):
            for x in range(-12, -5):
                loss = 3 + 0.1 * (x + shift - (best if column == "algo" else -6)) ** 2
                told = {"algo": algo, "host": f"n{x % 2}", "half": algo}[column]
                rows.append(f"{width},{2.0 ** (x + shift)},{loss},{told}")
    (tmp_path / "two.csv").write_text(f"width,lr,loss,{column}\n" + "\n".join(rows))
    told = mutransfer("report", "two.csv", "--out", "page").stderr
    said = f"curves are made of trials that differ in {column}; --hold {column}=VALUE keeps one"
    assert (said in told) == (column == "algo")
    meant = mutransfer("report", "two.csv", "--out", "again", "--pool", column).stderr
    assert "curves are made" not in meant


def test_curves_that_lie_beside_each_other_are_said(tmp_path: Path, mutransfer: Command) -> None:
    """Two data sets, whose values alternate."""
    rows = [
        f"{width},{2.0 ** (x / 2)},{(3 if x % 2 else 2.4) + 0.05 * (x / 2 + 8) ** 2},{'ab'[x % 2]}"
        for width in (16, 32, 64)
        for x in range(-22, -9)
    ]
    (tmp_path / "two.csv").write_text("width,lr,loss,dataset\n" + "\n".join(rows))
    told = mutransfer("report", "two.csv", "--out", "page").stderr
    assert "curves are made of trials that differ in dataset;" in told


@pytest.mark.parametrize("case", ["a retry", "a duration of its own"])
def test_runs_that_diverged_elsewhere_stay_there(case: str, tmp_path: Path, mutransfer: Command) -> None:
    """A value was tried again, and finished; or all of one duration diverged. What finished stays stable."""
    rows = [f"{width},{2.0**x},{3 + 0.1 * (x + 7) ** 2},1000" for width in (16, 32, 64)
            for x in range(-10, -3)]  # fmt: skip
    lost = [-7] if case == "a retry" else range(-10, -3)
    rows += [f"{width},{2.0**x},nan,40" for width in (16, 32, 64) for x in lost]
    (tmp_path / "told.csv").write_text("width,lr,loss,steps\n" + "\n".join(rows))
    told = mutransfer("report", "told.csv", "--axis", "width", "--out", "page", "-f", "json")
    found = {entry["fixed"]["steps"]: entry["verdict"] for entry in json.loads(told.stdout)["comparisons"]}
    assert found == {1000: "stable", 40: "inconclusive"}


def test_diverged_runs_are_compared_at_the_steps_that_they_were_to_take(
    tmp_path: Path, mutransfer: Command
) -> None:
    """Their steps say how far they came, or nothing; those of finished ones follow from the width."""
    rows = []
    for width in (16, 32, 64):
        for x in range(-10, -3):
            steps, diverged = 10 * width, x > -6
            loss = "nan" if diverged else 3 + 0.1 * (x + 7 + np.log2(width / 16)) ** 2
            reached = ("" if x == -4 else 40 + x) if diverged else steps
            rows.append(f"{width},{2.0**x},{loss},{reached},")
    (tmp_path / "told.csv").write_text("width,lr,loss,steps,diverged_step\n" + "\n".join(rows))
    done = mutransfer("import", "told.csv", "--out", "told")
    assert "6 that diverged are compared at what finished ones train for, not at their own" in done.stdout
    frame = read_rows(tmp_path / "told")[0].to_pandas()
    assert (frame["steps"] == 10 * frame["width"]).all()
    assert sorted(frame["diverged_step"].dropna()) == [35] * 3
    told = mutransfer("report", "told", "--axis", "width", "-f", "json").stdout
    (entry,) = json.loads(told)["comparisons"]
    assert [optimum["diverged"] for optimum in entry["optima"]] == [2, 2, 2]


def test_a_duration_at_which_all_diverged_stays(tmp_path: Path, mutransfer: Command) -> None:
    """Where others finished after as many steps."""
    rows = [f"{width},{2.0**x},{'nan' if (width, steps) == (64, 100) else 3 + 0.1 * (x + 7) ** 2},{steps}"
            for width in (16, 32, 64) for steps in (100, 200) for x in range(-10, -4)]  # fmt: skip
    (tmp_path / "told.csv").write_text("width,lr,loss,steps\n" + "\n".join(rows))
    mutransfer("import", "told.csv", "--out", "told")
    frame = read_rows(tmp_path / "told")[0].to_pandas()
    assert {*frame[frame["status"] == "diverged"]["steps"]} == {100}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--axis", "M"), "--axis M: is no column of these measurements; there are D, N,"),
        (("--axis", "loss"), "--axis loss: is measured or tuned, no scale"),
        (("--target", "inf"), "--target inf: give a positive number"),
        (("--target", "0"), "--target 0: give a positive number"),
        (("--hold", "D=3"), "--hold D=3: no trial has this value"),
    ],
)
def test_a_view_of_nothing_is_named(
    tmp_path: Path, mutransfer: Command, words: tuple[str, str], message: str
) -> None:
    (tmp_path / "law.csv").write_text(LAW)
    mutransfer("import", "law.csv", "--out", "law")
    refused = mutransfer("report", "law", *words)
    assert refused.returncode == 2 and message in refused.stderr


def test_tokens_that_differ_are_said(tmp_path: Path, mutransfer: Command) -> None:
    rows = [f"{2.0**x},{3 + 0.1 * (x + 5) ** 2 + tokens / 1000},{width},{tokens}"
            for width in (16, 32, 64) for tokens in (100, 200) for x in range(-8, -2)]  # fmt: skip
    (tmp_path / "mixed.csv").write_text("lr,loss,width,tokens\n" + "\n".join(rows))
    mutransfer("import", "mixed.csv", "--out", "mixed")
    assert "trials that differ in tokens are averaged" in mutransfer("report", "mixed").stderr
    assert "averaged" not in mutransfer("report", "mixed", "--hold", "tokens=100").stderr


def test_rows_without_a_scale_have_no_comparison(tmp_path: Path, mutransfer: Command) -> None:
    rows = [
        f"{2.0**x},{3 + 0.1 * (x + 5) ** 2 + decay},{decay}" for decay in (0.1, 0.2) for x in range(-8, -2)
    ]
    (tmp_path / "flat.csv").write_text("lr,loss,weight_decay\n" + "\n".join(rows))
    mutransfer("import", "flat.csv", "--out", "flat")
    nothing = mutransfer("report", "flat")
    assert nothing.returncode == 4 and "--axis COLUMN" in nothing.stderr


def test_many_scales_are_told_whole(mutransfer: Command, tmp_path: Path) -> None:
    """A table itself is reported; a row that is wider than the page goes on below, no number is cut off."""
    rows = [
        f"{2 ** (scale + 4)},{2.0**-power},{3 - 0.1 * scale + 0.05 * (power - 5) ** 2}\n"
        for scale in range(15)
        for power in range(12)
    ]
    (tmp_path / "wide.csv").write_text("width,lr,loss\n" + "".join(rows))
    refused = mutransfer("report", "wide.csv")
    assert refused.returncode == 2 and "is a table; say with --out where its report goes" in refused.stderr
    told = mutransfer("report", "wide.csv", "--out", "page")
    assert told.returncode == 0 and (tmp_path / "page" / "report.html").exists()
    assert "…" not in told.stdout and told.stdout.count("2^−5.0") == 15
    assert "continued" in told.stdout
    for words in (("export", "--target", "1e6"), ("trials", "--out", "rows.csv")):
        assert mutransfer(words[0], "wide.csv", *words[1:]).returncode == 0


def test_a_view_of_what_is_never_averaged(tmp_path: Path, mutransfer: Command) -> None:
    rows = [f"{width},{2.0**x},{3 + (x + 9) ** 2}" for width in (1, 2, 4) for x in range(-12, -5)]
    (tmp_path / "a.csv").write_text("\n".join(["width,lr,loss", *rows]))
    pooled = mutransfer("report", "a.csv", "--pool", "width", "--out", "page")
    assert pooled.returncode == 2
    assert "--pool width: trials that differ in it are compared apart" in pooled.stderr
    tuned = mutransfer("report", "a.csv", "--hyperparameter", "width", "--out", "page")
    assert "nothing to compare: the trials have a width, and no width with several values" in tuned.stderr


def test_a_tolerance_above_every_loss_is_said(tmp_path: Path) -> None:
    rows = [
        {
            "width": 64 * 2**i,
            "learning_rate": 2.0**x,
            "loss": 1e-4 * (1 + (x + 7 + i) ** 2),
        }
        for i in range(4)
        for x in range(-14, -4)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    (compared,) = compare(understand(tmp_path / "a.csv").table.to_pandas(), ROWS.names)
    assert any("give the tolerance in the losses' unit" in reason for reason in compared.drift.reasons)


def test_tokens_that_grow_with_the_width_are_said(tmp_path: Path, mutransfer: Command) -> None:
    """Twenty for each parameter: what is called the width's is theirs, too."""
    rows = [
        f"{width},{width * 10**6},{2.0**x},{3 + 0.1 * (x + 7) ** 2}"
        for width in (16, 32, 64)
        for x in range(-10, -3)
    ]
    (tmp_path / "told.csv").write_text("width,tokens,lr,loss\n" + "\n".join(rows))
    told = mutransfer("report", "told.csv", "--out", "page", "-f", "json")
    said = "tokens goes with width: no trial tells them apart; what is said of one is said of all"
    assert said in told.stderr and said in json.loads(told.stdout)["problems"]


@pytest.mark.parametrize("ended", [2000, 9950])
def test_trainings_of_one_curve_that_came_unlike_far_are_said(
    ended: int, tmp_path: Path, mutransfer: Command
) -> None:
    """High rates of the largest model ended early; a logger's last step is no sign of it."""
    rows = [
        f"{width},{2.0**x},{ended if width == 64 and x > -8 else 10_000},{3 + 0.1 * (x + 7) ** 2}"
        for width in (16, 32, 64)
        for x in range(-10, -3)
    ]
    (tmp_path / "told.csv").write_text("width,lr,global_step,loss\n" + "\n".join(rows))
    told = mutransfer("report", "told.csv", "--out", "page").stderr
    said = "global_step: trainings of one curve came from 2000 to 10000; --hold global_step=VALUE keeps one"
    assert (said in told) == (ended == 2000)


def test_a_value_that_was_not_measured_at_the_largest_scale_is_named(
    tmp_path: Path, mutransfer: Command
) -> None:
    """The optimum falls by an octave a doubling, and high rates were not run at large widths."""
    rows = [f"{2**w},{2.0**x},{3 + 0.04 * (x + w) ** 2}" for w in (4, 5, 6, 7) for x in range(-w - 4, -w + 2)]
    (tmp_path / "told.csv").write_text("width,lr,loss\n" + "\n".join(rows))
    told = " ".join(mutransfer("report", "told.csv", "--out", "page").stdout.split())
    assert "2^-4.5, lies beyond what was measured there: measure it at the largest scale" in told
    assert re.search(r"≥ 0\.\d+ \[0\.\d+, ∞\]", told)


def test_tables_of_one_name_are_told_apart(tmp_path: Path, mutransfer: Command) -> None:
    """As those of two names are: their points are not averaged without a word."""
    for folder, slope in (("a", 0.0), ("b", -1.0)):
        (tmp_path / folder).mkdir()
        rows = [f"{width},{2.0**x},{3 + 0.1 * (x - slope * index) ** 2}"
                for index, width in enumerate((64, 128, 256)) for x in range(-3, 3)]  # fmt: skip
        (tmp_path / folder / "runs.csv").write_text("\n".join(["width,lr,loss", *rows]))
    told = mutransfer("report", "a/runs.csv", "b/runs.csv", "--out", "x").stderr
    assert "trials that differ in sweep are averaged" in told
    held = mutransfer("report", "a/runs.csv", "b/runs.csv", "--out", "x", "--hold", "sweep=a/runs.csv")
    assert held.returncode == 0 and "+0.00" in held.stdout
    held = mutransfer("report", "a/runs.csv", "b/runs.csv", "--out", "x", "--hold", "sweep=b/runs.csv")
    assert "−1.00" in held.stdout and "64" in held.stdout  # also where both tables hold the same
    for folder in ("a", "b"):
        mutransfer("import", f"{folder}/runs.csv", "--out", f"in-0.{folder}")
    assert "trials that differ in sweep" in mutransfer("report", "in-0.a", "in-0.b", "--out", "x").stderr
    again = mutransfer("report", "a/runs.csv", "a/runs.csv", "--out", "x").stderr
    assert "sweep" not in again


def test_spellings_are_one_across_tables(tmp_path: Path, mutransfer: Command) -> None:
    for optimizer, width in (("AdamW", 64), ("adamw", 128)):
        rows = [f"{optimizer},{width},{2.0**x},{3 + 0.1 * x * x}" for x in range(-3, 3)]
        (tmp_path / f"{width}.csv").write_text("\n".join(["optimizer,width,lr,loss", *rows]))
    told = mutransfer("report", "64.csv", "128.csv", "--out", "x")
    assert "optimizer: AdamW and adamw are one" in told.stderr
    assert "64" in told.stdout and "128" in told.stdout and "AdamW" not in told.stdout
