"""The router in front of two models, as the chart runs it."""

import base64
import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
import yaml
from openai import OpenAI

from tests.chart.rendering import environment, render
from tests.support.server import ROOT, free_port, serve

pytestmark = pytest.mark.service

EXAMPLES = ROOT / "examples" / "images"
CAPTIONS = json.loads((EXAMPLES / "captions.json").read_text())
SECONDS = 30.0
# Each needs its own for a while, and a busy machine has few.
SMALL = {"decode_processes": 0, "torch_threads": 1}
STATS_PORT = free_port()


def application(name: str, replicas: int) -> dict[str, Any]:
    return {
        "name": name,
        "route_prefix": f"/{name}",
        "import_path": "service.app:build",
        "args": {"served_model_name": name, **SMALL},
        "deployments": [
            {"name": "Model", "num_replicas": replicas, "ray_actor_options": {"num_cpus": 0.1}},
        ],
    }


@pytest.fixture(scope="module")
def serve_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve with one replica of `a` and two of `b`, and with the chart's variables for affinity."""
    directory = tmp_path_factory.mktemp("router")
    config = directory / "config.yaml"
    served = {"proxy_location": "HeadOnly", "http_options": {}}
    config.write_text(yaml.safe_dump(served | {"applications": [application("b", 2), application("a", 1)]}))
    head = environment(render({"router": {"enabled": True}}).head["containers"][0])
    variables = {name: head[name] for name in head if name.startswith("RAY_SERVE_HAPROXY_BALANCE")}
    assert variables
    variables["RAY_SERVE_HAPROXY_STATS_PORT"] = str(STATS_PORT)
    with serve(config, directory / "serve.log", variables) as address:
        _wait(f"{address.removesuffix('/b')}/a/readyz")
        yield address.removesuffix("/b")


@pytest.fixture(scope="module")
def router(serve_address: str) -> Iterator[str]:
    """The address of a router for both models."""
    with running({name: f"{serve_address}/{name}" for name in "ab"}) as address:
        yield address


@contextmanager
def running(models: dict[str, str]) -> Iterator[str]:
    port = free_port()
    arguments = [f"--model={name}={address}" for name, address in models.items()]
    command = [sys.executable, "-m", "service.router", f"--port={port}", *arguments]
    with subprocess.Popen(command) as process:  # noqa: S603 - the command above
        try:
            _wait(f"http://127.0.0.1:{port}/-/healthz")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            assert process.wait(SECONDS) == 0


def _wait(url: str) -> None:
    deadline, seen = time.monotonic() + SECONDS, "nothing yet"
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=SECONDS).status_code == 200:
                return
        except httpx.HTTPError as error:
            seen = repr(error)
        time.sleep(0.1)
    raise RuntimeError(f"{url} is not ready after {SECONDS} s; last seen: {seen}")


@pytest.fixture(scope="module")
def client(router: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{router}/v1", api_key="none", max_retries=0, timeout=SECONDS) as connected:
        yield connected


def question(name: str = "shapes.png", text: str = "Describe the image.") -> list[Any]:
    content = base64.b64encode((EXAMPLES / name).read_bytes()).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{content}"}}
    return [{"role": "user", "content": [image, {"type": "text", "text": text}]}]


@pytest.mark.parametrize("model", ["a", "b"])
def test_one_address_serves_both_models(client: OpenAI, model: str) -> None:
    """The official client gets the caption from each model, whole and as a stream."""
    answer = client.chat.completions.create(model=model, messages=question())
    assert (answer.model, answer.choices[0].message.content) == (model, CAPTIONS["shapes.png"])
    chunks = list(client.chat.completions.create(model=model, messages=question(), stream=True))
    assert {chunk.model for chunk in chunks} == {model}
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(texts) == CAPTIONS["shapes.png"]


def test_both_models_are_listed(client: OpenAI) -> None:
    """The official client lists both models and gets NotFoundError for another."""
    assert [model.id for model in client.models.list()] == ["a", "b"]
    assert client.models.retrieve("b").id == "b"
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="c", messages=question())
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


def test_a_mistake_is_explained_by_the_model(client: OpenAI) -> None:
    """The answer of a model that refuses a request passes unchanged."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="a", messages=question(), reasoning_effort="low")
    assert refused.value.code == "unsupported_parameter"


def served() -> list[int]:
    """The requests that each replica of `b` has had, by the statistics of Serve's proxy."""
    text = httpx.get(f"http://127.0.0.1:{STATS_PORT}/stats;csv", timeout=SECONDS).text
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    return [int(row["stot"]) for row in rows if "SERVE_REPLICA" in row["svname"] and "b" in row["pxname"]]


def test_requests_with_the_same_image_reach_the_same_replica(client: OpenAI) -> None:
    """One replica gets all requests for an image, whatever their text; other requests reach both."""
    before = served()
    assert len(before) == 2
    for number in range(6):
        client.chat.completions.create(model="b", messages=question(text=f"Question {number}?"), max_tokens=1)
    same = [after - earlier for after, earlier in zip(served(), before, strict=True)]
    assert sorted(same) == [0, 6]
    for number in range(12):
        text = [{"role": "user", "content": f"Question {number}?"}]
        client.chat.completions.create(model="b", messages=text, max_tokens=1)  # type: ignore[call-overload]
    assert min(after - earlier for after, earlier in zip(served(), before, strict=True)) > 0
