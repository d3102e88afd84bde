"""The norm-scale probe: its arithmetic, and the real command on a small readout."""

import json
from pathlib import Path

import pytest
from conftest import Command

from mutransfer.models.recipe.family import Family
from mutransfer.orchestrator.studies.probe import factors, usual_placements
from mutransfer.results.checks.norm_scale import Curve, Point, Probe, probe_object

SWEEP = """\
name: norms
base: {width: 16, depth: 1}
fixed:
  {architecture: transformer, optimizer: adamw, parametrization: mup, width: 16, depth: 1, head_dim: 8,
   steps: 200, batch_size: 8, sequence_length: 32, learning_rate: 0.0078125, weight_decay: 2.0,
   multiplier_lr: 0.1, frozen_gains: final, eval_sequences: 32}
axes: {seed: [0]}
data: {corpus: python-stdlib}
"""


def curve(multipliers: str, losses: list[float | None]) -> Curve:
    points = [Point(scale=2.0**i, loss=loss, norm=1.0, effective_norm=1.0) for i, loss in enumerate(losses)]
    return Curve(multipliers=multipliers, points=tuple(points))


def probe_of(*curves: Curve) -> Probe:
    return Probe(
        family=Family("transformer", "adamw", "mup"), part="readout", steps=1,
        seeds=1, curves=curves,
    )  # fmt: skip


def test_degradation_is_that_of_the_worse_end() -> None:
    without, scalar = curve("none", [4.0, 2.0, 2.5]), curve("readout=scalar", [2.5, 2.0, 2.1])
    broken = curve("readout=column", [None, 2.0, 2.1])
    probe = probe_of(without, scalar, broken)
    assert (without.degradation, scalar.degradation, broken.degradation) == (2.0, 0.5, None)
    assert (probe.kept(without), probe.kept(scalar), probe.kept(broken)) == (None, 0.25, None)
    told = probe_object([probe])["probes"][0]["curves"]
    assert [entry["kept"] for entry in told] == [None, 0.25, None]
    assert told[2]["points"][0]["status"] == "diverged" and told[2]["points"][0]["loss"] is None


def test_factors_and_placements() -> None:
    assert factors(2, 5) == (0.25, 0.5, 1, 2, 4)
    assert usual_placements("readout") == ("none", "readout=scalar", "readout=column")
    assert usual_placements("mlp") == ("none", "*.mlp.*=scalar", "*.mlp.*=row+column")


@pytest.mark.slow
def test_the_command(tmp_path: Path, mutransfer: Command) -> None:
    """Without multipliers the loss degrades where the norm is held small; with them most of it is kept."""
    (tmp_path / "norms.yaml").write_text(SWEEP)
    done = mutransfer(
        "probe", "norm-scale", "norms.yaml", "--points", "3", "--seeds", "1", "--span", "5", "-f", "json"
    )
    assert done.returncode == 0, done.stderr
    (probe,) = json.loads(done.stdout)["probes"]
    without, scalar, column = probe["curves"]
    scales = [point["scale"] for point in without["points"]]
    assert scales == pytest.approx([0.0625 / 32, 0.0625, 0.0625 * 32], rel=1e-4)
    norms = [point["norm"] for point in without["points"]]
    assert norms[0] < norms[1] < norms[2]
    assert without["degradation"] > 0.5
    assert scalar["kept"] < 0.5 and column["kept"] < 0.5
    # The multiplier carries the scale that the weight may not have.
    assert scalar["points"][0]["effective_norm"] > 2 * scalar["points"][0]["norm"]
    page = tmp_path / "probe/norms/norm-scale.html"
    assert page.exists() and page.with_suffix(".json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "weight_decay=0"], "fixed.weight_decay: the probe moves learning rate against decay"),
        (["--set", "width=[16, 32]"], "axes.width: takes several values; give one, such as --set width=16"),
        (
            ["--part", "heads"],
            "--part: 'heads' is no part of a transformer; parts with matrices: embedding",
        ),
        (["--multipliers", "mpl"], "--multipliers: 'mpl' is no placement"),
    ],
)
def test_what_cannot_be_probed_is_told(
    words: list[str], message: str, tmp_path: Path, mutransfer: Command
) -> None:
    (tmp_path / "norms.yaml").write_text(SWEEP)
    done = mutransfer("probe", "norm-scale", "norms.yaml", *words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
