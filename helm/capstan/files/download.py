"""Fills the model cache that pods share (`download.py fetch`) or waits until it is full (`download.py wait`).

models.json next to this file lists the models. A complete download leaves a mark in the cache, because the
files alone do not show that they are complete.
"""

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path

from service.errors import CheckpointError

logger = logging.getLogger("capstan.download")

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("MODEL_CACHE", "/cache"))
LOG_INTERVAL_SECONDS = 10.0
POLL_INTERVAL_SECONDS = 1.0


def mark(model: dict[str, str]) -> Path:
    """Return the file whose existence says that the model is in the cache."""
    name = f"{model['source']}@{model['revision'] or 'main'}"
    return CACHE / ".capstan" / name.replace("/", "--")


def fetch(models: list[dict[str, str]]) -> None:
    """Download the models that the cache lacks. Raises CheckpointError if the hub or the disk refuses."""
    from service.checkpoint.source import locate  # noqa: PLC0415 - `wait` needs no torch

    for number, model in enumerate(models, start=1):
        done = mark(model)
        logger.info("model %d of %d: %s", number, len(models), model["source"])
        if model["token"] in os.environ:
            os.environ["HF_TOKEN"] = os.environ[model["token"]]
        else:
            os.environ.pop("HF_TOKEN", None)
        locate(model["source"], model["revision"] or None)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()
    logger.info("all %d models are in the cache", len(models))


def wait(models: list[dict[str, str]], seconds: float) -> None:
    """Wait until all models are in the cache. Raises TimeoutError."""
    start = logged = time.monotonic()
    while missing := [model["source"] for model in models if not mark(model).exists()]:
        now = time.monotonic()
        if now - start > seconds:
            raise TimeoutError(
                f"{', '.join(missing)}: not in the cache after {seconds:.0f} s; see the download Job's log"
            )
        if now - logged >= LOG_INTERVAL_SECONDS:
            logged = now
            logger.info("waiting for %s, %.0f s so far", ", ".join(missing), now - start)
        time.sleep(POLL_INTERVAL_SECONDS)
    logger.info("all %d models are in the cache", len(models))


def main() -> int:
    """Run the command on the models in models.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["fetch", "wait"])
    parser.add_argument("--seconds", type=float, default=7200.0, help="how long `wait` waits")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    models = json.loads((HERE / "models.json").read_text())
    try:
        if arguments.command == "fetch":
            fetch(models)
        else:
            wait(models, arguments.seconds)
    except (CheckpointError, OSError) as error:
        logger.error("%s", error)  # noqa: TRY400 - the message is complete without a traceback
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
