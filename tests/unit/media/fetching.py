"""What tests of the fetcher ask it, and what they expect."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from service.errors import ErrorCode, RequestError
from service.media.fetch import Fetcher
from tests.support.image_server import Answer, Site, fetcher, site, whole


async def fetched(url: str, by: Fetcher) -> bytes:
    try:
        return await by.fetch(url, field="image_url")
    finally:
        await by.close()


def refused(url: str, by: Fetcher) -> RequestError:
    with pytest.raises(RequestError) as error:
        asyncio.run(fetched(url, by))
    return error.value


def answered(answer: Answer, path: str = "/", **options: object) -> bytes | RequestError:
    """What a fetch gives from a site with this answer."""
    return asyncio.run(answer_of(answer, path, **options))


async def answer_of(answer: Answer, path: str = "/", **options: object) -> bytes | RequestError:
    """See `answered`."""
    async with site(answer) as here:
        by = fetcher(here.port, **options)  # type: ignore[arg-type]
        try:
            return await fetched(here.url(path), by)
        except RequestError as error:
            return error


def code(result: bytes | RequestError) -> ErrorCode:
    assert isinstance(result, RequestError)
    return result.code


def other(port: int) -> AbstractAsyncContextManager[Site]:
    """A server that must never be reached, on another of this machine's addresses."""
    return site(whole(b"evil"), address="127.0.0.2", port=port)
