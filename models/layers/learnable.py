"""Learnable multipliers (arXiv:2601.04890), and fixed ones, as part of the weights they belong to.

K trials, O rows, I columns of a matrix as it is stored.
"""

from collections.abc import Mapping

from torch import Tensor

from ..recipe.fixed import constant_on, constants
from ..recipe.placement import MULTIPLIER_NAMES
from .forward_multiplier import scaled


def merged(parameters: Mapping[str, Tensor], fixed: str) -> Mapping[str, Tensor]:
    """The parameters with s diag(r) W diag(c) in place of each W that has multipliers, and without these; all
    of a module that has a constant times that.

    The multipliers go onto the matrices and not onto the activations: every layer stays what it is, the
    model that is trained and the one that is exported are one and the same function.
    """
    if any(name.endswith(MULTIPLIER_NAMES) for name in parameters):
        parameters = {
            name: _effective(tensor, name.removesuffix(".weight"), parameters)
            for name, tensor in parameters.items()
            if not name.endswith(MULTIPLIER_NAMES)
        }
    if not constants(fixed):
        return parameters
    return {name: scaled(x, _constant(name, parameters, fixed)) for name, x in parameters.items()}


def _constant(name: str, parameters: Mapping[str, Tensor], fixed: str) -> float:
    """On a module's weight and bias alike."""
    module = name.rpartition(".")[0]
    return constant_on(module, fixed) if f"{module}.weight" in parameters else 1.0


def _effective(w_KOI: Tensor, module: str, parameters: Mapping[str, Tensor]) -> Tensor:
    if (row_KO := parameters.get(f"{module}.row")) is not None:
        w_KOI = w_KOI * row_KO[:, :, None]
    if (column_KI := parameters.get(f"{module}.column")) is not None:
        w_KOI = w_KOI * column_KI[:, None, :]
    if (scalar_K1 := parameters.get(f"{module}.scalar")) is not None:
        w_KOI = w_KOI * scalar_K1[:, :, None]
    return w_KOI
