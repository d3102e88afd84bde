"""Every benchmark still runs, each with a tiny size: that none breaks by accident, not what they measure."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import batching
import budget_updates
import coordchecks
import downstream
import handover
import learned_scales
import multipliers
import mutations
import operator_norms
import orchestration
import peers
import pruning
import pytest
import refinement
import reporting
import unchanged

from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.sweeps.load import load_sweep

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent

Printed = Callable[..., str]


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Printed:
    """What a benchmark's `main` prints, called with some words."""

    def call(main: Callable[[], None], *words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["benchmark", *words])
        main()
        return capsys.readouterr().out

    return call


def test_every_benchmark_is_here() -> None:
    named = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"evidence_tables"}  # test_evidence
    assert named <= {name for name in globals() if name in sys.modules}


def test_batching(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CASES": [("transformer", 32, 2)], "REPETITIONS": 1, "STEPS": 1}.items():
        monkeypatch.setattr(batching, name, value)
    assert "| transformer | 32 | 2 |" in printed(batching.main)


def test_coordchecks(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    small = coordchecks.SWEEP.replace("[32, 64, 128, 256]", "[16, 32]").replace("[2, 4, 8, 16]", "[2]")
    monkeypatch.setattr(coordchecks, "SWEEP", small.replace("steps: 10", "steps: 2"))
    assert "| transformer adamw depth-mup |" in printed(coordchecks.main, "depth-mup")


def test_budget_updates(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the duration at one rate learns nearly twice as much; half the batch, by its steps."""
    rules = {"batch": ("none", "batch-sqrt"), "duration": ("none",)}
    small = {"BATCHES": (4, 8), "SEQUENCES": 16, "DURATIONS": (2, 4), "SEEDS": 2, "RULES": rules}
    for name, value in small.items():
        monkeypatch.setattr(budget_updates, name, value)
    lines = [line.split(" | ") for line in printed(budget_updates.main).splitlines()[-3:]]
    assert [line[1] for line in lines] == ["none", "batch-sqrt", "none"]
    fixed, moved, longer = (float(line[3]) for line in lines)
    assert -1.2 < fixed < moved - 0.3 and 0.7 < longer < 1.2


def test_mutations(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two facts of a registry are deleted, and the tests notice."""
    monkeypatch.setattr(mutations, "TESTS", ("test_declarations.py",))
    with pytest.raises(SystemExit) as ended:
        printed(mutations.main, "Stack interleaved")
    assert ended.value.code == 0
    assert len([*mutations.mutants()]) > 300


def test_handover(printed: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The page has the table of the committed rows, whose optima are where they are said to be; measuring
    still runs, for one rate."""
    lines = printed(handover.main).splitlines()
    assert "\n".join(lines) in (ROOT / "docs" / "evidence.md").read_text()
    for line in lines[2:]:
        off = [float(number) for number in re.findall(r"\(([+-].*?)\)", line)]
        assert all(abs(octaves) < 0.5 for octaves in off[:2]) and all(octaves < -1 for octaves in off[2:])
    tiny = ("steps=2", "batch_size=2", "sequence_length=16", "eval_sequences=4")
    monkeypatch.setattr(handover, "SETTINGS", tiny)
    for model in handover.MODELS:
        file = str(handover.FOLDER / f"{model}.yaml")
        for who in handover.WHO[1:]:
            loss = handover.train(file, str(tmp_path / "data"), handover.Task(model, who, 32, -5.0, 0))
            assert 4 < loss < 8


def test_downstream(printed: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """But for lm-eval itself, in whose place a script answers."""
    small = downstream.SWEEP.replace("steps: 200", "steps: 2").replace("[32, 64, 128]", "[32]")
    monkeypatch.setattr(downstream, "SWEEP", small.replace("{log2: [-9, -4], step: 1}", "[0.01]"))
    answer = {"held_out_bits": {"bits_per_byte,none": 2.5}, "held_out_choice": {"acc,none": 0.5}}
    script = tmp_path / "answers.py"
    script.write_text(
        "import json, pathlib, sys\n"
        "out = pathlib.Path(sys.argv[sys.argv.index('--output_path') + 1]) / 'model'\n"
        "out.mkdir(parents=True)\n"
        f"(out / 'results_now.json').write_text(json.dumps({{'results': {answer!r}}}))\n"
    )
    lines = printed(
        downstream.main, str(tmp_path / "out"), "--lm-eval", f"{sys.executable} {script}"
    ).splitlines()
    assert [line.split(" | ")[0:2] for line in lines[2:]] == [[f"| {name}", "32"] for name in ("mup", "sp")]
    assert all(line.endswith("| 2.500 | 0.500 |") for line in lines[2:])
    (question, *_) = (tmp_path / "out" / "tasks" / "held_out_choice.jsonl").read_text().splitlines()
    held = json.loads(question)
    assert (
        held["context"] + held["choices"][held["right"]]
        in downstream.held_out(tmp_path / "out" / "runs").decode()
    )


def test_learned_scales(printed: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"SEEDS": 1, "STEPS": 2, "DEPTH": 2, "PICTURE": tmp_path / "scales.png"}.items():
        monkeypatch.setattr(learned_scales, name, value)
    lines = printed(learned_scales.main).splitlines()
    for optimizer in ("adamw", "muon"):
        assert sum(line.startswith(f"| {optimizer} | mlp.") for line in lines) == 2
        assert sum(line.startswith(f"| {optimizer} | embedding |") for line in lines) == 1
    told = [float(x) for line in lines if " | mlp." in line for x in line.split(" | ")[2:4]]
    assert all(abs(scale - 1) < 0.2 for scale in told)  # after two steps
    assert any(scale != 1 for scale in told)
    assert (tmp_path / "scales.png").read_bytes().startswith(b"\x89PNG")


def test_multipliers(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = ["steps=2", "width=16", "depth=1", "base.depth=1", "batch_size=2", "sequence_length=16"]
    monkeypatch.setattr(multipliers, "load_sweep", lambda name: load_sweep(name, tiny))
    assert "# Learnable multipliers" in printed(multipliers.main)


def test_operator_norms(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WIDTHS": (16, 32), "DEPTHS": (1, 2)}.items():
        monkeypatch.setattr(operator_norms, name, value)
    monkeypatch.setattr(operator_norms, "OPTIMIZERS", {"adamw": OPTIMIZERS["adamw"]})
    assert printed(operator_norms.main).count("| adamw |") >= 2


def test_orchestration(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestration, "GROUP", 2)
    assert printed(orchestration.main, "--trials", "20").startswith("| trials a job |")


def test_peers(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [
        "width=16",
        "seed=[0]",
        "steps=5",
        "architecture=transformer",
        "parametrization=mup",
        "learning_rate=[0.01, 0.02]",
    ]
    monkeypatch.setattr(peers, "CHANGES", small)
    monkeypatch.setattr(peers, "REPETITIONS", 1)
    lines = printed(peers.main)
    assert lines.startswith("2 trials") and lines.count(" to ") == 4
    for way in ("ours", "Ray Tune", "a process a trial", "plain PyTorch, one process"):
        assert f"| {way} |" in lines


def test_refinement(printed: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for suffix in ("parquet", "yaml"):
        shutil.copy(ROOT / "benchmarks" / "refinement" / f"transformer-lion.{suffix}", tmp_path)
    monkeypatch.setattr(refinement, "FOLDER", tmp_path)
    assert "| transformer-lion |" in printed(refinement.main)


def test_pruning(printed: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On every sweep what is stopped is no neighbour of the lowest loss, no optimum leaves its interval, and
    no verdict is another, but for one that was open."""
    shutil.copytree(pruning.FOLDER, tmp_path / "pruning")
    monkeypatch.setattr(pruning, "FOLDER", tmp_path / "pruning")
    lines = printed(pruning.main).splitlines()[2:]
    assert len(lines) == len([*pruning.FOLDER.glob("*.parquet")])
    for line in lines:
        _, name, _, stopped, _, height, off, _, left, whole, pruned, _ = map(str.strip, line.split("|"))
        assert int(stopped) == 0 or (float(height.split()[0]) >= 0.5 and int(off) >= 3), name
        assert left == "0", name
        for before, after in zip(whole.split(", "), pruned.split(", "), strict=True):
            assert after in (before, "stable" if before == "inconclusive" else before), name


def test_reporting(printed: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "SIZES", (40,))
    assert "| 40 |" in printed(reporting.main)


def test_unchanged(printed: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This very commit against itself; a difference would be seen."""
    if subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, check=False).returncode:
        pytest.skip("compares commits; this tree has none")
    monkeypatch.setattr(unchanged, "PRESETS", ["smoke"])
    monkeypatch.setattr(unchanged, "EVIDENCE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["unchanged.py", "HEAD", "--part", "files"])
    with pytest.raises(SystemExit) as ended:
        unchanged.main()
    assert ended.value.code == 0
    assert [*unchanged.differences("a", {"b": [1, 2]}, {"b": [1, 3]})] == ["a.b[1]: was 2, is 3"]
