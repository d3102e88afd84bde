"""The values of every role and parameter of a model under its recipe: what is handed over to it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ..mixers.attention.declaration import kv_head_count
from ..mixers.mamba2.declaration import state_rows
from ..optimizers.registry import BESIDE, OPTIMIZERS, optimizer_reads
from ..parametrization.registry import PARAMETRIZATIONS
from ..parametrization.rules import GPT2_STD, ParameterRule, forward_multipliers, ratios, rules_by_pattern
from ..recipe.budget import betas, budget_words, budgeted, follows_budget
from ..recipe.recipe import EXPERTS, FIELDS, Recipe, recipe_from_point
from ..recipe.role import EXPERT_ROLES, Role, Site
from ..recipe.shape import Shape

Handed = Mapping[str, Any]
"""A handover as it is read (`handover.Handover`), or the values of one."""
DECAY = {
    "coupled": "coupled: W <- W - learning_rate * (update + weight_decay * W)",
    "independent": "independent: W <- W - learning_rate * update - weight_decay * W",
}
GROWING_FAN_IN = {Role.HIDDEN, Role.OUTPUT, Role.NARROW, Role.ROUTER, *EXPERT_ROLES}
NEEDED = ("parametrization", "optimizer", "learning_rate", "width")
STAND_IN: Mapping[str, Any] = {
    "architecture": "transformer",
    "sequence_length": 1,
    "vocab_size": 2,
    "steps": 1,
    "batch_size": 1,
    "positions": "none",
    "data": "",
}
"""Of a program whose model is not ours: nothing that a role's values depend on."""


def values_of(recipe: Recipe) -> dict[str, Any]:
    """Multipliers by site; learning rate, decay, epsilon, gamma and start by role and by parameter."""
    # Of a role as such: what is frozen or moved apart is told by name.
    usual = rules_by_pattern(replace(recipe, frozen_gains="none", norm_scale=1.0))
    roles = {rule.parameter.role.value: rule for rule in reversed(usual.values())}
    own = rules_by_pattern(recipe)
    apart = {rule.parameter.role.value for name, rule in usual.items() if _step(rule) != _step(own[name])}
    return {
        "tied": recipe.shape.tied,
        "learnable_multipliers": recipe.shape.learnable_multipliers,
        "weight_decay_convention": DECAY[recipe.decay],
        "update_convention": OPTIMIZERS[recipe.optimizer].convention,
        "multipliers": {site.value: value for site, value in forward_multipliers(recipe).items()},
        "roles": {
            role: {**_role(rule, recipe), **({"apart": _apart(recipe)} if role in apart else {})}
            for role, rule in reversed(roles.items())
        },
        "parameters": {pattern: _parameter(rule) for pattern, rule in own.items()},
    }


def _step(rule: ParameterRule) -> tuple[float, float]:
    return rule.learning_rate, rule.weight_decay


def _apart(recipe: Recipe) -> str:
    """What gives some parameters of a role another rate or decay than the rest of it."""
    frozen = [f"frozen_gains {recipe.frozen_gains}"] if recipe.frozen_gains != "none" else []
    moved = [f"norm_scale {recipe.norm_scale:g} of {recipe.norm_scale_of}"] if recipe.norm_scale != 1 else []
    return ", ".join([*frozen, *moved])


def coupled_decay(handover: Handed, decay: float, rate: float) -> float:
    """What an optimizer that multiplies the decay by the learning rate has to be given."""
    if not handover["weight_decay_convention"].startswith("independent"):
        return decay
    return decay / rate if rate else 0.0  # a rate of zero keeps what is frozen


def handover_at(recipe: Recipe) -> dict[str, Any]:
    """The handover of a recipe at its own shape, without evidence."""
    base = recipe.base_shape()
    return {
        "optimizer": recipe.optimizer,
        "parametrization": recipe.parametrization,
        "base": sizes_of(base),
        "target": {**sizes_of(recipe.shape), "head_size": recipe.shape.head_size},
        "model": model_fields(recipe.shape),
        "hyperparameters": {"learning_rate": recipe.learning_rate, **other_hyperparameters(recipe)},
        **values_of(recipe),
    }  # fmt: skip


def model_fields(shape: Shape) -> dict[str, Any]:
    """The architecture in full: the fields of the shape, and the sizes that follow from them."""
    return {
        **asdict(shape),
        "head_count": shape.head_count,
        "kv_head_count": kv_head_count(shape),
        "state_head_count": shape.state_head_count,
        "state_head_size": shape.state_head_size,
        "mlp_width": shape.mlp_width,
        "expert_count": shape.expert_count,
        "chosen_experts": shape.chosen_experts,
        "expert_width": shape.expert_width,
        "state_rows": state_rows(shape),
    }


def sizes_of(shape: Shape) -> dict[str, int]:
    """What the ratios of sizes are of."""
    names = ("width", "depth", *(EXPERTS if shape.experts > 1 else ()))
    return {name: getattr(shape, name) for name in names}


def handover_of(point: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The handover of a training at a point, by role, as the loader (`transfer`) takes it; None and why
    where the point does not say enough. Rules for batch and duration are followed."""
    known = {name: value for name, value in point.items() if name in FIELDS}
    if missing := [name for name in NEEDED if name not in known]:
        return None, f"the trial has no {' and no '.join(missing)}"
    known.setdefault("depth", known.get("base_depth") or 1)
    heads_said = "head_dim" in known or "heads" in known
    if not heads_said:
        known["head_dim"] = 1
    if known.get("experts", 1) > 1:
        # Of these no value of a role depends; a program's may be what our proxies cannot.
        parts = known.get("granularity", 1) * (known.get("base_granularity") or 1)
        known |= {"experts_per_token": 2, "mlp": "gelu", "mlp_ratio": float(parts), "biases": "none"}
    known = {**OPTIMIZERS[known["optimizer"]].defaults, **known}
    try:
        recipe = recipe_from_point({**STAND_IN, **known})
        budget = ("batch_size", "steps") if follows_budget(recipe) else ()
        if missing := [name for name in budget if name not in known]:
            told = f"the trial has no {' and no '.join(missing)}"
            return None, f"{told}, which {budget_words(recipe)} refers to"
        recipe = budgeted(recipe)
    except (TypeError, ValueError) as error:
        return None, str(error)
    values, others = values_of(recipe), other_hyperparameters(recipe)
    if not heads_said:
        del values["multipliers"][Site.ATTENTION.value]
    # What the values of parameters are made with; the rest is the program's own, unless its fields say it.
    of_parameters = {"weight_decay", "init", "init_scale", *optimizer_reads(recipe.optimizer)}
    return {
        "optimizer": recipe.optimizer,
        "parametrization": recipe.parametrization,
        "hyperparameters": {
            "learning_rate": recipe.learning_rate,
            **{name: value for name, value in others.items() if name in known or name in of_parameters},
        },
        **values,
        "target": {name: point[name] for name in ("width", "depth", *EXPERTS) if name in point},
        "parameters": {},  # those of the program's own model are known by their roles
    }, ""


def other_hyperparameters(tuned: Recipe) -> dict[str, Any]:
    """The hyperparameters beside the learning rate that the training reads."""
    names = ["weight_decay", "grad_clip", "schedule", "warmup", "final_lr", "init", "init_scale"]
    names += sorted(optimizer_reads(tuned.optimizer))
    names += ["cooldown"] if tuned.schedule == "wsd" else []
    names += ["balance_loss"] if tuned.shape.experts > 1 else []
    names += [name for name in ("z_loss", "dropout") if getattr(tuned, name)]
    names += [name for name in ("embedding_lr", "readout_lr", "vector_lr") if getattr(tuned, name) != 1]
    if tuned.shape.learnable_multipliers != "none":
        names += ["multiplier_lr", "multiplier_decay", "clip_multipliers", *sorted(optimizer_reads(BESIDE))]
    moved = dict(zip(("beta1", "beta2"), betas(tuned), strict=True))
    return {name: moved.get(name, getattr(tuned, name)) for name in dict.fromkeys(names)}


def _values(rule: ParameterRule) -> dict[str, Any]:
    return {
        "optimizer": rule.optimizer,
        "learning_rate": rule.learning_rate,
        "weight_decay": rule.weight_decay,
        "epsilon": rule.epsilon,
        **({} if rule.gamma is None else {"gamma": rule.gamma}),
        "source": rule.source,
    }


def _role(rule: ParameterRule, recipe: Recipe) -> dict[str, Any]:
    """What a role gets, for any model: its init_std is init_gain / sqrt(fan_in), or init_gain itself."""
    role = rule.parameter.role
    gain = recipe.init_scale * PARAMETRIZATIONS[recipe.parametrization].init[role](ratios(recipe))
    if recipe.init == "gpt2":
        gain *= GPT2_STD
    elif role in GROWING_FAN_IN:
        # The table scales the base's std, which is 1 / sqrt(its fan_in).
        at = ratios(recipe)
        gain *= math.sqrt(at.width / at.granularity if role is Role.EXPERT_OUT else at.width)
    return {**_values(rule), "init": "fan-in" if recipe.init == "fan-in" else "constant", "init_gain": gain}


def _parameter(rule: ParameterRule) -> dict[str, Any]:
    parameter = rule.parameter
    return {
        "role": parameter.role.value,
        "shape": list(parameter.shape),
        "start": parameter.start,
        "init_std": rule.init_std,
        **_values(rule),
        "multiplier": rule.multiplier,
    }
