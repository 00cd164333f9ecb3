"""The answers to one request: gathered, or merged as they are written."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

from service.protocol.engine import Handle

T = TypeVar("T")


def cancel(handles: Sequence[Handle]) -> None:
    """Give all answers up that have not ended."""
    for handle in handles:
        handle.cancel()


async def gathered(handles: Sequence[Handle], results: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all answers. What one raises ends the others."""
    try:
        if len(results) == 1:  # as nearly always; it needs no task
            return [await results[0]]
        return await asyncio.gather(*results)
    except BaseException:
        cancel(handles)
        raise


async def merged(streams: Sequence[AsyncIterator[T]]) -> AsyncGenerator[tuple[int, T | None]]:
    """What several streams yield, as it comes, each with the index of its stream; None at the end of one.

    What one raises ends the others.
    """
    if len(streams) == 1:  # as above
        async for only in streams[0]:
            yield 0, only
        yield 0, None
        return
    waiting = {_next(stream): index for index, stream in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                index = waiting.pop(task)
                item = task.result()
                if item is not None:
                    waiting[_next(streams[index])] = index
                yield index, item
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _next(stream: AsyncIterator[T]) -> asyncio.Task[T | None]:
    async def item() -> T | None:
        return await anext(stream, None)

    return asyncio.create_task(item())
