"""vLLM behind the service, as `make engines VLLM=/path/to/vllm` runs it; the official client asks."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from openai import OpenAI

from tests.service.test_openai import CAPTION, question
from tests.support.server import ROOT, serve

VLLM = os.environ.get("VLLM", "")
# For an idle machine without a GPU; on a busy one, vLLM takes minutes to start.
SECONDS = 600.0
OPTIONS = "--dtype float32 --max-model-len 512 --max-num-seqs 64 --host {host} --port {port}"

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(not VLLM, reason="VLLM names no vllm executable (make engines VLLM=...)"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("vllm")
    config = yaml.safe_load((ROOT / "examples" / "local.yaml").read_text())
    command = f"{shlex.quote(VLLM)} serve {{model}} {OPTIONS}"
    config["applications"][0] |= {
        "import_path": "service.app:build",
        "args": {"engine": "command", "engine_command": command, "engine_pass": ["vllm"]},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    environment = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with serve(path, folder / "serve.log", environment, ready_seconds=SECONDS) as found:
        yield found


@pytest.fixture
def client(address: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60) as connected:
        yield connected


def test_a_whole_answer(client: OpenAI) -> None:
    """VLLM captions the example image as the native engine does, and says what it cost."""
    answer = client.chat.completions.create(model="embedded", messages=question())
    assert answer.choices[0].message.content == CAPTION
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 1


def test_a_streamed_answer(client: OpenAI) -> None:
    """The same caption comes in pieces, then its cost."""
    stream = client.chat.completions.create(
        model="embedded", messages=question(), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == CAPTION
    assert len(list(filter(None, texts))) > 1
    assert chunks[-1].usage is not None


def test_probabilities_are_passed(client: OpenAI) -> None:
    """What only vLLM has reaches the client: the probabilities of the tokens."""
    answer = client.chat.completions.create(
        model="embedded", messages=question(), logprobs=True, top_logprobs=2, max_completion_tokens=3
    )
    assert answer.choices[0].logprobs is not None
    assert len(answer.choices[0].logprobs.content or []) == 3


def test_a_caption(address: str) -> None:
    """POST /caption works, and GET /v1/models names vLLM."""
    image = Path(ROOT / "examples" / "images" / "shapes.png")
    answer = httpx.post(f"{address}/caption", files={"image": image.read_bytes()}, timeout=60).json()
    assert answer["caption"]
    engine = httpx.get(f"{address}/v1/models", timeout=60).json()["data"][0]["engine"]
    assert (engine["kind"], engine["runner"], engine["context_length"]) == ("command", "vllm", 512)


def test_its_refusals_are_ours(address: str) -> None:
    """What vLLM refuses about a request is our error, with our code."""
    body = {"messages": question(), "logit_bias": {"not a token": 1}}
    response = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_request"
