"""In-context linear regression (arXiv:2208.01066): each sequence has a linear function of its own, to be told
from examples.

B sequences, T examples, D dimension.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .batches import EVAL_STREAM, Batch, Batches, drawn_by_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """y = w . x / sqrt(dimension), with w and x standard normal: y has variance 1.

    The t-th input holds x_t and the answer to the one before, y_{t-1}; y_t is to be predicted at each.
    """

    dimension: int
    digest: str

    @property
    def fields(self) -> Mapping[str, Any]:
        return {"vocab_size": self.dimension + 1, "vectors": True}

    def misfit(self, sequence_length: int) -> str | None:
        return None

    def batches(self, sequence_length: int) -> Batches:
        return RegressionBatches(self, sequence_length)


class RegressionBatches:
    """Sequences made as they are asked for."""

    def __init__(self, source: Regression, sequence_length: int) -> None:
        self._dimension, self._length = source.dimension, sequence_length

    def training(self, seeds: Sequence[int], step: int, batch_size: int) -> Batch:
        return drawn_by_seed(lambda seed: self._made([seed, step], batch_size), seeds)

    def validation(self, sequences: int) -> Batch:
        return self._made([EVAL_STREAM], sequences)

    def _made(self, key: list[int], count: int) -> Batch:
        generator = np.random.default_rng(key)
        w_BD = generator.standard_normal((count, self._dimension), dtype=np.float32)
        x_BTD = generator.standard_normal((count, self._length, self._dimension), dtype=np.float32)
        y_BT = np.einsum("btd,bd->bt", x_BTD, w_BD) / np.float32(np.sqrt(self._dimension))
        earlier_BT = np.concatenate([np.zeros((count, 1), np.float32), y_BT[:, :-1]], axis=1)
        return Batch(np.concatenate([x_BTD, earlier_BT[..., None]], axis=2), y_BT)
