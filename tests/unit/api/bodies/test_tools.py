"""Tools and reasoning in the bodies of POST /v1/chat/completions."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.protocol.chat_format import ChatFormat
from service.protocol.request import Grammar
from tests.unit.api.conftest import StubEngine
from tests.unit.api.routes.chats import QUESTION, ask, refusal

LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
GO = {"type": "function", "function": {"name": "go", "description": "Go.", "strict": True}}
CHOSEN = {"type": "function", "function": {"name": "go"}}


@pytest.fixture
def engine(engine: StubEngine) -> StubEngine:
    engine.chat_format = ChatFormat(tools=True, thinks=True, switch=True)
    return engine


def test_tools_reach_the_template(client: TestClient, engine: StubEngine) -> None:
    """The template gets tools as they came but for `strict`, and none if none may be called."""
    ask(client, tools=[LOOK, GO])
    plain = {"type": "function", "function": {"name": "go", "description": "Go."}}
    assert engine.asked[-1].passed == {"tools": [LOOK, plain]}
    ask(client, tools=[LOOK], tool_choice="none")
    assert engine.asked[-1].passed == {}


CALLS: list[tuple[Any, bool, list[str], bool]] = [
    ("required", True, ["look", "go"], False),
    ("required", False, ["look", "go"], True),
    (CHOSEN, True, ["go"], True),
]


@pytest.mark.parametrize(("choice", "parallel", "names", "single"), CALLS)
def test_a_call_that_must_be_made_is_a_grammar(
    client: TestClient, engine: StubEngine, choice: Any, parallel: bool, names: list[str], single: bool
) -> None:
    """`required` or a tool by name makes the answer match calls."""
    fields = {"tools": [LOOK, GO], "tool_choice": choice, "parallel_tool_calls": parallel}
    assert ask(client, **fields).status_code == 200
    grammar = engine.asked[-1].sampling.grammar
    assert isinstance(grammar, Grammar)
    calls = json.loads(grammar.text)
    assert (grammar.kind, grammar.source, calls["single"]) == ("tool_calls", "tools", single)
    assert [function["name"] for function in calls["functions"]] == names


def test_other_choices_leave_the_answer_free(client: TestClient, engine: StubEngine) -> None:
    """With `auto` the model decides, so nothing has to match."""
    ask(client, tools=[LOOK], tool_choice="auto")
    assert engine.asked[-1].sampling.grammar is None


TOO_MANY = [{"type": "function", "function": {"name": f"f{number}"}} for number in range(129)]
LONG = {"type": "function", "function": {"name": "f", "description": "x" * 70_000}}
BAD = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "[]"}}]}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "too many": ({"tools": TOO_MANY}, "tools"),
    "too large": ({"tools": [LONG]}, "tools"),
    "a name with a blank": (
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools.0.function.name",
    ),
    "another type": ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "tools.0.type"),
    "no tools": ({"tool_choice": "required"}, "tool_choice"),
    "another tool": ({"tools": [LOOK], "tool_choice": CHOSEN}, "tool_choice"),
    "call and format": (
        {"tools": [LOOK], "tool_choice": "required", "response_format": {"type": "json_object"}},
        "tool_choice",
    ),
    "endless call": ({"tools": [LOOK], "tool_choice": "required", "ignore_eos": True}, "ignore_eos"),
    "another variable": ({"chat_template_kwargs": {"x": True}}, "chat_template_kwargs.x"),
    "no arguments": ({"messages": [BAD]}, "messages.0.tool_calls.0.function.arguments"),
    "null said": ({"messages": [{"role": "assistant", "content": None}]}, "messages.0.content"),
    "nothing said": ({"messages": [{"role": "assistant"}]}, "messages.0.content"),
    "a result of nothing": ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
    "long call": (
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "1", "function": {"name": "f", "arguments": json.dumps({"a": "x" * 100_001})}}
                    ],
                }
            ]
        },
        "messages",
    ),
}


@pytest.mark.parametrize(("fields", "param"), WRONG.values(), ids=WRONG.keys())
def test_refuses_a_wrong_field(client: TestClient, fields: dict[str, Any], param: str) -> None:
    """A field about tools that is wrong gets a 400 that names it."""
    assert refusal(ask(client, **fields)) == (400, "invalid_request", param)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "tool", "tool_call_id": "1", "content": "x"}], "messages.0.role"),
        ([QUESTION, {"role": "assistant", "content": "a", "tool_calls": []}], "messages.1.tool_calls"),
        ([{"role": "assistant", "content": "a", "reasoning_content": "b"}], "messages.0.reasoning_content"),
    ],
)
def test_a_template_without_them_refuses_messages(
    client: TestClient, engine: StubEngine, messages: Any, param: str
) -> None:
    """Messages about tools or reasoning are refused by name where the template has no place for them."""
    engine.chat_format = ChatFormat()
    response = ask(client, messages)
    assert refusal(response) == (400, "invalid_request", param)
    assert "chat template" in response.json()["error"]["message"]


def test_a_template_without_them_refuses_fields(client: TestClient, engine: StubEngine) -> None:
    """The fields are refused by name where the template has no such variable."""
    engine.chat_format = ChatFormat(thinks=True)
    assert refusal(ask(client, tools=[LOOK]))[1:] == ("unsupported_parameter", "tools")
    thinking = {"enable_thinking": False}
    assert refusal(ask(client, chat_template_kwargs=thinking))[1:] == (
        "unsupported_parameter",
        "chat_template_kwargs",
    )
    engine.chat_format = ChatFormat(switch=True)
    assert ask(client, chat_template_kwargs=thinking).status_code == 200
    assert ask(client, chat_template_kwargs={}, tools=[], tool_choice="none").status_code == 200
