"""What is wrong with a body, in the terms of this API."""

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from service.errors import ErrorCode, RequestError
from service.settings import MOST_FRAMES, Settings


def check_image_count(count: int, settings: Settings, *, field: str) -> None:
    """Raise RequestError if a request has too many images."""
    if count > settings.max_images:
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"request has {count} images; the limit is {settings.max_images} (CAPSTAN_MAX_IMAGES); "
            "split it into several requests",
            field=field,
        )


def check_frame_count(count: int, settings: Settings, *, field: str) -> None:
    """Raise RequestError if the videos of a request have too many frames."""
    if count > settings.max_frames:
        many = f"{count} frames" if count <= MOST_FRAMES else f"over {MOST_FRAMES} frames"
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"request has {many}; the limit is {settings.max_frames} (CAPSTAN_MAX_FRAMES); send fewer",
            field=field,
        )


def check_answer_count(count: int, settings: Settings) -> None:
    """Raise RequestError if a request asks for more answers than are taken together."""
    for limit, name in (
        (settings.max_answers, "CAPSTAN_MAX_ANSWERS"),
        (settings.max_concurrent_sequences, "CAPSTAN_MAX_CONCURRENT_SEQUENCES"),
    ):
        if count > limit:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"n is {count}; the limit is {limit} answers a request ({name}); send several requests",
                field="n",
            )


def check_prompt_length(characters: int, settings: Settings, *, field: str) -> None:
    """Raise RequestError if the texts of a request are too long to tokenize."""
    if characters > settings.max_prompt_characters:
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"prompt is {characters} characters; the limit is {settings.max_prompt_characters} "
            "(CAPSTAN_MAX_PROMPT_CHARACTERS); shorten it",
            field=field,
        )


def validation_error(
    error: ValidationError | RequestValidationError, document: object = None
) -> RequestError:
    """The deepest problem that pydantic found; the value itself is not repeated.

    Where a field may have several types, each of them reports a problem; the deepest problem belongs to the
    type that was meant. `document` is what was validated, if available: it tells fields from types.
    """
    problem = max(error.errors(), key=lambda one: len(one["loc"]))
    field, message = _describe(problem, ".".join(_path(problem["loc"], document)))
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=field or None)


def _describe(problem: Any, field: str) -> tuple[str, str]:  # noqa: ANN401 - pydantic's ErrorDetails or a dict
    """The invalid field and the message about it."""
    kind = problem["type"]
    if kind == "extra_forbidden":
        return field, f"{field} is not a field of this request; see /docs for the list"
    if kind == "json_invalid":
        return "", "body is not valid JSON"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        context = problem["ctx"]
        field = f"{field}.{context['discriminator'].strip(chr(39))}"
        tags = context.get("expected_tags")
        return field, f"{field} must be one of {tags}" if tags else f"{field} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return field, f"{field or 'body'}: {message[:1].lower()}{message[1:]}"


def _path(location: Sequence[int | str], document: Any) -> list[str]:  # noqa: ANN401 - a JSON document
    """The names of the fields that lead to a value, without the names of the types that were tried on it."""
    if document is None:
        return [str(part) for part in location if part != "body"]
    path: list[str] = []
    for part in location:
        if _has(document, part):
            document = document[part]
        elif not (isinstance(document, dict) and part is location[-1]):
            continue
        path.append(str(part))
    return path


def _has(document: object, part: int | str) -> bool:
    if isinstance(document, list):
        return isinstance(part, int) and part < len(document)
    return isinstance(document, dict) and part in document
