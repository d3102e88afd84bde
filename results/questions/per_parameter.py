"""Tokens for each parameter, as a sweep was made of them: what whole steps made of that is near it."""

import numpy as np
import pandas as pd

PER_PARAMETER = "tokens_per_parameter"
APART_SHARE = 0.05
"""From 10 steps on, whole steps are less than this from what was asked for; what is further was meant."""
DIGITS = 3


def per_parameter(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the column, where all are proxies of ours and it is not there yet."""
    ours = {"tokens", "parameters", "vocab_size"} <= {*rows} and PER_PARAMETER not in rows and len(rows)
    if not ours or rows[["tokens", "parameters", "vocab_size"]].isna().any(axis=None):
        return rows
    ratio = (rows["tokens"] / rows["parameters"]).to_numpy(dtype=float)
    found, place = np.unique(ratio, return_inverse=True)
    group = np.concatenate([[0], np.cumsum(np.diff(np.log(found)) > APART_SHARE)])
    means = [float(f"{np.exp(np.log(found[group == g]).mean()):.{DIGITS}g}") for g in range(group[-1] + 1)]
    return rows.assign(**{PER_PARAMETER: np.array(means)[group[place]]})
