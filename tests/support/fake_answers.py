"""The answers of the fake OpenAI-compatible server, good and bad, by the last text of a request."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.fake_engine import Handler

SECONDS = 20.0
WORDS = ["a red circle ", "left of ", "a blue square"]
TEXT = "".join(WORDS)
USAGE = {"prompt_tokens": 60, "completion_tokens": 9, "total_tokens": 69}
TRACE = 'Traceback (most recent call last):\n  File "/opt/secret/engine.py", line 7, in step\n'


def choice(part: str, message: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, part: message, "logprobs": None, "finish_reason": reason, "token_ids": None}


def last_text(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return next((part["text"] for part in reversed(content or []) if part["type"] == "text"), "")


def answer(handler: "Handler", body: dict[str, Any], extra: dict[str, Any] | None = None) -> None:
    """A good answer, with all that was asked for."""
    extra = extra or {}
    if not body.get("stream"):
        message = {"role": "assistant", "content": TEXT, "tool_calls": [], **extra}
        whole = choice("message", message, "stop")
        if body.get("logprobs"):
            whole["logprobs"] = {
                "content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]
            }
        handler.json(200, {"id": "x", "object": "chat.completion", "choices": [whole], "usage": USAGE})
        return
    handler.start_stream()
    handler.event({"choices": [choice("delta", {"role": "assistant", "content": ""})]})
    for word in WORDS:
        handler.event({"choices": [choice("delta", {"content": word, **extra})]})
    handler.event({"choices": [choice("delta", {}, "stop")]})
    handler.event({"choices": [], "usage": USAGE})
    handler.end_stream()


def wait(handler: "Handler", body: dict[str, Any]) -> None:
    """Sends the first word, and the others once the test says so; notes whether anybody still listens."""
    handler.start_stream()
    handler.event({"choices": [choice("delta", {"role": "assistant", "content": WORDS[0]})]})
    deadline = time.monotonic() + SECONDS
    try:
        while not handler.engine.proceed.wait(0.02) and time.monotonic() < deadline:
            handler.piece(b": still here\n\n")
        handler.event({"choices": [choice("delta", {"content": "".join(WORDS[1:])}, "stop")]})
        handler.event({"choices": [], "usage": USAGE})
        handler.end_stream()
    except OSError:
        handler.engine.hung_up.set()
        handler.close_connection = True


def hang(handler: "Handler", body: dict[str, Any]) -> None:
    """Says nothing until the test says so."""
    handler.engine.proceed.wait(SECONDS)
    with suppress(OSError):
        answer(handler, body)


def break_off(handler: "Handler", body: dict[str, Any]) -> None:
    """Ends the connection in the middle of an answer."""
    if body.get("stream"):
        handler.start_stream()
        handler.event({"choices": [choice("delta", {"content": WORDS[0]})]})
    else:
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def fail_late(handler: "Handler", body: dict[str, Any]) -> None:
    """Reports an error in the middle of a stream."""
    handler.start_stream()
    handler.event({"choices": [choice("delta", {"content": WORDS[0]})]})
    handler.event(
        {"error": {"message": TRACE + "EngineDeadError", "type": "InternalServerError", "code": 500}}
    )
    handler.end_stream()


def stream_of(*documents: object) -> Callable[["Handler", dict[str, Any]], None]:
    def send(handler: "Handler", body: dict[str, Any]) -> None:
        handler.start_stream()
        for document in documents:
            handler.event(document)
        handler.end_stream()

    return send


def status(number: int, document: object) -> Callable[["Handler", dict[str, Any]], None]:
    return lambda handler, _: handler.json(number, document)


def calls_tool(handler: "Handler", body: dict[str, Any]) -> None:
    """Calls a tool instead of answering."""
    call = {"id": "call-1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    whole = choice("message", message, "tool_calls")
    handler.json(200, {"choices": [whole], "usage": USAGE})


def default_too_long(handler: "Handler", body: dict[str, Any]) -> None:
    """Refuses max_tokens."""
    if "max_tokens" in body:
        handler.json(400, {"error": {"message": "max_tokens is too large: 1024", "code": 400}})
    else:
        answer(handler, body)


def die(handler: "Handler", body: dict[str, Any]) -> None:
    """Ends the whole server with a prompt in its last words."""
    sys.stderr.write(f"ValueError: cannot answer {json.dumps(body)}\n")
    sys.stderr.flush()
    os._exit(3)


def error(message: str, **fields: object) -> dict[str, object]:
    return {"error": {"message": message, "type": "BadRequestError", "code": 400, **fields}}


ANSWERS: dict[str, Callable[["Handler", dict[str, Any]], None]] = {
    "wait": wait,
    "hang": hang,
    "break off": break_off,
    "fail late": fail_late,
    "die": die,
    "call a tool": calls_tool,
    "too long by default": default_too_long,
    "nonsense: html": lambda handler, _: handler.send(200, b"<html>Bad gateway</html>"),
    "nonsense: list": status(200, []),
    "nonsense: no choices": status(200, {"usage": USAGE}),
    "nonsense: no usage": status(200, {"choices": [choice("message", {"content": "x"}, "stop")]}),
    "nonsense: content": status(
        200, {"choices": [choice("message", {"content": 7}, "stop")], "usage": USAGE}
    ),
    "nonsense: two": status(
        200, {"choices": [choice("message", {"content": "x"}, "stop")] * 2, "usage": USAGE}
    ),
    "nonsense: chunks": stream_of({"choices": "none"}),
    "nonsense: no end": stream_of({"choices": [choice("delta", {"content": "x"})]}),
    "refuse": status(400, error("top_p must be in (0, 1], got 2.", param="top_p")),
    "refuse: context": status(400, error("This model's maximum context length is 512 tokens. However, ...")),
    "refuse: detail": status(422, {"detail": [{"msg": "field required", "input": "secret"}]}),
    "busy": status(429, error("too many")),
    "leak": status(400, error(TRACE + "ValueError: boom at <Engine object at 0x7f00deadbeef>")),
    "leak: path": status(
        400,
        error(
            "cannot open /opt/secret/engine.py, see http://10.0.0.1:81/x: {'type': 'x', 'input': 'secret'}"
        ),
    ),
    "leak: 500": status(500, error(TRACE)),
    "wrong key": status(401, error("Unauthorized")),
}
