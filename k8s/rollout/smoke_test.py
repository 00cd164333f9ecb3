"""The smoke test: the new cluster captions a known image, through its own proxy."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from k8s.clients.pods import SERVE_PORT, Answer, Pods
from k8s.clients.retry import Clock, Retry
from k8s.errors import RolloutError, UnreachableError
from k8s.resources.pod import Pod
from k8s.resources.rayservice import is_embedded
from k8s.resources.snapshot import Snapshot

EXPECTED = "a red circle left of a blue square"
MAX_TOKENS = 64
TIMEOUT_S = 120.0
# A proxy needs a moment after its pod is ready.
LIMIT_S = 60.0

Json = Mapping[str, Any]
Send = Callable[[str, bytes, dict[str, str]], Answer]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one model. `passed` is None where it could not be tested."""

    model: str
    passed: bool | None
    sentence: str


def known_image() -> bytes:
    """The image whose caption is known, as a PNG file."""
    return (files("k8s") / "known.png").read_bytes()


def caption_request(image: bytes, kind: str, **fields: str) -> tuple[bytes, str]:
    """The multipart body of a caption request for an image of a media type, and its own content type."""
    boundary = "capstan-smoke-test"
    start = f"--{boundary}\r\nContent-Disposition: form-data; name="
    parts = [
        f'{start}"{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in {"max_tokens": MAX_TOKENS, **fields}.items()
    ]
    head = f'{start}"image"; filename="image"\r\nContent-Type: {kind}\r\n\r\n'.encode()
    body = b"".join([*parts, head, image, b"\r\n", f"--{boundary}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={boundary}"


def judge_answer(model: str, answer: Answer, *, embedded: bool, keyed: bool = False) -> Outcome:
    """Judge an answer: the known caption of the embedded model, any text of another.

    `keyed`: whether the request had a key.
    """
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        why = "refused the key in CAPSTAN_API_KEY" if keyed else "requires a key; set CAPSTAN_API_KEY"
        return Outcome(model, None, f"{model}: not tested: the service {why}")
    if answer.status != HTTPStatus.OK:
        code = error_code(answer.body)
        return Outcome(
            model, False, f"{model}: the smoke test got status {answer.status}{code}, expected 200"
        )
    try:
        caption = json.loads(answer.body)["caption"]
    except (ValueError, KeyError, TypeError):
        return Outcome(model, False, f"{model}: the smoke test's answer has no caption")
    if not isinstance(caption, str) or not caption.strip():
        return Outcome(model, False, f"{model}: the smoke test's caption is empty")
    if embedded and caption.strip() != EXPECTED:
        return Outcome(
            model, False, f"{model}: the embedded model did not answer {EXPECTED!r} to the known image"
        )
    return Outcome(model, True, f"{model}: the known image was captioned")


def proxy_pod(pods: Sequence[Pod], ray_cluster: str) -> Pod | None:
    """A pod of the RayCluster that answers HTTP: a ready worker, else the head."""
    ready = [p for p in pods if p.cluster == ray_cluster and p.ready and not p.deleting]
    return next(iter(sorted(ready, key=lambda p: p.head)), None)


def check(
    seen: Snapshot,
    configs: Mapping[str, Json],
    pods: Pods,
    key: str | None,
    say: Callable[[str], None],
    clock: Clock,
) -> None:
    """Test every model of the cluster that serves; a pod that does not answer is asked again for 60 s.

    Raises RolloutError where a model fails, or no pod answers.
    """
    serving = seen.service.active if seen.service else ""
    send = sender(pods.request, seen.pods, serving)
    idle = {app.name for app in seen.apps.get(serving, ()) if not any(d.running for d in app.deployments)}
    try:
        outcomes = Retry(LIMIT_S, say, clock).run(lambda: run(configs, send, key, idle))
    except UnreachableError as error:
        raise RolloutError(f"the smoke test got no answer: {error}") from None
    for outcome in outcomes:
        say(outcome.sentence)
    failed = [o.sentence for o in outcomes if o.passed is False]
    if failed:
        raise RolloutError("; ".join(failed))


def run(
    configs: Mapping[str, Json], send: Send, key: str | None, idle: Collection[str] = ()
) -> list[Outcome]:
    """Request a caption from every application. `send` posts a path, a body and headers.

    Those in `idle` have no replica, which a request starts, and may not answer in time.
    """
    body, content_type = caption_request(known_image(), "image/png")
    headers = {"Content-Type": content_type, **({"Authorization": f"Bearer {key}"} if key else {})}
    found = []
    for name, config in configs.items():
        path = str(config.get("route_prefix") or "/").rstrip("/") + "/caption"
        try:
            answer = send(path, body, headers)
        except UnreachableError:
            if name not in idle:
                raise
            late = f"{name}: not tested: it has no replica, and none answered within {TIMEOUT_S:.0f} s"
            found.append(Outcome(name, None, late))
            continue
        found.append(judge_answer(name, answer, embedded=is_embedded(config), keyed=bool(key)))
    return found


def sender(request: Callable[..., Answer], pods: Sequence[Pod], ray_cluster: str) -> Send:
    """A `Send` to the proxy of one pod of the RayCluster. Raises RolloutError where none is ready."""
    found = proxy_pod(pods, ray_cluster)
    if found is None:
        raise RolloutError(f"smoke test: no pod of {ray_cluster} is ready")
    pod = found.name

    def send(path: str, body: bytes, headers: dict[str, str]) -> Answer:
        return request(pod, SERVE_PORT, path, method="POST", headers=headers, body=body, timeout_s=TIMEOUT_S)

    return send


def error_code(body: bytes) -> str:
    """The public code of an error answer, as text to append; empty without one."""
    try:
        return f" ({json.loads(body)['error']['code']})"
    except (ValueError, KeyError, TypeError):
        return ""
