"""Checkpoints of a group's training: what it needs to go on from a step as if nothing had happened.

A checkpoint holds tensors, numbers and lists alone, so it loads with `weights_only=True`: a file from a
stranger cannot run code. Its name carries the digest of its bytes; one that does not match is passed over.
"""

import hashlib
import logging
import os
import pickle
import time
from pathlib import Path
from typing import Any, Protocol

import torch

from ..files.checkpoint_name import CheckpointName, checkpoints
from ..files.place import beside

State = dict[str, Any]

LOGGER = logging.getLogger(__name__)


class Keeper(Protocol):
    """Where a training keeps its state, and when it should."""

    def load(self) -> State | None:
        """The newest state there is, or None to begin at the beginning."""
        ...

    def due(self) -> bool: ...

    def save(self, step: int, state: State) -> None: ...


class NoKeeper:
    """Keeps nothing: for trainings that are over before it would pay."""

    def load(self) -> State | None:
        return None

    def due(self) -> bool:
        return False

    def save(self, step: int, state: State) -> None: ...


LONGEST_SHARE = 0.1
"""Of a training's time that is spent on saving: a group that takes long to save is saved less often."""


class Checkpoints:
    """The newest checkpoint in a folder, replaced at most every `seconds`."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder, self._seconds = folder, seconds
        self._last = time.monotonic()

    def load(self) -> State | None:
        """The newest whole checkpoint; a damaged one is passed over, whatever is wrong with it."""
        for name, path in checkpoints(self._folder):
            try:
                if _digest(path) == name.digest:
                    state: State = torch.load(path, map_location="cpu", weights_only=True)
                    return state
                problem = "its bytes are not those that were written"
            except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
                problem = f"{type(error).__name__}: {error}"
            LOGGER.warning("%s: passed over; %s", path, problem)
        return None

    def due(self) -> bool:
        return time.monotonic() - self._last >= self._seconds

    def save(self, step: int, state: State) -> None:
        """Writes beside, syncs, renames, and only then removes the older ones."""
        begun = time.monotonic()
        with beside(self._folder / "checkpoint") as scratch:
            with open(scratch, "wb") as file:  # given a path, torch hides that a disk is full
                try:
                    torch.save(state, file)
                except RuntimeError as error:  # its own, as what could not be written ends too early
                    raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
                file.flush()
                os.fsync(file.fileno())
            kept = self._folder / str(CheckpointName(step, _digest(scratch)))
            os.replace(scratch, kept)
        for _, path in checkpoints(self._folder):
            if path != kept:
                path.unlink(missing_ok=True)
        self._last = time.monotonic()
        if self._seconds:  # else after every step
            self._seconds = max(self._seconds, (self._last - begun) / LONGEST_SHARE)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
