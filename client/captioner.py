"""Asks a server for captions, and tries again where that helps."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import aiohttp

from client.asking import Asking
from client.errors import ClientError, UnreachableError, UsageError
from client.record import Record

# Statuses that pass when the server has more time; of the others, these may be the image's fault.
BUSY = frozenset({429, 502, 503})
FAILED = frozenset({408, 500, 504})
MOST_FAILURES = 3
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 30.0
# Errors of the key, which every other image would get, too.
FATAL = frozenset({"invalid_api_key", "model_forbidden"})


class _BusyError(Exception):
    """The server wants the request later, after `seconds` if it says so; `record` is what it answered."""

    def __init__(self, record: Record, seconds: float | None) -> None:
        super().__init__(record.error_code)
        self.record, self.seconds = record, seconds


class Captioner:
    """A connection to one server; to be used as an asynchronous context manager, on one event loop."""

    def __init__(
        self,
        server: str,
        *,
        key: str | None = None,
        asking: Asking,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._server = server.rstrip("/")
        self._key = key
        self._asking = asking
        self._sleep = sleep

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={"authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=aiohttp.ClientTimeout(total=self._asking.timeout, sock_connect=10.0),
            trust_env=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def check(self) -> None:
        """Ask the server for its models, so that a wrong address or key shows before anything is sent.

        Raises UnreachableError, UsageError where it is no such server, or ClientError for the key.
        """
        url = f"{self._server}/v1/models"
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=30.0)) as response:
                status, body = response.status, await _document(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnreachableError(
                f"{self._server} does not answer ({type(error).__name__}); check --server"
            ) from None
        except ValueError:
            raise UsageError(f"--server {self._server!r} is no address; write http://HOST:PORT") from None
        if status in (401, 403):
            raise _key_error(self._server, _error(body).get("message"))
        if status == 404 or (status == 200 and not isinstance(body.get("data"), list)):
            raise UsageError(f"{self._server} is no Capstan server: {url} has no list of models")

    async def caption(self, name: str, image: bytes) -> Record:
        """The result of one image.

        Retries while the server is busy or cannot be reached, for `retry` seconds, and a request that failed
        three times at most. Raises UnreachableError when the server cannot be reached any longer, and
        ClientError when it refuses the key.
        """
        deadline, waits, failures = time.monotonic() + self._asking.retry, 0, 0
        while True:
            try:
                return await self._once(name, image)
            except aiohttp.ClientConnectorError as error:
                if time.monotonic() > deadline:
                    raise UnreachableError(
                        f"{self._server} has not answered for {self._asking.retry:.0f} s "
                        f"({type(error).__name__}); run the command again once it does"
                    ) from None
                wait = None
            except _BusyError as busy:
                failures += busy.record.error_code not in ("overloaded", "rate_limited", "not_ready", "busy")
                wait = busy.seconds
                if failures >= MOST_FAILURES or time.monotonic() + (wait or 0.0) > deadline:
                    return busy.record
            await self._sleep(_wait(waits, wait))
            waits += 1

    async def _once(self, name: str, image: bytes) -> Record:
        form = aiohttp.FormData(self._asking.fields)
        form.add_field("image", image, filename="image", content_type="application/octet-stream")
        try:
            async with self._session.post(f"{self._server}/caption", data=form) as response:
                body = await _document(response)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientError, TimeoutError) as error:
            lost = f"the connection ended without an answer: {type(error).__name__}"
            raise _BusyError(Record(name, error_code="connection_lost", error=lost), None) from None
        if response.status == 200 and isinstance(body.get("caption"), str):
            return _record(name, body)
        record = _failure(name, response.status, body)
        if record.error_code in FATAL:
            raise _key_error(self._server, record.error)
        if response.status in BUSY | FAILED:
            raise _BusyError(record, retry_after(response.headers.get("retry-after")))
        return record


def retry_after(value: str | None) -> float | None:
    """The seconds of a Retry-After header, which has seconds or a date. Source: RFC 9110, section 10.2.3."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _wait(tries: int, asked: float | None) -> float:
    """Seconds until the next try: what the server asked for, else longer each time, and never in step."""
    if asked is not None:
        return asked + random.uniform(0.0, min(1.0, 0.1 + asked))  # noqa: S311 - no secret
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**tries)
    return random.uniform(longest / 2, longest)  # noqa: S311 - no secret


async def _document(response: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        body = await response.json(content_type=None)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _error(body: dict[str, Any]) -> dict[str, Any]:
    error = body.get("error")
    return error if isinstance(error, dict) else {}


def _record(name: str, body: dict[str, Any]) -> Record:
    usage = body.get("usage") or {}
    return Record(
        name,
        caption=body["caption"],
        finish_reason=body.get("finish_reason"),
        model=body.get("model"),
        prompt_tokens=usage.get("prompt_tokens"),
        image_tiles=usage.get("image_tiles"),
        completion_tokens=usage.get("completion_tokens"),
        request_id=body.get("request_id"),
    )


def _failure(name: str, status: int, body: dict[str, Any]) -> Record:
    error = _error(body)
    code = error.get("code") or ("busy" if status in BUSY else f"http_{status}")
    message = error.get("message") or f"the server answered with status {status}"
    return Record(name, error_code=str(code), error=str(message), request_id=body.get("request_id"))


def _key_error(server: str, message: object) -> ClientError:
    return ClientError(f"{server} refuses the key: {message}; set CAPSTAN_API_KEY or --api-key-file")
