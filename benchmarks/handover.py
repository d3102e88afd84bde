"""Whether models of transformers have their optimum where proxies said: handed over to, and by default.

    python benchmarks/handover.py            the table of what is in `handover/`
    python benchmarks/handover.py measure    measures it again: some 12 minutes on two cores

Proxies of widths 16 to 64 under muP say the base learning rate. The models are trained in a plain PyTorch
loop on the same bytes, at the base width and four times it: handed over to at five base rates around that
one, and as transformers makes them, with one AdamW group, at seven rates.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from plain_modules import plain_losses

import mutransfer as mt
from mutransfer.models.data.batches import Batches
from mutransfer.models.handover.maps.registry import MAPS
from mutransfer.models.handover.sites import apply_multipliers_
from mutransfer.models.handover.transfer import initialize_, param_groups
from mutransfer.models.handover.values import handover_at
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.results.questions.choice import tuned_log2
from mutransfer.sweeps.load import load_sweep
from mutransfer.sweeps.proxy import recipe_of

FOLDER = Path(__file__).parent / "handover"
MODELS = ("llama", "qwen3-next")
WIDTHS, SEEDS = (32, 128), (0, 1)
SETTINGS: tuple[str, ...] = ()
"""Of the sweep file, for a test."""
AROUND = (-2, -1, 0, 1, 2)
"""Octaves off what the proxies said."""
DEFAULTS = tuple(range(-11, -4))
"""log2 of learning rates."""
WHO = ("proxy", "handed over", "default")


@dataclass(frozen=True)
class Task:
    """One training of a model of transformers. `log2_rate` is of the base where it is handed over to."""

    model: str
    who: str
    width: int
    log2_rate: float
    seed: int


def measure() -> None:
    for model in MODELS:
        with tempfile.TemporaryDirectory() as scratch:
            file = str(FOLDER / f"{model}.yaml")
            proxies = mt.run(mt.load(file), out=f"{scratch}/proxies", workers=2, progress=True)
            said = tuned(proxies)
            tasks = [*_tasks(model, said)]
            with ProcessPoolExecutor(2, get_context("spawn")) as pool:
                losses = list(pool.map(partial(train, file, f"{scratch}/data"), tasks))
        rows = [
            {
                "who": task.who,
                "width": task.width,
                "learning_rate": 2.0**task.log2_rate,
                "seed": task.seed,
                "loss": loss,
            }
            for task, loss in zip(tasks, losses, strict=True)
        ]
        kept = proxies[["width", "learning_rate", "seed", "loss"]].assign(who="proxy")
        pd.concat([kept, pd.DataFrame(rows)]).to_parquet(FOLDER / f"{model}.parquet", index=False)


def tuned(proxies: pd.DataFrame) -> float:
    """log2 of the base learning rate that an export of the proxies hands over."""
    (comparison,) = mt.judge(proxies[["width", "learning_rate", "seed", "loss"]])
    return tuned_log2(comparison)[0]


def _tasks(model: str, said: float) -> Iterator[Task]:
    for width in reversed(WIDTHS):  # the longest first
        for seed in SEEDS:
            yield from (Task(model, "handed over", width, said + off, seed) for off in AROUND)
            yield from (Task(model, "default", width, float(rate), seed) for rate in DEFAULTS)


def train(file: str, data: str, task: Task) -> float:
    """The loss at the end, on the validation sequences of the sweep."""
    torch.set_num_threads(1)
    one = (f"width=[{task.width}]", f"learning_rate=[{2.0**task.log2_rate!r}]", f"seed=[{task.seed}]")
    sweep = load_sweep(file, [*one, *SETTINGS])
    recipe = recipe_of(sweep.expansion.trials[0])
    folder = Path(f"{data}-{task.who}-{task.width}-{task.log2_rate}-{task.seed}".replace(" ", "-"))
    batches = sweep.materialised(folder).batches(recipe.shape.sequence_length)
    model, optimizer = _ready(task, recipe)
    plain_losses(model, optimizer, recipe, batches)
    return _validation(model, batches, recipe)


def _ready(task: Task, recipe: Recipe) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(task.seed)
    model = BUILDERS[task.model](recipe)
    if task.who == "default":
        groups: Any = model.parameters()
        return model, torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    ready, handover = MAPS[task.model], handover_at(recipe)
    initialize_(model, handover, task.seed, ready.roles)
    apply_multipliers_(model, handover, ready.sites_in(handover))
    return model, torch.optim.AdamW(param_groups(model, handover, ready.roles))


@torch.no_grad()
def _validation(model: nn.Module, batches: Batches, recipe: Recipe) -> float:
    held = batches.validation(recipe.eval_sequences)
    logits_BTV = model(torch.from_numpy(held.inputs)).logits
    return float(F.cross_entropy(logits_BTV.flatten(0, 1), torch.from_numpy(held.labels).flatten()))


def _sizes(recipe: Recipe) -> dict[str, Any]:
    shape = recipe.shape
    return {
        "vocab_size": shape.vocab_size, "hidden_size": shape.width, "intermediate_size": shape.mlp_width,
        "num_hidden_layers": shape.depth, "num_attention_heads": shape.head_count,
        "num_key_value_heads": shape.head_count, "head_dim": shape.head_size, "tie_word_embeddings": False,
        "rms_norm_eps": 1e-6, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip


def _llama(recipe: Recipe) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    model: nn.Module = LlamaForCausalLM(LlamaConfig(**_sizes(recipe)))
    return model


def _qwen3_next(recipe: Recipe) -> nn.Module:
    from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

    shape = recipe.shape
    model: nn.Module = Qwen3NextForCausalLM(Qwen3NextConfig(
        **_sizes(recipe), linear_num_key_heads=shape.head_count, linear_num_value_heads=shape.head_count,
        linear_key_head_dim=shape.head_size, linear_value_head_dim=shape.head_size,
        mlp_only_layers=[*range(shape.depth)], layer_types=["linear_attention", "full_attention"],
    ))  # fmt: skip
    return model


BUILDERS = {"llama": _llama, "qwen3-next": _qwen3_next}


def optima(model: str) -> dict[tuple[str, int], float]:
    """log2 of the best learning rate by who trained and width."""
    rows = pd.read_parquet(FOLDER / f"{model}.parquet")
    found: dict[tuple[str, int], float] = {}
    for who in WHO:
        (comparison,) = mt.judge(rows[rows["who"] == who].drop(columns="who"))
        for one in comparison.drift.optima:
            assert one.log2_optimum is not None, f"{model}, {who}, width {one.scale}: no optimum in the grid"
            found[who, int(one.scale)] = one.log2_optimum
    return found


def table() -> Iterator[str]:
    yield "| model | proxies said | handed over, width 32 | width 128 | defaults, width 32 | width 128 |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for model in MODELS:
        rows = pd.read_parquet(FOLDER / f"{model}.parquet")
        said = tuned(rows[rows["who"] == "proxy"])
        held: Mapping[tuple[str, int], float] = optima(model)
        cells = [
            f"2^{held[who, width]:.2f} ({held[who, width] - said:+.2f})"
            for who in WHO[1:]
            for width in WIDTHS
        ]
        yield f"| {model} | 2^{said:.2f} | {' | '.join(cells)} |"


def main() -> None:
    if sys.argv[1:] == ["measure"]:
        measure()
    print("\n".join(table()))


if __name__ == "__main__":
    main()
