"""The export as text: YAML and JSON hold all of it, the others what a framework's own options can hold."""

import io
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from ruamel.yaml import YAML

from ...models.optimizers.registry import OPTIMIZERS
from .export import ExportError

Handed = Mapping[str, Any]


def export_text(handed: Handed, style: str) -> str:
    return TEXTS[style](handed)


def _json(handed: Handed) -> str:
    return json.dumps(handed, indent=1, allow_nan=False) + "\n"


def _yaml(handed: Handed) -> str:
    text = io.StringIO()
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(dict(handed), text)
    return text.getvalue()


def _coupled_decay(handed: Handed, decay: float, rate: float) -> float:
    """What a framework whose AdamW multiplies the decay by the learning rate has to be given."""
    independent = handed["weight_decay_convention"].startswith("independent")
    return decay / rate if independent and rate else decay


def _base_decay(handed: Handed) -> float:
    values = handed["hyperparameters"]
    return _coupled_decay(handed, values["weight_decay"], values["learning_rate"])


def _torchtitan(handed: Handed) -> str:
    """Sections of a torchtitan job file. It has one learning rate: the groups are told in comments."""
    values, target = handed["hyperparameters"], handed["target"]
    warmup = round(values["warmup"] * target["steps"])
    falling = {"cosine": 1 - values["warmup"], "linear": 1 - values["warmup"], "wsd": values.get("cooldown")}
    lines = [
        *_heading(handed),
        "[optimizer]",
        f'name = "{_named(handed, "torchtitan")}"',
        f"lr = {values['learning_rate']!r}",
        *(f"{name} = {values[name]!r}" for name in ("beta1", "beta2") if name in values),
        *([f"eps = {values['epsilon']!r}"] if "epsilon" in values else []),
        *([f"momentum = {values['momentum']!r}"] if "momentum" in values else []),
        f"weight_decay = {_base_decay(handed)!r}",
        "",
        "[lr_scheduler]",
        f"warmup_steps = {warmup}",
        f"decay_ratio = {falling.get(values['schedule'], 0.0)!r}",
        f'decay_type = "{"cosine" if values["schedule"] == "cosine" else "linear"}"',
        f"min_lr_factor = {values['final_lr']!r}",
        "",
        "[training]",
        f"global_batch_size = {target['batch_size']}",
        f"seq_len = {target['sequence_length']}",
        f"steps = {target['steps']}",
        f"max_norm = {values['grad_clip'] or 1e30!r}" + ("" if values["grad_clip"] else "  # off"),
        "",
    ]
    return "\n".join(lines)


def _megatron(handed: Handed) -> str:
    """Megatron-LM arguments, one per line. With --use-mup Megatron scales matrices by itself.

    Raises ExportError for a parametrization that it does not have.
    """
    values, target = handed["hyperparameters"], handed["target"]
    name = _named(handed, "megatron")
    if handed["parametrization"] not in ("sp", "mup"):
        raise ExportError(
            f"megatron has no {handed['parametrization']} (known: sp, mup); export yaml or json, which hold "
            "every value"
        )
    arguments = {
        "hidden-size": target["width"],
        "num-layers": target["depth"],
        "seq-length": target["sequence_length"],
        "global-batch-size": target["batch_size"],
        "train-iters": target["steps"],
        "optimizer": name,
        "lr": values["learning_rate"],
        "min-lr": values["learning_rate"] * values["final_lr"],
        **_megatron_schedule(values, target["steps"]),
        "lr-warmup-fraction": values["warmup"],
        "weight-decay": _base_decay(handed),
        "clip-grad": values["grad_clip"],
        **{f"adam-{name}": values[name] for name in ("beta1", "beta2") if name in values},
        **({"adam-eps": values["epsilon"]} if "epsilon" in values else {}),
        **({f"{name}-momentum": values["momentum"]} if "momentum" in values else {}),
    }
    lines = [*_heading(handed), *(f"--{name} {value}" for name, value in arguments.items())]
    lines += [f"--{name} {value}".rstrip() for name, value in _megatron_mup(handed).items()]
    return "\n".join(lines) + "\n"


def _megatron_mup(handed: Handed) -> dict[str, Any]:
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


def _megatron_schedule(values: Mapping[str, Any], steps: int) -> dict[str, Any]:
    if values["schedule"] != "wsd":
        return {"lr-decay-style": values["schedule"]}
    iterations = round(values["cooldown"] * steps)
    return {"lr-decay-style": "WSD", "lr-wsd-decay-style": "linear", "lr-wsd-decay-iters": iterations}


def _hugging_face(handed: Handed) -> str:
    """Keywords of transformers.TrainingArguments, and optimizer groups by parameter name pattern."""
    values, target = handed["hyperparameters"], handed["target"]
    arguments = {
        "learning_rate": values["learning_rate"],
        "weight_decay": _base_decay(handed),
        **{f"adam_{name}": values[name] for name in ("beta1", "beta2", "epsilon") if name in values},
        "max_grad_norm": values["grad_clip"],
        **_hugging_face_schedule(values, target["steps"]),
        "warmup_steps": round(values["warmup"] * target["steps"]),
        "max_steps": target["steps"],
    }
    groups: dict[tuple[float, float, float | None, str], list[str]] = {}
    for pattern, entry in handed["parameters"].items():
        rate = entry["learning_rate"]
        decay = _coupled_decay(handed, entry["weight_decay"], rate)
        groups.setdefault((rate, decay, entry["epsilon"], entry["optimizer"]), []).append(pattern)
    listed = [
        {"patterns": patterns, "lr": rate, "weight_decay": decay, "optimizer": optimizer}
        | ({} if epsilon is None else {"eps": epsilon})
        for (rate, decay, epsilon, optimizer), patterns in groups.items()
    ]
    return _json({
        "training_arguments": arguments,
        "optimizer_groups": listed,
        "multipliers": handed["multipliers"],
        "warnings": handed["warnings"],
    })  # fmt: skip


def _hugging_face_schedule(values: Mapping[str, Any], steps: int) -> dict[str, Any]:
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


def _heading(handed: Handed) -> list[str]:
    """Comments: where the values are from, what every role gets, and what to mind."""
    comparison, target = handed["evidence"]["comparison"], handed["target"]
    lines = [
        f"# mutransfer export: {handed['architecture']} {handed['optimizer']} {handed['parametrization']}, "
        f"width {target['width']}, depth {target['depth']}; verdict {comparison['verdict']}",
    ]
    lines += [
        f"# {role}: learning rate {entry['learning_rate']:.6g}, weight decay {entry['weight_decay']:.6g}"
        + ("" if entry["epsilon"] is None else f", epsilon {entry['epsilon']:.6g}")
        for role, entry in handed["roles"].items()
    ]
    lines += [f"# weight decay of the roles is {handed['weight_decay_convention']}"]
    lines += [f"# multiplier on {site}: {value:.6g}" for site, value in handed["multipliers"].items()]
    return [*lines, *(f"# warning: {warning}" for warning in handed["warnings"])]


def _named(handed: Handed, framework: str) -> str:
    """What a framework calls the optimizer. Raises ExportError where it has none of that kind."""
    optimizer: str = handed["optimizer"]
    name = OPTIMIZERS[optimizer].exported_as.get(framework)
    if name is None:
        known = ", ".join(o for o, declared in OPTIMIZERS.items() if framework in declared.exported_as)
        raise ExportError(
            f"{framework} is not known to have {optimizer} (known: {known}); export yaml or json, which hold "
            "every value"
        )
    return name


TEXTS: dict[str, Callable[[Handed], str]] = {
    "yaml": _yaml,
    "json": _json,
    "torchtitan": _torchtitan,
    "megatron": _megatron,
    "huggingface": _hugging_face,
}
