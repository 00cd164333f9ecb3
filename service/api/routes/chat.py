"""POST /v1/chat/completions: OpenAI's API."""

import json
from collections.abc import AsyncIterator
from time import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.api.auth.middleware import charge
from service.api.backend import Backend, backend_of
from service.api.bodies.chat import ChatBody, engine_request, read_chat_body
from service.api.openapi.operations import CHAT
from service.api.request_state import RequestState, state_of
from service.api.routes.event_stream import AnswerStream, EventStream, event
from service.api.routes.request_route import RequestRoute
from service.api.schemas.completion import AnswerMessage, ChatCompletion, ChatUsage, Choice, ChoiceLogprobs
from service.engine.request import Completion, Usage
from service.errors import RequestError
from service.external.answers import Chunk, Whole
from service.external.forwarded_request import ForwardedRequest

router = APIRouter(tags=["chat"], route_class=RequestRoute)

DONE = "[DONE]"


@router.post("/v1/chat/completions", summary="Continue a conversation", **CHAT)
async def create_chat_completion(request: Request) -> Response:
    """Continue a conversation that may contain images, as OpenAI's API does.

    With `stream` the response is server-sent events, each a chunk; the last is `[DONE]`. Parameters of
    OpenAI's API that this server does not support are refused by name, never ignored.
    """
    backend, state = backend_of(request), state_of(request.scope)
    backend.engine.check_admission(state.key_name)
    body = await read_chat_body(request)
    charge(request, images=body.image_count, model=body.fields.model or backend.settings.public_name)
    handle = backend.engine.submit(await engine_request(body, backend, state))
    state.asked.append((handle, body.image_count))
    answer = Answer(state, backend, images=body.image_count, logprobs=bool(body.fields.logprobs))
    try:
        if isinstance(handle, ForwardedRequest):
            return await _forwarded(request, handle, answer, body)
        if body.fields.stream:
            text = await AnswerStream.start(handle, handle.stream())
            return EventStream(request, handle, answer.events(text, include_usage=body.include_usage))
        completion = answer.whole(await handle.result())
    except RequestError as error:
        raise _with_chat_field(error, body) from None
    return Response(completion.model_dump_json(), media_type="application/json")


async def _forwarded(
    request: Request, handle: ForwardedRequest, answer: "Answer", body: ChatBody
) -> Response:
    """The answer of another engine, with all that it says."""
    if body.fields.stream:
        chunks = await AnswerStream.start(handle, handle.chunks())
        return EventStream(request, handle, answer.choice_events(chunks, include_usage=body.include_usage))
    return Response(answer.whole_choice(await handle.whole()), media_type="application/json")


def _with_chat_field(error: RequestError, body: ChatBody) -> RequestError:
    """The engine names an image or a prompt; clients of this route send messages."""
    field = {"image": body.image_field, "prompt": "messages"}.get(error.field or "", error.field)
    if field == "max_tokens" and body.fields.max_completion_tokens is not None:
        field = "max_completion_tokens"
    return RequestError(error.code, error.message, field=field)


class Answer:
    """One answer, whole or in chunks that share an `id`."""

    def __init__(self, state: RequestState, backend: Backend, *, images: int, logprobs: bool) -> None:
        self.state = state
        self.images = images
        self.logprobs = logprobs
        self.request_id = state.request_id
        self.id = f"chatcmpl-{self.request_id}"
        self.created = int(time())
        self.model = backend.settings.public_name

    def whole(self, completion: Completion) -> ChatCompletion:
        """The answer as one document."""
        self.state.answered(completion, images=self.images)
        choice = Choice(
            message=AnswerMessage(content=completion.text),
            logprobs=ChoiceLogprobs.of(completion.logprobs) if self.logprobs else None,
            finish_reason=completion.finish_reason.value,
        )
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[choice],
            usage=_usage(completion.usage),
            request_id=self.request_id,
        )

    def whole_choice(self, whole: Whole) -> str:
        """The answer of another engine as one document."""
        self.state.answered(whole.completion, images=self.images)
        message = {"role": "assistant", "content": None, "refusal": None, **whole.choice["message"]}
        choice = {"index": 0, "logprobs": None, **whole.choice, "message": message}
        usage = _usage(whole.completion.usage).model_dump()
        return self._document({"choices": [choice], "usage": usage}, kind="chat.completion")

    async def choice_events(
        self, chunks: AnswerStream[Chunk], *, include_usage: bool
    ) -> AsyncIterator[bytes]:
        """The answer of another engine as server-sent events."""
        async for chunk in chunks:
            yield self._event({"choices": [chunk.choice]})
        completion = chunks.handle.completion
        if completion is not None:
            self.state.answered(completion, images=self.images)
            if include_usage:
                yield self._usage_event(completion)
        yield event(DONE)

    async def events(self, text: AnswerStream[str], *, include_usage: bool) -> AsyncIterator[bytes]:
        """The answer as server-sent events, each a `ChatChunk`."""
        yield self._chunk({"role": "assistant", "content": ""})
        async for piece in text:
            yield self._chunk({"content": piece}, logprobs=self._new_logprobs(text))
        completion = text.handle.completion
        if completion is not None:
            self.state.answered(completion, images=self.images)
            yield self._chunk({}, completion.finish_reason.value, logprobs=self._new_logprobs(text))
            if include_usage:
                yield self._usage_event(completion)
        yield event(DONE)

    def _new_logprobs(self, text: AnswerStream[str]) -> dict[str, Any] | None:
        found = text.handle.take_logprobs() if self.logprobs else []
        return ChoiceLogprobs.of(found).model_dump() if found else None

    def _chunk(
        self,
        delta: dict[str, str],
        finish_reason: str | None = None,
        logprobs: dict[str, Any] | None = None,
    ) -> bytes:
        # A plain dict: there is one per token, and a pydantic model costs twice as much.
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._event({"choices": [choice]})

    def _usage_event(self, completion: Completion) -> bytes:
        return self._event({"choices": [], "usage": _usage(completion.usage).model_dump()})

    def _event(self, content: dict[str, object]) -> bytes:
        return event(self._document(content, kind="chat.completion.chunk"))

    def _document(self, content: dict[str, object], *, kind: str) -> str:
        head = {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "request_id": self.request_id,
        }
        return json.dumps(head | content, ensure_ascii=False, separators=(",", ":"))


def _usage(usage: Usage) -> ChatUsage:
    return ChatUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        image_tiles=usage.image_tiles,
    )
