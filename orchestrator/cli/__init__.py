"""The command line: thin commands that read, decide by pure functions, act, and print."""

import os
import signal
from types import FrameType

__all__ = ["main"]


def main() -> None:
    """The `mutransfer` command. Until it is loaded there is nothing to save: an interrupt ends it at once."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where whoever started this has them ignored
        signal.signal(signal.SIGINT, _ended)
    from .app import main as command

    signal.signal(signal.SIGINT, before)
    command()


def _ended(signal_number: int, frame: FrameType | None) -> None:
    os._exit(130)
