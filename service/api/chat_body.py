"""The body of POST /v1/chat/completions becomes a request of the engine."""

from dataclasses import dataclass
from time import monotonic

import pydantic_core
from fastapi import Request
from pydantic import ValidationError

from service.api.backend import Backend
from service.api.chat_parameters import without_unsupported
from service.api.images import NamedImage, read_images
from service.api.offload import read_sent
from service.api.schemas.chat import AnyMessage, ChatRequest, ImagePart
from service.api.validation import field_error
from service.engine.request import EncodedImage, Role, Sampling, Turn
from service.engine.request import Request as EngineRequest
from service.errors import ErrorCode, RequestError

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Conversation:
    """The messages with their images still to be read: each part is a text or an image."""

    turns: tuple[tuple[Role, tuple[str | NamedImage, ...]], ...]

    @property
    def images(self) -> list[NamedImage]:
        """The images in reading order."""
        return [part for _, parts in self.turns for part in parts if isinstance(part, NamedImage)]

    @property
    def characters(self) -> int:
        """The length of all texts."""
        return sum(len(part) for _, parts in self.turns for part in parts if isinstance(part, str))


async def read_chat_body(request: Request) -> ChatRequest:
    """Read a JSON body, whatever its Content-Type says.

    Raises RequestError for a field that is missing, unknown, out of bounds or not supported.
    """
    return await read_sent(_validate, await request.body())


def _validate(body: bytes) -> ChatRequest:
    try:
        document = pydantic_core.from_json(body)
    except ValueError:
        raise RequestError(ErrorCode.INVALID_REQUEST, "the body is not valid JSON") from None
    document = without_unsupported(document)
    try:
        chat = ChatRequest.model_validate(document, strict=True)
    except ValidationError as error:
        raise field_error(error, document) from None
    if chat.stream_options is not None and not chat.stream:
        raise _contradiction("stream_options goes with stream: true; set it, or leave stream_options out")
    if None not in (chat.max_tokens, chat.max_completion_tokens):
        raise _contradiction(
            "max_tokens is the older name of max_completion_tokens; give one of them", "max_tokens"
        )
    return chat


def conversation(chat: ChatRequest) -> Conversation:
    """The messages of a request."""
    return Conversation(tuple(map(_turn, range(len(chat.messages)), chat.messages)))


async def engine_request(chat: ChatRequest, backend: Backend, *, client: str) -> EngineRequest:
    """What the engine is to do for a client.

    Raises RequestError for another model, an image that cannot be read, ...
    """
    settings = backend.settings
    deadline = monotonic() + settings.request_timeout
    if chat.model is not None and chat.model != settings.public_name:
        raise RequestError(
            ErrorCode.NOT_FOUND,
            f"there is no such model; this server has {settings.public_name}",
            field="model",
        )
    asked = conversation(chat)
    if asked.characters > settings.max_prompt_characters:
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"messages have {asked.characters} characters; the limit is "
            f"{settings.max_prompt_characters} (CAPSTAN_MAX_PROMPT_CHARACTERS)",
            field="messages",
        )
    files = iter(await read_images(asked.images, backend))
    turns = tuple(
        Turn(role, tuple(part if isinstance(part, str) else EncodedImage(next(files)) for part in parts))
        for role, parts in asked.turns
    )
    wanted = chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens
    return EngineRequest(
        turns=turns,
        sampling=_sampling(chat, wanted, backend),
        max_tiles=_max_tiles(chat),
        deadline=deadline,
        shorten=wanted is None,
        client=client,
    )


def only_image(chat: ChatRequest) -> str:
    """The field of the one image; `messages` where there are several, as the engine does not tell which."""
    images = conversation(chat).images
    return images[0].field if len(images) == 1 else "messages"


def _turn(index: int, message: AnyMessage) -> tuple[Role, tuple[str | NamedImage, ...]]:
    role = ROLES[message.role]
    if isinstance(message.content, str):
        return role, (message.content,)
    parts: list[str | NamedImage] = []
    for position, part in enumerate(message.content):
        if isinstance(part, ImagePart):
            field = f"messages.{index}.content.{position}.image_url.url"
            parts.append(NamedImage.of_url(part.image_url.url, field))
        else:
            parts.append(part.text)
    return role, tuple(parts)


def _max_tiles(chat: ChatRequest) -> int | None:
    details = {
        part.image_url.detail == "low"
        for message in chat.messages
        if not isinstance(message.content, str)
        for part in message.content
        if isinstance(part, ImagePart)
    }
    if len(details) > 1:
        raise _contradiction("detail must be low for all images of a request, or for none", "messages")
    return 1 if details == {True} else None


def _sampling(chat: ChatRequest, wanted: int | None, backend: Backend) -> Sampling:
    defaults = backend.defaults
    stop = (chat.stop,) if isinstance(chat.stop, str) else tuple(chat.stop or ())
    return Sampling(
        max_tokens=defaults.max_tokens if wanted is None else wanted,
        temperature=defaults.temperature if chat.temperature is None else chat.temperature,
        top_p=1.0 if chat.top_p is None else chat.top_p,
        top_k=chat.top_k or 0,
        seed=chat.seed,
        stop=stop,
        repetition_penalty=1.0 if chat.repetition_penalty is None else chat.repetition_penalty,
    )


def _contradiction(message: str, field: str = "stream_options") -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=field)
