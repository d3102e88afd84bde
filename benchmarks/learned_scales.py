"""What learnable multipliers make of each matrix's norm by depth, where weight decay holds the matrix itself.

    python benchmarks/learned_scales.py > benchmarks/results/learned-scales.md

Also draws docs/pictures/learned-scales.png. A scale is the Frobenius norm of a weight with its multipliers
over that without them, 1 at the start; the norm is that of the matrix alone over its own at the start.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import altair as alt
import pandas as pd
import torch

from mutransfer.models.data.batches import Batches
from mutransfer.models.layers.learnable import merged
from mutransfer.models.recipe.recipe import Recipe, recipe_from_point
from mutransfer.models.training.checkpoint import NoKeeper
from mutransfer.models.training.loop import GroupTraining
from mutransfer.results.report.drawing import INK, PANEL_HEIGHT, PANEL_WIDTH, configured, drawn
from mutransfer.sweeps.load import load_sweep

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "learned-scales.png"
SEEDS, STEPS, DEPTH = 2, 800, 8
RATES = {"adamw": 2**-6, "muon": 2**-5}


def recipes(optimizer: str, data: str) -> list[Recipe]:
    point = {
        "architecture": "transformer", "parametrization": "mup", "width": 64, "depth": DEPTH, "head_dim": 8,
        "mlp_ratio": 2, "sequence_length": 64, "vocab_size": 256, "base_width": 64, "base_depth": DEPTH,
        "optimizer": optimizer, "adamw_lr_ratio": 1.0, "learning_rate": RATES[optimizer], "weight_decay": 0.3,
        "learnable_multipliers": "everywhere", "steps": STEPS, "batch_size": 16, "data": data,
    }  # fmt: skip
    return [recipe_from_point({**point, "seed": seed}) for seed in range(SEEDS)]


def scales(group: list[Recipe], batches: Batches) -> Iterator[dict[str, object]]:
    """Of every matrix: where it is, its scale and its norm, means over the seeds."""
    training = GroupTraining(group, batches, torch.device("cpu"))
    before = {name: x.detach().norm(dim=(1, 2)) for name, x in training.views().items() if x.dim() == 3}
    training.train(lambda progress: None, NoKeeper())
    own = {name: x.detach() for name, x in training.views().items()}
    for name, effective_KOI in merged(own, "none").items():
        if effective_KOI.dim() == 3:
            norm_K = own[name].norm(dim=(1, 2))
            block, _, module = name.removesuffix(".weight").removeprefix("blocks.").partition(".")
            yield {
                "optimizer": group[0].optimizer,
                "block": int(block) if module else None,
                "module": module or block,
                "scale": float((effective_KOI.norm(dim=(1, 2)) / norm_K).mean()),
                "norm": float((norm_K / before[name]).mean()),
            }


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        source = load_sweep("smoke").materialised(Path(scratch))
        groups = [recipes(optimizer, source.digest) for optimizer in RATES]
        batches = source.batches(groups[0][0].shape.sequence_length)
        rows = pd.DataFrame(row for group in groups for row in scales(group, batches))
    title, _, rest = (__doc__ or "").partition("\n\n    python")
    print(f"# Learned scales\n\n{title}\n{rest.partition(chr(10))[2]}")
    rates = ", ".join(f"{rate:g} ({optimizer})" for optimizer, rate in RATES.items())
    print(f"A transformer of width 64 and depth {DEPTH}, muP, {STEPS} steps, decay 0.3, {SEEDS} seeds.")
    print(f"Rates: {rates}.\n")
    blocks = [f"block {index}" for index in range(DEPTH)]
    print(f"| optimizer | module | {' | '.join(blocks)} | norm |\n|---|---|{'---|' * DEPTH}---|")
    for (optimizer, module), found in rows.groupby(["optimizer", "module"], sort=False):
        told = [f"{scale:.2f}" for scale in found["scale"]]
        cells = told if len(told) == DEPTH else [*told, *[""] * (DEPTH - 1)]
        print(f"| {optimizer} | {module} | {' | '.join(cells)} | {found['norm'].mean():.2f} |")
    PICTURE.write_bytes(drawn(configured(chart(rows[rows["block"].notna()])))[1])


def chart(rows: pd.DataFrame) -> alt.Chart:
    scale = alt.Scale(type="log", base=2, nice=False, padding=8)
    lines: alt.Chart = alt.Chart(rows).mark_line(point=True)
    encoded: alt.Chart = lines.encode(
        x=alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("scale:Q", title="learned scale", scale=scale, axis=alt.Axis(format="~g")),
        color=alt.Color("module:N", title=None),
        column=alt.Column("optimizer:N", title=None, header=alt.Header(labelColor=INK)),
    ).properties(width=PANEL_WIDTH * 0.8, height=PANEL_HEIGHT)
    return encoded


if __name__ == "__main__":
    main()
