"""Laws of several scales: tables made from a known law give its exponents back."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Command
from test_calibration import covers

from mutransfer.results.questions.laws import laws
from mutransfer.results.questions.view import View, ViewFault, collinear
from mutransfer.results.statistics.regression import Bound, Known, optima_at, regression

PARAMETERS = (6e7, 1.2e8, 2.15e8, 4.3e8, 1.07e9)
TOKENS = (4e9, 1.1e10, 2e10, 5.7e10, 1e11)
RATE, BATCH = (1.79, -0.713, 0.307), (0.58, 0.0, 0.571)
"""Constant, and the exponents of N and D."""


def best(law: tuple[float, float, float], parameters: float, tokens: float) -> float:
    return float(np.log2(law[0] * parameters ** law[1] * tokens ** law[2]))


def table(seed: int = 0, noise: float = 0.002) -> pd.DataFrame:
    """Losses of models of N parameters on D tokens, at learning rates by batch sizes.

    The valleys' axes are not those of the table, they are steeper above, and what is far above blew up.
    """
    generator, rows = np.random.default_rng(seed), []
    for parameters, tokens in itertools.product(PARAMETERS, TOKENS):
        if not 8 < tokens / parameters < 800:
            continue
        asymptote = 1.7 + 400 / parameters**0.34 + 410 / tokens**0.28
        for rate, batch in itertools.product(np.arange(-14, -5.9, 0.5), np.arange(15, 22.1)):
            u, v = rate - best(RATE, parameters, tokens), batch - best(BATCH, parameters, tokens)
            height = 0.012 * u * u + 0.008 * v * v - 0.006 * u * v + 0.004 * max(u - 1, 0) ** 3
            loss = asymptote + height + noise * generator.standard_normal()
            loss = loss if u < 3.5 else np.nan if generator.random() < 0.5 else 7 + generator.random()
            rows.append((parameters, tokens, 2.0**rate, 2.0**batch, loss))
    return pd.DataFrame(rows, columns=["N", "D", "lr", "bs", "loss"])


def rows_of(losses: pd.DataFrame) -> pd.DataFrame:
    """As the store has them."""
    named = losses.rename(columns={"lr": "learning_rate", "bs": "batch_size"})
    status = np.where(named["loss"].notna(), "finished", "diverged")
    return named.assign(status=status, architecture=None, optimizer=None, parametrization=None)


def test_a_table_of_runs_is_one_command_away_from_its_law(mutransfer: Command, tmp_path: Path) -> None:
    table().to_csv(tmp_path / "runs.csv", index=False)
    words = (
        "--axis N --axis D --hyperparameter learning_rate --hyperparameter batch_size --at N=1e10 --at D=2e11"
    )
    told = mutransfer("law", "runs.csv", *words.split(), "-f", "json")
    rate, batch = json.loads(told.stdout)["laws"]
    for entry, law in ((rate, RATE), (batch, BATCH)):
        found = entry["law"]["exponents"]
        assert found["N"]["exponent"] == pytest.approx(law[1], abs=0.05 * 0.571)
        assert found["D"]["exponent"] == pytest.approx(law[2], rel=0.05)
        # A constant bias of less than a tenth of an octave, far from the data, is what is left.
        assert entry["log2_at"] == pytest.approx(best(law, 1e10, 2e11), abs=0.25)
        assert {one["column"] for one in entry["held_out"]} == {"N", "D"}
        assert all(abs(one["error"]) < 0.15 for one in entry["held_out"])
        assert {cell["status"] for cell in entry["cells"]} <= {"ok", "at_edge", "unknown"}
    assert mutransfer("import", "runs.csv", "--out", "runs").returncode == 0
    shown = mutransfer("law", "runs", *words.split())
    assert "At N 10B, D 200B, if the law goes on" in shown.stdout and "N^−0.7" in shown.stdout


def test_the_rate_of_a_given_batch_size_has_a_law_of_its_own() -> None:
    """Conditional on the batch size: half its coupling to the rate over the rate's curvature."""
    (entry,) = laws(
        rows_of(table()), ["batch_size", "learning_rate"], ["learning_rate"], ["N", "D", "batch_size"]
    )
    law = entry.laws["learning_rate"]
    assert law is not None
    assert [one.value for one in law.exponents] == pytest.approx(
        [-0.713, 0.307 - 0.25 * 0.571, 0.25], abs=0.03
    )


def test_rate_and_decay_are_one_surface_per_scale() -> None:
    """Decay has its optimum at the inverse of the rate: only both together have one."""
    rows = [
        (
            width,
            2.0**rate,
            2.0**decay,
            3 + 0.05 * (rate + np.log2(width)) ** 2 + 0.03 * (rate + decay + 9) ** 2,
        )
        for width in (64, 128, 256, 512)
        for rate, decay in itertools.product(np.arange(-12.0, -2.0), np.arange(-8.0, 3.0))
    ]
    frame = pd.DataFrame(rows, columns=["width", "learning_rate", "weight_decay", "loss"])
    frame = frame.assign(status="finished", architecture=None, optimizer=None, parametrization=None)
    tuned = ["learning_rate", "weight_decay"]
    (entry,) = laws(frame, ["width", *tuned], tuned, ["width"])
    exponents = [law.exponents[0].value for law in entry.laws.values() if law is not None]
    assert exponents == pytest.approx([-1.0, 1.0], abs=0.03)


@pytest.mark.parametrize(("factor", "shift"), [(1.0, 0.0), (100.0, 0.0), (1.0, -5.0)])
def test_a_surface_has_no_unit(factor: float, shift: float) -> None:
    losses = table()
    losses = losses[losses["N"] == PARAMETERS[2]]
    changed = losses.assign(loss=factor * losses["loss"] + shift)
    tuned = ["learning_rate", "batch_size"]
    before, after = (
        laws(rows_of(frame), tuned, tuned, ["D"])[0].laws["learning_rate"] for frame in (losses, changed)
    )
    assert before is not None and after is not None
    assert after.exponents[0].value == pytest.approx(before.exponents[0].value, abs=1e-6)


def test_a_bound_may_lie_inside_its_grid() -> None:
    """Taken for a hard bound, the last optimum tips the line: its lowest point is at the end, but the curve
    says that the optimum is between that and the next."""
    generator = np.random.default_rng(0)
    known = [Known(-5.0 - s, -5.0 - s + 0.03 * generator.standard_normal(1000), -9.0, -1.0) for s in range(4)]
    bound = Bound(-9.2, -1.0, -9.0 + 0.03 * generator.standard_normal(1000))
    line = regression(optima_at([*known, bound], np.arange(5.0)[:, None]))
    assert line.slope_C[0] == pytest.approx(-1.0, abs=0.02)


def test_a_bound_beyond_which_the_line_passes_says_nothing() -> None:
    known = [Known(-5.0 - s, np.full(1000, -5.0 - s), -9.0, -1.0) for s in range(3)]
    bound = Bound(-7.5, -1.0, np.full(1000, -7.5))
    line = regression(optima_at([*known, bound], np.arange(4.0)[:, None]))
    assert line.slope_C[0] == pytest.approx(-1.0, abs=1e-6)


def test_cells_without_a_surface_are_unknown() -> None:
    """All diverged, or on one line: they are left out, and the others tell the law."""
    losses = table()
    gone, line = losses["N"] == PARAMETERS[0], (losses["N"] == PARAMETERS[1]) & (losses["bs"] > 2**15)
    losses = rows_of(losses.assign(loss=losses["loss"].mask(gone))[~line])
    tuned = ["learning_rate", "batch_size"]
    (entry,) = laws(losses, tuned, tuned, ["N", "D"])
    unknown = {cell.place[0] for cell in entry.cells if cell.optima == (None, None)}
    assert unknown == {*PARAMETERS[:2]}
    law = entry.laws["learning_rate"]
    assert law is not None and law.exponents[0].value == pytest.approx(-0.713, abs=0.03)


def test_scales_that_go_together_are_said() -> None:
    rows = pd.DataFrame({"N": [1e8, 2e8, 4e8], "D": [2e9, 4.02e9, 8e9], "E": [1.0, 5.0, 2.0]})
    assert collinear(rows, ["N", "D"]) == "D goes with N: no trial tells them apart"
    assert collinear(rows, ["N", "E"]) is None and collinear(rows, ["N"]) is None


def test_names_of_columns_may_be_products_and_quotients() -> None:
    rows = pd.DataFrame(
        {"parameters": [1.0, 2.0, 4.0], "tokens": [20.1, 39.5, 200.0], "loss": [3.0, 2.0, 1.0]}
    )
    held = View(hold={"tokens_per_parameter": "20"}).of(rows)
    assert list(held["parameters"]) == [1.0, 2.0]
    view = View(axes=["parameters*tokens", "tokens/parameters"]).of(rows)
    assert list(view["parameters*tokens"]) == pytest.approx([20.1, 79.0, 800.0])
    assert list(view["tokens/parameters"]) == pytest.approx([20.1, 19.75, 50.0])
    with pytest.raises(ViewFault, match=r"^--axis tokens_per_head: is no column of these measurements"):
        View(axes=["tokens_per_head"]).of(rows)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--axis N --axis M", "--axis N --axis M: M goes with N: no trial tells them apart; give those"),
        ("--axis K", "--axis K: is no column of these measurements; there are"),
        ("--axis N --axis one", "--axis one: has one value, 7; leave it out"),
        ("--axis N --at N=1e9 --at D=1e9", "--at D=1e9: is no scale of this law, which is of N; --axis D"),
        ("--axis N --at N=big", "--at N=big: give a positive number for each of N"),
        ("--axis N --axis D --at N=1e9", "--at: gives no D; the law needs all of N, D"),
        ("--axis N --at D", "--at D: write COLUMN=VALUE"),
        ("--axis loss", "--axis loss: is measured or tuned, no scale"),
        ("--hyperparameter word --axis N", "--hyperparameter word: holds what is no positive number"),
        (
            "--hyperparameter a --hyperparameter b --hyperparameter c",
            "--hyperparameter: give one column or two",
        ),
        ("", "--axis: no scale varies in these trials; name the columns that do"),
    ],
)
def test_what_a_law_cannot_be_made_of_is_one_line(
    words: str, told: str, mutransfer: Command, tmp_path: Path
) -> None:
    losses = table().query("N < 3e8").assign(M=lambda frame: 20 * frame["N"], word="big", one=7)
    losses.drop(columns="bs").to_csv(tmp_path / "runs.csv", index=False)
    mutransfer("import", "runs.csv", "--out", "runs")
    done = mutransfer("law", "runs", *words.split())
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(told)


def test_too_few_cells_for_a_law_are_told(mutransfer: Command, tmp_path: Path) -> None:
    losses = table()
    losses[losses["N"] == PARAMETERS[2]].to_csv(tmp_path / "runs.csv", index=False)
    mutransfer("import", "runs.csv", "--out", "runs")
    done = mutransfer("law", "runs", "--axis", "N", "--hold", "D=2e10", "--hold", "batch_size=262144")
    assert done.returncode == 4
    assert "learning rate: no law; it takes 2 of 1 cells, not all on one line" in done.stderr


def test_any_column_is_a_hyperparameter(mutransfer: Command, tmp_path: Path) -> None:
    rows = [
        f"{width},0.01,{beta},{3 + 0.1 * (np.log2(beta) + 3 + 0.5 * np.log2(width / 64)) ** 2}"
        for width in (64, 128, 256, 512)
        for beta in 2.0 ** np.arange(-7, 1)
    ]
    (tmp_path / "runs.csv").write_text("\n".join(["width,lr,one_minus_beta,loss", *rows]))
    mutransfer("import", "runs.csv", "--out", "runs")
    told = mutransfer("report", "runs", "--hyperparameter", "one_minus_beta", "-f", "json")
    (entry,) = json.loads(told.stdout)["comparisons"]
    assert entry["hyperparameter"] == "one_minus_beta"
    assert entry["slope_per_doubling"] == pytest.approx(-0.5, abs=0.02)


@pytest.mark.slow
def test_intervals_hold_the_truth_where_valleys_are_oblique() -> None:
    """What a lattice and far walls draw an optimum by, they draw it by in all cells of a row alike."""
    held = []
    for seed in range(4):
        losses = table(seed, noise=0.003).query("N > 1e8 and D < 8e10")
        tuned = ["learning_rate", "batch_size"]
        (entry,) = laws(rows_of(losses), tuned, tuned, ["N", "D"])
        for name, truth in (("learning_rate", RATE), ("batch_size", BATCH)):
            law = entry.laws[name]
            assert law is not None
            held += [covers(one.interval, true) for one, true in zip(law.exponents, truth[1:], strict=True)]
    assert sum(held) >= 14  # of 16, at 95 %


def test_what_goes_along_and_what_has_no_place_is_said(mutransfer: Command, tmp_path: Path) -> None:
    rows = [
        f"{n if x > -11 else ''},{2**18 if n < 3e8 else 2**20},{2.0**x},{2 + 500 / n + 0.1 * (x + 8) ** 2}"
        for n in (1e8, 2e8, 4e8, 8e8)
        for x in range(-12, -4)
    ]
    (tmp_path / "runs.csv").write_text("\n".join(["N,bs,lr,loss", *rows]))
    mutransfer("import", "runs.csv", "--out", "runs")
    told = mutransfer("law", "runs", "--axis", "N").stderr
    assert "batch size goes along with N; the law holds where it does" in told
    assert "trials have no N and are left out" in told


def test_default_axes_are_not_averaged_over(mutransfer: Command, tmp_path: Path) -> None:
    losses = table().query("bs == 2**18").rename(columns={"N": "parameters", "D": "tokens"})
    losses.drop(columns="bs").to_csv(tmp_path / "runs.csv", index=False)
    mutransfer("import", "runs.csv", "--out", "runs")
    told = mutransfer("law", "runs", "--at", "parameters=1e10", "--at", "tokens=2e11", "-f", "json")
    assert "averaged" not in told.stderr
    assert {*json.loads(told.stdout)["laws"][0]["law"]["exponents"]} == {"parameters", "tokens"}


def test_the_power_of_a_product_is_of_all_of_it(tmp_path: Path, mutransfer: Command) -> None:
    rows = ["N,D,lr,loss"]
    for n, d in ((10, 100), (20, 100), (40, 200), (80, 400)):
        best = -4 - 0.5 * np.log2(n * d / 1000)
        rows += [f"{n},{d},{2.0 ** (best + x)},{3 + 0.1 * x * x}" for x in (-1.9, -0.9, 0.1, 1.1, 2.1)]
    (tmp_path / "l.csv").write_text("\n".join(rows))
    told = mutransfer("law", "l.csv", "--axis", "N*D").stdout
    assert "(N*D)^−0.50" in told
