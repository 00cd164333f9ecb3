"""Retries of idempotent calls."""

from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from kubernetes.client import ApiClient, Configuration

from k8s.clients.kubernetes import KubernetesClient
from k8s.clients.retry import Retry
from k8s.errors import UnreachableError
from tests.k8s.world import Time

AWAY = "the API server https://api.example does not answer (ProtocolError)"


class Answer:
    """An HTTP answer of the API server."""

    status = 200

    @staticmethod
    def read() -> bytes:
        return b"{}"


class Api(ApiClient):
    """An API server that answers as a list says: False is no answer, True an empty object."""

    def __init__(self, answers: list[bool]) -> None:
        super().__init__(Configuration(host="https://api.example"))
        self.answers: Iterator[bool] = iter(answers)
        self.methods: list[str] = []

    def call_api(self, method: str, *_rest: Any, **_named: Any) -> Answer:
        self.methods.append(method)
        if not next(self.answers):
            raise urllib3.exceptions.ProtocolError("away")
        return Answer()


def client(answers: list[bool], time: Time, lines: list[str]) -> KubernetesClient:
    return KubernetesClient(Api(answers), "captions", Retry(10, lines.append, time.clock()))


@pytest.mark.parametrize("call", ["get", "delete"])
def test_idempotent_calls_are_retried(call: str) -> None:
    """Reads and deletions are retried until the API server answers, and that is said once."""
    time, lines = Time(), list[str]()
    getattr(client([False, False, True], time, lines), call)("/api/v1/pods")
    assert lines == [f"{AWAY}; retrying"]
    assert time.now == 4


def test_merge_patches_are_retried() -> None:
    """A merge patch gives the same object however often it is applied, so it is retried."""
    assert client([False, True], Time(), []).patch("/api/v1/pods/a", {}) == {}


def test_retries_end() -> None:
    """Retries end at their limit."""
    time = Time()
    with pytest.raises(UnreachableError):
        client([False] * 9, time, []).get("/api/v1/pods")
    assert time.now == 10


@pytest.mark.parametrize("call", ["create", "replace"])
def test_other_calls_are_made_once(call: str) -> None:
    """A creation or a replacement may have happened although its answer was lost; neither is repeated."""
    time = Time()
    with pytest.raises(UnreachableError):
        getattr(client([False, True], time, []), call)("/api/v1/pods", {})
    assert time.now == 0


def test_without_a_limit_nothing_is_retried() -> None:
    """A client that was given no retries fails at once."""
    with pytest.raises(UnreachableError):
        KubernetesClient(Api([False, True]), "captions").get("/api/v1/pods")
