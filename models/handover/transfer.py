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

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..optimizers.registry import BESIDE, OPTIMIZERS
from ..recipe.initial import initial_draw
from .assignment import GAINS, Assigned, Roles, Stored, UnknownParameterError, assigned
from .values import Handed, coupled_decay

__all__ = [
    "Roles", "Stored", "UnknownParameterError", "initialize_", "multipliers", "param_groups",
]  # fmt: skip


def param_groups(model: nn.Module, handover: Handed, roles: Roles | None = None) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: `params, lr, weight_decay`, with `eps`, `betas`, `gamma`,
    `momentum` and `nesterov` where they apply.

    `weight_decay` is such that W <- W - lr * weight_decay * W, as in torch's AdamW, is what the sweep
    trained with, whatever its convention; torch's SGD adds its decay to the gradient instead, before the
    momentum. `optimizer`, `role` and `names` are there to be read: a matrix optimizer has groups of its own
    and groups for AdamW. Raises UnknownParameterError.
    """
    groups: dict[tuple[object, ...], dict[str, Any]] = {}
    for each in assigned(model, handover, roles or {}):
        values = group_values(each.entry, handover)
        key = tuple(sorted((name, str(value)) for name, value in values.items()))
        group = groups.setdefault(key, {"params": [], "names": [], **values})
        group["params"].append(each.tensor)
        group["names"].append(each.name)
    return list(groups.values())


@torch.no_grad()
def initialize_(model: nn.Module, handover: Handed, seed: int, roles: Roles | None = None) -> None:
    """Gives every parameter its first values, in place, as a trial with this seed got them.

    A draw depends on (seed, name, shape) alone, on the CPU, whatever device the parameter is on.
    Raises UnknownParameterError.
    """
    each_one = list(assigned(model, handover, roles or {}))
    if empty := [each.name for each in each_one if each.tensor.is_meta]:
        raise UnknownParameterError(
            f"{empty[0]}: has no values, as the model is on meta; model.to_empty(device=...) it first"
        )
    for each in each_one:
        if not each.tensor.requires_grad and not each.tensor.isfinite().all():
            raise UnknownParameterError(
                f"{each.name}: is frozen, and its values are no numbers; give it some"
            )
    for each in each_one:
        if each.entry["start"] != "kept" and each.tensor.requires_grad:  # what is frozen has its values
            _copy(each.tensor, _first_values(each, seed))


def _first_values(each: Assigned, seed: int) -> Tensor:
    """As the model stores them."""
    drawn = []
    for entry, name in each.parts:
        draw = torch.from_numpy(initial_draw(name, _shape(each, entry), entry["start"], seed))
        std = init_std(each, entry)
        drawn.append(draw if std is None else draw * std)
    values = torch.cat(drawn).view(each.shape)
    if each.padding is not None:
        values[each.padding] = 0.0
    return each.turned(values)


def _shape(each: Assigned, entry: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(entry.get("shape") or each.shape)


def _copy(tensor: Tensor, values: Tensor) -> None:
    """Of a tensor that is spread over processes, each takes its part."""
    if hasattr(tensor, "device_mesh"):
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(tensor, DTensor)
        whole = values.to(tensor.device, tensor.dtype)
        values = distribute_tensor(whole, tensor.device_mesh, tensor.placements, src_data_rank=None)
    tensor.copy_(values)


def multipliers(handover: Handed) -> dict[str, float]:
    """What the forward pass multiplies by at the target, by site, as `mutransfer rules` names them."""
    return {site: float(value) for site, value in handover["multipliers"].items()}


def group_values(entry: Mapping[str, Any], handover: Handed) -> dict[str, Any]:
    """What the optimizer's group of a parameter with this entry holds."""
    rate = entry["learning_rate"]
    decay = coupled_decay(handover, entry["weight_decay"], rate)
    if entry["role"] in GAINS and "pattern" not in entry:
        decay = 0.0  # gains and biases do not decay
    values = {"lr": rate, "weight_decay": decay, "optimizer": entry["optimizer"], "role": entry["role"]}
    if entry["epsilon"] is not None:
        values["eps"] = entry["epsilon"]
    if "gamma" in entry:
        values["gamma"] = entry["gamma"]
    hyperparameters = handover["hyperparameters"]
    reads = OPTIMIZERS[entry["optimizer"]].reads
    if OPTIMIZERS[entry["optimizer"]].matrices:
        reads |= OPTIMIZERS[BESIDE].reads - {"epsilon"}
    values |= {name: hyperparameters[name] for name in ("momentum", "nesterov") if name in reads}
    if "beta1" in reads and "momentum" not in reads:
        values["betas"] = (hyperparameters["beta1"], hyperparameters["beta2"])
    return values


def init_std(each: Assigned, entry: Mapping[str, Any]) -> float | None:
    """Of a part of the parameter; None where its start is no draw that is scaled."""
    if "pattern" in entry:
        std: float | None = entry["init_std"]
        return std
    if entry["start"] != "normal":
        return None
    gain: float = entry["init_gain"]
    return gain / each.fan_in**0.5 if entry["init"] == "fan-in" else gain
