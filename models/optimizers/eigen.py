"""Eigendecompositions of statistics that may have hardly any rank.

K trials, M matrices, S rows.
"""

import torch
from torch import Tensor


def eigen(x_KMSS: Tensor) -> tuple[Tensor, Tensor]:
    """Ascending eigenvalues [K, M, S] and eigenvectors of symmetric matrices.

    In float32 the solver gives up on matrices with many zero rows, such as an embedding's whose tokens a
    batch hardly saw, and would take all trials with it. One rounding unit of the largest entry on the
    diagonal moves no eigenvector and prevents that.
    """
    unit_KM11 = torch.finfo(x_KMSS.dtype).eps * x_KMSS.diagonal(dim1=-2, dim2=-1).amax(-1)[..., None, None]
    identity = torch.eye(x_KMSS.shape[-1], dtype=x_KMSS.dtype, device=x_KMSS.device)
    values_KMS, vectors_KMSS = torch.linalg.eigh(x_KMSS + unit_KM11 * identity)
    return values_KMS, vectors_KMSS
