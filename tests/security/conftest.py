"""The application of the API's unit tests, with a fetcher that fetches, for requests that mean harm."""

import asyncio
from collections.abc import Iterator

import pytest

from service.media.fetch import Fetcher, FetchOptions
from tests.unit.api.conftest import client, connect, engine

__all__ = ["client", "connect", "engine", "fetcher"]


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    """The fetcher as a replica has it."""
    found = Fetcher(FetchOptions())
    yield found
    asyncio.run(found.close())
