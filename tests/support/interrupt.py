"""Ctrl-C in a test."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupt_once(ready: Callable[[], object]) -> Iterator[None]:
    """Send SIGINT to the main thread, which runs the block, as soon as `ready` returns."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def send() -> None:
        ready()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        sender.join(10.0)
        signal.signal(signal.SIGINT, before)
