"""Llama, Qwen3 and what else is built like them: rotary attention and a SwiGLU MLP behind RMSNorms."""

from dataclasses import replace

from ..assignment import Stored
from .model_map import OWN_SCALE, Difference, ModelMap, gain, head_gain, linear, outside

BLOCK = "model.layers.*"


def mlp(block: str, name: str = "mlp") -> dict[str, Stored]:
    return {
        **linear(f"{block}.{name}.gate_proj", "blocks.*.mlp.gate"),
        **linear(f"{block}.{name}.up_proj", "blocks.*.mlp.up"),
        **linear(f"{block}.{name}.down_proj", "blocks.*.mlp.down"),
    }


def attention(block: str, module: str) -> dict[str, Stored]:
    """`module` is what our proxies call the mixer."""
    return {
        **linear(f"{block}.self_attn.q_proj", f"blocks.*.{module}.query"),
        **linear(f"{block}.self_attn.k_proj", f"blocks.*.{module}.key"),
        **linear(f"{block}.self_attn.v_proj", f"blocks.*.{module}.value"),
        **linear(f"{block}.self_attn.o_proj", f"blocks.*.{module}.output"),
    }


LLAMA = ModelMap(
    of="transformers.LlamaForCausalLM",
    proxy={
        "architecture": "transformer",
        "mlp": "swiglu",
        "norm": "rmsnorm",
        "positions": "rotary",
        "qk_norm": False,
    },
    roles={
        **outside("model.embed_tokens.weight", "model.norm.weight"),
        **attention(BLOCK, "mixer"),
        **mlp(BLOCK),
        f"{BLOCK}.input_layernorm.weight": gain("blocks.*.mixer_norm.gain"),
        f"{BLOCK}.post_attention_layernorm.weight": gain("blocks.*.mlp_norm.gain"),
    },
    sites={
        "embedding": ["model.embed_tokens"],
        "residual branch": [f"{BLOCK}.self_attn.o_proj", f"{BLOCK}.mlp.down_proj"],
        "attention logits": [OWN_SCALE],
        "readout": ["lm_head"],
    },
    differences=(
        Difference(
            what="epsilon of the norms",
            ours="norm_eps: 1e-6 by default",
            theirs="1e-6 by default, 1e-5 in the configurations of Llama 3",
            remedy="norm_eps: 1e-5 in the sweep, or rms_norm_eps=1e-6",
        ),
    ),
)

QWEN3 = replace(
    LLAMA,
    of="transformers.Qwen3ForCausalLM",
    proxy={**LLAMA.proxy, "qk_norm": True},
    roles={
        **LLAMA.roles,
        f"{BLOCK}.self_attn.q_norm.weight": head_gain("blocks.*.mixer.query_norm.gain"),
        f"{BLOCK}.self_attn.k_norm.weight": head_gain("blocks.*.mixer.key_norm.gain"),
    },
    differences=(
        Difference(
            what="size of the heads",
            ours="head_ratio: 1",
            theirs="head_dim, whatever the width: 16 of 128 at width 1024",
            remedy="head_ratio: 2 in the sweep",
        ),
    ),
)
