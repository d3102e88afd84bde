"""Processes that train one group together: each takes a part of every batch, and updates a part of the
weights.

A rank holds all weights, and what optimizers remember of its part alone (ZeRO, stage 1, arXiv:1910.02054).
Batches, seeds and masks are the trials', so that the result depends on the number of ranks by rounding only.

K trials, P parameters of one buffer, S those of one rank's part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Ranks:
    """How many processes there are, and which this is. The default is one that is alone."""

    rank: int = 0
    world: int = 1

    def span(self, count: int, rank: int | None = None) -> Span:
        """Where the part of this rank, or of another, of so many things begins and ends."""
        rank = self.rank if rank is None else rank
        return count * rank // self.world, count * (rank + 1) // self.world

    def summed(self, tensors: Sequence[Tensor]) -> None:
        """Each becomes its sum over the ranks."""
        if self.world > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def shared(self, buffer_KP: Tensor, unit: int) -> None:
        """Every rank's part of a buffer, in units of so many, reaches all of them."""
        if self.world == 1:
            return
        count = buffer_KP.shape[1] // unit
        spans = [tuple(unit * end for end in self.span(count, rank)) for rank in range(self.world)]
        largest = max(end - begin for begin, end in spans)
        begin, end = spans[self.rank]
        own_KS = buffer_KP.new_zeros(len(buffer_KP), largest)
        own_KS[:, : end - begin] = buffer_KP[:, begin:end]
        parts = [torch.empty_like(own_KS) for _ in spans]
        dist.all_gather(parts, own_KS)
        for (begin, end), part_KS in zip(spans, parts, strict=True):
            buffer_KP[:, begin:end] = part_KS[:, : end - begin]

    def must_agree(self, number: int, what: str) -> None:
        """Raises RuntimeError where it is not the same for all."""
        if self.world > 1:
            found = [torch.tensor([number]) for _ in range(self.world)]
            dist.all_gather(found, torch.tensor([number]))
            if len({int(each) for each in found}) > 1:
                raise RuntimeError(f"{what} is not the same for all processes: {[int(x) for x in found]}")

    def agreed(self, yes: bool) -> bool:
        """What the first rank says, for all: they have to do alike."""
        if self.world == 1:
            return yes
        told = torch.tensor([yes])
        dist.broadcast(told, 0)
        return bool(told)


ALONE = Ranks()
