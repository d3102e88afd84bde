"""What a report holds, whatever it is written as."""

from dataclasses import dataclass

from ..checks.coordinates import Check
from ..questions.comparison import Comparison
from ..questions.contrast import Contrast
from ..questions.facts import Facts
from ..questions.options import OptionShift
from ..questions.plane import Joint
from ..questions.searched import Searched


@dataclass(frozen=True, slots=True)
class Content:
    """Verdicts and all that stands beside them."""

    comparisons: tuple[Comparison, ...]
    contrasts: tuple[Contrast, ...]
    joint: tuple[Joint, ...]
    options: tuple[OptionShift, ...]
    searches: tuple[Searched, ...]
    checks: tuple[Check, ...]
    facts: Facts
    problems: tuple[str, ...] = ()
    """What is missing among the trials, and what was averaged or left out, in lines."""
    target: float | None = None
    """The scale of the large run, where the user names one."""

    @property
    def name(self) -> str:
        return ", ".join(self.facts.names)
