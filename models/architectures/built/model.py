"""What a builder makes: on meta for what its parameters are, with values for those that start as they are.

A builder is given a mapping: `model` are the fields of the shape and the sizes that follow from them,
`target` its width and depth. It returns a module that makes logits of tokens [B, T].
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...handover.assignment import GAINS, INSIDE, Assigned, UnknownParameterError, assigned
from ...handover.maps.model_map import ModelMap
from ...handover.names import COMPILED, held_names, owners
from ...handover.own_code import OwnCodeError, map_named, own, said
from ...handover.roles import OpenRolesError, find_map, without_values
from ...handover.sites import takings
from ...handover.values import model_fields
from ...optimizers.registry import OPTIMIZERS
from ...parametrization.registry import PARAMETRIZATIONS
from ...parametrization.rules import MATRICES, ratios
from ...recipe.recipe import Recipe
from ...recipe.role import EXPERT_ROLES, Parameter, Role, Site, plain_site
from ...recipe.shape import Shape
from .architecture import BuiltArchitecture

Build = Callable[[Mapping[str, Any]], nn.Module]
LARGEST_FOUND_BY = 256
"""Roles follow from two widths; of a wide model two smaller ones tell them, too."""
UNDECAYED = {*GAINS, Role.NARROW_VECTOR}
"""As a handover by roles has it."""


@dataclass(frozen=True, slots=True)
class Described:
    """A parameter, and whether the module stores it the other way round: [in, out]."""

    parameter: Parameter
    transposed: bool


@lru_cache(maxsize=64)
def builder_of(architecture: BuiltArchitecture) -> Build:
    """Raises OwnCodeError. Modules of the files that it is known by are imported anew for a new code, which
    they must still have."""
    files = architecture.files_now or architecture.files
    for path in architecture.changed(files):
        raise OwnCodeError(
            f"architecture {architecture.name}: {Path(architecture.directory, path)} has changed since these "
            "trials were planned; put it back as it was, or run the sweep again"
        )
    build: Build = own("architecture", architecture.name, architecture.directory, [*dict(files)])
    return build


def given(shape: Shape) -> dict[str, Any]:
    """What a builder is given."""
    target = {"width": shape.width, "depth": shape.depth, "head_size": shape.head_size}
    return {"model": model_fields(shape), "target": target}


def built(architecture: BuiltArchitecture, shape: Shape, seed: int = 0) -> nn.Module:
    """The module of a shape, on the default device. Raises OwnCodeError."""
    build = builder_of(architecture)
    with said(f"architecture {architecture.name}"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = build(given(shape))
        if not isinstance(module, nn.Module):
            raise UnknownParameterError(
                f"the builder gives a {type(module).__name__}; return a module, which is trained here"
            )
        return _uncompiled(module)


def _uncompiled(module: nn.Module) -> nn.Module:
    """As it was written, in all its parts: compiled, it would know one set of parameters."""
    for part in [*module.modules()]:
        for name, child in [*part.named_children()]:
            if _is_compiled(child):
                setattr(part, name, child.get_submodule(COMPILED))
    return module.get_submodule(COMPILED) if _is_compiled(module) else module


def _is_compiled(module: nn.Module) -> bool:
    """By torch.compile; somebody's own module may call a part of it alike."""
    return type(module).__module__.startswith("torch._dynamo")


@lru_cache(maxsize=64)
def model_map(architecture: BuiltArchitecture, shape: Shape) -> ModelMap:
    """What its parameters and modules are. Raises OwnCodeError."""
    if architecture.roles is not None:
        return map_named("model.roles", architecture.roles, architecture.directory)
    small = _small(shape)
    with said(f"architecture {architecture.name}"):
        try:
            return find_map(
                lambda width: built(architecture, replace(small, width=width)), small.width, 2 * small.width
            )
        except OpenRolesError as error:
            open_ = "; ".join(f"{pattern}: {why}" for pattern, why in error.open.items())
            raise UnknownParameterError(f"{open_}; say what they are in a ModelMap, model.roles") from None


def _small(shape: Shape) -> Shape:
    """The same at a width of a few hundred, where there is one."""
    while shape.width > LARGEST_FOUND_BY and shape.width % 2 == 0:
        try:
            shape = replace(shape, width=shape.width // 2)
        except ValueError:
            break
    return shape


@lru_cache(maxsize=256)
def described(architecture: BuiltArchitecture, shape: Shape) -> tuple[Described, ...]:
    """Every parameter, in the module's order. Raises OwnCodeError."""
    module = without_values(partial(built, architecture, shape))
    known = model_map(architecture, shape)
    with said(f"architecture {architecture.name}"):
        ends = _branch_ends(module, known, shape)
        found = tuple(_described(each, ends) for each in assigned_alone(module, known, shape))
        _must_be_alike(found)
        return found


def assigned_alone(module: nn.Module, known: ModelMap, shape: Shape) -> Iterator[Assigned]:
    """As a handover by roles alone would assign them. Raises UnknownParameterError."""
    roles = {str(role): {"start": "normal", "init": "fan-in"} for role in Role}
    found = [*assigned(module, {"parameters": {}, "roles": roles, "tied": shape.tied}, known.roles)]
    for each in found:
        if shape.tied and each.entry["role"] == Role.OUTPUT and each.tensor.dim() > 1:
            raise UnknownParameterError(f"{each.name}: is a matrix of its own, and the sweep says tied: true")
    inside = {each.name for each in found if each.entry["role"] in INSIDE}
    for names in owners(module).values():
        if len(names) > 1 and inside & {*names}:
            raise UnknownParameterError(
                f"{' and '.join(names)}: are one, and rules for a block are for its own; give each its own"
            )
    yield from found


def _must_be_alike(found: Sequence[Described]) -> None:
    """Raises UnknownParameterError for parameters that rules take for one in several blocks and are not."""
    first: dict[str, Parameter] = {}
    for each in found:
        held = first.setdefault(each.parameter.pattern, each.parameter)
        if _kind(held) != _kind(each.parameter):
            raise UnknownParameterError(
                f"{held.name} and {each.parameter.name}: are told apart by an index alone, and are not the "
                "same in several blocks; give modules outside of the blocks names"
            )


def _kind(parameter: Parameter) -> tuple[object, ...]:
    return parameter.role, parameter.start, parameter.fan_in, parameter.decayed, parameter.ends_branch


def _described(each: Assigned, ends: set[str]) -> Described:
    if not each.tensor.requires_grad:
        raise UnknownParameterError(f"{each.name}: does not require a gradient; what is fixed is a buffer")
    if each.tensor.dtype != torch.float32:
        kind = str(each.tensor.dtype).removeprefix("torch.")
        raise UnknownParameterError(
            f"{each.name}: is {kind}; build it in float32, and say in the sweep what products are taken in, "
            "precision: bf16"
        )
    role, shape = Role(each.entry["role"]), each.shape
    if each.entry["start"] != "kept" and role is Role.OUTPUT and len(shape) < 2:
        raise UnknownParameterError(
            f"{each.name}: is {[*shape]}, no matrix, which the role {role} is for; leave the bias out"
            f", or map it to Stored({str(role)!r}, kept=True) for the model's own start"
        )
    if each.stored.transposed and len(shape) > 2:
        raise UnknownParameterError(f"{each.name}: is no matrix; only those may be stored as [in, out] here")
    module = each.name.rpartition(".")[0]
    parameter = Parameter(
        name=each.name,
        shape=shape,
        role=role,
        start=each.entry["start"],
        # Tokens are looked up; another start of what maps vectors would train trials anew.
        fan_in=1 if role is Role.INPUT else each.fan_in,
        decayed=role not in UNDECAYED,
        ends_branch=role is Role.EXPERT_OUT if _is_stacked(role, shape) else module in ends,
    )
    return Described(parameter, bool(each.stored.transposed))


def _is_stacked(role: Role, shape: Sequence[int]) -> bool:
    """Whether experts are one parameter, [experts, out, in]: no module is one of theirs, which could take
    the branch's multiplier."""
    return role in EXPERT_ROLES and len(shape) > 2


def _branch_ends(module: nn.Module, known: ModelMap, shape: Shape) -> set[str]:
    """The modules that end a branch: those that take its multiplier."""
    sites = {site: places for site, places in known.sites.items() if site == Site.BRANCH}
    ones = {"multipliers": {str(Site.BRANCH): 1.0}, **given(shape)}
    return {taking.name for taking in takings(module, ones, sites)}


@lru_cache(maxsize=8)
def own_starts(architecture: BuiltArchitecture, shape: Shape, seed: int) -> Mapping[str, np.ndarray]:
    """What the builder starts the parameters at, flat float32, by name, as we store them."""
    module, other = built(architecture, shape, seed), described(architecture, shape)
    held = held_names(module)
    values = {each: module.get_parameter(held[each.parameter.name]).detach().float().cpu() for each in other}
    return {each.parameter.name: _as_ours(value, each.transposed) for each, value in values.items()}


def _as_ours(tensor: torch.Tensor, transposed: bool) -> np.ndarray:
    flat: np.ndarray = (tensor.T if transposed else tensor).flatten().numpy()
    return flat


def must_have_places(architecture: BuiltArchitecture, recipe: Recipe) -> ModelMap:
    """What its modules are.

    Raises OwnCodeError where the recipe multiplies by something that they name no place for, asks for starts
    or updates that its parameters cannot have, and where the base has other parameters.
    """
    known = model_map(architecture, recipe.shape)
    with said(f"architecture {architecture.name}"):
        _must_fit(architecture, recipe, known)
    table, attention = PARAMETRIZATIONS[recipe.parametrization].multiplier, recipe.shape.grows_head
    asked = {
        Site.EMBEDDING: recipe.embedding_multiplier,
        Site.BRANCH: recipe.residual_multiplier,
        Site.READOUT: recipe.readout_multiplier,
        Site.GROWING_ATTENTION if attention else Site.ATTENTION: recipe.attention_multiplier,
    }
    for site, value in asked.items():
        factor = value * table[site](ratios(recipe))
        if factor != 1 and plain_site(site) not in known.sites:
            raise OwnCodeError(
                f"architecture {architecture.name}: {recipe.parametrization} multiplies {plain_site(site)} "
                f"by {factor:g}, and nothing says which modules that is; give model.roles a ModelMap with "
                f"sites={{{str(plain_site(site))!r}: [...]}}, empty where the model has none"
            )
    return known


def _must_fit(architecture: BuiltArchitecture, recipe: Recipe, known: ModelMap) -> None:
    own = [each.parameter for each in described(architecture, recipe.shape)]
    base = {each.parameter.pattern for each in described(architecture, recipe.base_shape())}
    if lost := [parameter.name for parameter in own if parameter.pattern not in base]:
        raise UnknownParameterError(
            f"{lost[0]}: the model of the base has nothing like it; name blocks by an index, as in an "
            "nn.ModuleList"
        )
    if recipe.init == "gpt2" and Site.BRANCH not in known.sites:
        raise UnknownParameterError(
            "init gpt2 starts the ends of branches smaller, and nothing says which they are; name them in a "
            "ModelMap, sites={'residual branch': [...]}, model.roles"
        )
    experts = [parameter for parameter in own if _is_stacked(parameter.role, parameter.shape)]
    if experts and recipe.shape.experts == 1:
        raise UnknownParameterError(
            f"{experts[0].name}: is of experts, and the sweep has none; give experts: N and balance_loss: 0 "
            "under fixed"
        )
    taken = MATRICES[recipe.matrices] if OPTIMIZERS[recipe.optimizer].matrices else frozenset()
    for parameter in own:
        if parameter.role in taken and len(parameter.shape) != 2:
            raise UnknownParameterError(
                f"{parameter.name}: is {[*parameter.shape]}, no matrix, which {recipe.optimizer} is for; "
                "give it another role"
            )
