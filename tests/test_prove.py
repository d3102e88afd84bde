"""The script that proves a GPU runs, at toy size on a CPU: so it does when a GPU is at hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_proof_runs_and_goes_on_where_it_was(tmp_path: Path) -> None:
    command = [str(ROOT / "benchmarks" / "gpu" / "prove"), str(tmp_path / "proof"), "--toy"]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    for _ in range(2):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "==" not in done.stdout  # all parts were done
    for part in ("grouped", "large", "memory"):
        lines = (tmp_path / "proof" / f"{part}.md").read_text().splitlines()
        assert sum(line.startswith("| transformer | 8 |") for line in lines) >= 1
    assert "Does the best learning rate survive" in (tmp_path / "proof" / "sweep.md").read_text()
