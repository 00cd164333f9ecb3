"""What holds for every test, and the one server that all tests share."""

import inspect
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.server import ROOT, Server, start

# A busy machine may take long over any example.
settings.register_profile("capstan", deadline=None)
settings.load_profile("capstan")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that does not say in one sentence what it shows."""
    for item in items:
        sentence = inspect.getdoc(getattr(item, "obj", None)) or ""
        if not sentence.partition("\n\n")[0].rstrip().endswith("."):
            raise pytest.UsageError(f"{item.nodeid}: the docstring is not a sentence of behavior")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `make serve` runs, with the example images open to requests."""
    log = tmp_path_factory.mktemp("serve") / "serve.log"
    environment = {"CAPSTAN_IMAGE_ROOTS": str(ROOT / "examples" / "images")}
    with start(ROOT / "examples" / "local.yaml", log, environment) as found:
        yield found


@pytest.fixture(scope="session")
def address(server: Server) -> str:
    """The address of that server."""
    return server.address
