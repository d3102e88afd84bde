"""Mamba2 and Falcon-H1: their input projections are the proxies' parts, one below the other."""

from ..assignment import Stored
from .llama import attention, mlp
from .model_map import OWN_SCALE, Difference, ModelMap, drawn, gain, hidden, norm_epsilon, outside


def mixer(block: str, module: str) -> dict[str, Stored]:
    """`module` is what our proxies call it."""
    ours = f"blocks.*.{module}"
    parts = (f"{ours}.{name}.weight" for name in ("z", "x", "b", "c", "dt"))
    kernels = (f"{ours}.{name}_conv.weight" for name in ("x", "b", "c"))
    return {
        f"{block}.in_proj.weight": hidden(*parts),
        f"{block}.conv1d.weight": Stored(
            "hidden vector", like=next(kernels), beside=tuple(kernels), kept=True
        ),
        f"{block}.conv1d.bias": gain(
            *(f"{ours}.{name}_conv.bias" for name in ("x", "b", "c")), optional=True
        ),
        f"{block}.A_log": drawn(f"{ours}.a_log"),
        f"{block}.dt_bias": drawn(f"{ours}.dt_bias"),
        f"{block}.D": gain(f"{ours}.skip"),
        f"{block}.norm.weight": gain(f"{ours}.norm.gain", optional=True),
        f"{block}.out_proj.weight": hidden(f"{ours}.output.weight"),
    }


CONVOLUTION = Difference(
    what="bias of the convolution",
    ours="conv_bias: false",
    theirs="use_conv_bias=True, from zero",
    remedy="conv_bias: true in the sweep, or use_conv_bias=False (mamba_conv_bias)",
)
FUSED_RATES = Difference(
    what="parts of in_proj and conv1d",
    ours="B and C have rates and epsilons of their own",
    theirs="one tensor, one group",
    remedy="nothing where their rates are those of x (AdamW), else it is refused; the epsilon is that of x",
)

INNER_WIDTH = Difference(
    what="inner width over width",
    ours="head_ratio: 1",
    theirs="expand=2",
    remedy="head_ratio: 2 in the sweep (or expand_v: 2 and half the head_dim), or expand=1",
)

MAMBA2 = ModelMap(
    of="transformers.Mamba2ForCausalLM",
    proxy={"architecture": "mamba2", "mlp": "none", "norm": "rmsnorm"},
    roles={
        **outside("backbone.embeddings.weight", "backbone.norm_f.weight"),
        "backbone.layers.*[0-9].norm.weight": gain("blocks.*.mixer_norm.gain"),  # not the mixer's own
        **mixer("backbone.layers.*.mixer", "mixer"),
    },
    sites={
        "embedding": ["backbone.embeddings"],
        "residual branch": ["backbone.layers.*.mixer.out_proj"],
        "readout": ["lm_head"],
    },
    differences=(CONVOLUTION, FUSED_RATES, norm_epsilon("layer_norm_epsilon"), INNER_WIDTH),
)

FALCON_H1 = ModelMap(
    of="transformers.FalconH1ForCausalLM",
    proxy={
        "architecture": "parallel-hybrid", "mlp": "swiglu", "norm": "rmsnorm", "qk_norm": False,
        "positions": "rotary",
    },
    roles={
        **outside("model.embed_tokens.weight", "model.final_layernorm.weight"),
        "model.layers.*.input_layernorm.weight": gain("blocks.*.mixer_norm.gain"),
        "model.layers.*.pre_ff_layernorm.weight": gain("blocks.*.mlp_norm.gain"),
        **attention("model.layers.*", "attention"),
        **mixer("model.layers.*.mamba", "mamba2"),
        **mlp("model.layers.*", "feed_forward"),
    },
    sites={
        "embedding": ["model.embed_tokens"],
        "residual branch": [
            "model.layers.*.self_attn.o_proj", "model.layers.*.mamba.out_proj",
            "model.layers.*.feed_forward.down_proj",
        ],
        "attention logits": [OWN_SCALE],
        "readout": ["lm_head"],
    },
    differences=(
        CONVOLUTION,
        FUSED_RATES,
        norm_epsilon("rms_norm_eps"),
        Difference(
            what="order of norm and gate",
            ours="norm_before_gate: false", theirs="mamba_norm_before_gate=True",
            remedy="norm_before_gate: true in the sweep, or mamba_norm_before_gate=False",
        ),
        Difference(
            what="norm of the state space's output", ours="state_norm: true", theirs="none by default",
            remedy="state_norm: false in the sweep, or mamba_rms_norm=True",
        ),
        Difference(
            what="fixed multipliers of its configuration",
            ours="fixed_multipliers: none", theirs="one each by default, others in every checkpoint",
            remedy="the same in the sweep (like: falcon-h1); those of embedding and lm_head stay one: the "
            "handover's stand in their place",
        ),
    ),
)  # fmt: skip
