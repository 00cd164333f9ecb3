"""How a rank learns that its replica is gone, even one that was killed: its standard input ends.

Imports next to nothing, so that it holds while a rank still imports all the rest.
"""

import os
import sys
import threading


def hold() -> None:
    """End this process as soon as its standard input ends, whatever it is doing."""
    threading.Thread(target=_hold, name="lifeline", daemon=True).start()


def _hold() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(0)
