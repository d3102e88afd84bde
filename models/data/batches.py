"""What a training reads: batches of inputs and labels, drawn so that trials of one seed see the same ones.

K trials, B sequences, T positions, I numbers of an input vector.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

EVAL_STREAM = 2**32 - 1  # no training step: a constant in place of the step number
UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs, tokens [B, T] (int64) or vectors [B, T, I] (float32), and labels [B, T]: classes (int64,
    UNLABELLED where nothing is predicted) or numbers (float32). With a leading K for several trials.

    Every sequence has as many labelled positions as every other.
    """

    inputs: NDArray[Any]
    labels: NDArray[Any]


class Batches(Protocol):
    """Where a training's batches come from."""

    def training(self, seeds: Sequence[int], step: int, batch_size: int) -> Batch:
        """The batch of one step for each trial, with a leading K: a function of (seed, step) alone."""
        ...

    def validation(self, sequences: int) -> Batch:
        """The fixed validation set: the same for every trial of every sweep."""
        ...


class Source(Protocol):
    """Identified data, where workers can read it."""

    @property
    def digest(self) -> str: ...

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields of a trial's shape that the data decide."""
        ...

    def misfit(self, sequence_length: int) -> str | None:
        """Why sequences of this length cannot be drawn, or None."""
        ...

    def batches(self, sequence_length: int) -> Batches:
        """Raises ValueError for a length that does not fit, or for data that changed."""
        ...


def drawn_by_seed(draw: Callable[[int], Batch], seeds: Sequence[int]) -> Batch:
    """One batch a trial; those of one seed are drawn once."""
    drawn = {seed: draw(seed) for seed in set(seeds)}
    return Batch(
        np.stack([drawn[seed].inputs for seed in seeds]), np.stack([drawn[seed].labels for seed in seeds])
    )
