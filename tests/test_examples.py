"""The examples run as they stand, at toy size."""

from pathlib import Path

import pytest
from conftest import Command

from mutransfer.results.store.store import read_rows

EXAMPLES = Path(__file__).parent.parent / "examples"
TOYS = {
    "shell": ["width=[64, 128]", "learning_rate={log2: [-8, -4], step: 2}"],
    "nanogpt": ["width=[32, 64]", "learning_rate=[0.02]", "steps=3"],
    "huggingface": ["width=[16]", "learning_rate=[0.02]", "steps=3"],
    "architecture": ["width=[32, 64]", "learning_rate=[0.02]", "steps=3"],
    "torchrun": ["width=[8]", "learning_rate=[0.25]", "steps=3"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOYS)
def test_an_example_runs(name: str, mutransfer: Command, tmp_path: Path) -> None:
    words = [word for setting in TOYS[name] for word in ("--set", setting)]
    done = mutransfer("run", str(EXAMPLES / name / "sweep.yaml"), "--out", "out", *words)
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "out")[0].to_pandas()
    assert len(rows) == {"shell": 6, "nanogpt": 4, "huggingface": 2, "torchrun": 1, "architecture": 4}[name]
    assert rows["loss"].notna().all()
    if name in ("nanogpt", "architecture"):  # at the base muP is SP, and beside it is not
        losses = rows.pivot(index="parametrization", columns=["width", "learning_rate"], values="loss")
        assert (losses[32].loc["mup"] == losses[32].loc["sp"]).all()
        assert (losses[64].loc["mup"] != losses[64].loc["sp"]).all()


def test_every_example_is_here() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == {*TOYS}


@pytest.mark.parametrize(("name", "needs"), [("nanogpt", 13), ("huggingface", 14), ("torchrun", 4)])
def test_what_a_sweep_needs_of_a_trainer_is_short(name: str, needs: int) -> None:
    """The lines that are marked."""
    lines = (EXAMPLES / name / "train.py").read_text().splitlines()
    assert sum("# sweep" in line for line in lines) == needs
