"""muP for residual branches of two or more matrices (k >= 2), as the papers' tables: one row a role.

Rows of routers and experts follow from these (`experts`). m_W = width / base width, m_L = depth / base
depth. A cell multiplies the base value; hidden learning rate `1 / W` means base learning rate / m_W. Weight
decay is coupled to the learning rate.

Sources
  [1] arXiv:2603.00541v2, spectral condition for joint width and depth scaling: tables 1 and 3-7.
  [2] arXiv:2203.03466, tensor programs V, table 3; the `mup` package agrees (tests/test_mup_package.py).
  [3] arXiv:2606.04048v1, Gated DeltaNet: gates of a fixed number of growing heads.
  [4] docs/parametrization.md, derivations of this project.
  [5] arXiv:2601.04890, learnable multipliers: one learning rate for all of them, at every width.
"""

from ..recipe.role import Role, Site
from .experts import init_with_experts, with_experts
from .parametrization import Parametrization
from .power import HALF, ONE, L, W
from .row import InitTable, MultiplierTable, Update, UpdateTable, lion_rows, sophia_rows

# Standard deviation at initialisation, [1] tables 1 and 3-7.
INIT: InitTable = init_with_experts({
    Role.INPUT:         ONE,
    Role.HIDDEN:        1 / W**HALF,
    Role.OUTPUT:        ONE,
    Role.VECTOR:        ONE,
    Role.HIDDEN_VECTOR: ONE,
    Role.HIDDEN_SCALAR: ONE,
    Role.NARROW:        1 / W**HALF,
    Role.NARROW_VECTOR: ONE,
    Role.MULTIPLIER:    ONE,
})  # fmt: skip

# Forward multipliers: [1] table 1; attention [2] section 4; state [3] section 4, and [4].
# The two rows of a growing head hold because head_dim is then proportional to the width.
MULTIPLIER: MultiplierTable = {
    Site.EMBEDDING:         ONE,
    Site.BRANCH:            1 / L,
    Site.ATTENTION:         ONE,
    Site.GROWING_ATTENTION: 1 / W**HALF,  # on top of 1/sqrt(head_dim): together 1/head_dim
    Site.STATE:             ONE,
    Site.GROWING_STATE:     W,  # S q is of size 1/sqrt(head_dim), and q itself is divided by as much: [4]
    Site.SCORES:            ONE,
    Site.GROWING_SCORES:    1 / W,  # C . B sums as many products as the state has rows: [4]
    Site.READOUT:           1 / W,
}  # fmt: skip

# AdamW:                  learning rate   weight decay   epsilon
ADAMW: UpdateTable = {
    Role.INPUT:         Update(ONE,       ONE,           1 / W,             "[1] table 6, input"),
    Role.HIDDEN:        Update(1 / W,     W,             1 / (L * W),       "[1] table 6, hidden"),
    Role.OUTPUT:        Update(ONE,       ONE,           1 / W,             "[1] table 6, output"),
    Role.VECTOR:        Update(ONE,       ONE,           1 / W,             "[1] table 6, input bias"),
    Role.HIDDEN_VECTOR: Update(ONE,       ONE,           1 / (L * W),       "[1] table 6, hidden bias"),
    Role.HIDDEN_SCALAR: Update(ONE,       ONE,           1 / L,             "[4] shared gain"),
    Role.NARROW:        Update(1 / W,     W,             1 / (L * W**HALF), "[3], rest [4]"),
    Role.NARROW_VECTOR: Update(ONE,       ONE,           1 / (L * W**HALF), "[3], rest [4]"),
    # Of base values of its own, whatever the optimizer of the matrices.
    Role.MULTIPLIER:    Update(ONE,       ONE,           1 / (L * W),       "[5], epsilon [4]"),
}  # fmt: skip

# Lion and Sophia move every entry by Theta(1), as AdamW does; Lion has no epsilon. Sophia's gamma keeps the
# share of entries that are clipped: [4].
LION: UpdateTable = lion_rows(ADAMW)
SOPHIA: UpdateTable = sophia_rows(ADAMW)

# SGD, with or without momentum. It has no epsilon.
SGD: UpdateTable = {
    Role.INPUT:         Update(W,           1 / W,             None, "[1] table 5, input"),
    Role.HIDDEN:        Update(L,           1 / L,             None, "[1] table 5, hidden"),
    Role.OUTPUT:        Update(W,           1 / W,             None, "[1] table 5, output"),
    Role.VECTOR:        Update(W,           1 / W,             None, "[1] table 5, input bias"),
    Role.HIDDEN_VECTOR: Update(L * W,       1 / (L * W),       None, "[1] table 5, hidden bias"),
    Role.HIDDEN_SCALAR: Update(L,           1 / L,             None, "[4] shared gain"),
    Role.NARROW:        Update(L / W**HALF, W**HALF / L,       None, "[3], rest [4]"),
    Role.NARROW_VECTOR: Update(L * W**HALF, 1 / (L * W**HALF), None, "[3], rest [4]"),
}  # fmt: skip

# Matrix optimizers have rows for matrices alone. The convention of the update decides the row.

# Muon, A = sqrt(fan_out/fan_in) U V^T: the factor makes the RMS operator norm of A equal 1 for any shape.
# [1] states the rows for A = U V^T (eta sqrt(m_W) for input and output); times the factor it is this.
# NorMuon's update is as long, its neurons evened: [4]. Dion's columns need not be orthogonal, which makes its
# norm grow a little with the rank (tests/test_update_norms.py); coordinates do not: [4].
MUON: UpdateTable = {
    Role.INPUT:  Update(ONE, ONE,   None, "[1] table 4, input, with the factor in A"),
    Role.HIDDEN: Update(ONE, ONE,   None, "[1] table 4, hidden"),
    Role.OUTPUT: Update(W,   1 / W, None, "[1] table 4, output, with the factor in A"),
    Role.NARROW: Update(ONE, ONE,   None, "[4] narrow matrices"),
}  # fmt: skip

# Muon-Kimi (arXiv:2502.16982), A = 0.2 sqrt(max(fan_in, fan_out)) U V^T.
MUON_KIMI: UpdateTable = {
    Role.INPUT:  Update(ONE,         ONE,     None, "[1] table 3, input"),
    Role.HIDDEN: Update(1 / W**HALF, W**HALF, None, "[1] table 3, hidden"),
    Role.OUTPUT: Update(ONE,         ONE,     None, "[1] table 3, output"),
    Role.NARROW: Update(1 / W,       W,       None, "[4] narrow matrices"),
}  # fmt: skip

# Shampoo, A = (L + eps)^-1/4 M (R + eps)^-1/4, near U V^T; its epsilon stands beside squared gradients.
SHAMPOO: UpdateTable = {
    Role.INPUT:  Update(W**HALF,     1 / W**HALF, 1 / W,     "[1] table 4, input"),
    Role.HIDDEN: Update(ONE,         ONE,         1 / L**2,  "[1] table 4, hidden"),
    Role.OUTPUT: Update(W**HALF,     1 / W**HALF, 1 / W,     "[1] table 4, output"),
    Role.NARROW: Update(1 / W**HALF, W**HALF,     1 / L**2,  "[4] narrow matrices"),
}  # fmt: skip

# SOAP, Adam in Shampoo's eigenbasis: entries of Theta(1) there, and turning a basis changes no norm, so that
# its rates are AdamW's. [1] table 4 takes its update for U V^T, which needs a gradient that is diagonal in
# that basis (sweeps/tables/soap-spectral.yaml). Its epsilon stands beside gradients in that basis.
SOAP: UpdateTable = {
    Role.INPUT:  Update(ONE,   ONE, 1 / W**HALF, "[4] SOAP"),
    Role.HIDDEN: Update(1 / W, W,   1 / L,       "[4] SOAP"),
    Role.OUTPUT: Update(ONE,   ONE, 1 / W**HALF, "[4] SOAP"),
    Role.NARROW: Update(1 / W, W,   1 / L,       "[4] SOAP"),
}  # fmt: skip

# Spectral sphere, A = sqrt(fan_out/fan_in) Phi with Phi orthogonal and tangent to the sphere.
SPECTRAL_SPHERE: UpdateTable = {
    Role.INPUT:  Update(ONE, ONE,   None, "[1] table 7, input"),
    Role.HIDDEN: Update(ONE, ONE,   None, "[1] table 7, hidden"),
    Role.OUTPUT: Update(W,   1 / W, None, "[1] table 7, output"),
    Role.NARROW: Update(ONE, ONE,   None, "[4] narrow matrices"),
}  # fmt: skip

UPDATE: dict[str, UpdateTable] = with_experts({
    "adamw": ADAMW, "lion": LION, "sophia": SOPHIA, "sgd": SGD, "muon": MUON, "muon-kimi": MUON_KIMI,
    "normuon": MUON, "dion": MUON,
    "shampoo": SHAMPOO, "soap": SOAP, "spectral-sphere": SPECTRAL_SPHERE,
})  # fmt: skip

MUP = Parametrization(init=INIT, multiplier=MULTIPLIER, update=UPDATE.__getitem__, gradients=UPDATE["adamw"])
