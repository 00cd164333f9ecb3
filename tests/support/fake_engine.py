"""An OpenAI-compatible server whose faults a test chooses: in a thread, or as a program.

`python fake_engine.py (--port N | --socket PATH) [--start FAULT]`. The last text of a request chooses how
it is answered; see `ANSWERS`.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

WORDS = ["a red circle ", "left of ", "a blue square"]
TEXT = "".join(WORDS)
USAGE = {"prompt_tokens": 60, "completion_tokens": 9, "total_tokens": 69}
TRACE = 'Traceback (most recent call last):\n  File "/opt/secret/engine.py", line 7, in step\n'
SECONDS = 20.0


class FakeEngine:
    """What a test sees of the server, and how it steers it."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.traces: list[str | None] = []
        self.healthy = True
        self.proceed = threading.Event()  # `wait` goes on
        self.hung_up = threading.Event()  # a client has closed its connection
        self.running = 0
        self.most_running = 0
        self.url = ""
        self.stop: Callable[[], None] = lambda: None


def choice(part: str, message: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, part: message, "logprobs": None, "finish_reason": reason, "token_ids": None}


class Handler(BaseHTTPRequestHandler):
    """Answers as the last text of a request says."""

    protocol_version = "HTTP/1.1"
    engine: FakeEngine

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if self.path == "/health":
            self.send(200 if self.engine.healthy else 503, b"")
        elif self.path == "/v1/models":
            card = {"id": "tiny", "object": "model", "owned_by": "vllm", "max_model_len": 512}
            self.json(200, {"object": "list", "data": [card]})
        else:
            self.json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.engine.bodies.append(body)
        self.engine.keys.append(self.headers.get("authorization"))
        self.engine.traces.append(self.headers.get("traceparent"))
        self.engine.running += 1
        self.engine.most_running = max(self.engine.most_running, self.engine.running)
        try:
            ANSWERS.get(last_text(body), answer)(self, body)
        finally:
            self.engine.running -= 1

    def json(self, status: int, document: object) -> None:
        self.send(status, json.dumps(document).encode())

    def send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def start_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def piece(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def event(self, document: object) -> None:
        self.piece(b"data: " + json.dumps(document).encode() + b"\n\n")

    def end_stream(self) -> None:
        self.piece(b"data: [DONE]\n\n")
        self.piece(b"")


def last_text(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return next((part["text"] for part in reversed(content or []) if part["type"] == "text"), "")


def answer(handler: Handler, body: dict[str, Any], extra: dict[str, Any] | None = None) -> None:
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


def wait(handler: Handler, body: dict[str, Any]) -> None:
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


def hang(handler: Handler, body: dict[str, Any]) -> None:
    """Says nothing until the test says so."""
    handler.engine.proceed.wait(SECONDS)
    with suppress(OSError):
        answer(handler, body)


def break_off(handler: Handler, body: dict[str, Any]) -> None:
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


def fail_late(handler: Handler, body: dict[str, Any]) -> None:
    """Reports an error in the middle of a stream."""
    handler.start_stream()
    handler.event({"choices": [choice("delta", {"content": WORDS[0]})]})
    handler.event(
        {"error": {"message": TRACE + "EngineDeadError", "type": "InternalServerError", "code": 500}}
    )
    handler.end_stream()


def stream_of(*documents: object) -> Callable[[Handler, dict[str, Any]], None]:
    def send(handler: Handler, body: dict[str, Any]) -> None:
        handler.start_stream()
        for document in documents:
            handler.event(document)
        handler.end_stream()

    return send


def status(number: int, document: object) -> Callable[[Handler, dict[str, Any]], None]:
    return lambda handler, _: handler.json(number, document)


def calls_tool(handler: Handler, body: dict[str, Any]) -> None:
    """Calls a tool instead of answering."""
    call = {"id": "call-1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    whole = choice("message", message, "tool_calls")
    handler.json(200, {"choices": [whole], "usage": USAGE})


def default_too_long(handler: Handler, body: dict[str, Any]) -> None:
    """Refuses max_tokens."""
    if "max_tokens" in body:
        handler.json(400, {"error": {"message": "max_tokens is too large: 1024", "code": 400}})
    else:
        answer(handler, body)


def die(handler: Handler, body: dict[str, Any]) -> None:
    """Ends the whole server with a prompt in its last words."""
    sys.stderr.write(f"ValueError: cannot answer {json.dumps(body)}\n")
    sys.stderr.flush()
    os._exit(3)


def error(message: str, **fields: object) -> dict[str, object]:
    return {"error": {"message": message, "type": "BadRequestError", "code": 400, **fields}}


ANSWERS: dict[str, Callable[[Handler, dict[str, Any]], None]] = {
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


class UnixServer(ThreadingMixIn, UnixStreamServer):
    """HTTP on a Unix socket."""

    daemon_threads = True

    def get_request(self) -> Any:
        connection, _ = super().get_request()
        return connection, ("unix", 0)


@contextmanager
def fake_engine() -> Iterator[FakeEngine]:
    """The server in a thread."""
    engine = FakeEngine()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"engine": engine}))
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    engine.stop = stop
    engine.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield engine
    finally:
        engine.proceed.set()
        stop()
        thread.join(SECONDS)


def main() -> None:
    """Serve as a program, with one of the faults of a start."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--socket")
    parser.add_argument("--start", default="")
    parser.add_argument("--child-file")
    options = parser.parse_args()
    print("Loading weights: 100%", flush=True)  # noqa: T201 - its log
    if options.start == "dies":
        sys.exit("RuntimeError: no kernel image is available for this GPU")
    if options.start == "never":
        time.sleep(60)
    if options.child_file:  # a process of another group, as a careless server has
        child = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
        Path(options.child_file).write_text(str(child.pid))
    handler = type("Bound", (Handler,), {"engine": FakeEngine()})
    server: Any
    if options.socket:
        server = UnixServer(options.socket, handler)
    else:
        server = ThreadingHTTPServer(("127.0.0.1", options.port), handler)
    with suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
