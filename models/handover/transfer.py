"""The hand-over inside the large run: an export's values as parameter groups, start and multipliers.

Works on any `nn.Module` with nothing but torch and numpy:

    handover = json.load(open("handover.json"))    # mutransfer export DIR ... -f json --out handover.json
    initialize_(model, handover, seed=0)
    optimizer = torch.optim.AdamW(param_groups(model, handover))
    factors = multipliers(handover)                    # "embedding", "residual branch", "readout", ...

A parameter is known by the handover's own name pattern (`blocks.*.mlp.up.weight`), or by a role map of yours,
from name patterns (shell wildcards) to one of its patterns or to a role: {"layers.*.wq.weight": "hidden"}.
Unknown parameters, and patterns that match nothing, are refused: what is silently left out of the groups
is how a transfer fails.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from ..optimizers.registry import BESIDE, OPTIMIZERS
from ..recipe.initial import initial_draw
from ..recipe.role import Role, pattern_of

Handover = Mapping[str, Any]
Roles = Mapping[str, str]
GAINS = {Role.VECTOR, Role.HIDDEN_VECTOR, Role.HIDDEN_SCALAR}
"""Roles of gains, which start at one, and of biases, which start at zero; neither decays."""
ORIGINAL, HELD = ".parametrizations.weight.original", ".parametrizations.weight.0."
"""What torch calls a weight with a parametrization, and what that holds."""


class UnknownParameterError(Exception):
    """The model and the handover do not fit; the message lists the parameters or patterns, and the remedy."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """A parameter of the model with its entry of the handover: by its own pattern, or by its role alone."""

    name: str
    tensor: nn.Parameter
    entry: Mapping[str, Any]
    drawn_as: str  # the name that its first values are drawn by


def param_groups(model: nn.Module, handover: Handover, roles: Roles | None = None) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: `params, lr, weight_decay`, with `eps`, `betas`, `momentum` and
    `nesterov` where they apply.

    `weight_decay` is such that W <- W - lr * weight_decay * W, as in torch's AdamW, is what the sweep
    trained with, whatever its convention; torch's SGD adds its decay to the gradient instead, before the
    momentum. `optimizer`, `role` and `names` are there to be read: a matrix optimizer has groups of its own
    and groups for AdamW. Raises UnknownParameterError.
    """
    groups: dict[tuple[object, ...], dict[str, Any]] = {}
    for each in assigned(model, handover, roles or {}):
        values = _group_values(each.entry, handover)
        key = tuple(sorted((name, str(value)) for name, value in values.items()))
        group = groups.setdefault(key, {"params": [], "names": [], **values})
        group["params"].append(each.tensor)
        group["names"].append(each.name)
    return list(groups.values())


@torch.no_grad()
def initialize_(model: nn.Module, handover: Handover, seed: int, roles: Roles | None = None) -> None:
    """Gives every parameter its first values, in place, as a trial with this seed got them.

    A draw depends on (seed, name, shape) alone, on the CPU, whatever device the parameter is on.
    Raises UnknownParameterError.
    """
    for each in assigned(model, handover, roles or {}):
        tensor, entry = each.tensor, each.entry
        shape = tuple(entry.get("shape") or tensor.shape)
        draw = torch.from_numpy(initial_draw(each.drawn_as, shape, entry["start"], seed))
        std = _init_std(entry, tensor)
        values = draw if std is None else draw * std
        tensor.copy_(values.view(tensor.shape))


def multipliers(handover: Handover) -> dict[str, float]:
    """What the forward pass multiplies by at the target, by site, as `mutransfer rules` names them."""
    return {site: float(value) for site, value in handover["multipliers"].items()}


def assigned(model: nn.Module, handover: Handover, roles: Roles) -> Iterator[Assigned]:
    """Every parameter of the model with its entry. Raises UnknownParameterError."""
    found: list[Assigned] = []
    unknown, unused = [], {*roles}
    for held, tensor in model.named_parameters():  # a tied parameter comes once
        # A multiplier is known by the weight that it multiplies.
        name, weight = _plain_name(held), _multiplied_weight(held)
        asked = weight or name
        patterns = [pattern for pattern in roles if fnmatchcase(asked, pattern)]
        unused -= {*patterns}
        meant = {roles[pattern] for pattern in patterns} or {pattern_of(asked)}
        if len(meant) > 1:
            raise UnknownParameterError(f"{name}: matches several patterns: {', '.join(sorted(patterns))}")
        (one,) = meant
        if weight is not None:
            one = f"{one.removesuffix('.weight')}.{held.rpartition('.')[2]}"
        entry = _entry(one, handover)
        if entry is None:
            unknown.append(name)
        else:
            found.append(Assigned(name, tensor, _fitting(name, tensor, entry), _drawn_as(name, entry)))
    if unknown:
        raise UnknownParameterError(
            f"the handover does not know {', '.join(unknown)}; give each a role or a pattern of it in "
            f"`roles` (roles: {', '.join(handover['roles'])})"
        )
    if unused:
        raise UnknownParameterError(f"no parameter matches {', '.join(sorted(unused))}; mend the role map")
    yield from found


def _plain_name(name: str) -> str:
    """What a parameter of a weight with multipliers (`multiplied`) would be called in our own proxies."""
    return name.replace(ORIGINAL, ".weight").replace(HELD, ".")


def _multiplied_weight(name: str) -> str | None:
    """The weight that a parameter multiplies, by its name in the model; None for any other parameter."""
    module, held, _ = name.partition(HELD)
    return f"{module}.weight" if held else None


def _entry(meant: str, handover: Handover) -> Mapping[str, Any] | None:
    """The values of a name pattern of the handover, or those of a role."""
    if meant in handover["parameters"]:
        return {**handover["parameters"][meant], "pattern": meant}
    if meant not in handover["roles"]:
        return None
    role = handover["roles"][meant]
    return {**role, "role": meant, "start": "ones" if meant in GAINS else "normal"}


def _fitting(name: str, tensor: Tensor, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry, made sure to be of the parameter's shape; axes of length one do not matter."""
    shape = entry.get("shape")
    if shape is not None and [n for n in shape if n > 1] != [n for n in tensor.shape if n > 1]:
        raise UnknownParameterError(
            f"{name}: is {list(tensor.shape)}, but {shape} at the target; export for this model's size"
        )
    if shape is None and (reason := _beyond_a_role(tensor, entry)):
        raise UnknownParameterError(
            f"{name}: the role {entry['role']} does not say how it starts ({reason}); map it to a parameter "
            "of the handover, such as blocks.*.mixer.output.weight"
        )
    if shape is None and len(tensor.shape) == 1 and entry["start"] == "ones" and name.endswith("bias"):
        return {**entry, "start": "zeros"}
    return entry


def _beyond_a_role(tensor: Tensor, entry: Mapping[str, Any]) -> str | None:
    """Why a role alone would give a parameter a start that its handover does not."""
    if entry["role"] == Role.NARROW_VECTOR:
        return "decays and time steps are drawn"
    if entry["role"] in GAINS and sum(extent > 1 for extent in tensor.shape) > 1:
        return "a gain has one axis"
    if entry["role"] == Role.HIDDEN and entry["init"] == "constant":
        return "gpt2 starts the ends of branches smaller"
    return None


def _drawn_as(name: str, entry: Mapping[str, Any]) -> str:
    """The name of its own parameter, wildcards filled with this one's indices in their order."""
    if "pattern" not in entry:
        return name
    indices = iter(part for part in name.split(".") if part.isdigit())
    return ".".join(next(indices, part) if part == "*" else part for part in entry["pattern"].split("."))


def _group_values(entry: Mapping[str, Any], handover: Handover) -> dict[str, Any]:
    rate, decay = entry["learning_rate"], entry["weight_decay"]
    if handover["weight_decay_convention"].startswith("independent"):
        decay = decay / rate if rate else 0.0  # a rate of zero keeps what is frozen
    if entry.get("start") != "normal" and "pattern" not in entry:
        decay = 0.0  # gains and biases do not decay
    values = {"lr": rate, "weight_decay": decay, "optimizer": entry["optimizer"], "role": entry["role"]}
    if entry["epsilon"] is not None:
        values["eps"] = entry["epsilon"]
    hyperparameters = handover["hyperparameters"]
    reads = OPTIMIZERS[entry["optimizer"]].reads
    if OPTIMIZERS[entry["optimizer"]].matrices:
        reads |= OPTIMIZERS[BESIDE].reads - {"epsilon"}
    values |= {name: hyperparameters[name] for name in ("momentum", "nesterov") if name in reads}
    if "beta1" in reads and "momentum" not in reads:
        values["betas"] = (hyperparameters["beta1"], hyperparameters["beta2"])
    return values


def _init_std(entry: Mapping[str, Any], tensor: Tensor) -> float | None:
    if "pattern" in entry:
        std: float | None = entry["init_std"]
        return std
    if entry["start"] != "normal":
        return None
    fan_in = 1 if entry["role"] == Role.INPUT else tensor[0].numel()
    gain: float = entry["init_gain"]
    return gain / fan_in**0.5 if entry["init"] == "fan-in" else gain
