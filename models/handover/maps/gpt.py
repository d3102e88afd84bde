"""The GPTs: LayerNorm with biases and linear layers with biases, all of the same shape as GPT-2's."""

from ..assignment import Stored
from ..sites import ROOT, Place
from .model_map import Difference, ModelMap, gain, linear, norm_epsilon, outside

BIASES = Difference(
    what="biases of linear layers",
    ours="biases: none",
    theirs="on every linear layer, from zero",
    remedy="biases: all in the sweep, or nothing: they train at the rate of gains and do not decay",
)
LAYERNORM = {"architecture": "transformer", "mlp": "gelu", "norm": "layernorm", "qk_norm": False}
QKV = tuple(f"blocks.*.mixer.{name}" for name in ("query", "key", "value"))


def norms(block: str, before_mixer: str, before_mlp: str) -> dict[str, Stored]:
    return {
        f"{block}.{before_mixer}.weight": gain("blocks.*.mixer_norm.gain"),
        f"{block}.{before_mixer}.bias": gain("blocks.*.mixer_norm.bias", optional=True),
        f"{block}.{before_mlp}.weight": gain("blocks.*.mlp_norm.gain"),
        f"{block}.{before_mlp}.bias": gain("blocks.*.mlp_norm.bias", optional=True),
    }


def matrices(
    block: str, qkv: str, output: str, up: str, down: str, grouped: str | None = None
) -> dict[str, Stored]:
    return {
        **linear(f"{block}.{qkv}", *QKV, grouped=grouped),
        **linear(f"{block}.{output}", "blocks.*.mixer.output"),
        **linear(f"{block}.{up}", "blocks.*.mlp.up"),
        **linear(f"{block}.{down}", "blocks.*.mlp.down"),
    }


GPT2_ROLES = {
    **outside("transformer.wte.weight", "transformer.ln_f.weight"),
    "transformer.wpe.weight": Stored("input", like="positions.weight"),
    "transformer.ln_f.bias": Stored("vector", like="final_norm.bias", optional=True),
    **norms("transformer.h.*", "ln_1", "ln_2"),
    **matrices("transformer.h.*", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
}
GPT2_SITES = {
    "embedding": ["transformer.drop"],  # the sum of both embeddings
    "residual branch": ["transformer.h.*.attn.c_proj", "transformer.h.*.mlp.c_proj"],
    "readout": ["lm_head"],
}
FUSED = Difference(
    what="order of rows in fused queries, keys and values",
    ours="three matrices",
    theirs="one, by heads",
    remedy="nothing: the same distribution, another draw",
)

GPT2 = ModelMap(
    of="transformers.GPT2LMHeadModel",
    proxy={**LAYERNORM, "positions": "learned"},
    roles=GPT2_ROLES,
    sites={**GPT2_SITES, "attention logits": [Place("transformer.h.*.attn", attribute="scaling")]},
    differences=(
        BIASES,
        norm_epsilon("layer_norm_epsilon"),
        Difference(
            what="GELU",
            ours="gelu: exact",
            theirs="its tanh approximation (gelu_new), 5e-4 apart",
            remedy='gelu: tanh in the sweep, or activation_function="gelu"',
        ),
        Difference(
            what="dropout", ours="none unless swept", theirs="0.1 thrice",
            remedy="resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, as at the proxies",
        ),
    ),
)  # fmt: skip

NANOGPT = ModelMap(
    of="nanoGPT's GPT (model.py)",
    proxy=GPT2.proxy,
    roles=GPT2_ROLES,
    # Its attention takes torch's own scale, so the rest goes onto the queries.
    sites={**GPT2_SITES, "attention logits": [Place("transformer.h.*.attn.c_attn", part=(0, 3), has=ROOT)]},
    differences=(
        BIASES,
        norm_epsilon("F.layer_norm's eps"),
        Difference(
            what="embedding and readout",
            ours="two matrices unless tied: true",
            theirs="one",
            remedy="tied: true in the sweep",
        ),
    ),
)

GPT_NEOX = ModelMap(
    of="transformers.GPTNeoXForCausalLM",
    proxy={**LAYERNORM, "positions": "rotary"},
    roles={
        **outside("gpt_neox.embed_in.weight", "gpt_neox.final_layer_norm.weight"),
        "gpt_neox.final_layer_norm.bias": Stored("vector", like="final_norm.bias", optional=True),
        **norms("gpt_neox.layers.*", "input_layernorm", "post_attention_layernorm"),
        **matrices(
            "gpt_neox.layers.*",
            "attention.query_key_value",
            "attention.dense",
            "mlp.dense_h_to_4h",
            "mlp.dense_4h_to_h",
            grouped="head_count",
        ),
    },
    sites={
        "embedding": ["gpt_neox.embed_in"],
        "residual branch": ["gpt_neox.layers.*.attention.dense", "gpt_neox.layers.*.mlp.dense_4h_to_h"],
        "attention logits": [Place("gpt_neox.layers.*.attention", attribute="scaling")],
        "readout": ["lm_head"],
    },
    differences=(
        BIASES,
        norm_epsilon("layer_norm_eps"),
        FUSED,
        Difference(
            what="order of the branches",
            ours="one after the other",
            theirs="side by side",
            remedy="parallel_residual: true in the sweep, or use_parallel_residual=False",
        ),
        Difference(
            what="share of a head with rotary positions", ours="rotary_share: 1", theirs="a quarter",
            remedy="rotary_share: 0.25 in the sweep",
        ),
    ),
)  # fmt: skip
