"""The spectral condition in numbers: the RMS operator norm of one update, for every optimizer.

Widths 64 to 1024 and depths to 32 are in benchmarks/results/operator-norms.md; here a part of both.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from update_norms import MODULES, exponents

from mutransfer.models.data.batches import Batches
from mutransfer.models.data.corpus import Reading, corpus_of, materialise
from mutransfer.models.data.documents import python_stdlib
from mutransfer.models.data.token_file import TokenFile
from mutransfer.models.data.tokenizer import BYTES
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.sweeps.own_tables import own_table, table_names

TOLERANCE = 0.15
OUTSIDE = {"embedding", "readout"}
COMMON: dict[str, Any] = {
    "head_dim": 16, "mlp_ratio": 1.0, "vocab_size": 32, "sequence_length": 64, "batch_size": 8, "steps": 2,
    "base_width": 64, "base_depth": 2, "schedule": "constant", "warmup": 0.0, "grad_clip": 0.0,
    "learning_rate": 2.0**-8, "adamw_lr_ratio": 1.0, "epsilon": 1e-12, "matrices": "all",
}  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Batches:
    """The standard library's bytes, folded to 32 tokens: fewer than any width."""
    folder = tmp_path_factory.mktemp("text")
    whole = materialise(corpus_of(python_stdlib, BYTES, Reading()), folder)
    assert isinstance(whole, TokenFile)
    path = folder / "folded.bin"
    (np.fromfile(whole.paths[0], dtype=np.uint8) % 32).tofile(path)
    return replace(whole, paths=(str(path),), vocab_size=32).batches(COMMON["sequence_length"])


def measured(
    recipe: Callable[..., Recipe], batches: Batches, axis: str, scales: Sequence[int], **changes: object
) -> dict[str, float]:
    def at(scale: int) -> Recipe:
        return recipe(**{**COMMON, "width": 64, "depth": 2, **changes, axis: scale})

    return exponents(at, scales, batches)


@pytest.mark.parametrize("optimizer", sorted({*OPTIMIZERS} - {"soap", "dion"}))
def test_width(optimizer: str, recipe: Callable[..., Recipe], text: Batches) -> None:
    found = measured(recipe, text, "width", (64, 128, 256), optimizer=optimizer)
    assert set(found) == set(MODULES.values())
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=TOLERANCE)


@pytest.mark.parametrize(("table", "outside", "inside"), [("mup", 0.0, 0.0), ("soap-spectral", 0.5, 1.0)])
def test_soap_moves_like_signs(
    table: str, outside: float, inside: float, recipe: Callable[..., Recipe], text: Batches
) -> None:
    """A second batch is not diagonal in the first one's eigenbasis: Adam there makes signs, which grow as
    AdamW's do. So AdamW's rates meet the condition, and those of an update near U V^T do not.

    Where the first batch has no rank its basis is any, and the second's entries there are rounding of each
    machine's own, 1e-10 and less: the epsilon keeps them from becoming signs. From 1e-10 to 1e-7 the
    exponents are the same to 0.07.
    """
    (known,) = own_table(table) if table in table_names() else (table,)
    found = measured(
        recipe, text, "width", (64, 128, 256), optimizer="soap", epsilon=1e-9, parametrization=known
    )
    expected = {name: outside if name in OUTSIDE else inside for name in found}
    assert found == pytest.approx(expected, abs=0.25)


def test_dion_is_longer_than_its_singular_values_where_columns_are_alike(
    recipe: Callable[..., Recipe], text: Batches
) -> None:
    """Its right factor has columns of norm 1 that need not be orthogonal: the norm of P Q^T is between 1 and
    the root of the rank, and the rank grows with the width. It grows as little as this, and no coordinate
    shows it (benchmarks/results/coordchecks.md)."""
    found = measured(recipe, text, "width", (64, 128, 256), optimizer="dion")
    assert all(-TOLERANCE < exponent < 0.35 for exponent in found.values()), found


@pytest.mark.parametrize("parametrization", ["mup", "depth-mup"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_depth(optimizer: str, parametrization: str, recipe: Callable[..., Recipe], text: Batches) -> None:
    """What one branch learns falls like 1/depth, under both rules for branches."""
    found = measured(recipe, text, "depth", (8, 16, 32), optimizer=optimizer, parametrization=parametrization)
    expected = {name: 0.0 if name in OUTSIDE else -1.0 for name in found}
    assert found == pytest.approx(expected, abs=TOLERANCE)


def test_sp_misses_the_condition(recipe: Callable[..., Recipe], text: Batches) -> None:
    found = measured(recipe, text, "width", (64, 128, 256), optimizer="adamw", parametrization="sp")
    assert found["query"] == pytest.approx(1.0, abs=TOLERANCE)
    assert found["readout"] == pytest.approx(1.0, abs=TOLERANCE)
