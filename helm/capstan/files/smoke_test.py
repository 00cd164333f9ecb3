"""Runs in `helm test`: every model must caption the example image before the deadline.

The environment has ADDRESS, MODELS (JSON, name to path), TIMEOUT_SECONDS, and API_KEY if the API needs one.
"""

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

EXAMPLE = Path("examples/images/shapes.png")
RETRY_INTERVAL_SECONDS = 3.0
REQUEST_TIMEOUT_SECONDS = 60.0
# A retry cannot fix a wrong key or a refused image.
FINAL_STATUSES = (400, 401, 403, 413, 415, 422)


def caption(address: str, path: str, key: str | None) -> str:
    """Return the caption of the example image. Raises OSError or ValueError if there is none."""
    body = json.dumps({"image": base64.b64encode(EXAMPLE.read_bytes()).decode()}).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(f"{address}{path}/caption", data=body, headers=headers)  # noqa: S310 - our URL
    with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_SECONDS) as response:  # noqa: S310
        text = json.load(response)["caption"]
    if not text.strip():
        raise ValueError("the caption is empty")
    return str(text)


def caption_before(deadline: float, address: str, path: str, key: str | None) -> str:
    """Retry `caption` until the deadline, as a model may still be loading. Raises what `caption` raises."""
    while True:
        try:
            return caption(address, path, key)
        except (OSError, KeyError, ValueError) as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code in FINAL_STATUSES
            if final or time.monotonic() + RETRY_INTERVAL_SECONDS > deadline:
                raise
            time.sleep(RETRY_INTERVAL_SECONDS)


def main() -> int:
    """Caption the example with every model. Returns 1 if any model fails."""
    deadline = time.monotonic() + float(os.environ["TIMEOUT_SECONDS"])
    failed = 0
    for name, path in json.loads(os.environ["MODELS"]).items():
        try:
            text = caption_before(deadline, os.environ["ADDRESS"], path, os.environ.get("API_KEY"))
            print(f"{name}: {text}")  # noqa: T201 - the output of the command
        except (OSError, KeyError, ValueError) as error:
            failed = 1
            print(f"{name}: no caption: {error}", file=sys.stderr)  # noqa: T201
    return failed


if __name__ == "__main__":
    sys.exit(main())
