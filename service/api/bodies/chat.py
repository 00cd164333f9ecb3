"""The body of POST /v1/chat/completions."""

import json
from dataclasses import dataclass, replace
from itertools import islice
from time import monotonic
from typing import Any

import pydantic_core
from fastapi import Request
from pydantic import ValidationError

from service.api.backend import Backend, backend_of
from service.api.bodies.images import ImageReference, VideoReference, off_loop, read_images
from service.api.bodies.sampling import sampling_of, seeded
from service.api.bodies.tools import (
    answer_format,
    check_messages,
    check_tools,
    must_match,
    supported,
    template_fields,
    template_variables,
)
from service.api.bodies.unsupported import split
from service.api.bodies.validation import (
    check_answer_count,
    check_frame_count,
    check_image_count,
    check_prompt_length,
    validation_error,
)
from service.api.request_state import RequestState
from service.api.schemas.chat import ChatRequest
from service.api.schemas.content import ImagePart, TextPart, VideoPart, VideoUrlPart
from service.api.schemas.messages import ChatMessage
from service.api.schemas.passed import PassedChatRequest
from service.errors import ErrorCode, RequestError
from service.passed_parameters import parameters
from service.prompt.answer_parser import AnswerFormat
from service.protocol.chat_format import ChatFormat
from service.protocol.request import Content, EncodedVideo, Role, Turn
from service.protocol.request import Request as EngineRequest
from service.settings import Settings

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant",
    "tool": "tool",
}  # fmt: skip


Part = str | ImageReference | VideoReference


@dataclass(frozen=True, slots=True)
class ChatBody:
    """A chat request, and its messages as parts: texts, and images and videos that are still to be read.

    `images` has the images outside of videos, `frames` those of videos. `passed` are parameters for another
    engine, or variables of the chat template; `passed_of_messages` are such fields of each message.
    """

    fields: ChatRequest
    messages: tuple[tuple[Role, tuple[Part, ...]], ...]
    images: tuple[ImageReference, ...]
    frames: tuple[ImageReference, ...]
    passed: dict[str, Any]
    passed_of_messages: tuple[dict[str, Any], ...]
    answer_format: AnswerFormat

    @classmethod
    def of(cls, fields: ChatRequest, passed: dict[str, Any], chat_format: ChatFormat) -> "ChatBody":
        """Split the messages of a request into parts. Raises RequestError for tool calls that are none."""
        messages = tuple(map(_parts, range(len(fields.messages)), fields.messages))
        parts = [part for _, parts in messages for part in parts]
        images = tuple(part for part in parts if isinstance(part, ImageReference))
        frames = tuple(frame for part in parts if isinstance(part, VideoReference) for frame in part.frames)
        return cls(
            fields,
            messages,
            images,
            frames,
            passed | template_variables(fields),
            tuple(map(template_fields, range(len(fields.messages)), fields.messages)),
            answer_format(fields, chat_format),
        )

    @property
    def image_count(self) -> int:
        """Images that are charged for: those of the messages, and the frames of videos."""
        return len(self.images) + len(self.frames)

    @property
    def max_tokens(self) -> int | None:
        """The most tokens that the client asked for; None where it left that open."""
        fields = self.fields
        return fields.max_tokens if fields.max_completion_tokens is None else fields.max_completion_tokens

    @property
    def answers(self) -> int:
        """How many answers the client asked for."""
        return self.fields.n or 1

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with what the request used."""
        return self.fields.stream_options is not None and self.fields.stream_options.include_usage

    @property
    def image_field(self) -> str:
        """The field of all images; `messages` for several: the engine does not say which it refused."""
        fields = {image.field for image in (*self.images, *self.frames)}
        return fields.pop() if len(fields) == 1 else "messages"


async def read_chat_body(request: Request) -> ChatBody:
    """Read a JSON body, whatever its Content-Type says.

    Raises RequestError for a field that is missing, unknown, out of bounds or not supported.
    """
    backend = backend_of(request)
    settings, chat_format = backend.settings, backend.engine.describe().chat_format
    body = await off_loop(_parse, await request.body(), settings, chat_format)
    check_answer_count(body.answers, settings)
    return body


async def engine_requests(body: ChatBody, backend: Backend, state: RequestState) -> list[EngineRequest]:
    """What the engine is asked to do: a request for each answer, with a seed of its own.

    Raises RequestError for an unknown model, a text that is too long and an image that cannot be read.
    """
    settings, fields = backend.settings, body.fields
    deadline = monotonic() + settings.request_timeout
    if fields.model is not None and fields.model != settings.public_name:
        raise RequestError(
            ErrorCode.MODEL_NOT_FOUND,
            f"model does not exist; this server has {settings.public_name}",
            field="model",
        )
    characters = sum(len(part) for _, parts in body.messages for part in parts if isinstance(part, str))
    # Tools, their calls and schemas are a part of the prompt.
    characters += sum(len(json.dumps(one)) for one in (body.passed, *body.passed_of_messages) if one)
    check_prompt_length(characters, settings, field="messages")
    check_image_count(len(body.images), settings, field="messages")
    check_frame_count(len(body.frames), settings, field="messages")
    files = await read_images((*body.images, *body.frames), backend, state)
    images, frames = iter(files[: len(body.images)]), iter(files[len(body.images) :])

    def read(part: Part) -> Content:
        if isinstance(part, str):
            return part
        if isinstance(part, ImageReference):
            return next(images)
        return EncodedVideo(tuple(islice(frames, len(part.frames))))

    turns = tuple(
        Turn(role, tuple(map(read, parts)), passed)
        for passed, (role, parts) in zip(body.passed_of_messages, body.messages, strict=True)
    )
    request = EngineRequest(
        turns=turns,
        sampling=sampling_of(fields, body.max_tokens, backend.defaults, settings),
        deadline=deadline,
        shorten=body.max_tokens is None,
        client=state.key_name,
        passed=body.passed,
    )
    return [replace(request, sampling=seeded(request.sampling, index)) for index in range(body.answers)]


def _parse(body: bytes, settings: Settings, chat_format: ChatFormat) -> ChatBody:
    try:
        document = pydantic_core.from_json(body)
    except ValueError:
        raise RequestError(ErrorCode.INVALID_REQUEST, "body is not valid JSON") from None
    names = parameters(settings.engine_pass)
    document, passed = split(document, names, supported(chat_format))
    if "tools" not in names:
        check_messages(document, chat_format)
    schema = PassedChatRequest if "tools" in names else ChatRequest
    try:
        fields = schema.model_validate(document, strict=True)
    except ValidationError as error:
        raise validation_error(error, document) from None
    if fields.stream_options is not None and not fields.stream:
        raise _invalid("stream_options needs stream: true; set it, or leave stream_options out")
    if fields.top_logprobs and not fields.logprobs:
        raise _invalid("top_logprobs needs logprobs: true; set it, or leave top_logprobs out", "top_logprobs")
    if fields.ignore_eos and must_match(fields):
        raise _invalid("ignore_eos goes on after the end that a format asks for; leave it out", "ignore_eos")
    if None not in (fields.max_tokens, fields.max_completion_tokens):
        raise _invalid(
            "max_tokens is the older name of max_completion_tokens; send only one of them", "max_tokens"
        )
    most = fields.max_tokens or fields.max_completion_tokens
    if most is not None and (fields.min_tokens or 0) > most:
        raise _invalid(f"min_tokens is {fields.min_tokens}; the limit is max_tokens, {most}", "min_tokens")
    check_tools(fields, settings)
    return ChatBody.of(fields, passed, chat_format)


def _parts(index: int, message: ChatMessage) -> tuple[Role, tuple[Part, ...]]:
    role = ROLES[message.role]
    if message.content is None:  # an answer of nothing but tool calls
        return role, ()
    if isinstance(message.content, str):
        return role, (message.content,)
    places = (f"messages.{index}.content.{position}" for position in range(len(message.content)))
    return role, tuple(map(_part, message.content, places))


def _part(part: TextPart | ImagePart | VideoPart | VideoUrlPart, place: str) -> Part:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, ImagePart):
        low = part.image_url.detail == "low"
        return ImageReference.from_url(part.image_url.url, f"{place}.image_url.url", 1 if low else None)
    if isinstance(part, VideoUrlPart):
        return VideoReference.from_url(part.video_url.url, f"{place}.video_url.url")
    return VideoReference(
        tuple(
            ImageReference.from_url(url, f"{place}.video.{number}") for number, url in enumerate(part.video)
        )
    )


def _invalid(message: str, field: str = "stream_options") -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=field)
