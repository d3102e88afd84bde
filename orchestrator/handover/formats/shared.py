"""What the formats share: the heading, and the words of frameworks for optimizer, decay and schedule."""

import json
from collections.abc import Collection
from dataclasses import dataclass

from ....models.handover.values import Handed, coupled_decay
from ....models.optimizers.registry import OPTIMIZERS
from ....models.recipe.recipe import FIELDS
from ....models.recipe.role import Site, plain_site
from ..fault import ExportError


@dataclass(frozen=True, slots=True)
class Formatted:
    """The text, and what of the export the framework cannot be told."""

    text: str
    lost: tuple[str, ...] = ()


def base_decay(handed: Handed) -> float:
    values = handed["hyperparameters"]
    return coupled_decay(handed, values["weight_decay"], values["learning_rate"])


def heading(handed: Handed) -> str:
    """Comments: where the values are from, what every role gets, and what to mind."""
    comparison, target = handed["evidence"]["comparison"], handed["target"]
    lines = [
        f"{handed['architecture']} {handed['optimizer']} {handed['parametrization']}, "
        f"width {target['width']}, depth {target['depth']}; verdict {comparison['verdict']}",
    ]
    lines += [
        f"{role}: learning rate {entry['learning_rate']:.6g}, weight decay {entry['weight_decay']:.6g}"
        + ("" if entry["epsilon"] is None else f", epsilon {entry['epsilon']:.6g}")
        + (f", gamma {entry['gamma']:.6g}" if "gamma" in entry else "")
        + (f"; by name where it is apart ({entry['apart']})" if "apart" in entry else "")
        for role, entry in handed["roles"].items()
    ]
    lines += [f"weight decay of the roles is {handed['weight_decay_convention']}"]
    lines += [f"multiplier on {site}: {value:.6g}" for site, value in handed["multipliers"].items()]
    lines += [f"{one['severity']}: {one['text']}" for one in handed["warnings"]]
    return "\n".join(f"# {line}" for line in ("mutransfer export: " + lines[0], *lines[1:])) + "\n"


def named(handed: Handed, framework: str) -> str:
    """What a framework calls the optimizer. Raises ExportError where it has none of that kind."""
    optimizer: str = handed["optimizer"]
    name = OPTIMIZERS[optimizer].exported_as.get(framework)
    if name is None:
        raise ExportError(
            f"{framework} is not known to have {optimizer} (known: {', '.join(known(framework))}); export "
            "yaml or json, which hold every value"
        )
    return name


def known(framework: str) -> list[str]:
    """The optimizers that a framework has."""
    return [name for name, declared in OPTIMIZERS.items() if framework in declared.exported_as]


def torch_optimizer(handed: Handed) -> str | None:
    """What torch calls the optimizer, None where its update is another."""
    return OPTIMIZERS[handed["optimizer"]].exported_as.get("torch")


def logits_scale(handed: Handed) -> float:
    """All of the scale of attention logits."""
    sites = handed["multipliers"]
    return next(float(sites[site]) for site in sites if plain_site(site) == Site.ATTENTION)


def embedded(handed: Handed) -> str:
    """What the loader reads, as a Python literal's text."""
    kept = {name: value for name, value in handed.items() if name not in ("evidence", "warnings")}
    return json.dumps(kept, indent=1, allow_nan=False)


def torch_decay(handed: Handed) -> tuple[str, ...]:
    """torch's SGD adds the decay to the gradient, before the momentum; ours shrinks the weights."""
    decays = any(entry["weight_decay"] for entry in handed["roles"].values())
    return (
        ("weight decay of SGD, which is none of the gradient's here",)
        if (handed["optimizer"] == "sgd" and decays)
        else ()
    )


def torch_groups(handed: Handed, groups: str) -> str:
    """Parameter groups as a text gives them to torch's optimizer, without a decay that is left out."""
    return f"[{{**group, 'weight_decay': 0.0}} for group in {groups}]" if torch_decay(handed) else groups


CONVENTIONS = (
    "head_ratio", "gelu", "norm_place", "final_norm", "rotary_base", "rotary_share", "attention_gate",
    "biases", "conv_bias", "state_norm", "norm_before_gate", "fixed_multipliers", "parallel_residual",
)  # fmt: skip
"""Fields that some models of others have and some have not."""


def without(handed: Handed, taken: Collection[str]) -> list[str]:
    """What of the conventions the proxies have, and a model has not that has those `taken`."""
    model, lost = handed["model"], []
    for name in CONVENTIONS:
        field = FIELDS[name]
        idle = field.setting.idle is not None and field.setting.idle(model)
        if name not in taken and not idle and model[name] != field.default:
            lost.append(f"{name}: {model[name]}")
    return lost


def unlike(handed: Handed, taken: Collection[str]) -> tuple[str, ...]:
    """Options of the proxies that no framework's model here has, and conventions beyond those `taken`."""
    model, values = handed["model"], handed["hyperparameters"]
    lost = without(handed, taken)
    if model["mlp"] == "geglu":
        lost.append("a gate of GELU")
    if model["window"] is not None:
        lost.append(f"attention over a window of {model['window']}")
    if not model["causal"]:
        lost.append("attention that reads both ways")
    if model["vectors"] or model["outputs"] is not None:
        lost.append("outputs that are no next token")
    if model["learnable_multipliers"] != "none":
        lost.append(f"learnable multipliers ({model['learnable_multipliers']})")
    if model["negative_eigenvalues"] and "gdn" in model["architecture"]:
        lost.append("negative eigenvalues of the delta rule")
    if not model["output_gate"] and "gdn" in model["architecture"]:
        lost.append("a delta rule without its output gate")
    if values.get("z_loss"):
        lost.append(f"z_loss {values['z_loss']:g}")
    if values.get("dropout"):
        lost.append(f"dropout {values['dropout']:g}")
    return tuple(lost)
