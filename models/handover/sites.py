"""The forward multipliers of a handover on a model of somebody else's: on the modules that you name.

    SITES = {
        "embedding": ["model.embed_tokens"],                     # on what it gives
        "residual branch": ["*.o_proj", "*.down_proj"],          # on the ends of the branches
        "attention logits": [Place("*.self_attn", attribute="scaling")],
        "readout": ["lm_head"],
    }
    apply_multipliers_(model, handover, SITES)

A site whose multiplier is one needs no modules; "attention logits" are those of growing heads, too. What is
put on belongs to the modules: it is copied with them and traced by torch.compile, and is no part of the state
dict, so apply it to a model that is loaded, too.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from ..recipe.role import plain_site
from .assignment import TRANSPOSED, UnknownParameterError
from .names import owners, plain_name
from .transfer import multipliers
from .values import Handed

WHOLE = "attention logits"
"""The site whose multiplier is all of the scale: a model has its own there, usually 1 / sqrt(head_dim)."""

ROOT = "1 / sqrt(head_dim)"


@dataclass(frozen=True, slots=True)
class Place:
    """Modules, a pattern (shell wildcards) of their names, and how they take a multiplier: on what they give,
    or in an `attribute`, a number that their forward pass reads.

    `part`: of the outputs' last axis in n equal parts, only the i-th, counted from zero, as (i, n).
    `has`: what the model multiplies by there itself, so that only the rest is put on; ROOT for 1 over the
    root of the target's head.
    """

    modules: str
    attribute: str | None = None
    part: tuple[int, int] = (0, 1)
    has: float | str | None = None

    def __post_init__(self) -> None:
        """Raises UnknownParameterError for a part that there is not, and for no number to divide by."""
        if len(self.part) != 2 or not 0 <= self.part[0] < self.part[1]:
            raise UnknownParameterError(
                f"Place({self.modules!r}): part={self.part} is none; the first of n is (0, n), the last "
                "(n - 1, n)"
            )
        number = isinstance(self.has, Real) and not isinstance(self.has, bool) and 0 < self.has < math.inf
        if self.has is not None and self.has != ROOT and not number:
            raise UnknownParameterError(
                f"Place({self.modules!r}): has={self.has!r} is no number above 0; give what the model "
                "multiplies by, or ROOT for 1 / sqrt(head_dim)"
            )


Sites = Mapping[str, Sequence[str | Place]]


@dataclass(frozen=True, slots=True)
class Taking:
    """A module that takes the multiplier of a site, by its name in the model as it was written."""

    name: str
    module: nn.Module
    site: str
    place: Place
    value: float
    """What is put on: the multiplier over what the model has."""


@dataclass(frozen=True)
class Factor:
    """A forward hook: what a module gives, or a part of it, times a number."""

    site: str
    value: float | Tensor
    part: tuple[int, int] = (0, 1)

    def __call__(self, module: nn.Module, given: object, output: Any) -> Any:  # noqa: ANN401 - a module's
        if lone(output) is None:
            raise UnknownParameterError(
                f"{type(module).__name__}: gives a {type(output).__name__}, no tensor; name the module "
                f"inside it that the multiplier on {self.site} belongs to"
            )
        return self._scaled(output) if isinstance(output, Tensor) else (self._scaled(output[0]), *output[1:])

    def _scaled(self, output: Tensor) -> Tensor:
        index, parts = self.part
        if parts == 1:
            return (output * self.value).to(output.dtype)
        scaled = [*parts_of(output, parts)]
        scaled[index] = (scaled[index] * self.value).to(output.dtype)
        return torch.cat(scaled, -1)


def parts_of(outputs: Tensor, parts: int, axis: int = -1) -> tuple[Tensor, ...]:
    """Equal ones. Raises UnknownParameterError where that does not go."""
    extent = outputs.shape[axis]
    if extent % parts:
        raise UnknownParameterError(
            f"{extent} outputs are not {parts} equal parts, which a Place's part=(i, {parts}) is of"
        )
    return outputs.chunk(parts, axis)


def lone(output: object) -> Tensor | None:
    """The tensor that a module gives, also where it gives it as the first of several of which the others are
    none, as Megatron's layers do with a bias; None where there is no such tensor."""
    if isinstance(output, tuple) and output and all(other is None for other in output[1:]):
        output = output[0]
    return output if isinstance(output, Tensor) else None


def apply_multipliers_(model: nn.Module, handover: Handed, sites: Sites) -> None:
    """Puts the multipliers on the places of each site.

    Raises UnknownParameterError for a site that the handover does not have, one whose multiplier is not one
    and that no module is named for, a pattern that matches none, logits of which nothing says what the model
    multiplies them by itself, and a model that has its multipliers.
    """
    found = [*takings(model, handover, sites)]
    if twice := [each.name for each in found if _factors(each.module)]:
        raise UnknownParameterError(f"{twice[0]}: has its multiplier already; apply them once")
    for each in found:
        if each.place.attribute is not None:
            setattr(each.module, each.place.attribute, each.value)
        elif each.value != 1:
            each.module.register_forward_hook(Factor(each.site, each.value, each.place.part))
    if "torch._dynamo" in sys.modules:  # programs that were compiled before know of no hooks
        torch.compiler.reset()


def takings(model: nn.Module, handover: Handed, sites: Sites) -> Iterator[Taking]:
    """Every module that takes a multiplier, once for each of its parts. Raises UnknownParameterError as
    `apply_multipliers_`."""
    factors = {plain_site(site): value for site, value in multipliers(handover).items()}
    if unknown := sorted({*sites} - {*factors}):
        raise UnknownParameterError(
            f"the handover has no multiplier on {', '.join(unknown)}; it has those on {', '.join(factors)}"
        )
    if lost := [
        f"{site} ({value:g})" for site, value in factors.items() if value != 1 and not sites.get(site)
    ]:
        raise UnknownParameterError(
            f"no module is named for the multipliers on {', '.join(lost)}; say where they belong"
        )
    modules = {plain_name(name, model): module for name, module in model.named_modules()}
    found: dict[tuple[str, str | None], list[Taking]] = {}
    placed = [(site, told) for site, several in sites.items() for told in several]
    for site, told in placed:
        place = told if isinstance(told, Place) else Place(told)
        matched = {name: one for name, one in modules.items() if fnmatchcase(name, place.modules)}
        _must_take(place, site, factors[site], matched)
        for name, module in matched.items():
            taking = Taking(name, module, site, place, factors[site] / _own_scale(handover, place.has))
            there = found.setdefault((name, place.attribute), [])
            if taking not in (replace(one, place=place) for one in there if one.place.part == place.part):
                _must_be_apart(taking, there)
                there.append(taking)
    yield from (taking for several in found.values() for taking in several)


def _must_be_apart(taking: Taking, others: Sequence[Taking]) -> None:
    """Raises UnknownParameterError for outputs that several places name."""
    index, parts = taking.place.part
    for other in others:
        first, of = other.place.part
        if other.site != taking.site:
            told = f"is named for {other.site} and for {taking.site}"
        elif index * of < (first + 1) * parts and first * parts < (index + 1) * of:
            told = f"is named twice for {taking.site}, as {other.place.modules} and {taking.place.modules}"
        else:
            continue
        raise UnknownParameterError(f"{taking.name}: {told}; name it once")


def _must_take(place: Place, site: str, factor: float, matched: Mapping[str, nn.Module]) -> None:
    """Raises UnknownParameterError for a place that no module matches, that does not say what the model has
    of a whole scale, or whose modules have no such attribute."""
    if not matched:
        raise UnknownParameterError(f"no module matches {place.modules}; mend the sites")
    if site == WHOLE and place.attribute is None and place.has is None:
        raise UnknownParameterError(
            f"{place.modules}: the multiplier on {site}, {factor:g}, is the whole scale; say what the model "
            f"has, as in Place({place.modules!r}, has=head_dim**-0.5), or where it keeps it, as in "
            "Place('*.self_attn', attribute='scaling')"
        )
    for name, module in matched.items() if place.attribute is not None else ():
        if not isinstance(getattr(module, str(place.attribute), None), int | float):
            raise UnknownParameterError(
                f"{name}: a {type(module).__name__} has no number called {place.attribute}; mend the sites"
            )


def _own_scale(handover: Handed, has: float | str | None) -> float:
    """Raises UnknownParameterError where it hangs on the head's size, and the handover does not say that."""
    if not isinstance(has, str):
        return 1.0 if has is None else has
    head_size: int | None = (handover.get("target") or {}).get("head_size")
    if head_size is None:
        raise UnknownParameterError(
            "the handover does not say the size of the target's heads; give what the model multiplies its "
            "logits by as a number, Place(..., has=head_dim**-0.5)"
        )
    return float(head_size**-0.5)


@torch.no_grad()
def merge_sites_(model: nn.Module) -> None:
    """Puts every multiplier that is on what a module gives into its weight and bias, in place: the same
    function. A number that a module keeps as an attribute stays one, and is to be set again where the model
    is loaded.

    Raises UnknownParameterError, with nothing changed, for a module without a weight that makes its outputs,
    and for one that shares it, such as a tied readout.
    """
    names = owners(model)
    held = [(plain_name(name, model), module) for name, module in model.named_modules() if _factors(module)]
    for name, module in held:
        weight = getattr(module, "weight", None)
        linear = isinstance(module, nn.Linear | nn.Embedding) or type(module).__name__ in TRANSPOSED
        if not linear or weight is None:
            raise UnknownParameterError(
                f"{name}: a {type(module).__name__} has no weight to take the multiplier into; keep it there"
            )
        if len(shared := names[id(weight)]) > 1:
            raise UnknownParameterError(
                f"{name}: its weight is shared by {' and '.join(shared)}; keep the multiplier there"
            )
        for factor in _factors(module):
            parts_of(weight, factor.part[1], _outputs_axis(module))
    for _, module in held:
        axis = _outputs_axis(module)
        for factor in _factors(module):
            index, parts = factor.part
            parts_of(module.get_parameter("weight"), parts, axis)[index].mul_(factor.value)
            if isinstance(bias := getattr(module, "bias", None), Tensor):
                parts_of(bias, parts)[index].mul_(factor.value)
        for key in [key for key, hook in module._forward_hooks.items() if isinstance(hook, Factor)]:
            del module._forward_hooks[key]


def _outputs_axis(module: nn.Module) -> int:
    """Of its weight: the first of a Linear, the last of an embedding and a Conv1D."""
    return 0 if isinstance(module, nn.Linear) else -1


def applied(model: nn.Module) -> dict[str, list[str]]:
    """The modules that have a multiplier on what they give, by site."""
    found: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        for factor in _factors(module):
            found.setdefault(factor.site, []).append(plain_name(name, model))
    return found


def _factors(module: nn.Module) -> list[Factor]:
    return [hook for hook in module._forward_hooks.values() if isinstance(hook, Factor)]
