"""What is known about a request while it is being served."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import monotonic

from starlette.types import Scope

from service.errors import ErrorCode, Refusal, RequestError
from service.metrics.record import Fetch
from service.metrics.tracing import Trace
from service.protocol.engine import Handle
from service.protocol.request import Completion, Usage

STATE = "capstan"

# Codes that refuse a request before any work, each for one reason or with a `Refusal` that says which.
REFUSING = frozenset(
    (
        ErrorCode.INVALID_API_KEY,
        ErrorCode.MODEL_FORBIDDEN,
        ErrorCode.RATE_LIMITED,
        ErrorCode.OVERLOADED,
        ErrorCode.NOT_READY,
    )
)


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer that was asked for: the `index`th to its prompt, which has so many images."""

    handle: Handle
    images: int
    index: int


@dataclass(slots=True)
class RequestState:
    """Created by `RequestLogMiddleware`, completed by the layers below it.

    `key_name` is the name of the API key; empty on a server without keys, and until the key is known. `code`
    is that of the error that the request ended with, `refusal` why it was refused. `start` and `body_read`
    are moments of ``time.monotonic()``, `ended` those at which `completions` came. `asked` is what the
    engine was asked for. Of several answers to one prompt, only the first counts the prompt and its images.
    `trace` is there while tracing is on.
    """

    request_id: str
    trace: Trace | None = None
    key_name: str = ""
    code: ErrorCode | None = None
    refusal: Refusal | ErrorCode | None = None
    start: float = field(default_factory=monotonic)
    body_read: float | None = None
    images: int = 0
    completions: list[Completion] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    fetches: list[Fetch] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def failed(self, error: RequestError) -> None:
        """Note the error that ends the request."""
        self.code = error.code
        if error.code in REFUSING:
            self.refusal = error.refusal or error.code

    def ask(self, handles: Sequence[Handle], *, images: int) -> None:
        """Note the answers to a prompt that the engine is asked for, and the images of the prompt."""
        self.asked += [Asked(handle, images, index) for index, handle in enumerate(handles)]

    def answered(self, completion: Completion, *, images: int, index: int = 0) -> None:
        """Note an answer of the engine, the `index`th to its prompt, and the images that it is about."""
        usage = completion.usage if index == 0 else completion.usage.without_prompt
        self.completions.append(replace(completion, usage=usage))
        self.ended.append(monotonic())
        self.images += images if index == 0 else 0

    def broken_off(self) -> list[tuple[Usage, int]]:
        """What was spent on answers that have not come, each with its number of images."""
        return [
            (usage, one.images) if one.index == 0 else (usage.without_prompt, 0)
            for one in self.asked
            if (usage := one.handle.broken_off) is not None
        ]

    def fetched(self, start: float) -> None:
        """Note an image that has been read since `start`, a moment of ``time.monotonic()``."""
        self.fetches.append(Fetch(start, monotonic() - start))


def state_of(scope: Scope) -> RequestState:
    """The state of the request with this ASGI scope."""
    state = scope["state"][STATE]
    assert isinstance(state, RequestState)  # noqa: S101 - the middleware is the only writer
    return state
