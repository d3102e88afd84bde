"""Learning rates as people write them into the names of columns, and into cells."""

import re

import numpy as np

WIDE = 3
"""A table with a column for each learning rate has so many of them."""
NAMED = re.compile(r"^(?:lr|eta|η|learning[ _]rate)(\s*[=:@]\s*|_|\s+)|^loss\s*@\s*")
"""What may stand before a rate in the name of a column."""
SURE = ("=", "lr_")
"""After what else a whole number may be a step, an epoch or a layer."""
POWER = re.compile(r"^(2|10)\s*(?:\^|\*\*)\s*\(?([-−]?[\d.]+)\)?$")


def rate(name: object) -> float | None:
    """A positive number, or a power of two or ten, as the name of a column."""
    told = str(name).strip().lower().replace("−", "-")
    before = NAMED.match(told)
    text = told if before is None else told[before.end() :]
    try:
        power = POWER.match(text)
        value = float(power[1]) ** float(power[2]) if power else float(text)
    except (ValueError, OverflowError):
        return None
    if before is not None and value % 1 == 0 and not before[0].strip().endswith(SURE):
        return None
    return float(value) if 0 < value < np.inf else None
