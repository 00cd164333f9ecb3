"""Messages about tools, which are taken where another engine has tools (CAPSTAN_ENGINE_PASS).

Source: OpenAI's API reference, "Create chat completion".
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from service.api.schemas.chat import ChatRequest, Message, SystemMessage, UserMessage
from service.api.schemas.content import TextContent


class ToolMessage(Message):
    """The result of a tool call."""

    role: Literal["tool"]
    content: TextContent
    tool_call_id: Annotated[str, Field(min_length=1, max_length=256)]


class CallingMessage(Message):
    """An earlier answer, with its tool calls and what the model thought."""

    role: Literal["assistant"]
    content: TextContent | None = None
    tool_calls: list[dict[str, Any]] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class ToolChatRequest(ChatRequest):
    """A conversation that may contain tool calls and their results."""

    messages: Annotated[  # type: ignore[assignment]  # wider, and only read
        list[
            Annotated[SystemMessage | UserMessage | CallingMessage | ToolMessage, Field(discriminator="role")]
        ],
        Field(min_length=1),
    ]


def passed_fields(message: Message) -> dict[str, Any]:
    """The fields of a message that another engine gets as they are."""
    if not isinstance(message, (ToolMessage, CallingMessage)):
        return {}
    return message.model_dump(exclude={"role", "content"}, exclude_none=True)
