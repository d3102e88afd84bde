"""The loss of a readout, part by part, against the plain one on all logits at once."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mutransfer.models.layers.outputs import Outputs
from mutransfer.models.recipe.recipe import Recipe
from mutransfer.models.training import readout_loss
from mutransfer.models.training.evaluate import evaluate
from mutransfer.models.training.group import Group
from mutransfer.models.training.loss import accuracy, loss, z_penalty
from mutransfer.models.training.readout_loss import losses, measured
from mutransfer.models.training.state import GroupState
from mutransfer.models.training.step import Placed, advance

K, B, T, D, V = 2, 3, 7, 5, 11


def outputs(dtype: torch.dtype) -> tuple[Outputs, torch.Tensor, torch.Tensor]:
    """With sharp predictions, and positions without a label."""
    generator = torch.Generator().manual_seed(0)
    x_KBTD = torch.randn(K, B, T, D, generator=generator, dtype=dtype).mul_(3).requires_grad_()
    w_KVD = torch.randn(K, V, D, generator=generator, dtype=dtype).requires_grad_()
    labels_KBT = torch.randint(0, V, (K, B, T), generator=generator)
    labels_KBT[:, :, ::3] = -1
    return Outputs(x_KBTD, w_KVD), labels_KBT, torch.tensor([0.0, 0.3], dtype=dtype)


@pytest.mark.parametrize("penalised", [False, True])
@pytest.mark.parametrize("rows", [1, 4, 100])
def test_parts_make_the_loss_and_gradient_of_the_whole(
    rows: int, penalised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readout_loss, "ROWS_AT_LEAST", 1)
    monkeypatch.setattr(readout_loss, "PART_BYTES", {"cpu": rows * 4 * K * V})
    out, labels_KBT, z_K = outputs(torch.float64)
    assert out.readout_KVD is not None
    found_K, minimised_K = losses(out, labels_KBT, z_K if penalised else None, None)
    wanted_K = loss(out.logits(), labels_KBT)
    whole_K = wanted_K + (z_K * z_penalty(out.logits(), labels_KBT) if penalised else 0.0)
    torch.testing.assert_close(found_K, wanted_K)
    torch.testing.assert_close(minimised_K, whole_K)
    upstream_K = torch.tensor([0.5, -2.0], dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad((minimised_K * upstream_K).sum(), [out.last, out.readout_KVD]),
        torch.autograd.grad((whole_K * upstream_K).sum(), [out.last, out.readout_KVD]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(
        measured(out, labels_KBT, None), (wanted_K, accuracy(out.logits(), labels_KBT)), strict=True
    ):
        torch.testing.assert_close(ours, theirs.double())


def test_sharp_predictions_keep_their_gradient_in_short_types() -> None:
    """p - 1 of a probability near one, which bf16 cannot tell from one."""
    out, labels_KBT, _ = outputs(torch.float32)
    assert out.readout_KVD is not None
    labels_KBT = out.logits().argmax(-1)
    _, minimised_K = losses(out, labels_KBT, None, torch.bfloat16)
    rounded = [x.bfloat16().float() for x in (out.last, out.readout_KVD)]
    whole_K = loss(Outputs(*rounded).logits().bfloat16(), labels_KBT)
    (ours,) = torch.autograd.grad(minimised_K.sum(), [out.last])
    (theirs,) = torch.autograd.grad(whole_K.sum(), [out.last])
    assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_a_frequent_label_does_not_overflow_fp16() -> None:
    """The sum over its rows is larger than fp16 goes, the mean is not."""
    rows = 70_000
    x_KBTD = torch.full((1, 1, rows, 1), 2.0, requires_grad=True)
    w_KVD = torch.zeros(1, 2, 1, requires_grad=True)
    labels_KBT, scale_K = torch.zeros(1, 1, rows, dtype=torch.int64), torch.tensor([2.0**8])
    _, minimised_K = losses(Outputs(x_KBTD, w_KVD), labels_KBT, None, torch.float16, scale_K)
    (d_w_KVD,) = torch.autograd.grad((minimised_K * scale_K).sum(), [w_KVD])
    torch.testing.assert_close(d_w_KVD.float(), torch.tensor([[[-256.0], [256.0]]]), rtol=1e-2, atol=0)


class Largest(TorchDispatchMode):
    """The most numbers that one tensor in float32 has."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        made = func(*args, **(kwargs or {}))
        for x in made if isinstance(made, tuple | list) else [made]:
            if isinstance(x, torch.Tensor) and x.dtype == torch.float32:
                self.numbers = max(self.numbers, x.numel())
        return made


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_no_step_and_no_evaluation_holds_all_logits(precision: str, recipe: Callable[..., Recipe]) -> None:
    vocabulary, device = 50_304, torch.device("cpu")
    one = recipe(vocab_size=vocabulary, precision=precision, sequence_length=32, batch_size=32)
    group = Group([one], device)
    state = GroupState.first(group)
    tokens = torch.zeros(1, 32, 32, dtype=torch.int64)
    most = max(readout_loss.PART_BYTES["cpu"] // 4, vocabulary * one.shape.width)
    with Largest() as seen:  # type: ignore[no-untyped-call]
        advance(group, state, Placed(tokens, tokens), 0)
        evaluate(group, group.layout.views(state.buffers_KP), tokens[0], tokens[0])
    assert seen.numbers <= most < tokens.numel() * vocabulary / 8
