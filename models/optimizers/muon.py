"""Muon (kellerjordan.github.io/posts/muon), Muon-Kimi (arXiv:2502.16982) and NorMuon (arXiv:2510.05491):
momentum, orthogonalised.

K trials, P parameters: M matrices [O, I]; all of one shape in a trial, and all trials, go through one
iteration together.
"""

import math
from typing import TYPE_CHECKING

from . import sgd
from .optimizer import Hyperparameters, Optimizer, State, column, fans, iteration_flops, matrices

if TYPE_CHECKING:
    from torch import Tensor

    from ..recipe.recipe import Recipe


def muon(
    state: State, gradient_KP: "Tensor", weight_KP: "Tensor", h: Hyperparameters, step: "int | Tensor"
) -> "Tensor":
    """A = sqrt(fan_out/fan_in) U V^T: an update of RMS operator norm 1 for any shape.

    `torch.optim.Muon` takes sqrt(max(1, fan_out/fan_in)), which is the same for square and tall matrices.
    """
    fan_out, fan_in = fans(h)
    return _orthogonal(sgd.update(state, gradient_KP, weight_KP, h, step), h, math.sqrt(fan_out / fan_in))


def muon_kimi(
    state: State, gradient_KP: "Tensor", weight_KP: "Tensor", h: Hyperparameters, step: "int | Tensor"
) -> "Tensor":
    """A = 0.2 sqrt(max(fan_in, fan_out)) U V^T: entries as large as AdamW's.

    `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`.
    """
    factor = 0.2 * math.sqrt(max(fans(h)))
    return _orthogonal(sgd.update(state, gradient_KP, weight_KP, h, step), h, factor)


def _orthogonal(momentum_KP: "Tensor", h: Hyperparameters, factor: float) -> "Tensor":
    """factor * U V^T of the momentum's matrices."""
    return _polar(momentum_KP, h).mul(factor).flatten(1)


def _polar(momentum_KP: "Tensor", h: Hyperparameters) -> "Tensor":
    """U V^T, [K, M, O, I], by the polynomial that is asked for."""
    from .orthogonal import POLYNOMIALS, orthogonalised

    return orthogonalised(matrices(momentum_KP, h), POLYNOMIALS[h.polynomial])


def normuon_init(weight_KP: "Tensor", h: Hyperparameters) -> State:
    w_KMOI = matrices(weight_KP.detach(), h)
    return {**sgd.init(weight_KP, h), "neurons_KMOI": w_KMOI.new_zeros(w_KMOI.mean(_inputs(h), True).shape)}


def normuon(
    state: State, gradient_KP: "Tensor", weight_KP: "Tensor", h: Hyperparameters, step: "int | Tensor"
) -> "Tensor":
    """A = sqrt(fan_out/fan_in) O', where O' is O = U V^T with every neuron's weights divided by the root of
    the average of their squares over steps, and as long as O: no neuron learns faster than the others.

    Its epsilon is 1e-10, beside an entry of O, which depends on no size of a gradient.
    """
    fan_out, fan_in = fans(h)
    polar_KMOI = _polar(sgd.update(state, gradient_KP, weight_KP, h, step), h)
    squares = polar_KMOI.square().mean(_inputs(h), keepdim=True)
    beta2 = column(h.beta2_K1)
    neurons = state["neurons_KMOI"].mul_(beta2).add_(squares * (1 - beta2))
    evened_KMOI = polar_KMOI / (neurons.sqrt() + NEURON_EPS)
    long, short = (x.norm(dim=(2, 3), keepdim=True) for x in (polar_KMOI, evened_KMOI))
    direction_KP: Tensor = (evened_KMOI * (long / (short + NEURON_EPS))).flatten(1)
    return direction_KP.mul_(math.sqrt(fan_out / fan_in))


def _inputs(h: Hyperparameters) -> int:
    """The axis that a neuron's inputs are on."""
    return 2 if h.lookup else 3


NEURON_EPS = 1e-10


def _flops(recipe: "Recipe", rows: int, columns: int) -> float:
    return 5 * iteration_flops(rows, columns)


READS = frozenset({"momentum", "nesterov", "polynomial"})
DEFAULTS = {"momentum": 0.95}
MUON = Optimizer(
    reads=READS,
    matrices=True,
    init=sgd.init,
    update=muon,
    convention="sqrt(fan_out/fan_in) * U V^T",
    defaults=DEFAULTS,
    exported_as={"megatron": "muon"},
    matrix_flops=_flops,
)
NORMUON = Optimizer(
    reads=READS | {"beta2"},
    matrices=True,
    init=normuon_init,
    update=normuon,
    convention="sqrt(fan_out/fan_in) * U V^T, evened by neuron",
    defaults=DEFAULTS,
    matrix_flops=_flops,
)
MUON_KIMI = Optimizer(
    reads=READS,
    matrices=True,
    init=sgd.init,
    update=muon_kimi,
    convention="0.2 * sqrt(max(fan_in, fan_out)) * U V^T",
    defaults=DEFAULTS,
    matrix_flops=_flops,
)
