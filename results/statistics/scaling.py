"""How the best loss falls with scale, and the three metrics of transfer.

The metrics are those of arXiv:2605.21486: how well a law fits the optimum, how robust the loss is to an
error of that law, and what a parametrization costs asymptotically. The estimators are our own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curve import Floats
from .optimum import Fit, Interval

EXPONENTS = np.linspace(0.1, 2.0, 20)
MIN_SCALES = 3
LAW_THINNING = 8
"""An eighth of the draws is enough for the law's intervals, which are wide."""


@dataclass(frozen=True, slots=True)
class Law:
    """loss = asymptote + amplitude * (scale / smallest)^-exponent, in nats, with 95 % intervals."""

    asymptote: float
    asymptote_interval: Interval
    amplitude: float
    exponent: float
    exponent_interval: Interval
    misfit_nats: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a family's optima say of transfer beyond the slope.

    `fit_error`: octaves, root mean square of the error in predicting each scale's log2 optimum by the
    power law through the others. `robustness`: exponent of the scale in the loss's second derivative at
    the optimum (nats per octave squared), with its interval; above 0, larger models forgive less.
    `law`: the best loss against scale, None with fewer than four scales.
    """

    fit_error: float
    robustness: float
    robustness_interval: Interval
    law: Law | None


def metrics(fits: Sequence[Fit]) -> Metrics | None:
    """Of the usable fits of one family, ascending in scale; None with fewer than three."""
    if len(fits) < MIN_SCALES:
        return None
    t = np.log2([fit.curve.scale for fit in fits])
    optimum = np.array([fit.vertex for fit in fits])
    curvature_RS = np.stack([np.log2(np.maximum(fit.curvature_R, 1e-4)) for fit in fits], axis=1)
    lever = (t - t.mean()) / ((t - t.mean()) @ (t - t.mean()))
    robustness_R = curvature_RS @ lever
    low, high = np.percentile(robustness_R, [2.5, 97.5])
    return Metrics(
        fit_error=_left_out_error(t, optimum),
        robustness=float(np.median(robustness_R)),
        robustness_interval=(float(low), float(high)),
        law=_law(fits) if len(fits) > MIN_SCALES else None,
    )


def _left_out_error(t: Floats, optimum: Floats) -> float:
    """Root mean square of what a line through the other scales misses each scale's optimum by."""
    design = np.stack([np.ones_like(t), t], axis=1)
    hat = design @ np.linalg.pinv(design)
    residual = optimum - hat @ optimum
    return float(np.sqrt(np.mean((residual / (1 - np.diag(hat))) ** 2)))


def _law(fits: Sequence[Fit]) -> Law:
    scale = np.array([fit.curve.scale for fit in fits])
    loss_RS = np.array([[fit.loss for fit in fits]], dtype=float)
    drawn_RS = np.stack([fit.loss_R[::LAW_THINNING] for fit in fits], axis=1)
    asymptote, amplitude, exponent, misfit = _fitted(scale / scale[0], loss_RS)
    asymptote_R, _, exponent_R, _ = _fitted(scale / scale[0], drawn_RS)
    return Law(
        asymptote=float(asymptote[0]),
        asymptote_interval=_interval(asymptote_R),
        amplitude=float(amplitude[0]),
        exponent=float(exponent[0]),
        exponent_interval=_interval(exponent_R),
        misfit_nats=float(misfit[0]),
    )


def _fitted(ratio: Floats, loss_RS: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Asymptote, amplitude, exponent and root mean square misfit of each row, by trying exponents.

    The asymptote is kept at or above zero: a loss has no lower bound below it.
    """
    best = np.full(len(loss_RS), np.inf)
    found = np.zeros((3, len(loss_RS)))
    mean_R = loss_RS.mean(axis=1)
    for exponent in EXPONENTS:
        power = ratio**-exponent
        centered = power - power.mean()
        amplitude = np.maximum((loss_RS @ centered) / (centered @ centered), 0.0)
        asymptote = mean_R - amplitude * power.mean()
        through_zero = (loss_RS @ power) / (power @ power)
        amplitude = np.where(asymptote < 0, through_zero, amplitude)
        asymptote = np.maximum(asymptote, 0.0)
        misfit = ((loss_RS - asymptote[:, None] - amplitude[:, None] * power) ** 2).mean(axis=1)
        better = misfit < best
        best = np.where(better, misfit, best)
        for row, value in enumerate((asymptote, amplitude, np.full(len(best), exponent))):
            found[row] = np.where(better, value, found[row])
    return found[0], found[1], found[2], np.sqrt(best)


def _interval(values_R: Floats) -> Interval:
    low, high = np.percentile(values_R, [2.5, 97.5])
    return float(low), float(high)
