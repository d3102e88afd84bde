"""One group trained by several processes of this machine, each on a GPU of its own (`ranks`).

The process that asks for it trains nothing itself: it starts the ranks, hears from the first, and ends them
all where one is lost.
"""

import ctypes
import multiprocessing
import os
import queue
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..data.batches import Source
from ..recipe.recipe import Recipe
from .checkpoint import Checkpoints
from .execution import Execution
from .loop import GroupTraining
from .outcome import Outcome, Progress
from .pruning import Pruning
from .ranks import Ranks

BACKEND = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
PR_SET_PDEATHSIG = 1  # linux/prctl.h
SILENCE_SECONDS = 1.0
"""After so long without a word the ranks are looked after."""


class RankLostError(RuntimeError):
    """A process ended before the group was trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the ranks train, as values that reach another process. There `recipes` are made, by a function
    that makes known what they name."""

    recipes: Callable[[], Sequence[Recipe]]
    source: Source
    device: str
    checkpoints: Path
    checkpoint_seconds: float
    micro_batches: int
    pruning: Pruning | None
    execution: Execution
    weights: bool


Trained = tuple[list[Outcome], list[dict[str, Tensor] | None]]
"""Outcomes, and the trained weights where they are asked for."""


def train_together(order: Order, world: int, report: Callable[[Progress], None]) -> Trained:
    """Raises RankLostError where a process is lost, and what the first of them raised."""
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    with tempfile.TemporaryDirectory(prefix="mutransfer-ranks-") as folder:
        ranks = [
            context.Process(target=_rank, args=(rank, world, f"{folder}/meeting", order, told), daemon=True)
            for rank in range(world)
        ]
        for process in ranks:
            process.start()
        try:
            return _heard(ranks, told, report)
        finally:
            for process in ranks:
                process.kill()
                process.join()


def _heard(ranks: Sequence[SpawnProcess], told: Any, report: Callable[[Progress], None]) -> Trained:  # noqa: ANN401
    while True:
        try:
            kind, value = told.get(timeout=SILENCE_SECONDS)
        except queue.Empty:
            _must_be_there(ranks)
            continue
        if kind == "progress":
            report(value)
        elif kind == "error":
            _must_be_there(ranks, but=0)  # of one that is lost the others say that they cannot reach it
            raise value
        else:
            outcomes, arrays = value
            return outcomes, [
                None if held is None else {name: torch.from_numpy(x) for name, x in held.items()}
                for held in arrays
            ]


def _must_be_there(ranks: Sequence[SpawnProcess], but: int | None = None) -> None:
    """Raises RankLostError where one has ended, with another code than `but`."""
    for number, process in enumerate(ranks):
        if process.exitcode not in (None, but):
            raise RankLostError(f"process {number} of {len(ranks)} ended with code {process.exitcode}")


def _rank(rank: int, world: int, meeting: str, order: Order, told: Any) -> None:  # noqa: ANN401
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # where its parent is killed, it goes too
    torch.set_num_threads(1)
    device = torch.device(order.device)
    if device.type == "cuda":
        torch.cuda.set_device(rank)
    dist.init_process_group(
        BACKEND[order.device], init_method=f"file://{meeting}", rank=rank, world_size=world
    )
    try:
        recipes = order.recipes()
        batches = order.source.batches(recipes[0].shape.sequence_length)
        training = GroupTraining(
            recipes, batches, device, order.micro_batches, order.pruning, order.execution,
            Ranks(rank, world),
        )  # fmt: skip
        outcomes = training.train(
            (lambda progress: told.put(("progress", progress))) if rank == 0 else lambda progress: None,
            Checkpoints(order.checkpoints, order.checkpoint_seconds),
        )
        weights = training.weights() if order.weights and rank == 0 else []
        dist.barrier()  # none leaves while another still needs it
        if rank == 0:
            # As arrays: a tensor would be fetched from this process, which may be gone by then.
            arrays = [
                None if held is None else {name: x.numpy() for name, x in held.items()} for held in weights
            ]
            told.put(("trained", (outcomes, arrays)))
    except Exception as error:
        told.put(("error", error if type(error).__module__ == "builtins" else RuntimeError(str(error))))
        raise
    finally:
        told.close()
        told.join_thread()
        os._exit(0)  # NCCL's threads would outlive it
