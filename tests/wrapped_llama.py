"""A Llama trained for a few steps after a hand-over: by each process alone, and by all under DDP and FSDP2.

torchrun --nproc-per-node 2 wrapped_llama.py HANDOVER.json
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from mutransfer.models.handover.transfer import initialize_, param_groups

ROLES = {
    "*embed_tokens.weight": "input", "lm_head.weight": "output", "model.norm.weight": "vector",
    "*layers.*_proj.weight": "hidden", "*layers.*norm.weight": "hidden vector",
}  # fmt: skip
STEPS, SEQUENCES, TIME, VOCABULARY = 6, 8, 16, 96


def wrapped(model: nn.Module, way: str) -> nn.Module:
    if way == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    if way == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for layer in model.get_submodule("model.layers").children():
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    return model


def losses_of(way: str, handover: Mapping[str, Any]) -> list[float]:
    rank, world = (dist.get_rank(), dist.get_world_size()) if way != "one" else (0, 1)
    model = wrapped(LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=8, tie_word_embeddings=False,
    )), way)  # fmt: skip
    initialize_(model, handover, 0, ROLES)
    optimizer = torch.optim.AdamW(param_groups(model, handover, ROLES))
    generator, losses = torch.Generator().manual_seed(1), []
    for _ in range(STEPS):
        tokens_BT = torch.randint(0, VOCABULARY, (SEQUENCES, TIME), generator=generator)
        own_BT = tokens_BT.chunk(world)[rank]
        loss = model(input_ids=own_BT, labels=own_BT).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        told = loss.detach().clone()
        if world > 1:
            dist.all_reduce(told)
        losses.append(told.item() / world)
    return losses


def main(path: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    with open(path) as file:
        handover = json.load(file)
    losses = {way: losses_of(way, handover) for way in ("one", "ddp", "fsdp")}
    if dist.get_rank() == 0:
        print(json.dumps(losses))
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # threads of gloo that outlive the interpreter would now and then abort it


if __name__ == "__main__":
    main(*sys.argv[1:])
