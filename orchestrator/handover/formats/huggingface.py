"""A Python module for transformers: the model with its configuration, a Trainer with its groups."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ....models.handover.maps.model_map import ModelMap
from ....models.handover.maps.registry import MAPS
from ....models.handover.values import Handed
from ....models.recipe.fixed import constants
from ....models.recipe.role import plain_site
from ..fault import ExportError
from .shared import (
    CONVENTIONS,
    Formatted,
    base_decay,
    embedded,
    heading,
    known,
    torch_decay,
    torch_groups,
    torch_optimizer,
    unlike,
    without,
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
            self.optimizer = torch.optim.{optimizer}({groups})
        return self.optimizer


def arguments(**others: object) -> TrainingArguments:
    """A batch is {batch_size} sequences of {sequence_length} tokens, over devices and accumulation."""
    return TrainingArguments(**{{**ARGUMENTS, **others}})
'''


def as_hugging_face(handed: Handed) -> Formatted:
    """Raises ExportError for an architecture or an optimizer that transformers and torch do not have."""
    name, model, configuration = described(handed)
    if name in ("mamba2", "falcon-h1") and handed["optimizer"] != "adamw":
        raise ExportError(
            f"huggingface: its {name} fuses matrices that have rates of their own here; export json, which "
            "holds every value"
        )
    optimizer = torch_optimizer(handed)
    if optimizer is None:
        raise ExportError(
            f"huggingface: torch's {handed['optimizer']} is not ours (known: {', '.join(known('torch'))}); "
            "export json and give param_groups to an optimizer of yours"
        )
    text = TEXT.format(
        heading=heading(handed),
        module="handover",
        config=configuration_class(model),
        model=model,
        handover=embedded(handed),
        name=name,
        configuration=_literal(configuration),
        arguments=_literal(_arguments(handed)),
        optimizer=optimizer,
        groups=torch_groups(handed, "groups"),
        batch_size=handed["target"]["batch_size"],
        sequence_length=handed["target"]["sequence_length"],
    )
    values = handed["hyperparameters"]
    ends = values["schedule"] == "linear" and values["final_lr"]
    lost = (f"a linear schedule that ends at {values['final_lr']:g} of the peak",) if ends else ()
    return Formatted(text, (*unlike(handed, CONVENTIONS), *torch_decay(handed), *lost))


def described(handed: Handed) -> tuple[str, str, dict[str, Any]]:
    """The model that is like the proxies: the name of its map, its class in transformers, and what its
    configuration says. Raises ExportError where there is none."""
    name, ready = _map_of(handed, "transformers")
    _must_take(handed, name, ready)
    return name, ready.of.removeprefix("transformers."), CONFIGURATIONS[name](handed)


def configuration_class(model: str) -> str:
    return model.removesuffix("ForCausalLM").removesuffix("LMHeadModel") + "Config"


ROTARY = {"head_ratio", "rotary_base"}
TAKEN: Mapping[str, Collection[str]] = {
    "llama": {*ROTARY, "biases"},
    "qwen3": ROTARY,
    "mixtral": ROTARY,
    "qwen3-moe": ROTARY,
    "gpt2": {"gelu", "biases"},
    "gpt-neox": {"gelu", "biases", "rotary_base", "rotary_share", "parallel_residual"},
    "mamba2": {"head_ratio", "conv_bias"},
    "falcon-h1": {*ROTARY, "biases", "conv_bias", "state_norm", "norm_before_gate", "fixed_multipliers"},
    "qwen3-next": {*ROTARY, "rotary_share", "attention_gate"},
}
"""The conventions that the configuration of each model can say, by the name of its map."""
BIASED = {"llama": "all", "falcon-h1": "all", "gpt2": "all", "gpt-neox": "all"}


def _must_take(handed: Handed, name: str, ready: ModelMap) -> None:
    """Raises ExportError for what the loader would refuse on the model."""
    model, why = handed["model"], None
    other = without(handed, TAKEN[name])
    here = {site for site, value in handed["multipliers"].items() if value != 1}
    if nowhere := sorted(site for site in here if plain_site(site) not in ready.sites):
        why = f"has no place for the multiplier on {', '.join(nowhere)}"
    elif name in ("gpt2", "gpt-neox") and model["kv_head_count"] != model["head_count"]:
        why = "has as many key and value heads as query heads"
    elif name == "mamba2" and _inner(model) % model["width"]:
        why = "expands the width by whole numbers"
    elif other:
        why = f"has no {', no '.join(other)}"
    elif model["biases"] != "none" and model["biases"] != BIASED.get(name):
        why = f"has no biases: {model['biases']}"
    elif name == "qwen3-next" and handed["hyperparameters"]["init"] == "gpt2" and not model["attention_gate"]:
        why = "fuses the gate of its attention with the queries, which init: gpt2 says nothing of"
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
            and all(
                _alike(field, model[field], value) for field, value in {"experts": 1, **ready.proxy}.items()
            )
        ):
            return name, ready
    fields = ("architecture", "mlp", "experts", "norm", "final_norm", "positions")
    told = ", ".join(f"{field}: {model[field]}" for field in fields)
    raise ExportError(
        f"no model of {package} that we know is like the proxies ({told}); docs/conventions.md says which "
        "are; export yaml or json, which hold every value"
    )


def _alike(field: str, ours: object, theirs: object) -> bool:
    """A map with experts is for any number of them."""
    return (ours == 1) == (theirs == 1) if field == "experts" else ours == theirs


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
        "rms_norm_eps": handed["model"]["norm_eps"],
        "rope_parameters": _rope(handed),
        **({"attention_bias": True, "mlp_bias": True} if handed["model"]["biases"] == "all" else {}),
    }


def _mixtral(handed: Handed) -> dict[str, Any]:
    model = handed["model"]
    return {
        **_rotary(handed),
        "intermediate_size": model["expert_width"],
        "num_local_experts": model["expert_count"],
        **_routed(handed),
    }


def _qwen3_moe(handed: Handed) -> dict[str, Any]:
    model = handed["model"]
    return {
        **_rotary(handed),
        "moe_intermediate_size": model["expert_width"],
        "num_experts": model["expert_count"],
        "norm_topk_prob": True,
        "mlp_only_layers": [],
        **_routed(handed),
    }


def _routed(handed: Handed) -> dict[str, Any]:
    """Theirs is the cost of all of a token's experts, ours of their average."""
    chosen, weight = handed["model"]["chosen_experts"], handed["hyperparameters"]["balance_loss"]
    return {
        "num_experts_per_tok": chosen,
        "output_router_logits": weight > 0,
        "router_aux_loss_coef": weight / chosen,
    }


def _rope(handed: Handed) -> dict[str, Any]:
    model = handed["model"]
    share = {"partial_rotary_factor": model["rotary_share"]}
    return {"rope_type": "default", "rope_theta": model["rotary_base"], **share}


def _gelu(handed: Handed) -> str:
    return "gelu_new" if handed["model"]["gelu"] == "tanh" else "gelu"


def _gpt2(handed: Handed) -> dict[str, Any]:
    return {
        **_common(handed),
        "n_embd": handed["target"]["width"],
        "n_head": handed["model"]["head_count"],
        "n_inner": handed["model"]["mlp_width"],
        "n_positions": handed["target"]["sequence_length"],
        "activation_function": _gelu(handed),
        "layer_norm_epsilon": handed["model"]["norm_eps"],
        "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
    }  # fmt: skip


def _gpt_neox(handed: Handed) -> dict[str, Any]:
    return {
        **_common(handed),
        "hidden_size": handed["target"]["width"],
        "intermediate_size": handed["model"]["mlp_width"],
        "num_attention_heads": handed["model"]["head_count"],
        "max_position_embeddings": handed["target"]["sequence_length"],
        "layer_norm_eps": handed["model"]["norm_eps"],
        "use_parallel_residual": handed["model"]["parallel_residual"],
        "hidden_act": _gelu(handed),
        "rope_parameters": _rope(handed),
    }


def _inner(model: Mapping[str, Any]) -> int:
    """Coordinates of a state space's heads together."""
    found: int = model["state_head_count"] * model["state_head_size"] * model["expand_v"]
    return found


def _mamba2(handed: Handed) -> dict[str, Any]:
    model = handed["model"]
    return {
        **_common(handed),
        "hidden_size": handed["target"]["width"],
        "expand": _inner(model) // model["width"],
        "head_dim": model["state_head_size"] * model["expand_v"],
        "num_heads": model["state_head_count"],
        "state_size": model["state_rows"],
        "n_groups": model["state_groups"],
        "conv_kernel": model["conv_size"],
        "use_conv_bias": model["conv_bias"],
        "layer_norm_epsilon": handed["model"]["norm_eps"],
        "time_step_limit": (0.0, 1e9),  # none
        "residual_in_fp32": False,
    }


def _falcon_h1(handed: Handed) -> dict[str, Any]:
    model = handed["model"]
    size = model["state_head_size"] * model["expand_v"]
    return {
        **_rotary(handed),
        "mamba_d_ssm": model["state_head_count"] * size,
        "mamba_d_head": size,
        "mamba_n_heads": model["state_head_count"],
        "mamba_d_state": model["state_rows"],
        "mamba_n_groups": model["state_groups"],
        "mamba_d_conv": model["conv_size"],
        "mamba_rms_norm": model["state_norm"],
        "mamba_norm_before_gate": model["norm_before_gate"],
        "mamba_conv_bias": model["conv_bias"],
        **_falcon_multipliers(model["fixed_multipliers"]),
    }


def _falcon_multipliers(text: str) -> dict[str, Any]:
    """Raises ExportError for a constant that it has no place for."""
    told = {**constants(text)}
    found = {
        "key_multiplier": told.pop("attention.key", 1.0),
        "attention_out_multiplier": told.pop("attention.output", 1.0),
        "mlp_multipliers": [told.pop(f"mlp.{name}", 1.0) for name in ("gate", "down")],
        "ssm_out_multiplier": told.pop("mamba2.output", 1.0),
        "ssm_multipliers": [told.pop(f"mamba2.{name}", 1.0) for name in ("z", "x", "b", "c", "dt")],
    }
    if told:
        raise ExportError(
            f"huggingface: its falcon-h1 has no place for the multipliers {', '.join(told)}; export json, "
            "which holds every value"
        )
    return found


def _qwen3_next(handed: Handed) -> dict[str, Any]:
    model, depth = handed["model"], handed["target"]["depth"]
    heads, size = model["state_head_count"], model["state_head_size"]
    every = model["attention_every"]
    kinds = ["full_attention" if (n + 1) % every == 0 else "linear_attention" for n in range(depth)]
    return {
        **_rotary(handed),
        "linear_num_key_heads": heads // model["values_per_key"],
        "linear_num_value_heads": heads,
        "linear_key_head_dim": size,
        "linear_value_head_dim": size * model["expand_v"],
        "linear_conv_kernel_dim": model["conv_size"],
        "layer_types": kinds,
        "mlp_only_layers": [*range(depth)],
    }


CONFIGURATIONS: dict[str, Callable[[Handed], dict[str, Any]]] = {
    "llama": _rotary,
    "qwen3": _rotary,
    "mixtral": _mixtral,
    "qwen3-moe": _qwen3_moe,
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
