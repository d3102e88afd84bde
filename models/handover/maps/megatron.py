"""Megatron-Core's GPT, with its local layers or Transformer Engine's, which fuse norms with what follows."""

from ..assignment import Stored
from ..sites import Place
from .gpt import FUSED
from .llama import LLAMA
from .model_map import Difference, ModelMap, gain, norm_epsilon

BLOCK = "decoder.layers.*"
OURS = "blocks.*"


def stacked(role: str, *parts: str) -> Stored:
    """[out, in] in layers of Megatron's own; several are one below the other."""
    return Stored(role, transposed=False, like=parts[0], beside=parts[1:])


def norm(name: str, fused: str, like: str) -> dict[str, Stored]:
    """In one of two places."""
    return {
        f"{BLOCK}.{name}.weight": gain(like, optional=True),
        f"{BLOCK}.{fused}.layer_norm_weight": gain(like, optional=True),
    }


MEGATRON = ModelMap(
    of="megatron.core.models.gpt.GPTModel",
    proxy={name: value for name, value in LLAMA.proxy.items() if name != "qk_norm"},
    roles={
        "embedding.word_embeddings.weight": stacked("input", "embedding.weight"),
        "decoder.final_layernorm.weight": Stored("vector", like="final_norm.gain"),
        "output_layer.weight": Stored(
            "output", transposed=False, like="readout.weight", optional=True
        ),  # none where embeddings are shared
        f"{BLOCK}.self_attention.linear_qkv.weight": stacked(
            "hidden", *(f"{OURS}.mixer.{name}.weight" for name in ("query", "key", "value"))
        ),
        f"{BLOCK}.self_attention.linear_proj.weight": stacked("hidden", f"{OURS}.mixer.output.weight"),
        f"{BLOCK}.self_attention.q_layernorm.weight": Stored(
            "hidden scalar", like=f"{OURS}.mixer.query_norm.gain", optional=True
        ),
        f"{BLOCK}.self_attention.k_layernorm.weight": Stored(
            "hidden scalar", like=f"{OURS}.mixer.key_norm.gain", optional=True
        ),
        f"{BLOCK}.mlp.linear_fc1.weight": stacked(
            "hidden", *(f"{OURS}.mlp.{name}.weight" for name in ("gate", "up"))
        ),
        f"{BLOCK}.mlp.linear_fc2.weight": stacked("hidden", f"{OURS}.mlp.down.weight"),
        **norm("input_layernorm", "self_attention.linear_qkv", f"{OURS}.mixer_norm.gain"),
        **norm("pre_mlp_layernorm", "mlp.linear_fc1", f"{OURS}.mlp_norm.gain"),
    },
    sites={
        "embedding": ["embedding"],
        "residual branch": [f"{BLOCK}.self_attention.linear_proj", f"{BLOCK}.mlp.linear_fc2"],
        "attention logits": [Place(f"{BLOCK}.self_attention.core_attention", attribute="softmax_scale")],
        "readout": ["output_layer"],
    },
    differences=(
        norm_epsilon("layernorm_epsilon"),
        FUSED,
        Difference(
            what="biases of linear layers",
            ours="none",
            theirs="add_bias_linear=True",
            remedy="add_bias_linear=False (--disable-bias-linear); else it is refused",
        ),
        Difference(
            what="spread over tensor-parallel ranks",
            ours="one process",
            theirs="every rank a part of a matrix",
            remedy="hand over to a model of one rank, and save it as a checkpoint that Megatron reshards",
        ),
        Difference(
            what="its own muP (use_mup)",
            ours="the handover's",
            theirs="off by default",
            remedy="leave it off: all is the handover's; `export -f megatron` uses it instead",
        ),
    ),
)
