"""Who waits for which run."""

import asyncio
from collections.abc import Callable
from functools import wraps

import pytest

from service.engine.flights import Flights
from service.engine.generation import Generation
from service.engine.request import FinishReason, Request, Sampling
from service.engine.run import Run
from service.errors import ErrorCode, RequestError


def on_a_loop(test: Callable[[], None]) -> Callable[[], None]:
    """A test that needs a running event loop, though it awaits nothing."""

    @wraps(test)
    def run() -> None:
        async def body() -> None:
            test()

        asyncio.run(body())

    return run


def opened(
    flights: Flights, key: str | None = None, deadline: float | None = None, client: str = ""
) -> tuple[Run, Generation]:
    run, listener = (
        Run(Request((), Sampling(4), client=client), key=key),
        Generation(lambda _: None, deadline=deadline),
    )
    flights.open(run, listener)
    return run, listener


@on_a_loop
def test_a_run_nobody_waits_for_is_cancelled() -> None:
    """When the only one who waits for a run leaves, the run is done."""
    flights = Flights(9)
    run, listener = opened(flights)
    flights.leave(listener)
    assert (run.done, len(flights), flights.counters.cancelled) == (True, 0, 1)


@on_a_loop
def test_leaving_twice_counts_once() -> None:
    """A request that is given up again, or that has ended, changes nothing."""
    flights = Flights(9)
    run, listener = opened(flights)
    flights.leave(listener)
    flights.leave(listener)
    assert flights.counters.cancelled == 1
    run, listener = opened(flights)
    run.finish = FinishReason.STOP
    flights.end(run)
    flights.leave(listener)
    assert (flights.counters.cancelled, flights.counters.finished) == (1, 1)


@on_a_loop
def test_a_shared_run_goes_on_for_those_who_stay() -> None:
    """One of two who share a run may leave; the other still gets its end."""
    flights = Flights(9)
    (first, one), (second, other) = opened(flights, "key"), opened(flights, "key")
    assert not flights.share(first)
    assert flights.share(second)
    flights.leave(one)
    assert not first.done
    first.finish = FinishReason.STOP
    assert flights.end(first) == [other]
    assert (len(flights), flights.counters.shared) == (0, 1)


@on_a_loop
def test_a_cancelled_run_is_not_shared() -> None:
    """A request that comes after a like one was given up gets a run of its own."""
    flights = Flights(9)
    (first, one), (second, _) = opened(flights, "key"), opened(flights, "key")
    flights.share(first)
    flights.leave(one)
    assert not flights.share(second)


@on_a_loop
def test_deadlines_are_those_of_the_requests() -> None:
    """Of two who share a run, only the one whose deadline has passed is told so."""
    flights = Flights(9)
    (first, hasty), (second, _) = opened(flights, "key", deadline=10), opened(flights, "key", deadline=20)
    flights.share(first)
    flights.share(second)
    assert flights.overdue(10) == []
    ((late, error),) = flights.overdue(11)
    assert (late, error.code) == (hasty, ErrorCode.DEADLINE_EXCEEDED)
    assert not first.done
    assert flights.overdue(12) == []
    assert len(flights.overdue(21)) == 1
    assert first.done


@on_a_loop
def test_too_many_requests_are_refused_with_the_numbers() -> None:
    """Beyond the limit a request is refused, and nothing of it is left behind."""
    flights = Flights(1)
    opened(flights)
    with pytest.raises(RequestError, match="1 requests are in flight; the limit is 1") as caught:
        opened(flights)
    assert caught.value.code is ErrorCode.OVERLOADED
    assert (len(flights), flights.counters.refused) == (1, 1)


@on_a_loop
def test_giving_up_ends_all() -> None:
    """When the engine ends, everyone is let go and counted."""
    flights = Flights(9)
    runs = [opened(flights)[0] for _ in range(3)]
    assert len(flights.give_up()) == 3
    assert all(run.done for run in runs)
    assert (len(flights), flights.counters.failed) == (0, 3)


def admitted(flights: Flights, client: str, asked: int) -> int:
    """How many of the requests that a client sends at once are taken."""
    taken = 0
    for _ in range(asked):
        try:
            opened(flights, client=client)
        except RequestError:
            continue
        taken += 1
    return taken


@on_a_loop
def test_one_client_cannot_fill_the_queue() -> None:
    """A client alone gets three quarters of the places, and one that comes then still finds some."""
    flights = Flights(400, slots=8)
    assert admitted(flights, "greedy", 1000) == 300
    assert admitted(flights, "late", 1000) == 75
    assert admitted(flights, "later", 1) == 1


@on_a_loop
def test_ten_greedy_clients_leave_room_for_another() -> None:
    """However often ten clients ask, they hold equal shares in the end, and a newcomer is taken."""
    flights = Flights(576, slots=64)
    held = [list[Generation]() for _ in range(10)]
    for turn in range(20_000):
        who = turn % 10
        try:
            held[who].append(opened(flights, client=f"greedy-{who}")[1])
        except RequestError:
            if held[(who + turn // 10) % 10]:  # somebody's request ends
                flights.leave(held[(who + turn // 10) % 10].pop(0))
    assert max(map(len, held)) <= 3 * (576 - len(flights)) + 1
    assert len(flights) < 576
    assert admitted(flights, "new", 1) == 1


@on_a_loop
def test_places_that_would_run_at_once_are_for_anybody() -> None:
    """As long as not all slots are taken, no client is refused for its share."""
    flights = Flights(72, slots=64)
    assert admitted(flights, "greedy", 100) == 64
    assert admitted(flights, "late", 100) == 6


@on_a_loop
def test_without_keys_all_places_are_for_all() -> None:
    """Where clients have no names, the whole queue is there for them."""
    assert admitted(Flights(400, slots=8), "", 1000) == 400


@on_a_loop
def test_a_place_that_is_given_back_counts_no_more() -> None:
    """Requests that ended, were shared or given up no longer count against their client."""
    flights = Flights(8)
    runs = [opened(flights, "key", client="greedy") for _ in range(6)]
    with pytest.raises(RequestError, match="6 requests of greedy are in flight; its share of the queue is 6"):
        opened(flights, client="greedy")
    for run, _ in runs:
        flights.share(run)
    flights.leave(runs[1][1])
    flights.overdue(0)
    runs[0][0].finish = FinishReason.STOP
    assert len(flights.end(runs[0][0])) == 5
    assert (len(flights), flights._held, flights._clients) == (0, {}, {})


@on_a_loop
def test_room_can_be_asked_for_beforehand() -> None:
    """Asking for room refuses as taking it would, and takes none."""
    flights = Flights(1)
    flights.check_room("alice")
    opened(flights)
    with pytest.raises(RequestError, match="1 requests are in flight; the limit is 1"):
        flights.check_room("alice")
    assert (len(flights), flights.counters.refused) == (1, 1)
