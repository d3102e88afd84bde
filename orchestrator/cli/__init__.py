"""The command line: thin commands that read, decide by pure functions, act, and print."""

from .app import main

__all__ = ["main"]
