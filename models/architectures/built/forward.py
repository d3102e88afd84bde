"""The forward pass of somebody's module on stacked parameters: all trials at once where torch can, else one
after the other.

K trials, B batch, T time, V outputs.
"""

import logging
import warnings
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...handover.assignment import UnknownParameterError
from ...handover.own_code import said
from ...handover.sites import Factor as OnOutput
from ...handover.sites import Taking, takings
from ...layers.forward_multiplier import Factor
from ...layers.learnable import merged
from ...layers.trace import Trace
from ...recipe.role import Site, plain_site
from ...recipe.shape import Shape
from ..proxy import Regime
from .architecture import BuiltArchitecture
from .model import assigned_alone, built, described, given, model_map

LOGGER = logging.getLogger(__name__)

SAME = 1e-3
"""All at once is the same as one after the other to within this share of the largest logit: rounding in any
precision that is trained in is less, another model is more."""


def logits_of(made: Any) -> Tensor:  # noqa: ANN401 - what a module gives
    """Of a module that gives them, has them as `logits`, or gives them first of several."""
    first = made[0] if isinstance(made, tuple) else made
    return cast(Tensor, getattr(first, "logits", first))


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
    ) -> Tensor:
        """Logits [K, B, T, V]. Raises OwnCodeError for a module that cannot be trained as one of ours."""
        whole = merged(parameters)
        with said(f"architecture {self._architecture.name}"):
            if self._held is None:
                self._held = _Held(self._architecture, shape, inputs.device)
                self._held.try_out(whole, sites, inputs)
            return self._held.logits(whole, sites, inputs)


class _Held:
    """The module of a shape, with every place of a multiplier ready for the trial that is run."""

    def __init__(self, architecture: BuiltArchitecture, shape: Shape, device: torch.device) -> None:
        self._name, self._outputs = architecture.name, shape.output_count
        self._module = built(architecture, shape).to(device)
        known = model_map(architecture, shape)
        [*assigned_alone(self._module, known)]  # with values, which say more than meta did
        self._transposed = {each.parameter.name for each in described(architecture, shape) if each.transposed}
        ones = {"multipliers": dict.fromkeys(known.sites, 1.0), **given(shape)}
        self._takings = [*takings(self._module, ones, known.sites)]
        self._values: dict[str, Factor] = {}
        self._numbers: dict[int, tuple[Tensor, list[float]]] = {}
        self._at_once = False
        for taking in self._takings:
            if taking.place.attribute is None:
                taking.module.register_forward_hook(self._hook(taking))

    def try_out(self, parameters: Mapping[str, Tensor], sites: Mapping[Site, Factor], inputs: Tensor) -> None:
        """Raises OwnCodeError for what makes trials depend on each other or on what ran before; finds out
        whether all can run at once."""
        buffers = {name: buffer.clone() for name, buffer in self._module.named_buffers()}
        with torch.no_grad():
            alone_KBTV = self.logits(parameters, sites, inputs)
            again_KBTV = self.logits(parameters, sites, inputs)
            wanted = (*inputs.shape[:3], self._outputs)
            if alone_KBTV.shape != wanted:
                raise UnknownParameterError(
                    f"makes {[*alone_KBTV.shape[1:]]} of tokens {[*inputs.shape[1:]]}, not {[*wanted[1:]]}"
                )
            if not torch.allclose(alone_KBTV, again_KBTV, rtol=0, atol=0, equal_nan=True):
                raise UnknownParameterError("gives other logits for the same inputs; set its dropout to 0")
            for name, buffer in self._module.named_buffers():
                if not torch.equal(buffer, buffers[name]):
                    raise UnknownParameterError(
                        f"{name}: changes with every batch, which trials would share; use no running averages"
                    )
            last = {name: stack[-1] for name, stack in parameters.items()}
            self._must_follow(last, inputs[-1], alone_KBTV[-1])
            if len(inputs) > 1:
                self._at_once = self._can_at_once(parameters, sites, inputs, alone_KBTV)

    def _must_follow(self, parameters: Mapping[str, Tensor], inputs: Tensor, made_BTV: Tensor) -> None:
        """Raises UnknownParameterError where the module, holding the parameters of the trial that ran last,
        makes other logits than when it is called with them."""
        for name, value in self._theirs(parameters).items():
            self._module.get_parameter(name).copy_(value)
        held_BTV = logits_of(self._module(inputs))
        if not torch.allclose(held_BTV, made_BTV, rtol=0, atol=SAME * _size(held_BTV), equal_nan=True):
            raise UnknownParameterError(
                "does not follow the parameters that it is called with; it keeps them elsewhere, too"
            )

    def _can_at_once(
        self,
        parameters: Mapping[str, Tensor],
        sites: Mapping[Site, Factor],
        inputs: Tensor,
        alone_KBTV: Tensor,
    ) -> bool:
        try:
            difference = (self._all_at_once(parameters, sites, inputs) - alone_KBTV).abs().max()
        except Exception as error:  # torch names what it cannot do in many ways
            LOGGER.info("%s: trials run one after the other (%s)", self._name, str(error).partition("\n")[0])
            return False
        if difference > SAME * _size(alone_KBTV):
            LOGGER.warning(
                "%s: trials run one after the other, as at once their logits differ by %g",
                self._name,
                difference,
            )
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
                    {
                        site: self._number(factor)[trial] if isinstance(factor, Tensor) else factor
                        for site, factor in sites.items()
                    },
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
            warnings.filterwarnings(
                "ignore", message="There is a performance drop"
            )  # still the same function
            logits_KBTV: Tensor = torch.vmap(one)(dict(parameters), apart, inputs)
        return logits_KBTV

    def _one(self, parameters: Mapping[str, Tensor], sites: Mapping[Site, Factor], inputs: Tensor) -> Tensor:
        self._values = {plain_site(site): factor for site, factor in sites.items()}
        for taking in self._takings:
            if taking.place.attribute is not None:
                setattr(taking.module, taking.place.attribute, self._values[taking.site] * taking.value)
        return logits_of(torch.func.functional_call(self._module, self._theirs(parameters), (inputs,)))

    def _theirs(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As the module stores them."""
        return {
            name: value.transpose(-1, -2) if name in self._transposed else value
            for name, value in parameters.items()
        }

    def _hook(self, taking: Taking) -> Any:  # noqa: ANN401 - torch's hook
        def hook(module: nn.Module, given: object, output: Tensor) -> Tensor:
            factor = self._values[taking.site] * taking.value
            if not isinstance(factor, Tensor) and factor == 1:
                return output
            scaled = OnOutput(taking.site, factor, taking.place.part)(module, given, output)
            scaled_BTX: Tensor = scaled.to(output.dtype)
            return scaled_BTX

        return hook

    def _number(self, factor: Tensor) -> list[float]:
        """The values of a tensor that never changes, read from its device once."""
        if id(factor) not in self._numbers:
            self._numbers[id(factor)] = factor, factor.tolist()
        return self._numbers[id(factor)][1]


def _size(x: Tensor) -> float:
    return float(x.abs().max())
