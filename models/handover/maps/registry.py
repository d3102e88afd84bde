"""The ready maps, by the names that the command line and the API use."""

from .experts import MIXTRAL, QWEN3_MOE
from .gpt import GPT2, GPT_NEOX, NANOGPT
from .llama import LLAMA, QWEN3
from .megatron import MEGATRON
from .model_map import ModelMap
from .qwen3_next import QWEN3_NEXT
from .state_space import FALCON_H1, MAMBA2
from .torchtitan import TORCHTITAN

MAPS: dict[str, ModelMap] = {
    "llama": LLAMA,
    "qwen3": QWEN3,
    "mixtral": MIXTRAL,
    "qwen3-moe": QWEN3_MOE,
    "gpt2": GPT2,
    "gpt-neox": GPT_NEOX,
    "nanogpt": NANOGPT,
    "mamba2": MAMBA2,
    "falcon-h1": FALCON_H1,
    "qwen3-next": QWEN3_NEXT,
    "torchtitan": TORCHTITAN,
    "megatron": MEGATRON,
}
