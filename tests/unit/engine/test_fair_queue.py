"""A queue that serves its clients in turn."""

import pytest

from service.engine.fair_queue import FairQueue
from service.engine.request import Request, Sampling
from service.engine.sequence import Sequence


def queued(*clients: str) -> FairQueue:
    queue = FairQueue()
    for client in clients:
        queue.append(Sequence(Request((), Sampling(4), client=client)))
    return queue


def drained(queue: FairQueue) -> str:
    return "".join(queue.popleft().request.client for _ in range(len(queue)))


def test_one_client_is_served_in_order() -> None:
    """Runs of one client, or of nobody in particular, come in the order of their arrival."""
    queue, runs = FairQueue(), [Sequence(Request((), Sampling(n))) for n in range(1, 5)]
    for run in runs:
        queue.append(run)
    assert [queue.popleft() for _ in runs] == runs


def test_clients_take_turns() -> None:
    """One run of each client comes after another, however many one of them has."""
    assert drained(queued(*"aaaaabbc")) == "abcabaaa"


def test_a_client_that_comes_late_waits_for_one_of_each() -> None:
    """A newcomer is served after one run of each client that was there."""
    queue = queued(*"aaaabbbb")
    queue.append(Sequence(Request((), Sampling(4), client="c")))
    assert drained(queue).index("c") == 2


def test_a_client_that_comes_back_has_no_advantage() -> None:
    """A client whose line was empty takes its turn after the others."""
    queue = queued(*"ab")
    assert queue.popleft().request.client == "a"
    for client in "aab":
        queue.append(Sequence(Request((), Sampling(4), client=client)))
    assert drained(queue) == "baba"


def test_runs_that_nobody_wants_are_forgotten() -> None:
    """Runs that were cancelled leave; the others keep their order, and the length is right."""
    queue = queued(*"aabbc")
    queue.keep(lambda run: run.request.client != "b")
    assert (len(queue), drained(queue), len(queue)) == (3, "aca", 0)


def test_an_empty_queue_has_no_next() -> None:
    """Asking an empty queue for its next is an error."""
    with pytest.raises(IndexError, match="the queue is empty"):
        FairQueue().popleft()
