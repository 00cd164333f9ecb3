"""A client of the one server of all tests."""

from collections.abc import Iterator

import httpx
import pytest


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=30) as connected:
        yield connected
