"""The engine: takes conversations from any number of event loops and gives back text.

Worker threads prepare a request, then one thread, the only one to touch the model, advances all requests step
by step.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import asdict

from service.engine import device
from service.engine.admission import queue_places
from service.engine.checkpoint.loaded import LoadedModel
from service.engine.deliveries import Deliveries
from service.engine.features import FeatureCache
from service.engine.intake import Intake
from service.engine.options import EngineOptions
from service.engine.preparation import Preparation
from service.engine.request import Request
from service.engine.request_handle import RequestHandle, Update
from service.engine.request_table import RequestTable
from service.engine.runner.choose import choose
from service.engine.sequence import Sequence
from service.engine.stats import EngineDescription, EngineStats, StepCounters
from service.engine.warm_up import warm_up
from service.engine.work import Totals, Work, WorkMeter
from service.engine.worker import Supervised, Worker, fault
from service.errors import EngineStopped, ErrorCode, RequestError
from service.media.decode import ImageDecoder
from service.media.tiles import Tiling

logger = logging.getLogger("capstan.engine")

# How long an idle engine sleeps at most, so that deadlines are met and `check` sees it alive.
TICK_SECONDS = 0.05
# How often the queue's length is fitted to the speed of the model.
WEIGH_SECONDS = 0.25


class Engine:
    """One model on the devices of one replica."""

    def __init__(self, loaded: LoadedModel, *, decoder: ImageDecoder, options: EngineOptions) -> None:
        self.loaded = loaded
        self.options = options
        self.features = FeatureCache(options.feature_cache_images)
        self.requests = RequestTable(options.slots + options.max_waiting)
        self._intake = Intake(
            Preparation(loaded, decoder, self.features),
            self.requests,
            threads=options.preparation_threads,
            wake=self._wake_up,
        )
        self._worker: Worker | None = None
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._wake = threading.Event()
        self._closing = False
        self._gone: deque[RequestHandle] = deque()
        self._deliveries = Deliveries()
        self._steps = StepCounters()
        self._meter = WorkMeter(options.slots)
        self._work: Work | None = None
        self._weighed_at = 0.0
        self._weighing = threading.Lock()
        self._step_start = 0.0
        self._beat = time.monotonic()

    def start(self) -> None:
        """Plan the memory, run the model once and start the threads; returns when requests can come.

        Raises DeviceError where the cache has no room, StartupError where the model does not run.
        """
        worker = choose(self.loaded, self.options, self.features)
        warm_up(worker, self.loaded)
        self.features.clear()
        self.requests.slots = worker.slots
        self.requests.limit = worker.slots + self.options.max_waiting
        self._intake.serve(worker)
        self._worker = worker
        self._beat = time.monotonic()
        self._thread.start()

    def close(self, timeout: float) -> None:
        """End the threads, waiting `timeout` seconds at most; what is in flight is given up."""
        self._closing = True
        self._wake_up()
        self._intake.close()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        if isinstance(self._worker, Supervised):
            self._worker.close()

    def submit(self, request: Request) -> RequestHandle:
        """Take a request; to be called on the event loop that awaits its result.

        Raises RequestError with `overloaded` when too many wait, with `not_ready` once the engine has ended.
        What else is wrong with a request shows in its result.
        """
        if self._worker is None or self._closing or not self._thread.is_alive():
            raise _not_ready()
        run, listener = Sequence(request), RequestHandle(self._cancel, deadline=request.deadline)
        self.requests.open(run, listener)
        self._intake.add(run)
        return listener

    def check_admission(self, client: str) -> None:
        """Raise RequestError with `overloaded` where `submit` would for a request of this client now."""
        if self._worker is not None and time.monotonic() - self._weighed_at > WEIGH_SECONDS:
            self._weigh()
        self.requests.check_admission(client)

    def check(self) -> None:
        """Raise EngineStopped where the loop has ended or hangs in a step."""
        if not self._thread.is_alive():
            raise EngineStopped("the engine's thread has ended")
        if isinstance(self._worker, Supervised):
            self._worker.check()
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
            startup_seconds=dict(self.loaded.seconds),
        )

    def tiling(self) -> Tiling | None:
        """How the model cuts images; None where its own processor does it in its own way."""
        return self.loaded.inputs.tiling

    def stats(self) -> EngineStats:
        """Counters and gauges."""
        worker, counters = self._running_worker(), self.requests.counters
        self._weigh()
        memory_used, memory_total = device.memory(self.loaded.device)
        return EngineStats(
            waiting=self._intake.waiting,
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
            memory_used=memory_used,
            memory_total=memory_total,
            work=self._work,
            **worker.page_stats(),
            **asdict(self._steps),
        )

    def _weigh(self) -> None:
        """Measure the work, and let so many requests wait as it allows. Called on any thread."""
        worker, steps, options = self._running_worker(), self._steps, self.options
        finished = self.requests.counters.finished
        queued = [len(run.prompt) for run in self.requests.waiting()]
        with self._weighing:
            self._weighed_at = time.monotonic()
            totals = Totals(worker.prefilled, worker.decoded, finished, steps.steps, steps.step_seconds)
            self._work = self._meter.observe(totals, queued, self._weighed_at)
            places = queue_places(self._work, seconds=options.queue_seconds, most=options.max_waiting)
            self.requests.limit = worker.slots + places
            self.requests.retry_after = self._work.queued if self._work else None

    def _running_worker(self) -> Worker:
        if self._worker is None:
            raise EngineStopped("the engine has not been started")
        return self._worker

    def _cancel(self, listener: RequestHandle) -> None:
        self._gone.append(listener)
        self._wake_up()

    def _wake_up(self) -> None:
        self._wake.set()

    # -- in the engine's thread ----------------------------------------------------------------------

    def _loop(self) -> None:
        worker = self._running_worker()
        reason = _not_ready()
        try:
            while not self._closing:
                self._intake.hand_to(worker)
                self._let_go()
                self._step_start = time.monotonic()
                worked = worker.step(lambda: self._between(worker))
                if worked:
                    self._count_step(worker)
                self._give_out(worker)
                if not worked and not self._intake.arrived and not self._gone:
                    self._wake.wait(TICK_SECONDS)
                    self._wake.clear()
        except Exception:
            logger.exception("the engine's loop has ended")
            reason = fault()
        finally:
            self._end(reason)

    def _between(self, worker: Worker) -> None:
        """What is done between the tokens of a step that lasts for many."""
        self._count_step(worker)
        self._let_go()
        self._give_out(worker)

    def _count_step(self, worker: Worker) -> None:
        start, self._step_start = self._step_start, time.monotonic()
        self._steps.add(self._step_start - start, worker.active)

    def _let_go(self) -> None:
        """Forget requests that are cancelled or too late."""
        self._beat = now = time.monotonic()
        while self._gone:
            self.requests.leave(self._gone.popleft())
        for listener, error in self.requests.overdue(now):
            self._deliveries.add(listener, Update(error=error))

    def _give_out(self, worker: Worker) -> None:
        """Deliver the ends of runs that are done, and what is new of the others."""
        for run in worker.retire():
            self._deliveries.add_end(run, self.requests.end(run))
        for run in worker.running():
            self._deliveries.add_text(run)
        self._deliveries.hand_over()

    def _end(self, reason: RequestError) -> None:
        self._closing = True
        for listener in self.requests.give_up():
            self._deliveries.add(listener, Update(error=reason))
        self._deliveries.hand_over()


def _not_ready() -> RequestError:
    return RequestError(ErrorCode.NOT_READY, "the server is shutting down; try again")
