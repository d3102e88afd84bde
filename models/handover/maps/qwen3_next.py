"""Qwen3-Next without experts: Gated DeltaNet, and attention in every n-th block."""

from ..assignment import Stored
from .llama import attention, mlp
from .model_map import OWN_SCALE, Difference, ModelMap, drawn, gain, head_gain, hidden, outside

BLOCK, GDN = "model.layers.*", "blocks.*.gdn"
LINEAR = f"{BLOCK}.linear_attn"


def about_one(stored: Stored) -> Stored:
    """Its norms multiply by 1 + w."""
    return Stored(stored.role, like=stored.like, zero_centred=True)


QWEN3_NEXT = ModelMap(
    of="transformers.Qwen3NextForCausalLM",
    proxy={
        "architecture": "gdn-hybrid", "mlp": "swiglu", "norm": "rmsnorm", "qk_norm": True,
        "positions": "rotary",
    },
    roles={
        **outside("model.embed_tokens.weight", "model.norm.weight"),
        "model.norm.weight": Stored("vector", like="final_norm.gain", zero_centred=True),
        f"{BLOCK}.input_layernorm.weight": about_one(gain("blocks.*.mixer_norm.gain")),
        f"{BLOCK}.post_attention_layernorm.weight": about_one(gain("blocks.*.mlp_norm.gain")),
        **attention(BLOCK, "attention"),
        # Without attention_gate in the sweep it is known by its role alone.
        f"{BLOCK}.self_attn.q_proj.weight": hidden(
            "blocks.*.attention.query.weight", "blocks.*.attention.gate.weight", grouped="head_count"
        ),
        f"{BLOCK}.self_attn.q_norm.weight": about_one(head_gain("blocks.*.attention.query_norm.gain")),
        f"{BLOCK}.self_attn.k_norm.weight": about_one(head_gain("blocks.*.attention.key_norm.gain")),
        f"{LINEAR}.in_proj_qkvz.weight": hidden(
            *(f"{GDN}.{name}.weight" for name in ("query", "key", "value", "gate")),
            grouped="state_key_head_count",
        ),
        f"{LINEAR}.in_proj_ba.weight": hidden(
            f"{GDN}.b.weight", f"{GDN}.a.weight", grouped="state_key_head_count"
        ),
        f"{LINEAR}.conv1d.weight": Stored(
            "hidden vector",
            like=f"{GDN}.query_conv.weight",
            beside=(f"{GDN}.key_conv.weight", f"{GDN}.value_conv.weight"),
            kept=True,
        ),
        f"{LINEAR}.A_log": drawn(f"{GDN}.a_log"),
        f"{LINEAR}.dt_bias": drawn(f"{GDN}.dt_bias"),
        f"{LINEAR}.norm.weight": head_gain(f"{GDN}.norm.gain"),
        f"{LINEAR}.out_proj.weight": hidden(f"{GDN}.output.weight"),
        **mlp(BLOCK),
    },
    sites={
        "embedding": ["model.embed_tokens"],
        "residual branch": [f"{BLOCK}.self_attn.o_proj", f"{LINEAR}.out_proj", f"{BLOCK}.mlp.down_proj"],
        "attention logits": [OWN_SCALE],
        "readout": ["lm_head"],
    },
    differences=(
        Difference(
            what="gate on the output of attention", ours="attention_gate: false",
            theirs="sigmoid, fused with the queries",
            remedy="attention_gate: true in the sweep, or nothing; its rows start and train as the queries'",
        ),
        Difference(
            what="share of a head with rotary positions", ours="rotary_share: 1", theirs="a quarter",
            remedy="rotary_share: 0.25 in the sweep",
        ),
        Difference(
            what="order of rows in in_proj_qkvz and in_proj_ba", ours="a matrix each", theirs="by key heads",
            remedy="nothing: the same distribution, another draw",
        ),
        Difference(
            what="experts", ours="none", theirs="in every layer by default",
            remedy="mlp_only_layers with every layer: theirs share one expert among all tokens, ours none",
        ),
    ),
)  # fmt: skip
