"""What a checkpoint is called: `<step>-<digest>.pt`, so that a look at the folder tells how far a job is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class CheckpointName:
    """The steps that were done, and the digest of the file's bytes: one that does not match is damaged."""

    step: int
    digest: str

    def __str__(self) -> str:
        return f"{self.step:012}-{self.digest}.pt"

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """None for a file that is no checkpoint."""
        step, dash, digest = path.stem.partition("-")
        return cls(int(step), digest) if dash and step.isdigit() and path.suffix == ".pt" else None


def checkpoints(folder: Path) -> list[tuple[CheckpointName, Path]]:
    """All in a folder, the newest first."""
    named = ((CheckpointName.of(path), path) for path in folder.glob("[0-9]*.pt"))
    found = [(name, path) for name, path in named if name is not None]
    return sorted(found, key=lambda entry: entry[0].step, reverse=True)
