"""A caption server in a thread: captions an image by its bytes, after the refusals that a test gives it."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIELD = re.compile(rb'name="(\w+)".*?\r\n\r\n(.*?)\r\n--', re.DOTALL)
Refusal = tuple[int, str, dict[str, str]]  # status, error code, headers


@dataclass
class FakeServer:
    """What a test sees of the server, and how it steers it. `refusals` are given first, one a request."""

    url: str = ""
    seconds: float = 0.0
    key: str | None = None
    refusals: list[Refusal] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    fields: list[dict[str, str]] = field(default_factory=list)
    now: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    # Set once this many images have a caption.
    enough: int = 0
    reached: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    """Answers as the HTTP API does."""

    protocol_version = "HTTP/1.1"
    fake: FakeServer

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if self.fake.key and self.headers["authorization"] != f"Bearer {self.fake.key}":
            self.send(401, {"error": {"code": "invalid_api_key", "message": "key is unknown"}})
        else:
            self.send(200, {"data": [{"id": "fake"}]})

    def do_POST(self) -> None:
        body, fake = self.rfile.read(int(self.headers["content-length"])), self.fake
        with fake.lock:
            refusal = fake.refusals.pop(0) if fake.refusals else None
            fake.now += 1
            fake.most = max(fake.most, fake.now)
        time.sleep(fake.seconds)
        found = dict(FIELD.findall(body))
        image = found.pop(b"image").decode()
        with fake.lock:
            fake.now -= 1
            if refusal is None:
                fake.images.append(image)
                if len(fake.images) == fake.enough:
                    fake.reached.set()
                fake.fields.append({name.decode(): value.decode() for name, value in found.items()})
        if refusal is not None:
            status, code, headers = refusal
            self.send(status, {"error": {"code": code, "message": f"{code} it is"}}, headers)
        elif image == "bad":
            self.send(400, {"error": {"code": "invalid_image", "message": "image is damaged"}})
        else:
            usage = {"prompt_tokens": 60, "image_tiles": 1, "completion_tokens": 9}
            self.send(
                200, {"caption": f"of {image}", "finish_reason": "stop", "model": "fake", "usage": usage}
            )

    def send(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    """Says nothing of a client that is gone."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None: ...


@contextmanager
def fake_server(seconds: float = 0.0) -> Iterator[FakeServer]:
    """Serve until the test is done; each caption takes `seconds`."""
    fake = FakeServer(seconds=seconds)
    server = Server(("127.0.0.1", 0), type("Handler", (Handler,), {"fake": fake}))
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
