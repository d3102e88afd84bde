"""Builders of a user's own, as `architecture: own_architectures:NAME` names them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import test_maps
import torch
from plain_modules import EPS, MLP, Attention, rotary
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mutransfer.models.handover.assignment import Stored
from mutransfer.models.handover.maps.model_map import ModelMap
from mutransfer.models.handover.sites import Place

Given = Mapping[str, Any]


class Gain(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return nn.functional.rms_norm(x_BTD, x_BTD.shape[-1:], self.gain, EPS)


class Eager(Attention):
    """Its scale may be a tensor."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        b, t, d = x_BTD.shape
        q, k, v = (
            projection(x_BTD).view(b, t, self.heads, -1).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        logits_BHTS = rotary(q) @ rotary(k).transpose(2, 3) * self.scale
        ahead_TS = torch.ones(t, t, dtype=torch.bool).triu(1)
        out_BHTE = logits_BHTS.masked_fill(ahead_TS, -torch.inf).softmax(-1) @ v
        out_BTD: Tensor = self.output(out_BHTE.transpose(1, 2).reshape(b, t, d))
        return out_BTD


class Block(nn.Module):
    def __init__(self, width: int, hidden: int, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer_norm, self.mlp_norm = Gain(width), Gain(width)
        self.mixer, self.mlp = mixer, MLP(width, hidden)

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.mixer(self.mixer_norm(x_BTD))
        out_BTD: Tensor = x_BTD + self.mlp(self.mlp_norm(x_BTD))
        return out_BTD


class Same(nn.Module):
    """The proxies' transformer, with their names, and no multiplier of its own but attention's scale."""

    def __init__(self, given: Given, attention: type[Attention]) -> None:
        super().__init__()
        sizes = given["model"]
        width, heads = sizes["width"], sizes["head_count"]
        self.embedding = nn.Embedding(sizes["vocab_size"], width)
        self.blocks = nn.ModuleList(
            Block(width, sizes["mlp_width"], attention(width, heads, (width // heads) ** -0.5))
            for _ in range(sizes["depth"])
        )
        self.final_norm = Gain(width)
        self.readout = nn.Linear(width, sizes["vocab_size"], bias=False)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(tokens_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        out_BTV: Tensor = self.readout(self.final_norm(x_BTD))
        return out_BTV


SAME = ModelMap(
    of="Same",
    proxy={},
    roles={
        "embedding.weight": "input",
        "blocks.*_norm.gain": "hidden vector",
        "blocks.*.weight": "hidden",
        "final_norm.gain": "vector",
        "readout.weight": "output",
    },
    sites={
        "embedding": ["embedding"],
        "residual branch": ["blocks.*.mixer.output", "blocks.*.mlp.down"],
        "attention logits": [Place("blocks.*.mixer", attribute="scale")],
        "readout": ["readout"],
    },
)


def fused_kernel(given: Given) -> nn.Module:
    """Its kernel takes no tensor for a scale: trials whose scales differ run one after the other."""
    return Same(given, Attention)


def eager(given: Given) -> Same:
    return Same(given, Eager)


def llama(given: Given) -> nn.Module:
    return test_maps.llama(given["model"]["width"])


def gpt2(given: Given) -> nn.Module:
    return test_maps.gpt2(given["model"]["width"])


def mamba2(given: Given) -> nn.Module:
    return test_maps.mamba2(given["model"]["width"])


def qwen3_next(given: Given) -> nn.Module:
    return test_maps.qwen3_next(given["model"]["width"])


def dropping(given: Given) -> nn.Module:
    model = eager(given)
    model.readout.register_forward_pre_hook(lambda module, taken: nn.functional.dropout(taken[0], 0.1))
    return model


class Averaging(nn.Module):
    def __init__(self, inner: Same, width: int) -> None:
        super().__init__()
        self.inner, self.average = inner, nn.BatchNorm1d(width)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        out_BTV: Tensor = self.inner(tokens_BT)
        self.average(self.inner.embedding(tokens_BT).transpose(1, 2))
        return out_BTV


def averaging(given: Given) -> nn.Module:
    return Averaging(eager(given), given["model"]["width"])


def frozen(given: Given) -> nn.Module:
    model = eager(given)
    model.final_norm.requires_grad_(False)
    return model


def transposed_logits(given: Given) -> nn.Module:
    model = eager(given)
    model.register_forward_hook(lambda module, taken, made: made.transpose(1, 2))
    return model


def from_zero(given: Given) -> nn.Module:
    model = eager(given)
    nn.init.zeros_(model.final_norm.gain)
    return model


def no_module(given: Given) -> int:
    return 1


def broken(given: Given) -> nn.Module:
    return eager({"model": given["model"]["no such field"]})


def with_a_kernel(given: Given) -> nn.Module:
    model = eager(given)
    model.get_submodule("blocks.0").register_parameter(
        "kernel", nn.Parameter(torch.ones(given["model"]["width"], 1, 4))
    )
    return model


class Remembering(nn.Module):
    """Reads a weight that it has put aside."""

    def __init__(self, inner: Same) -> None:
        super().__init__()
        self.inner, self.aside = inner, [inner.readout.weight]

    def forward(self, tokens_BT: Tensor) -> Tensor:
        out_BTV: Tensor = self.inner(tokens_BT)
        also_BTV: Tensor = self.inner.final_norm(self.inner.embedding(tokens_BT)) @ self.aside[0].detach().T
        return out_BTV + also_BTV


def remembering(given: Given) -> nn.Module:
    return Remembering(eager(given))


class Recurrent(nn.Module):
    def __init__(self, given: Given) -> None:
        super().__init__()
        width = given["model"]["width"]
        self.tokens = nn.Embedding(given["model"]["vocab_size"], width)
        self.layers = nn.ModuleList(nn.GRU(width, width, batch_first=True) for _ in range(2))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, given["model"]["vocab_size"])

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.tokens(tokens_BT)
        for layer in self.layers:
            x_BTD = x_BTD + layer(x_BTD)[0]
        logits_BTV: Tensor = self.head(self.norm(x_BTD))
        return logits_BTV


RECURRENT = ModelMap(
    of="Recurrent",
    proxy={},
    roles={
        "tokens.weight": "input",
        "layers.*.weight_*": Stored("hidden", transposed=False),
        "layers.*.bias_*": Stored("hidden vector", kept=True),
        "norm.weight": "vector",
        "head.weight": "output",
        "head.bias": Stored("vector", kept=True),
    },
    sites={"embedding": ["tokens"], "residual branch": [], "attention logits": [], "readout": ["head"]},
)


def recurrent(given: Given) -> nn.Module:
    return Recurrent(given)


class Stacked(nn.Module):
    """Matrices that an index inside the block tells apart, and nothing else."""

    def __init__(self, given: Given) -> None:
        super().__init__()
        width = given["model"]["width"]
        self.tokens = nn.Embedding(given["model"]["vocab_size"], width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.RMSNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )
            for _ in range(given["model"]["depth"])
        )
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, given["model"]["vocab_size"], bias=False)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.tokens(tokens_BT)
        for block in self.blocks:
            x_BTD = x_BTD + self.branch(block, x_BTD)
        return self.read(self.norm(x_BTD))

    def branch(self, block: nn.Module, x_BTD: Tensor) -> Tensor:
        out_BTD: Tensor = block(x_BTD)
        return out_BTD

    def read(self, x_BTD: Tensor) -> Tensor:
        logits_BTV: Tensor = self.head(x_BTD)
        return logits_BTV


STACKED = ModelMap(
    of="Stacked",
    proxy={},
    roles={
        "tokens.weight": "input",
        "blocks.*.0.weight": "hidden vector",
        "blocks.*.1.weight": "hidden",
        "blocks.*.3.weight": "hidden",
        "blocks.*.bias": "hidden vector",
        "norm.weight": "vector",
        "head.weight": "output",
    },
    sites={"embedding": ["tokens"], "residual branch": ["blocks.*.3"], "readout": ["head"]},
)


WRONG = ModelMap(of="Stacked", proxy={}, roles={"*": "hidden"}, sites=STACKED.sites)


def stacked(given: Given) -> Stacked:
    return Stacked(given)


def padded(given: Given) -> Stacked:
    """torch keeps the row of the padding from training, but not of several trials at once."""
    model = Stacked(given)
    model.tokens.padding_idx = 3
    return model


class Checkpointed(Stacked):
    def branch(self, block: nn.Module, x_BTD: Tensor) -> Tensor:
        out_BTD: Tensor = checkpoint(block, x_BTD, use_reentrant=False)
        return out_BTD


def checkpointed(given: Given) -> Stacked:
    return Checkpointed(given)


class Aside(Stacked):
    """Reads the readout without calling it."""

    def read(self, x_BTD: Tensor) -> Tensor:
        return nn.functional.linear(x_BTD, self.head.weight)


def aside(given: Given) -> Stacked:
    return Aside(given)


class Caching(Stacked):
    def forward(self, tokens_BT: Tensor) -> Tensor:
        if not hasattr(self, "cached"):
            self.cached = [self.head.weight.detach().clone()]
        also_BTV: Tensor = self.norm(self.tokens(tokens_BT)) @ self.cached[0].T
        return super().forward(tokens_BT) + also_BTV


def caching(given: Given) -> Stacked:
    return Caching(given)


def tied(given: Given) -> Stacked:
    model = Stacked(given)
    model.head.weight = model.tokens.weight
    return model


def sharing(given: Given) -> Stacked:
    model = Stacked(given)
    shared = model.get_submodule("blocks.0.1").get_parameter("weight")
    for index in range(len(model.blocks)):
        model.get_submodule(f"blocks.{index}.1").register_parameter("weight", shared)
    return model


def gradless(given: Given) -> Stacked:
    model = Stacked(given)
    model.register_forward_hook(lambda module, taken, made: made.detach())
    return model


def exiting(given: Given) -> Stacked:
    raise SystemExit(7)


def wordy(given: Given) -> Stacked:
    print("built")
    return Stacked(given)


def unlike(given: Given) -> nn.Module:
    """A dictionary in place of logits."""
    model = Stacked(given)
    model.register_forward_hook(lambda module, taken, made: {"scores": made})
    return model


def valued(given: Given) -> Stacked:
    """Reads a value while it is built, which torch's meta device has not."""
    assert torch.linspace(0, 1, 4)[1].item() > 0
    return Stacked(given)


def spare(given: Given) -> Stacked:
    """A matrix that nothing reads."""
    model = Stacked(given)
    model.register_module("router", nn.Linear(given["model"]["width"], 4, bias=False))
    return model


class Experts(nn.Module):
    """A mixture of two, all of whose units are in one parameter each: [experts, out, in]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.router = Gain(width), nn.Linear(width, 2, bias=False)
        self.up = nn.Parameter(torch.randn(2, 4 * width, width))
        self.down = nn.Parameter(torch.randn(2, width, 4 * width))

    def forward(self, x_BTD: Tensor) -> Tensor:
        shares_BTE = self.router(self.norm(x_BTD)).softmax(-1)
        hidden_BTEU = nn.functional.gelu(torch.einsum("btd,eud->bteu", self.norm(x_BTD), self.up))
        return torch.einsum("bteu,edu,bte->btd", hidden_BTEU, self.down, shares_BTE)


def mixture(given: Given) -> nn.Module:
    model = Stacked(given)
    width = given["model"]["width"]
    model.blocks = nn.ModuleList(nn.Sequential(Experts(width)) for _ in range(given["model"]["depth"]))
    return model


MIXTURE = ModelMap(
    of="Stacked",
    proxy={},
    roles={
        "tokens.weight": "input",
        "blocks.*.norm.gain": "hidden vector",
        "blocks.*.router.weight": "router",
        "blocks.*.up": Stored("expert in", transposed=False),
        "blocks.*.down": Stored("expert out", transposed=False),
        "norm.weight": "vector",
        "head.weight": "output",
    },
    sites={"embedding": ["tokens"], "residual branch": ["blocks.*.0"], "readout": ["head"]},
)


def mixtral(given: Given) -> nn.Module:
    return test_maps.mixtral(given["model"]["width"])


def qwen3_moe(given: Given) -> nn.Module:
    return test_maps.qwen3_moe(given["model"]["width"])


def one_block(given: Given) -> Stacked:
    """Twice in the list."""
    model = Stacked(given)
    model.blocks = nn.ModuleList([model.blocks[0]] * 2)
    return model


def compiled_blocks(given: Given) -> Stacked:
    model = Stacked(given)
    model.blocks = nn.ModuleList(torch.compile(block, backend="eager") for block in model.blocks)  # type: ignore[misc]
    return model


def in_half(given: Given) -> nn.Module:
    return Stacked(given).half()


def clipped(given: Given) -> Stacked:
    model = Stacked(given)
    model.tokens.max_norm = 1.0
    return model


class Shrinking(Stacked):
    """Makes its readout smaller as it goes."""

    def read(self, x_BTD: Tensor) -> Tensor:
        with torch.no_grad():
            self.head.weight.mul_(0.9)
        return super().read(x_BTD)


def shrinking(given: Given) -> Stacked:
    return Shrinking(given)


FIFTHS = replace(STACKED, sites={**STACKED.sites, "residual branch": [Place("blocks.*.3", part=(0, 5))]})


class Doubled(nn.Module):
    """Holds a part under the name that torch.compile gives to what it wraps."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self._orig_mod = inner

    def forward(self, x_BTD: Tensor) -> Tensor:
        out_BTD: Tensor = 2 * self._orig_mod(x_BTD)
        return out_BTD


def doubling(given: Given) -> Stacked:
    model = Stacked(given)
    model.norm = Doubled(model.norm)  # type: ignore[assignment]
    return model
