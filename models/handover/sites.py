"""The forward multipliers of a handover on a model of somebody else's: hooks on the modules that you name.

    SITES = {
        "embedding": ["model.embed_tokens"],                     # on what it gives
        "residual branch": ["*.o_proj", "*.down_proj"],          # on the ends of the branches
        "attention logits": ["*.q_proj"],                        # on the queries, or the norm behind them
        "readout": ["lm_head"],
    }
    apply_multipliers_(model, handover, SITES)

A site whose multiplier is one needs no modules. The hooks belong to the modules: they are copied with them
and traced by torch.compile, and are no part of the state dict, so apply them to a model that is loaded, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

from .assignment import Handover, UnknownParameterError, plain_name
from .transfer import multipliers

Sites = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Factor:
    """A forward hook: what a module gives, times a number."""

    site: str
    value: float

    def __call__(self, module: nn.Module, given: object, output: Tensor) -> Tensor:
        if not isinstance(output, Tensor):
            raise UnknownParameterError(
                f"{type(module).__name__}: gives a {type(output).__name__}, no tensor; name the module "
                f"inside it that the multiplier on {self.site} belongs to"
            )
        return output * self.value


def apply_multipliers_(model: nn.Module, handover: Handover, sites: Sites) -> None:
    """Puts the multipliers on the modules of each site, patterns (shell wildcards) of their names.

    Raises UnknownParameterError for a site that the handover does not have, one whose multiplier is not one
    and that no module is named for, a pattern that matches none, and a model that has its multipliers.
    """
    factors = multipliers(handover)
    if unknown := sorted({*sites} - {*factors}):
        raise UnknownParameterError(
            f"the handover has no multiplier on {', '.join(unknown)}; it has those on {', '.join(factors)}"
        )
    if lost := [site for site, value in factors.items() if value != 1 and site not in sites]:
        told = ", ".join(f"{site} ({factors[site]:g})" for site in lost)
        raise UnknownParameterError(
            f"no module is named for the multipliers on {told}; say where they belong"
        )
    modules = {plain_name(name, model): module for name, module in model.named_modules()}
    if twice := [name for name, module in modules.items() if _held(module)]:
        raise UnknownParameterError(f"{twice[0]}: has its multiplier already; apply them once")
    found = {
        site: [[module for name, module in modules.items() if fnmatchcase(name, one)] for one in patterns]
        for site, patterns in sites.items()
    }
    for site, patterns in sites.items():
        if empty := [one for one, matched in zip(patterns, found[site], strict=True) if not matched]:
            raise UnknownParameterError(f"no module matches {', '.join(empty)}; mend the sites")
    for site, matched in found.items():
        for module in {id(one): one for several in matched for one in several}.values():
            if factors[site] != 1:
                module.register_forward_hook(Factor(site, factors[site]))


def applied(model: nn.Module) -> dict[str, list[str]]:
    """The modules that have a multiplier, by site."""
    found: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        for factor in _held(module):
            found.setdefault(factor.site, []).append(plain_name(name, model))
    return found


def _held(module: nn.Module) -> list[Factor]:
    return [hook for hook in module._forward_hooks.values() if isinstance(hook, Factor)]
