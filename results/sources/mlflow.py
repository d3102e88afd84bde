"""MLflow's file store (`mlruns/<experiment>/<run>/{params,metrics,tags}`). Needs no mlflow."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from .fault import ImportFault


def read_mlflow(path: Path) -> pd.DataFrame:
    """One row per run: parameters and the last value of every metric; deleted experiments are left out."""
    try:
        rows = [_row(run) for run in _runs(path)]
    except (OSError, ValueError, IndexError) as error:
        raise ImportFault(f"{path}: is no MLflow file store ({error})") from None
    if not rows:
        raise ImportFault(f"{path}: holds no MLflow runs; give the folder mlruns, or an experiment in it")
    return pd.DataFrame(rows)


def _runs(path: Path) -> Iterator[Path]:
    for params in sorted(path.glob("**/params")):
        if ".trash" not in params.parts and (params.parent / "meta.yaml").exists():
            yield params.parent


def _row(run: Path) -> dict[str, object]:
    parameters = {name: file.read_text(encoding="utf-8") for name, file in _files(run / "params")}
    # A line of a metric is: timestamp value step.
    metrics = {
        name: float(file.read_text(encoding="utf-8").split("\n")[-2].split()[1])
        for name, file in _files(run / "metrics")
    }
    return {"run": run.name, **metrics, **parameters}


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """A name may hold slashes, and then stands in folders."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.stat().st_size:
            yield file.relative_to(folder).as_posix(), file
