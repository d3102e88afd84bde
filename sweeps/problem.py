"""What is wrong with a sweep file: every fault with its place, reported at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..models.recipe.fault import Fault

Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: where in the file (keys and list positions), its line if known, and what to do."""

    where: Where
    message: str
    line: int | None = None

    @property
    def field(self) -> str:
        return ".".join(str(part) for part in self.where)


class SpecError(Fault):
    """A sweep file that cannot be run; the message holds one line per fault."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path, self.problems = path, tuple(problems)
        super().__init__("\n".join(self._line(problem) for problem in self.problems))

    def _line(self, problem: Problem) -> str:
        place = self.path if problem.line is None else f"{self.path}:{problem.line}"
        return (
            f"{place}: {problem.field}: {problem.message}" if problem.where else f"{place}: {problem.message}"
        )


class ProblemsFound(Exception):
    """Faults found in a spec whose file is not known here; the loader adds path and lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{problem.field}: {problem.message}" for problem in problems))
