"""The coordinate check passes muP, fails SP, and fails a rule that was broken on purpose."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Command

from mutransfer.models.parametrization import mup
from mutransfer.models.parametrization.power import HALF, ONE, L, Power, W
from mutransfer.models.parametrization.registry import PARAMETRIZATIONS
from mutransfer.models.recipe.role import Role, Site
from mutransfer.orchestrator.studies.coordcheck import check_families, ladders_of
from mutransfer.results.checks.coordinates import Check, judge_row
from mutransfer.sweeps.load import load_sweep
from mutransfer.sweeps.problem import SpecError

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SWEEP = """\
name: check
base: {width: 32, depth: 2}
fixed: {head_dim: 8, mlp_ratio: 2, steps: 10, batch_size: 16, sequence_length: 32, adamw_lr_ratio: 1.0}
axes:
  architecture: [transformer]
  optimizer: [adamw]
  parametrization: [mup]
  width: [32, 64, 128]
  depth: [2, 4, 8]
  learning_rate: [0.00390625]
data: {corpus: python-stdlib}
"""
# Where ten steps are small but above rounding, for each optimizer.
RATES = {"adamw": 2**-8, "sgd": 2**-5, "muon": 2**-7}


@pytest.fixture
def sweep_path(tmp_path: Path) -> Path:
    path = tmp_path / "check.yaml"
    path.write_text(SWEEP)
    return path


def checked(path: Path, *overrides: str, seeds: int = 4) -> Check:
    sweep = load_sweep(str(path), overrides)
    ladders = ladders_of(sweep, None)
    (check,) = check_families(sweep, ladders, CPU, steps=10, seeds=seeds, note=lambda text: None)
    return check


def failing(check: Check) -> set[tuple[str, str]]:
    return {(row.module, row.axis) for row in check.failures}


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
def test_mup_passes_in_width_and_depth(architecture: str, optimizer: str, sweep_path: Path) -> None:
    check = checked(
        sweep_path,
        f"architecture={architecture}",
        f"optimizer={optimizer}",
        f"learning_rate={RATES[optimizer]}",
    )
    assert [f"{row.module} {row.quantity} {row.axis} {row.exponent}" for row in check.failures] == []
    assert {row.axis for row in check.rows} == {"width", "depth"}
    assert {row.quantity for row in check.rows} == {
        "activation",
        "update",
        "propagated",
        "change",
        "gradient",
    }


OTHERS = {
    "mamba2": {"architecture": "mamba2"},
    "mamba2 alone": {"architecture": "mamba2", "mlp": "none"},
    "mamba2, growing state and heads": {"architecture": "mamba2", "state_ratio": "0.5"},
    "gdn-hybrid": {"architecture": "gdn-hybrid", "attention_every": "2", "residual_multiplier": "0.5"},
    "parallel-hybrid": {"architecture": "parallel-hybrid"},
    "options": {"qk_norm": "true", "window": "16", "queries_per_kv": "2", "mlp": "swiglu"},
    "multipliers": {"learnable_multipliers": "everywhere"},
    "tied": {"tied": "true"},
    "llama": {"like": "llama"},
    "gpt2": {"like": "gpt2"},
    "growing heads": {"head_dim": "null", "heads": "2"},
    "falcon-h1": {
        "like": "falcon-h1",
        "architecture": "parallel-hybrid",
        "state_size": "16",
        "queries_per_kv": "2",
        "a_start": "drawn",
        "residual_multiplier": "0.5",
    },
}


# One head in many forgets slowly and writes much: gradients of Mamba2 have heavy tails over the seeds. With
# so many each takes long, so one optimizer each.
OF_TWELVE_SEEDS = {"parallel-hybrid": ["adamw"], "falcon-h1": ["muon"]}


@pytest.mark.parametrize(
    ("case", "optimizer"),
    [(case, optimizer) for case in OTHERS for optimizer in OF_TWELVE_SEEDS.get(case, ["adamw", "muon"])],
)
def test_every_architecture_passes_in_width(case: str, optimizer: str, sweep_path: Path) -> None:
    """Those left out, and depths, are in benchmarks/results/coordchecks.md: they take too long for a test."""
    settings = {"depth": "2", **OTHERS[case], "optimizer": optimizer, "learning_rate": str(RATES[optimizer])}
    seeds = 12 if case in OF_TWELVE_SEEDS else 4
    check = checked(sweep_path, *(f"{name}={value}" for name, value in settings.items()), seeds=seeds)
    assert [f"{row.module} {row.quantity} {row.axis} {row.exponent}" for row in check.failures] == []


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
def test_sp_fails_in_width(architecture: str, optimizer: str, sweep_path: Path) -> None:
    """By what it learns, not by the gradients' size alone."""
    check = checked(
        sweep_path, f"architecture={architecture}", f"optimizer={optimizer}",
        f"learning_rate={RATES[optimizer]}", "parametrization=sp", "depth=2",
    )  # fmt: skip
    learned = {row.module for row in check.failures if row.quantity in ("update", "change")}
    assert "embedding" in learned if optimizer == "sgd" else "readout" in learned


def broken_multiplier(monkeypatch: pytest.MonkeyPatch, site: Site, power: Power) -> None:
    broken = replace(mup.MUP, multiplier={**mup.MULTIPLIER, site: power})
    monkeypatch.setitem(PARAMETRIZATIONS, "mup", broken)


@pytest.mark.parametrize("tied", ["false", "true"])
def test_a_readout_scaled_twice_fails(tied: str, sweep_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether its matrix is its own or the embedding's."""
    broken_multiplier(monkeypatch, Site.READOUT, 1 / W**2)
    check = checked(sweep_path, "depth=2", f"tied={tied}")
    assert ("readout", "width") in failing(check)
    (row,) = (row for row in check.failures if (row.module, row.quantity) == ("readout", "update"))
    assert row.exponent == pytest.approx(-1, abs=0.25)


def test_a_hidden_learning_rate_that_is_not_scaled_fails(
    sweep_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = mup.UPDATE["adamw"]
    unscaled = replace(rows[Role.HIDDEN], learning_rate=ONE)
    monkeypatch.setitem(mup.UPDATE, "adamw", {**rows, Role.HIDDEN: unscaled})
    check = checked(sweep_path, "depth=2")
    assert ("blocks.*.mixer.query", "width") in failing(check)
    assert ("blocks.*.mlp.down", "width") in failing(check)


def test_branches_at_one_over_root_depth_fail(sweep_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_multiplier(monkeypatch, Site.BRANCH, 1 / L**HALF)
    check = checked(sweep_path, "width=32")
    assert ("blocks.*.mlp.down", "depth") in failing(check)
    assert all(axis == "depth" for _, axis in failing(check))


def test_depth_mup_passes_its_own_condition(sweep_path: Path) -> None:
    """1/sqrt(depth) with learning rates to match: each branch still adds 1/depth of what is learned."""
    check = checked(sweep_path, "width=32", "parametrization=depth-mup")
    assert [row for row in check.failures if row.quantity == "update"] == []


@pytest.mark.parametrize(
    ("exponent", "at_most", "passed"), [(0.0, False, True), (0.4, False, False), (-0.4, False, False),
                                        (-0.4, True, True), (0.4, True, False)]
)  # fmt: skip
def test_a_row_is_judged_by_its_exponent(exponent: float, at_most: bool, passed: bool) -> None:
    values = {
        scale: [scale**exponent * (1 + 0.01 * seed) for seed in range(4)] for scale in (8.0, 16.0, 64.0)
    }
    row = judge_row(
        module="m",
        role="hidden",
        quantity="update",
        axis="width",
        expected=0.0,
        at_most=at_most,
        values=values,
    )
    assert row.exponent == pytest.approx(exponent)
    assert (row.verdict == "passes") is passed


def test_a_single_odd_seed_fails_nothing_and_infinity_fails() -> None:
    """One seed of four that is half as large again at the largest scale is no exponent."""
    noisy = {8.0: [1.0, 1.0, 1.0, 1.0], 16.0: [1.0, 1.0, 1.0, 1.0], 32.0: [1.0, 1.0, 1.0, 1.5]}
    common = {"module": "m", "role": "hidden", "quantity": "update", "axis": "width", "at_most": False}
    assert judge_row(**common, expected=0.0, values=noisy).verdict == "passes"  # type: ignore[arg-type]
    blown = judge_row(**common, expected=0.0, values={8.0: [1.0], 16.0: [float("inf")]})  # type: ignore[arg-type]
    assert blown.verdict == "fails"
    assert (blown.exponent, blown.sizes) == (None, (1.0, None))


def test_one_scale_is_a_fault(sweep_path: Path) -> None:
    with pytest.raises(SpecError, match="needs two widths at one depth"):
        ladders_of(load_sweep(str(sweep_path), ("width=32", "depth=2")), None)


def test_the_command(sweep_path: Path, tmp_path: Path, mutransfer: Command) -> None:
    """Exit code 3 when a family fails, the table and the page say which rows."""
    words = ("coordcheck", str(sweep_path), "--set", "depth=2")
    both = mutransfer(*words, "--set", "parametrization=[sp,mup]")
    assert both.returncode == 3, both.stderr
    assert "transformer adamw sp fails" in both.stdout and "transformer adamw mup passes" in both.stdout
    page = (tmp_path / "coordcheck/check/coordcheck.html").read_text()
    assert "transformer adamw sp" in page and "✗" in page
    assert (tmp_path / "coordcheck/check/transformer-adamw-sp-width.png").stat().st_size > 10_000
    passing = mutransfer(*words, "-f", "json", "--out", "elsewhere")
    assert passing.returncode == 0, passing.stderr
    found = json.loads(passing.stdout)
    assert found["schema"] == 1 and found["passed"] is True
    assert {
        "module",
        "role",
        "quantity",
        "axis",
        "expected",
        "exponent",
        "interval",
        "scales",
        "sizes",
    } <= set(found["checks"][0]["rows"][0])
    assert (tmp_path / "elsewhere/coordcheck.html").exists()


def test_bf16_is_measured_too(sweep_path: Path) -> None:
    check = checked(sweep_path, "precision=bf16", "width=[16,32,64]", "depth=2")
    assert all(row.exponent is not None for row in check.rows)


def test_what_else_varies_is_named(sweep_path: Path) -> None:
    with pytest.raises(SpecError, match=r"axes.norm: takes several values at width 32; give one"):
        ladders_of(load_sweep(str(sweep_path), ("norm=[rmsnorm,none]",)), None)


def test_seeds_and_learning_rates_are_not_other_axes(sweep_path: Path) -> None:
    sweep = load_sweep(str(sweep_path), ("seed=[0,1]", "learning_rate=[0.1,0.2]"))
    (ladder,) = ladders_of(sweep, None)
    assert {axis: sorted(scales) for axis, scales in ladder.recipes.items()} == {
        "width": [32, 64, 128], "depth": [2, 4, 8],
    }  # fmt: skip
    assert ladder.one.learning_rate == 0.1


def test_what_is_too_noisy_does_not_pass() -> None:
    values = {8.0: [1.0, 2.0, 1.0], 16.0: [1.0, 1.0, 8.0], 32.0: [9.0, 1.0, 1.0]}
    row = judge_row(
        module="m", role="hidden", quantity="update", axis="width", expected=0.0, at_most=False, values=values
    )
    assert row.interval is not None and row.interval[1] - row.interval[0] > 1
    assert row.verdict == "unclear"


@pytest.mark.parametrize("words", [("--learning-rate", "0"), ("--learning-rate", "inf"), ("--seeds", "2")])
def test_impossible_options_are_usage_errors(words: tuple[str, str], mutransfer: Command) -> None:
    refused = mutransfer("coordcheck", "quickstart", *words)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


MIXED = (
    "architecture=transformer", "parametrization=mup", "base.experts=4", "base.granularity=1", "mlp_ratio=2",
    "depth=2", "width=16", "experts=[1, 4, 8]", "granularity=[1, 2]",
)  # fmt: skip


def test_experts_and_granularity_are_axes_and_one_expert_is_none(sweep_path: Path) -> None:
    sweep = load_sweep(str(sweep_path), [*MIXED, "optimizer=adamw"])
    (ladder,) = ladders_of(sweep, None)
    assert {axis: [*scales] for axis, scales in ladder.recipes.items()} == {
        "experts": [4, 8], "granularity": [1, 2],
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("parametrization", ["mup", "mup-plain"])
def test_rows_of_experts_pass_and_by_the_book_fail_along_granularity(
    parametrization: str, sweep_path: Path
) -> None:
    check = checked(
        sweep_path, *MIXED, "optimizer=sgd", f"parametrization={parametrization}", "experts=[4, 16]",
        "granularity=[1, 2, 4, 8]", "width=32", "base.width=32",
    )  # fmt: skip
    lost = {module for module, _ in failing(check)}
    assert bool(lost & {"blocks.*.mlp.up", "blocks.*.mlp.down"}) == (parametrization == "mup-plain")
