"""One group trained by several processes of this machine, each on a GPU of its own (`ranks`).

The process that asks for it trains nothing itself: it starts the ranks, hears from them, and ends them all
where one is lost.
"""

import ctypes
import logging
import multiprocessing
import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
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
LAST_SECONDS = 5.0
"""For a process that is lost to be seen as such: the others may say first that they cannot reach it."""


class RankLostError(RuntimeError):
    """A process ended before the group was trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the ranks train, as values that reach another process. There `recipes` are made, by a function
    that makes known what they name, and the first rank hands the trained weights to `keep`."""

    recipes: Callable[[], Sequence[Recipe]]
    source: Source
    device: str
    checkpoints: Path
    checkpoint_seconds: float
    micro_batches: int
    pruning: Pruning | None
    execution: Execution
    keep: Callable[[list[dict[str, Tensor] | None]], None] | None = None


def train_together(order: Order, world: int, report: Callable[[Progress], None]) -> list[Outcome]:
    """Raises RankLostError where a process is lost, and what one of them raised."""
    context = multiprocessing.get_context("spawn")
    ranks: list[SpawnProcess] = []
    heard: list[Connection] = []
    with tempfile.TemporaryDirectory(prefix="mutransfer-ranks-") as folder:
        try:
            for rank in range(world):
                hears, tells = context.Pipe(duplex=False)
                given = rank, world, f"{folder}/meeting", order, tells, os.getpid()
                ranks.append(context.Process(target=_rank, args=given, daemon=True))
                ranks[-1].start()
                heard.append(hears)
                tells.close()  # the rank's own end is then the only one: where that goes, it is seen
            return _outcomes(ranks, heard, report)
        finally:
            for process in ranks:
                if process.pid is not None:
                    process.kill()
                    process.join()


def _outcomes(
    ranks: Sequence[SpawnProcess], heard: Sequence[Connection], report: Callable[[Progress], None]
) -> list[Outcome]:
    listening = {hears: rank for rank, hears in enumerate(heard)}
    while True:
        for hears in wait([*listening]):
            assert isinstance(hears, Connection)
            rank = listening[hears]
            try:
                kind, value = hears.recv()
            except (EOFError, OSError):
                kind, value = "gone", None
                del listening[hears]
            if kind == "progress":
                report(value)
            elif kind == "trained":
                trained: list[Outcome] = value
                return trained
            elif kind == "error":
                _must_be_there(ranks)
                raise value
            elif kind == "gone" and (rank == 0 or _code(ranks[rank]) != 0):
                raise _lost(rank, ranks)


def _must_be_there(ranks: Sequence[SpawnProcess]) -> None:
    """Raises RankLostError where one was ended from outside, which is why the others go on no further."""
    wait([process.sentinel for process in ranks], LAST_SECONDS)
    for rank, process in enumerate(ranks):
        if process.exitcode not in (None, 0):
            raise _lost(rank, ranks)


def _lost(rank: int, ranks: Sequence[SpawnProcess]) -> RankLostError:
    return RankLostError(f"process {rank} of {len(ranks)} ended with code {_code(ranks[rank])}")


def _code(process: SpawnProcess) -> int | None:
    process.join(LAST_SECONDS)
    return process.exitcode


def _rank(rank: int, world: int, meeting: str, order: Order, tells: Connection, parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # where its parent is killed, it goes too
    if os.getppid() != parent:
        os._exit(1)  # it was killed before this process could ask for that
    try:
        outcomes = _trained(rank, world, meeting, order, tells)
        if rank == 0:
            tells.send(("trained", outcomes))
    except Exception as error:
        traceback.print_exc()
        tells.send(("error", error if type(error).__module__ == "builtins" else RuntimeError(str(error))))
    finally:
        tells.close()
        os._exit(0)  # NCCL's threads would outlive it


def _trained(rank: int, world: int, meeting: str, order: Order, tells: Any) -> list[Outcome]:  # noqa: ANN401
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING, format="%(asctime)s %(name)s: %(message)s"
    )
    torch.set_num_threads(1)
    if order.device == "cuda":
        torch.cuda.set_device(rank)
    dist.init_process_group(
        BACKEND[order.device], init_method=f"file://{meeting}", rank=rank, world_size=world
    )
    recipes = order.recipes()
    batches = order.source.batches(recipes[0].shape.sequence_length)
    training = GroupTraining(
        recipes, batches, torch.device(order.device), order.micro_batches, order.pruning, order.execution,
        Ranks(rank, world),
    )  # fmt: skip
    outcomes = training.train(
        (lambda progress: tells.send(("progress", progress))) if rank == 0 else lambda progress: None,
        Checkpoints(order.checkpoints, order.checkpoint_seconds),
    )
    if rank == 0 and order.keep is not None:
        order.keep(training.weights())
    dist.barrier()  # none leaves while another still needs it
    return outcomes
