"""The keys file of a running replica, read again when it changes."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from service.api.access.keys import Keys, parse_keys
from service.errors import StartupError

logger = logging.getLogger("capstan.access")

# How old what is known of the file may be, and how long a request waits at most for a slow volume.
CHECK_SECONDS = 1.0
WAIT_SECONDS = 1.0


class KeysFile:
    """The keys in a file that somebody else replaces.

    The content is compared, not the time of change: Kubernetes swaps a symbolic link when a Secret changes,
    and two writes may share a time stamp. Belongs to one event loop.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file for the first time. Raises StartupError where it is missing or invalid."""
        self._path = path
        self._clock = clock
        try:
            self._content = path.read_bytes()
        except OSError as error:
            raise StartupError(f"CAPSTAN_KEYS_FILE cannot be read: {error.strerror}") from None
        self._keys = parse_keys(self._content)
        self._checked = clock()
        self._check: asyncio.Task[None] | None = None
        self._missed = False
        logger.info("%d API keys are known", len(self._keys.entries))

    async def current(self) -> Keys:
        """The keys as of a second ago at most, or the last valid ones."""
        if self._clock() - self._checked >= CHECK_SECONDS and self._check is None:
            self._check = asyncio.ensure_future(self._refresh())
            # The volume may hang; who waits then gets what is known.
            await asyncio.wait({self._check}, timeout=WAIT_SECONDS)
        return self._keys

    async def _refresh(self) -> None:
        try:
            content = await asyncio.to_thread(self._path.read_bytes)
            self._missed = False
            if content != self._content:
                self._content = content
                self._keys = await asyncio.to_thread(parse_keys, content)
                logger.info("the keys file has changed: %d API keys are known", len(self._keys.entries))
        except OSError as error:
            if not self._missed:
                logger.error("CAPSTAN_KEYS_FILE cannot be read: %s; the last keys stay", error.strerror)  # noqa: TRY400
            self._missed = True
        except StartupError as error:
            logger.error("%s; the last valid keys stay", error)  # noqa: TRY400 - the sentence says all
        finally:
            self._checked = self._clock()
            self._check = None
