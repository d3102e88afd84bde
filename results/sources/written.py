"""Numbers as people write them, into the names of columns and into cells: `2^-7`, `1/16`, `125M`, `1,024`."""

import re
from decimal import Decimal

import numpy as np

WIDE = 3
"""A table with a column for each learning rate has so many of them."""
NAMED = re.compile(r"^(?:lr|eta|η|learning[ _]rate)(\s*[=:@]\s*|_|\s+)|^loss\s*@\s*")
"""What may stand before a rate in the name of a column."""
SURE = ("=", "lr_")
"""After what else a whole number may be a step, an epoch or a layer."""
POWER = re.compile(r"^(2|10)\s*(?:\^|\*\*)\s*\(?([-−]?[\d.]+)\)?$")
FRACTION = re.compile(r"^1\s*/\s*(\d+)$")
"""Others may be dates, or parts of a whole."""
MAGNITUDE = re.compile(r"^(\d+\.?\d*|\.\d+)\s?([kmbt])$", re.IGNORECASE)
TIMES = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
GROUPED = re.compile(r"^[1-9]\d{0,2}([,_ \u00a0\u2009\u202f])\d{3}(\1\d{3})*$")
"""A whole number whose thousands are marked off."""


def rate(name: object) -> float | None:
    """A positive number, a fraction, or a power of two or ten, as the name of a column or in a cell."""
    told = str(name).strip().lower().replace("−", "-")
    before = NAMED.match(told)
    text = told if before is None else told[before.end() :]
    try:
        if power := POWER.match(text):
            value = float(power[1]) ** float(power[2])
        elif parts := FRACTION.match(text):
            value = 1 / int(parts[1])
        else:
            value = float(text)
    except (ValueError, OverflowError, ZeroDivisionError):
        return None
    if before is not None and value % 1 == 0 and not before[0].strip().endswith(SURE):
        return None
    return float(value) if 0 < value < np.inf else None


def is_worked_out(cell: object) -> bool:
    """Whether a cell holds a fraction or a power, which `rate` reads and nothing else does."""
    text = str(cell).strip().replace("−", "-")
    return isinstance(cell, str) and bool(POWER.match(text) or FRACTION.match(text))


def magnitude(cell: object) -> float | None:
    """What `125M` or `1.3B` says, as sizes of models and numbers of tokens are written."""
    found = MAGNITUDE.match(cell.strip()) if isinstance(cell, str) else None
    return float(Decimal(found[1]) * TIMES[found[2].lower()]) if found else None


def count(cell: object) -> float | None:
    """Of what is whole: a `magnitude`, or a number with its thousands marked off, as `1,024`."""
    if isinstance(cell, str) and (found := GROUPED.match(cell.strip())):
        return float(cell.replace(found[1], ""))
    return magnitude(cell)
