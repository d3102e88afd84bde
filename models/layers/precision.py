"""Autocast: matrix products in a short type, everything else as it is; and back from it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch

R = TypeVar("R")
_asked: list[torch.dtype | None] = []


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Autocast to `dtype` inside; None: none, also inside of another one. Meta knows none: there it is noted
    alone (`asked_on_meta`)."""
    if device.type == "meta":
        return _noted(dtype)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


@contextmanager
def _noted(dtype: torch.dtype | None) -> Iterator[None]:
    _asked.append(dtype)
    try:
        yield
    finally:
        _asked.pop()


def asked_on_meta() -> torch.dtype | None:
    """What `autocast` asks for where this is called."""
    return _asked[-1] if _asked else None


def noted_again(function: Callable[..., R]) -> Callable[..., R]:
    """Called later, it finds noted what is noted now: torch puts back autocast alone where it computes
    again."""
    if not _asked:
        return function
    dtype = _asked[-1]

    def called(*args: object) -> R:
        with _noted(dtype):
            return function(*args)

    return called


@contextmanager
def products(device: torch.device, rounded: bool) -> Iterator[None]:
    """On a GPU, products of float32 are taken in TF32 inside (ten bits of mantissa, as fp16), or in full."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = rounded
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def wide(x: torch.Tensor) -> torch.Tensor:
    """At least float32, for what autocast's short types would lose: small decays, sums of exponentials."""
    return x if x.dtype == torch.float64 else x.float()
