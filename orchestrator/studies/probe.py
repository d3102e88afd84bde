"""The norm-scale probe: which trainings it takes, and what they measure."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...models.data.batches import Batches
from ...models.layers.learnable import merged
from ...models.parametrization.rules import ParameterRule, is_norm_scaled, parameter_rules
from ...models.recipe.family import Family, family_of
from ...models.recipe.recipe import Recipe, differing_field
from ...models.training.checkpoint import NoKeeper
from ...models.training.loop import GroupTraining
from ...results.checks.norm_scale import Curve, Point, Probe
from ...sweeps.load import Sweep
from ...sweeps.problem import Problem, SpecError
from ...sweeps.proxy import recipe_of


@dataclass(frozen=True, slots=True)
class Plan:
    """What is probed: the matrices of `part`, S at `factors` times the sweep's own, some placements."""

    part: str
    factors: tuple[float, ...]
    placements: tuple[str, ...]  # "none" is there always: the others are measured against it
    seeds: int


def factors(span: float, points: int) -> tuple[float, ...]:
    """`points` factors from 2^-span to 2^span, evenly in the logarithm."""
    return tuple(2.0 ** (span * (2 * index / (points - 1) - 1)) for index in range(points))


def usual_placements(part: str) -> tuple[str, ...]:
    """None, a scalar, and vectors: columns alone on the readout, which rows would make lazy."""
    pattern = part if part in ("readout", "embedding") else f"*.{part}.*"
    vector = "column" if part == "readout" else "row+column"
    return "none", f"{pattern}=scalar", f"{pattern}={vector}"


def probe_families(
    sweep: Sweep, plan: Plan, device: torch.device, note: Callable[[str], None]
) -> list[Probe]:
    """Trains every family of the sweep, a group for each placement. Raises SpecError for a sweep that gives
    several values of anything else."""
    groups = {recipe: _groups(sweep, recipe, plan) for recipe in _families(sweep)}
    with tempfile.TemporaryDirectory() as scratch:
        source = sweep.materialised(Path(scratch))
        return [
            _probed(recipe, group, plan, source.batches(recipe.shape.sequence_length), device, note)
            for recipe, group in groups.items()
        ]


def _groups(sweep: Sweep, recipe: Recipe, plan: Plan) -> dict[str, list[Recipe]]:
    """By placement, all norms and seeds. Raises SpecError for a part or a placement that fits nothing."""
    try:
        return {
            placement: [
                replace(
                    recipe,
                    shape=replace(recipe.shape, learnable_multipliers=placement),
                    norm_scale_of=plan.part,
                    norm_scale=factor,
                    seed=seed,
                )
                for factor in plan.factors
                for seed in range(plan.seeds)
            ]
            for placement in plan.placements
        }
    except ValueError as error:
        option = "--part" if str(error).startswith("norm_scale_of") else "--multipliers"
        raise SpecError(option, [Problem((), str(error).partition(": ")[2])]) from None


def _families(sweep: Sweep) -> list[Recipe]:
    """One recipe per family."""
    found: dict[Family, Recipe] = {}
    for trial in sweep.expansion.trials:
        recipe = replace(recipe_of(trial), seed=0)
        held = found.setdefault(family_of(recipe), recipe)
        if held != recipe:
            name = differing_field(held, recipe)
            reason = f"takes several values; give one, such as --set {name}={held.point()[name]}"
            raise SpecError(sweep.spec.name, [Problem(("axes", name), reason)])
        if recipe.weight_decay == 0 or recipe.decay != "coupled":
            reason = "the probe moves learning rate against decay; give a coupled one, such as 0.1"
            raise SpecError(sweep.spec.name, [Problem(("fixed", "weight_decay"), reason)])
    return list(found.values())


def _probed(
    recipe: Recipe,
    groups: Mapping[str, Sequence[Recipe]],
    plan: Plan,
    batches: Batches,
    device: torch.device,
    note: Callable[[str], None],
) -> Probe:
    curves = []
    for placement, group in groups.items():
        note(
            f"{recipe.shape.architecture} {recipe.optimizer}, {plan.part}, multipliers {placement}: "
            f"{len(plan.factors)} norms, {plan.seeds} seeds, {recipe.steps} steps"
        )
        curves.append(Curve(multipliers=placement, points=_measured(group, plan.seeds, batches, device)))
    return Probe(
        family=family_of(recipe),
        part=plan.part,
        steps=recipe.steps,
        seeds=plan.seeds,
        curves=tuple(curves),
    )


def _measured(
    group: Sequence[Recipe], seeds: int, batches: Batches, device: torch.device
) -> tuple[Point, ...]:
    """A point for each norm, whose seeds stand together."""
    training = GroupTraining(group, batches, device)
    outcomes = training.train(lambda progress: None, NoKeeper())
    views = {name: view.detach() for name, view in training.views().items()}
    names = [rule.parameter.name for rule in _scaled(group)]
    whole = merged(views, group[0].shape.fixed_multipliers)
    norms_K, effective_K = _root_mean_square(views, names), _root_mean_square(whole, names)
    points = []
    for index in range(0, len(group), seeds):
        lanes = slice(index, index + seeds)
        losses = [outcome.loss for outcome in outcomes[lanes] if outcome.loss is not None]
        finished = len(losses) == seeds
        points.append(
            Point(
                scale=_scale(group[index]),
                loss=sum(losses) / seeds if finished else None,
                norm=float(norms_K[lanes].mean()) if finished else None,
                effective_norm=float(effective_K[lanes].mean()) if finished else None,
            )
        )
    return tuple(points)


def _scaled(group: Sequence[Recipe]) -> list[ParameterRule]:
    """The rules of the part's matrices."""
    moved = next(recipe for recipe in group if recipe.norm_scale != 1)
    return [rule for rule in parameter_rules(moved) if is_norm_scaled(rule.parameter, moved)]


def _scale(recipe: Recipe) -> float:
    """S of the part's matrices, from the values of the first of them."""
    rules = {rule.parameter.name: rule for rule in parameter_rules(recipe)}
    first = rules[_scaled([replace(recipe, norm_scale=2.0)])[0].parameter.name]
    return math.sqrt(first.learning_rate / first.weight_decay)


def _root_mean_square(views: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    squares = [views[name].square().flatten(1) for name in names]
    return torch.cat(squares, dim=1).mean(1).sqrt()
