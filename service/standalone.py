"""`python -m service.standalone --port N`: one replica on this machine, without Ray, until SIGTERM.

`capstan caption` starts it for a run. It is ready in a fraction of the time that Serve takes.
"""

import argparse
import asyncio
import os
import signal
import sys
from typing import Any

import uvicorn

from service import logs
from service.replica import Replica
from service.settings import Settings

CLOSE_SECONDS = 10.0
NO_ARGUMENTS: dict[str, Any] = {}


def main() -> None:
    """Load the model of the environment's settings and serve it on 127.0.0.1."""
    parser = argparse.ArgumentParser(prog="service.standalone", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    settings = Settings(**NO_ARGUMENTS).for_resources(cpus=os.cpu_count() or 1, gpus=0)
    logs.configure(settings.log_level, settings.log_format)
    # uvicorn stops on SIGTERM and then raises it again, which would skip the end of this function.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    replica = Replica(settings, gpus=0, replicas=lambda: 1)
    try:
        uvicorn.run(
            replica.application(),
            host="127.0.0.1",
            port=port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
    finally:
        asyncio.run(replica.close(CLOSE_SECONDS))
        logs.flush()


if __name__ == "__main__":
    main()
