"""A model of your own as the architecture of a sweep: a builder, and where its forward multipliers go.

B batch, T time, D width, H heads, E head size, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.models.handover.maps.model_map import ModelMap
from mutransfer.models.handover.sites import ROOT, Place


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        normed_BTD = self.norm1(x_BTD)
        q_BHTE, k_BHTE, v_BHTE = (
            projection(normed_BTD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        mixed_BHTE = F.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, is_causal=True)
        x_BTD = x_BTD + self.out(mixed_BHTE.transpose(1, 2).flatten(2))
        out_BTD: Tensor = x_BTD + self.down(F.gelu(self.up(self.norm2(x_BTD))))
        return out_BTD


class Model(nn.Module):
    def __init__(self, vocabulary: int, width: int, depth: int, heads: int, length: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.tokens(tokens_BT) + self.positions.weight[: tokens_BT.shape[1]]
        for block in self.blocks:
            x_BTD = block(x_BTD)
        logits_BTV: Tensor = self.head(self.norm(x_BTD))
        return logits_BTV


def build(given: Mapping[str, Any]) -> nn.Module:
    """`model` are the fields of the sweep file, and the sizes that follow from them."""
    sizes = given["model"]
    return Model(
        sizes["vocab_size"], sizes["width"], sizes["depth"], sizes["head_count"], sizes["sequence_length"]
    )


MAP = ModelMap(
    of="Model",
    proxy={},
    roles={
        "tokens.weight": "input",
        "positions.weight": "input",
        "blocks.*.norm?.weight": "hidden vector",
        "blocks.*.query.weight": "hidden",
        "blocks.*.key.weight": "hidden",
        "blocks.*.value.weight": "hidden",
        "blocks.*.out.weight": "hidden",
        "blocks.*.up.weight": "hidden",
        "blocks.*.down.weight": "hidden",
        "blocks.*.bias": "hidden vector",
        "norm.weight": "vector",
        "head.weight": "output",
    },
    sites={
        "embedding": ["tokens", "positions"],
        "residual branch": ["blocks.*.out", "blocks.*.down"],
        "attention logits": [Place("blocks.*.query", has=ROOT)],  # on the queries, beside torch's own scale
        "readout": ["head"],
    },
)
