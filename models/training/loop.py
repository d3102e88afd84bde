"""The training of one group: K trials of one shape advance together, each as if it were alone.

K trials, B batch, T time, V outputs, P parameters of one buffer.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..architectures.proxy import Regime, logits
from ..data.batches import Batch, Batches
from ..layers.dropout import Dropout
from ..layers.multiplier import multiplier
from ..layers.trace import Trace, untraced
from ..parametrization.rules import multipliers
from ..recipe.recipe import Recipe
from .bank import ParameterBank
from .checkpoint import Keeper, NoKeeper, State
from .curvature import own_labels
from .loss import accuracy, loss, z_penalty
from .loss_scale import LossScale, finite
from .outcome import Outcome, Progress, outcomes
from .schedule import schedule_factor

CURVE_POINTS = 500
"""At most this many points are kept of a training curve: every step, or every n-th of a long run."""

EVAL_TOKENS = 65_536
"""Tokens of all trials together in one validation batch: bounds the memory of the logits."""

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

STATE_FORMAT = 2
"""Of checkpoints; one of another format is passed over, and the training begins again."""


def train(
    recipes: Sequence[Recipe],
    batches: Batches,
    device: torch.device,
    report: Callable[[Progress], None] = lambda progress: None,
    keeper: Keeper | None = None,
    micro_batches: int = 1,
) -> list[Outcome]:
    """Trains the trials of one group and returns their outcomes in order.

    All recipes share shape, optimizer, steps, batch size, precision and validation settings
    (`group_key` of the planner); everything else may differ between them. With a `keeper` the training
    goes on from its last checkpoint. `micro_batches` parts of a batch follow each other where a whole
    one does not fit; it changes losses by rounding only.
    """
    return GroupTraining(recipes, batches, device, micro_batches).train(report, keeper or NoKeeper())


class GroupTraining:
    """The state of one group's training: `train` runs it to its end, `step` advances it by one."""

    def __init__(
        self, recipes: Sequence[Recipe], batches: Batches, device: torch.device, micro_batches: int = 1
    ) -> None:
        self._recipes, self._batches, self._device = recipes, batches, device
        self._micro_batches = micro_batches
        self._one = recipes[0]
        self._bank = ParameterBank(recipes, device)
        sites = [multipliers(recipe) for recipe in recipes]
        self._sites = {site: multiplier([trial[site] for trial in sites], device) for site in sites[0]}
        self._clip_K = self._per_trial([recipe.grad_clip or math.inf for recipe in recipes])
        self._z_K = self._per_trial([recipe.z_loss for recipe in recipes])
        self._drop_K = self._per_trial([recipe.dropout for recipe in recipes])
        self._scale = LossScale(len(recipes), device, active=self._one.precision == "fp16")
        self._alive_K = torch.ones(len(recipes), dtype=torch.bool, device=device)
        self._broke_K = torch.full((len(recipes),), -1, device=device)
        self._records: list[tuple[int, Tensor, Tensor]] = []
        self._evals: dict[int, Tensor] = {}

    def views(self) -> dict[str, Tensor]:
        """Every parameter by name, [K, *shape], as it is now."""
        return self._bank.views()

    def train(self, report: Callable[[Progress], None], keeper: Keeper) -> list[Outcome]:
        start = time.perf_counter()
        steps = self._one.steps
        stride = -(-steps // CURVE_POINTS)
        state = keeper.load()
        if state is None or state.get("format") != STATE_FORMAT:
            begin = 0
            self._evals[0] = self._evaluate()
        else:
            begin = self.restore(state)
            start -= state["seconds"]
        for step in range(begin, steps):
            loss_K, norm_K = self.step(step)
            if step % stride == 0 or step == steps - 1:
                self._records.append((step, loss_K, norm_K))
            every = self._one.eval_every
            if step == steps - 1 or (every and (step + 1) % every == 0):
                self._evals[step + 1] = self._evaluate()
            report(Progress(step + 1, self._diverged_so_far()))
            if keeper.due():
                keeper.save(step + 1, self.state(step + 1, time.perf_counter() - start))
        return self._outcomes(time.perf_counter() - start)

    def state(self, step: int, seconds: float) -> State:
        """Everything that the steps from `step` on depend on; the data's position is the step itself."""
        return {
            "format": STATE_FORMAT,
            "step": step,
            "seconds": seconds,
            "bank": self._bank.state(),
            "alive_K": self._alive_K,
            "broke_K": self._broke_K,
            "scale_K": self._scale.scale_K,
            "served_K": self._scale.served_K,
            "records": [list(record) for record in self._records],
            "evals": self._evals,
        }

    def restore(self, state: State) -> int:
        """Puts back what `state` took; returns the step to go on with."""
        self._bank.restore(state["bank"])
        self._alive_K = state["alive_K"].to(self._device)
        self._broke_K = state["broke_K"].to(self._device)
        self._scale.scale_K = state["scale_K"].to(self._device)
        self._scale.served_K = state["served_K"].to(self._device)
        self._records = [(step, loss_K, norm_K) for step, loss_K, norm_K in state["records"]]
        self._evals = dict(state["evals"])
        return int(state["step"])

    def step(self, step: int) -> tuple[Tensor, Tensor]:
        """One step of all trials; returns the loss before it and the gradient norm, each [K]."""
        batch = self._batches.training([r.seed for r in self._recipes], step, self._one.batch_size)
        inputs, labels_KBT = self._placed(batch)
        loss_K, gradients_KP = self._gradients(inputs, labels_KBT, step)
        self._scale.served()
        clipped = self._bank.clipped
        norms_K = [torch.linalg.vector_norm(g, dim=1) for g in gradients_KP]
        counted_K = [norm_K for norm_K, counts in zip(norms_K, clipped, strict=True) if counts]
        norm_K = torch.stack(counted_K).norm(dim=0)
        finite_K = torch.stack(norms_K).isfinite().all(dim=0)
        broken_K = self._alive_K & ~(loss_K.isfinite() & finite_K)
        self._broke_K = torch.where(broken_K, step, self._broke_K)
        self._alive_K = self._alive_K & ~broken_K
        # A trial that broke gets a zero gradient and a zero learning rate: frozen, neighbours untouched.
        # On a GPU it is masked always, since asking whether to would wait for the device.
        if self._device.type == "cuda" or not bool(self._alive_K.all()):
            gradients_KP = [g.masked_fill(~self._alive_K[:, None], 0.0) for g in gradients_KP]
        if self._one.optimizer == "sophia" and step % self._one.curvature_every == 0:
            self._observe_curvature(inputs, labels_KBT, step)
        clip_K = (self._clip_K / (norm_K + 1e-6)).clamp(max=1.0)
        clip_K1 = torch.where(self._alive_K, clip_K, 0.0)[:, None]
        factor_K = self._per_trial([schedule_factor(recipe, step) for recipe in self._recipes])
        gradients_KP = [
            g.mul_(clip_K1) if counts else g for g, counts in zip(gradients_KP, clipped, strict=True)
        ]
        self._bank.step(gradients_KP, (factor_K * self._alive_K)[:, None])
        return loss_K, norm_K

    def logits(
        self,
        inputs: Tensor,
        views: Mapping[str, Tensor],
        trace: Trace = untraced,
        regime: Regime | None = None,
    ) -> Tensor:
        """The group's logits [K, B, T, V] with the given parameters."""
        dtype = AUTOCAST.get(self._one.precision)
        with torch.autocast(self._device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            return logits(self._one.shape, views, self._sites, inputs, trace, regime)

    def _placed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        inputs, labels = torch.from_numpy(batch.inputs), torch.from_numpy(batch.labels)
        return inputs.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)

    def _gradients(
        self, inputs: Tensor, labels_KBT: Tensor, step: int, penalised: bool = True
    ) -> tuple[Tensor, list[Tensor]]:
        """Mean loss of the batch, [K], and the gradients of what is minimised; not `penalised`, of the loss
        alone. Where fp16 overflows they are taken again at a lower scale."""
        while True:
            loss_K, scaled_KP = self._scaled_gradients(inputs, labels_KBT, step, penalised)
            if not self._scale.active:
                return loss_K, scaled_KP
            overflown_K = self._alive_K & loss_K.isfinite() & ~finite(scaled_KP)
            if not self._scale.lowered(overflown_K):
                return loss_K, self._scale.unscaled(scaled_KP)

    def _scaled_gradients(
        self, inputs: Tensor, labels_KBT: Tensor, step: int, penalised: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Gradients times the scale of the loss, one micro-batch after the other."""
        loss_K, gradients_KP = torch.zeros(len(self._recipes), device=self._device), None
        size = -(-inputs.shape[1] // self._micro_batches)
        penalised = penalised and any(recipe.z_loss for recipe in self._recipes)
        for begin in range(0, inputs.shape[1], size):
            part, part_labels_KBT = inputs[:, begin : begin + size], labels_KBT[:, begin : begin + size]
            share = part.shape[1] / inputs.shape[1]
            regime = self._regime(step, begin, inputs.shape[1])
            out_KBTV = self.logits(part, self._bank.views(), regime=regime)
            part_K = loss(out_KBTV, part_labels_KBT) * share
            minimised_K = part_K
            if penalised:
                minimised_K = part_K + self._z_K * z_penalty(out_KBTV, part_labels_KBT) * share
            part_KP = torch.autograd.grad((minimised_K * self._scale.scale_K).sum(), self._bank.buffers)
            loss_K += part_K.detach()
            gradients_KP = part_KP if gradients_KP is None else torch._foreach_add(gradients_KP, part_KP)
        assert gradients_KP is not None
        return loss_K, list(gradients_KP)

    def _regime(self, step: int, begin: int, sequences: int) -> Regime:
        """Of the part of a batch of `sequences` that begins at the sequence `begin`."""
        seeds = [recipe.seed for recipe in self._recipes]
        drops = any(recipe.dropout for recipe in self._recipes)
        return Regime(
            dropout=Dropout(self._drop_K, seeds, step, begin, sequences) if drops else None,
            checkpointing=self._one.activation_checkpointing,
        )

    def _observe_curvature(self, inputs: Tensor, labels_KBT: Tensor, step: int) -> None:
        """The Gauss-Newton-Bartlett estimate, n g * g, with g the gradient on labels of the model's own.

        n counts the labelled positions of the batch (arXiv:2305.14342, algorithm 2).
        """
        with torch.no_grad():
            regime = self._regime(step, 0, inputs.shape[1])
            out_KBTV = self.logits(inputs, self._bank.views(), regime=regime)
        drawn_KBT = own_labels(out_KBTV, labels_KBT, [recipe.seed for recipe in self._recipes], step)
        _, gradients_KP = self._gradients(inputs, drawn_KBT, step, penalised=False)
        values = labels_KBT.is_floating_point()
        labelled = labels_KBT[0].numel() if values else int((labels_KBT[0] >= 0).sum())
        curvatures_KP = [g.square().mul_(labelled) for g in gradients_KP]
        kept_K = self._alive_K & finite(curvatures_KP)
        self._bank.observe_curvature([h.masked_fill(~kept_K[:, None], 0.0) for h in curvatures_KP])

    @torch.no_grad()
    def _evaluate(self) -> Tensor:
        """Validation loss and accuracy of every trial, [2, K]."""
        trials = len(self._recipes)
        inputs, labels_BT = self._placed(self._batches.validation(self._one.eval_sequences))
        tokens = EVAL_TOKENS // self._micro_batches
        size = max(1, tokens // (trials * self._one.shape.sequence_length))
        parts = []
        for part, part_labels_BT in zip(inputs.split(size), labels_BT.split(size), strict=True):
            out_KBTV = self.logits(part.expand(trials, *part.shape), self._bank.views())
            labels_KBT = part_labels_BT.expand(trials, -1, -1)
            both_2K = torch.stack([loss(out_KBTV, labels_KBT), accuracy(out_KBTV, labels_KBT)])
            parts.append(both_2K * (len(part) / len(inputs)))
        return torch.stack(parts).sum(0)

    def _diverged_so_far(self) -> int:
        # Reading the device at every step would stall it: a GPU group's count comes with its outcomes.
        return 0 if self._device.type == "cuda" else int((~self._alive_K).sum())

    def _outcomes(self, seconds: float) -> list[Outcome]:
        return outcomes(
            self._recipes,
            self._broke_K.tolist(),
            {step: both_2K.tolist() for step, both_2K in self._evals.items()},
            [(step, loss_K.tolist(), norm_K.tolist()) for step, loss_K, norm_K in self._records],
            seconds,
        )

    def _per_trial(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)
