"""What workers share that run a batch from its prompts to its last answer while others wait."""

from collections import deque
from collections.abc import Iterable
from time import monotonic

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.detokenizer import Detokenizer
from service.engine.runner.joining import form
from service.engine.sequence import Sequence

LARGEST_BATCH = 16


class WholeBatches:
    """The queue and the batch of such a worker; see `Worker`."""

    cache_bytes = 0

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.longest = loaded.context_length
        self.slots = LARGEST_BATCH
        self.prefilled = 0
        self.decoded = 0
        self._queue: deque[Sequence] = deque()
        self._batch: list[Sequence] = []
        self._charged = 0.0

    @property
    def waiting(self) -> int:
        """Runs that no batch has taken yet."""
        return len(self._queue)

    @property
    def active(self) -> int:
        """Runs of the batch."""
        return len(self._batch)

    def add(self, run: Sequence) -> None:
        """Queue a run."""
        run.detokenizer = Detokenizer(self.loaded.tokenizer, run.request.sampling.stop)
        self._queue.append(run)

    def page_stats(self) -> dict[str, int]:
        """Nothing: the cache is `generate`'s."""
        return {}

    def running(self) -> Iterable[Sequence]:
        """The runs of the batch."""
        return self._batch

    def retire(self) -> list[Sequence]:
        """Let go of the runs that are done; the rest of their batch goes on without them."""
        ended = [run for run in (*self._queue, *self._batch) if run.done]
        self._charge()
        self._queue = deque(run for run in self._queue if not run.done)
        self._batch = [run for run in self._batch if not run.done]
        return ended

    def _charge(self) -> None:
        """Divide the time since the last charge among the runs of the batch."""
        now = monotonic()
        for run in self._batch:
            run.timeline.compute += (now - self._charged) / len(self._batch)
        self._charged = now

    def _next_batch(self) -> list[Sequence]:
        """The first waiting run and those after it whose tensors can be joined with its own."""
        waiting = [run for run in self._queue if not run.done]
        batch = [run for run in waiting if form(run) == form(waiting[0])][:LARGEST_BATCH]
        self._charged = monotonic()
        for run in batch:
            self._queue.remove(run)
            run.timeline.running = self._charged
        return batch
