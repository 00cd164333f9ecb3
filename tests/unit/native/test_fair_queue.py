"""A queue that serves its clients in turn."""

import pytest

from service.native.answer import Answer
from service.native.intake import FairQueue
from service.protocol.request import Request, Sampling


def answer_of(client: str = "") -> Answer:
    return Answer(0, Request((), Sampling(4), client=client))


def queued(*clients: str) -> FairQueue:
    queue = FairQueue()
    for client in clients:
        queue.append(answer_of(client))
    return queue


def drained(queue: FairQueue) -> str:
    return "".join(queue.popleft().request.client for _ in range(len(queue)))


def test_one_client_is_served_in_order() -> None:
    """Answers of one client, or without one, come in the order of their arrival."""
    queue, answers = FairQueue(), [answer_of() for _ in range(4)]
    for answer in answers:
        queue.append(answer)
    assert [queue.popleft() for _ in answers] == answers


def test_clients_take_turns() -> None:
    """One answer of each client comes after another, however many one of them has."""
    assert drained(queued(*"aaaaabbc")) == "abcabaaa"


def test_a_client_that_comes_late_waits_for_one_of_each() -> None:
    """A newcomer is served after one answer of each client that was there."""
    queue = queued(*"aaaabbbb")
    queue.append(answer_of("c"))
    assert drained(queue).index("c") == 2


def test_a_client_that_comes_back_has_no_advantage() -> None:
    """A client whose line was empty takes its turn after the others."""
    queue = queued(*"ab")
    assert queue.popleft().request.client == "a"
    for client in "aab":
        queue.append(answer_of(client))
    assert drained(queue) == "baba"


def test_cancelled_answers_are_dropped() -> None:
    """Answers that were cancelled leave; the others keep their order, and the length is right."""
    queue = queued(*"aabbc")
    queue.keep(lambda answer: answer.request.client != "b")
    assert (len(queue), drained(queue), len(queue)) == (3, "aca", 0)


def test_an_empty_queue_has_no_next() -> None:
    """Asking an empty queue for its next is an error."""
    with pytest.raises(IndexError, match="the queue is empty"):
        FairQueue().popleft()
