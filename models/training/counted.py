"""What a GPU would do in a training, counted without one: memory at its peak, launches, bytes, operations.

The group's own step and evaluation run on the meta device, where tensors have shapes and no numbers, and
every operation is watched. Where meta would do otherwise than a GPU (autocast, attention) the layers
see to it (`layers/on_meta.py`).

K trials.
"""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..recipe.recipe import Recipe
from .evaluate import evaluate, sequences_at_once
from .group import Group
from .recording import unrecordable
from .state import GroupState
from .step import Placed, advance

META = torch.device("meta")
ALLOCATED = 512
"""Bytes that torch's allocator rounds up to."""


@dataclass(frozen=True, slots=True)
class Work:
    """Operations that are launched, bytes that they read and write, floating-point operations of products."""

    launches: int
    bytes_moved: int
    flops: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one step, and of an evaluation on so many `sequences` as it takes at once. `peak_bytes` is the most
    that is held at a time, in either; `recordable`: whether the step can be recorded (`recording`)."""

    step: Work
    evaluation: Work
    sequences: int
    peak_bytes: int
    recordable: bool


def counted(recipes: Sequence[Recipe], micro_batches: int = 1) -> Counts:
    """Of a group of these recipes. Raises ValueError for recipes that cannot be one group."""
    one = recipes[0]
    with Watch() as watch:
        group = Group(recipes, META, micro_batches)
        state = GroupState.first(group)
        inputs, labels_KBT = _batch(group, len(recipes), one.batch_size)
        sequences = min(
            one.eval_sequences,
            sequences_at_once(len(recipes), one.shape.sequence_length, micro_batches),
        )
        held, held_labels_BT = (x[0] for x in _batch(group, 1, sequences))
        watch.begin()
        evaluate(group, group.layout.views(state.buffers_KP), held, held_labels_BT)
        evaluation = watch.work
        for step in range(2):  # the first one makes what lasts
            watch.begin()
            advance(group, state, Placed(inputs, labels_KBT), step)
        return Counts(watch.work, evaluation, sequences, watch.peak_bytes, unrecordable(group) is None)


def _batch(group: Group, trials: int, sequences: int) -> tuple[Tensor, Tensor]:
    shape = group.one.shape
    size, kind = (trials, sequences, shape.sequence_length), torch.int64
    labels = torch.empty(size, dtype=torch.float32 if shape.output_count == 1 else kind, device=META)
    if shape.vectors:
        return torch.empty(*size, shape.vocab_size, device=META), labels
    return torch.empty(size, dtype=kind, device=META), labels


class Watch(TorchDispatchMode):
    """Counts what is launched, and what is held: a storage from when it is made until nothing refers to
    it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held_bytes, self._seen = 0, weakref.WeakSet[torch.UntypedStorage]()
        self.peak_bytes = 0
        self.begin()

    def begin(self) -> None:
        self._launches = self._bytes_moved = self._flops = 0

    @property
    def work(self) -> Work:
        """Since `begin`."""
        return Work(self._launches, self._bytes_moved, self._flops)

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch's own
        types: Any,  # noqa: ANN401
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        made = func(*args, **(kwargs or {}))
        given = _tensors([*args, *(kwargs or {}).values()])
        results = _tensors([made])
        fresh = [x for x in results if self._takes_in(x.untyped_storage())]
        if fresh or func._schema.is_mutable:
            self._launches += 1
            self._bytes_moved += sum(x.numel() * x.element_size() for x in (*given, *results))
            self._flops += _flops(func, given, results)
        return made

    def _takes_in(self, storage: torch.UntypedStorage) -> bool:
        """Whether it is new."""
        if storage in self._seen:
            return False
        self._seen.add(storage)
        size = -(-storage.nbytes() // ALLOCATED) * ALLOCATED
        self._held_bytes += size
        self.peak_bytes = max(self.peak_bytes, self._held_bytes)
        weakref.finalize(storage, self._frees, size)
        return True

    def _frees(self, size: int) -> None:
        self._held_bytes -= size


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


PRODUCTS = {torch.ops.aten.bmm, torch.ops.aten.mm, torch.ops.aten.baddbmm, torch.ops.aten.addmm}


def _flops(func: Any, given: Sequence[Tensor], results: Sequence[Tensor]) -> int:  # noqa: ANN401 - torch's own
    """Two a multiply-add; of products alone, attention's among them (causal: half)."""
    kind = func._overloadpacket
    if kind in PRODUCTS:
        left = given[-2]
        return 2 * results[0].numel() * left.shape[-1]
    if kind is torch.ops.aten._scaled_dot_product_flash_attention:
        q, k = given[:2]
        return 2 * q.numel() * k.shape[-2]
    if kind is torch.ops.aten._scaled_dot_product_flash_attention_backward:
        q, k = given[1:3]
        return 5 * q.numel() * k.shape[-2]
    return 0
