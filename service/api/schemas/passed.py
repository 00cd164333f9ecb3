"""A request whose tools are another engine's (CAPSTAN_ENGINE_PASS), which also checks them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from service.api.schemas.chat import ChatRequest
from service.api.schemas.content import TextContent
from service.api.schemas.messages import Message, SystemMessage, ToolMessage, UserMessage


class PassedAnswer(Message):
    """An earlier answer, with its tool calls and what the model thought."""

    role: Literal["assistant"]
    content: TextContent | None = None
    tool_calls: list[dict[str, Any]] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class PassedChatRequest(ChatRequest):
    """A conversation whose tool calls and their results go to another engine as they are."""

    messages: Annotated[  # type: ignore[assignment]  # wider, and only read
        list[
            Annotated[SystemMessage | UserMessage | PassedAnswer | ToolMessage, Field(discriminator="role")]
        ],
        Field(min_length=1),
    ]
