"""How the steps of a group are run: operation after operation, or recorded once and replayed.

A proxy's step is hundreds to thousands of small operations, and launching one takes longer than most of them
need on a GPU. Recorded as a CUDA graph the whole step is one launch. The record reads its batch and the
number of its step from tensors that are filled before each replay; all else it changes in place.

K trials, B batch, T time.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .compiling import compiled, gradients_outside_autocast
from .execution import Execution
from .group import Group
from .overflow import until_finite
from .state import GroupState
from .step import PLAIN, Operations, Placed, advance

LOGGER = logging.getLogger(__name__)

EAGER_STEPS = 3
"""Before a step is recorded: libraries make their workspaces, and the last of them is timed."""
LAUNCHING_SHARE = 0.2
"""Of a step's time that the host needs to launch it; below it there is hardly anything to save."""
STEPS_AHEAD = 2
"""As far as the host may be ahead of a GPU, so that progress, times and stops are those of the device."""

Losses = tuple[Tensor, Tensor]
"""The loss before a step and the gradient norm, each [K]."""


class Steps(Protocol):
    """Advances a group by the step with this number. `release` gives back memory that only steps use."""

    def __call__(self, batch: Placed, step: int) -> Losses: ...

    def release(self) -> None: ...


Recorder = Callable[[Callable[[], Losses]], tuple[Callable[[], None], Losses]]
"""Records a function: what replays it, and the tensors that a replay fills."""


def steps_of(group: Group, state: GroupState, execution: Execution) -> Steps:
    """What runs the steps of a group as asked for.

    `graph` records what can be recorded, and says in the log what cannot; `auto` does so where launching is
    a large share of the step's time; `compiled` compiles first.
    """
    operations = Operations(until_finite) if group.scales_loss else PLAIN
    gradients_outside_autocast()
    if execution == "compiled":
        try:
            operations = compiled(operations, group)
        except ValueError as error:
            LOGGER.warning("execution compiled: %s; not compiled", error)
    eager = Eager(group, state, operations)
    if group.device.type != "cuda":
        return eager
    if execution != "eager":
        if (reason := unrecordable(group)) is None:
            return Paced(Recorded(eager, cuda_graph, group.device, always=execution != "auto"))
        if execution != "auto":
            LOGGER.warning("execution %s: %s; a step is not recorded", execution, reason)
    return Paced(eager)


def unrecordable(group: Group) -> str | None:
    """Why the steps of a group are not the same operations over and over, or None."""
    if group.scales_loss:
        return "fp16 asks the device whether gradients overflowed"
    if group.ranks.world > 1:
        return "processes wait for each other within a step"
    if group.drops:
        return "dropout draws its masks anew at every step"
    if not all(block.optimizer.repeats for block in group.layout.blocks):
        return f"{group.one.optimizer} decomposes matrices, or estimates curvature, at some steps"
    return None if group.repeats else "what a module of your own does between steps is not known"


class Eager:
    """One operation after the other."""

    def __init__(self, group: Group, state: GroupState, operations: Operations) -> None:
        self._group, self._state, self._operations = group, state, operations

    def __call__(self, batch: Placed, step: int | Tensor) -> Losses:
        return advance(self._group, self._state, batch, step, self._operations)

    def release(self) -> None:
        pass


class Paced:
    """Lets the host be a few steps ahead of the GPU, and no more."""

    def __init__(self, steps: Steps) -> None:
        self._steps, self._ends = steps, list[torch.cuda.Event]()

    def __call__(self, batch: Placed, step: int) -> Losses:
        found = self._steps(batch, step)
        self._ends.append(torch.cuda.Event())
        self._ends[-1].record()
        if len(self._ends) > STEPS_AHEAD:
            self._ends.pop(0).synchronize()
        return found

    def release(self) -> None:
        self._steps.release()


class Recorded:
    """The first steps one operation after the other; from then on one of them, recorded, over and over."""

    def __init__(self, eager: Eager, recorder: Recorder, device: torch.device, always: bool) -> None:
        self._eager, self._recorder, self._device = eager, recorder, device
        self._always, self._worth, self._seen = always, False, 0
        self._step = torch.zeros((), dtype=torch.int64, device=device)
        self._replay: Callable[[], None] | None = None
        self._losses: Losses | None = None

    def __call__(self, batch: Placed, step: int) -> Losses:
        self._step.fill_(step)
        self._seen += 1
        if self._seen == EAGER_STEPS:
            return self._timed(batch)
        if self._seen > EAGER_STEPS and self._worth and self._replay is None:
            self._worth = self._record(batch)
        return self._eager(batch, self._step) if self._replay is None else self._replayed(batch)

    def release(self) -> None:
        """The recorded step has its activations' memory to itself as long as there is a record; the next step
        is recorded again."""
        self._replay = self._losses = None

    def _timed(self, batch: Placed) -> Losses:
        """One eager step, which tells whether the host's part of it is worth saving."""
        _wait(self._device)
        start = time.perf_counter()
        found = self._eager(batch, self._step)
        launched = time.perf_counter() - start
        _wait(self._device)
        share = launched / (time.perf_counter() - start)
        self._worth = self._always or share > LAUNCHING_SHARE
        how = "recorded from here on" if self._worth else "operation after operation"
        LOGGER.info("launching takes %.0f %% of a step; %s", 100 * share, how)
        return found

    def _record(self, batch: Placed) -> bool:
        """Records a step, which does not run it. What cannot be recorded after all stays as it is."""
        self._batch = Placed(batch.inputs.clone(), batch.labels_KBT.clone())
        try:
            self._replay, self._losses = self._recorder(lambda: self._eager(self._batch, self._step))
        except RuntimeError as error:
            LOGGER.warning("a step cannot be recorded (%s); operation after operation", error)
            return False
        return True

    def _replayed(self, batch: Placed) -> Losses:
        self._batch.inputs.copy_(batch.inputs, non_blocking=True)
        self._batch.labels_KBT.copy_(batch.labels_KBT, non_blocking=True)
        assert self._replay is not None and self._losses is not None
        self._replay()
        loss_K, norm_K = self._losses  # filled anew by the next replay
        return loss_K.clone(), norm_K.clone()


def cuda_graph(function: Callable[[], Losses]) -> tuple[Callable[[], None], Losses]:
    """A CUDA graph. Its tensors have memory of their own, so what eager steps held is given back first."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph):
            found = function()
    finally:
        torch.cuda.set_stream(stream)  # a recording that fails leaves its own
    return graph.replay, found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
