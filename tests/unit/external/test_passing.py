"""Parameters that another engine gets as they are (CAPSTAN_ENGINE_PASS)."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from service.settings import Settings
from tests.support.fake_engine import FakeEngine
from tests.unit.external.conftest import Connect
from tests.unit.external.test_forwarding import ask, chunks

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def test_nothing_is_passed_by_default(client: TestClient, server: FakeEngine) -> None:
    """Without the setting, a parameter that we do not know is refused by name."""
    response = ask(client, "describe", reasoning_effort="low")
    assert response.json()["error"]["code"] == "unsupported_parameter"
    assert server.bodies == []


@pytest.mark.parametrize("names", ["vllm", "sglang", "logprobs, top_logprobs"])
def test_passed_parameters_arrive(connect: Connect, server: FakeEngine, names: str) -> None:
    """A passed parameter reaches the other server, and the answer keeps what came of it."""
    response = ask(connect(engine_pass=names), "describe", logprobs=True, top_logprobs=2)
    assert server.bodies[0]["logprobs"] is True
    assert server.bodies[0]["top_logprobs"] == 2
    assert response.json()["choices"][0]["logprobs"]["content"][0]["logprob"] == -0.5


def test_what_no_preset_has_is_refused(connect: Connect) -> None:
    """A preset passes what its server has and no more."""
    client = connect(engine_pass="vllm")
    assert ask(client, "describe", mm_processor_kwargs={}).status_code == 400
    assert ask(client, "describe", best_of=2).status_code == 400


def test_tools_work_whole(connect: Connect, server: FakeEngine) -> None:
    """A tool call comes back to the client, and its result goes to the other server."""
    client = connect(engine_pass="vllm")
    answer = ask(client, "call a tool", tools=[TOOL], tool_choice="auto").json()["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["tool_calls"][0]["function"]["name"] == "look"
    history = [
        {"role": "user", "content": "call a tool"},
        answer["message"],
        {"role": "tool", "tool_call_id": "call-1", "content": "a square"},
    ]
    assert client.post("/v1/chat/completions", json={"messages": history}).status_code == 200
    _, call, result = server.bodies[1]["messages"]
    assert call["tool_calls"] == answer["message"]["tool_calls"]
    assert result == history[2]


def test_streams_keep_what_came(connect: Connect) -> None:
    """Each chunk of a stream has the fields of the other server's, without its internals."""
    response = ask(connect(engine_pass="vllm"), "describe", stream=True)
    for one in chunks(response.text):
        assert set(one["choices"][0]) == {"index", "delta", "logprobs", "finish_reason"}


def test_passed_parameters_count_as_prompt(connect: Connect) -> None:
    """Tools count towards the limit of a prompt."""
    client = connect(engine_pass="vllm", max_prompt_characters=50)
    response = ask(client, "describe", tools=[TOOL])
    assert "CAPSTAN_MAX_PROMPT_CHARACTERS" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine_pass": "stream"}, "stream cannot be passed on"),
        ({"engine_pass": "n"}, "n cannot be passed on"),
        ({"engine": "native"}, "engine_url is set, but engine is native"),
        ({"engine": "command"}, "engine_command is not set"),
        ({"engine_command": "vllm serve"}, "engine_command is set, but engine is url"),
        ({"engine_url": "ftp://x"}, "engine_url"),
        ({"engine_url": "http://user:secret@x"}, "engine_url"),
    ],
)
def test_contradictory_settings_are_refused(changes: dict[str, Any], words: str) -> None:
    """Settings of another engine that contradict each other are refused with the name of one."""
    with pytest.raises(ValidationError, match=words):
        Settings(**{"engine": "url", "engine_url": "http://x", **changes})
