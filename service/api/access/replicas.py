"""How many replicas share the load, asked now and then of whoever knows."""

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("capstan.access")

EVERY_SECONDS = 15.0


class Replicas:
    """A number that is at hand at once and was true a short while ago.

    `ask` may block, so it runs in a thread of its own, one at a time, and only while the number is wanted.
    """

    def __init__(self, ask: Callable[[], int], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._known = 1
        self._asked = float("-inf")
        self._thread: threading.Thread | None = None

    def __call__(self) -> int:
        """The replicas that ran when last asked; 1 before the first answer. Does not block."""
        asking = self._thread is not None and self._thread.is_alive()
        if not asking and self._clock() - self._asked >= EVERY_SECONDS:
            self._asked = self._clock()
            self._thread = threading.Thread(target=self._learn, name="replicas", daemon=True)
            self._thread.start()
        return self._known

    def _learn(self) -> None:
        try:
            known = max(1, self._ask())
        except Exception:  # noqa: BLE001 - whatever Ray raises while its controller restarts, the last number stands
            logger.warning("Serve did not say how many replicas run; %d are assumed", self._known)
            return
        if known != self._known:
            logger.info("the limits of the keys are divided among %d replicas", known)
        self._known = known
