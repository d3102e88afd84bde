"""Multi-query associative recall, MQAR (arXiv:2312.04927): keys and values first, later keys again, in
any order and at any place, each to be answered with its value.

B sequences, T positions, P pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .batches import EVAL_STREAM, UNLABELLED, Batch, Batches, drawn_by_seed

FILLER = 0
NEARNESS = 0.1
"""Queries come soon rather than late: gap i has a weight of i^(NEARNESS - 1). The paper's is 0.01."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """`pairs` keys with their values. The first half of the vocabulary are keys, the other half values."""

    pairs: int
    vocab_size: int
    digest: str

    @property
    def fields(self) -> Mapping[str, Any]:
        return {"vocab_size": self.vocab_size}

    def misfit(self, sequence_length: int) -> str | None:
        if sequence_length < 3 * self.pairs:
            return (
                f"{self.pairs} pairs and their queries take {3 * self.pairs} positions, more than "
                f"sequence_length {sequence_length}; give fewer pairs or longer sequences"
            )
        if self.vocab_size // 2 - 1 < self.pairs:
            return f"a vocab_size of {self.vocab_size} has fewer than {self.pairs} keys; give a larger one"
        return None

    def batches(self, sequence_length: int) -> Batches:
        return RecallBatches(self, sequence_length)


class RecallBatches:
    """Sequences made as they are asked for. Raises ValueError for a length that does not fit."""

    def __init__(self, source: Recall, sequence_length: int) -> None:
        if reason := source.misfit(sequence_length):
            raise ValueError(reason)
        self._source, self._length = source, sequence_length
        gaps = np.arange(1, sequence_length - 2 * source.pairs + 1) ** (NEARNESS - 1)
        self._log_weight = np.log(gaps)

    def training(self, seeds: Sequence[int], step: int, batch_size: int) -> Batch:
        return drawn_by_seed(lambda seed: self._made([seed, step], batch_size), seeds)

    def validation(self, sequences: int) -> Batch:
        return self._made([EVAL_STREAM], sequences)

    def _made(self, key: list[int], count: int) -> Batch:
        generator, pairs = np.random.default_rng(key), self._source.pairs
        half = self._source.vocab_size // 2
        keys_BP = _choices(generator, count, half - 1, pairs) + 1  # 0 fills
        values_BP = generator.integers(half, self._source.vocab_size, (count, pairs))
        # The largest of weights with Gumbel noise: places without repetition, by weight.
        noise = generator.gumbel(size=(count, len(self._log_weight)))
        places_BP = 2 * pairs + np.argsort(-(self._log_weight + noise), axis=1)[:, :pairs]
        places_BP = generator.permuted(places_BP, axis=1)
        inputs_BT = np.full((count, self._length), FILLER)
        labels_BT = np.full((count, self._length), UNLABELLED)
        inputs_BT[:, 0 : 2 * pairs : 2] = keys_BP
        inputs_BT[:, 1 : 2 * pairs : 2] = values_BP
        np.put_along_axis(inputs_BT, places_BP, keys_BP, axis=1)
        np.put_along_axis(labels_BT, places_BP, values_BP, axis=1)
        return Batch(inputs_BT, labels_BT)


def _choices(generator: np.random.Generator, count: int, among: int, taken: int) -> np.ndarray:
    """[count, taken] different numbers below `among`."""
    return np.argsort(generator.random((count, among)), axis=1)[:, :taken]
