"""U V^T of a stack of matrices without a singular value decomposition: odd polynomials, iterated.

K trials, M matrices, O fan_out, I fan_in.
"""

from collections.abc import Sequence

from torch import Tensor

# Keller Jordan's Muon (kellerjordan.github.io/posts/muon): singular values land in about [0.7, 1.2].
QUINTIC = ((3.4445, -4.7750, 2.0315),) * 5

# Polar Express (arXiv:2505.16932), 8 steps: singular values above 1e-3 land within 1e-3 of 1.
POLAR = (
    (8.2051, -22.9019, 16.4607), (4.0664, -2.8612, 0.5184), (3.9096, -2.8234, 0.5250),
    (3.2856, -2.4153, 0.4853), (2.2779, -1.6198, 0.3985), (1.8726, -1.2307, 0.3585),
    (1.8564, -1.2132, 0.3568), (1.8750, -1.2500, 0.3750),
)  # fmt: skip

POLYNOMIALS = {"quintic": QUINTIC, "polar-express": POLAR[:5]}
"""By the names that sweep files use; of five steps, each the best there is after those before it."""

SMALLEST_NORM = 1e-7  # of a gradient that counts as one; torch.optim.Muon's value


def orthogonalised(x_KMOI: Tensor, coefficients: Sequence[tuple[float, float, float]]) -> Tensor:
    """Each matrix with its singular values s replaced by near 1: s <- a s + b s^3 + c s^5, repeated."""
    tall = x_KMOI.shape[-2] > x_KMOI.shape[-1]
    x: Tensor = x_KMOI.mT if tall else x_KMOI
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=SMALLEST_NORM)
    for a, b, c in coefficients:
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x
