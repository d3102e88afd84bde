"""Where tables are printed."""

from rich.console import Console


def stdout(plain_width: int) -> Console:
    """Standard output; where it is no terminal the width is fixed, so that text compares."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=plain_width)
