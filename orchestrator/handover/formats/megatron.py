"""Arguments of Megatron-LM (main, August 2026), one per line. With --use-mup it scales matrices by itself."""

import math
from collections.abc import Mapping
from typing import Any

from ....models.handover.values import Handed, coupled_decay
from ....models.recipe.recipe import FIELDS
from ..fault import ExportError
from .shared import Formatted, base_decay, heading, logits_scale, named, torch_decay, unlike

SAME = 1e-6
OF_MUON = ("fused_qkv", "polynomial", "embedding_lr", "readout_lr", "vector_lr")
TAKEN = frozenset({"head_ratio", "rotary_base", "rotary_share"})


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
    return Formatted(heading(handed) + "\n".join(lines) + "\n", (*unlike(handed, TAKEN), *_lost(handed)))


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
        "norm-epsilon": model["norm_eps"],
        **({"qk-layernorm": ""} if model["qk_norm"] else {}),
        "position-embedding-type": {"rotary": "rope", "learned": "learned_absolute"}.get(
            model["positions"], "none"
        ),
        **({"rotary-base": round(model["rotary_base"])} if model["positions"] == "rotary" else {}),
        **({"rotary-percent": model["rotary_share"]} if model["rotary_share"] != 1 else {}),
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
        "weight-decay": 0.0 if torch_decay(handed) else base_decay(handed),
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
    base, target, sites = handed["base"], handed["target"], handed["multipliers"]
    embedding = {"embedding-init-method-std": handed["parameters"]["embedding.weight"]["init_std"]}
    if handed["parametrization"] == "sp":
        return {"init-method-std": _base_std(handed), **embedding}
    heads = (logits_scale(handed) * target["head_size"]) ** 2
    return {
        "use-mup": "",
        "mup-base-hidden-size": base["width"],
        "mup-base-head-dim": round(heads) if math.isclose(heads, round(heads)) else heads,
        "mup-embedding-mult": sites["embedding"],
        "mup-output-mult": sites["readout"],
        "init-method-std": _base_std(handed),
        **embedding,
    }


def _base_std(handed: Handed) -> float:
    """Of a hidden matrix of as many inputs as the width, at the width that its muP scales from."""
    hidden, width = handed["roles"]["hidden"], handed["target"]["width"]
    std: float = hidden["init_gain"] / (math.sqrt(width) if hidden["init"] == "fan-in" else 1.0)
    return std * (math.sqrt(width / handed["base"]["width"]) if handed["parametrization"] == "mup" else 1.0)


def _lost(handed: Handed) -> list[str]:
    """What one rate, one decay, one epsilon and one standard deviation for all, and its muP, do not say."""
    lost = [*torch_decay(handed)]
    if handed["model"]["norm"] == "none":
        lost.append("blocks without norms")
    if handed["optimizer"] == "muon":
        lost.append(
            "muon as it is here: the scale of its update, Nesterov's momentum, the rate of AdamW beside it"
        )
        values = handed["hyperparameters"]
        lost += [f"{n}: {values[n]}" for n in OF_MUON if n in values and values[n] != FIELDS[n].default]
    return [*lost, *_lost_multipliers(handed), *_lost_starts(handed), *_lost_rates(handed)]


def _lost_multipliers(handed: Handed) -> list[str]:
    sites, mup = handed["multipliers"], handed["parametrization"] == "mup"
    theirs = {"residual branch": 1.0}
    if not mup:
        theirs |= {"embedding": 1.0, "readout": 1.0}
    lost = [
        f"the multiplier on {site}, {sites[site]:g}" for site, one in theirs.items() if sites[site] != one
    ]
    usual = handed["target"]["head_size"] ** -0.5
    if not mup and not math.isclose(logits_scale(handed), usual):
        lost.append(f"the scale of attention logits, {logits_scale(handed):g} (it would be {usual:g})")
    return lost


def _lost_starts(handed: Handed) -> list[str]:
    """Ends of branches start smaller there by the root of twice the depth, all else alike."""
    target, mup = handed["target"], handed["parametrization"] == "mup"
    shrunk = math.sqrt(handed["base"]["width"] / target["width"]) if mup else 1.0
    lost = []
    for pattern, entry in handed["parameters"].items():
        if entry["start"] != "normal" or entry["role"] == "input":
            continue
        theirs = _base_std(handed) * (1.0 if entry["role"] == "output" else shrunk)
        if pattern.endswith(("mixer.output.weight", "mlp.down.weight")):
            theirs /= math.sqrt(2 * target["depth"])
        if not math.isclose(entry["init_std"], theirs, rel_tol=SAME):
            lost.append(f"the start of {pattern}, {entry['init_std']:.4g} (it would be {theirs:.4g})")
    return lost


def _lost_rates(handed: Handed) -> list[str]:
    mup, rate = handed["parametrization"] == "mup", handed["hyperparameters"]["learning_rate"]
    ratio = handed["base"]["width"] / handed["target"]["width"] if mup else 1.0
    lost = []
    for role, entry in handed["roles"].items() if handed["optimizer"] != "muon" else ():
        theirs = rate * (ratio if role == "hidden" else 1.0)
        if not math.isclose(entry["learning_rate"], theirs, rel_tol=SAME):
            lost.append(f"the learning rate of {role}, {entry['learning_rate']:g} (it would be {theirs:g})")
    lost += [
        f"the learning rate and decay of {pattern}, {own['learning_rate']:g} and {own['weight_decay']:g} "
        f"({role['apart']})"
        for pattern, own in handed["parameters"].items()
        if "apart" in (role := handed["roles"].get(own["role"], {}))
        and any(own[value] != role[value] for value in ("learning_rate", "weight_decay"))
    ]
    epsilon = handed["hyperparameters"].get("epsilon")
    others = [role for role, entry in handed["roles"].items() if entry["epsilon"] not in (None, epsilon)]
    if others:
        lost.append(f"the epsilon of {', '.join(others)}")
    hidden = handed["roles"]["hidden"]
    shrinks = coupled_decay(handed, hidden["weight_decay"], hidden["learning_rate"]) * hidden["learning_rate"]
    would = base_decay(handed) * rate * ratio
    if shrinks and not math.isclose(shrinks, would, rel_tol=SAME):
        lost.append(
            f"the decay of hidden matrices, {shrinks:g} a step at the peak (it would be {would:g}: "
            "its decay does not scale with the width)"
        )
    return lost
