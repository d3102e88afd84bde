"""One step of a group, as a function of explicit state: it reads no value of any tensor.

So the host never has to wait for what the device computes. A trial that breaks gets a zero gradient and a
zero learning rate from then on: its slice is frozen, its neighbours never notice.

K trials, B batch, T time, V outputs, P parameters of one buffer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..layers.experts import imbalance
from ..optimizers.optimizer import State as Memory
from .curvature import own_labels
from .group import Group
from .layout import Block
from .overflow import Gradients, finite, served
from .readout_loss import losses
from .state import GroupState


@dataclass(frozen=True, slots=True)
class Placed:
    """A batch on the group's device: inputs, and labels [K, B, T]."""

    inputs: Tensor
    labels_KBT: Tensor


Updated = Callable[[Block, Tensor, Memory, Tensor, Tensor, Tensor, int | Tensor], None]


@torch.no_grad()
def updated(
    block: Block,
    buffer_KP: Tensor,
    memory: Memory,
    gradient_KP: Tensor,
    clip_K1: Tensor,
    factor_K1: Tensor,
    step: int | Tensor,
) -> None:
    """A step of one buffer, in place; the gradient is not to be read after it."""
    clipped_KP = gradient_KP.mul_(clip_K1) if block.clipped else gradient_KP
    direction_KP = block.optimizer.update(memory, clipped_KP, buffer_KP, block.hyperparameters, step)
    block.step(buffer_KP, direction_KP, factor_K1)


def once(take: Callable[[], Gradients], state: GroupState) -> Gradients:
    return take()


@dataclass(frozen=True, slots=True)
class Operations:
    """What a step is made of: whether gradients are taken `once` or until they do not overflow, whether
    blocks and the loss are compiled, what updates a buffer."""

    taken: Callable[[Callable[[], Gradients], GroupState], Gradients] = once
    compiled: bool = False
    updated: Updated = updated


PLAIN = Operations()


def advance(
    group: Group,
    state: GroupState,
    batch: Placed,
    step: int | Tensor,
    operations: Operations = PLAIN,
) -> tuple[Tensor, Tensor]:
    """One step of all trials; returns the loss before it and the gradient norm, each [K].

    The step's number is a tensor where the step is recorded once for all of them (`recording`).
    """
    blocks = group.layout.blocks
    loss_K, gradients_KP = gradients(group, state, batch, step, True, operations)
    if group.scales_loss:
        served(state)
    norms_K = [torch.linalg.vector_norm(g, dim=1) for g in gradients_KP]
    counted_K = [norm_K for norm_K, block in zip(norms_K, blocks, strict=True) if block.clipped]
    norm_K = torch.stack(counted_K).norm(dim=0)
    broken_K = state.alive_K & ~(loss_K.isfinite() & torch.stack(norms_K).isfinite().all(dim=0))
    state.broke_K.copy_(torch.where(broken_K, step, state.broke_K))
    state.alive_K.logical_and_(~broken_K)
    gradients_KP = _of_the_living(gradients_KP, state)
    if group.observes and isinstance(step, int) and step % group.one.curvature_every == 0:
        _observe(group, state, batch, step, operations)
    clip_K = (group.clip_K / (norm_K + 1e-6)).clamp(max=1.0)
    clip_K1 = torch.where(state.alive_K, clip_K, 0.0)[:, None]  # a broken trial's norm may be NaN
    factor_K1 = (group.schedule_K(step) * state.alive_K)[:, None]
    for block, buffer_KP, memory, g in zip(
        blocks, state.buffers_KP, state.optimizers, gradients_KP, strict=True
    ):
        begin, end = block.part(group.ranks)
        with torch.no_grad():
            if end > begin:
                own_KS, g_KS = (x[:, begin:end] for x in (buffer_KP, g))
                operations.updated(block, own_KS, memory, g_KS, clip_K1, factor_K1, step)
            group.ranks.shared(buffer_KP, block.unit)
    return loss_K, norm_K


def gradients(
    group: Group,
    state: GroupState,
    batch: Placed,
    step: int | Tensor,
    penalised: bool,
    operations: Operations = PLAIN,
) -> Gradients:
    """Mean loss of the batch, [K], and the gradients of what is minimised, or of the loss alone."""

    def take() -> Gradients:
        return _scaled_gradients(group, state, batch, step, penalised, operations.compiled)

    loss_K, scaled_KP = operations.taken(take, state)
    if group.scales_loss:
        scaled_KP = [g / state.scale_K[:, None] for g in scaled_KP]
    return loss_K, scaled_KP


def _scaled_gradients(
    group: Group, state: GroupState, batch: Placed, step: int | Tensor, penalised: bool, compiled: bool
) -> Gradients:
    """Gradients times the scale of the loss, one micro-batch after the other."""
    inputs, labels_KBT = batch.inputs, batch.labels_KBT
    loss_K, total_KP = torch.zeros(len(group.recipes), device=group.device), None
    first, last = group.ranks.span(inputs.shape[1])
    size = -(-(last - first) // group.micro_batches)
    for begin in range(first, last, size):
        end = min(begin + size, last)
        part, part_labels_KBT = inputs[:, begin:end], labels_KBT[:, begin:end]
        share = part.shape[1] / inputs.shape[1]
        regime = group.regime(step, begin, inputs.shape[1], compiled)
        out = group.outputs(part, group.layout.views(state.buffers_KP), regime=regime)
        z_K = group.z_K if penalised and group.penalised else None
        scale_K = share * state.scale_K
        part_K, minimised_K = losses(out, part_labels_KBT, z_K, group.dtype, scale_K, compiled)
        if penalised and group.balanced:
            minimised_K = minimised_K + group.balance_K * imbalance(regime.loads)
        # A parameter of somebody's module that is in no path to the loss has a gradient of zero.
        part_KP = torch.autograd.grad(
            (minimised_K * scale_K).sum(),
            state.buffers_KP,
            allow_unused=True,
            materialize_grads=True,
        )
        loss_K += part_K.detach() * share
        total_KP = part_KP if total_KP is None else torch._foreach_add(total_KP, part_KP)
    assert total_KP is not None
    group.ranks.summed([loss_K, *total_KP])
    return loss_K, list(total_KP)


def _of_the_living(gradients_KP: Sequence[Tensor], state: GroupState) -> list[Tensor]:
    dead_K1 = ~state.alive_K[:, None]
    return [g.masked_fill_(dead_K1, 0.0) for g in gradients_KP]


def _observe(group: Group, state: GroupState, batch: Placed, step: int, operations: Operations) -> None:
    """Hands Sophia the Gauss-Newton-Bartlett estimate, n g * g, with g the gradient on labels of the model's
    own.

    n counts the labelled positions of the batch (arXiv:2305.14342, algorithm 2). Learnable multipliers are
    AdamW's and see none.
    """
    inputs, labels_KBT = batch.inputs, batch.labels_KBT
    with torch.no_grad():
        regime = group.regime(step, 0, inputs.shape[1])
        out_KBTV = group.logits(inputs, group.layout.views(state.buffers_KP), regime=regime)
    drawn_KBT = own_labels(out_KBTV, labels_KBT, group.seeds, step)
    drawn = Placed(inputs, drawn_KBT)
    _, gradients_KP = gradients(group, state, drawn, step, False, operations)
    labelled = (labels_KBT[0] >= 0).sum() if not labels_KBT.is_floating_point() else labels_KBT[0].numel()
    curvatures_KP = [g.square().mul_(labelled) for g in gradients_KP]
    dead_K1 = ~(state.alive_K & finite(curvatures_KP))[:, None]
    for block, memory, h in zip(group.layout.blocks, state.optimizers, curvatures_KP, strict=True):
        if block.optimizer.observe is not None:
            begin, end = block.part(group.ranks)
            own_KS = h.masked_fill_(dead_K1, 0.0)[:, begin:end]
            block.optimizer.observe(memory, own_KS, block.hyperparameters)
