"""What a builder makes: on meta for what its parameters are, with values for those that start as they are.

A builder is given a mapping: `model` are the fields of the shape and the sizes that follow from them,
`target` its width and depth. It returns a module that makes logits of tokens [B, T].
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from ...handover.assignment import GAINS, Assigned, UnknownParameterError, assigned
from ...handover.maps.model_map import ModelMap
from ...handover.own_code import OwnCodeError, map_named, own, said
from ...handover.roles import find_map
from ...handover.sites import takings
from ...handover.values import model_fields
from ...parametrization.registry import PARAMETRIZATIONS
from ...parametrization.rules import ratios
from ...recipe.recipe import Recipe
from ...recipe.role import Parameter, Role, Site, plain_site
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
    """Raises OwnCodeError. Modules of the files that it is known by are imported anew for a new code."""
    files = [path for path, _ in architecture.files]
    build: Build = own("architecture", architecture.name, architecture.directory, files)
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
        return getattr(module, "_orig_mod", module)  # compiled, it would know one set of parameters


@lru_cache(maxsize=64)
def model_map(architecture: BuiltArchitecture, shape: Shape) -> ModelMap:
    """What its parameters and modules are. Raises OwnCodeError."""
    if architecture.roles is not None:
        return map_named("model.roles", architecture.roles, architecture.directory)
    small = _small(shape)
    with said(f"architecture {architecture.name}"):
        return find_map(
            lambda width: built(architecture, replace(small, width=width)), small.width, 2 * small.width
        )


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
    with torch.device("meta"):
        module = built(architecture, shape)
    known = model_map(architecture, shape)
    with said(f"architecture {architecture.name}"):
        ends = _branch_ends(module, known, shape)
        return tuple(_described(each, ends) for each in assigned_alone(module, known))


def assigned_alone(module: nn.Module, known: ModelMap) -> Iterator[Assigned]:
    """As a handover by roles alone would assign them. Raises UnknownParameterError."""
    roles = {str(role): {"start": "normal", "init": "fan-in"} for role in Role}
    yield from assigned(module, {"parameters": {}, "roles": roles, "tied": True}, known.roles)


def _described(each: Assigned, ends: set[str]) -> Described:
    if not each.tensor.requires_grad:
        raise UnknownParameterError(f"{each.name}: does not require a gradient; what is fixed is a buffer")
    role, shape = Role(each.entry["role"]), each.shape
    fan_in = 1 if role is Role.INPUT else int(np.prod(shape[1:], dtype=int))
    parameter = Parameter(
        name=each.name,
        shape=shape,
        role=role,
        start=each.entry["start"],
        fan_in=fan_in,
        decayed=role not in UNDECAYED,
        ends_branch=each.name.rpartition(".")[0] in ends,
    )
    return Described(parameter, bool(each.stored.transposed))


def _branch_ends(module: nn.Module, known: ModelMap, shape: Shape) -> set[str]:
    """The modules that end a branch: those that take its multiplier."""
    sites = {site: places for site, places in known.sites.items() if site == Site.BRANCH}
    ones = {"multipliers": {str(Site.BRANCH): 1.0}, **given(shape)}
    return {taking.name for taking in takings(module, ones, sites)}


@lru_cache(maxsize=8)
def own_starts(architecture: BuiltArchitecture, shape: Shape, seed: int) -> Mapping[str, np.ndarray]:
    """What the builder starts the parameters at, flat float32, by name, as we store them."""
    module, other = built(architecture, shape, seed), described(architecture, shape)
    values = dict(module.named_parameters())
    return {
        each.parameter.name: _as_ours(values[each.parameter.name].detach().float().cpu(), each.transposed)
        for each in other
    }


def _as_ours(tensor: torch.Tensor, transposed: bool) -> np.ndarray:
    flat: np.ndarray = (tensor.T if transposed else tensor).flatten().numpy()
    return flat


def must_have_places(architecture: BuiltArchitecture, recipe: Recipe) -> ModelMap:
    """What its modules are. Raises OwnCodeError where the recipe multiplies by something that they name no
    place for."""
    known = model_map(architecture, recipe.shape)
    table, attention = PARAMETRIZATIONS[recipe.parametrization].multiplier, recipe.shape.grows_head
    asked = {
        Site.EMBEDDING: recipe.embedding_multiplier,
        Site.BRANCH: recipe.residual_multiplier,
        Site.READOUT: recipe.readout_multiplier,
        Site.GROWING_ATTENTION if attention else Site.ATTENTION: recipe.attention_multiplier,
    }
    for site, value in asked.items():
        factor = value * table[site](*ratios(recipe))
        if factor != 1 and plain_site(site) not in known.sites:
            raise OwnCodeError(
                f"architecture {architecture.name}: {recipe.parametrization} multiplies {plain_site(site)} "
                f"by {factor:g}, and nothing says which modules that is; give model.roles a ModelMap with "
                f"sites={{{str(plain_site(site))!r}: [...]}}, empty where the model has none"
            )
    return known
