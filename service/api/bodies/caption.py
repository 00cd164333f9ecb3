"""The body of POST /caption, in each of its forms."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from service.api.backend import Backend
from service.api.bodies.images import ImageReference, VideoReference, off_loop, read_image, read_video
from service.api.bodies.structured import json_grammar
from service.api.bodies.validation import (
    check_frame_count,
    check_image_count,
    check_prompt_length,
    validation_error,
)
from service.api.request_state import RequestState
from service.api.schemas.caption import CaptionRequest, SamplingParams
from service.api.schemas.images import SOURCES, ImageSource
from service.errors import ErrorCode, RequestError
from service.media.decode import too_many_bytes
from service.protocol.request import EncodedImage, EncodedVideo, Sampling, Turn
from service.protocol.request import Request as EngineRequest
from service.settings import Settings

LISTS = ("images", "frames")

Item = EncodedImage | ImageReference | VideoReference


def image_count(item: Item) -> int:
    """Images that an item consists of."""
    return len(item.frames) if isinstance(item, VideoReference) else 1


@dataclass(frozen=True, slots=True)
class CaptionBody:
    """What is to be captioned, files or references to them; `listed` if the response is to be a list."""

    items: tuple[Item, ...]
    listed: bool
    params: SamplingParams

    @property
    def image_count(self) -> int:
        """Images that are charged for, frames included."""
        return sum(map(image_count, self.items))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequests:
    """Builds the engine's request for each item of a body; all have one deadline (``time.monotonic()``)."""

    params: SamplingParams
    backend: Backend
    state: RequestState
    deadline: float

    async def build(self, item: Item) -> EngineRequest:
        """The request for one image or video.

        Raises RequestError if the prompt is too long or an image cannot be read.
        """
        params, defaults, settings = self.params, self.backend.defaults, self.backend.settings
        schema = params.json_schema
        prompt = defaults.prompt if params.prompt is None else params.prompt
        check_prompt_length(len(prompt), settings, field="prompt")
        return EngineRequest(
            turns=(Turn("user", (await self._read(item), prompt)),),
            sampling=Sampling(
                max_tokens=defaults.max_tokens if params.max_tokens is None else params.max_tokens,
                temperature=defaults.temperature if params.temperature is None else params.temperature,
                grammar=None if schema is None else json_grammar(schema, settings, field="schema"),
            ),
            deadline=self.deadline,
            client=self.state.key_name,
            shorten=params.max_tokens is None,
        )

    async def _read(self, item: Item) -> EncodedImage | EncodedVideo:
        if isinstance(item, VideoReference):
            return await read_video(item, self.backend, self.state)
        if isinstance(item, ImageReference):
            return await read_image(item, self.backend, self.state)
        return item


async def read_caption_body(request: Request, settings: Settings) -> CaptionBody:
    """Read a JSON or multipart body.

    Raises RequestError for a field that is missing, unknown or out of bounds, and for other media types.
    """
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return await _from_form(request, settings)
    # curl -d announces a form even when it sends JSON.
    if media_type in ("application/json", "application/x-www-form-urlencoded", "text/json"):
        return await _from_json(await request.body(), settings)
    raise RequestError(
        ErrorCode.UNSUPPORTED_MEDIA_TYPE,
        "Content-Type of this body is not accepted; send application/json or multipart/form-data",
    )


async def _from_json(body: bytes, settings: Settings) -> CaptionBody:
    fields = await off_loop(_parse, body)
    named = [name for name in (*SOURCES, *LISTS) if getattr(fields, name) is not None]
    if len(named) != 1:
        raise _not_one_source(named)
    if fields.images is not None:
        check_image_count(len(fields.images), settings, field="images")
        return CaptionBody(_references(fields.images, "images"), listed=True, params=fields)
    if fields.frames is not None:
        check_frame_count(len(fields.frames), settings, field="frames")
        video = VideoReference(_references(fields.frames, "frames"))
        return CaptionBody((video,), listed=False, params=fields)
    return CaptionBody((_reference(fields, ""),), listed=False, params=fields)


def _parse(body: bytes) -> CaptionRequest:
    try:
        return CaptionRequest.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise validation_error(error) from None


def _references(sources: list[ImageSource], field: str) -> tuple[ImageReference, ...]:
    return tuple(_reference(source, f"{field}.{index}.") for index, source in enumerate(sources))


def _reference(source: CaptionRequest | ImageSource, prefix: str) -> ImageReference:
    if source.image is not None:
        return ImageReference("base64", source.image, prefix + "image")
    if source.image_url is not None:
        return ImageReference.from_url(source.image_url, prefix + "image_url")
    return ImageReference("path", source.image_path or "", prefix + "image_path")


async def _from_form(request: Request, settings: Settings) -> CaptionBody:
    async with request.form(max_files=settings.max_images, max_fields=16) as form:
        files = [value for value in form.getlist("image") if isinstance(value, UploadFile)]
        texts = _texts(form)
        sources = {name: texts.pop(name) for name in SOURCES if name in texts}
        if bool(files) + len(sources) != 1:
            raise _not_one_source([*(["image"] if files else []), *sources])
        params = _params(texts)
        if sources:
            return CaptionBody((_reference(_source(sources), ""),), listed=False, params=params)
        for file in files:
            if (file.size or 0) > settings.max_image_bytes:
                raise too_many_bytes(file.size or 0, settings.max_image_bytes, field="image")
        images = tuple([EncodedImage(await file.read()) for file in files])
        return CaptionBody(images, listed=len(files) > 1, params=params)


def _texts(form: FormData) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "image":
                raise RequestError(
                    ErrorCode.INVALID_REQUEST, f"{name} is a file; send it as text", field=name
                )
        elif name in texts:
            raise RequestError(ErrorCode.INVALID_REQUEST, f"{name} is given twice; send it once", field=name)
        else:
            texts[name] = value
    return texts


def _params(texts: Mapping[str, str]) -> SamplingParams:
    """The other fields of a form, which are all texts, so numbers are parsed from them."""
    try:
        return SamplingParams.model_validate_strings(texts)
    except ValidationError as error:
        raise validation_error(error) from None


def _source(texts: Mapping[str, str]) -> ImageSource:
    try:
        return ImageSource.model_validate(texts)
    except ValidationError as error:
        raise validation_error(error) from None


def _not_one_source(named: list[str]) -> RequestError:
    found = " and ".join(named) or "none"
    return RequestError(
        ErrorCode.INVALID_REQUEST,
        f"request has {found}; it needs exactly one of {', '.join(SOURCES)}, {' and '.join(LISTS)}",
        field=named[0] if named else "image",
    )
