"""How captions are asked for."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Asking:
    """The fields of POST /caption, the longest wait for an answer, and how long to try again (seconds)."""

    fields: dict[str, str] = field(default_factory=dict)
    timeout: float = 300.0
    retry: float = 600.0
