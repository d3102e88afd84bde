"""The parts of a step, compiled: the same operations, fused into fewer passes over memory.

A block is compiled once for all of its kind, the loss of a part of the rows once, and an update once for
buffers of all sizes; they take seconds, and torch keeps them on disk for other workers and later runs.
"""

from dataclasses import replace

import torch
from torch._functorch import config as backward

from .group import Group
from .step import Operations


def gradients_outside_autocast() -> bool:
    """Has torch's compiler take gradients as torch does without it, outside of autocast: those of what stays
    in float32 stay in it. Of the whole process, so that a module that compiles itself does not depend on
    what was trained before it. False where this torch cannot be told."""
    if not hasattr(backward, "backward_pass_autocast"):
        return False
    backward.backward_pass_autocast = "off"
    return True


def kept_apart() -> None:
    """Has torch keep programs for a processor's vectors apart on disk: it writes their length into them, but
    knows them by what they compute, so that those of another processor, from a folder that several share,
    would compute something else, or break."""
    capability = torch.backends.cpu.get_cpu_capability()
    told = torch.compiler.config.cache_key_tag
    if not told.endswith(capability):
        torch.compiler.config.cache_key_tag = f"{told} {capability}".strip()


def compiled(operations: Operations, group: Group) -> Operations:
    """Those of one group, compiled. Raises ValueError for one that cannot be."""
    if group.drops:
        raise ValueError("dropout draws its masks from generators")
    if group.one.shape.experts > 1 and group.device.type == "cpu":
        raise ValueError("on a CPU experts are given their own tokens, whose number is not known before")
    if not group.repeats:
        raise ValueError("a module of your own compiles itself, or not")
    if not gradients_outside_autocast():
        raise ValueError("before torch 2.9 gradients would be taken in autocast's short type")
    kept_apart()
    torch.compiler.reset()  # torch keeps eight variants of a function, and gives up beyond them
    update = torch.compile(operations.updated, fullgraph=True, dynamic=True)
    return replace(operations, compiled=True, updated=update)
