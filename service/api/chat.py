"""POST /v1/chat/completions: OpenAI's API over the engine."""

import json
from collections.abc import AsyncIterator
from time import time

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.api.access import charge, client_of
from service.api.backend import Backend, backend_of
from service.api.chat_body import conversation, engine_request, only_image, read_chat_body
from service.api.chat_reference import CHAT_REFERENCE
from service.api.request_id import request_id
from service.api.schemas.chat import (
    AnswerMessage,
    ChatCompletion,
    ChatRequest,
    ChatUsage,
    Choice,
)
from service.api.streaming import EventStream, Pieces, event
from service.engine.generation import Generation
from service.engine.request import Completion, Usage
from service.errors import RequestError

router = APIRouter(tags=["chat"])

DONE = "[DONE]"


@router.post("/v1/chat/completions", summary="Continue a conversation", **CHAT_REFERENCE)
async def create_chat_completion(request: Request) -> Response:
    """Continue a conversation that may hold images, as OpenAI's API does.

    With `stream` the answer comes as server-sent events, each a chunk; the last is `[DONE]`. Parameters of
    OpenAI's that this server does not have are refused by name, never ignored.
    """
    backend = backend_of(request)
    backend.engine.check_room(client_of(request))
    chat = await read_chat_body(request)
    charge(request, images=len(conversation(chat).images), model=chat.model or backend.settings.public_name)
    generation = backend.engine.submit(await engine_request(chat, backend, client=client_of(request)))
    try:
        if chat.stream:
            pieces = await Pieces.of(generation)
            usage = chat.stream_options is not None and chat.stream_options.include_usage
            events = Answer(request, backend).events(pieces, include_usage=usage)
            return EventStream(request, generation, events)
        return await _whole(request, backend, generation)
    except RequestError as error:
        raise _in_words_of_chat(error, chat) from None


async def _whole(request: Request, backend: Backend, generation: Generation) -> Response:
    completion = await generation.result()
    body = Answer(request, backend).whole(completion)
    return Response(body.model_dump_json(), media_type="application/json")


def _in_words_of_chat(error: RequestError, chat: ChatRequest) -> RequestError:
    """The engine knows images and a prompt; here they are parts of messages."""
    field = {"image": only_image(chat), "prompt": "messages"}.get(error.field or "", error.field)
    if field == "max_tokens" and chat.max_completion_tokens is not None:
        field = "max_completion_tokens"
    return RequestError(error.code, error.message, field=field)


class Answer:
    """One answer, in whole or in chunks that carry the same identity."""

    def __init__(self, request: Request, backend: Backend) -> None:
        self.request_id = request_id(request.scope)
        self.id = f"chatcmpl-{self.request_id}"
        self.created = int(time())
        self.model = backend.settings.public_name

    def whole(self, completion: Completion) -> ChatCompletion:
        """The finished answer."""
        choice = Choice(
            message=AnswerMessage(content=completion.text), finish_reason=completion.finish_reason.value
        )
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[choice],
            usage=_usage(completion.usage),
            request_id=self.request_id,
        )

    async def events(self, pieces: Pieces, *, include_usage: bool) -> AsyncIterator[bytes]:
        """The answer as server-sent events, each a `ChatChunk`."""
        yield self._chunk({"role": "assistant", "content": ""})
        async for piece in pieces:
            yield self._chunk({"content": piece})
        completion = pieces.generation.completion
        if completion is not None:
            yield self._chunk({}, completion.finish_reason.value)
            if include_usage:
                yield self._event({"choices": [], "usage": _usage(completion.usage).model_dump()})
        yield event(DONE)

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        # Made by hand: there is one for each token, and a model of pydantic's costs twice as much.
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._event({"choices": [choice]})

    def _event(self, content: dict[str, object]) -> bytes:
        head = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "request_id": self.request_id,
        }
        return event(json.dumps(head | content, ensure_ascii=False, separators=(",", ":")))


def _usage(usage: Usage) -> ChatUsage:
    return ChatUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        image_tiles=usage.image_tiles,
    )
