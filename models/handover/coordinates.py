"""The coordinate check of somebody else's module: what `training/coordinates.py` measures of ours, by hooks.

B batch, T time, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..architectures.built.forward import logits_of
from ..data.batches import Batch, Batches
from ..optimizers.registry import OPTIMIZERS
from ..recipe.placement import MATRIX_ROLES
from ..recipe.recipe import Recipe
from ..recipe.role import EXPERT_ROLES, Role, Site
from ..training.coordinates import OUTSIDE, Coordinate, Squares
from ..training.loss import loss
from .assignment import DENSE, TRANSPOSED, Assigned, UnknownParameterError, assigned
from .maps.model_map import ModelMap
from .names import plain_name
from .sites import apply_multipliers_
from .transfer import initialize_, multipliers, param_groups
from .values import Handed, handover_at
from .verify import VerificationError, verify

INSIDE_MATRICES = {*MATRIX_ROLES} - {Role.INPUT, Role.OUTPUT}

Built = nn.Module | tuple[nn.Module, torch.optim.Optimizer]
Build = Callable[[Handed], Built]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked. `build` is given the handover of a shape (`model` has its sizes, `seed` the seed) and
    returns a module, which is then handed over to; or a module that is ready to train, with its optimizer."""

    build: Build
    ready_map: ModelMap

    def ready(self, recipe: Recipe) -> tuple[nn.Module, torch.optim.Optimizer, Handed, bool]:
        """With its handover, and whether the builder made it ready itself. Raises UnknownParameterError."""
        handover = {**handover_at(recipe), "seed": recipe.seed}
        torch.manual_seed(recipe.seed)
        built = self.build(handover)
        if isinstance(built, tuple) and len(built) == 2:
            return *built, handover, True
        if not isinstance(built, nn.Module):
            raise UnknownParameterError(
                f"the builder gives a {type(built).__name__}; return a module, or (module, optimizer)"
            )
        roles = self.ready_map.roles
        initialize_(built, handover, recipe.seed, roles)
        apply_multipliers_(built, handover, self.ready_map.sites_in(handover))
        name = OPTIMIZERS[recipe.optimizer].exported_as.get("torch")
        if name is None or (recipe.optimizer == "sgd" and recipe.weight_decay):
            known = ", ".join(one for one, declared in OPTIMIZERS.items() if "torch" in declared.exported_as)
            raise UnknownParameterError(
                f"torch's {recipe.optimizer} is not ours (known: {known}); check with one of these, or let "
                "the builder of --model return the model with its optimizer"
            )
        return built, getattr(torch.optim, name)(param_groups(built, handover, roles)), handover, False

    def faults(self, recipe: Recipe, batches: Batches) -> list[str]:
        """What of a module that the builder made ready is not as the handover has it, see `verify`, and
        whether seeds differ."""
        model, optimizer, handover, own = self.ready(recipe)
        if not own:
            return []
        other = self.ready(replace(recipe, seed=recipe.seed + 1))[0]
        if all(map(torch.equal, model.parameters(), other.parameters())):
            return ['the builder starts all seeds alike: initialize_(model, handover, handover["seed"], ...)']
        inputs, sites = batches.validation(1).inputs, self.ready_map.sites_in(handover)
        try:
            verify(model, handover, self.ready_map.roles, optimizer, sites, lambda: _logits(model, inputs))
        except VerificationError as error:
            return str(error).splitlines()
        return []

    def measure(
        self, recipes: Sequence[Recipe], batches: Batches, device: torch.device, steps: int, sequences: int
    ) -> list[Coordinate]:
        """As `training.coordinates.measure`: the recipes differ in their seed alone."""
        seeds = [self._one(recipe, batches, device, steps, sequences) for recipe in recipes]
        return [
            replace(alike[0], values=tuple(value for each in alike for value in each.values))
            for alike in zip(*seeds, strict=True)
        ]

    def _one(
        self, recipe: Recipe, batches: Batches, device: torch.device, steps: int, sequences: int
    ) -> list[Coordinate]:
        model, optimizer, handover, _ = self.ready(recipe)
        model.to(device)
        each_one = list(assigned(model, handover, self.ready_map.roles))
        probe, found = batches.validation(sequences), Squares()
        begun = {each.name: each.tensor.detach().clone() for each in each_one}
        before = _forward(model, each_one, probe)
        gradients = _gradients(model, each_one, probe)
        for step in range(steps):
            optimizer.zero_grad()
            _loss(model, _first(batches.training([recipe.seed], step, recipe.batch_size))).backward()
            if recipe.grad_clip:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
            optimizer.step()
        after = _forward(model, each_one, probe)
        for each in each_one:
            _parameter(found, each, begun[each.name], before, after, multipliers(handover))
            if each.name in gradients:
                gradient = gradients[each.name][None]
                found.add(each.name.removesuffix(".weight"), _role(each), "gradient", gradient)
        _whole(found, model, each_one, begun, before, after, probe)
        return found.coordinates()


def _role(each: Assigned) -> Role:
    return Role(each.entry["role"])


@dataclass(frozen=True, slots=True)
class _Pass:
    """The modules that have a parameter, their inputs and outputs, by the parameter's name; the logits."""

    owners: Mapping[str, nn.Module]
    modules: Mapping[str, tuple[Tensor, Tensor]]
    logits_BTV: Tensor


def _first(batch: Batch) -> Batch:
    """Of a group's batch that of its first trial."""
    return Batch(batch.inputs[0], batch.labels[0])


def _logits(model: nn.Module, inputs: Any) -> Tensor:  # noqa: ANN401 - numpy's
    device = next(model.parameters()).device
    return logits_of(model(torch.from_numpy(inputs).to(device)))


def _loss(model: nn.Module, batch: Batch) -> Tensor:
    logits_BTV = _logits(model, batch.inputs)
    labels_BT = torch.from_numpy(batch.labels).to(logits_BTV.device)
    return loss(logits_BTV[None], labels_BT[None])[0]


def _gradients(model: nn.Module, each_one: Sequence[Assigned], probe: Batch) -> dict[str, Tensor]:
    model.zero_grad()
    _loss(model, probe).backward()
    return {each.name: each.tensor.grad.clone() for each in each_one if each.tensor.grad is not None}


@torch.no_grad()
def _forward(model: nn.Module, each_one: Sequence[Assigned], probe: Batch) -> _Pass:
    """Outputs are those of the modules themselves, before hooks of theirs."""
    modules = {plain_name(name, model): module for name, module in model.named_modules()}
    owners = {each.name: modules[each.name.rpartition(".")[0]] for each in each_one if _is_weight(each)}
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...], output: object) -> None:
            if given and isinstance(given[0], Tensor) and isinstance(output, Tensor):
                seen[name] = (given[0].detach(), output.detach())

        return hook

    hooks = [owner.register_forward_hook(hook_of(name), prepend=True) for name, owner in owners.items()]
    try:
        logits_BTV = _logits(model, probe.inputs).detach()
    finally:
        for hook in hooks:
            hook.remove()
    return _Pass(owners, seen, logits_BTV)


def _is_weight(each: Assigned) -> bool:
    return each.name.rpartition(".")[2] == "weight"


@torch.no_grad()
def _parameter(
    found: Squares,
    each: Assigned,
    begun: Tensor,
    before: _Pass,
    after: _Pass,
    sites: Mapping[str, float],
) -> None:
    """The activations of its module, what it learned, and what its random weights pass on."""
    module, role = each.name.removesuffix(".weight"), _role(each)
    learned, first = each.tensor.detach() - begun, begun
    if role is Role.OUTPUT:
        return  # by the logits: see _whole
    factor = 1.0 if role in OUTSIDE else sites[Site.BRANCH]
    if role is Role.INPUT and each.name in after.modules:
        factor = sites[Site.EMBEDDING]
        given, made = after.modules[each.name]
        found.add(module, role, "activation", made[None])
        learned = learned[given] if not given.is_floating_point() else given @ learned
    elif role in INSIDE_MATRICES and learned.dim() >= 2:
        owner = after.owners.get(each.name)
        linear = isinstance(owner, DENSE) or type(owner).__name__ in TRANSPOSED
        if owner is not None and linear and each.name in after.modules:
            given, made = after.modules[each.name]
            found.add(module, role, "activation", made[None])
            moved = given - before.modules[each.name][0]
            found.add(module, role, "propagated", _made(owner, first, moved)[None])
            learned = _made(owner, learned, given)
        else:
            learned = _operator_norms(each, learned)
    found.add(module, role, "update", (learned * factor)[None])


class _Bare(nn.Module):
    """A module without its hooks."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, given: Tensor) -> Tensor:
        made: Tensor = self.module.forward(given)
        return made


def _made(module: nn.Module, weight: Tensor, given: Tensor) -> Tensor:
    """What a linear layer or a convolution makes with another weight, and no bias."""
    values = {"module.weight": weight}
    if isinstance(bias := getattr(module, "bias", None), Tensor):
        values["module.bias"] = torch.zeros_like(bias)
    made: Tensor = torch.func.functional_call(_Bare(module), values, (given,))
    return made


def _operator_norms(each: Assigned, learned: Tensor) -> Tensor:
    """By how much a matrix changes the size of the inputs that it is aligned with, where no module tells its
    inputs: one for each of several experts."""
    w_OI = each.turned(learned)
    w_OI = w_OI if _role(each) in EXPERT_ROLES and w_OI.dim() == 3 else w_OI.flatten(1)
    fan_out, fan_in = w_OI.shape[-2:]
    norms: Tensor = torch.linalg.matrix_norm(w_OI.float(), ord=2) * float(fan_in / fan_out) ** 0.5
    return norms


@torch.no_grad()
def _whole(
    found: Squares,
    model: nn.Module,
    each_one: Sequence[Assigned],
    begun: Mapping[str, Tensor],
    before: _Pass,
    after: _Pass,
    probe: Batch,
) -> None:
    """The end of the residual stream, and the logits: what the readout learned is what they lose without."""
    found.add("logits", Role.OUTPUT, "activation", after.logits_BTV[None])
    found.add("logits", Role.OUTPUT, "change", (after.logits_BTV - before.logits_BTV)[None])
    for each in each_one:
        role = _role(each)
        if role is Role.VECTOR and each.name in after.modules:
            given, was = after.modules[each.name][0], before.modules[each.name][0]
            found.add("stream.end", None, "activation", given[None])
            found.add("stream.end", None, "change", (given - was)[None])
        if role is Role.OUTPUT and each.tensor.dim() == 2:
            module, now = each.name.removesuffix(".weight"), each.tensor.detach().clone()
            each.tensor.copy_(begun[each.name])
            found.add(module, role, "update", (after.logits_BTV - _logits(model, probe.inputs))[None])
            each.tensor.copy_(now)
