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
from service.api.bodies.structured import grammar_of
from service.api.bodies.unsupported import split
from service.api.bodies.validation import (
    check_answer_count,
    check_frame_count,
    check_image_count,
    check_prompt_length,
    validation_error,
)
from service.api.request_state import RequestState
from service.api.schemas.chat import ChatMessage, ChatRequest
from service.api.schemas.content import ImagePart, TextPart, VideoPart, VideoUrlPart
from service.api.schemas.tools import ToolChatRequest, passed_fields
from service.engine.request import Content, EncodedVideo, Role, Sampling, Turn
from service.engine.request import Request as EngineRequest
from service.errors import ErrorCode, RequestError
from service.generation_defaults import GenerationDefaults
from service.passed_parameters import parameters
from service.settings import Settings

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant",
    "tool": "tool",
}  # fmt: skip


Part = str | ImageReference | VideoReference


@dataclass(frozen=True, slots=True)
class ChatBody:
    """A chat request, and its messages as parts: texts, and images and videos that are still to be read.

    `images` has the images outside of videos, `frames` those of videos.
    """

    fields: ChatRequest
    messages: tuple[tuple[Role, tuple[Part, ...]], ...]
    images: tuple[ImageReference, ...]
    frames: tuple[ImageReference, ...]
    passed: dict[str, Any]

    @classmethod
    def of(cls, fields: ChatRequest, passed: dict[str, Any]) -> "ChatBody":
        """Split the messages of a request into parts; `passed` are parameters for another engine."""
        messages = tuple(map(_parts, range(len(fields.messages)), fields.messages))
        parts = [part for _, parts in messages for part in parts]
        images = tuple(part for part in parts if isinstance(part, ImageReference))
        frames = tuple(frame for part in parts if isinstance(part, VideoReference) for frame in part.frames)
        return cls(fields, messages, images, frames, passed)

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
    settings = backend_of(request).settings
    names = parameters(settings.engine_pass)
    body = ChatBody.of(*await off_loop(_parse, await request.body(), names))
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
    if body.passed:  # tools and schemas are a part of the prompt
        characters += len(json.dumps(body.passed))
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
        Turn(role, tuple(map(read, parts)), passed_fields(message))
        for message, (role, parts) in zip(fields.messages, body.messages, strict=True)
    )
    request = EngineRequest(
        turns=turns,
        sampling=_sampling(body, backend.defaults, settings),
        deadline=deadline,
        shorten=body.max_tokens is None,
        client=state.key_name,
        passed=body.passed,
    )
    return [replace(request, sampling=_seeded(request.sampling, index)) for index in range(body.answers)]


def _parse(body: bytes, names: frozenset[str]) -> tuple[ChatRequest, dict[str, Any]]:
    try:
        document = pydantic_core.from_json(body)
    except ValueError:
        raise RequestError(ErrorCode.INVALID_REQUEST, "body is not valid JSON") from None
    document, passed = split(document, names)
    schema = ToolChatRequest if "tools" in names else ChatRequest
    try:
        fields = schema.model_validate(document, strict=True)
    except ValidationError as error:
        raise validation_error(error, document) from None
    if fields.stream_options is not None and not fields.stream:
        raise _invalid("stream_options needs stream: true; set it, or leave stream_options out")
    if fields.top_logprobs and not fields.logprobs:
        raise _invalid("top_logprobs needs logprobs: true; set it, or leave top_logprobs out", "top_logprobs")
    if fields.ignore_eos and (fields.response_format or fields.structured_outputs):
        raise _invalid("ignore_eos goes on after the end that a format asks for; leave it out", "ignore_eos")
    if None not in (fields.max_tokens, fields.max_completion_tokens):
        raise _invalid(
            "max_tokens is the older name of max_completion_tokens; send only one of them", "max_tokens"
        )
    most = fields.max_tokens or fields.max_completion_tokens
    if most is not None and (fields.min_tokens or 0) > most:
        raise _invalid(f"min_tokens is {fields.min_tokens}; the limit is max_tokens, {most}", "min_tokens")
    return fields, passed


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


def _sampling(body: ChatBody, defaults: GenerationDefaults, settings: Settings) -> Sampling:
    fields = body.fields
    return Sampling(
        max_tokens=defaults.max_tokens if body.max_tokens is None else body.max_tokens,
        temperature=defaults.temperature if fields.temperature is None else fields.temperature,
        top_p=1.0 if fields.top_p is None else fields.top_p,
        top_k=fields.top_k or 0,
        seed=fields.seed,
        stop=(fields.stop,) if isinstance(fields.stop, str) else tuple(fields.stop or ()),
        repetition_penalty=1.0 if fields.repetition_penalty is None else fields.repetition_penalty,
        presence_penalty=fields.presence_penalty or 0.0,
        frequency_penalty=fields.frequency_penalty or 0.0,
        logit_bias=tuple((int(token), bias) for token, bias in (fields.logit_bias or {}).items()),
        min_p=fields.min_p or 0.0,
        min_tokens=fields.min_tokens or 0,
        ignore_eos=bool(fields.ignore_eos),
        top_logprobs=(fields.top_logprobs or 0) if fields.logprobs else None,
        grammar=grammar_of(fields.response_format, fields.structured_outputs, settings),
    )


def _seeded(sampling: Sampling, index: int) -> Sampling:
    """For the `index`th answer: the seed that is so much higher, if there is one that matters."""
    if sampling.seed is None or sampling.temperature == 0:
        return sampling
    return replace(sampling, seed=(sampling.seed + index + 2**63) % 2**64 - 2**63)


def _invalid(message: str, field: str = "stream_options") -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=field)
