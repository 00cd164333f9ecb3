"""One of the answers to a chat request: its message, or the deltas of its stream."""

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import uuid4

from service.api.schemas.completion import AnswerMessage, EndReason
from service.api.schemas.tools import CalledFunction, ToolCall
from service.prompt.answer_parser import AnswerFormat, AnswerParser, Call, Content, Event, Reasoning
from service.protocol.request import FinishReason


def message_of(text: str, answer_format: AnswerFormat) -> AnswerMessage:
    """The message that a finished text is."""
    parser = AnswerParser(answer_format)
    events = [*parser.feed(text), *parser.finish()]
    content = "".join(event.text for event in events if isinstance(event, Content))
    reasoning = "".join(event.text for event in events if isinstance(event, Reasoning))
    calls = [_tool_call(event) for event in events if isinstance(event, Call)]
    return AnswerMessage(
        content=None if not content and (calls or reasoning) else content,
        reasoning_content=reasoning or None,
        tool_calls=calls or None,
    )


def end_reason(reason: FinishReason, *, calls: bool) -> EndReason:
    """Why an answer ended: `tool_calls` if it has any and was not cut off."""
    return "tool_calls" if calls and reason is FinishReason.STOP else reason.value


class ChoiceDeltas:
    """The deltas of one streamed answer; `calls` counts its tool calls so far."""

    def __init__(self, answer_format: AnswerFormat) -> None:
        self._parser = AnswerParser(answer_format)
        self.calls = 0

    def feed(self, piece: str) -> Iterator[dict[str, Any]]:
        """Those that a piece of text makes possible."""
        return self._deltas(self._parser.feed(piece))

    def finish(self) -> Iterator[dict[str, Any]]:
        """The last ones."""
        return self._deltas(self._parser.finish())

    def _deltas(self, events: Iterable[Event]) -> Iterator[dict[str, Any]]:
        for event in events:
            if isinstance(event, Content):
                yield {"content": event.text}
            elif isinstance(event, Reasoning):
                yield {"reasoning_content": event.text}
            else:
                yield {"tool_calls": [{"index": self.calls, **_tool_call(event).model_dump()}]}
                self.calls += 1


def _tool_call(call: Call) -> ToolCall:
    function = CalledFunction(name=call.name, arguments=call.arguments)
    return ToolCall(id=f"call_{uuid4().hex}", function=function)
