"""Learnable multipliers (arXiv:2601.04890) on the matrices of any `nn.Module`, by a handover.

    add_multipliers_(model, handover, roles)      # before the parameter groups are made
    ...                                       # train; they are parameters like others, of the role's group
    merge_multipliers_(model)                 # the same function without them: nothing is left at inference

They are torch parametrizations of the modules' weights, so that the model's own code stays as it is.
"""

from typing import get_args

import torch
from torch import nn
from torch.nn.utils import parametrize

from ..mixers.mixer import Kind
from .assignment import Roles, UnknownParameterError, assigned
from .names import owners
from .scaled_weight import Multiplied
from .values import Handed


def add_multipliers_(model: nn.Module, handover: Handed, roles: Roles | None = None) -> None:
    """Gives every matrix its multipliers of the handover, in place. `roles` as for `param_groups`.

    Raises UnknownParameterError for a parameter that the handover does not know, and for a matrix with
    multipliers that two modules share.
    """
    names = owners(model)
    for entry in assigned(model, handover, roles or {}):
        pattern = str(entry.entry.get("pattern", ""))
        kinds = [
            kind
            for kind in get_args(Kind)
            if f"{pattern.removesuffix('.weight')}.{kind}" in handover["parameters"]
        ]
        if not kinds or not pattern.endswith(".weight"):
            continue
        if len(names[id(entry.tensor)]) > 1:
            raise UnknownParameterError(
                f"{entry.name}: is shared by {', '.join(names[id(entry.tensor)])}; untie it, or sweep "
                "without multipliers on it"
            )
        owner, _, leaf = entry.name.rpartition(".")
        if leaf != "weight":
            raise UnknownParameterError(
                f"{entry.name}: multipliers go onto a module's weight, such as nn.Linear's; put it into one"
            )
        module = model.get_submodule(owner)
        parametrize.register_parametrization(module, "weight", Multiplied(entry.tensor.detach(), kinds))


@torch.no_grad()
def merge_multipliers_(model: nn.Module) -> None:
    """Puts every multiplier into its weight, in place: the outputs stay what they are."""
    for module in list(model.modules()):
        held = getattr(module, "parametrizations", {})
        if "weight" in held and isinstance(held["weight"][0], Multiplied):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
