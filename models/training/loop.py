"""The training of one group: K trials of one shape advance together, each as if it were alone.

K trials, B batch, T time, S = T + 1, P parameters of one buffer.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..data.batches import Batches
from ..layers.multiplier import multiplier
from ..layers.trace import Trace, untraced
from ..loss import cross_entropy
from ..parametrization.rules import multipliers
from ..proxy import logits
from ..recipe import Recipe
from .bank import ParameterBank
from .checkpoint import Keeper, NoKeeper, State
from .curvature import own_labels
from .outcome import CurvePoint, Outcome, Progress
from .schedule import schedule_factor

CURVE_POINTS = 500
"""At most this many points are kept of a training curve: every step, or every n-th of a long run."""

EVAL_TOKENS = 65_536
"""Tokens of all trials together in one validation batch: bounds the memory of the logits."""


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
        if state is None:
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
            "step": step,
            "seconds": seconds,
            "bank": self._bank.state(),
            "alive_K": self._alive_K,
            "broke_K": self._broke_K,
            "records": [list(record) for record in self._records],
            "evals": self._evals,
        }

    def restore(self, state: State) -> int:
        """Puts back what `state` took; returns the step to go on with."""
        self._bank.restore(state["bank"])
        self._alive_K = state["alive_K"].to(self._device)
        self._broke_K = state["broke_K"].to(self._device)
        self._records = [(step, loss_K, norm_K) for step, loss_K, norm_K in state["records"]]
        self._evals = dict(state["evals"])
        return int(state["step"])

    def step(self, step: int) -> tuple[Tensor, Tensor]:
        """One step of all trials; returns the loss before it and the gradient norm, each [K]."""
        sequences = self._batches.training([r.seed for r in self._recipes], step, self._one.batch_size)
        sequences_KBS = torch.from_numpy(sequences).to(self._device, non_blocking=True)
        loss_K, gradients_KP = self._gradients(sequences_KBS[..., :-1], sequences_KBS[..., 1:])
        norm_K = torch.stack([torch.linalg.vector_norm(g, dim=1) for g in gradients_KP]).norm(dim=0)
        broken_K = self._alive_K & ~(loss_K.isfinite() & norm_K.isfinite())
        self._broke_K = torch.where(broken_K, step, self._broke_K)
        self._alive_K = self._alive_K & ~broken_K
        # A trial that broke gets a zero gradient and a zero learning rate: frozen, neighbours untouched.
        # On a GPU it is masked always, since asking whether to would wait for the device.
        if self._device.type == "cuda" or not bool(self._alive_K.all()):
            gradients_KP = [g.masked_fill(~self._alive_K[:, None], 0.0) for g in gradients_KP]
        if self._one.optimizer == "sophia" and step % self._one.curvature_every == 0:
            self._observe_curvature(sequences_KBS, step)
        clip_K = (self._clip_K / (norm_K + 1e-6)).clamp(max=1.0)
        clip_K1 = torch.where(self._alive_K, clip_K, 0.0)[:, None]
        factor_K = self._per_trial([schedule_factor(recipe, step) for recipe in self._recipes])
        self._bank.step([g.mul_(clip_K1) for g in gradients_KP], (factor_K * self._alive_K)[:, None])
        return loss_K, norm_K

    def logits(self, tokens_KBT: Tensor, views: Mapping[str, Tensor], trace: Trace = untraced) -> Tensor:
        """The group's logits [K, B, T, V] with the given parameters."""
        bf16 = self._one.precision == "bf16"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=bf16):
            return logits(self._one.shape, views, self._sites, tokens_KBT, trace)

    def _loss(self, tokens_KBT: Tensor, labels_KBT: Tensor) -> Tensor:
        return cross_entropy(self.logits(tokens_KBT, self._bank.views()), labels_KBT)

    def _gradients(self, tokens_KBT: Tensor, labels_KBT: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Mean loss of the batch, [K], and its gradients, one micro-batch after the other."""
        loss_K, gradients_KP = torch.zeros(len(self._recipes), device=self._device), None
        parts = zip(
            tokens_KBT.chunk(self._micro_batches, 1), labels_KBT.chunk(self._micro_batches, 1), strict=True
        )
        for part_KBT, part_labels_KBT in parts:
            part_K = self._loss(part_KBT, part_labels_KBT) * (part_KBT.shape[1] / tokens_KBT.shape[1])
            part_KP = torch.autograd.grad(part_K.sum(), self._bank.buffers)
            loss_K += part_K.detach()
            gradients_KP = part_KP if gradients_KP is None else torch._foreach_add(gradients_KP, part_KP)
        assert gradients_KP is not None
        return loss_K, list(gradients_KP)

    def _observe_curvature(self, sequences_KBS: Tensor, step: int) -> None:
        """The Gauss-Newton-Bartlett estimate, n g * g, with g the gradient on labels of the model's own.

        n counts the tokens of the batch (arXiv:2305.14342, algorithm 2).
        """
        tokens_KBT = sequences_KBS[..., :-1]
        with torch.no_grad():
            out_KBTV = self.logits(tokens_KBT, self._bank.views())
        labels_KBT = own_labels(out_KBTV, [recipe.seed for recipe in self._recipes], step)
        _, gradients_KP = self._gradients(tokens_KBT, labels_KBT)
        tokens = labels_KBT[0].numel()
        curvatures_KP = [g.square().mul_(tokens) for g in gradients_KP]
        self._bank.observe_curvature([h.masked_fill(~self._alive_K[:, None], 0.0) for h in curvatures_KP])

    @torch.no_grad()
    def _evaluate(self) -> Tensor:
        """Validation loss of every trial, [K]."""
        trials = len(self._recipes)
        sequences = torch.from_numpy(self._batches.validation(self._one.eval_sequences)).to(self._device)
        tokens = EVAL_TOKENS // self._micro_batches
        size = max(1, tokens // (trials * self._one.shape.sequence_length))
        parts = [
            self._loss(part_KBS[..., :-1], part_KBS[..., 1:]) * (part_KBS.shape[1] / len(sequences))
            for part_KBS in (part_BS.expand(trials, -1, -1) for part_BS in sequences.split(size))
        ]
        return torch.stack(parts).sum(0)

    def _diverged_so_far(self) -> int:
        # Reading the device at every step would stall it: a GPU group's count comes with its outcomes.
        return 0 if self._device.type == "cuda" else int((~self._alive_K).sum())

    def _outcomes(self, seconds: float) -> list[Outcome]:
        evals = {step: loss_K.tolist() for step, loss_K in self._evals.items()}
        records = [(step, loss_K.tolist(), norm_K.tolist()) for step, loss_K, norm_K in self._records]
        broke = self._broke_K.tolist()
        return [
            self._outcome(index, broke[index], evals, records, seconds / len(self._recipes))
            for index in range(len(self._recipes))
        ]

    def _outcome(
        self,
        index: int,
        broke: int,
        evals: dict[int, list[float]],
        records: list[tuple[int, list[float], list[float]]],
        seconds: float,
    ) -> Outcome:
        recipe = self._recipes[index]
        tokens = recipe.batch_size * recipe.shape.sequence_length
        initial, final = evals[0][index], evals[recipe.steps][index]
        diverged = broke >= 0 or not final <= initial
        kept = [record for record in records if broke < 0 or record[0] < broke]
        curve = tuple(
            CurvePoint(
                step=step,
                tokens=(step + 1) * tokens,
                train_loss=losses[index],
                eval_loss=evals[step + 1][index] if step + 1 in evals else None,
                learning_rate=recipe.learning_rate * schedule_factor(recipe, step),
                gradient_norm=norms[index],
            )
            for step, losses, norms in kept
        )
        return Outcome(
            diverged=diverged,
            diverged_step=(broke if broke >= 0 else recipe.steps) if diverged else None,
            initial_loss=initial,
            loss=None if diverged else final,
            train_loss=None if diverged else records[-1][1][index],
            seconds=seconds,
            curve=curve,
        )

    def _per_trial(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)
