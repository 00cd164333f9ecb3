"""`python -m service.router --model NAME=URL ...`: one address for several models.

Limits of bodies, the keys file and the log are set as those of a replica (docs/settings.md).
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

import uvicorn

from service import logs
from service.router.application import create_router
from service.settings import Settings

# Longer than any load balancer keeps an idle connection; Google's does for 600 s.
KEEP_ALIVE_SECONDS = 620
# Serve's proxy gives up first, so that its answer passes.
EXTRA_SECONDS = 15.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM, which gives requests in progress `--drain-seconds` to finish."""
    options = _parser().parse_args(arguments)
    settings = Settings.model_validate({})  # from the environment
    logs.configure(settings.log_level, settings.log_format)
    app = create_router(dict(options.model), settings, seconds=options.request_seconds + EXTRA_SECONDS)
    # Uvicorn drains on SIGTERM and then raises it again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        uvicorn.run(
            app,
            host=options.host,
            port=options.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=options.drain_seconds,
        )
    finally:
        logs.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service.router", description=__doc__)
    parser.add_argument("--model", metavar="NAME=URL", type=_model, action="append", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--request-seconds", type=float, default=310, help="the timeout of Serve's proxy")
    parser.add_argument("--drain-seconds", type=int, default=60)
    return parser


def _model(text: str) -> tuple[str, str]:
    name, _, address = text.rpartition("=")
    parts = urlsplit(address)
    if not name or parts.scheme not in ("http", "https") or not parts.netloc:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=URL, such as a=http://serve:8000/a")
    return name, address.rstrip("/")


if __name__ == "__main__":
    main()
