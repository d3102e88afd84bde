"""The three rates of this machine's GPU, measured: what its estimates rest on (`sweeps/card.py`)."""

import time
from collections.abc import Callable

import torch

from ...sweeps.card import Card

OPERATIONS, SIZE, NUMBERS, REPEATS = 1000, 8192, 1 << 28, 10


def measured_card() -> Card:
    """In some seconds, with nothing else on the GPU."""
    device = torch.device("cuda")
    small = torch.ones(16, device=device)
    graph = torch.cuda.CUDAGraph()
    small.add_(1)  # loads what recording may not
    with torch.cuda.graph(graph):
        for _ in range(OPERATIONS):
            small.add_(1)
    source = torch.ones(NUMBERS, device=device)
    copy = torch.empty_like(source)
    return Card(
        torch.cuda.get_device_name(),
        _seconds(graph.replay) / OPERATIONS,
        8 * NUMBERS / _seconds(lambda: copy.copy_(source)),
        {"float32": _product(torch.float32, False), "tf32": _product(torch.float32, True),
         "bf16": _product(torch.bfloat16, False), "fp16": _product(torch.float16, False)},
    )  # fmt: skip


def _product(dtype: torch.dtype, rounded: bool) -> float:
    """FLOP/s of a large one, of random numbers: of zeros it is faster."""
    from ...models.layers.precision import products

    device = torch.device("cuda")
    a, b = (torch.randn(SIZE, SIZE, device=device, dtype=dtype) for _ in range(2))
    with products(device, rounded):
        return 2 * SIZE**3 / _seconds(lambda: a @ b)


def _seconds(function: Callable[[], object]) -> float:
    """Of one call, by the device."""
    for _ in range(3):
        function()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(REPEATS):
        function()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / REPEATS
