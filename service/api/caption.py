"""POST /caption: images in, their captions out."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from service.api.accept import prefers_text
from service.api.access import charge, client_of
from service.api.backend import Backend, backend_of
from service.api.caption_body import CaptionBody, read_caption_body
from service.api.caption_reference import CAPTION_REFERENCE
from service.api.images import NamedImage, read_image
from service.api.rendering import error_detail
from service.api.request_id import request_id
from service.api.schemas.caption import (
    CaptionDelta,
    CaptionItem,
    CaptionListResponse,
    CaptionResponse,
    Generation,
)
from service.api.schemas.usage import Usage
from service.api.streaming import EventStream, Pieces, event
from service.engine.request import Completion, EncodedImage, Sampling, Turn
from service.engine.request import Request as EngineRequest
from service.errors import ErrorCode, RequestError

router = APIRouter(tags=["captions"])


@dataclass(frozen=True, slots=True)
class Terms:
    """In whose name a request is answered, and until which moment of ``time.monotonic()``."""

    client: str
    deadline: float


@router.post("/caption", summary="Caption images", **CAPTION_REFERENCE)
async def caption(request: Request) -> Response:
    """Caption an image, or each of a list of images.

    An image is sent as base64, as a file of a form, by its URL, or by its path on the server. With
    `Accept: text/plain` the answer is the bare caption; with `stream` it comes as server-sent events:
    `delta` as often as there is new text, then `caption` with the whole answer, or `error`.
    """
    backend = backend_of(request)
    backend.engine.check_room(client_of(request))
    body = await read_caption_body(request, backend.settings)
    charge(request, images=len(body.images), model=backend.settings.public_name)
    terms = Terms(client_of(request), monotonic() + backend.settings.request_timeout)
    as_text = prefers_text(request.headers.get("accept", ""))
    if body.listed:
        if body.generation.stream or as_text:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                "several images are answered as one JSON document; leave out stream and "
                "Accept: text/plain, or send one image a request",
                field="stream" if body.generation.stream else None,
            )
        return await _caption_each(request, backend, body, terms)
    asked = await _engine_request(body.images[0], body.generation, backend, terms)
    generation = backend.engine.submit(asked)
    if body.generation.stream:
        pieces = await Pieces.of(generation)
        return EventStream(request, generation, _events(request, backend, pieces), error_name="error")
    completion = await generation.result()
    if as_text:
        return PlainTextResponse(completion.text.strip())
    return _json(_answer(request, backend, completion))


def _json(answer: CaptionResponse | CaptionListResponse) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


def _answer(request: Request, backend: Backend, completion: Completion) -> CaptionResponse:
    return CaptionResponse(
        caption=completion.text.strip(),
        finish_reason=completion.finish_reason.value,
        model=backend.settings.public_name,
        usage=Usage.of(completion.usage),
        request_id=request_id(request.scope),
    )


async def _events(request: Request, backend: Backend, pieces: Pieces) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield event(CaptionDelta(text=piece), "delta")
    completion = pieces.generation.completion
    if completion is not None:
        yield event(_answer(request, backend, completion), "caption")


async def _caption_each(request: Request, backend: Backend, body: CaptionBody, terms: Terms) -> Response:
    """Caption images side by side; what is wrong with one does not touch the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_item(image, body.generation, backend, terms)) for image in body.images]
    items = [task.result() for task in tasks]
    costs = [item.usage for item in items if item.usage is not None]
    total = Usage(
        prompt_tokens=sum(cost.prompt_tokens for cost in costs),
        image_tiles=sum(cost.image_tiles for cost in costs),
        completion_tokens=sum(cost.completion_tokens for cost in costs),
    )
    return _json(
        CaptionListResponse(
            captions=items,
            model=backend.settings.public_name,
            usage=total,
            request_id=request_id(request.scope),
        )
    )


async def _item(image: bytes | NamedImage, wish: Generation, backend: Backend, terms: Terms) -> CaptionItem:
    try:
        completion = await backend.engine.submit(await _engine_request(image, wish, backend, terms)).result()
    except RequestError as error:
        return CaptionItem(error=error_detail(error))
    return CaptionItem(
        caption=completion.text.strip(),
        finish_reason=completion.finish_reason.value,
        usage=Usage.of(completion.usage),
    )


async def _engine_request(
    image: bytes | NamedImage, wish: Generation, backend: Backend, terms: Terms
) -> EngineRequest:
    defaults, settings = backend.defaults, backend.settings
    prompt = defaults.prompt if wish.prompt is None else wish.prompt
    if len(prompt) > settings.max_prompt_characters:
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"prompt is {len(prompt)} characters; the limit is {settings.max_prompt_characters} "
            "(CAPSTAN_MAX_PROMPT_CHARACTERS)",
            field="prompt",
        )
    file = image if isinstance(image, bytes) else await read_image(image, backend)
    return EngineRequest(
        turns=(Turn("user", (EncodedImage(file), prompt)),),
        sampling=Sampling(
            max_tokens=defaults.max_tokens if wish.max_tokens is None else wish.max_tokens,
            temperature=defaults.temperature if wish.temperature is None else wish.temperature,
        ),
        deadline=terms.deadline,
        client=terms.client,
        shorten=wish.max_tokens is None,
    )
