"""The rules for another batch and duration that an export follows: the sweep's own, and those named."""

from dataclasses import replace
from typing import Any

from ...models.recipe.budget import (
    BUDGET_RULES,
    MOVED,
    BudgetRule,
    budget_words,
    budgeted,
    follows_budget,
    has_rules,
    must_differ,
)
from ...models.recipe.recipe import Recipe
from .fault import ExportError

RATE_RULES = tuple(rule.name for rule in BUDGET_RULES.values() if "learning_rate" in rule.moves)


def ruled(
    measured: Recipe, large: Recipe, chosen: tuple[str, ...], measured_axes: tuple[str, ...] = ()
) -> tuple[Recipe, list[dict[str, Any]], list[str]]:
    """The large run by the rules of the sweep and the chosen ones, what they changed, and a line for each
    that would have changed something and was not chosen, or changed nothing and was.

    `measured_axes`: those along which the learning rate was moved by what was measured. Raises ExportError
    for a rule that there is not, for one that gives impossible values, and for one that moves the learning
    rate once more.
    """
    rules = _chosen(measured, chosen, measured_axes)
    done, notes = [], []
    followed = follows_budget(measured)
    if has_rules(measured):
        measured, large, entry = _by_the_sweep(measured, large)
        done.append(entry)
    elif followed and large.shape.sequence_length != measured.shape.sequence_length:
        raise ExportError(
            f"--sequence-length {large.shape.sequence_length}: {measured.parametrization} counts those of "
            f"the {measured.shape.sequence_length} tokens that were measured; leave it out"
        )
    for rule in BUDGET_RULES.values():
        if rule.optimizer not in (None, measured.optimizer):
            asked = {}
        else:
            asked = {n: v for n, v in rule.apply(measured, large).items() if v != getattr(large, n)}
        if rule not in rules:
            if asked and not followed and rule.name not in RATE_RULES:
                notes.append(
                    f"{rule.what}: as at the proxies, of another batch or duration; --rule {rule.name} "
                    f"({rule.source}) would give {_told(asked)}"
                )
        elif not asked:
            notes.append(f"--rule {rule.name}: changes nothing here")
        else:
            before = {name: getattr(large, name) for name in asked}
            changes: dict[str, Any] = asked
            try:
                large = replace(large, **changes)
            except ValueError as error:
                told = f"does not hold as far as this target, where it gives {_told(asked)} ({error})"
                raise ExportError(f"--rule {rule.name}: {told}") from None
            done.append({"rule": rule.name, "source": rule.source, "from": before, "to": asked})
    return large, done, notes


def _chosen(measured: Recipe, names: tuple[str, ...], measured_axes: tuple[str, ...]) -> list[BudgetRule]:
    if unknown := [name for name in names if name not in BUDGET_RULES]:
        raise ExportError(f"--rule {unknown[0]}: is not one of {', '.join(BUDGET_RULES)}")
    if names and follows_budget(measured):
        raise ExportError(
            f"--rule {names[0]}: the trials followed {budget_words(measured)}, and so does the large run"
        )
    rates = [name for name in names if name in RATE_RULES]
    if rates and measured_axes:
        raise ExportError(
            f"--rule {rates[0]}: the learning rate is moved by what was measured along {measured_axes[0]}; "
            "leave the rule out, or narrow the export to trials of one batch and duration with --hold"
        )
    rules = [BUDGET_RULES[name] for name in dict.fromkeys(names)]
    try:
        must_differ(rules)
    except ValueError as error:
        raise ExportError(f"--rule {names[0]}: {error}") from None
    return rules


def _by_the_sweep(measured: Recipe, large: Recipe) -> tuple[Recipe, Recipe, dict[str, Any]]:
    """Both with the values that the sweep's own rules give them."""
    name = budget_words(measured)
    try:
        length = measured.shape.sequence_length
        measured, large = budgeted(measured), budgeted(large, length)
    except ValueError as error:
        raise ExportError(f"the target does not fit: {error}") from None
    differ = [name for name in MOVED if getattr(measured, name) != getattr(large, name)]
    before, after = ({n: getattr(one, n) for n in differ} for one in (measured, large))
    return measured, large, {"rule": name, "source": "the sweep's own", "from": before, "to": after}


def _told(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
