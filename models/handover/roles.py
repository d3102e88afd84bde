"""Roles found, not typed: what a parameter of a model is to the scaling rules follows from two widths of it.

    roles = find_roles(lambda width: Llama(width), 64, 128)
    initialize_(model, handover, seed=0, roles=roles)

A dimension either grows with the width or does not; where a parameter stands, in a block or outside, its name
says by an index; what it does, its module says. Whatever that leaves open is asked for by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial

import torch
from torch import nn

from ..recipe.role import Role, Site, pattern_of
from .assignment import DECAYS, GAINS, TRANSPOSED, Stored
from .maps.model_map import ModelMap
from .names import plain_name

ROUNDED = 0.1
"""Sizes that grow as the width does, to within this share: some are rounded to a multiple."""


class OpenRolesError(Exception):
    """Parameters whose role two widths do not tell, `open` with what is known of each, by name pattern."""

    def __init__(self, open_: Mapping[str, str]) -> None:
        self.open = open_
        super().__init__("\n".join(f"{name}: {why}; give its role in `told`" for name, why in open_.items()))


def find_roles(
    build: Callable[[int], nn.Module], small: int, large: int, told: Mapping[str, str | Stored] | None = None
) -> dict[str, str | Stored]:
    """The role map of the models that `build` makes at these widths, by name pattern; `told` decides for its
    patterns. The small one is built with values, which say where gains start; the large one on `meta`.

    Raises OpenRolesError with all parameters whose role is open.
    """
    return _roles(build(small), without_values(partial(build, large)), told or {}, large / small)


def without_values(build: Callable[[], nn.Module]) -> nn.Module:
    """On `meta`, where the builder can do without values."""
    try:
        with torch.device("meta"):
            return build()
    except Exception:  # whatever it does with a value
        return build()


def _roles(
    first: nn.Module, second: nn.Module, told: Mapping[str, str | Stored], wider: float
) -> dict[str, str | Stored]:
    """Of a model with values and one that is so many times as wide."""
    shapes = {
        plain_name(name, second): tensor.shape
        for name, tensor in second.named_parameters() if not isinstance(tensor, nn.UninitializedParameter)
    }  # fmt: skip
    modules = dict(first.named_modules())
    found: dict[str, str | Stored] = dict(told)
    open_: dict[str, str] = {}
    by_pattern: dict[str, dict[str, tuple[nn.Parameter, Role | str]]] = {}
    split: set[str] = set()  # patterns of which a part is told apart
    for held, tensor in first.named_parameters():
        name = plain_name(held, first)
        if any(fnmatchcase(name, pattern) for pattern in told):
            split |= {pattern_of(name)}
            continue
        role = _told_by(name, tensor, shapes.get(name), modules[held.rpartition(".")[0]], wider)
        by_pattern.setdefault(pattern_of(name), {})[name] = tensor, role
    for pattern, each in by_pattern.items():
        alike = len({role for _, role in each.values()}) == 1
        whole = alike and pattern not in split
        for asked, (tensor, role) in ({pattern: next(iter(each.values()))} if whole else each).items():
            if not isinstance(role, Role):
                open_[asked] = role
            elif not alike:
                open_[asked] = f"would be {role}, unlike others of {pattern}"
            elif len(starts := {_started(Stored(role), one, pattern) for one, _ in each.values()}) > 1:
                open_[asked] = f"would be {role}, and does not start alike in all blocks; name each"
            elif (started := starts.pop()) is None:
                open_[asked] = (
                    f"would be {role}, and starts at {_values_of(tensor)}, not at zero or one, "
                    f"which Stored({str(role)!r}, kept=True) keeps"
                )
            else:
                found[asked] = started
    if open_:
        raise OpenRolesError(open_)
    return found


def _told_by(
    name: str, tensor: nn.Parameter, shape: torch.Size | None, module: nn.Module, wider: float
) -> Role | str:
    """The role, or what is known of a parameter whose role is open. `shape` is that in the wider model."""
    if isinstance(tensor, nn.UninitializedParameter):
        return "has no shape yet; have `build` run the model once"
    if shape is None or len(shape) != tensor.dim():
        return "is not in both widths"
    pairs = [*zip(tensor.shape, shape, strict=True)]
    grows = [one != other for one, other in pairs]
    becomes = f"{list(tensor.shape)} becomes {list(shape)} in a {type(module).__name__}"
    if any(abs(other / one / wider - 1) > ROUNDED for one, other in pairs if one != other):
        return f"{becomes}, which grows unlike the width: a part of it is fixed, or it is rounded"
    return _role(pattern_of(name), grows, module) or becomes


def find_map(build: Callable[[int], nn.Module], small: int, large: int) -> ModelMap:
    """The roles, and the places of the multipliers that they tell: what embeds, and what reads out. Those on
    branches and on the logits of attention no width tells. Raises OpenRolesError."""
    model = build(small)
    roles = _roles(model, without_values(partial(build, large)), {}, large / small)
    modules = dict(model.named_modules(remove_duplicate=False))
    sites: dict[str, list[str]] = {Site.EMBEDDING: [], Site.READOUT: []}
    for held, _ in model.named_parameters(remove_duplicate=False):
        name, module = plain_name(held, model), modules[held.rpartition(".")[0]]
        told = roles.get(pattern_of(name))
        role = told.role if isinstance(told, Stored) else told
        if not held.endswith(".weight"):
            continue
        if role == Role.INPUT:
            sites[Site.EMBEDDING].append(plain_name(held.removesuffix(".weight"), model))
        elif role == Role.OUTPUT or (role is None and isinstance(module, nn.Linear)):  # tied to an embedding
            sites[Site.READOUT].append(plain_name(held.removesuffix(".weight"), model))
    found = {site: places for site, places in sites.items() if places}
    return ModelMap(of="", proxy={}, roles=roles, sites=found)


def _role(pattern: str, grows: list[bool], module: nn.Module) -> Role | None:
    """None where it is open."""
    parts = pattern.split(".")
    inside, listed = "*" in parts, parts[-2:-1] == ["*"]
    if pattern.rpartition(".")[2].lower() in DECAYS:
        return None
    if isinstance(module, nn.Embedding):
        return Role.INPUT if grows == [False, True] and not inside else None
    if len(grows) == 1:
        if grows[0]:
            return Role.HIDDEN_VECTOR if inside else Role.VECTOR
        return Role.HIDDEN_SCALAR if inside else None
    if isinstance(module, nn.Linear):
        role = _of_linear(grows[0], grows[1], inside)
    elif type(module).__name__ in TRANSPOSED:
        role = _of_linear(grows[1], grows[0], inside)
    else:
        return None
    return None if role is Role.NARROW and listed else role  # the last of a list of layers may read out


def _of_linear(out_grows: bool, in_grows: bool, inside: bool) -> Role | None:
    match out_grows, in_grows, inside:
        case True, True, True:
            return Role.HIDDEN
        case False, True, False:
            return Role.OUTPUT
        case True, False, False:
            return Role.INPUT
        case False, True, True:
            return Role.NARROW
    return None


def _started(stored: Stored, tensor: nn.Parameter, pattern: str) -> str | Stored | None:
    """With a gain that multiplies by 1 + w said to: the model starts it at zero. None for one that the model
    starts at neither zero nor one."""
    if stored.role not in GAINS or pattern.endswith("bias"):
        return str(stored.role)
    values = tensor.detach()
    if not values.any():
        return replace(stored, role=str(stored.role), zero_centred=True)
    return str(stored.role) if bool((values == 1).all()) else None


def _values_of(tensor: nn.Parameter) -> str:
    low, high = (float(end) for end in tensor.detach().aminmax())
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
