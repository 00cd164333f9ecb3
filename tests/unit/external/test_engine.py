"""The engine in front of another server: streams, places, its watch over the server."""

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import Any

import pytest

from service.errors import EngineStopped, ErrorCode, RequestError, StartupError
from service.external.engine import ExternalEngine
from service.protocol.request import TRACE_HEADERS, Request, Sampling, Turn
from service.protocol.stats import Work
from tests.support.fake_answers import TEXT, WORDS
from tests.support.fake_engine import FakeEngine
from tests.unit.external.conftest import SECONDS, Start, until


def question(text: str, **fields: Any) -> Request:
    return Request(turns=(Turn("user", (text,)),), sampling=Sampling(max_tokens=16), **fields)


def run(work: Awaitable[Any]) -> Any:
    async def in_time() -> Any:
        return await asyncio.wait_for(work, SECONDS)

    return asyncio.run(in_time())


async def stopped(engine: ExternalEngine) -> None:
    """Close the engine as a replica does."""
    await asyncio.to_thread(engine.close, SECONDS)


def test_a_stream_is_not_buffered(start: Start, server: FakeEngine) -> None:
    """A piece arrives while the other server still writes the next."""
    engine = start()

    async def read() -> list[str]:
        pieces: list[str] = []
        async for piece in engine.submit(question("wait")).stream():
            pieces.append(piece)
            server.proceed.set()
        await stopped(engine)
        return pieces

    assert run(read()) == [WORDS[0], "".join(WORDS[1:])]


def test_a_client_that_leaves_cancels_the_request(start: Start, server: FakeEngine) -> None:
    """A stream that is given up ends the connection to the other server, and frees the place."""
    engine = start()

    async def leave() -> None:
        handle = engine.submit(question("wait"))
        assert await anext(handle.stream()) == WORDS[0]
        handle.cancel()
        assert await asyncio.to_thread(server.hung_up.wait, SECONDS)
        assert engine.stats().cancelled == 1
        assert engine.stats().slots_free == engine.describe().slots
        await stopped(engine)

    run(leave())


def test_a_cancelled_task_cancels_the_request(start: Start, server: FakeEngine) -> None:
    """A whole answer that no one awaits any longer ends the connection, too."""
    engine = start()

    async def leave() -> None:
        task = asyncio.create_task(engine.submit(question("hang")).result())
        await asyncio.to_thread(until, lambda: server.running == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.stats().cancelled == 1
        await stopped(engine)

    run(leave())


def test_more_requests_than_slots_wait(start: Start, server: FakeEngine) -> None:
    """The other server gets as many requests at a time as there are slots; all are answered."""
    engine = start(max_concurrent_sequences=2)

    async def send() -> set[str]:
        tasks = [asyncio.create_task(engine.submit(question("hang")).result()) for _ in range(12)]
        await asyncio.to_thread(until, lambda: server.running == 2)
        assert engine.stats().waiting == 10
        server.proceed.set()
        texts = {(await task).text for task in tasks}
        await stopped(engine)
        return texts

    assert run(send()) == {TEXT}
    assert server.most_running == 2
    assert engine.stats().finished == 12
    assert engine.stats().decode_tokens == 12 * 9


def test_slots_in_use_are_its_work(start: Start, server: FakeEngine) -> None:
    """For the autoscaler, a replica with all slots in use is full; those who wait are work by their time."""
    engine = start(max_concurrent_sequences=2)

    async def load() -> None:
        assert engine.stats().work == Work(rate=0.0, queued=0.0, request=0.0)
        await engine.submit(question("describe")).result()
        tasks = [asyncio.create_task(engine.submit(question("hang")).result()) for _ in range(5)]
        await asyncio.to_thread(until, lambda: server.running == 2)
        work = engine.stats().work
        assert work is not None
        assert work.rate == 1.0
        assert work.queued == pytest.approx(3 * work.request)
        assert work.request > 0.0
        server.proceed.set()
        await asyncio.gather(*tasks)
        await stopped(engine)

    run(load())


def test_clients_take_turns(start: Start, server: FakeEngine) -> None:
    """A client with one request waits for one of each other client, however many those have."""
    engine = start(max_concurrent_sequences=1)

    async def send() -> None:
        tasks = [
            asyncio.create_task(engine.submit(question(f"greedy {number}", client="greedy")).result())
            for number in range(5)
        ]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(engine.submit(question("modest", client="modest")).result()))
        await asyncio.gather(*tasks)
        await stopped(engine)

    run(send())
    texts = [body["messages"][0]["content"] for body in server.bodies]
    assert texts.index("modest") <= 2


def test_a_full_queue_refuses(start: Start) -> None:
    """Beyond its slots and its queue, the engine refuses."""
    engine = start(max_concurrent_sequences=1, max_waiting=1)

    async def overfill() -> str:
        handles = [engine.submit(question("describe")) for _ in range(2)]
        with pytest.raises(RequestError) as caught:
            engine.submit(question("describe"))
        assert caught.value.code is ErrorCode.OVERLOADED
        for handle in handles:
            handle.cancel()
        engine.check_admission("")
        assert engine.stats().queue_limit == 1
        await stopped(engine)
        return caught.value.message

    assert "2 requests are in flight; the limit is 2" in run(overfill())


def test_an_unhealthy_server_stops_the_engine(start: Start, server: FakeEngine) -> None:
    """A server whose health check fails for long makes the replica unhealthy, until it is well again."""
    engine = start()
    engine.check()
    server.healthy = False

    def is_stopped() -> bool:
        try:
            engine.check()
        except EngineStopped as error:
            return "has not been healthy" in str(error)
        return False

    until(is_stopped)
    server.healthy = True
    until(lambda: not is_stopped())


def test_a_server_that_hangs_stops_the_engine(start: Start, server: FakeEngine) -> None:
    """A server that says nothing for the whole time of a request makes the replica unhealthy."""
    engine = start()

    async def wait_in_vain() -> None:
        with pytest.raises(RequestError):
            await engine.submit(question("hang", deadline=monotonic() + 0.1)).result()
        with pytest.raises(EngineStopped, match="answered nothing"):
            engine.check()
        await stopped(engine)

    run(wait_in_vain())


def test_one_slow_request_among_others_is_no_hang(start: Start, server: FakeEngine) -> None:
    """While others are answered, a request that is late is no sign of a server that hangs."""
    engine = start()

    async def both() -> None:
        late = asyncio.create_task(engine.submit(question("hang", deadline=monotonic() + 0.3)).result())
        await asyncio.sleep(0)
        await engine.submit(question("describe")).result()
        with pytest.raises(RequestError):
            await late
        engine.check()
        await stopped(engine)

    run(both())


def test_a_server_without_the_model(start: Start) -> None:
    """A model that the other server does not have is an error of the start that names the setting."""
    with pytest.raises(StartupError, match="no model other; set CAPSTAN_ENGINE_MODEL"):
        start(engine_model="other")


def test_a_server_that_is_not_there(start: Start) -> None:
    """A server that never becomes healthy ends the start in time, with what was last seen."""
    with pytest.raises(StartupError, match=r"not healthy within 0.2 s .*last seen: ConnectionRefusedError"):
        start(engine_url="http://127.0.0.1:9", engine_start_timeout=0.2)


def test_the_key_of_the_server(start: Start, server: FakeEngine, tmp_path: Any) -> None:
    """The key in the file is sent with every request."""
    file = tmp_path / "key"
    file.write_text("abc\n")
    engine = start(engine_key_file=str(file))

    async def ask() -> None:
        await engine.submit(question("describe")).result()
        await stopped(engine)

    run(ask())
    assert server.keys == ["Bearer abc"]


def test_the_other_server_joins_the_trace(start: Start, server: FakeEngine) -> None:
    """The other server gets the trace context of the request, and none while tracing is off."""
    engine = start()
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def ask() -> None:
        await engine.submit(question("hello")).result()
        TRACE_HEADERS.set({"traceparent": traceparent})
        await engine.submit(question("hello")).result()
        await stopped(engine)

    run(ask())
    assert server.traces == [None, traceparent]
