"""A mixture of experts in place of a block's MLP: a router scores them for every token, and the outputs of
those with the highest scores are averaged by the softmax of these scores (arXiv:2401.04088).

K trials, B batch, T time, D width, E experts, C experts of a token, R = B * T * C rows, U units of an expert,
I fan_in, O fan_out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..recipe.shape import Shape
from .linear import projection
from .mlp import activated
from .on_meta import cast
from .precision import wide
from .trace import Trace


class Load(NamedTuple):
    """Of a block's experts: the share of all tokens that each has, which sum to C, and its mean probability
    among all, which is differentiable."""

    share_KE: Tensor
    probability_KE: Tensor


@dataclass(frozen=True, slots=True)
class Choice:
    """The experts of every token, and the weights by which their outputs are averaged."""

    experts_KBTC: Tensor
    weights_KBTC: Tensor

    @classmethod
    def of(cls, scores_KBTE: Tensor, count: int) -> Self:
        """By the highest scores."""
        best_KBTC, experts_KBTC = scores_KBTE.topk(count, dim=-1)
        return cls(experts_KBTC, best_KBTC.softmax(-1))


def experts(
    x_KBTD: Tensor, parameters: Mapping[str, Tensor], name: str, shape: Shape, trace: Trace
) -> tuple[Tensor, Load]:
    """The averaged outputs, [K, B, T, D], and the loads.

    On a CPU every expert is given its own tokens. Elsewhere all are given all, and those that were not chosen
    weigh nothing: as many operations whatever is chosen, so that the host need not know it.
    """
    scores_KBTE = wide(projection(x_KBTD, parameters, f"{name}.router", trace))
    choice = Choice.of(scores_KBTE, shape.chosen_experts)
    mixed = _own_tokens if x_KBTD.device.type == "cpu" else _all_tokens
    y_KBTD = mixed(x_KBTD, choice, parameters, name, shape)
    trace(f"{name}.down", x_KBTD, y_KBTD)
    chosen_KBTE = torch.zeros_like(scores_KBTE).scatter(3, choice.experts_KBTC, 1.0)
    return y_KBTD, Load(chosen_KBTE.mean((1, 2)), scores_KBTE.softmax(-1).mean((1, 2)))


def imbalance(loads: list[Load]) -> Tensor:
    """What uneven loads cost, mean over blocks, [K]: 1 where they are even (arXiv:2101.03961, equation 4)."""
    costs_K = [
        (load.share_KE * load.probability_KE).sum(1) * load.share_KE.shape[1] / load.share_KE.sum(1)
        for load in loads
    ]
    return torch.stack(costs_K).mean(0)


def busiest(shares_KLE: Tensor) -> Tensor:
    """The load of a block's busiest expert over that of an average one, mean over L blocks, [K]."""
    return (shares_KLE.amax(2) / shares_KLE.mean(2)).mean(1)


class Rows:
    """Every token once for each of its experts, sorted by trial and expert."""

    def __init__(self, choice: Choice, experts: int) -> None:
        k, _, _, self._count = choice.experts_KBTC.shape
        first_K = torch.arange(k, device=choice.experts_KBTC.device) * experts
        expert_R = (choice.experts_KBTC.flatten(1) + first_K[:, None]).flatten()
        self._order_R = expert_R.argsort(stable=True)
        self._place_R = self._order_R.argsort()
        self._counts: list[int] = torch.bincount(expert_R, minlength=k * experts).tolist()
        self._weights_R1 = choice.weights_KBTC.flatten()[self._order_R][:, None]
        self._experts = experts

    def taken(self, x_KBTD: Tensor) -> Tensor:
        """What each row's token has, [K R, D]."""
        return x_KBTD.flatten(0, 2)[self._order_R // self._count]

    def mapped(self, x_RI: Tensor, w_KOI: Tensor) -> Tensor:
        """Every row by the matrix of its expert, [K R, O]; the matrices stand one below the other."""
        matrices = w_KOI.unflatten(1, (self._experts, -1)).flatten(0, 1)
        pairs = zip(x_RI.split(self._counts), matrices, strict=True)
        return torch.cat([F.linear(x, matrix) for x, matrix in pairs])

    def summed(self, y_RD: Tensor, like_KBTD: Tensor) -> Tensor:
        """The rows of every token added up, [K, B, T, D]."""
        return y_RD[self._place_R].view(*like_KBTD.shape[:3], self._count, -1).sum(3)

    def weighted(self, units_RU: Tensor) -> Tensor:
        """Every row times the weight of its expert."""
        return units_RU * self._weights_R1.to(units_RU.dtype)


def _own_tokens(
    x_KBTD: Tensor, choice: Choice, parameters: Mapping[str, Tensor], name: str, shape: Shape
) -> Tensor:
    rows = Rows(choice, shape.expert_count)
    units_RU = units(rows, rows.taken(x_KBTD), parameters, name, shape)
    return rows.summed(rows.mapped(units_RU, parameters[f"{name}.down.weight"]), x_KBTD)


def units(rows: Rows, x_RD: Tensor, parameters: Mapping[str, Tensor], name: str, shape: Shape) -> Tensor:
    """Of each row's expert, times its weight, [K R, U]."""
    up_RU = rows.mapped(x_RD, parameters[f"{name}.up.weight"])
    gate_RU = rows.mapped(x_RD, parameters[f"{name}.gate.weight"]) if shape.gated else None
    return rows.weighted(activated(up_RU, gate_RU, shape))


def _all_tokens(
    x_KBTD: Tensor, choice: Choice, parameters: Mapping[str, Tensor], name: str, shape: Shape
) -> Tensor:
    k, b, t, d = x_KBTD.shape
    count, x_KRD = shape.expert_count, x_KBTD.flatten(1, 2)
    x_KRD, up_KUD = cast(x_KRD), cast(parameters[f"{name}.up.weight"])
    up_KRU, gate_KRU = x_KRD @ up_KUD.transpose(1, 2), None
    if shape.gated:
        gate_KRU = x_KRD @ cast(parameters[f"{name}.gate.weight"]).transpose(1, 2)
    units_KRU = activated(up_KRU, gate_KRU, shape)
    weights_KRC = choice.weights_KBTC.flatten(1, 2)
    none_KRE = weights_KRC.new_zeros(k, b * t, count)
    weights_KRE = none_KRE.scatter(2, choice.experts_KBTC.flatten(1, 2), weights_KRC)
    units_KREU = units_KRU.unflatten(2, (count, -1)) * weights_KRE[..., None].to(units_KRU.dtype)
    down_KEDU = parameters[f"{name}.down.weight"].unflatten(1, (count, d))
    down_KUD = down_KEDU.transpose(2, 3).flatten(1, 2)
    y_KRD: Tensor = cast(units_KREU.flatten(2)) @ cast(down_KUD)
    return y_KRD.view(k, b, t, d)
