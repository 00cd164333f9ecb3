"""The closed list of public error codes, and the hierarchy of errors that this package raises.

A message has subject, value, limit and what to do: ``image is 41.2 megapixels; the limit is 40
(CAPSTAN_MAX_PIXELS)``. It never contains a prompt, a caption, a secret or a path on the server.
"""

from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """Every code that a client can get; `ERRORS` explains each."""

    INVALID_REQUEST = "invalid_request"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    INVALID_IMAGE = "invalid_image"
    UNSUPPORTED_IMAGE = "unsupported_image"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_PATH_FORBIDDEN = "image_path_forbidden"
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_URL_FORBIDDEN = "image_url_forbidden"
    IMAGE_FETCH_FAILED = "image_fetch_failed"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    REQUEST_TOO_LARGE = "request_too_large"
    REQUEST_TOO_SLOW = "request_too_slow"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    NOT_FOUND = "not_found"
    MODEL_NOT_FOUND = "model_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INVALID_API_KEY = "invalid_api_key"
    MODEL_FORBIDDEN = "model_forbidden"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    NOT_READY = "not_ready"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """A row of the public table: the HTTP status of a code, when it is sent and what to do about it."""

    status: int
    when: str
    remedy: str


ERRORS: dict[ErrorCode, ErrorKind] = {
    ErrorCode.INVALID_REQUEST: ErrorKind(
        400, "A field is missing, unknown or out of bounds.", "Fix the field named in the message."
    ),
    ErrorCode.UNSUPPORTED_PARAMETER: ErrorKind(
        400,
        "A parameter of OpenAI's API asks for something that is not supported.",
        "Leave out the parameter named in the message.",
    ),
    ErrorCode.INVALID_IMAGE: ErrorKind(
        400, "The image is damaged or incomplete.", "Send the complete, undamaged file."
    ),
    ErrorCode.UNSUPPORTED_IMAGE: ErrorKind(
        415, "The image format is not supported.", "Convert it to JPEG, PNG, WebP, GIF or BMP."
    ),
    ErrorCode.IMAGE_TOO_LARGE: ErrorKind(413, "The image has too many bytes or pixels.", "Scale it down."),
    ErrorCode.IMAGE_PATH_FORBIDDEN: ErrorKind(
        403, "`image_path` is outside the directories open to requests.", "Send the image itself."
    ),
    ErrorCode.IMAGE_NOT_FOUND: ErrorKind(
        404, "There is no readable file at `image_path`.", "Check the path; it is a path on the server."
    ),
    ErrorCode.IMAGE_URL_FORBIDDEN: ErrorKind(
        403, "`image_url` is invalid, or its host is not allowed.", "Send the image itself."
    ),
    ErrorCode.IMAGE_FETCH_FAILED: ErrorKind(
        400,
        "No image could be fetched from `image_url` in time.",
        "Check that the URL returns the image itself without a login, or send the image.",
    ),
    ErrorCode.CONTEXT_LENGTH_EXCEEDED: ErrorKind(
        400,
        "Prompt and answer do not fit into the model's context.",
        "Shorten the prompt or lower `max_tokens`.",
    ),
    ErrorCode.REQUEST_TOO_LARGE: ErrorKind(413, "The request body is too large.", "Send fewer bytes."),
    ErrorCode.REQUEST_TOO_SLOW: ErrorKind(
        408, "The request body did not arrive in time.", "Send it faster, or scale the image down."
    ),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: ErrorKind(
        415,
        "The body is neither JSON nor multipart/form-data.",
        "Send one of them, with the right Content-Type header.",
    ),
    ErrorCode.NOT_FOUND: ErrorKind(404, "The route does not exist.", "See /docs."),
    ErrorCode.MODEL_NOT_FOUND: ErrorKind(
        404, "The model does not exist.", "Use a model named in the message, or see /v1/models."
    ),
    ErrorCode.METHOD_NOT_ALLOWED: ErrorKind(
        405, "The route does not accept this HTTP method.", "See the Allow header and /docs."
    ),
    ErrorCode.INVALID_API_KEY: ErrorKind(
        401,
        "The API key is missing or unknown.",
        "Send `Authorization: Bearer KEY` with a key from the operator.",
    ),
    ErrorCode.MODEL_FORBIDDEN: ErrorKind(
        403, "The API key may not use this model.", "Use a model named in the message, or ask the operator."
    ),
    ErrorCode.RATE_LIMITED: ErrorKind(
        429,
        "The API key has reached one of its limits.",
        "Retry after the seconds in the Retry-After header.",
    ),
    ErrorCode.OVERLOADED: ErrorKind(
        503,
        "The replica's queue or its memory for request bodies is full.",
        "Retry after the seconds in the Retry-After header.",
    ),
    ErrorCode.NOT_READY: ErrorKind(
        503, "The model is loading or has failed.", "Wait until /readyz returns 200."
    ),
    ErrorCode.DEADLINE_EXCEEDED: ErrorKind(
        504,
        "The answer was not finished in time.",
        "Lower `max_tokens`, or retry later.",
    ),
    ErrorCode.INTERNAL_ERROR: ErrorKind(
        500, "The server failed.", "Report it with the request_id; the server's log has the cause."
    ),
}


class CapstanError(Exception):
    """The root of every error that this package raises on purpose."""


class Refusal(StrEnum):
    """The limits that refuse a request before any work, where one code stands for several."""

    QUEUE = "queue"
    QUEUE_SHARE = "queue_share"
    BODIES = "bodies"
    CONCURRENT_REQUESTS = "concurrent_requests"
    REQUESTS_PER_MINUTE = "requests_per_minute"
    IMAGES_PER_MINUTE = "images_per_minute"


class RequestError(CapstanError):
    """A request that cannot be answered: a public code, and the invalid field if there is one.

    `retry_after` is the number of seconds after which the same request may succeed, if known; `refusal` the
    limit that refused it.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
        refusal: Refusal | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after
        self.refusal = refusal


class EngineStopped(CapstanError):  # noqa: N818 - a state of the engine, not a mistake of the caller
    """The engine's loop has ended or is stuck; the replica must be replaced."""


class StartupError(CapstanError):
    """The replica cannot serve with this configuration; one sentence says why and what to do."""


class CheckpointError(StartupError):
    """The checkpoint cannot be served."""


class DeviceError(StartupError):
    """The requested device is missing or too small."""
