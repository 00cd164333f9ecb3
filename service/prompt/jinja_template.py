"""A checkpoint's own chat template, rendered once per shape of conversation.

The template sees unmistakable marks in place of users' texts, so no text can change what it writes.
"""

import re
from typing import Any

from jinja2 import TemplateError
from transformers import TokenizersBackend

from service.errors import ErrorCode, RequestError
from service.prompt.shape import ImageSlot, Kind, Part, Shape, TextSlot

# A mark: private-use characters around a number, between blanks that no template writes. A template that
# strips its texts takes the blanks away and so shows it.
BLANK = "\u2003"
MARK = BLANK + "\ue000{}\ue001" + BLANK
MARK_PATTERN = re.compile(f"({BLANK}?)\ue000([0-9]+)\ue001({BLANK}?)")


class JinjaTemplate:
    """The chat template of a tokenizer, for images that stand as one `image_token` each in its output."""

    def __init__(self, tokenizer: TokenizersBackend, image_token: str, source: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._image_token = image_token
        self._source = source

    def render(self, shape: Shape) -> list[Part]:
        """See `PromptTemplate.render`. Raises RequestError where the template refuses the conversation."""
        texts = sum(kinds.count("text") for _, kinds in shape)
        images = sum(kinds.count("image") for _, kinds in shape)
        why = "it has no place for some of its texts or images"
        for plain in (False, True):
            # A template written for strings alone fails on a list of parts, or prints it as Python would.
            try:
                parts = self._parts(_messages(shape, plain=plain))
            except (TemplateError, TypeError, ValueError) as error:
                why = str(error)
                continue
            placed = {part.index for part in parts if isinstance(part, TextSlot)}
            if len(placed) == texts and sum(isinstance(part, ImageSlot) for part in parts) == images:
                return parts
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"the model's chat template refuses this order of turns: {why}; send other roles or contents",
            field="messages",
        )

    def _parts(self, messages: list[dict[str, Any]]) -> list[Part]:
        rendered = str(
            self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, chat_template=self._source
            )
        )
        parts: list[Part] = []
        position = 0
        for match in MARK_PATTERN.finditer(rendered):
            parts += self._markup(rendered[position : match.start()])
            parts.append(TextSlot(int(match[2]), strip_left=not match[1], strip_right=not match[3]))
            position = match.end()
        return parts + self._markup(rendered[position:])

    def _markup(self, text: str) -> list[Part]:
        parts: list[Part] = []
        for index, piece in enumerate(text.split(self._image_token)):
            if index:
                parts.append(ImageSlot())
            if piece:
                parts.append(piece)
        return parts


def _messages(shape: Shape, *, plain: bool) -> list[dict[str, Any]]:
    """The conversation as templates take it; `plain` gives turns of one text as strings."""
    messages: list[dict[str, Any]] = []
    index = 0
    for role, kinds in shape:
        content: list[dict[str, str]] = []
        for kind in kinds:
            content.append(_entry(kind, index))
            index += kind == "text"
        only_text = plain and kinds in ((), ("text",))
        messages.append({"role": role, "content": content[0]["text"] if only_text and content else content})
    return messages


def _entry(kind: Kind, index: int) -> dict[str, str]:
    return {"type": "image"} if kind == "image" else {"type": "text", "text": MARK.format(index)}
