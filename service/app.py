"""The entry point: `service.app:build` takes arguments, `service.app:entry` only the environment.

Nothing else in the package reads the environment.
"""

import difflib
import os
from typing import Any

from ray.serve import Application

from service.deployment import deployment
from service.errors import StartupError
from service.settings import Settings

PREFIX = "CAPSTAN_"


def build(args: dict[str, Any]) -> Application:
    """Build the Serve application; settings that `args` leaves out come from the environment.

    Raises StartupError for an unknown CAPSTAN_ variable, and pydantic's ValidationError for a value out of
    bounds.
    """
    _refuse_unknown_variables()
    return deployment.bind(Settings(**args).model_dump(mode="json"))


def _refuse_unknown_variables() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "see docs/settings.md"
            raise StartupError(f"{name} is not a setting; {hint}")


def __getattr__(name: str) -> Application:
    # Built on demand, so that importing this module for `build` does not need a valid environment.
    if name == "entry":
        return build({})
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
