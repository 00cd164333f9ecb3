"""Work on what a client sent, kept off the event loop where it would hold up other requests."""

import asyncio
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

Sent = TypeVar("Sent", str, bytes)
Rest = ParamSpec("Rest")
Result = TypeVar("Result")

# Below this many bytes or characters, handing work to a thread takes longer than the work.
INLINE = 256 * 1024


async def read_sent(
    read: Callable[Concatenate[Sent, Rest], Result], sent: Sent, *args: Rest.args, **kwargs: Rest.kwargs
) -> Result:
    """What `read` makes of `sent` and the rest: at once where it is short, else in a thread."""
    if len(sent) > INLINE:
        return await asyncio.to_thread(read, sent, *args, **kwargs)
    return read(sent, *args, **kwargs)
