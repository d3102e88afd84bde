"""`export --ladder`: runs between the proxies and the large run, with what they cost and what they bring."""

from collections.abc import Sequence
from pathlib import Path

from ...models.recipe.fault import NOTHING_TO_REPORT, Fault
from ...results.questions.comparison import Comparison
from ...results.questions.ladder import STEP_DOUBLINGS, Rung, ladder
from ...results.report import words
from ...results.statistics.curve import scale_name
from ...sweeps.trial import Trial
from ..evidence.suggestion import added
from ..planning.duration import duration
from .export import Target

FOLLOWED = ("width", "depth", "experts", "granularity")
"""Fields of a target that rungs may lead to."""


class NoLadderError(Fault):
    """There is nothing between; the message says why."""

    exit_code = NOTHING_TO_REPORT


def ladder_text(directories: Sequence[Path], comparison: Comparison, target: Target) -> tuple[str, list[str]]:
    """A sweep file of the runs, and lines that say what they bring.

    Raises NoLadderError, and DirectoryError for measurements of no sweep.
    """
    axis = comparison.axis
    if axis not in FOLLOWED:
        followed = ", ".join(FOLLOWED[:-1]) + f" or {FOLLOWED[-1]}"
        raise NoLadderError(f"--ladder: follows {followed}, and these measurements follow {axis}")
    scale = getattr(target, axis)
    if scale is None:
        raise Fault(f"--ladder: give the large run's --{axis}, which these measurements follow")
    now, rungs = ladder(comparison, scale)
    if now is None:
        raise NoLadderError("--ladder: fewer than two scales have an optimum to go on from")
    if not rungs:
        raise NoLadderError(
            f"--ladder: {axis} {scale} is at most {STEP_DOUBLINGS:g} doublings beyond what was measured; the "
            f"optimum there is told to {now:.2f} octaves"
        )
    head = f"Proposed by mutransfer export --ladder: {{}} trials on the way to {axis} {scale}."
    found = added(directories, [rung.wanted for rung in rungs], head, [words.label(comparison)])
    if found is None:
        raise NoLadderError("--ladder: its runs are there already; report on them together")
    text, trials = found
    told = [f"{axis} {scale}: the line through the optima tells its own to within {now:.2f} octaves (95 %)"]
    return text, [*told, *(_told(rung, trials) for rung in rungs)]


def _told(rung: Rung, trials: Sequence[Trial]) -> str:
    axis, scale = rung.wanted.comparison.axis, rung.wanted.scale
    own = [trial.program for trial in trials if trial.program.point()[axis] == scale]
    if not own:
        return f"{axis} {scale_name(scale)}: no such shape fits; it is left out"
    flops, seconds = sum(one.cost().flops for one in own), sum(one.seconds("cuda", 1) for one in own)
    values = ", ".join(f"2^{value:g}" for value in rung.wanted.log2_values)
    return (
        f"{axis} {scale_name(scale)}: {len(own)} trials at {values}, {own[0].cost().parameters:,} "
        f"parameters, {flops / 1e12:,.1f} TFLOPs, about {duration(seconds)} of a GPU (a roofline "
        f"model); then to within {rung.reach:.2f} octaves"
    )
