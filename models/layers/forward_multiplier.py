"""Forward multipliers: one number per trial, or one that all trials of a group share.

K trials.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Factor = Tensor | float


def factor_of(values: Sequence[float], device: torch.device) -> Factor:
    """The trials' values as [K], or as a plain number where they agree: always so with one trial."""
    if len(set(values)) == 1:
        return values[0]
    return torch.tensor(values, dtype=torch.float32, device=device)


def scaled(x_K: Tensor, factor: Factor) -> Tensor:
    """Each trial's slice of x times its factor, in x's own precision; a common factor of 1 costs nothing."""
    if isinstance(factor, Tensor):
        # Multiplied in the factor's precision: in bf16 it would be rounded, but a common one is not.
        return (x_K * factor.view(-1, *(1,) * (x_K.dim() - 1))).to(x_K.dtype)
    return x_K if factor == 1.0 else x_K * factor
