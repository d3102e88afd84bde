"""One thing that `doctor` looked at."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` says what to do where it is not ok."""

    subject: str
    status: Literal["ok", "note", "fault"]
    found: str
    remedy: str = ""
