"""`mutransfer.trial`: a script by hand, what it needs, and the values that it hands over."""

import subprocess
import sys
from pathlib import Path

import pytest

from mutransfer.models.optimizers.registry import OPTIMIZERS


def test_a_script_runs_by_hand(tmp_path: Path) -> None:
    """Values come from the keywords or the command line; metrics are printed."""
    script = tmp_path / "train.py"
    script.write_text(
        "import mutransfer\n"
        "trial = mutransfer.trial(learning_rate=0.01, width=64, name='a', fast=False)\n"
        "print(trial.learning_rate, trial['width'], trial.name, trial.fast, trial.id, trial.should_stop)\n"
        "trial.report(1, train_loss=2)\n"
    )
    words = ["--width", "128", "--learning_rate=0.5", "--fast", "true", "--else", "7"]
    done = subprocess.run(
        [sys.executable, script, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["0.5 128 a True None False", '{"step": 1, "train_loss": 2}']


def test_the_helper_needs_the_standard_library_alone(tmp_path: Path) -> None:
    import mutransfer.models.handover.trial as helper

    assert helper.__file__ is not None
    (tmp_path / "trial.py").write_text(Path(helper.__file__).read_text())
    heavy = "('torch', 'numpy', 'mutransfer')"
    script = f"import sys, trial; trial.trial(a=1); print([n for n in {heavy} if n in sys.modules])"
    words = [sys.executable, "-S", "-c", script]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_handover_of_a_trial_is_that_of_our_own_proxy() -> None:
    """By role: learning rates, decays and starts of a proxy at the same point."""
    from mutransfer.models.handover.values import handover_of, values_of
    from mutransfer.models.recipe.recipe import recipe_from_point

    point = {"parametrization": "mup", "optimizer": "adamw", "learning_rate": 0.01, "width": 256, "depth": 4,
             "base_width": 64, "base_depth": 4, "weight_decay": 0.1, "head_dim": 16}  # fmt: skip
    held, why_not = handover_of({**point, "data_mix": "c4"})
    assert held is not None and why_not == ""
    whole = {**point, "architecture": "transformer", "sequence_length": 64, "vocab_size": 256, "steps": 9,
             "batch_size": 2, "data": "x"}  # fmt: skip
    assert held["roles"] == values_of(recipe_from_point(whole))["roles"]
    assert held["roles"]["hidden"]["learning_rate"] == 0.0025
    assert held["multipliers"]["attention logits"] == 0.25
    headless, why_not = handover_of({name: value for name, value in point.items() if name != "head_dim"})
    assert headless is not None and why_not == ""
    assert headless["roles"] == held["roles"] and "attention logits" not in headless["multipliers"]
    assert not {"schedule", "grad_clip"} & {*held["hyperparameters"]}  # of which nothing is known
    why_not = "the trial has no parametrization and no optimizer and no learning_rate"
    assert handover_of({"width": 64}) == (None, why_not)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_trial_is_handed_what_our_own_proxy_would_be(optimizer: str) -> None:
    """Its optimizer's usual momentum; and the rate beside a matrix optimizer has no usual value."""
    from mutransfer.models.handover.values import handover_of

    point = {"parametrization": "mup", "optimizer": optimizer, "learning_rate": 0.01, "width": 64,
             "base_width": 16, "base_depth": 1}  # fmt: skip
    if OPTIMIZERS[optimizer].matrices:
        nothing, why_not = handover_of(point)
        assert nothing is None and why_not.startswith("adamw_lr_ratio: ")
        point["adamw_lr_ratio"] = 0.1
    held, why_not = handover_of(point)
    assert held is not None, why_not
    usual = OPTIMIZERS[optimizer].defaults
    assert {name: held["hyperparameters"][name] for name in usual} == usual


def test_a_word_that_is_no_number_is_said(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import mutransfer\nmutransfer.trial(width=64)\n")
    for words, told in (
        (["--width", "abc"], "--width abc: is no number"),
        (["--width"], "--width: needs a number"),
    ):
        line = [sys.executable, str(script), *words]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and done.stderr.strip() == told


def test_words_of_a_command_line_are_understood() -> None:
    """Flags, dashes for underscores, a number that an integer default does not hold."""
    from mutransfer.models.handover.trial import Value, _from_words

    defaults: dict[str, Value] = {"learning_rate": 1, "width": 64, "fast": False, "name": "a"}
    words = ["--fast", "--learning-rate", "0.1", "--width=128", "--name", "b", "--other", "--flag"]
    found = {"fast": True, "learning_rate": 0.1, "width": 128, "name": "b"}
    assert _from_words(words, defaults) == found
    assert _from_words(["--fast", "false"], defaults) == {"fast": False}
    assert _from_words([], defaults) == {}


def test_a_trial_that_finishes_without_a_loss_is_told(tmp_path: Path) -> None:
    from mutransfer.models.handover.trial import Trial

    trial = Trial({"point": {}, "files": tmp_path, "checkpoints": tmp_path})
    with pytest.raises(ValueError, match="give a number, or float"):
        trial.finish(loss=None)  # type: ignore[arg-type]
