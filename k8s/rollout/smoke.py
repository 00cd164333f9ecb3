"""The smoke test: a known image captioned by the cluster that was rolled out, through its own proxy."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from k8s.doors.pods import SERVE_PORT, Answer
from k8s.state.objects import Pod
from k8s.state.serve import is_embedded

EXPECTED = "a red circle left of a blue square"
MAX_TOKENS = 64
TIMEOUT_S = 120.0

Json = Mapping[str, Any]
Send = Callable[[str, bytes, dict[str, str]], Answer]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a smoke test of one model showed. `passed` is None where it could not be made."""

    model: str
    passed: bool | None
    sentence: str


def known_image() -> bytes:
    """The image whose caption is known, as a PNG file."""
    return (files("k8s") / "known.png").read_bytes()


def question(image: bytes) -> tuple[bytes, str]:
    """The multipart body of a caption request, and its content type."""
    edge = "capstan-smoke-test"
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="max_tokens"\r\n\r\n{MAX_TOKENS}\r\n'.encode(),
        f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="known.png"\r\n'
        "Content-Type: image/png\r\n\r\n".encode()
        + image
        + b"\r\n",
        f"--{edge}--\r\n".encode(),
    ]
    return b"".join(parts), f"multipart/form-data; boundary={edge}"


def read(model: str, answer: Answer, *, embedded: bool, keyed: bool = False) -> Outcome:
    """What an answer shows: the right text of the embedded model, some text of any other.

    `keyed`: whether a key was sent.
    """
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        why = "refuses the key of" if keyed else "wants a key; give it in"
        return Outcome(model, None, f"{model}: not tested: the service {why} CAPSTAN_API_KEY")
    if answer.status != HTTPStatus.OK:
        code = _code(answer.body)
        return Outcome(model, False, f"{model}: the smoke test got status {answer.status}{code}, wanted 200")
    try:
        caption = json.loads(answer.body)["caption"]
    except (ValueError, KeyError, TypeError):
        return Outcome(model, False, f"{model}: the smoke test's answer holds no caption")
    if not isinstance(caption, str) or not caption.strip():
        return Outcome(model, False, f"{model}: the smoke test's caption is empty")
    if embedded and caption.strip() != EXPECTED:
        return Outcome(
            model, False, f"{model}: the embedded model did not answer {EXPECTED!r} to the known image"
        )
    return Outcome(model, True, f"{model}: the known image was captioned")


def proxy_pod(pods: Sequence[Pod], cluster: str) -> Pod | None:
    """A pod of the cluster that answers HTTP: a ready worker, else the head."""
    ready = [p for p in pods if p.cluster == cluster and p.ready and not p.deleting]
    return next(iter(sorted(ready, key=lambda p: p.head)), None)


def run(configs: Mapping[str, Json], send: Send, key: str | None) -> list[Outcome]:
    """Ask every application for a caption. `send` posts a path, a body and headers, and may raise."""
    body, content_type = question(known_image())
    headers = {"Content-Type": content_type, **({"Authorization": f"Bearer {key}"} if key else {})}
    found = []
    for name, config in configs.items():
        path = str(config.get("route_prefix") or "/").rstrip("/") + "/caption"
        found.append(read(name, send(path, body, headers), embedded=is_embedded(config), keyed=bool(key)))
    return found


def sender(request: Callable[..., Answer], pod: str) -> Send:
    """A `Send` to the proxy of one pod."""

    def send(path: str, body: bytes, headers: dict[str, str]) -> Answer:
        return request(pod, SERVE_PORT, path, method="POST", headers=headers, body=body, timeout_s=TIMEOUT_S)

    return send


def _code(body: bytes) -> str:
    try:
        return f" ({json.loads(body)['error']['code']})"
    except (ValueError, KeyError, TypeError):
        return ""
