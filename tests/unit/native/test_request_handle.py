"""A request in progress, as its client sees it."""

import asyncio

import pytest

from service.errors import ErrorCode, RequestError
from service.native.request_handle import RequestHandle, Update
from service.protocol.request import Completion, FinishReason, Timings, Usage

END = Completion("a red circle", FinishReason.STOP, Usage(1, 0, 3), Timings(0, 0, 0, 0, 0, 0, 3))
FAULT = RequestError(ErrorCode.INTERNAL_ERROR, "the server failed")


def generation() -> RequestHandle:
    return RequestHandle(lambda _: None)


async def pieces(one: RequestHandle) -> list[str]:
    return [piece async for piece in one.stream()]


def test_a_stream_that_begins_after_the_end_gives_the_whole_text() -> None:
    """Text that came before the stream began is not lost."""

    async def late() -> list[str]:
        one = generation()
        one.take(Update(completion=END))
        return await pieces(one)

    assert asyncio.run(late()) == ["a red circle"]


def test_a_stream_ends_with_what_no_piece_has_given() -> None:
    """The last piece is what is left of the whole text; a slow reader gets several pieces as one."""

    async def taken() -> list[str]:
        one = generation()
        reading = asyncio.ensure_future(pieces(one))
        await asyncio.sleep(0)
        for update in (Update("a r"), Update("ed"), Update(completion=END)):
            one.take(update)
        return await reading

    assert asyncio.run(taken()) == ["a red", " circle"]


def test_a_stream_gives_each_piece_as_it_comes() -> None:
    """A reader that keeps up gets every piece before the next one comes."""

    async def taken() -> list[list[str]]:
        one, found, seen = generation(), list[str](), list[list[str]]()

        async def read() -> None:
            async for piece in one.stream():
                found.append(piece)

        reading = asyncio.ensure_future(read())
        for update in (Update("a r"), Update("ed"), Update(completion=END)):
            await asyncio.sleep(0)
            one.take(update)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            seen.append(list(found))
        await reading
        return seen

    assert asyncio.run(taken()) == [["a r"], ["a r", "ed"], ["a r", "ed", " circle"]]


def test_text_that_came_before_an_error_is_given_out() -> None:
    """A reader gets what was written, and then the error."""

    async def taken() -> list[str]:
        one, found = generation(), list[str]()
        stream = one.stream()
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        one.take(Update("a r"))
        one.take(Update(error=FAULT))
        found.append(await waiting)
        with pytest.raises(RequestError, match="the server failed"):
            await anext(stream)
        return found

    assert asyncio.run(taken()) == ["a r"]


def test_an_error_ends_a_stream() -> None:
    """What goes wrong after some text is raised by the stream, and by the result."""

    async def broken() -> None:
        one = generation()
        reading = asyncio.ensure_future(pieces(one))
        await asyncio.sleep(0)
        one.take(Update("a"))
        one.take(Update(error=FAULT))
        for waiting in (reading, one.result()):
            with pytest.raises(RequestError, match="the server failed"):
                await waiting

    asyncio.run(broken())


def test_cancelling_ends_what_waits() -> None:
    """A task that awaits the result or reads the stream of a cancelled request is cancelled."""

    async def cancelled() -> None:
        for read in (RequestHandle.result, pieces):
            one = generation()
            reading = asyncio.ensure_future(read(one))
            await asyncio.sleep(0)
            one.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

    asyncio.run(cancelled())


def test_cancelling_is_passed_on_once() -> None:
    """The engine is called once for a request that is given up, and not for one that has ended."""

    async def twice() -> list[RequestHandle]:
        heard = list[RequestHandle]()
        one, ended = RequestHandle(heard.append), RequestHandle(heard.append)
        one.cancel()
        one.cancel()
        ended.take(Update(completion=END))
        ended.cancel()
        assert heard == [one]
        assert await ended.result() == END
        return heard

    asyncio.run(twice())


def test_a_result_can_be_asked_for_twice() -> None:
    """A result stays once it is there."""

    async def twice() -> None:
        one = generation()
        one.take(Update(completion=END))
        assert await one.result() == await one.result() == END
        assert one.completion == END

    asyncio.run(twice())
