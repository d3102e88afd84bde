"""Our proxies are the same functions as plain PyTorch modules, trial by trial, gradients included."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from conftest import first_views, logits
from plain_modules import Plain

from mutransfer.models.parametrization.rules import forward_multipliers
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training.loss import loss


@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
def test_logits_and_gradients_agree(architecture: str, recipe: Callable[..., Recipe]) -> None:
    recipes = [
        recipe(architecture=architecture, sequence_length=40),
        recipe(architecture=architecture, sequence_length=40, seed=1, readout_multiplier=2.0),
        recipe(architecture=architecture, sequence_length=40, parametrization="sp", residual_multiplier=0.5),
    ]
    views = first_views(recipes)
    sites = {
        s: torch.tensor([forward_multipliers(r)[s] for r in recipes]) for s in forward_multipliers(recipes[0])
    }
    tokens = torch.randint(64, (3, 4, 41), generator=torch.Generator().manual_seed(0))
    ours = logits(recipes[0].shape, views, sites, tokens[..., :-1])
    losses = loss(ours, tokens[..., 1:])
    gradients = dict(zip(views, torch.autograd.grad(losses.sum(), list(views.values())), strict=True))
    for index, one in enumerate(recipes):
        plain = Plain(one)
        plain.load(views, index)
        theirs = plain(tokens[index, :, :-1])
        # float32 sums in another order; measured differences are below 1e-5.
        torch.testing.assert_close(ours[index], theirs, atol=1e-4, rtol=1e-4)
        F.cross_entropy(theirs.flatten(0, 1), tokens[index, :, 1:].flatten()).backward()
        expected = {name: p.grad for name, p in plain.named_parameters()}
        for name, gradient in gradients.items():
            target = expected[name.replace("norm.gain", "norm.weight")]
            assert target is not None
            torch.testing.assert_close(gradient[index], target.reshape(gradient[index].shape),
                                       atol=1e-5, rtol=1e-3)  # fmt: skip
