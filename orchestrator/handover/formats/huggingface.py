"""A Python module for transformers: the model with its configuration, a Trainer with its groups."""

from collections.abc import Callable, Mapping
from typing import Any

from ....models.handover.maps.model_map import ModelMap
from ....models.handover.maps.registry import MAPS
from ....models.handover.values import Handed
from ....models.recipe.role import plain_site
from ..fault import ExportError
from .shared import (
    Formatted,
    base_decay,
    embedded,
    heading,
    known,
    norm_eps,
    torch_decay,
    torch_optimizer,
    unlike,
)

TEXT = '''\
{heading}"""The large run in transformers, handed over by mutransfer:

    from {module} import HandedTrainer, arguments, build_model

    model = build_model(seed=0)
    trainer = HandedTrainer(model, arguments(output_dir="out"), train_dataset=...)
    trainer.train()
"""

import json

import torch
from transformers import {config}, {model}, Trainer, TrainingArguments

from mutransfer.models.handover.maps.registry import MAPS
from mutransfer.models.handover.sites import apply_multipliers_
from mutransfer.models.handover.transfer import initialize_, param_groups

HANDOVER = json.loads(r"""
{handover}
""")
MAP = MAPS[{name!r}]
CONFIGURATION = {configuration}
ARGUMENTS = {arguments}


def build_model(seed: int, **changes: object) -> {model}:
    """With its first values and forward multipliers; `changes` of the configuration are yours."""
    model = {model}({config}(**{{**CONFIGURATION, **changes}}))
    initialize_(model, HANDOVER, seed, MAP.roles)
    apply_multipliers_(model, HANDOVER, MAP.sites_in(HANDOVER))
    return model


class HandedTrainer(Trainer):
    """Every parameter with its own learning rate, weight decay and epsilon."""

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            groups = param_groups(self.model if model is None else model, HANDOVER, MAP.roles)
            self.optimizer = torch.optim.{optimizer}(groups)
        return self.optimizer


def arguments(**others: object) -> TrainingArguments:
    """A batch is {batch_size} sequences of {sequence_length} tokens, over devices and accumulation."""
    return TrainingArguments(**{{**ARGUMENTS, **others}})
'''


def as_hugging_face(handed: Handed) -> Formatted:
    """Raises ExportError for an architecture or an optimizer that transformers and torch do not have."""
    name, ready = _map_of(handed, "transformers")
    _must_take(handed, name, ready)
    optimizer = torch_optimizer(handed)
    if optimizer is None:
        raise ExportError(
            f"huggingface: torch's {handed['optimizer']} is not ours (known: {', '.join(known('torch'))}); "
            "export json and give param_groups to an optimizer of yours"
        )
    model = ready.of.removeprefix("transformers.")
    text = TEXT.format(
        heading=heading(handed),
        module="handover",
        config=model.removesuffix("ForCausalLM").removesuffix("LMHeadModel") + "Config",
        model=model,
        handover=embedded(handed),
        name=name,
        configuration=_literal(CONFIGURATIONS[name](handed)),
        arguments=_literal(_arguments(handed)),
        optimizer=optimizer,
        batch_size=handed["target"]["batch_size"],
        sequence_length=handed["target"]["sequence_length"],
    )
    values = handed["hyperparameters"]
    ends = values["schedule"] == "linear" and values["final_lr"]
    lost = (f"a linear schedule that ends at {values['final_lr']:g} of the peak",) if ends else ()
    return Formatted(text, (*unlike(handed), *torch_decay(handed), *lost))


def _must_take(handed: Handed, name: str, ready: ModelMap) -> None:
    """Raises ExportError for what the loader would refuse on the model."""
    model, why = handed["model"], None
    here = {site for site, value in handed["multipliers"].items() if value != 1}
    if nowhere := sorted(site for site in here if plain_site(site) not in ready.sites):
        why = f"has no place for the multiplier on {', '.join(nowhere)}"
    elif name in ("gpt2", "gpt-neox") and model["kv_head_count"] != model["head_count"]:
        why = "has as many key and value heads as query heads"
    elif name == "qwen3-next" and handed["hyperparameters"]["init"] == "gpt2":
        why = "fuses the gate of its attention with the queries, which init: gpt2 says nothing of"
    elif name in ("mamba2", "falcon-h1") and handed["optimizer"] != "adamw":
        why = "fuses matrices that have rates of their own here"
    if why is not None:
        raise ExportError(f"huggingface: its {name} {why}; export json, which holds every value")


def _map_of(handed: Handed, package: str) -> tuple[str, ModelMap]:
    """The ready map of a model of a package that is like the proxies. Raises ExportError for none."""
    model = handed["model"]
    one_norm = model["final_norm"] in (None, model["norm"])
    for name, ready in MAPS.items():
        if (
            one_norm
            and ready.of.startswith(package)
            and all(model[field] == value for field, value in ready.proxy.items())
        ):
            return name, ready
    told = ", ".join(
        f"{field}: {model[field]}" for field in ("architecture", "mlp", "norm", "final_norm", "positions")
    )
    raise ExportError(
        f"no model of {package} that we know is like the proxies ({told}); docs/conventions.md says which "
        "are; export yaml or json, which hold every value"
    )


def _literal(values: Mapping[str, Any]) -> str:
    lines = "".join(f"    {name!r}: {value!r},\n" for name, value in values.items())
    return "{\n" + lines + "}"


def _common(handed: Handed) -> dict[str, Any]:
    return {
        "vocab_size": handed["model"]["vocab_size"],
        "num_hidden_layers": handed["target"]["depth"],
        "tie_word_embeddings": handed["tied"],
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }


def _heads(handed: Handed) -> dict[str, Any]:
    model = handed["model"]
    return {
        "num_attention_heads": model["head_count"],
        "num_key_value_heads": model["kv_head_count"],
        "head_dim": handed["target"]["head_size"],
    }


def _rotary(handed: Handed) -> dict[str, Any]:
    return {
        **_common(handed),
        "hidden_size": handed["target"]["width"],
        "intermediate_size": handed["model"]["mlp_width"],
        **_heads(handed),
        "max_position_embeddings": handed["target"]["sequence_length"],
        "rms_norm_eps": norm_eps(handed),
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    }


def _gpt2(handed: Handed) -> dict[str, Any]:
    return {
        **_common(handed),
        "n_embd": handed["target"]["width"],
        "n_head": handed["model"]["head_count"],
        "n_inner": handed["model"]["mlp_width"],
        "n_positions": handed["target"]["sequence_length"],
        "activation_function": "gelu",
        "layer_norm_epsilon": norm_eps(handed),
        "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
    }  # fmt: skip


def _gpt_neox(handed: Handed) -> dict[str, Any]:
    return {
        **_common(handed),
        "hidden_size": handed["target"]["width"],
        "intermediate_size": handed["model"]["mlp_width"],
        "num_attention_heads": handed["model"]["head_count"],
        "max_position_embeddings": handed["target"]["sequence_length"],
        "layer_norm_eps": norm_eps(handed),
        "use_parallel_residual": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
    }


def _mamba2(handed: Handed) -> dict[str, Any]:
    model = handed["model"]
    return {
        **_common(handed),
        "hidden_size": handed["target"]["width"],
        "expand": model["expand_v"],
        "head_dim": handed["target"]["head_size"] * model["expand_v"],
        "num_heads": model["head_count"],
        "state_size": model["state_rows"],
        "n_groups": model["state_groups"],
        "conv_kernel": model["conv_size"],
        "use_conv_bias": False,
        "layer_norm_epsilon": norm_eps(handed),
        "time_step_limit": (0.0, 1e9),  # none
        "residual_in_fp32": False,
    }


def _falcon_h1(handed: Handed) -> dict[str, Any]:
    model, width = handed["model"], handed["target"]["width"]
    return {
        **_rotary(handed),
        "mamba_d_ssm": width * model["expand_v"],
        "mamba_d_head": handed["target"]["head_size"] * model["expand_v"],
        "mamba_n_heads": model["head_count"],
        "mamba_d_state": model["state_rows"],
        "mamba_n_groups": model["state_groups"],
        "mamba_d_conv": model["conv_size"],
        "mamba_rms_norm": True,
        "mamba_norm_before_gate": False,
        "mamba_conv_bias": False,
    }


def _qwen3_next(handed: Handed) -> dict[str, Any]:
    model, size, depth = handed["model"], handed["target"]["head_size"], handed["target"]["depth"]
    every = model["attention_every"]
    kinds = ["full_attention" if (n + 1) % every == 0 else "linear_attention" for n in range(depth)]
    return {
        **_rotary(handed),
        "linear_num_key_heads": model["head_count"] // model["values_per_key"],
        "linear_num_value_heads": model["head_count"],
        "linear_key_head_dim": size,
        "linear_value_head_dim": size * model["expand_v"],
        "linear_conv_kernel_dim": model["conv_size"],
        "layer_types": kinds,
        "mlp_only_layers": [*range(depth)],
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
    }


CONFIGURATIONS: dict[str, Callable[[Handed], dict[str, Any]]] = {
    "llama": _rotary,
    "qwen3": _rotary,
    "gpt2": _gpt2,
    "gpt-neox": _gpt_neox,
    "mamba2": _mamba2,
    "falcon-h1": _falcon_h1,
    "qwen3-next": _qwen3_next,
}
"""What the configuration of each model says, by the name of its map."""


def _arguments(handed: Handed) -> dict[str, Any]:
    """Of TrainingArguments: what the groups do not hold."""
    values, target = handed["hyperparameters"], handed["target"]
    return {
        "learning_rate": values["learning_rate"],
        "weight_decay": base_decay(handed),
        **{f"adam_{name}": values[name] for name in ("beta1", "beta2", "epsilon") if name in values},
        "max_grad_norm": values["grad_clip"],
        **_schedule(values, target["steps"]),
        "warmup_steps": round(values["warmup"] * target["steps"]),
        "max_steps": target["steps"],
    }


def _schedule(values: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Their constant schedule has no warm-up, and only a schedule with a minimum ends above zero."""
    match values["schedule"]:
        case "constant":
            return {"lr_scheduler_type": "constant_with_warmup"}
        case "cosine" if values["final_lr"]:
            return {
                "lr_scheduler_type": "cosine_with_min_lr",
                "lr_scheduler_kwargs": {"min_lr_rate": values["final_lr"]},
            }
        case "wsd":
            falling = {
                "num_decay_steps": round(values["cooldown"] * steps),
                "decay_type": "linear",
                "min_lr_ratio": values["final_lr"],
            }
            return {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": falling}
        case schedule:
            return {"lr_scheduler_type": schedule}
