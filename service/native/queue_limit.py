"""Keeps the queue of a replica as long as the model's speed allows, in seconds of work."""

import threading
import time

from service.engine_options import EngineOptions
from service.native.request_table import RequestTable
from service.native.work_meter import WorkMeter
from service.protocol.stats import RankStats, Work

# How often the length is fitted to the speed.
REFRESH_SECONDS = 0.25


class QueueLimit:
    """Sets the limit of a request table. Used by several threads."""

    def __init__(self, requests: RequestTable, options: EngineOptions, *, slots: int) -> None:
        self._requests = requests
        self._options = options
        self._slots = slots
        self._meter = WorkMeter(slots)
        self._lock = threading.Lock()
        self._refreshed = 0.0
        requests.slots, requests.limit = slots, slots + options.max_waiting

    def refresh(self, stats: RankStats) -> Work | None:
        """Measure the work, and let as many requests wait as it allows; None before anything was computed."""
        queued = [answer.prompt_tokens for answer in self._requests.waiting()]
        finished = self._requests.counters.finished
        with self._lock:
            self._refreshed = time.monotonic()
            work = self._meter.observe(stats, finished, queued, self._refreshed)
        places = queue_places(work, seconds=self._options.queue_seconds, most=self._options.max_waiting)
        self._requests.limit = self._slots + places
        self._requests.retry_after = work.queued if work else None
        return work

    def refresh_if_due(self, stats: RankStats) -> None:
        """Do so if the last time is a while ago."""
        if time.monotonic() - self._refreshed > REFRESH_SECONDS:
            self.refresh(stats)


def queue_places(work: Work | None, *, seconds: float, most: int) -> int:
    """How many requests may wait: as many as take so many seconds, at least one and at most `most`.

    As long as no request has been computed, `most`.
    """
    if work is None or work.request <= 0:
        return most
    return min(most, max(1, int(seconds / work.request)))
