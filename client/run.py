"""A run: images in, records out, a fixed number of requests at a time."""

import asyncio
from collections.abc import Iterator
from itertools import islice

from client.captioner import Captioner
from client.images import Image, UnreadableError
from client.outputs.output import Output
from client.progress import Reporter, Totals
from client.record import Record

LISTED_AT_ONCE = 256


class _Queue:
    """The images that have no caption yet, a few of them listed ahead in a thread."""

    def __init__(self, images: Iterator[Image], output: Output, totals: Totals) -> None:
        self._images, self._output, self._totals = images, output, totals
        self._listed: list[Image] = []
        self._ended = False
        self._lock = asyncio.Lock()

    async def next(self) -> Image | None:
        """The next image, None after the last."""
        async with self._lock:
            while not self._listed and not self._ended:
                self._listed, skipped, self._ended = await asyncio.to_thread(self._list)
                self._totals.skipped += skipped
            return self._listed.pop() if self._listed else None

    def _list(self) -> tuple[list[Image], int, bool]:
        found = list(islice(self._images, LISTED_AT_ONCE))
        fresh = [image for image in found if not self._output.has(image.name)]
        fresh.reverse()
        return fresh, len(found) - len(fresh), len(found) < LISTED_AT_ONCE


async def run(
    images: Iterator[Image],
    captioner: Captioner,
    output: Output,
    *,
    concurrency: int,
    totals: Totals,
    reporter: Reporter,
) -> None:
    """Caption all images that the output does not have, in no order, and count them in `totals`.

    Raises ClientError where the run cannot go on; what has a record by then is kept.
    """
    queue = _Queue(images, output, totals)

    async def work() -> None:
        while (image := await queue.next()) is not None:
            record = await _record(captioner, image)
            output.append(record)
            if record.caption is None:
                totals.failed += 1
            else:
                totals.captioned += 1
            totals.pace.add()
            reporter.update()

    try:
        async with captioner, asyncio.TaskGroup() as group:
            await captioner.check()
            for _ in range(concurrency):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    output.finish()


async def _record(captioner: Captioner, image: Image) -> Record:
    try:
        data = await asyncio.to_thread(image.read)
    except UnreadableError as error:
        return Record(image.name, error_code="unreadable_image", error=str(error))
    return await captioner.caption(image.name, data)
