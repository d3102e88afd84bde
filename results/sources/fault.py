"""What every source raises."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ruamel.yaml.error import YAMLError

from ...models.recipe.fault import Fault

NOTES = "notes"
"""The attribute of a frame that holds what is to be said of how it was read, a line each."""


class ImportFault(Fault):
    """A file that cannot be imported; the message names it, the columns and rows, and the remedy."""


@contextmanager
def of_file(file: Path) -> Iterator[None]:
    """What is wrong with the text of one file of many is told with its name, as a ValueError."""
    try:
        yield
    except (ValueError, YAMLError) as error:
        raise ValueError(f"{file}: {str(error).splitlines()[0]}; mend or delete it") from None
