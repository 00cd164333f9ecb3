"""The keys file of a running replica, reloaded when it changes."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from service.api.auth.keys import ApiKeys, parse_keys
from service.errors import StartupError

logger = logging.getLogger("capstan.access")

# How stale the keys may be, and how long a request waits for a slow volume.
CHECK_SECONDS = 1.0
WAIT_SECONDS = 1.0


class KeysFile:
    """The keys in a file that is replaced from outside.

    Content is compared instead of modification times: Kubernetes swaps a symbolic link when a Secret changes,
    and two writes may have the same time. Belongs to one event loop.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file for the first time. Raises StartupError if it is missing or invalid."""
        self._path = path
        self._clock = clock
        try:
            self._content = path.read_bytes()
        except OSError as error:
            raise StartupError(f"CAPSTAN_KEYS_FILE cannot be read: {error.strerror}") from None
        self._keys = parse_keys(self._content)
        self._read_at = clock()
        self._refreshing: asyncio.Task[None] | None = None
        self._unreadable = False
        logger.info("%d API keys loaded", len(self._keys.entries))

    async def current(self) -> ApiKeys:
        """The keys as of at most a second ago, or the last valid ones."""
        if self._clock() - self._read_at >= CHECK_SECONDS and self._refreshing is None:
            self._refreshing = asyncio.ensure_future(self._refresh())
            # The volume may hang; then the known keys have to do.
            await asyncio.wait({self._refreshing}, timeout=WAIT_SECONDS)
        return self._keys

    async def _refresh(self) -> None:
        try:
            content = await asyncio.to_thread(self._path.read_bytes)
            self._unreadable = False
            if content != self._content:
                self._content = content
                self._keys = await asyncio.to_thread(parse_keys, content)
                logger.info("the keys file has changed: %d API keys loaded", len(self._keys.entries))
        except OSError as error:
            if not self._unreadable:
                logger.error("CAPSTAN_KEYS_FILE cannot be read: %s; keeping the last keys", error.strerror)  # noqa: TRY400
            self._unreadable = True
        except StartupError as error:
            logger.error("%s; keeping the last valid keys", error)  # noqa: TRY400 - the message is complete
        finally:
            self._read_at = self._clock()
            self._refreshing = None
