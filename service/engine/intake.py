"""The way of a run from its request to the engine's thread: through the threads that prepare it.

Prepared tiles are large (31 MB for 13 of 448 pixels), so no more runs are prepared than the engine may soon
want; the others wait as the bytes that came.
"""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from time import monotonic

from service.engine.fair_queue import FairQueue
from service.engine.preparation import Preparation, share_key
from service.engine.request_table import RequestTable
from service.engine.sequence import Sequence
from service.engine.worker import Worker, fault
from service.errors import RequestError

logger = logging.getLogger("capstan.engine")


class Intake:
    """Prepares runs, those of different clients in turn. `wake` is called when one is ready."""

    def __init__(
        self, preparation: Preparation, requests: RequestTable, *, threads: int, wake: Callable[[], None]
    ) -> None:
        self.arrived: deque[Sequence] = deque()
        self._preparation = preparation
        self._requests = requests
        self._wake = wake
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="prepare")
        self._lock = Lock()
        self._queue = FairQueue()
        self._preparing = 0
        self._worker: Worker | None = None

    def serve(self, worker: Worker) -> None:
        """Prepare for a worker from now on."""
        self._worker = worker

    def add(self, run: Sequence) -> None:
        """Queue a run. Does not block."""
        with self._lock:
            if len(self._queue) > len(self._requests):  # most were cancelled while they waited
                self._queue.keep(lambda waiting: not waiting.done)
            self._queue.append(run)
        self._feed()

    def hand_to(self, worker: Worker) -> None:
        """Give the worker what is ready."""
        while self.arrived:
            worker.add(self.arrived.popleft())
        if self._queue:
            self._feed()

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def waiting(self) -> int:
        """Runs that no step has worked on yet."""
        return len(self._queue) + self._ahead

    @property
    def _ahead(self) -> int:
        return self._preparing + len(self.arrived) + (self._worker.waiting if self._worker else 0)

    def _feed(self) -> None:
        with self._lock:
            while self._queue and self._worker is not None and self._ahead < self._worker.slots:
                run = self._queue.popleft()
                self._preparing += 1
                try:
                    self._threads.submit(self._prepare, run, self._worker.longest)
                except RuntimeError:  # closed meanwhile, which ends all that is in flight
                    return

    def _prepare(self, run: Sequence, longest: int) -> None:
        shared = False
        run.timeline.preparing = monotonic()
        try:
            run.key = share_key(run.request)
            shared = self._requests.share(run)
            if not shared and not run.done:
                self._preparation.prepare(run, longest=longest)
        except RequestError as error:
            run.error = error
        except Exception:
            logger.exception("a request could not be prepared")
            run.error = fault()
        run.timeline.prepared = monotonic()
        with self._lock:
            if not shared:
                self.arrived.append(run)
            self._preparing -= 1
        self._wake()
