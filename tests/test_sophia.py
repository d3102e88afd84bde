"""Sophia's gamma: the share of entries that are clipped is the published one, whatever the size."""

from collections.abc import Callable

import pytest
import torch

from mutransfer.models.data.batches import Batches
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.layout import Layout
from mutransfer.models.training.loop import GroupTraining

CPU = torch.device("cpu")


def clipped_share(one: Recipe, batches: Batches) -> float:
    """Of all entries that have a gradient, after all steps."""
    training = GroupTraining([one], batches, CPU)
    for step in range(one.steps):
        training.step(step)
    clipped, counted = 0, 0
    memories = training.state(one.steps, 0.0)["group"]["optimizers"]
    for block, memory in zip(Layout([one], CPU).blocks, memories, strict=True):
        momentum_KP, h = memory["momentum_KP"], block.hyperparameters
        limit_KP = (memory["curvature_KP"] * h.gamma_K1).maximum(h.epsilon_K1)
        clipped += int((momentum_KP.abs() >= limit_KP)[momentum_KP != 0].sum())
        counted += int((momentum_KP != 0).sum())
    return clipped / counted


LADDERS = {"width": (16, 32, 64, 128), "depth": (2, 4, 8, 16)}


@pytest.mark.parametrize("along", LADDERS)
def test_the_share_that_is_clipped_does_not_depend_on_the_size(
    along: str, recipe: Callable[..., Recipe], batches: Batches
) -> None:
    """h falls like the square of a gradient and m like the gradient: with one gamma for all sizes more and
    more would be clipped, as at a gamma that is smaller by the ratio."""

    def share(scale: int, gamma: float) -> float:
        sizes = {"width": 16, "depth": 2, "base_width": 16, "base_depth": 2, along: scale}
        one = recipe(
            optimizer="sophia", gamma=gamma, learning_rate=0.001, steps=21, batch_size=16, **sizes
        )  # fmt: skip
        return clipped_share(one, batches)

    smallest, *_, largest = LADDERS[along]
    ruled = [share(scale, 5.0) for scale in LADDERS[along]]
    print(along, ruled, share(largest, 5.0 * smallest / largest))
    assert max(ruled) - min(ruled) < 0.15
    assert share(largest, 5.0 * smallest / largest) > ruled[0] + 0.3


def test_the_default_leaves_the_published_share_unclipped(
    recipe: Callable[..., Recipe], batches: Batches
) -> None:
    """arXiv:2305.14342 tunes gamma so that 10 to 50 % of the entries are not clipped."""
    for steps in (21, 50, 100):
        one = recipe(optimizer="sophia", learning_rate=0.001, steps=steps, batch_size=16, width=32)
        assert 0.1 < 1 - clipped_share(one, batches) < 0.5
