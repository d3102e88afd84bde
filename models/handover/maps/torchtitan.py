"""torchtitan's Llama 3 and Qwen3, with separate queries, keys and values (fuse_qkv=False)."""

from ..assignment import Stored
from ..sites import Place
from .llama import LLAMA
from .model_map import ModelMap, gain, hidden, norm_epsilon

BLOCK = "layers.*"
TORCHTITAN = ModelMap(
    of="torchtitan.models.llama3.model.Llama3Model, torchtitan.models.qwen3.model.Qwen3Model",
    proxy={name: value for name, value in LLAMA.proxy.items() if name != "qk_norm"},
    roles={
        "tok_embeddings.weight": Stored("input", like="embedding.weight"),
        "norm.weight": Stored("vector", like="final_norm.gain"),
        "lm_head.weight": Stored("output", like="readout.weight"),
        f"{BLOCK}.attention.qkv_linear.wq.weight": hidden("blocks.*.mixer.query.weight"),
        f"{BLOCK}.attention.qkv_linear.wk.weight": hidden("blocks.*.mixer.key.weight"),
        f"{BLOCK}.attention.qkv_linear.wv.weight": hidden("blocks.*.mixer.value.weight"),
        f"{BLOCK}.attention.wo.weight": hidden("blocks.*.mixer.output.weight"),
        f"{BLOCK}.attention.q_norm.weight": Stored(
            "hidden scalar", like="blocks.*.mixer.query_norm.gain", optional=True
        ),
        f"{BLOCK}.attention.k_norm.weight": Stored(
            "hidden scalar", like="blocks.*.mixer.key_norm.gain", optional=True
        ),
        f"{BLOCK}.feed_forward.w1.weight": hidden("blocks.*.mlp.gate.weight"),
        f"{BLOCK}.feed_forward.w2.weight": hidden("blocks.*.mlp.down.weight"),
        f"{BLOCK}.feed_forward.w3.weight": hidden("blocks.*.mlp.up.weight"),
        f"{BLOCK}.attention_norm.weight": gain("blocks.*.mixer_norm.gain"),
        f"{BLOCK}.ffn_norm.weight": gain("blocks.*.mlp_norm.gain"),
    },
    sites={
        "embedding": ["tok_embeddings"],
        "residual branch": [f"{BLOCK}.attention.wo", f"{BLOCK}.feed_forward.w2"],
        "attention logits": [Place(f"{BLOCK}.attention", attribute="scaling")],
        "readout": ["lm_head"],
    },
    differences=(norm_epsilon("RMSNorm.Config.eps"),),
)
