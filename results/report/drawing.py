"""What all pictures share: sizes, colours, axes in powers of two, and the way to PNG and SVG."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from ..statistics.curve import LARGEST_NAMED, MAGNITUDES
from . import words

PANEL_WIDTH, PANEL_HEIGHT = 430, 260
PARAMETRIZATION_COLORS = ["#c8553d", "#2f6f9f", "#edae49", "#66a182", "#8d6a9f"]
# The ends are left out: they vanish on a white or on a black page.
SCALES = alt.SchemeParams(name="viridis", extent=[0.2, 0.9])
INK = "#767676"  # readable on white and on black
PNG_SCALE = 1.5
TITLE_LETTERS = 60


def configured(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The chart with the house's looks: no frame, quiet axes, colours that hold on light and dark."""
    quiet = {"labelColor": INK, "titleColor": INK, "gridColor": INK, "gridOpacity": 0.18,
             "domainColor": INK, "tickColor": INK, "titleFontWeight": "normal"}  # fmt: skip
    titles = {"color": INK, "anchor": "start", "fontWeight": "normal", "fontSize": 13, "offset": 10}
    with alt.data_transformers.enable("default", max_rows=None):
        specification: dict[str, Any] = chart.to_dict(validate=False)
    specification["background"] = "transparent"
    specification["config"] = {
        "font": "system-ui, sans-serif",
        "view": {"stroke": "transparent"},
        "axis": quiet,
        "legend": {"labelColor": INK, "titleColor": INK, "titleFontWeight": "normal"},
        "title": titles,
    }
    return specification


def drawn(specification: Mapping[str, Any]) -> tuple[str, bytes]:
    """The picture on white, for papers: as SVG, and rasterised from it as PNG."""
    svg = str(vl_convert.vegalite_to_svg({**specification, "background": "white"}))
    return svg, bytes(vl_convert.svg_to_png(svg, scale=PNG_SCALE))


def log2_axis(values: pd.Series) -> alt.Axis:
    """Ticks at whole powers of two, written as 2⁻⁵."""
    powers = range(math.ceil(values.min() - 0.5), math.floor(values.max() + 0.5) + 1)
    return alt.Axis(
        values=list(powers), labelExpr=tick_labels({power: words.superscript(power) for power in powers})
    )


def tick_labels(texts: Mapping[int, str]) -> str:
    """A Vega expression that looks the label of a whole tick up."""
    table = ", ".join(f"'{value}': '{text}'" for value, text in texts.items())
    return f"({{{table}}})['' + round(datum.value)]"


def title_lines(text: str) -> list[str]:
    """A panel's title in lines that are no wider than the panel."""
    return textwrap.wrap(text, TITLE_LETTERS)


def scale_labels(value: str = "datum.value") -> str:
    """A Vega expression that writes the scale of a tick as `scale_name` does."""
    rounded, plain = f"toNumber(format({value}, '.6g'))", f"format({value}, '.6~g')"
    label = plain
    for size, letter in reversed(MAGNITUDES):
        label = f"{rounded} >= {size:.0f} ? format({rounded} / {size:.0f}, '.6~g') + '{letter}' : {label}"
    return f"{rounded} >= {LARGEST_NAMED:.0f} ? {plain} : {label}"
