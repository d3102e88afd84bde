"""The scaling table, restated as numbers for one shape, and the laws it obeys."""

import math
from collections.abc import Callable

import pytest

from mutransfer.models.inventory import parameters
from mutransfer.models.parametrization.role import Role, Site
from mutransfer.models.parametrization.rules import ParameterRule, multipliers, parameter_rules
from mutransfer.models.parametrization.table import HALF, INIT, MULTIPLIER, ONE, UPDATE, L, W
from mutransfer.models.recipe import Recipe

# Width 64 over 16 (m_W = 4), depth 6 over 2 (m_L = 3); base learning rate 1, decay 1, epsilon 1.
FACTORS = {
    # parameter: (learning rate, weight decay, epsilon) under AdamW
    "embedding.weight": (1, 1, 1 / 4),
    "blocks.*.mixer.query.weight": (1 / 4, 4, 1 / 12),
    "blocks.*.mixer.output.weight": (1 / 4, 4, 1 / 12),
    "blocks.*.mlp.down.weight": (1 / 4, 4, 1 / 12),
    "blocks.*.mixer_norm.gain": (1, 0, 1 / 12),
    "final_norm.gain": (1, 0, 1 / 4),
    "readout.weight": (1, 1, 1 / 4),
    "blocks.*.mixer.a.weight": (1 / 4, 4, 1 / 12),
    "blocks.*.mixer.a_log": (1, 0, 1 / 12),
    "blocks.*.mixer.query_conv.weight": (1, 1, 1 / 12),
    "blocks.*.mixer.norm.gain": (1, 0, 1 / 3),
}
SGD_FACTORS = {
    "embedding.weight": (4, 1 / 4),
    "blocks.*.mixer.query.weight": (3, 1 / 3),
    "blocks.*.mixer_norm.gain": (12, 0),
    "final_norm.gain": (4, 0),
    "readout.weight": (4, 1 / 4),
    "blocks.*.mixer.b.weight": (3, 1 / 3),
    "blocks.*.mixer.dt_bias": (12, 0),
    "blocks.*.mixer.norm.gain": (3, 0),
}
SCALED = {
    "width": 64,
    "depth": 6,
    "base_width": 16,
    "base_depth": 2,
    "learning_rate": 1.0,
    "weight_decay": 1.0,
    "epsilon": 1.0,
}


def by_pattern(recipe: Recipe) -> dict[str, ParameterRule]:
    return {rule.parameter.pattern: rule for rule in parameter_rules(recipe)}


@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
def test_adamw_table_as_numbers(architecture: str, recipe: Callable[..., Recipe]) -> None:
    rules = by_pattern(recipe(architecture=architecture, **SCALED))
    compared = [pattern for pattern in FACTORS if pattern in rules]
    assert len(compared) == (7 if architecture == "transformer" else 11)
    for pattern in compared:
        rule, expected = rules[pattern], FACTORS[pattern]
        found = (rule.learning_rate, rule.weight_decay, rule.epsilon)
        assert found == pytest.approx(expected), pattern


@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
def test_sgd_table_as_numbers(architecture: str, recipe: Callable[..., Recipe]) -> None:
    rules = by_pattern(recipe(architecture=architecture, optimizer="sgd", **SCALED))
    compared = [pattern for pattern in SGD_FACTORS if pattern in rules]
    assert len(compared) == (5 if architecture == "transformer" else 8)
    for pattern in compared:
        rule, expected = rules[pattern], SGD_FACTORS[pattern]
        assert (rule.learning_rate, rule.weight_decay) == pytest.approx(expected), pattern
        assert rule.epsilon is None


def test_gdn_gates_of_growing_heads(recipe: Callable[..., Recipe]) -> None:
    """arXiv:2606.04048: W_a, W_b at 1/m (AdamW) and 1/sqrt(m) (SGD); A_log at sqrt(m) under SGD."""
    growing = {**SCALED, "architecture": "gdn", "head_dim": None, "heads": 2, "depth": 2}
    adamw = by_pattern(recipe(**growing))
    assert adamw["blocks.*.mixer.a.weight"].learning_rate == pytest.approx(1 / 4)
    assert adamw["blocks.*.mixer.a_log"].learning_rate == 1
    sgd = by_pattern(recipe(**growing, optimizer="sgd"))
    assert sgd["blocks.*.mixer.b.weight"].learning_rate == pytest.approx(1 / 2)
    assert sgd["blocks.*.mixer.dt_bias"].learning_rate == pytest.approx(2)
    assert sgd["blocks.*.mixer.norm.gain"].learning_rate == pytest.approx(4)


def test_initialisation(recipe: Callable[..., Recipe]) -> None:
    """Fan-in init: hidden 1/sqrt(fan_in) at every width; the readout keeps the base's."""
    rules = by_pattern(recipe(**SCALED, init_scale=0.5))
    assert rules["embedding.weight"].init_std == 0.5
    assert rules["blocks.*.mixer.query.weight"].init_std == pytest.approx(0.5 / math.sqrt(64))
    assert rules["blocks.*.mlp.down.weight"].init_std == pytest.approx(0.5 / math.sqrt(256))
    assert rules["readout.weight"].init_std == pytest.approx(0.5 / math.sqrt(16))
    assert rules["final_norm.gain"].init_std is None
    sp = by_pattern(recipe(**SCALED, parametrization="sp"))
    assert sp["readout.weight"].init_std == pytest.approx(1 / math.sqrt(64))


def test_gpt2_initialisation(recipe: Callable[..., Recipe]) -> None:
    sp = by_pattern(recipe(**SCALED, parametrization="sp", init="gpt2"))
    assert sp["embedding.weight"].init_std == sp["blocks.*.mlp.up.weight"].init_std == 0.02
    assert sp["blocks.*.mlp.down.weight"].init_std == pytest.approx(0.02 / math.sqrt(12))
    mup = by_pattern(recipe(**SCALED, init="gpt2"))
    assert mup["blocks.*.mlp.up.weight"].init_std == pytest.approx(0.02 / 2)
    assert mup["readout.weight"].init_std == pytest.approx(0.02)


def test_forward_multipliers(recipe: Callable[..., Recipe]) -> None:
    sites = multipliers(recipe(**SCALED, readout_multiplier=3.0, residual_multiplier=2.0))
    assert sites[Site.READOUT] == pytest.approx(3 / 4)
    assert sites[Site.BRANCH] == pytest.approx(2 / 3)
    assert sites[Site.EMBEDDING] == 1
    assert sites[Site.ATTENTION] == pytest.approx(1 / math.sqrt(8))


def test_attention_scale_of_a_growing_head(recipe: Callable[..., Recipe]) -> None:
    """Heads of 8 at the base and 32 here: muP falls like 1/head_dim, SP like 1/sqrt(head_dim)."""
    growing = {**SCALED, "head_dim": None, "heads": 2}
    mup = multipliers(recipe(**growing))[Site.GROWING_ATTENTION]
    assert mup == pytest.approx(math.sqrt(8) / 32)
    sp = multipliers(recipe(**growing, parametrization="sp"))[Site.GROWING_ATTENTION]
    assert sp == pytest.approx(1 / math.sqrt(32))


def test_state_multiplier_of_a_growing_head(recipe: Callable[..., Recipe]) -> None:
    growing = {**SCALED, "architecture": "gdn", "head_dim": None, "heads": 2}
    assert multipliers(recipe(**growing))[Site.GROWING_STATE] == pytest.approx(2)
    assert multipliers(recipe(**SCALED, architecture="gdn"))[Site.STATE] == 1


@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("heads", [{}, {"head_dim": None, "heads": 2}])
@pytest.mark.parametrize("init", ["fan-in", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_at_the_base_every_rule_is_the_identity(
    architecture: str, optimizer: str, heads: dict[str, int | None], init: str, tied: bool,
    recipe: Callable[..., Recipe],
) -> None:  # fmt: skip
    common: dict[str, object] = {"architecture": architecture, "optimizer": optimizer, "init": init}
    common |= {"tied": tied, **heads}
    common |= {"width": 32, "depth": 3, "base_width": 32, "base_depth": 3, "weight_decay": 0.1}
    mup, sp = recipe(**common), recipe(**common, parametrization="sp")
    for ours, theirs in zip(parameter_rules(mup), parameter_rules(sp), strict=True):
        assert (ours.parameter, ours.init_std, ours.learning_rate, ours.weight_decay, ours.epsilon) == (
            theirs.parameter, theirs.init_std, theirs.learning_rate, theirs.weight_decay, theirs.epsilon
        )  # fmt: skip
    assert multipliers(mup) == multipliers(sp)


def test_every_table_covers_every_role_and_site() -> None:
    assert all(set(table) == set(Role) for table in (*INIT.values(), *UPDATE.values()))
    assert all(set(table) == set(Site) for table in MULTIPLIER.values())


def test_weight_decay_and_learning_rate_keep_their_product() -> None:
    """Coupled decay eta * lambda stays constant with scale in every row of muP."""
    for optimizer in ("adamw", "sgd"):
        for row in UPDATE["mup", optimizer].values():
            assert row.learning_rate * row.weight_decay == ONE


def test_a_role_without_a_row_is_an_error(
    recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {role: row for role, row in UPDATE["mup", "adamw"].items() if role is not Role.HIDDEN}
    monkeypatch.setitem(UPDATE, ("mup", "adamw"), table)
    with pytest.raises(KeyError, match="hidden"):
        parameter_rules(recipe())


def test_cells_read_like_the_paper() -> None:
    assert str(1 / (L * W**HALF)) == "m_W^-1/2 m_L^-1"
    assert str(W) == "m_W"
    assert str(ONE) == "1"
    assert (1 / W)(4.0, 3.0) == 0.25


@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
def test_names_are_unique_and_every_block_is_alike(architecture: str, recipe: Callable[..., Recipe]) -> None:
    for options in ({}, {"mlp": "swiglu", "norm": "layernorm", "positions": "learned", "tied": True}):
        inventory = parameters(recipe(architecture=architecture, depth=3, **options).shape)
        assert len({parameter.name for parameter in inventory}) == len(inventory)
        blocks = [
            [(p.pattern, p.shape, p.role) for p in inventory if p.name.startswith(f"blocks.{index}.")]
            for index in range(3)
        ]
        assert blocks[0] == blocks[1] == blocks[2] != []
