"""The messages of a conversation.

Source: OpenAI's API reference, "Create chat completion".
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from service.api.schemas.content import STRICT, TextContent, UserContent
from service.api.schemas.tools import ToolCall


def _without_nulls(values: Any) -> Any:  # noqa: ANN401 - whatever the body holds
    """A response that the official client sends back as history has nulls for the fields without a value."""
    if isinstance(values, dict):
        return {key: value for key, value in values.items() if value is not None}
    return values


class Message(BaseModel):
    """The base of all messages."""

    model_config = STRICT

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:  # noqa: ANN401 - as above
        return _without_nulls(values)


class SystemMessage(Message):
    """Instructions that precede the conversation; `developer` is the newer name of the role."""

    role: Literal["system", "developer"]
    content: TextContent


class UserMessage(Message):
    """What the user says, with images and videos."""

    role: Literal["user"]
    content: UserContent


class AssistantMessage(Message):
    """What the model answered earlier: content, tool calls or both."""

    role: Literal["assistant"]
    content: TextContent | None = None
    tool_calls: Annotated[
        list[ToolCall] | None, Field(description="Where the model's chat template has tools.")
    ] = None
    reasoning_content: Annotated[
        str | None, Field(description="Where the model's chat template has reasoning.")
    ] = None


class ToolMessage(Message):
    """The result of a tool call, where the model's chat template has tools."""

    role: Literal["tool"]
    content: TextContent
    tool_call_id: Annotated[str, Field(min_length=1, max_length=256)]


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]
