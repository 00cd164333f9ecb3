"""GET /v1/models and GET /v1/tiles."""

import pytest
from fastapi.testclient import TestClient

from service.media.tiles import TileSpec, Tiling
from tests.unit.api.conftest import Connect, StubEngine


def test_models_lists_the_one_that_is_served(connect: Connect) -> None:
    """/v1/models names the served model, its revision and adapter, and the runner in use."""
    client = connect(model="org/name", model_revision="abc", served_model_name="vision", adapter="org/lora")
    (card,) = client.get("/v1/models").json()["data"]
    assert (card["id"], card["revision"], card["object"]) == ("vision", "abc", "model")
    assert (card["adapter"], card["adapter_revision"]) == ("org/lora", None)
    assert card["engine"] == {
        "kind": "native",
        "runner": "fused",
        "device": "cpu",
        "dtype": "float32",
        "quantization": None,
        "max_concurrent_sequences": 64,
        "context_length": 4096,
        "startup_seconds": {"read": 1.5},
    }


def test_one_model_is_found_by_its_name(connect: Connect) -> None:
    """/v1/models/NAME finds a name that holds a slash."""
    client = connect(model="org/name")
    assert client.get("/v1/models/org/name").json()["id"] == "org/name"


def test_an_unknown_model_is_not_found(client: TestClient) -> None:
    """/v1/models/NAME answers 404 for another model."""
    response = client.get("/v1/models/other")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


@pytest.fixture
def engine() -> StubEngine:
    """Cuts as the published InternVL2 checkpoints do."""
    return StubEngine(tiling=Tiling(TileSpec(size=448, max_tiles=12), tokens_per_tile=256))


@pytest.mark.parametrize(
    ("size", "grid", "tiles"),
    [((1024, 768), (4, 3), 13), ((448, 448), (1, 1), 1), ((4000, 500), (8, 1), 9)],
)
def test_tiles_of_a_size(
    client: TestClient, size: tuple[int, int], grid: tuple[int, int], tiles: int
) -> None:
    """/v1/tiles says how an image of some size is cut and what its tiles cost."""
    cut = client.get("/v1/tiles", params={"width": size[0], "height": size[1]}).json()["cut"]
    assert cut == {
        "columns": grid[0],
        "rows": grid[1],
        "thumbnail": tiles > 1,
        "tile_size": 448,
        "tiles": tiles,
        "tokens": 256 * tiles,
    }


def test_no_tiles_of_another_family(client: TestClient, engine: StubEngine) -> None:
    """For a model whose own processor takes images in another way, there is no cut."""
    engine.tiling = None
    assert client.get("/v1/tiles", params={"width": 10, "height": 10}).json() == {"cut": None}


@pytest.mark.parametrize("query", [{}, {"width": 0, "height": 1}, {"width": 1, "height": 10**7}])
def test_refuses_a_size_that_is_none(client: TestClient, query: dict[str, int]) -> None:
    """A size that is missing or out of bounds gets a 400."""
    response = client.get("/v1/tiles", params=query)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
