"""Learning rates as people write them into the names of columns, and into cells."""

import re

import numpy as np

WIDE = 3
"""A table with a column for each learning rate has so many of them."""
NAMED = re.compile(r"^(?:loss\s*@\s*)?(?:(?:lr|eta|η|learning[ _]rate)\s*[=_:@]?\s*)?")
"""What may stand before a rate in the name of a column."""
POWER = re.compile(r"^(2|10)\s*(?:\^|\*\*)\s*\(?([-−]?[\d.]+)\)?$")


def rate(name: object) -> float | None:
    """A positive number, or a power of two or ten, as the name of a column."""
    text = NAMED.sub("", str(name).strip().lower()).replace("−", "-")
    try:
        power = POWER.match(text)
        value = float(power[1]) ** float(power[2]) if power else float(text)
    except (ValueError, OverflowError):
        return None
    return float(value) if 0 < value < np.inf else None
