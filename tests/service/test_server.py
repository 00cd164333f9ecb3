"""The server around the captions."""

import signal
from pathlib import Path

import httpx
import psutil
import pytest

from service.errors import ErrorCode
from tests.support.images import MALFORMED
from tests.support.server import ROOT, STOP_SECONDS, serve, start

pytestmark = pytest.mark.service

CODES = {code.value for code in ErrorCode}


def test_the_model_is_listed_with_its_runner(client: httpx.Client) -> None:
    """/v1/models says which model is served and which runner executes it."""
    (card,) = client.get("/v1/models").json()["data"]
    assert (card["id"], card["engine"]["device"], card["engine"]["dtype"]) == ("embedded", "cpu", "float32")


def test_health_is_answered_by_serve_and_by_the_service(client: httpx.Client) -> None:
    """Serve's own health route and the service's two answer 200."""
    assert [client.get(path).status_code for path in ("/-/healthz", "/healthz", "/readyz")] == [200, 200, 200]


@pytest.mark.parametrize("name", MALFORMED)
def test_an_odd_image_is_captioned_or_refused(client: httpx.Client, name: str) -> None:
    """An odd image gets a caption or a 4xx of the closed list, and the next request works."""
    make, expected = MALFORMED[name]
    response = client.post("/caption", files={"image": make()}, data={"max_tokens": "4"})
    if expected is None:
        assert response.status_code == 200, response.text
    else:
        assert 400 <= response.status_code < 500
        assert response.json()["error"]["code"] == expected
        assert expected in CODES
    assert client.get("/readyz").status_code == 200


def test_a_request_id_is_in_header_and_body_once(client: httpx.Client) -> None:
    """The client's X-Request-ID comes back, once, in the header and in the body."""
    response = client.post("/caption", json={}, headers={"x-request-id": "trace-3"})
    assert response.headers.get_list("x-request-id") == ["trace-3"]
    assert response.json()["request_id"] == "trace-3"


def test_a_serve_config_file_with_a_prefix(tmp_path_factory: pytest.TempPathFactory) -> None:
    """examples/caption_deploy.yaml serves under /my-api and captions an image by its path."""
    log = tmp_path_factory.mktemp("deploy") / "serve.log"
    with serve(ROOT / "examples" / "caption_deploy.yaml", log) as address:
        answer = httpx.post(address + "/caption", json={"image_path": "shapes.png"}, timeout=30).json()
    assert address.endswith("/my-api")
    assert answer["caption"] == "a red circle left of a blue square"


def test_sigterm_leaves_no_process_behind(tmp_path: Path) -> None:
    """SIGTERM ends the server with status 0, and every process that it started, HAProxy included."""
    with start(ROOT / "examples" / "local.yaml", tmp_path / "serve.log") as server:
        commands = server.commands()
        assert any(words and Path(words[0]).name.startswith("haproxy") for words in commands.values())
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(STOP_SECONDS) == 0
        assert psutil.wait_procs(list(commands), timeout=1)[1] == []
