"""Errors of another server in the terms of this API, without what is none of the client's business."""

import logging
import re
from typing import Any

from service.errors import ErrorCode, RequestError

logger = logging.getLogger("capstan.engine")

MAX_SENTENCE = 300  # characters

# Where a sentence ends and internals, or a part of the request, begin.
INTERNALS = re.compile(
    r"""\s*(Traceback|File "|'input'|"input"|input_value|input_type|\[type=|"""
    r"""\(parameter=|data:image|\{'type').*"""
)
REPLACED = (
    (re.compile(r"<[^<>]*\b0x[0-9a-fA-F]+[^<>]*>"), "an object"),
    (re.compile(r"https?://\S+"), "a URL"),
    (re.compile(r"(?:/[\w.@+~-]+){2,}/?"), "a path"),
    (re.compile(r"\s+"), " "),
)
FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,63}")
CONTEXT = re.compile(
    r"context (length|window)|max_tokens|max_completion_tokens|too many tokens|longer than", re.IGNORECASE
)

CODES = {
    400: ErrorCode.INVALID_REQUEST,
    408: ErrorCode.DEADLINE_EXCEEDED,
    413: ErrorCode.REQUEST_TOO_LARGE,
    422: ErrorCode.INVALID_REQUEST,
    429: ErrorCode.OVERLOADED,
    503: ErrorCode.OVERLOADED,
    504: ErrorCode.DEADLINE_EXCEEDED,
}
WITHOUT_SENTENCE = {
    ErrorCode.INVALID_REQUEST: "engine refused the request and did not say why",
    ErrorCode.CONTEXT_LENGTH_EXCEEDED: "prompt and answer do not fit into the model's context",
    ErrorCode.REQUEST_TOO_LARGE: "request is too large for the engine; send fewer or smaller images",
    ErrorCode.OVERLOADED: "engine has too many requests; try again later",
    ErrorCode.DEADLINE_EXCEEDED: "engine did not answer in time; lower max_tokens, or try again later",
}


def refusal(status: int, body: object) -> RequestError:
    """The error for an answer with an error's status; `body` is its document, whatever it is.

    Its own sentence is kept only where it is about the request.
    """
    code = CODES.get(status, ErrorCode.INTERNAL_ERROR)
    if code is ErrorCode.INTERNAL_ERROR:
        return failure(f"status {status}")
    text, param = _error_of(body)
    if code is not ErrorCode.INVALID_REQUEST:
        return RequestError(code, WITHOUT_SENTENCE[code])
    sentence = cleaned(text)
    if sentence and CONTEXT.search(sentence):
        code = ErrorCode.CONTEXT_LENGTH_EXCEEDED
    message = f"engine refused the request: {sentence}" if sentence else WITHOUT_SENTENCE[code]
    field = param if isinstance(param, str) and FIELD.fullmatch(param) else None
    return RequestError(code, message, field=field)


def failure(reason: str) -> RequestError:
    """The error for an answer that is a fault of the other server, or none; the log gets the reason."""
    logger.warning("the engine's server failed on a request: %s", reason)
    return RequestError(
        ErrorCode.INTERNAL_ERROR, "the engine failed on this request; the server's log says why"
    )


def unreachable() -> RequestError:
    """The error for a server that takes no connection."""
    return RequestError(ErrorCode.NOT_READY, "the engine does not answer; try again")


def too_late() -> RequestError:
    """The error for an answer that was not complete at the request's deadline."""
    return RequestError(
        ErrorCode.DEADLINE_EXCEEDED,
        "the answer was not complete in time; lower max_tokens, or raise CAPSTAN_REQUEST_TIMEOUT",
    )


def status_in(body: object) -> int:
    """The status that an error in the middle of a stream names; 500 if none."""
    error = body.get("error") if isinstance(body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 500


def cleaned(text: object) -> str:
    """The first sentence of an error without paths, addresses, tracebacks and parts of the request."""
    if not isinstance(text, str):
        return ""
    line = next(iter(text.strip().splitlines()), "")[: 10 * MAX_SENTENCE]
    line = INTERNALS.sub("", line)
    for pattern, word in REPLACED:
        line = pattern.sub(word, line)
    line = line[:MAX_SENTENCE].strip(" \t:;,([{'\"-")
    return line if re.search(r"[A-Za-z]{3}", line) else ""


def _error_of(body: object) -> tuple[Any, Any]:
    """The sentence and the field of an error: OpenAI's form, an older one of vLLM, FastAPI's."""
    if not isinstance(body, dict):
        return None, None
    error = body.get("error")
    if isinstance(error, dict):
        return error.get("message"), error.get("param")
    return error if isinstance(error, str) else body.get("message") or body.get("detail"), body.get("param")
