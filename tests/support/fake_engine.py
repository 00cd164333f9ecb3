"""An OpenAI-compatible server whose faults a test chooses: in a thread, or as a program.

`python -m tests.support.fake_engine (--port N | --socket PATH) [--start FAULT]`. The last text of a request
chooses how it is answered; see fake_answers.py.
"""

import argparse
import json
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

from tests.support.fake_answers import ANSWERS, SECONDS, answer, last_text


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
