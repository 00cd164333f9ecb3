"""The log of a replica: one line an event, on standard error, where Ray collects it."""

import logging
import sys

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure(level: str) -> None:
    """Send the loggers of this package to standard error from `level` on; other loggers stay as they are."""
    root = logging.getLogger("capstan")
    root.setLevel(level)
    root.propagate = False
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(FORMAT))
        root.addHandler(handler)
