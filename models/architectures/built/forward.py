"""The forward pass of somebody's module on stacked parameters: all trials at once where torch can, else one
after the other.

K trials, B batch, T time, V outputs.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...handover.assignment import UnknownParameterError
from ...handover.names import held_names
from ...handover.own_code import said
from ...handover.sites import Factor as OnOutput
from ...handover.sites import Taking, takings
from ...layers.forward_multiplier import Factor
from ...layers.learnable import merged
from ...layers.outputs import Outputs
from ...layers.trace import Trace
from ...recipe.role import Site, plain_site
from ...recipe.shape import Shape
from ..proxy import Regime
from .architecture import BuiltArchitecture
from .model import assigned_alone, built, described, given, model_map

LOGGER = logging.getLogger(__name__)

GROWN = 1e3
"""No parameter that trains is as large."""
SAME = 1e-3
"""Logits and gradients are the same to within this share of the largest entry: rounding in float32 is less,
another model is more."""


def logits_of(made: Any) -> Tensor:  # noqa: ANN401 - what a module gives
    """Of a module that gives them, has them as `logits`, or gives them first of several. Raises
    UnknownParameterError where they are no tensor."""
    first = made[0] if isinstance(made, tuple) and made else made
    logits_BTV = getattr(first, "logits", first)
    if not isinstance(logits_BTV, Tensor):
        raise UnknownParameterError(
            f"gives a {type(made).__name__}; return logits, or what has them as .logits"
        )
    return logits_BTV


class BuiltForward:
    """`architectures.architecture.Forward`; it tells a trace nothing."""

    def __init__(self, architecture: BuiltArchitecture) -> None:
        self._architecture = architecture
        self._held: _Held | None = None

    def __call__(
        self,
        shape: Shape,
        parameters: Mapping[str, Tensor],
        sites: Mapping[Site, Factor],
        inputs: Tensor,
        trace: Trace,
        regime: Regime,
    ) -> Outputs:
        """Logits. Raises OwnCodeError for a module that cannot be trained as one of ours."""
        whole = merged(parameters, shape.fixed_multipliers)
        with said(f"architecture {self._architecture.name}"):
            if self._held is None:
                self._held = _Held(self._architecture, shape, inputs.device)
                fresh = _Held(self._architecture, shape, inputs.device)
                sound = _sound(whole)
                with torch.autocast(inputs.device.type, enabled=False), torch.enable_grad():
                    values = {name: x.detach()[sound] for name, x in whole.items()}
                    of_sites = {s: x[sound] if isinstance(x, Tensor) else x for s, x in sites.items()}
                    self._held.try_out(fresh, values, of_sites, inputs[sound])
            return Outputs(self._held.logits(whole, sites, inputs))


class _Held:
    """The module of a shape, with every place of a multiplier ready for the trial that is run."""

    def __init__(self, architecture: BuiltArchitecture, shape: Shape, device: torch.device) -> None:
        self._name, self._outputs = architecture.name, shape.output_count
        self._module = built(architecture, shape).to(device)
        known = model_map(architecture, shape)
        [*assigned_alone(self._module, known, shape)]  # with values, which say more than meta did
        self._named = held_names(self._module)
        self._transposed = {each.parameter.name for each in described(architecture, shape) if each.transposed}
        ones = {"multipliers": dict.fromkeys(known.sites, 1.0), **given(shape)}
        self._takings = [*takings(self._module, ones, known.sites)]
        self._values: dict[str, Factor] = {}
        self._numbers: dict[int, tuple[Tensor, list[float]]] = {}
        self._at_once = False
        for taking in self._takings:
            if taking.place.attribute is None:
                taking.module.register_forward_hook(self._hook(taking))

    def try_out(
        self, fresh: "_Held", parameters: Mapping[str, Tensor], sites: Mapping[Site, Factor], inputs: Tensor
    ) -> None:
        """Finds out whether all trials can run at once. `fresh` is the same module that has not run yet.

        Raises UnknownParameterError for what makes trials depend on each other or on what ran before, and for
        what does not follow parameters and multipliers.
        """
        buffers = {name: buffer.clone() for name, buffer in self._module.named_buffers()}
        before = {name: x.clone() for name, x in parameters.items()}
        with torch.no_grad():
            alone_KBTV, again_KBTV = (self.logits(parameters, sites, inputs) for _ in range(2))
            wanted = (*inputs.shape[:3], self._outputs)
            if alone_KBTV.shape != wanted:
                raise UnknownParameterError(
                    f"makes {[*alone_KBTV.shape[1:]]} of tokens {[*inputs.shape[1:]]}, not {[*wanted[1:]]}"
                )
            for name, x_K in parameters.items():
                if not torch.allclose(x_K, before[name], rtol=0, atol=0, equal_nan=True):
                    raise UnknownParameterError(
                        f"{name}: is changed by the forward pass; train it by its gradient"
                    )
            if not torch.allclose(alone_KBTV, again_KBTV, rtol=0, atol=0, equal_nan=True):
                raise UnknownParameterError("gives other logits for the same inputs; set its dropout to 0")
            for name, buffer in self._module.named_buffers():
                if not torch.equal(buffer, buffers[name]):
                    raise UnknownParameterError(
                        f"{name}: changes with every batch, which trials would share; use no running averages"
                    )
        # None is zero, so that nothing is hidden by what starts there.
        moved = {name: 0.9 * x + 0.05 * x.abs().amax() for name, x in parameters.items()}
        self._must_follow(fresh, moved, sites, inputs)
        self._must_multiply(moved, sites, inputs)
        if len(inputs) > 1:
            self._at_once = self._can_at_once(moved, sites, inputs)

    def _must_follow(
        self, fresh: "_Held", parameters: Mapping[str, Tensor], sites: Mapping[Site, Factor], inputs: Tensor
    ) -> None:
        """Called with parameters, the module makes the logits and gradients of one that holds them."""
        one = {name: stack[-1].clone().requires_grad_() for name, stack in parameters.items()}
        factors = self._of_trial(sites, -1)
        called_BTV = self._one(one, factors, inputs[-1])
        fresh.use(factors)
        held = dict(fresh._module.named_parameters())
        with torch.no_grad():
            for name, value in self._theirs(one).items():
                held[name].copy_(value)
        held_BTV = logits_of(fresh._module(inputs[-1]))
        if not called_BTV.requires_grad:
            raise UnknownParameterError("has no gradient; it runs without any, or detaches what it gives")
        if _differ(called_BTV, held_BTV):
            raise UnknownParameterError(
                "does not follow the parameters that it is called with; it keeps them, or what it made of "
                "them, elsewhere, too"
            )
        ours = _gradients(called_BTV, [*one.values()])
        theirs = _gradients(held_BTV, [held[self._named[name]] for name in one])
        for name, mine, other in zip(one, ours, theirs, strict=True):
            other = other.transpose(-1, -2) if name in self._transposed else other
            if _differ(mine, other):
                raise UnknownParameterError(
                    f"{name}: has another gradient where the module is called with its parameters; switch "
                    "off activation checkpointing within it, and read every weight where it is registered"
                )
            if not other.any():
                LOGGER.warning("%s: %s has no part in the logits", self._name, name)

    def _must_multiply(
        self, parameters: Mapping[str, Tensor], sites: Mapping[Site, Factor], inputs: Tensor
    ) -> None:
        """A multiplier that is larger makes other logits, at every site that has a place."""
        one, factors = {name: stack[0] for name, stack in parameters.items()}, self._of_trial(sites, 0)
        with torch.no_grad():
            before_BTV = self._one(one, factors, inputs[0])
            for site, factor in factors.items():
                places = [taking.name for taking in self._takings if taking.site == plain_site(site)]
                if places and torch.equal(
                    self._one(one, {**factors, site: 1.5 * factor}, inputs[0]), before_BTV
                ):
                    raise UnknownParameterError(
                        f"{places[0]}: is named for {plain_site(site)}, and nothing that it gives is used; "
                        "name the module whose output is"
                    )

    def _of_trial(self, sites: Mapping[Site, Factor], trial: int) -> dict[Site, Factor]:
        return {
            site: self._number(factor)[trial] if isinstance(factor, Tensor) else factor
            for site, factor in sites.items()
        }

    def _can_at_once(
        self, parameters: Mapping[str, Tensor], sites: Mapping[Site, Factor], inputs: Tensor
    ) -> bool:
        """By logits and gradients of all trials."""
        if any(getattr(module, "padding_idx", None) is not None for module in self._module.modules()):
            LOGGER.info("%s: trials run one after the other (torch keeps one row of padding)", self._name)
            return False
        stacks = {name: stack.clone().requires_grad_() for name, stack in parameters.items()}
        alone_KBTV = self.logits(stacks, sites, inputs)
        alone = _gradients(alone_KBTV, [*stacks.values()])
        try:
            together_KBTV = self._all_at_once(stacks, sites, inputs)
            together = _gradients(together_KBTV, [*stacks.values()])
        except Exception as error:  # torch names what it cannot do in many ways
            LOGGER.info("%s: trials run one after the other (%s)", self._name, str(error).partition("\n")[0])
            return False
        pairs = [(alone_KBTV, together_KBTV), *zip(alone, together, strict=True)]
        if any(_differ(one, other) for both in pairs for one, other in zip(*both, strict=True)):
            LOGGER.warning("%s: trials run one after the other, as at once they are others", self._name)
            return False
        return True

    def logits(
        self, parameters: Mapping[str, Tensor], sites: Mapping[Site, Factor], inputs: Tensor
    ) -> Tensor:
        if self._at_once:
            return self._all_at_once(parameters, sites, inputs)
        return torch.stack(
            [
                self._one(
                    {name: stack[trial] for name, stack in parameters.items()},
                    self._of_trial(sites, trial),
                    inputs[trial],
                )
                for trial in range(len(inputs))
            ]
        )

    def _all_at_once(
        self, parameters: Mapping[str, Tensor], sites: Mapping[Site, Factor], inputs: Tensor
    ) -> Tensor:
        shared = {site: factor for site, factor in sites.items() if not isinstance(factor, Tensor)}
        apart = {site: factor for site, factor in sites.items() if isinstance(factor, Tensor)}

        def one(parameters: Mapping[str, Tensor], apart: Mapping[Site, Tensor], inputs: Tensor) -> Tensor:
            return self._one(parameters, {**shared, **apart}, inputs)

        with warnings.catch_warnings():
            # Of kernels that torch calls once for each trial: the function is the same.
            warnings.filterwarnings("ignore", message="There is a performance drop")
            logits_KBTV: Tensor = torch.vmap(one)(dict(parameters), apart, inputs)
        return logits_KBTV

    def _one(self, parameters: Mapping[str, Tensor], sites: Mapping[Site, Factor], inputs: Tensor) -> Tensor:
        self.use(sites)
        return logits_of(torch.func.functional_call(self._module, self._theirs(parameters), (inputs,)))

    def use(self, sites: Mapping[Site, Factor]) -> None:
        """These multipliers from now on."""
        self._values = {plain_site(site): factor for site, factor in sites.items()}
        for taking in self._takings:
            if taking.place.attribute is not None:
                setattr(taking.module, taking.place.attribute, self._values[taking.site] * taking.value)

    def _theirs(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As the module stores and calls them."""
        return {
            self._named[name]: value.transpose(-1, -2) if name in self._transposed else value
            for name, value in parameters.items()
        }

    def _hook(self, taking: Taking) -> Any:  # noqa: ANN401 - torch's hook
        def hook(module: nn.Module, given: object, output: object) -> object:
            factor = self._values[taking.site] * taking.value
            if not isinstance(factor, Tensor) and factor == 1:
                return output
            return OnOutput(taking.site, factor, taking.place.part)(module, given, output)

        return hook

    def _number(self, factor: Tensor) -> list[float]:
        """The values of a tensor that never changes, read from its device once."""
        if id(factor) not in self._numbers:
            self._numbers[id(factor)] = factor, factor.tolist()
        return self._numbers[id(factor)][1]


def _sound(parameters: Mapping[str, Tensor]) -> list[int]:
    """The trials that a module can be tried out with: a group that is resumed may hold some that blew up.
    Where all did, all are taken."""
    fine = [(x.abs() < GROWN).flatten(1).all(1) for x in parameters.values()]
    fine_K = torch.stack(fine).all(0).tolist()
    return [trial for trial, sound in enumerate(fine_K) if sound] or [*range(len(fine_K))]


def _gradients(logits: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Of the logits' mean square."""
    square = logits.double().square().mean()
    return [*torch.autograd.grad(square, parameters, allow_unused=True, materialize_grads=True)]


def _differ(one: Tensor, other: Tensor) -> bool:
    """By more than rounding makes of the largest entry."""
    room = SAME * float(other.detach().abs().max()) + 1e-12
    return not torch.allclose(one, other, rtol=0, atol=room, equal_nan=True)
