"""Measurements that others have made, as their tools keep them: what the imports are tested on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mutransfer.results.sources.importing import Reading, read_measurements

FILL = {"optimizer": "adamw", "parametrization": "sp", "depth": "2"}


def points() -> Iterator[tuple[int, float, float]]:
    for width in (64, 128, 256):
        for power in range(-8, -2):
            yield width, 2.0**power, 3 + 0.1 * (power + 5) ** 2


def check(source: Path, reading: Reading) -> None:
    frame = read_measurements(source, reading).to_pandas()
    expected = sorted((width, rate, pytest.approx(loss)) for width, rate, loss in points())
    finished = frame[frame["status"] == "finished"]
    found = sorted(zip(finished["width"], finished["learning_rate"], finished["loss"], strict=True))
    assert found == expected
    assert (frame["status"] == "diverged").sum() == 1
    assert {*frame["optimizer"]} == {"adamw"} and {*frame["depth"]} == {2}


def write_mlruns(folder: Path, runs: Sequence[tuple[str, float, str]], experiment: str = "1") -> None:
    """A file store of runs: name, learning rate, the lines of meta.yaml."""
    for name, rate, meta in runs:
        for kind, key, text in (("params", "lr", str(rate)), ("metrics", "loss", f"1 {3 + rate} 0\n")):
            (folder / experiment / name / kind).mkdir(parents=True)
            (folder / experiment / name / kind / key).write_text(text)
        (folder / experiment / name / "meta.yaml").write_text(meta)
