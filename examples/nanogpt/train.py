"""A GPT of one file in plain PyTorch, on the text of Python's own standard library.

By hand: python train.py --width 64 --learning_rate 0.01. In a sweep: mutransfer run sweep.yaml.
What a sweep needs of it are the lines that are marked so.
"""

import math
import sysconfig
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import mutransfer  # sweep

BATCH, TIME, BYTES = 16, 64, 256
ROLES = {  # sweep
    "embedding.weight": "input", "norm.weight": "vector", "readout.weight": "output",  # sweep
    "blocks.*.norm?.weight": "hidden vector", "blocks.*[a-z].weight": "hidden",  # sweep
}  # fmt: skip # sweep


class Block(nn.Module):
    """B batch, T time, H heads, D head size, W width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // 8
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 2 * width, bias=False), nn.Linear(2 * width, width, bias=False)

    def forward(self, x_BTW: Tensor, branch: float) -> Tensor:
        parts = self.qkv(self.norm1(x_BTW)).chunk(3, dim=-1)
        q_BHTD, k_BHTD, v_BHTD = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed_BHTD = functional.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, is_causal=True)
        x_BTW = x_BTW + branch * self.out(mixed_BHTD.transpose(1, 2).flatten(2))
        out_BTW: Tensor = x_BTW + branch * self.down(functional.gelu(self.up(self.norm2(x_BTW))))
        return out_BTW


class GPT(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTES, width)
        self.position = sinusoids(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm, self.readout = nn.RMSNorm(width), nn.Linear(width, BYTES, bias=False)
        self.multipliers = {"embedding": 1.0, "residual branch": 1.0, "readout": 1.0}

    def forward(self, tokens_BT: Tensor) -> Tensor:
        m = self.multipliers
        x_BTW = m["embedding"] * self.embedding(tokens_BT) + self.position
        for block in self.blocks:
            x_BTW = block(x_BTW, m["residual branch"])
        logits_BTV: Tensor = m["readout"] * self.readout(self.norm(x_BTW))
        return logits_BTV


def sinusoids(width: int) -> Tensor:
    """Of each position, [T, W]."""
    angles = torch.arange(TIME)[:, None] / 1000 ** (torch.arange(width // 2) / (width // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def text() -> Tensor:
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return torch.frombuffer(
        bytearray(b"".join(path.read_bytes() for path in files)), dtype=torch.uint8
    ).long()


def main() -> None:
    trial = mutransfer.trial(  # sweep
        width=64, depth=2, learning_rate=0.01, seed=0, steps=100, parametrization="sp", optimizer="adamw"
    )  # sweep
    torch.manual_seed(trial.seed)
    torch.set_num_threads(1)
    model = GPT(trial.width, trial.depth)
    groups = [{"params": [*model.parameters()]}]
    if trial.id is not None:  # sweep
        trial.handover.initialize_(model, ROLES, seed=trial.seed)  # sweep
        groups = trial.handover.param_groups(model, ROLES)  # sweep
        model.multipliers |= trial.handover.multipliers  # sweep
    optimizer = torch.optim.AdamW(groups, lr=trial.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / (0.1 * trial.steps), (trial.steps - step) / (0.9 * trial.steps)),
    )
    data, generator = text(), torch.Generator().manual_seed(trial.seed)
    held, trained = data[:65_536], data[65_536:]

    def loss_of(batch_BT: Tensor) -> Tensor:
        return functional.cross_entropy(model(batch_BT[:, :-1]).flatten(0, 1), batch_BT[:, 1:].flatten())

    for step in range(trial.steps):
        starts = torch.randint(len(trained) - TIME - 1, (BATCH,), generator=generator)
        loss = loss_of(torch.stack([trained[start : start + TIME + 1] for start in starts.tolist()]))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        trial.report(step, train_loss=loss.item())  # sweep
    with torch.no_grad():
        windows = held[: len(held) // (TIME + 1) * (TIME + 1)].view(-1, TIME + 1)[:128]
        final = loss_of(windows).item()
    print(f"val loss {final:.4f}" if math.isfinite(final) else "diverged")
    trial.finish(loss=final)  # sweep


if __name__ == "__main__":
    main()
