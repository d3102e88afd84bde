"""Attention's options against the formulas written out."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from conftest import first_views
from torch import Tensor

from mutransfer.models.layers.positions import rotate
from mutransfer.models.layers.trace import untraced
from mutransfer.models.mixers.attention.forward import attention
from mutransfer.models.recipe.recipe import Recipe

NAME = "blocks.0.mixer"


def written_out(x_BTD: Tensor, weights: dict[str, Tensor], recipe: Recipe, scale: float) -> Tensor:
    shape, time = recipe.shape, x_BTD.shape[1]

    def heads(which: str) -> Tensor:
        flat = x_BTD @ weights[f"{NAME}.{which}.weight"][0].T
        y: Tensor = flat.view(len(x_BTD), time, -1, shape.head_size).transpose(1, 2)
        if shape.qk_norm and which != "value":
            gain = weights[f"{NAME}.{which}_norm.gain"][0]
            y = y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt() * gain
        return y

    q, k = (rotate(heads(name), 10_000.0, shape.head_size) for name in ("query", "key"))
    v = heads("value")
    scores = scale * q @ k.transpose(-1, -2)
    back = torch.arange(time)[:, None] - torch.arange(time)
    hidden = back < 0 if shape.causal else torch.zeros_like(back, dtype=torch.bool)
    if shape.window is not None:
        hidden = hidden | (back.abs() >= shape.window)
    mixed = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v
    return mixed.transpose(1, 2).flatten(2) @ weights[f"{NAME}.output.weight"][0].T


@pytest.mark.parametrize(
    "changes", [{}, {"qk_norm": True}, {"window": 3}, {"window": 1}, {"window": 99}, {"causal": False},
                {"causal": False, "window": 4, "qk_norm": True}],
)  # fmt: skip
def test_attention_is_the_formula(changes: dict[str, object], recipe: Callable[..., Recipe]) -> None:
    one = recipe(**changes)
    views = first_views([one])
    weights = {name: view.detach().double() for name, view in views.items()}
    if one.shape.qk_norm:  # gains of one would hide whose they are
        for which in ("query", "key"):
            weights[f"{NAME}.{which}_norm.gain"] = torch.linspace(0.5, 2, 8, dtype=torch.float64)[None]
    x = torch.randn(1, 2, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = attention(x, weights, NAME, one.shape, 0.3, untraced)
    torch.testing.assert_close(found[0], written_out(x[0], weights, one, 0.3), atol=1e-9, rtol=0)


def test_a_window_as_long_as_the_sequence_is_none(recipe: Callable[..., Recipe]) -> None:
    one = recipe()
    views = first_views([one])
    x = F.normalize(torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(1)), dim=-1)
    full = attention(x, views, NAME, one.shape, 0.3, untraced)
    windowed = attention(x, views, NAME, recipe(window=16).shape, 0.3, untraced)
    torch.testing.assert_close(full, windowed, atol=1e-6, rtol=1e-5)
