"""POST /v1/chat/completions: OpenAI's API."""

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from time import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.api.auth.middleware import charge
from service.api.backend import Backend, backend_of
from service.api.bodies.chat import ChatBody, engine_requests, read_chat_body
from service.api.openapi.operations import CHAT
from service.api.request_state import RequestState, state_of
from service.api.routes.answers import gathered
from service.api.routes.choices import ChoiceDeltas, end_reason, message_of
from service.api.routes.event_stream import AnswerStream, EventStream, event
from service.api.routes.request_route import RequestRoute
from service.api.schemas.completion import ChatCompletion, ChatUsage, Choice, ChoiceLogprobs
from service.errors import RequestError
from service.external.answers import Chunk, Whole
from service.external.forwarded_request import ForwardedRequest
from service.prompt.answer_parser import AnswerFormat
from service.protocol.engine import Handle
from service.protocol.request import Completion

router = APIRouter(tags=["chat"], route_class=RequestRoute)

DONE = "[DONE]"


@router.post("/v1/chat/completions", summary="Continue a conversation", **CHAT)
async def create_chat_completion(request: Request) -> Response:
    """Continue a conversation that may contain images, as OpenAI's API does.

    With `stream` the response is server-sent events, each a chunk; the last is `[DONE]`. With `n` there are
    several answers, in `choices`. Parameters of OpenAI's API that this server does not support are refused
    by name, never ignored.
    """
    backend, state = backend_of(request), state_of(request.scope)
    backend.engine.check_admission(state.key_name)
    body = await read_chat_body(request)
    model = body.fields.model or backend.settings.public_name
    charge(request, images=body.image_count, model=model, answers=body.answers)
    handles = backend.engine.submit_all(await engine_requests(body, backend, state))
    state.ask(handles, images=body.image_count)
    answers = Answers(
        state,
        backend,
        images=body.image_count,
        logprobs=bool(body.fields.logprobs),
        answer_format=body.answer_format,
    )
    try:
        forwarded = [handle for handle in handles if isinstance(handle, ForwardedRequest)]
        if forwarded:
            return await _forwarded(request, forwarded, answers, body)
        if body.fields.stream:
            text = await AnswerStream.start(handles, [handle.stream() for handle in handles])
            return EventStream(request, handles, answers.events(text, include_usage=body.include_usage))
        completion = answers.whole(await gathered(handles, [handle.result() for handle in handles]))
    except RequestError as error:
        raise _with_chat_field(error, body) from None
    return Response(completion.model_dump_json(), media_type="application/json")


async def _forwarded(
    request: Request, handles: list[ForwardedRequest], answers: "Answers", body: ChatBody
) -> Response:
    """The answers of another engine, with all that it says."""
    if body.fields.stream:
        chunks = await AnswerStream.start(handles, [handle.chunks() for handle in handles])
        events = answers.choice_events(chunks, include_usage=body.include_usage)
        return EventStream(request, handles, events)
    wholes = await gathered(handles, [handle.whole() for handle in handles])
    return Response(answers.whole_choices(wholes), media_type="application/json")


def _with_chat_field(error: RequestError, body: ChatBody) -> RequestError:
    """The engine names an image or a prompt; clients of this route send messages."""
    field = {"image": body.image_field, "prompt": "messages"}.get(error.field or "", error.field)
    if field == "max_tokens" and body.fields.max_completion_tokens is not None:
        field = "max_completion_tokens"
    return RequestError(error.code, error.message, field=field)


class Answers:
    """The answers to one request, whole or in chunks that share an `id`."""

    def __init__(
        self,
        state: RequestState,
        backend: Backend,
        *,
        images: int,
        logprobs: bool,
        answer_format: AnswerFormat,
    ) -> None:
        self.state = state
        self.images = images
        self.logprobs = logprobs
        self.answer_format = answer_format
        self.request_id = state.request_id
        self.id = f"chatcmpl-{self.request_id}"
        self.created = int(time())
        self.model = backend.settings.public_name

    def whole(self, completions: Sequence[Completion]) -> ChatCompletion:
        """The answers as one document."""
        self._note(enumerate(completions))
        messages = [message_of(completion.text, self.answer_format) for completion in completions]
        choices = [
            Choice(
                index=index,
                message=message,
                logprobs=ChoiceLogprobs.of(completion.logprobs) if self.logprobs else None,
                finish_reason=end_reason(completion.finish_reason, calls=bool(message.tool_calls)),
            )
            for index, (message, completion) in enumerate(zip(messages, completions, strict=True))
        ]
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=choices,
            usage=_usage(completions),
            request_id=self.request_id,
        )

    def whole_choices(self, wholes: Sequence[Whole]) -> str:
        """The answers of another engine as one document."""
        choices: list[dict[str, Any]] = []
        for index, one in enumerate(wholes):
            message = {"role": "assistant", "content": None, "refusal": None, **one.choice["message"]}
            choices.append({"logprobs": None, **one.choice, "index": index, "message": message})
        completions = [one.completion for one in wholes]
        self._note(enumerate(completions))
        usage = _usage(completions).model_dump()
        return self._document({"choices": choices, "usage": usage}, kind="chat.completion")

    async def choice_events(
        self, chunks: AnswerStream[Chunk], *, include_usage: bool
    ) -> AsyncIterator[bytes]:
        """The answers of another engine as server-sent events."""
        async for index, chunk in chunks:
            completion = chunks.handles[index].completion
            if chunk is not None:
                yield self._event({"choices": [{**(chunk.choice or {}), "index": index}]})
            elif completion is not None:
                self._note([(index, completion)])
        for last in self._end(chunks.handles, include_usage=include_usage):
            yield last

    async def events(self, text: AnswerStream[str], *, include_usage: bool) -> AsyncIterator[bytes]:
        """The answers as server-sent events, each a `ChatChunk`."""
        deltas = [ChoiceDeltas(self.answer_format) for _ in text.handles]
        for index in range(len(text.handles)):
            yield self._chunk(index, {"role": "assistant", "content": ""})
        async for index, piece in text:
            handle, choice = text.handles[index], deltas[index]
            for delta in choice.finish() if piece is None else choice.feed(piece):
                yield self._chunk(index, delta, logprobs=self._new_logprobs(handle))
            if piece is None and handle.completion is not None:
                self._note([(index, handle.completion)])
                reason = end_reason(handle.completion.finish_reason, calls=choice.calls > 0)
                yield self._chunk(index, {}, reason, logprobs=self._new_logprobs(handle))
        for last in self._end(text.handles, include_usage=include_usage):
            yield last

    def _end(self, handles: Sequence[Handle], *, include_usage: bool) -> Iterator[bytes]:
        """The last events."""
        completions = [handle.completion for handle in handles if handle.completion is not None]
        if completions and include_usage:
            yield self._event({"choices": [], "usage": _usage(completions).model_dump()})
        yield event(DONE)

    def _note(self, completions: Iterable[tuple[int, Completion]]) -> None:
        for index, completion in completions:
            self.state.answered(completion, images=self.images, index=index)

    def _new_logprobs(self, handle: Handle) -> dict[str, Any] | None:
        found = handle.take_logprobs() if self.logprobs else []
        return ChoiceLogprobs.of(found).model_dump() if found else None

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        finish_reason: str | None = None,
        logprobs: dict[str, Any] | None = None,
    ) -> bytes:
        # A plain dict: there is one per token, and a pydantic model costs twice as much.
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._event({"choices": [choice]})

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


def _usage(completions: Sequence[Completion]) -> ChatUsage:
    """What the answers to one prompt cost together."""
    prompt = completions[0].usage
    written = sum(completion.usage.completion_tokens for completion in completions)
    return ChatUsage(
        prompt_tokens=prompt.prompt_tokens,
        completion_tokens=written,
        total_tokens=prompt.prompt_tokens + written,
        image_tiles=prompt.image_tiles,
    )
