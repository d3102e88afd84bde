"""Identity: the same training has the same id wherever and however it is written."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
from conftest import proxy_trial

from mutransfer.models.recipe.recipe import Recipe, recipe_from_point
from mutransfer.models.recipe.shape import Shape
from mutransfer.models.recipe.version import recipe_version
from mutransfer.results.store.schema import POINT


def proxy_id(recipe: Recipe) -> str:
    return proxy_trial(recipe).id


def test_field_order_and_integer_floats_do_not_matter(recipe: Callable[..., Recipe]) -> None:
    one = recipe(weight_decay=1.0)
    shuffled = recipe_from_point(dict(sorted(one.point().items(), reverse=True)))
    assert proxy_id(one) == proxy_id(shuffled) == proxy_id(recipe(weight_decay=1))


def test_the_same_in_another_process(recipe: Callable[..., Recipe]) -> None:
    code = (
        "import sys, json; from mutransfer.models.recipe.recipe import recipe_from_point; "
        "from mutransfer.sweeps.proxy import Proxy; from mutransfer.sweeps.trial import trial_id; "
        f"print(trial_id(Proxy(recipe_from_point({recipe().point()!r}))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == proxy_id(recipe())


CHANGED = {
    "width": 32, "depth": 3, "sequence_length": 8, "vocab_size": 65, "mlp": "swiglu", "mlp_ratio": 2.0,
    "norm": "layernorm", "positions": "learned", "tied": True, "parametrization": "sp", "optimizer": "sgd",
    "learning_rate": 0.02, "steps": 21, "batch_size": 5, "data": "other", "base_width": 16, "base_depth": 2,
    "seed": 1, "weight_decay": 0.1, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-6, "grad_clip": 0.5,
    "schedule": "linear", "warmup": 0.2, "final_lr": 0.1, "init": "gpt2", "init_scale": 0.5,
    "embedding_multiplier": 2.0, "residual_multiplier": 2.0, "attention_multiplier": 2.0,
    "readout_multiplier": 2.0, "precision": "bf16", "eval_sequences": 9, "eval_every": 5,
    "architecture": "gdn", "final_norm": "layernorm",
    "kv_heads": 1, "qk_norm": True, "window": 4, "causal": False, "learnable_multipliers": "mlp",
    "outputs": 3, "vectors": True, "frozen_gains": "all", "z_loss": 1e-4, "dropout": 0.1,
    "activation_checkpointing": True, "norm_eps": 1e-5, "experts": 4,
    "embedding_lr": 2.0, "readout_lr": 2.0, "vector_lr": 2.0,
}  # fmt: skip
MUON = {"optimizer": "muon", "adamw_lr_ratio": 0.1}


@pytest.mark.parametrize("name", CHANGED)
def test_whatever_affects_the_result_changes_the_id(name: str, recipe: Callable[..., Recipe]) -> None:
    assert proxy_id(recipe(**{name: CHANGED[name]})) != proxy_id(recipe())


GDN: dict[str, object] = {"architecture": "gdn"}
MAMBA2: dict[str, object] = {"architecture": "mamba2"}
RULED: dict[str, object] = {"base_batch_size": 3, "base_steps": 15, "budget_rules": "batch-sqrt"}
EXPERTS: dict[str, object] = {"experts": 4}
LEARNABLE: dict[str, object] = {"learnable_multipliers": "mlp"}
OF_ONE_KIND: list[tuple[str, object, dict[str, object]]] = [
    ("head_dim", 4, {}),
    ("head_ratio", 2.0, {}),
    ("state_head_dim", 4, GDN),
    ("state_head_ratio", 2.0, MAMBA2),
    ("gelu", "tanh", {}),
    ("norm_place", "post", {}),
    ("norm_place", "sum", {}),
    ("parallel_residual", True, {}),
    ("gelu", "tanh", {"mlp": "geglu"}),
    ("rotary_base", 1e6, {}),
    ("rotary_share", 0.5, {}),
    ("attention_gate", True, {}),
    ("biases", "qkv", {}),
    ("conv_bias", True, GDN),
    ("a_start", "counted", GDN),
    ("dt_start", "ones", MAMBA2),
    ("state_norm", False, MAMBA2),
    ("norm_before_gate", True, MAMBA2),
    ("fixed_multipliers", "mlp.up=2", {}),
    ("heads", 2, {"head_dim": None, "width": 8}),
    ("momentum", 0.8, {"optimizer": "sgd"}),
    ("expand_v", 2, GDN),
    ("conv_size", 2, MAMBA2),
    ("queries_per_kv", 2, {"base_width": 16}),
    ("decay", "independent", {"weight_decay": 0.1}),
    ("nesterov", False, {"optimizer": "sgd"}),
    ("gamma", 0.01, {"optimizer": "sophia"}),
    ("polynomial", "polar-express", MUON),
    ("rank_ratio", 0.5, {**MUON, "optimizer": "dion"}),
    ("fused_qkv", True, MUON),
    ("experts_per_token", 3, EXPERTS),
    ("granularity", 2, EXPERTS),
    ("balance_loss", 0.5, EXPERTS),
    ("base_experts", 8, EXPERTS),
    ("base_granularity", 2, EXPERTS),
    ("base_batch_size", 5, RULED),
    ("base_steps", 10, RULED),
    ("budget_rules", "batch-linear", RULED),
    ("horizon_exponent", 0.5, RULED),
    ("beta2", 0.5, {**MUON, "optimizer": "normuon"}),
    ("curvature_every", 5, {"optimizer": "sophia"}),
    ("adamw_lr_ratio", 0.5, MUON),
    ("matrices", "all", MUON),
    ("epsilon", 1e-6, MUON),
    ("precondition_every", 5, {**MUON, "optimizer": "soap"}),
    ("attention_every", 2, {"architecture": "gdn-hybrid", "depth": 4, "base_depth": 4}),
    ("values_per_key", 2, {**GDN, "base_width": 16}),
    ("negative_eigenvalues", True, GDN),
    ("output_gate", False, GDN),
    ("state_size", 8, MAMBA2),
    ("state_ratio", 1.0, MAMBA2),
    ("state_groups", 2, {**MAMBA2, "base_width": 16}),
    ("multiplier_lr", 0.1, LEARNABLE),
    ("multiplier_decay", 0.1, LEARNABLE),
    ("clip_multipliers", True, LEARNABLE),
    ("norm_scale", 2.0, {"weight_decay": 0.1}),
    ("norm_scale_of", "mlp", {"norm_scale": 2.0, "weight_decay": 0.1}),
    ("cooldown", 0.5, {"schedule": "wsd"}),
    # AdamW takes multipliers beside any optimizer, and their decay has a convention.
    ("epsilon", 1e-3, {**LEARNABLE, "optimizer": "sgd"}),
    ("epsilon", 1e-3, {**LEARNABLE, "optimizer": "lion"}),
    ("beta1", 0.5, {**LEARNABLE, "optimizer": "sgd"}),
    ("decay", "independent", LEARNABLE),
]


@pytest.mark.parametrize(("name", "value", "where"), OF_ONE_KIND)
def test_fields_of_one_kind_change_the_id_there(
    name: str, value: object, where: dict[str, object], recipe: Callable[..., Recipe]
) -> None:
    before = where if name != "heads" else {**where, "heads": 4}
    assert proxy_id(recipe(**{**where, name: value})) != proxy_id(recipe(**before))


def test_a_placement_in_other_words_is_the_same(recipe: Callable[..., Recipe]) -> None:
    one, *others = (
        recipe(learnable_multipliers=text)
        for text in (
            "attention,mlp",
            "mlp, attention",
            "attention,mlp,*.mlp.down=column",
            "attention,mlp,mlp",
        )
    )
    assert {proxy_id(other) for other in others} == {proxy_id(one)}


def test_every_field_is_covered_by_these_tests() -> None:
    named = {field.name for field in (*fields(Shape), *fields(Recipe))} - {"shape"}
    named -= {"code"}  # of an architecture of somebody's own: test_built.py
    assert named == {*CHANGED, *(name for name, _, _ in OF_ONE_KIND)}


def test_fields_added_later_leave_finished_trials_their_ids(recipe: Callable[..., Recipe]) -> None:
    """What version 1's first sweeps computed for this recipe."""
    assert proxy_id(recipe()) == "dfb12e84fb754b66"
    assert proxy_id(recipe(optimizer="sgd")) == "5d02d61ae4e04f92"
    assert proxy_id(recipe(architecture="mamba2")) == "a097fb2ef780ac90"


def test_what_trains_differently_than_it_did_has_another_id(recipe: Callable[..., Recipe]) -> None:
    """Only that: the same recipes beside it keep theirs."""
    scaled = {"optimizer": "sophia", "width": 16, "base_width": 8}
    of_before = {
        "c2f1620c31330d41": recipe(optimizer="sgd", architecture="gdn"),
        "66be65381cc3cc6c": recipe(architecture="mamba2", state_groups=2, base_width=16),
        "a3e2af35d9eafaa9": recipe(**scaled, gamma=0.05),
    }
    for before, changed in of_before.items():
        assert recipe_version(changed) == 2
        assert proxy_id(changed) != before
    assert recipe_version(recipe(**scaled, parametrization="sp")) == 1
    assert recipe_version(recipe(architecture="mamba2")) == 1


@pytest.mark.parametrize(
    ("unread", "where"),
    [
        ({"momentum": 0.5}, {}),
        ({"epsilon": 1e-3, "beta1": 0.5}, {"optimizer": "sgd"}),
        ({"base_width": 32, "base_depth": 4}, {"parametrization": "sp"}),
        ({"positions": "learned"}, {"architecture": "gdn"}),
        ({"conv_size": 2}, {}),
        ({"gamma": 1.0, "adamw_lr_ratio": 3.0, "nesterov": False}, {}),
        ({"momentum": 0.5}, {**MUON, "optimizer": "soap"}),
        ({"kv_heads": 1}, {"architecture": "gdn"}),
        ({"decay": "independent"}, {}),
        ({"final_norm": "rmsnorm", "queries_per_kv": 1}, {}),
        ({"nesterov": False}, {"optimizer": "sgd", "momentum": 0.0}),
        ({"final_lr": 0.5}, {"schedule": "constant"}),
        ({"qk_norm": True, "window": 3, "state_size": 4, "state_ratio": 1.0}, GDN),
        ({"values_per_key": 2, "negative_eigenvalues": True, "output_gate": False}, MAMBA2),
        ({"attention_every": 2}, {"architecture": "parallel-hybrid"}),
        ({"multiplier_lr": 1.0, "multiplier_decay": 1.0, "clip_multipliers": True}, {}),
        ({"norm_scale_of": "mlp", "cooldown": 0.5}, {}),
        ({"state_size": 4}, {**MAMBA2, "state_ratio": 1.0}),
        ({"window": 16}, {}),
        ({"readout_lr": 2.0}, {"tied": True}),
        ({"gelu": "tanh"}, {"mlp": "swiglu"}),
        ({"biases": "qkv"}, GDN),
        ({"biases": "all"}, {**MAMBA2, "mlp": "none"}),
        ({"fixed_multipliers": "mlp.up=1"}, {}),
        ({"fixed_multipliers": "mlp.up=3 , mlp.down=2.0"}, {"fixed_multipliers": "mlp.down=2,mlp.up=3"}),
        ({"rotary_base": 5.0, "rotary_share": 0.5}, {"positions": "learned"}),
        ({"norm_place": "post"}, {"norm": "none"}),
        ({"state_head_dim": 4, "state_head_ratio": 2.0, "conv_bias": True, "a_start": "counted"}, {}),
        ({"state_head_dim": 8, "state_head_ratio": 1.0}, GDN),
        ({"attention_gate": True, "rotary_share": 0.5}, GDN),
        ({"decay": "independent"}, {**LEARNABLE, "multiplier_decay": 0.0}),
    ],
)
def test_what_a_recipe_does_not_read_is_not_in_its_id(
    unread: dict[str, object], where: dict[str, object], recipe: Callable[..., Recipe]
) -> None:
    assert proxy_id(recipe(**{**where, **unread})) == proxy_id(recipe(**where))


def test_the_store_has_a_column_for_every_field(recipe: Callable[..., Recipe]) -> None:
    assert {field.name for field in POINT} == set(recipe().point())


def test_point_and_back(recipe: Callable[..., Recipe]) -> None:
    assert recipe_from_point(recipe().point()) == recipe()


def test_impossible_values_name_the_field(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(ValueError, match="learning_rate: -1 is not positive"):
        recipe(learning_rate=-1)
    with pytest.raises(ValueError, match="head_dim: rotary positions need an even head, not 1"):
        replace(recipe().shape, head_dim=1)
    with pytest.raises(ValueError, match="adamw_lr_ratio: muon leaves embedding, readout and vectors to"):
        recipe(optimizer="muon")
    with pytest.raises(ValueError, match="kv_heads: 2 heads are not a multiple of 3"):
        recipe(kv_heads=3)
    with pytest.raises(ValueError, match=r"base: parametrization mup needs base\.width"):
        recipe(base_width=None)
