"""A Python module for torchtitan 0.3: Llama 3 or Qwen3 with sizes, starts, multipliers and groups."""

from collections.abc import Mapping
from typing import Any

from ....models.handover.assignment import Stored
from ....models.handover.maps.torchtitan import TORCHTITAN
from ....models.handover.transfer import group_values
from ....models.handover.values import Handed
from ..fault import ExportError
from .shared import Formatted, heading, logits_scale, named, unlike

TEXT = '''\
{heading}"""The large run in torchtitan 0.3, handed over by mutransfer:

    torchrun --nproc-per-node 8 -m torchtitan.train --module {module} --config large_run

How the work is spread over GPUs, the tokenizer and the data are yours: change them in `large_run`.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn
from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss
from torchtitan.components.optimizer import LRSchedulersContainer, OptimizersContainer, ParamGroupConfig
from torchtitan.config import TrainingConfig
from torchtitan.hf_datasets.text_datasets import HuggingFaceTextDataLoader
from torchtitan.models.common import ComplexRoPE, Embedding, Linear, RMSNorm
from torchtitan.models.common.attention import GQAttention, QKVLinear
from torchtitan.models.common.config_utils import get_attention_config
from torchtitan.models.common.feed_forward import FeedForward
from torchtitan.models.common.param_init import skip_param_init
from torchtitan.models.{family} import model_registry
from torchtitan.models.{family}.model import {cls}Model, {cls}TransformerBlock
from torchtitan.trainer import Trainer

WIDTH, DEPTH, HEADS, KV_HEADS, HEAD_DIM, MLP = {width}, {depth}, {heads}, {kv_heads}, {head_dim}, {mlp}
VOCABULARY, TIME, TIED = {vocabulary}, {time}, {tied}
LOGITS = {logits!r}
"""All of the scale of attention logits."""
START = {start}
"""Standard deviations of the first values."""
MULTIPLIER = {multiplier}
"""On what the module gives."""
GROUPS = {groups}
"""Pattern of the name, learning rate, weight decay (times the learning rate), epsilon."""


{scaled}


class ScaledAttention(GQAttention):
    """Its logits times LOGITS."""

    @dataclass(kw_only=True, slots=True)
    class Config(GQAttention.Config):
        pass

    def __init__(self, config: Config):
        super().__init__(config)
        self.scaling = LOGITS


def drawn(name: str) -> dict:
    return {{"weight": partial(nn.init.normal_, std=START[name])}}


def linear(name: str, inputs: int, outputs: int) -> ScaledLinear.Config:
    return ScaledLinear.Config(
        in_features=inputs, out_features=outputs, multiplier=MULTIPLIER.get(name, 1.0), param_init=drawn(name)
    )


def norm(size: int) -> RMSNorm.Config:
    return RMSNorm.Config(normalized_shape=size, eps={norm_eps!r}, param_init={{"weight": nn.init.ones_}})


def block() -> {cls}TransformerBlock.Config:
    attention = ScaledAttention.Config(
        n_heads=HEADS, n_kv_heads=KV_HEADS, head_dim=HEAD_DIM, dim=WIDTH,
        qkv_linear=QKVLinear.Config(
            head_dim=HEAD_DIM,
            wq=linear("wq", WIDTH, HEADS * HEAD_DIM),
            wkv=linear("wkv", WIDTH, KV_HEADS * HEAD_DIM),
        ),
        wo=linear("wo", HEADS * HEAD_DIM, WIDTH),
        qk_norm={qk_norm},
        inner_attention=get_attention_config("flex"),
        rope=ComplexRoPE.Config(dim=HEAD_DIM, max_seq_len=TIME, theta={theta!r}),
    )
    return {cls}TransformerBlock.Config(
        attention_norm=norm(WIDTH), ffn_norm=norm(WIDTH), attention=attention,
        feed_forward=FeedForward.Config(
            w1=linear("w1", WIDTH, MLP), w2=linear("w2", MLP, WIDTH), w3=linear("w3", WIDTH, MLP)
        ),
    )


def model() -> {cls}Model.Config:
    return {cls}Model.Config(
        dim=WIDTH, vocab_size=VOCABULARY, enable_weight_tying=TIED,
        tok_embeddings=ScaledEmbedding.Config(
            num_embeddings=VOCABULARY, embedding_dim=WIDTH, multiplier=MULTIPLIER.get("tok_embeddings", 1.0),
            param_init=drawn("tok_embeddings") if not TIED else {{"weight": skip_param_init}},
        ),
        norm=norm(WIDTH),
        lm_head=linear("lm_head", WIDTH, VOCABULARY),
        layers=[block() for _ in range(DEPTH)],
    )


def optimizer() -> OptimizersContainer.Config:
    return OptimizersContainer.Config(
        param_groups=[
            ParamGroupConfig(
                pattern=pattern, optimizer_name={optimizer!r},
                optimizer_kwargs={{"lr": rate, "weight_decay": decay, "eps": epsilon, "betas": {betas}}},
            )
            for pattern, rate, decay, epsilon in GROUPS
        ]
    )


def large_run() -> Trainer.Config:
    specification = replace(model_registry("debugmodel"), flavor="mutransfer", model=model())
    return Trainer.Config(
        loss=ChunkedLossWrapper.Config(loss_fn=CrossEntropyLoss.Config(global_vocab_size=VOCABULARY)),
        hf_assets_path="./assets/hf/tokenizer",
        model_spec=specification,
        optimizer=optimizer(),
        lr_scheduler=LRSchedulersContainer.Config(
            warmup_steps={warmup}, decay_ratio={decay_ratio!r}, decay_type={decay_type!r},
            min_lr_factor={final_lr!r},
        ),
        training=TrainingConfig(
            global_batch_size={batch_size}, seq_len=TIME, steps={steps}, max_norm={max_norm!r}
        ),
        dataloader=HuggingFaceTextDataLoader.Config(dataset="c4"),
    )
'''
SCALED = '''\
class Scaled{cls}({cls}):
    """Its output times a forward multiplier."""

    @dataclass(kw_only=True, slots=True)
    class Config({cls}.Config):
        multiplier: float = 1.0

    def __init__(self, config: Config):
        super().__init__(config)
        self.multiplier = config.multiplier

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * self.multiplier'''
NAMES = {
    pattern.split(".")[-2]: stored.like
    for pattern, stored in TORCHTITAN.roles.items()
    if isinstance(stored, Stored) and stored.like is not None
}
"""What its modules are called, and the proxies' parameter in each."""
LIKE = TORCHTITAN.proxy


def as_torchtitan(handed: Handed) -> Formatted:
    """Raises ExportError for proxies unlike its Llama 3 and Qwen3, and for an optimizer that it lacks."""
    model, values, target = handed["model"], handed["hyperparameters"], handed["target"]
    name = named(handed, "torchtitan")
    other = [f"{field}: {model[field]}" for field, value in LIKE.items() if model[field] != value]
    if model["final_norm"] not in (None, model["norm"]):
        other.append(f"final_norm: {model['final_norm']}")
    if other:
        raise ExportError(
            f"torchtitan: its Llama 3 and Qwen3 have {', '.join(f'{f}: {v}' for f, v in LIKE.items())}; the "
            f"proxies have {', '.join(other)}; export yaml or json, which hold every value"
        )
    parameters = handed["parameters"]
    present = {name: parameters[pattern] for name, pattern in NAMES.items() if pattern in parameters}
    sites = handed["multipliers"]
    falling = {"cosine": 1 - values["warmup"], "linear": 1 - values["warmup"], "wsd": values.get("cooldown")}
    multipliers = {
        "tok_embeddings": sites["embedding"], "wo": sites["residual branch"], "w2": sites["residual branch"],
        "lm_head": sites["readout"],
    }  # fmt: skip
    text = TEXT.format(
        heading=heading(handed),
        scaled="\n\n\n".join(SCALED.format(cls=cls) for cls in ("Linear", "Embedding")),
        module="handover",
        family="qwen3" if model["qk_norm"] else "llama3",
        cls="Qwen3" if model["qk_norm"] else "Llama3",
        width=target["width"], depth=target["depth"], heads=model["head_count"], mlp=model["mlp_width"],
        kv_heads=model["kv_head_count"], head_dim=target["head_size"], vocabulary=model["vocab_size"],
        time=target["sequence_length"], tied=handed["tied"],
        logits=logits_scale(handed),
        start=_literal(_starts(present)),
        multiplier=_literal({name: value for name, value in multipliers.items() if value != 1}),
        groups=_groups(present, handed),
        norm_eps=model["norm_eps"],
        theta=model["rotary_base"],
        qk_norm="norm(HEAD_DIM)" if model["qk_norm"] else "None",
        optimizer=name,
        betas=(values["beta1"], values["beta2"]),
        warmup=round(values["warmup"] * target["steps"]),
        decay_ratio=falling.get(values["schedule"], 0.0),
        decay_type="cosine" if values["schedule"] == "cosine" else "linear",
        final_lr=values["final_lr"],
        batch_size=target["batch_size"], steps=target["steps"], max_norm=values["grad_clip"] or 1e30,
    )  # fmt: skip
    return Formatted(text, unlike(handed, {"head_ratio", "rotary_base"}))


def _starts(present: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Keys and values are one configuration there, and start alike here."""
    found = {name: entry["init_std"] for name, entry in present.items() if entry["start"] == "normal"}
    found["wkv"] = found.pop("wk")
    del found["wv"]
    return {"lm_head": found["tok_embeddings"], **found}


def _groups(present: Mapping[str, Mapping[str, Any]], handed: Handed) -> str:
    """Names may have wrappers' in their middle, so only their ends are matched."""
    found: dict[tuple[float, float, float], list[str]] = {}
    for name, entry in present.items():
        values = group_values({**entry, "pattern": name}, handed)
        found.setdefault((values["lr"], values["weight_decay"], values["eps"]), []).append(name)
    lines = [
        rf'    (r"(^|\.)({"|".join(names)})\.weight$", {rate!r}, {decay!r}, {epsilon!r}),'
        for (rate, decay, epsilon), names in found.items()
    ]
    return "\n".join(["[", *lines, "]"])


def _literal(values: Mapping[str, float]) -> str:
    return "{" + ", ".join(f'"{name}": {value!r}' for name, value in values.items()) + "}"
