"""A hub of one repository on this machine, as far as `snapshot_download` asks it.

Source: the HTTP API that huggingface_hub calls, with its error codes in the header X-Error-Code.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"

ERRORS = {
    "org/absent": (404, "RepoNotFound"),
    "org/gated": (403, "GatedRepo"),
}


class Handler(BaseHTTPRequestHandler):
    """Answers for the files of `folder` under the id ``org/model``."""

    folder: Path

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""

    def _answer(self, *, body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        for repository, (status, code) in ERRORS.items():
            if repository in path:
                self._send(status, b"{}", {"X-Error-Code": code}, body=body)
                return
        if path.endswith("/revision/gone"):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body=body)
        elif path.startswith("/api/models/org/model/revision/"):
            self._json({"id": "org/model", "sha": COMMIT, "siblings": []}, body=body)
        elif path.startswith("/api/models/org/model/tree/"):
            self._json([self._entry(file) for file in sorted(self.folder.iterdir())], body=body)
        elif path.startswith(f"/org/model/resolve/{COMMIT}/"):
            content = (self.folder / Path(path).name).read_bytes()
            self._send(200, content, {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT}, body=body)
        else:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, body=body)

    def _entry(self, file: Path) -> dict[str, object]:
        content = file.read_bytes()
        return {"type": "file", "path": file.name, "size": len(content), "oid": _digest(content)}

    def _json(self, content: object, *, body: bool) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"}, body=body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def _digest(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder as ``org/model``; gives the address."""
    handler = type("Hub", (Handler,), {"folder": folder})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
