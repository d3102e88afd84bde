"""Proxies like Llama, tuned at the narrowest width, as lm-eval sees them wider: the loss that the sweep
measured against bits a byte and a choice of continuations, by others' code.

    python benchmarks/downstream.py FOLDER [--lm-eval COMMAND]

The text is held-out Python source; both tasks are made of it. Needs transformers, and lm-eval (`--lm-eval` is
how it is called; it may live in an environment of its own). A run that was stopped is gone on with.
"""

import argparse
import json
import math
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mutransfer.models.data.token_file import TokenFile
from mutransfer.orchestrator.record.directory import SweepDirectory
from mutransfer.results.store.store import read_rows

SWEEP = """\
name: downstream
base: {width: 32, depth: 2}
fixed: {like: llama, optimizer: adamw, depth: 2, head_dim: 8, steps: 200, batch_size: 16,
        sequence_length: 64, eval_sequences: 256}
axes:
  parametrization: [sp, mup]
  width: [32, 64, 128]
  learning_rate: {log2: [-9, -4], step: 1}
data: {corpus: python-stdlib}
"""
CONTEXT, CONTINUATION, CHOICES = 48, 16, 4
"""Bytes before what is to be chosen, bytes of each choice, and how many there are: one is right."""
DOCUMENTS, QUESTIONS = 200, 400
TASKS = {
    "held_out_bits": """\
task: held_out_bits
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/held_out_bits.jsonl}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: bits_per_byte}}]
""",
    "held_out_choice": """\
task: held_out_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/held_out_choice.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{context}}}}"
target_delimiter: ""
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{right}}}}"
metric_list: [{{metric: acc}}]
""",
}


def held_out(directory: Path) -> bytes:
    """The validation part of the sweep's text, as ASCII: bytes of one character each."""
    (trial, *_) = read_rows(directory)[0].to_pylist()
    source = SweepDirectory(directory).read_data(trial["data"])
    assert isinstance(source, TokenFile)
    tokens = np.fromfile(source.paths[0], np.uint8)
    held = tokens[round(len(tokens) * (1 - source.validation_fraction)) :]
    return bytes(held[held < 128])


def write_tasks(text: bytes, folder: Path) -> None:
    """Documents as long as a sequence of the proxies, and contexts with continuations of other places."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    size = CONTEXT + CONTINUATION
    starts = generator.integers(len(text) - size, size=(QUESTIONS, CHOICES))
    questions = []
    for own, *others in starts:
        right = int(generator.integers(CHOICES))
        choices = [_told(text, other + CONTEXT, CONTINUATION) for other in others]
        choices.insert(right, _told(text, own + CONTEXT, CONTINUATION))
        questions.append({"context": _told(text, own, CONTEXT), "choices": choices, "right": right})
    documents = [
        {"text": _told(text, start, size)} for start in generator.integers(len(text) - size, size=DOCUMENTS)
    ]
    for name, lines in (("held_out_bits", documents), ("held_out_choice", questions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / f"{name}.yaml").write_text(TASKS[name].format(folder=folder))


def _told(text: bytes, start: int, size: int) -> str:
    return text[start : start + size].decode()


def transferred(rows: pd.DataFrame) -> pd.DataFrame:
    """The trials at the rate that is best at the narrowest width, for each parametrization."""
    narrow = rows[(rows["width"] == rows["width"].min()) & rows["loss"].notna()]
    best = narrow.loc[narrow.groupby("parametrization")["loss"].idxmin()].set_index("parametrization")[
        "learning_rate"
    ]
    chosen = rows[rows["learning_rate"] == rows["parametrization"].map(best)]
    return chosen.sort_values(["parametrization", "width"])


def evaluated(lm_eval: Sequence[str], model: Path, tasks: Path) -> dict[str, float]:
    """What lm-eval says of a checkpoint: bits a byte, and the share of right choices."""
    out = model / "lm-eval"
    if not any(out.rglob("results*.json")):
        arguments = f"pretrained={model},prefix_token_id=10"  # a line's end goes before a text
        subprocess.run(
            [*lm_eval, "--model", "hf", "--model_args", arguments, "--tasks", ",".join(TASKS),
             "--include_path", str(tasks), "--device", "cpu", "--batch_size", "16",
             "--output_path", str(out)],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    (found,) = out.rglob("results*.json")
    results: dict[str, Any] = json.loads(found.read_text())["results"]
    return {
        "bits": results["held_out_bits"]["bits_per_byte,none"],
        "choice": results["held_out_choice"]["acc,none"],
    }


def table(folder: Path, lm_eval: Sequence[str]) -> Iterator[str]:
    sweep, tasks = folder / "runs", folder / "tasks"
    mutransfer = [sys.executable, "-m", "mutransfer.orchestrator.cli"]
    (folder / "downstream.yaml").write_text(SWEEP)
    run = ["run", str(folder / "downstream.yaml"), "--out", str(sweep), "--keep-weights"]
    subprocess.run([*mutransfer, *run], check=True)
    rows = read_rows(sweep)[0].to_pandas()
    write_tasks(held_out(sweep), tasks)
    best = rows.groupby(["parametrization", "width"])["loss"].min()
    yield (
        "| parametrization | width | learning rate | loss, nats | over the best at this width | loss / ln 2 "
        "| lm-eval, bits a byte | lm-eval, right of 4 |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for row in transferred(rows).to_dict("records"):
        model = folder / f"{row['parametrization']}-{row['width']}"
        if not model.exists():
            subprocess.run(
                [*mutransfer, "weights", str(sweep), row["trial_id"], "--out", str(model)], check=True
            )
        seen = evaluated(lm_eval, model, tasks)
        yield (
            f"| {row['parametrization']} | {row['width']} | 2^{math.log2(row['learning_rate']):.0f} "
            f"| {row['loss']:.3f} | {row['loss'] - best[row['parametrization'], row['width']]:.3f} "
            f"| {row['loss'] / math.log(2):.3f} | {seen['bits']:.3f} | {seen['choice']:.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lm-eval", default="lm_eval", help="how it is called")
    asked = parser.parse_args()
    asked.folder.mkdir(exist_ok=True)
    for line in table(asked.folder.resolve(), shlex.split(asked.lm_eval)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
