"""What people call the fields of a measurement."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

import pandas as pd

from ...models.recipe.aliases import ALIASES
from ...models.recipe.family import Family
from .cells import NUMERIC
from .fault import NOTES, ImportFault
from .runs import FOLDERS
from .table import LINES, NUMBER
from .written import WIDE, rate

BETWEEN_WORDS = re.compile(r"(?<!\d)[\s_-]+|[\s_-]+(?!\d)")
"""Between numbers they part numbers."""
MEANT_BY_NAME = frozenset(name for ours, theirs in ALIASES.items() for name in (ours, *theirs))
POWERS = {"log2": 2.0, "log10": 10.0}
SCORES = {
    "acc", "acc1", "acc5", "accuracy", "auc", "auroc", "bleu", "em", "f1", "fscore", "iou", "map", "miou",
    "mrr", "ndcg", "precision", "psnr", "r2", "recall", "return", "returns", "reward", "rewards", "rouge",
    "score", "scores", "ssim", "success", "top1", "top5", "win", "winrate",
}  # fmt: skip
LOSSES = {"loss", "losses", "nll", "mse", "mae", "rmse", "ppl", "perplexity", "error", "err", "bpb", "bpc"}
PERPLEXITIES = {"ppl", "perplexity", "perplexities"}
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def understood(frame: pd.DataFrame, source: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """The frame with our names, and what was found: our name by theirs, in the words of a message.

    Raises ImportFault where two columns would both be one field.
    """
    found: dict[str, str] = {}
    rates = {_plain(one) for one in ("learning_rate", *ALIASES["learning_rate"])}
    losses = {_plain(one) for one in ("loss", *ALIASES["loss"])}
    if not (rates | losses) & {_plain(name) for name in frame.columns}:
        frame, found = _long(frame, source)
    for ours, theirs in ALIASES.items():
        frame = _of_its_folder(frame, ours)
        if ours in frame.columns:
            continue
        names = _meaning(frame, ours)
        powers = {
            name: base
            for name in frame.columns
            for prefix, base in POWERS.items()
            if _plain(name) in {f"{prefix}_{_plain(one)}" for one in (ours, *theirs)}
            or _plain(name) in {f"{prefix}{_plain(one)}" for one in (ours, *theirs)}
        }
        if len(names) > 1:  # a tracker's folders tell: losses are measured, all else is configured
            own, other = _folders(ours)
            told = [name for name in names if str(name).startswith(own)]
            apart = [name for name in names if not str(name).startswith(other)]
            names = next((kept for kept in (told, apart) if len(kept) == 1), names)
        if len(names) + len(powers) > 1:
            both = " and ".join(map(str, [*names, *powers]))
            raise ImportFault(f"{source}: both {both} may be {ours}; say which with --map {ours}=COLUMN")
        for name in names:
            frame = frame.rename(columns={name: ours})
            found[ours] = str(name)
        for name, base in powers.items():
            values = base ** _numbers(frame[name], source)
            frame = frame.drop(columns=name).assign(**{ours: values})
            found[ours] = f"{base:g}^{name}"
    return frame, found


def _folders(ours: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Of a tracker: where a field is told, and where else a name like it may stand. Losses are measured, all
    else is configured."""
    configured, measured = ("config.", "params."), ("summary.", "metrics.")
    return (measured, configured) if ours == "loss" else (configured, measured)


def _of_its_folder(frame: pd.DataFrame, ours: str) -> pd.DataFrame:
    """A column with our name that is in the other folder gives way to one that means the same in its own: a
    last rate that was logged is not the one that was set."""
    folders: Mapping[str, str] = frame.attrs.get(FOLDERS, {})
    own, other = _folders(ours)
    strange = next((told for told, name in folders.items() if name == ours and told.startswith(other)), None)
    meant = {name for name in _meaning(frame, ours) if name != ours}
    at_home = any(name in meant and told.startswith(own) for told, name in folders.items())
    return frame.rename(columns={ours: strange}) if strange and ours in frame and at_home else frame


def _meaning(frame: pd.DataFrame, ours: str) -> list[str]:
    """The columns that are called like one of our fields."""
    meant = {_plain(name) for name in (ours, *ALIASES[ours])}
    return [name for name in frame.columns if _plain(name) in meant]


def passed_over(frame: pd.DataFrame) -> list[str]:
    """What to say of columns that may be meant in place of one of ours."""
    notes = []
    for ours in ALIASES:
        frame = _of_its_folder(frame, ours)
        others = [name for name in _meaning(frame, ours) if name != ours]
        if ours in frame.columns and others:
            told = f"{' and '.join(map(str, others))} {'is' if len(others) == 1 else 'are'} there, too"
            notes.append(f"{ours}: {told}, and left alone; --map {ours}={others[0]} takes it")
    return notes


def logarithm(name: object, ours: str) -> float | None:
    """The base to which a column of numbers is called a logarithm, as `log2_lr` is. Losses are what they
    are."""
    if ours not in NUMERIC or ours == "loss":
        return None
    return next((base for prefix, base in POWERS.items() if _plain(name).startswith(f"{prefix}_")), None)


def powered(column: pd.Series, ours: str, source: str) -> pd.Series:
    """A column that is mapped to a field: what it is called the logarithm of, or what it is. Raises
    ImportFault."""
    base = logarithm(column.name, ours)
    return column if base is None else base ** _numbers(column, source)


def score(name: str) -> bool:
    """Whether a column is called like something of which more is better."""
    if LOSSES & _words(name):
        return False
    words = _words(name) | _words(CAMEL.sub("_", name))
    return bool(words & SCORES) or {"top", "1"} <= words or {"top", "5"} <= words


def perplexity(name: str) -> bool:
    """Whether a column is called like e to the power of a loss."""
    return bool(PERPLEXITIES & _words(name))


def _words(name: str) -> set[str]:
    return {*re.split(r"[_\W]+", name.lower())}


def one_spelling(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The frame with names of a family that differ in capitals, spaces and dashes alone written in one way,
    and what to say."""
    notes = []
    for name in Family._fields:
        if name not in frame.columns:
            continue
        spelled = frame[name].dropna().astype(str)
        by_word: dict[str, list[str]] = {}
        for word in spelled.unique():
            plain = unicodedata.normalize("NFKC", word).lower()  # there are two signs for micro
            by_word.setdefault(BETWEEN_WORDS.sub("", plain) or plain, []).append(word)
        several = [words for words in by_word.values() if len(words) > 1]
        if several:
            notes += [f"{name}: {' and '.join(words)} are one" for words in several]
            one = {word: _usual(words) for words in several for word in words}
            frame = frame.assign(**{name: frame[name].map(lambda cell, one=one: one.get(str(cell), cell))})
    return frame, notes


def _usual(words: Sequence[str]) -> str:
    return min((word.strip().lower() for word in words), key=lambda word: (len(word), word))


def _numbers(column: pd.Series, source: str) -> pd.Series:
    """Raises ImportFault for a cell that is neither empty nor a number."""
    text = column.map(lambda cell: str(cell).replace("−", "-"), na_action="ignore")
    numbers = pd.to_numeric(text, errors="coerce")
    if wrong := list(column[numbers.isna() & column.notna()]):
        raise ImportFault(f"{source}: {column.name} {wrong[0]!r} is not a number")
    return numbers


def _plain(name: object) -> str:
    """Lower case, words joined by underscores, without the folder that trackers put before a name."""
    text = str(name).strip().lower()
    for folder in ("config.", "config/", "params.", "params/", "summary.", "summary/", "metrics."):
        text = text.removeprefix(folder)
    return re.sub(r"[\s\-/.]+", "_", text)


def _long(frame: pd.DataFrame, source: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """A table with a column for each learning rate, as a row for each training."""
    rates = {name: value for name in frame.columns if (value := rate(name)) is not None}
    if len(rates) < WIDE:
        return frame, {}
    kept = [name for name in frame.columns if name not in rates]
    if not kept:
        raise ImportFault(
            f"{source}: all its columns are named by numbers, so nothing says what differs between its rows; "
            "is its header missing?"
        )
    if row := _named_by_a_row(frame, rates):
        raise ImportFault(f"{source}: its columns are called {row}, like a row; is its header missing?")
    if all(_is_bare(name) and value % 1 == 0 for name, value in rates.items()):
        raise ImportFault(
            f"{source}: the columns {', '.join(map(str, rates))} are called by whole numbers, which are "
            "hardly learning rates; where they are, call them lr=1, lr=2; else give each loss a row"
        )
    long = frame.melt(id_vars=kept, value_vars=list(rates), var_name="learning_rate", value_name="loss")
    lines = list(frame.attrs.get(LINES, ())) * len(rates)
    run = long["loss"].notna().tolist()
    long["learning_rate"] = long["learning_rate"].map(rates)
    long = long[run].reset_index(drop=True)
    long.attrs[LINES] = [line for line, there in zip(lines, run, strict=False) if there]
    if left := run.count(False):
        told = f"{left} empty cells were not run; write diverged into those that were"
        long.attrs[NOTES] = [*frame.attrs.get(NOTES, ()), told]
    told = ", ".join(map(str, rates))
    return long, {"learning_rate": f"the names of {len(rates)} columns: {told}", "loss": "their cells"}


def _named_by_a_row(frame: pd.DataFrame, rates: Mapping[object, float]) -> str:
    """The names, where they look like a first row: numbers in no order, or names that are cells, too."""
    values = list(rates.values())
    ordered = sorted(values) in (values, values[::-1]) and len({*values}) == len(values)
    bare = any(_is_bare(name) for name in rates)
    repeated = any(str(name) in {*frame[name].astype(str)} for name in frame.columns)
    return ", ".join(map(str, frame.columns)) if (bare and not ordered) or repeated else ""


def _is_bare(name: object) -> bool:
    """A number alone, not `lr=0.1`."""
    return NUMBER.match(str(name).strip()) is not None
