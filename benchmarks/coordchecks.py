"""Coordinate checks of every optimizer, of every architecture, and of the rules for special cases.

    python benchmarks/coordchecks.py > benchmarks/results/coordchecks.md
    python benchmarks/coordchecks.py mamba2      # the families whose title holds a word

Widths 32 to 256 at depth 2 and depths 2 to 16 at width 32 (at both, 4 to 32 experts and granularities 1 to 8
where there are any), 10 steps, 4 seeds (12 for the parallel hybrid and for experts in GDN under SGD), the
standard library's text, momentum 0.9.
"""

import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from mutransfer.models.optimizers.registry import OPTIMIZERS
from mutransfer.orchestrator.studies.coordcheck import check_families, ladders_of
from mutransfer.results.checks.coordinates import Check
from mutransfer.results.report.coordinates_terminal import counted, measured, wanted
from mutransfer.sweeps.load import load_sweep
from mutransfer.sweeps.own_tables import table_names

SWEEP = """\
name: check
base: {width: 32, depth: 2}
fixed: {mlp_ratio: 2, steps: 10, momentum: 0.9, batch_size: 16, sequence_length: 64, adamw_lr_ratio: 1.0}
axes:
  width: [32, 64, 128, 256]
  depth: [2, 4, 8, 16]
data: {corpus: python-stdlib}
"""
RATES = {"sgd": 2**-5, "lion": 2**-10, "sophia": 2**-10, "adamw": 2**-8}
OTHER_RATE = 2**-7


def cases() -> Iterator[tuple[str, dict[str, str]]]:
    """A title and what is set in the sweep file."""
    for architecture in ("transformer", "gdn"):
        for optimizer in OPTIMIZERS:
            parametrizations = ("mup", "sp") if optimizer in ("adamw", "sgd", "muon") else ("mup",)
            for parametrization in parametrizations:
                yield f"{architecture} {optimizer} {parametrization}", {
                    "architecture": architecture, "optimizer": optimizer,
                    "parametrization": parametrization, "head_dim": "8",
                }  # fmt: skip
    for optimizer in ("adamw", "sgd", "muon"):
        yield f"transformer {optimizer} mup, one key/value head", {
            "architecture": "transformer", "optimizer": optimizer, "parametrization": "mup", "head_dim": "8",
            "kv_heads": "1",
        }  # fmt: skip
        yield f"transformer {optimizer} mup, two growing heads", {
            "architecture": "transformer", "optimizer": optimizer, "parametrization": "mup", "heads": "2",
        }  # fmt: skip
        for parametrization in ("mup", "mup-plain"):
            yield f"gdn {optimizer} {parametrization}, four growing heads", {
                "architecture": "gdn", "optimizer": optimizer, "parametrization": parametrization,
                "heads": "4",
            }  # fmt: skip
    for optimizer in OPTIMIZERS:
        yield f"transformer {optimizer} mup, tied", {
            "architecture": "transformer", "optimizer": optimizer, "parametrization": "mup", "head_dim": "8",
            "tied": "true",
        }  # fmt: skip
    for optimizer in ("shampoo", "soap"):
        yield f"gdn {optimizer} mup, widths 64 to 512", {
            "architecture": "gdn", "optimizer": optimizer, "parametrization": "mup", "head_dim": "8",
            "base.width": "64", "width": "[64, 128, 256, 512]", "depth": "2",
        }  # fmt: skip
    yield "transformer adamw depth-mup", {
        "architecture": "transformer", "optimizer": "adamw", "parametrization": "depth-mup", "head_dim": "8",
    }  # fmt: skip


ARCHITECTURES: dict[str, dict[str, str]] = {
    "mamba2": {},
    "mamba2, four growing heads": {"architecture": "mamba2", "heads": "4"},
    "mamba2, norm before the gate": {"architecture": "mamba2", "norm_before_gate": "true"},
    # Exponents in depth hold where a branch is small beside the stream. Two mixers, or one whose output is
    # not gated, take longer to get there: these begin with smaller branches.
    "gdn-hybrid": {"attention_every": "2", "depth": "[4, 8, 16]", "residual_multiplier": "0.5"},
    "mamba2-hybrid": {"attention_every": "2", "depth": "[4, 8, 16]", "residual_multiplier": "0.5"},
    "parallel-hybrid": {"residual_multiplier": "0.5"},
    "transformer, grouped queries, QK-norm, window 16, gated MLP": {
        "architecture": "transformer", "queries_per_kv": "2", "qk_norm": "true", "window": "16",
        "mlp": "swiglu",
    },
    "gdn, two values a key, negative eigenvalues, no gate": {
        "architecture": "gdn", "values_per_key": "2", "negative_eigenvalues": "true", "output_gate": "false",
        "residual_multiplier": "0.5",
    },
    "transformer, multipliers everywhere": {
        "architecture": "transformer", "learnable_multipliers": "everywhere", "mlp": "swiglu",
    },
    "mamba2, growing state": {"architecture": "mamba2", "state_ratio": "0.5"},
    # With the sizes that a width of 32 has, and decays that do not depend on the number of heads.
    "like llama": {"like": "llama"},
    "like qwen3": {"like": "qwen3"},
    "like qwen3-next": {
        "like": "qwen3-next", "attention_every": "2", "depth": "[4, 8, 16]", "residual_multiplier": "0.5",
    },
    "like mamba2": {"like": "mamba2", "state_size": "16", "a_start": "drawn"},
    "like falcon-h1": {
        "like": "falcon-h1", "state_size": "16", "queries_per_kv": "2", "a_start": "drawn",
        "residual_multiplier": "0.5",
    },
    "like gpt2": {"like": "gpt2"},
    "like gpt-neox": {"like": "gpt-neox"},
    "like mixtral": {"like": "mixtral"},
    "like qwen3-moe": {"like": "qwen3-moe", "experts": "32"},
    "transformer, mixer and MLP side by side, gated by GELU": {
        "architecture": "transformer", "mlp": "geglu", "parallel_residual": "true",
    },
    "transformer, norms behind the branches": {"architecture": "transformer", "norm_place": "post"},
    "transformer, norms of the sums": {"architecture": "transformer", "norm_place": "sum"},
    "transformer, norms on both sides": {"architecture": "transformer", "norm_place": "sandwich"},
}  # fmt: skip


def expert_cases() -> Iterator[tuple[str, dict[str, str]]]:
    """4 to 32 experts, and granularities 1 to 8, beside widths and depths."""
    common = {"head_dim": "8", "experts": "[4, 8, 16, 32]", "granularity": "[1, 2, 4, 8]"}
    common |= {"base.experts": "4", "base.granularity": "1"}
    for architecture, optimizers in (("transformer", [*OPTIMIZERS]), ("gdn", ["adamw", "sgd", "muon"])):
        for optimizer in optimizers:
            yield f"{architecture} {optimizer} mup, experts", {
                **common, "architecture": architecture, "optimizer": optimizer, "parametrization": "mup",
            }  # fmt: skip
    for optimizer in ("adamw", "sgd"):
        yield f"transformer {optimizer} mup-plain, experts", {
            **common, "architecture": "transformer", "optimizer": optimizer, "parametrization": "mup-plain",
        }  # fmt: skip


def table_cases() -> Iterator[tuple[str, dict[str, str]]]:
    """The tables that ship as files; those that differ in shared keys and values, with one head of those."""
    common = {"architecture": "transformer", "optimizer": "adamw", "head_dim": "8"}
    for table in table_names():
        further = {"base.batch_size": "16", "base.steps": "10"} if table == "complete-d" else {}
        further |= {"optimizer": "soap"} if table == "soap-spectral" else {}
        yield f"table {table}", {**common, **further, "parametrization": table}
    for table in ("gqa-mup", "mup-package", "mup"):
        yield f"table {table}, one key/value head", {**common, "parametrization": table, "kv_heads": "1"}


def further_cases() -> Iterator[tuple[str, dict[str, str]]]:
    """Every other architecture and option under muP, and a growing state by the book."""
    for title, settings in ARCHITECTURES.items():
        for optimizer in ("adamw", "muon"):
            kind = settings.get("like") or settings.get("architecture", title)
            wanted = {"head_dim": "8", **({} if "like" in settings else {"architecture": kind}), **settings}
            if "heads" in wanted:
                del wanted["head_dim"]
            named = title.replace(kind, f"{kind} {optimizer} mup", 1)
            yield named, {**wanted, "optimizer": optimizer, "parametrization": "mup"}
    for optimizer in ("adamw", "muon"):
        yield f"mamba2 {optimizer} mup-plain, growing state", {
            "architecture": "mamba2", "optimizer": optimizer, "parametrization": "mup-plain", "head_dim": "8",
            "state_ratio": "0.5",
        }  # fmt: skip


def checked(path: Path, settings: dict[str, str], seeds: int) -> Check:
    rate = RATES.get(settings["optimizer"], OTHER_RATE)
    overrides = [f"{name}={value}" for name, value in {**settings, "learning_rate": repr(rate)}.items()]
    sweep = load_sweep(str(path), overrides)
    (check,) = check_families(
        sweep, ladders_of(sweep, None), torch.device("cpu"), steps=10, seeds=seeds, note=lambda text: None
    )
    return check


def state_rows(path: Path) -> Iterator[str]:
    """What is read from a state that grows with the width, at 16 seeds: with its own row and without."""
    common = {
        "architecture": "mamba2",
        "optimizer": "adamw",
        "head_dim": "8",
        "state_ratio": "0.5",
        "depth": "2",
    }
    for parametrization in ("mup", "mup-plain"):
        check = checked(path, {**common, "parametrization": parametrization}, seeds=16)
        for row in check.rows:
            if row.module.endswith(".state"):
                sizes = ", ".join(f"{size:.3g}" for size in row.sizes if size is not None)
                yield f"| {parametrization} | {row.quantity} | {measured(row)} | {wanted(row)} | {sizes} |"


def main() -> None:
    torch.set_num_threads(1)
    path = Path(tempfile.mkdtemp()) / "check.yaml"
    path.write_text(SWEEP)
    title, _, rest = (__doc__ or "").partition("\n\n    python")
    print(f"# Coordinate checks\n\n{title}\n{rest.partition(chr(10))[2]}")
    print("| family | exponents | those that are not as wanted |\n|---|---|---|", flush=True)
    for title, settings in itertools.chain(cases(), further_cases(), expert_cases(), table_cases()):
        if not all(word in title for word in sys.argv[1:]):
            continue
        # One head in many forgets slowly and writes much: Mamba2's gradients have heavy tails over the seeds.
        parallel = "parallel-hybrid" in settings.values() or "falcon-h1" in settings.values()
        noisy = parallel or title == "gdn sgd mup, experts"
        check = checked(path, settings, 12 if noisy else 4)
        told = "; ".join(
            f"{row.module} {row.quantity}, {row.axis}: {measured(row)} (wanted {wanted(row)})"
            for row in check.failures[:6]
        )
        more = f"; and {len(check.failures) - 6} more" if len(check.failures) > 6 else ""
        print(f"| {title} | {counted(check)} | {told}{more} |", flush=True)
    if not sys.argv[1:]:
        print("\nMamba2 with a state of half the width, 16 seeds, widths 32 to 256: what is read from it.\n")
        print("| parametrization | quantity | exponent | wanted | sizes |\n|---|---|---|---|---|")
        print("\n".join(state_rows(path)), flush=True)


if __name__ == "__main__":
    main()
