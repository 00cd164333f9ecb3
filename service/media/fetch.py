"""Images by URL: fetched from open addresses only, with bounds on bytes, seconds and fetches at once."""

import asyncio
import logging
import socket
import ssl
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from service.errors import ErrorCode, RequestError
from service.media.addresses import is_open
from service.media.resolver import AddressClosed, CheckedResolver, Lookup, system_lookup
from service.media.size import too_many_bytes
from service.media.urls import CLOSED, UrlRefused, UrlRules, parse_url

logger = logging.getLogger("capstan.fetch")

MAX_REDIRECTS = 3
REDIRECTS = {301, 302, 303, 307, 308}
CHUNK = 64 * 1024
HEADERS = {
    "Accept": "image/jpeg,image/png,image/webp,image/gif,image/bmp",
    "Accept-Encoding": "identity",
    "User-Agent": "capstan",
}
FAILED = "could not be fetched; check that it answers without a login with the image itself"
OFF = "is not open on this server (CAPSTAN_IMAGE_URL_ENABLED); send the image itself"


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """Whether and from where images are fetched, and the bounds of one fetch."""

    enabled: bool = True
    rules: UrlRules = field(default_factory=UrlRules)
    max_bytes: int = 20 * 2**20
    seconds: float = 10.0
    concurrent: int = 16


class Fetcher:
    """Fetches images for the requests of one replica; used on one event loop.

    `lookup` and `tls` stand in for the system's resolver and certificates in tests.
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
        self._places = asyncio.Semaphore(options.concurrent)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str, *, field: str) -> bytes:
        """The bytes that a URL answers with, which need not be an image.

        Raises RequestError: `image_url_forbidden` for a URL that must not be opened, one message for all the
        addresses that are not open; `image_fetch_failed`, one message for all that can go wrong at an open
        one; `image_too_large`; `invalid_request` for what is no URL. None of them holds an address.
        """
        if not self.options.enabled:
            raise _refusal(ErrorCode.IMAGE_URL_FORBIDDEN, OFF, field)
        first = self._first(url, field)
        try:
            async with asyncio.timeout(self.options.seconds), self._places:
                return await self._follow(first, field)
        except AddressClosed:
            raise _refusal(ErrorCode.IMAGE_URL_FORBIDDEN, CLOSED, field) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            logger.info("an image was not fetched: %s", type(error).__name__)
            raise _refusal(ErrorCode.IMAGE_FETCH_FAILED, FAILED, field) from None

    async def close(self) -> None:
        """End what is under way."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _first(self, text: str, field: str) -> URL:
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
            # What a server answers with is not told, so neither is what was wrong with it.
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
                limit=0,  # the places bound them
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
        """A socket for an address: the last word on it, whichever way it came here."""
        family, kind, protocol, _, address = info
        if not is_open(str(address[0]), self.options.rules.networks):
            raise AddressClosed
        return socket.socket(family, kind, protocol)


def _refusal(code: ErrorCode, message: str, field: str) -> RequestError:
    return RequestError(code, f"{field} {message}", field=field)
