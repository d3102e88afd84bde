"""The formats of an export, by the names of the command line."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """Its module and function, loaded when they are asked for: some need torch.

    `whole`: holds all of an export, whatever the model. `dense`: its models have an MLP in every block.
    """

    module: str
    function: str
    whole: bool = False
    dense: bool = False


FORMATS = {
    "yaml": Format("plain", "as_yaml", whole=True),
    "json": Format("plain", "as_json", whole=True),
    "pytorch": Format("pytorch", "as_pytorch"),
    "huggingface": Format("huggingface", "as_hugging_face"),
    "nanogpt": Format("nanogpt", "as_nanogpt", dense=True),
    "torchtitan": Format("torchtitan", "as_torchtitan", dense=True),
    "megatron": Format("megatron", "as_megatron", dense=True),
}
