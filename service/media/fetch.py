"""Fetch images by URL from allowed addresses, with limits on bytes, seconds and concurrent fetches."""

import asyncio
import logging
import socket
import ssl
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from service.errors import ErrorCode, RequestError
from service.media.decode import too_many_bytes
from service.media.resolver import AddressClosed, CheckedResolver, Lookup, system_lookup
from service.media.url_policy import CLOSED, UrlRefused, UrlRules, is_open, parse_url

logger = logging.getLogger("capstan.fetch")

MAX_REDIRECTS = 3
REDIRECTS = {301, 302, 303, 307, 308}
CHUNK = 64 * 1024
HEADERS = {
    "Accept": "image/jpeg,image/png,image/webp,image/gif,image/bmp",
    "Accept-Encoding": "identity",
    "User-Agent": "capstan",
}
FAILED = "could not be fetched; check that it returns the image itself, without a login"
OFF = "is disabled on this server (CAPSTAN_IMAGE_URL_ENABLED); send the image itself"


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """Whether images are fetched, from where, and the limits of one fetch."""

    enabled: bool = True
    rules: UrlRules = field(default_factory=UrlRules)
    max_bytes: int = 20 * 2**20
    seconds: float = 10.0
    concurrent: int = 16


class Fetcher:
    """Fetches images for the requests of one replica. Use it on one event loop.

    Tests replace the system's resolver and certificates through `lookup` and `tls`.
    """

    def __init__(
        self,
        options: FetchOptions,
        *,
        lookup: Lookup = system_lookup,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.options = options
        self._lookup = lookup
        self._tls = tls
        self._slots = asyncio.Semaphore(options.concurrent)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str, *, field: str) -> bytes:
        """Return the bytes that a URL answers with; they need not be an image.

        Raises RequestError: `invalid_request` for text that is not a URL; `image_url_forbidden` for a URL
        that the policy forbids, with one message for all forbidden addresses; `image_fetch_failed`, with one
        message for everything that can fail at an allowed address; `image_too_large`. No message contains an
        address.
        """
        if not self.options.enabled:
            raise _refusal(ErrorCode.IMAGE_URL_FORBIDDEN, OFF, field)
        first = self._first_url(url, field)
        try:
            async with asyncio.timeout(self.options.seconds), self._slots:
                return await self._follow(first, field)
        except AddressClosed:
            raise _refusal(ErrorCode.IMAGE_URL_FORBIDDEN, CLOSED, field) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            logger.info("image fetch failed: %s", type(error).__name__)
            raise _refusal(ErrorCode.IMAGE_FETCH_FAILED, FAILED, field) from None

    async def close(self) -> None:
        """Abort all fetches."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _first_url(self, text: str, field: str) -> URL:
        code = ErrorCode.INVALID_REQUEST
        try:
            url = parse_url(text)
            code = ErrorCode.IMAGE_URL_FORBIDDEN
            self.options.rules.check(url)
        except UrlRefused as refused:
            raise _refusal(code, str(refused), field) from None
        return url

    async def _follow(self, url: URL, field: str) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._open().get(url, allow_redirects=False)
            try:
                if response.status not in REDIRECTS:
                    return await self._read(response, field)
                url = self._redirect(url, response.headers.get("Location", ""))
            finally:
                response.close()
        raise aiohttp.ClientError

    def _redirect(self, url: URL, location: str) -> URL:
        if not location:
            raise aiohttp.ClientError
        try:
            target = parse_url(location, url)
            self.options.rules.check(target)
        except UrlRefused:
            # Do not reveal what a server answered, and so not what was wrong with it either.
            raise AddressClosed from None
        return target

    async def _read(self, response: aiohttp.ClientResponse, field: str) -> bytes:
        if response.status != 200 or response.headers.get("Content-Encoding", "identity") != "identity":
            raise aiohttp.ClientError
        limit, data = self.options.max_bytes, bytearray()
        if (response.content_length or 0) > limit:
            raise too_many_bytes(response.content_length or 0, limit, field=field)
        async for chunk in response.content.iter_chunked(CHUNK):
            data += chunk
            if len(data) > limit:
                raise too_many_bytes(len(data), limit, field=field, at_least=True)
        return bytes(data)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            networks = self.options.rules.networks
            resolver = CheckedResolver(networks, lookup=self._lookup, threads=self.options.concurrent)
            connector = aiohttp.TCPConnector(
                resolver=resolver,
                use_dns_cache=False,
                force_close=True,
                limit=0,  # self._slots is the limit
                ssl=self._tls or True,
                socket_factory=self._socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=HEADERS,
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.options.seconds),
            )
        return self._session

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """Create a socket: the last check of an address, however it got here."""
        family, kind, protocol, _, address = info
        if not is_open(str(address[0]), self.options.rules.networks):
            raise AddressClosed
        return socket.socket(family, kind, protocol)


def _refusal(code: ErrorCode, message: str, field: str) -> RequestError:
    return RequestError(code, f"{field} {message}", field=field)
