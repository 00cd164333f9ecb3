"""Tools and reasoning in a chat request: what the prompt gets, and how the answer is read.

Which of their fields are taken depends on the model's chat template.
"""

import json
from typing import Any

from pydantic_core import from_json

from service.api.schemas.chat import ChatRequest
from service.api.schemas.messages import AssistantMessage, Message
from service.api.schemas.structured import TextFormat
from service.api.schemas.tools import NamedTool
from service.errors import ErrorCode, RequestError
from service.prompt.answer_parser import AnswerFormat
from service.protocol.chat_format import ChatFormat
from service.protocol.request import Grammar
from service.settings import Settings

TOOL_PARAMETERS = frozenset(("tools", "tool_choice", "parallel_tool_calls"))
NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


def supported(chat_format: ChatFormat) -> frozenset[str]:
    """The parameters that a chat template makes possible."""
    tools = TOOL_PARAMETERS if chat_format.tools else frozenset[str]()
    return tools | {"chat_template_kwargs"} if chat_format.switch else tools


def check_messages(document: Any, chat_format: ChatFormat) -> None:  # noqa: ANN401 - any JSON document
    """Raise RequestError for messages about tools or reasoning that the chat template has no place for.

    And for earlier answers without content, which only those with tool calls or reasoning may be.
    """
    messages = document.get("messages") if isinstance(document, dict) else None
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if not isinstance(message, dict):
            continue
        wrong = {
            "role": message.get("role") == "tool" and not chat_format.tools,
            "tool_calls": message.get("tool_calls") is not None and not chat_format.tools,
            "reasoning_content": message.get("reasoning_content") is not None and not chat_format.thinks,
        }
        for name in filter(wrong.__getitem__, wrong):
            what = "reasoning" if name == "reasoning_content" else "tools"
            field = f"messages.{index}.{name}"
            raise _invalid(f"{field} needs a model whose chat template has {what}; leave it out", field)
        said = message.get("content") is not None or message.get("reasoning_content") is not None
        if message.get("role") == "assistant" and not (said or message.get("tool_calls")):
            field = f"messages.{index}.content"
            raise _invalid(f"{field} is missing; only an answer with tool_calls may be without", field)


def check_tools(fields: ChatRequest, settings: Settings) -> None:
    """Raise RequestError for tools that are too large, or a choice among them that cannot be made."""
    tools, choice = fields.tools or [], fields.tool_choice
    size = len(json.dumps([tool.model_dump(exclude_unset=True) for tool in tools]).encode()) if tools else 0
    if size > settings.max_schema_bytes:
        raise _invalid(
            f"tools is {size} bytes; the limit is {settings.max_schema_bytes} (CAPSTAN_MAX_SCHEMA_BYTES); "
            "send fewer, or simplify them",
            "tools",
        )
    if not _forces(fields):
        return
    names = [tool.function.name for tool in tools]
    if not tools or (isinstance(choice, NamedTool) and choice.function.name not in names):
        raise _invalid(
            "tool_choice asks for a tool that is not in tools; send it there, or set tool_choice to auto",
            "tool_choice",
        )
    if _has_format(fields):
        raise _invalid(
            "tool_choice asks for a tool call, and a format for another answer; send only one of them",
            "tool_choice",
        )


def template_variables(fields: ChatRequest) -> dict[str, Any]:
    """What the chat template gets besides messages."""
    variables: dict[str, Any] = {}
    if _offers(fields):
        variables["tools"] = [
            tool.model_dump(exclude_unset=True, exclude={"function": {"strict"}})
            for tool in fields.tools or ()
        ]
    thinking = _thinking(fields)
    return variables if thinking is None else variables | {"enable_thinking": thinking}


def answer_format(fields: ChatRequest, chat_format: ChatFormat) -> AnswerFormat:
    """How the answer is read. One that must match a format or be a tool call has no reasoning before it."""
    if _has_format(fields):
        return AnswerFormat()
    thinks = chat_format.thinks and not _forces(fields)
    return AnswerFormat(
        tools=_offers(fields),
        single=fields.parallel_tool_calls is False,
        thinks=thinks,
        thinking=thinks and _thinking(fields) in chat_format.opened,
    )


def calls_grammar(fields: ChatRequest) -> Grammar | None:
    """What an answer must match that has to call a tool; None for any other."""
    if not _forces(fields):
        return None
    choice = fields.tool_choice
    functions = [
        {
            "name": tool.function.name,
            "parameters": {"type": "object", **(tool.function.parameters or NO_ARGUMENTS)},
        }
        for tool in fields.tools or ()
        if not isinstance(choice, NamedTool) or tool.function.name == choice.function.name
    ]
    single = fields.parallel_tool_calls is False or isinstance(choice, NamedTool)
    return Grammar("tool_calls", json.dumps({"functions": functions, "single": single}), "tools")


def template_fields(index: int, message: Message) -> dict[str, Any]:
    """The fields of the `index`th message besides role and content; templates expect arguments as objects.

    Raises RequestError for arguments that are no JSON object.
    """
    fields = message.model_dump(exclude={"role", "content"}, exclude_none=True)
    if not isinstance(message, AssistantMessage):
        return fields
    for number, call in enumerate(fields.get("tool_calls", ())):
        try:
            arguments = from_json(call["function"]["arguments"])
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            field = f"messages.{index}.tool_calls.{number}.function.arguments"
            raise _invalid(f"{field} is not a JSON object as text; send what the answer had", field)
        call["function"]["arguments"] = arguments
    return fields


def must_match(fields: ChatRequest) -> bool:
    """Whether the answer has a form that ends it."""
    return _forces(fields) or _has_format(fields)


def _offers(fields: ChatRequest) -> bool:
    return bool(fields.tools) and fields.tool_choice != "none"


def _forces(fields: ChatRequest) -> bool:
    return fields.tool_choice == "required" or isinstance(fields.tool_choice, NamedTool)


def _has_format(fields: ChatRequest) -> bool:
    written = fields.response_format
    return fields.structured_outputs is not None or not (written is None or isinstance(written, TextFormat))


def _thinking(fields: ChatRequest) -> bool | None:
    options = fields.chat_template_kwargs
    return None if options is None else options.enable_thinking


def _invalid(message: str, field: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=field)
