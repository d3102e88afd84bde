"""Loss scaling for fp16, one scale a trial (arXiv:1710.03740): lifts gradients into fp16's range.

K trials, P parameters of one buffer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

FIRST, LOWEST = 2.0**16, 2.0**-4
GROWTH_STEPS = 2000
"""A scale that served for so many steps is doubled."""


class LossScale:
    """Halved for a trial whose gradient overflows, which is then taken again: no step is left out, so that
    no optimizer ever sees a gradient that is none. Ones, and never lowered, in other precisions."""

    def __init__(self, trials: int, device: torch.device, active: bool) -> None:
        self.active = active
        self.scale_K = torch.full((trials,), FIRST if active else 1.0, device=device)
        self.served_K = torch.zeros(trials, device=device)

    def unscaled(self, gradients_KP: Sequence[Tensor]) -> list[Tensor]:
        return [g / self.scale_K[:, None] for g in gradients_KP] if self.active else list(gradients_KP)

    def lowered(self, overflown_K: Tensor) -> bool:
        """Halves the scales of these trials, as far as they go; whether any was halved."""
        again_K = overflown_K & (self.scale_K > LOWEST)
        self.scale_K = torch.where(again_K, self.scale_K / 2, self.scale_K)
        self.served_K = torch.where(again_K, 0.0, self.served_K)
        return bool(again_K.any())

    def served(self) -> None:
        """One more step is done with these scales."""
        if self.active:
            self.served_K = self.served_K + 1
            grown_K = self.served_K >= GROWTH_STEPS
            self.served_K = torch.where(grown_K, 0.0, self.served_K)
            self.scale_K = torch.where(grown_K, 2 * self.scale_K, self.scale_K)


def finite(gradients_KP: Sequence[Tensor]) -> Tensor:
    """Which trials' gradients are finite, [K]."""
    return torch.stack([g.isfinite().all(dim=1) for g in gradients_KP]).all(dim=0)
