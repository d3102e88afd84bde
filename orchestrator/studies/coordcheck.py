"""The coordinate check of a sweep: which trainings it takes, and what their measurements say."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...models.data.batches import Batches
from ...models.parametrization.expectation import expectation
from ...models.parametrization.rules import forward_multipliers
from ...models.recipe.family import Family, family_of
from ...models.recipe.recipe import EXPERTS, Recipe, differing_field
from ...models.recipe.role import Site
from ...models.training.coordinates import Coordinate, measure
from ...results.checks.coordinates import Check, Row, judge_row
from ...sweeps.load import Sweep
from ...sweeps.problem import Problem, SpecError
from ...sweeps.proxy import recipe_of

PROBE_SEQUENCES = 16
AXES = ("width", "depth", *EXPERTS)
QUERIES_AND_KEYS = {"query", "key"}

Measure = Callable[[Sequence[Recipe], Batches, torch.device, int, int], list[Coordinate]]
"""Of recipes that differ in their seed: trained for so many steps, measured on so many sequences."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """The trainings of one family: along each axis one recipe a scale, at the smallest of the others."""

    recipes: dict[str, dict[int, Recipe]]

    @property
    def one(self) -> Recipe:
        return next(iter(next(iter(self.recipes.values())).values()))

    @property
    def largest(self) -> list[Recipe]:
        """The last of each axis."""
        return [[*scales.values()][-1] for scales in self.recipes.values()]


def ladders_of(sweep: Sweep, learning_rate: float | None) -> list[Ladder]:
    """One for each family. At the family's smallest learning rate by default:
    there a few steps are still small, and nothing is saturated. Raises SpecError where an axis has no two
    scales, or where something else varies that the check would have to choose from."""
    members: dict[Family, list[Recipe]] = {}
    for trial in sweep.expansion.trials:
        recipe = recipe_of(trial)
        members.setdefault(family_of(recipe), []).append(recipe)
    found = []
    for recipes in members.values():
        rate = min(recipe.learning_rate for recipe in recipes) if learning_rate is None else learning_rate
        alike = [replace(recipe, learning_rate=rate, seed=0) for recipe in recipes]
        found.append(Ladder({axis: scales for axis in AXES if len(scales := _along(axis, alike, sweep)) > 1}))
    if not all(ladder.recipes for ladder in found):
        reason = (
            "a coordinate check needs two widths at one depth, two depths at one width, or so of experts; "
            "try --set width=[32,64,128] --set depth=2"
        )
        raise SpecError(sweep.spec.name, [Problem(("axes",), reason)])
    return found


def check_families(
    sweep: Sweep,
    ladders: Sequence[Ladder],
    device: torch.device,
    steps: int,
    seeds: int,
    note: Callable[[str], None],
    measure: Measure = measure,
) -> list[Check]:
    """Trains and measures each family; a group of `seeds` trials for each shape."""
    with tempfile.TemporaryDirectory() as scratch:
        source = sweep.materialised(Path(scratch))
        checks = []
        for ladder in ladders:
            one = ladder.one
            family = family_of(one)
            note(f"{family.title}: {steps} steps, {seeds} seeds")
            # The smallest shape stands on both axes and is trained once.
            measured = {
                recipe: measure(
                    _seeded(recipe, steps, seeds),
                    source.batches(recipe.shape.sequence_length),
                    device,
                    steps,
                    PROBE_SEQUENCES,
                )
                for recipe in {r: None for recipes in ladder.recipes.values() for r in recipes.values()}
            }
            rows: list[Row] = []
            for axis, recipes in ladder.recipes.items():
                along = {scale: measured[recipe] for scale, recipe in recipes.items()}
                rows += _rows(axis, one, along)
            checks.append(
                Check(
                    family=family,
                    learning_rate=one.learning_rate,
                    steps=steps,
                    seeds=seeds,
                    rows=tuple(rows),
                )
            )
    return checks


def _along(axis: str, recipes: Sequence[Recipe], sweep: Sweep) -> dict[int, Recipe]:
    """The recipe of each scale, at the smallest values of the others; one expert is on no axis of experts."""
    if axis in EXPERTS:
        recipes = [recipe for recipe in recipes if recipe.shape.experts > 1]
    if not recipes:
        return {}
    others = [other for other in AXES if other != axis]
    smallest = {other: min(getattr(recipe.shape, other) for recipe in recipes) for other in others}
    scales: dict[int, Recipe] = {}
    for recipe in recipes:
        scale = getattr(recipe.shape, axis)
        at_smallest = all(getattr(recipe.shape, other) == least for other, least in smallest.items())
        if at_smallest and scales.setdefault(scale, recipe) != recipe:
            name = differing_field(recipe, scales[scale])
            given = recipe.point()[name]
            reason = f"takes several values at {axis} {scale}; give one, such as --set {name}={given}"
            raise SpecError(sweep.spec.name, [Problem(("axes", name), reason)])
    return dict(sorted(scales.items()))


def _seeded(recipe: Recipe, steps: int, seeds: int) -> list[Recipe]:
    # As far from its base as it was, whatever follows the duration.
    base = None if recipe.base_steps is None else max(1, round(recipe.base_steps * steps / recipe.steps))
    short = replace(recipe, steps=steps, base_steps=base, schedule="constant", warmup=0.0)
    return [replace(short, seed=seed) for seed in range(seeds)]


def _rows(axis: str, one: Recipe, measured: dict[int, list[Coordinate]]) -> Iterator[Row]:
    growing = Site.GROWING_ATTENTION in forward_multipliers(one)
    by_scale = {
        scale: {(c.module, c.role, c.quantity): c.values for c in found} for scale, found in measured.items()
    }
    for module, role, quantity in next(iter(by_scale.values())):
        if axis == "depth" and quantity == "propagated":
            # The first of few blocks sees no earlier one: a share that falls with depth. The stream's
            # change tells the same without that.
            continue
        of_logits = growing and not QUERIES_AND_KEYS.isdisjoint(module.split("."))
        wanted = expectation(quantity, role, one.parametrization, of_logits)
        yield judge_row(
            module=module,
            role="stream" if role is None else role.value,
            quantity=quantity,
            axis=axis,
            expected=float(getattr(wanted.power, axis)),
            at_most=wanted.at_most,
            values={float(scale): found[module, role, quantity] for scale, found in by_scale.items()},
        )
