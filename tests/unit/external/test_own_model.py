"""A class of the user's own behind the API, as docs/own-model.md has it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.api.application import create_application
from service.api.backend import Backend
from service.api.bodies.images import image_limits
from service.errors import StartupError
from service.external.start import external_engine
from service.media.decode import LocalDecoder
from service.media.fetch import Fetcher
from service.metrics.telemetry import Telemetry
from service.settings import Settings
from tests.support.images import saved
from tests.support.server import ROOT

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "examples" / "own_model"
SECONDS = 10.0


def filled(color: str) -> bytes:
    """An image of one color."""
    return saved(Image.new("RGB", (8, 8), color))


def settings(name: str, directory: Path) -> Settings:
    """The settings of docs/own-model.md for a class."""
    program = f"env PYTHONPATH={ROOT}:{directory} {sys.executable} -m service.model_server"
    command = f"{program} {name} --model {{model}} --name {{name}} --uds {{socket}}"
    return Settings(model="big-model", engine="command", engine_command=command, engine_start_timeout=60)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """A client of the API in front of the example's class."""
    given = settings("big_model:BigModel", EXAMPLE)
    engine = external_engine(given, 0, LocalDecoder(image_limits(given)))
    engine.start()
    telemetry = Telemetry.from_settings(given)
    backend = Backend(engine, given, given.generation_defaults, cast("Fetcher", None), telemetry)
    with TestClient(create_application(backend)) as connected:
        yield connected
        engine.close(SECONDS)


def test_the_class_captions(client: TestClient) -> None:
    """POST /caption has the text of `answer`, under the model's own name."""
    answer = client.post("/caption", files={"image": filled("blue")}).json()
    assert (answer["caption"], answer["finish_reason"], answer["model"]) == (
        "mostly blue",
        "stop",
        "big-model",
    )


def test_the_class_streams(client: TestClient) -> None:
    """Each piece that `answer` yields is an event of a stream."""
    sent = client.post("/caption", files={"image": filled("red")}, data={"stream": "true"})
    pieces = [line for line in sent.text.splitlines() if line.startswith('data: {"text"')]
    assert pieces == ['data: {"text":"mostly "}', 'data: {"text":"red"}']


def test_max_tokens_bounds_the_pieces(client: TestClient) -> None:
    """An answer is cut after `max_tokens` pieces and says so."""
    answer = client.post("/caption", files={"image": filled("red")}, data={"max_tokens": "1"}).json()
    assert (answer["caption"], answer["finish_reason"]) == ("mostly", "length")


def test_a_conversation_is_refused(client: TestClient) -> None:
    """A chat with several turns, which such a class cannot answer, is a 400 that says why."""
    turns = [{"role": role, "content": "hello"} for role in ("user", "assistant", "user")]
    answer = client.post("/v1/chat/completions", json={"model": "big-model", "messages": turns})
    assert answer.status_code == 400
    assert "this model answers one question" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "class Broken:\n answer = print\n def load(self, model): raise MemoryError('no memory')",
            "no memory",
        ),
        ("class Broken: ...", "is not MODULE:CLASS of a class with load and answer"),
    ],
)
def test_a_class_that_does_not_load_says_why(code: str, reason: str, tmp_path: Path) -> None:
    """The replica does not start, and its error has the cause."""
    (tmp_path / "broken.py").write_text(code)
    given = settings("broken:Broken", tmp_path)
    with pytest.raises(StartupError, match=reason):
        external_engine(given, 0, LocalDecoder(image_limits(given)))
