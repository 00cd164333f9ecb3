"""One server for all tests of this folder."""

from collections.abc import Iterator

import httpx
import pytest

from tests.service.server import ROOT, serve


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of what `make serve` runs, with the example images open to requests."""
    log = tmp_path_factory.mktemp("serve") / "serve.log"
    environment = {"CAPSTAN_IMAGE_ROOTS": str(ROOT / "examples" / "images")}
    with serve(ROOT / "examples" / "local.yaml", log, environment) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=30) as connected:
        yield connected
