"""Sends requests to another server and opens its answers."""

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import aiohttp

from service.errors import ErrorCode, RequestError
from service.external.address import Address
from service.external.payload import Messages, PayloadBuilder, has_images
from service.external.refusals import failure, refusal, unreachable
from service.protocol.request import TRACE_HEADERS, Request

PATH = "/v1/chat/completions"
HEADERS = {"content-type": "application/json"}
MAX_ANSWER = 64 * 2**20  # bytes
# The other server may close a connection at the moment at which it is used again.
ATTEMPTS = 2

T = TypeVar("T")


class Forwarder:
    """The connections to one server. Belongs to the event loop of the first request.

    `heard` is the last moment (``time.monotonic()``) at which an answer, or a part of one, came.
    """

    def __init__(self, address: Address, builder: PayloadBuilder, *, threads: int) -> None:
        self.heard = time.monotonic()
        self._address = address
        self._builder = builder
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="payload")
        self._session: aiohttp.ClientSession | None = None

    async def messages(self, request: Request) -> Messages:
        """The messages of a request, as `send` takes them. Raises RequestError for an unreadable image."""
        return await self._prepare(request, partial(self._builder.messages, request))

    async def send(self, request: Request, messages: Messages, *, stream: bool) -> aiohttp.ClientResponse:
        """Send a request; return the answer once its status is 200.

        Raises RequestError for any other status, and if no answer comes.
        """
        limits = [request.sampling.max_tokens, None] if request.shorten else [request.sampling.max_tokens]
        for limit in limits:
            build = partial(self._builder.body, request, messages, stream=stream, max_tokens=limit)
            body = await self._prepare(request, build)
            try:
                return await self._post(body)
            except RequestError as error:
                # A default that does not fit is no mistake of the client. All that fits is less than it.
                if limit is limits[-1] or error.code is not ErrorCode.CONTEXT_LENGTH_EXCEEDED:
                    raise
        raise AssertionError

    async def read(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body. Raises RequestError for one that breaks off or has no end."""
        data = bytearray()
        try:
            async for chunk in response.content.iter_any():
                self.heard = time.monotonic()
                data += chunk
                if len(data) > MAX_ANSWER:
                    raise failure("an answer of over 64 MiB")
        except aiohttp.ClientError as error:
            raise failure(type(error).__name__) from None
        return bytes(data)

    async def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._session is not None:
            await self._session.close()

    async def _prepare(self, request: Request, work: Callable[[], T]) -> T:
        """Do work on a request, in a thread if it holds images."""
        if not has_images(request):
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _post(self, body: bytes) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = self._address.session()
        for attempt in range(ATTEMPTS):
            try:
                response = await self._session.post(
                    self._address.url + PATH, data=body, headers={**HEADERS, **TRACE_HEADERS.get()}
                )
                break
            except aiohttp.ClientConnectorError as error:
                # Once it has had the request, its end is a failure.
                raise (failure(type(error).__name__) if attempt else unreachable()) from None
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if attempt == ATTEMPTS - 1:
                    raise failure(type(error).__name__) from None
            except aiohttp.ClientError as error:
                raise failure(type(error).__name__) from None
        self.heard = time.monotonic()
        if response.status == 200:
            return response
        try:
            raise refusal(response.status, _parsed(await self.read(response)))
        finally:
            response.close()


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None
