"""What holds for the whole application."""

from fastapi.testclient import TestClient

from tests.unit.api.conftest import Connect


def test_an_unknown_route_is_not_found(client: TestClient) -> None:
    """An unknown route gets a 404 in the common form of errors."""
    response = client.get("/nothing")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_a_wrong_method_is_refused(client: TestClient) -> None:
    """A wrong method gets a 405 with the allowed methods."""
    response = client.get("/caption")
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_origins_are_allowed_by_name(connect: Connect) -> None:
    """Pages of allowed origins may read the response; pages of other origins may not."""
    client = connect(cors_origins="https://a.example, https://b.example")
    allowed = client.get("/healthz", headers={"origin": "https://b.example"})
    other = client.get("/healthz", headers={"origin": "https://c.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://b.example"
    assert "access-control-allow-origin" not in other.headers


def test_openapi_describes_both_bodies(client: TestClient) -> None:
    """/openapi.json describes the JSON and the multipart body of /caption."""
    content = client.get("/openapi.json").json()["paths"]["/caption"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    assert "image" in content["multipart/form-data"]["schema"]["properties"]
