"""docs/http.md: every route and the fields of its bodies, from the application's own OpenAPI document."""

import logging
from collections.abc import Iterator
from typing import Any, cast

from service.api.application import create_application
from service.api.auth.middleware import Authenticator
from service.api.backend import Backend
from service.metrics.telemetry import Telemetry
from service.settings import Settings

HEAD = """# HTTP reference

<!-- Generated from service/api by `make docs`. -->

[api.md](api.md) explains the routes with examples, [errors.md](errors.md) the errors. A server has the
same at `/docs`, and for programs at `/openapi.json`.
"""
BODIES = {"POST /caption": "CaptionRequest", "POST /v1/chat/completions": "ChatRequest"}

BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most"}


def page() -> str:
    """The page."""
    document = _document()
    rows = [
        f"| `{method.upper()} {path}` | {operation['summary']} | {', '.join(operation['responses'])} |"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    parts = [HEAD, "| route | what it does | statuses |", "| --- | --- | --- |", *rows]
    for route, name in BODIES.items():
        schema = document["components"]["schemas"][name]
        parts += ["", f"## The body of `{route}`", "", "| field | type | meaning |", "| --- | --- | --- |"]
        parts += list(_fields(schema))
    return "\n".join((*parts, ""))


def _document() -> dict[str, Any]:
    logging.getLogger("capstan").setLevel(logging.ERROR)  # that there are no keys is no news here
    settings = Settings.model_construct()
    telemetry = Telemetry.from_settings(settings)
    backend = Backend(cast("Any", None), settings, settings.generation_defaults, cast("Any", None), telemetry)
    authenticator = Authenticator.from_settings(settings, replicas=lambda: 1)
    return create_application(backend, authenticator=authenticator).openapi()


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    for name, field in schema["properties"].items():
        required = ", required" if name in schema.get("required", ()) else ""
        meaning = field.get("description", "").replace("|", "\\|").replace("\n", " ")
        yield f"| `{name}` | {_kind(field)}{required} | {meaning} |"


def _kind(field: dict[str, Any]) -> str:
    """The type of a field in words; null is left out, as it means that the field is not there."""
    for several in ("anyOf", "oneOf"):
        if several in field:
            return " or ".join(_kind(one) for one in field[several] if one.get("type") != "null")
    if "$ref" in field:
        return f"{field['$ref'].rpartition('/')[2]}"
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    bounds = [f" {word} {field[name]}" for name, word in BOUNDS.items() if name in field]
    return str(field.get("type", "any")) + ",".join(bounds)
