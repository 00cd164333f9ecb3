"""Passes a request on to its model, and the answer back as it arrives."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from urllib.parse import parse_qs

import aiohttp
from starlette.types import Message, Receive, Scope, Send
from yarl import URL

from service.api.errors import error_body
from service.api.request_state import state_of
from service.errors import ErrorCode, RequestError
from service.router.body import read_body
from service.router.headers import answer_headers, request_headers
from service.router.metrics import RouterMetrics
from service.router.models import MODEL, Models

logger = logging.getLogger("capstan.router")

# Nothing was sent if a connection fails, so another attempt is safe; it may reach another pod of a Service.
# Where one of two pods is dead, six attempts all meet it for one request in 64.
CONNECT_ATTEMPTS = 6


class Forwarder:
    """An ASGI application that passes each request on to the model that it names."""

    def __init__(self, models: Models, metrics: RouterMetrics) -> None:
        self._models = models
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; if the client disconnects, so does the router from the model.

        Raises RequestError before the answer has started.
        """
        body = await _read(receive)
        if body is None:
            return
        exchange = asyncio.ensure_future(self._exchange(scope, body, send))
        disconnect = asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            await asyncio.wait((exchange, disconnect), return_when=asyncio.FIRST_COMPLETED)
            if exchange.done():
                exchange.result()
        finally:
            exchange.cancel()
            disconnect.cancel()
            await asyncio.gather(exchange, disconnect, return_exceptions=True)

    async def _exchange(self, scope: Scope, body: Sequence[bytes], send: Send) -> None:
        query = scope["query_string"].decode("latin-1")
        read = read_body(b"".join(body))
        model = self._models.resolve(read.model or parse_qs(query).get("model", [None])[0])
        scope["state"][MODEL] = model
        path = scope["raw_path"].decode("latin-1")
        url = URL(self._models.addresses[model] + path + (query and f"?{query}"), encoded=True)
        headers = request_headers(scope, length=sum(map(len, body)), image=read.image)
        target = Target(model, scope, self._metrics)
        with self._metrics.passed_on(model):
            async with await target.ask(url, headers, body) as answer:
                await target.relay(answer, send)


class Target:
    """The model of one request."""

    def __init__(self, model: str, scope: Scope, metrics: RouterMetrics) -> None:
        self._model = model
        self._metrics = metrics
        self._scope = scope
        self._session: aiohttp.ClientSession = scope["state"]["session"]

    async def ask(
        self, url: URL, headers: list[tuple[str, str]], body: Sequence[bytes]
    ) -> aiohttp.ClientResponse:
        """Send the request and wait for the start of the answer. Raises RequestError."""
        for attempt in range(1, CONNECT_ATTEMPTS + 1):
            try:
                return await self._session.request(
                    self._scope["method"], url, headers=headers, data=_sent(body), allow_redirects=False
                )
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                self._metrics.connection_failed(self._model)
                if attempt == CONNECT_ATTEMPTS:
                    raise self._unreachable(error) from error
            except TimeoutError as error:
                raise RequestError(
                    ErrorCode.DEADLINE_EXCEEDED,
                    f"model {self._model} did not answer in time; try again later",
                ) from error
            except aiohttp.ClientError as error:
                raise self._unreachable(error) from error
        raise AssertionError  # the last attempt returns or raises

    async def relay(self, answer: aiohttp.ClientResponse, send: Send) -> None:
        """Pass an answer on. If it breaks off, a stream ends with an error, and any other answer incomplete.

        Raises RequestError if it is not of a replica.
        """
        if answer.status == 404 and answer.content_type == "text/plain":
            # So Serve's proxy answers for an application that it does not know yet; replicas send JSON.
            raise RequestError(
                ErrorCode.NOT_READY, f"model {self._model} is not deployed yet; try again later"
            )
        headers = answer_headers(answer.raw_headers)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        try:
            async for piece in answer.content.iter_any():
                await send(_part(piece, more=True))
        except (aiohttp.ClientError, TimeoutError) as error:
            self._warn("broke off its answer", error)
            if answer.content_type != "text/event-stream":
                return  # the server then closes the connection
            await send(_part(self._last_event(), more=True))
        await send(_part(b"", more=False))

    def _last_event(self) -> bytes:
        """The error that ends a stream, as replicas send it. The piece before it may be half an event."""
        state = state_of(self._scope)
        message = f"model {self._model} broke off its answer; try again"
        error = RequestError(ErrorCode.INTERNAL_ERROR, message)
        state.failed(error)
        return f"\n\ndata: {error_body(error, state.request_id).model_dump_json()}\n\n".encode()

    def _unreachable(self, error: aiohttp.ClientError) -> RequestError:
        self._warn("cannot be reached", error)
        return RequestError(ErrorCode.NOT_READY, f"model {self._model} cannot be reached; try again later")

    def _warn(self, what: str, error: Exception) -> None:
        request_id = state_of(self._scope).request_id
        logger.warning(
            "request_id=%s: model %s %s: %s: %s", request_id, self._model, what, type(error).__name__, error
        )


async def _read(receive: Receive) -> Sequence[bytes] | None:
    """The body in pieces; None if the client disconnects. Raises RequestError beyond the limits."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return pieces


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _sent(body: Sequence[bytes]) -> AsyncIterator[bytes] | None:
    """The body again, for each attempt; as pieces, because they need not be joined to be sent."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in body:
            yield piece

    return pieces() if any(body) else None


def _part(content: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}
