"""The engine: takes conversations from any number of event loops and gives back text.

Worker threads prepare a request, then one thread, the only one to touch the model, advances all requests step
by step.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from service.engine.checkpoint.loaded import LoadedModel
from service.engine.deliveries import Deliveries
from service.engine.features import FeatureCache
from service.engine.generation import Generation, News
from service.engine.options import EngineOptions
from service.engine.preparation import Decode, Preparation, feature_key, share_key
from service.engine.request import Request
from service.engine.run import Run
from service.engine.runner.choose import choose
from service.engine.worker import Worker, fault
from service.errors import EngineStopped, ErrorCode, RequestError

logger = logging.getLogger("capstan.engine")

# How often deadlines are looked at; also how long an idle engine sleeps at most.
TICK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What an engine is: fixed once it has started."""

    runner: str
    slots: int
    context_length: int
    cache_bytes: int
    dtype: str
    device: str


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What an engine has done and is doing."""

    waiting: int
    running: int
    finished: int
    cancelled: int
    failed: int
    refused: int
    shared: int
    prefill_tokens: int
    decode_tokens: int
    feature_hits: int
    feature_misses: int
    feature_bytes: int
    slots_free: int


@dataclass
class Counters:
    """Ends of requests, by kind."""

    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    shared: int = 0


class Engine:
    """One model on the devices of one replica."""

    def __init__(self, loaded: LoadedModel, *, decode: Decode, options: EngineOptions) -> None:
        self.loaded = loaded
        self.options = options
        self.counters = Counters()
        self.features = FeatureCache(options.feature_cache_bytes)
        self._preparation = Preparation(loaded, decode)
        self._worker: Worker | None = None
        self._threads = ThreadPoolExecutor(options.preparation_threads, thread_name_prefix="prepare")
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._wake = threading.Event()
        self._closing = False
        self._arrived: deque[Run] = deque()
        self._gone: deque[Generation] = deque()
        # Guards the two below and the listeners of runs that others may join.
        self._lock = threading.Lock()
        self._in_flight = 0
        self._shared: dict[Hashable, Run] = {}
        self._owner: dict[Generation, Run] = {}
        self._deliveries = Deliveries()
        self._beat = time.monotonic()

    # -- from outside ------------------------------------------------------------------------------

    def start(self) -> None:
        """Plan the memory and start the threads; returns when requests can come."""
        self._worker = choose(self.loaded, self.options, self.features)
        self._beat = time.monotonic()
        self._thread.start()

    def close(self, timeout: float) -> None:
        """End the threads; what is unfinished after `timeout` seconds is given up."""
        self._closing = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def submit(self, request: Request) -> Generation:
        """Take a request; to be called on the event loop that awaits its result.

        Raises RequestError with `overloaded` when too many wait. What else is wrong with a request shows
        in its result.
        """
        run = Run(request)
        listener = Generation(self._cancel)
        limit = self._running_worker().slots + self.options.max_waiting
        with self._lock:
            if self._in_flight >= limit:
                self.counters.refused += 1
                raise RequestError(
                    ErrorCode.OVERLOADED,
                    f"{self._in_flight} requests are in flight; the limit is {limit} "
                    "(CAPSTAN_MAX_WAITING and CAPSTAN_MAX_CONCURRENT_SEQUENCES); try again later",
                )
            self._in_flight += 1
            run.listeners.append(listener)
            self._owner[listener] = run
        self._threads.submit(self._prepare, run, listener)
        return listener

    def check(self) -> None:
        """Raise EngineStopped where the loop has ended or hangs in a step."""
        if not self._thread.is_alive():
            raise EngineStopped("the engine's thread has ended")
        silence = time.monotonic() - self._beat
        if silence > self.options.stall_seconds:
            raise EngineStopped(
                f"the engine's step has lasted {silence:.0f} s; the limit is {self.options.stall_seconds:.0f}"
            )

    def describe(self) -> EngineDescription:
        """How the model is run."""
        worker = self._running_worker()
        return EngineDescription(
            runner=worker.name,
            slots=worker.slots,
            context_length=worker.longest,
            cache_bytes=worker.cache_bytes,
            dtype=str(self.loaded.dtype).removeprefix("torch."),
            device=str(self.loaded.device),
        )

    def stats(self) -> EngineStats:
        """Counters and gauges."""
        worker, counters = self._running_worker(), self.counters
        return EngineStats(
            waiting=self._in_flight - worker.active,
            running=worker.active,
            finished=counters.finished,
            cancelled=counters.cancelled,
            failed=counters.failed,
            refused=counters.refused,
            shared=counters.shared,
            prefill_tokens=worker.prefilled,
            decode_tokens=worker.decoded,
            feature_hits=self.features.hits,
            feature_misses=self.features.misses,
            feature_bytes=self.features.bytes,
            slots_free=worker.slots - worker.active,
        )

    def _running_worker(self) -> Worker:
        if self._worker is None:
            raise EngineStopped("the engine has not been started")
        return self._worker

    def _cancel(self, listener: Generation) -> None:
        self._gone.append(listener)
        self._wake.set()

    # -- in the preparing threads --------------------------------------------------------------------

    def _prepare(self, run: Run, listener: Generation) -> None:
        try:
            run.key = share_key(run.request)
            if run.key is not None and self._join(run, listener):
                return
            run.feature_key = feature_key(run.request)
            known = self.features.get(run.feature_key) if run.feature_key is not None else None
            self._preparation.prepare(run, longest=self._running_worker().longest, known=known)
        except RequestError as error:
            run.error = error
        except Exception:
            logger.exception("a request could not be prepared")
            run.error = fault()
        self._arrived.append(run)
        self._wake.set()

    def _join(self, run: Run, listener: Generation) -> bool:
        """Let the request take part in a run that answers it already."""
        with self._lock:
            if listener not in self._owner:  # cancelled meanwhile
                return True
            other = self._shared.setdefault(run.key, run)
            if other is run:
                return False
            other.listeners.append(listener)
            self._owner[listener] = other
            self.counters.shared += 1
        return True

    # -- in the engine's thread ----------------------------------------------------------------------

    def _loop(self) -> None:
        worker = self._running_worker()
        while not self._closing:
            self._beat = time.monotonic()
            self._take_in(worker)
            worked = worker.step(self._deliver)
            self._let_go(worker)
            self._deliveries.hand_over()
            if not worked and not self._arrived and not self._gone:
                self._wake.wait(TICK_SECONDS)
                self._wake.clear()
        self._end(worker)

    def _take_in(self, worker: Worker) -> None:
        while self._arrived:
            run = self._arrived.popleft()
            worker.add(run)
        while self._gone:
            self._forget(self._gone.popleft())
        now = time.monotonic()
        for run in worker.runs():
            deadline = run.request.deadline
            if deadline is not None and now > deadline and not run.done:
                run.error = RequestError(
                    ErrorCode.DEADLINE_EXCEEDED,
                    f"the answer was not complete in time ({len(run.answer)} tokens were written); "
                    "lower max_tokens, or raise CAPSTAN_REQUEST_TIMEOUT",
                )

    def _forget(self, listener: Generation) -> None:
        with self._lock:
            run = self._owner.pop(listener, None)
            if run is None:
                return
            run.listeners.remove(listener)
            self._in_flight -= 1
            self.counters.cancelled += 1
            if not run.listeners:
                run.cancelled = True
                self._unshare(run)

    def _deliver(self, runs: Iterable[Run]) -> None:
        with self._lock:
            for run in runs:
                if not run.done:
                    self._deliveries.add_text(run)

    def _let_go(self, worker: Worker) -> None:
        for run in worker.retire():
            with self._lock:
                self._unshare(run)
                self._deliveries.add_end(run)
                for listener in run.listeners:
                    self._owner.pop(listener, None)
                self._in_flight -= len(run.listeners)
                if run.error is not None:
                    self.counters.failed += len(run.listeners)
                else:
                    self.counters.finished += len(run.listeners)
                run.listeners = []

    def _unshare(self, run: Run) -> None:
        if run.key is not None and self._shared.get(run.key) is run:
            del self._shared[run.key]

    def _end(self, worker: Worker) -> None:
        error = RequestError(ErrorCode.NOT_READY, "the server is shutting down; try again")
        with self._lock:
            for listener in self._owner:
                self._deliveries.add(listener, News(error=error))
            self._owner.clear()
        for run in worker.runs():
            run.cancelled = True
        worker.retire()
        self._deliveries.hand_over()
