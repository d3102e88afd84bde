"""Real models as fields of a recipe: what `like:` in a sweep file stands for.

Sizes that grow are left open (width, depth, head_dim, the data's); all else is that of the configuration that
is named. `tests/test_likes.py` compares each with transformers', logits and gradients.
"""

from collections.abc import Mapping
from typing import Any

GATED: Mapping[str, Any] = {"mlp": "swiglu", "norm": "rmsnorm", "positions": "rotary"}
GPT: Mapping[str, Any] = {
    "architecture": "transformer", "mlp": "gelu", "norm": "layernorm", "norm_eps": 1e-5, "biases": "all",
}  # fmt: skip

LIKES: Mapping[str, Mapping[str, Any]] = {
    # Llama 3, 8B: 32 heads of 128 at width 4096, 8 of keys and values, 14336 units.
    "llama": {
        **GATED, "architecture": "transformer", "mlp_ratio": 3.5, "queries_per_kv": 4, "norm_eps": 1e-5,
        "rotary_base": 500_000.0,
    },
    # Qwen3, 0.6B: 16 heads of 128 at width 1024, 8 of keys and values, 3072 units.
    "qwen3": {
        **GATED, "architecture": "transformer", "mlp_ratio": 3.0, "head_ratio": 2.0, "queries_per_kv": 2,
        "qk_norm": True, "rotary_base": 1_000_000.0, "tied": True,
    },
    # Mixtral, 8x7B: 32 heads of 128 at width 4096, 8 of keys and values; experts of 14336 units.
    "mixtral": {
        **GATED, "architecture": "transformer", "mlp_ratio": 3.5, "experts": 8, "experts_per_token": 2,
        "queries_per_kv": 4, "norm_eps": 1e-5, "rotary_base": 1_000_000.0,
    },
    # Qwen3, 30B-A3B: 32 heads of 128 at width 2048, 4 of keys and values; experts of 768 units.
    "qwen3-moe": {
        **GATED, "architecture": "transformer", "mlp_ratio": 0.375, "experts": 128, "experts_per_token": 8,
        "head_ratio": 2.0, "queries_per_kv": 8, "qk_norm": True, "rotary_base": 1_000_000.0,
    },
    # Qwen3-Next, 80B-A3B, its MLP dense: attention of 16 heads of 256 at width 2048, 2 of keys and values;
    # delta rule of 32 value heads and 16 key heads of 128; 5120 units.
    "qwen3-next": {
        **GATED, "architecture": "gdn-hybrid", "mlp_ratio": 2.5, "attention_every": 4, "qk_norm": True,
        "head_ratio": 2.0, "queries_per_kv": 8, "attention_gate": True, "rotary_base": 10_000_000.0,
        "rotary_share": 0.25, "values_per_key": 2, "dt_start": "ones",
    },
    # Mamba2, 2.7B: 80 heads of 64 at width 2560, a state of 128 rows.
    "mamba2": {
        "architecture": "mamba2", "mlp": "none", "norm": "rmsnorm", "norm_eps": 1e-5, "head_ratio": 2.0,
        "state_size": 128, "conv_bias": True, "a_start": "counted", "tied": True,
    },
    # Falcon-H1, 0.5B: at width 1024 8 heads of attention and 24 of the state space, of 64 each; 2048 units.
    "falcon-h1": {
        **GATED, "architecture": "parallel-hybrid", "mlp_ratio": 2.0, "norm_eps": 1e-5, "head_ratio": 0.5,
        "queries_per_kv": 4, "rotary_base": 1e11, "state_head_ratio": 1.5, "state_size": 128,
        "state_norm": False, "conv_bias": True, "a_start": "counted", "dt_start": "ones",
        "embedding_multiplier": 32**0.5, "readout_multiplier": 0.0390625,
        # key_multiplier, attention_out_multiplier, mlp_multipliers, ssm_out_multiplier; ssm_multipliers of z,
        # x, B, C and dt times ssm_in_multiplier.
        "fixed_multipliers": "attention.key=0.390625, attention.output=0.9375, mlp.gate=0.8838834764831844, "
        "mlp.down=0.5859375, mamba2.output=0.23570226039551587, mamba2.z=0.4419417382415922, "
        "mamba2.x=0.3125, mamba2.b=0.4419417382415922, mamba2.c=0.625, mamba2.dt=0.4419417382415922",
    },
    "gpt2": {**GPT, "gelu": "tanh", "positions": "learned", "tied": True},
    "gpt-neox": {**GPT, "positions": "rotary", "rotary_share": 0.25, "parallel_residual": True},
}  # fmt: skip
