"""How base values follow batch and duration: rules that can be chosen, each with its source.

m_B = batch / base batch and m_T = tokens / base tokens, of sequences of one length. A rule moves base values,
so that it holds for every parameter, in every parametrization.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..parametrization.power import Ratios
from ..parametrization.registry import PARAMETRIZATIONS

if TYPE_CHECKING:
    from .recipe import Recipe

NO_RULES = "none"
JOINT = "+"


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """`apply(measured, large)` is the fields of the large run that it `moves`, from those that were measured.

    `optimizer`: the one that it was derived for, None where it holds for all. `of_duration`: whether the
    learning rate follows the duration, too.
    """

    name: str
    moves: tuple[str, ...]
    what: str
    source: str
    apply: "Callable[[Recipe, Recipe], dict[str, float]]"
    optimizer: str | None = None
    of_duration: bool = False


def tokens_of(recipe: "Recipe") -> int:
    """That it trains on."""
    return recipe.steps * recipe.batch_size * recipe.shape.sequence_length


def batch_ratio(measured: "Recipe", large: "Recipe") -> float:
    """m_B, in tokens."""
    theirs, ours = (one.batch_size * one.shape.sequence_length for one in (large, measured))
    return theirs / ours


def tokens_ratio(measured: "Recipe", large: "Recipe") -> float:
    """m_T."""
    return tokens_of(large) / tokens_of(measured)


def budget_ratios(recipe: "Recipe") -> tuple[float, float]:
    """m_B and m_T of a recipe and its base. Raises ValueError, naming the field, without one."""
    for name in ("batch_size", "steps"):
        if getattr(recipe, f"base_{name}") is None:
            raise ValueError(f"base.{name}: is missing; {budget_words(recipe)} refers to it")
    assert recipe.base_batch_size is not None and recipe.base_steps is not None
    batch, steps = recipe.batch_size / recipe.base_batch_size, recipe.steps / recipe.base_steps
    return batch, batch * steps


def _batch_sqrt(measured: "Recipe", large: "Recipe") -> dict[str, float]:
    return {"learning_rate": large.learning_rate * math.sqrt(batch_ratio(measured, large))}


def _batch_linear(measured: "Recipe", large: "Recipe") -> dict[str, float]:
    return {"learning_rate": large.learning_rate * batch_ratio(measured, large)}


def _noise(measured: "Recipe", large: "Recipe") -> dict[str, float]:
    """Averages over as many tokens as at the base; epsilon in the size of a gradient with less noise."""
    return _averages(measured, batch_ratio(measured, large))


def _complete(measured: "Recipe", large: "Recipe") -> dict[str, float]:
    """Averages over the same share of the run, so that all of a run follows from how many steps it has."""
    ratio = batch_ratio(measured, large) / tokens_ratio(measured, large)
    rate = large.learning_rate * math.sqrt(ratio)
    decay = _time_scale(measured, replace(large, learning_rate=rate))
    return {"learning_rate": rate, **_averages(measured, ratio), **decay}


def _averages(measured: "Recipe", ratio: float) -> dict[str, float]:
    return {
        "beta1": _scaled(measured.beta1, ratio),
        "beta2": _scaled(measured.beta2, ratio),
        "epsilon": measured.epsilon / math.sqrt(ratio),
    }


def _scaled(beta: float, ratio: float) -> float:
    """With 1 - beta times the ratio; written so that a ratio of 1 changes no bit."""
    return beta - (ratio - 1.0) * (1.0 - beta)


def _time_scale(measured: "Recipe", large: "Recipe") -> dict[str, float]:
    """1 / (learning rate x decay) steps stay the same share of the run, so that the weights forget alike."""
    shrink = measured.steps / large.steps
    if measured.decay == "coupled":  # by the learning rate, which has moved
        shrink *= measured.learning_rate / large.learning_rate
    return {"weight_decay": measured.weight_decay * shrink}


def _warmup_tokens(measured: "Recipe", large: "Recipe") -> dict[str, float]:
    """As many tokens as at the base, not as large a share of the run."""
    return {"warmup": measured.warmup / tokens_ratio(measured, large)}


RATE, AVERAGES = ("learning_rate",), ("beta1", "beta2", "epsilon")
MOVED = (*RATE, *AVERAGES, "weight_decay", "warmup")
"""The fields that rules move."""
BUDGET_RULES: dict[str, BudgetRule] = {
    rule.name: rule
    for rule in (
        BudgetRule("batch-sqrt", RATE, "learning rate", "Malladi et al., arXiv:2205.10287", _batch_sqrt),
        BudgetRule("batch-linear", RATE, "learning rate", "Goyal et al., arXiv:1706.02677", _batch_linear),
        BudgetRule(
            "complete-d",
            (*RATE, *AVERAGES, "weight_decay"),
            "learning rate, betas, epsilon and weight decay",
            "Mlodozeniec et al., arXiv:2512.22382, table 1",
            _complete,
            "adamw",
            of_duration=True,
        ),
        BudgetRule(
            "decay-timescale",
            ("weight_decay",),
            "weight decay",
            "Wang and Aitchison, arXiv:2405.13698",
            _time_scale,
        ),
        BudgetRule(
            "warmup-tokens",
            ("warmup",),
            "warm-up",
            "as many tokens of warm-up as at the proxies",
            _warmup_tokens,
        ),
        BudgetRule(
            "adam-sde", AVERAGES, "betas and epsilon", "Malladi et al., arXiv:2205.10287", _noise, "adamw"
        ),
    )
}
"""Those that move the learning rate first: what a decay is follows from it. Of several that are chosen
together, no two move the same field."""


def chosen_rules(names: str) -> list[BudgetRule]:
    """The rules of `one+another`. Raises ValueError, without a field's name, for what is none."""
    if names == NO_RULES:
        return []
    given = names.split(JOINT)
    if unknown := [name for name in given if name not in BUDGET_RULES]:
        what = f"one of {', '.join(BUDGET_RULES)}, joined by {JOINT}, or {NO_RULES} alone"
        raise ValueError(f"{unknown[0]!r} is not {what}")
    if given != (usual := [name for name in BUDGET_RULES if name in given]):
        raise ValueError(f"{names} is written {JOINT.join(usual)}")
    rules = [BUDGET_RULES[name] for name in given]
    must_differ(rules)
    return rules


def must_differ(rules: "list[BudgetRule]") -> None:
    """Raises ValueError, without a field's name, where two rules move the same field."""
    movers: dict[str, str] = {}
    for rule in rules:
        for field in rule.moves:
            if field in movers:
                raise ValueError(f"{movers[field]} and {rule.name} both move {field}; keep one of the two")
            movers[field] = rule.name


def has_rules(recipe: "Recipe") -> bool:
    return recipe.budget_rules != NO_RULES or recipe.horizon_exponent != 0


def follows_budget(recipe: "Recipe") -> bool:
    """Whether its values follow batch and tokens: by rules, or by its parametrization."""
    return has_rules(recipe) or PARAMETRIZATIONS[recipe.parametrization].of_budget


def budget_words(recipe: "Recipe") -> str:
    """What it follows."""
    told = [recipe.parametrization] if PARAMETRIZATIONS[recipe.parametrization].of_budget else []
    told += [recipe.budget_rules] if recipe.budget_rules != NO_RULES else []
    told += [f"horizon_exponent {recipe.horizon_exponent:g}"] if recipe.horizon_exponent else []
    return " and ".join(told)


def betas(recipe: "Recipe") -> tuple[float, float]:
    """beta1 and beta2 by the recipe's parametrization, which few move."""
    table = PARAMETRIZATIONS[recipe.parametrization]
    if not table.of_budget:
        return recipe.beta1, recipe.beta2
    ratios = Ratios(1.0, 1.0, *budget_ratios(recipe))
    return _scaled(recipe.beta1, table.beta1(ratios)), _scaled(recipe.beta2, table.beta2(ratios))


def _must_be_betas(recipe: "Recipe") -> None:
    for name, value in zip(("beta1", "beta2"), betas(recipe), strict=True):
        if not 0 <= value < 1:
            raise ValueError(
                f"parametrization: {recipe.parametrization} does not hold as far from base.batch_size and "
                f"base.steps as batch_size {recipe.batch_size} and steps {recipe.steps}, where {name} is "
                f"{value:.4g}"
            )


def budgeted(recipe: "Recipe", sequence_length: int | None = None) -> "Recipe":
    """The recipe with the base values that its rules give at its batch and duration, and without the rules.
    The base has sequences of the recipe's length, or of this one.

    Raises ValueError, naming the field, for rules that there are not, that do not go together, that need a
    base which is not given, and whose values are impossible so far from it.
    """
    try:
        rules = chosen_rules(recipe.budget_rules)
    except ValueError as error:
        raise ValueError(f"budget_rules: {error}") from None
    if PARAMETRIZATIONS[recipe.parametrization].of_budget:
        if has_rules(recipe):
            told = f"{recipe.parametrization} follows batch and tokens itself"
            raise ValueError(f"budget_rules: {told}; give none, and horizon_exponent 0")
        _must_be_betas(recipe)
    if not has_rules(recipe):
        return recipe
    for rule in rules:
        if rule.optimizer not in (None, recipe.optimizer):
            told = f"{rule.name} was derived for {rule.optimizer}, not for {recipe.optimizer}"
            raise ValueError(f"budget_rules: {told}")
    if recipe.horizon_exponent and (both := [rule.name for rule in rules if rule.of_duration]):
        raise ValueError(f"horizon_exponent: {both[0]} follows the duration already; give 0")
    budget_ratios(recipe)
    assert recipe.base_batch_size is not None and recipe.base_steps is not None
    large = replace(recipe, budget_rules=NO_RULES, horizon_exponent=0.0)
    measured = replace(large, batch_size=recipe.base_batch_size, steps=recipe.base_steps)
    if sequence_length is not None:
        measured = replace(measured, shape=replace(recipe.shape, sequence_length=sequence_length))
    m_t = tokens_ratio(measured, large)
    large = replace(large, learning_rate=large.learning_rate * m_t**-recipe.horizon_exponent)
    for rule in rules:
        values: dict[str, Any] = rule.apply(measured, large)
        try:
            large = replace(large, **values)
        except ValueError as error:
            told = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            raise ValueError(
                f"budget_rules: {rule.name} does not hold as far from base.batch_size and base.steps as "
                f"batch_size {large.batch_size} and steps {large.steps}, where it gives {told} ({error})"
            ) from None
    return large
