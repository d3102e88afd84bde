"""Depth-muP, for residual branches of one matrix (k = 1): branches at 1/sqrt(depth).

Rows outside the branches are muP's. arXiv:2603.00541 finds that this does not transfer across depth in
transformers, whose branches have two matrices or more. Sources as in `mup`; [1] here is its appendix D,
tables 9-13.
"""

from ..recipe.role import Role, Site
from . import mup
from .experts import with_experts
from .parametrization import Parametrization
from .power import HALF, ONE, L, W
from .row import InitTable, MultiplierTable, Update, UpdateTable, lion_rows, sophia_rows

INIT: InitTable = mup.INIT

MULTIPLIER: MultiplierTable = {**mup.MULTIPLIER, Site.BRANCH: 1 / L**HALF}

# AdamW:                  learning rate           decay  epsilon
ADAMW: UpdateTable = {
    **mup.ADAMW,
    Role.HIDDEN:        Update(1 / (W * L**HALF), W,     1 / (W * L**HALF),   "[1] table 12, hidden"),
    Role.HIDDEN_VECTOR: Update(1 / L**HALF,       ONE,   1 / (W * L**HALF),   "[1] table 12, hidden bias"),
    Role.HIDDEN_SCALAR: Update(1 / L**HALF,       ONE,   1 / L**HALF,         "[4] shared gain"),
    Role.NARROW:        Update(1 / (W * L**HALF), W,     1 / (L * W) ** HALF, "[3], rest [4]"),
    Role.NARROW_VECTOR: Update(1 / L**HALF,       ONE,   1 / (L * W) ** HALF, "[3], rest [4]"),
    Role.MULTIPLIER:    Update(1 / L**HALF,       ONE,   1 / (W * L**HALF),   "[4] as a branch's vectors"),
}  # fmt: skip

LION: UpdateTable = lion_rows(ADAMW)
SOPHIA: UpdateTable = sophia_rows(ADAMW)

SGD: UpdateTable = {
    **mup.SGD,
    Role.HIDDEN:        Update(ONE,         1 / L**HALF,         None, "[1] table 11, hidden"),
    Role.HIDDEN_VECTOR: Update(W,           1 / (W * L**HALF),   None, "[1] table 11, hidden bias"),
    Role.HIDDEN_SCALAR: Update(ONE,         1 / L**HALF,         None, "[4] shared gain"),
    Role.NARROW:        Update(1 / W**HALF, (W / L) ** HALF,     None, "[3], rest [4]"),
    Role.NARROW_VECTOR: Update(W**HALF,     1 / (W * L) ** HALF, None, "[3], rest [4]"),
}  # fmt: skip

MUON: UpdateTable = {
    **mup.MUON,
    Role.HIDDEN: Update(1 / L**HALF, ONE, None, "[1] table 10, hidden"),
    Role.NARROW: Update(1 / L**HALF, ONE, None, "[4] narrow matrices"),
}  # fmt: skip

MUON_KIMI: UpdateTable = {
    **mup.MUON_KIMI,
    Role.HIDDEN: Update(1 / (W * L) ** HALF,  W**HALF, None, "[1] table 9, hidden"),
    Role.NARROW: Update(1 / (W * L**HALF),    W,       None, "[4] narrow matrices"),
}  # fmt: skip

SHAMPOO: UpdateTable = {
    **mup.SHAMPOO,
    Role.HIDDEN: Update(1 / L**HALF,         ONE,     1 / L, "[1] table 10, hidden"),
    Role.NARROW: Update(1 / (W * L) ** HALF, W**HALF, 1 / L, "[4] narrow matrices"),
}  # fmt: skip

SOAP: UpdateTable = {
    **mup.SOAP,
    Role.HIDDEN: Update(1 / (W * L**HALF), W, 1 / L**HALF, "[4] SOAP"),
    Role.NARROW: Update(1 / (W * L**HALF), W, 1 / L**HALF, "[4] SOAP"),
}  # fmt: skip

SPECTRAL_SPHERE: UpdateTable = {
    **mup.SPECTRAL_SPHERE,
    Role.HIDDEN: Update(1 / L**HALF, ONE, None, "[1] table 13, hidden"),
    Role.NARROW: Update(1 / L**HALF, ONE, None, "[4] narrow matrices"),
}  # fmt: skip

UPDATE: dict[str, UpdateTable] = with_experts({
    "adamw": ADAMW, "lion": LION, "sophia": SOPHIA, "sgd": SGD, "muon": MUON, "muon-kimi": MUON_KIMI,
    "normuon": MUON, "dion": MUON,
    "shampoo": SHAMPOO, "soap": SOAP, "spectral-sphere": SPECTRAL_SPHERE,
})  # fmt: skip

DEPTH_MUP = Parametrization(
    init=INIT, multiplier=MULTIPLIER, update=UPDATE.__getitem__, gradients=UPDATE["adamw"]
)
