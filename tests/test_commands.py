"""The other commands from outside: plan, rules, init, import, report, export."""

import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from conftest import Command, trial_ids
from ruamel.yaml import YAML

import mutransfer as mt
from mutransfer.models.files.place import beside, meant
from mutransfer.orchestrator.studies import coordcheck


def test_dry_run_and_plan_make_nothing(sweep_file: Path, tmp_path: Path, mutransfer: Command) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    dry = mutransfer("run", str(sweep_file), "--dry-run", "--device", "cpu")
    plan = mutransfer("plan", str(sweep_file), "--device", "cpu")
    assert dry.returncode == plan.returncode == 0
    assert dry.stdout == plan.stdout
    assert "tiny: 12 trials in 2 jobs" in plan.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_plan_as_json(sweep_file: Path, mutransfer: Command) -> None:
    plan = json.loads(mutransfer("plan", str(sweep_file), "-f", "json", "--device", "cpu").stdout)
    assert (plan["trials"], plan["jobs"], plan["tokens"]) == (12, 2, 12 * 5 * 2 * 16)
    assert [time["device"] for time in plan["times"]] == ["cpu", "cuda"]
    assert sum(shape["flops"] for shape in plan["shapes"]) == plan["flops"] > 0


def test_a_calibrated_plan_says_so(sweep_file: Path, mutransfer: Command) -> None:
    plan = json.loads(
        mutransfer("plan", str(sweep_file), "-f", "json", "--device", "cpu", "--calibrate").stdout
    )
    assert plan["times"][0]["basis"].startswith("calibrated by a few steps here")
    assert plan["times"][1]["basis"] == "a roofline model, not measured"
    assert plan["times"][0]["seconds"] > 0


def test_want_of_memory_is_one_line(
    sweep_file: Path, mutransfer: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordcheck, "check_families", lambda *_: torch.empty(1 << 60))
    refused = mutransfer("coordcheck", str(sweep_file), "--device", "cpu")
    assert refused.returncode == 6
    told = "coordcheck: too little memory here, or on the GPU; give smaller sizes, fewer trials or --seeds\n"
    assert refused.stderr == told


def test_doctor_looks_at_everything(tmp_path: Path, mutransfer: Command) -> None:
    done = mutransfer("doctor", "-f", "json")
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert {"python", "torch", "devices", "writing", "clock", "disk", "ray cluster", "slurm"} <= set(findings)
    assert findings["writing"]["status"] == "ok"
    faults = [finding for finding in findings.values() if finding["status"] == "fault"]
    assert done.returncode == (6 if faults else 0)
    assert all(finding["remedy"] for finding in faults)
    assert not (tmp_path / "runs").exists()
    nowhere = mutransfer("doctor", "--out", "/proc/x")
    assert nowhere.returncode == 6
    assert "fault  writing" in nowhere.stdout


@pytest.mark.parametrize("command", ["status", "logs", "cancel", "retry", "gc"])
def test_commands_on_a_directory_that_is_no_sweep(tmp_path: Path, mutransfer: Command, command: str) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        done = mutransfer(command, name)
        assert done.returncode == 2
        assert done.stderr.startswith(f"{name}: is not a sweep directory")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty"]


def test_logs_of_nobody(sweep_file: Path, tmp_path: Path, mutransfer: Command) -> None:
    mutransfer("run", str(sweep_file), "--out", "out")
    trial = trial_ids(tmp_path / "out")[0]
    assert "--- attempt 1" in mutransfer("logs", "out", trial).stdout
    unknown = mutransfer("logs", "out", "zzz")
    assert unknown.returncode == 2
    assert "no trial or job whose id begins with 'zzz'" in unknown.stderr
    several = mutransfer("logs", "out", "")
    assert several.returncode == 2
    assert "14 trials and jobs" in several.stderr


def test_rules_in_three_formats(sweep_file: Path, mutransfer: Command) -> None:
    families = json.loads(mutransfer("rules", str(sweep_file), "-f", "json").stdout)["families"]
    assert [f["parametrization"] for f in families] == ["sp", "mup"]
    assert all(parameter["row"] for f in families for parameter in f["parameters"])
    assert [f["budget"] for f in families] == [None, None]
    followed = mutransfer("rules", str(sweep_file), "-f", "json", "--set", "budget_rules=batch-sqrt",
                          "--set", "base.batch_size=4", "--set", "base.steps=4",
                          "--set", "batch_size=16").stdout  # fmt: skip
    budget = json.loads(followed)["families"][0]["budget"]
    assert (budget["rule"], budget["batch_size"]) == ("batch-sqrt", 16)
    assert budget["values"]["learning_rate"] == 2 * json.loads(followed)["families"][0]["base_learning_rate"]
    markdown = mutransfer("rules", str(sweep_file), "-f", "markdown").stdout
    assert "| readout.weight | output | 256 x 16 |" in markdown
    table = mutransfer("rules", str(sweep_file)).stdout
    assert "mup adamw, hidden: [1] table 6, hidden" in table


def test_init_writes_a_file_that_runs_and_never_overwrites(tmp_path: Path, mutransfer: Command) -> None:
    first = mutransfer("init", "smoke")
    assert first.returncode == 0
    assert "#" in (tmp_path / "smoke.yaml").read_text()
    assert mutransfer("plan", "smoke.yaml").returncode == 0
    second = mutransfer("init", "smoke")
    assert second.returncode == 2
    assert "smoke.yaml: exists already; give another --out" in second.stderr
    unknown = mutransfer("init", "nothing")
    assert unknown.returncode == 2
    assert "nothing: is not a preset; presets:" in unknown.stderr


def test_import_report_and_their_faults(tmp_path: Path, mutransfer: Command) -> None:
    source = next((Path(__file__).parent / "published").glob("*table15*"))
    done = mutransfer("import", str(source), "--out", "paper")
    assert done.returncode == 0, done.stderr
    assert "imported 36 measurements into paper" in done.stdout
    report = mutransfer("report", "paper")
    assert "drifts" in report.stdout
    assert mutransfer("import", str(source), "--out", "paper").returncode == 0
    assert len(trial_ids(tmp_path / "paper")) == 36
    changed = tmp_path / source.name
    changed.write_text(source.read_text().replace("5.127", "5.128"))
    other = mutransfer("import", str(changed), "--out", "paper")
    assert other.returncode == 2
    assert "paper: holds another version of these measurements; give another --out" in other.stderr
    (tmp_path / "bad.csv").write_text("width,loss\n1,2\n")
    bad = mutransfer("import", "bad.csv", "--out", "bad")
    assert bad.returncode == 2
    assert "bad.csv: the columns learning_rate" in bad.stderr
    assert not (tmp_path / "bad").exists()
    export = mutransfer("export", "paper", "--width", "8192", "--depth", "4")
    assert export.returncode == 2
    assert "the measurements do not say how they were trained" in export.stderr


def test_reporting_nothing(tmp_path: Path, mutransfer: Command) -> None:
    (tmp_path / "empty").mkdir()
    missing = mutransfer("report", "empty")
    assert missing.returncode == 2
    assert (
        "empty: is neither a sweep directory nor a table; run a sweep, or import measurements first"
        in missing.stderr
    )
    address = mutransfer("report", "sqlite:///x.db")
    assert address.returncode == 2 and "is a database's address; give the path of its file" in address.stderr
    address = mutransfer("report", "postgresql://host/studies")
    assert address.returncode == 2 and "is an address; import the database there" in address.stderr
    address = mutransfer("import", "https://host/losses.csv", "--out", "imported")
    assert address.returncode == 2
    assert "is no database's address; download what is there, and import that" in address.stderr
    (tmp_path / "empty" / "sweep.json").write_text('{"format": 1, "name": "empty"}')
    nothing = mutransfer("report", "empty")
    assert nothing.returncode == 4
    assert "no finished trials to report yet" in nothing.stderr
    assert "Traceback" not in missing.stderr + nothing.stderr


def test_no_gpu_is_a_preflight_failure(sweep_file: Path, mutransfer: Command) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU; the message is for those without")
    done = mutransfer("run", str(sweep_file), "--device", "cuda")
    assert done.returncode == 6
    assert "--device cuda: torch sees no GPU here" in done.stderr


def test_export_reproduces_the_rules_of_the_target(tmp_path: Path, mutransfer: Command) -> None:
    mutransfer("run", "smoke", "--set", "learning_rate={log2: [-9, -1], step: 1}")
    several = mutransfer("export", "runs/smoke", "--width", "256", "--depth", "4")
    assert several.returncode == 2
    assert "--architecture transformer --optimizer adamw --parametrization mup" in several.stderr
    words = ("export", "runs/smoke", "--width", "256", "--depth", "4", "--parametrization", "mup")
    text = mutransfer(*words)
    assert text.returncode == 0, text.stderr
    exported = YAML(typ="safe").load(text.stdout)
    assert exported == json.loads(mutransfer(*words, "-f", "json").stdout)
    base = exported["hyperparameters"]["learning_rate"]
    assert exported["base"] == {"width": 16, "depth": 1}
    assert exported["roles"]["hidden"]["learning_rate"] == pytest.approx(base / 16)
    assert exported["parameters"]["blocks.*.mlp.up.weight"]["epsilon"] == pytest.approx(1e-8 / 64)
    assert exported["multipliers"]["residual branch"] == pytest.approx(1 / 4)
    assert exported["multipliers"]["readout"] == pytest.approx(1 / 16)
    assert exported["evidence"]["comparison"]["parametrization"] == "mup"
    misfit = mutransfer("export", "runs/smoke", "--width", "250", "--depth", "4", "--parametrization", "mup")
    assert misfit.returncode == 2
    assert "the target does not fit: width: 250 is not a multiple of head_dim 8" in misfit.stderr


def test_unknown_options_are_usage_errors(mutransfer: Command) -> None:
    done = mutransfer("run", "smoke", "--bogus")
    assert done.returncode == 2
    assert "No such option" in done.stderr
    assert mutransfer("--version").stdout.strip() == "0.1.0"


def test_export_names_the_pairing_and_the_conventions(
    sweep_file: Path, tmp_path: Path, mutransfer: Command
) -> None:
    """Which optimizer takes which role, and what its learning rate multiplies."""
    pairing = ["--set", "optimizer=muon", "--set", "adamw_lr_ratio=0.5", "--set", "decay=independent"]
    pairing += ["--set", "learning_rate={log2: [-8, 4], step: 2}", "--set", "width=[8, 16, 32]"]
    done = mutransfer("run", str(sweep_file), *pairing, "--set", "weight_decay=0.01", "--out", "muon")
    assert done.returncode == 0, done.stderr
    chosen = mutransfer(
        "export", "muon", "--width", "64", "--depth", "1", "--parametrization", "mup", "-f", "json"
    )
    assert chosen.returncode == 0, chosen.stderr
    exported = json.loads(chosen.stdout)
    assert exported["update_convention"] == "sqrt(fan_out/fan_in) * U V^T"
    assert exported["weight_decay_convention"].startswith("independent")
    assert exported["hyperparameters"]["adamw_lr_ratio"] == 0.5
    base = exported["hyperparameters"]["learning_rate"]
    hidden, output = exported["roles"]["hidden"], exported["roles"]["output"]
    assert (hidden["optimizer"], hidden["learning_rate"]) == ("muon", pytest.approx(base))
    assert (output["optimizer"], output["learning_rate"]) == ("adamw", pytest.approx(base / 2))
    assert hidden["weight_decay"] == pytest.approx(0.01)


def test_what_is_older_than_an_idle_field_is_handed_over(tmp_path: Path, mutransfer: Command) -> None:
    """A mixture's loss says nothing of one expert."""
    shutil.copytree(Path(__file__).parent / "stored" / "schema-1", tmp_path / "old")
    words = ("old", "--width", "256", "--depth", "2", "--parametrization", "mup", "-f", "json")
    handed = mutransfer("export", *words)
    assert handed.returncode == 0 and json.loads(handed.stdout)["target"]["width"] == 256
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        told = mt.export(tmp_path / "old", 256, 2, parametrization="mup")
    assert {one["text"] for one in told["warnings"] if one["severity"] != "note"} <= {
        str(one.message) for one in seen
    }
    assert told["warnings"] == json.loads(handed.stdout)["warnings"]


def test_jobs_that_are_gone_are_nobodys_loss_where_their_trials_are_there(
    tmp_path: Path, mutransfer: Command
) -> None:
    shutil.copytree(Path(__file__).parent / "stored" / "schema-1", tmp_path / "old")
    told = mutransfer("retry", "old")
    assert "30 of 30 trials are already there" in told.stdout + told.stderr and "damaged" not in told.stderr


def test_rules_without_a_sweep_are_the_tables(mutransfer: Command) -> None:
    table = mutransfer("rules")
    assert table.returncode == 0 and "depth-mup: muon" in table.stdout
    assert mutransfer("rules", "--set", "width=64").returncode == 2
    tables = json.loads(mutransfer("rules", "-f", "json").stdout)
    (row,) = (
        row for row in tables["updates"]
        if (row["parametrization"], row["optimizer"], row["role"]) == ("mup", "muon-kimi", "hidden")
    )  # fmt: skip
    assert (row["learning_rate"], row["weight_decay_coupled"]) == ([-0.5, 0.0], [0.5, 0.0])


@pytest.mark.slow  # processes of their own: what they print to is closed, or full
@pytest.mark.parametrize(("place", "code"), [(">&-", 0), (">/dev/full", 6), ("2>&-", 0)])
def test_a_page_is_written_whatever_becomes_of_what_is_printed(place: str, code: int, tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent / "stored" / "schema-1", tmp_path / "sweep")
    command = f"{sys.executable} -m mutransfer.orchestrator.cli report sweep {place}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert (tmp_path / "sweep/report/report.html").exists()
    if code:
        assert done.stderr.endswith(
            "standard output: No space left on device; make room, or send it elsewhere\n"
        )


@pytest.mark.slow  # processes of their own, whose files may not grow
@pytest.mark.parametrize("command", ["trials sweep --out trials.csv", "report sweep --out page"])
def test_a_file_that_cannot_grow_is_named(command: str, tmp_path: Path) -> None:
    """Under a limit of the file's size, as batch systems set it; a full disk says the same."""
    shutil.copytree(Path(__file__).parent / "stored" / "schema-1", tmp_path / "sweep")
    limited = f"ulimit -f 1; {sys.executable} -m mutransfer.orchestrator.cli {command}"
    done = subprocess.run(limited, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 6
    place = "trials.csv" if "trials" in command else "page/"
    (line,) = [line for line in done.stderr.splitlines() if "File too large; make room" in line]
    assert place in line and "standard output" not in line


@pytest.mark.slow  # a process of its own, interrupted while it loads
def test_an_interrupt_while_the_command_loads_is_no_traceback(tmp_path: Path) -> None:
    loading = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # jobs in the background ignore it
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from mutransfer.orchestrator.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", loading], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_what_to_type_next_can_be_typed(tmp_path: Path, mutransfer: Command) -> None:
    (tmp_path / "losses.csv").write_text("width,lr,loss\n16,0.1,3\n")
    told = mutransfer("import", "losses.csv", "--out", "of mine").stdout
    assert told.endswith("into of mine; next: mutransfer report 'of mine'\n")
    told = mutransfer("import", "losses.csv", "--out=-x").stdout
    assert told.endswith("next: mutransfer report ./-x\n")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    refused = mutransfer("import", "losses.csv", "--out", "gone")
    assert refused.returncode == 2 and "gone: is a link to nothing; give another --out" in refused.stderr


def test_a_page_on_a_quotient_of_columns(tmp_path: Path, mutransfer: Command) -> None:
    rows = [
        f"{tokens},1e8,{2.0**power},{3 + (power + 9) ** 2 / 50 - tokens / 1e11}"
        for tokens in (1e9, 2e9, 4e9)
        for power in range(-12, -5)
    ]
    (tmp_path / "runs.csv").write_text("\n".join(["tokens,parameters,lr,loss", *rows]))
    done = mutransfer("report", "runs.csv", "--axis", "tokens/parameters", "--out", "page")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page/loss-learning_rate-across-tokens-per-parameters.png").exists()
    page = (tmp_path / "page/report.md").read_text()
    assert "Judged with mutransfer" in page and ", 0 tokens" not in page and "0 seeds" not in page
    assert "penalty in the losses' unit" in done.stdout and "penalties in the losses' unit" in page
    assert "nats" not in done.stdout + page + (tmp_path / "page/report.html").read_text()


def test_a_huge_number_is_told_with_an_exponent(tmp_path: Path, mutransfer: Command) -> None:
    rows = [f"{width},{2.0**x},{2 + (x + 5) ** 2 / 10}" for width in (32, 64, 128) for x in range(-9, 0)]
    rows[5] = f"32,{2.0**-4},-1e99"
    (tmp_path / "runs.csv").write_text("\n".join(["width,lr,loss", *rows]))
    done = mutransfer("report", "runs.csv", "--out", "page")
    assert done.returncode == 0, done.stderr
    assert "e+" in done.stdout and not re.search(r"\d{10}", done.stdout)


def test_what_an_export_lacks_is_said(tmp_path: Path, mutransfer: Command) -> None:
    rows = [
        f"{2.0**power},{3 + (power + 9) ** 2},{scale}" for power in range(-12, -5) for scale in (1e8, 2e8)
    ]
    (tmp_path / "runs.csv").write_text("\n".join(["lr,loss,parameters", *rows]))
    done = mutransfer("export", "runs.csv", "--target", "1e10")
    assert done.returncode == 4
    assert done.stderr == (
        "nothing to hand over: no trial has a width; say what was scaled with --axis COLUMN\n"
    )


def test_a_comparison_of_two_tables_says_which_is_which(tmp_path: Path, mutransfer: Command) -> None:
    for name, slope in (("flat", 0), ("steep", 1)):
        rows = [
            f"{16 * 2**i},{2.0**power},{3 + 0.02 * (power + 7 + slope * i) ** 2 - 0.1 * i}"
            for i in range(3)
            for power in range(-11, -3)
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join(["width,lr,loss", *rows]))
    told = mutransfer("compare", "flat.csv", "steep.csv")
    assert told.returncode == 0
    assert "Named first: steep.csv; held against: flat.csv." in " ".join(told.stdout.split())
    assert json.loads(mutransfer("compare", "flat.csv", "steep.csv", "-f", "json").stdout)["of"] == [
        "flat.csv", "steep.csv",
    ]  # fmt: skip


def test_what_was_to_be_written_beside_a_file_is_told_by_its_folder() -> None:
    """A hidden name with a number of its own is nobody's to mend."""
    with pytest.raises(OSError) as raised, beside(Path("/proc/2.json")) as scratch:
        scratch.write_bytes(b"")
    assert meant(Path(str(raised.value.filename))) == Path("/proc")
    assert meant(Path("/proc/.profile")) == Path("/proc/.profile")
