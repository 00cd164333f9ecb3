"""An engine that is another server: admits requests, forwards them, and watches the server."""

import asyncio
import http.client
import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from service.errors import EngineStopped, ErrorCode, RequestError
from service.external.address import Address
from service.external.fair_slots import FairSlots
from service.external.forwarded_request import ForwardedRequest
from service.external.forwarder import Forwarder
from service.external.process import ServerProcess
from service.protocol.admission import Places
from service.protocol.request import Request, Timings
from service.protocol.stats import EngineDescription, EngineStats, Work

logger = logging.getLogger("capstan.engine")

PROBE_SECONDS = 5.0
# The weight of an answer in the mean time of answers.
NEWEST = 0.1


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """A server is dead after `silence` seconds without a good answer to a probe, one every `period`."""

    period: float = 2.0
    silence: float = 60.0


class ExternalEngine:
    """One other server behind the API of a replica. Its requests come from one event loop."""

    def __init__(
        self,
        address: Address,
        forwarder: Forwarder,
        description: EngineDescription,
        *,
        max_waiting: int,
        health: str,
        process: ServerProcess | None,
        watch: WatchOptions,
    ) -> None:
        self._address = address
        self._forwarder = forwarder
        self._description = description
        self._limit = description.slots + max_waiting
        self._health = health
        self._process = process
        self._watch = watch
        self._slots = FairSlots(description.slots)
        self._held: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()
        self._answer_seconds = 0.0
        self._healthy = time.monotonic()
        self._hung = False
        self._closing = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._probe, name="probe", daemon=True)

    def start(self) -> None:
        """Watch the server."""
        self._healthy = time.monotonic()
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Close the connections and end the server, if it is a child of this process."""
        self._closing.set()
        if self._loop is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._forwarder.close(), self._loop).result(timeout)
        if self._process is not None:
            self._process.end()

    def submit(self, request: Request) -> ForwardedRequest:
        """See `service.protocol.engine.ServingEngine`."""
        return self.submit_all((request,))[0]

    def submit_all(self, requests: Sequence[Request]) -> list[ForwardedRequest]:
        """See `service.protocol.engine.ServingEngine`. The other server gets each by itself."""
        if self._closing.is_set():
            raise RequestError(ErrorCode.NOT_READY, "the server is shutting down; try again")
        client = requests[0].client
        self._check_admission(client, len(requests))
        self._loop = asyncio.get_running_loop()
        self._held[client] += len(requests)
        return [ForwardedRequest(one, self._forwarder, self._slots, self._end) for one in requests]

    def check_admission(self, client: str) -> None:
        """See `service.protocol.engine.ServingEngine`."""
        self._check_admission(client, 1)

    def check(self) -> None:
        """Raise EngineStopped where the server has ended, answers no probe, or makes no progress."""
        if self._process is not None:
            self._process.check()
        silence = time.monotonic() - self._healthy
        if silence > self._watch.silence:
            raise EngineStopped(
                f"the engine's server has not been healthy for {silence:.0f} s; "
                f"the limit is {self._watch.silence:.0f}"
            )
        if self._hung:
            raise EngineStopped("the engine's server has answered nothing for the whole time of a request")

    def describe(self) -> EngineDescription:
        """See `service.protocol.engine.ServingEngine`."""
        return self._description

    def stats(self) -> EngineStats:
        """See `service.protocol.engine.ServingEngine`; tokens are counted when a request ends."""
        taken, free = self._held.total(), self._slots.free
        return EngineStats(
            waiting=self._slots.waiting,
            running=taken - self._slots.waiting,
            finished=self._ends["finished"],
            cancelled=self._ends["cancelled"],
            failed=self._ends["failed"],
            refused=self._ends["refused"],
            shared=0,
            prefill_tokens=self._ends["prompt_tokens"],
            decode_tokens=self._ends["completion_tokens"],
            feature_hits=0,
            feature_misses=0,
            feature_bytes=0,
            slots_free=free,
            queue_limit=self._limit - self._description.slots,
            work=self._work(),
        )

    def _work(self) -> Work:
        """Work by the slots in use, as the other server does not say what it could do: all are a full one."""
        slots, waiting = self._description.slots, self._slots.waiting
        request = self._answer_seconds / slots
        return Work((slots - self._slots.free) / slots, waiting * request, request)

    def _check_admission(self, client: str, wanted: int) -> None:
        places = Places(limit=self._limit, slots=self._description.slots, taken=self._held.total())
        try:
            places.check(client, held=self._held[client], wanted=wanted)
        except RequestError:
            self._ends["refused"] += wanted
            raise

    def _end(self, request: ForwardedRequest, error: BaseException | None) -> None:
        client = request.request.client
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        if request.completion is not None:
            self._ends["prompt_tokens"] += request.completion.usage.prompt_tokens
            self._ends["completion_tokens"] += request.completion.usage.completion_tokens
            self._take_time(request.completion.timings)
        if error is None:
            self._hung = False
            self._ends["finished"] += 1
        elif isinstance(error, RequestError):
            self._ends["failed"] += 1
            late = error.code is ErrorCode.DEADLINE_EXCEEDED
            # The server had the whole time of a request and said nothing, to that one or any other.
            self._hung = late and self._forwarder.heard < request.started
        else:
            self._ends["cancelled"] += 1

    def _take_time(self, timings: Timings) -> None:
        seconds = timings.preparation + timings.prefill + timings.decode
        self._answer_seconds += (seconds - self._answer_seconds) * (NEWEST if self._answer_seconds else 1)

    def _probe(self) -> None:
        while not self._closing.wait(self._watch.period):
            try:
                status, _ = self._address.get(self._health, seconds=PROBE_SECONDS)
            except (OSError, http.client.HTTPException) as error:
                logger.debug("no answer to a probe: %s", type(error).__name__)
                continue
            if status == 200:
                self._healthy = time.monotonic()
