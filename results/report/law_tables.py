"""Laws of several scales as tables."""

from collections.abc import Iterator, Mapping, Sequence

from ..questions.laws import Laws
from ..statistics.curve import scale_name
from ..statistics.interval import Estimate
from ..statistics.power_law import PowerLaw
from . import words
from .tables import Table


def law_tables(found: Sequence[Laws], at: Mapping[str, float]) -> Iterator[Table]:
    """A table of laws, one of what they say of cells that were held out, and one of the predictions."""
    columns = list(dict.fromkeys(name for entry in found for name in entry.over))
    told = [(_what(entry, name), law) for entry in found for name, law in entry.laws.items()]
    yield Table(
        f"The best values as a law of {', '.join(map(words.readable, columns))}",
        ["what", "law", *(f"exponent of {name}" for name in columns), "misses by", "cells"],
        [[what, *_law_row(law, columns)] for what, law in told],
        "Misses: octaves, root mean square over the cells whose optimum is inside its grid.",
    )
    held_out = [(what, one) for what, law in told if law is not None for one in law.held_out]
    if held_out:
        yield Table(
            "Fitted without the largest, predicted there",
            ["what", "held out", "cells", "predicted minus measured, octaves"],
            [
                [what, f"{one.column} {scale_name(one.value)}", str(one.cells), _octaves(one.error)]
                for what, one in held_out
            ],
        )
    if at:
        place = ", ".join(f"{words.readable(name)} {scale_name(value)}" for name, value in at.items())
        yield Table(
            f"At {place}, if the law goes on",
            ["what", "best value", "interval"],
            [[what, *_prediction(law, at)] for what, law in told],
        )


def law_notes(found: Sequence[Laws]) -> list[str]:
    """Why a law is missing, or what bounds it."""
    notes = []
    for entry in found:
        label = words.family_label(entry.family, entry.fixed)
        if entry.following:
            goes = ", ".join(map(words.readable, entry.following))
            over = ", ".join(entry.over)
            notes.append(f"{label}: {goes} goes along with {over}; the law holds where it does")
        if entry.unplaced:
            over = " or ".join(entry.over)
            notes.append(f"{label}: {entry.unplaced} trials have no {over} and are left out")
        for name, law in entry.laws.items():
            what, cells = _what(entry, name), len(entry.cells)
            if law is None:
                need = len(entry.over) + 1
                notes.append(
                    f"{what}: no law; it takes {need} of {cells} cells, not all on one line, "
                    "whose optimum is inside the grid"
                )
            elif law.bounded:
                notes.append(
                    f"{what}: {law.bounded} of {cells} cells have their optimum at an end of the grid"
                )
    return notes


def _what(entry: Laws, hyperparameter: str) -> str:
    label = words.family_label(entry.family, entry.fixed)
    readable = words.readable(hyperparameter)
    return readable if label == words.ALL_TRIALS else f"{readable}, {label}"


def _law_row(law: PowerLaw | None, columns: Sequence[str]) -> list[str]:
    if law is None:
        return ["–"] * (len(columns) + 3)
    exponents = dict(zip(law.columns, law.exponents, strict=True))
    factors = " · ".join(f"{_base(name)}^{words.number(exponents[name].value, 2)}" for name in law.columns)
    return [
        f"{2.0**law.log2_constant:.3g} · {factors}",
        *(_octaves(exponents[name]) if name in exponents else "–" for name in columns),
        words.number(law.misfit, 2),
        f"{law.cells} + {law.bounded} at an end" if law.bounded else str(law.cells),
    ]


def _base(name: str) -> str:
    """A product or quotient of columns in brackets, as the power is of all of it."""
    return f"({name})" if {"*", "/"} & {*name} else name


def _prediction(law: PowerLaw | None, at: Mapping[str, float]) -> list[str]:
    if law is None:
        return ["–", "–"]
    found = law.at([at[name] for name in law.columns])
    low, high = (f"{2.0**end:.3g}" for end in found.interval if end is not None)
    return [f"{2.0**found.value:.3g}", f"[{low}, {high}]"]


def _octaves(estimate: Estimate) -> str:
    return f"{words.signed(estimate.value)} {words.interval(estimate.interval)}"
