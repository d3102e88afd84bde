"""How the best loss falls with scale, and the three metrics of transfer.

The metrics are those of arXiv:2605.21486: how well a law fits the optimum, how robust the loss is to an
error of that law, and what a parametrization costs asymptotically. The estimators are our own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .curve import Floats
from .interval import Interval, percentiles
from .optimum import Fit

LEAST, MOST = 0.02, 4.0
"""Exponents are looked for between these; an interval that reaches one of them is open there."""
COARSE, FINE, NARROWINGS, EDGE = 40, 9, 9, 1.2
MIN_SCALES = 3
LEAST_BENT = 1e-3
"""Of the family's most bent valley."""
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
    the optimum (per octave squared), with its interval; above 0, larger models forgive less.
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
    bent_RS = np.stack([fit.curvature_R for fit in fits], axis=1)
    least = LEAST_BENT * float(np.median(bent_RS, axis=0).max())  # some draws are not bent at all
    curvature_RS = np.log2(np.maximum(bent_RS, least)) if least > 0 else np.zeros_like(bent_RS)
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


def _law(fits: Sequence[Fit]) -> Law | None:
    """None where the best loss does not fall with the scale: any exponent fits that."""
    scale = np.array([fit.curve.scale for fit in fits])
    loss_RS = np.array([[fit.loss for fit in fits]], dtype=float)
    drawn_RS = np.stack([fit.loss_R[::LAW_THINNING] for fit in fits], axis=1)
    exponent, (asymptote, amplitude, misfit) = _fitted(scale / scale[0], loss_RS)
    if amplitude[0] <= 0:
        return None
    exponent_R, (asymptote_R, _, _) = _fitted(scale / scale[0], drawn_RS)
    low, high = percentiles(exponent_R, float(exponent[0]))
    return Law(
        asymptote=float(asymptote[0]),
        asymptote_interval=percentiles(asymptote_R, float(asymptote[0])),
        amplitude=float(amplitude[0]),
        exponent=float(exponent[0]),
        exponent_interval=(
            None if low < LEAST * EDGE else low,
            None if high > MOST / EDGE else high,
        ),
        misfit_nats=float(misfit[0]),
    )


def _fitted(ratio: Floats, loss_RS: Floats) -> tuple[Floats, tuple[Floats, Floats, Floats]]:
    """Each row's exponent; and asymptote, amplitude and root mean square misfit with it.

    For an exponent the rest is linear. Each grid lies around the best of the one before.
    """
    row = np.arange(len(loss_RS))
    log_GR = np.repeat(np.linspace(np.log(LEAST), np.log(MOST), COARSE)[:, None], len(loss_RS), axis=1)
    for _ in range(NARROWINGS):
        best = _linear(ratio, loss_RS, np.exp(log_GR))[2].argmin(axis=0)
        low = log_GR[np.maximum(best - 1, 0), row]
        high = log_GR[np.minimum(best + 1, len(log_GR) - 1), row]
        log_GR = np.linspace(low, high, FINE)
    exponent = np.exp((low + high) / 2)
    return exponent, _linear(ratio, loss_RS, exponent)


def _linear(ratio: Floats, loss_RS: Floats, exponent: Floats) -> tuple[Floats, Floats, Floats]:
    """Asymptote, amplitude and misfit by least squares, for one exponent of each row or a grid of them
    [G, R]; the asymptote is kept at or above zero where losses are: a loss has no lower bound below it."""
    power = ratio ** -exponent[..., None]
    mean, loss_R = power.mean(axis=-1), loss_RS.mean(axis=1)
    centered = power - mean[..., None]
    amplitude = np.maximum((loss_RS * centered).sum(axis=-1) / (centered**2).sum(axis=-1), 0.0)
    asymptote = loss_R - amplitude * mean
    below = (asymptote < 0) & (loss_RS > 0).all(axis=1)
    through_zero = (loss_RS * power).sum(axis=-1) / (power**2).sum(axis=-1)
    amplitude = np.where(below, through_zero, amplitude)
    asymptote = np.where(below, 0.0, asymptote)
    left = loss_RS - asymptote[..., None] - amplitude[..., None] * power
    return asymptote, amplitude, np.sqrt((left**2).mean(axis=-1))
