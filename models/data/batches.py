"""Batches of a token file, drawn so that trials of one seed see the same ones.

K trials, B sequences, T time, S tokens of a sequence and its target: T + 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

TokenType = Literal["uint8", "uint16", "uint32"]
EVAL_STREAM = 2**32 - 1  # no training step: a constant in place of the step number


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """Tokens laid end to end in one file, the last `validation_fraction` of them held out."""

    path: str
    dtype: TokenType
    tokens: int
    vocab_size: int
    validation_fraction: float
    digest: str


def misfit(tokens: int, validation_fraction: float, sequence_length: int) -> str | None:
    """Why sequences of this length cannot be drawn from so many tokens, or None."""
    training = round(tokens * (1 - validation_fraction))
    for name, size in (("training", training), ("validation", tokens - training)):
        if size <= sequence_length:
            return (
                f"the {name} part has {size:,} tokens, too few for a sequence of {sequence_length:,} and its "
                "target; use more text or a shorter sequence_length"
            )
    return None


class Batches:
    """Draws of sequences from a TokenFile, memory-mapped.

    Raises ValueError when the file is not the one described or too short for a sequence.
    """

    def __init__(self, source: TokenFile, sequence_length: int) -> None:
        size = Path(source.path).stat().st_size
        if size != source.tokens * np.dtype(source.dtype).itemsize:
            raise ValueError(f"{source.path}: its size changed since the sweep was planned; restore the file")
        tokens = np.memmap(source.path, dtype=source.dtype, mode="r")
        split = round(len(tokens) * (1 - source.validation_fraction))
        self._train, self._validation = tokens[:split], tokens[split:]
        self._span = sequence_length + 1
        if reason := misfit(source.tokens, source.validation_fraction, sequence_length):
            raise ValueError(f"{source.path}: {reason}")

    def training(self, seeds: Sequence[int], step: int, batch_size: int) -> NDArray[np.int64]:
        """Sequences of one step, [K, B, S]: a function of (seed, step) alone."""
        drawn = {seed: self._draw(self._train, [seed, step], batch_size) for seed in set(seeds)}
        return np.stack([drawn[seed] for seed in seeds])

    def validation(self, sequences: int) -> NDArray[np.int64]:
        """The fixed validation set, [sequences, S]: the same for every trial of every sweep."""
        return self._draw(self._validation, [EVAL_STREAM], sequences)

    def _draw(self, part: NDArray[np.unsignedinteger], key: list[int], count: int) -> NDArray[np.int64]:
        starts = np.random.default_rng(key).integers(0, len(part) - self._span + 1, size=count)
        drawn: NDArray[np.int64] = part[starts[:, None] + np.arange(self._span)].astype(np.int64)
        return drawn
