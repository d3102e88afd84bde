"""Arguments of Megatron-LM (main, August 2026), one per line. With --use-mup it scales matrices by itself."""

import math
from collections.abc import Mapping
from typing import Any

from ..export import ExportError
from .shared import Formatted, Handed, base_decay, heading, named, unlike

SAME = 1e-6


def as_megatron(handed: Handed) -> Formatted:
    """Raises ExportError for an optimizer, an architecture or a parametrization that it does not have."""
    name = named(handed, "megatron")
    if handed["parametrization"] not in ("sp", "mup"):
        raise ExportError(
            f"megatron has no {handed['parametrization']} (known: sp, mup); export yaml or json, which hold "
            "every value"
        )
    if handed["architecture"] != "transformer":
        raise ExportError(f"megatron: its GPT is no {handed['architecture']}; export yaml or json")
    arguments = {
        **_shape(handed), **_training(handed, name), **_mup(handed),
    }  # fmt: skip
    lines = [f"--{name} {value}".rstrip() for name, value in arguments.items()]
    return Formatted(heading(handed) + "\n".join(lines) + "\n", (*unlike(handed), *_lost(handed)))


def _shape(handed: Handed) -> dict[str, Any]:
    model, target = handed["model"], handed["target"]
    queries, pairs = model["head_count"], model["kv_head_count"]
    return {
        "num-layers": target["depth"],
        "hidden-size": target["width"],
        "ffn-hidden-size": model["mlp_width"],
        "num-attention-heads": queries,
        "kv-channels": target["head_size"],
        **({"group-query-attention": "", "num-query-groups": pairs} if pairs != queries else {}),
        **({"swiglu": ""} if model["mlp"] == "swiglu" else {}),
        "normalization": {"rmsnorm": "RMSNorm", "layernorm": "LayerNorm"}.get(model["norm"], "RMSNorm"),
        "norm-epsilon": 1e-6,
        **({"qk-layernorm": ""} if model["qk_norm"] else {}),
        "position-embedding-type": {"rotary": "rope", "learned": "learned_absolute"}.get(
            model["positions"], "none"
        ),
        **({} if handed["tied"] else {"untie-embeddings-and-output-weights": ""}),
        "disable-bias-linear": "",
        "attention-dropout": 0.0,
        "hidden-dropout": 0.0,
        "seq-length": target["sequence_length"],
        "max-position-embeddings": target["sequence_length"],
    }


def _training(handed: Handed, optimizer: str) -> dict[str, Any]:
    values, target = handed["hyperparameters"], handed["target"]
    return {
        "global-batch-size": target["batch_size"],
        "train-iters": target["steps"],
        "optimizer": optimizer,
        "lr": values["learning_rate"],
        "min-lr": values["learning_rate"] * values["final_lr"],
        **_schedule(values, target["steps"]),
        "lr-warmup-fraction": values["warmup"],
        "weight-decay": base_decay(handed),
        "clip-grad": values["grad_clip"],
        **{f"adam-{name}": values[name] for name in ("beta1", "beta2") if name in values},
        **({"adam-eps": values["epsilon"]} if "epsilon" in values else {}),
        **({f"{optimizer}-momentum": values["momentum"]} if "momentum" in values else {}),
    }


def _schedule(values: Mapping[str, Any], steps: int) -> dict[str, Any]:
    if values["schedule"] != "wsd":
        return {"lr-decay-style": values["schedule"]}
    iterations = round(values["cooldown"] * steps)
    return {"lr-decay-style": "WSD", "lr-wsd-decay-style": "linear", "lr-wsd-decay-iters": iterations}


def _mup(handed: Handed) -> dict[str, Any]:
    """What Megatron scales matrices by: their standard deviation at the base, and the base.

    Its muP divides attention logits by the head's dimension and multiplies them by the base head's root; it
    divides the standard deviation of hidden matrices by the root of the width over the base's.
    """
    base, target, hidden = handed["base"], handed["target"], handed["roles"]["hidden"]
    std = hidden["init_gain"] / (math.sqrt(target["width"]) if hidden["init"] == "fan-in" else 1.0)
    if handed["parametrization"] == "sp":
        return {"init-method-std": std}
    logits = handed["multipliers"].get("attention logits")
    heads = {} if logits is None else {"mup-base-head-dim": round((logits * target["head_size"]) ** 2)}
    std *= math.sqrt(target["width"] / base["width"])
    return {"use-mup": "", "mup-base-hidden-size": base["width"], **heads, "init-method-std": std}


def _lost(handed: Handed) -> list[str]:
    """What one rate, one decay and one standard deviation for all matrices, and its muP, do not say."""
    lost = []
    if handed["model"]["norm"] == "none":
        lost.append("blocks without norms")
    if handed["hyperparameters"]["init"] == "gpt2":
        lost.append("smaller starts at the ends of branches (init: gpt2)")
    branch = handed["multipliers"]["residual branch"]
    if branch != 1:
        lost.append(f"the multiplier on residual branches, {branch:g}")
    mup = handed["parametrization"] == "mup"
    ratio = handed["base"]["width"] / handed["target"]["width"] if mup else 1.0
    rate = handed["hyperparameters"]["learning_rate"]
    for role, entry in handed["roles"].items():
        theirs = rate * (ratio if role == "hidden" else 1.0)
        if handed["optimizer"] == "adamw" and abs(entry["learning_rate"] / theirs - 1) > SAME:
            lost.append(f"the learning rate of {role}, {entry['learning_rate']:g} (it would be {theirs:g})")
    hidden = handed["roles"]["hidden"]
    coupled = not handed["weight_decay_convention"].startswith("independent")
    shrinks = hidden["weight_decay"] * (hidden["learning_rate"] if coupled else 1.0)
    would = base_decay(handed) * rate * ratio
    if shrinks and abs(shrinks / would - 1) > SAME:
        lost.append(
            f"the decay of hidden matrices, {shrinks:g} a step at the peak (it would be {would:g}: "
            "its decay does not scale with the width)"
        )
    return lost
