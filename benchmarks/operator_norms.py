"""Exponents of the RMS operator norm of one update, for every optimizer, over width and depth.

python benchmarks/operator_norms.py > benchmarks/results/operator-norms.md
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from update_norms import MODULES, exponents

from mutransfer.models.data.batches import Batches
from mutransfer.models.data.corpus import Reading, corpus_of, materialise
from mutransfer.models.data.documents import python_stdlib
from mutransfer.models.data.token_file import TokenFile
from mutransfer.models.data.tokenizer import BYTES
from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.recipe.recipe import Recipe, recipe_from_point

WIDTHS, DEPTHS = (64, 128, 256, 512, 1024), (2, 4, 8, 16, 32)
VOCABULARY = 32  # below every width, as the limit of the theory has it
COMMON: dict[str, Any] = {
    "architecture": "transformer", "head_dim": 16, "mlp_ratio": 1.0, "vocab_size": VOCABULARY, "data": "x",
    "parametrization": "mup", "base_width": 64, "base_depth": 2, "steps": 2, "schedule": "constant",
    "warmup": 0.0, "grad_clip": 0.0, "learning_rate": 2.0**-8, "adamw_lr_ratio": 1.0, "epsilon": 1e-12,
    "matrices": "all",
}  # fmt: skip
WIDE = "8 sequences of 64"
EPSILON = {"soap": 1e-9}  # where a first batch has no rank a second's entries are rounding: no signs of it
# The rank of the gradient, at most the number of tokens, matters to sign-like updates.
BATCHES = {WIDE: (8, 64), "1 sequence of 8": (1, 8)}


def recipe(width: int, depth: int, optimizer: str, batch: tuple[int, int]) -> Recipe:
    sequences, length = batch
    return recipe_from_point(
        {**COMMON, "width": width, "depth": depth, "optimizer": optimizer, "batch_size": sequences,
         "sequence_length": length, "epsilon": EPSILON.get(optimizer, COMMON["epsilon"])}
    )  # fmt: skip


def few_tokens() -> TokenFile:
    """The standard library's bytes, folded to a small vocabulary."""
    whole = materialise(corpus_of(python_stdlib, BYTES, Reading()), Path(tempfile.mkdtemp()))
    assert isinstance(whole, TokenFile)
    folded = Path(whole.paths[0]).with_suffix(".folded")
    (np.fromfile(whole.paths[0], dtype=np.uint8) % VOCABULARY).tofile(folded)
    return replace(whole, paths=(str(folded),), vocab_size=VOCABULARY)


def row(name: str, axis: str, scales: Sequence[int], batch: tuple[int, int], batches: Batches) -> str:
    """One line of a table."""

    def recipe_at(scale: int) -> Recipe:
        width, depth = (scale, 2) if axis == "width" else (64, scale)
        return recipe(width, depth, name, batch)

    found = exponents(recipe_at, scales, batches)
    return f"| {name} | {' | '.join(f'{value:+.2f}' for value in found.values())} |"


def main() -> None:
    torch.set_num_threads(1)
    tokens = few_tokens()
    names = list(dict.fromkeys(MODULES.values()))
    print(f"# Exponents of the RMS operator norm of one update\n\n{(__doc__ or '').splitlines()[0]}")
    for title, batch in BATCHES.items():
        batches = tokens.batches(batch[1])
        for axis, scales in (("width", WIDTHS), ("depth", DEPTHS)):
            print(f"\n## {axis.capitalize()} {scales[0]} to {scales[-1]}, batches of {title} tokens\n")
            print(f"| optimizer | {' | '.join(names)} |\n|---{'|---' * len(names)}|", flush=True)
            for name in OPTIMIZERS:
                if title == WIDE or not OPTIMIZERS[name].matrices:
                    print(row(name, axis, scales, batch, batches), flush=True)


if __name__ == "__main__":
    main()
