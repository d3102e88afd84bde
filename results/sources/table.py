"""CSV and Parquet files."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from .fault import ImportFault


def read_table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, compression=None)
    except OSError as error:
        raise ImportFault(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ImportFault(f"{path}: is neither CSV nor Parquet that can be read ({reason})") from None
