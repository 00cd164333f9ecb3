"""Tools that a model may call, and its calls.

Source: OpenAI's API reference, "Create chat completion".
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

STRICT = ConfigDict(extra="forbid")
MOST_TOOLS = 128

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class Function(BaseModel):
    """A function of the client. Whether arguments match depends on `tool_choice`, not on `strict`."""

    model_config = STRICT

    name: Name
    description: str | None = None
    parameters: Annotated[
        dict[str, Any] | None, Field(description="A JSON schema of the arguments. Default: there are none.")
    ] = None
    strict: bool | None = None


class Tool(BaseModel):
    """What the model may call."""

    model_config = STRICT

    type: Literal["function"]
    function: Function


class FunctionName(BaseModel):
    """The name of a function."""

    model_config = STRICT

    name: Name


class NamedTool(BaseModel):
    """The tool that has to be called."""

    model_config = STRICT

    type: Literal["function"]
    function: FunctionName


ToolChoice = Literal["none", "auto", "required"] | NamedTool


class CalledFunction(BaseModel):
    """The function that was called; `arguments` is a JSON object as text."""

    model_config = STRICT

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A call by the model."""

    model_config = STRICT

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
