"""POST /caption: images in, their captions out."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from service.api.auth.middleware import charge
from service.api.backend import Backend, backend_of
from service.api.bodies.caption import CaptionBody, ImageRequests, Item, read_caption_body
from service.api.errors import error_detail
from service.api.openapi.operations import CAPTION
from service.api.request_state import state_of
from service.api.routes.event_stream import AnswerStream, EventStream, event
from service.api.routes.request_route import RequestRoute
from service.api.schemas.caption import (
    CaptionDelta,
    CaptionItem,
    CaptionListResponse,
    CaptionResponse,
    Usage,
)
from service.errors import ErrorCode, RequestError
from service.protocol.request import Completion

router = APIRouter(tags=["captions"], route_class=RequestRoute)


@router.post("/caption", summary="Caption images", **CAPTION)
async def caption(request: Request) -> Response:
    """Caption an image, each image of a list, or the frames of a video together.

    An image is sent as base64, as a file of a form, by URL, or by its path on the server. With
    `Accept: text/plain` the response is the bare caption. With `stream` it is server-sent events: a `delta`
    for each new piece of text, then `caption` with the whole response, or `error`.
    """
    backend, state = backend_of(request), state_of(request.scope)
    backend.engine.check_admission(state.key_name)
    body = await read_caption_body(request, backend.settings)
    charge(request, images=body.image_count, model=backend.settings.public_name)
    deadline = monotonic() + backend.settings.request_timeout
    requests = ImageRequests(params=body.params, backend=backend, state=state, deadline=deadline)
    as_text = prefers_text(request.headers.get("accept", ""))
    if body.listed:
        if body.params.stream or as_text:
            raise _lists_are_json(body)
        return await _caption_each(backend, body, requests)
    handle = backend.engine.submit(await requests.build(body.items[0]))
    state.ask((handle,), images=body.image_count)
    if body.params.stream:
        text = await AnswerStream.start((handle,), (handle.stream(),))
        events = _events(request, backend, text, body.image_count)
        return EventStream(request, (handle,), events, error_name="error")
    completion = await handle.result()
    state.answered(completion, images=body.image_count)
    if as_text:
        return PlainTextResponse(completion.text.strip())
    return _json(_response(request, backend, completion))


def prefers_text(accept: str) -> bool:
    """Whether an Accept header prefers plain text to JSON. Source: RFC 9110, section 12.5.1.

    On a tie a type that is named wins over a wildcard, and JSON wins over text.
    """
    weights = dict(map(_weight, accept.lower().split(",")))
    text = weights.get("text/plain", 0.0)
    for json_type in ("application/json", "application/*"):
        if json_type in weights:
            return text > weights[json_type]
    return text > 0 and text >= weights.get("*/*", 0.0)


def _weight(entry: str) -> tuple[str, float]:
    media_type, *parameters = (part.strip() for part in entry.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media_type, float(value)
            except ValueError:
                return media_type, 0.0
    return media_type, 1.0


def _lists_are_json(body: CaptionBody) -> RequestError:
    return RequestError(
        ErrorCode.INVALID_REQUEST,
        "a list of images is answered as one JSON document; leave out stream and Accept: text/plain, "
        "or send one image per request",
        field="stream" if body.params.stream else None,
    )


def _json(response: CaptionResponse | CaptionListResponse) -> Response:
    return Response(response.model_dump_json(), media_type="application/json")


def _response(request: Request, backend: Backend, completion: Completion) -> CaptionResponse:
    return CaptionResponse(
        caption=completion.text.strip(),
        finish_reason=completion.finish_reason.value,
        model=backend.settings.public_name,
        usage=Usage.of(completion.usage),
        request_id=state_of(request.scope).request_id,
    )


async def _events(
    request: Request, backend: Backend, text: AnswerStream[str], images: int
) -> AsyncIterator[bytes]:
    async for _, piece in text:
        if piece is not None:
            yield event(CaptionDelta(text=piece), "delta")
    completion = text.handles[0].completion
    if completion is not None:
        state_of(request.scope).answered(completion, images=images)
        yield event(_response(request, backend, completion), "caption")


async def _caption_each(backend: Backend, body: CaptionBody, requests: ImageRequests) -> Response:
    """Caption the images of a list at the same time; an error of one does not affect the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_item(item, backend, requests)) for item in body.items]
    items = [task.result() for task in tasks]
    used = [item.usage for item in items if item.usage is not None]
    total = Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in used),
        image_tiles=sum(usage.image_tiles for usage in used),
        completion_tokens=sum(usage.completion_tokens for usage in used),
    )
    return _json(
        CaptionListResponse(
            captions=items,
            model=backend.settings.public_name,
            usage=total,
            request_id=requests.state.request_id,
        )
    )


async def _item(item: Item, backend: Backend, requests: ImageRequests) -> CaptionItem:
    try:
        handle = backend.engine.submit(await requests.build(item))
        requests.state.ask((handle,), images=1)
        completion = await handle.result()
    except RequestError as error:
        return CaptionItem(error=error_detail(error))
    requests.state.answered(completion, images=1)
    return CaptionItem(
        caption=completion.text.strip(),
        finish_reason=completion.finish_reason.value,
        usage=Usage.of(completion.usage),
    )
