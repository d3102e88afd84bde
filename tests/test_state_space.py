"""The chunked state space is its recurrence, and the mixer around it is the paper's, step by step."""

from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from conftest import first_views
from torch import Tensor

from mutransfer.models.layers.trace import untraced
from mutransfer.models.mixers.mamba2.declaration import state_rows
from mutransfer.models.mixers.mamba2.forward import mamba2
from mutransfer.models.mixers.mamba2.state_space import chunked_state_space, recurrent_state_space
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.recipe.shape import Shape

TOLERANCE = 1e-9  # rounding in float64; measured errors are below 1e-13
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def inputs(time: int, groups: int, decay: float) -> Inputs:
    """c, b, v, g of two sequences, three heads a group; a small decay keeps everything in the state."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, groups, time, 5), (2, groups, time, 5), (2, groups, 3, time, 4), (2, groups, 3, time))
    c, b, v, g = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    leaves = [x.requires_grad_() for x in (c, b, v, -g.abs() * decay)]
    return leaves[0], leaves[1], leaves[2], leaves[3]


@pytest.mark.parametrize("decay", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("time", "chunk"), [(64, 16), (50, 16), (7, 16), (33, 32)])
def test_chunked_equals_recurrent(time: int, chunk: int, groups: int, decay: float) -> None:
    given = inputs(time, groups, decay)
    given = (given[0], given[1], given[2], given[3].detach().requires_grad_())
    expected = recurrent_state_space(*given)
    found = chunked_state_space(*given, chunk=chunk)
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
    weight = torch.randn_like(expected)
    ours = torch.autograd.grad((found * weight).sum(), given)
    theirs = torch.autograd.grad((expected * weight).sum(), given)
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


def by_the_book(x_BTD: Tensor, p: Mapping[str, Tensor], shape: Shape) -> Tensor:
    """Mamba2's mixer of one trial, one step after the other, as section 7 of the paper has it, its norm by
    groups as transformers has it."""

    def mixed(name: str) -> Tensor:
        y = F.pad((x_BTD @ p[f"{name}.weight"].T).transpose(1, 2), (shape.conv_size - 1, 0))
        return F.silu(F.conv1d(y, p[f"{name}_conv.weight"][:, None], groups=y.shape[1]).transpose(1, 2))

    x, b, c = mixed("x"), mixed("b"), mixed("c")
    dt = F.softplus(x_BTD @ p["dt.weight"].T + p["dt_bias"])
    size, rows = shape.head_size * shape.expand_v, state_rows(shape)
    heads_of_group = shape.head_count // shape.state_groups
    outputs = []
    for sequence in range(len(x)):
        state = torch.zeros(shape.head_count, rows, size, dtype=x.dtype)
        for t in range(x.shape[1]):
            told = []
            for head in range(shape.head_count):
                group = slice(head // heads_of_group * rows, (head // heads_of_group + 1) * rows)
                value = x[sequence, t, head * size : (head + 1) * size]
                step = dt[sequence, t, head]
                kept = torch.exp(-p["a_log"][head].exp() * step) * state[head]
                state[head] = kept + step * torch.outer(b[sequence, t, group], value)
                told.append(c[sequence, t, group] @ state[head] + p["skip"][head] * value)
            outputs.append(torch.cat(told))
    y = torch.stack(outputs).view(len(x), x.shape[1], -1) * F.silu(x_BTD @ p["z.weight"].T)
    grouped = y.unflatten(-1, (shape.state_groups, -1))
    normed = F.rms_norm(grouped, grouped.shape[-1:], eps=1e-6).flatten(-2)
    return (normed * p["norm.gain"]) @ p["output.weight"].T


@pytest.mark.parametrize("changes", [{}, {"state_groups": 2, "expand_v": 2}, {"heads": 2, "head_dim": None}])
def test_the_mixer_is_the_papers(changes: dict[str, object], recipe: Callable[..., Recipe]) -> None:
    one = recipe(architecture="mamba2", width=32, base_width=32, **changes)
    prefix = "blocks.0.mixer."
    views = first_views([one])
    wide = {name: view.detach().double() for name, view in views.items() if name.startswith(prefix)}
    x = torch.randn(1, 2, 21, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = mamba2(x, wide, prefix[:-1], one.shape, 1.0, untraced)
    alone = {name.removeprefix(prefix): view[0] for name, view in wide.items()}
    torch.testing.assert_close(found[0], by_the_book(x[0], alone, one.shape), atol=TOLERANCE, rtol=0)
