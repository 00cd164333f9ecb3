"""The data of server-sent events, as they come. Source: WHATWG HTML, "Server-sent events"."""

from collections.abc import AsyncGenerator, AsyncIterator

MAX_EVENT = 8 * 2**20  # bytes


class EventTooLong(ValueError):  # noqa: N818 - nonsense of the other server
    """An event that does not end."""


async def event_data(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The data of each event, the lines of one joined. Other fields and comments are skipped.

    Raises EventTooLong for an event of over 8 MiB.
    """
    buffer, data = b"", list[bytes]()
    async for chunk in chunks:
        buffer += chunk
        if len(buffer) + sum(map(len, data)) > MAX_EVENT:
            raise EventTooLong("an event of over 8 MiB")
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            text = line.removesuffix(b"\r")
            if text.startswith(b"data:"):
                data.append(text[5:].removeprefix(b" "))
            elif not text and data:
                yield b"\n".join(data)
                data = []
