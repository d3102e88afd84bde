"""What is wrong with the section `program:` is said before anything runs."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command
from own_programs import ONE, VALLEY

from mutransfer.orchestrator.backends.local.gpus import Gpus
from mutransfer.sweeps.command.command import Command as OwnCommand
from mutransfer.sweeps.load import load_sweep


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ('"{rate}"]', '"{rat}"]', "program.command.2: {rat} is no field of these trials; there are attempt,"),
        ('"{rate}"]', '"{rate"]', "program.command.2: {rate: "),
        ("  directory: trainer", "  directory: nowhere", "program.directory: "),
        ("  loss: {pattern: 'loss (\\S+)'}", "", "program.loss: is missing; say where the final loss stands"),
        ("(\\S+)", "\\S+", "program.loss.pattern: needs exactly one group"),
        ("{pattern: 'loss (\\S+)'}", "{file: a}", "is written {file: F, key: K}, {csv: F, column: C}"),
        ("  loss", "  identity: [model/*.py]\n  loss", "program.identity.0: model/*.py matches no file"),
        (
            "  loss",
            "  gpus: 1.5\n  loss",
            "program.gpus: is a whole number of GPUs, or a share of one below 1",
        ),
        ("  loss", "  gpus: many\n  loss", "program.gpus: is a number, or numbers by scale"),
        ("{pattern: 'loss (\\S+)'}", "last", "program.loss: is helper, or {file: F, key: K}"),
        ("train.py,", "train.py, 7,", "program.command: is a list of texts (numbers in quotes), or one text"),
        ("  loss", "  gpus: {1: 2}\n  loss", "program.gpus: says nothing of the scale"),
        ("  loss", "  function: a:b\n  loss", "program: give exactly one of command and function"),
        ("rate: [0.5", "loss: [0.5", "axes.loss: is a column of what came of a trial"),
        ("rate: [0.5", "trial: [0.5", "axes.trial: is what {trial} of the command stands for"),
        ("rate: [0.5", "a-b: [0.5", "axes.a-b: cannot name a field; use letters, digits and '_'"),
        ("rate: [0.5", "rate: [[0.5]", "axes.rate.0: [0.5] is no text, number or truth"),
        ("name: own", "name: own\nscale: depth", "scale: depth has no numbers under axes"),
        ("name: own", "name: own\nprune: {}", "prune: "),
        ("name: own", "name: own\ndata: {corpus: python-stdlib}", "data: a program has data of its own"),
        ("rate: [0.5", "tokens: [1.5", "axes.tokens.0: 1.5 is no positive integer"),
        ("rate: [0.5", "flops: [-1", "axes.flops.0: -1 is no positive number"),
        ("name: own", "name: own\nscale: rate\nhyperparameter: rate", "scale: rate is what is tuned"),
        (
            "{pattern: 'loss (\\S+)'}",
            "{csv: /log.csv, column: a}",
            "program.loss.csv: /log.csv is outside of",
        ),
        ("  loss", "  gpus: .nan\n  loss", "program.gpus: is a number, or numbers by scale"),
        ("  loss", "  timeout: 1h\n  loss", "program.timeout: input should be a valid number, not '1h'"),
        ("  loss", "  environment: {'A=B': x}\n  loss", "program.environment."),
        ("axes: {", "axes: {learning_rate: [-1.0], ", "learning_rate: -1.0 is not positive"),
        ("[0.5, 0.25]", "[0.5, none]", "axes.rate: mixes numbers (0.5) and texts ('none'); give all as one"),
        ("[0.5, 0.25]", "[true, 0.25]", "axes.rate: mixes truths (True) and numbers (0.25)"),
        ("rate: [0.5", "program: [0.5", "axes.program: is the section of the program"),
        ("rate: [0.5", "id: [0.5", "axes.id: is what trial.id of the helper is"),
        ("rate: [0.5", "should_stop: [0.5", "axes.should_stop: is what trial.should_stop of the helper is"),
        ('"{rate}"]', '"{rate:.1e}"]', "program.command.2: {rate:.1e}: {rate} is put in as it is; take its"),
        ('"{rate}"]', '"{rate!r}"]', "program.command.2: {rate!r}: {rate} is put in as it is"),
        ("{pattern: 'loss (\\S+)'}", "{file: 'm{nope}', key: a}", "program.loss.file: {nope} is no field of"),
        ("{pattern: 'loss (\\S+)'}", "{csv: 'm{', column: a}", "program.loss.csv: m{: "),
        (
            "{pattern: 'loss (\\S+)'}",
            "{file: '', key: a}",
            "program.loss.file: string should have",
        ),
        ("  loss", "  gpus: {64: 1}\n  loss", "program.gpus: says nothing of the scale 0.5"),
        ("  loss", "  timeout: .inf\n  loss", "program.timeout: input should be less than or equal to"),
        (
            "  loss",
            "  identity: [/proc/self/mem]\n  loss",
            "identity.0: /proc/self/mem cannot be read",
        ),
        ("rate: [0.5", 'rate: ["a\\0b"', "holds a character that no command can be given"),
        ("rate: [0.5", 'rate: ["\\ud800"', "rate"),
        ("rate: [0.5", "rate: [36893488147419103232", "is larger than 2^53"),
        (
            "  loss",
            "  identiy: [train.py]\n  loss",
            "identiy: is not a key of program; did you mean identity?",
        ),
        (
            "name: own",
            "name: own\nrefine: {}",
            "refine: needs a coarse grid: at least 3 values under axes of",
        ),
        ("[0.5, 0.25]", "", "axes.rate: is empty"),
        ("  loss", "  environment: {A-B: x}\n  loss", "program.environment.A-B: 'A-B' is no name"),
        (
            "  command: ",
            "  function: train:f\n  # command: ",
            "program.loss: is what the function returns; take it out",
        ),
    ],
)
def test_what_is_wrong_is_named_before_anything_runs(
    before: str, after: str, fault: str, own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    path = own(ONE, "print('loss 1')\n")
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    done = mutransfer("plan", str(path))
    assert done.returncode == 2, done.stdout
    assert fault in done.stderr


def test_gpus_are_handed_out_whole_or_in_shares() -> None:
    gpus = Gpus(["0", "1", "2", "3"])
    assert gpus.take("a", 2) == "0,1"
    assert gpus.take("b", 0.5) == "2"
    assert gpus.take("c", 0.25) == "2"  # where it fits best
    assert gpus.take("d", 0.5) == "3"
    assert gpus.take("e", 1) is None
    gpus.give_back("a")
    assert gpus.take("e", 2) == "0,1"
    gpus.give_back("b")
    gpus.give_back("c")
    assert gpus.take("f", 2) is None
    assert gpus.take("g", 1) == "2"


def test_a_machine_without_enough_gpus_is_said(own: Callable[[str, str], Path], mutransfer: Command) -> None:
    path = own(ONE.replace("  loss", "  gpus: 2\n  loss"), "print('loss 1')\n")
    done = mutransfer("run", str(path), "--device", "cpu")
    assert done.returncode == 6
    assert "program.gpus: a trial asks for 2, and this machine has 0" in done.stderr


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("./no-such-program", "there is no ./no-such-program in its directory"),
        ("no-such-program", "no-such-program is not on PATH; activate its environment"),
        ("./train.py", "./train.py cannot be executed; chmod +x"),
        ("train.py", "train.py is not on PATH; write ./train.py"),
        (
            "./plain.sh",
            "./plain.sh does not begin with #!; name its interpreter first, as in [bash, ",
        ),
    ],
)
def test_a_program_that_is_not_there_is_said(
    word: str, fault: str, own: Callable[[str, str], Path], mutransfer: Command, tmp_path: Path
) -> None:
    path = own(ONE.replace("PYTHON, train.py", word), "")
    (tmp_path / "trainer" / "plain.sh").write_text("echo loss 1\n")
    (tmp_path / "trainer" / "plain.sh").chmod(0o755)
    done = mutransfer("run", str(path))
    assert done.returncode == 6
    assert f"program.command: {fault}" in done.stderr
    assert not [*tmp_path.glob("runs/own/jobs/*/log.txt")]


def test_what_only_an_attempt_knows_is_not_refused_before(own: Callable[[str, str], Path]) -> None:
    sweep = load_sweep(str(own(ONE.replace("PYTHON, train.py", '"{checkpoints}/built"'), "")))
    program = sweep.expansion.trials[0].program
    assert isinstance(program, OwnCommand) and program.not_here() is None


def test_the_python_of_mutransfer_has_a_name(
    own: Callable[[str, str], Path], mutransfer: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever `python` is on PATH; and no path of a machine is in an id."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    path = own(ONE.replace("PYTHON", '"{python}"'), "import sys\nprint('of', sys.executable, 'loss 1')\n")
    done = mutransfer("run", str(path))
    assert done.returncode == 0, done.stderr
    logs = [log.read_text() for log in (tmp_path / "runs" / "own").glob("jobs/*/log.txt")]
    assert len(logs) == 2
    assert all(f"of {sys.executable}" in log for log in logs)
    before = [trial.id for trial in load_sweep(str(path)).expansion.trials]
    monkeypatch.setattr(sys, "executable", "/elsewhere/python")
    assert [trial.id for trial in load_sweep(str(path)).expansion.trials] == before


def test_gpus_by_a_scale_that_no_trial_has_are_said(
    own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    sweep = ONE.replace("axes: {rate: [0.5, 0.25]}\n", "").replace("{rate}", "x")
    done = mutransfer("plan", str(own(sweep.replace("  loss", "  gpus: {64: 1}\n  loss"), "")))
    assert (
        done.returncode == 2 and "program.gpus: are by width, which these trials do not have" in done.stderr
    )


def test_a_log_range_of_whole_numbers_is_whole(own: Callable[[str, str], Path], mutransfer: Command) -> None:
    """A script that takes an int is given one."""
    sweep = ONE.replace("rate: [0.5, 0.25]", "rate: {log2: [6, 8]}, tilt: {log10: [-1, 1]}")
    sweep = sweep.replace('"{rate}"', '"{rate}", "{tilt}"')
    told = mutransfer("plan", str(own(sweep, ""))).stdout
    assert "train.py 64 0.1\n" in told and "train.py 64 1.0\n" in told


def test_an_axis_that_nothing_hands_over_is_said(
    own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    sweep = ONE.replace("axes: {", "axes: {seed: [0, 1], ")
    told = "no word of the command holds {seed}: trials that differ in it alone run alike"
    assert told in mutransfer("plan", str(own(sweep, VALLEY))).stdout
    assert told in mutransfer("run", str(own(sweep, VALLEY))).stderr
    space = "axes: {width: [64]}\nsearch: {space: {learning_rate: {log2: [-9, -3]}}, trials: 4}"
    searched = ONE.replace("axes: {rate: [0.5, 0.25]}", space).replace('"{rate}"', '"{width}"')
    assert told.replace("seed", "learning_rate") in mutransfer("plan", str(own(searched, VALLEY))).stdout
    zipped = ONE.replace("axes: {", "zip: [[rate, label]]\naxes: {label: [a, b], one: [1], ")
    assert "no word of the command" not in mutransfer("plan", str(own(zipped, VALLEY))).stdout
    helped = sweep.replace("{pattern: 'loss (\\S+)'}", "helper")
    assert helped != sweep
    assert told not in mutransfer("plan", str(own(helped, VALLEY))).stdout


def test_a_name_that_our_data_decides_is_no_field(
    own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    done = mutransfer("plan", str(own(ONE.replace("axes: {", "axes: {vocab_size: [9], "), "")))
    assert done.returncode == 2
    assert "axes.vocab_size: is a name of our own proxies' data and models; give the field" in done.stderr


def test_a_field_of_a_program_is_set_under_fixed(
    own: Callable[[str, str], Path], mutransfer: Command
) -> None:
    done = mutransfer("plan", str(own(ONE, "")), "--set", "tilt=3")
    assert done.returncode == 2
    assert "for a field of your program write --set fixed.tilt=VALUE" in done.stderr


def test_a_function_that_is_not_there_is_said(own: Callable[[str, str], Path], mutransfer: Command) -> None:
    sweep = ONE[: ONE.index("  command")] + "  function: no_such:f\n  directory: trainer\n"
    done = mutransfer("run", str(own(sweep, "")))
    assert done.returncode == 6 and "program.function: there is no module no_such in" in done.stderr


def test_a_program_is_not_known_by_what_runs_make(own: Callable[[str, str], Path], tmp_path: Path) -> None:
    """Neither by a sweep beside it nor by what Python compiled."""
    path = own(ONE.replace("  loss", "  identity: ['**/*']\n  loss"), "")
    (tmp_path / "sweep.json").write_text("somebody's own, above")
    before = [trial.id for trial in load_sweep(str(path)).expansion.trials]
    for name in ("runs/own/sweep.json", "runs/own/jobs/a/log.txt", "sub/__pycache__/a.pyc"):
        (tmp_path / "trainer" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "trainer" / name).write_text("made")
    assert [trial.id for trial in load_sweep(str(path)).expansion.trials] == before
    (tmp_path / "trainer" / "sub" / "a.py").write_text("written")
    assert [trial.id for trial in load_sweep(str(path)).expansion.trials] != before
