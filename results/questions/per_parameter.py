"""Tokens for each parameter, as a sweep was made of them: what whole steps made of that is near it."""

import numpy as np
import pandas as pd

PER_PARAMETER = "tokens_per_parameter"
NEEDED = ("tokens", "parameters", "steps", "vocab_size")
DIGITS = 3


def per_parameter(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the column, where all are proxies of ours and it is not there yet.

    A number of steps was rounded by half a step at most: trials whose tokens for each parameter may be as
    many, so rounded, have their mean.
    """
    ours = PER_PARAMETER not in rows and len(rows) and {*NEEDED} <= {*rows}
    if not ours or rows[[*NEEDED]].isna().any(axis=None):
        return rows
    ratio = (rows["tokens"] / rows["parameters"]).to_numpy(dtype=float)
    half = ratio * 0.5 / rows["steps"].to_numpy(dtype=float)
    order = np.argsort(ratio, kind="stable")
    low, high = (ratio - half)[order], (ratio + half)[order]
    reached = np.maximum.accumulate(high)
    group = np.concatenate([[0], np.cumsum(low[1:] > reached[:-1])])
    means = [float(f"{ratio[order][group == one].mean():.{DIGITS}g}") for one in range(group[-1] + 1)]
    told = np.empty(len(rows))
    told[order] = np.array(means)[group]
    return rows.assign(**{PER_PARAMETER: told})
