"""Loss scaling for fp16, one scale a trial (arXiv:1710.03740): lifts gradients into fp16's range.

A scale is halved for a trial whose gradient overflows, which is then taken again: no step is left out, so
that no optimizer ever sees a gradient that is none. Whether to take it again is asked of the device, so this
stands outside the step.

K trials, P parameters of one buffer.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .state import GroupState

Gradients = tuple[Tensor, list[Tensor]]
"""The mean loss, [K], and the gradient of every buffer, [K, P]."""

LOWEST_SCALE = 2.0**-4
GROWTH_STEPS = 2000
"""A scale that served for so many steps is doubled."""


def lowered(state: GroupState, loss_K: Tensor, gradients_KP: Sequence[Tensor]) -> bool:
    """Halves the scales of the trials whose gradients overflowed, as far as they go; whether any was."""
    overflown_K = state.alive_K & loss_K.isfinite() & ~finite(gradients_KP)
    again_K = overflown_K & (state.scale_K > LOWEST_SCALE)
    state.scale_K.copy_(torch.where(again_K, state.scale_K / 2, state.scale_K))
    state.served_K.masked_fill_(again_K, 0.0)
    return bool(again_K.any())


def until_finite(take: Callable[[], Gradients], state: GroupState) -> Gradients:
    """The losses and gradients, taken again at a lower scale of the loss where they overflow."""
    while True:
        loss_K, gradients_KP = take()
        if not lowered(state, loss_K, gradients_KP):
            return loss_K, gradients_KP


def served(state: GroupState) -> None:
    """One more step is done with these scales."""
    state.served_K.add_(1)
    grown_K = state.served_K >= GROWTH_STEPS
    state.served_K.masked_fill_(grown_K, 0.0)
    state.scale_K.copy_(torch.where(grown_K, 2 * state.scale_K, state.scale_K))


def finite(gradients_KP: Sequence[Tensor]) -> Tensor:
    """Which trials' gradients are finite, [K]."""
    return torch.stack([g.isfinite().all(dim=1) for g in gradients_KP]).all(dim=0)
