"""What pydantic finds wrong with a body, in words of this API."""

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from service.errors import ErrorCode, RequestError


def field_error(error: ValidationError | RequestValidationError, body: object = None) -> RequestError:
    """The deepest complaint of a validation; the value itself is not repeated.

    Where a field may be of several kinds, each of them complains; the deepest complaint is of the kind that
    was meant. `body` is the document that was validated, if it is at hand: it tells fields from kinds.
    """
    chosen = max(error.errors(), key=lambda one: len(one["loc"]))
    field, message = _words(chosen, ".".join(_path(chosen["loc"], body)))
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=field or None)


def _words(complaint: Any, field: str) -> tuple[str, str]:  # noqa: ANN401 - pydantic's ErrorDetails or a dict
    """The field at fault and the sentence on it."""
    kind = complaint["type"]
    if kind == "extra_forbidden":
        return field, f"{field} is not a field of this request; see /docs for those there are"
    if kind == "json_invalid":
        return "", "the body is not valid JSON"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        context = complaint["ctx"]
        field = f"{field}.{context['discriminator'].strip(chr(39))}"
        tags = context.get("expected_tags")
        return field, f"{field} must be one of {tags}" if tags else f"{field} is missing"
    said = complaint["msg"].removeprefix("Value error, ")
    return field, f"{field or 'the body'}: {said[:1].lower()}{said[1:]}"


def _path(location: Sequence[int | str], body: Any) -> list[str]:  # noqa: ANN401 - a JSON document
    """The names on the way to a value, without those of the kinds that were tried on it."""
    if body is None:
        return [str(part) for part in location if part != "body"]
    path: list[str] = []
    for part in location:
        if _has(body, part):
            body = body[part]
        elif not (isinstance(body, dict) and part is location[-1]):
            continue
        path.append(str(part))
    return path


def _has(body: object, part: int | str) -> bool:
    if isinstance(body, list):
        return isinstance(part, int) and part < len(body)
    return isinstance(body, dict) and part in body
