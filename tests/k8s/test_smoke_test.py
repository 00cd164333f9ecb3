"""The smoke test: what is asked, and what an answer shows."""

import json

import pytest

from k8s.clients.pods import Answer
from k8s.errors import UnreachableError
from k8s.rollout.smoke_test import EXPECTED, caption_request, judge_answer, known_image, proxy_pod, run
from tests.k8s.objects import recorded
from tests.k8s.test_watch import World


def said(caption: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps({"caption": caption}).encode())


@pytest.mark.parametrize(
    ("answer", "embedded", "passed"),
    [
        (said(EXPECTED), True, True),
        (said("a cat"), True, False),
        (said("a cat"), False, True),
        (said("  "), False, False),
        (said(None), False, False),
        (Answer(200, b"not json"), True, False),
        (Answer(401, b"{}"), True, None),
        (Answer(503, b'{"error": {"code": "overloaded"}}'), True, False),
    ],
)
def test_read(answer: Answer, embedded: bool, passed: bool | None) -> None:
    """The embedded model must say the known text, any other something; a missing key proves nothing."""
    assert judge_answer("main", answer, embedded=embedded).passed is passed


def test_status_and_code_are_shown() -> None:
    """A refusal is reported with its status and the service's own code."""
    answer = Answer(503, b'{"error": {"code": "overloaded"}}')
    assert "status 503 (overloaded), expected 200" in judge_answer("main", answer, embedded=True).sentence


@pytest.mark.parametrize(("keyed", "why"), [(False, "requires a key"), (True, "refused the key")])
def test_key_is_shown(keyed: bool, why: str) -> None:
    """Where nothing could be tested, the sentence says whether the key is missing or wrong."""
    assert (
        f"not tested: the service {why}"
        in judge_answer("main", Answer(401, b"{}"), embedded=True, keyed=keyed).sentence
    )


def test_question() -> None:
    """The question is a form with the known image in it."""
    body, content_type = caption_request(known_image(), "image/png")
    assert known_image() in body
    assert content_type.startswith("multipart/form-data; boundary=")
    assert known_image().startswith(b"\x89PNG")


def test_run_asks_each_model_under_its_path() -> None:
    """Each application is asked under its own prefix, with the key if there is one."""
    asked: list[tuple[str, str | None]] = []

    def send(path: str, _body: bytes, headers: dict[str, str]) -> Answer:
        asked.append((path, headers.get("Authorization")))
        return said(EXPECTED)

    outcomes = run({"a": {"route_prefix": "/"}, "b": {"route_prefix": "/b"}}, send, "k")
    assert asked == [("/caption", "Bearer k"), ("/b/caption", "Bearer k")]
    assert all(o.passed for o in outcomes)


def test_a_model_without_a_replica_may_take_longer() -> None:
    """A model that has scaled to zero and does not answer in time is not tested; any other is an error."""

    def send(*_: object) -> Answer:
        raise UnreachableError("pod w:8000 does not answer (TimeoutError)")

    (outcome,) = run({"a": {}}, send, None, {"a"})
    assert outcome.passed is None
    assert "a: not tested: it has no replica" in outcome.sentence
    with pytest.raises(UnreachableError):
        run({"a": {}}, send, None, {"b"})


def test_proxy_pod() -> None:
    """A ready worker of the cluster is asked rather than the head, and none where none is ready."""
    pods = World().snapshot().pods
    cluster = recorded("clusters")[0]["metadata"]["name"]
    chosen = proxy_pod(pods, cluster)
    assert chosen is not None
    assert not chosen.head
    assert proxy_pod(pods, "another") is None
