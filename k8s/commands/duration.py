"""Durations as people write them: `90`, `90s`, `20m`, `1h30m`."""

import re

from k8s.errors import UsageError

SECONDS = {"s": 1, "m": 60, "h": 3600}
FORM = re.compile(r"(?:\d+[smh])+|\d+")


def seconds(text: str) -> float:
    """The seconds of a duration. Raises UsageError where it is none, or is zero."""
    if not FORM.fullmatch(text):
        raise UsageError(f"{text!r} is not a duration; write 90s, 20m or 1h30m")
    found = (
        float(text)
        if text.isdigit()
        else sum(int(n) * SECONDS[u] for n, u in re.findall(r"(\d+)([smh])", text))
    )
    if not found:
        raise UsageError(f"{text!r} is no time at all; write 90s, 20m or 1h30m")
    return float(found)
