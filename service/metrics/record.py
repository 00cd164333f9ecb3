"""One request that has ended: what the log, the metrics, the ledger and the traces are made of."""

from dataclasses import dataclass

from service.errors import ErrorCode, Refusal
from service.protocol.request import Completion, Usage

# What the metrics call the requests that no client of the API makes on purpose.
OTHER = "other"
ROUTES = ("/caption", "/v1/chat/completions", "/v1/models", "/v1/tiles")
# The routes whose requests are answered by the engine.
GENERATING = frozenset(("/caption", "/v1/chat/completions"))
# Probes and scrapes are not counted.
UNCOUNTED = frozenset(("/healthz", "/readyz", "/metrics"))
# A proxy adds these headers to what it forwards; Serve's own, inside the cluster, adds neither.
FORWARDED = ("x-forwarded-for", "forwarded")

OK = "ok"
DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class Fetch:
    """Reading one image by its URL or path: a moment of ``time.monotonic()`` and the seconds since."""

    start: float
    seconds: float


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """What is known about a request at its end.

    `start` is a moment of ``time.monotonic()``, `route` one of a closed list. `status` 0: no response was
    started, for instance because the client disconnected. `completions` are the answers of the engine,
    several for a list of images, and `ended` when each came; `broken_off` is what was spent on answers that
    have not come, because the client left or the time was over. `body_seconds` passed until the body was
    read.
    """

    request_id: str
    method: str
    path: str
    route: str
    status: int
    code: ErrorCode | None
    refusal: Refusal | ErrorCode | None
    key: str
    model: str
    start: float
    seconds: float
    body_seconds: float = 0.0
    images: int = 0
    completions: tuple[Completion, ...] = ()
    broken_off: tuple[Usage, ...] = ()
    ended: tuple[float, ...] = ()
    fetches: tuple[Fetch, ...] = ()

    @property
    def outcome(self) -> str:
        """The error's code, or how the request ended without one."""
        if self.code is not None:
            return self.code.value
        return OK if self.status and not self.broken_off else DISCONNECTED

    @property
    def usage(self) -> Usage:
        """What was spent on the request."""
        usages = [*(completion.usage for completion in self.completions), *self.broken_off]
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in usages),
            image_tiles=sum(usage.image_tiles for usage in usages),
            completion_tokens=sum(usage.completion_tokens for usage in usages),
        )


def route_of(path: str, root: str) -> str:
    """The route of a path, without the prefix `root` that Serve mounts the application at."""
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    if path in ROUTES or path in UNCOUNTED:
        return path
    return "/v1/models" if path.startswith("/v1/models/") else OTHER
