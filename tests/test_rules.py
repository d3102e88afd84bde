"""The scaling table, restated as numbers for one shape, and the laws it obeys."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.models.parametrization import depth_mup, mup
from mutransfer.models.parametrization.expectation import Expectation, expectation
from mutransfer.models.parametrization.power import HALF, ONE, L, Ratios, W
from mutransfer.models.parametrization.registry import BUILT_IN, PARAMETRIZATIONS
from mutransfer.models.parametrization.rules import (
    MATRICES,
    ParameterRule,
    forward_multipliers,
    parameter_rules,
)
from mutransfer.models.recipe.inventory import parameters
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.recipe.role import Role, Site
from mutransfer.models.recipe.version import recipe_version
from mutransfer.orchestrator.studies.rule_tables import tables_markdown

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


OUTSIDE = {Role.INPUT, Role.OUTPUT, Role.VECTOR}

# Width 64 over 16 (m_W = 4), depth 9 over 1 (m_L = 9), fixed heads of GDN: input, hidden, output, narrow, as
# (learning rate, weight decay, epsilon) of a matrix optimizer that takes every matrix.
MATRIX_FACTORS: dict[tuple[str, str], list[tuple[float, float, float | None]]] = {
    ("mup", "muon"): [(1, 1, None), (1, 1, None), (4, 1 / 4, None), (1, 1, None)],
    ("mup", "spectral-sphere"): [(1, 1, None), (1, 1, None), (4, 1 / 4, None), (1, 1, None)],
    ("mup", "muon-kimi"): [(1, 1, None), (1 / 2, 2, None), (1, 1, None), (1 / 4, 4, None)],
    ("mup", "shampoo"): [(2, 1 / 2, 1 / 4), (1, 1, 1 / 81), (2, 1 / 2, 1 / 4), (1 / 2, 2, 1 / 81)],
    ("mup", "soap"): [(1, 1, 1 / 2), (1 / 4, 4, 1 / 9), (1, 1, 1 / 2), (1 / 4, 4, 1 / 9)],
    ("depth-mup", "muon"): [(1, 1, None), (1 / 3, 1, None), (4, 1 / 4, None), (1 / 3, 1, None)],
    ("depth-mup", "spectral-sphere"): [(1, 1, None), (1 / 3, 1, None), (4, 1 / 4, None), (1 / 3, 1, None)],
    ("depth-mup", "muon-kimi"): [(1, 1, None), (1 / 6, 2, None), (1, 1, None), (1 / 12, 4, None)],
    ("depth-mup", "shampoo"): [(2, 1 / 2, 1 / 4), (1 / 3, 1, 1 / 9), (2, 1 / 2, 1 / 4), (1 / 6, 2, 1 / 9)],
    ("depth-mup", "soap"): [(1, 1, 1 / 2), (1 / 12, 4, 1 / 3), (1, 1, 1 / 2), (1 / 12, 4, 1 / 3)],
}  # fmt: skip
MATRIX_PARAMETERS = (
    "embedding.weight", "blocks.*.mixer.query.weight", "readout.weight", "blocks.*.mixer.a.weight",
)  # fmt: skip

# The same shape, depth-muP, element by element: hidden, hidden vector, narrow, narrow vector.
DEPTH_FACTORS: dict[str, list[tuple[float, float, float | None]]] = {
    "adamw": [(1 / 12, 4, 1 / 12), (1 / 3, 1, 1 / 12), (1 / 12, 4, 1 / 6), (1 / 3, 0, 1 / 6)],
    "sophia": [(1 / 12, 4, 1 / 12), (1 / 3, 1, 1 / 12), (1 / 12, 4, 1 / 6), (1 / 3, 0, 1 / 6)],
    "lion": [(1 / 12, 4, None), (1 / 3, 1, None), (1 / 12, 4, None), (1 / 3, 0, None)],
    "sgd": [(1, 1 / 3, None), (4, 1 / 12, None), (1 / 2, 2 / 3, None), (2, 0, None)],
}
DEPTH_PARAMETERS = (
    "blocks.*.mixer.query.weight", "blocks.*.mixer.query_conv.weight", "blocks.*.mixer.a.weight",
    "blocks.*.mixer.a_log",
)  # fmt: skip
ALONE = {"learning_rate": 1.0, "weight_decay": 1.0, "epsilon": 1.0, "width": 64, "base_width": 16}
GROWING: dict[str, Any] = {
    **ALONE,
    "depth": 9,
    "base_depth": 1,
    "architecture": "gdn",
    "head_dim": None,
    "heads": 2,
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
    sites = forward_multipliers(recipe(**SCALED, readout_multiplier=3.0, residual_multiplier=2.0))
    assert sites[Site.READOUT] == pytest.approx(3 / 4)
    assert sites[Site.BRANCH] == pytest.approx(2 / 3)
    assert sites[Site.EMBEDDING] == 1
    assert sites[Site.ATTENTION] == pytest.approx(1 / math.sqrt(8))


def test_attention_scale_of_a_growing_head(recipe: Callable[..., Recipe]) -> None:
    """Heads of 8 at the base and 32 here: muP falls like 1/head_dim, SP like 1/sqrt(head_dim)."""
    growing = {**SCALED, "head_dim": None, "heads": 2}
    mup = forward_multipliers(recipe(**growing))[Site.GROWING_ATTENTION]
    assert mup == pytest.approx(math.sqrt(8) / 32)
    sp = forward_multipliers(recipe(**growing, parametrization="sp"))[Site.GROWING_ATTENTION]
    assert sp == pytest.approx(1 / math.sqrt(32))


def test_state_multiplier_of_a_growing_head(recipe: Callable[..., Recipe]) -> None:
    growing = {**SCALED, "architecture": "gdn", "head_dim": None, "heads": 2}
    assert forward_multipliers(recipe(**growing))[Site.GROWING_STATE] == pytest.approx(4)
    assert forward_multipliers(recipe(**SCALED, architecture="gdn"))[Site.STATE] == 1


@pytest.mark.parametrize("architecture", ["transformer", "gdn"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("heads", [{}, {"head_dim": None, "heads": 2}, {"kv_heads": 1}])
@pytest.mark.parametrize("init", ["fan-in", "gpt2"])
@pytest.mark.parametrize("tied", [True, False])
def test_at_the_base_every_rule_is_the_identity(
    architecture: str, optimizer: str, heads: dict[str, int | None], init: str, tied: bool,
    recipe: Callable[..., Recipe],
) -> None:  # fmt: skip
    common: dict[str, object] = {"architecture": architecture, "optimizer": optimizer, "init": init}
    common |= {"tied": tied, "adamw_lr_ratio": 0.1, "matrices": "all", **heads}
    common |= {"width": 32, "depth": 3, "base_width": 32, "base_depth": 3, "weight_decay": 0.1}
    sp = recipe(**common, parametrization="sp")
    for parametrization in BUILT_IN:
        other = recipe(**common, parametrization=parametrization)
        for ours, theirs in zip(parameter_rules(other), parameter_rules(sp), strict=True):
            assert (ours.parameter, ours.init_std, values(ours)) == (
                theirs.parameter, theirs.init_std, values(theirs),
            )  # fmt: skip
        assert forward_multipliers(other) == forward_multipliers(sp)


def test_every_table_covers_every_role_and_site() -> None:
    """Matrix optimizers are never asked about vectors."""
    for held in (PARAMETRIZATIONS[name] for name in BUILT_IN):
        for name, optimizer in OPTIMIZERS.items():
            vectors_too = set(Role) if name == "adamw" else {*Role} - {Role.MULTIPLIER}
            assert set(held.update(name)) == (MATRICES["all"] if optimizer.matrices else vectors_too)
        assert set(held.init) == set(Role) and set(held.multiplier) == set(Site)
        assert set(held.gradients) == set(Role)
    assert set(mup.UPDATE) == set(depth_mup.UPDATE) == set(OPTIMIZERS)


def test_weight_decay_and_learning_rate_keep_their_product() -> None:
    """What a step takes off a weight is constant with scale in every row of muP, and falls like
    1/sqrt(depth) inside the branches of depth-muP, as its updates do."""
    for parametrization, optimizer in itertools.product(BUILT_IN, OPTIMIZERS):
        for role, row in PARAMETRIZATIONS[parametrization].update(optimizer).items():
            inside = parametrization == "depth-mup" and role not in OUTSIDE
            assert row.independent_decay == (1 / L**HALF if inside else ONE), (
                parametrization,
                optimizer,
                role,
            )


def test_a_role_without_a_row_is_an_error(
    recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {role: row for role, row in mup.UPDATE["adamw"].items() if role is not Role.HIDDEN}
    monkeypatch.setitem(mup.UPDATE, "adamw", table)
    with pytest.raises(KeyError, match="hidden"):
        parameter_rules(recipe())


def test_cells_read_like_the_paper() -> None:
    assert str(1 / (L * W**HALF)) == "m_W^-1/2 m_L^-1"
    assert str(W) == "m_W"
    assert str(ONE) == "1"
    assert (1 / W)(Ratios(4.0, 3.0)) == 0.25


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


def values(rule: ParameterRule) -> tuple[float, float, float | None]:
    return rule.learning_rate, rule.weight_decay, rule.epsilon


@pytest.mark.parametrize(("parametrization", "optimizer"), MATRIX_FACTORS)
def test_matrix_optimizers_as_numbers(
    parametrization: str, optimizer: str, recipe: Callable[..., Recipe]
) -> None:
    rules = by_pattern(
        recipe(
            **GROWING,
            parametrization=parametrization,
            optimizer=optimizer,
            adamw_lr_ratio=0.1,
            matrices="all",
        )
    )
    for pattern, expected in zip(MATRIX_PARAMETERS, MATRIX_FACTORS[parametrization, optimizer], strict=True):
        assert rules[pattern].optimizer == optimizer
        assert values(rules[pattern]) == pytest.approx(expected), pattern


@pytest.mark.parametrize("optimizer", DEPTH_FACTORS)
def test_depth_mup_as_numbers(optimizer: str, recipe: Callable[..., Recipe]) -> None:
    growing = recipe(**GROWING, parametrization="depth-mup", optimizer=optimizer)
    rules = by_pattern(growing)
    for pattern, expected in zip(DEPTH_PARAMETERS, DEPTH_FACTORS[optimizer], strict=True):
        assert values(rules[pattern]) == pytest.approx(expected), pattern
    assert forward_multipliers(growing)[Site.BRANCH] == pytest.approx(1 / 3)


def test_a_matrix_optimizer_leaves_the_rest_to_adamw(recipe: Callable[..., Recipe]) -> None:
    """By role: a narrow matrix of one row is still Muon's, a large embedding is not."""
    rules = by_pattern(recipe(**GROWING, optimizer="muon", adamw_lr_ratio=0.1))
    taken = {pattern for pattern, rule in rules.items() if rule.optimizer == "muon"}
    assert taken == {p for p, rule in rules.items() if rule.parameter.role in (Role.HIDDEN, Role.NARROW)}
    assert rules["blocks.*.mixer.a.weight"].parameter.shape == (2, 64)
    assert rules["embedding.weight"].learning_rate == pytest.approx(0.1)
    assert rules["blocks.*.mixer.query_conv.weight"].optimizer == "adamw"


def test_mup_width_is_mup_without_depth(recipe: Callable[..., Recipe]) -> None:
    for optimizer in OPTIMIZERS:
        options = {**GROWING, "optimizer": optimizer, "adamw_lr_ratio": 0.1}
        width_only = recipe(**options, parametrization="mup-width")
        shallow = recipe(**options | {"depth": 1})
        for ours, theirs in zip(by_pattern(width_only).values(), by_pattern(shallow).values(), strict=True):
            assert (values(ours), ours.init_std) == (values(theirs), theirs.init_std)
        assert forward_multipliers(width_only) == forward_multipliers(shallow)


def test_plain_mup_treats_gates_as_hidden(recipe: Callable[..., Recipe]) -> None:
    options = {**GROWING, "optimizer": "sgd", "depth": 1}
    own, plain = by_pattern(recipe(**options)), by_pattern(recipe(**options, parametrization="mup-plain"))
    differing = {pattern for pattern, rule in own.items() if values(rule) != values(plain[pattern])}
    assert differing == {f"blocks.*.mixer.{name}" for name in ("a.weight", "b.weight", "a_log", "dt_bias")}
    assert values(plain["blocks.*.mixer.a.weight"]) == values(plain["blocks.*.mixer.query.weight"])
    assert plain["blocks.*.mixer.a_log"].learning_rate == 4
    assert forward_multipliers(recipe(**options, parametrization="mup-plain"))[Site.GROWING_STATE] == 1


def test_independent_decay_is_the_coupled_one_with_the_learning_rate_taken_in(
    recipe: Callable[..., Recipe],
) -> None:
    for parametrization in BUILT_IN:
        options = {**GROWING, "parametrization": parametrization}
        coupled = by_pattern(recipe(**options))
        independent = by_pattern(recipe(**options, decay="independent"))
        for pattern, rule in coupled.items():
            shrink = rule.learning_rate * rule.weight_decay
            assert independent[pattern].weight_decay == pytest.approx(shrink), pattern


def test_grouped_queries(recipe: Callable[..., Recipe]) -> None:
    """Keys and values of a fixed number of heads are narrow; of a growing number, hidden."""
    fixed = by_pattern(recipe(**SCALED, kv_heads=1))["blocks.*.mixer.value.weight"]
    assert (fixed.parameter.role, fixed.parameter.shape) == (Role.NARROW, (8, 64))
    growing = by_pattern(recipe(**SCALED, queries_per_kv=2))["blocks.*.mixer.value.weight"]
    assert (growing.parameter.role, growing.parameter.shape) == (Role.HIDDEN, (32, 64))
    heads = {**SCALED, "head_dim": None, "heads": 2, "kv_heads": 1}
    assert by_pattern(recipe(**heads))["blocks.*.mixer.value.weight"].parameter.role is Role.HIDDEN


def test_no_norms(recipe: Callable[..., Recipe]) -> None:
    assert not [p for p in by_pattern(recipe(norm="none")) if "norm" in p]
    final = [p for p in by_pattern(recipe(norm="none", final_norm="layernorm")) if "norm" in p]
    assert final == ["final_norm.gain", "final_norm.bias"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_ratios_of_roles_are_kept_by_every_parametrization(
    optimizer: str, recipe: Callable[..., Recipe]
) -> None:
    """Of two recipes that differ in one ratio, the rates of that role alone differ, and by the ratio."""
    matrices = {"matrices": "all", "adamw_lr_ratio": 0.5} if optimizer == "muon" else {}
    changes = {
        **SCALED,
        "architecture": "gdn",
        "optimizer": optimizer,
        "learnable_multipliers": "mlp",
        **matrices,
    }
    of_role = {
        "embedding_lr": {Role.INPUT},
        "readout_lr": {Role.OUTPUT},
        "vector_lr": {Role.VECTOR, Role.HIDDEN_VECTOR, Role.HIDDEN_SCALAR},
    }
    for parametrization in BUILT_IN:
        plain = by_pattern(recipe(**changes, parametrization=parametrization))
        for name, roles in of_role.items():
            moved = by_pattern(recipe(**changes, parametrization=parametrization, **{name: 0.25}))
            found = {
                rule.parameter.role
                for p, rule in moved.items()
                if rule.learning_rate != plain[p].learning_rate
            }
            assert found == roles
            for pattern, rule in moved.items():
                ratio = 0.25 if rule.parameter.role in roles else 1.0
                assert rule.learning_rate == pytest.approx(ratio * plain[pattern].learning_rate)
                assert rule.weight_decay == plain[pattern].weight_decay


def test_gamma_grows_as_gradients_fall(recipe: Callable[..., Recipe]) -> None:
    """m_W = 4 and m_L = 9: of input and readout by 4, of hidden matrices by 36, of a gain that heads share by
    9, of gates by 18. SP has one for all, and other optimizers have none."""
    changes = {**ALONE, "architecture": "gdn", "depth": 9, "base_depth": 1, "optimizer": "sophia"}
    rules = by_pattern(recipe(**changes, gamma=0.5))
    expected = {"embedding.weight": 4, "readout.weight": 4, "blocks.*.mixer.query.weight": 36,
                "blocks.*.mixer.norm.gain": 9, "blocks.*.mixer.a.weight": 36}  # fmt: skip
    assert {name: (rules[name].gamma or 0) / 0.5 for name in expected} == pytest.approx(expected)
    gate = by_pattern(recipe(**{**GROWING, "optimizer": "sophia"}, gamma=0.5))["blocks.*.mixer.a.weight"]
    assert gate.gamma == pytest.approx(0.5 * 18)
    assert {rule.gamma for rule in by_pattern(recipe(**changes, parametrization="sp")).values()} == {0.7}
    assert {rule.gamma for rule in by_pattern(recipe(**{**changes, "optimizer": "adamw"})).values()} == {None}


def test_vectors_of_growing_heads_are_vectors(recipe: Callable[..., Recipe]) -> None:
    growing = {**SCALED, "architecture": "gdn", "head_dim": None, "heads": 2, "parametrization": "mup"}
    plain, moved = (by_pattern(recipe(**growing, vector_lr=ratio)) for ratio in (1.0, 0.25))
    narrow = [pattern for pattern, rule in plain.items() if rule.parameter.role == Role.NARROW_VECTOR]
    assert narrow
    for pattern in narrow:
        assert moved[pattern].learning_rate == pytest.approx(0.25 * plain[pattern].learning_rate)


def test_the_docs_page_is_the_tables() -> None:
    """Mend it with: mutransfer rules -f markdown, below the page's own words."""
    page = (Path(__file__).parent.parent / "docs/rules.md").read_text()
    assert page.endswith(tables_markdown())


def test_every_role_is_expected_to_learn_at_a_rate_of_its_own() -> None:
    """arXiv:2603.00541, conditions 3.1 and B.1: a branch a share of 1 / depth, outside of one all of it."""
    for role in {*Role} - {Role.MULTIPLIER}:
        expected = Expectation(ONE if role in OUTSIDE else 1 / L)
        assert expectation("update", role, "mup") == expected


def test_soap_of_before_is_told_apart(recipe: Callable[..., Recipe]) -> None:
    """Its rates under muP; under SP nothing changed."""
    versions = {name: recipe_version(recipe(optimizer="soap", adamw_lr_ratio=1.0, parametrization=name))
                for name in ("mup", "depth-mup", "sp")}  # fmt: skip
    assert versions == {"mup": 4, "depth-mup": 4, "sp": 1}
