"""The measurements of a coordinate check: sizes of what a short training does inside the network.

K trials, B batch, T time, D width, E experts, R rows of an expert's tokens, U units, I fan_in, O fan_out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.batches import Batches
from ..layers.experts import Choice, Rows, units
from ..layers.learnable import merged
from ..layers.linear import linear
from ..parametrization.expectation import Quantity
from ..parametrization.rules import forward_multipliers
from ..recipe.inventory import plain_parameters
from ..recipe.recipe import Recipe
from ..recipe.role import EXPERT_ROLES, Parameter, Role, Site, pattern_of
from ..recipe.shape import Shape
from .loop import GroupTraining
from .loss import loss

OUTSIDE = (Role.INPUT, Role.OUTPUT, Role.VECTOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinate:
    """The root mean square of one quantity of one module, over its blocks and coordinates, per trial.

    `module` is a name with `*` for the block; `role` is None for the stream of residuals.
    """

    module: str
    role: Role | None
    quantity: Quantity
    values: tuple[float, ...]


def measure(
    recipes: Sequence[Recipe], batches: Batches, device: torch.device, steps: int, sequences: int
) -> list[Coordinate]:
    """Trains a group for a few steps and measures it on fixed sequences, before against after.

    The recipes differ in their seed alone; K values come back for each coordinate.
    """
    training = GroupTraining(recipes, batches, device)
    held = batches.validation(sequences)
    probe = _Probe(
        *(torch.from_numpy(x).to(device).expand(len(recipes), *x.shape) for x in (held.inputs, held.labels))
    )
    begun = {name: view.detach().clone() for name, view in training.views().items()}
    before, gradients = _forward(training, probe, begun), _gradients(training, probe)
    for step in range(steps):
        training.step(step)
    ended = {name: view.detach().clone() for name, view in training.views().items()}
    after = _forward(training, probe, ended)
    found = Squares()
    first, last = (merged(views, recipes[0].shape.fixed_multipliers) for views in (begun, ended))
    _modules(found, recipes[0], first, last, before, after)
    _stream(found, recipes[0].shape.depth, before, after)
    for parameter in plain_parameters(recipes[0].shape):
        module = parameter.name.removesuffix(".weight")
        found.add(module, parameter.role, "gradient", gradients[parameter.name])
    return found.coordinates()


Pass = dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class _Probe:
    """The sequences that are measured on, the same for all trials."""

    inputs: Tensor
    labels_KBT: Tensor


class Squares:
    """Sums of mean squares, by module, role and quantity, so that blocks are averaged."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, Role | None, Quantity], list[Tensor]] = {}

    def add(self, module: str, role: Role | None, quantity: Quantity, x_K: Tensor) -> None:
        square_K = x_K.double().square().flatten(1).mean(1)
        self._held.setdefault((pattern_of(module), role, quantity), []).append(square_K)

    def coordinates(self) -> list[Coordinate]:
        return [
            Coordinate(
                module=module,
                role=role,
                quantity=quantity,
                values=tuple(torch.stack(squares).mean(0).sqrt().tolist()),
            )
            for (module, role, quantity), squares in self._held.items()
        ]


@torch.no_grad()
def _forward(training: GroupTraining, probe: _Probe, views: dict[str, Tensor]) -> Pass:
    """Every module's input and output."""
    seen: Pass = {}

    def trace(name: str, given: Tensor, made: Tensor) -> None:
        seen[name] = (given.float() if given.is_floating_point() else given, made.float())

    training.logits(probe.inputs, views, trace)
    return seen


def _gradients(training: GroupTraining, probe: _Probe) -> dict[str, Tensor]:
    views = training.views()
    loss_K = loss(training.logits(probe.inputs, views), probe.labels_KBT)
    return dict(zip(views, torch.autograd.grad(loss_K.sum(), list(views.values())), strict=True))


@torch.no_grad()
def _modules(
    found: Squares,
    recipe: Recipe,
    begun: Mapping[str, Tensor],
    ended: Mapping[str, Tensor],
    before: Pass,
    after: Pass,
) -> None:
    """Activations, learned effects and what random weights pass on, of everything that has parameters.

    Learnable multipliers count as part of their matrices.
    """
    sites = forward_multipliers(recipe)
    for parameter in plain_parameters(recipe.shape):
        module, role = parameter.name.removesuffix(".weight"), parameter.role
        learned = ended[parameter.name] - begun[parameter.name]
        factor = 1.0 if role in OUTSIDE else sites[Site.BRANCH]
        if role is Role.INPUT:
            factor = sites[Site.EMBEDDING]
        if role in EXPERT_ROLES:
            _expert(found, parameter, recipe.shape, learned * factor, begun, ended, before, after)
        elif module == "embedding":
            if recipe.shape.tied:
                _linear(found, "readout", Role.OUTPUT, begun[parameter.name], learned, before, after)
            found.add(module, role, "update", _embedded(learned, before["embedding"][0]) * factor)
        elif module in after and len(parameter.shape) == 2:
            _linear(found, module, role, begun[parameter.name], learned * factor, before, after)
        else:
            found.add(module, role, "update", learned * factor)


def _linear(
    found: Squares, module: str, role: Role, begun_KOI: Tensor, learned_KOI: Tensor, before: Pass, after: Pass
) -> None:
    """Of a linear layer. A tied readout is one, too: its matrix is the embedding's."""
    given, made = after[module]
    found.add(module, role, "activation", made)
    found.add(module, role, "propagated", linear(given - before[module][0], begun_KOI))
    found.add(module, role, "update", linear(given, learned_KOI))


def _expert(
    found: Squares,
    parameter: Parameter,
    shape: Shape,
    learned_KOI: Tensor,
    begun: Mapping[str, Tensor],
    ended: Mapping[str, Tensor],
    before: Pass,
    after: Pass,
) -> None:
    """Of the matrices of a block's experts, each on the tokens that it has at the end; what comes out of a
    token's experts is their average."""
    module, role = parameter.name.removesuffix(".weight"), parameter.role
    name = module.rpartition(".")[0]
    x_KBTD, scores_KBTE = after[f"{name}.router"]
    rows = Rows(Choice.of(scores_KBTE, shape.chosen_experts), shape.expert_count)
    x_RD = rows.taken(x_KBTD)
    if role is Role.EXPERT_OUT:
        units_RU = units(rows, x_RD, ended, name, shape)
        found.add(module, role, "activation", after[module][1])
        found.add(module, role, "update", rows.summed(rows.mapped(units_RU, learned_KOI), x_KBTD))
        return
    moved_RD = x_RD - rows.taken(before[f"{name}.router"][0])
    quantities: dict[Quantity, Tensor] = {
        "activation": rows.mapped(x_RD, ended[parameter.name]),
        "propagated": rows.mapped(moved_RD, begun[parameter.name]),
        "update": rows.mapped(x_RD, learned_KOI),
    }
    for quantity, made_RU in quantities.items():
        found.add(module, role, quantity, made_RU.unflatten(0, (len(x_KBTD), -1)))


def _embedded(learned_KVD: Tensor, inputs: Tensor) -> Tensor:
    """The change of the rows that the probe's tokens read, or of what its vectors become."""
    if inputs.is_floating_point():
        return linear(inputs, learned_KVD.transpose(1, 2))
    return torch.stack([rows[tokens] for rows, tokens in zip(learned_KVD, inputs, strict=True)])


@torch.no_grad()
def _stream(found: Squares, depth: int, before: Pass, after: Pass) -> None:
    """The residual stream at its start and at its end, how far it and the logits have moved, and what is
    read from the states of recurrent mixers.

    In between it has moved by a share l / L of the blocks: an average over few blocks would bend.
    """
    for name, module in (("embedding", "stream.start"), (f"blocks.{depth - 1}", "stream.end")):
        made = after[name][1]
        found.add(module, None, "activation", made)
        found.add(module, None, "change", made - before[name][1])
    for name in after:
        if name.endswith(".state"):
            found.add(name, None, "activation", after[name][1])
            found.add(name, None, "change", after[name][1] - before[name][1])
    found.add("readout", Role.OUTPUT, "change", after["readout"][1] - before["readout"][1])
