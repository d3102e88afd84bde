"""The norm-scale probe: which trainings it takes, and what they measure."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..models.data.batches import Batches
from ..models.data.corpus import materialise
from ..models.layers.learnable import merged
from ..models.parametrization.rules import is_norm_scaled, parameter_rules
from ..models.recipe import Recipe
from ..models.training.checkpoint import NoKeeper
from ..models.training.loop import GroupTraining
from ..results.norm_scale import Curve, Point, Probe
from ..sweeps.load import Sweep
from ..sweeps.problem import Problem, SpecError


@dataclass(frozen=True, slots=True)
class Plan:
    """What is probed: the matrices of `part`, S at `factors` times the sweep's own, some placements."""

    part: str
    factors: tuple[float, ...]
    placements: tuple[str, ...]
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
    with tempfile.TemporaryDirectory() as scratch:
        source = materialise(sweep.corpus, Path(scratch))
        return [
            _probed(recipe, plan, source.batches(recipe.shape.sequence_length), device, note)
            for recipe in _families(sweep)
        ]


def _families(sweep: Sweep) -> list[Recipe]:
    """One recipe per architecture, optimizer and parametrization."""
    found: dict[tuple[str, str, str], Recipe] = {}
    for trial in sweep.expansion.trials:
        recipe = replace(trial.recipe, seed=0)
        key = (recipe.shape.architecture, recipe.optimizer, recipe.parametrization)
        held = found.setdefault(key, recipe)
        if held != recipe:
            ours, theirs = held.point(), recipe.point()
            name = next(name for name in ours if ours[name] != theirs[name])
            reason = f"takes several values; give one, such as --set {name}={ours[name]}"
            raise SpecError(sweep.spec.name, [Problem(("axes", name), reason)])
        if recipe.weight_decay == 0 or recipe.decay != "coupled":
            reason = "the probe moves learning rate against decay; give a coupled one, such as 0.1"
            raise SpecError(sweep.spec.name, [Problem(("fixed", "weight_decay"), reason)])
    return list(found.values())


def _probed(
    recipe: Recipe, plan: Plan, batches: Batches, device: torch.device, note: Callable[[str], None]
) -> Probe:
    curves = []
    for placement in plan.placements:
        note(
            f"{recipe.shape.architecture} {recipe.optimizer}, {plan.part}, multipliers {placement}: "
            f"{len(plan.factors)} norms, {plan.seeds} seeds, {recipe.steps} steps"
        )
        curves.append(
            Curve(multipliers=placement, points=_measured(recipe, placement, plan, batches, device))
        )
    return Probe(
        architecture=recipe.shape.architecture,
        optimizer=recipe.optimizer,
        parametrization=recipe.parametrization,
        part=plan.part,
        steps=recipe.steps,
        seeds=plan.seeds,
        curves=tuple(curves),
    )


def _measured(
    recipe: Recipe, placement: str, plan: Plan, batches: Batches, device: torch.device
) -> tuple[Point, ...]:
    """All norms and seeds as one group."""
    shape = replace(recipe.shape, learnable_multipliers=placement)
    alike = replace(recipe, shape=shape, norm_scale_of=plan.part)
    group = [
        replace(alike, norm_scale=factor, seed=seed) for factor in plan.factors for seed in range(plan.seeds)
    ]
    training = GroupTraining(group, batches, device)
    outcomes = training.train(lambda progress: None, NoKeeper())
    matrices = [
        rule for rule in parameter_rules(replace(alike, norm_scale=2.0))
        if is_norm_scaled(rule.parameter, replace(alike, norm_scale=2.0))
    ]  # fmt: skip
    names = [rule.parameter.name for rule in matrices]
    views = {name: view.detach() for name, view in training.views().items()}
    norms_K, effective_K = _root_mean_square(views, names), _root_mean_square(merged(views), names)
    # At factor 2 the rule's own ratio is 4 times that at 1.
    own = math.sqrt(matrices[0].learning_rate / matrices[0].weight_decay) / 2
    points = []
    for index, factor in enumerate(plan.factors):
        lanes = slice(index * plan.seeds, (index + 1) * plan.seeds)
        losses = [outcome.loss for outcome in outcomes[lanes]]
        known = [loss for loss in losses if loss is not None]
        finished = len(known) == plan.seeds
        points.append(
            Point(
                scale=own * factor,
                loss=sum(known) / plan.seeds if finished else None,
                norm=float(norms_K[lanes].mean()) if finished else None,
                effective_norm=float(effective_K[lanes].mean()) if finished else None,
            )
        )
    return tuple(points)


def _root_mean_square(views: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    squares = [views[name].square().flatten(1) for name in names]
    return torch.cat(squares, dim=1).mean(1).sqrt()
