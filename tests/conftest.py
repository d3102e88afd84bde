"""Builders of small values, shared by the tests."""

import io
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from mutransfer.models.architectures.proxy import Regime
from mutransfer.models.architectures.registry import ARCHITECTURES
from mutransfer.models.data.batches import Batches
from mutransfer.models.data.token_file import TokenFile
from mutransfer.models.layers.forward_multiplier import Factor
from mutransfer.models.layers.trace import Trace, untraced
from mutransfer.models.parametrization.registry import OWN
from mutransfer.models.recipe.recipe import Recipe, recipe_from_point
from mutransfer.models.recipe.role import Site
from mutransfer.models.recipe.shape import Shape
from mutransfer.models.training.layout import Layout
from mutransfer.orchestrator.cli.app import main
from mutransfer.results.sources.importing import Reading, read_measurements
from mutransfer.sweeps.proxy import Proxy
from mutransfer.sweeps.trial import Trial, trial_of

torch.set_num_threads(1)  # as workers do; the tests run side by side

SMALL: dict[str, Any] = {
    "architecture": "transformer",
    "width": 16,
    "depth": 2,
    "head_dim": 8,
    "sequence_length": 16,
    "vocab_size": 64,
    "parametrization": "mup",
    "base_width": 8,
    "base_depth": 1,
    "optimizer": "adamw",
    "learning_rate": 0.01,
    "steps": 20,
    "batch_size": 4,
    "eval_sequences": 8,
    "data": "test",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first: no core waits at the end for one that another began last."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    """A small recipe with the given fields changed."""
    return lambda **changes: recipe_from_point({**SMALL, **changes})


def proxy_trial(recipe: Recipe) -> Trial:
    return trial_of(Proxy(recipe))


@pytest.fixture
def only_built_in() -> Iterator[None]:
    """Parametrizations from files that a test has made known are not known to the next."""
    yield
    OWN.clear()


def first_views(recipes: Sequence[Recipe]) -> dict[str, Tensor]:
    """Every parameter of the recipes' group by name, [K, *shape], before the first step."""
    layout = Layout(recipes, torch.device("cpu"))
    return layout.views(layout.first_values())


def logits(
    shape: Shape,
    parameters: Mapping[str, Tensor],
    sites: Mapping[Site, Factor],
    inputs: Tensor,
    trace: Trace = untraced,
) -> Tensor:
    forward = ARCHITECTURES[shape.architecture].forward()
    return forward(shape, parameters, sites, inputs, trace, Regime()).logits()


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    """A file of 20,000 tokens in which each token depends on the one before it."""
    generator = np.random.default_rng(0)
    steps = generator.choice([1, 2, 7], size=20_000, p=[0.6, 0.3, 0.1])
    path = tmp_path / "tokens.bin"
    (np.cumsum(steps) % 64).astype(np.uint8).tofile(path)
    return TokenFile(
        paths=(str(path),),
        dtype="uint8",
        tokens=20_000,
        vocab_size=64,
        validation_fraction=0.1,
        digest="test",
    )


@pytest.fixture
def batches(tokens: TokenFile) -> Batches:
    return tokens.batches(16)


SWEEP = """\
name: tiny
base: {width: 16, depth: 1}
fixed:
  architecture: transformer
  optimizer: adamw
  depth: 1
  head_dim: 8
  steps: 5
  batch_size: 2
  sequence_length: 16
  eval_sequences: 4
axes:
  parametrization: [sp, mup]
  width: [8, 16]
  learning_rate: {log2: [-8, -4], step: 2}
data: {text: "text/*.txt"}
"""


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    """A sweep of 12 trials that takes a second, with its text beside it."""
    text = tmp_path / "text"
    text.mkdir()
    (text / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 50)
    path = tmp_path / "tiny.yaml"
    path.write_text(SWEEP)
    return path


Finished = subprocess.CompletedProcess[str]
Command = Callable[..., Finished]


def arguments(*words: str) -> list[str]:
    """The command line of `mutransfer`, as this Python would run it."""
    return [sys.executable, "-m", "mutransfer.orchestrator.cli", *words]


@pytest.fixture
def mutransfer(tmp_path: Path) -> Command:
    """Runs a command in an empty folder: `run` as a process of its own with one worker, unless the words say
    otherwise; what only reads or writes files in this one, which spares it the imports."""

    def call(*words: str) -> Finished:
        if words[0] != "run":
            return called(words, tmp_path)
        if not {"-j", "--dry-run"} & {*words}:
            words = (*words, "-j", "1")
        return subprocess.run(
            arguments(*words), cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )

    return call


def rates(source: Path, *include: str) -> list[float]:
    """The learning rates that an import of a source takes."""
    return sorted(read_measurements(source, Reading(include=include)).column("learning_rate").to_pylist())


def called(words: Sequence[str], folder: Path) -> Finished:
    """What the process `mutransfer WORDS` would do in a folder, done here."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        chdir(folder), redirect_stdout(out), redirect_stderr(err),
        patch.object(sys, "argv", ["mutransfer", *words]), patch("signal.signal"),
    ):  # fmt: skip
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def wait_until(holds: Callable[[], object], seconds: float = 300) -> None:
    """Waits, however slow the machine is, unless it hangs."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def trial_ids(directory: Path) -> list[str]:
    """Ids of all rows in all result files, repeats included."""
    files = (directory / "results").glob("*.parquet")
    return [trial for path in files for trial in pq.read_table(path).column("trial_id").to_pylist()]


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a trainer and a sweep file that runs it."""

    def write(sweep: str, trainer: str) -> Path:
        (tmp_path / "trainer").mkdir(exist_ok=True)
        (tmp_path / "trainer" / "train.py").write_text(trainer)
        path = tmp_path / "sweep.yaml"
        path.write_text(sweep.replace("PYTHON", sys.executable))
        return path

    return write
