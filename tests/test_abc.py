"""abc-equivalence (arXiv:2011.14522, theorem 3.2): one rule in several forms trains the same network.

A factor can stand in the forward pass, or be taken into the weights together with their initialisation,
learning rate, decay and epsilon. With a width ratio of 4 every factor is a power of 2, so that floating
point rounds alike on both sides.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch

from mutransfer.models.data.batches import Batches
from mutransfer.models.parametrization import mup
from mutransfer.models.parametrization.power import HALF, ONE, Power, W
from mutransfer.models.parametrization.registry import PARAMETRIZATIONS
from mutransfer.models.parametrization.row import Update
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.recipe.role import Role, Site
from mutransfer.models.training.loop import train

RATES = {"sgd": 0.3, "lion": 0.004}


@dataclass(frozen=True)
class Folding:
    """How an update reacts when the weight is theta times larger and so its gradient theta times smaller."""

    learning_rate: int  # the power of theta that keeps the function's path
    epsilon: int


# SGD's update is the gradient itself; all others are blind to its size, up to their epsilon. Shampoo's
# stands beside squared gradients. Sophia is left out: its gamma h is squared too, but has no row of its own.
FOLDING = {
    "adamw": Folding(1, -1),
    "lion": Folding(1, 0),
    "sgd": Folding(2, 0),
    "muon": Folding(1, 0),
    "muon-kimi": Folding(1, 0),
    "shampoo": Folding(1, -2),
    "soap": Folding(1, -1),
    "spectral-sphere": Folding(1, 0),
}


def fold(monkeypatch: pytest.MonkeyPatch, optimizer: str, role: Role, site: Site, theta: Power) -> None:
    """Takes theta out of the forward pass at `site` and into the weights of `role`."""
    how = FOLDING[optimizer]
    row = mup.UPDATE[optimizer][role]
    folded = Update(
        row.learning_rate * theta**how.learning_rate,
        row.weight_decay / theta**how.learning_rate,
        None if row.epsilon is None else row.epsilon * theta**how.epsilon,
        "folded",
    )
    changed = replace(
        mup.MUP,
        init={**mup.INIT, role: mup.INIT[role] * theta},
        multiplier={**mup.MULTIPLIER, site: mup.MULTIPLIER[site] / theta},
    )
    monkeypatch.setitem(PARAMETRIZATIONS, "mup", changed)
    monkeypatch.setitem(mup.UPDATE, optimizer, {**mup.UPDATE[optimizer], role: folded})


@pytest.mark.parametrize(
    ("role", "site", "theta"),
    [
        (Role.OUTPUT, Site.READOUT, 1 / W),  # the whole multiplier: init and learning rate 1/m, forward 1
        (Role.OUTPUT, Site.READOUT, W**HALF),
        (Role.INPUT, Site.EMBEDDING, 1 / W),
        (Role.INPUT, Site.EMBEDDING, W**HALF),
    ],
)
@pytest.mark.parametrize("optimizer", FOLDING)
def test_forms_of_one_rule_train_alike(
    optimizer: str, role: Role, site: Site, theta: Power, recipe: Callable[..., Recipe], batches: Batches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    one = recipe(
        width=32, base_width=8, optimizer=optimizer, learning_rate=RATES.get(optimizer, 0.02), steps=10,
        weight_decay=0.1, adamw_lr_ratio=1.0, matrices="all", grad_clip=0.0,
    )  # fmt: skip
    (before,) = train([one], batches, torch.device("cpu"))
    fold(monkeypatch, optimizer, role, site, theta)
    (after,) = train([one], batches, torch.device("cpu"))
    # Powers of 2 move no rounding; only epsilon's place inside a sum does.
    expected = [point.train_loss for point in before.curve]
    assert [point.train_loss for point in after.curve] == pytest.approx(expected, abs=2e-5)
    assert expected[-1] < expected[0] - 0.01


def test_an_inequivalent_form_trains_differently(
    recipe: Callable[..., Recipe], batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: folding with SGD's powers is wrong for AdamW."""
    one = recipe(width=32, base_width=8, steps=10, grad_clip=0.0, learning_rate=0.02)
    (before,) = train([one], batches, torch.device("cpu"))
    monkeypatch.setitem(FOLDING, "adamw", FOLDING["sgd"])
    fold(monkeypatch, "adamw", Role.OUTPUT, Site.READOUT, 1 / W)
    (after,) = train([one], batches, torch.device("cpu"))
    assert after.curve[-1].train_loss != pytest.approx(before.curve[-1].train_loss, abs=1e-3)


def test_the_base_has_one_form_only() -> None:
    assert (W / W) == ONE
