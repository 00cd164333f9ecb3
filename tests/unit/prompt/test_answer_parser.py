"""An answer's text parted into reasoning, content and tool calls."""

import random

import pytest

from service.prompt.answer_parser import AnswerFormat, AnswerParser, Call, Content, Event, Reasoning

PLAIN = AnswerFormat()
TOOLS = AnswerFormat(tools=True)
SINGLE = AnswerFormat(tools=True, single=True)
THINKS = AnswerFormat(thinks=True)
OPENED = AnswerFormat(thinks=True, thinking=True)
BOTH = AnswerFormat(tools=True, thinks=True)

LOOK = '<tool_call>\n{"name": "look", "arguments": {"at": "a < b"}}\n</tool_call>'
GO = '<tool_call>{"arguments": {}, "name": "go"}</tool_call>'
CALLED, GONE = Call("look", '{"at": "a < b"}'), Call("go", "{}")


def parsed(answer_format: AnswerFormat, *pieces: str) -> list[Event]:
    """The events of an answer, neighbors of one kind joined."""
    parser = AnswerParser(answer_format)
    joined: list[Event] = []
    for event in [*(event for piece in pieces for event in parser.feed(piece)), *parser.finish()]:
        last = joined[-1] if joined else None
        if isinstance(event, Content) and isinstance(last, Content):
            joined[-1] = Content(last.text + event.text)
        elif isinstance(event, Reasoning) and isinstance(last, Reasoning):
            joined[-1] = Reasoning(last.text + event.text)
        else:
            joined.append(event)
    return joined


CASES: dict[str, tuple[AnswerFormat, str, list[Event]]] = {
    "nothing": (BOTH, "", []),
    "text": (BOTH, " a red circle \n", [Content(" a red circle \n")]),
    "tags of others": (PLAIN, f"<think>a</think> {LOOK}", [Content(f"<think>a</think> {LOOK}")]),
    "a call": (TOOLS, LOOK, [CALLED]),
    "a call with blanks": (TOOLS, f"\n{LOOK}\n", [CALLED]),
    "text before a call": (TOOLS, f"I look.\n\n{LOOK}", [Content("I look."), CALLED]),
    "two calls": (TOOLS, f"{LOOK}\n{GO}", [CALLED, GONE]),
    "text between calls": (TOOLS, f"{LOOK}\nAnd:\n{GO}\n", [CALLED, Content("\nAnd:"), GONE]),
    "text after a call": (TOOLS, f"{LOOK}\nDone.\n", [CALLED, Content("\nDone.\n")]),
    "only one call": (SINGLE, f"{LOOK}\n{GO} more", [CALLED]),
    "no arguments": (TOOLS, '<tool_call>{"name": "go"}</tool_call>', [GONE]),
    "an end without a tag": (TOOLS, LOOK.removesuffix("</tool_call>"), [CALLED]),
    "cut in its call": (TOOLS, "I look. " + LOOK[:30], [Content("I look. " + LOOK[:30])]),
    "cut in its tag": (TOOLS, "a <tool_c", [Content("a <tool_c")]),
    "no tag after all": (TOOLS, "a <tool_box> b <", [Content("a <tool_box> b <")]),
    "tag within a tag": (TOOLS, f"<tool_<{LOOK}", [Content("<tool_<"), CALLED]),
    "not JSON": (TOOLS, " <tool_call>look</tool_call> ", [Content(" <tool_call>look</tool_call> ")]),
    "not JSON, then a call": (
        TOOLS,
        f"a\n<tool_call>look</tool_call>\n{LOOK}",
        [Content("a\n<tool_call>look</tool_call>"), CALLED],
    ),
    "reasoning": (THINKS, "<think>\nA b.\n</think>\n\nc\n", [Reasoning("A b."), Content("c\n")]),
    "reasoning without a thought": (THINKS, "<think>\n\n</think>\n\nc", [Content("c")]),
    "reasoning of the prompt": (OPENED, "A b.\n</think>\n\nc", [Reasoning("A b."), Content("c")]),
    "reasoning with two tags": (OPENED, "\n<think>A</think>c", [Reasoning("A"), Content("c")]),
    "reasoning without an end": (THINKS, "<think>A b </thi", [Reasoning("A b </thi")]),
    "reasoning of the prompt without an end": (OPENED, " A\n", [Reasoning("A")]),
    "reasoning that begins as a tag": (OPENED, "<thi", [Reasoning("<thi")]),
    "a late tag": (THINKS, "a <think>b</think>", [Content("a <think>b</think>")]),
    "text that begins as a tag": (THINKS, " <thi", [Content(" <thi")]),
    "reasoning, then a call": (BOTH, f"<think>A</think>\n\n{LOOK}", [Reasoning("A"), CALLED]),
    "a call that is only thought of": (BOTH, f"<think>{LOOK}</think>c", [Reasoning(LOOK), Content("c")]),
}


@pytest.mark.parametrize(("answer_format", "text", "events"), CASES.values(), ids=CASES.keys())
def test_an_answer_is_parted(answer_format: AnswerFormat, text: str, events: list[Event]) -> None:
    """Each part of a text is what its tags say, whole or cut at any place or at all of them."""
    assert parsed(answer_format, text) == events
    assert parsed(answer_format, *text) == events
    for place in range(len(text)):
        assert parsed(answer_format, text[:place], text[place:]) == events


PIECES = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", LOOK, GO, "a", "<", "</", " ", "\n", "{", '"', "}",
]  # fmt: skip


@pytest.mark.parametrize("answer_format", [PLAIN, TOOLS, SINGLE, THINKS, OPENED, BOTH])
def test_cuts_change_nothing(answer_format: AnswerFormat) -> None:
    """Whatever the text, it is parted alike however it is cut, and nothing of it is said twice."""
    chance = random.Random(7)
    for _ in range(400):
        text = "".join(chance.choices(PIECES, k=chance.randint(1, 12)))
        whole = parsed(answer_format, text)
        places = sorted(chance.sample(range(len(text) + 1), min(len(text), 4)))
        pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
        assert parsed(answer_format, *pieces) == whole == parsed(answer_format, *text), text
        said = sum(len(event.text) for event in whole if not isinstance(event, Call))
        assert said <= len(text)


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        '{"arguments": {}}',
        '{"name": 5, "arguments": {}}',
        '{"name": "", "arguments": {}}',
        '{"name": "a b", "arguments": {}}',
        '{"name": "look", "arguments": "{}"}',
        '{"name": "look", "arguments": [1]}',
        '{"name": "look", "arguments": {"a": 1e999}}',
        '{"name": "look", "arguments": {"a": "\\ud800"}}',
        '{"name": "look", "arguments": ' + '{"a":' * 100_000,
    ],
)
def test_what_is_no_call_is_content(body: str) -> None:
    """Text between the tags of a call that is none is given as it is, tags included."""
    text = f"<tool_call>{body}</tool_call>"
    assert parsed(TOOLS, text) == [Content(text)]


def test_text_is_not_held_back_longer_than_it_must_be() -> None:
    """Text before a call comes at once, and the call as soon as it is complete."""
    parser = AnswerParser(BOTH)
    assert parser.feed("I look") == [Content("I look")]
    assert parser.feed(" at it. <") == [Content(" at it.")]
    assert parser.feed(LOOK[1:-1]) == []
    assert parser.feed(LOOK[-1]) == [CALLED]
