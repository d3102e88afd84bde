"""The report's tables as plain cells: the same rows in the terminal, in Markdown and on the page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..questions.comparison import Comparison
from ..questions.contrast import Contrast
from ..questions.options import SHIFT_TOLERANCE, OptionShift
from ..questions.plane import Joint
from ..questions.searched import Searched
from ..statistics.curve import scale_name
from ..statistics.interval import Estimate
from ..statistics.prediction import predict
from ..statistics.scaling import Law
from . import words
from .content import Content

Rows = list[list[str]]
VERDICT_COLUMN = 1
SMALL = 0.02
"""Losses below this are shown with more decimals than three."""


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table; the first column is text, the others are numbers."""

    title: str
    columns: list[str]
    rows: Rows
    about: str = ""


def tables(content: Content, brief: bool = False) -> Iterator[Table]:
    """The tables in the order in which they are read, verdicts first; `brief` leaves out the widest."""
    for axis, hyperparameter in dict.fromkeys((c.axis, c.hyperparameter) for c in content.comparisons):
        family = [c for c in content.comparisons if (c.axis, c.hyperparameter) == (axis, hyperparameter)]
        yield verdict_table(family, axis, hyperparameter)
        yield optimum_table(family, axis)
        if content.target is not None:
            yield target_table(family, axis, content.target)
        if not brief and any(c.drift.metrics is not None for c in family):
            yield metric_table(family, axis)
        if not brief and any(c.accuracy for c in family):
            yield accuracy_table(family, axis)
        if not brief and any(c.busiest_expert for c in family):
            yield load_table(family, axis)
    if content.joint:
        yield joint_table(content.joint)
    if content.options:
        yield option_table(content.options)
    if content.contrasts and not brief:
        yield contrast_table(content.contrasts)
    if content.searches:
        yield search_table(content.searches)


def verdict_table(family: Sequence[Comparison], axis: str, hyperparameter: str) -> Table:
    title = f"Does the best {words.readable(hyperparameter)} survive scaling the {words.readable(axis)}?"
    columns = ["what", "verdict", "slope per doubling", "transfer penalty"]
    return Table(title, columns, [_verdict_row(c) for c in family], _tolerances(family))


def _tolerances(family: Sequence[Comparison]) -> str:
    """What each transfer was allowed to cost."""
    limits = sorted({c.drift.allowed.loss for c in family})
    told = " to ".join(dict.fromkeys(f"{limit:.2g}" for limit in (limits[0], limits[-1])))
    return f"Transferring may cost {told}: the stricter of the tolerance and its share of a doubling's gain."


def optimum_table(family: Sequence[Comparison], axis: str) -> Table:
    scales = sorted({optimum.scale for c in family for optimum in c.drift.optima})
    rows = []
    for comparison in family:
        drift = comparison.drift
        cells = {
            optimum.scale: f"{words.optimum(optimum)} {words.sparkline(curve)}"
            for optimum, curve in zip(drift.optima, drift.curves, strict=True)
        }
        rows.append([words.label(comparison), *(cells.get(scale, "") for scale in scales)])
    return Table(
        f"Optimum by {words.readable(axis)}, and the loss against the values tried",
        ["what", *map(scale_name, scales)],
        rows,
    )


def target_table(family: Sequence[Comparison], axis: str, target: float) -> Table:
    """What the lines say of the large run."""
    rows = []
    for comparison in family:
        found = predict(comparison.drift, target)
        cells = ["–", "–"]
        if found is not None:
            ends = found.log2_optimum.interval
            cells = [
                f"{words.power_of_two(found.log2_optimum.value)} {words.interval(ends)}",
                " ".join(words.penalty(found.penalty)).strip(),
            ]
        rows.append([words.label(comparison), *cells])
    return Table(
        f"At {words.readable(axis)} {scale_name(target)}, if the optimum goes on as it did",
        ["what", "log2 of the optimum", "transferring costs"],
        rows,
        "Costs: with the valley of the largest scale that was trained.",
    )


def metric_table(family: Sequence[Comparison], axis: str) -> Table:
    """The three metrics of arXiv:2605.21486, with the total shift and the noise."""
    best = _lowest_asymptotes(family)
    rows = []
    for comparison in family:
        drift, metrics = comparison.drift, comparison.drift.metrics
        if metrics is None:
            continue
        law = metrics.law
        excess = None if law is None else law.asymptote - best[words.group(comparison)]
        rows.append([
            words.label(comparison),
            _estimate(drift.shift),
            words.number(metrics.fit_error, 2),
            f"{words.signed(metrics.robustness)} {words.interval(metrics.robustness_interval)}",
            "–" if law is None else _asymptote(law),
            "–" if law is None else words.number(excess, words.loss_digits(law.asymptote)),
            "–" if drift.noise is None else f"{drift.noise:.2g}",
        ])  # fmt: skip
    columns = ["what", "total shift", "fit error", "robustness exponent", "asymptotic loss", "above the best",
               "noise of a run"]  # fmt: skip
    return Table(
        f"Metrics of transfer across {words.readable(axis)}",
        columns,
        rows,
        "Total shift and fit error in octaves; robustness: exponent of the scale in the curvature of the "
        "loss; asymptotic loss, how far above the best parametrization's, and noise in the losses' unit.",
    )


def accuracy_table(family: Sequence[Comparison], axis: str) -> Table:
    about = "Share of the labelled positions of the validation set, mean over seeds."
    return _beside_loss("Accuracy", about, {words.label(c): c.accuracy for c in family}, axis)


def load_table(family: Sequence[Comparison], axis: str) -> Table:
    about = (
        "Tokens of a block's busiest expert over those of an average one, on the validation set, mean over "
        "blocks and seeds: 1 where loads are even."
    )
    measured = {words.label(c): c.busiest_expert for c in family}
    return _beside_loss("Load of the busiest expert", about, measured, axis)


def _beside_loss(what: str, about: str, measured: Mapping[str, Mapping[float, float]], axis: str) -> Table:
    scales = sorted({scale for found in measured.values() for scale in found})
    rows = [
        [label, *(words.number(found.get(scale)) for scale in scales)]
        for label, found in measured.items()
        if found
    ]
    title = f"{what} by {words.readable(axis)}, at the value with the lowest loss"
    return Table(title, ["what", *map(scale_name, scales)], rows, about)


def option_table(options: Sequence[OptionShift]) -> Table:
    """Of each option the shift it brings, over all scales and at each."""
    scales = sorted({scale for entry in options for scale, _ in entry.shifts})
    rows = []
    for entry in options:
        at = dict(entry.shifts)
        value, reference = words.told_value(entry.value), words.told_value(entry.reference)
        which = f"{words.readable(entry.option)} {value} against {reference}"
        rows.append([
            f"{which}: {words.option_family(entry)}",
            entry.verdict,
            _estimate(entry.shift),
            *(_estimate(at.get(scale)) for scale in scales),
            _loss_difference(entry.loss, entry.reference_of),
        ])  # fmt: skip
    names = {words.readable(entry.reference_of.hyperparameter) for entry in options}
    return Table(
        f"Does the best {' or '.join(sorted(names))} survive the option?",
        ["what", "verdict", "shift", *(f"at {scale_name(scale)}" for scale in scales), "best loss"],
        rows,
        f"Shift of the optimum in octaves; survives: its 90 % interval lies within ±{SHIFT_TOLERANCE}, "
        "moves: its 95 % interval outside, or a scale's of all together. "
        "Best loss: the difference at the largest scale.",
    )


def _lowest_asymptotes(family: Sequence[Comparison]) -> dict[str, float]:
    lowest: dict[str, float] = {}
    for comparison in family:
        metrics = comparison.drift.metrics
        if metrics is not None and metrics.law is not None:
            group = words.group(comparison)
            lowest[group] = min(lowest.get(group, metrics.law.asymptote), metrics.law.asymptote)
    return lowest


def joint_table(joint: Sequence[Joint]) -> Table:
    rows = [
        [
            words.family_label(entry.family, entry.fixed),
            words.readable(entry.hyperparameter),
            *(_estimate(entry.plane.slopes[axis]) for axis in ("width", "depth")),
            words.number(entry.plane.misfit, 2),
            " ".join(words.penalty(entry.plane.penalty)),
        ]
        for entry in joint
    ]
    columns = ["what", "of the best", "slope, width", "slope, depth", "misfit", "transfer penalty"]
    return Table("Width and depth together: a plane through all optima", columns, rows)


def contrast_table(contrasts: Sequence[Contrast], of: Sequence[str] = ()) -> Table:
    """`of` are the places of the first and the second, where they are two."""
    rows = []
    for entry in contrasts:
        last = entry.losses[-1] if entry.losses else None
        rows.append([
            f"{words.label(entry.second)} against {words.label(entry.first)}",
            _transfers(entry),
            words.readable(entry.first.axis),
            _estimate(entry.drift),
            _loss_difference(entry.penalty, entry.first),
            "–"
            if last is None
            else f"{scale_name(last.scale)}: {_loss_difference(last.difference, entry.first)}",
        ])  # fmt: skip
    columns = [
        "what",
        "transfers",
        "across",
        "slope, in size",
        "transfer penalty",
        "best loss at the largest",
    ]
    which = f" Named first: {of[1]}; held against: {of[0]}." if len(of) > 1 else ""
    return Table(
        "One against the other",
        columns,
        rows,
        "What is named first minus what it is held against: below 0 is better; penalties over the scales "
        f"that both have.{which}",
    )


def _transfers(entry: Contrast) -> str:
    if entry.penalty is None:
        return "–"
    return {"first": "worse", "second": "better", None: "alike" if entry.alike else "open"}[entry.better]


def search_table(searches: Sequence[Searched]) -> Table:
    names = list(dict.fromkeys(name for entry in searches for name in entry.best))
    rows = [
        [
            words.family_label(entry.family, entry.fixed),
            f"{entry.points}, {words.fates(entry)}",
            f"{entry.loss:.4f}",
            *(
                f"{entry.best[name]:.3g} ({entry.near[name][0]:.2g} to {entry.near[name][1]:.2g})"
                for name in names
            ),
        ]
        for entry in searches
    ]
    return Table(
        "Best of the search",
        ["what", "points", "loss", *map(words.readable, names)],
        rows,
        "In brackets: the range among the points within 0.02 of the best.",
    )


def notes(content: Content) -> list[str]:
    """What to mind, a line per reason."""
    return [f"{words.heading(c)}: {reason}" for c in content.comparisons for reason in c.drift.reasons]


def _verdict_row(comparison: Comparison) -> list[str]:
    drift = comparison.drift
    return [
        words.label(comparison),
        drift.verdict,
        " ".join(words.slope(drift.slope)),
        " ".join(words.penalty(drift.penalty)),
    ]


def _asymptote(law: Law) -> str:
    digits = words.loss_digits(law.asymptote, law.asymptote_interval)
    return f"{words.number(law.asymptote, digits)} {words.interval(law.asymptote_interval, digits)}"


def _loss_difference(estimate: Estimate | None, of: Comparison) -> str:
    """To three decimals; where the losses themselves are small, with as many as show something."""
    losses = [abs(optimum.loss) for optimum in of.drift.optima if optimum.loss is not None]
    if estimate is None or max(losses, default=1.0) >= SMALL:
        return _estimate(estimate, 3)
    return _estimate(estimate, words.loss_digits(estimate.value, estimate.interval))


def _estimate(estimate: Estimate | None, digits: int | None = 2) -> str:
    if estimate is None:
        return "–"
    value = f"{words.bound(estimate)}{words.signed(estimate.value, digits)}"
    return f"{value} {words.interval(estimate.interval, digits)}"
