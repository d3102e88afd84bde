"""The parts of a step, compiled: the same operations, fused into fewer passes over memory.

It takes from seconds (the update of one buffer) to minutes (forward and backward pass of a deep proxy) for
each shape; torch keeps what it has compiled on disk, for other workers and later runs.
"""

import torch

from .step import PartLosses, Updated, part_losses, updated


def compiled_parts() -> tuple[PartLosses, Updated]:
    """`part_losses` and `updated`, for one group."""
    torch.compiler.reset()  # torch keeps eight variants of a function, and gives up beyond them
    return (
        torch.compile(part_losses, fullgraph=True, dynamic=False),
        torch.compile(updated, fullgraph=True, dynamic=True),
    )
