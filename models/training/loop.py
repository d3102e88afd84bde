"""The training of one group: K trials of one shape advance together, each as if it were alone.

K trials, B batch, T time, V outputs.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..data.batches import Batch, Batches
from ..layers.trace import Trace, untraced
from ..recipe.recipe import Recipe
from .checkpoint import Keeper, NoKeeper, State
from .evaluate import evaluate
from .execution import Execution
from .group import Group
from .outcome import Outcome, Progress, outcomes
from .pruning import Pruning
from .ranks import ALONE, Ranks
from .recording import steps_of
from .state import GroupState
from .step import Placed

LOGGER = logging.getLogger(__name__)

CURVE_POINTS = 500
"""At most this many points are kept of a training curve: every step, or every n-th of a long run."""

STATE_FORMAT = 3
"""Of checkpoints; one of another format is passed over, and the training begins again."""


def train(
    recipes: Sequence[Recipe],
    batches: Batches,
    device: torch.device,
    report: Callable[[Progress], None] = lambda progress: None,
    keeper: Keeper | None = None,
    micro_batches: int = 1,
    pruning: Pruning | None = None,
    execution: Execution = "auto",
) -> list[Outcome]:
    """Trains the trials of one group and returns their outcomes in order.

    Raises ValueError for recipes that cannot be one group (`recipe.group`). With a `keeper` the training
    goes on from its last checkpoint. `micro_batches` parts of a batch follow each other where a whole
    one does not fit; but for `balance_loss`, which is each part's, that changes losses by rounding only.
    `pruning` stops trials early; the group goes on without them. `execution` is how a GPU runs the steps
    (`execution`), which changes no result.
    """
    training = GroupTraining(recipes, batches, device, micro_batches, pruning, execution)
    return training.train(report, keeper or NoKeeper())


class GroupTraining:
    """One group's training: `train` runs it to its end, `step` advances it by one."""

    def __init__(
        self,
        recipes: Sequence[Recipe],
        batches: Batches,
        device: torch.device,
        micro_batches: int = 1,
        pruning: Pruning | None = None,
        execution: Execution = "auto",
        ranks: Ranks = ALONE,
    ) -> None:
        self._group = Group(recipes, device, micro_batches, ranks)
        self._state = GroupState.first(self._group)
        self._execution = execution
        self._steps = steps_of(self._group, self._state, execution)
        self._recipes, self._batches, self._one = recipes, batches, recipes[0]
        self._pruning, self._looks = pruning, pruning.looks(self._one.steps) if pruning else frozenset()
        self._kept = list(range(len(recipes)))
        self._kept_K = torch.arange(len(recipes), device=device)
        self._pruned: dict[int, int] = {}
        self._broken: dict[int, int] = {}
        self._records: list[tuple[int, Tensor, Tensor]] = []
        self._evals: dict[int, Tensor] = {}

    def views(self) -> dict[str, Tensor]:
        """Every parameter by name, [K, *shape], as it is now."""
        return self._group.layout.views(self._state.buffers_KP)

    def weights(self) -> list[dict[str, Tensor] | None]:
        """Of each trial that is still trained, on the CPU; None of one that left the group or broke."""
        found: list[dict[str, Tensor] | None] = [None] * len(self._recipes)
        views, broke = self.views(), self._broke()
        for place, trial in enumerate(self._kept):
            if broke[trial] < 0:
                found[trial] = {name: view[place].detach().cpu().clone() for name, view in views.items()}
        return found

    def train(self, report: Callable[[Progress], None], keeper: Keeper) -> list[Outcome]:
        start = time.perf_counter()
        steps = self._one.steps
        stride = -(-steps // CURVE_POINTS)
        state = keeper.load()
        if state is not None and state.get("format") != STATE_FORMAT:
            LOGGER.warning(
                "the checkpoint is of format %s, not %s; from the start", state.get("format"), STATE_FORMAT
            )
            state = None
        found = 0 if state is None else int(state["step"])
        self._group.ranks.must_agree(found, "the step that is gone on from")
        if state is None:
            begin = 0
            self._evals[0] = self._evaluate()
        else:
            begin = self.restore(state)
            start -= state["seconds"]
            LOGGER.info("goes on after step %d of %d", begin, steps)
        for step in range(begin, steps):
            loss_K, norm_K = self.step(step)
            if step % stride == 0 or step == steps - 1:
                self._records.append((step, self._spread(loss_K), self._spread(norm_K)))
            if step + 1 in self._looks:
                self._prune(step + 1)
            every = self._one.eval_every
            if step == steps - 1 or (every and (step + 1) % every == 0):
                self._evals[step + 1] = self._evaluate()
            report(Progress(step + 1, self._diverged_so_far()))
            if self._group.ranks.agreed(keeper.due()):
                state = self.state(step + 1, time.perf_counter() - start)
                if self._group.ranks.rank == 0:
                    keeper.save(step + 1, state)
        broke = self._broke()  # read before the clock: a GPU may be behind
        return self._outcomes(broke, time.perf_counter() - start)

    def state(self, step: int, seconds: float) -> State:
        """Everything that the steps from `step` on depend on; the data's position is the step itself."""
        return {
            "format": STATE_FORMAT,
            "step": step,
            "seconds": seconds,
            "group": self._state.held(self._group),
            "records": [list(record) for record in self._records],
            "evals": self._evals,
            "pruned": self._pruned,
            "broken": self._broken,
        }

    def restore(self, state: State) -> int:
        """Puts back what `state` took; returns the step to go on with."""
        self._leave(state.get("pruned", {}), state.get("broken", {}))  # older ones know nothing of it
        self._state.put_back(state["group"], self._group)
        device = self._group.device
        self._records = [
            (at, loss_K.to(device), norm_K.to(device)) for at, loss_K, norm_K in state["records"]
        ]
        self._evals = dict(state["evals"])
        return int(state["step"])

    def step(self, step: int) -> tuple[Tensor, Tensor]:
        """One step of all trials; returns the loss before it and the gradient norm, each [K]."""
        with self._group.products():
            return self._steps(self.placed(step), step)

    def placed(self, step: int) -> Placed:
        """The batch of a step, on the device."""
        return self._placed(self._batches.training(self._group.seeds, step, self._one.batch_size))

    def logits(self, inputs: Tensor, views: Mapping[str, Tensor], trace: Trace = untraced) -> Tensor:
        """The group's logits [K, B, T, V] with the given parameters."""
        return self._group.logits(inputs, views, trace)

    def _placed(self, batch: Batch) -> Placed:
        return Placed(*(self._on_device(torch.from_numpy(x)) for x in (batch.inputs, batch.labels)))

    def _on_device(self, held: Tensor) -> Tensor:
        """Copied from pinned memory, the host need not wait until a GPU has come so far; torch keeps that
        memory until it has."""
        device = self._group.device
        return (held.pin_memory() if device.type == "cuda" else held).to(device, non_blocking=True)

    def _evaluate(self) -> Tensor:
        self._steps.release()
        held = self._placed(self._batches.validation(self._one.eval_sequences))
        with self._group.products():
            return self._spread(evaluate(self._group, self.views(), held.inputs, held.labels_KBT))

    def _prune(self, done: int) -> None:
        """Stops the hopeless trials after so many steps; those that broke leave with them."""
        assert self._pruning is not None
        broken = {place: step for place, step in enumerate(self._broke()) if step >= 0}
        losses_NK = torch.stack([loss_K for _, loss_K, _ in self._records]).double().cpu().numpy()
        losses_NK[:, [*broken]] = math.nan
        hopeless = self._pruning.hopeless(losses_NK, self._pruning.companions(self._recipes))
        if hopeless:
            told = "after step %d: %d of %d trials are far behind, and stopped"
            LOGGER.info(told, done, len(hopeless), len(self._kept))
        self._leave(dict.fromkeys(hopeless, done), broken)

    def _leave(self, pruned: Mapping[int, int], broken: Mapping[int, int]) -> None:
        """The group without these trials, which are stopped after, or broke at, the given steps."""
        self._pruned, self._broken = {**self._pruned, **pruned}, {**self._broken, **broken}
        places = [at for at, trial in enumerate(self._kept) if trial not in pruned and trial not in broken]
        if places and len(places) < len(self._kept):  # where all broke, they stay as they are
            self._group, self._state = self._group.only(places), self._state.only(places)
            self._steps = steps_of(self._group, self._state, self._execution)
            self._kept = [self._kept[at] for at in places]
            self._kept_K = torch.tensor(self._kept, device=self._group.device)

    def _spread(self, values_K: Tensor) -> Tensor:
        """Values of the trials that are left, [..., K], as those of all, NaN for the others."""
        if len(self._kept) == len(self._recipes):
            return values_K
        all_K = values_K.new_full((*values_K.shape[:-1], len(self._recipes)), math.nan)
        return all_K.index_copy_(-1, self._kept_K, values_K)

    def _broke(self) -> list[int]:
        """The step at which each trial broke, -1 where it did not."""
        found = [self._broken.get(trial, -1) for trial in range(len(self._recipes))]
        for trial, step in zip(self._kept, self._state.broke_K.tolist(), strict=True):
            found[trial] = step
        return found

    def _diverged_so_far(self) -> int:
        # Reading the device at every step would stall it: a GPU group's count comes with its outcomes.
        return (
            0 if self._group.device.type == "cuda" else len(self._broken) + int((~self._state.alive_K).sum())
        )

    def _outcomes(self, broke: list[int], seconds: float) -> list[Outcome]:
        return outcomes(
            self._recipes,
            broke,
            self._pruned,
            {step: measured_3K.tolist() for step, measured_3K in self._evals.items()},
            [(step, loss_K.tolist(), norm_K.tolist()) for step, loss_K, norm_K in self._records],
            seconds,
        )
