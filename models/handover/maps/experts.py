"""Mixtral and Qwen3-MoE: Llama and Qwen3 with a mixture of experts in place of every MLP."""

from collections.abc import Mapping
from dataclasses import replace

from ..assignment import Stored
from .llama import BLOCK, LLAMA, QWEN3
from .model_map import Difference, ModelMap

OURS = "blocks.*.mlp"
BALANCE = Difference(
    what="what uneven loads cost", ours="balance_loss: mean over blocks, of the average of a token's experts",
    theirs="of all blocks together, of their sum",
    remedy="router_aux_loss_coef = balance_loss / experts_per_token, as an export says it",
)  # fmt: skip
ROWS = Difference(
    what="order of rows in gate_up_proj", ours="a matrix each", theirs="by experts",
    remedy="nothing: the same distribution, another draw",
)  # fmt: skip


def _mixed(dense: ModelMap, of: str, *further: Difference) -> ModelMap:
    """The map with a router and experts in place of the MLP."""
    roles: Mapping[str, str | Stored] = {
        name: told for name, told in dense.roles.items() if not name.startswith(f"{BLOCK}.mlp.")
    }
    return replace(
        dense,
        of=of,
        proxy={**dense.proxy, "experts": 8},
        roles={
            **roles,
            f"{BLOCK}.mlp.gate.weight": Stored("router", transposed=False, like=f"{OURS}.router.weight"),
            f"{BLOCK}.mlp.experts.gate_up_proj": Stored(
                "expert in",
                transposed=False,
                like=f"{OURS}.gate.weight",
                beside=(f"{OURS}.up.weight",),
                grouped="expert_count",
            ),
            f"{BLOCK}.mlp.experts.down_proj": Stored(
                "expert out", transposed=False, like=f"{OURS}.down.weight"
            ),
        },
        sites={**dense.sites, "residual branch": [f"{BLOCK}.self_attn.o_proj", f"{BLOCK}.mlp"]},
        differences=(*dense.differences, *further, BALANCE, ROWS),
    )


MIXTRAL = _mixed(
    LLAMA,
    "transformers.MixtralForCausalLM",
    Difference(
        what="base of rotary positions",
        ours="rotary_base: 1e4 by default",
        theirs="1e6 by default",
        remedy="rotary_base: 1e6 in the sweep, or rope_theta=1e4",
    ),
)
QWEN3_MOE = _mixed(
    QWEN3,
    "transformers.Qwen3MoeForCausalLM",
    Difference(
        what="weights of a token's experts",
        ours="add up to one",
        theirs="their probabilities among all by default",
        remedy="norm_topk_prob=True, as the configurations of Qwen3 have it",
    ),
)
