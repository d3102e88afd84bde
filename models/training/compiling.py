"""The parts of a step, compiled: the same operations, fused into fewer passes over memory.

A block is compiled once for all of its kind, and an update once for buffers of all sizes; both take seconds,
and torch keeps them on disk for other workers and later runs.
"""

from dataclasses import replace

import torch
from torch._functorch import config as backward

from .group import Group
from .step import Operations


def compiled(operations: Operations, group: Group) -> Operations:
    """Those of one group, compiled. Raises ValueError for one that cannot be."""
    if group.drops:
        raise ValueError("dropout draws its masks from generators")
    if group.one.shape.experts > 1 and group.device.type == "cpu":
        raise ValueError("on a CPU experts are given their own tokens, whose number is not known before")
    if not group.repeats:
        raise ValueError("a module of your own compiles itself, or not")
    # Gradients are taken outside of autocast; compiled, too, those of what stays in float32 stay in it.
    backward.backward_pass_autocast = "off"
    torch.compiler.reset()  # torch keeps eight variants of a function, and gives up beyond them
    update = torch.compile(operations.updated, fullgraph=True, dynamic=True)
    return replace(operations, compiled=True, updated=update)
