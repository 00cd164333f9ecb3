"""The programs in the chart: the model download and the smoke test."""

import importlib.util
import io
import json
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from service.checkpoint import source
from service.errors import CheckpointError
from tests.chart.rendering import CHART

MODELS = [
    {"source": "some/model", "revision": "abc", "token": "TOKEN_0"},
    {"source": "other/model", "revision": "", "token": "TOKEN_1"},
]


def program(name: str) -> ModuleType:
    """Import a program of the chart as a new module."""
    spec = importlib.util.spec_from_file_location(name, CHART / "files" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("MODEL_CACHE", str(tmp_path / "cache"))
    module = program("download")
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module, "POLL_INTERVAL_SECONDS", 0.0)
    (tmp_path / "models.json").write_text(json.dumps(MODELS))
    return module


def test_wait_ends_when_the_models_are_fetched(download: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model is fetched at its revision and with its own token; then `wait` returns at once."""
    calls: list[tuple[str, str | None, str | None]] = []
    environment = download.os.environ
    monkeypatch.setenv("TOKEN_0", "hf_one")
    monkeypatch.setenv("HF_TOKEN", "hf_of_another_user")
    monkeypatch.setattr(
        source,
        "locate",
        lambda name, revision: calls.append((name, revision, environment.get("HF_TOKEN"))),
    )
    download.fetch(MODELS)
    assert calls == [("some/model", "abc", "hf_one"), ("other/model", None, None)]
    download.wait(MODELS, 0.0)


def test_a_mark_names_the_model_and_the_revision(download: ModuleType) -> None:
    """Marks of two revisions differ, so a new revision is downloaded."""
    assert [download.mark(model).name for model in MODELS] == ["some--model@abc", "other--model@main"]


def test_wait_times_out(download: ModuleType) -> None:
    """If a model does not arrive, `wait` fails with its name and where to look."""
    with pytest.raises(TimeoutError, match=r"some/model, other/model: not in the cache after 0 s; see the"):
        download.wait(MODELS, 0.0)


def test_an_error_of_the_hub_is_one_log_line(
    download: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the hub refuses, the Job logs the sentence, exits with 1 and leaves no mark."""

    def refuse(name: str, revision: str | None) -> None:
        raise CheckpointError(f"model {name!r} is gated; set HF_TOKEN")

    monkeypatch.setattr(source, "locate", refuse)
    monkeypatch.setattr("sys.argv", ["download.py", "fetch"])
    assert download.main() == 1
    assert caplog.messages[-1] == "model 'some/model' is gated; set HF_TOKEN"
    assert not download.mark(MODELS[0]).exists()


class Server:
    """A fake server: each answer is a caption or an error status."""

    def __init__(self, *answers: str | int) -> None:
        self.answers = list(answers)
        self.requests: list[urllib.request.Request] = []

    def __call__(self, request: urllib.request.Request, *, timeout: float) -> Any:
        assert timeout > 0
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            raise urllib.error.HTTPError(request.full_url, answer, "refused", Message(), None)
        return io.BytesIO(json.dumps({"caption": answer}).encode())


@pytest.fixture
def smoke(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("ADDRESS", "http://serve:8000")
    monkeypatch.setenv("MODELS", '{"small": "", "large": "/large"}')
    monkeypatch.setenv("TIMEOUT_SECONDS", "60")
    module = program("smoke_test")
    monkeypatch.setattr(module, "RETRY_INTERVAL_SECONDS", 0.0)
    return module


def test_every_model_is_called_with_the_key(
    smoke: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each model is called at its path with the key, retried while not ready, and its caption printed."""
    server = Server(503, "a red circle", "a blue square")
    monkeypatch.setenv("API_KEY", "sk-test")
    monkeypatch.setattr(smoke.urllib.request, "urlopen", server)
    assert smoke.main() == 0
    assert [r.full_url.removeprefix("http://serve:8000") for r in server.requests] == [
        "/caption",
        "/caption",
        "/large/caption",
    ]
    assert {r.get_header("Authorization") for r in server.requests} == {"Bearer sk-test"}
    assert capsys.readouterr().out == "small: a red circle\nlarge: a blue square\n"


def test_a_wrong_key_is_not_retried(
    smoke: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong key fails the test at once, and so does an empty caption at the deadline."""
    monkeypatch.setenv("TIMEOUT_SECONDS", "-1")
    monkeypatch.setattr(smoke.urllib.request, "urlopen", Server(401, " "))
    assert smoke.main() == 1
    said = capsys.readouterr().err
    assert "small: no caption: HTTP Error 401" in said
    assert "large: no caption: the caption is empty" in said
