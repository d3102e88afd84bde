"""Loss scaling for fp16, one scale a trial (arXiv:1710.03740): lifts gradients into fp16's range.

K trials.
"""

import torch
from torch import Tensor

FIRST, LOWEST = 2.0**16, 2.0**-4
GROWTH_STEPS = 2000
"""A scale that served for so many steps is doubled."""


class LossScale:
    """Halved for a trial whose gradient overflows, which leaves that step out. Ones where nothing overflows
    by precision: then an infinite gradient is the trial's own."""

    def __init__(self, trials: int, device: torch.device, active: bool) -> None:
        self._active = active
        self.scale_K = torch.full((trials,), FIRST if active else 1.0, device=device)
        self.served_K = torch.zeros(trials, device=device)

    def skipped(self, finite_K: Tensor) -> Tensor:
        """Which trials leave this step out, and go on with a lower scale; advances the scales."""
        if not self._active:
            return torch.zeros_like(finite_K)
        skipped_K = ~finite_K & (self.scale_K > LOWEST)
        self.served_K = torch.where(skipped_K, 0.0, self.served_K + 1)
        grown_K = self.served_K >= GROWTH_STEPS
        self.served_K = torch.where(grown_K, 0.0, self.served_K)
        factor_K = torch.where(skipped_K, 0.5, torch.where(grown_K, 2.0, 1.0))
        self.scale_K = self.scale_K * factor_K
        return skipped_K
