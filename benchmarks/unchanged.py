"""Whether this tree still does what an earlier commit did: ids, plans, rules, verdicts, exports and losses.

    python benchmarks/unchanged.py COMMIT                  both trees, compared; exit code 1 where they differ
    python benchmarks/unchanged.py COMMIT --part files     one part alone: files, evidence, training, handover

Everything but the trial ids goes through the command line, as a user's would. The parts:

    files      for every preset and every sweep in evidence/: trial ids, `plan`, `rules`
    evidence   for every table in evidence/: `import`, then `report` and the `export` of every family
    training   losses and curves of the smoke sweep, and of one group for each architecture and optimizer
    handover   a sweep that the earlier tree begins and this one finishes

Losses are compared bit for bit, which holds on one machine with one build of torch.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
EVIDENCE = ROOT / "benchmarks" / "evidence"
PRESETS = sorted(path.stem for path in (ROOT / "sweeps" / "presets").glob("*.yaml"))
DATA = "data={corpus: python-stdlib}"
"""Of every sweep: some presets name token files of the user's."""

OF_THE_MACHINE = {"seconds", "job_id"}

GROUPS = """\
name: groups
base: {width: 16, depth: 2}
fixed: {width: 32, depth: 2, head_dim: 8, attention_every: 2, mlp_ratio: 2, steps: 20, batch_size: 4,
        sequence_length: 32, eval_sequences: 16, eval_every: 7, adamw_lr_ratio: 0.5, weight_decay: 0.1}
axes:
  architecture: [transformer, gdn, mamba2, gdn-hybrid, mamba2-hybrid, parallel-hybrid]
  optimizer: [adamw, sgd, lion, sophia, muon, muon-kimi, normuon, dion, shampoo, soap, spectral-sphere]
  parametrization: [sp, mup, depth-mup]
data: {corpus: python-stdlib}
"""
OPTIONS = """\
name: options
base: {width: 16, depth: 2}
fixed: {architecture: gdn-hybrid, parametrization: mup, width: 32, depth: 2, head_dim: 8, attention_every: 2,
        mlp_ratio: 2, steps: 20, batch_size: 4, sequence_length: 32, eval_sequences: 16, adamw_lr_ratio: 0.5,
        learning_rate: 0.01, dropout: 0.1, z_loss: 0.001, weight_decay: 0.1}
axes:
  precision: [float32, bf16, fp16]
  optimizer: [adamw, sophia, muon]
  learnable_multipliers: [none, everywhere]
  activation_checkpointing: [false, true]
data: {corpus: python-stdlib}
"""
RATE = {"sgd": 0.3, "lion": 0.003, "sophia": 0.003}


class Tree:
    """A checkout of the project, run as an installed package would be."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.site, self.scratch = scratch / "site", scratch
        self.site.mkdir(parents=True)
        (self.site / "mutransfer").symlink_to(root)
        self.environment = {**os.environ, "PYTHONPATH": str(self.site)}

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "mutransfer.orchestrator.cli", *words],
            cwd=self.scratch, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def call(self, *words: str) -> str:
        """The command's output. Raises RuntimeError with what it said where it failed."""
        process = self.start(*words)
        out, said = process.communicate()
        if process.returncode:
            raise RuntimeError(f"mutransfer {' '.join(words)}: exit code {process.returncode}\n{said}")
        return out

    def json(self, *words: str) -> Any:  # noqa: ANN401 - any document
        return json.loads(self.call(*words))

    def ids(self, sweeps: list[str]) -> dict[str, list[str]]:
        """The trial ids of each sweep file, in their order."""
        code = (
            "import json, sys; from mutransfer.sweeps.load import load_sweep; print(json.dumps({name: "
            f"[t.id for t in load_sweep(name, [{DATA!r}]).expansion.trials] for name in sys.argv[1:]}}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *sweeps], cwd=self.scratch, env=self.environment,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found: dict[str, list[str]] = json.loads(done.stdout)
        return found


Facts = Iterator[tuple[str, Any]]
"""What was found, by name."""


def files(tree: Tree) -> Facts:
    sweeps = [*PRESETS, *(str(path) for path in sorted(EVIDENCE.glob("*.yaml")))]
    for sweep, ids in tree.ids(sweeps).items():
        yield f"ids {sweep}", ids
    for sweep in sweeps:
        yield f"plan {sweep}", tree.json("plan", sweep, "--set", DATA, "--device", "cpu", "-f", "json")
        yield f"rules {sweep}", tree.json("rules", sweep, "--set", DATA, "-f", "json")


def evidence(tree: Tree) -> Facts:
    for table in sorted(EVIDENCE.glob("*.parquet")):
        held = tree.scratch / table.stem
        tree.call("import", str(table), "--out", str(held))
        report = tree.json("report", str(held), "-f", "json")
        yield f"report {table.stem}", report
        names = ("architecture", "optimizer", "parametrization")
        for family in dict.fromkeys(tuple(c[name] for name in names) for c in report["comparisons"]):
            asked = [word for name, value in zip(names, family, strict=True) for word in (f"--{name}", value)]
            process = tree.start("export", str(held), "--width", "1024", "--depth", "8", *asked, "-f", "json")
            out, said = process.communicate()
            # One that cannot be made is compared by its words.
            yield f"export {table.stem} {family}", (process.returncode, json.loads(out or "null"), said)


def training(tree: Tree) -> Facts:
    yield "run smoke", trained(tree, "smoke")
    for optimizer in re.findall(r"[a-z-]+", GROUPS.split("optimizer: [")[1].split("]")[0]):
        path = tree.scratch / f"groups-{optimizer}.yaml"
        text = re.sub(r"optimizer: \[.*\]", f"optimizer: [{optimizer}]", GROUPS)
        rate = RATE.get(optimizer, 0.02)
        path.write_text(text.replace("fixed: {", f"fixed: {{learning_rate: {rate}, "))
        yield f"groups {optimizer}", trained(tree, str(path))
    path = tree.scratch / "options.yaml"
    path.write_text(OPTIONS)
    yield "options", trained(tree, str(path))


def trained(tree: Tree, sweep: str) -> dict[str, Any]:
    held = tree.scratch / f"run-{Path(sweep).stem}"
    tree.call("run", sweep, "--out", str(held), "-j", "1", "--device", "cpu")
    return losses(held)


def losses(held: Path) -> dict[str, Any]:
    """Every cell of the rows and curves of a sweep, but for what the machine decides."""
    found: dict[str, Any] = {}
    for folder in ("results", "curves"):
        rows = [
            row
            for path in sorted((held / folder).glob("*.parquet"))
            for row in pq.read_table(path).to_pylist()
        ]
        for row in rows:
            key = f"{folder} {row['trial_id']} {row.get('step', '')}"
            found[key] = {name: value for name, value in row.items() if name not in OF_THE_MACHINE}
    return found


PARTS: dict[str, Callable[[Tree], Facts]] = {"files": files, "evidence": evidence, "training": training}


def handover(before: Tree, now: Tree) -> Facts:
    """The losses of an undisturbed sweep, and of one that was begun by the earlier tree."""
    whole, begun = before.scratch / "whole", before.scratch / "begun"
    words = ("run", "smoke", "-j", "1", "--device", "cpu", "--set", "steps=100", "--out")
    before.call(*words, str(whole))
    driver = before.start(*words, str(begun))
    while not any((begun / "results").glob("*.parquet")):
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    driver.communicate()
    left = losses(whole).keys() - losses(begun).keys()
    assert left, "the earlier tree was too quick to be interrupted"
    now.call(*words, str(begun))
    yield "losses", (losses(whole), losses(begun))


def differences(name: str, was: Any, now: Any) -> Iterator[str]:  # noqa: ANN401 - any documents
    """Where two documents differ, place by place."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*was, *now]):
            if key in was and key in now:
                yield from differences(f"{name}.{key}", was[key], now[key])
            else:
                yield f"{name}.{key}: {'is gone' if key in was else 'is new'}"
    elif isinstance(was, list | tuple) and isinstance(now, list | tuple) and len(was) == len(now):
        for index, (one, other) in enumerate(zip(was, now, strict=True)):
            yield from differences(f"{name}[{index}]", one, other)
    elif was != now and not (was != was and now != now):
        yield f"{name}: was {was!r:.200}, is {now!r:.200}"


def told(name: str, found: list[str]) -> int:
    print(f"{'identical' if not found else 'DIFFERS  '}  {name}", flush=True)
    for line in found[:5]:
        print(f"    {line}")
    return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit")
    parser.add_argument("--part", choices=[*PARTS, "handover"], action="append")
    options = parser.parse_args()
    wanted = options.part or [*PARTS, "handover"]
    with tempfile.TemporaryDirectory() as scratch:
        earlier = Path(scratch, "earlier")
        subprocess.run(
            ["git", "-C", ROOT, "worktree", "add", "-q", "--detach", earlier, options.commit], check=True
        )
        try:
            before, now = Tree(earlier, Path(scratch, "before")), Tree(ROOT, Path(scratch, "now"))
            count = 0
            for part in wanted:
                if part == "handover":
                    ((_, (whole, begun)),) = handover(before, now)
                    count += told("handover", [*differences("handover", whole, begun)])
                    continue
                with ThreadPoolExecutor(2) as pool:
                    both = pool.map(lambda tree, facts=PARTS[part]: [*facts(tree)], (before, now))
                for (name, was), (_, found) in zip(*both, strict=True):
                    count += told(name.replace(str(ROOT), "."), [*differences("", was, found)])
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", earlier], check=True)
    print(f"{count} differences" if count else "nothing changed")
    sys.exit(bool(count))


if __name__ == "__main__":
    main()
