"""What a GPU gives, part by part; each figure is printed as it is measured. `prove` runs all parts.

    python benchmarks/gpu/measure.py PART [--toy]

`grouped`: K trials as one program against one at a time. `large`: tokens a second of single large proxies,
and the share of the rate of a large bf16 matrix product. `memory`: peaks against what the planner counts.
`--toy` is the same on a CPU at sizes that take seconds: it shows that the script runs, and nothing else.

K trials, B batch, T time.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from batching import PlainTraining

from mutransfer.models.data.batches import Batches
from mutransfer.models.data.token_file import TokenFile, TokenType
from mutransfer.models.recipe.recipe import Recipe, recipe_from_point
from mutransfer.models.training.execution import Execution
from mutransfer.models.training.loop import GroupTraining
from mutransfer.sweeps.cost import forward_flops_per_token
from mutransfer.sweeps.gpu import group_bytes


class Bench:
    """A device, sizes that suit it, and how long things take there."""

    def __init__(self, toy: bool) -> None:
        self.toy, self.device = toy, torch.device("cpu" if toy else "cuda")
        self.architectures = ("transformer",) if toy else ("transformer", "gdn")
        self.product = 64 if toy else 8192
        self._folder = tempfile.TemporaryDirectory()

    def recipe(self, architecture: str, width: int, trial: int = 0, **changes: object) -> Recipe:
        head = min(width, 32)
        return recipe_from_point({
            "architecture": architecture, "width": width, "depth": 2, "head_dim": head,
            "sequence_length": 128, "vocab_size": 256, "parametrization": "mup", "base_width": head,
            "base_depth": 2, "optimizer": "adamw", "learning_rate": 0.01 / (trial + 1), "steps": 1000,
            "batch_size": 16, "data": "noise",
            **({"sequence_length": 16, "batch_size": 2} if self.toy else {}), **changes,
        })  # fmt: skip

    def batches(self, one: Recipe) -> Batches:
        kind: TokenType = "uint8" if one.shape.vocab_size <= 256 else "uint16"
        path, tokens = Path(self._folder.name) / f"noise-{one.shape.vocab_size}.bin", 1 << 21
        if not path.exists():
            drawn = np.random.default_rng(0).integers(0, one.shape.vocab_size, tokens)
            drawn.astype(kind).tofile(path)
        source = TokenFile(
            paths=(str(path),), dtype=kind, tokens=tokens, vocab_size=one.shape.vocab_size,
            validation_fraction=0.1, digest="noise",
        )  # fmt: skip
        return source.batches(one.shape.sequence_length)

    def training(self, recipes: list[Recipe], execution: Execution) -> GroupTraining:
        return GroupTraining(recipes, self.batches(recipes[0]), self.device, execution=execution)

    def milliseconds(self, step: Callable[[int], object], steps: int = 10, warm_up: int = 5) -> float:
        """Of one step, by the device."""
        for index in range(warm_up):
            step(index)
        self.wait()
        begin = time.perf_counter()
        for index in range(warm_up, warm_up + steps):
            step(index)
        self.wait()
        return (time.perf_counter() - begin) / steps * 1e3

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak_gib(self) -> float:
        return torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else float("nan")

    def clean(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def grouped(bench: Bench) -> Iterator[str]:
    yield (
        "| architecture | width | precision | K | execution | ms a step | ms a trial-step "
        "| one of ours, eager | plain module |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    widths, sizes = ((8,), (1, 2)) if bench.toy else ((128, 512, 64, 256), (1, 4, 16, 64))
    executions: tuple[Execution, ...] = ("eager", "graph")
    for width in widths:
        for architecture in bench.architectures:
            one = bench.recipe(architecture, width)
            plain = PlainTraining(one, bench.batches(one), bench.device)
            alone, other = 0.0, bench.milliseconds(plain.step)
            for precision in ("float32",) if bench.toy else ("float32", "tf32"):
                for k in sizes if precision == "float32" else sizes[-1:]:
                    for execution in executions:
                        recipes = [
                            bench.recipe(architecture, width, t, precision=precision) for t in range(k)
                        ]
                        took = bench.milliseconds(bench.training(recipes, execution).step)
                        alone = alone or took
                        bench.clean()
                        yield (
                            f"| {architecture} | {width} | {precision} | {k} | {execution} | {took:.2f} "
                            f"| {took / k:.3f} | {alone * k / took:.1f}x | {other * k / took:.1f}x |"
                        )


def large(bench: Bench) -> Iterator[str]:
    rate = matrix_rate(bench)
    size = bench.product
    yield f"A bf16 product of two {size} x {size} matrices: {rate / 1e12:.0f} TFLOP/s, 100 % below.\n"
    yield "| architecture | width | depth | execution | ms a step | tokens/s | TFLOP/s | share | peak, GiB |"
    yield "|---|---|---|---|---|---|---|---|---|"
    common = {"precision": "float32", "depth": 1, "vocab_size": 300} if bench.toy else {
        "precision": "bf16", "head_dim": 128, "base_width": 128, "sequence_length": 2048, "batch_size": 8,
        "vocab_size": 50_304,
    }  # fmt: skip
    sizes = [(8, 1)] if bench.toy else [(2048, 6), (1024, 6), (4096, 2)]
    executions: tuple[Execution, ...] = ("eager", "compiled")
    for width, depth in sizes:
        for architecture in bench.architectures:
            changes = {**common, "depth": depth, "base_depth": depth}
            one = bench.recipe(architecture, width, 0, **changes)
            for execution in executions:
                bench.clean()
                took = bench.milliseconds(bench.training([one], execution).step, steps=4)
                tokens = one.batch_size * one.shape.sequence_length
                flops = 3 * forward_flops_per_token(one.shape) * tokens / took * 1e3
                yield (
                    f"| {architecture} | {width} | {depth} | {execution} | {took:.1f} "
                    f"| {tokens / took * 1e3:,.0f} | {flops / 1e12:.0f} | {flops / rate:.0%} "
                    f"| {bench.peak_gib():.1f} |"
                )


def memory(bench: Bench) -> Iterator[str]:
    yield (
        "| architecture | width | depth | K | vocabulary | precision | peak, GiB | counted, GiB "
        "| counted / peak |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    shapes = [(8, 1, 2, 64, "float32")] if bench.toy else [
        (128, 2, 16, 256, "float32"), (128, 12, 4, 256, "float32"), (512, 2, 8, 256, "bf16"),
        (256, 4, 4, 50_304, "bf16"), (1024, 4, 1, 50_304, "bf16"),
    ]  # fmt: skip
    for width, depth, k, vocabulary, precision in shapes:
        for architecture in bench.architectures:
            recipes = [
                bench.recipe(
                    architecture, width, t, depth=depth, vocab_size=vocabulary, precision=precision,
                    eval_sequences=16,
                )
                for t in range(k)
            ]  # fmt: skip
            bench.clean()
            training = bench.training(recipes, "eager")
            training._evaluate()
            for step in range(3):
                training.step(step)
            bench.wait()
            peak, estimate = bench.peak_gib(), group_bytes(recipes[0], k) / 2**30
            yield (
                f"| {architecture} | {width} | {depth} | {k} | {vocabulary} | {precision} | {peak:.2f} "
                f"| {estimate:.2f} | {estimate / peak:.2f} |"
            )
            del training


def matrix_rate(bench: Bench) -> float:
    """FLOP/s of a large bf16 product."""
    size = bench.product
    a, b = (torch.randn(size, size, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / bench.milliseconds(lambda index: a @ b, 20) * 1e3


PARTS = {"grouped": grouped, "large": large, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--toy", action="store_true")
    asked = parser.parse_args()
    bench = Bench(asked.toy)
    name = "a CPU, at toy size" if asked.toy else torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {name}\n")
    for line in PARTS[asked.part](bench):
        print(line, flush=True)


if __name__ == "__main__":
    main()
