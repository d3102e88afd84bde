"""Any pattern of losses is judged, told and drawn: no exception, no NaN, no interval in reverse."""

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mutransfer.results.questions.comparison import compare
from mutransfer.results.questions.contrast import contrasts
from mutransfer.results.questions.laws import laws
from mutransfer.results.questions.refinement import refinement
from mutransfer.results.questions.suggestion import suggestion
from mutransfer.results.report.charts import charts
from mutransfer.results.report.contract import compare_object, report_object
from mutransfer.results.report.law_contract import law_object
from mutransfer.results.report.tables import contrast_table, verdict_table

LOSSES = st.one_of(
    st.none(),  # diverged
    st.just(3.0),
    st.floats(2.0, 4.0),
    st.floats(-1.0, 1.0),
    st.sampled_from([0.0, -0.0, 1e-300, 1e-12, 3 + 1e-15, 7.5, 1e6, 1e30, 1e100, -1e30]),
)


@st.composite
def sweeps(draw: st.DrawFn) -> pd.DataFrame:
    """One to seven scales, one to forty values each, one to three seeds; some trials are missing, and some
    were stopped early."""
    scales = draw(st.integers(1, 7))
    few, step = draw(st.integers(1, 40)), draw(st.sampled_from([0.1, 0.5, 1.0, 2.0]))
    rows = []
    for scale in range(scales):
        points = draw(st.integers(1, few))
        for seed in range(draw(st.integers(1, 3))):
            losses = draw(st.lists(LOSSES, min_size=points, max_size=points))
            there = draw(st.lists(st.integers(0, 9), min_size=points, max_size=points))
            rows += [
                (2.0 ** (5 + scale), 2.0 ** (step * (index - points)), seed, loss, kept == 1)
                for index, (loss, kept) in enumerate(zip(losses, there, strict=True))
                if kept
            ]
    columns = ["width", "learning_rate", "seed", "loss", "stopped"]
    frame = pd.DataFrame(rows or [(32.0, 0.1, 0, 3.0, False)], columns=columns)
    frame["loss"] = frame["loss"].astype(float).mask(frame["stopped"])
    status = np.where(frame.pop("stopped"), "pruned", np.where(frame["loss"].notna(), "finished", "diverged"))
    return frame.assign(status=status, architecture=None, optimizer="adamw", parametrization="mup")


def numbers(told: Any) -> Iterator[float]:  # noqa: ANN401 - parsed JSON
    if isinstance(told, dict):
        told = list(told.values())
    if isinstance(told, list):
        for one in told:
            yield from numbers(one)
    elif isinstance(told, float):
        yield told


def intervals(told: Any) -> Iterator[list[float | None]]:  # noqa: ANN401 - parsed JSON
    if isinstance(told, dict):
        for name, value in told.items():
            if name.endswith("interval") and value is not None:
                yield value
            yield from intervals(value)
    elif isinstance(told, list):
        for one in told:
            yield from intervals(one)


def hold(told: dict[str, Any]) -> None:
    plain = json.loads(json.dumps(told, allow_nan=False))
    assert all(map(math.isfinite, numbers(plain)))
    for low, high in intervals(plain):
        assert low is None or high is None or low <= high


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=sweeps())
def test_any_losses_are_judged_and_told(rows: pd.DataFrame) -> None:
    found = compare(rows, ["width", "learning_rate"])
    hold(report_object(found, target=1e6))
    hold(compare_object(contrasts(found, found), ["one", "other"]))
    for comparison in found:
        assert all("nan" not in cell for row in verdict_table([comparison], "width", "learning_rate").rows
                   for cell in row)  # fmt: skip
    contrast_table(contrasts(found, found), ["one", "other"])
    refinement(found, 0.3, 0.25)
    suggestion(found)
    hold(law_object(laws(rows, ["width", "learning_rate"], ["learning_rate"], ["width"]), {"width": 1e6}))


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=sweeps())
def test_any_losses_are_drawn(rows: pd.DataFrame) -> None:
    for picture in charts(compare(rows, ["width", "learning_rate"]), target=1e6).values():
        json.dumps(picture, allow_nan=False)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=sweeps(), batches=st.integers(1, 4))
def test_any_losses_have_a_surface_or_none(rows: pd.DataFrame, batches: int) -> None:
    rows = rows.assign(batch_size=[2.0 ** (index % batches) for index in range(len(rows))])
    tuned = ["learning_rate", "batch_size"]
    hold(law_object(laws(rows, ["width", *tuned], tuned, ["width"]), {"width": 1e6}))
