"""What a check found, and what to do about it."""

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How a check ended."""

    WELL = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and what to do about it."""

    level: Level
    sentence: str
    fix: str = ""

    def line(self) -> str:
        """The finding as one line."""
        return f"{self.level.value:<8} {self.sentence}" + (f" -> {self.fix}" if self.fix else "")
