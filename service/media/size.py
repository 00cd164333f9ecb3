"""The bound on the bytes of an image file, in one wording wherever it comes from."""

from service.errors import ErrorCode, RequestError


def too_many_bytes(size: int, limit: int, *, field: str = "image", at_least: bool = False) -> RequestError:
    """The refusal of a file of `size` bytes, or of as many and perhaps more."""
    return RequestError(
        ErrorCode.IMAGE_TOO_LARGE,
        f"image is {'at least ' if at_least else ''}{size} bytes; "
        f"the limit is {limit} (CAPSTAN_MAX_IMAGE_BYTES); scale it down",
        field=field,
    )
