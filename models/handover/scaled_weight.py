"""The torch parametrization that puts learnable multipliers on a weight."""

from torch import Tensor, nn


class Multiplied(nn.Module):
    """s * diag(row) W diag(column), for the kinds that there are; each starts at one."""

    def __init__(self, weight: Tensor, kinds: list[str]) -> None:
        super().__init__()
        sizes = {"scalar": 1, "row": weight.shape[0], "column": weight.shape[1]}
        for kind in kinds:
            self.register_parameter(kind, nn.Parameter(weight.new_ones(sizes[kind])))

    def forward(self, weight: Tensor) -> Tensor:
        held = dict(self.named_parameters())
        if "row" in held:
            weight = weight * held["row"][:, None]
        if "column" in held:
            weight = weight * held["column"]
        return weight * held["scalar"] if "scalar" in held else weight
