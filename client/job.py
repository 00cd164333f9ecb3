"""What one command does: an output, a server and a run between them."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from client.asking import Asking
from client.errors import ClientError
from client.outputs.output import Format, choose_output

if TYPE_CHECKING:
    from client.images import Image
    from client.progress import Totals


@dataclass(frozen=True, slots=True)
class Job:
    """The options of a run. Without a `server`, the embedded one is started for it."""

    sources: tuple[str, ...]
    server: str | None
    key: str | None
    output: Path | None
    form: Format | None
    concurrency: int
    quiet: bool

    def run(self, asking: Asking) -> "Totals":
        """Caption everything; what was done. Raises ClientError where the run cannot go on."""
        # Here, because they take a second that `capstan --help` does without.
        from client.captioner import Captioner  # noqa: PLC0415
        from client.images import find_images  # noqa: PLC0415
        from client.progress import Counter, Reporter, Totals, say  # noqa: PLC0415
        from client.run import run  # noqa: PLC0415

        for source in self.sources:
            find_images(source)  # refuses a wrong name before a server starts
        totals = Totals()
        with ExitStack() as stack:
            output = stack.enter_context(closing(choose_output(self.output, self.form)))
            captioner = Captioner(self._server(stack), key=self.key, asking=asking)
            stack.callback(Counter(self._images, totals).stop)
            reporter = stack.enter_context(Reporter(totals, quiet=self.quiet))
            asyncio.run(
                run(
                    self._images(),
                    captioner,
                    output,
                    concurrency=self.concurrency,
                    totals=totals,
                    reporter=reporter,
                )
            )
        if not totals.done:
            raise ClientError(f"no image in {', '.join(self.sources)}")
        if not self.quiet:
            say(
                f"captioned {totals.captioned:,}, failed {totals.failed:,}, "
                f"had a caption already {totals.skipped:,}"
            )
        return totals

    def _images(self) -> "Iterator[Image]":
        from client.images import find_images  # noqa: PLC0415 - as above

        for source in self.sources:
            yield from find_images(source)

    def _server(self, stack: ExitStack) -> str:
        if self.server is not None:
            return self.server
        from client.embedded import embedded_server  # noqa: PLC0415 - as above
        from client.progress import say  # noqa: PLC0415

        if not self.quiet:
            say("starting the embedded server; name another with --server")
        return stack.enter_context(embedded_server())
