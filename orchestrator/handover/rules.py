"""What a larger batch and a longer run ask of decay, warm-up, betas and epsilon: rules that can be chosen."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ...models.recipe.recipe import Recipe
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
    if not measured.weight_decay or measured.steps == large.steps:
        return None
    shrink = measured.steps / large.steps
    if measured.decay == "coupled":  # by the learning rate, which has moved
        shrink *= measured.learning_rate / large.learning_rate
    return {"weight_decay": measured.weight_decay * shrink}


def _warmup_tokens(measured: Recipe, large: Recipe) -> dict[str, float] | None:
    """As many tokens as at the proxies, not as large a share of the run."""
    share = tokens_of(measured) / tokens_of(large)
    return None if not measured.warmup or share == 1 else {"warmup": min(1.0, measured.warmup * share)}


def _noise(measured: Recipe, large: Recipe) -> dict[str, float] | None:
    """Averages over as many tokens as at the proxies; epsilon in the size of a gradient with less noise."""
    theirs, ours = (one.batch_size * one.shape.sequence_length for one in (large, measured))
    ratio = theirs / ours
    if ratio == 1 or measured.optimizer != "adamw":
        return None
    return {
        "beta1": max(0.0, 1.0 - ratio * (1.0 - measured.beta1)),
        "beta2": max(0.0, 1.0 - ratio * (1.0 - measured.beta2)),
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
    something and was not chosen."""
    done, notes = [], []
    changes: dict[str, Any] = {}
    for rule in RULES.values():
        asked = rule.apply(measured, large)
        if asked is None:
            continue
        told = ", ".join(f"{name} {value:.4g}" for name, value in asked.items())
        if rule.name not in chosen:
            notes.append(
                f"{rule.what}: as at the proxies, of another batch or duration; --rule {rule.name} "
                f"({rule.source}) would give {told}"
            )
            continue
        changes |= asked
        before = {name: getattr(large, name) for name in asked}
        done.append({"rule": rule.name, "source": rule.source, "from": before, "to": dict(asked)})
    return replace(large, **changes), done, notes
