"""Several answers of another engine."""

from fastapi.testclient import TestClient

from tests.support.fake_answers import TEXT
from tests.support.fake_engine import FakeEngine
from tests.unit.external.test_forwarding import ask, chunks


def test_the_other_server_gets_a_request_for_each_answer(client: TestClient, server: FakeEngine) -> None:
    """For `n` answers, as many requests with seeds one apart are forwarded, and none has an `n`."""
    answer = ask(client, "describe", n=3, seed=5, temperature=1.0).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert [choice["message"]["content"] for choice in answer["choices"]] == [TEXT] * 3
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (60, 27)
    assert sorted(body["seed"] for body in server.bodies) == [5, 6, 7]
    assert not any(body.get("n", 1) > 1 for body in server.bodies)


def test_streams_of_several_answers_are_one(client: TestClient) -> None:
    """The chunks of all answers come as one stream, each with the index of its answer."""
    texts = ["", ""]
    for chunk in chunks(ask(client, "describe", n=2, stream=True).text):
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == [TEXT, TEXT]


def test_a_failure_ends_all_answers(client: TestClient, server: FakeEngine) -> None:
    """Where the other server refuses one, the request fails, and no answer keeps its place."""
    assert ask(client, "busy", n=3).status_code >= 400
    assert ask(client, "describe", n=3).status_code == 200
