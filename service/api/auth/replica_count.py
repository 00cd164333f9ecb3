"""How many replicas share the load, looked up in the background."""

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("capstan.access")

EVERY_SECONDS = 15.0


def run_in_thread(work: Callable[[], None]) -> None:
    """Run `work` in a daemon thread."""
    threading.Thread(target=work, name="replica-count", daemon=True).start()


class ReplicaCount:
    """A number that is available immediately and was correct a short while ago.

    `ask` may block, so it runs in the background, one call at a time, and only while the number is in use.
    """

    def __init__(
        self,
        ask: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
        background: Callable[[Callable[[], None]], None] = run_in_thread,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._background = background
        self._known = 1
        self._asked = float("-inf")
        self._asking = False

    def __call__(self) -> int:
        """The replicas that were running when last asked; 1 before the first answer. Does not block."""
        if not self._asking and self._clock() - self._asked >= EVERY_SECONDS:
            self._asked = self._clock()
            self._asking = True
            self._background(self._update)
        return self._known

    def _update(self) -> None:
        try:
            found = max(1, self._ask())
        except Exception:  # noqa: BLE001 - whatever Ray raises while its controller restarts, keep the last number
            logger.warning("Serve did not say how many replicas run; %d are assumed", self._known)
        else:
            if found != self._known:
                logger.info("the limits of the keys are shared by %d replicas", found)
            self._known = found
        finally:
            self._asking = False
