"""Where Chromium is, and its arguments: headless, without network traffic of its own."""

import os
from pathlib import Path

PLACES = (
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/opt/google/chrome/chrome",
)

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find() -> str:
    """The path of a Chromium. Raises RuntimeError if there is none."""
    places = [os.environ["CHROMIUM"]] if "CHROMIUM" in os.environ else list(PLACES)
    for place in places:
        if Path(place).is_file():
            return place
    raise RuntimeError(
        f"the browser tests found no Chromium at {', '.join(places)}; install it, on Debian with "
        "`apt-get install --no-install-recommends chromium`, or set CHROMIUM to its path"
    )
