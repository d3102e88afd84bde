"""A module of the user's own as the architecture of a sweep: trained as our proxies are, known by its code,
refused where it cannot be."""

import json
import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, Command, arguments
from own_architectures import MIXTURE, mixture
from plain_modules import plain_losses

import mutransfer as mt
from mutransfer.models.architectures.built.architecture import BuiltArchitecture
from mutransfer.models.architectures.built.model import built, model_map
from mutransfer.models.architectures.registry import BUILT, architecture_of, make_known
from mutransfer.models.data.batches import Batches
from mutransfer.models.handover.assignment import UnknownParameterError
from mutransfer.models.handover.maps.registry import MAPS
from mutransfer.models.handover.own_code import OwnCodeError
from mutransfer.models.handover.sites import apply_multipliers_
from mutransfer.models.handover.transfer import initialize_, param_groups
from mutransfer.models.handover.values import handover_at
from mutransfer.models.parametrization.rules import parameter_rules
from mutransfer.models.recipe.recipe import Recipe, recipe_from_point
from mutransfer.models.recipe.role import Role
from mutransfer.models.recipe.version import recipe_version
from mutransfer.models.training.group import Group
from mutransfer.models.training.loop import train
from mutransfer.sweeps.proxy import Proxy
from mutransfer.sweeps.trial import trial_of

HERE = Path(__file__).parent
CPU = torch.device("cpu")


def of(name: str, roles: str | None, **changes: object) -> Recipe:
    """A small recipe of an architecture in `own_architectures`."""
    whole = f"own_architectures:{name}"
    code = make_known(BuiltArchitecture(whole, str(HERE), roles, ()))
    return recipe_from_point({**SMALL, "architecture": whole, "code": code, **changes})


def curves(recipes: list[Recipe], batches: Batches) -> np.ndarray:
    return np.array([[point.train_loss for point in one.curve] for one in train(recipes, batches, CPU)])


@pytest.mark.parametrize("heads", [{"head_dim": None, "heads": 2}, {}])
@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sophia"])
@pytest.mark.parametrize("name", ["eager", "fused_kernel"])
def test_trains_as_the_proxy_that_it_is(
    name: str, optimizer: str, heads: dict[str, Any], batches: Batches, caplog: pytest.LogCaptureFixture
) -> None:
    """With the same names it starts from the same numbers. Epsilon is 1e-3, as everywhere where two programs
    are compared: a smaller one makes steps of rounding."""
    common = {"optimizer": optimizer, "adamw_lr_ratio": 0.3, "matrices": "hidden", "epsilon": 1e-3,
              "steps": 6, "width": 32, "base_width": 16, "weight_decay": 0.1, **heads}  # fmt: skip
    trials: list[dict[str, Any]] = [
        {"parametrization": "mup", "learning_rate": 2**-6},
        {"parametrization": "sp", "learning_rate": 2**-5},
        {"parametrization": "mup", "learning_rate": 2**-7, "residual_multiplier": 0.5, "seed": 1},
    ]
    ours = [recipe_from_point({**SMALL, **common, **trial}) for trial in trials]
    with caplog.at_level(logging.INFO):
        own = curves([of(name, "own_architectures:SAME", **common, **trial) for trial in trials], batches)
    np.testing.assert_allclose(own, curves(ours, batches), atol=2e-5)
    apart = "one after the other" in caplog.text
    assert apart == (
        name == "fused_kernel" and bool(heads)
    )  # the scales of SP and muP differ where heads grow


@pytest.mark.parametrize("placement", ["readout=scalar", "hidden=row+column"])
def test_learnable_multipliers_go_onto_it(placement: str, batches: Batches) -> None:
    changes = {"learnable_multipliers": placement, "epsilon": 1e-3, "steps": 5}
    own = curves([of("eager", "own_architectures:SAME", **changes)], batches)
    np.testing.assert_allclose(own, curves([recipe_from_point({**SMALL, **changes})], batches), atol=2e-5)


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("llama", "llama"),
        ("gpt2", "gpt2"),
        ("mamba2", "mamba2"),
        ("qwen3_next", "qwen3-next"),
        ("mixtral", "mixtral"),
        ("qwen3_moe", "qwen3-moe"),
    ],
)
def test_models_of_transformers_train_as_in_a_plain_loop(name: str, roles: str, batches: Batches) -> None:
    """Transposed, kept and zero-centred parameters among them: what is handed over is what was trained."""
    changes = {"width": 32, "depth": 2, "base_width": 16, "base_depth": 2, "parametrization": "mup",
               "weight_decay": 0.1, "steps": 6, "epsilon": 1e-3, "seed": 3}  # fmt: skip
    experts = {"experts": 8, "balance_loss": 0.0} if name in ("mixtral", "qwen3_moe") else {}
    recipe = of(name, roles, **changes, **experts)
    (ours,) = curves([recipe], batches)
    architecture = architecture_of(recipe.shape)
    assert isinstance(architecture, BuiltArchitecture)
    model, handover = built(architecture, recipe.shape, seed=3), handover_at(recipe)
    ready = MAPS[roles]
    initialize_(model, handover, 3, ready.roles)
    apply_multipliers_(model, handover, ready.sites_in(handover))
    optimizer = torch.optim.AdamW(param_groups(model, handover, ready.roles))
    theirs = plain_losses(model, optimizer, recipe, batches)
    np.testing.assert_allclose(ours, theirs, atol=5e-5)


def test_any_module_trains_alone_as_beside_others(batches: Batches) -> None:
    """One whose kernel torch cannot batch."""
    changes = {"parametrization": "mup", "base_width": 8, "base_depth": 2, "steps": 8}
    trials = [
        of("recurrent", "own_architectures:RECURRENT", learning_rate=rate, **changes)
        for rate in (0.02, 0.005)
    ]
    together, alone = curves(trials, batches), [curves([trial], batches)[0] for trial in trials]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert (together[:, -1] < together[:, 0] - 0.1).all()


@pytest.mark.parametrize("name", ["stacked", "padded", "valued", "wordy", "spare", "compiled_blocks"])
def test_it_trains_as_in_a_plain_loop_alone_and_in_a_group(
    name: str, batches: Batches, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"base_depth": 2, "weight_decay": 0.0, "steps": 8, "epsilon": 1e-3}
    trials = [
        of(name, None, learning_rate=rate, seed=seed, **changes)
        for seed, rate in enumerate((0.03, 0.01, 0.02))
    ]
    together = curves(trials, batches)
    for trial, losses in zip(trials, together, strict=True):
        architecture, handover = architecture_of(trial.shape), handover_at(trial)
        assert isinstance(architecture, BuiltArchitecture)
        np.testing.assert_allclose(curves([trial], batches)[0], losses, atol=2e-5)
        model, sites = built(architecture, trial.shape), model_map(architecture, trial.shape).sites
        initialize_(model, handover, trial.seed)
        apply_multipliers_(model, handover, sites)
        theirs = plain_losses(model, torch.optim.AdamW(param_groups(model, handover)), trial, batches)
        np.testing.assert_allclose(losses, theirs, atol=2e-5)
    assert capsys.readouterr().out == ""


def test_a_trial_that_blew_up_says_nothing_of_the_module(batches: Batches) -> None:
    """A group that is resumed holds what its trials have become."""
    changes = {"base_depth": 2, "steps": 4, "epsilon": 1e-3}
    trials = [of("stacked", None, learning_rate=rate, **changes) for rate in (0.01, 0.02)]
    group = Group(trials, CPU)
    views = group.layout.views(group.layout.first_values())
    wanted_KBTV = group.logits(torch.ones(2, 2, 16, dtype=torch.long), views)
    for value in (torch.nan, 1e9):
        again = Group(trials, CPU)
        blown = {name: stack.clone() for name, stack in views.items()}
        for stack in blown.values():
            stack[0] = value
        found_KBTV = again.logits(torch.ones(2, 2, 16, dtype=torch.long), blown)
        torch.testing.assert_close(found_KBTV[1], wanted_KBTV[1])


def test_a_part_that_is_called_like_torchs_is_kept(batches: Batches) -> None:
    """No other model is trained than the one that was built."""
    changes = {"base_depth": 2, "steps": 3}
    ((doubled,), (plain,)) = (
        curves([of(name, None, **changes)], batches) for name in ("doubling", "stacked")
    )
    assert not np.allclose(doubled, plain, atol=1e-3)


def test_matrices_of_one_block_have_starts_of_their_own() -> None:
    stds = {rule.parameter.name: rule.init_std for rule in parameter_rules(of("stacked", None, base_depth=2))}
    first, second = stds["blocks.1.1.weight"], stds["blocks.1.3.weight"]
    assert first is not None and second is not None and first == pytest.approx(2 * second)


@pytest.mark.parametrize("parametrization", ["sp", "mup"])
@pytest.mark.parametrize("init", ["fan-in", "gpt2"])
def test_experts_of_one_parameter_start_as_those_of_our_own(init: str, parametrization: str) -> None:
    """By the inputs of each, and smaller where a branch ends; by their roles alone, too."""
    changes = {"experts": 2, "experts_per_token": 2, "balance_loss": 0.0, "base_width": 8, "base_depth": 2,
               "depth": 2, "width": 32, "init": init, "parametrization": parametrization}  # fmt: skip
    mine = of("mixture", "own_architectures:MIXTURE", **changes)
    ours = recipe_from_point({**SMALL, **changes, "mlp_ratio": 4.0})
    wanted = {rule.parameter.role: rule.init_std for rule in parameter_rules(ours)}
    for rule in parameter_rules(mine):
        assert rule.init_std == pytest.approx(wanted[rule.parameter.role]), rule.parameter.name
    model = mixture({"model": {"width": 32, "depth": 2, "vocab_size": mine.shape.vocab_size}})
    by_role = {**handover_at(ours), "parameters": {}}
    if init == "gpt2":
        with pytest.raises(UnknownParameterError, match="gpt2 starts the ends of branches smaller"):
            initialize_(model, by_role, 0, MIXTURE.roles)
        return
    initialize_(model, by_role, 0, MIXTURE.roles)
    for block in model.get_submodule("blocks").children():
        for name, role in (("up", Role.EXPERT_IN), ("down", Role.EXPERT_OUT)):
            seen = float(block.get_parameter(f"0.{name}").detach().std())
            assert seen == pytest.approx(wanted[role], rel=0.05), name  # 8,192 draws: 0.8 %


def test_roles_are_found_where_none_are_given() -> None:
    found, told = (
        {
            rule.parameter.name: rule.parameter.role
            for rule in parameter_rules(of("eager", roles, base_depth=2))
        }
        for roles in (None, "own_architectures:SAME")
    )
    assert found == told and len(found) > 8


@pytest.mark.parametrize(
    ("name", "roles", "changes", "said"),
    [
        ("dropping", "own_architectures:SAME", {}, "set its dropout to 0"),
        ("frozen", "own_architectures:SAME", {}, "final_norm.gain: does not require a gradient"),
        (
            "transposed_logits",
            "own_architectures:SAME",
            {},
            "makes [8, 64, 16] of tokens [8, 16], not [8, 16, 64]",
        ),
        ("from_zero", "own_architectures:SAME", {}, "zero_centred=True"),
        ("no_module", None, {}, "the builder gives a int; return a module"),
        ("broken", None, {}, "KeyError: 'no such field' ("),
        ("with_a_kernel", None, {}, "blocks.*.kernel: "),
        ("averaging", None, {}, "average.running_mean: changes with every batch"),
        ("checkpointed", None, {}, "has another gradient where the module is called with its parameters"),
        ("caching", None, {}, "what it made of them, elsewhere, too"),
        ("aside", None, {}, "head: is named for readout, and nothing that it gives is used"),
        ("tied", None, {}, "untie them, or sweep with tied: true"),
        (
            "stacked",
            None,
            {"tied": True},
            "head.weight: is a matrix of its own",
        ),
        ("sharing", "own_architectures:STACKED", {}, "blocks.1.1.weight: are one"),
        ("mixture", "own_architectures:MIXTURE", {}, "blocks.0.0.up: is of experts, and the sweep has none"),
        ("one_block", None, {"depth": 2}, "are one, and rules for a block are for its own"),
        ("in_half", None, {}, "tokens.weight: is float16; build it in float32"),
        ("clipped", None, {}, "tokens.weight: every look-up clips its rows to max_norm=1"),
        ("shrinking", None, {}, "head.weight: is changed by the forward pass"),
        ("stacked", "own_architectures:FIFTHS", {}, "16 outputs are not 5 equal parts"),
        ("gradless", None, {}, "has no gradient"),
        ("exiting", None, {}, "SystemExit: 7"),
        ("unlike", None, {}, "gives a dict; return logits"),
        ("eager", None, {"init": "gpt2"}, "init gpt2 starts the ends of branches smaller"),
        ("stacked", "own_architectures:WRONG", {}, "no matrix, which the role hidden is for"),
        ("remembering", None, {}, "does not follow the parameters that it is called with"),
        ("nowhere", None, {}, "own_architectures has no nowhere"),
        ("eager", "lama", {}, "ready maps are llama"),
        ("eager", "own_architectures:eager", {}, "is a function, no ModelMap"),
        ("eager", "gpt2", {}, "no module matches transformer.h"),
        ("eager", None, {"base_depth": 1}, "multiplies residual branch by 0.5"),
        ("eager", None, {"head_dim": None, "heads": 2}, "multiplies attention logits by 0.7"),
        ("eager", None, {"residual_multiplier": 0.5}, "multiplies residual branch by 0.5"),
    ],
)
def test_what_cannot_be_trained_as_one_of_ours_is_refused(
    name: str, roles: str | None, changes: dict[str, Any], said: str, batches: Batches
) -> None:
    base = {"base_width": 8, "base_depth": 2, "steps": 2}
    with pytest.raises(OwnCodeError) as raised:
        train([of(name, roles, **{**base, **changes})], batches, CPU)
    assert said in str(raised.value) and str(raised.value).startswith(("architecture", "model.roles"))


def test_mixtures_of_before_are_told_apart() -> None:
    """They say that they have experts: those of one parameter have to."""
    mixed = {"experts": 2, "balance_loss": 0.0}
    assert recipe_version(of("mixture", "own_architectures:MIXTURE", **mixed)) == 3
    assert recipe_version(of("mixture", "own_architectures:MIXTURE")) == 1
    assert recipe_version(of("stacked", None, **mixed)) == 1


def test_its_code_and_its_roles_are_part_of_the_id() -> None:
    """The directory is not: a project may move."""
    ids = set()
    for roles, files in [(None, ()), ("llama", ()), (None, (("a.py", "1"),)), (None, (("a.py", "2"),))]:
        for directory in (str(HERE), "elsewhere"):
            code = make_known(BuiltArchitecture("their:build", directory, roles, files))
            point = {**SMALL, "architecture": "their:build", "code": code}
            ids.add(trial_of(Proxy.read(point)).id)
    assert len(ids) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"balance_loss": 0.01, "experts": 4},
        {"dropout": 0.1},
        {"activation_checkpointing": True},
        {"frozen_gains": "all"},
    ],
)
def test_what_has_no_place_in_it_is_refused_by_its_field(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(changes))}: "):
        of("eager", None, **changes)


SWEEP = """\
name: mine
base: {width: 16, depth: 1}
fixed:
  architecture: theirs:build
  optimizer: adamw
  depth: 1
  head_dim: 8
  steps: 8
  batch_size: 2
  sequence_length: 16
  eval_sequences: 4
axes:
  parametrization: [sp, mup]
  width: [16, 32]
  learning_rate: {log2: [-8, 0], step: 2}
data: {text: "text/*.txt"}
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep of 20 trials of a builder beside it, which no other test has made known from its own folder."""
    for known in [*BUILT]:
        monkeypatch.delitem(BUILT, known)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 50)
    example = (HERE.parent / "examples" / "architecture" / "my_model.py").read_text()
    (tmp_path / "theirs.py").write_text(example)
    path = tmp_path / "mine.yaml"
    path.write_text(SWEEP)
    return path


def test_from_the_sweep_file_to_the_export(mine: Path, mutransfer: Command, tmp_path: Path) -> None:
    done = mutransfer("run", str(mine))
    assert done.returncode == 0 and "20/20 trials" in done.stderr, done.stderr
    assert mutransfer("run", str(mine)).stderr.startswith("20 of 20 trials are already there")
    reported = mutransfer("report", "runs/mine", "-f", "json")
    families = {one["architecture"] for one in json.loads(reported.stdout)["comparisons"]}
    assert families == {"theirs:build"}

    told = ["export", "runs/mine", "--width", "128", "--depth", "1", "--parametrization", "mup", "-f"]
    exported = mutransfer(*told, "json")
    assert exported.returncode == 0, exported.stderr
    handover = json.loads(exported.stdout)
    assert handover["parameters"]["blocks.*.up.weight"]["shape"] == [512, 128]
    assert handover["multipliers"]["readout"] == 0.125
    assert "def start_" in mutransfer(*told, "pytorch").stdout
    refused = mutransfer(*told, "megatron")
    assert refused.returncode == 2 and "theirs:build" in refused.stderr

    # What is only read is not imported: it may be somebody else's.
    (tmp_path / "theirs.py").write_text("raise SystemExit('imported')")
    for words in (
        ["report", "runs/mine"],
        ["status", "runs/mine"],
        ["show", "runs/mine"],
        ["compare", "runs/mine"],
    ):
        assert "imported" not in mutransfer(*words).stderr
    # This process has the code of before; another is told that it is gone.
    assert "theirs.py changed since the trials ran" in mutransfer(*told, "json").stderr
    changed = subprocess.run(
        arguments(*told, "json"), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert changed.returncode == 2
    assert f"{tmp_path / 'theirs.py'} has changed since these trials were planned" in changed.stderr


def test_a_changed_builder_is_another_program(mine: Path, mutransfer: Command, tmp_path: Path) -> None:
    mutransfer("run", str(mine), "--set", "width=[16]")
    with open(tmp_path / "theirs.py", "a") as file:
        file.write("\n# changed\n")
    kept = mutransfer("run", str(mine), "--keep")
    assert "changed since the trials ran, and kept as they are: theirs.py" in kept.stderr
    assert "10 of 20 trials are already there" in kept.stderr
    again = mutransfer("run", str(mine))
    assert "changed since the trials ran: theirs.py; 20 that have ended are trained again" in again.stderr
    assert "20/20 trials" in again.stderr


def test_one_process_sees_a_module_that_is_edited(mine: Path, tmp_path: Path) -> None:
    """As in a notebook."""
    module, one = tmp_path / "theirs.py", ["parametrization=sp", "width=[16]", "learning_rate=[0.01]"]
    before = mt.load(mine, set=one)
    wide = mt.plan(before)["shapes"][0]["parameters"]
    mt.run(before, tmp_path / "out", workers=1)
    module.write_text(module.read_text().replace("4 * width", "2 * width"))
    narrow = mt.plan(mt.load(mine, set=one))["shapes"][0]["parameters"]
    assert narrow < wide == mt.plan(before)["shapes"][0]["parameters"]
    kept = mt.run(mt.load(mine, set=one), tmp_path / "out", workers=1, keep=True)
    assert [*kept["parameters"]] == [wide]
    with (
        pytest.warns(UserWarning, match="counts 1 trial that its sweep no longer asks for"),
        pytest.warns(UserWarning, match="changed since the trials ran: theirs.py"),
    ):
        both = mt.run(mt.load(mine, set=one), tmp_path / "out", workers=1)
    assert sorted(both["parameters"]) == [narrow, wide]


def test_a_moved_sweep_goes_on(mine: Path, mutransfer: Command, tmp_path: Path) -> None:
    mutransfer("run", str(mine), "--set", "width=[16]")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("theirs.py", "mine.yaml", "text"):
        shutil.move(tmp_path / name, moved / name)
    done = mutransfer("run", str(moved / "mine.yaml"))
    assert "10 of 20 trials are already there" in done.stderr and "20/20 trials" in done.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["architecture=nowhere:build"], "model.directory: "),
        (["model.directory=nowhere"], "is no directory"),
        (["model.identity=[]"], "model.identity: is empty, so that no change would be seen"),
        (["model.identity=['*.rs']"], "model.identity.0: *.rs matches no file"),
        (["architecture=transformer", "model.roles=llama"], "describes an architecture of yours"),
        (["architecture=theirs"], "is not one of transformer, gdn"),
        (["model.rolls=llama"], "did you mean roles?"),
        (["model=null"], "model: is empty"),
    ],
)
def test_faults_of_the_section(mine: Path, mutransfer: Command, changes: list[str], said: str) -> None:
    words = [word for change in changes for word in ("--set", change)]
    done = mutransfer("plan", str(mine), *words)
    assert done.returncode == 2 and said in done.stderr, done.stderr


def test_the_coordinate_check(mine: Path, mutransfer: Command) -> None:
    words = [
        "coordcheck",
        str(mine),
        "--set",
        "steps=20",
        "--set",
        "parametrization=mup",
        "--set",
        "batch_size=8",
    ]
    done = mutransfer(*words, "--steps", "5", "-f", "json", "--set", "learning_rate=0.002")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"blocks.*.query", "head", "logits"} <= {
        row["module"] for row in json.loads(done.stdout)["checks"][0]["rows"]
    }
