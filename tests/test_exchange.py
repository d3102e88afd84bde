"""What goes out again from measurements made elsewhere: the value alone, and the trials that are lacking."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

GRID = 2.0 ** np.arange(-10.0, -2.0)


def write(path: Path, widths: tuple[int, ...], slope: float = 0.0) -> None:
    """Losses of valleys whose optimum moves by `slope` octaves per doubling."""
    rows = []
    for width in widths:
        away = np.log2(GRID * (width / 64) ** -slope) + 6
        losses = 2 + 50 / width + 0.1 * away**2
        rows += [f"{width},{4 * width},{rate},{loss}" for rate, loss in zip(GRID, losses, strict=True)]
    path.write_text("\n".join(["width,heads,lr,loss", *rows]))


def test_a_value_alone_is_handed_over_from_several_imports(mutransfer: Command, tmp_path: Path) -> None:
    for name, widths in (("small", (64, 128)), ("large", (256, 512))):
        write(tmp_path / f"{name}.csv", widths, slope=-1.0)
        mutransfer("import", f"{name}.csv", "--out", name)
    words = ("--target", "4096", "-f", "json")
    handed = json.loads(mutransfer("export", "small", "large", *words).stdout)
    assert handed["target"] == {"width": 4096}
    assert np.log2(handed["hyperparameters"]["learning_rate"]) == pytest.approx(-12, abs=0.1)
    low, high = handed["hyperparameters"]["learning_rate_interval"]
    assert low <= 2.0**-12 <= high
    assert handed["evidence"]["comparison"]["verdict"] == "drifts"
    assert any("verdict is drifts" in one["text"] for one in handed["warnings"])
    held = json.loads(mutransfer("export", "small", "large", "--axis", "heads", *words).stdout)
    assert held["target"] == {"heads": 4096}


def test_a_stable_value_is_the_mean(mutransfer: Command, tmp_path: Path) -> None:
    write(tmp_path / "flat.csv", (64, 128, 256, 512))
    mutransfer("import", "flat.csv", "--out", "flat")
    handed = json.loads(mutransfer("export", "flat", "--target", "1e6", "-f", "json").stdout)
    assert np.log2(handed["hyperparameters"]["learning_rate"]) == pytest.approx(-6, abs=0.05)
    assert any("1953" in one["text"] and "times the largest" in one["text"] for one in handed["warnings"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "--width, --depth: give the large model's, or --target SCALE for the value alone"),
        ("--target 9 --width 8", "--target: hands over a value alone, as yaml or json; leave out --width"),
        ("--target 0", "--target 0: give a positive number, the scale of the large run"),
        ("--target inf", "--target inf: give a positive number"),
        ("--target 9 --hold width=64 --hold width=128", "--hold width: is given twice"),
        ("--target 9 -f megatron", "--target: hands over a value alone, as yaml or json; leave out -f"),
        ("--width 9 --depth 2", "the measurements do not say how they were trained"),
    ],
)
def test_what_cannot_be_handed_over(words: str, told: str, mutransfer: Command, tmp_path: Path) -> None:
    write(tmp_path / "flat.csv", (64, 128, 256))
    mutransfer("import", "flat.csv", "--out", "flat")
    refused = mutransfer("export", "flat", *words.split())
    assert refused.returncode == 2 and told in refused.stderr


def test_a_slope_is_not_followed_far_unasked(mutransfer: Command, tmp_path: Path) -> None:
    write(tmp_path / "up.csv", (64, 128, 256), slope=1.0)
    refused = mutransfer("export", "up.csv", "--target", "4096")
    assert refused.returncode == 2
    assert "width 4096: is 4.0 doublings beyond what was measured (64 to 256), and a slope" in refused.stderr
    assert mutransfer("export", "up.csv", "--target", "4096", "--extrapolate").returncode == 0


def test_one_scale_says_nothing_of_another(mutransfer: Command, tmp_path: Path) -> None:
    write(tmp_path / "up.csv", (64, 128, 256), slope=1.0)
    mutransfer("import", "up.csv", "--out", "up")
    refused = mutransfer("export", "up", "--hold", "width=64", "--target", "4096")
    assert refused.returncode == 4
    assert (
        "only width 64 has an optimum inside its grid; nothing says what it becomes at 4096" in refused.stderr
    )
    assert mutransfer("export", "up", "--hold", "width=64", "--target", "64").returncode == 0


def test_suggestions_for_imports_are_a_table_to_train(mutransfer: Command, tmp_path: Path) -> None:
    """At a new scale what goes with the scale is left for its owner to say."""
    write(tmp_path / "two.csv", (64, 128))
    mutransfer("import", "two.csv", "--out", "two")
    refused = mutransfer("report", "two", "--suggest", "more.yaml")
    assert refused.returncode == 2 and "--suggest FILE.csv writes a table" in refused.stderr
    assert mutransfer("report", "two", "--suggest", "more.csv").returncode == 0
    with (tmp_path / "more.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["width"] for row in rows} == {"32"}
    assert {row["heads"] for row in rows} == {""} and {row["loss"] for row in rows} == {"waiting"}
    assert sorted(float(row["learning_rate"]) for row in rows) == pytest.approx(list(GRID))
    for row in rows:
        rate = np.log2(float(row["learning_rate"]))
        row |= {"heads": "128", "loss": str(2 + 50 / 32 + 0.1 * (rate + 6) ** 2)}
    with (tmp_path / "more.csv").open("w") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert mutransfer("import", "more.csv", "--out", "more").returncode == 0
    (entry,) = json.loads(mutransfer("report", "two", "more", "-f", "json").stdout)["comparisons"]
    assert (len(entry["optima"]), entry["verdict"]) == (3, "stable")


@pytest.mark.slow
def test_what_was_exported_comes_back_as_it_was(mutransfer: Command) -> None:
    """Rows of an import, diverged ones among them, as a table and imported again: the same report."""
    rows = Path(__file__).parent.parent / "benchmarks" / "evidence" / "depth-no-norms.parquet"
    assert "30 without a finite final loss" in mutransfer("import", str(rows), "--out", "first").stdout
    mutransfer("trials", "first", "--out", "first.csv")
    mutransfer("import", "first.csv", "--out", "second")
    first, second = (mutransfer("report", name, "-f", "json").stdout for name in ("first", "second"))
    assert json.loads(first)["comparisons"] == json.loads(second)["comparisons"] != []


def test_pruned_trials_are_no_measurements(mutransfer: Command, tmp_path: Path) -> None:
    lines = ["width,lr,loss,status", "64,0.1,3.0,finished", "64,0.2,,pruned", "64,0.4,,diverged"]
    (tmp_path / "runs.csv").write_text("\n".join(lines))
    told = mutransfer("import", "runs.csv", "--out", "runs").stdout
    assert "1 pruned left out; import --include pruned takes them" in told
    assert "1 without a finite final loss are taken for diverged" in told


def test_repeated_rows_are_said(mutransfer: Command, tmp_path: Path) -> None:
    """Where a seed says that they are the same run they are one; else each is a run."""
    rows = "64,0.1,3.0\n64,0.1,3.0\n64,0.2,3.1\n"
    (tmp_path / "runs.csv").write_text("width,lr,loss\n" + rows)
    told = mutransfer("import", "runs.csv", "--out", "runs").stdout
    assert "1 row repeats others, and no seed tells them apart: taken for runs of their own" in told
    (tmp_path / "seeded.csv").write_text("seed,width,lr,loss\n" + rows.replace("64,", "0,64,"))
    told = mutransfer("import", "seeded.csv", "--out", "seeded").stdout
    assert "1 row that repeats another is left out" in told


def test_a_study_is_one_of_optuna(mutransfer: Command, tmp_path: Path) -> None:
    write(tmp_path / "flat.csv", (64,))
    refused = mutransfer("import", "flat.csv", "--study", "mine", "--out", "flat")
    assert refused.returncode == 2
    assert "flat.csv: --study mine: holds neither Optuna's studies nor MLflow's experiments" in refused.stderr
