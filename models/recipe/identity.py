"""Which fields a recipe reads: the rest is no part of its identity.

Two points that differ only in what neither reads are one trial. Works on plain values, by field name.
"""

from collections.abc import Mapping
from typing import Any

from .placement import normal_form
from .shape import INTERLEAVED, MIXERS

# Matrix optimizers leave vectors to AdamW and read its fields.
_ADAMW = {"beta1", "beta2", "epsilon"}
_PAIRING = _ADAMW | {"adamw_lr_ratio", "matrices"}
OPTIMIZER_FIELDS: dict[str, set[str]] = {
    "adamw": _ADAMW,
    "sgd": {"momentum", "nesterov"},
    "lion": {"beta1", "beta2"},
    "sophia": _ADAMW | {"gamma", "curvature_every"},
    "muon": _PAIRING | {"momentum", "nesterov"},
    "muon-kimi": _PAIRING | {"momentum", "nesterov"},
    "shampoo": _PAIRING | {"precondition_every"},
    "soap": _PAIRING | {"precondition_every"},
    "spectral-sphere": _PAIRING | {"momentum", "nesterov"},
}
MATRIX_OPTIMIZERS = frozenset(name for name, read in OPTIMIZER_FIELDS.items() if "matrices" in read)
_MIXER_FIELDS: dict[str, set[str]] = {
    "attention": {"positions", "attention_multiplier", "kv_heads", "queries_per_kv", "qk_norm", "window"},
    "gdn": {"expand_v", "conv_size", "values_per_key", "negative_eigenvalues", "output_gate"},
    "mamba2": {"expand_v", "conv_size", "state_size", "state_ratio", "state_groups"},
}
ARCHITECTURE_FIELDS: dict[str, set[str]] = {
    name: set().union(
        *(_MIXER_FIELDS[mixer] for mixer in mixers), {"attention_every"} if name in INTERLEAVED else set()
    )
    for name, mixers in MIXERS.items()
}
# Fields younger than recipe version 1 and the value that all older trials have: left out of the identity
# at that value, so that finished trials keep their ids.
LATER_FIELDS: dict[str, Any] = {
    "kv_heads": None, "queries_per_kv": None, "final_norm": None, "nesterov": True, "decay": "coupled",
    "attention_every": 4, "qk_norm": False, "window": None, "causal": True, "values_per_key": 1,
    "negative_eigenvalues": False, "output_gate": True, "state_size": 16, "state_ratio": None,
    "state_groups": 1, "learnable_multipliers": "none", "outputs": None, "vectors": False,
    "multiplier_lr": 0.01, "multiplier_decay": 0.002, "clip_multipliers": False, "frozen_gains": "none",
    "norm_scale": 1.0, "norm_scale_of": "readout", "dropout": 0.0, "z_loss": 0.0, "cooldown": 0.2,
    "activation_checkpointing": False,
}  # fmt: skip


def read_fields(point: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that decide its result, in a form that is equal for equal trainings."""
    values = {**point}
    multiplied = values["learnable_multipliers"] != "none"
    unread = unread_fields(values["optimizer"], values["architecture"], multiplied)
    unread |= {name for name, idle in _idle(point, multiplied).items() if idle}
    unread |= {name for name, old in LATER_FIELDS.items() if values[name] == old}
    if multiplied:
        values["learnable_multipliers"] = normal_form(values["learnable_multipliers"])
    return {name: value for name, value in values.items() if name not in unread}


def unread_fields(optimizer: str, architecture: str, multiplied: bool) -> set[str]:
    """Fields that recipes of this optimizer and architecture do not read; learnable multipliers are
    AdamW's, whatever the optimizer of the rest."""
    of_optimizer = _others(OPTIMIZER_FIELDS, optimizer) - (_ADAMW if multiplied else set())
    return of_optimizer | _others(ARCHITECTURE_FIELDS, architecture)


def _others(fields_of: Mapping[str, set[str]], chosen: str) -> set[str]:
    """Fields that belong to the alternatives of `chosen` and not to it."""
    return set().union(*fields_of.values()) - fields_of[chosen]


def _idle(point: Mapping[str, Any], multiplied: bool) -> dict[str, bool]:
    """Whether a field does nothing beside the values of others."""
    decays = point["weight_decay"] != 0 or (multiplied and point["multiplier_decay"] != 0)
    return {
        "base_width": point["parametrization"] == "sp",
        "base_depth": point["parametrization"] == "sp",
        "final_lr": point["schedule"] == "constant",
        "cooldown": point["schedule"] != "wsd",
        "decay": not decays,
        "nesterov": point["momentum"] == 0,
        "final_norm": point["final_norm"] == point["norm"],
        "queries_per_kv": point["queries_per_kv"] == 1,
        "window": (point["window"] or 0) >= point["sequence_length"],
        "state_size": point["state_ratio"] is not None,
        "norm_scale_of": point["norm_scale"] == 1,
        "multiplier_lr": not multiplied,
        "multiplier_decay": not multiplied,
        "clip_multipliers": not multiplied,
    }
