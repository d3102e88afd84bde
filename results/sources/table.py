"""CSV and Parquet files: whatever separates their columns, and whatever stands before their header."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .fault import NOTES, ImportFault
from .written import WIDE, rate

SEPARATORS = (",", ";", "\t", "|")
PARQUET_NAMES, TEXT_NAMES = (".parquet", ".pq", ".parq"), (".csv", ".tsv", ".jsonl")
NO_NUMBER = {"nan", "-nan", "n/a", "na", "none", "null"}
AFTER_NUMBERS = " kKMBT"
"""What may follow a number, as in 1,5B."""
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
OPENING = 64
SAID = re.compile(r'^"?sep=([,;|\t])"?\s*$')
"""What a spreadsheet writes above a header to tell itself the separator."""
LINES = "lines"
"""The attribute of a frame that holds the line of each row in the file, or in which of several, for
messages."""
Lines = list[tuple[int, str]]
"""Of a file, with their numbers."""
RULE = re.compile(r"^(:?-+:?)?$")
"""A cell of the line below the header of a Markdown table."""
EMPHASIS = re.compile(r"^(\*{1,3}|`)([^*`]+)\1$")
"""A cell of such a table that is marked, as the best one is."""
NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$|^[-+]?(nan|inf)$", re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"^-?\d+,\d+([eE][-+]?\d+)?$")
COMMA_IN_NUMBER = re.compile(r"\d,\d")
BELOW_ONE = re.compile(r"^-?0,\d")
"""With this in a cell a comma separates no thousands."""
THOUSANDS = re.compile(r"^[-+]?[1-9]\d{0,2}(([.]\d{3})+|(,\d{3})+)$")
"""What may be a whole number with its thousands marked off, or one with three decimals."""
DECIMAL_POINT = re.compile(r"^[-+]?\d*[.]\d+([eE][-+]?\d+)?$")


def read_table(path: Path) -> pd.DataFrame:
    """Parquet; or comma, semicolon, tab or bar, decimal commas, gzip, a byte-order mark, lines that begin
    with #."""
    try:
        return _read_parquet(path) if opening(path).startswith(PARQUET) else _read_text(path)
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]  # Arrow's, of a damaged page, has no strerror
        raise ImportFault(f"{path}: cannot be read ({reason})") from None
    except (ValueError, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ImportFault(
            f"{path}: is neither CSV nor Parquet that can be read ({reason}); where it is cut off or "
            "damaged, fetch it anew"
        ) from None


def tables_of(folder: Path) -> tuple[list[Path], list[Path]]:
    """A folder's Parquet files, ascending, and its other tables. What begins with _ or . is a writer's own,
    and no result yet."""
    names = (*PARQUET_NAMES, *TEXT_NAMES)
    parts: list[Path] = []
    others: list[Path] = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in names and path.is_file()):
        is_part = path.suffix.lower() in PARQUET_NAMES and not _is_hidden(path.relative_to(folder))
        (parts if is_part else others).append(path)
    return parts, others


def read_tables(folder: Path, found: Sequence[Path], others: Sequence[Path]) -> pd.DataFrame:
    """Parquet files of a folder as one table; folders called `width=64` are columns. Of the `others` it says
    that they are passed over."""
    parts = [_part(path, folder) for path in found]
    table = pd.concat(parts, ignore_index=True)
    table.attrs[LINES] = [
        f"{row} of {path.relative_to(folder)}"
        for path, part in zip(found, parts, strict=True)
        for row in range(2, len(part) + 2)
    ]
    if others:
        told = f"{len(others)} tables passed over" if len(others) > 1 else "1 table passed over"
        table.attrs[NOTES] = [f"{told}, {others[0].relative_to(folder)} first"]
    return table


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _partition(part: str) -> tuple[str, str | None]:
    """Column and value of a folder, as Hive writes them."""
    name, told = (unquote(one) for one in part.split("=", 1))
    return name, None if told == NO_VALUE else told


def _part(path: Path, folder: Path) -> pd.DataFrame:
    keys = dict(_partition(part) for part in path.relative_to(folder).parts[:-1] if "=" in part)
    part = read_table(path)
    for name, told in keys.items():
        cells = part[name].dropna() if name in part else pd.Series(dtype=object)
        if others := [cell for cell in cells if not _alike(cell, told)]:
            said = f"the column {name} holds {others[0]}, its folder says {told}"
            raise ImportFault(f"{path}: {said}; mend one of them")
        if cells.empty:
            part = part.assign(**{name: told})
    return part


def _alike(cell: object, told: str | None) -> bool:
    """Whether a cell says what the name of its folder does."""
    if told is None:
        return False
    if str(cell).lower() == told.lower() or (isinstance(cell, date) and str(cell).startswith(told)):
        return True
    try:
        return float(str(cell)) == float(told)
    except ValueError:
        return False


def opening(path: Path, size: int = OPENING) -> bytes:
    """What a file begins with, gzipped or not. Raises ImportFault for one that cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(size)
        if head.startswith(GZIP):
            with gzip.open(path) as file:
                head = file.read(size)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return GZIP  # whoever reads it says what is wrong
    except OSError as error:
        raise ImportFault(f"{path}: cannot be read ({error.strerror or error})") from None
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")


def is_gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def _read_parquet(path: Path) -> pd.DataFrame:
    _once(pq.read_schema(path).names, path)
    return _plain(pd.read_parquet(path), path)


def _once(names: Sequence[str], path: Path) -> None:
    """Raises ImportFault for a name that several columns have."""
    if doubled := sorted({name for name in names if name and names.count(name) > 1}):
        raise ImportFault(f"{path}: has several columns {', '.join(doubled)}; keep one of each")


def _plain(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Indices become columns, and types NumPy's: nullable ones have no arithmetic with gaps."""
    if frame.columns.nlevels > 1:
        first = " and ".join(map(str, frame.columns[0]))
        raise ImportFault(f"{path}: columns have {frame.columns.nlevels} levels ({first}); join their names")
    frame = frame.reset_index() if any(frame.index.names) else frame
    frame.columns = frame.columns.map(str)
    return frame.assign(**{name: _numpy(frame[name]) for name in frame.columns})


def _numpy(column: pd.Series) -> pd.Series:
    if not isinstance(column.dtype, pd.api.extensions.ExtensionDtype):
        return column
    if pd.api.types.is_bool_dtype(column.dtype) or not pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype(object).where(column.notna(), None)
    if column.isna().any():
        return pd.Series(column.to_numpy(dtype=float, na_value=float("nan")), index=column.index)
    return pd.Series(column.to_numpy(), index=column.index)


def bytes_of(path: Path) -> bytes:
    """All of a file. Raises ImportFault where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImportFault(f"{path}: cannot be read ({error.strerror or error})") from None


MARKS, SAMPLE = (b"\xff\xfe", b"\xfe\xff"), 1024
"""Of text in UTF-16, and how much of a file tells it without them: every other byte of it is zero."""


def text_of(path: Path) -> str:
    """Of a file, perhaps gzipped. Raises ImportFault where it is no UTF-8 or UTF-16, ValueError for bytes."""
    content = bytes_of(path)
    content = gzip.decompress(content) if content.startswith(GZIP) else content
    if content[:2] not in MARKS and any(
        2 * content[odd:SAMPLE:2].count(0) > len(content[odd:SAMPLE:2]) for odd in (0, 1)
    ):
        raise ImportFault(f"{path}: is UTF-16 without its mark, or no text; save the file as UTF-8")
    try:
        return content.decode("utf-16" if content[:2] in MARKS else "utf-8-sig")
    except UnicodeDecodeError as error:
        if b"\0" in content:
            raise ValueError("it is binary") from None
        line = content.count(b"\n", 0, error.start) + 1
        raise ImportFault(f"{path}: line {line} is no text in UTF-8; save the file as that") from None


def _read_text(path: Path) -> pd.DataFrame:
    text = text_of(path)
    whole = enumerate(io.StringIO(text, newline=""), start=1)  # at no other sign than those of line ends
    every = [(number, line) for number, line in whole if line.strip()]
    numbered = [(number, line) for number, line in every if not _is_comment(line)]
    passed = [number for number, line in every if _is_comment(line) and numbered and number > numbered[0][0]]
    numbered = _commented_header(every, numbered) + numbered
    if not numbered:
        raise ImportFault(f"{path}: is empty")
    if said := SAID.match(numbered[0][1]):
        numbered = numbered[1:] or numbered
    header = numbered[0][1]
    if len(header.split()) > 1 and not any(separator in header for separator in SEPARATORS):
        raise ImportFault(f"{path}: has one column {header.strip()!r}; part columns with a comma or a tab")
    separator = said[1] if said else _separator([line for _, line in numbered])
    rows, lines = _split(numbered, separator)
    if separator == "|":
        rows = [[EMPHASIS.sub(r"\2", cell.strip()) for cell in row] for row in rows]
    head, *rest = rows
    names = [name.strip() for name in head]
    _once(names, path)
    filled = [(line, row) for line, row in zip(lines[1:], rest, strict=True) if any(map(str.strip, row))]
    filled = [(line, row) for line, row in filled if not all(RULE.match(cell.strip()) for cell in row)]
    lines, rest = [line for line, _ in filled], [[cell.strip() for cell in row] for _, row in filled]
    counted = [row[0] for row in rest] == [str(count) for count in range(1, len(rest) + 1)]
    if rest and counted and all(len(row) == len(head) + 1 and row[-1] for row in rest):
        raise ImportFault(
            f"{path}: every line begins with its number, which has no name in the header, as R writes it; "
            "write row.names=FALSE"
        )
    for line, row in zip(lines, rest, strict=True):
        told = f"{path}: line {line} has {len(row)} cells under {len(head)} columns"
        if any(row[len(head) :]):
            raise ImportFault(f"{told}; quote what holds a {separator!r}")
        if len(row) < len(head):
            raise ImportFault(f"{told}; is the file cut off? Write empty cells as {separator!r} alone")
    decimal = _decimal([names, *rest], [numbered[0][0], *lines], separator, path)
    # Through pandas once more, for its reading of types; every row has as many cells as the header.
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([_number(name, decimal) for name in names])
    of_rates = {place for place, name in enumerate(names) if rate(_number(name, decimal)) is not None}
    wide = of_rates if len(of_rates) >= WIDE else set()
    for row in rest:
        cells = [_number(cell, decimal) for cell in row[: len(head)]]
        # pandas reads words for no number as it does nothing; in such a table only those that ran have one.
        writer.writerow(
            ["diverged" if place in wide and cell.lower() in NO_NUMBER else cell
             for place, cell in enumerate(cells)]
        )  # fmt: skip
    frame = pd.read_csv(
        io.StringIO(out.getvalue()), skipinitialspace=True, keep_default_na=False, na_values=[""]
    )
    frame.attrs[LINES] = lines
    if passed:
        frame.attrs[NOTES] = [f"{len(passed)} lines that begin with # passed over, from line {passed[0]} on"]
    return frame


def _separator(lines: Sequence[str]) -> str:
    """The most frequent of the header; where another is as frequent, that one before a comma that is in
    numbers, if it parts every line alike."""
    most = max(SEPARATORS, key=lines[0].count)
    if most == "," and any(COMMA_IN_NUMBER.search(line) for line in lines):
        for other in SEPARATORS[1:]:
            count = lines[0].count(other)
            if count >= lines[0].count(",") and all(line.count(other) == count for line in lines):
                return other
    return most


def _is_comment(line: str) -> bool:
    """A # alone may be what a spreadsheet calls its first column."""
    return line.startswith("#") and not line[1:].lstrip(" ").startswith(SEPARATORS)


def _decimal(rows: Sequence[Sequence[str]], lines: Sequence[int], separator: str, path: Path) -> str:
    """The decimal sign. Raises ImportFault for a cell that reads in two ways."""
    cells = {cell: line for row, line in zip(rows, lines, strict=True) for cell in row}
    commas = [cell for cell in cells if DECIMAL_COMMA.match(cell)]
    told = commas if separator != "," else [cell for cell in commas if BELOW_ONE.match(cell)]
    if not told:
        return "."
    grouped = [cell for cell in cells if THOUSANDS.match(cell)]
    points = [cell for cell in cells if DECIMAL_POINT.match(cell)]
    sure = [cell for cell in commas if cell not in grouped]
    if unsure := [cell for cell in grouped if "." in cell or not sure]:
        other = next((cell for cell in (*sure, *points) if cell != unsure[0]), None)
        beside = f" beside {other!r}" if other else ""
        raise ImportFault(
            f"{path}: line {cells[unsure[0]]}: {unsure[0]!r}{beside}: thousands, or decimals? Write numbers "
            "without separators of thousands, and one decimal sign"
        )
    return ","


def _commented_header(every: Lines, rest: Lines) -> Lines:
    """The header behind a #, as NumPy writes it: before numbers alone, as many names as they are."""
    first = next((index for index, (_, line) in enumerate(every) if not _is_comment(line)), 0)
    if not first or not rest:
        return []
    number, line = every[first - 1]
    header = line.lstrip("# ")
    separator = max(SEPARATORS, key=lambda one: rest[0][1].count(one))
    cells, names = rest[0][1].split(separator), header.split(separator)
    numbers = all(NUMBER.match(cell.strip()) for cell in cells)
    named = len(names) == len(cells) and not any(NUMBER.match(name.strip()) for name in names)
    return [(number, header)] if numbers and named else []


def _split(numbered: Lines, separator: str) -> tuple[list[list[str]], list[int]]:
    """Rows of cells and the line where each begins: a quoted cell may hold line ends."""
    reader = csv.reader((line for _, line in numbered), delimiter=separator, strict=True)
    rows, lines, before = [], [], 0
    for row in reader:
        rows.append(row)
        lines.append(numbered[before][0])
        before = reader.line_num
    return rows, lines


def _number(cell: str, decimal: str) -> str:
    is_one = decimal == "," and DECIMAL_COMMA.match(cell.rstrip(AFTER_NUMBERS))
    return cell.replace(",", ".") if is_one else cell
