"""What a report holds, whatever it is written as."""

from dataclasses import dataclass

from ..comparison import Comparison
from ..contrast import Contrast
from ..coordinates import Check
from ..facts import Facts
from ..options import OptionShift
from ..plane import Joint
from ..searched import Searched


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

    @property
    def name(self) -> str:
        return ", ".join(self.facts.names)
