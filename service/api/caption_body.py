"""The body of POST /caption, in each form that it may come in, becomes a request and an image file."""

import asyncio
from dataclasses import dataclass

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from service.api.rendering import field_error
from service.api.schemas import CaptionRequest, Generation
from service.errors import ErrorCode, RequestError
from service.media.decode import ImageLimits
from service.media.sources import decode_base64, read_path
from service.settings import Settings

# Below this many characters, handing base64 to a thread takes longer than decoding it.
INLINE_BASE64 = 256 * 1024


@dataclass(frozen=True, slots=True)
class CaptionBody:
    """The image file and how to caption it."""

    image: bytes
    generation: Generation


def image_limits(settings: Settings) -> ImageLimits:
    """The settings that bound an image."""
    return ImageLimits(
        max_bytes=settings.max_image_bytes,
        max_pixels=settings.max_pixels,
        max_side=settings.max_image_side,
    )


async def read_caption_body(request: Request, settings: Settings) -> CaptionBody:
    """Read a JSON or multipart body.

    Raises RequestError for a field that is missing, unknown or out of bounds, for a body of another type,
    and for an image that cannot be read.
    """
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return await _from_form(request, settings)
    # curl's -d announces a form; what it carries tells.
    if media_type in ("application/json", "application/x-www-form-urlencoded", "text/json"):
        return await _from_json(await request.body(), settings)
    raise RequestError(
        ErrorCode.UNSUPPORTED_MEDIA_TYPE,
        "the Content-Type of this body is not accepted; send application/json or multipart/form-data",
    )


async def _from_json(body: bytes, settings: Settings) -> CaptionBody:
    try:
        fields = CaptionRequest.model_validate_json(body)
    except ValidationError as error:
        raise field_error(error) from None
    limits = image_limits(settings)
    if (fields.image is None) == (fields.image_path is None):
        raise RequestError(
            ErrorCode.INVALID_REQUEST, "exactly one of image and image_path is needed", field="image"
        )
    if fields.image_path is not None:
        image = await asyncio.to_thread(read_path, fields.image_path, settings.image_roots, limits)
    elif fields.image is not None and len(fields.image) > INLINE_BASE64:
        image = await asyncio.to_thread(decode_base64, fields.image, limits)
    else:
        image = decode_base64(fields.image or "", limits)
    return CaptionBody(image, fields)


async def _from_form(request: Request, settings: Settings) -> CaptionBody:
    async with request.form(max_files=1, max_fields=16) as form:
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise RequestError(
                ErrorCode.INVALID_REQUEST, "the form has no file in its field image", field="image"
            )
        if (image.size or 0) > settings.max_image_bytes:
            raise RequestError(
                ErrorCode.IMAGE_TOO_LARGE,
                f"image is {image.size} bytes; the limit is {settings.max_image_bytes} "
                "(CAPSTAN_MAX_IMAGE_BYTES); scale it down",
                field="image",
            )
        return CaptionBody(await image.read(), _generation(form))


def _generation(form: FormData) -> Generation:
    """The form's other fields; a form knows only texts, so numbers are read from them."""
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        if name == "image":
            continue
        if isinstance(value, UploadFile) or name in fields:
            raise RequestError(ErrorCode.INVALID_REQUEST, f"{name} is to be given once, as text", field=name)
        fields[name] = value
    try:
        return Generation.model_validate_strings(fields)
    except ValidationError as error:
        raise field_error(error) from None
