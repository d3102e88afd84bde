"""What a larger batch and a longer run ask of decay, warm-up, betas and epsilon: rules that can be chosen."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ...models.recipe.recipe import Recipe
from .fault import ExportError
from .horizon import tokens_of


@dataclass(frozen=True, slots=True)
class Rule:
    """By `apply(measured, large)` the fields of the large run that it changes; None where it says nothing."""

    name: str
    source: str
    what: str
    apply: Callable[[Recipe, Recipe], dict[str, float] | None]


def _time_scale(measured: Recipe, large: Recipe) -> dict[str, float] | None:
    """1 / (learning rate x decay) steps stay the same share of the run, so that the weights forget alike."""
    shrink = measured.steps / large.steps
    if measured.decay == "coupled":  # by the learning rate, which has moved
        shrink *= measured.learning_rate / large.learning_rate
    if not measured.weight_decay or shrink == 1:
        return None
    return {"weight_decay": measured.weight_decay * shrink}


def _warmup_tokens(measured: Recipe, large: Recipe) -> dict[str, float] | None:
    """As many tokens as at the proxies, not as large a share of the run."""
    share = tokens_of(measured) / tokens_of(large)
    return None if not measured.warmup or share == 1 else {"warmup": measured.warmup * share}


def _noise(measured: Recipe, large: Recipe) -> dict[str, float] | None:
    """Averages over as many tokens as at the proxies; epsilon in the size of a gradient with less noise. The
    learning rate, which the source moves as well, is moved by what was measured."""
    theirs, ours = (one.batch_size * one.shape.sequence_length for one in (large, measured))
    ratio = theirs / ours
    if ratio == 1 or measured.optimizer != "adamw":
        return None
    return {
        "beta1": 1.0 - ratio * (1.0 - measured.beta1),
        "beta2": 1.0 - ratio * (1.0 - measured.beta2),
        "epsilon": measured.epsilon / math.sqrt(ratio),
    }


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("decay-timescale", "Wang and Aitchison, arXiv:2405.13698", "weight decay", _time_scale),
        Rule("warmup-tokens", "as many tokens of warm-up as at the proxies", "warm-up", _warmup_tokens),
        Rule("adam-sde", "Malladi et al., arXiv:2205.10287", "betas and epsilon", _noise),
    )
}
"""Each acts on fields of its own, so their order does not matter."""


def ruled(
    measured: Recipe, large: Recipe, chosen: tuple[str, ...]
) -> tuple[Recipe, list[dict[str, Any]], list[str]]:
    """The large run by the chosen rules, what they changed, and a line for each that would have changed
    something and was not chosen, or changed nothing and was. Raises ExportError for a rule that there is not,
    and for one that gives impossible values."""
    if unknown := [name for name in chosen if name not in RULES]:
        raise ExportError(f"--rule {unknown[0]}: is not one of {', '.join(RULES)}")
    done, notes = [], []
    for rule in RULES.values():
        asked = rule.apply(measured, large)
        if asked is None:
            if rule.name in chosen:
                notes.append(f"--rule {rule.name}: changes nothing here")
            continue
        told = ", ".join(f"{name} {value:.4g}" for name, value in asked.items())
        if rule.name not in chosen:
            notes.append(
                f"{rule.what}: as at the proxies, of another batch or duration; --rule {rule.name} "
                f"({rule.source}) would give {told}"
            )
            continue
        before = {name: getattr(large, name) for name in asked}
        changes: dict[str, Any] = asked
        try:
            large = replace(large, **changes)
        except ValueError as error:
            raise ExportError(
                f"--rule {rule.name}: does not hold as far as this target, where it gives {told} ({error})"
            ) from None
        done.append({"rule": rule.name, "source": rule.source, "from": before, "to": dict(asked)})
    return large, done, notes
