"""What `helm test` runs: every model must caption the image's own example before the deadline.

The environment gives ADDRESS, MODELS (JSON, name to path), TIMEOUT_SECONDS, and API_KEY where one is needed.
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
PAUSE_SECONDS = 3.0
REQUEST_SECONDS = 60.0
# A wrong key or an image that is refused does not become right by waiting.
FINAL = (400, 401, 403, 413, 415, 422)


def caption(address: str, path: str, key: str | None) -> str:
    """The caption of the example. Raises OSError where nothing answers, ValueError where it is no caption."""
    body = json.dumps({"image": base64.b64encode(EXAMPLE.read_bytes()).decode()}).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(f"{address}{path}/caption", data=body, headers=headers)  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as answer:  # noqa: S310
        text = json.load(answer)["caption"]
    if not text.strip():
        raise ValueError("the caption is empty")
    return str(text)


def caption_in_time(address: str, path: str, key: str | None, deadline: float) -> str:
    """The caption, asked for until the deadline, as a model may be loading. Raises as `caption` does."""
    while True:
        try:
            return caption(address, path, key)
        except (OSError, KeyError, ValueError) as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code in FINAL
            if final or time.monotonic() + PAUSE_SECONDS > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def main() -> int:
    """Caption with every model; 1 where one does not."""
    deadline = time.monotonic() + float(os.environ["TIMEOUT_SECONDS"])
    failed = 0
    for name, path in json.loads(os.environ["MODELS"]).items():
        try:
            text = caption_in_time(os.environ["ADDRESS"], path, os.environ.get("API_KEY"), deadline)
            print(f"{name}: {text}")  # noqa: T201 - a command's output
        except (OSError, KeyError, ValueError) as error:
            failed = 1
            print(f"{name}: no caption: {error}", file=sys.stderr)  # noqa: T201
    return failed


if __name__ == "__main__":
    sys.exit(main())
