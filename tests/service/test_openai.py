"""The official OpenAI client against the server as `make serve` serves it."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.support.server import ROOT

pytestmark = pytest.mark.service

EXAMPLES = ROOT / "examples" / "images"
NAME, CAPTION = next(iter(json.loads((EXAMPLES / "captions.json").read_text()).items()))
SECONDS = 30
# A reader that falls behind gets several pieces as one, so one stream alone shows little.
STREAMS = 8


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=SECONDS) as connected:
        yield connected


def question(text: str = "Describe the image.") -> list[Any]:
    file = base64.b64encode((EXAMPLES / NAME).read_bytes()).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{file}"}}
    return [{"role": "user", "content": [image, {"type": "text", "text": text}]}]


def test_an_image_gets_its_caption(client: OpenAI) -> None:
    """The official client gets the caption of an image, with its cost."""
    answer = client.chat.completions.create(model="embedded", messages=question())
    assert answer.choices[0].message.content == CAPTION
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_is_the_same_text_in_pieces(client: OpenAI) -> None:
    """The official client gets the same caption word by word, then what it cost."""
    pieces: list[str] = []
    for _ in range(STREAMS):
        stream = client.chat.completions.create(
            model="embedded", messages=question(), stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(texts) == CAPTION
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens > 1
        pieces += filter(None, texts)
    assert len(pieces) > STREAMS


def test_several_answers_are_those_of_several_requests(client: OpenAI) -> None:
    """The official client gets `n` answers, whole and streamed: those of requests with seeds one apart."""
    asked: Any = {"model": "embedded", "messages": question(), "temperature": 2.0, "max_tokens": 8}
    alone = [client.chat.completions.create(**asked, seed=seed) for seed in (5, 6, 7)]
    whole = client.chat.completions.create(**asked, seed=5, n=3, logprobs=True)
    texts = [one.choices[0].message.content for one in alone]
    assert [choice.message.content for choice in whole.choices] == texts
    assert all(choice.logprobs is not None and choice.logprobs.content for choice in whole.choices)
    assert whole.usage is not None
    assert alone[0].usage is not None
    assert whole.usage.prompt_tokens == alone[0].usage.prompt_tokens
    assert whole.usage.completion_tokens == sum(one.usage.completion_tokens for one in alone if one.usage)
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, seed=5, n=3, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts


def test_the_models_are_listed(client: OpenAI) -> None:
    """The official client lists the model, and finds it by name."""
    assert [model.id for model in client.models.list()] == ["embedded"]
    assert client.models.retrieve("embedded").owned_by == "capstan"


def test_the_same_seed_gives_the_same_text(client: OpenAI) -> None:
    """A sampled answer is repeated by its seed."""
    texts = {
        client.chat.completions.create(model="embedded", messages=question(), temperature=2.0, seed=5)
        .choices[0]
        .message.content
        for _ in range(2)
    }
    assert len(texts) == 1


def test_a_text_ends_at_its_limits(client: OpenAI) -> None:
    """max_completion_tokens cuts an answer, a stop string ends it."""
    cut = client.chat.completions.create(model="embedded", messages=question(), max_completion_tokens=2)
    assert cut.choices[0].finish_reason == "length"
    assert CAPTION.startswith(cut.choices[0].message.content or "?")
    word = CAPTION.split()[2]
    stopped = client.chat.completions.create(model="embedded", messages=question(), stop=[word])
    assert stopped.choices[0].message.content == CAPTION[: CAPTION.index(word)]


def test_a_refusal_is_the_official_clients_own_error(client: OpenAI) -> None:
    """A parameter that is not supported raises BadRequestError that names it."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="embedded", messages=question(), reasoning_effort="low")
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "reasoning_effort")


def test_a_client_that_goes_away_frees_its_place(client: OpenAI, address: str) -> None:
    """A stream that is closed after its first word leaves the server free for the next request."""
    stream = client.chat.completions.create(
        model="embedded", messages=question(), stream=True, temperature=2.0, seed=1, max_tokens=900
    )
    next(iter(stream))
    stream.close()
    begun = time.monotonic()
    assert httpx.post(f"{address}/caption", json={"image_path": NAME}, timeout=SECONDS).status_code == 200
    assert time.monotonic() - begun < SECONDS / 2


def test_captions_stream_over_http(address: str) -> None:
    """A streamed caption arrives in more than one piece."""
    deltas = 0
    for _ in range(STREAMS):
        with httpx.stream(
            "POST", f"{address}/caption", json={"image_path": NAME, "stream": True}, timeout=SECONDS
        ) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = [line for line in response.iter_lines() if line.startswith("data: ")]
        assert json.loads(lines[-1].removeprefix("data: "))["caption"] == CAPTION
        deltas += len(lines) - 1
    assert deltas > STREAMS
