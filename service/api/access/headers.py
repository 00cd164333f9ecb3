"""The rate-limit headers of OpenAI's API."""

import math
from collections.abc import Iterator

from service.api.access.account import Account

# What a page of another origin may read.
EXPOSED = tuple(
    f"x-ratelimit-{part}-{what}"
    for what in ("requests", "images")
    for part in ("limit", "remaining", "reset")
)


def rate_limit_headers(account: Account) -> Iterator[tuple[str, str]]:
    """How the key stands with each limit that it has."""
    for what, standing in (("requests", account.requests), ("images", account.images)):
        if standing is not None:
            yield f"x-ratelimit-limit-{what}", str(standing.limit)
            yield f"x-ratelimit-remaining-{what}", str(standing.remaining)
            yield f"x-ratelimit-reset-{what}", duration(standing.reset)


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them, rounded up: `0s`, `120ms`, `7s`, `6m0s`."""
    if 0 < seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
