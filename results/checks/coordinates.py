"""Coordinate checks judged: the exponent of a measured size against scale, and whether it is the one wanted.

S scales, N seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...models.recipe.family import Family
from ..statistics.interval import student

TOLERANCE = 0.25
"""A row passes within this of its exponent: what finite widths leave, and half of the smallest difference
between rules that the tables know (1/sqrt(m) against 1)."""

MAX_HALF_WIDTH = 0.5
"""An exponent that is known no better says nothing, unless it is off by more: more seeds are needed."""

Verdict = Literal["passes", "fails", "unclear"]

COORDCHECK_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity of one module along one axis. `sizes` are root mean squares over coordinates and seeds.

    `exponent` is None where a size is zero or not finite: such a row fails. `interval` is None there and
    where a single seed says nothing of the error.
    """

    module: str
    role: str
    quantity: str
    axis: str
    expected: float
    at_most: bool
    scales: tuple[float, ...]
    sizes: tuple[float | None, ...]
    exponent: float | None
    interval: tuple[float, float] | None
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The coordinate check of one family of trials."""

    family: Family
    learning_rate: float
    steps: int
    seeds: int
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        return self.family.title

    @property
    def failures(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.verdict == "fails")

    @property
    def unclear(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.verdict == "unclear")

    @property
    def passed(self) -> bool:
        """No row fails, and most of them say something."""
        return not self.failures and 2 * len(self.unclear) < len(self.rows)


def judge_row(
    *, module: str, role: str, quantity: str, axis: str, expected: float, at_most: bool,
    values: Mapping[float, Sequence[float]],
) -> Row:  # fmt: skip
    """Fits log2 of the size on log2 of the scale; `values` are one number per seed for each scale.

    The interval is 95 % over seeds (jackknife). The row fails when all of it is further than TOLERANCE
    from the expected exponent, or with `at_most` above it; it is unclear where the interval is too wide.
    """
    scales = tuple(sorted(values))
    squares_SN = np.square(np.array([values[scale] for scale in scales], dtype=float))
    sizes = np.sqrt(squares_SN.mean(axis=1))
    usable = bool(np.isfinite(squares_SN).all() and (squares_SN > 0).all())
    exponent, interval = _fit(np.log2(scales), squares_SN) if usable else (None, None)
    return Row(
        module=module,
        role=role,
        quantity=quantity,
        axis=axis,
        expected=expected,
        at_most=at_most,
        scales=scales,
        sizes=tuple(float(size) if np.isfinite(size) else None for size in sizes),
        exponent=exponent,
        interval=interval,
        verdict=_verdict(exponent, interval, expected, at_most),
    )


def coordcheck_object(checks: Sequence[Check], faults: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON contract of `coordcheck`; never NaN. `faults` are what of a user's model is not as handed."""
    return {
        "schema": COORDCHECK_SCHEMA,
        "tolerance": TOLERANCE,
        "passed": all(check.passed for check in checks) and not faults,
        "faults": list(faults),
        "checks": [_check_object(check) for check in checks],
    }


def _check_object(check: Check) -> dict[str, Any]:
    known = asdict(check)
    del known["family"]
    return {**check.family._asdict(), **known, "passed": check.passed}


def checks_from_object(record: Any) -> tuple[Check, ...]:  # noqa: ANN401 - parsed JSON
    """What `coordcheck_object` wrote. Raises KeyError, TypeError or ValueError for anything else."""
    if record["schema"] != COORDCHECK_SCHEMA:
        raise ValueError(f"schema {record['schema']} is not {COORDCHECK_SCHEMA}")
    checks = []
    for entry in record["checks"]:
        rows: list[dict[str, Any]] = [
            {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
            for row in entry["rows"]
        ]
        family = Family(*(entry[name] for name in Family._fields))
        left = {*Family._fields, "rows", "passed"}
        known = {name: value for name, value in entry.items() if name not in left}
        checks.append(Check(family=family, **known, rows=tuple(Row(**row) for row in rows)))
    return tuple(checks)


def _fit(
    log2_scale_S: NDArray[np.float64], squares_SN: NDArray[np.float64]
) -> tuple[float, tuple[float, float] | None]:
    """The exponent and its interval, which a single seed does not give.

    Squares are averaged over seeds before the logarithm: heavy tails over few heads would otherwise bias
    small models low.
    """
    seeds = squares_SN.shape[1]
    exponent = _slope(log2_scale_S, squares_SN)
    if seeds < 2:
        return exponent, None
    left_out = np.array([_slope(log2_scale_S, np.delete(squares_SN, seed, axis=1)) for seed in range(seeds)])
    error = np.sqrt((seeds - 1) / seeds * ((left_out - left_out.mean()) ** 2).sum())
    half = student(seeds - 1) * float(error)
    return exponent, (exponent - half, exponent + half)


def _slope(log2_scale_S: NDArray[np.float64], squares_SN: NDArray[np.float64]) -> float:
    return float(np.polyfit(log2_scale_S, np.log2(squares_SN.mean(axis=1)) / 2, 1)[0])


def _verdict(
    exponent: float | None, interval: tuple[float, float] | None, expected: float, at_most: bool
) -> Verdict:
    if exponent is None:
        return "fails"
    if interval is None:
        return "unclear"
    low, high = interval
    if low > expected + TOLERANCE or (high < expected - TOLERANCE and not at_most):
        return "fails"
    return "unclear" if high - low > 2 * MAX_HALF_WIDTH else "passes"
