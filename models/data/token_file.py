"""Tokens in files, and what is predicted of them: the next one, masked ones, or the class of a passage.

B sequences, T positions, S tokens read for a sequence: T, or T + 1 with the last one's target.
"""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .batches import EVAL_STREAM, UNLABELLED, Batch, Batches, drawn_by_seed

TokenType = Literal["uint8", "uint16", "uint32"]
Task = Literal["next-token", "masked", "classification"]
Order = Literal["random", "shards"]
Tokens = NDArray[np.int64]

KEPT, SWAPPED = 0.1, 0.1
"""Shares of the masked positions that keep their token or get any other (arXiv:1810.04805, section 3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """Tokens laid end to end in one file, or in several one after the other, the last
    `validation_fraction` of them held out.

    `order` shards reads them as they lie, each seed from a place of its own; random draws each sequence
    anywhere. For classification the tokens of each class lie together, `classes` of them, and a part of
    each class is held out.
    """

    paths: tuple[str, ...]
    dtype: TokenType
    tokens: int
    vocab_size: int
    validation_fraction: float
    digest: str
    order: Order = "random"
    task: Task = "next-token"
    mask_fraction: float = 0.15
    classes: tuple[int, ...] = ()

    @property
    def fields(self) -> Mapping[str, Any]:
        match self.task:
            case "next-token":
                return {"vocab_size": self.vocab_size}
            case "masked":  # the mask is one more kind of input
                return {"vocab_size": self.vocab_size + 1, "outputs": self.vocab_size}
            case "classification":
                return {"vocab_size": self.vocab_size, "outputs": len(self.classes)}

    def span(self, sequence_length: int) -> int:
        return sequence_length + (self.task == "next-token")

    def misfit(self, sequence_length: int) -> str | None:
        for size in self.classes or (self.tokens,):
            training = round(size * (1 - self.validation_fraction))
            for name, part in (("training", training), ("validation", size - training)):
                if part < self.span(sequence_length):
                    whose = " of a class" if self.classes else ""
                    wanted = " and its target" if self.task == "next-token" else ""
                    return (
                        f"the {name} part{whose} has {part:,} tokens, too few for a sequence of "
                        f"{sequence_length:,}{wanted}; use more text or a shorter sequence_length"
                    )
        return None

    def batches(self, sequence_length: int) -> Batches:
        return TokenBatches(self, sequence_length)


class TokenBatches:
    """Draws of sequences from a TokenFile, memory-mapped.

    Raises ValueError when the files are not those described, or too short for a sequence.
    """

    def __init__(self, source: TokenFile, sequence_length: int) -> None:
        if reason := source.misfit(sequence_length):
            raise ValueError(f"{source.paths[0]}: {reason}")
        self._source, self._length = source, sequence_length
        self._tokens = _Joined(source)
        bounds = [0, *itertools.accumulate(source.classes or (source.tokens,))]
        splits = [
            low + round((high - low) * (1 - source.validation_fraction))
            for low, high in itertools.pairwise(bounds)
        ]
        self._training = list(zip(bounds, splits, strict=False))
        self._validation = list(zip(splits, bounds[1:], strict=True))

    def training(self, seeds: Sequence[int], step: int, batch_size: int) -> Batch:
        if self._source.order == "shards":
            return drawn_by_seed(lambda seed: self._in_order(seed, step, batch_size), seeds)
        return drawn_by_seed(lambda seed: self._draw(self._training, [seed, step], batch_size), seeds)

    def validation(self, sequences: int) -> Batch:
        return self._draw(self._validation, [EVAL_STREAM], sequences)

    def _draw(self, ranges: Sequence[tuple[int, int]], key: list[int], count: int) -> Batch:
        generator, span = np.random.default_rng(key), self._source.span(self._length)
        if len(ranges) == 1:
            ((low, high),) = ranges
            starts = low + generator.integers(0, high - low - span + 1, size=count)
            return self._batch(starts, np.zeros(count, int), generator)
        chosen = generator.integers(0, len(ranges), size=count)
        lows, highs = np.array(ranges)[chosen].T
        return self._batch(lows + generator.integers(0, highs - lows - span + 1), chosen, generator)

    def _in_order(self, seed: int, step: int, batch_size: int) -> Batch:
        """Sequences one after the other, round and round, from a place that the seed draws."""
        generator = np.random.default_rng([seed, step])
        ((low, high),) = self._training
        there = (high - low - (self._source.span(self._length) - self._length)) // self._length
        begin = int(np.random.default_rng([seed]).integers(there))
        index = (begin + step * batch_size + np.arange(batch_size)) % there
        return self._batch(low + index * self._length, np.zeros(batch_size, int), generator)

    def _batch(self, starts: Tokens, chosen: Tokens, generator: np.random.Generator) -> Batch:
        tokens_BS = self._tokens.windows(starts, self._source.span(self._length))
        match self._source.task:
            case "next-token":
                return Batch(tokens_BS[:, :-1], tokens_BS[:, 1:])
            case "masked":
                return _masked(tokens_BS, self._source, generator)
            case "classification":
                labels_BT = np.full_like(tokens_BS, UNLABELLED)
                labels_BT[:, -1] = chosen
                return Batch(tokens_BS, labels_BT)


def _masked(tokens_BT: Tokens, source: TokenFile, generator: np.random.Generator) -> Batch:
    """The same number of positions of every sequence, to be told from the others."""
    count = max(1, round(source.mask_fraction * tokens_BT.shape[1]))
    order_BT = generator.random(tokens_BT.shape).argsort(axis=1)
    hidden_BT = order_BT < count
    fate_BT = generator.random(tokens_BT.shape)
    shown_BT = np.where(fate_BT < KEPT, tokens_BT, source.vocab_size)
    other_BT = generator.integers(0, source.vocab_size, tokens_BT.shape)
    shown_BT = np.where(fate_BT >= 1 - SWAPPED, other_BT, shown_BT)
    return Batch(np.where(hidden_BT, shown_BT, tokens_BT), np.where(hidden_BT, tokens_BT, UNLABELLED))


class _Joined:
    """Several files of tokens as one."""

    def __init__(self, source: TokenFile) -> None:
        width = np.dtype(source.dtype).itemsize
        sizes = [Path(path).stat().st_size for path in source.paths]
        if sum(sizes) != source.tokens * width:
            which = source.paths[0] if len(source.paths) == 1 else f"{source.paths[0]} and its other shards"
            raise ValueError(f"{which}: size changed since the sweep was planned; restore the file")
        self._parts = [np.memmap(path, dtype=source.dtype, mode="r") for path in source.paths]
        self._ends = [*itertools.accumulate(len(part) for part in self._parts)]

    def windows(self, starts: Tokens, span: int) -> Tokens:
        """[B, S] from each start on; a window may reach from one file into the next."""
        if len(self._parts) == 1:
            found: Tokens = self._parts[0][starts[:, None] + np.arange(span)].astype(np.int64)
            return found
        return np.stack([self._window(int(start), span) for start in starts])

    def _window(self, start: int, span: int) -> Tokens:
        pieces, index = [], bisect.bisect_right(self._ends, start)
        while span:
            part = self._parts[index]
            inside = start - (self._ends[index] - len(part))
            piece = part[inside : inside + span]
            pieces.append(piece)
            start, span, index = start + len(piece), span - len(piece), index + 1
        return np.concatenate(pieces).astype(np.int64)
