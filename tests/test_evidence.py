"""docs/evidence.md says what the committed measurements say, and these are what their sweep files ask for."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import proxy_trial

from mutransfer.models.recipe.identity import WITHOUT_TRACE
from mutransfer.models.recipe.recipe import recipe_from_point
from mutransfer.results.questions.comparison import compare
from mutransfer.results.report.contract import report_object
from mutransfer.results.store.schema import ROWS
from mutransfer.sweeps.load import load_sweep
from mutransfer.sweeps.proxy import recipe_of

ROOT = Path(__file__).parent.parent
EVIDENCE = ROOT / "benchmarks" / "evidence"
SWEEPS = sorted(path.stem for path in EVIDENCE.glob("*.yaml"))


@pytest.mark.parametrize("kernels", ["", "Nehalem", "Haswell"])
def test_the_page_holds_every_table_as_computed(kernels: str) -> None:
    """Whatever kernels and threads add up in. Mend it with: python benchmarks/evidence_tables.py."""
    # Threads that wait for work sleep at once: spinning, they take four times the time where cores are few.
    threads = {"OPENBLAS_NUM_THREADS": "2", "OPENBLAS_THREAD_TIMEOUT": "4"}
    own = {"OPENBLAS_CORETYPE": kernels, **threads} if kernels else {}
    done = subprocess.run(
        [sys.executable, "benchmarks/evidence_tables.py"],
        cwd=ROOT,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=True,
    )
    page = (ROOT / "docs/evidence.md").read_text()
    tables = [block.strip() for block in done.stdout.split("### ") if block.strip()]
    assert len(tables) >= 10
    for table in tables:
        assert f"### {table}" in page


def test_the_published_slope_is_that_of_the_published_optima() -> None:
    """NVIDIA/Megatron-LM pull request 3058: AdamW under muP, best rates at widths 128 to 2048."""
    optima = [9.77e-4, 9.77e-4, 9.77e-4, 9.77e-4, 1.95e-3]
    slope = np.polyfit(range(5), np.log2(optima), 1)[0]
    page = (ROOT / "docs/evidence.md").read_text()
    assert f"| transformer, AdamW [b] | −1.00 | −1.05 | {slope:+.2f} |" in page


@pytest.mark.parametrize("name", ["width-gdn-sgd", "options"])
def test_rows_in_any_order_say_the_same(name: str) -> None:
    rows = pq.read_table(EVIDENCE / f"{name}.parquet").to_pandas()
    shuffled = rows.sample(frac=1, random_state=0).reset_index(drop=True)
    one, other = (report_object(compare(table, ROWS.names)) for table in (rows, shuffled))
    assert json.dumps(one) == json.dumps(other)


@pytest.mark.parametrize("name", SWEEPS)
def test_the_rows_are_the_sweep_files_trials(name: str) -> None:
    """All fields but the data's digest, which is that of the text of the Python that measured."""
    rows = pq.read_table(EVIDENCE / f"{name}.parquet").to_pylist()
    trials = load_sweep(str(EVIDENCE / f"{name}.yaml")).expansion.trials
    asked = [{**recipe_of(trial).point(), "data": None} for trial in trials]
    # Rows that are older than a field were trained with its old value.
    found = [{field: _held(row, field) for field in asked[0]} for row in rows]
    assert sorted(map(_key, found)) == sorted(map(_key, asked))


def _held(row: dict[str, Any], field: str) -> Any:  # noqa: ANN401 - a cell of any column
    if field == "data":
        return None
    value = row.get(field)
    return WITHOUT_TRACE.get(field) if value is None else value


def _key(point: dict[str, Any]) -> str:
    """The identity, without what the trial does not read: rows of older versions may differ in it."""
    return proxy_trial(recipe_from_point({**point, "data": "any"})).id
