"""A handover read from its file: its parts, what it warns of, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_maps import llama
from test_transfer import plan_of

from mutransfer.models.handover.handover import SCHEMA, WHERE, HandoverError, read
from mutransfer.models.handover.maps.registry import MAPS
from mutransfer.models.handover.transfer import initialize_, multipliers, param_groups
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.recipe.role import Site
from mutransfer.orchestrator.handover.export import Target

Build = Callable[..., Recipe]


@pytest.fixture
def values(recipe: Build) -> dict[str, Any]:
    return plan_of(recipe, Target(64, 2, batch=64, tokens=1_000_000), **MAPS["llama"].proxy)


def written(values: object, folder: Path) -> Path:
    path = folder / "handover.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_its_parts_by_name(values: dict[str, Any], tmp_path: Path) -> None:
    handover = read(written(values, tmp_path))
    assert (handover["schema"], handover.target["width"], handover.model["mlp_width"]) == (SCHEMA, 64, 256)
    low, high = handover.interval
    assert low is not None and high is not None and low < handover.learning_rate < high
    assert handover.multipliers == multipliers(handover) and {*handover.places} == {*handover.multipliers}
    assert handover.places["readout"] == "on the logits"
    assert "comparison" in handover.evidence
    assert json.loads(handover.json()) == values
    assert {*WHERE} == {*Site}


def test_the_worst_is_said_first(values: dict[str, Any], tmp_path: Path) -> None:
    values["warnings"].append({"severity": "danger", "text": "no"})
    cautions = read(written(values, tmp_path)).cautions
    assert cautions[0].text == "no" and {one.severity for one in cautions[1:]} == {"warning", "note"}
    older = {**values, "schema": 2, "warnings": ["as it was"]}
    assert [(one.severity, one.text) for one in read(written(older, tmp_path)).cautions] == [
        ("warning", "as it was")
    ]


def test_the_loader_takes_it(values: dict[str, Any], tmp_path: Path) -> None:
    handover, model, roles = read(written(values, tmp_path)), llama(64), MAPS["llama"].roles
    initialize_(model, handover, 0, roles)
    assert len(param_groups(model, handover, roles)) == len(param_groups(model, values, roles))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda values: "{", "is no JSON"),
        (lambda values: [1], "is no handover; export one"),
        (lambda values: {**values, "schema": 9}, "schema 9 is not one of 2, 3"),
        (lambda values: {"hyperparameters": {}}, "has no multipliers, .* hands over a value alone"),
        (lambda values: {"schema": 3}, "has no hyperparameters, .*: it is no handover"),
        (
            lambda values: {**values, "roles": {"hidden": {"optimizer": "adamw"}}},
            r"roles\.hidden has no learning_rate, weight_decay, .*; export again",
        ),
        (
            lambda values: {**values, "roles": {"hiden": values["roles"]["hidden"]}},
            "hiden is of no role that is known",
        ),
    ],
)
def test_what_is_none_is_refused(
    change: Callable[[dict[str, Any]], object], told: str, values: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(HandoverError, match=rf"handover\.json: {told}"):
        read(written(change(values), tmp_path))
