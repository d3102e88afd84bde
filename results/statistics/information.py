"""What one more trial is expected to tell, before it is trained.

R draws, L losses that may be measured
"""

import numpy as np

from .curve import Floats
from .optimum import Fit

LOSSES = 64


def expected_gain(fit: Fit, x: float, asked_R: Floats) -> float:
    """The variance of `asked_R`, draws of what is asked, that a trial at x is expected to remove.

    The curve's own draws are what may be measured there. Each measurement would leave the draws likely that
    pass near it: a Bayesian design by nested Monte Carlo (Chaloner and Verdinelli 1995).
    """
    assert fit.valley is not None
    loss_R = fit.valley.at(np.full(len(asked_R), x))
    noise = fit.valley.noise / float(np.median(fit.curve.runs)) ** 0.5
    drawn_L = loss_R[:: len(loss_R) // LOSSES]
    measured_L = drawn_L + noise * np.random.default_rng(9).standard_normal(len(drawn_L))
    told_LR = -0.5 * ((measured_L[:, None] - loss_R) / noise) ** 2
    weight_LR = np.exp(told_LR - told_LR.max(axis=1, keepdims=True))
    weight_LR /= weight_LR.sum(axis=1, keepdims=True)
    away_R = asked_R - asked_R.mean()
    left_L = weight_LR @ away_R**2 - (weight_LR @ away_R) ** 2
    return max(float(np.mean(away_R**2) - left_L.mean()), 0.0)
