"""docs/evidence.md says what the committed measurements say, and these are what their sweep files ask for."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mutransfer.sweeps.load import load_sweep

ROOT = Path(__file__).parent.parent
EVIDENCE = ROOT / "benchmarks" / "evidence"
SWEEPS = sorted(path.stem for path in EVIDENCE.glob("*.yaml"))


def test_the_page_holds_every_table_as_computed() -> None:
    """Mend it with: python benchmarks/evidence_tables.py."""
    done = subprocess.run(
        [sys.executable, "benchmarks/evidence_tables.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    page = (ROOT / "docs/evidence.md").read_text()
    tables = [block.strip() for block in done.stdout.split("### ") if block.strip()]
    assert len(tables) >= 10
    for table in tables:
        assert f"### {table}" in page


@pytest.mark.parametrize("name", SWEEPS)
def test_the_rows_are_the_sweep_files_trials(name: str) -> None:
    """All fields but the data's digest, which is that of the text of the Python that measured."""
    rows = pq.read_table(EVIDENCE / f"{name}.parquet").to_pylist()
    trials = load_sweep(str(EVIDENCE / f"{name}.yaml")).expansion.trials
    points = [trial.recipe.canonical() for trial in trials]
    asked = {
        tuple(sorted((k, v) for k, v in point.items() if k in rows[0] and k != "data")) for point in points
    }
    names = [sorted(k for k in point if k in rows[0] and k != "data") for point in points]
    by_parametrization = {point["parametrization"]: used for point, used in zip(points, names, strict=True)}
    found = {tuple((k, row[k]) for k in by_parametrization[row["parametrization"]]) for row in rows}
    assert found == asked
