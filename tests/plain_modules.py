"""The proxies as plain PyTorch modules of one trial, written independently: oracle and speed baseline."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.models.data.batches import Batches
from mutransfer.models.mixers.gates import chunk_size
from mutransfer.models.mixers.gdn.delta_rule import chunked_delta_rule
from mutransfer.models.parametrization.rules import forward_multipliers
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.recipe.role import Site
from mutransfer.models.training.schedule import schedule_factor

# B batch, T time, H heads, E head size, D width, V vocabulary.
EPS = 1e-6


def plain_losses(
    model: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe, batches: Batches
) -> list[float]:
    """Of a loop over the batches that a trial with this recipe reads; the model gives logits or has them."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    found = []
    for step in range(recipe.steps):
        batch = batches.training([recipe.seed], step, recipe.batch_size)
        tokens_BT, labels_BT = torch.from_numpy(batch.inputs[0]), torch.from_numpy(batch.labels[0])
        made = model(tokens_BT)
        logits_BTV: Tensor = getattr(made, "logits", made)
        loss = F.cross_entropy(logits_BTV.flatten(0, 1), labels_BT.flatten())
        found.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.grad_clip)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * schedule_factor(recipe, step)
        optimizer.step()
    return found


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, scale: float) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.heads, self.scale = heads, scale

    def forward(self, x_BTD: Tensor) -> Tensor:
        b, t, d = x_BTD.shape
        q, k, v = (
            projection(x_BTD).view(b, t, self.heads, -1).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        out_BHTE = F.scaled_dot_product_attention(rotary(q), rotary(k), v, is_causal=True, scale=self.scale)
        out_BTD: Tensor = self.output(out_BHTE.transpose(1, 2).reshape(b, t, d))
        return out_BTD


def rotary(x_BHTE: Tensor) -> Tensor:
    """Rotation of pairs as multiplication of complex numbers."""
    time, half = x_BHTE.shape[2], x_BHTE.shape[3] // 2
    positions, pairs = (torch.arange(size, device=x_BHTE.device) for size in (time, half))
    angle = positions[:, None] * torch.exp(-math.log(10_000) * pairs / half)
    turn = torch.polar(torch.ones_like(angle), angle)
    spun = torch.complex(x_BHTE[..., :half], x_BHTE[..., half:]) * turn
    return torch.cat((spun.real, spun.imag), dim=-1)


def of_length_one(x: Tensor) -> Tensor:
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


class GatedDeltaNet(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.gate, self.output = (
            nn.Linear(width, width, bias=False) for _ in range(5)
        )
        self.query_conv, self.key_conv, self.value_conv = (
            nn.Conv1d(width, width, 4, groups=width, padding=3, bias=False) for _ in range(3)
        )
        self.a, self.b = nn.Linear(width, heads, bias=False), nn.Linear(width, heads, bias=False)
        self.a_log, self.dt_bias = nn.Parameter(torch.zeros(heads)), nn.Parameter(torch.zeros(heads))
        self.norm = nn.RMSNorm(width // heads, eps=EPS)
        self.heads = heads

    def forward(self, x_BTD: Tensor) -> Tensor:
        b, t, d = x_BTD.shape

        def mixed(linear: nn.Linear, conv: nn.Conv1d) -> Tensor:
            y = F.silu(conv(linear(x_BTD).transpose(1, 2))[..., :t])
            return y.view(b, self.heads, -1, t).permute(0, 3, 1, 2)

        q, k = mixed(self.query, self.query_conv), mixed(self.key, self.key_conv)
        v = mixed(self.value, self.value_conv)
        g = -self.a_log.exp() * F.softplus(self.a(x_BTD) + self.dt_bias)
        beta = self.b(x_BTD).sigmoid()
        out = chunked_delta_rule(
            of_length_one(q) / math.sqrt(q.shape[-1]), of_length_one(k), v, g, beta, chunk_size(x_BTD.device),
        )  # fmt: skip
        out_BTD = self.norm(out).reshape(b, t, d)
        projected: Tensor = self.output(out_BTD * F.silu(self.gate(x_BTD)))
        return projected


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        out: Tensor = self.down(F.gelu(self.up(x_BTD)))
        return out


class Block(nn.Module):
    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        shape, sites = recipe.shape, forward_multipliers(recipe)
        self.mixer_norm, self.mlp_norm = (nn.RMSNorm(shape.width, eps=EPS) for _ in range(2))
        self.mixer = (
            Attention(shape.width, shape.head_count, sites[Site.ATTENTION])
            if shape.architecture == "transformer"
            else GatedDeltaNet(shape.width, shape.head_count)
        )
        self.mlp = MLP(shape.width, shape.mlp_width)
        self.branch = sites[Site.BRANCH]

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.branch * self.mixer(self.mixer_norm(x_BTD))
        out_BTD: Tensor = x_BTD + self.branch * self.mlp(self.mlp_norm(x_BTD))
        return out_BTD


class Plain(nn.Module):
    """RMSNorm, GELU, rotary, untied: the default proxy of either architecture."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        shape, sites = recipe.shape, forward_multipliers(recipe)
        self.embedding = nn.Embedding(shape.vocab_size, shape.width)
        self.blocks = nn.ModuleList(Block(recipe) for _ in range(shape.depth))
        self.final_norm = nn.RMSNorm(shape.width, eps=EPS)
        self.readout = nn.Linear(shape.width, shape.vocab_size, bias=False)
        self.sites = sites

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.sites[Site.EMBEDDING] * self.embedding(tokens_BT)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        out_BTV: Tensor = self.readout(self.final_norm(x_BTD) * self.sites[Site.READOUT])
        return out_BTV

    def load(self, views: dict[str, Tensor], trial: int) -> None:
        """Takes one trial's weights from the stacked parameters."""
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, value in views.items():
                target = own[name.replace("norm.gain", "norm.weight")]
                target.copy_(value[trial].reshape(target.shape))
        assert len(views) == len(own)
