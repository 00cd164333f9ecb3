"""The body of POST /caption, in each form that it may come in, becomes images and how to caption them."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from service.api.images import NamedImage, check_count
from service.api.offload import read_sent
from service.api.schemas.caption import SOURCES, CaptionRequest, Generation, ImageSource
from service.api.validation import field_error
from service.errors import ErrorCode, RequestError
from service.media.size import too_many_bytes
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class CaptionBody:
    """The images, each a file already or still to be read; `listed` where the answer is to be a list."""

    images: tuple[bytes | NamedImage, ...]
    listed: bool
    generation: Generation


async def read_caption_body(request: Request, settings: Settings) -> CaptionBody:
    """Read a JSON or multipart body.

    Raises RequestError for a field that is missing, unknown or out of bounds, and for a body of another type.
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
    fields = await read_sent(_validate, body)
    named = [name for name in (*SOURCES, "images") if getattr(fields, name) is not None]
    if len(named) != 1:
        raise _one_source(named)
    if fields.images is not None:
        check_count(len(fields.images), settings, field="images")
        images = tuple(_named(source, f"images.{index}.") for index, source in enumerate(fields.images))
        return CaptionBody(images, listed=True, generation=fields)
    return CaptionBody((_named(fields, ""),), listed=False, generation=fields)


def _validate(body: bytes) -> CaptionRequest:
    try:
        return CaptionRequest.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise field_error(error) from None


def _named(source: CaptionRequest | ImageSource, before: str) -> NamedImage:
    if source.image is not None:
        return NamedImage("base64", source.image, before + "image")
    if source.image_url is not None:
        return NamedImage.of_url(source.image_url, before + "image_url")
    return NamedImage("path", source.image_path or "", before + "image_path")


async def _from_form(request: Request, settings: Settings) -> CaptionBody:
    async with request.form(max_files=settings.max_images, max_fields=16) as form:
        files = [value for value in form.getlist("image") if isinstance(value, UploadFile)]
        texts = _texts(form)
        elsewhere = {name: texts.pop(name) for name in SOURCES if name in texts}
        if bool(files) + len(elsewhere) != 1:
            raise _one_source([*(["image"] if files else []), *elsewhere])
        generation = _generation(texts)
        if elsewhere:
            return CaptionBody((_named(_source(elsewhere), ""),), listed=False, generation=generation)
        for file in files:
            if (file.size or 0) > settings.max_image_bytes:
                raise too_many_bytes(file.size or 0, settings.max_image_bytes, field="image")
        images = tuple([await file.read() for file in files])
        return CaptionBody(images, listed=len(files) > 1, generation=generation)


def _texts(form: FormData) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "image":
                raise RequestError(ErrorCode.INVALID_REQUEST, f"{name} is to be sent as text", field=name)
        elif name in texts:
            raise RequestError(ErrorCode.INVALID_REQUEST, f"{name} is to be given once", field=name)
        else:
            texts[name] = value
    return texts


def _generation(texts: Mapping[str, str]) -> Generation:
    """The form's other fields; a form knows only texts, so numbers are read from them."""
    try:
        return Generation.model_validate_strings(texts)
    except ValidationError as error:
        raise field_error(error) from None


def _source(texts: Mapping[str, str]) -> ImageSource:
    try:
        return ImageSource.model_validate(texts)
    except ValidationError as error:
        raise field_error(error) from None


def _one_source(named: list[str]) -> RequestError:
    found = " and ".join(named) or "none"
    return RequestError(
        ErrorCode.INVALID_REQUEST,
        f"exactly one of image, image_url, image_path and images is needed; the request has {found}",
        field=named[0] if named else "image",
    )
