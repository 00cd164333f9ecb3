"""Answers of another server: what is kept of them, and what is nonsense.

Source: OpenAI's API reference, "The chat completion object" and "The chat completion chunk object".
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from service.protocol.request import Completion, FinishReason, Timings, Usage

# Of a choice; the rest is the other server's own.
KEPT = ("index", "message", "delta", "logprobs", "finish_reason", "stop_reason")

Choice = Mapping[str, Any]


class NonsenseError(ValueError):
    """An answer that is not what the API promises."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole answer: the completion, and the choice it came from, with all that the other server said."""

    completion: Completion
    choice: Choice


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed answer. `choice` is None in the chunk that has only `usage`."""

    text: str = ""
    choice: Choice | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


def document(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises NonsenseError."""
    try:
        parsed = json.loads(data)
    except ValueError:
        raise NonsenseError("not JSON") from None
    if not isinstance(parsed, dict):
        raise NonsenseError("not an object")
    return parsed


def whole(body: Mapping[str, Any], timings: Callable[[int], Timings]) -> Whole:
    """Read a chat completion; `timings` are those of as many tokens. Raises NonsenseError."""
    choice = _choice(body, "message")
    usage = _usage(body)
    if choice is None or usage is None:
        raise NonsenseError("no choice, or no usage")
    reason = _reason(choice) or FinishReason.STOP
    completion = Completion(_text(choice["message"]), reason, usage, timings(usage.completion_tokens))
    return Whole(completion, choice)


def chunk(body: Mapping[str, Any]) -> Chunk:
    """Read a chunk of a stream. Raises NonsenseError."""
    choice, usage = _choice(body, "delta"), _usage(body)
    if choice is None:
        return Chunk(usage=usage)
    return Chunk(_text(choice["delta"]), choice, _reason(choice), usage)


def _choice(body: Mapping[str, Any], part: str) -> Choice | None:
    """The only choice, as far as it is kept; None where there is none."""
    choices = body.get("choices")
    if not isinstance(choices, list) or len(choices) > 1:
        raise NonsenseError("choices is no list of one")
    if not choices:
        return None
    (choice,) = choices
    if not isinstance(choice, dict) or not isinstance(choice.get(part), dict):
        raise NonsenseError(f"the choice has no {part}")
    kept = {name: choice[name] for name in KEPT if name in choice}
    kept[part] = {name: value for name, value in choice[part].items() if value not in (None, [])}
    return kept


def _text(message: Mapping[str, Any]) -> str:
    text = message.get("content", "")
    if not isinstance(text, str):
        raise NonsenseError("content is no text")
    return text


def _reason(choice: Choice) -> FinishReason | None:
    reason = choice.get("finish_reason")
    if reason is None:
        return None
    # Others, such as `tool_calls`, are kept in the choice.
    return FinishReason.LENGTH if reason == "length" else FinishReason.STOP


def _usage(body: Mapping[str, Any]) -> Usage | None:
    usage = body.get("usage")
    if usage is None:
        return None
    if isinstance(usage, dict):
        prompt, answer = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if isinstance(prompt, int) and isinstance(answer, int):
            return Usage(prompt_tokens=prompt, image_tiles=0, completion_tokens=answer)
    raise NonsenseError("usage has no counts")
