"""POST /caption: an image in, its caption out."""

from time import monotonic
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.api.backend import Backend, backend_of
from service.api.caption_body import read_caption_body
from service.api.request_id import request_id
from service.api.schemas import CaptionRequest, CaptionResponse, ErrorResponse, Generation, Usage
from service.engine.request import EncodedImage, Sampling, Turn
from service.engine.request import Request as EngineRequest
from service.errors import ErrorCode, RequestError

router = APIRouter()

FORM = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": {"type": "string", "format": "binary", "description": "The image file."},
        **Generation.model_json_schema()["properties"],
    },
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": CaptionRequest.model_json_schema()},
            "multipart/form-data": {"schema": FORM},
        },
    }
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse} for status in (400, 403, 404, 413, 415, 500, 503, 504)
}


@router.post("/caption", response_model=CaptionResponse, responses=REFUSALS, openapi_extra=BODY)
async def caption(request: Request) -> Response:
    """Caption one image, sent as base64, as a file of a form, or as a path on the server."""
    backend = backend_of(request)
    body = await read_caption_body(request, backend.settings)
    generation = backend.engine.submit(_engine_request(body.image, body.generation, backend))
    completion = await generation.result()
    usage = completion.usage
    answer = CaptionResponse(
        caption=completion.text.strip(),
        model=backend.settings.public_name,
        usage=Usage(
            prompt_tokens=usage.prompt_tokens,
            image_tiles=usage.image_tiles,
            completion_tokens=usage.completion_tokens,
        ),
        request_id=request_id(request.scope),
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def _engine_request(image: bytes, wish: Generation, backend: Backend) -> EngineRequest:
    defaults, settings = backend.defaults, backend.settings
    prompt = defaults.prompt if wish.prompt is None else wish.prompt
    if len(prompt) > settings.max_prompt_characters:
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"prompt is {len(prompt)} characters; the limit is {settings.max_prompt_characters} "
            "(CAPSTAN_MAX_PROMPT_CHARACTERS)",
            field="prompt",
        )
    return EngineRequest(
        turns=(Turn("user", (EncodedImage(image), prompt)),),
        sampling=Sampling(
            max_tokens=defaults.max_tokens if wish.max_tokens is None else wish.max_tokens,
            temperature=defaults.temperature if wish.temperature is None else wish.temperature,
        ),
        deadline=monotonic() + settings.request_timeout,
        shorten=wish.max_tokens is None,
    )
