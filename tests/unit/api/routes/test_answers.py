"""Several answers, gathered or merged."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from service.api.routes.answers import gathered, merged

pytestmark = pytest.mark.anyio
SECONDS = 5.0


class Answer:
    """An answer whose pieces come when the test says so."""

    def __init__(self) -> None:
        self.pieces = asyncio.Queue[str | Exception | None]()
        self.cancelled = False

    async def stream(self) -> AsyncGenerator[str]:
        try:
            while (piece := await self.pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.cancelled = True

    async def result(self) -> str:
        piece = await self.pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece or ""

    def cancel(self) -> None:
        self.cancelled = True


async def test_pieces_come_in_the_order_in_which_they_are_written() -> None:
    """A slow answer does not hold up the pieces of another, and each end is marked."""
    slow, quick = Answer(), Answer()
    pieces = merged([slow.stream(), quick.stream()])
    for text in ("a", "b", None):
        quick.pieces.put_nowait(text)
    assert [await anext(pieces) for _ in range(3)] == [(1, "a"), (1, "b"), (1, None)]
    for text in ("c", None):
        slow.pieces.put_nowait(text)
    assert [piece async for piece in pieces] == [(0, "c"), (0, None)]


async def test_a_failure_ends_the_other_streams() -> None:
    """What one stream raises is raised, and those that were waited for end."""
    bad, waiting = Answer(), Answer()
    bad.pieces.put_nowait(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await asyncio.wait_for(anext(merged([bad.stream(), waiting.stream()])), SECONDS)
    assert waiting.cancelled


async def test_a_reader_that_leaves_ends_all_streams() -> None:
    """When the reader leaves, no stream is waited for any more."""
    answers = [Answer() for _ in range(3)]
    pieces = merged([answer.stream() for answer in answers])
    answers[1].pieces.put_nowait("a")
    assert await anext(pieces) == (1, "a")
    await asyncio.wait_for(pieces.aclose(), SECONDS)
    assert all(answer.cancelled for answer in answers)


async def test_a_failure_gives_up_the_other_answers() -> None:
    """Where one of several whole answers fails, all are given up without waiting for the others."""
    bad, waiting = Answer(), Answer()
    bad.pieces.put_nowait(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await asyncio.wait_for(gathered([bad, waiting], [bad.result(), waiting.result()]), SECONDS)  # type: ignore[list-item]
    assert waiting.cancelled
