"""Parts the text of an answer into reasoning, content and tool calls while it still comes.

Source: the chat templates of Qwen3 and Hermes 2 Pro: `<think>...</think>` at the start of an answer, and
`<tool_call>{"name": ..., "arguments": {...}}</tool_call>` for each call.
"""

import json
import re
from dataclasses import dataclass
from enum import Enum, auto

from service.protocol.chat_format import THINK, THINK_END, TOOL_CALL, TOOL_CALL_END

NAME = re.compile(r"[\w.-]{1,256}")


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """What the text of an answer may hold.

    `tools`: calls; with `single`, the answer is over after the first. `thinks`: reasoning at its start;
    `thinking`: its tag is in the prompt already.
    """

    tools: bool = False
    single: bool = False
    thinks: bool = False
    thinking: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of what is said to the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thought."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool; `arguments` is a JSON object as text."""

    name: str
    arguments: str


Event = Content | Reasoning | Call


class _Part(Enum):
    """Where in an answer the parser is."""

    START = auto()
    REASONING = auto()
    CONTENT = auto()
    CALL = auto()
    OVER = auto()


class AnswerParser:
    """The parser of one answer. However its text is cut into pieces, the events together are the same.

    Blanks next to a tag are dropped. Text that may become a tag is held back, and so is a call until it is
    complete. A call ends at the first closing tag, or with the answer; one that is not JSON of a name and
    arguments is content, tags included. Without tools and reasoning all text is content as it is.
    """

    def __init__(self, answer_format: AnswerFormat) -> None:
        self._format = answer_format
        self._part = _Part.START if answer_format.thinks else _Part.CONTENT
        self._held = ""
        self._blanks = ""  # before the call that is being read
        self._strip = False  # whether blanks at the start of `_held` are dropped
        self._called = False  # whether a call was the latest event

    def feed(self, piece: str) -> list[Event]:
        """Take in the next piece of text."""
        self._held += piece
        events: list[Event] = []
        part = None
        while part is not self._part:  # each change of part may let more be read
            part = self._part
            if self._strip:
                self._held = self._held.lstrip()
                self._strip = not self._held
            events += self._read()
        return events

    def finish(self) -> list[Event]:
        """What is left at the end of the answer."""
        held, self._held = self._held, ""
        part, self._part = self._part, _Part.OVER
        if part is _Part.CALL:
            return [_call_of(held) or Content(self._blanks + TOOL_CALL + held)]
        if part is _Part.REASONING or (part is _Part.START and self._format.thinking):
            thought = held.strip() if part is _Part.START else held.rstrip()
            return [Reasoning(thought)] if thought else []
        if not held or (self._called and held.isspace()):
            return []
        return [Content(held)]

    def _read(self) -> list[Event]:
        if self._part is _Part.START:
            return self._begin()
        if self._part is _Part.REASONING:
            return self._reason()
        if self._part is _Part.CONTENT:
            return self._say()
        if self._part is _Part.CALL:
            return self._call()
        self._held = ""
        return []

    def _begin(self) -> list[Event]:
        text = self._held.lstrip()
        if text.startswith(THINK):
            self._held, self._strip, self._part = text.removeprefix(THINK), True, _Part.REASONING
        elif not THINK.startswith(text):  # as it does while there is none
            self._strip = self._format.thinking
            self._part = _Part.REASONING if self._format.thinking else _Part.CONTENT
        return []

    def _reason(self) -> list[Event]:
        thought, tag, rest = self._held.partition(THINK_END)
        if tag:
            thought = thought.rstrip()
            self._held, self._strip, self._part = rest, True, _Part.CONTENT
        else:
            thought, self._held = _certain(thought, THINK_END)
        return [Reasoning(thought)] if thought else []

    def _say(self) -> list[Event]:
        said, tag, rest = self._held.partition(TOOL_CALL) if self._format.tools else (self._held, "", "")
        if tag:
            whole, said = said, said.rstrip()
            self._blanks, self._held, self._part = whole[len(said) :], rest, _Part.CALL
        elif self._format.tools:
            said, self._held = _certain(said, TOOL_CALL)
        else:
            self._held = ""
        if not said:
            return []
        self._called = False
        return [Content(said)]

    def _call(self) -> list[Event]:
        body, tag, rest = self._held.partition(TOOL_CALL_END)
        if not tag:
            return []
        call = _call_of(body)
        self._called = call is not None
        self._part = _Part.OVER if call is not None and self._format.single else _Part.CONTENT
        self._held = rest
        return [call or Content(self._blanks + TOOL_CALL + body + TOOL_CALL_END)]


def _certain(text: str, tag: str) -> tuple[str, str]:
    """What of the text is no part of a tag that may come, nor a blank before it; and the rest."""
    cut = text.rfind("<")
    if cut < 0 or not tag.startswith(text[cut:]):
        cut = len(text)
    certain = text[:cut].rstrip()
    return certain, text[len(certain) :]


def _call_of(body: str) -> Call | None:
    """The call that a text between tags is; None if it is none."""
    try:
        call = json.loads(body)
        arguments = json.dumps(call.get("arguments", {}), ensure_ascii=False, allow_nan=False)
        arguments.encode()  # half a surrogate pair cannot be sent
        if NAME.fullmatch(call["name"]) and arguments.startswith("{"):
            return Call(call["name"], arguments)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return None
