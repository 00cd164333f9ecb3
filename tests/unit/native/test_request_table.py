"""Which request waits for which answer."""

import asyncio
from collections.abc import Callable
from functools import wraps

import pytest

from service.errors import ErrorCode, RequestError
from service.native.answer import Answer
from service.native.request_handle import RequestHandle
from service.native.request_table import RequestTable
from service.protocol.request import FinishReason, Request, Sampling


def on_a_loop(test: Callable[[], None]) -> Callable[[], None]:
    """A test that needs a running event loop, though it awaits nothing."""

    @wraps(test)
    def wrapped() -> None:
        async def body() -> None:
            test()

        asyncio.run(body())

    return wrapped


def opened(
    table: RequestTable, key: str | None = None, deadline: float | None = None, client: str = ""
) -> tuple[Answer, RequestHandle]:
    answer = Answer(0, Request((), Sampling(4), client=client), key=key)
    handle = RequestHandle(lambda _: None, deadline=deadline)
    table.open([(answer, handle)])
    return answer, handle


@on_a_loop
def test_an_answer_that_no_request_waits_for_is_cancelled() -> None:
    """When the only request that waits for an answer leaves, the answer is done."""
    table = RequestTable(9)
    answer, handle = opened(table)
    table.leave(handle)
    assert (answer.done, len(table), table.counters.cancelled) == (True, 0, 1)


@on_a_loop
def test_leaving_twice_counts_once() -> None:
    """A request that is given up again, or that has ended, changes nothing."""
    table = RequestTable(9)
    answer, handle = opened(table)
    table.leave(handle)
    table.leave(handle)
    assert table.counters.cancelled == 1
    answer, handle = opened(table)
    answer.finish = FinishReason.STOP
    table.end(answer)
    table.leave(handle)
    assert (table.counters.cancelled, table.counters.finished) == (1, 1)


@on_a_loop
def test_a_shared_answer_goes_on_for_those_that_stay() -> None:
    """One of two that share an answer may leave; the other still gets its end."""
    table = RequestTable(9)
    (first, one), (second, other) = opened(table, "key"), opened(table, "key")
    assert not table.share(first)
    assert table.share(second)
    table.leave(one)
    assert not first.done
    first.finish = FinishReason.STOP
    assert table.end(first) == [other]
    assert (len(table), table.counters.shared) == (0, 1)


@on_a_loop
def test_a_cancelled_answer_is_not_shared() -> None:
    """A request that comes after an equal one was given up gets an answer of its own."""
    table = RequestTable(9)
    (first, one), (second, _) = opened(table, "key"), opened(table, "key")
    table.share(first)
    table.leave(one)
    assert not table.share(second)


@on_a_loop
def test_deadlines_are_those_of_the_requests() -> None:
    """Of two that share an answer, only the one whose deadline has passed ends."""
    table = RequestTable(9)
    (first, hasty), (second, _) = opened(table, "key", deadline=10), opened(table, "key", deadline=20)
    table.share(first)
    table.share(second)
    assert table.overdue(10) == []
    ((late, _, error),) = table.overdue(11)
    assert (late, error.code) == (hasty, ErrorCode.DEADLINE_EXCEEDED)
    assert not first.done
    assert table.overdue(12) == []
    assert len(table.overdue(21)) == 1
    assert first.done


@on_a_loop
def test_too_many_requests_are_refused_with_the_numbers() -> None:
    """Beyond the limit a request is refused, and nothing of it is left behind."""
    table = RequestTable(1)
    opened(table)
    with pytest.raises(RequestError, match="1 requests are in flight; the limit is 1") as caught:
        opened(table)
    assert caught.value.code is ErrorCode.OVERLOADED
    assert (len(table), table.counters.refused) == (1, 1)


@on_a_loop
def test_closing_ends_all_and_refuses_others() -> None:
    """When the engine ends, every request is returned and counted, and a later one is refused."""
    table = RequestTable(9)
    answers = [opened(table)[0] for _ in range(3)]
    assert len(table.close(RequestError(ErrorCode.NOT_READY, "closed"))) == 3
    assert all(answer.done for answer in answers)
    with pytest.raises(RequestError, match="closed"):
        opened(table)
    assert (len(table), table.counters.failed) == (0, 3)


def admitted(table: RequestTable, client: str, asked: int) -> int:
    """How many of the requests that a client sends at once are taken."""
    taken = 0
    for _ in range(asked):
        try:
            opened(table, client=client)
        except RequestError:
            continue
        taken += 1
    return taken


@on_a_loop
def test_one_client_cannot_fill_the_queue() -> None:
    """A client alone gets three quarters of the places, and one that comes then still finds some."""
    table = RequestTable(400, slots=8)
    assert admitted(table, "greedy", 1000) == 300
    assert admitted(table, "late", 1000) == 75
    assert admitted(table, "later", 1) == 1


@on_a_loop
def test_ten_greedy_clients_leave_places_for_another() -> None:
    """However often ten clients ask, they hold equal shares in the end, and a newcomer is taken."""
    table = RequestTable(576, slots=64)
    held = [list[RequestHandle]() for _ in range(10)]
    for turn in range(20_000):
        who = turn % 10
        try:
            held[who].append(opened(table, client=f"greedy-{who}")[1])
        except RequestError:
            if held[(who + turn // 10) % 10]:  # a request ends
                table.leave(held[(who + turn // 10) % 10].pop(0))
    assert max(map(len, held)) <= 3 * (576 - len(table)) + 1
    assert len(table) < 576
    assert admitted(table, "new", 1) == 1


@on_a_loop
def test_places_that_would_run_at_once_are_for_all() -> None:
    """As long as not all slots are taken, no client is refused for its share."""
    table = RequestTable(72, slots=64)
    assert admitted(table, "greedy", 100) == 64
    assert admitted(table, "late", 100) == 6


@on_a_loop
def test_without_keys_all_places_are_for_all() -> None:
    """Where clients have no names, the whole queue is there for them."""
    assert admitted(RequestTable(400, slots=8), "", 1000) == 400


@on_a_loop
def test_a_place_that_is_given_back_counts_no_more() -> None:
    """Requests that ended, were shared or given up no longer count against their client."""
    table = RequestTable(8)
    opened_ones = [opened(table, "key", client="greedy") for _ in range(6)]
    with pytest.raises(RequestError, match="6 requests of greedy are in flight; its share of the queue is 6"):
        opened(table, client="greedy")
    for answer, _ in opened_ones:
        table.share(answer)
    table.leave(opened_ones[1][1])
    table.overdue(0)
    opened_ones[0][0].finish = FinishReason.STOP
    assert len(table.end(opened_ones[0][0])) == 5
    assert len(table) == 0
    assert admitted(table, "greedy", 9) == 6


@on_a_loop
def test_admission_can_be_checked_beforehand() -> None:
    """Checking refuses as opening would, and takes no place."""
    table = RequestTable(1)
    table.check_admission("alice")
    opened(table)
    with pytest.raises(RequestError, match="1 requests are in flight; the limit is 1"):
        table.check_admission("alice")
    assert (len(table), table.counters.refused) == (1, 1)
