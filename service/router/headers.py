"""Which headers of a request and of an answer pass the router."""

from collections.abc import Iterable

from starlette.types import Scope

from service.api.request_state import state_of

# Serve's proxy sends requests with the same value to the same replica (`capstan.affinity` in the chart).
AFFINITY = b"x-capstan-affinity"
REQUEST_ID = b"x-request-id"
# They concern one connection. Source: RFC 9110, section 7.6.1.
PER_CONNECTION = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
# The router sends its own.
OWN = frozenset((AFFINITY, REQUEST_ID, b"host", b"expect", b"content-length"))

RawHeaders = list[tuple[bytes, bytes]]


def request_headers(scope: Scope, *, length: int, image: str | None) -> list[tuple[str, str]]:
    """The headers for the model; the client's Authorization and all that is unknown to the router pass.

    Requests without an image are spread by their identifier.
    """
    request_id = state_of(scope).request_id
    headers = _without(scope["headers"], PER_CONNECTION | OWN)
    headers += [(REQUEST_ID, request_id.encode()), (AFFINITY, (image or request_id).encode())]
    if scope["method"] == "POST":
        headers.append((b"content-length", str(length).encode()))
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def answer_headers(headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """The headers for the client."""
    return _without(headers, PER_CONNECTION)


def _without(headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> RawHeaders:
    """Leave out these headers, and those that a Connection header names."""
    lower = [(name.lower(), value) for name, value in headers]
    listed = b",".join(value.lower() for name, value in lower if name == b"connection")
    refused = names | {name.strip() for name in listed.split(b",")}
    return [(name, value) for name, value in lower if name not in refused]
