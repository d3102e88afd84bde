"""The tables applied to a recipe: the value of every hyperparameter of every parameter."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..architectures.registry import architecture_of
from ..optimizers.registry import BESIDE, OPTIMIZERS
from ..recipe.budget import budget_ratios, budgeted
from ..recipe.inventory import parameters
from ..recipe.placement import MATRIX_ROLES
from ..recipe.recipe import Recipe
from ..recipe.role import Parameter, Role, Site
from ..recipe.shape import Shape
from .power import Ratios
from .registry import PARAMETRIZATIONS
from .row import UpdateTable

MATRICES = {
    "hidden": frozenset(MATRIX_ROLES) - {Role.INPUT, Role.OUTPUT},
    "all": frozenset(MATRIX_ROLES),
}
"""The roles that a matrix optimizer acts on, by the recipe's `matrices`; AdamW takes the others."""

VECTORS = frozenset({Role.VECTOR, Role.HIDDEN_VECTOR, Role.HIDDEN_SCALAR, Role.NARROW_VECTOR})

GPT2_STD = 0.02  # arXiv:1909.08053 and GPT-2's code: every matrix; residual outputs / sqrt(2 depth)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRule:
    """What one parameter gets: absolute values, ready to train with. None: not applicable.

    `weight_decay` follows the recipe's convention, `decay`.
    """

    parameter: Parameter
    optimizer: str
    init_std: float | None
    learning_rate: float
    weight_decay: float
    epsilon: float | None
    gamma: float | None
    multiplier: float
    source: str


def parameter_rules(recipe: Recipe) -> tuple[ParameterRule, ...]:
    """The rule of each parameter of the recipe's proxy. Raises KeyError for a role without a row."""
    recipe = budgeted(recipe)
    base_std = {p.pattern: _base_std(p, recipe.base_shape(), recipe) for p in parameters(recipe.base_shape())}
    sites, of_recipe = forward_multipliers(recipe), parameters(recipe.shape)
    used = {optimizer_of(parameter.role, recipe) for parameter in of_recipe}
    tables = {optimizer: PARAMETRIZATIONS[recipe.parametrization].update(optimizer) for optimizer in used}
    return tuple(_rule(parameter, recipe, base_std, sites, tables) for parameter in of_recipe)


def rules_by_pattern(recipe: Recipe) -> dict[str, ParameterRule]:
    """One rule for all blocks, by name pattern and in forward order: blocks differ in their index alone."""
    found: dict[str, ParameterRule] = {}
    for rule in parameter_rules(recipe):
        found.setdefault(rule.parameter.pattern, rule)
    return found


def optimizer_of(role: Role, recipe: Recipe) -> str:
    """Which optimizer acts on a role: decided by the role alone, never by a size."""
    if role is Role.MULTIPLIER:
        return BESIDE
    takes_it = not OPTIMIZERS[recipe.optimizer].matrices or role in MATRICES[recipe.matrices]
    return recipe.optimizer if takes_it else BESIDE


def forward_multipliers(recipe: Recipe) -> dict[Site, float]:
    """The forward multiplier of every site that the recipe's proxy has."""
    values = architecture_of(recipe.shape).sites(recipe)
    table = PARAMETRIZATIONS[recipe.parametrization].multiplier
    return {site: value * table[site](ratios(recipe)) for site, value in values.items()}


def ratios(recipe: Recipe) -> Ratios:
    """Sizes over those of the base, and batch and tokens where a base of those is given."""
    shape, base = recipe.shape, recipe.base_shape()
    of_shape = Ratios(
        width=shape.width / base.width,
        depth=shape.depth / base.depth,
        experts=shape.experts / base.experts,
        granularity=shape.granularity / base.granularity,
    )
    if not PARAMETRIZATIONS[recipe.parametrization].of_budget:
        return of_shape
    batch, tokens = budget_ratios(recipe)
    return of_shape._replace(batch=batch, tokens=tokens)


def _rule(
    parameter: Parameter,
    recipe: Recipe,
    base_std: Mapping[str, float | None],
    sites: Mapping[Site, float],
    tables: Mapping[str, UpdateTable],
) -> ParameterRule:
    m = ratios(recipe)
    optimizer = optimizer_of(parameter.role, recipe)
    parametrization = PARAMETRIZATIONS[recipe.parametrization]
    update = tables[optimizer][parameter.role]
    rate, decay = _base_update(parameter, optimizer, recipe)
    decay_power = update.weight_decay if recipe.decay == "coupled" else update.independent_decay
    std = base_std[parameter.pattern]
    return ParameterRule(
        parameter=parameter,
        optimizer=optimizer,
        init_std=None if std is None else std * parametrization.init[parameter.role](m),
        learning_rate=rate * update.learning_rate(m),
        weight_decay=decay * decay_power(m) if parameter.decayed else 0.0,
        epsilon=None if update.epsilon is None else recipe.epsilon * update.epsilon(m),
        gamma=None if update.gamma is None else recipe.gamma * update.gamma(m),
        multiplier=_forward_multiplier(parameter, sites),
        source=f"{recipe.parametrization} {optimizer}, {parameter.role}: {update.source}",
    )


def _base_update(parameter: Parameter, optimizer: str, recipe: Recipe) -> tuple[float, float]:
    """Learning rate and weight decay at the base shape."""
    if parameter.role is Role.MULTIPLIER:
        return recipe.multiplier_lr, recipe.multiplier_decay
    if is_frozen(parameter, recipe):
        return 0.0, 0.0
    rate = recipe.learning_rate * _ratio_of(parameter.role, recipe)
    decay = recipe.weight_decay
    if optimizer != recipe.optimizer:
        assert recipe.adamw_lr_ratio is not None, "recipes of matrix optimizers have one"
        rate *= recipe.adamw_lr_ratio
    if is_norm_scaled(parameter, recipe):
        rate *= recipe.norm_scale
        decay /= recipe.norm_scale if recipe.decay == "coupled" else 1.0
    return rate, decay


def _ratio_of(role: Role, recipe: Recipe) -> float:
    """The base learning rate of a role over that of hidden matrices."""
    if role is Role.INPUT:
        return recipe.embedding_lr
    if role is Role.OUTPUT:
        return recipe.readout_lr
    return recipe.vector_lr if role in VECTORS else 1.0


def is_frozen(parameter: Parameter, recipe: Recipe) -> bool:
    """Whether the parameter is a gain that keeps its first value."""
    final = parameter.name.startswith("final_norm.")
    is_gain = parameter.name.endswith(".gain")
    return is_gain and (recipe.frozen_gains == "all" or (recipe.frozen_gains == "final" and final))


def is_norm_scaled(parameter: Parameter, recipe: Recipe) -> bool:
    """Whether the parameter is a matrix of the part whose norm the recipe's `norm_scale` moves."""
    return (
        recipe.norm_scale != 1.0
        and parameter.role in MATRIX_ROLES
        and recipe.norm_scale_of in parameter.name.split(".")
    )


def _base_std(parameter: Parameter, base: Shape, recipe: Recipe) -> float | None:
    """The standard deviation at the base shape; None where the start is not a scaled Gaussian."""
    if parameter.start != "normal":
        return None
    if recipe.init == "gpt2":
        std = GPT2_STD / math.sqrt(2 * base.depth) if parameter.ends_branch else GPT2_STD
    else:
        std = 1.0 / math.sqrt(parameter.fan_in)  # embeddings have fan_in 1: one-hot input
    return recipe.init_scale * std


def _forward_multiplier(parameter: Parameter, sites: Mapping[Site, float]) -> float:
    """The multiplier on what this parameter's layer puts out."""
    if parameter.role is Role.INPUT:
        return sites[Site.EMBEDDING]
    if parameter.role is Role.OUTPUT:
        return sites[Site.READOUT]
    return sites[Site.BRANCH] if parameter.ends_branch else 1.0
