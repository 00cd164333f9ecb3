"""The recorded objects, and small changes to them."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

RECORDED = Path(__file__).parent / "recorded"

Json = dict[str, Any]
Change = Callable[[Json], None]


def recorded(name: str) -> Any:
    """A recorded object, fresh."""
    return json.loads((RECORDED / f"{name}.json").read_text())


def service(change: Change | None = None) -> Json:
    """The recorded RayService, changed."""
    return changed(recorded("service"), change)


def changed(found: Json, change: Change | None) -> Json:
    """A copy of an object, changed."""
    found = copy.deepcopy(found)
    if change is not None:
        change(found)
    return found


def at(path: str, value: Any) -> Change:
    """The change that sets a dotted path below `spec.rayClusterConfig`; numbers are indices; None removes."""

    def change(found: Json) -> None:
        inner: Any = found["spec"]["rayClusterConfig"]
        *way, last = path.split(".")
        for part in way:
            inner = inner[int(part)] if part.isdigit() else inner.setdefault(part, {})
        key = int(last) if last.isdigit() else last
        if value is None:
            inner.pop(key, None)
        else:
            inner[key] = value

    return change


def serve(change: Change) -> Change:
    """A change of the parsed Serve config."""

    def outer(found: Json) -> None:
        config = yaml.safe_load(found["spec"]["serveConfigV2"])
        change(config)
        found["spec"]["serveConfigV2"] = yaml.safe_dump(config)

    return outer


def app(key: str, value: Any) -> Change:
    """A change of the first application."""
    return serve(lambda config: config["applications"][0].update({key: value}))


def deployment(key: str, value: Any) -> Change:
    """A change of the first application's one deployment."""
    return serve(lambda config: config["applications"][0]["deployments"][0].update({key: value}))
