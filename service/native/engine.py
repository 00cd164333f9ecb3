"""The engine as the HTTP process sees it: takes conversations from event loops and gives back text.

Worker threads prepare a request and send it to rank 0, which computes it in a process of its own. One more
thread receives the tokens, turns them into text and hands that to the event loops.
"""

import itertools
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType

from service.engine.ranks.messages import Beat, Cancel, Progress, SequenceEnd
from service.engine_options import EngineOptions
from service.errors import EngineStopped, RequestError
from service.media.decode import ImageDecoder
from service.native.answer import Answer, answers_to, failed, fault, not_ready
from service.native.deliveries import Deliveries
from service.native.intake import Intake
from service.native.rank_group import Ranks
from service.native.request_handle import RequestHandle, Update
from service.native.request_table import RequestTable
from service.native.warm_up import Started, started
from service.protocol.request import Request
from service.protocol.stats import EngineDescription, EngineStats, RankStats

logger = logging.getLogger("capstan.engine")

# How long the receiving thread sleeps at most, so that deadlines are met.
TICK_SECONDS = 0.05
# How long a step may last. A CPU may need minutes for a large image.
STALL_SECONDS = {"cuda": 8.0, "cpu": 300.0}


class Engine:
    """One model on the devices of one replica; `startup_seconds` are those before its ranks were started."""

    def __init__(
        self,
        ranks: Ranks,
        *,
        decoder: ImageDecoder,
        options: EngineOptions,
        startup_seconds: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.startup_seconds = startup_seconds
        self.options = options
        self.requests = RequestTable(options.slots + options.max_waiting)
        self._ranks = ranks
        self._decoder = decoder
        self._started: Started | None = None
        self._thread = threading.Thread(target=self._follow, name="engine", daemon=True)
        self._closing = threading.Event()
        self._failure: str | None = None
        self._deliveries = Deliveries()
        self._delivering = threading.Lock()
        self._numbers = itertools.count()
        self._stats = RankStats()
        self._beat = Beat(0.0)

    def start(self) -> None:
        """Wait for the ranks, run the model once and start the threads; returns when requests can come.

        Raises StartupError if the model cannot be loaded, does not fit or does not run.
        """
        try:
            self._started = started(
                self._ranks,
                self.requests,
                decoder=self._decoder,
                options=self.options,
                refuse=self._refuse,
            )
        except BaseException:
            self._ranks.close()
            raise
        self._stats = self._started.stats
        self._thread.start()

    def close(self, timeout: float) -> None:
        """End ranks and threads, waiting `timeout` seconds at most; requests in progress are given up."""
        self._closing.set()
        self._end(not_ready())
        if self._started is not None:
            self._started.intake.close()
        self._ranks.close()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def submit(self, request: Request) -> RequestHandle:
        """Take a request; to be called on the event loop that awaits its result. Raises as `submit_all`."""
        return self.submit_all((request,))[0]

    def submit_all(self, requests: Sequence[Request]) -> list[RequestHandle]:
        """Take all or none of several requests of one client that differ in their sampling alone.

        Their prompt is read once, and equal ones have one answer. Raises RequestError with `overloaded` if
        too many wait, with `not_ready` once the engine has ended; what else is wrong shows in the results.
        """
        if self._started is None:
            raise not_ready()
        answers = answers_to(requests, self._numbers)
        handles = [RequestHandle(self._cancel, deadline=request.deadline) for request in requests]
        self.requests.open(list(zip(answers, handles, strict=True)))
        self._started.intake.add(list(dict.fromkeys(answers)))
        return handles

    def check_admission(self, client: str) -> None:
        """Raise RequestError with `overloaded` where `submit` would for a request of this client now."""
        if self._started is not None:
            self._started.queue_limit.refresh_if_due(self._stats)
        self.requests.check_admission(client)

    def check(self) -> None:
        """Raise EngineStopped if a rank has ended or hangs, or the engine was closed."""
        if self._failure is not None:
            raise EngineStopped(self._failure)
        if self._closing.is_set() or not self._thread.is_alive():
            raise EngineStopped("the engine does not run")

    def describe(self) -> EngineDescription:
        """How the model is run."""
        description = self._running().ready.description
        return replace(description, startup_seconds={**self.startup_seconds, **description.startup_seconds})

    def stats(self) -> EngineStats:
        """Counters and gauges."""
        started, rank = self._running(), self._stats
        return EngineStats(
            **asdict(self.requests.counters),
            feature_hits=started.features.hits,
            feature_misses=started.features.misses,
            feature_bytes=started.features.bytes,
            slots_free=started.ready.description.slots - rank.running,
            memory_used=self._beat.memory_used,
            memory_total=self._beat.memory_total,
            work=started.queue_limit.refresh(rank),
            queue_limit=self.requests.limit - self.requests.slots,
            **asdict(rank) | {"waiting": started.intake.waiting(rank.running)},
        )

    def _running(self) -> Started:
        if self._started is None:
            raise EngineStopped("the engine has not been started")
        return self._started

    def _cancel(self, handle: RequestHandle) -> None:
        """Drop a request whose client has left, on its event loop."""
        answer = self.requests.leave(handle)
        if answer is not None and answer.begun:
            handle.broken_off = answer.usage
        if answer is not None and answer.cancelled and self._started is not None:
            self._started.intake.cancel(answer)

    def _refuse(self, answer: Answer) -> None:
        """End an answer that could not be prepared, in the thread that tried."""
        with self._delivering:
            self._deliveries.add_end(answer, self.requests.end(answer))
            self._deliveries.hand_over()

    # -- in the thread that receives -------------------------------------------------------------------

    def _follow(self) -> None:
        reason, intake = not_ready(), self._running().intake
        try:
            while not self._closing.is_set():
                message = self._ranks.receive(TICK_SECONDS)
                with self._delivering:
                    if isinstance(message, Progress):
                        self._take(message, intake)
                    self._expire(intake)
                    self._deliveries.hand_over()
                if isinstance(message, Beat):
                    self._look(message)
                elif message is not None and (message.begun or message.ended):
                    intake.feed()
        except EngineStopped as error:
            self._fail(str(error))
            reason = failed()
        except Exception:
            logger.exception("the engine's thread has ended")
            self._fail("the engine's thread has failed")
            reason = failed()
        finally:
            self._end(reason)
            self._ranks.close()

    def _take(self, progress: Progress, intake: Intake) -> None:
        self._stats = progress.stats
        for number in progress.begun:
            intake.begun(number)
        ends = {end.number for end in progress.ended}
        for number, tokens in progress.tokens.items():
            answer = intake.sent.get(number)
            if answer is None or number in ends:
                continue
            answer.take(tokens, logprobs=progress.logprobs.get(number))
            if not answer.done:
                self._deliveries.add_text(answer)
            else:  # at a stop string; the answer ends once its sequence has
                self._ranks.send(Cancel(number))
        for end in progress.ended:
            if (answer := intake.end(end.number)) is not None:
                self._finish(answer, end, progress)
                intake.settle(answer, computed=answer.finish is not None)

    def _finish(self, answer: Answer, end: SequenceEnd, progress: Progress) -> None:
        """End an answer whose sequence has ended, with its last tokens."""
        answer.timeline.rank = end.timeline
        tokens = progress.tokens.get(end.number, [])
        answer.take(tokens, end.finish, progress.logprobs.get(end.number))
        if answer.finish is None:
            answer.error = fault()
        self._deliveries.add_end(answer, self.requests.end(answer))

    def _look(self, beat: Beat) -> None:
        """Raise EngineStopped if a step lasts too long."""
        self._beat = beat
        device = self._running().ready.description.device or "cpu"
        limit = STALL_SECONDS[device.partition(":")[0]]
        if beat.step_seconds > limit:
            raise EngineStopped(
                f"the engine's step has lasted {beat.step_seconds:.0f} s; the limit is {limit:.0f}"
            )

    def _expire(self, intake: Intake) -> None:
        for handle, answer, error in self.requests.overdue(time.monotonic()):
            if answer.begun:
                handle.broken_off = answer.usage
            self._deliveries.add(handle, Update(error=error))
            if answer.cancelled:
                intake.cancel(answer)

    def _fail(self, reason: str) -> None:
        if not self._closing.is_set():
            logger.error("%s; the replica must be replaced", reason)
            self._failure = reason

    def _end(self, reason: RequestError) -> None:
        """Refuse requests from now on, and end those in progress."""
        with self._delivering:
            for handle in self.requests.close(not_ready()):
                self._deliveries.add(handle, Update(error=reason))
            self._deliveries.hand_over()
